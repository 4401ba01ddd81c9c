/* tarn_pool.h: the third seam: memory in stream order.
 *
 * A pool lends memory to a stream and takes it back in the order of a stream: a free is a promise
 * that the work enqueued on that stream *so far* is the last to touch the block, not that it has
 * already run. The pool lends the block out again only behind that work.
 *
 * Ordering, in numbered sentences:
 *
 * 1. Memory from tarn_pool_alloc(pool, n, s, ...) may be used by work enqueued on s afterwards, and
 *    by work on any stream that is ordered behind that. Not by the CPU, unless s is NULL (or
 *    synchronous): only then the pool knows that no earlier copy still touches the block.
 * 2. Work on another stream t that uses the block must be ordered before the free, or be noted with
 *    tarn_pool_note_use(pool, p, t) after it was enqueued and before the free.
 * 3. tarn_pool_free(pool, p, s) makes the block available to work enqueued on s afterwards at once,
 *    to other streams behind a fence, and to the CPU once that fence has passed.
 * 4. An out-of-memory answer means that no block could be had in any order: pending blocks were
 *    waited for, searched again, and idle memory was given back before. So an allocation may wait
 *    for streams, and must not be made by a host function of one that uses the pool's memory.
 *
 * A child of fork may use the pools of host memory that it finds, whatever other threads of the
 * parent were doing with them at that moment; fork waits for nothing but their short locks. Blocks
 * that were lent out are so in the child, in its copy of the memory. What threads kept for
 * themselves is the pool's again. Work that was enqueued on streams counts as passed, for it is the
 * parent's (alloc/tarn_stream.h). A call to a provider that was under way in another thread is
 * taken for one that did not happen, or did, whichever is safe: at worst the child never sees that
 * memory again. Pools of a device's or of pinned memory answer TARN_UNAVAILABLE when they are asked
 * for some; freeing, statistics and the release of handles work, and take nothing from the parent.
 * A function that a pool calls (of a provider, of a budget's pressure) may fork, but its child must
 * not return from it: exec or _exit there.
 */
#ifndef TARN_POOL_H
#define TARN_POOL_H

#include "alloc/tarn_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_pool tarn_pool;
typedef struct tarn_share_memory tarn_share_memory; /* tarn_share.h */
typedef struct tarn_trace tarn_trace;               /* tarn_pool_trace.h */
typedef struct tarn_snapshot tarn_snapshot;         /* tarn_pool_snapshot.h */

struct tarn_pause_options;
struct tarn_resume_options;
struct tarn_pause_report;

/* Bytes and counts of a pool, exact whenever no call is under way in it. What is defined as
 * PyTorch's statistics define it: requested <= allocated <= active <= reserved, but that of active
 * bytes paused_bytes may be missing in reserved ones. */
typedef struct tarn_pool_stats {
  size_t struct_size;
  size_t requested_bytes; /* lent out, as asked for */
  size_t allocated_bytes; /* lent out, as rounded by the pool */
  size_t active_bytes;    /* allocated, and freed but not yet seen to be unused by every stream; so
                             are free neighbours that such a block was joined with */
  size_t reserved_bytes;  /* obtained from the provider and not given back */
  size_t requested_bytes_peak;
  size_t allocated_bytes_peak;
  size_t reserved_bytes_peak;
  uint64_t alloc_count;    /* blocks lent out since the pool was made */
  uint64_t free_count;     /* blocks taken back; alloc_count - free_count are live */
  uint64_t provider_calls; /* alloc, reserve, commit, decommit, move and free, to the provider */
  uint64_t fence_count;    /* fences recorded to reuse a block across streams */
  uint64_t wait_count;     /* waits enqueued on a stream, or made by the host, for such a fence */
  uint64_t out_of_memory_count;
  size_t captured_bytes; /* freed, and kept until captures are destroyed; part of active_bytes */
  size_t graph_bytes;    /* captured_bytes, and live blocks that captures have used: none of it goes
                            anywhere before the captures do (alloc/tarn_capture.h) */
  size_t paused_bytes;   /* missing of what is lent out, for now, and not reserved: tarn_pause.h */
} tarn_pool_stats;

typedef struct tarn_pool_attributes {
  size_t struct_size;
  tarn_device device;
  size_t alignment_bytes; /* of every block that was asked for without an alignment */
  int32_t node;           /* operating system's NUMA node; -1 where none is said */
} tarn_pool_attributes;

/* What an implementation fills in; alloc/examples/arena_pool.c is a whole one, counting_pool.c one
 * over another pool. Functions may be called from any thread, several at once; one that fails says
 * why by tarn_fail. tarn calls them under no lock. What the head of this file says of forks is true
 * of tarn's own pools; an implementation's locks are its own to see through one.
 *
 * Required: name, attributes, alloc, free, note_use, stats. trim and decay may be NULL (nothing to
 * give back), destroy too. Arguments arrive checked: size_bytes > 0, alignment_bytes 0 or a power
 * of two, address not NULL, and attributes, stats and *released_bytes cleared (node -1, struct_size
 * set). The stream of alloc and of free may be NULL or synchronous, which both are the calling
 * thread; note_use is called for neither. */
typedef struct tarn_pool_ops {
  size_t struct_size;
  const char *name; /* copied */
  tarn_status (*attributes)(void *context, tarn_pool_attributes *attributes);
  /* *address is NULL already, and stays so on failure. */
  tarn_status (*alloc)(void *context, size_t size_bytes, size_t alignment_bytes,
                       tarn_stream *stream, void **address);
  /* TARN_NOT_FOUND, and nothing changed, where the pool did not lend `address` out. */
  tarn_status (*free)(void *context, void *address, tarn_stream *stream);
  tarn_status (*note_use)(void *context, void *address, tarn_stream *stream);
  tarn_status (*trim)(void *context, size_t keep_bytes, size_t *released_bytes);
  tarn_status (*stats)(void *context, tarn_pool_stats *stats);
  /* Called once, when the last reference is gone and the last block is back: no call is under way,
   * but streams may still work on what was freed, which is to be waited for. */
  void (*destroy)(void *context);
  /* For an implementation that knows by itself when its last block is back, so that tarn need not
   * count them at every call; NULL where it does not. Such a pool has a reference to itself, and
   * close is called when that may be the only one left: from then on the implementation owes one
   * call of tarn_pool_end(pool) as soon as no block is out, here or in the free that brings the
   * last one back. It may be called again, and memory may still be asked for, through a storage or
   * a handle that came up meanwhile: then tarn_pool_retain(pool) takes back a tarn_pool_end. */
  void (*close)(void *context, tarn_pool *pool);
  /* See tarn_pool_decay; *released_bytes is 0 already. */
  tarn_status (*decay)(void *context, uint64_t now_ns, size_t *released_bytes);
  /* As share_range of a provider (tarn_provider.h), for bytes of a block that is lent out. NULL:
   * the pool's memory is this process's alone. */
  tarn_status (*share_range)(void *context, const void *address, size_t size_bytes,
                             tarn_stream *stream, bool may_mark, tarn_share_memory *memory);
  /* The next three make tarn answer TARN_NOT_SUPPORTED where they are NULL. From now on records
   * into `trace`, which lives as long as the pool; NULL: no more. */
  void (*set_trace)(void *context, tarn_trace *trace);
  /* Fills in a snapshot whose fields are 0; the caller deinits it, whatever the answer. */
  tarn_status (*snapshot)(void *context, tarn_snapshot *snapshot);
  tarn_status (*reset_peaks)(void *context);
  /* See tarn_pause.h, all three or none; NULL: TARN_NOT_SUPPORTED, and nothing is ever paused.
   * Arguments arrive checked as far as the pool does not matter; *report is cleared. */
  tarn_status (*pause)(void *context, const struct tarn_pause_options *options,
                       struct tarn_pause_report *report);
  tarn_status (*resume)(void *context, const struct tarn_resume_options *options,
                        struct tarn_pause_report *report);
  bool (*is_paused)(void *context, const void *address);
  /* See tarn_pool_size_of; *size_bytes is 0 already. NULL: TARN_NOT_SUPPORTED. */
  tarn_status (*size_of)(void *context, const void *address, size_t *size_bytes);
} tarn_pool_ops;

/* Makes a pool of an implementation: checks `ops`, completes it, copies it; takes `context`. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_create(const tarn_pool_ops *ops, void *context,
                                                     tarn_pool **pool);

/* For an implementation with `close`: gives up the pool's reference to itself, as the last thing
 * done: the context may be gone then. */
TARN_API void tarn_pool_end(tarn_pool *pool);

/* Shared ownership. A pool also lives as long as any of its blocks: after the last release, the
 * tarn_pool_free of the last block takes the pool down. Hold a handle as long as you allocate:
 * without one a caching pool takes its lock at every call. Whichever call takes a pool down waits
 * for every stream that may still use its memory, so it must not be made by a host function of such
 * a stream. */
TARN_API void tarn_pool_retain(tarn_pool *pool);
TARN_API void tarn_pool_release(tarn_pool *pool);

/* For those who implement a pool and add functions of their own to it: the context of a pool whose
 * operations have this destroy; NULL for any other pool, and for NULL. */
TARN_API void *tarn_pool_context(const tarn_pool *pool, void (*destroy)(void *context));

TARN_API const char *tarn_pool_name(const tarn_pool *pool);
TARN_API const tarn_pool_attributes *tarn_pool_attributes_of(const tarn_pool *pool);

/* At least size_bytes, aligned to the pool's alignment, usable in the order of `stream`. A size of
 * 0 succeeds with a NULL address and counts nowhere. TARN_TOO_LARGE where the size cannot be
 * rounded or exceeds PTRDIFF_MAX; TARN_OUT_OF_MEMORY as sentence 4 says. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_alloc(tarn_pool *pool, size_t size_bytes,
                                                    tarn_stream *stream, void **address);
/* The same with an alignment, a power of two; 0 means the pool's own. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_alloc_aligned(tarn_pool *pool, size_t size_bytes,
                                                            size_t alignment_bytes,
                                                            tarn_stream *stream, void **address);

/* Takes back exactly an address that the pool lent out, from any thread; NULL does nothing. Does
 * not block, and a caching pool makes no driver call, unless it takes a released pool down.
 * TARN_NOT_FOUND for any other address, and for a second free that the first one happened before.
 * Two threads that free the same block at once race for it, as any two writers of the same memory,
 * and that may not be noticed. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_free(tarn_pool *pool, void *address,
                                                   tarn_stream *stream);

/* How many bytes were asked for of the live block that starts at `address`, paused or not: for a
 * caller whose own interface has an address alone, as realloc has. May take the pool's lock.
 * TARN_NOT_FOUND for any other address, and for NULL; TARN_NOT_SUPPORTED, whatever the address, for
 * a pool that does not tell. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_size_of(tarn_pool *pool, const void *address,
                                                      size_t *size_bytes);

/* Says that work enqueued on `stream` by now uses the live block that `address` points into (its
 * start or anywhere inside). Cheap: no driver call. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_note_use(tarn_pool *pool, const void *address,
                                                       tarn_stream *stream);

/* Gives idle memory back to the provider until at most keep_bytes are reserved or nothing idle is
 * left. Memory that a stream may still use is not waited for. `released_bytes` may be NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_trim(tarn_pool *pool, size_t keep_bytes,
                                                   size_t *released_bytes);

/* Gives back, in steps, what was not needed for a while; a pool says which while and what it needs
 * (tarn_caching_options.decay_ns), and one without idle memory of its own releases nothing. To be
 * called now and then, from a thread that has the time, such as tarn_maintenance.h offers; `now_ns`
 * is any clock that does not go back (then nothing happens), and starts with the first call.
 * `released_bytes` may be NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_decay(tarn_pool *pool, uint64_t now_ns,
                                                    size_t *released_bytes);

/* What tarn_storage_export asks of a pool: see share_range above, which this calls.
 * TARN_NOT_SUPPORTED where the pool has none. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_share_range(tarn_pool *pool, const void *address,
                                                          size_t size_bytes, tarn_stream *stream,
                                                          bool may_mark, tarn_share_memory *memory);

/* The caller sets stats->struct_size. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_stats_of(tarn_pool *pool, tarn_pool_stats *stats);

/* The peaks of tarn_pool_stats begin again at what is there now. Counts go on: take differences.
 * TARN_NOT_SUPPORTED for a pool that cannot. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_reset_peaks(tarn_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
