/* copy.c: the one copy: checks, broadcasts, plans, chooses who runs it, keeps both sides alive. */
#include "tensor/tarn_copy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_capture.h"

#include "tensor/copy_convert.h"
#include "tensor/copy_device.h"
#include "tensor/copy_host.h"
#include "tensor/copy_plan.h"
#include "tensor/layout.h"

/* A copy for the CPU, where a stream's thread will run it. */
typedef struct host_job {
  tarn__convert convert;
  union {
    tarn__copy_walk walk; /* where `convert` has no steps */
    tarn__copy_plan plan;
  } work;
  char *dst;
  const char *src;
} host_job;

/* A copy as planned, and what its plan was made of. */
typedef struct task {
  const tarn_tensor *dst, *src;
  const tarn_layout *from; /* the source's layout in the destination's shape */
  size_t element_bytes, src_element_bytes;
  tarn__convert convert; /* no steps: the copy moves bytes as they are */
  tarn_device dst_device, src_device;
  char *dst_base;
  const char *src_base;
  tarn__copy_plan plan;
} task;

/* --- checks --- */

/* The whole-byte widths of each code, as a set of their sizes in bytes: what tarn_dtype_check lets
 * pass for one lane. Codes that are rarer than these go the long way. */
static const uint8_t code_sizes[] = {
    [TARN_CODE_INT] = 1 | 2 | 4 | 8,
    [TARN_CODE_UINT] = 1 | 2 | 4 | 8,
    [TARN_CODE_FLOAT] = 2 | 4 | 8,
    [TARN_CODE_OPAQUE] = 0,
    [TARN_CODE_BFLOAT] = 2,
    [TARN_CODE_COMPLEX] = 4 | 8 | 16,
    [TARN_CODE_BOOL] = 1,
};

/* Where both have one dtype of the above: its size; else 0. */
static inline size_t common_element_bytes(tarn_dtype dst, tarn_dtype src) {
  const size_t size = dst.bits / 8;
  if (memcmp(&dst, &src, sizeof dst) != 0) return 0;
  if (dst.lanes != 1 || dst.code >= sizeof code_sizes) return 0;
  return dst.bits % 8 == 0 && tarn_is_power_of_two(size) ? code_sizes[dst.code] & size : 0;
}

/* A tensor is a value, so somebody may have written any numbers into it. */
static tarn_status check_inside(const tarn_tensor *tensor, const char *which,
                                size_t element_bytes) {
  const tarn_layout *layout = &tensor->layout;
  int64_t first, end;
  if (!tarn_inline_reach(layout->rank, layout->shape, layout->strides, layout->offset, &first,
                         &end)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "the numbers of the %s are those of no layout", which);
  }
  size_t end_bytes, size_bytes = tarn_storage_size_bytes(tensor->storage);
  if (first >= 0 && tarn_size_mul((size_t)end, element_bytes, &end_bytes) &&
      end_bytes <= size_bytes) {
    return TARN_OK;
  }
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "elements %" PRId64 " to %" PRId64
                   " of the %s do not lie in its storage of %zu "
                   "bytes",
                   first, end - 1, which, size_bytes);
}

/* Fills in what the elements are, and how the source's become the destination's. */
static tarn_status check_dtypes(tarn_dtype dst, tarn_dtype src, task *work) {
  work->convert.step_count = 0;
  work->element_bytes = work->src_element_bytes = common_element_bytes(dst, src);
  if (work->element_bytes != 0) return TARN_OK;
  tarn_status status = tarn_dtype_check(dst);
  if (status == TARN_OK && !tarn_dtype_equal(dst, src)) {
    status = tarn__convert_find(dst, src, &work->convert);
  }
  work->element_bytes = tarn_dtype_size_bytes(dst);
  work->src_element_bytes = tarn_dtype_size_bytes(src);
  return status;
}

static tarn_status check_tensors(const tarn_tensor *dst, const tarn_tensor *src, task *work) {
  if (dst == NULL || src == NULL || dst->storage == NULL || src->storage == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a copy from or to a tensor without a storage");
  }
  tarn_status status = check_dtypes(dst->dtype, src->dtype, work);
  if (status != TARN_OK) return status;
  if (tarn_storage_is_read_only(dst->storage)) {
    return tarn_fail(TARN_READ_ONLY, "the destination's storage is read-only");
  }
  status = check_inside(dst, "destination", work->element_bytes);
  if (status == TARN_OK) status = check_inside(src, "source", work->src_element_bytes);
  return status;
}

/* --- overlap --- */

/* True where each destination dimension steps over all that the narrower ones reach. Where that is
 * not so, the destination may still be free of overlap. */
static bool steps_over_itself(const tarn__copy_plan *plan) {
  int64_t reach = (int64_t)plan->unit_bytes;
  for (int32_t d = plan->rank - 1; d >= 0; d--) {
    if (plan->dst_strides[d] < reach) return false;
    reach += (plan->shape[d] - 1) * plan->dst_strides[d];
  }
  return true;
}

/* Whether the two sides' addresses mean the same memory. */
static bool share_addresses(const task *work) {
  if (tarn_device_is_host(work->dst_device) && tarn_device_is_host(work->src_device)) return true;
  return tarn_device_equal(work->dst_device, work->src_device);
}

static bool ranges_intersect(const task *work) {
  const tarn__copy_plan *plan = &work->plan;
  uintptr_t dst_first = (uintptr_t)work->dst_base + (uintptr_t)plan->dst_offset;
  uintptr_t src_first = (uintptr_t)work->src_base + (uintptr_t)plan->src_offset;
  uintptr_t dst_end = dst_first + plan->unit_bytes;
  uintptr_t src_end = src_first + plan->unit_count * work->src_element_bytes;
  for (int32_t d = 0; d < plan->rank; d++) {
    dst_end += (uintptr_t)((plan->shape[d] - 1) * plan->dst_strides[d]);
    int64_t span = (plan->shape[d] - 1) * plan->src_strides[d];
    *(span < 0 ? &src_first : &src_end) += (uintptr_t)span;
  }
  return dst_first < src_end && src_first < dst_end;
}

/* Every element would be copied onto itself. */
static bool is_identity(const task *work) {
  const tarn__copy_plan *plan = &work->plan;
  if (work->dst_base + plan->dst_offset != work->src_base + plan->src_offset) return false;
  for (int32_t d = 0; d < plan->rank; d++) {
    if (plan->dst_strides[d] != plan->src_strides[d]) return false;
  }
  return true;
}

typedef enum meeting { APART, SAME, MOVED, TANGLED } meeting;

static meeting meet(const task *work) {
  if (!share_addresses(work) || !ranges_intersect(work)) return APART;
  int64_t distance = (int64_t)((uintptr_t)work->src_base - (uintptr_t)work->dst_base);
  if (work->convert.step_count > 0) {
    return tarn__layouts_share_bytes(&work->dst->layout, work->element_bytes, work->from,
                                     work->src_element_bytes, distance)
               ? TANGLED
               : APART;
  }
  if (is_identity(work)) return SAME;
  if (work->plan.kind == TARN__COPY_MEMCPY) return MOVED;
  return tarn__layouts_meet(&work->dst->layout, work->from, distance, work->element_bytes) ? TANGLED
                                                                                           : APART;
}

/* --- running --- */

static void run_job(const host_job *job) {
  if (job->convert.step_count > 0) {
    tarn__copy_convert_run(&job->convert, &job->work.plan, job->dst, job->src);
  } else {
    tarn__copy_host_walk(&job->work.walk, job->dst, job->src);
  }
}

static void run_enqueued_job(void *argument) {
  run_job(argument);
  free(argument);
}

static tarn_status run_on_host(const task *work, tarn_stream *stream, tarn__copy_outcome *outcome) {
  host_job job;
  job.dst = work->dst_base;
  job.src = work->src_base;
  if (work->convert.step_count > 0) {
    job.convert = work->convert;
    job.work.plan = work->plan;
    *outcome = (tarn__copy_outcome){.executor = "convert"};
  } else {
    job.convert.step_count = 0;
    tarn__copy_walk_make(&work->plan, &job.work.walk);
    *outcome = (tarn__copy_outcome){.executor = tarn__copy_executor_name(job.work.walk.executor)};
  }
  if (tarn_stream_is_synchronous(stream)) {
    run_job(&job);
    outcome->is_done = true;
    return TARN_OK;
  }
  if (tarn_stream_is_captured(stream)) {
    /* The job is freed when it has run, and would run at every launch. */
    return tarn_fail(TARN_NOT_SUPPORTED, "a copy by the host on a stream that is being captured");
  }
  host_job *enqueued = malloc(sizeof *enqueued);
  if (enqueued == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to enqueue a copy");
  *enqueued = job;
  tarn_status status = tarn_stream_call(stream, run_enqueued_job, enqueued);
  if (status == TARN_OK) {
    outcome->issued_count = 1;
  } else {
    free(enqueued);
  }
  return status;
}

/* What is enqueued keeps both storages from being reused. Where that cannot be noted, the work is
 * waited for instead. */
static tarn_status note_uses(const tarn_tensor *dst, const tarn_tensor *src, tarn_stream *stream,
                             tarn__copy_outcome *outcome) {
  if (outcome->issued_count == 0 || tarn_stream_is_synchronous(stream)) return TARN_OK;
  if (tarn_storage_note_use(dst->storage, stream) == TARN_OK &&
      (outcome->is_source_read || tarn_storage_note_use(src->storage, stream) == TARN_OK)) {
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

static tarn_status run(const task *work, bool is_overlapping, tarn_stream *stream,
                       tarn__copy_outcome *outcome) {
  tarn_status status;
  if (tarn_device_is_host(work->dst_device) && tarn_device_is_host(work->src_device)) {
    status = run_on_host(work, stream, outcome);
  } else {
    const tarn__copy_side to = {work->dst_base, work->dst->layout, work->dst_device};
    /* The source is not written through this pointer. */
    const tarn__copy_side from = {(char *)(uintptr_t)work->src_base, *work->from, work->src_device};
    status = work->convert.step_count > 0
                 ? tarn__copy_device_convert(&to, &from, &work->convert, work->dst->dtype,
                                             work->src->dtype, stream, outcome)
                 : tarn__copy_device_run(&to, &from, work->element_bytes, &work->plan,
                                         is_overlapping, stream, outcome);
  }
  if (tarn_stream_is_synchronous(stream)) outcome->is_done = true;
  tarn_status noted = note_uses(work->dst, work->src, stream, outcome);
  return status == TARN_OK ? noted : status;
}

static void fill_report(tarn_copy_report *report, const tarn__copy_plan *plan,
                        const tarn__copy_outcome *outcome) {
  if (report == NULL) return;
  report->moved_bytes = plan->run_count * plan->unit_bytes;
  report->run_count = plan->run_count;
  report->executor = outcome->executor;
  report->was_synchronous = outcome->is_done;
  report->is_source_read = outcome->is_done || outcome->is_source_read;
}

/* Without a call for what is mostly a handful of numbers. */
static inline bool have_one_shape(const tarn_layout *a, const tarn_layout *b) {
  if (a->rank != b->rank) return false;
  for (int32_t d = 0; d < a->rank; d++) {
    if (a->shape[d] != b->shape[d]) return false;
  }
  return true;
}

/* Plans a copy between tensors that were checked into `work`; `expanded` is room for a source that
 * is broadcast. */
static tarn_status plan_work(const tarn_tensor *dst, const tarn_tensor *src, task *work,
                             tarn_layout *expanded) {
  work->dst = dst;
  work->src = src;
  work->from = &src->layout;
  if (!have_one_shape(&src->layout, &dst->layout)) {
    *expanded = src->layout;
    tarn_status status = tarn_layout_expand(expanded, dst->layout.rank, dst->layout.shape);
    if (status != TARN_OK) return status;
    work->from = expanded;
  }
  work->dst_device = tarn_storage_device(dst->storage);
  work->src_device = tarn_storage_device(src->storage);
  work->dst_base = tarn_storage_data_mutable(dst->storage);
  work->src_base = tarn_storage_data(src->storage);
  tarn__copy_plan_make(&dst->layout, work->from, work->element_bytes, work->src_element_bytes,
                       &work->plan);
  if (work->plan.kind != TARN__COPY_NONE && !steps_over_itself(&work->plan) &&
      tarn_layout_overlaps_itself(&dst->layout)) {
    return tarn_fail(TARN_OVERLAP, "the destination has an element at two indices");
  }
  return TARN_OK;
}

static tarn_status check_and_copy(const tarn_tensor *dst, const tarn_tensor *src,
                                  tarn_stream *stream, tarn_copy_report *report) {
  task work;
  tarn_layout expanded;
  tarn__copy_outcome outcome = {.executor = "none", .is_done = true};
  tarn_status status = check_tensors(dst, src, &work);
  if (status == TARN_OK) status = plan_work(dst, src, &work, &expanded);
  if (status != TARN_OK) return status;
  if (work.plan.kind == TARN__COPY_NONE) {
    fill_report(report, &work.plan, &outcome);
    return TARN_OK;
  }
  switch (meet(&work)) {
    case SAME:
      work.plan.run_count = 0;
      break;
    case TANGLED:
      return tarn_fail(TARN_OVERLAP, work.convert.step_count > 0
                                         ? "source and destination of a conversion share bytes"
                                         : "source and destination share elements at different "
                                           "indices");
    case APART:
      status = run(&work, /*is_overlapping=*/false, stream, &outcome);
      break;
    case MOVED:
      status = run(&work, /*is_overlapping=*/true, stream, &outcome);
      break;
  }
  if (status == TARN_OK) fill_report(report, &work.plan, &outcome);
  return status;
}

/* --- the short way --- */

/* More goes the long way, which may write around the caches and share the work among threads. */
enum { SHORT_WAY_BYTES_MAX = 1 << 16 };
static const uint64_t OFFSET_MAX = UINT64_C(1)
                                   << 48; /* in elements: their bytes are counted in 64 bits */

/* The length in bytes of two packed layouts of one shape; 0 where they are not, or are large. */
static inline size_t packed_bytes(const tarn_layout *dst, const tarn_layout *src,
                                  size_t element_bytes) {
  const int32_t rank = dst->rank;
  if (rank != src->rank || (uint32_t)rank > TARN_RANK_MAX) return 0;
  size_t count = 1;
  for (int32_t d = rank - 1; d >= 0; d--) {
    const int64_t size = dst->shape[d];
    if (size != src->shape[d] || (uint64_t)size - 1 >= SHORT_WAY_BYTES_MAX) return 0;
    if (size == 1) continue;
    if (dst->strides[d] != (int64_t)count || src->strides[d] != (int64_t)count) return 0;
    count *= (size_t)size;
    if (count > SHORT_WAY_BYTES_MAX) return 0;
  }
  return count * element_bytes;
}

/* True where `size_bytes` at the tensor's offset lie in its bytes; *start is where. */
static inline bool packed_start(const tarn_tensor *tensor, tarn_bytes bytes, size_t element_bytes,
                                size_t size_bytes, uintptr_t *start) {
  const uint64_t offset = (uint64_t)tensor->layout.offset;
  *start = (uintptr_t)bytes.address + offset * element_bytes;
  return offset <= OFFSET_MAX && offset * element_bytes + size_bytes <= bytes.size_bytes;
}

/* Copies what is small, packed, of one shape and dtype, on the host, apart, and now. False where
 * anything is otherwise, or wrong: then the long way decides, and words what is wrong. */
static bool copy_short_way(const tarn_tensor *dst, const tarn_tensor *src,
                           const tarn_stream *stream, tarn_copy_report *report) {
  if (dst == NULL || src == NULL || dst->storage == NULL || src->storage == NULL) return false;
  if (report != NULL && report->struct_size != sizeof *report) return false;
  const size_t element_bytes = common_element_bytes(dst->dtype, src->dtype);
  const size_t size_bytes = packed_bytes(&dst->layout, &src->layout, element_bytes);
  if (size_bytes - 1 >= SHORT_WAY_BYTES_MAX) return false;
  if (stream != NULL && !tarn_stream_is_synchronous(stream)) return false;
  uintptr_t to, from;
  if (!packed_start(dst, tarn_storage_host_bytes_mutable(dst->storage), element_bytes, size_bytes,
                    &to) ||
      !packed_start(src, tarn_storage_host_bytes(src->storage), element_bytes, size_bytes, &from)) {
    return false;
  }
  if (to - from < size_bytes || from - to < size_bytes) return false;
  memcpy((void *)to, (const void *)from, size_bytes);
  if (report != NULL) {
    *report = (tarn_copy_report){.struct_size = sizeof *report,
                                 .moved_bytes = size_bytes,
                                 .run_count = 1,
                                 .executor = "memcpy",
                                 .was_synchronous = true,
                                 .is_source_read = true};
  }
  return true;
}

static __attribute__((noinline)) tarn_status copy_long_way(const tarn_tensor *dst,
                                                           const tarn_tensor *src,
                                                           tarn_stream *stream,
                                                           tarn_copy_report *report) {
  if (report != NULL) {
    if (report->struct_size != sizeof *report) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_copy_report has %zu bytes, not %zu",
                       sizeof *report, report->struct_size);
    }
    *report = (tarn_copy_report){.struct_size = sizeof *report, .executor = "none"};
  }
  return check_and_copy(dst, src, stream, report);
}

tarn_status tarn_tensor_copy(const tarn_tensor *dst, const tarn_tensor *src, tarn_stream *stream,
                             tarn_copy_report *report) {
  if (copy_short_way(dst, src, stream, report)) return TARN_OK;
  return copy_long_way(dst, src, stream, report);
}
