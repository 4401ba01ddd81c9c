/* replay_verify.h: fills every storage of a replay with its own bytes, and reads them back. */
#ifndef BENCH_REPLAY_VERIFY_H
#define BENCH_REPLAY_VERIFY_H

#include "alloc/tarn_storage.h"
#include "bench/trace.h"
#include "bench/where.h"

typedef struct verify_state verify_state;

typedef struct verify_totals {
  uint64_t moved_bytes; /* by copies: the fills, and the reads that were not in place */
  uint64_t compared_bytes;
  uint64_t mismatch_count;  /* storages in which at least one byte was wrong */
  char first_mismatch[128]; /* in words; empty while there is none */
} verify_totals;

/* A verifier for storages on `stream_count` streams. The streams outlive it. */
TARN_NODISCARD tarn_status verifier_create(const where_place *where, tarn_stream *const *streams,
                                           uint32_t stream_count, verify_state **out);
void verifier_destroy(verify_state *verifier);

/* Enqueues copies on streams[stream] that fill `storage` with the pattern of event->index: host
 * tensor to tensor over the storage, piece by piece. */
TARN_NODISCARD tarn_status verifier_fill(verify_state *verifier, const trace_event *event,
                                         tarn_storage *storage, uint32_t stream);
/* Reads the storage linearly in the order of streams[stream] and compares every byte; then enqueues
 * a last write, as a program would that frees its block right behind the work that uses it: a pool
 * that lends the block out too early shows as a mismatch of the next owner. */
TARN_NODISCARD tarn_status verifier_check(verify_state *verifier, const trace_event *event,
                                          tarn_storage *storage, uint32_t stream);
verify_totals verifier_totals(const verify_state *verifier);

#endif
