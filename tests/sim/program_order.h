/* program_order.h: what a program itself orders: who may touch, free and note which block, when.
 *
 * The reader of tarn_pool.h's numbered sentences, apart from the pool: vector clocks over streams
 * and the host, raised only by what the program does (events, waits, synchronising, and the order
 * in which it enqueues), never by what a pool does for itself. */
#ifndef TARN_PROGRAM_ORDER_H
#define TARN_PROGRAM_ORDER_H

#include "tests/sim/program.h"

enum {
  ORDER_HOST = 0, /* the host's timeline */
  /* Streams that come and go have a timeline each. */
  ORDER_TIMELINES_MAX = 64,
};

typedef struct order_clock {
  uint32_t at[ORDER_TIMELINES_MAX];
} order_clock;

typedef struct order_block {
  uint32_t born_timeline; /* usable behind this point */
  uint32_t born_tick;
  uint32_t write_timeline;
  uint32_t write_tick; /* 0: never written */
  order_clock reads;   /* the last of each timeline */
  order_clock uses;    /* reads and writes */
  order_clock noted;
} order_block;

typedef struct order_state {
  uint32_t timeline_count;
  uint32_t timeline_of[PROGRAM_STREAMS_MAX]; /* 0: no stream there */
  order_clock host;
  order_clock streams[PROGRAM_STREAMS_MAX];
  order_clock events[PROGRAM_EVENTS_MAX];
  bool is_recorded[PROGRAM_EVENTS_MAX];
  order_block blocks[PROGRAM_BLOCKS_MAX];
} order_state;

void order_init(order_state *self);

/* False where there are no timelines left. */
bool order_stream_begin(order_state *self, uint32_t stream);
void order_stream_end(order_state *self, uint32_t stream);
bool order_stream_is_alive(const order_state *self, uint32_t stream);

/* Streams below may be PROGRAM_HOST. May work enqueued now touch the block? */
bool order_may_use(const order_state *self, uint32_t block, uint32_t stream, bool is_write);
void order_use(order_state *self, uint32_t block, uint32_t stream, bool is_write);
/* Sentence 2: every use lies before the free, or is noted. */
bool order_may_free(const order_state *self, uint32_t block, uint32_t stream);
void order_note(order_state *self, uint32_t block, uint32_t stream);
void order_alloc(order_state *self, uint32_t block, uint32_t stream);

void order_record(order_state *self, uint32_t event, uint32_t stream);
void order_wait(order_state *self, uint32_t event, uint32_t stream);
void order_edge(order_state *self, uint32_t earlier, uint32_t later);
void order_host_saw_event(order_state *self, uint32_t event);
void order_host_saw_stream(order_state *self, uint32_t stream);
/* The host waited for the whole device. */
void order_host_saw_all(order_state *self);

#endif
