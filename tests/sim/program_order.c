/* program_order.c: vector clocks of what a program itself orders. */
#include "tests/sim/program_order.h"

#include <string.h>

static void join(order_clock *into, const order_clock *from) {
  for (uint32_t i = 0; i < ORDER_TIMELINES_MAX; i++) {
    if (into->at[i] < from->at[i]) into->at[i] = from->at[i];
  }
}

void order_init(order_state *self) {
  memset(self, 0, sizeof *self);
  self->timeline_count = 1;
  self->host.at[ORDER_HOST] = 1;
}

/* --- streams --- */

bool order_stream_begin(order_state *self, uint32_t stream) {
  if (self->timeline_count == ORDER_TIMELINES_MAX) return false;
  self->timeline_of[stream] = self->timeline_count++;
  self->streams[stream] = self->host;
  return true;
}

void order_stream_end(order_state *self, uint32_t stream) {
  self->timeline_of[stream] = 0;
}

bool order_stream_is_alive(const order_state *self, uint32_t stream) {
  return stream < PROGRAM_STREAMS_MAX && self->timeline_of[stream] != 0;
}

static uint32_t timeline_of(const order_state *self, uint32_t stream) {
  return stream == PROGRAM_HOST ? ORDER_HOST : self->timeline_of[stream];
}

static order_clock *clock_of(order_state *self, uint32_t stream) {
  return stream == PROGRAM_HOST ? &self->host : &self->streams[stream];
}

/* What work enqueued now lies behind: what the stream is behind, and what the host has seen, for
 * the host enqueues it. */
static order_clock clock_now(const order_state *self, uint32_t stream) {
  order_clock now = self->host;
  if (stream != PROGRAM_HOST) join(&now, &self->streams[stream]);
  return now;
}

/* A point of its own on the stream, now. */
static uint32_t tick(order_state *self, uint32_t stream) {
  order_clock *clock = clock_of(self, stream);
  if (stream != PROGRAM_HOST) join(clock, &self->host);
  return ++clock->at[timeline_of(self, stream)];
}

/* --- blocks --- */

void order_alloc(order_state *self, uint32_t block, uint32_t stream) {
  order_block *made = &self->blocks[block];
  memset(made, 0, sizeof *made);
  made->born_timeline = timeline_of(self, stream);
  made->born_tick = tick(self, stream);
}

bool order_may_use(const order_state *self, uint32_t block, uint32_t stream, bool is_write) {
  const order_block *used = &self->blocks[block];
  const order_clock now = clock_now(self, stream);
  if (now.at[used->born_timeline] < used->born_tick) return false;
  if (now.at[used->write_timeline] < used->write_tick) return false;
  if (!is_write) return true;
  for (uint32_t i = 0; i < self->timeline_count; i++) {
    if (now.at[i] < used->reads.at[i]) return false;
  }
  return true;
}

void order_use(order_state *self, uint32_t block, uint32_t stream, bool is_write) {
  order_block *used = &self->blocks[block];
  const uint32_t timeline = timeline_of(self, stream);
  const uint32_t now = tick(self, stream);
  used->uses.at[timeline] = now;
  if (is_write) {
    used->write_timeline = timeline;
    used->write_tick = now;
  } else {
    used->reads.at[timeline] = now;
  }
}

void order_note(order_state *self, uint32_t block, uint32_t stream) {
  const uint32_t timeline = timeline_of(self, stream);
  self->blocks[block].noted.at[timeline] = clock_of(self, stream)->at[timeline];
}

bool order_may_free(const order_state *self, uint32_t block, uint32_t stream) {
  const order_block *freed = &self->blocks[block];
  const order_clock now = clock_now(self, stream);
  for (uint32_t i = 0; i < self->timeline_count; i++) {
    if (now.at[i] < freed->uses.at[i] && freed->noted.at[i] < freed->uses.at[i]) return false;
  }
  return true;
}

/* --- events and waiting --- */

void order_record(order_state *self, uint32_t event, uint32_t stream) {
  tick(self, stream);
  self->events[event] = self->streams[stream];
  self->is_recorded[event] = true;
}

void order_wait(order_state *self, uint32_t event, uint32_t stream) {
  tick(self, stream);
  if (self->is_recorded[event]) join(&self->streams[stream], &self->events[event]);
}

void order_edge(order_state *self, uint32_t earlier, uint32_t later) {
  tick(self, earlier);
  tick(self, later);
  join(&self->streams[later], &self->streams[earlier]);
}

void order_host_saw_event(order_state *self, uint32_t event) {
  if (self->is_recorded[event]) join(&self->host, &self->events[event]);
}

void order_host_saw_stream(order_state *self, uint32_t stream) {
  join(&self->host, &self->streams[stream]);
}

void order_host_saw_all(order_state *self) {
  for (uint32_t i = 0; i < ORDER_TIMELINES_MAX; i++) self->host.at[i] = UINT32_MAX / 2;
}
