/* copy_walk.c: chooses the kernel by the two dimensions that are narrowest on either side. */
#include "tensor/copy_walk.h"

#include "tensor/copy_transpose.h"

enum { CACHE_LINE_BYTES = 64, STREAM_LINE_BYTES = 1024 };

/* Runs of this length are copied one by one at the speed of memory. */
enum { LONG_RUN_BYTES = 512 };

/* Steps in the source, in runs, that a gather takes whatever else the source is narrow along. */
enum { GATHER_STEP_MAX = 4 };

/* A line of fewer runs is not worth a kernel's call. */
enum { LINE_COUNT_MIN = 8 };

/* Turned rows of so few columns, and shorter than a line, leave a transpose little to turn at a
 * time and no lines to stream: their columns are interleaved. That takes longer to start, which
 * small copies and short columns do not win back. */
enum { INTERLEAVE_COLUMNS_MAX = 8, INTERLEAVE_ROWS_MIN = 64, INTERLEAVE_TOTAL_MIN = 4096 };

/* Tiles of a strided plane are this wide in bytes on both sides, and at least TILE_EDGE_MIN runs:
 * 2 x 64 lines of 64 bytes at most. */
enum { TILE_BYTES = 128, TILE_EDGE_MIN = 16, TILE_EDGE_MAX = 64 };

/* Of a line that is gathered several times over, each time another run of it: what is read stays in
 * the first-level cache. */
enum { GATHER_TILE_BYTES = 4096 };

enum { PARTS_PER_THREAD = 4 };

static size_t stream_bytes_min = TARN__STREAM_BYTES_MIN, part_bytes_min = TARN__PART_BYTES_MIN;

size_t tarn__copy_stream_bytes(void) {
  return stream_bytes_min;
}

void tarn__copy_walk_limits(size_t stream_bytes, size_t part_bytes) {
  stream_bytes_min = stream_bytes == 0 ? TARN__STREAM_BYTES_MIN : stream_bytes;
  part_bytes_min = part_bytes == 0 ? TARN__PART_BYTES_MIN : part_bytes;
}

const char *tarn__copy_executor_name(tarn__copy_executor executor) {
  switch (executor) {
    case TARN__COPY_BY_NOTHING:
      return "none";
    case TARN__COPY_BY_MEMCPY:
      return "memcpy";
    case TARN__COPY_BY_ROWS:
      return "rows";
    case TARN__COPY_BY_TRANSPOSE:
      return "transpose";
    case TARN__COPY_BY_INTERLEAVE:
      return "interleave";
    case TARN__COPY_BY_GATHER:
      return "gather";
    case TARN__COPY_BY_SCATTER:
      return "scatter";
    case TARN__COPY_BY_BROADCAST:
      return "broadcast";
    case TARN__COPY_BY_FLIP:
      return "flip";
    case TARN__COPY_BY_STRIDED:
      return "strided";
  }
  return "none";
}

static int64_t magnitude(int64_t value) {
  return value < 0 ? -value : value;
}

static int64_t at_most(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* The plan's dimension along which the source is narrower than along the last one; -1. One that is
 * broadcast (stride 0) is narrow for nothing: its run stays in the cache anyway. */
static int32_t turned_dim(const tarn__copy_plan *plan) {
  int32_t found = -1, last = plan->rank - 1;
  int64_t narrowest = magnitude(plan->src_strides[last]);
  for (int32_t d = 0; d < last; d++) {
    const int64_t stride = magnitude(plan->src_strides[d]);
    if (stride == 0 || stride >= narrowest) continue;
    narrowest = stride;
    found = d;
  }
  return found;
}

/* Number by number: a move of several would wait for the stores that it loads from. */
static inline void take_dim(tarn__copy_dim *dim, const tarn__copy_plan *plan, int32_t index) {
  dim->count = plan->shape[index];
  dim->dst_stride = plan->dst_strides[index];
  dim->src_stride = plan->src_strides[index];
}

/* The last dimension becomes `inner`, and the turned one, or else the one before, `outer`. */
static void take_dims(tarn__copy_walk *walk, const tarn__copy_plan *plan, int32_t turned) {
  const int32_t last = plan->rank - 1, outer = turned >= 0 ? turned : last - 1;
  take_dim(&walk->inner, plan, last);
  if (outer >= 0) take_dim(&walk->outer, plan, outer);
  for (int32_t d = 0; d < last; d++) {
    if (d != outer) take_dim(&walk->loops[walk->rank++], plan, d);
  }
}

/* Of a plane that a transpose could turn. */
static bool is_interleaved(const tarn__copy_walk *walk) {
  const int64_t unit = (int64_t)walk->unit_bytes, row_bytes = walk->inner.count * unit;
  return walk->inner.count <= INTERLEAVE_COLUMNS_MAX && row_bytes < CACHE_LINE_BYTES &&
         unit <= CACHE_LINE_BYTES / INTERLEAVE_COLUMNS_MAX && walk->outer.src_stride == unit &&
         walk->outer.dst_stride == row_bytes && walk->outer.count >= INTERLEAVE_ROWS_MIN &&
         walk->total_bytes >= INTERLEAVE_TOTAL_MIN;
}

static tarn__copy_executor choose(const tarn__copy_walk *walk, bool is_turned) {
  const int64_t unit = (int64_t)walk->unit_bytes, step = walk->inner.src_stride;
  const bool is_dense = walk->inner.dst_stride == unit;
  const bool has_kernels = tarn__transpose_can(walk->unit_bytes);
  if (is_dense && step == 0) return TARN__COPY_BY_BROADCAST;
  if (unit >= LONG_RUN_BYTES) return TARN__COPY_BY_ROWS;
  const bool is_small_step = step > 0 && step <= GATHER_STEP_MAX * unit;
  if (is_turned && !(is_dense && is_small_step && has_kernels)) {
    if (!is_dense || !has_kernels || magnitude(walk->outer.src_stride) != unit) {
      return TARN__COPY_BY_STRIDED;
    }
    return is_interleaved(walk) ? TARN__COPY_BY_INTERLEAVE : TARN__COPY_BY_TRANSPOSE;
  }
  if (!has_kernels) return is_dense ? TARN__COPY_BY_GATHER : TARN__COPY_BY_ROWS;
  if (is_dense && step == -unit) return TARN__COPY_BY_FLIP;
  if (walk->inner.count < LINE_COUNT_MIN && walk->outer.count > 1) return TARN__COPY_BY_STRIDED;
  return is_dense ? TARN__COPY_BY_GATHER : TARN__COPY_BY_SCATTER;
}

/* A plane whose source runs backwards along `outer` is walked from the other end. */
static void turn_forward(tarn__copy_walk *walk) {
  if (walk->outer.src_stride >= 0) return;
  walk->dst_offset += (walk->outer.count - 1) * walk->outer.dst_stride;
  walk->src_offset += (walk->outer.count - 1) * walk->outer.src_stride;
  walk->outer.dst_stride = -walk->outer.dst_stride;
  walk->outer.src_stride = -walk->outer.src_stride;
}

/* The loops follow the destination, as the plan does. Where the kernel reads shorter pieces than it
 * writes they follow the source instead, so that what is left of a cache line, and of a page, is
 * wanted next. */
static void order_loops(tarn__copy_walk *walk) {
  const int64_t unit = (int64_t)walk->unit_bytes;
  int64_t written = walk->inner.count * unit;
  if (magnitude(walk->outer.dst_stride) == written) written *= walk->outer.count;
  if (walk->outer.count * unit >= written) return;
  for (int32_t i = 1; i < walk->rank; i++) {
    const tarn__copy_dim dim = walk->loops[i];
    int32_t at = i;
    for (; at > 0 && magnitude(walk->loops[at - 1].src_stride) < magnitude(dim.src_stride); at--) {
      walk->loops[at] = walk->loops[at - 1];
    }
    walk->loops[at] = dim;
  }
}

static int64_t tile_of(const tarn__copy_walk *walk, bool is_turned) {
  const int64_t unit = (int64_t)walk->unit_bytes;
  if (!is_turned) return INT64_MAX;
  if (walk->executor == TARN__COPY_BY_GATHER) return GATHER_TILE_BYTES / unit;
  if (walk->executor != TARN__COPY_BY_STRIDED) return INT64_MAX;
  const int64_t edge = TILE_BYTES / unit;
  return edge < TILE_EDGE_MIN ? TILE_EDGE_MIN : at_most(edge, TILE_EDGE_MAX);
}

static bool is_line_aligned(int64_t value) {
  return value % CACHE_LINE_BYTES == 0;
}

/* Streaming needs whole lines: long stretches, or such that start and end with a line. */
static bool can_stream(const tarn__copy_walk *walk) {
  const int64_t unit = (int64_t)walk->unit_bytes;
  if (walk->executor == TARN__COPY_BY_STRIDED || walk->executor == TARN__COPY_BY_SCATTER) {
    return false;
  }
  const bool is_dense = walk->inner.dst_stride == unit;
  int64_t stretch = is_dense ? walk->inner.count * unit : unit;
  if (is_dense && magnitude(walk->outer.dst_stride) == stretch) stretch *= walk->outer.count;
  if (stretch >= STREAM_LINE_BYTES) return true;
  bool is_aligned = is_line_aligned(stretch) && is_line_aligned(walk->dst_offset) &&
                    is_line_aligned(walk->outer.dst_stride) &&
                    (is_dense || is_line_aligned(walk->inner.dst_stride));
  for (int32_t d = 0; d < walk->rank; d++) {
    is_aligned = is_aligned && is_line_aligned(walk->loops[d].dst_stride);
  }
  return is_aligned;
}

void tarn__copy_walk_make(const tarn__copy_plan *plan, tarn__copy_walk *walk) {
  /* Field by field, as the plan. */
  walk->executor = plan->kind == TARN__COPY_NONE ? TARN__COPY_BY_NOTHING : TARN__COPY_BY_MEMCPY;
  walk->rank = 0;
  walk->unit_bytes = plan->unit_bytes;
  walk->total_bytes = plan->run_count * plan->unit_bytes;
  walk->tile = INT64_MAX;
  walk->dst_offset = plan->dst_offset;
  walk->src_offset = plan->src_offset;
  walk->outer = walk->inner = (tarn__copy_dim){.count = 1};
  if (plan->rank > 0) {
    const int32_t turned = turned_dim(plan);
    take_dims(walk, plan, turned);
    walk->executor = choose(walk, turned >= 0);
    walk->tile = tile_of(walk, turned >= 0);
    if (walk->executor == TARN__COPY_BY_TRANSPOSE) {
      turn_forward(walk);
      order_loops(walk);
    }
  }
  tarn__copy_walk_belongs_to(walk, walk->total_bytes);
}

void tarn__copy_walk_belongs_to(tarn__copy_walk *walk, size_t total_bytes) {
  walk->is_streaming = total_bytes >= stream_bytes_min && can_stream(walk);
}

/* --- parts --- */

/* The dimension to cut: the widest of the destination among those that have `count` indices or
 * more; NULL where none has. */
static tarn__copy_dim *cut_dim(tarn__copy_walk *walk, int64_t count) {
  tarn__copy_dim *found = NULL;
  tarn__copy_dim *const plane[] = {&walk->outer, &walk->inner};
  for (int32_t d = 0; d < walk->rank + 2; d++) {
    tarn__copy_dim *dim = d < walk->rank ? &walk->loops[d] : plane[d - walk->rank];
    if (dim->count < count) continue;
    if (found == NULL || magnitude(dim->dst_stride) > magnitude(found->dst_stride)) found = dim;
  }
  return found;
}

/* The most parts that any cut gives. Interleaved rows stay whole: as few
 * parts as that find a wider dimension to cut. */
static int64_t part_count_max(const tarn__copy_walk *walk) {
  if (walk->executor == TARN__COPY_BY_MEMCPY) return (int64_t)(walk->unit_bytes / CACHE_LINE_BYTES);
  int64_t most = walk->outer.count;
  const bool cuts_inner = walk->executor != TARN__COPY_BY_INTERLEAVE;
  if (cuts_inner && walk->inner.count > most) most = walk->inner.count;
  for (int32_t d = 0; d < walk->rank; d++) {
    if (walk->loops[d].count > most) most = walk->loops[d].count;
  }
  return most;
}

int64_t tarn__copy_part_count(size_t total_bytes, int thread_count) {
  if (thread_count < 2 || total_bytes / 2 < part_bytes_min) return 1;
  return at_most((int64_t)(total_bytes / part_bytes_min), (int64_t)thread_count * PARTS_PER_THREAD);
}

int64_t tarn__copy_walk_part_count(const tarn__copy_walk *walk, int thread_count) {
  const int64_t count =
      at_most(tarn__copy_part_count(walk->total_bytes, thread_count), part_count_max(walk));
  return count < 1 ? 1 : count;
}

/* Cut between lines of the offsets, which are lines of memory where the bases are. */
static void cut_run(int64_t index, int64_t count, tarn__copy_walk *part) {
  const size_t each = part->unit_bytes / CACHE_LINE_BYTES / (size_t)count * CACHE_LINE_BYTES;
  const size_t start = each * (size_t)index;
  part->unit_bytes = index + 1 < count ? each : part->unit_bytes - start;
  part->total_bytes = part->unit_bytes;
  part->dst_offset += (int64_t)start;
  part->src_offset += (int64_t)start;
}

void tarn__copy_walk_part(const tarn__copy_walk *walk, int64_t index, int64_t count,
                          tarn__copy_walk *part) {
  *part = *walk;
  if (walk->executor == TARN__COPY_BY_MEMCPY) {
    cut_run(index, count, part);
    return;
  }
  tarn__copy_dim *dim = cut_dim(part, count);
  const int64_t whole = dim->count, each = whole / count, rest = whole % count;
  const int64_t start = index * each + at_most(index, rest);
  dim->count = each + (index < rest ? 1 : 0);
  part->dst_offset += start * dim->dst_stride;
  part->src_offset += start * dim->src_stride;
  part->total_bytes = walk->total_bytes / (size_t)whole * (size_t)dim->count;
}
