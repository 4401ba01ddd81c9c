/* copy_staged.h: the steps of a copy by way of packed host memory.
 *
 *     device, strided  --rows-->  packed as the device  --CPU-->  host, strided
 */
#ifndef TENSOR_COPY_STAGED_H
#define TENSOR_COPY_STAGED_H

#include "tensor/copy_device.h"

/* What the elements of a staged copy are on the two sides. */
typedef struct tarn__copy_elements {
  size_t dst_bytes, src_bytes;
  const tarn__convert *convert;  /* NULL: the same bytes */
  tarn_dtype dst_type, src_type; /* where there is one */
} tarn__copy_elements;

/* The elements of `layout` without gaps, in the order in which it has them. What is flipped stays
 * flipped and what is broadcast stays so, with one element for all. Returns how many there are. */
int64_t tarn__copy_pack(const tarn_layout *layout, tarn_layout *packed);

/* `layout` with one index for all along dimensions in which `src` is broadcast. */
tarn_layout tarn__copy_without_broadcast(const tarn_layout *layout, const tarn_layout *src);

/* A side in pageable staging memory, packed as `model` is; its base is to be filled in. */
tarn__copy_side tarn__copy_staging_side(const tarn__copy_side *model, size_t element_bytes,
                                        size_t *size_bytes);

/* From a device's memory into staging memory, and back, directly (copy_direct.h), but outcome's
 * executor stays as it is; and the CPU's step. */
tarn_status tarn__copy_pull(const tarn__copy_side *staging, const tarn__copy_side *src,
                            size_t element_bytes, tarn_stream *stream, tarn__copy_outcome *outcome);
tarn_status tarn__copy_push(const tarn__copy_side *dst, const tarn__copy_side *staging,
                            size_t element_bytes, tarn_stream *stream, tarn__copy_outcome *outcome);
void tarn__copy_on_host(const tarn__copy_side *dst, const tarn__copy_side *src,
                        const tarn__copy_elements *element);

/* The dimension of at least two indices that lies outermost in memory; -1 where there is none. */
int32_t tarn__copy_widest_dim(const tarn_layout *layout);

/* The lower (part 0) or the upper half (part 1) of a side along a dimension. */
tarn__copy_side tarn__copy_half(const tarn__copy_side *side, int32_t dim, int part);

#endif
