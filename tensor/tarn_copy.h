/* tarn_copy.h: one function that copies any tensor to any tensor of the same shape.
 *
 * Any strides on both sides, host or device on both sides, in the order of a stream. A planner
 * first reduces the two layouts to the fewest runs; then one executor runs the plan. Between host
 * memories a large copy is shared out among threads (tarn_copy_threads.h), and a destination that
 * the caches would not keep is written around them.
 *
 * 1. The call notes `stream` on both storages, so either tensor may be released right after it: no
 *    byte is reused, and no deleter runs, before the stream has passed the copy.
 * 2. Pageable host memory never goes into an asynchronous device copy behind the caller's back. On
 *    a stream with a staging ring (tarn_stream_set_staging) it goes through pinned slots: to a
 *    device the source has been read when the call returns, and the rest is the stream's; from a
 *    device the copy is done. Without a ring such a call is synchronous. The report says which.
 * 3. Tensors that overlap are copied exactly where that is possible (the same bytes through equal
 *    layouts: nothing to do; two contiguous ranges: as memmove), else TARN_OVERLAP. A destination
 *    that overlaps itself is TARN_OVERLAP.
 *
 * Where the dtypes differ, the copy converts, among bool, the integers of 8 to 64 bits, float16,
 * bfloat16, float32, float64, float8_e4m3fn, float8_e5m2, complex64 and complex128:
 *
 * - To bool: true where the element is not 0, NaN and any complex part included. From bool: true is
 *   1, whatever its byte.
 * - Integer to integer: the low bits, as C's unsigned casts (NumPy, PyTorch).
 * - Integer to float: the nearest, ties to even, rounded once, also from 64 bits to float16.
 * - Float to integer: cut towards zero; out of range is the nearest end of the range, NaN is 0. So
 *   does XLA; NumPy and PyTorch leave both to the processor.
 * - Float to float: the nearest, ties to even, rounded once. NumPy does the same; PyTorch goes from
 *   float64 to the 16- and 8-bit formats by way of float32 and so rounds twice. Too large becomes
 *   infinity, and NaN in float8_e4m3fn, which has no infinity. NaN stays NaN with its sign.
 * - Real to complex: the imaginary part is 0. Complex to real is TARN_NOT_SUPPORTED (NumPy and
 *   PyTorch drop the imaginary part with a warning), and so are all other dtypes, and lanes.
 *
 * A conversion whose two sides share a byte is TARN_OVERLAP, but integers of one width may overlap
 * as any copy of their bytes.
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
   * destination; "interleave", the same where the destination takes a run each of a few stretches
   * in turn; "gather" and "scatter", spaced in the source, in the destination; "broadcast", one
   * run again and again; "flip", a run backwards; "strided", anything else; "convert", to another
   * dtype. With a device: "rows", by copies of the stream, of rows and planes; "kernel", by one
   * that runs on the device, converting too; "batch", all runs at once; "staged", through packed
   * host memory; "ring", through slots of the stream's staging ring. */
  const char *executor;
  bool was_synchronous; /* the copy is done, whatever the stream */
  bool is_source_read;  /* the source may be changed at once: nothing reads it any more */
} tarn_copy_report;

/* Copies src to dst, element by element at equal indices; src is broadcast to dst's shape first.
 * Dtypes that differ are converted (above). `stream` must reach both devices; NULL does for host
 * memory. TARN_READ_ONLY where dst's storage is. `report` may be NULL; the caller sets its
 * struct_size.
 *
 * With a device, the copy goes the cheapest of the ways that the stream has, by the table in
 * tarn_copy_costs.h: evenly spaced rows and planes of rows by one call or a few; any strides, and
 * conversions, by a kernel where the device runs one and reaches both sides; many runs as one
 * batch; and where all that is left would be many small calls, or the conversion is the CPU's,
 * staged in pageable host memory and synchronous. Only the elements themselves are moved, never the
 * gaps between them. Between pageable memory and a device a stream's ring takes the place of that
 * memory, piece by piece: the CPU copies one, or puts it in order, while the stream moves another,
 * as sentence 2 says. A source in pinned memory is read so behind all that is enqueued on the
 * stream. A failure in the middle of several calls leaves dst partly written; every other failure
 * leaves it as it was. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_copy(const tarn_tensor *dst, const tarn_tensor *src,
                                                     tarn_stream *stream, tarn_copy_report *report);

enum { TARN_COPY_TEXT_BYTES = 2048 };

/* Says in some lines how the CPU would copy src to dst with at most `thread_count` threads (0: as
 * many as tarn_copy_thread_count says): the executor, the run, the dimensions in the order in which
 * they are walked, with their sizes and strides, whether the destination is written around the
 * caches, and in how many parts. Looks at dtypes and layouts only: storages may be NULL, nothing is
 * copied, and bounds, overlap and devices are not checked; TARN_TOO_LARGE where bytes do not fit 63
 * bits. For people, not for programs: the wording may change. */
TARN_API TARN_NODISCARD tarn_status tarn_copy_explain(const tarn_tensor *dst,
                                                      const tarn_tensor *src, int thread_count,
                                                      char text[TARN_COPY_TEXT_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
