/* convert_blocks.h: steps written by hand for x86, and how a block of them becomes a loop.
 *
 * A block_<step> turns TARN__STEP_BLOCK elements; BLOCKS makes two loops of it, one into the caches
 * and one past them. Here are the blocks that are the same for AVX2 and AVX-512; the others stand
 * in the files of the two. They answer with the same bits as the plain loops (convert_loops.h),
 * which leaves these steps out where it is included after this file. */
#ifndef TENSOR_CONVERT_BLOCKS_H
#define TENSOR_CONVERT_BLOCKS_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#include "tensor/convert_steps.h"

#define BLOCK static inline __attribute__((always_inline)) void

/* What follows the lines in use: far enough for memory to answer in time. */
enum { PREFETCH_BYTES = 2048, LINE_BYTES = 64, STREAM_UNIT = 2 * TARN__STEP_BLOCK };

/* stream_<step>: TARN__CONVERT_STRANDS parts of `count` elements each, all of them at once: one
 * thread gets more out of memory when it reads at several places. A multiple of 64 elements. */
#define BLOCKS(name, to_bytes, from_bytes)                                                       \
  static void loop_##name(void *dst, const void *src, size_t count) {                            \
    char *to = dst;                                                                              \
    const char *from = src;                                                                      \
    for (; count != 0; count -= TARN__STEP_BLOCK) {                                              \
      block_##name(to, from, /*is_streaming=*/false);                                            \
      to += TARN__STEP_BLOCK * (to_bytes);                                                       \
      from += TARN__STEP_BLOCK * (from_bytes);                                                   \
    }                                                                                            \
  }                                                                                              \
  static void stream_##name(void *dst, const void *src, size_t count) {                          \
    for (size_t i = 0; i < count; i += STREAM_UNIT) {                                            \
      for (size_t strand = 0; strand < TARN__CONVERT_STRANDS; strand++) {                        \
        char *to = (char *)dst + (strand * count + i) * (to_bytes);                              \
        const char *from = (const char *)src + (strand * count + i) * (from_bytes);              \
        for (int line = 0; line < STREAM_UNIT * (from_bytes); line += LINE_BYTES) {              \
          _mm_prefetch(from + PREFETCH_BYTES + line, _MM_HINT_T0);                               \
        }                                                                                        \
        block_##name(to, from, /*is_streaming=*/true);                                           \
        block_##name(to + TARN__STEP_BLOCK * (to_bytes), from + TARN__STEP_BLOCK * (from_bytes), \
                     /*is_streaming=*/true);                                                     \
      }                                                                                          \
    }                                                                                            \
  }

static inline __m128i load_16(const char *from) {
  return _mm_loadu_si128((const __m128i *)(const void *)from);
}

static inline __m128i load_8(const char *from) {
  return _mm_loadl_epi64((const __m128i *)(const void *)from);
}

static inline __m256 load_8_floats(const char *from) {
  return _mm256_loadu_ps((const float *)(const void *)from);
}

static inline void put_32(char *to, __m256i bytes, bool is_streaming) {
  if (is_streaming) {
    _mm256_stream_si256((__m256i *)(void *)to, bytes);
  } else {
    _mm256_storeu_si256((__m256i *)(void *)to, bytes);
  }
}

static inline void put_8_floats(char *to, __m256 values, bool is_streaming) {
  put_32(to, _mm256_castps_si256(values), is_streaming);
}

/* An e5m2 is the upper half of an f16. */
BLOCK block_e5m2_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 8) {
    const __m128i half = _mm_slli_epi16(_mm_cvtepu8_epi16(load_8(from + i)), 8);
    put_8_floats(to + 4 * i, _mm256_cvtph_ps(half), is_streaming);
  }
}

/* The bits of an e4m3fn in the place of an f16's, whose bias is larger by 8, are worth 2^-8 of what
 * they should be; subnormals too. NaN is 480 then, and has all bits of 480. */
BLOCK block_e4m3fn_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 8) {
    const __m128i words = _mm_cvtepi8_epi16(load_8(from + i));
    const __m128i code = _mm_and_si128(words, _mm_set1_epi16(0x7F));
    const __m128i sign = _mm_and_si128(words, _mm_set1_epi16(INT16_MIN));
    const __m128i half = _mm_or_si128(sign, _mm_slli_epi16(code, 7));
    const __m128i is_nan = _mm_cmpeq_epi16(code, _mm_set1_epi16(0x7F));
    const __m256i nan =
        _mm256_and_si256(_mm256_cvtepi16_epi32(is_nan), _mm256_set1_epi32(0x7FF00000));
    const __m256 number = _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256));
    put_8_floats(to + 4 * i, _mm256_or_ps(number, _mm256_castsi256_ps(nan)), is_streaming);
  }
}

/* NaN is 0: of a NaN and a number, maxps answers with the second. */
static inline __m256i bytes_in_i32(const char *from) {
  const __m256 low = _mm256_max_ps(load_8_floats(from), _mm256_setzero_ps());
  return _mm256_cvttps_epi32(_mm256_min_ps(low, _mm256_set1_ps(255)));
}

BLOCK block_f32_u8(char *to, const char *from, bool is_streaming) {
  const __m256i ab = _mm256_packs_epi32(bytes_in_i32(from), bytes_in_i32(from + 32));
  const __m256i cd = _mm256_packs_epi32(bytes_in_i32(from + 64), bytes_in_i32(from + 96));
  const __m256i mixed = _mm256_packus_epi16(ab, cd); /* within each half of 16 bytes */
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  put_32(to, _mm256_permutevar8x32_epi32(mixed, order), is_streaming);
}

BLOCKS(e5m2_f32, 4, 1)
BLOCKS(e4m3fn_f32, 4, 1)
BLOCKS(f32_u8, 1, 4)

#endif
