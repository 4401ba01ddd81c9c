/* copy_transpose_avx512.c: tiles of a transpose in vectors of four lanes, a whole line each. */
#include <immintrin.h>
#include <stddef.h>

typedef __m512i vec;
enum { LANES = 4 };

static inline vec vec_gather(const char *from, int64_t pitch) {
  vec v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)from));
  v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(from + pitch)), 1);
  v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(from + 2 * pitch)), 2);
  return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(from + 3 * pitch)), 3);
}

static inline vec vec_low(vec a, vec b, size_t bytes) {
  switch (bytes) {
    case 1:
      return _mm512_unpacklo_epi8(a, b);
    case 2:
      return _mm512_unpacklo_epi16(a, b);
    case 4:
      return _mm512_unpacklo_epi32(a, b);
    default:
      return _mm512_unpacklo_epi64(a, b);
  }
}

static inline vec vec_high(vec a, vec b, size_t bytes) {
  switch (bytes) {
    case 1:
      return _mm512_unpackhi_epi8(a, b);
    case 2:
      return _mm512_unpackhi_epi16(a, b);
    case 4:
      return _mm512_unpackhi_epi32(a, b);
    default:
      return _mm512_unpackhi_epi64(a, b);
  }
}

static inline void vec_store(char *to, vec v) {
  _mm512_storeu_si512(to, v);
}

static inline void vec_stream(char *to, vec v) {
  _mm512_stream_si512((__m512i *)to, v);
}

static inline void line_stream(char *to, const char *from) {
  _mm512_stream_si512((__m512i *)to, _mm512_loadu_si512(from));
}

#include "tensor/copy_transpose_lanes.h"

/* Streamed stores are ordered by this alone. */
static void finish(void) {
  _mm_sfence();
}

const tarn__tile_kernels tarn__tile_avx512 = {.turn = {tile_1, tile_2, tile_4, tile_8, tile_16},
                                              .finish = finish};
