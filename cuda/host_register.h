/* host_register.h: page-locks host memory that somebody else obtained. */
#ifndef TARN_HOST_REGISTER_H
#define TARN_HOST_REGISTER_H

#include "cuda/cuda_device.h"

/* No larger piece is registered with one call: the kernel modules of drivers since 580 hold a table
 * of 16 bytes per 4 KiB page, which Linux does not hand out from 2 GiB on, and so refuse 512 GiB
 * (NVIDIA/open-gpu-kernel-modules, pull request 1234). */
static const size_t TARN__REGISTERED_BYTES_MAX = (size_t)256 << 30;

/* A range that is registered with one call per piece; the last one may be smaller. */
typedef struct tarn__host_range {
  void *address; /* on a page */
  size_t size_bytes;
  size_t piece_bytes; /* whole pages */
  bool is_read_only;
} tarn__host_range;

/* TARN_NOT_SUPPORTED where a device does not take registered memory, or would see it at another
 * address than the CPU does; with is_read_only, where one does not take memory that it may only
 * read. The message says which. */
TARN_NODISCARD tarn_status tarn__host_register_check(const tarn_cuda *cuda, bool is_read_only);

/* The device's context is current. All of the pieces, portable, or none of them: TARN_BUSY where
 * some of it is registered already, and statuses as tarn__pin_status. */
TARN_NODISCARD tarn_status tarn__host_register(tarn_cuda *cuda, const tarn__host_range *range);
/* Takes it back; where a piece is refused, the earlier ones are registered again. */
TARN_NODISCARD tarn_status tarn__host_unregister(tarn_cuda *cuda, const tarn__host_range *range);

/* The same for a block that is locked as a whole: its seams, where it has any, are noted for copies
 * (seams.h). */
TARN_NODISCARD tarn_status tarn__host_register_block(tarn_cuda *cuda,
                                                     const tarn__host_range *range);
TARN_NODISCARD tarn_status tarn__host_unregister_block(tarn_cuda *cuda,
                                                       const tarn__host_range *range);

/* What a call that locks so many bytes has answered. Where the process may not lock so many, it is
 * TARN_OUT_OF_MEMORY, and the message says which limit would do. */
TARN_NODISCARD tarn_status tarn__pin_status(const tarn_cuda *cuda, CUresult result,
                                            const char *call, size_t size_bytes);

/* What is locked through this driver by tarn, for that message. */
void tarn__pin_count(tarn_cuda *cuda, size_t size_bytes);
void tarn__pin_uncount(tarn_cuda *cuda, size_t size_bytes);

#endif
