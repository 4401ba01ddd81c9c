/* umf_share.h: UMF's inter-process handles of memory that a tarn provider shares. */
#ifndef TARN_UMF_SHARE_H
#define TARN_UMF_SHARE_H

#include "alloc/adapters/umf/umf_blocks.h"
#include "alloc/tarn_provider.h"

/* The bytes that UMF carries to another process. */
typedef struct tarn__umf_handle {
  uint64_t kind;        /* whose bytes these are, and of which version */
  uint64_t file_device; /* of the memory file, as fstat tells: no other one is opened */
  uint64_t file_node;
  uint64_t offset_bytes;
  uint64_t size_bytes;
  int32_t process;
  int32_t descriptor; /* in that process */
} tarn__umf_handle;

/* Describes a block; the descriptor is open until it is closed with the handle's put. */
tarn_status tarn__umf_share(tarn_provider *provider, const tarn__umf_block *block,
                            tarn__umf_handle *handle);

/* Maps what another process, or this one, described: fills in address, size and storage. The handle
 * is not trusted. */
tarn_status tarn__umf_share_open(const tarn__umf_handle *handle, tarn__umf_block *opened);

#endif
