/* convert_avx2.c: the steps with AVX2 and F16C. */
#include "tensor/convert_blocks.h"
#include "tensor/convert_loops.h"

BLOCK block_f16_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 8) {
    put_8_floats(to + 4 * i, _mm256_cvtph_ps(load_16(from + 2 * i)), is_streaming);
  }
}

BLOCK block_bf16_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 8) {
    const __m256i upper = _mm256_cvtepu16_epi32(load_16(from + 2 * i));
    put_32(to + 4 * i, _mm256_slli_epi32(upper, 16), is_streaming);
  }
}

BLOCK block_u8_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 8) {
    const __m256i numbers = _mm256_cvtepu8_epi32(load_8(from + i));
    put_8_floats(to + 4 * i, _mm256_cvtepi32_ps(numbers), is_streaming);
  }
}

BLOCK block_i8_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 8) {
    const __m256i numbers = _mm256_cvtepi8_epi32(load_8(from + i));
    put_8_floats(to + 4 * i, _mm256_cvtepi32_ps(numbers), is_streaming);
  }
}

static inline __m128i f16_of_8(const char *from) {
  return _mm256_cvtps_ph(load_8_floats(from), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

BLOCK block_f32_f16(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 16) {
    const __m256i halves = _mm256_set_m128i(f16_of_8(from + 4 * i + 32), f16_of_8(from + 4 * i));
    put_32(to + 2 * i, halves, is_streaming);
  }
}

/* Rounded into the upper half, moved into the lower one. */
static inline __m256i bf16_in_i32(const char *from) {
  const __m256 values = load_8_floats(from);
  const __m256i bits = _mm256_castps_si256(values), one = _mm256_set1_epi32(1);
  const __m256i is_odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
  const __m256i round = _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7FFF));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(_mm256_add_epi32(bits, round), quiet, is_nan), 16);
}

BLOCK block_f32_bf16(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 16) {
    const __m256i mixed =
        _mm256_packus_epi32(bf16_in_i32(from + 4 * i), bf16_in_i32(from + 4 * i + 32));
    put_32(to + 2 * i, _mm256_permute4x64_epi64(mixed, 0xD8), is_streaming);
  }
}

BLOCK block_f64_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 8) {
    const double *in = (const double *)(const void *)(from + 8 * i);
    const __m256 values = _mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(in + 4)),
                                          _mm256_cvtpd_ps(_mm256_loadu_pd(in)));
    put_8_floats(to + 4 * i, values, is_streaming);
  }
}

BLOCK block_f32_f64(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 4) {
    const __m256d values = _mm256_cvtps_pd(_mm_castsi128_ps(load_16(from + 4 * i)));
    put_32(to + 8 * i, _mm256_castpd_si256(values), is_streaming);
  }
}

BLOCKS(f16_f32, 4, 2)
BLOCKS(bf16_f32, 4, 2)
BLOCKS(u8_f32, 4, 1)
BLOCKS(i8_f32, 4, 1)
BLOCKS(f32_f16, 2, 4)
BLOCKS(f32_bf16, 2, 4)
BLOCKS(f64_f32, 4, 8)
BLOCKS(f32_f64, 8, 4)

static void put_lines(void *dst, const void *src, size_t size_bytes) {
  for (size_t i = 0; i < size_bytes; i += LINE_BYTES) {
    const __m256i *line = (const __m256i *)(const void *)((const char *)src + i);
    const __m256i a = _mm256_load_si256(line), b = _mm256_load_si256(line + 1);
    put_32((char *)dst + i, a, /*is_streaming=*/true);
    put_32((char *)dst + i + 32, b, /*is_streaming=*/true);
  }
}

static void fence(void) {
  _mm_sfence();
}

#define STEP(name, from_bytes, to_bytes) [TARN__STEP_##name] = loop_##name,
#define STREAM(name) [TARN__STEP_##name] = stream_##name,
const tarn__convert_kernels tarn__convert_kernels_avx2 = {
    .steps = {TARN__CONVERT_STEPS(STEP)},
    .streams = {TARN__CONVERT_STREAMS(STREAM)},
    .put_lines = put_lines,
    .fence = fence};
