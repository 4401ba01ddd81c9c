/* open_cuda.h: the CUDA driver that tests run on: the machine's own where it has a GPU, else
 * tarn's. */
#ifndef TARN_OPEN_CUDA_H
#define TARN_OPEN_CUDA_H

#include "cuda/tarn_cuda.h"

/* In this order: the environment's TARN_TEST_DRIVER; the machine's driver, where it has a device;
 * the simulated one, found beside the test program as ../sim/libcuda.so.1. TARN_UNAVAILABLE or
 * TARN_NOT_SUPPORTED where there is none of the three. */
tarn_status test_open_cuda(tarn_cuda **cuda);

#endif
