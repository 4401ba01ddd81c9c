/* copy_device.c: copies with a device: row copies in the stream, or staged through host memory.
 *
 * Where the stream has a ring of pinned slots, what pageable memory or the CPU takes part in goes
 * through that: copy_ring.c.
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
#include "tensor/copy_ring.h"
#include "tensor/copy_staged.h"

/* Enqueueing a driver's copy takes some microseconds, in which a bus moves on the order of
 * DIRECT_CALL_BYTES: calls of that size, or a handful of any size, are not worth staging. */
enum { DIRECT_CALLS_MAX = 64, DIRECT_CALL_BYTES = 64 << 10 };

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

/* Calls that the device's sides take when the copy is staged. */
static uint64_t staged_call_count(const tarn__copy_side *dst, const tarn__copy_side *src,
                                  size_t element_bytes) {
  uint64_t count = 0;
  tarn__copy_plan plan;
  tarn_layout packed;
  if (!tarn_device_is_host(src->device)) {
    tarn__copy_pack(&src->layout, &packed);
    tarn_layout to = tarn__copy_without_broadcast(&packed, &src->layout);
    tarn_layout from = tarn__copy_without_broadcast(&src->layout, &src->layout);
    tarn__copy_plan_make(&to, &from, element_bytes, element_bytes, &plan);
    count += tarn__copy_plan_call_count(&plan);
  }
  if (!tarn_device_is_host(dst->device)) {
    tarn__copy_pack(&dst->layout, &packed);
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
                              const tarn__copy_side *src, const tarn_staging *ring,
                              tarn_stream *stream, tarn__copy_outcome *outcome) {
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
  outcome->is_done = staging != NULL && ring == NULL;
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

tarn_status tarn__copy_device_run(const tarn__copy_side *dst, const tarn__copy_side *src,
                                  size_t element_bytes, const tarn__copy_plan *plan,
                                  bool is_overlapping, tarn_stream *stream,
                                  tarn__copy_outcome *outcome) {
  tarn_staging *ring;
  const tarn__copy_elements same = {element_bytes, element_bytes, NULL};
  *outcome = (tarn__copy_outcome){.executor = plan->kind == TARN__COPY_MEMCPY ? "memcpy" : "rows"};
  tarn_status status = tarn__copy_find_ring(src, stream, &ring);
  if (status != TARN_OK) return status;
  if (is_overlapping) return copy_moved(plan, dst, src, ring, stream, outcome);
  const bool is_pageable =
      dst->device.type == TARN_DEVICE_CPU || src->device.type == TARN_DEVICE_CPU;
  const bool may_be_direct = is_direct(dst, src, element_bytes, plan);
  if ((is_pageable || !may_be_direct) && tarn__copy_ring_carries(ring, dst, src, &same)) {
    return tarn__copy_ring_run(ring, dst, src, &same, stream, outcome);
  }
  if (!may_be_direct) return run_staged(dst, src, &same, ring, stream, outcome);
  outcome->is_done = is_pageable && (ring == NULL || tarn_device_is_host(dst->device));
  outcome->is_source_read = is_pageable;
  return tarn__copy_by_rows(plan, dst, src, stream, outcome);
}

tarn_status tarn__copy_device_convert(const tarn__copy_side *dst, const tarn__copy_side *src,
                                      const tarn__convert *convert, tarn_stream *stream,
                                      tarn__copy_outcome *outcome) {
  tarn_staging *ring;
  const tarn__copy_elements both = {convert->dst_bytes, convert->src_bytes, convert};
  *outcome = (tarn__copy_outcome){.executor = "staged"};
  const tarn_status status = tarn__copy_find_ring(src, stream, &ring);
  if (status != TARN_OK) return status;
  if (tarn__copy_ring_carries(ring, dst, src, &both)) {
    return tarn__copy_ring_run(ring, dst, src, &both, stream, outcome);
  }
  return run_staged(dst, src, &both, ring, stream, outcome);
}
