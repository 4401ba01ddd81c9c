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
#include "tensor/tarn_layout.h"

enum { LINE_BYTES = 64 };

/* Planes that are no more together are likely to be in the first-level cache, or so soon done that
 * calling for them costs more than it saves. */
enum { NEAR_BYTES = 8192 };

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
    {64, 256, 1024}, {128, 256, 2048}, {128, 256, 1024}, {256, 256, 1024}, {256, 256, 1024}};

/* Where rows are streamed that do not start at whole lines. */
static const tile_shape carried_shapes[5] = {
    {128, 128, 512}, {256, 64, 512}, {256, 128, 512}, {256, 256, 512}, {256, 256, 512}};

/* A line for each row of a strip waits on the stack. */
enum { CARRIED_ROWS = 512 };

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

/* A kernel whose vectors a row of the destination can fill. */
static const tarn__tile_kernels *choose_kernels(int64_t row_bytes) {
  const tarn__cpu_level level = tarn__cpu_level_now();
  if (level == TARN__CPU_AVX512 && row_bytes >= 64) return &tarn__tile_avx512;
  if (level >= TARN__CPU_AVX2 && row_bytes >= 32) return &tarn__tile_avx2;
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

/* True where all rows start at whole lines, or all as far before one. */
static bool has_whole_lines(const tarn__transpose *plane, const char *dst) {
  return plane->dst_pitch_bytes % LINE_BYTES == 0 && (uintptr_t)dst % plane->element_bytes == 0;
}

typedef struct run {
  const tarn__transpose *plane;
  const tarn__tile_kernels *kernels;
  tarn__tile_function *turn;
  tarn__tile tile; /* what all tiles have in common */
  tiling tiles;
} run;

/* One plane of several tiles; `carried` has a line for each row of a strip. */
static void walk_plane(const run *self, char *dst, const char *src, char *carried) {
  const tarn__transpose *plane = self->plane;
  const int64_t bytes = (int64_t)plane->element_bytes;
  tiling whole = self->tiles, *tiles = &whole;
  tarn__tile tile = self->tile;
  if (carried != NULL && tiles->strip_rows > CARRIED_ROWS) tiles->strip_rows = CARRIED_ROWS;
  tiles->lead_rows = lead_count(src, plane->src_pitch_bytes, plane->element_bytes);
  tiles->lead_columns = lead_count(dst, plane->dst_pitch_bytes, plane->element_bytes);
  spot at = {.strip_end = at_most(tiles->lead_rows + tiles->strip_rows, plane->row_count)};
  at.row_end = step(0, tiles->lead_rows, tiles->rows, at.strip_end);
  at.column_end = step(0, tiles->lead_columns, tiles->columns, plane->column_count);
  bool goes_on = true;
  while (goes_on) {
    tile.src = src + at.column * tile.src_pitch_bytes + at.row * bytes;
    tile.dst = dst + at.row * tile.dst_pitch_bytes + at.column * bytes;
    tile.row_count = (int32_t)(at.row_end - at.row);
    tile.column_count = (int32_t)(at.column_end - at.column);
    if (carried != NULL) {
      tile.carried = carried + (at.row - at.strip) * LINE_BYTES;
      tile.is_first = at.column == 0;
      tile.is_last = at.column_end == plane->column_count;
    }
    goes_on = advance(plane, tiles, &at);
    tile.ahead = goes_on ? src + at.column * tile.src_pitch_bytes + at.row * bytes : NULL;
    self->turn(&tile);
  }
}

static void __attribute__((noinline)) carry_lines(const run *self, char *dst, const char *src) {
  char carried[(CARRIED_ROWS + LINE_BYTES) * LINE_BYTES];
  walk_plane(self, dst, src, carried);
}

static void turn_plane(const run *self, char *dst, const char *src) {
  if (self->tile.is_streaming && !has_whole_lines(self->plane, dst)) {
    carry_lines(self, dst, src);
  } else {
    walk_plane(self, dst, src, /*carried=*/NULL);
  }
}

/* Steps the index, the last dimension first; false after the last plane. */
static inline bool step_plane(int32_t rank, const int64_t *shape, const int64_t *dst_strides,
                              const int64_t *src_strides, int64_t *index, char **dst,
                              const char **src) {
  for (int32_t d = rank - 1; d >= 0; d--) {
    if (++index[d] < shape[d]) {
      *dst += dst_strides[d];
      *src += src_strides[d];
      return true;
    }
    *dst -= (shape[d] - 1) * dst_strides[d];
    *src -= (shape[d] - 1) * src_strides[d];
    index[d] = 0;
  }
  return false;
}

static inline __attribute__((always_inline)) run prepare(const tarn__transpose *plane,
                                                         const char *dst) {
  const int size_index = size_index_of(plane->element_bytes);
  const int64_t row_bytes = plane->column_count << size_index;
  const tarn__tile_kernels *kernels = choose_kernels(row_bytes);
  const bool is_streaming =
      plane->is_streaming && row_bytes >= LINE_BYTES && kernels->finish != NULL;
  const tile_shape *shape = is_streaming && !has_whole_lines(plane, dst)
                                ? &carried_shapes[size_index]
                                : &shapes[size_index];
  return (run){.plane = plane,
               .kernels = kernels,
               .turn = kernels->turn[size_index],
               .tile = {.dst_pitch_bytes = plane->dst_pitch_bytes,
                        .src_pitch_bytes = plane->src_pitch_bytes,
                        .is_streaming = is_streaming},
               .tiles = {.rows = shape->src_bytes >> size_index,
                         .columns = shape->dst_bytes >> size_index,
                         .strip_rows = shape->strip_rows}};
}

static bool is_one_tile(const run *self) {
  return self->plane->row_count <= self->tiles.rows &&
         self->plane->column_count <= self->tiles.columns;
}

static void finish(const run *self) {
  if (self->tile.is_streaming) self->kernels->finish();
}

static inline void turn_one_tile(run *self, char *dst, const char *src, const char *next) {
  self->tile.dst = dst;
  self->tile.src = src;
  self->tile.ahead = next;
  self->tile.row_count = (int32_t)self->plane->row_count;
  self->tile.column_count = (int32_t)self->plane->column_count;
  self->tile.is_direct = true;
  self->turn(&self->tile);
}

/* Without a product that might not fit. */
static bool is_near(const tarn__transpose *plane, int32_t rank, const int64_t *shape) {
  uint64_t bytes = plane->element_bytes;
  if (plane->row_count > NEAR_BYTES || plane->column_count > NEAR_BYTES) return false;
  bytes *= (uint64_t)plane->row_count * (uint64_t)plane->column_count;
  for (int32_t d = 0; d < rank && bytes <= NEAR_BYTES; d++) {
    if (shape[d] > NEAR_BYTES) return false;
    bytes *= (uint64_t)shape[d];
  }
  return bytes <= NEAR_BYTES;
}

void tarn__transpose_run(const tarn__transpose *plane, char *dst, const char *src) {
  run self = prepare(plane, dst);
  self.tile.is_near = is_near(plane, 0, NULL);
  if (is_one_tile(&self)) {
    turn_one_tile(&self, dst, src, NULL);
  } else {
    turn_plane(&self, dst, src);
  }
  finish(&self);
}

void tarn__transpose_run_all(const tarn__transpose *plane, int32_t rank, const int64_t *shape,
                             const int64_t *dst_strides, const int64_t *src_strides, char *dst,
                             const char *src) {
  run self = prepare(plane, dst);
  self.tile.is_near = is_near(plane, rank, shape);
  const bool is_small = is_one_tile(&self);
  int64_t index[TARN_RANK_MAX];
  for (int32_t d = 0; d < rank; d++) index[d] = 0;
  bool goes_on = true;
  while (goes_on) {
    char *const to = dst;
    const char *const from = src;
    goes_on = step_plane(rank, shape, dst_strides, src_strides, index, &dst, &src);
    if (is_small) {
      turn_one_tile(&self, to, from, goes_on && !self.tile.is_near ? src : NULL);
    } else {
      turn_plane(&self, to, from);
    }
  }
  finish(&self);
}
