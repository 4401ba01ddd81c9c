/* tarn_image.h: rows of pixels with padding, as cameras, codecs and windows have them, as tensors.
 *
 *     memory --> | pad | px px px px | pad | px px px px | pad |
 *                      ^ row 0             ^ row 1 = row 0 + row_pitch_bytes
 *
 * Bottom-up images (BMP, OpenGL, a codec's negative line size) have their first row last in memory,
 * and a negative pitch: `address` is that of the first row, which then lies behind all others.
 */
#ifndef TARN_IMAGE_H
#define TARN_IMAGE_H

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_image {
  size_t struct_size;
  void *address; /* of the first row's first pixel; anything where there are no pixels */
  int64_t height;
  int64_t width;
  int64_t channels;          /* interleaved values of a pixel; 0: one, and no dimension for it */
  tarn_dtype dtype;          /* of one value */
  int64_t row_pitch_bytes;   /* from a row to the next; 0: the rows are packed */
  int64_t pixel_pitch_bytes; /* 0: packed; 4 for the RGB of RGBX bytes */
  /* The memory that the image has to lie in: what was mapped, or what a driver names. Where
   * memory_bytes is 0 the caller is believed. */
  void *memory;
  size_t memory_bytes;
  tarn_device device; /* zero: the CPU */
  uint32_t flags;     /* TARN_STORAGE_READ_ONLY */
  tarn_deleter deleter;
  void *context;
} tarn_image;

/* Wraps an image as a tensor height x width x channels, or height x width, of the same memory; the
 * caller owns the tensor, and the deleter is taken on success. The storage is what the pixels
 * reach, without the last row's padding. Planes of a planar format are images
 * of their own; the two halves of a field's interlaced rows are ones with twice the pitch.
 *
 * Tensors count strides in elements: TARN_NOT_SUPPORTED where a pitch is no multiple of the value's
 * size (wrap it as bytes then). TARN_INVALID_ARGUMENT where rows or pixels would overlap, for
 * negative sizes, an address that is not aligned to the dtype, and pixels outside of the memory,
 * with the numbers; TARN_TOO_LARGE where something overflows. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_wrap_image(const tarn_image *image,
                                                           tarn_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
