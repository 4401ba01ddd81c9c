/* copy.c: the one copy: checks, broadcasts, plans, chooses who runs it, keeps both sides alive. */
#include "tensor/tarn_copy.h"

#include <inttypes.h>
#include <stdlib.h>

#include "alloc/tarn_capture.h"

#include "tensor/copy_device.h"
#include "tensor/copy_host.h"
#include "tensor/copy_plan.h"
#include "tensor/layout.h"

/* A copy for the CPU, where a stream's thread will run it. */
typedef struct host_job {
  tarn__copy_plan plan;
  char *dst;
  const char *src;
} host_job;

static void run_host_job(void *argument) {
  host_job *job = argument;
  tarn__copy_host_run(&job->plan, job->dst, job->src);
  free(job);
}

/* --- checks --- */

/* A tensor is a value, so somebody may have written any numbers into it. */
static tarn_status check_inside(const tarn_tensor *tensor, const char *which,
                                size_t element_bytes) {
  int64_t first, end;
  tarn_layout_bounds(&tensor->layout, &first, &end);
  size_t size_bytes = tarn_storage_size_bytes(tensor->storage);
  if (first >= 0 && (uint64_t)end <= size_bytes / element_bytes) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "elements %" PRId64 " to %" PRId64
                   " of the %s do not lie in its storage of %zu "
                   "bytes",
                   first, end - 1, which, size_bytes);
}

static tarn_status check_tensors(const tarn_tensor *dst, const tarn_tensor *src) {
  char dst_name[64], src_name[64];
  if (dst == NULL || src == NULL || dst->storage == NULL || src->storage == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a copy from or to a tensor without a storage");
  }
  tarn_status status = tarn_dtype_check(dst->dtype);
  if (status != TARN_OK) return status;
  if (!tarn_dtype_equal(dst->dtype, src->dtype)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "a copy from %s to %s would convert",
                     tarn_dtype_name(src->dtype, src_name, sizeof src_name),
                     tarn_dtype_name(dst->dtype, dst_name, sizeof dst_name));
  }
  if (tarn_storage_is_read_only(dst->storage)) {
    return tarn_fail(TARN_READ_ONLY, "the destination's storage is read-only");
  }
  size_t element_bytes = tarn_dtype_size_bytes(dst->dtype);
  status = check_inside(dst, "destination", element_bytes);
  if (status == TARN_OK) status = check_inside(src, "source", element_bytes);
  return status;
}

/* --- overlap --- */

/* Whether the two sides' addresses mean the same memory. */
static bool share_addresses(const tarn__copy_side *a, const tarn__copy_side *b) {
  if (tarn_device_is_host(a->device) && tarn_device_is_host(b->device)) return true;
  return tarn_device_equal(a->device, b->device);
}

static bool ranges_intersect(const tarn__copy_side *a, const tarn__copy_side *b,
                             size_t element_bytes) {
  int64_t a_first, a_end, b_first, b_end, unit = (int64_t)element_bytes;
  tarn_layout_bounds(&a->layout, &a_first, &a_end);
  tarn_layout_bounds(&b->layout, &b_first, &b_end);
  return (uintptr_t)(a->base + a_first * unit) < (uintptr_t)(b->base + b_end * unit) &&
         (uintptr_t)(b->base + b_first * unit) < (uintptr_t)(a->base + a_end * unit);
}

/* Every element would be copied onto itself. */
static bool is_identity(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                        const tarn__copy_side *src) {
  if (dst->base + plan->dst_offset != src->base + plan->src_offset) return false;
  for (int32_t d = 0; d < plan->rank; d++) {
    if (plan->dst_strides[d] != plan->src_strides[d]) return false;
  }
  return true;
}

typedef enum meeting { APART, SAME, MOVED, TANGLED } meeting;

static meeting meet(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                    const tarn__copy_side *src, size_t element_bytes) {
  if (!share_addresses(dst, src) || !ranges_intersect(dst, src, element_bytes)) return APART;
  if (is_identity(plan, dst, src)) return SAME;
  if (plan->kind == TARN__COPY_MEMCPY) return MOVED;
  int64_t distance = (int64_t)((uintptr_t)src->base - (uintptr_t)dst->base);
  return tarn__layouts_meet(&dst->layout, &src->layout, distance, element_bytes) ? TANGLED : APART;
}

/* --- running --- */

static tarn_status run_on_host(const tarn__copy_plan *plan, char *dst, const char *src,
                               tarn_stream *stream, tarn__copy_outcome *outcome) {
  *outcome = (tarn__copy_outcome){.executor = plan->kind == TARN__COPY_MEMCPY ? "memcpy"
                                              : plan->kind == TARN__COPY_ROWS ? "rows"
                                                                              : "strided"};
  if (tarn_stream_is_synchronous(stream)) {
    tarn__copy_host_run(plan, dst, src);
    outcome->is_done = true;
    return TARN_OK;
  }
  if (tarn_stream_is_captured(stream)) {
    /* The job is freed when it has run, and would run at every launch. */
    return tarn_fail(TARN_NOT_SUPPORTED, "a copy by the host on a stream that is being captured");
  }
  host_job *job = malloc(sizeof *job);
  if (job == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to enqueue a copy");
  *job = (host_job){.plan = *plan, .dst = dst, .src = src};
  tarn_status status = tarn_stream_call(stream, run_host_job, job);
  if (status == TARN_OK) {
    outcome->issued_count = 1;
  } else {
    free(job);
  }
  return status;
}

/* What is enqueued keeps both storages from being reused. Where that cannot be noted, the work is
 * waited for instead. */
static tarn_status note_uses(const tarn_tensor *dst, const tarn_tensor *src, tarn_stream *stream,
                             tarn__copy_outcome *outcome) {
  if (outcome->issued_count == 0 || tarn_stream_is_synchronous(stream)) return TARN_OK;
  if (tarn_storage_note_use(dst->storage, stream) == TARN_OK &&
      tarn_storage_note_use(src->storage, stream) == TARN_OK) {
    return TARN_OK;
  }
  tarn_status status = tarn_stream_synchronize(stream);
  if (status == TARN_OK) {
    outcome->is_done = true;
    return TARN_OK;
  }
  /* A stream that can neither be noted nor waited for may still be at work: memory that is never
   * freed is the lesser evil. */
  tarn_storage_retain(dst->storage);
  tarn_storage_retain(src->storage);
  return status;
}

static tarn_status run(const tarn_tensor *dst, const tarn_tensor *src, const tarn__copy_side *to,
                       const tarn__copy_side *from, size_t element_bytes,
                       const tarn__copy_plan *plan, bool is_overlapping, tarn_stream *stream,
                       tarn__copy_outcome *outcome) {
  tarn_status status;
  if (tarn_device_is_host(to->device) && tarn_device_is_host(from->device)) {
    status = run_on_host(plan, to->base, from->base, stream, outcome);
  } else {
    status = tarn__copy_device_run(to, from, element_bytes, plan, is_overlapping, stream, outcome);
  }
  if (tarn_stream_is_synchronous(stream)) outcome->is_done = true;
  tarn_status noted = note_uses(dst, src, stream, outcome);
  return status == TARN_OK ? noted : status;
}

static tarn__copy_side side_of(const tarn_tensor *tensor) {
  /* The source is not written through this pointer. */
  return (tarn__copy_side){.base = (char *)(uintptr_t)tarn_storage_data(tensor->storage),
                           .layout = tensor->layout,
                           .device = tarn_storage_device(tensor->storage)};
}

static void fill_report(tarn_copy_report *report, const tarn__copy_plan *plan,
                        const tarn__copy_outcome *outcome) {
  if (report == NULL) return;
  report->moved_bytes = plan->run_count * plan->unit_bytes;
  report->run_count = plan->run_count;
  report->executor = outcome->executor;
  report->was_synchronous = outcome->is_done;
}

tarn_status tarn_tensor_copy(const tarn_tensor *dst, const tarn_tensor *src, tarn_stream *stream,
                             tarn_copy_report *report) {
  if (report != NULL) {
    if (report->struct_size != sizeof *report) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_copy_report has %zu bytes, not %zu",
                       sizeof *report, report->struct_size);
    }
    *report = (tarn_copy_report){.struct_size = sizeof *report, .executor = "none"};
  }
  tarn_status status = check_tensors(dst, src);
  if (status != TARN_OK) return status;
  tarn__copy_side to = side_of(dst), from = side_of(src);
  status = tarn_layout_expand(&from.layout, to.layout.rank, to.layout.shape);
  if (status != TARN_OK) return status;
  if (!tarn_layout_is_contiguous(&to.layout) && tarn_layout_overlaps_itself(&to.layout)) {
    return tarn_fail(TARN_OVERLAP, "the destination has an element at two indices");
  }
  tarn__copy_plan plan;
  tarn__copy_outcome outcome = {.executor = "none", .is_done = true};
  size_t element_bytes = tarn_dtype_size_bytes(dst->dtype);
  tarn__copy_plan_make(&to.layout, &from.layout, element_bytes, element_bytes, &plan);
  if (plan.kind == TARN__COPY_NONE) {
    fill_report(report, &plan, &outcome);
    return TARN_OK;
  }
  switch (meet(&plan, &to, &from, element_bytes)) {
    case SAME:
      plan.run_count = 0;
      break;
    case TANGLED:
      return tarn_fail(TARN_OVERLAP, "source and destination share elements at different indices");
    case APART:
      status = run(dst, src, &to, &from, element_bytes, &plan, /*is_overlapping=*/false, stream,
                   &outcome);
      break;
    case MOVED:
      status = run(dst, src, &to, &from, element_bytes, &plan, /*is_overlapping=*/true, stream,
                   &outcome);
      break;
  }
  if (status == TARN_OK) fill_report(report, &plan, &outcome);
  return status;
}
