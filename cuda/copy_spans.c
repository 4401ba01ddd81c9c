/* copy_spans.c: spans by the handful into the arguments of launches. */
#include "cuda/copy_spans.h"

#include "cuda/copy_grid.h"

/* Copied by one block. */
enum { PIECE_BYTES = TARN__KERNEL_THREADS * TARN__KERNEL_SPAN_ITEMS * 16 };

static tarn_status check_span(tarn_cuda *cuda, int32_t device, const tarn_copy_span *span) {
  tarn_status status = tarn__cuda_check_kernel_reach(device, span->dst_device);
  if (status == TARN_OK) status = tarn__cuda_check_kernel_reach(device, span->src_device);
  if (status != TARN_OK) return status;
  if (span->size_bytes / PIECE_BYTES > INT32_MAX - 1 ||
      tarn__seams_room(&cuda->seams, span->dst) < span->size_bytes ||
      tarn__seams_room(&cuda->seams, span->src) < span->size_bytes) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "a kernel over a span of %zu bytes, or memory locked in pieces",
                     span->size_bytes);
  }
  return TARN_OK;
}

static tarn_status launch_spans(tarn_cuda *cuda, int32_t device, CUstream stream,
                                const tarn_copy_span *spans, size_t count) {
  tarn__kernel_span_args args = {.span_count = (uint32_t)count};
  uint64_t longest_bytes = 0;
  for (size_t i = 0; i < count; i++) {
    args.spans[i] =
        (tarn__kernel_span){(uintptr_t)spans[i].dst, (uintptr_t)spans[i].src, spans[i].size_bytes};
    /* The first chunk begins at a multiple of 16, before the span. */
    const uint64_t chunk_bytes = spans[i].size_bytes + 15;
    if (chunk_bytes > longest_bytes) longest_bytes = chunk_bytes;
  }
  const tarn__kernel_shape shape = {(uint32_t)((longest_bytes + PIECE_BYTES - 1) / PIECE_BYTES),
                                    (uint32_t)count};
  return tarn__kernels_launch(cuda, device, stream, TARN__KERNEL_spans, shape, &args);
}

tarn_status tarn__cuda_copy_spans(tarn_cuda *cuda, int32_t device, CUcontext context,
                                  CUstream stream, const tarn_copy_span *spans, size_t count) {
  tarn_status status = TARN_OK;
  for (size_t i = 0; i < count && status == TARN_OK; i++) {
    status = check_span(cuda, device, &spans[i]);
  }
  if (status != TARN_OK) return status;
  tarn__cuda_scope scope;
  status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  for (size_t done = 0, some; done < count && status == TARN_OK; done += some) {
    some = count - done < TARN__KERNEL_SPANS_MAX ? count - done : TARN__KERNEL_SPANS_MAX;
    status = launch_spans(cuda, device, stream, spans + done, some);
  }
  tarn__cuda_leave(&scope);
  return status;
}
