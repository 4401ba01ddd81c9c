/* posix_callbacks.c: malloc and its kin over a pool whose memory the CPU may touch. */
#include <string.h>

#include "alloc/adapters/callbacks/callbacks.h"

static __attribute__((noinline)) void *refuse_device(const tarn_callbacks *self) {
  const tarn_status status =
      tarn_fail(TARN_NOT_SUPPORTED, "pool %s: its memory is not the CPU's to touch",
                tarn_pool_name(self->pool));
  (void)status; /* the shape answers NULL alone */
  return NULL;
}

void *tarn_callbacks_malloc(void *callbacks, size_t size_bytes) {
  tarn_callbacks *self = callbacks;
  if (!self->is_host) return refuse_device(self);
  void *address;
  const size_t wanted_bytes = size_bytes + (size_bytes == 0);
  const tarn_status status = tarn_pool_alloc(self->pool, wanted_bytes, /*stream=*/NULL, &address);
  return status == TARN_OK ? address : NULL;
}

void *tarn_callbacks_calloc(void *callbacks, size_t count, size_t size_bytes) {
  size_t total_bytes;
  /* What overflows is more than any pool has. */
  if (!tarn_size_mul(count, size_bytes, &total_bytes)) total_bytes = SIZE_MAX;
  void *address = tarn_callbacks_malloc(callbacks, total_bytes);
  if (address != NULL) memset(address, 0, total_bytes);
  return address;
}

void *tarn_callbacks_aligned_alloc(void *callbacks, size_t alignment_bytes, size_t size_bytes) {
  tarn_callbacks *self = callbacks;
  if (!self->is_host) return refuse_device(self);
  void *address = NULL;
  if (!tarn_is_power_of_two(alignment_bytes)) {
    const tarn_status status =
        tarn_fail(TARN_INVALID_ARGUMENT, "alignment %zu is not a power of two", alignment_bytes);
    (void)status; /* the shape answers NULL alone */
    return NULL;
  }
  const tarn_status status = tarn_pool_alloc_aligned(self->pool, size_bytes + (size_bytes == 0),
                                                     alignment_bytes, /*stream=*/NULL, &address);
  return status == TARN_OK ? address : NULL;
}

void *tarn_callbacks_realloc(void *callbacks, void *address, size_t size_bytes) {
  tarn_callbacks *self = callbacks;
  if (address == NULL) return tarn_callbacks_malloc(self, size_bytes);
  size_t old_bytes;
  if (tarn_pool_size_of(self->pool, address, &old_bytes) != TARN_OK) return NULL;
  /* What shrinks by half and more gives memory back, if it can. */
  if (size_bytes <= old_bytes && size_bytes >= old_bytes / 2) return address;
  void *moved = tarn_callbacks_malloc(self, size_bytes);
  if (moved == NULL) return size_bytes <= old_bytes ? address : NULL;
  memcpy(moved, address, size_bytes < old_bytes ? size_bytes : old_bytes);
  tarn__callbacks_give_back_now(self, address);
  return moved;
}

void tarn_callbacks_posix_free(void *callbacks, void *address) {
  tarn__callbacks_give_back_now(callbacks, address);
}
