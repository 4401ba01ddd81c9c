/* tarn_umf.h: tarn and Intel's Unified Memory Framework (UMF), in both directions.
 *
 *     umfPoolMalloc ...                                      tarn_pool_alloc ...
 *            |                                                      |
 *     UMF pool of tarn_umf_pool_ops  -------------------->  a caching pool of tarn's
 *            |  over its UMF provider                               |
 *            |                                   tarn_umf_provider_create: a tarn provider
 *            |                                                      |
 *     UMF provider of tarn_umf_provider_ops  <-- or any other --  UMF provider
 *            |
 *     a tarn provider: pages, a NUMA node, pinned memory, a GPU ...
 *
 * Neither UMF's headers nor its library are needed to build this or to load it. The structs named
 * here are UMF's own by their tags: with <umf.h> included as well they are complete.
 *
 *     umf_memory_provider_handle_t below;
 *     umf_memory_pool_handle_t pool;
 *     tarn_umf_provider_params memory = {.struct_size = sizeof memory, .provider = provider};
 *     umfMemoryProviderCreate(tarn_umf_provider_ops(UMF_PROVIDER_OPS_VERSION_CURRENT), &memory,
 *                             &below);
 *     umfPoolCreate(tarn_umf_pool_ops(UMF_POOL_OPS_VERSION_CURRENT), below, NULL,
 *                   UMF_POOL_CREATE_FLAG_OWN_PROVIDER, &pool);
 *     p = umfPoolMalloc(pool, n);
 *
 * UMF has no streams: a pool's memory is lent and taken back in the order of the one stream that
 * it was made with, or of the CPU.
 *
 * UMF 1.0 to 1.2. What UMF takes as an answer (umf_result_t) stands for a status: OUT_OF_MEMORY and
 * TOO_LARGE are UMF_RESULT_ERROR_OUT_OF_HOST_MEMORY, whatever memory it is, as in UMF's own
 * providers; INVALID_ARGUMENT and NOT_FOUND are INVALID_ARGUMENT, NOT_SUPPORTED is itself,
 * UNAVAILABLE is DEPENDENCY_UNAVAILABLE; all else is MEMORY_PROVIDER_SPECIFIC, with tarn's last
 * error from umfMemoryProviderGetLastNativeError.
 *
 * UMF's own defects, as of 1.2, that matter here: its disjoint pool frees pieces of over-aligned
 * blocks that are none: the provider here refuses them, and takes the memory back when it is
 * destroyed. Its jemalloc pool corrupts its heap with two threads over what unmaps memory. Shared
 * memory of its OS provider is wrong for sizes of half pages and, shared with a process, above a
 * page's alignment: neither is asked for here; and by default the kernel refuses to pin it
 * (UMF_MEM_FD_FUNC=memfd_create helps). A pool with UMF_POOL_CREATE_FLAG_DISABLE_TRACKING works
 * over what is here, but for what UMF needs tracking for.
 */
#ifndef TARN_UMF_H
#define TARN_UMF_H

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pool.h"
#include "alloc/tarn_provider.h"

#ifdef __cplusplus
extern "C" {
#endif

struct umf_memory_pool_ops_t;
struct umf_memory_provider_ops_t;
struct umf_memory_provider_t; /* what a umf_memory_provider_handle_t points to */

/* --- UMF's functions --- */

typedef void (*tarn_umf_function)(void);

/* Answers the address of UMF's function of that name, NULL where it is not to be had. */
typedef tarn_umf_function (*tarn_umf_find)(void *context, const char *name);

/* --- a UMF provider as tarn's --- */

enum {
  TARN_UMF_OWN_PROVIDER = 1u << 0, /* umfMemoryProviderDestroy runs with the last reference */
};

typedef struct tarn_umf_provider_options {
  size_t struct_size;
  const char *name;         /* copied; NULL: what UMF calls the provider */
  tarn_device device;       /* where its memory lies; zero: what tarn_umf_provider_ops were given
                               for one of those, else the CPU, which a provider that is called CUDA
                               or LEVEL_ZERO is not taken for */
  size_t granularity_bytes; /* power of two: what is asked for is a multiple; 0: 64 KiB, or the
                               provider's smallest page where that is larger */
  uint32_t flags;           /* TARN_UMF_* */
  tarn_umf_find find;       /* NULL: the functions of the libumf that the process has loaded, in
                               whatever way; where there are several, the first */
  void *find_context;
} tarn_umf_provider_options;

/* A provider whose memory is a UMF provider's: `handle` must stay until the last reference is gone,
 * all pools' among them. It takes the handle with TARN_UMF_OWN_PROVIDER, on TARN_OK. `options` may
 * be NULL. It does not reserve. Blocks are aligned to the UMF provider's smallest page, but to 4096
 * bytes at most, or to 256 where it knows no page or the memory is not the host's. What a provider
 * that answers for inter-process handles has, is of this process alone (TARN_PROVIDER_OF_PROCESS):
 * a child of fork would share it.
 *
 * That UMF's provider cannot give memory is TARN_OUT_OF_MEMORY, with its native error and message;
 * a pool then gives back what is idle and asks again. TARN_UNAVAILABLE where UMF's functions are
 * not found, TARN_INVALID_ARGUMENT where its page is no power of two. */
TARN_API TARN_NODISCARD tarn_status
tarn_umf_provider_create(struct umf_memory_provider_t *handle,
                         const tarn_umf_provider_options *options, tarn_provider **provider);

/* --- a tarn provider as UMF's --- */

/* The `params` of umfMemoryProviderCreate with tarn_umf_provider_ops, read during the call. */
typedef struct tarn_umf_provider_params {
  size_t struct_size;
  tarn_provider *provider; /* retained until the UMF provider is destroyed; NULL: it has no memory,
                              and is the provider that umfPoolCreate asks for with a pool that has
                              its own */
  const char *name;        /* copied; NULL: the provider's */
} tarn_umf_provider_params;

/* UMF's operations over a tarn provider, of the version that the UMF in use knows:
 * UMF_PROVIDER_OPS_VERSION_CURRENT of the headers one compiles with, at most 1.2; 0: 1.2. NULL for
 * what is not 1.x. Static.
 *
 * Sizes are rounded up to the tarn provider's granularity; alignments are powers of two, and one
 * above the provider's own costs as much memory again. Names have letters, digits, _ and - alone,
 * all else becomes _. A free must name a block and its size, or 0 for it, else it is
 * INVALID_ARGUMENT and changes nothing. Destroying the UMF provider gives back whatever was not
 * freed. Where the tarn provider shares (tarn_provider_share) UMF's inter-process handles work:
 * another process of the same user, in the same PID namespace, opens the file through /proc, which
 * needs no right to trace, as long as the first thread of the exporter has not ended. Neither
 * split, merge nor purge is supported. By CTL: stats.allocated_memory and stats.peak_memory.
 *
 * Calls take a lock of the UMF provider's that fork does not know: a child of fork should leave it
 * alone, as all of UMF. */
TARN_API const struct umf_memory_provider_ops_t *tarn_umf_provider_ops(uint32_t version);

/* --- a tarn pool as UMF's --- */

/* The `params` of umfPoolCreate with tarn_umf_pool_ops, read during the call; NULL: all zero. */
typedef struct tarn_umf_pool_params {
  size_t struct_size;
  tarn_pool *pool; /* retained until the UMF pool is destroyed; NULL: a caching pool over the UMF
                          provider that umfPoolCreate was given */
  tarn_stream *stream; /* retained; in its order memory is lent and freed; NULL: the CPU's */
  const char *name;    /* copied; NULL: the pool's */
  /* Of the caching pool; NULL: defaults. */
  const tarn_caching_options *caching;
  const tarn_umf_provider_options *memory; /* without TARN_UMF_OWN_PROVIDER */
} tarn_umf_pool_params;

/* UMF's operations over a tarn pool, of the version that the UMF in use knows:
 * UMF_POOL_OPS_VERSION_CURRENT of the headers one compiles with, at most 1.1; 0: 1.1. NULL for what
 * is not 1.x. Static.
 *
 * A caching pool over the UMF provider is the whole of it: UMF tracks its memory, so that
 * umfPoolByPtr, umfFree and inter-process handles work, and umfPoolDestroy gives all of it back to
 * the UMF provider, blocks that nobody freed too. A pool that was there before (params.pool) is
 * used as it is: UMF does not know where its memory comes from, so those three do not work; its
 * blocks outlive umfPoolDestroy, and may be freed by tarn_pool_free.
 *
 * No bytes are NULL, without an error. free and malloc_usable_size need no size; the latter tells
 * what was asked for. calloc and realloc fill and copy by the stream, so that they work on a GPU's
 * memory as well, where the stream is the GPU's; else they are NULL with the stream's refusal.
 * realloc and malloc_usable_size need a pool that tells sizes (tarn_pool_size_of), or are
 * NOT_SUPPORTED; realloc to less than a block has returns the block. An address that the pool has
 * not lent is INVALID_ARGUMENT. The last error is the thread's.
 *
 * umfPoolTrimMemory gives idle memory back, and is NOT_SUPPORTED where nothing is lent and all was
 * to go, but some stays: a floor, or what a stream still uses. By CTL: stats.used_memory and
 * stats.reserved_memory, as of UMF's own pools, and the fields of tarn_pool_stats by their names
 * (stats.requested_bytes_peak), as 8 bytes; stats.reset_peaks can be run. But stats.alloc_count is
 * UMF's own, for any pool: how many blocks are out. */
TARN_API const struct umf_memory_pool_ops_t *tarn_umf_pool_ops(uint32_t version);

#ifdef __cplusplus
}
#endif
#endif
