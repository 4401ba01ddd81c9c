/* tarn_cuda_pointer.h: what an address is to the driver, before a blob of somebody's is believed.
 *
 *     tarn_blob blob = {.struct_size = sizeof blob, .address = p, .size_bytes = n, .deleter = ...};
 *     status = tarn_cuda_blob_check(cuda, &blob);           // fills in blob.device, or refuses
 *     if (status == TARN_OK) status = tarn_storage_wrap(&blob, &storage);   // or tarn_tensor_wrap
 *
 * tarn_storage_wrap and tarn_tensor_wrap believe the device that a blob claims: they know no
 * driver. A wrong claim is found by the first copy, in the driver's words, or by nobody. This finds
 * it before, at the cost of one or two calls of the driver.
 */
#ifndef TARN_CUDA_POINTER_H
#define TARN_CUDA_POINTER_H

#include "cuda/tarn_cuda_share.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_cuda_pointer_info {
  size_t struct_size;
  /* Of a storage of this memory: {TARN_DEVICE_CUDA, i}; {TARN_DEVICE_CUDA_HOST, 0} where it is
   * page-locked, by whomever; {TARN_DEVICE_CUDA_MANAGED, i}; {TARN_DEVICE_CPU, 0} where the driver
   * does not know the address: pageable memory, or none at all. */
  tarn_device device;
  bool is_known;      /* to the driver */
  int32_t ordinal;    /* the device that it was allocated or registered with; -1: not known */
  void *range;        /* of the allocation, or of the reserved addresses, that it lies in */
  size_t range_bytes; /* 0 where the driver does not say */
} tarn_cuda_pointer_info;

/* Asks the driver (cuPointerGetAttributes). The caller sets info->struct_size. Whether an address
 * is mapped at all the driver does not know for pageable memory: tarn_extent_check does
 * (tarn_mapping.h). TARN_NOT_SUPPORTED where the driver cannot be asked. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_pointer_info_of(tarn_cuda *cuda, const void *address,
                                                              tarn_cuda_pointer_info *info);

/* Checks what a blob claims, and fills in blob->device where that is zero. Refused, with what the
 * driver says instead, and then the blob is as it was:
 *
 * - another device than the memory's: TARN_INVALID_ARGUMENT. That memory which the CPU reaches is
 *   TARN_DEVICE_CPU is no lie, page-locked and managed or not; it then goes the ways of pageable
 *   memory.
 * - bytes beyond the allocation, or the page-locked range, or reserved addresses without memory:
 *   TARN_NOT_FOUND. Of pageable memory nothing is checked.
 *
 * A blob without an address has nothing to check; one of 0 bytes, to be measured by
 * tarn_tensor_wrap, is checked at its first byte alone. Costs a call of the driver, and one for
 * each piece that was mapped or page-locked at once. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_blob_check(tarn_cuda *cuda, tarn_blob *blob);

#ifdef __cplusplus
}
#endif
#endif
