/* kernels.cu: the copy kernels as a GPU runs them: the bodies of kernel_list.h, one launch each. */
#include "cuda/kernel_device.h"
#include "cuda/kernel_convert.h"
#include "cuda/kernel_list.h"
#include "cuda/kernel_run.h"
#include "cuda/kernel_turn.h"

/* 256 threads, eight blocks to a processor of 2048: at most 32 registers for the copies, which
 * `ptxas` keeps to without spilling; see tests/cuda/test_kernels_build.py. */
#define FLAT(name, arguments, body)                                          \
  extern "C" __global__ void __launch_bounds__(TARN__KERNEL_THREADS)         \
      tarn_##name(const __grid_constant__ arguments given) {                 \
    const arguments *const args = &given;                                    \
    const uint32_t block = blockIdx.x, thread = threadIdx.x;                 \
    body;                                                                    \
  }
#define TILED(name, arguments, load, store)                                  \
  extern "C" __global__ void __launch_bounds__(TARN__KERNEL_THREADS)         \
      tarn_##name(const __grid_constant__ arguments given) {                 \
    __shared__ __align__(16) unsigned char shared[TARN__KERNEL_SHARED_BYTES]; \
    const arguments *const args = &given;                                    \
    const uint32_t block = blockIdx.x, thread = threadIdx.x;                 \
    load;                                                                    \
    __syncthreads();                                                         \
    store;                                                                   \
  }
TARN__KERNELS(FLAT, TILED)
