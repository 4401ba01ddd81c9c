/* copy_host.c: goes through a copy's walk: loops around the kernel of a plane.
 *
 * What a large walk writes goes around the caches in whole lines. A kernel that makes its lines run
 * by run makes them in a stage of the first-level cache, from which they leave:
 *
 *     src, spaced  --kernel-->  stage  |part|line|line|line|part|  --whole lines-->  dst
 *
 * The part of a line at the end waits for what comes next; where that goes elsewhere, and at the
 * very start, parts are stored as usual.
 */
#include "tensor/copy_host.h"

#include <string.h>

#include "tensor/copy_rows.h"
#include "tensor/copy_threads.h"
#include "tensor/copy_transpose.h"

enum { LINE_BYTES = 64, STAGE_BYTES = 4096 };

static int64_t at_most(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* --- the stage --- */

typedef struct line_stage {
  const tarn__row_kernels *kernels;
  char *dst;         /* where bytes[0] goes: the start of a line */
  size_t start, end; /* of what is in bytes; start < LINE_BYTES */
  _Alignas(LINE_BYTES) char bytes[STAGE_BYTES + LINE_BYTES];
} line_stage;

/* Stores what is left. */
static void end_stage(line_stage *stage) {
  tarn__move_run(stage->dst + stage->start, stage->bytes + stage->start, stage->end - stage->start);
  stage->start = stage->end = 0;
}

/* Makes the stage go on at `dst`. */
static void aim_stage(line_stage *stage, char *dst) {
  if (stage->dst + stage->end == dst && stage->end > 0) return;
  end_stage(stage);
  stage->start = stage->end = (uintptr_t)dst % LINE_BYTES;
  stage->dst = dst - stage->start;
}

/* Says that `bytes` more were made at its end, and streams whole lines of it. */
static void fill_stage(line_stage *stage, size_t bytes) {
  stage->end += bytes;
  size_t at = 0;
  const size_t whole = stage->end / LINE_BYTES * LINE_BYTES;
  if (whole == 0) return;
  if (stage->start > 0) {
    tarn__move_run(stage->dst + stage->start, stage->bytes + stage->start,
                   LINE_BYTES - stage->start);
    at = LINE_BYTES;
  }
  stage->kernels->stream(stage->dst + at, stage->bytes + at, (whole - at) / LINE_BYTES);
  memcpy(stage->bytes, stage->bytes + whole, LINE_BYTES);
  stage->dst += whole;
  stage->start = 0;
  stage->end -= whole;
}

/* --- planes --- */

typedef struct host_copy {
  const tarn__copy_walk *walk;
  const tarn__row_kernels *kernels;
  line_stage *stage;            /* NULL: stores as usual */
  const tarn__columns *columns; /* of an interleave */
} host_copy;

typedef void plane_function(const host_copy *job, char *dst, const char *src);

static void copy_run(const host_copy *job, char *dst, const char *src) {
  if (job->walk->is_streaming) {
    tarn__row_stream(job->kernels, dst, src, job->walk->unit_bytes);
  } else {
    memcpy(dst, src, job->walk->unit_bytes);
  }
}

static void copy_runs(const host_copy *job, char *dst, const char *src) {
  const tarn__copy_dim outer = job->walk->outer, inner = job->walk->inner;
  for (int64_t o = 0; o < outer.count; o++) {
    for (int64_t i = 0; i < inner.count; i++) {
      copy_run(job, dst + i * inner.dst_stride, src + i * inner.src_stride);
    }
    dst += outer.dst_stride;
    src += outer.src_stride;
  }
}

/* A packed line of the destination, in pieces through the stage. */
static void stage_line(const host_copy *job, char *dst, const char *src, int64_t count) {
  const int64_t unit = (int64_t)job->walk->unit_bytes, step = job->walk->inner.src_stride;
  line_stage *stage = job->stage;
  aim_stage(stage, dst);
  while (count > 0) {
    const int64_t piece = at_most(count, STAGE_BYTES / unit);
    tarn__row_gather(job->kernels, stage->bytes + stage->end, src, piece, step, (size_t)unit);
    fill_stage(stage, (size_t)(piece * unit));
    src += piece * step;
    count -= piece;
  }
}

static void copy_lines(const host_copy *job, char *dst, const char *src) {
  const tarn__copy_walk *walk = job->walk;
  const tarn__copy_dim outer = walk->outer, inner = walk->inner;
  for (int64_t i = 0; i < inner.count; i += walk->tile) {
    const int64_t count = at_most(walk->tile, inner.count - i);
    char *to = dst + i * inner.dst_stride;
    const char *from = src + i * inner.src_stride;
    for (int64_t o = 0; o < outer.count; o++) {
      if (job->stage != NULL) {
        stage_line(job, to, from, count);
      } else {
        tarn__row_copy(job->kernels, to, from, count, inner.dst_stride, inner.src_stride,
                       walk->unit_bytes);
      }
      to += outer.dst_stride;
      from += outer.src_stride;
    }
    if (walk->tile == INT64_MAX) return;
  }
}

/* Pieces are whole vectors of any kernel. */
static void interleave_columns(const host_copy *job, char *dst, const char *src) {
  const tarn__copy_walk *walk = job->walk;
  const int64_t unit = (int64_t)walk->unit_bytes, row_bytes = walk->outer.dst_stride;
  const int64_t piece = STAGE_BYTES / row_bytes / LINE_BYTES * LINE_BYTES;
  line_stage *stage = job->stage;
  if (stage != NULL) aim_stage(stage, dst);
  for (int64_t done = 0; done < walk->outer.count; done += piece) {
    const int64_t count = at_most(piece, walk->outer.count - done);
    char *to = stage != NULL ? stage->bytes + stage->end : dst + done * row_bytes;
    tarn__row_interleave(job->kernels, job->columns, to, src + done * unit, count);
    if (stage != NULL) fill_stage(stage, (size_t)(count * row_bytes));
  }
}

/* `bytes` is a constant wherever this is called but once, so that each move is one instruction. */
static inline __attribute__((always_inline)) void copy_tiles(const tarn__copy_walk *walk, char *dst,
                                                             const char *src, size_t bytes) {
  const tarn__copy_dim outer = walk->outer, inner = walk->inner;
  for (int64_t o = 0; o < outer.count; o += walk->tile) {
    const int64_t outer_end = at_most(walk->tile, outer.count - o);
    for (int64_t i = 0; i < inner.count; i += walk->tile) {
      const int64_t inner_end = at_most(walk->tile, inner.count - i);
      char *dst_line = dst + o * outer.dst_stride + i * inner.dst_stride;
      const char *src_line = src + o * outer.src_stride + i * inner.src_stride;
      for (int64_t u = 0; u < outer_end; u++) {
        char *to = dst_line + u * outer.dst_stride;
        const char *from = src_line + u * outer.src_stride;
        for (int64_t v = 0; v < inner_end; v++) {
          tarn__move_run(to + v * inner.dst_stride, from + v * inner.src_stride, bytes);
        }
      }
      if (walk->tile == INT64_MAX) return;
    }
  }
}

static void copy_strided(const host_copy *job, char *dst, const char *src) {
  switch (job->walk->unit_bytes) {
    case 1:
      copy_tiles(job->walk, dst, src, 1);
      break;
    case 2:
      copy_tiles(job->walk, dst, src, 2);
      break;
    case 4:
      copy_tiles(job->walk, dst, src, 4);
      break;
    case 8:
      copy_tiles(job->walk, dst, src, 8);
      break;
    case 16:
      copy_tiles(job->walk, dst, src, 16);
      break;
    default:
      copy_tiles(job->walk, dst, src, job->walk->unit_bytes);
      break;
  }
}

/* --- walks --- */

static plane_function *plane_function_of(const tarn__copy_walk *walk, bool *is_staged) {
  *is_staged = false;
  switch (walk->executor) {
    case TARN__COPY_BY_NOTHING:
    case TARN__COPY_BY_MEMCPY:
      return copy_run;
    case TARN__COPY_BY_TRANSPOSE: /* has loops of its own */
    case TARN__COPY_BY_STRIDED:
      return copy_strided;
    case TARN__COPY_BY_INTERLEAVE:
      *is_staged = walk->is_streaming;
      return interleave_columns;
    case TARN__COPY_BY_ROWS:
    case TARN__COPY_BY_GATHER:
    case TARN__COPY_BY_SCATTER:
    case TARN__COPY_BY_BROADCAST:
    case TARN__COPY_BY_FLIP:
      /* Long runs leave the source as they are. */
      if (walk->unit_bytes > STAGE_BYTES / 8) return copy_runs;
      *is_staged = walk->is_streaming && walk->inner.dst_stride == (int64_t)walk->unit_bytes;
      return copy_lines;
  }
  return copy_run;
}

/* Steps the index of the loops, the last one first; false after the last. */
static bool step_index(const tarn__copy_walk *walk, int64_t *index, char **dst, const char **src) {
  for (int32_t d = walk->rank - 1; d >= 0; d--) {
    const tarn__copy_dim *loop = &walk->loops[d];
    if (++index[d] < loop->count) {
      *dst += loop->dst_stride;
      *src += loop->src_stride;
      return true;
    }
    *dst -= (loop->count - 1) * loop->dst_stride;
    *src -= (loop->count - 1) * loop->src_stride;
    index[d] = 0;
  }
  return false;
}

static void run_loops(const host_copy *job, plane_function *copy, char *dst, const char *src) {
  int64_t index[TARN_RANK_MAX];
  for (int32_t d = 0; d < job->walk->rank; d++) index[d] = 0;
  do {
    copy(job, dst, src);
  } while (step_index(job->walk, index, &dst, &src));
}

/* Out of line: the stage is large, and small copies have none. */
static __attribute__((noinline)) void run_staged(const host_copy *plain, plane_function *copy,
                                                 char *dst, const char *src) {
  line_stage stage;
  stage.kernels = plain->kernels;
  stage.dst = NULL;
  stage.start = stage.end = 0;
  host_copy staged = *plain;
  staged.stage = &stage;
  run_loops(&staged, copy, dst, src);
  end_stage(&stage);
}

static void turn_planes(const tarn__copy_walk *walk, char *dst, const char *src) {
  const tarn__transpose plane = {.row_count = walk->outer.count,
                                 .column_count = walk->inner.count,
                                 .dst_pitch_bytes = walk->outer.dst_stride,
                                 .src_pitch_bytes = walk->inner.src_stride,
                                 .element_bytes = walk->unit_bytes,
                                 .is_streaming = walk->is_streaming};
  int64_t shape[TARN_RANK_MAX], dst_strides[TARN_RANK_MAX], src_strides[TARN_RANK_MAX];
  for (int32_t d = 0; d < walk->rank; d++) {
    shape[d] = walk->loops[d].count;
    dst_strides[d] = walk->loops[d].dst_stride;
    src_strides[d] = walk->loops[d].src_stride;
  }
  tarn__transpose_run_all(&plane, walk->rank, shape, dst_strides, src_strides, dst, src);
}

static bool overlap(const char *dst, const char *src, size_t size_bytes) {
  return (uintptr_t)dst - (uintptr_t)src < size_bytes ||
         (uintptr_t)src - (uintptr_t)dst < size_bytes;
}

static void run_part(const tarn__copy_walk *walk, char *dst, const char *src) {
  dst += walk->dst_offset;
  src += walk->src_offset;
  if (walk->executor == TARN__COPY_BY_TRANSPOSE) {
    turn_planes(walk, dst, src);
    return;
  }
  tarn__columns columns;
  const host_copy job = {.walk = walk, .kernels = tarn__row_kernels_now(), .columns = &columns};
  if (walk->executor == TARN__COPY_BY_INTERLEAVE) {
    tarn__columns_make((int)walk->inner.count, walk->inner.src_stride, walk->unit_bytes, &columns);
  }
  bool is_staged;
  plane_function *copy = plane_function_of(walk, &is_staged);
  if (is_staged) {
    run_staged(&job, copy, dst, src);
  } else {
    run_loops(&job, copy, dst, src);
  }
  if (walk->is_streaming) job.kernels->fence();
}

typedef struct parts {
  const tarn__copy_walk *walk;
  char *dst;
  const char *src;
  int64_t count;
} parts;

static void run_one_of(void *context, int64_t index) {
  const parts *all = context;
  tarn__copy_walk part;
  tarn__copy_walk_part(all->walk, index, all->count, &part);
  run_part(&part, all->dst, all->src);
}

void tarn__copy_host_walk(const tarn__copy_walk *walk, char *dst, const char *src) {
  if (walk->executor == TARN__COPY_BY_NOTHING) return;
  if (walk->executor == TARN__COPY_BY_MEMCPY &&
      overlap(dst + walk->dst_offset, src + walk->src_offset, walk->unit_bytes)) {
    memmove(dst + walk->dst_offset, src + walk->src_offset, walk->unit_bytes);
    return;
  }
  /* The number of threads is not asked for where it does not matter. */
  const int thread_count =
      tarn__copy_walk_part_count(walk, TARN_COPY_THREADS_MAX) > 1 ? tarn_copy_thread_count() : 1;
  parts all = {walk, dst, src, tarn__copy_walk_part_count(walk, thread_count)};
  if (all.count == 1) {
    run_part(walk, dst, src);
  } else {
    tarn__copy_parallel(all.count, thread_count, run_one_of, &all);
  }
}

void tarn__copy_host_run(const tarn__copy_plan *plan, char *dst, const char *src) {
  tarn__copy_walk walk;
  tarn__copy_walk_make(plan, &walk);
  tarn__copy_host_walk(&walk, dst, src);
}
