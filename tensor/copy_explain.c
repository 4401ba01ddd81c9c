/* copy_explain.c: a copy's plan in words. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "tensor/copy_convert.h"
#include "tensor/copy_walk.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_copy_threads.h"

typedef struct writer {
  char *text;
  size_t used;
} writer;

static TARN_PRINTF(2, 3) void say(writer *out, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const size_t room = TARN_COPY_TEXT_BYTES - out->used;
  const int length = vsnprintf(out->text + out->used, room, format, arguments);
  va_end(arguments);
  if (length > 0) out->used += (size_t)length < room ? (size_t)length : room - 1;
}

static void say_dim(writer *out, const char *role, const tarn__copy_dim *dim) {
  if (dim->count == 1) return;
  say(out, "\n  %-6s %12" PRId64 " %14" PRId64 " %14" PRId64, role, dim->count, dim->dst_stride,
      dim->src_stride);
}

static void say_parts(writer *out, int64_t part_count, int thread_count) {
  if (part_count > 1) {
    say(out, ", in %" PRId64 " parts by %d threads", part_count, thread_count);
  } else {
    say(out, ", by one thread");
  }
}

static void say_conversion(writer *out, const tarn__convert *convert, const tarn__copy_plan *plan,
                           int thread_count) {
  tarn__copy_convert_way way;
  tarn__copy_convert_look(convert, plan, thread_count, &way);
  say(out, "convert in steps: %d, %" PRId64 " %s of at most %" PRId64 " elements, %s",
      convert->step_count, way.box_count, way.is_by_rows ? "rows" : "boxes", way.box_elements,
      !way.is_by_rows    ? "by way of packed memory"
      : way.is_streaming ? "streamed around the caches"
                         : "stored as usual");
  say_parts(out, way.part_count, thread_count);
}

static void say_walk(writer *out, const tarn__copy_walk *walk, int thread_count) {
  const int64_t part_count = tarn__copy_walk_part_count(walk, thread_count);
  say(out, "%s, %zu bytes in runs of %zu, %s", tarn__copy_executor_name(walk->executor),
      walk->total_bytes, walk->unit_bytes,
      walk->is_streaming ? "streamed around the caches" : "stored as usual");
  say_parts(out, part_count, thread_count);
  if (walk->executor == TARN__COPY_BY_NOTHING || walk->executor == TARN__COPY_BY_MEMCPY) return;
  say(out, "\n  %-6s %12s %14s %14s", "", "indices", "dst stride", "src stride");
  for (int32_t d = 0; d < walk->rank; d++) say_dim(out, "loop", &walk->loops[d]);
  say_dim(out, "outer", &walk->outer);
  say_dim(out, "inner", &walk->inner);
}

/* Nobody asks where the memory ends; but offsets and strides are counted in bytes. */
static tarn_status check_bytes(const tarn_layout *layout, int64_t element_bytes) {
  int64_t first, end;
  int64_t bytes;
  if (!tarn_inline_reach(layout->rank, layout->shape, layout->strides, layout->offset, &first,
                         &end)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "numbers that are those of no layout");
  }
  if (tarn_int64_mul(first, element_bytes, &bytes) && tarn_int64_mul(end, element_bytes, &bytes)) {
    return TARN_OK;
  }
  return tarn_fail(TARN_TOO_LARGE, "elements %" PRId64 " to %" PRId64 " of %" PRId64 " bytes",
                   first, end - 1, element_bytes);
}

tarn_status tarn_copy_explain(const tarn_tensor *dst, const tarn_tensor *src, int thread_count,
                              char text[TARN_COPY_TEXT_BYTES]) {
  if (text == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the text");
  text[0] = '\0';
  if (dst == NULL || src == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "a tensor is NULL");
  if (thread_count < 0 || thread_count > TARN_COPY_THREADS_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d threads", thread_count);
  }
  tarn_status status = tarn_dtype_check(dst->dtype);
  if (status != TARN_OK) return status;
  tarn__convert convert = {.step_count = 0};
  if (!tarn_dtype_equal(dst->dtype, src->dtype)) {
    status = tarn__convert_find(dst->dtype, src->dtype, &convert);
    if (status != TARN_OK) return status;
  }
  const size_t element_bytes = tarn_dtype_size_bytes(dst->dtype);
  status = check_bytes(&dst->layout, (int64_t)element_bytes);
  if (status == TARN_OK) status = check_bytes(&src->layout, (int64_t)element_bytes);
  if (status != TARN_OK) return status;
  tarn_layout from = src->layout;
  status = tarn_layout_expand(&from, dst->layout.rank, dst->layout.shape);
  if (status != TARN_OK) return status;
  tarn__copy_plan plan;
  tarn__copy_plan_make(&dst->layout, &from, tarn_dtype_size_bytes(dst->dtype),
                       tarn_dtype_size_bytes(src->dtype), &plan);
  if (thread_count == 0) thread_count = tarn_copy_thread_count();
  writer out = {text, 0};
  if (convert.step_count > 0 && plan.kind != TARN__COPY_NONE) {
    say_conversion(&out, &convert, &plan, thread_count);
    return TARN_OK;
  }
  tarn__copy_walk walk;
  tarn__copy_walk_make(&plan, &walk);
  say_walk(&out, &walk, thread_count);
  return TARN_OK;
}
