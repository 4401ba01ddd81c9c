/* copy_transpose_avx2.c: tiles of a transpose in vectors of two lanes. */
#include <immintrin.h>
#include <stddef.h>

typedef __m256i vec;
enum { LANES = 2 };

static inline vec vec_gather(const char *from, int64_t pitch) {
  vec v = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)from));
  return _mm256_inserti128_si256(v, _mm_loadu_si128((const __m128i *)(from + pitch)), 1);
}

static inline vec vec_low(vec a, vec b, size_t bytes) {
  switch (bytes) {
    case 1:
      return _mm256_unpacklo_epi8(a, b);
    case 2:
      return _mm256_unpacklo_epi16(a, b);
    case 4:
      return _mm256_unpacklo_epi32(a, b);
    default:
      return _mm256_unpacklo_epi64(a, b);
  }
}

static inline vec vec_high(vec a, vec b, size_t bytes) {
  switch (bytes) {
    case 1:
      return _mm256_unpackhi_epi8(a, b);
    case 2:
      return _mm256_unpackhi_epi16(a, b);
    case 4:
      return _mm256_unpackhi_epi32(a, b);
    default:
      return _mm256_unpackhi_epi64(a, b);
  }
}

static inline void vec_store(char *to, vec v) {
  _mm256_storeu_si256((__m256i *)to, v);
}

static inline void vec_stream(char *to, vec v) {
  _mm256_stream_si256((__m256i *)to, v);
}

static inline void line_stream(char *to, const char *from) {
  _mm256_stream_si256((__m256i *)to, _mm256_loadu_si256((const __m256i *)from));
  _mm256_stream_si256((__m256i *)(to + 32), _mm256_loadu_si256((const __m256i *)(from + 32)));
}

#include "tensor/copy_transpose_lanes.h"

/* Streamed stores are ordered by this alone. */
static void finish(void) {
  _mm_sfence();
}

const tarn__tile_kernels tarn__tile_avx2 = {.turn = {tile_1, tile_2, tile_4, tile_8, tile_16},
                                            .finish = finish};
