/* copy_transpose.c: chooses the kernel, and the order in which tiles are walked.
 *
 * A tile is gathered line by line into a buffer of the first-level cache and leaves it in whole
 * lines of the destination. What bounds the walk is how few pages it touches at a time: the rows of
 * one strip of the destination are as many pages as the processor remembers, and a strip is walked
 * along the lines of the source first, a page of each, so that both sides come back to a page
 * before it is forgotten:
 *
 *        dst   +--+--+--+--       src   +-----+-----+ . . .        1 2 3: the order of the tiles
 *              | 1| 3| 5|               |  1  |  2  |
 *        strip +--+--+--+--             +-----+-----+ . . .
 *              | 2| 4| 6|               |  3  |  4  |
 *              +--+--+--+--             +-----+-----+ . . .
 */
#include "tensor/copy_transpose.h"

#include "tensor/copy_transpose_tile.h"
#include "tensor/cpu_level.h"

enum { LINE_BYTES = 64 };

/* In elements. */
typedef struct tiling {
  int32_t rows, columns, strip_rows;
  int64_t lead_rows, lead_columns; /* what is before the first whole line of src, of dst */
} tiling;

/* By element size, measured: long runs on both sides against lines that fit the first-level cache
 * and pages that the processor remembers. */
typedef struct tile_shape {
  int32_t dst_bytes, src_bytes, strip_rows;
} tile_shape;

static const tile_shape shapes[5] = {
    {64, 256, 1024}, {128, 128, 1024}, {128, 256, 1024}, {256, 256, 1024}, {256, 256, 1024}};

typedef struct spot {
  int64_t strip, strip_end;
  int64_t row, row_end, column, column_end;
} spot;

static inline int64_t at_most(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static inline int64_t step(int64_t at, int64_t lead, int64_t size, int64_t end) {
  return at_most(at < lead ? lead : at + size, end);
}

static inline bool advance(const tarn__transpose *plane, const tiling *tiles, spot *at) {
  at->row = at->row_end;
  if (at->row == at->strip_end) {
    at->column = at->column_end;
    if (at->column == plane->column_count) {
      if (at->strip_end == plane->row_count) return false;
      at->strip = at->strip_end;
      at->strip_end = at_most(at->strip + tiles->strip_rows, plane->row_count);
      at->column = 0;
    }
    at->column_end = step(at->column, tiles->lead_columns, tiles->columns, plane->column_count);
    at->row = at->strip;
  }
  at->row_end = step(at->row, tiles->lead_rows, tiles->rows, at->strip_end);
  return true;
}

/* Elements before the first whole line, where all rows (or lines) have theirs at the same place. */
static inline int64_t lead_count(const char *address, int64_t pitch, size_t bytes) {
  const size_t lead = (size_t)(-(uintptr_t)address % LINE_BYTES);
  return pitch % LINE_BYTES == 0 && lead % bytes == 0 ? (int64_t)(lead / bytes) : 0;
}

static const tarn__tile_kernels *kernels_now(void) {
  switch (tarn__cpu_level_now()) {
    case TARN__CPU_AVX512:
      return &tarn__tile_avx512;
    case TARN__CPU_AVX2:
      return &tarn__tile_avx2;
    case TARN__CPU_PORTABLE:
      break;
  }
  return &tarn__tile_portable;
}

/* Where a size stands in the tables: 1, 2, 4, 8, 16 bytes. */
static int size_index_of(size_t element_bytes) {
  switch (element_bytes) {
    case 1:
      return 0;
    case 2:
      return 1;
    case 4:
      return 2;
    case 8:
      return 3;
    default:
      return 4;
  }
}

void tarn__transpose_run(const tarn__transpose *plane, char *dst, const char *src) {
  const int size_index = size_index_of(plane->element_bytes);
  const int64_t bytes = (int64_t)plane->element_bytes;
  const tarn__tile_kernels *kernels = kernels_now();
  tarn__tile_function *turn = kernels->turn[size_index];
  tiling tiles = {.rows = shapes[size_index].src_bytes >> size_index,
                  .columns = shapes[size_index].dst_bytes >> size_index,
                  .strip_rows = shapes[size_index].strip_rows};
  tarn__tile tile = {.dst = dst,
                     .src = src,
                     .dst_pitch_bytes = plane->dst_pitch_bytes,
                     .src_pitch_bytes = plane->src_pitch_bytes,
                     .is_streaming = plane->is_streaming};
  if (plane->row_count <= tiles.rows && plane->column_count <= tiles.columns) {
    tile.row_count = (int32_t)plane->row_count;
    tile.column_count = (int32_t)plane->column_count;
    turn(&tile);
    if (plane->is_streaming && kernels->finish != NULL) kernels->finish();
    return;
  }
  tiles.lead_rows = lead_count(src, plane->src_pitch_bytes, plane->element_bytes);
  tiles.lead_columns = lead_count(dst, plane->dst_pitch_bytes, plane->element_bytes);
  spot at = {.strip_end = at_most(tiles.lead_rows + tiles.strip_rows, plane->row_count)};
  at.row_end = step(0, tiles.lead_rows, tiles.rows, at.strip_end);
  at.column_end = step(0, tiles.lead_columns, tiles.columns, plane->column_count);
  bool goes_on = true;
  while (goes_on) {
    tile.src = src + at.column * tile.src_pitch_bytes + at.row * bytes;
    tile.dst = dst + at.row * tile.dst_pitch_bytes + at.column * bytes;
    tile.row_count = (int32_t)(at.row_end - at.row);
    tile.column_count = (int32_t)(at.column_end - at.column);
    goes_on = advance(plane, &tiles, &at);
    tile.ahead = goes_on ? src + at.column * tile.src_pitch_bytes + at.row * bytes : NULL;
    turn(&tile);
  }
  if (plane->is_streaming && kernels->finish != NULL) kernels->finish();
}
