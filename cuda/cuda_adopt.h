/* cuda_adopt.h: a device's memory that another process shared. */
#ifndef TARN_CUDA_ADOPT_H
#define TARN_CUDA_ADOPT_H

#include "cuda/cuda_peer.h"

/* adopt and abandon of tarn_provider_ops. Peers of the provider's device are let in, too. */
TARN_NODISCARD tarn_status tarn__cuda_adopt(tarn_cuda *cuda, const tarn__cuda_peers *peers,
                                            const tarn_share_memory *memory, tarn_stream *stream,
                                            void **address, tarn_device *device);
void tarn__cuda_abandon(tarn_cuda *cuda, void *address);

#endif
