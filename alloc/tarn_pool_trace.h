/* tarn_pool_trace.h: what a pool was asked for, in the order it was answered.
 *
 * A trace is a ring: it keeps the last entries and forgets the oldest. It is written as CSV, which
 * `tarn replay` reads back:
 *
 *     op,id,bytes,stream,thread
 *     m,3,4096,0,0              begins in the middle: it names 3 blocks, of 4096 bytes together,
 *                               that were lent out before
 *     s,140001,2097152,1,0      a segment, or memory inside a range, was obtained
 *     a,140001,1000,1,0         a block was lent out: bytes as asked for
 *     u,140001,1000,2,1         a stream was noted to use it
 *     f,140001,1000,1,0         it was taken back
 *     r,140001,2097152,0,0      memory went back to the provider
 *
 * An id is an address, and names a block while it lives. Streams are numbered as tarn_stream_number
 * does (0: the host's order), threads from 0 as they come in the text. Failed calls and sizes of 0
 * are not recorded. A pool whose memory comes from inside a driver (the CUDA driver's own pool:
 * tarn_cuda.h) has no s and no r.
 *
 * While a trace of a caching pool runs every call takes the pool's lock and no thread keeps blocks
 * of its own: an allocation of 1 KiB and its free then took 210 to 380 nanoseconds instead of 12.
 */
#ifndef TARN_POOL_TRACE_H
#define TARN_POOL_TRACE_H

#include "alloc/tarn_pool_snapshot.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  /* Blocks that the ring names without their allocation, for it was forgotten or came before the
   * start, come first as allocated by whoever is known to have had them, and are part of a replay.
   * Without the flag the text has the ring's entries, behind an m that counts such blocks where
   * there are any: a replay then skips what happened to them. */
  TARN_TRACE_COMPLETE = 1u << 0,
};

/* Records from now on, the last `entry_count` entries (> 0, 32 bytes each, allocated here); what an
 * earlier trace kept is forgotten. TARN_NOT_SUPPORTED for a pool that records nothing. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_trace_start(tarn_pool *pool, size_t entry_count);
/* Records no more; what was recorded stays until the next start or the pool's end. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_trace_stop(tarn_pool *pool);
/* Writes what the ring holds, oldest first, running or stopped. TARN_NOT_FOUND where no trace was
 * ever started. `write` is called without any lock. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_trace_write(tarn_pool *pool, uint32_t flags,
                                                          tarn_write_function write, void *context);

/* For those who implement a pool (tarn_pool_ops.set_trace): an event, `op` being a letter of those
 * above, under the lock that makes it happen at one moment. Takes a lock of its own. */
TARN_API void tarn_trace_record(tarn_trace *trace, char op, const void *address, size_t size_bytes,
                                const tarn_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
