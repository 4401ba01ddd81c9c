/* copy_rows.c: lines one run after the other, and what kernels of a level leave of them. */
#include "tensor/copy_rows.h"

#include <string.h>

#include "tensor/cpu_level.h"

enum { CACHE_LINE_BYTES = 64, PAGE_BYTES = 4096 };

/* Longer stretches are streamed from several pages at a time, which starts reading each page
 * earlier; below, where the source may still be cached, one page after the other is faster. */
enum { PAGES_AT_ONCE = 4 };
static const size_t pages_at_once_bytes_min = (size_t)96 << 20;

const tarn__row_kernels *tarn__row_kernels_now(void) {
  switch (tarn__cpu_level_now()) {
    case TARN__CPU_PORTABLE:
      return &tarn__rows_portable;
    case TARN__CPU_AVX2:
      return &tarn__rows_avx2;
    case TARN__CPU_AVX512:
      return &tarn__rows_avx512;
  }
  return &tarn__rows_portable;
}

/* --- streaming --- */

/* The portable set stores as usual: whole lines at a time is all that can be said of it. */
static void stream_lines(char *dst, const char *src, size_t line_count) {
  memcpy(dst, src, line_count * CACHE_LINE_BYTES);
}

static void no_fence(void) {
}

const tarn__row_kernels tarn__rows_portable = {.stream = stream_lines, .fence = no_fence};

/* A line pair of each of several pages in turn. */
static void stream_pages(const tarn__row_kernels *kernels, char *dst, const char *src) {
  for (size_t at = 0; at < PAGE_BYTES; at += 2 * CACHE_LINE_BYTES) {
    for (size_t page = 0; page < PAGES_AT_ONCE; page++) {
      kernels->stream(dst + page * PAGE_BYTES + at, src + page * PAGE_BYTES + at, 2);
    }
  }
}

void tarn__row_stream(const tarn__row_kernels *kernels, char *dst, const char *src, size_t bytes) {
  size_t head = (0 - (size_t)(uintptr_t)dst) % CACHE_LINE_BYTES;
  if (head > bytes) head = bytes;
  tarn__move_run(dst, src, head);
  dst += head;
  src += head;
  bytes -= head;
  if (bytes >= pages_at_once_bytes_min) {
    const size_t block = (size_t)PAGES_AT_ONCE * PAGE_BYTES;
    for (; bytes >= block; bytes -= block, dst += block, src += block) {
      stream_pages(kernels, dst, src);
    }
  }
  const size_t lines = bytes / CACHE_LINE_BYTES;
  kernels->stream(dst, src, lines);
  tarn__move_run(dst + lines * CACHE_LINE_BYTES, src + lines * CACHE_LINE_BYTES,
                 bytes % CACHE_LINE_BYTES);
}

/* --- lines, run by run --- */

/* `bytes` is a constant wherever this is called but once, so that each move is one instruction. */
static inline __attribute__((always_inline)) void copy_runs(char *dst, const char *src,
                                                            int64_t count, int64_t dst_stride,
                                                            int64_t src_stride, size_t bytes) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    tarn__move_run(dst, src, bytes);
    tarn__move_run(dst + dst_stride, src + src_stride, bytes);
    tarn__move_run(dst + 2 * dst_stride, src + 2 * src_stride, bytes);
    tarn__move_run(dst + 3 * dst_stride, src + 3 * src_stride, bytes);
    dst += 4 * dst_stride;
    src += 4 * src_stride;
  }
  for (; i < count; i++, dst += dst_stride, src += src_stride) tarn__move_run(dst, src, bytes);
}

static void copy_plainly(char *dst, const char *src, int64_t count, int64_t dst_stride,
                         int64_t src_stride, size_t unit_bytes) {
  switch (unit_bytes) {
    case 1:
      copy_runs(dst, src, count, dst_stride, src_stride, 1);
      break;
    case 2:
      copy_runs(dst, src, count, dst_stride, src_stride, 2);
      break;
    case 3:
      copy_runs(dst, src, count, dst_stride, src_stride, 3);
      break;
    case 4:
      copy_runs(dst, src, count, dst_stride, src_stride, 4);
      break;
    case 8:
      copy_runs(dst, src, count, dst_stride, src_stride, 8);
      break;
    case 12:
      copy_runs(dst, src, count, dst_stride, src_stride, 12);
      break;
    case 16:
      copy_runs(dst, src, count, dst_stride, src_stride, 16);
      break;
    case 32:
      copy_runs(dst, src, count, dst_stride, src_stride, 32);
      break;
    default:
      copy_runs(dst, src, count, dst_stride, src_stride, unit_bytes);
      break;
  }
}

/* One run, as often as it fits: what is there is doubled. */
static void repeat(char *dst, const char *src, int64_t count, size_t unit_bytes) {
  const size_t total = (size_t)count * unit_bytes;
  memcpy(dst, src, unit_bytes);
  for (size_t done = unit_bytes; done < total; done += done) {
    memcpy(dst + done, dst, done < total - done ? done : total - done);
  }
}

static bool has_kernels(size_t unit_bytes) {
  return unit_bytes <= 16 && (unit_bytes & (unit_bytes - 1)) == 0;
}

void tarn__row_gather(const tarn__row_kernels *kernels, char *dst, const char *src, int64_t count,
                      int64_t src_stride, size_t unit_bytes) {
  const int64_t unit = (int64_t)unit_bytes;
  if (src_stride == 0 && count > 0) {
    repeat(dst, src, count, unit_bytes);
    return;
  }
  if (src_stride == unit) {
    memcpy(dst, src, (size_t)(count * unit));
    return;
  }
  int64_t done = 0;
  if (has_kernels(unit_bytes) && (src_stride & (unit - 1)) == 0) {
    const int size = __builtin_ctzl(unit_bytes);
    const int64_t step = src_stride >> size; /* of a multiple: a flip's is negative */
    tarn__row_kernel *kernel = step == -1 ? kernels->flip[size]
                               : step > 1 ? kernels->gather[size]
                                          : NULL;
    if (kernel != NULL) done = kernel(dst, src, count, step);
  }
  copy_plainly(dst + done * unit, src + done * src_stride, count - done, unit, src_stride,
               unit_bytes);
}

void tarn__columns_make(int count, int64_t pitch, size_t unit_bytes, tarn__columns *columns) {
  const int unit = (int)unit_bytes;
  columns->count = count;
  columns->unit_bytes = unit;
  columns->pitch = pitch;
  memset(columns->order, 0x80, sizeof columns->order);
  for (int c = 0; c < count; c++) {
    for (int byte = 0; byte < TARN__LANE_BYTES; byte++) {
      const int at = (byte / unit * count + c) * unit + byte % unit;
      columns->order[at / TARN__LANE_BYTES][c][at % TARN__LANE_BYTES] = (uint8_t)byte;
    }
  }
}

void tarn__row_interleave(const tarn__row_kernels *kernels, const tarn__columns *columns, char *dst,
                          const char *src, int64_t row_count) {
  const int64_t unit = columns->unit_bytes, row_bytes = columns->count * unit;
  const int64_t done =
      kernels->interleave != NULL ? kernels->interleave(columns, dst, src, row_count) : 0;
  if (done == row_count) return;
  dst += done * row_bytes;
  src += done * unit;
  for (int c = 0; c < columns->count; c++) {
    copy_plainly(dst + c * unit, src + c * columns->pitch, row_count - done, row_bytes, unit,
                 (size_t)unit);
  }
}

/* Both sides spaced, by way of a packed piece in the first-level cache. */
static int64_t gather_and_scatter(const tarn__row_kernels *kernels, tarn__row_kernel *scatter,
                                  char *dst, const char *src, int64_t count, int64_t dst_stride,
                                  int64_t src_stride, int64_t unit) {
  char packed[2048];
  const int64_t piece = (int64_t)sizeof packed / unit;
  int64_t done = 0;
  while (done < count) {
    const int64_t wanted = count - done < piece ? count - done : piece;
    tarn__row_gather(kernels, packed, src + done * src_stride, wanted, src_stride, (size_t)unit);
    const int64_t scattered = scatter(dst + done * dst_stride, packed, wanted, dst_stride / unit);
    done += scattered;
    if (scattered < wanted) break;
  }
  return done;
}

void tarn__row_copy(const tarn__row_kernels *kernels, char *dst, const char *src, int64_t count,
                    int64_t dst_stride, int64_t src_stride, size_t unit_bytes) {
  const int64_t unit = (int64_t)unit_bytes;
  if (dst_stride == unit) {
    tarn__row_gather(kernels, dst, src, count, src_stride, unit_bytes);
    return;
  }
  int64_t done = 0;
  if (has_kernels(unit_bytes) && (dst_stride & (unit - 1)) == 0 && dst_stride > unit) {
    const int size = __builtin_ctzl(unit_bytes);
    tarn__row_kernel *scatter = kernels->scatter[size];
    if (scatter != NULL && src_stride == unit) {
      done = scatter(dst, src, count, dst_stride >> size);
    } else if (scatter != NULL) {
      done = gather_and_scatter(kernels, scatter, dst, src, count, dst_stride, src_stride, unit);
    }
  }
  copy_plainly(dst + done * dst_stride, src + done * src_stride, count - done, dst_stride,
               src_stride, unit_bytes);
}
