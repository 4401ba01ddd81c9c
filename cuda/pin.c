/* pin.c: page-locks memory that somebody else owns, for as long as it is wanted. */
#include "cuda/host_register.h"

#include <stdlib.h>
#include <unistd.h>

struct tarn_cuda_pin {
  tarn_cuda *cuda; /* retained */
  CUcontext context;
  tarn__host_range range;
};

/* The whole pages that the bytes lie on: the driver locks no less. */
static bool pages_around(const void *address, size_t size_bytes, tarn__host_range *range) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const uintptr_t start = (uintptr_t)address & ~(uintptr_t)(page_bytes - 1);
  size_t end = 0;
  if (!tarn_size_add((uintptr_t)address, size_bytes, &end) ||
      !tarn_size_round_up(end, page_bytes, &end)) {
    return false;
  }
  range->address = (void *)start;
  range->size_bytes = end - start;
  range->piece_bytes = TARN__REGISTERED_BYTES_MAX;
  return true;
}

static tarn_status lock_pages(tarn_cuda_pin *self) {
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = tarn__host_register_block(self->cuda, &self->range);
  tarn__cuda_leave(&scope);
  return status;
}

tarn_status tarn_cuda_pin_create(tarn_cuda *cuda, const void *address, size_t size_bytes,
                                 uint32_t flags, tarn_cuda_pin **pin) {
  if (pin == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pin is NULL");
  *pin = NULL;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  if (address == NULL || size_bytes == 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu bytes at %p are nothing to pin", size_bytes,
                     address);
  }
  if ((flags & ~(uint32_t)TARN_CUDA_PIN_READ_ONLY) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown flags 0x%x of a pin", flags);
  }
  tarn__host_range range = {.is_read_only = (flags & TARN_CUDA_PIN_READ_ONLY) != 0};
  if (!pages_around(address, size_bytes, &range)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes at %p reach beyond the address space", size_bytes,
                     address);
  }
  CUcontext context;
  tarn_status status = tarn__host_register_check(cuda, range.is_read_only);
  if (status == TARN_OK) status = tarn__cuda_context(cuda, /*device=*/0, &context);
  if (status != TARN_OK) return status;
  tarn_cuda_pin *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a pin's handle");
  *made = (tarn_cuda_pin){.cuda = cuda, .context = context, .range = range};
  status = lock_pages(made);
  if (status != TARN_OK) {
    free(made);
    return status;
  }
  tarn_cuda_retain(cuda);
  *pin = made;
  return TARN_OK;
}

void tarn_cuda_pin_destroy(tarn_cuda_pin *pin) {
  if (pin == NULL) return;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(pin->cuda, pin->context, &scope);
  if (status == TARN_OK) {
    status = tarn__host_unregister_block(pin->cuda, &pin->range);
    tarn__cuda_leave(&scope);
  }
  (void)status; /* the pages then stay locked as long as the driver's context, or their process */
  tarn_cuda_release(pin->cuda);
  free(pin);
}

/* --- a blob that is pinned as long as its storage --- */

typedef struct pinned_blob {
  tarn_cuda_pin *pin;
  tarn_deleter deleter; /* the owner's */
  void *context;
} pinned_blob;

static void unpin_and_delete(void *context) {
  pinned_blob *self = context;
  tarn_cuda_pin_destroy(self->pin);
  if (self->deleter != NULL) self->deleter(self->context);
  free(self);
}

/* Read-only bytes are pinned for reading alone where the devices know that; where not, it depends
 * on the pages whether the driver takes them. */
static tarn_status pin_blob(tarn_cuda *cuda, const tarn_blob *blob, tarn_cuda_pin **pin) {
  uint32_t flags = 0;
  if ((blob->flags & TARN_STORAGE_READ_ONLY) != 0 && cuda != NULL &&
      tarn__host_register_check(cuda, /*is_read_only=*/true) == TARN_OK) {
    flags = TARN_CUDA_PIN_READ_ONLY;
  }
  return tarn_cuda_pin_create(cuda, blob->address, blob->size_bytes, flags, pin);
}

tarn_status tarn_cuda_pinned_wrap(tarn_cuda *cuda, const tarn_blob *blob, tarn_storage **storage) {
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  *storage = NULL;
  if (blob == NULL || blob->struct_size != sizeof *blob) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_blob with struct_size %zu is needed",
                     sizeof *blob);
  }
  const bool is_plain = blob->device.type == 0 || blob->device.type == TARN_DEVICE_CPU;
  if (!is_plain) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a blob on device type %d cannot be pinned",
                     (int)blob->device.type);
  }
  pinned_blob *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a blob's record");
  self->deleter = blob->deleter;
  self->context = blob->context;
  tarn_status status = pin_blob(cuda, blob, &self->pin);
  if (status == TARN_OK) {
    tarn_blob pinned = *blob;
    pinned.device = tarn_device_make(TARN_DEVICE_CUDA_HOST, 0);
    pinned.deleter = unpin_and_delete;
    pinned.context = self;
    status = tarn_storage_wrap(&pinned, storage);
    if (status != TARN_OK) tarn_cuda_pin_destroy(self->pin);
  }
  if (status != TARN_OK) free(self);
  return status;
}
