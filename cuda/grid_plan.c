/* grid_plan.c: reduces a grid, chooses its kernel and fills in the launch. */
#include "cuda/grid_plan.h"

#include <string.h>

enum {
  CHUNK_BYTES = 16,
  /* Runs of shorter inner rows are walked across the rows' ends. */
  SHORT_ROW_BYTES = 64,
  /* What a side must be long for to be read or written by tiles: a sector of the caches. */
  SECTOR_BYTES = 32,
  /* Chunks of one run before the next of a few interleaved ones: a block's worth. */
  WINDOW_CHUNKS = TARN__KERNEL_THREADS,
};

/* --- arithmetic --- */

tarn__kernel_divisor tarn__kernel_divisor_of(uint32_t size) {
  uint32_t shift = 0;
  while (shift < 31 && (UINT32_C(1) << shift) < size) shift++;
  const uint64_t power = UINT64_C(1) << shift;
  const uint64_t factor = ((power - size) << 32) / size + 1;
  return (tarn__kernel_divisor){size, (uint32_t)factor, shift};
}

static uint64_t lowest_bit(uint64_t bits) {
  return bits & -bits;
}

static uint64_t magnitude(int64_t stride) {
  return stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
}

static uint32_t up_to(uint64_t value, uint32_t most) {
  return value < most ? (uint32_t)value : most;
}

static uint32_t parts_of(uint64_t size, uint32_t part) {
  return (uint32_t)((size + part - 1) / part);
}

/* --- reducing --- */

/* A power of two that divides both addresses and all strides, from dimension `first` on. */
static uint64_t alignment_of(const tarn__grid *grid, int32_t first, uint64_t more) {
  uint64_t bits = grid->dst | grid->src | more;
  for (int32_t d = first; d < grid->rank; d++) {
    bits |= (uint64_t)grid->dims[d].dst | (uint64_t)grid->dims[d].src;
  }
  return lowest_bit(bits);
}

/* The same elements with a destination that ascends. */
static void sort_dims(tarn__grid *grid) {
  for (int32_t d = 0; d < grid->rank; d++) {
    tarn__grid_dim *dim = &grid->dims[d];
    if (dim->dst >= 0) continue;
    grid->dst += (uint64_t)((dim->size - 1) * dim->dst);
    grid->src += (uint64_t)((dim->size - 1) * dim->src);
    dim->dst = -dim->dst;
    dim->src = -dim->src;
  }
  for (int32_t d = 1; d < grid->rank; d++) {
    const tarn__grid_dim moved = grid->dims[d];
    int32_t at = d;
    for (; at > 0 && grid->dims[at - 1].dst > moved.dst; at--) grid->dims[at] = grid->dims[at - 1];
    grid->dims[at] = moved;
  }
}

static void merge_dims(tarn__grid *grid) {
  int32_t kept = 0;
  for (int32_t d = 0; d < grid->rank; d++) {
    tarn__grid_dim *below = kept > 0 ? &grid->dims[kept - 1] : NULL;
    const tarn__grid_dim *dim = &grid->dims[d];
    if (below != NULL && dim->dst == below->dst * below->size &&
        dim->src == below->src * below->size) {
      below->size *= dim->size;
    } else {
      grid->dims[kept++] = *dim;
    }
  }
  grid->rank = kept;
}

/* Elements that are no power of two, or not aligned to their size, become a dimension of smaller
 * ones. False where there is no room for it. */
static bool make_powers(tarn__grid *grid, size_t element_bytes) {
  const uint32_t unit = up_to(alignment_of(grid, 0, element_bytes), CHUNK_BYTES);
  grid->dst_bytes = grid->src_bytes = unit;
  if (unit == element_bytes) return true;
  if (grid->rank == TARN__GRID_DIMS_MAX) return false;
  memmove(grid->dims + 1, grid->dims, (size_t)grid->rank * sizeof grid->dims[0]);
  grid->dims[0] = (tarn__grid_dim){(int64_t)(element_bytes / unit), unit, unit};
  grid->rank++;
  return true;
}

/* Rows that are dense on both sides are copied by larger elements. */
static void widen(tarn__grid *grid) {
  const uint32_t bytes = grid->dst_bytes;
  tarn__grid_dim *row = &grid->dims[0];
  if (grid->rank == 0 || row->dst != bytes || row->src != bytes) return;
  const uint64_t row_bytes = (uint64_t)row->size * bytes;
  const uint32_t unit = up_to(alignment_of(grid, 1, row_bytes), CHUNK_BYTES);
  if (unit <= bytes) return;
  grid->dst_bytes = grid->src_bytes = unit;
  *row = (tarn__grid_dim){(int64_t)(row_bytes / unit), unit, unit};
  if (row->size > 1) return;
  grid->rank--;
  memmove(grid->dims, grid->dims + 1, (size_t)grid->rank * sizeof grid->dims[0]);
}

/* --- types --- */

enum { INT = 0, UINT = 1, FLOAT = 2, BFLOAT = 4, COMPLEX = 5, BOOL = 6, E4M3FN = 10, E5M2 = 12 };

static const struct {
  uint8_t code, bits; /* DLPack's */
} types[TARN__TYPE_COUNT] = {
    [TARN__TYPE_BOOL] = {BOOL, 8},      [TARN__TYPE_I8] = {INT, 8},
    [TARN__TYPE_I16] = {INT, 16},       [TARN__TYPE_I32] = {INT, 32},
    [TARN__TYPE_I64] = {INT, 64},       [TARN__TYPE_U8] = {UINT, 8},
    [TARN__TYPE_U16] = {UINT, 16},      [TARN__TYPE_U32] = {UINT, 32},
    [TARN__TYPE_U64] = {UINT, 64},      [TARN__TYPE_F16] = {FLOAT, 16},
    [TARN__TYPE_BF16] = {BFLOAT, 16},   [TARN__TYPE_E4M3FN] = {E4M3FN, 8},
    [TARN__TYPE_E5M2] = {E5M2, 8},      [TARN__TYPE_F32] = {FLOAT, 32},
    [TARN__TYPE_F64] = {FLOAT, 64},     [TARN__TYPE_C64] = {COMPLEX, 64},
    [TARN__TYPE_C128] = {COMPLEX, 128},
};

static tarn__kernel_type type_of(tarn_element_type type) {
  if (type.lanes != 1) return TARN__TYPE_COUNT;
  int found = 0;
  while (found < TARN__TYPE_COUNT &&
         (types[found].code != type.code || types[found].bits != type.bits)) {
    found++;
  }
  return (tarn__kernel_type)found;
}

static bool is_complex(int type) {
  return type == TARN__TYPE_C64 || type == TARN__TYPE_C128;
}

static bool is_whole(int type) { /* integers and bool */
  return type <= TARN__TYPE_U64;
}

static bool is_narrow_float(int type) {
  return type >= TARN__TYPE_F16 && type <= TARN__TYPE_E5M2;
}

static bool is_wide_integer(int type) {
  return is_whole(type) && types[type].bits >= 32;
}

/* Sets types and sizes, of parts where complex becomes complex. False where no kernel converts. */
static bool set_types(tarn__grid *grid, tarn__kernel_type dst, tarn__kernel_type src) {
  if (dst == TARN__TYPE_COUNT || src == TARN__TYPE_COUNT) return false;
  if (is_complex(src) && !is_complex(dst) && dst != TARN__TYPE_BOOL) return false;
  if (is_complex(src) && is_complex(dst)) {
    if (grid->rank == TARN__GRID_DIMS_MAX) return false;
    dst = dst == TARN__TYPE_C64 ? TARN__TYPE_F32 : TARN__TYPE_F64;
    src = src == TARN__TYPE_C64 ? TARN__TYPE_F32 : TARN__TYPE_F64;
    memmove(grid->dims + 1, grid->dims, (size_t)grid->rank * sizeof grid->dims[0]);
    grid->dims[0] = (tarn__grid_dim){2, types[dst].bits / 8, types[src].bits / 8};
    grid->rank++;
  }
  grid->converts = true;
  grid->dst_bytes = types[dst].bits / 8u;
  grid->src_bytes = types[src].bits / 8u;
  if (is_narrow_float(dst) && src == TARN__TYPE_I64) src = TARN__TYPE_I64_ODD;
  if (is_narrow_float(dst) && src == TARN__TYPE_U64) src = TARN__TYPE_U64_ODD;
  grid->dst_type = (uint8_t)dst;
  grid->src_type = (uint8_t)src;
  return true;
}

/* Each side at multiples of its own elements. */
static bool are_elements_aligned(const tarn__grid *grid) {
  uint64_t dst = grid->dst, src = grid->src;
  for (int32_t d = 0; d < grid->rank; d++) {
    dst |= (uint64_t)grid->dims[d].dst;
    src |= (uint64_t)grid->dims[d].src;
  }
  return dst % grid->dst_bytes == 0 && src % grid->src_bytes == 0;
}

static tarn_status reduce_conversion(const tarn_copy_grid *grid, tarn__grid *reduced) {
  if (!set_types(reduced, type_of(grid->dst_type), type_of(grid->src_type))) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "no kernel converts DLPack's type (%d, %d bits, %d lanes) to (%d, %d, %d)",
                     grid->src_type.code, grid->src_type.bits, grid->src_type.lanes,
                     grid->dst_type.code, grid->dst_type.bits, grid->dst_type.lanes);
  }
  if (!are_elements_aligned(reduced)) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "a kernel for elements that are not aligned to their size");
  }
  merge_dims(reduced);
  return TARN_OK;
}

/* Integers of one width become each other as they are. */
static size_t moved_bytes(const tarn_copy_grid *grid) {
  if (grid->element_bytes != 0) return grid->element_bytes;
  const tarn__kernel_type dst = type_of(grid->dst_type), src = type_of(grid->src_type);
  const bool is_same = dst < TARN__TYPE_COUNT && src < TARN__TYPE_COUNT && is_whole(dst) &&
                       is_whole(src) && dst != TARN__TYPE_BOOL && src != TARN__TYPE_BOOL &&
                       types[dst].bits == types[src].bits;
  return is_same ? types[dst].bits / 8u : 0;
}

tarn_status tarn__grid_reduce(const tarn_copy_grid *grid, tarn__grid *reduced) {
  *reduced = (tarn__grid){.dst = (uintptr_t)grid->dst, .src = (uintptr_t)grid->src};
  for (int32_t d = grid->rank - 1; d >= 0; d--) {
    if (grid->shape[d] == 1) continue;
    reduced->dims[reduced->rank++] =
        (tarn__grid_dim){grid->shape[d], grid->dst_strides_bytes[d], grid->src_strides_bytes[d]};
  }
  sort_dims(reduced);
  merge_dims(reduced);
  const size_t element_bytes = moved_bytes(grid);
  if (element_bytes == 0) return reduce_conversion(grid, reduced);
  if (!make_powers(reduced, element_bytes)) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "a kernel for %d dimensions of elements of %zu bytes that are not aligned",
                     (int)reduced->rank, element_bytes);
  }
  merge_dims(reduced);
  widen(reduced);
  return TARN_OK;
}

size_t tarn__grid_extent(const tarn__grid *grid, bool is_dst, uint64_t *start) {
  size_t extent = is_dst ? grid->dst_bytes : grid->src_bytes;
  *start = is_dst ? grid->dst : grid->src;
  for (int32_t d = 0; d < grid->rank; d++) {
    const int64_t stride = is_dst ? grid->dims[d].dst : grid->dims[d].src;
    const size_t reach = (size_t)(grid->dims[d].size - 1) * magnitude(stride);
    extent += reach;
    if (stride < 0) *start -= reach;
  }
  return extent;
}

/* --- cutting --- */

bool tarn__grid_fits(const tarn__grid *grid) {
  int64_t count = 1;
  for (int32_t d = 0; d < grid->rank; d++) {
    if (__builtin_mul_overflow(count, grid->dims[d].size, &count)) return false;
  }
  return count <= TARN__KERNEL_ITEMS_MAX / 4; /* items may be more, where runs begin anywhere */
}

void tarn__grid_halve(const tarn__grid *grid, tarn__grid halves[2]) {
  int32_t longest = 0;
  for (int32_t d = 1; d < grid->rank; d++) {
    if (grid->dims[d].size > grid->dims[longest].size) longest = d;
  }
  const tarn__grid_dim *dim = &grid->dims[longest];
  /* A multiple of every tile and chunk. */
  const int64_t first = dim->size > 1024 ? dim->size / 2 / 512 * 512 : dim->size / 2;
  halves[0] = halves[1] = *grid;
  halves[0].dims[longest].size = first;
  halves[1].dims[longest].size -= first;
  halves[1].dst += (uint64_t)(first * dim->dst);
  halves[1].src += (uint64_t)(first * dim->src);
}

/* --- runs --- */

static void add_digit(tarn__kernel_run_args *args, uint32_t size, int64_t dst, int64_t src,
                      uint32_t chunk_step) {
  if (size == 1) return;
  args->digits[args->digit_count++] =
      (tarn__kernel_digit){dst, src, tarn__kernel_divisor_of(size), chunk_step};
  args->item_count *= size;
}

static void add_dims(tarn__kernel_run_args *args, const tarn__grid *grid, int32_t first,
                     int32_t except) {
  for (int32_t d = first; d < grid->rank; d++) {
    const tarn__grid_dim *dim = &grid->dims[d];
    if (d != except) add_digit(args, (uint32_t)dim->size, dim->dst, dim->src, 0);
  }
}

/* How many of the first dimensions are one run of the destination: none, one, or two where the
 * first is short. */
static int32_t run_rank(const tarn__grid *grid) {
  const tarn__grid_dim *dims = grid->dims;
  if (grid->rank == 0 || dims[0].dst != grid->dst_bytes) return 0;
  const int64_t row_bytes = dims[0].size * grid->dst_bytes;
  return row_bytes < SHORT_ROW_BYTES && grid->rank > 1 && dims[1].dst == row_bytes ? 2 : 1;
}

/* The dimension whose elements lie between those of a row of the source: the row is read once for
 * each of them, so they take turns. -1: none. */
static int32_t interleaved_dim(const tarn__grid *grid, int32_t first) {
  const uint64_t step = magnitude(grid->dims[0].src);
  for (int32_t d = first; d < grid->rank; d++) {
    const uint64_t stride = magnitude(grid->dims[d].src);
    if (stride != 0 && stride < step && stride < SECTOR_BYTES) return d;
  }
  return -1;
}

static void plan_run(const tarn__grid *grid, uint32_t chunk, tarn__kernel_run_args *args) {
  const tarn__grid_dim *dims = grid->dims;
  const int32_t rank = chunk > 1 ? run_rank(grid) : 0;
  *args = (tarn__kernel_run_args){.dst = grid->dst,
                                  .src = grid->src,
                                  .item_count = 1,
                                  .run = 1,
                                  .chunk = 1,
                                  .chunk_count = 1,
                                  .inner = tarn__kernel_divisor_of(1),
                                  .dst_type = grid->dst_type,
                                  .src_type = grid->src_type,
                                  .element_bytes = (uint8_t)grid->dst_bytes,
                                  .src_bytes = (uint8_t)grid->src_bytes};
  const int64_t run = rank == 0 ? 1 : rank == 1 ? dims[0].size : dims[0].size * dims[1].size;
  if (rank == 0 || run < (int64_t)chunk) {
    add_dims(args, grid, 0, -1);
    if (grid->rank == 1 && dims[0].dst == grid->dst_bytes) {
      args->src_step = dims[0].src;
      args->straight_count = (uint32_t)dims[0].size;
    }
    return;
  }
  args->run = (uint32_t)run;
  args->chunk = chunk;
  args->inner = tarn__kernel_divisor_of((uint32_t)dims[0].size);
  args->src_step = dims[0].src;
  if (rank == 2) args->src_wrap = dims[1].src - dims[0].size * dims[0].src;
  args->is_src_dense = rank == 1 && dims[0].src == grid->src_bytes;
  uint64_t starts = grid->dst;
  for (int32_t d = rank; d < grid->rank; d++) starts |= (uint64_t)dims[d].dst;
  const uint32_t before = starts % (chunk * grid->dst_bytes) == 0 ? 0 : chunk - 1;
  args->chunk_count = parts_of((uint64_t)run + before, chunk);
  if (grid->rank == 1 && before == 0) args->straight_count = (uint32_t)run / chunk;
  const int32_t turns = rank == 1 ? interleaved_dim(grid, rank) : -1;
  if (turns >= 0 && args->chunk_count > WINDOW_CHUNKS) {
    add_digit(args, WINDOW_CHUNKS, 0, 0, 1);
    add_digit(args, (uint32_t)dims[turns].size, dims[turns].dst, dims[turns].src, 0);
    add_digit(args, parts_of(args->chunk_count, WINDOW_CHUNKS), 0, 0, WINDOW_CHUNKS);
  } else {
    add_digit(args, args->chunk_count, 0, 0, 1);
  }
  add_dims(args, grid, rank, turns >= 0 && args->chunk_count > WINDOW_CHUNKS ? turns : -1);
}

static void plan_copy(const tarn__grid *grid, tarn__grid_launch *launch) {
  static const tarn__kernel kernels[] = {[1] = TARN__KERNEL_copy_1,
                                         [2] = TARN__KERNEL_copy_2,
                                         [4] = TARN__KERNEL_copy_4,
                                         [8] = TARN__KERNEL_copy_8,
                                         [16] = TARN__KERNEL_copy_16};
  launch->kernel = kernels[grid->dst_bytes];
  plan_run(grid, CHUNK_BYTES / grid->dst_bytes, &launch->as.run);
  const uint32_t items_of_thread = launch->as.run.chunk == 1 ? 4 : 1;
  launch->block_count = parts_of(launch->as.run.item_count, TARN__KERNEL_THREADS * items_of_thread);
}

void tarn__grid_plan_fill(const tarn__grid *grid, const void *value, tarn__grid_launch *launch) {
  *launch = (tarn__grid_launch){.kernel = TARN__KERNEL_fill};
  tarn__kernel_run_args *args = &launch->as.run;
  plan_run(grid, CHUNK_BYTES / grid->dst_bytes, args);
  for (size_t at = 0; at < sizeof args->value; at += grid->dst_bytes) {
    memcpy((char *)args->value + at, value, grid->dst_bytes);
  }
  launch->block_count = parts_of(args->item_count, TARN__KERNEL_THREADS);
}

/* --- conversions: which way, and how many places an item has --- */

typedef enum way { WAY_INT, WAY_FLOAT, WAY_DOUBLE } way;

static way way_of(const tarn__grid *grid) {
  const int dst = grid->dst_type, src = grid->src_type;
  const bool is_odd = src >= TARN__TYPE_COUNT;
  if (!is_odd && is_whole(dst) && is_whole(src)) return WAY_INT;
  if (is_odd || dst == TARN__TYPE_F64 || src == TARN__TYPE_F64 || dst == TARN__TYPE_C128 ||
      src == TARN__TYPE_C128 || (is_narrow_float(dst) && is_wide_integer(src))) {
    return WAY_DOUBLE;
  }
  return WAY_FLOAT;
}

static uint32_t places_of(const tarn__grid *grid, way by) {
  const uint32_t wider = grid->dst_bytes > grid->src_bytes ? grid->dst_bytes : grid->src_bytes;
  const uint32_t places = wider <= 2 ? 8 : CHUNK_BYTES / wider;
  return by == WAY_DOUBLE && places > 2 ? 2 : places;
}

static void plan_conversion(const tarn__grid *grid, tarn__grid_launch *launch) {
  static const tarn__kernel kernels[][9] = {
      [WAY_INT] = {[8] = TARN__KERNEL_convert_int_8,
                   [4] = TARN__KERNEL_convert_int_4,
                   [2] = TARN__KERNEL_convert_int_2},
      [WAY_FLOAT] = {[8] = TARN__KERNEL_convert_float_8,
                     [4] = TARN__KERNEL_convert_float_4,
                     [2] = TARN__KERNEL_convert_float_2},
      [WAY_DOUBLE] = {[2] = TARN__KERNEL_convert_double_2, [1] = TARN__KERNEL_convert_double_1}};
  const way by = way_of(grid);
  const uint32_t places = places_of(grid, by);
  launch->kernel = kernels[by][places];
  plan_run(grid, places, &launch->as.run);
  launch->block_count = parts_of(launch->as.run.item_count, TARN__KERNEL_THREADS);
}

/* --- turns --- */

/* Tiles convert the pairs that are turned often: those of four bytes at most, and doubles. */
static bool has_tiles(const tarn__grid *grid, tarn__kernel *kernel) {
  static const tarn__kernel moving[] = {[1] = TARN__KERNEL_turn_1,
                                        [2] = TARN__KERNEL_turn_2,
                                        [4] = TARN__KERNEL_turn_4,
                                        [8] = TARN__KERNEL_turn_8,
                                        [16] = TARN__KERNEL_turn_16};
  static const tarn__kernel converting[] = {[WAY_INT] = TARN__KERNEL_turn_int_4,
                                            [WAY_FLOAT] = TARN__KERNEL_turn_float_4,
                                            [WAY_DOUBLE] = TARN__KERNEL_turn_double_2};
  if (!grid->converts) {
    *kernel = moving[grid->dst_bytes];
    return true;
  }
  const way by = way_of(grid);
  const uint32_t most = by == WAY_DOUBLE ? 8 : 4;
  *kernel = converting[by];
  return grid->dst_bytes <= most && grid->src_bytes <= most;
}

/* The dimension along which the source is dense, or nearly, where that is another one than the
 * destination's and both are long enough for tiles; else 0. */
static int32_t turned_dim(const tarn__grid *grid) {
  const tarn__grid_dim *dims = grid->dims;
  if (grid->rank < 2 || dims[0].dst != grid->dst_bytes ||
      dims[0].size * grid->dst_bytes < SECTOR_BYTES || magnitude(dims[0].src) < SECTOR_BYTES) {
    return 0;
  }
  int32_t fastest = 0;
  for (int32_t d = 1; d < grid->rank; d++) {
    if (dims[d].src != 0 && magnitude(dims[d].src) < magnitude(dims[fastest].src)) fastest = d;
  }
  return dims[fastest].size * grid->src_bytes >= SECTOR_BYTES ? fastest : 0;
}

static void plan_turn(const tarn__grid *grid, int32_t turned, tarn__grid_launch *launch) {
  const tarn__grid_dim *i = &grid->dims[0], *j = &grid->dims[turned];
  tarn__kernel_turn_args *args = &launch->as.turn;
  *args = (tarn__kernel_turn_args){
      .dst = grid->dst,
      .src = grid->src,
      .dst_stride_j = j->dst,
      .src_stride_i = i->src,
      .src_stride_j = j->src,
      .size_i = (uint32_t)i->size,
      .size_j = (uint32_t)j->size,
      .tiles_i = parts_of((uint64_t)i->size, TARN__TILE_I(grid->src_bytes)),
      .tiles_j = parts_of((uint64_t)j->size, TARN__TILE_J(grid->src_bytes)),
      .dst_type = grid->dst_type,
      .src_type = grid->src_type,
      .dst_bytes = (uint8_t)grid->dst_bytes,
      .src_bytes = (uint8_t)grid->src_bytes};
  launch->block_count = args->tiles_i * args->tiles_j;
  uint64_t starts = grid->dst | (uint64_t)j->dst;
  uint64_t src_starts = grid->src | (uint64_t)i->src;
  for (int32_t d = 1; d < grid->rank; d++) {
    const tarn__grid_dim *dim = &grid->dims[d];
    if (d == turned) continue;
    starts |= (uint64_t)dim->dst;
    src_starts |= (uint64_t)dim->src;
    launch->block_count *= (uint32_t)dim->size;
    args->digits[args->digit_count++] =
        (tarn__kernel_digit){dim->dst, dim->src, tarn__kernel_divisor_of((uint32_t)dim->size), 0};
  }
  const bool is_src_dense = j->src == grid->src_bytes;
  args->src_unit = !is_src_dense ? 1 : src_starts % 16 == 0 ? 16 : src_starts % 4 == 0 ? 4 : 1;
  args->dst_unit = (uint8_t)(starts % 16 == 0 ? 16 : starts % 4 == 0 ? 4 : grid->dst_bytes);
}

void tarn__grid_plan(const tarn__grid *grid, tarn__grid_launch *launch) {
  *launch = (tarn__grid_launch){0};
  const int32_t turned = turned_dim(grid);
  if (turned != 0 && has_tiles(grid, &launch->kernel)) {
    plan_turn(grid, turned, launch);
  } else if (grid->converts) {
    plan_conversion(grid, launch);
  } else {
    plan_copy(grid, launch);
  }
}
