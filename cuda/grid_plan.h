/* grid_plan.h: which kernel copies a grid of elements, and with which arguments; no driver. */
#ifndef CUDA_GRID_PLAN_H
#define CUDA_GRID_PLAN_H

#include "alloc/tarn_stream_copy.h"
#include "cuda/kernel_list.h"
#include "cuda/kernels.h"

enum { TARN__GRID_DIMS_MAX = TARN_COPY_GRID_RANK_MAX };

typedef struct tarn__grid_dim {
  int64_t size;
  int64_t dst; /* strides in bytes */
  int64_t src;
} tarn__grid_dim;

/* A grid in as few dimensions as it has: none of size 1, the destination's strides positive and
 * ascending, elements as large as alignment allows. */
typedef struct tarn__grid {
  uint64_t dst;
  uint64_t src;
  int32_t rank;
  tarn__grid_dim dims[TARN__GRID_DIMS_MAX];
  uint32_t dst_bytes; /* of an element: 1, 2, 4, 8 or 16 */
  uint32_t src_bytes;
  bool converts;
  uint8_t dst_type; /* tarn__kernel_type, where it converts */
  uint8_t src_type;
} tarn__grid;

typedef struct tarn__grid_launch {
  tarn__kernel kernel;
  uint32_t block_count;
  union {
    tarn__kernel_run_args run;
    tarn__kernel_turn_args turn;
  } as;
} tarn__grid_launch;

/* TARN_NOT_SUPPORTED where there is no kernel: types that do not convert, elements to convert that
 * are not aligned to their size, or too many dimensions once they are bytes. */
TARN_NODISCARD tarn_status tarn__grid_reduce(const tarn_copy_grid *grid, tarn__grid *reduced);

/* Whether one launch can do it; else it is done in two halves, or more. */
bool tarn__grid_fits(const tarn__grid *grid);
void tarn__grid_halve(const tarn__grid *grid, tarn__grid halves[2]);

/* The launch for a grid that fits one. */
void tarn__grid_plan(const tarn__grid *grid, tarn__grid_launch *launch);

/* The same for a fill with one element at `value`; the grid's source is nowhere. */
void tarn__grid_plan_fill(const tarn__grid *grid, const void *value, tarn__grid_launch *launch);

/* The bytes between the first and the last that one side reaches: *start, and how many. */
size_t tarn__grid_extent(const tarn__grid *grid, bool is_dst, uint64_t *start);

tarn__kernel_divisor tarn__kernel_divisor_of(uint32_t size);

#endif
