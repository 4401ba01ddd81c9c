/* copy_places.h: the two places, and tensors of any layout in them, for tests of copies. */
#ifndef TESTS_COPY_PLACES_H
#define TESTS_COPY_PLACES_H

#include "tests/tensor/two_places.h"

static const tarn_device pageable = {TARN_DEVICE_CPU, 0};
static const tarn_device pinned = {TARN_DEVICE_CUDA_HOST, 0};
static const tarn_device device = {TARN_DEVICE_CUDA, 0};

/* A tensor of any layout over `size_bytes`: of the device, or around `bytes` of the host. */
static inline tarn_tensor place(tarn_device where, void *bytes, size_t size_bytes, tarn_dtype dtype,
                                tarn_layout layout) {
  tarn_tensor tensor = {.dtype = dtype, .layout = layout};
  if (where.type == TARN_DEVICE_CUDA) {
    assert_ok(tarn_storage_create(device_pool, size_bytes, device_stream, &tensor.storage));
  } else {
    const tarn_blob blob = {
        .struct_size = sizeof blob, .address = bytes, .size_bytes = size_bytes, .device = where};
    assert_ok(tarn_storage_wrap(&blob, &tensor.storage));
  }
  return tensor;
}

#endif
