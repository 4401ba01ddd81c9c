/* kernels.h: the copy kernels of a device: loaded when the first one is launched. */
#ifndef CUDA_KERNELS_H
#define CUDA_KERNELS_H

#include "cuda/driver.h"
#include "cuda/kernel_list.h"
#include "cuda/tarn_cuda.h"

#include <stdatomic.h>

/* Device code as the build made it: a fatbin, or PTX that ends with a zero byte. */
extern const unsigned char tarn__kernel_image[];

/* A device's; zeros at first. Threads that come at the same time may each load the module: the one
 * that is second gives its own back. Release pairs with acquire. */
typedef struct tarn__kernels {
  _Atomic(CUmodule) module;                          /* NULL: not loaded */
  _Atomic(CUfunction) functions[TARN__KERNEL_COUNT]; /* of that module, looked up at first use */
  atomic_int refusal; /* the CUresult by which the driver said that it never will; else 0 */
} tarn__kernels;

/* Enqueues so many blocks of a kernel with its arguments, whose struct kernel_list.h names; they
 * are read during the call. The device's context is current, and the thread takes relaxed part in
 * captures (tarn__cuda_enter_relaxed): loading allocates.
 *
 * TARN_NOT_SUPPORTED where there are no kernels for the device, with what the driver said as the
 * native cause, or while it has no memory for them: nothing is enqueued then, and the copy has to
 * go another way. */
TARN_NODISCARD tarn_status tarn__kernels_launch(tarn_cuda *cuda, int32_t device, CUstream stream,
                                                tarn__kernel kernel, uint32_t block_count,
                                                void *arguments);

/* Gives the device's module back. No stream of the library has work left. */
void tarn__kernels_unload(tarn_cuda *cuda, int32_t device);

#endif
