/* convert_avx512.c: the steps with AVX-512; a store past the caches is then a whole line. */
#include "tensor/convert_blocks.h"
#include "tensor/convert_loops.h"

static inline __m512 load_16_floats(const char *from) {
  return _mm512_loadu_ps((const void *)from);
}

static inline __m256i load_32(const char *from) {
  return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

static inline void put_64(char *to, __m512i bytes, bool is_streaming) {
  if (is_streaming) {
    _mm512_stream_si512((__m512i *)(void *)to, bytes);
  } else {
    _mm512_storeu_si512((void *)to, bytes);
  }
}

static inline void put_16_floats(char *to, __m512 values, bool is_streaming) {
  put_64(to, _mm512_castps_si512(values), is_streaming);
}

BLOCK block_f16_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 16) {
    put_16_floats(to + 4 * i, _mm512_cvtph_ps(load_32(from + 2 * i)), is_streaming);
  }
}

BLOCK block_bf16_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 16) {
    const __m512i upper = _mm512_cvtepu16_epi32(load_32(from + 2 * i));
    put_64(to + 4 * i, _mm512_slli_epi32(upper, 16), is_streaming);
  }
}

BLOCK block_u8_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 16) {
    const __m512i numbers = _mm512_cvtepu8_epi32(load_16(from + i));
    put_16_floats(to + 4 * i, _mm512_cvtepi32_ps(numbers), is_streaming);
  }
}

BLOCK block_i8_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 16) {
    const __m512i numbers = _mm512_cvtepi8_epi32(load_16(from + i));
    put_16_floats(to + 4 * i, _mm512_cvtepi32_ps(numbers), is_streaming);
  }
}

static inline __m256i f16_of_16(const char *from) {
  return _mm512_cvtps_ph(load_16_floats(from), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

BLOCK block_f32_f16(char *to, const char *from, bool is_streaming) {
  const __m512i low = _mm512_castsi256_si512(f16_of_16(from));
  put_64(to, _mm512_inserti64x4(low, f16_of_16(from + LINE_BYTES), 1), is_streaming);
}

/* Rounded into the upper half, moved into the lower one. */
static inline __m512i bf16_in_i32(const char *from) {
  const __m512 values = load_16_floats(from);
  const __m512i bits = _mm512_castps_si512(values), one = _mm512_set1_epi32(1);
  const __m512i is_odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
  const __m512i round = _mm512_add_epi32(is_odd, _mm512_set1_epi32(0x7FFF));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  const __m512i quiet = _mm512_set1_epi32(0x400000);
  const __m512i code = _mm512_mask_or_epi32(_mm512_add_epi32(bits, round), is_nan, bits, quiet);
  return _mm512_srli_epi32(code, 16);
}

BLOCK block_f32_bf16(char *to, const char *from, bool is_streaming) {
  const __m512i mixed = _mm512_packus_epi32(bf16_in_i32(from), bf16_in_i32(from + LINE_BYTES));
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  put_64(to, _mm512_permutexvar_epi64(order, mixed), is_streaming);
}

BLOCK block_f64_f32(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 16) {
    const double *in = (const double *)(const void *)(from + 8 * i);
    const __m512 low = _mm512_castps256_ps512(_mm512_cvtpd_ps(_mm512_loadu_pd(in)));
    const __m256 high = _mm512_cvtpd_ps(_mm512_loadu_pd(in + 8));
    put_16_floats(to + 4 * i, _mm512_insertf32x8(low, high, 1), is_streaming);
  }
}

BLOCK block_f32_f64(char *to, const char *from, bool is_streaming) {
  for (int i = 0; i < TARN__STEP_BLOCK; i += 8) {
    const __m512d values = _mm512_cvtps_pd(load_8_floats(from + 4 * i));
    put_64(to + 8 * i, _mm512_castpd_si512(values), is_streaming);
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
    const __m512i line = _mm512_load_si512((const void *)((const char *)src + i));
    put_64((char *)dst + i, line, /*is_streaming=*/true);
  }
}

static void fence(void) {
  _mm_sfence();
}

#define STEP(name, from_bytes, to_bytes) [TARN__STEP_##name] = loop_##name,
#define STREAM(name) [TARN__STEP_##name] = stream_##name,
const tarn__convert_kernels tarn__convert_kernels_avx512 = {
    .steps = {TARN__CONVERT_STEPS(STEP)},
    .streams = {TARN__CONVERT_STREAMS(STREAM)},
    .put_lines = put_lines,
    .fence = fence};
