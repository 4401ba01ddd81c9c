/* copy_rows.h: kernels that copy one line of runs, and bytes around the caches.
 *
 * A kernel set belongs to one level (cpu_level.h). Its line kernels do as much of a line's start as
 * they can in whole vectors and say how many runs that was; copy_rows.c does the rest one by one.
 * Runs are 1, 2, 4, 8 or 16 bytes long, and kernels are listed by the logarithm of that; NULL where
 * a loop is as good. They may read the bytes between the runs of a line, never beyond its last run,
 * and write nothing but the runs.
 */
#ifndef TENSOR_COPY_ROWS_H
#define TENSOR_COPY_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `step` is in runs: from one of the source to the next, or in a scatter of the destination. */
typedef int64_t tarn__row_kernel(char *dst, const char *src, int64_t count, int64_t step);

enum { TARN__LANE_BYTES = 16, TARN__COLUMNS_MAX = 8 };

/* A few stretches of the source, `pitch` bytes apart, from which come a run of each in turn. As
 * many lanes of the destination are made of a lane of each column: order[i][c] says for each byte
 * of lane i which one of column c's it is; 0x80 where it is another column's. */
typedef struct tarn__columns {
  int count;      /* 2 .. TARN__COLUMNS_MAX */
  int unit_bytes; /* 1, 2, 4 or 8 */
  int64_t pitch;
  uint8_t order[TARN__COLUMNS_MAX][TARN__COLUMNS_MAX][TARN__LANE_BYTES];
} tarn__columns;

/* `row_count` runs of each column; says how many of them it did. */
typedef int64_t tarn__interleave_kernel(const tarn__columns *columns, char *dst, const char *src,
                                        int64_t row_count);

typedef struct tarn__row_kernels {
  /* Whole lines to an aligned `dst`; `line_count` of them. */
  void (*stream)(char *dst, const char *src, size_t line_count);
  /* Puts streamed bytes in order with this thread's later stores. */
  void (*fence)(void);
  tarn__row_kernel *gather[5];  /* step 2 or more */
  tarn__row_kernel *flip[5];    /* step is -1 */
  tarn__row_kernel *scatter[5]; /* step 2 or more */
  tarn__interleave_kernel *interleave;
} tarn__row_kernels;

extern const tarn__row_kernels tarn__rows_portable, tarn__rows_avx2, tarn__rows_avx512;

/* What both of these interleave by: as fast as memory with the shorter vectors. */
tarn__interleave_kernel tarn__interleave_avx2;

const tarn__row_kernels *tarn__row_kernels_now(void);

/* `bytes` bytes that do not overlap, around the caches; any addresses. The caller fences. */
void tarn__row_stream(const tarn__row_kernels *kernels, char *dst, const char *src, size_t bytes);

/* A line that is packed in the destination; any run length, any stride of the source, negative and
 * 0 too. */
void tarn__row_gather(const tarn__row_kernels *kernels, char *dst, const char *src, int64_t count,
                      int64_t src_stride, size_t unit_bytes);

void tarn__columns_make(int count, int64_t pitch, size_t unit_bytes, tarn__columns *columns);

/* What it writes should fit the first-level cache. */
void tarn__row_interleave(const tarn__row_kernels *kernels, const tarn__columns *columns, char *dst,
                          const char *src, int64_t row_count);

/* A line of any strides. */
void tarn__row_copy(const tarn__row_kernels *kernels, char *dst, const char *src, int64_t count,
                    int64_t dst_stride, int64_t src_stride, size_t unit_bytes);

/* One run of up to 64 bytes or more: a few moves where a call of memcpy would cost more. */
static inline void tarn__move_run(char *dst, const char *src, size_t bytes) {
  if (bytes > 32) {
    __builtin_memcpy(dst, src, bytes);
  } else if (bytes >= 16) {
    char head[16], tail[16];
    __builtin_memcpy(head, src, 16);
    __builtin_memcpy(tail, src + bytes - 16, 16);
    __builtin_memcpy(dst, head, 16);
    __builtin_memcpy(dst + bytes - 16, tail, 16);
  } else if (bytes >= 8) {
    uint64_t head, tail;
    __builtin_memcpy(&head, src, 8);
    __builtin_memcpy(&tail, src + bytes - 8, 8);
    __builtin_memcpy(dst, &head, 8);
    __builtin_memcpy(dst + bytes - 8, &tail, 8);
  } else if (bytes >= 4) {
    uint32_t head, tail;
    __builtin_memcpy(&head, src, 4);
    __builtin_memcpy(&tail, src + bytes - 4, 4);
    __builtin_memcpy(dst, &head, 4);
    __builtin_memcpy(dst + bytes - 4, &tail, 4);
  } else if (bytes > 0) {
    dst[0] = src[0];
    dst[bytes / 2] = src[bytes / 2];
    dst[bytes - 1] = src[bytes - 1];
  }
}

#endif
