/* tarn_caching_snapshot.h: a caching pool at one moment, as JSON.
 *
 * One object, in UTF-8, with these members:
 *
 *     "format": "tarn.snapshot", "version": 1,
 *     "pool": name, "device": {"type": DLPack's number, "index": n},
 *     "limit_bytes": n (0: none), "floor_bytes": n,
 *     "counters": {every field of tarn_pool_stats by its name: n},
 *     "segments": [
 *       {"address": "0x...", "size_bytes": n, "blocks": [
 *         {"address": "0x...", "size_bytes": n, "state": state,
 *          "requested_bytes": n, "tag": name, "stamps": [[stream, ticket], ...]}, ...]}, ...]
 *
 * The blocks of a segment tile it in the order of addresses. A state is one of
 *
 *     "live"     lent out; only these have requested_bytes and tag (absent for none)
 *     "free"     everybody may use it
 *     "pending"  free, and some stream may still use it: its stamps say which
 *     "hole"     address space without memory
 *     "busy"     a call that is under way has it: not at a quiescent point
 *
 * Stamps are those that the host had not seen passed, and are absent where there are none; streams
 * are numbered as tarn_stream_number does. Counters and blocks are of the same moment:
 *
 *     counters.requested_bytes = sum of requested_bytes
 *     counters.allocated_bytes = sum of size_bytes of live blocks
 *     counters.active_bytes    = the same of live and pending ones
 *     counters.reserved_bytes  = the same of all but holes, where nothing is busy
 */
#ifndef TARN_CACHING_SNAPSHOT_H
#define TARN_CACHING_SNAPSHOT_H

#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Takes the next piece of a text. Any other answer than TARN_OK ends the writing, and is the answer
 * of the call. */
typedef tarn_status (*tarn_write_function)(void *context, const char *text, size_t text_bytes);

/* Writes the snapshot of a caching pool piece by piece; TARN_INVALID_ARGUMENT for another pool. The
 * pool is locked while it is copied (some 30 nanoseconds a block), and not while it is written:
 * `write` may use it. */
TARN_API TARN_NODISCARD tarn_status tarn_caching_pool_snapshot(tarn_pool *pool,
                                                               tarn_write_function write,
                                                               void *context);

#ifdef __cplusplus
}
#endif
#endif
