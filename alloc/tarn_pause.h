/* tarn_pause.h: a pool's blocks without their memory for a while, at unchanged addresses.
 *
 *     tarn_pool_pause(pool, options, report)     the machine has the memory back
 *         ... whoever else needs it ...
 *     tarn_pool_resume(pool, options, report)    the same addresses, and the contents where kept
 *
 * A pool pauses where its provider reserves addresses: CUDA virtual memory, pages, the ranges of a
 * NUMA node. Any other answers TARN_NOT_SUPPORTED, and its last error says why.
 *
 * What goes, in numbered sentences:
 *
 * 1. Blocks are chosen by the tag they were lent out with (tarn_tag.h), or all of them. Memory goes
 *    in whole granules of the provider, those of a piece together (tarn_provider_attributes), and a
 *    granule goes only where each of its blocks is chosen, paused or idle: what is nobody's for now
 *    because a graph keeps it, or a thread that came in between, stays with its whole granule; and
 *    so does what is exported to other processes (tarn_share.h).
 *    Bytes of chosen blocks that stay so are told as shared_bytes. A chosen block of which no
 *    granule goes stays live.
 * 2. With TARN_PAUSE_KEEP contents are copied to `backup` before, and back by the resume; what was
 *    asked for of each block, not what was rounded up. With TARN_PAUSE_DISCARD a block that was
 *    paused has undefined contents after the resume, zeros or older bytes, all of it or in part. A
 *    granule that also holds contents which an earlier call kept stays.
 * 3. Idle memory is not a block's: tarn_pool_trim gives it back, before or meanwhile.
 *
 * Order. The pool cannot know who works on a block that is lent out, so pause waits for all work
 * that is enqueued by then on any stream of the process; or, with TARN_PAUSE_NO_WAIT, answers
 * TARN_BUSY where some is left. While a stream is captured, by tarn's knowledge, both calls answer
 * TARN_BUSY: a driver waits for nothing then. A graph that was captured before may own blocks: its
 * addresses stay, and it must not be launched before the resume. From the call on nobody uses the
 * chosen blocks, the CPU neither, until they are live again; that is the caller's part, as it is
 * after tarn_pool_free. tarn_pool_note_use refuses a paused block with TARN_BUSY, but a copy that
 * is enqueued all the same, a kernel or a load by the CPU faults. Neither call returns with work
 * under way.
 *
 * Meanwhile, for a pool with something paused:
 *
 * 4. tarn_pool_alloc goes on, with what memory there is and what can be had. tarn_pool_free takes
 *    paused blocks back: their memory is not obtained again, and what was kept of them is dropped.
 *    Other threads do both while a pause or a resume is under way; a second one of those waits for
 *    the first. trim, decay, snapshots and traces work (a trace has r and s entries for what goes
 *    and comes). The last free still takes a released pool down.
 * 5. Statistics: paused_bytes is what lent blocks miss of their memory. reserved_bytes, and what is
 *    charged to budgets, are less by as much; requested, allocated and active bytes are what they
 *    were: requested <= allocated <= active <= reserved + paused.
 * 6. Pausing what is paused, and resuming what is not, does nothing and is TARN_OK. Tags nest: one
 *    tag may be paused after the other and come back in any order. What shares a granule with a
 *    block that comes back has that part back as well, and is live again where it misses nothing.
 *
 * Failure. Either call that fails has undone what it did:
 *
 * 7. A resume that fails (TARN_OUT_OF_MEMORY mostly, from the machine or a budget, after idle
 *    memory of the pool was given back and pressure functions were called) leaves all of it paused,
 *    and can be tried again.
 * 8. A pause that fails has every block live. Memory that had gone by then was obtained again, and
 *    its contents copied back; with TARN_PAUSE_DISCARD they are gone, as the caller had said they
 *    may be: lost_bytes tells how many.
 * 9. Where the machine refuses to undo too (the memory just given back is somebody else's by now)
 *    the blocks concerned stay paused, with what was kept of them: stuck_bytes is not 0. The state
 *    is whole and statistics say it: tarn_pool_resume is how to go on. Memory that a provider does
 *    not take back when a resume is undone stays reserved, for the next resume.
 *
 * A child of fork finds blocks as they were in the parent: a paused one can be resumed there, if
 * its pool and the backup may be used at all. What another thread had half done is as after a
 * failure.
 *
 * Cost: one call of the provider for each run of neighbouring granules that goes or comes (of at
 * most 64 MiB where contents are kept), one copy for each run of contents; a look at every block of
 * the pool. */
#ifndef TARN_PAUSE_H
#define TARN_PAUSE_H

#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tarn_pause_contents {
  TARN_PAUSE_KEEP = 0,
  TARN_PAUSE_DISCARD = 1,
} tarn_pause_contents;

enum {
  TARN_PAUSE_NO_WAIT = 1u << 0, /* TARN_BUSY instead of waiting for streams */
};

/* A zeroed one with its size and a backup keeps the contents of every block. */
typedef struct tarn_pause_options {
  size_t struct_size;
  tarn_pause_contents contents;
  uint32_t flags;          /* TARN_PAUSE_* */
  const char *const *tags; /* names; "" stands for blocks without one. A name that no thread ever
                              pushed chooses nothing */
  size_t tag_count;        /* 0: every block */
  /* For TARN_PAUSE_KEEP: where contents go, a pool of host memory other than this one; pinned, for
   * a device's, or the driver copies slowly. Alive until they are back. It is asked for blocks of
   * at most 64 MiB, in all as many bytes as go, and gets them back with the resume. */
  tarn_pool *backup;
  /* What copies of a device's memory run on, all of them enqueued and then waited for: nobody else
   * uses it meanwhile. Host memory is copied by the calling thread, and needs none. */
  tarn_stream *stream;
} tarn_pause_options;

typedef struct tarn_resume_options {
  size_t struct_size;
  const char *const *tags; /* as above */
  size_t tag_count;
  tarn_stream *stream; /* as above; needed where a device's contents were kept */
} tarn_resume_options;

/* What a call has done; after a failure what it has left behind. */
typedef struct tarn_pause_report {
  size_t struct_size;
  uint64_t block_count; /* blocks that this call paused; or that live again by it */
  size_t moved_bytes;   /* of memory, that went or came */
  size_t copied_bytes;  /* of contents */
  size_t shared_bytes;  /* pause: of chosen blocks, in granules that stay for others' sake */
  size_t lost_bytes;    /* pause, failed: of memory that is back without its contents */
  size_t stuck_bytes;   /* failed: of memory that could not be put back as it was */
} tarn_pause_report;

/* Without options: TARN_INVALID_ARGUMENT, since contents need a place. `report` may be NULL, or has
 * its struct_size set. Besides what is said above: TARN_INVALID_ARGUMENT for unknown flags, a KEEP
 * without a backup, a backup that is not host memory or is the pool itself, a device's contents
 * without a stream. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_pause(tarn_pool *pool,
                                                    const tarn_pause_options *options,
                                                    tarn_pause_report *report);

/* `options` may be NULL: everything, and copies by the calling thread. TARN_INVALID_ARGUMENT where
 * a device's contents were kept and there is no stream. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_resume(tarn_pool *pool,
                                                     const tarn_resume_options *options,
                                                     tarn_pause_report *report);

/* Whether `address` points into a block that misses memory, for those who would rather ask than
 * fault. False for any other address. Takes the pool's lock. */
TARN_API bool tarn_pool_is_paused(tarn_pool *pool, const void *address);

#ifdef __cplusplus
}
#endif
#endif
