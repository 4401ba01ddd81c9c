/* copy_rows_avx512.c: small steps, flips, scatters and streaming stores by vectors of a line. */
#include <immintrin.h>

#include "tensor/copy_rows.h"

enum { LINE_BYTES = 64 };

/* Longer steps use little of each vector that is loaded: one run at a time is as fast. */
enum { STEP_MAX = 8 };

static inline __m512i load(const char *src) {
  return _mm512_loadu_si512(src);
}

static inline void store(char *dst, __m512i value) {
  _mm512_storeu_si512(dst, value);
}

static void stream(char *dst, const char *src, size_t line_count) {
  size_t i = 0;
  for (; i + 4 <= line_count; i += 4, dst += 4 * LINE_BYTES, src += 4 * LINE_BYTES) {
    const __m512i a = load(src), b = load(src + LINE_BYTES);
    const __m512i c = load(src + 2 * LINE_BYTES), d = load(src + 3 * LINE_BYTES);
    _mm512_stream_si512((void *)dst, a);
    _mm512_stream_si512((void *)(dst + LINE_BYTES), b);
    _mm512_stream_si512((void *)(dst + 2 * LINE_BYTES), c);
    _mm512_stream_si512((void *)(dst + 3 * LINE_BYTES), d);
  }
  for (; i < line_count; i++, dst += LINE_BYTES, src += LINE_BYTES) {
    _mm512_stream_si512((void *)dst, load(src));
  }
}

static void fence(void) {
  _mm_sfence();
}

/* --- gather --- */

/* The run for lane j of a vector is at place j * step: lane j * step % lanes of the source's vector
 * number j * step / lanes. So one permutation of each of `step` vectors, each into its own lanes,
 * makes one. `lanes` are 16 for 4 bytes and 8 for 8 bytes; a step is a constant where it is inlined
 * with one. */

typedef struct permutation {
  __m512i from;
  uint32_t into[STEP_MAX];
} permutation;

static inline __attribute__((always_inline)) __m512i pick_4(const char *src, int step,
                                                            const permutation *order) {
  __m512i picked = _mm512_permutexvar_epi32(order->from, load(src));
  for (int i = 1; i < step; i++) {
    picked = _mm512_mask_permutexvar_epi32(picked, (__mmask16)order->into[i], order->from,
                                           load(src + i * LINE_BYTES));
  }
  return picked;
}

static inline __attribute__((always_inline)) __m512i pick_8(const char *src, int step,
                                                            const permutation *order) {
  __m512i picked = _mm512_permutexvar_epi64(order->from, load(src));
  for (int i = 1; i < step; i++) {
    picked = _mm512_mask_permutexvar_epi64(picked, (__mmask8)order->into[i], order->from,
                                           load(src + i * LINE_BYTES));
  }
  return picked;
}

static inline __attribute__((always_inline)) __m512i pick_2(const char *src, int step,
                                                            const permutation *order) {
  __m512i picked = _mm512_permutexvar_epi16(order->from, load(src));
  for (int i = 1; i < step; i++) {
    picked = _mm512_mask_permutexvar_epi16(picked, order->into[i], order->from,
                                           load(src + i * LINE_BYTES));
  }
  return picked;
}

/* Bytes as the low halves of words: the even ones, and the odd ones a step further on. */
static inline __attribute__((always_inline)) __m512i pick_1(const char *src, int step,
                                                            const permutation *order) {
  const __m512i even = _mm512_and_si512(pick_2(src, step, order), _mm512_set1_epi16(0xFF));
  const __m512i odd = pick_2(src + step, step, order);
  return _mm512_or_si512(even, _mm512_slli_epi16(odd, 8));
}

static inline permutation order_4(int step) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i place = _mm512_mullo_epi32(lane, _mm512_set1_epi32(step));
  permutation order = {.from = place}; /* permutations look at the low bits only */
  for (int i = 0; i < step; i++) {
    order.into[i] = _mm512_cmpeq_epi32_mask(_mm512_srli_epi32(place, 4), _mm512_set1_epi32(i));
  }
  return order;
}

static inline permutation order_8(int step) {
  const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i place = _mm512_mullo_epi64(lane, _mm512_set1_epi64(step));
  permutation order = {.from = place};
  for (int i = 0; i < step; i++) {
    order.into[i] = _mm512_cmpeq_epi64_mask(_mm512_srli_epi64(place, 3), _mm512_set1_epi64(i));
  }
  return order;
}

static inline permutation order_2(int step) {
  uint16_t lanes[32];
  for (int i = 0; i < 32; i++) lanes[i] = (uint16_t)i;
  const __m512i place =
      _mm512_mullo_epi16(load((const char *)lanes), _mm512_set1_epi16((short)step));
  permutation order = {.from = place};
  for (int i = 0; i < step; i++) {
    order.into[i] =
        _mm512_cmpeq_epi16_mask(_mm512_srli_epi16(place, 5), _mm512_set1_epi16((short)i));
  }
  return order;
}

static inline permutation order_1(int step) {
  return order_2(step);
}

/* `spare` runs behind a vector's own must be there, as whole vectors are read. */
#define GATHER(bytes, spare)                                                               \
  static inline __attribute__((always_inline))                                             \
  int64_t gather_steps_##bytes(char *dst, const char *src, int64_t count, int step) {      \
    const int64_t lanes = LINE_BYTES / (bytes);                                            \
    const permutation order = order_##bytes(step);                                         \
    int64_t done = 0;                                                                      \
    for (; done + lanes + (spare) <= count; done += lanes, dst += LINE_BYTES) {            \
      store(dst, pick_##bytes(src, step, &order));                                         \
      src += (ptrdiff_t)step * LINE_BYTES;                                                 \
    }                                                                                      \
    return done;                                                                           \
  }                                                                                        \
  static int64_t gather_##bytes(char *dst, const char *src, int64_t count, int64_t step) { \
    if (step == 2) return gather_steps_##bytes(dst, src, count, 2);                        \
    if (step == 3) return gather_steps_##bytes(dst, src, count, 3);                        \
    if (step == 4) return gather_steps_##bytes(dst, src, count, 4);                        \
    return step <= STEP_MAX ? gather_steps_##bytes(dst, src, count, (int)step) : 0;        \
  }
GATHER(1, 2)
GATHER(2, 1)
GATHER(4, 1)
GATHER(8, 1)
#undef GATHER

/* --- flips --- */

static inline __m512i opposite_1(__m512i value) {
  const __m512i order =
      _mm512_broadcast_i32x4(_mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
  const __m512i turned = _mm512_shuffle_epi8(value, order);
  return _mm512_shuffle_i64x2(turned, turned, _MM_SHUFFLE(0, 1, 2, 3));
}

static inline __m512i opposite_2(__m512i value) {
  const __m512i order =
      _mm512_broadcast_i32x4(_mm_setr_epi8(14, 15, 12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1));
  const __m512i turned = _mm512_shuffle_epi8(value, order);
  return _mm512_shuffle_i64x2(turned, turned, _MM_SHUFFLE(0, 1, 2, 3));
}

static inline __m512i opposite_4(__m512i value) {
  const __m512i order = _mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return _mm512_permutexvar_epi32(order, value);
}

static inline __m512i opposite_8(__m512i value) {
  return _mm512_permutexvar_epi64(_mm512_setr_epi64(7, 6, 5, 4, 3, 2, 1, 0), value);
}

static inline __m512i opposite_16(__m512i value) {
  return _mm512_shuffle_i64x2(value, value, _MM_SHUFFLE(0, 1, 2, 3));
}

#define FLIP(bytes)                                                                      \
  static int64_t flip_##bytes(char *dst, const char *src, int64_t count, int64_t step) { \
    const int64_t lanes = LINE_BYTES / (bytes);                                          \
    int64_t done = 0;                                                                    \
    (void)step;                                                                          \
    src += (bytes)-LINE_BYTES; /* the vector that ends with the first run */             \
    for (; done + lanes <= count; done += lanes, dst += LINE_BYTES, src -= LINE_BYTES)   \
      store(dst, opposite_##bytes(load(src)));                                           \
    return done;                                                                         \
  }
FLIP(1)
FLIP(2)
FLIP(4)
FLIP(8)
FLIP(16)
#undef FLIP

/* --- scatter --- */

/* A vector's runs spread over `step` vectors, a power of two; a masked store touches no byte
 * between them. */
#define SCATTER(bytes, width, mask_type, lane_mask)                                            \
  static inline __attribute__((always_inline))                                                 \
  int64_t scatter_steps_##bytes(char *dst, const char *src, int64_t count, int step) {         \
    const int lanes = LINE_BYTES / (bytes), shift = step == 2 ? 1 : step == 4 ? 2 : 3;         \
    uint##width##_t from[LINE_BYTES / (bytes)];                                                \
    for (int i = 0; i < lanes; i++) from[i] = (uint##width##_t)(i >> shift);                   \
    const __m512i first = load((const char *)from);                                            \
    const mask_type into = (mask_type)(step == 2   ? 0x55555555u                               \
                                       : step == 4 ? 0x11111111u                               \
                                                   : 0x01010101u);                             \
    int64_t done = 0;                                                                          \
    for (; done + lanes <= count; done += lanes, src += LINE_BYTES) {                          \
      const __m512i value = load(src);                                                         \
      for (int i = 0; i < step; i++, dst += LINE_BYTES) {                                      \
        const __m512i order = _mm512_add_epi##width(                                           \
            first, _mm512_set1_epi##width((lane_mask)(i * (lanes >> shift))));                 \
        _mm512_mask_storeu_epi##width(dst, into, _mm512_permutexvar_epi##width(order, value)); \
      }                                                                                        \
    }                                                                                          \
    return done;                                                                               \
  }                                                                                            \
  static int64_t scatter_##bytes(char *dst, const char *src, int64_t count, int64_t step) {    \
    if (step == 2) return scatter_steps_##bytes(dst, src, count, 2);                           \
    if (step == 4) return scatter_steps_##bytes(dst, src, count, 4);                           \
    return step == 8 ? scatter_steps_##bytes(dst, src, count, 8) : 0;                          \
  }
SCATTER(2, 16, __mmask32, short)
SCATTER(4, 32, __mmask16, int)
SCATTER(8, 64, __mmask8, long long)
#undef SCATTER

const tarn__row_kernels tarn__rows_avx512 = {
    .stream = stream,
    .fence = fence,
    .gather = {gather_1, gather_2, gather_4, gather_8, NULL},
    .flip = {flip_1, flip_2, flip_4, flip_8, flip_16},
    .scatter = {NULL, scatter_2, scatter_4, scatter_8, NULL},
    .interleave = tarn__interleave_avx2,
};
