/* replay.h: one recorded trace through storages of a fresh pool, timed, verified or recorded. */
#ifndef BENCH_REPLAY_H
#define BENCH_REPLAY_H

#include "bench/measure.h"
#include "bench/replay_verify.h"
#include "bench/trace.h"
#include "bench/where.h"

enum { REPLAY_SAMPLES = 7 };

typedef struct replay_options {
  const char *name;      /* of the trace, for messages and progress */
  uint32_t stream_count; /* at least 1: a block's stream is its column's, or its id, modulo this */
  bool verify;           /* one more pass, which fills and compares every byte */
  const char *record;    /* one more pass, whose pool records it in that file; NULL: none */
} replay_options;

typedef struct replay_outcome {
  measure_stats event_ns;        /* of the passes that only allocate and free */
  measure_stats malloc_event_ns; /* the same events with malloc, interleaved; host only */
  bool has_malloc;
  /* The largest of all passes. */
  size_t peak_reserved_bytes;
  uint64_t provider_calls;
  uint64_t moved_bytes;
  uint64_t fence_count;
  verify_totals verified; /* zero without verify */
} replay_outcome;

/* Replays `trace` on `where` (open): each event on its thread, all in the trace's order. Everything
 * is given back whatever happens. TARN_DEVICE_ERROR where a figure of the pool is not what the
 * trace or the provider's meter says, or where memory did not come back; mismatches are counted,
 * and are no failure of the call. */
TARN_NODISCARD tarn_status replay_run(const recorded_trace *trace, const where_place *where,
                                      const replay_options *options, replay_outcome *outcome);

#endif
