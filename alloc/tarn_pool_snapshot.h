/* tarn_pool_snapshot.h: a pool at one moment: for a machine as JSON, and for whoever asks by tag.
 *
 * The JSON is one object, in UTF-8, with these members:
 *
 *     "format": "tarn.snapshot", "version": 1,
 *     "pool": name, "device": {"type": DLPack's number, "index": n},
 *     "limit_bytes": n (0: none), "floor_bytes": n,
 *     "lists": "all" or "lent",
 *     "counters": {every field of tarn_pool_stats by its name: n},
 *     "segments": [
 *       {"address": "0x...", "size_bytes": n, "blocks": [
 *         {"address": "0x...", "size_bytes": n, "state": state, "requested_bytes": n, "tag": name,
 *          "capture": n, "stamps": [[stream, ticket], ...]}, ...]}, ...]
 *
 * The blocks of a segment tile it in the order of addresses. A state is one of
 *
 *     "live"     lent out, with requested_bytes and tag (absent for none)
 *     "free"     everybody may use it
 *     "pending"  free, and some stream may still use it: its stamps say which
 *     "hole"     address space without memory
 *     "busy"     a call that is under way has it: not at a quiescent point
 *     "paused"   lent out, with requested_bytes and tag; some of its memory is away (tarn_pause.h)
 *     "asleep"   nobody's, beside a paused block in a granule that is away
 *
 * Where memory is away "paused_bytes" says of how many bytes of the block. A capture, by
 * tarn_capture_stats.number, is named where it keeps the block, live or not, until it is destroyed;
 * the latest one where there are several. Stamps are those that the host had not seen passed, and
 * are absent where there are none; streams are numbered as tarn_stream_number does. Counters and
 * blocks are of the same moment:
 *
 *     counters.requested_bytes = sum of requested_bytes
 *     counters.allocated_bytes = sum of size_bytes of live and paused blocks
 *     counters.active_bytes    = the same of live, paused and pending ones
 *     counters.paused_bytes    = sum of paused_bytes
 *     counters.reserved_bytes  = sum of size_bytes of all but holes, less of paused_bytes, where
 *                                nothing is busy
 *
 * A pool that does not cut its memory itself (the CUDA driver's: tarn_cuda.h) "lists" what it has
 * "lent" alone, every block a segment of its own; the first two sums are as above.
 */
#ifndef TARN_POOL_SNAPSHOT_H
#define TARN_POOL_SNAPSHOT_H

#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Takes the next piece of a text. Any other answer than TARN_OK ends the writing, and is the answer
 * of the call. */
typedef tarn_status (*tarn_write_function)(void *context, const char *text, size_t text_bytes);

/* Writes the snapshot piece by piece; TARN_NOT_SUPPORTED for a pool that gives none. The pool is
 * locked while it is copied (some 30 nanoseconds a block), and not while it is written: `write` may
 * use it. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_snapshot(tarn_pool *pool, tarn_write_function write,
                                                       void *context);

/* Live blocks with one tag. */
typedef struct tarn_holder {
  uint32_t tag; /* tarn_tag_name says its name; 0: allocated without a tag */
  size_t size_bytes;
  size_t block_count;
} tarn_holder;

/* Sums the pool's live and paused blocks by tag, most bytes first: up to `capacity` rows, and in
 * *count how many tags there are, which may be more. `holders` may be NULL where capacity is 0.
 * Copies the pool as a snapshot does. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_holders(tarn_pool *pool, tarn_holder *holders,
                                                      size_t capacity, size_t *count);

/* --- for those who implement a pool (tarn_pool_ops.snapshot), or look at one block by block --- */

typedef enum tarn_block_state {
  TARN_BLOCK_LIVE,
  TARN_BLOCK_FREE,
  TARN_BLOCK_PENDING,
  TARN_BLOCK_HOLE,
  TARN_BLOCK_BUSY,
  TARN_BLOCK_PAUSED,
  TARN_BLOCK_ASLEEP,
} tarn_block_state;

typedef struct tarn_snapshot_stamp {
  uint32_t stream; /* tarn_stream_number */
  uint64_t ticket;
} tarn_snapshot_stamp;

typedef struct tarn_snapshot_block {
  const void *address;
  size_t size_bytes;
  size_t requested_bytes;
  size_t paused_bytes;
  uint64_t capture;     /* 0: none keeps it */
  uint32_t tag;         /* of a live or paused block; 0: none */
  uint32_t stamp_count; /* of tarn_snapshot.stamps, behind those of the blocks before */
  tarn_block_state state;
  bool is_first; /* of its segment */
} tarn_snapshot_block;

enum {
  TARN_SNAPSHOT_LENT_ONLY = 1u << 0, /* what is lent out, each block a segment of its own */
};

/* What an implementation fills in: room first, without its lock, then under the lock, where the
 * room suffices, everything as of one moment; else more room, and again. */
struct tarn_snapshot {
  size_t struct_size;
  uint32_t flags; /* TARN_SNAPSHOT_* */
  size_t limit_bytes;
  size_t floor_bytes;
  tarn_pool_stats stats;
  tarn_snapshot_block *blocks;
  size_t block_count;
  size_t block_capacity;
  tarn_snapshot_stamp *stamps;
  size_t stamp_count;
  size_t stamp_capacity;
};

/* The pool as its snapshot's JSON has it, in records: for a program that looks itself. `snapshot`
 * has its struct_size and is 0 otherwise; the caller deinits it, whatever the answer. */
TARN_API TARN_NODISCARD tarn_status tarn_snapshot_take(tarn_pool *pool, tarn_snapshot *snapshot);
/* Room for so many blocks and stamps and some more; the snapshot has none of them then. */
TARN_API TARN_NODISCARD tarn_status tarn_snapshot_reserve(tarn_snapshot *snapshot,
                                                          size_t block_count, size_t stamp_count);
/* Gives the room back. */
TARN_API void tarn_snapshot_deinit(tarn_snapshot *snapshot);
/* The rows of tarn_pool_holders, of the blocks that are there. */
TARN_API size_t tarn_snapshot_holders(const tarn_snapshot *snapshot, tarn_holder *holders,
                                      size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
