/* tarn_staging.h: a ring of page-locked slots through which pageable memory and files reach a GPU.
 *
 * A ring has a fixed number of slots and never grows: who finds none free waits for the stream that
 * uses one (back-pressure). One ring for each GPU, its memory on the GPU's node, serves any number
 * of threads and streams:
 *
 *     CPU      fill slot 0 | fill slot 1 | fill slot 2 | ...
 *     stream                 copy slot 0 | copy slot 1 | ...
 *
 * Most programs make one, give it to their streams and never see a slot: see
 * tarn_stream_set_staging (tarn_stream.h). The slots themselves are for what reads or writes the
 * bytes on their way, as tarn_staging_file.h does:
 *
 *     acquire   the slot is the caller's, and nothing uses it
 *     ...       the CPU fills it; work that reads or writes it is enqueued on a stream
 *     mark      says which stream has such work
 *     await     where the CPU wants to see what the stream has put there
 *     give_back whoever gets the slot next gets it behind that work
 *
 * 1. A slot goes to nobody before the work that it was marked with is done. Where the stream has no
 *    fence to give, or the fence fails, the slot waits for the stream by other means, or stays out
 *    of use; it is never lent early.
 * 2. Among the slots whose work is done the one goes that was given back first. Where there is
 *    none, acquire waits for the one given back first; where all are in somebody's hands, for the
 *    next one to come back, first come, first served.
 * 3. A thread that holds a slot takes a second one only by try_acquire, and gives its own back
 *    before it waits: then some thread always goes on, however many share the ring. So does all of
 *    tarn, with at most three slots for one copy.
 * 4. A slot that was marked with a captured stream stays with the capture until that is destroyed.
 * 5. In a child of fork acquire and try_acquire answer TARN_UNAVAILABLE, and release leaves the
 *    memory alone: it is the parent's.
 */
#ifndef TARN_STAGING_H
#define TARN_STAGING_H

#include "alloc/tarn_provider.h"
#include "alloc/tarn_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The most slots of one ring, and the least bytes of a slot. */
enum { TARN_STAGING_SLOTS_MAX = 1024, TARN_STAGING_SLOT_BYTES_MIN = 4096 };

typedef struct tarn_staging_options {
  size_t struct_size;
  const char *name;  /* copied; NULL: "staging" */
  size_t slot_bytes; /* rounded up to pages; 0: 4 MiB. A bus of 55 GB/s needs 76 us for that,
                        against a few to enqueue it, and a CPU that copies 10 GB/s has the first
                        slot ready in 0.4 ms */
  size_t slot_count; /* 0: 16; at most TARN_STAGING_SLOTS_MAX */
} tarn_staging_options;

/* A ring in one block of `provider`, which is host memory: page-locked, for streams to copy from
 * without waiting. `options` may be NULL. Where slots are of 512 KiB or more there are 32 of 64 KiB
 * in addition (2 MiB), for small copies. Retains the provider; the last release waits for the work
 * that slots were marked with, and memory that cannot be waited for is kept for good.
 * TARN_INVALID_ARGUMENT where the provider's memory is not the host's; what the provider answers
 * where it has not as much. */
TARN_API TARN_NODISCARD tarn_status tarn_staging_create(tarn_provider *provider,
                                                        const tarn_staging_options *options,
                                                        tarn_staging **staging);
TARN_API void tarn_staging_retain(tarn_staging *staging);
/* Slots in somebody's hands, and streams that were given the ring, hold references of their own. */
TARN_API void tarn_staging_release(tarn_staging *staging);

TARN_API const char *tarn_staging_name(const tarn_staging *staging);
/* Where the slots lie, and the bytes of a whole one. */
TARN_API tarn_device tarn_staging_device(const tarn_staging *staging);
TARN_API size_t tarn_staging_slot_bytes(const tarn_staging *staging);

/* How large the pieces of a copy of so many bytes are best: an eighth, so that the CPU and the
 * stream overlap, but not below 256 KiB nor above a slot; up to 64 KiB all at once. 0: a slot. */
TARN_API size_t tarn_staging_piece_bytes(const tarn_staging *staging, size_t total_bytes);

typedef struct tarn_staging_slot {
  void *address;     /* NULL: no slot */
  size_t size_bytes; /* to be used; more or less than what was wanted */
  /* Private. */
  tarn_staging *staging;
  uint32_t index;
} tarn_staging_slot;

/* A slot, behind all that it was marked with; blocks until there is one. `wanted_bytes` only says
 * how large a slot is worth taking: at most 64 KiB are met with a small one; 0 is a whole one. More
 * than a slot holds goes piece by piece. TARN_NOT_READY where all slots belong to captures;
 * TARN_UNAVAILABLE in a child of fork; what the stream answers where it cannot be waited for, and
 * then another try asks another slot. */
TARN_API TARN_NODISCARD tarn_status tarn_staging_acquire(tarn_staging *staging, size_t wanted_bytes,
                                                         tarn_staging_slot *slot);
/* The same without blocking: TARN_NOT_READY where no slot is free, which is an answer and leaves
 * the thread's last error alone. Asks the driver about one slot of each stream at most. */
TARN_API TARN_NODISCARD tarn_status tarn_staging_try_acquire(tarn_staging *staging,
                                                             size_t wanted_bytes,
                                                             tarn_staging_slot *slot);

/* Work enqueued on `stream` by now uses the slot: `size_bytes` more of it, for the statistics. Mark
 * again at will; where another stream's work is not done yet, that is waited for first. NULL and
 * synchronous streams mark nothing. A failure says that the earlier mark, which stays, could not be
 * waited for; then wait for `stream` before the slot is given back. Records one fence. */
TARN_API TARN_NODISCARD tarn_status tarn_staging_mark(const tarn_staging_slot *slot,
                                                      tarn_stream *stream, size_t size_bytes);
/* Blocks until the work that the slot was marked with is done. */
TARN_API TARN_NODISCARD tarn_status tarn_staging_await(const tarn_staging_slot *slot);
/* Gives the slot back and clears *slot; one that has no address is left alone. Blocks for nothing,
 * but for the last reference to the ring. */
TARN_API void tarn_staging_give_back(tarn_staging_slot *slot);

typedef struct tarn_staging_stats {
  size_t struct_size;
  size_t slot_count; /* small ones too, and so below */
  size_t slot_bytes; /* of a whole one */
  size_t reserved_bytes;
  size_t held_count; /* slots in somebody's hands */
  size_t held_count_peak;
  size_t pending_count; /* given back, and their work not seen to be done */
  uint64_t acquire_count;
  uint64_t refusal_count; /* try_acquire that found none */
  uint64_t wait_count;    /* acquire that had to wait */
  uint64_t wait_ns;       /* for how long, all threads together */
  uint64_t passed_bytes;  /* as marked */
} tarn_staging_stats;

/* The caller sets stats->struct_size. TARN_UNAVAILABLE in a child of fork. */
TARN_API TARN_NODISCARD tarn_status tarn_staging_stats_of(tarn_staging *staging,
                                                          tarn_staging_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
