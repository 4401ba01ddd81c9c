/* cuda_peer.h: devices that are let in to memory besides its own. */
#ifndef TARN_CUDA_PEER_H
#define TARN_CUDA_PEER_H

#include "cuda/cuda_device.h"

#include "cuda/tarn_cuda_share.h"

enum { TARN__CUDA_ACCESS_MAX = TARN_CUDA_PEERS_MAX + 1 };

typedef struct tarn__cuda_peers {
  int32_t count;
  int32_t devices[TARN_CUDA_PEERS_MAX];
} tarn__cuda_peers;

/* TARN_NOT_SUPPORTED where `device` cannot be let in to memory of `peer`. */
TARN_NODISCARD tarn_status tarn__cuda_check_peer(tarn_cuda *cuda, int32_t device, int32_t peer);

/* A list of the caller's, of devices to be let in to memory of `device`, checked. */
TARN_NODISCARD tarn_status tarn__cuda_peers_init(tarn_cuda *cuda, int32_t device,
                                                 const int32_t *listed, int32_t count,
                                                 tarn__cuda_peers *peers);

/* What cuMemSetAccess takes for memory of `device`: itself, and its peers. How many. */
size_t tarn__cuda_access(const tarn_cuda *cuda, int32_t device, const tarn__cuda_peers *peers,
                         CUmemAccess_flags flags, CUmemAccessDesc access[TARN__CUDA_ACCESS_MAX]);

/* Lets the listed devices in to all that a pool of `device` lends. Its context is current. */
TARN_NODISCARD tarn_status tarn__cuda_open_pool(tarn_cuda *cuda, int32_t device, CUmemoryPool pool,
                                                const int32_t *listed, int32_t count);

/* Whether a side is memory of another GPU than the stream's: a plain copy wants the stream's to be
 * let in to it, where it is virtual or a pool's. */
bool tarn__cuda_is_elsewhere(int32_t own, tarn_device dst, tarn_device src);
/* Whether the driver has the calls that reach each side by its own device, for two GPUs' memory. */
bool tarn__cuda_can_copy_between(const tarn_cuda *cuda);
/* The context of the stream's device is current. TARN_TOO_LARGE for rows beyond counting. */
TARN_NODISCARD tarn_status tarn__cuda_copy_between(tarn_cuda *cuda, CUstream stream,
                                                   const tarn_copy_rows *rows);

#endif
