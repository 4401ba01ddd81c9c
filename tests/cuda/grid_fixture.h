/* grid_fixture.h: random grids of elements in a device's memory, and how the CPU copies them. */
#ifndef GRID_FIXTURE_H
#define GRID_FIXTURE_H

#include "alloc/tarn_stream_copy.h"
#include "tests/cuda/cuda_fixture.h"

enum { GRID_RANK_MAX = TARN_COPY_GRID_RANK_MAX };

uint64_t grid_random(uint64_t *state);
uint64_t grid_below(uint64_t *state, uint64_t end);

/* A grid whose addresses are offsets into two blocks of memory, each with room to spare. */
typedef struct grid_case {
  int32_t rank;
  int64_t shape[GRID_RANK_MAX];
  int64_t dst_strides[GRID_RANK_MAX];
  int64_t src_strides[GRID_RANK_MAX];
  size_t dst_bytes; /* of an element */
  size_t src_bytes;
  size_t dst_offset; /* of the element at index 0 */
  size_t src_offset;
  size_t dst_extent; /* of the memory that the block must have */
  size_t src_extent;
} grid_case;

/* How the strides of one side come about. */
typedef struct grid_side {
  int32_t order[GRID_RANK_MAX]; /* fastest first */
  int64_t gaps[GRID_RANK_MAX];  /* elements left out behind each dimension */
  bool is_turned[GRID_RANK_MAX];
  bool is_repeated[GRID_RANK_MAX];
  size_t offset; /* bytes in front */
} grid_side;

/* Sets strides, offsets and extents of both sides. */
void grid_lay(grid_case *made, const grid_side *dst, const grid_side *src);
/* A dense side whose dimensions are fastest in the order given. */
grid_side grid_dense(int32_t rank, const int32_t *order);
/* Anything: `most` bounds the number of elements; aligned ones lie at multiples of their size. */
void grid_make_random(grid_case *made, uint64_t *state, size_t dst_bytes, size_t src_bytes,
                      bool is_aligned, int64_t most);

/* Calls `each` with both addresses of every element. */
typedef void (*grid_function)(void *context, char *dst, const char *src);
void grid_walk(const grid_case *self, char *dst, const char *src, grid_function each,
               void *context);

/* Of every test that checks: fixture_setup, with memory for what is checked. */
int grid_setup(void **state);
int grid_teardown(void **state);

/* Copies on the device, or converts between two types where they differ, and compares with what
 * `each` makes of the same bytes on the CPU; the bytes around the elements too. `src` bytes are
 * random where NULL. TARN_NOT_SUPPORTED is handed back. */
typedef struct grid_types {
  tarn_element_type dst, src;
} grid_types;
tarn_status grid_check(tarn_cuda *cuda, tarn_stream *stream, const grid_case *self,
                       grid_types types, const char *src_bytes, grid_function each, void *context);

#endif
