/* tarn_cuda_virtual.h: a GPU's memory by virtual memory management, and what to do without it.
 *
 * Addresses are reserved once, and memory is put behind them granule by granule: a caching pool
 * grows one range in place, gives single granules back, and moves what lies idle to where a large
 * block is asked for.
 *
 * What that costs: per granule or piece, committing takes cuMemCreate, which clears the memory, and
 * cuMemMap, and one cuMemSetAccess for all that a call commits; decommitting takes cuMemRelease for
 * each and one cuMemUnmap for all; moving takes cuMemUnmap, cuMemMap and cuMemSetAccess, and makes
 * and clears nothing. GMLake (ASPLOS 2024, table 1) found memory in chunks of 2 MiB 115 times as
 * dear as one cuMemAlloc of the same 2 GiB, and 1.5 times in chunks of 1 GiB, most of it spent on
 * cuMemSetAccess; vAttention (ASPLOS 2025) about 70 us for a chunk of 2 MiB: so a pool that grows
 * by a gigabyte pays some ten milliseconds once, and afterwards keeps what it has. `tarn bench
 * alloc --on cuda:0 --filter virtual` measures both on the machine at hand.
 */
#ifndef TARN_CUDA_VIRTUAL_H
#define TARN_CUDA_VIRTUAL_H

#include "alloc/tarn_provider.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_cuda tarn_cuda;

typedef struct tarn_cuda_virtual_options {
  size_t struct_size;
  size_t granularity_bytes; /* committed at a time; a power of two; 0: the least the device has */
  size_t piece_bytes;       /* a larger power of two, such as 32 MiB: what one call commits of whole
                               multiples of it comes in so large pieces; 0: none */
  uint32_t flags;           /* TARN_CUDA_VIRTUAL_* of tarn_cuda_share.h */
  int32_t peer_count;       /* of `peers` */
  const int32_t *peers;     /* devices let in to all of the memory, see tarn_cuda_share.h */
} tarn_cuda_virtual_options;

/* Memory of a device that reserves: granules are 2 MiB on every GPU so far. It moves, and prepares
 * (tarn_provider_prepare). Decommitting or moving a granule waits for no work that uses it: a pool
 * does so with what no stream uses any more.
 *
 * Larger granules, or pieces, make fewer driver calls; pieces leave small blocks their small
 * granules, but what a live block uses of a piece keeps all of it from being given back or moved.
 * They are for pools of large blocks that stay, as weights, or that are paused.
 * TARN_NOT_SUPPORTED where the driver or the device has no virtual memory: the message says which.
 * `options` may be NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_virtual_provider_create(
    tarn_cuda *cuda, int32_t device, const tarn_cuda_virtual_options *options,
    tarn_provider **provider);

/* What such a provider holds of the device, over all pools on it: mapped and prepared bytes. */
typedef struct tarn_cuda_virtual_stats {
  size_t struct_size;
  size_t mapped_bytes;     /* committed */
  size_t prepared_bytes;   /* made ahead, and mapped nowhere yet */
  size_t lost_bytes;       /* that the driver refused to take back, since the start */
  uint64_t moved_bytes;    /* handed on by moves, since the start */
  uint64_t created_count;  /* granules and pieces made, ahead or not */
  uint64_t prepared_count; /* of these: made ahead and committed since */
} tarn_cuda_virtual_stats;

/* The caller sets stats->struct_size. TARN_INVALID_ARGUMENT for a provider of another kind. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_virtual_stats_of(const tarn_provider *provider,
                                                               tarn_cuda_virtual_stats *stats);

typedef enum tarn_cuda_memory {
  TARN_CUDA_MEMORY_NONE = 0,
  TARN_CUDA_MEMORY_VIRTUAL = 1, /* tarn_cuda_virtual_provider_create */
  TARN_CUDA_MEMORY_BLOCKS = 2,  /* tarn_cuda_device_provider_create */
} tarn_cuda_memory;

typedef struct tarn_cuda_memory_choice {
  size_t struct_size;
  tarn_cuda_memory memory; /* what tarn_cuda_memory_provider_create would make */
  char reason[256];        /* why it is no better one; "" where there is none better */
} tarn_cuda_memory_choice;

/* Which of the two the device has. The caller sets choice->struct_size. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_memory_choose(tarn_cuda *cuda, int32_t device,
                                                            tarn_cuda_memory_choice *choice);

/* The better of the two providers that the device has, with default options. `memory`, which may be
 * NULL, says which it is; TARN_CUDA_MEMORY_NONE on failure. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_memory_provider_create(tarn_cuda *cuda,
                                                                     int32_t device,
                                                                     tarn_cuda_memory *memory,
                                                                     tarn_provider **provider);

#ifdef __cplusplus
}
#endif
#endif
