/* copy_rows_avx2.c: every other run, flips, interleaved columns, streaming stores, by 32 bytes. */
#include <immintrin.h>

#include "tensor/copy_rows.h"

enum { VECTOR_BYTES = 32, LINE_BYTES = 64 };

static inline __m256i load(const char *src) {
  return _mm256_loadu_si256((const __m256i *)src);
}

/* 16 bytes, in both lanes. */
static inline __m256i load_twice(const char *src) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)src));
}

static inline void store(char *dst, __m256i value) {
  _mm256_storeu_si256((__m256i *)dst, value);
}

static void stream(char *dst, const char *src, size_t line_count) {
  for (size_t i = 0; i < line_count; i++, dst += LINE_BYTES, src += LINE_BYTES) {
    const __m256i low = load(src), high = load(src + VECTOR_BYTES);
    _mm256_stream_si256((__m256i *)dst, low);
    _mm256_stream_si256((__m256i *)(dst + VECTOR_BYTES), high);
  }
}

static void fence(void) {
  _mm_sfence();
}

/* --- every other run --- */

/* Each takes the runs at even places of two vectors; their halves come out interleaved by lanes of
 * 16 bytes, which the last step puts right. */

static inline __m256i in_order(__m256i lanes) {
  return _mm256_permute4x64_epi64(lanes, _MM_SHUFFLE(3, 1, 2, 0));
}

static inline __m256i even_1(__m256i low, __m256i high) {
  const __m256i mask = _mm256_set1_epi16(0xFF);
  return in_order(_mm256_packus_epi16(_mm256_and_si256(low, mask), _mm256_and_si256(high, mask)));
}

static inline __m256i even_2(__m256i low, __m256i high) {
  const __m256i mask = _mm256_set1_epi32(0xFFFF);
  return in_order(_mm256_packus_epi32(_mm256_and_si256(low, mask), _mm256_and_si256(high, mask)));
}

static inline __m256i even_4(__m256i low, __m256i high) {
  return in_order(_mm256_castps_si256(_mm256_shuffle_ps(
      _mm256_castsi256_ps(low), _mm256_castsi256_ps(high), _MM_SHUFFLE(2, 0, 2, 0))));
}

static inline __m256i even_8(__m256i low, __m256i high) {
  return in_order(_mm256_unpacklo_epi64(low, high));
}

/* The last vector would read behind the last run. */
#define GATHER(bytes)                                                                         \
  static int64_t gather_##bytes(char *dst, const char *src, int64_t count, int64_t step) {    \
    const int64_t lanes = VECTOR_BYTES / (bytes);                                             \
    int64_t done = 0;                                                                         \
    if (step != 2) return 0;                                                                  \
    for (; done + lanes < count; done += lanes, dst += VECTOR_BYTES, src += 2 * VECTOR_BYTES) \
      store(dst, even_##bytes(load(src), load(src + VECTOR_BYTES)));                          \
    return done;                                                                              \
  }
GATHER(1)
GATHER(2)
GATHER(4)
GATHER(8)
#undef GATHER

/* --- flips --- */

/* Bytes within a lane of 16 so that runs of `bytes` come in the opposite order. */
static inline __m256i flip_order(int bytes) {
  char order[VECTOR_BYTES];
  for (int i = 0; i < VECTOR_BYTES; i++) {
    order[i] = (char)(16 - bytes - i % 16 / bytes * bytes + i % bytes);
  }
  return load(order);
}

static inline __attribute__((always_inline)) int64_t flip(char *dst, const char *src, int64_t count,
                                                          int bytes) {
  const int64_t lanes = VECTOR_BYTES / bytes;
  const __m256i order = flip_order(bytes);
  int64_t done = 0;
  src += bytes - VECTOR_BYTES; /* the vector that ends with the first run */
  for (; done + lanes <= count; done += lanes, dst += VECTOR_BYTES, src -= VECTOR_BYTES) {
    const __m256i turned = _mm256_shuffle_epi8(load(src), order);
    store(dst, _mm256_permute2x128_si256(turned, turned, 1));
  }
  return done;
}

#define FLIP(bytes)                                                                      \
  static int64_t flip_##bytes(char *dst, const char *src, int64_t count, int64_t step) { \
    (void)step;                                                                          \
    return flip(dst, src, count, bytes);                                                 \
  }
FLIP(1)
FLIP(2)
FLIP(4)
FLIP(8)
FLIP(16)
#undef FLIP

/* --- interleaved columns --- */

/* A vector of each column is two lanes, made one after the other in the destination. */
static inline __attribute__((always_inline)) int64_t interleave(const tarn__columns *columns,
                                                                char *dst, const char *src,
                                                                int64_t row_count, int count) {
  const int64_t rows = VECTOR_BYTES / columns->unit_bytes, pitch = columns->pitch;
  __m256i order[TARN__COLUMNS_MAX][TARN__COLUMNS_MAX], from[TARN__COLUMNS_MAX];
#pragma GCC unroll 8
  for (int i = 0; i < count; i++) {
#pragma GCC unroll 8
    for (int c = 0; c < count; c++) order[i][c] = load_twice((const char *)columns->order[i][c]);
  }
  int64_t done = 0;
  for (; done + rows <= row_count; done += rows, src += VECTOR_BYTES) {
    char *next = dst + count * TARN__LANE_BYTES;
#pragma GCC unroll 8
    for (int c = 0; c < count; c++) from[c] = load(src + c * pitch);
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
      __m256i made = _mm256_shuffle_epi8(from[0], order[i][0]);
#pragma GCC unroll 8
      for (int c = 1; c < count; c++) {
        made = _mm256_or_si256(made, _mm256_shuffle_epi8(from[c], order[i][c]));
      }
      _mm_storeu_si128((__m128i *)dst, _mm256_castsi256_si128(made));
      _mm_storeu_si128((__m128i *)next, _mm256_extracti128_si256(made, 1));
      dst += TARN__LANE_BYTES;
      next += TARN__LANE_BYTES;
    }
    dst = next;
  }
  return done;
}

/* The number of columns is a constant wherever it is inlined. */
int64_t tarn__interleave_avx2(const tarn__columns *columns, char *dst, const char *src,
                              int64_t row_count) {
  switch (columns->count) {
    case 2:
      return interleave(columns, dst, src, row_count, 2);
    case 3:
      return interleave(columns, dst, src, row_count, 3);
    case 4:
      return interleave(columns, dst, src, row_count, 4);
    case 5:
      return interleave(columns, dst, src, row_count, 5);
    case 6:
      return interleave(columns, dst, src, row_count, 6);
    case 7:
      return interleave(columns, dst, src, row_count, 7);
    default:
      return interleave(columns, dst, src, row_count, 8);
  }
}

const tarn__row_kernels tarn__rows_avx2 = {
    .stream = stream,
    .fence = fence,
    .gather = {gather_1, gather_2, gather_4, gather_8, NULL},
    .flip = {flip_1, flip_2, flip_4, flip_8, flip_16},
    .interleave = tarn__interleave_avx2,
};
