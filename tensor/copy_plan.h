/* copy_plan.h: reduces two layouts of one shape to the fewest runs of bytes; pure arithmetic.
 *
 *     dst  shape 4 1 6 8, strides 96 .. 8 1   \    rank 1, unit 48 elements:
 *     src  shape 4 1 6 8, strides 48 .. 8 1   /    4 rows, one after the other on both sides
 */
#ifndef TENSOR_COPY_PLAN_H
#define TENSOR_COPY_PLAN_H

#include "tensor/tarn_layout.h"

typedef enum tarn__copy_kind {
  TARN__COPY_NONE,    /* no elements */
  TARN__COPY_MEMCPY,  /* one run */
  TARN__COPY_ROWS,    /* runs, evenly spaced on both sides: what a driver copies in one call */
  TARN__COPY_STRIDED, /* anything else */
} tarn__copy_kind;

/* Addresses are relative, in bytes. The run at index (i0, i1, ...) goes
 *
 *     from  src_offset + i0 * src_strides[0] + i1 * src_strides[1] + ...
 *     to    dst_offset + i0 * dst_strides[0] + i1 * dst_strides[1] + ...
 *
 * Dimensions are in the order of the destination, the widest stride first; destination strides are
 * positive (a flipped dimension is walked backwards on both sides), source strides are any. No two
 * dimensions could be one. */
typedef struct tarn__copy_plan {
  tarn__copy_kind kind;
  int32_t rank;      /* of runs: 0 for one run */
  size_t unit_count; /* elements of a run: one or more */
  size_t unit_bytes; /* their length in the destination, and in the source where sizes are equal */
  int64_t shape[TARN_RANK_MAX];
  int64_t dst_strides[TARN_RANK_MAX];
  int64_t src_strides[TARN_RANK_MAX];
  int64_t dst_offset;
  int64_t src_offset;
  uint64_t run_count;
} tarn__copy_plan;

/* Both layouts have one shape, dst does not overlap itself, and all elements lie in memory (so that
 * bytes fit int64_t). The two element sizes differ where the copy converts: then a run has
 * unit_count elements on both sides, and the source's are unit_count * src_element_bytes long. */
void tarn__copy_plan_make(const tarn_layout *dst, const tarn_layout *src, size_t dst_element_bytes,
                          size_t src_element_bytes, tarn__copy_plan *plan);

/* The dimension whose runs a driver should copy in one call, the longest that it can: strides on
 * both sides hold a run. -1 where there is none. */
int32_t tarn__copy_plan_row_dim(const tarn__copy_plan *plan);

/* Calls for tarn_stream_copy_rows that run the plan. */
uint64_t tarn__copy_plan_call_count(const tarn__copy_plan *plan);

/* The same with planes of rows, where a driver takes such in one call: the two dimensions that
 * leave the fewest calls, whose number is returned. A plane's pitch is a whole number of rows and
 * holds all of its rows, on both sides. plane_dim is -1 where there are none, row_dim as above. */
uint64_t tarn__copy_plan_box(const tarn__copy_plan *plan, int32_t *row_dim, int32_t *plane_dim);

#endif
