/* copy_grid.h: an element-by-element copy on a CUDA stream, by kernels. */
#ifndef CUDA_COPY_GRID_H
#define CUDA_COPY_GRID_H

#include "alloc/tarn_stream_copy.h"
#include "cuda/cuda_device.h"

/* The copy_grid operation of a stream of the device, on memory of the device itself or page-locked
 * memory, which kernels reach by the same address; the context need not be current. */
TARN_NODISCARD tarn_status tarn__cuda_copy_grid(tarn_cuda *cuda, int32_t device, CUcontext context,
                                                CUstream stream, const tarn_copy_grid *grid);

#endif
