/* copy_device.c: copies with a device: which way one goes, and the ways by pageable host memory.
 *
 * Where it can, the stream does it alone, by rows, batches or a kernel: copy_direct.c. What
 * pageable memory takes part in goes through the stream's ring where it has one: copy_ring.c. For
 * the rest the costs decide: copy_costs.c. Where the stream alone would take too many small calls,
 * the copy is staged: host memory takes the elements packed in the order in which the *device* has
 * them, so that the device's side needs few calls, and the CPU does the rest.
 *
 *     device, strided  --rows-->  packed as the device  --CPU-->  host, strided
 *
 * The gaps between a device's elements are never read nor written: somebody else may be at work in
 * them. Staging memory is pageable, and a stream is done with that when its call returns.
 */
#include "tensor/copy_device.h"

#include <stdlib.h>

#include "tensor/copy_costs.h"
#include "tensor/copy_direct.h"
#include "tensor/copy_ring.h"

/* Pieces of an overlapping copy that are worth a call each. */
enum { MOVED_CALLS_MAX = 64 };

/* Staging memory per buffer; more is copied in pieces. */
enum { STAGING_BYTES_MAX = 64 << 20 };

/* --- staging --- */

/* A call with pageable memory is done when it returns; but one that failed may have left some of
 * its rows under way. Memory that cannot be waited for is not freed. */
static void drop_staging(char *staging, tarn_status status, tarn_stream *stream) {
  if (status == TARN_OK || tarn_stream_synchronize(stream) == TARN_OK) free(staging);
}

/* The last two hops: the CPU brings `host` into the order of the destination, which is then the
 * host's itself or takes it in rows. */
static tarn_status deliver(const tarn__copy_side *dst, const tarn__copy_side *host,
                           const tarn__copy_elements *element, tarn_stream *stream,
                           tarn__copy_outcome *outcome) {
  if (tarn_device_is_host(dst->device)) {
    tarn__copy_on_host(dst, host, element);
    return TARN_OK;
  }
  size_t size_bytes;
  tarn__copy_side staging = tarn__copy_staging_side(dst, element->dst_bytes, &size_bytes);
  staging.base = malloc(size_bytes);
  if (staging.base == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "%zu bytes to stage a strided copy", size_bytes);
  }
  tarn__copy_on_host(&staging, host, element);
  tarn_status status = tarn__copy_push(dst, &staging, element->dst_bytes, stream, outcome);
  drop_staging(staging.base, status, stream);
  return status;
}

static tarn_status copy_staged_piece(const tarn__copy_side *dst, const tarn__copy_side *src,
                                     const tarn__copy_elements *element, tarn_stream *stream,
                                     tarn__copy_outcome *outcome) {
  if (tarn_device_is_host(src->device)) return deliver(dst, src, element, stream, outcome);
  size_t size_bytes;
  tarn__copy_side staging = tarn__copy_staging_side(src, element->src_bytes, &size_bytes);
  staging.base = malloc(size_bytes);
  if (staging.base == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "%zu bytes to stage a strided copy", size_bytes);
  }
  tarn_status status = tarn__copy_pull(&staging, src, element->src_bytes, stream, outcome);
  if (status == TARN_OK) status = deliver(dst, &staging, element, stream, outcome);
  drop_staging(staging.base, status, stream);
  return status;
}

/* Halves both sides along the device's widest dimension until a piece fits into a buffer. */
static tarn_status copy_staged(const tarn__copy_side *dst, const tarn__copy_side *src,
                               const tarn__copy_elements *element, tarn_stream *stream,
                               tarn__copy_outcome *outcome) {
  const tarn_layout *order = tarn_device_is_host(dst->device) ? &src->layout : &dst->layout;
  const size_t wider =
      element->dst_bytes > element->src_bytes ? element->dst_bytes : element->src_bytes;
  size_t size_bytes = (size_t)tarn_layout_element_count(order) * wider;
  const int32_t widest = tarn__copy_widest_dim(order);
  if (size_bytes <= STAGING_BYTES_MAX || widest < 0) {
    return copy_staged_piece(dst, src, element, stream, outcome);
  }
  for (int part = 0; part < 2; part++) {
    const tarn__copy_side dst_half = tarn__copy_half(dst, widest, part);
    const tarn__copy_side src_half = tarn__copy_half(src, widest, part);
    tarn_status status = copy_staged(&dst_half, &src_half, element, stream, outcome);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

/* --- overlapping runs --- */

/* One run onto itself, moved by some distance: pieces no longer than the distance do not overlap,
 * and in the right order none overwrites what a later one reads. Pieces that would be too many are
 * read into host memory before they are written. */
static tarn_status copy_moved(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                              const tarn__copy_side *src, const tarn_staging *ring,
                              tarn_stream *stream, tarn__copy_outcome *outcome) {
  tarn_status status = TARN_OK;
  char *to = dst->base + plan->dst_offset, *from = src->base + plan->src_offset, *staging = NULL;
  const tarn_device host = tarn_device_make(TARN_DEVICE_CPU, 0);
  size_t total = plan->unit_bytes, distance = (size_t)(to > from ? to - from : from - to);
  size_t piece = distance;
  if (total / distance >= MOVED_CALLS_MAX) {
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
  outcome->is_done = staging != NULL && ring == NULL;
  drop_staging(staging, status, stream);
  return status;
}

/* Through pageable memory, by the CPU. */
static tarn_status run_staged(const tarn__copy_side *dst, const tarn__copy_side *src,
                              const tarn__copy_elements *element, const tarn_staging *ring,
                              tarn_stream *stream, tarn__copy_outcome *outcome) {
  outcome->executor = "staged";
  /* The CPU reads or writes the host's side itself: behind everything enqueued so far. */
  tarn_status status = tarn_stream_synchronize(stream);
  if (status == TARN_OK) status = copy_staged(dst, src, element, stream, outcome);
  /* What went to the device through a ring may still be on its way. */
  outcome->is_done = ring == NULL || tarn_device_is_host(dst->device);
  outcome->is_source_read = status == TARN_OK;
  return status;
}

static uint32_t abilities_of(tarn_stream *stream, const tarn_staging *ring,
                             const tarn__copy_side *dst, const tarn__copy_side *src,
                             const tarn__copy_elements *element) {
  const uint32_t all = tarn_stream_copy_abilities(stream);
  return tarn__copy_ring_carries(ring, dst, src, element) ? all | TARN_STREAM_COPIES_BY_RING
                                                          : all & ~TARN_STREAM_COPIES_BY_RING;
}

/* A kernel that refuses leaves the next best way. */
static tarn_status run_cheapest(const tarn__copy_question *question, tarn_staging *ring,
                                tarn_stream *stream, tarn__copy_outcome *outcome) {
  uint64_t estimates_ns[TARN_COPY_WAYS];
  tarn_copy_way way;
  tarn__copy_estimate(question, estimates_ns);
  while (tarn__copy_cheapest(estimates_ns, &way)) {
    if (way == TARN_COPY_BY_RING) {
      return tarn__copy_ring_run(ring, question->dst, question->src, question->element, stream,
                                 outcome);
    }
    if (way == TARN_COPY_BY_STAGING) {
      return run_staged(question->dst, question->src, question->element, ring, stream, outcome);
    }
    const tarn_status status = tarn__copy_by_way(way, question, stream, outcome);
    if (way != TARN_COPY_BY_KERNEL || status != TARN_NOT_SUPPORTED) return status;
    estimates_ns[way] = UINT64_MAX;
  }
  return tarn_fail(TARN_NOT_SUPPORTED, "no way for this copy"); /* never: staging always is one */
}

tarn_status tarn__copy_device_run(const tarn__copy_side *dst, const tarn__copy_side *src,
                                  size_t element_bytes, const tarn__copy_plan *plan,
                                  bool is_overlapping, tarn_stream *stream,
                                  tarn__copy_outcome *outcome) {
  tarn_staging *ring;
  const tarn__copy_elements same = {.dst_bytes = element_bytes, .src_bytes = element_bytes};
  *outcome = (tarn__copy_outcome){.executor = "memcpy"};
  tarn_status status = tarn__copy_find_ring(src, stream, &ring);
  if (status != TARN_OK) return status;
  if (is_overlapping) return copy_moved(plan, dst, src, ring, stream, outcome);
  const tarn__copy_question question = {plan, dst, src, &same,
                                        abilities_of(stream, ring, dst, src, &same)};
  if (tarn__copy_must_take_ring(&question)) {
    return tarn__copy_ring_run(ring, dst, src, &same, stream, outcome);
  }
  const bool is_pageable =
      dst->device.type == TARN_DEVICE_CPU || src->device.type == TARN_DEVICE_CPU;
  outcome->is_done = is_pageable && (ring == NULL || tarn_device_is_host(dst->device));
  outcome->is_source_read = is_pageable;
  /* One run: nothing moves it in fewer steps. */
  if (plan->kind == TARN__COPY_MEMCPY) {
    return tarn__copy_by_way(TARN_COPY_BY_ROWS, &question, stream, outcome);
  }
  return run_cheapest(&question, ring, stream, outcome);
}

/* By the device, where neither side is pageable and it has the kernel. */
static tarn_status convert_by_grid(const tarn__copy_side *dst, const tarn__copy_side *src,
                                   const tarn__copy_elements *element, tarn_stream *stream,
                                   tarn__copy_outcome *outcome) {
  tarn__copy_plan plan;
  if (dst->device.type == TARN_DEVICE_CPU || src->device.type == TARN_DEVICE_CPU ||
      (tarn_stream_copy_abilities(stream) & TARN_STREAM_COPIES_GRIDS) == 0) {
    return TARN_NOT_SUPPORTED;
  }
  tarn__copy_plan_make(&dst->layout, &src->layout, element->dst_bytes, element->src_bytes, &plan);
  if (!tarn__copy_plan_fits_grid(&plan)) return TARN_NOT_SUPPORTED;
  outcome->executor = "kernel";
  return tarn__copy_by_grid(&plan, dst, src, element, stream, outcome);
}

tarn_status tarn__copy_device_convert(const tarn__copy_side *dst, const tarn__copy_side *src,
                                      const tarn__convert *convert, tarn_dtype dst_type,
                                      tarn_dtype src_type, tarn_stream *stream,
                                      tarn__copy_outcome *outcome) {
  tarn_staging *ring;
  const tarn__copy_elements both = {convert->dst_bytes, convert->src_bytes, convert, dst_type,
                                    src_type};
  *outcome = (tarn__copy_outcome){.executor = "kernel"};
  tarn_status status = convert_by_grid(dst, src, &both, stream, outcome);
  if (status != TARN_NOT_SUPPORTED) return status;
  status = tarn__copy_find_ring(src, stream, &ring);
  if (status != TARN_OK) return status;
  if (tarn__copy_ring_carries(ring, dst, src, &both)) {
    return tarn__copy_ring_run(ring, dst, src, &both, stream, outcome);
  }
  return run_staged(dst, src, &both, ring, stream, outcome);
}
