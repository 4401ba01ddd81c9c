/* copy_device.c: copies with a device: row copies in the stream, or staged through host memory.
 *
 * A driver copies evenly spaced rows in one call; a plan of more dimensions takes one call for each
 * index of the others. Where that would be too many small calls, the copy is staged: host memory
 * takes the elements packed in the order in which the *device* has them, so that the device's side
 * needs few calls, and the CPU does the rest.
 *
 *     device, strided  --rows-->  packed as the device  --CPU-->  host, strided
 *
 * The gaps between a device's elements are never read nor written: somebody else may be at work in
 * them. Staging memory is pageable, and a stream is done with that when its call returns.
 */
#include "tensor/copy_device.h"

#include <stdlib.h>

#include "tensor/copy_convert.h"
#include "tensor/copy_host.h"

/* Enqueueing a driver's copy takes some microseconds, in which a bus moves on the order of
 * DIRECT_CALL_BYTES: calls of that size, or a handful of any size, are not worth staging. */
enum { DIRECT_CALLS_MAX = 64, DIRECT_CALL_BYTES = 64 << 10 };

/* Staging memory per buffer; more is copied in pieces. */
enum { STAGING_BYTES_MAX = 64 << 20 };

/* --- rows --- */

static tarn_copy_rows rows_of(const tarn__copy_plan *plan, int32_t row_dim,
                              const tarn__copy_side *dst, const tarn__copy_side *src) {
  tarn_copy_rows rows = {.dst = dst->base + plan->dst_offset,
                         .src = src->base + plan->src_offset,
                         .dst_pitch_bytes = plan->unit_bytes,
                         .src_pitch_bytes = plan->unit_bytes,
                         .row_bytes = plan->unit_bytes,
                         .row_count = 1,
                         .dst_device = dst->device,
                         .src_device = src->device};
  if (row_dim >= 0) {
    rows.dst_pitch_bytes = (size_t)plan->dst_strides[row_dim];
    rows.src_pitch_bytes = (size_t)plan->src_strides[row_dim];
    rows.row_count = (size_t)plan->shape[row_dim];
  }
  return rows;
}

/* The next index over all dimensions but row_dim; false after the last. */
static bool step_rows(const tarn__copy_plan *plan, int32_t row_dim, int64_t *index,
                      tarn_copy_rows *rows) {
  for (int32_t d = plan->rank - 1; d >= 0; d--) {
    if (d == row_dim) continue;
    if (++index[d] < plan->shape[d]) {
      rows->dst = (char *)rows->dst + plan->dst_strides[d];
      rows->src = (const char *)rows->src + plan->src_strides[d];
      return true;
    }
    rows->dst = (char *)rows->dst - (plan->shape[d] - 1) * plan->dst_strides[d];
    rows->src = (const char *)rows->src - (plan->shape[d] - 1) * plan->src_strides[d];
    index[d] = 0;
  }
  return false;
}

static tarn_status copy_rows(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                             const tarn__copy_side *src, tarn_stream *stream,
                             tarn__copy_outcome *outcome) {
  if (plan->kind == TARN__COPY_NONE) return TARN_OK;
  int64_t index[TARN_RANK_MAX] = {0};
  int32_t row_dim = tarn__copy_plan_row_dim(plan);
  tarn_copy_rows rows = rows_of(plan, row_dim, dst, src);
  do {
    outcome->issued_count++; /* one that fails may have got some of its rows on their way */
    tarn_status status = tarn_stream_copy_rows(stream, &rows);
    if (status != TARN_OK) return status;
  } while (step_rows(plan, row_dim, index, &rows));
  return TARN_OK;
}

/* --- staging --- */

static int64_t magnitude(int64_t value) {
  return value < 0 ? -value : value;
}

/* The dimension of more than one element that `layout` has widest, not counting `done`; -1. */
static int32_t narrowest_dim(const tarn_layout *layout, uint32_t done) {
  int32_t found = -1;
  for (int32_t d = 0; d < layout->rank; d++) {
    if ((done & (1u << d)) || layout->shape[d] == 1 || layout->strides[d] == 0) continue;
    if (found < 0 || magnitude(layout->strides[d]) < magnitude(layout->strides[found])) found = d;
  }
  return found;
}

/* The elements of `layout` without gaps, in the order in which it has them. What is flipped stays
 * flipped and what is broadcast stays so, with one element for all. Returns how many there are. */
static int64_t pack_layout(const tarn_layout *layout, tarn_layout *packed) {
  uint32_t done = 0;
  int64_t count = 1;
  *packed = *layout;
  packed->offset = 0;
  for (int32_t d; (d = narrowest_dim(layout, done)) >= 0; done |= 1u << d) {
    packed->strides[d] = layout->strides[d] < 0 ? -count : count;
    if (layout->strides[d] < 0) packed->offset += (layout->shape[d] - 1) * count;
    count *= layout->shape[d];
  }
  return count;
}

/* One index for all along broadcast dimensions. */
static tarn_layout without_broadcast(const tarn_layout *layout, const tarn_layout *src) {
  tarn_layout once = *layout;
  for (int32_t d = 0; d < once.rank; d++) {
    if (src->strides[d] == 0) once.shape[d] = 1;
  }
  return once;
}

/* What the elements of a staged copy are on the two sides. */
typedef struct elements {
  size_t dst_bytes, src_bytes;
  const tarn__convert *convert; /* NULL: the same bytes */
} elements;

static void copy_on_host(const tarn__copy_side *dst, const tarn__copy_side *src,
                         const elements *element) {
  tarn__copy_plan plan;
  tarn__copy_plan_make(&dst->layout, &src->layout, element->dst_bytes, element->src_bytes, &plan);
  if (element->convert != NULL) {
    tarn__copy_convert_run(element->convert, &plan, dst->base, src->base);
  } else {
    tarn__copy_host_run(&plan, dst->base, src->base);
  }
}

/* A side in staging memory, packed as `model` is; its base is to be filled in. */
static tarn__copy_side staging_side(const tarn__copy_side *model, size_t element_bytes,
                                    size_t *size_bytes) {
  tarn__copy_side side = {.device = tarn_device_make(TARN_DEVICE_CPU, 0)};
  *size_bytes = (size_t)pack_layout(&model->layout, &side.layout) * element_bytes;
  return side;
}

static tarn_status pull(const tarn__copy_side *staging, const tarn__copy_side *src,
                        size_t element_bytes, tarn_stream *stream, tarn__copy_outcome *outcome) {
  tarn__copy_plan plan;
  tarn_layout to = without_broadcast(&staging->layout, &src->layout);
  tarn_layout from = without_broadcast(&src->layout, &src->layout);
  tarn__copy_plan_make(&to, &from, element_bytes, element_bytes, &plan);
  return copy_rows(&plan, staging, src, stream, outcome);
}

static tarn_status push(const tarn__copy_side *dst, const tarn__copy_side *staging,
                        size_t element_bytes, tarn_stream *stream, tarn__copy_outcome *outcome) {
  tarn__copy_plan plan;
  tarn__copy_plan_make(&dst->layout, &staging->layout, element_bytes, element_bytes, &plan);
  return copy_rows(&plan, dst, staging, stream, outcome);
}

/* A call with pageable memory is done when it returns; but one that failed may have left some of
 * its rows under way. Memory that cannot be waited for is not freed. */
static void drop_staging(char *staging, tarn_status status, tarn_stream *stream) {
  if (status == TARN_OK || tarn_stream_synchronize(stream) == TARN_OK) free(staging);
}

/* The last two hops: the CPU brings `host` into the order of the destination, which is then the
 * host's itself or takes it in rows. */
static tarn_status deliver(const tarn__copy_side *dst, const tarn__copy_side *host,
                           const elements *element, tarn_stream *stream,
                           tarn__copy_outcome *outcome) {
  if (tarn_device_is_host(dst->device)) {
    copy_on_host(dst, host, element);
    return TARN_OK;
  }
  size_t size_bytes;
  tarn__copy_side staging = staging_side(dst, element->dst_bytes, &size_bytes);
  staging.base = malloc(size_bytes);
  if (staging.base == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "%zu bytes to stage a strided copy", size_bytes);
  }
  copy_on_host(&staging, host, element);
  tarn_status status = push(dst, &staging, element->dst_bytes, stream, outcome);
  drop_staging(staging.base, status, stream);
  return status;
}

static tarn_status copy_staged_piece(const tarn__copy_side *dst, const tarn__copy_side *src,
                                     const elements *element, tarn_stream *stream,
                                     tarn__copy_outcome *outcome) {
  if (tarn_device_is_host(src->device)) return deliver(dst, src, element, stream, outcome);
  size_t size_bytes;
  tarn__copy_side staging = staging_side(src, element->src_bytes, &size_bytes);
  staging.base = malloc(size_bytes);
  if (staging.base == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "%zu bytes to stage a strided copy", size_bytes);
  }
  tarn_status status = pull(&staging, src, element->src_bytes, stream, outcome);
  if (status == TARN_OK) status = deliver(dst, &staging, element, stream, outcome);
  drop_staging(staging.base, status, stream);
  return status;
}

/* Halves both sides along the device's widest dimension until a piece fits into a buffer. */
static tarn_status copy_staged(const tarn__copy_side *dst, const tarn__copy_side *src,
                               const elements *element, tarn_stream *stream,
                               tarn__copy_outcome *outcome) {
  const tarn_layout *order = tarn_device_is_host(dst->device) ? &src->layout : &dst->layout;
  const size_t wider =
      element->dst_bytes > element->src_bytes ? element->dst_bytes : element->src_bytes;
  size_t size_bytes = (size_t)tarn_layout_element_count(order) * wider;
  int32_t widest = -1;
  for (int32_t d = 0; d < order->rank; d++) {
    if (order->shape[d] < 2) continue;
    if (widest < 0 || magnitude(order->strides[d]) > magnitude(order->strides[widest])) widest = d;
  }
  if (size_bytes <= STAGING_BYTES_MAX || widest < 0) {
    return copy_staged_piece(dst, src, element, stream, outcome);
  }
  int64_t size = order->shape[widest], half = size / 2;
  for (int64_t part = 0; part < 2; part++) {
    tarn__copy_side dst_half = *dst, src_half = *src;
    int64_t start = part == 0 ? 0 : half, length = part == 0 ? half : size - half;
    dst_half.layout.shape[widest] = src_half.layout.shape[widest] = length;
    dst_half.layout.offset += start * dst->layout.strides[widest];
    src_half.layout.offset += start * src->layout.strides[widest];
    tarn_status status = copy_staged(&dst_half, &src_half, element, stream, outcome);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

/* Calls that the device's sides take when the copy is staged. */
static uint64_t staged_call_count(const tarn__copy_side *dst, const tarn__copy_side *src,
                                  size_t element_bytes) {
  uint64_t count = 0;
  tarn__copy_plan plan;
  tarn_layout packed;
  if (!tarn_device_is_host(src->device)) {
    pack_layout(&src->layout, &packed);
    tarn_layout to = without_broadcast(&packed, &src->layout);
    tarn_layout from = without_broadcast(&src->layout, &src->layout);
    tarn__copy_plan_make(&to, &from, element_bytes, element_bytes, &plan);
    count += tarn__copy_plan_call_count(&plan);
  }
  if (!tarn_device_is_host(dst->device)) {
    pack_layout(&dst->layout, &packed);
    tarn__copy_plan_make(&dst->layout, &packed, element_bytes, element_bytes, &plan);
    count += tarn__copy_plan_call_count(&plan);
  }
  return count;
}

/* --- overlapping runs --- */

/* One run onto itself, moved by some distance: pieces no longer than the distance do not overlap,
 * and in the right order none overwrites what a later one reads. Pieces that would be too many are
 * read into host memory before they are written. */
static tarn_status copy_moved(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                              const tarn__copy_side *src, tarn_stream *stream,
                              tarn__copy_outcome *outcome) {
  tarn_status status = TARN_OK;
  char *to = dst->base + plan->dst_offset, *from = src->base + plan->src_offset, *staging = NULL;
  const tarn_device host = tarn_device_make(TARN_DEVICE_CPU, 0);
  size_t total = plan->unit_bytes, distance = (size_t)(to > from ? to - from : from - to);
  size_t piece = distance;
  if (total / distance >= DIRECT_CALLS_MAX) {
    piece = total < STAGING_BYTES_MAX ? total : STAGING_BYTES_MAX;
    staging = malloc(piece);
    if (staging == NULL) {
      return tarn_fail(TARN_OUT_OF_MEMORY, "%zu bytes to stage an overlapping copy", piece);
    }
  }
  for (size_t done = 0; done < total && status == TARN_OK; done += piece) {
    outcome->issued_count++;
    size_t size = total - done < piece ? total - done : piece;
    size_t at = to < from ? done : total - done - size; /* up or down, away from what is unread */
    if (staging == NULL) {
      status = tarn_stream_copy(stream, to + at, dst->device, from + at, src->device, size);
    } else {
      status = tarn_stream_copy(stream, staging, host, from + at, src->device, size);
      if (status == TARN_OK) {
        status = tarn_stream_copy(stream, to + at, dst->device, staging, host, size);
      }
    }
  }
  outcome->executor = staging != NULL ? "staged" : "memcpy";
  outcome->is_done = staging != NULL;
  drop_staging(staging, status, stream);
  return status;
}

static bool is_direct(const tarn__copy_side *dst, const tarn__copy_side *src, size_t element_bytes,
                      const tarn__copy_plan *plan) {
  uint64_t calls = tarn__copy_plan_call_count(plan);
  if (calls <= DIRECT_CALLS_MAX) return true;
  if (plan->run_count / calls * plan->unit_bytes >= DIRECT_CALL_BYTES) return true;
  return calls <= staged_call_count(dst, src, element_bytes);
}

tarn_status tarn__copy_device_run(const tarn__copy_side *dst, const tarn__copy_side *src,
                                  size_t element_bytes, const tarn__copy_plan *plan,
                                  bool is_overlapping, tarn_stream *stream,
                                  tarn__copy_outcome *outcome) {
  *outcome = (tarn__copy_outcome){.executor = plan->kind == TARN__COPY_MEMCPY ? "memcpy" : "rows"};
  if (is_overlapping) return copy_moved(plan, dst, src, stream, outcome);
  if (is_direct(dst, src, element_bytes, plan)) {
    outcome->is_done = dst->device.type == TARN_DEVICE_CPU || src->device.type == TARN_DEVICE_CPU;
    return copy_rows(plan, dst, src, stream, outcome);
  }
  /* The CPU reads or writes the host's side itself: behind everything enqueued so far. */
  tarn_status status = tarn_stream_synchronize(stream);
  if (status != TARN_OK) return status;
  outcome->executor = "staged";
  outcome->is_done = true;
  const elements same = {element_bytes, element_bytes, NULL};
  return copy_staged(dst, src, &same, stream, outcome);
}

tarn_status tarn__copy_device_convert(const tarn__copy_side *dst, const tarn__copy_side *src,
                                      const tarn__convert *convert, tarn_stream *stream,
                                      tarn__copy_outcome *outcome) {
  *outcome = (tarn__copy_outcome){.executor = "staged", .is_done = true};
  tarn_status status = tarn_stream_synchronize(stream); /* as above */
  if (status != TARN_OK) return status;
  const elements both = {convert->dst_bytes, convert->src_bytes, convert};
  return copy_staged(dst, src, &both, stream, outcome);
}
