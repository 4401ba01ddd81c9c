/* copy_host.c: strided copies by the CPU: two dimensions at a time, in tiles where they are turned.
 *
 * The innermost loop follows the destination's narrowest stride. Where the source is narrowest
 * along another dimension, a plain loop would touch a new cache line of the source for each element
 * and forget it before the next one is wanted; so these two dimensions are walked in square tiles
 * whose lines stay in the first-level cache:
 *
 *        dst                src
 *      ->->->->           |  |  |  |       a tile reads TILE_BYTES of each of its lines
 *      ->->->->           v  v  v  v
 */
#include "tensor/copy_host.h"

#include <string.h>

/* A tile is this wide in bytes on both sides, and at least TILE_EDGE_MIN runs: 2 x 64 lines of 64
 * bytes at most. */
enum { TILE_BYTES = 128, TILE_EDGE_MIN = 16, TILE_EDGE_MAX = 64 };

/* Two dimensions of runs; the inner one follows the destination. */
typedef struct walk {
  int64_t outer_count, outer_dst, outer_src;
  int64_t inner_count, inner_dst, inner_src;
  int64_t tile; /* runs in each direction before the other one moves on */
  size_t unit_bytes;
} walk;

typedef void plane_function(const walk *plane, char *dst, const char *src);

static inline int64_t at_most(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* `bytes` is a constant wherever this is called but once, so that each memcpy is one move. */
static inline __attribute__((always_inline)) void copy_plane(const walk *plane, char *dst,
                                                             const char *src, size_t bytes) {
  for (int64_t o = 0; o < plane->outer_count; o += plane->tile) {
    const int64_t outer_end = at_most(plane->tile, plane->outer_count - o);
    for (int64_t i = 0; i < plane->inner_count; i += plane->tile) {
      const int64_t inner_end = at_most(plane->tile, plane->inner_count - i);
      char *dst_line = dst + o * plane->outer_dst + i * plane->inner_dst;
      const char *src_line = src + o * plane->outer_src + i * plane->inner_src;
      for (int64_t u = 0; u < outer_end; u++) {
        char *to = dst_line + u * plane->outer_dst;
        const char *from = src_line + u * plane->outer_src;
        for (int64_t v = 0; v < inner_end; v++) {
          memcpy(to + v * plane->inner_dst, from + v * plane->inner_src, bytes);
        }
      }
    }
  }
}

static void copy_plane_1(const walk *plane, char *dst, const char *src) {
  copy_plane(plane, dst, src, 1);
}
static void copy_plane_2(const walk *plane, char *dst, const char *src) {
  copy_plane(plane, dst, src, 2);
}
static void copy_plane_4(const walk *plane, char *dst, const char *src) {
  copy_plane(plane, dst, src, 4);
}
static void copy_plane_8(const walk *plane, char *dst, const char *src) {
  copy_plane(plane, dst, src, 8);
}
static void copy_plane_16(const walk *plane, char *dst, const char *src) {
  copy_plane(plane, dst, src, 16);
}
static void copy_plane_any(const walk *plane, char *dst, const char *src) {
  copy_plane(plane, dst, src, plane->unit_bytes);
}

static plane_function *plane_function_for(size_t unit_bytes) {
  switch (unit_bytes) {
    case 1:
      return copy_plane_1;
    case 2:
      return copy_plane_2;
    case 4:
      return copy_plane_4;
    case 8:
      return copy_plane_8;
    case 16:
      return copy_plane_16;
    default:
      return copy_plane_any;
  }
}

static int64_t magnitude(int64_t value) {
  return value < 0 ? -value : value;
}

/* The dimension that the source is narrowest along, where that is not the last one; else -1. A
 * broadcast dimension (stride 0) is narrow for nothing: its element stays in the cache anyway. */
static int32_t turned_dim(const tarn__copy_plan *plan) {
  int32_t last = plan->rank - 1, found = -1;
  int64_t narrowest = magnitude(plan->src_strides[last]);
  for (int32_t d = 0; d < last; d++) {
    int64_t stride = magnitude(plan->src_strides[d]);
    if (stride == 0 || stride >= narrowest) continue;
    narrowest = stride;
    found = d;
  }
  return found;
}

/* Chooses the two dimensions to walk at once and takes them out of the plan. */
static walk take_plane(tarn__copy_plan *plan) {
  int32_t inner = plan->rank - 1, turned = turned_dim(plan);
  walk taken = {.outer_count = 1, .tile = INT64_MAX, .unit_bytes = plan->unit_bytes};
  taken.inner_count = plan->shape[inner];
  taken.inner_dst = plan->dst_strides[inner];
  taken.inner_src = plan->src_strides[inner];
  plan->rank--;
  int32_t outer = turned >= 0 ? turned : plan->rank - 1;
  if (outer < 0) return taken;
  taken.outer_count = plan->shape[outer];
  taken.outer_dst = plan->dst_strides[outer];
  taken.outer_src = plan->src_strides[outer];
  if (turned >= 0) {
    int64_t edge = TILE_BYTES / (int64_t)plan->unit_bytes;
    taken.tile = edge < TILE_EDGE_MIN ? TILE_EDGE_MIN : at_most(edge, TILE_EDGE_MAX);
  }
  plan->rank--;
  for (int32_t d = outer; d < plan->rank; d++) {
    plan->shape[d] = plan->shape[d + 1];
    plan->dst_strides[d] = plan->dst_strides[d + 1];
    plan->src_strides[d] = plan->src_strides[d + 1];
  }
  return taken;
}

/* Steps the index of the dimensions that are left, the last one first; false after the last. */
static bool step_index(const tarn__copy_plan *plan, int64_t *index, char **dst, const char **src) {
  for (int32_t d = plan->rank - 1; d >= 0; d--) {
    if (++index[d] < plan->shape[d]) {
      *dst += plan->dst_strides[d];
      *src += plan->src_strides[d];
      return true;
    }
    *dst -= (plan->shape[d] - 1) * plan->dst_strides[d];
    *src -= (plan->shape[d] - 1) * plan->src_strides[d];
    index[d] = 0;
  }
  return false;
}

void tarn__copy_host_run(const tarn__copy_plan *plan, char *dst, const char *src) {
  if (plan->kind == TARN__COPY_NONE) return;
  dst += plan->dst_offset;
  src += plan->src_offset;
  if (plan->rank == 0) {
    memmove(dst, src, plan->unit_bytes);
    return;
  }
  int64_t index[TARN_RANK_MAX] = {0};
  tarn__copy_plan rest = *plan;
  const walk plane = take_plane(&rest);
  plane_function *copy = plane_function_for(plan->unit_bytes);
  do {
    copy(&plane, dst, src);
  } while (step_index(&rest, index, &dst, &src));
}
