/* tarn_stream_copy.h: copies of more than rows: planes of rows, many spans at once, elements.
 *
 * Streams may lack all three. Planes and spans are then copied by the calls that every stream has;
 * for elements the answer is TARN_NOT_SUPPORTED, and the caller's own way remains (tarn_tensor_copy
 * has one). As with every enqueued copy, both sides stay alive, and the source unchanged, until the
 * stream has passed it (tarn_stream.h). A failure may leave the destination partly written, and the
 * stream at work on both sides; TARN_INVALID_ARGUMENT does not, nor does what a grid answers with
 * TARN_NOT_SUPPORTED.
 */
#ifndef TARN_STREAM_COPY_H
#define TARN_STREAM_COPY_H

#include "alloc/tarn_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `plane_count` times the same rows, planes a pitch apart: the distance from one plane's first byte
 * to the next one's, of either sign on both sides. No row of the destination overlaps another of
 * its rows nor the source. */
struct tarn_copy_planes {
  tarn_copy_rows rows; /* the first plane */
  int64_t dst_pitch_bytes;
  int64_t src_pitch_bytes;
  size_t plane_count;
};

/* One of many plain copies that are enqueued at once. */
struct tarn_copy_span {
  void *dst;
  const void *src;
  size_t size_bytes;
  tarn_device dst_device;
  tarn_device src_device;
};

/* An element type by DLPack's numbers (DLDataType): `lanes` values of `bits` bits each. What a code
 * means is the business of those who make and run grids; this folder passes it on. */
typedef struct tarn_element_type {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} tarn_element_type;

enum { TARN_COPY_GRID_RANK_MAX = 8 };

/* An element-by-element copy: for every index (i0, i1, ...) below `shape`, the element goes
 *
 *     from  src + i0 * src_strides_bytes[0] + i1 * src_strides_bytes[1] + ...
 *     to    dst + i0 * dst_strides_bytes[0] + i1 * dst_strides_bytes[1] + ...
 *
 * Strides are in bytes and may be negative; a source's may be 0, which repeats an element. Elements
 * of the destination do not overlap each other nor the source's. Any order of dimensions is right;
 * the one to expect is the destination's, its smallest stride last.
 *
 * Where the two types are equal, elements of element_bytes bytes are moved as they are and the
 * types are not looked at: whoever makes the grid may take several elements for one, and an element
 * need not be aligned to its size. Where they differ, each element is converted as tarn_tensor_copy
 * converts (tensor/tarn_copy.h), the sizes follow from the types, and element_bytes is 0.
 *
 * The arrays are read during the call only. */
struct tarn_copy_grid {
  void *dst;
  const void *src;
  tarn_device dst_device;
  tarn_device src_device;
  int32_t rank; /* 0: one element; at most TARN_COPY_GRID_RANK_MAX */
  const int64_t *shape;
  const int64_t *dst_strides_bytes;
  const int64_t *src_strides_bytes;
  tarn_element_type dst_type;
  tarn_element_type src_type;
  size_t element_bytes;
};

enum {
  TARN_STREAM_COPIES_PLANES = 1u << 0,
  TARN_STREAM_COPIES_BATCHES = 1u << 1,
  TARN_STREAM_COPIES_GRIDS = 1u << 2,
  TARN_STREAM_COPIES_BY_RING = 1u << 3, /* it has a staging ring (tarn_stream_set_staging) */
};

/* What the stream can do at all, TARN_STREAM_COPIES_*: a particular copy may still be refused. */
TARN_API uint32_t tarn_stream_copy_abilities(const tarn_stream *stream);

/* Enqueues the planes, by tarn_stream_copy_rows one by one where the stream cannot take them at
 * once or pageable memory takes part. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_copy_planes(tarn_stream *stream,
                                                            const tarn_copy_planes *planes);

/* Enqueues `count` copies, at once where the stream can. They are unordered among each other: no
 * destination overlaps another span's destination or source. Spans with pageable memory are copied
 * one by one, as tarn_stream_copy does; those of no bytes are skipped. The array is read during the
 * call only. With count 0 nothing is done, and `spans` may be NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_copy_batch(tarn_stream *stream,
                                                           const tarn_copy_span *spans,
                                                           size_t count);

/* Enqueues an element-by-element copy. TARN_NOT_SUPPORTED, with nothing enqueued, where the stream
 * has no way to do it: it is synchronous or the host's, no kernel converts the pair of types, the
 * device does not reach one of the sides. Pageable memory (TARN_DEVICE_CPU) is never reached by a
 * device's stream this way, but for a source of one element, all of whose strides are 0: that is
 * read during the call, and fills the destination. A grid with an extent of 0 does nothing. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_copy_grid(tarn_stream *stream,
                                                          const tarn_copy_grid *grid);

#ifdef __cplusplus
}
#endif
#endif
