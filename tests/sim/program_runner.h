/* program_runner.h: what the files that run a program share. */
#ifndef TARN_PROGRAM_RUNNER_H
#define TARN_PROGRAM_RUNNER_H

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_staging.h"
#include "alloc/tarn_storage.h"
#include "cuda/sim/cusim.h"
#include "tests/sim/program_driver.h"
#include "tests/sim/program_model.h"

enum { RUNNER_WORDS_PER_OP = 2 * MODEL_WINDOWS_MAX };

/* A place of the log, and what has to be there at the end. */
typedef struct expectation {
  uint64_t value;
  uint32_t op_index;
  uint32_t size_bytes;
} expectation;

/* What a host function of a stream is given; it writes `found` for the end. */
typedef struct call_use {
  char *address;
  uint64_t size_bytes;
  uint64_t tag;
  uint64_t found_head;
} call_use;

typedef struct runner {
  const program *of;
  program_verdict *verdict;
  model_state model;
  bool may_fail; /* a driver call is failed on purpose, with this CUresult */
  int error;
  uint32_t op_index;
  cusim_counts before; /* what was alive in the driver */
  tarn_cuda *cuda;
  driver_calls driver;
  tarn_device pinned;
  tarn_provider *scratch_provider;
  size_t scratch_bytes;
  uint64_t *scratch; /* tags to write, and the log of what was read: each word used once */
  uint32_t scratch_used;
  expectation *expected; /* per word of scratch; size_bytes 0: a tag */
  call_use *calls;       /* per operation */
  tarn_pool *pools[PROGRAM_POOLS_MAX];
  tarn_pool *caching[PROGRAM_POOLS_MAX]; /* the same, or what a planted one stands in front of */
  tarn_staging *ring;                    /* NULL: none */
  tarn_pool *base;                       /* below the stacked ones; NULL: none */
  uint64_t clock_ns;                     /* of decay */
  size_t pool_alignment_bytes[PROGRAM_POOLS_MAX];
  tarn_stream *streams[PROGRAM_STREAMS_MAX];
  tarn_fence *fences[PROGRAM_EVENTS_MAX];
  void *addresses[PROGRAM_BLOCKS_MAX];
  tarn_storage *storages[PROGRAM_BLOCKS_MAX];
} runner;

/* --- program_run.c --- */
/* The first finding is the verdict. */
__attribute__((format(printf, 3, 4))) void runner_condemn(runner *self, program_failing failing,
                                                          const char *format, ...);

/* --- program_world.c --- */
/* The policy, the driver and scratch memory, for a runner that knows its program and verdict. */
bool runner_begin(runner *self, size_t word_count);
/* Races and faults that the driver has seen. */
void runner_check_driver(runner *self);
void runner_forget_streams(runner *self);
/* Takes all of it down; nothing may be left in the driver. */
void runner_end(runner *self);

/* --- program_values.c --- */
uint64_t runner_make_tag(const runner *self);
tarn_status runner_write_tag(runner *self, const program_op *op, uint64_t tag);
tarn_status runner_check_tag(runner *self, const program_op *op);
tarn_status runner_copy_tag(runner *self, const program_op *op, uint64_t tag);
tarn_status runner_call_tag(runner *self, const program_op *op, uint64_t tag);
void runner_host_write(runner *self, const program_op *op, uint64_t tag);
void runner_host_check(runner *self, const program_op *op);
/* Everything is done: compares what was read. */
void runner_check_log(runner *self);

/* Puts `tag` into a block's worth of memory that the CPU reaches, and compares. */
void runner_put_tag(char *address, uint64_t size_bytes, uint64_t tag);
void runner_check_windows(runner *self, const model_block *from, const char *address);

/* --- program_ring.c --- */
tarn_status runner_open_ring(runner *self);
tarn_status runner_open_stream(runner *self, uint32_t index);
/* Writes or checks a block through the ring; false where it is not for that. */
bool runner_ring_writes(runner *self, const program_op *op, uint64_t tag, tarn_status *status);
bool runner_ring_checks(runner *self, const program_op *op, tarn_status *status);

/* --- program_pools.c --- */
tarn_status runner_open_pool(runner *self, uint32_t index);
void runner_close_pools(runner *self);
tarn_status runner_reserve(runner *self, const program_op *op);
tarn_status runner_decay(runner *self, const program_op *op);
tarn_status runner_pause(runner *self, uint32_t index);
void runner_check_stats(runner *self, uint32_t index);
/* Everything is free and done: trimmed, the pool keeps nothing. */
void runner_check_idle_pool(runner *self, uint32_t index);

#endif
