/* copy_device.h: runs a copy in which a device's memory takes part, by the calls of its stream. */
#ifndef TENSOR_COPY_DEVICE_H
#define TENSOR_COPY_DEVICE_H

#include "alloc/tarn_stream.h"
#include "tensor/convert.h"
#include "tensor/copy_plan.h"

/* One side of a copy. */
typedef struct tarn__copy_side {
  char *base; /* where the layout's element number 0 lies */
  tarn_layout layout;
  tarn_device device;
} tarn__copy_side;

typedef struct tarn__copy_outcome {
  const char *executor;  /* a literal, as in tarn_copy_report */
  bool is_done;          /* whatever the stream */
  bool is_source_read;   /* nothing that is enqueued reads the source any more */
  uint64_t issued_count; /* calls of the stream, failed ones too: with 0 it has nothing to do */
} tarn__copy_outcome;

/* `plan` is the plan of the two layouts; the sides share a byte only where `is_overlapping`, and
 * then the plan is one run. A failure may leave the destination partly written, and issued_count
 * says whether the stream still works on the two sides. */
tarn_status tarn__copy_device_run(const tarn__copy_side *dst, const tarn__copy_side *src,
                                  size_t element_bytes, const tarn__copy_plan *plan,
                                  bool is_overlapping, tarn_stream *stream,
                                  tarn__copy_outcome *outcome);

/* For sides that share no byte, of the two element types of `convert`: by the stream's kernels
 * where it has such, else staged or by the ring, and the CPU converts what is on the host. */
tarn_status tarn__copy_device_convert(const tarn__copy_side *dst, const tarn__copy_side *src,
                                      const tarn__convert *convert, tarn_dtype dst_type,
                                      tarn_dtype src_type, tarn_stream *stream,
                                      tarn__copy_outcome *outcome);

#endif
