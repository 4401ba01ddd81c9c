/* tarn_copy.h: one function that copies any tensor to any tensor of the same shape.
 *
 * Any strides on both sides, host or device on both sides, in the order of a stream. A planner
 * first reduces the two layouts to the fewest runs; then one executor runs the plan. Between host
 * memories a large copy is shared out among threads (tarn_copy_threads.h), and a destination that
 * the caches would not keep is written around them.
 *
 * 1. The call notes `stream` on both storages, so either tensor may be released right after it: no
 *    byte is reused, and no deleter runs, before the stream has passed the copy.
 * 2. Pageable host memory never goes into an asynchronous device copy behind the caller's back:
 *    such a call is synchronous, and the report says so.
 * 3. Tensors that overlap are copied exactly where that is possible (the same bytes through equal
 *    layouts: nothing to do; two contiguous ranges: as memmove), else TARN_OVERLAP. A destination
 *    that overlaps itself is TARN_OVERLAP.
 */
#ifndef TARN_COPY_H
#define TARN_COPY_H

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_copy_report {
  size_t struct_size;
  size_t moved_bytes; /* of the destination */
  uint64_t run_count; /* contiguous runs after reduction */
  /* A literal. "none"; "memcpy": one run. By the CPU: "rows", long or evenly spaced runs;
   * "transpose", consecutive along one dimension in the source and along another in the
   * destination; "gather" and "scatter", spaced in the source, in the destination; "broadcast", one
   * run again and again; "flip", a run backwards; "strided", anything else. With a device: "rows",
   * by calls of the stream; "staged", by way of packed host memory. */
  const char *executor;
  bool was_synchronous; /* the copy is done, whatever the stream */
} tarn_copy_report;

/* Copies src to dst, element by element at equal indices; src is broadcast to dst's shape first.
 * Both have one dtype (TARN_NOT_SUPPORTED else). `stream` must reach both devices; NULL does for
 * host memory. TARN_READ_ONLY where dst's storage is. `report` may be NULL; the caller sets its
 * struct_size.
 *
 * With a device, evenly spaced rows go to the stream in one call, other strides in a few; where
 * that would be many small calls, the copy is staged in pageable host memory and synchronous, and
 * only the elements themselves are moved, never the gaps between them. A failure in the middle of
 * several calls leaves dst partly written; every other failure leaves it as it was. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_copy(const tarn_tensor *dst, const tarn_tensor *src,
                                                     tarn_stream *stream, tarn_copy_report *report);

enum { TARN_COPY_TEXT_BYTES = 2048 };

/* Says in some lines how the CPU would copy src to dst with at most `thread_count` threads (0: as
 * many as tarn_copy_thread_count says): the executor, the run, the dimensions in the order in which
 * they are walked, with their sizes and strides, whether the destination is written around the
 * caches, and in how many parts. Looks at dtypes and layouts only: storages may be NULL, nothing is
 * copied, and bounds, overlap and devices are not checked. For people, not for programs: the
 * wording may change. */
TARN_API TARN_NODISCARD tarn_status tarn_copy_explain(const tarn_tensor *dst,
                                                      const tarn_tensor *src, int thread_count,
                                                      char text[TARN_COPY_TEXT_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
