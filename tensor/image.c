/* image.c: images with padded rows as tensors. */
#include "tensor/tarn_image.h"

#include <inttypes.h>

/* An image's numbers with what was left out filled in: bytes. */
typedef struct geometry {
  int64_t value;
  int64_t channels; /* at least 1 */
  int64_t pixel_pitch;
  int64_t row_pitch;
} geometry;

static tarn_status overflows(const tarn_image *image) {
  return tarn_fail(TARN_TOO_LARGE,
                   "an image of %" PRId64 " x %" PRId64 " x %" PRId64 ", rows %" PRId64
                   " bytes apart",
                   image->height, image->width, image->channels, image->row_pitch_bytes);
}

/* Fills in the pitches, and sees that pixels and rows keep apart. */
static tarn_status complete(const tarn_image *image, geometry *found) {
  int64_t pixel_bytes, row_bytes;
  found->channels = image->channels != 0 ? image->channels : 1;
  if (!tarn_int64_mul(found->channels, found->value, &pixel_bytes)) return overflows(image);
  found->pixel_pitch = image->pixel_pitch_bytes != 0 ? image->pixel_pitch_bytes : pixel_bytes;
  if (found->pixel_pitch < pixel_bytes) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pixels of %" PRId64 " bytes, %" PRId64 " bytes apart",
                     pixel_bytes, found->pixel_pitch);
  }
  /* The last pixel of a row ends with its values, not with its pitch. */
  const int64_t gap_count = image->width > 0 ? image->width - 1 : 0;
  if (!tarn_int64_mul(gap_count, found->pixel_pitch, &row_bytes) ||
      !tarn_int64_add(row_bytes, image->width > 0 ? pixel_bytes : 0, &row_bytes)) {
    return overflows(image);
  }
  found->row_pitch = image->row_pitch_bytes;
  if (found->row_pitch == 0 &&
      !tarn_int64_mul(image->width, found->pixel_pitch, &found->row_pitch)) {
    return overflows(image);
  }
  if (found->row_pitch == INT64_MIN) return overflows(image);
  const int64_t apart = found->row_pitch < 0 ? -found->row_pitch : found->row_pitch;
  if (image->height > 1 && apart < row_bytes) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "rows of %" PRId64 " bytes, %" PRId64 " bytes apart",
                     row_bytes, found->row_pitch);
  }
  return TARN_OK;
}

static tarn_status measure(const tarn_image *image, geometry *found) {
  *found = (geometry){0};
  if (image == NULL || image->struct_size != sizeof *image) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_image with struct_size %zu is needed",
                     sizeof *image);
  }
  tarn_status status = tarn_dtype_check(image->dtype);
  if (status != TARN_OK) return status;
  if (image->height < 0 || image->width < 0 || image->channels < 0 ||
      image->pixel_pitch_bytes < 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "an image of %" PRId64 " x %" PRId64 " x %" PRId64 ", pixels %" PRId64
                     " bytes apart",
                     image->height, image->width, image->channels, image->pixel_pitch_bytes);
  }
  found->value = (int64_t)tarn_dtype_size_bytes(image->dtype);
  status = complete(image, found);
  if (status != TARN_OK) return status;
  if (found->row_pitch % found->value == 0 && found->pixel_pitch % found->value == 0) {
    return TARN_OK;
  }
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "pitches of %" PRId64 " and %" PRId64 " bytes are no multiples of the %" PRId64
                   " of a value: wrap the rows as bytes",
                   found->row_pitch, found->pixel_pitch, found->value);
}

/* What the pixels reach, and where the first one lies in it. */
static tarn_status place(const tarn_image *image, const geometry *found, const tarn_layout *layout,
                         tarn_blob *blob, size_t *offset_bytes) {
  int64_t first, end;
  tarn_layout_bounds(layout, &first, &end);
  if (end == first) return TARN_OK; /* nowhere: the blob stays empty */
  const uintptr_t address = (uintptr_t)image->address;
  int64_t front, size;
  if (!tarn_int64_mul(-first, found->value, &front) ||
      !tarn_int64_mul(end - first, found->value, &size) || (uint64_t)front > address) {
    return overflows(image);
  }
  const uintptr_t lowest = address - (uintptr_t)front;
  const uintptr_t memory = image->memory_bytes != 0 ? (uintptr_t)image->memory : lowest;
  const size_t memory_bytes = image->memory_bytes != 0 ? image->memory_bytes : (size_t)size;
  if (lowest < memory || lowest - memory > memory_bytes ||
      (size_t)size > memory_bytes - (lowest - memory)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "the image's %" PRId64 " bytes at %p do not lie in %zu bytes at %p", size,
                     (void *)lowest, memory_bytes, (void *)memory);
  }
  blob->address = (void *)lowest;
  blob->size_bytes = (size_t)size;
  *offset_bytes = (size_t)front;
  return TARN_OK;
}

tarn_status tarn_tensor_wrap_image(const tarn_image *image, tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  *tensor = (tarn_tensor){0};
  geometry found;
  tarn_status status = measure(image, &found);
  if (status != TARN_OK) return status;
  const int32_t rank = image->channels != 0 ? 3 : 2;
  const int64_t shape[] = {image->height, image->width, found.channels};
  const int64_t strides[] = {found.row_pitch / found.value, found.pixel_pitch / found.value, 1};
  tarn_layout layout;
  status = tarn_layout_init_strided(&layout, rank, shape, strides, /*offset=*/0);
  if (status != TARN_OK) return status;
  tarn_blob blob = {.struct_size = sizeof blob,
                    .device = image->device,
                    .flags = image->flags,
                    .deleter = image->deleter,
                    .context = image->context};
  size_t offset_bytes = 0;
  status = place(image, &found, &layout, &blob, &offset_bytes);
  if (status != TARN_OK) return status;
  return tarn_tensor_wrap(&blob, image->dtype, rank, shape, strides, offset_bytes, tensor);
}
