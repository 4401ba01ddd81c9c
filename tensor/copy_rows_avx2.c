/* copy_rows_avx2.c: every other run, flips, and streaming stores by vectors of 32 bytes. */
#include <immintrin.h>

#include "tensor/copy_rows.h"

enum { VECTOR_BYTES = 32, LINE_BYTES = 64 };

static inline __m256i load(const char *src) {
  return _mm256_loadu_si256((const __m256i *)src);
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

const tarn__row_kernels tarn__rows_avx2 = {
    .stream = stream,
    .fence = fence,
    .gather = {gather_1, gather_2, gather_4, gather_8, NULL},
    .flip = {flip_1, flip_2, flip_4, flip_8, flip_16},
};
