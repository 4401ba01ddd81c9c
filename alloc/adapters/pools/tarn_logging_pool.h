/* tarn_logging_pool.h: an adaptor over a pool: every call as a line of text, as it happens.
 *
 * What tarn_pool_trace.h keeps in a ring this one writes out, for as long as it runs, in the same
 * format: the file is one that `tarn replay` reads.
 *
 *     op,id,bytes,stream,thread
 *     a,140001,1000,1,0
 *     u,140001,1000,2,1
 *     f,140001,1000,1,0
 *
 * Threads are numbered as they come, in the process, from 0 to 1023 and from 0 again. A free is
 * written before the upstream has the block and an allocation after, so that nobody reads of an
 * address that two have at once. A free that the upstream then refuses is taken back by a second
 * `a`. A block and its two lines took 110 nanoseconds, without what `write` does.
 * tarn_limit_pool.h says what all adaptors share. */
#ifndef TARN_LOGGING_POOL_H
#define TARN_LOGGING_POOL_H

#include "alloc/tarn_pool_snapshot.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  /* These two add what a replay refuses: a column time_ns, since the pool was made; and lines with
   * the op x and the id 0, of allocations that failed. */
  TARN_LOGGING_POOL_TIMES = 1u << 0,
  TARN_LOGGING_POOL_FAILURES = 1u << 1,
};

typedef struct tarn_logging_pool_options {
  size_t struct_size;
  const char *name; /* copied; NULL: "logging over <the upstream's name>" */
  uint32_t flags;   /* TARN_LOGGING_POOL_* */
  /* Takes one whole line at each call; called without a lock, by several threads at once, which
   * fwrite for one is made for. Must not use this pool. */
  tarn_write_function write;
  void *write_context; /* alive as long as the pool */
} tarn_logging_pool_options;

/* Writes the header. Any other answer of `write` than TARN_OK ends the log, and is the answer of
 * this call; later, the pool's own calls do not fail by it. */
TARN_API TARN_NODISCARD tarn_status tarn_logging_pool_create(
    tarn_pool *upstream, const tarn_logging_pool_options *options, tarn_pool **pool);

/* What ended the log: the first answer of `write` that was not TARN_OK; TARN_OK while it goes on.
 * TARN_INVALID_ARGUMENT for a pool of another kind. */
TARN_API TARN_NODISCARD tarn_status tarn_logging_pool_status(tarn_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
