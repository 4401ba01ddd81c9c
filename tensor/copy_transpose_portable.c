/* copy_transpose_portable.c: tiles of a transpose in vectors of one lane, as any compiler of ours
 * makes them. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t vec __attribute__((vector_size(16)));
typedef uint16_t vec_2 __attribute__((vector_size(16)));
typedef uint32_t vec_4 __attribute__((vector_size(16)));
typedef uint64_t vec_8 __attribute__((vector_size(16)));
enum { LANES = 1 };

static inline vec vec_gather(const char *from, int64_t pitch) {
  (void)pitch;
  vec v;
  memcpy(&v, from, sizeof v);
  return v;
}

static inline vec vec_low(vec a, vec b, size_t bytes) {
  switch (bytes) {
    case 1:
      return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    case 2:
      return (vec)__builtin_shufflevector((vec_2)a, (vec_2)b, 0, 8, 1, 9, 2, 10, 3, 11);
    case 4:
      return (vec)__builtin_shufflevector((vec_4)a, (vec_4)b, 0, 4, 1, 5);
    default:
      return (vec)__builtin_shufflevector((vec_8)a, (vec_8)b, 0, 2);
  }
}

static inline vec vec_high(vec a, vec b, size_t bytes) {
  switch (bytes) {
    case 1:
      return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                     31);
    case 2:
      return (vec)__builtin_shufflevector((vec_2)a, (vec_2)b, 4, 12, 5, 13, 6, 14, 7, 15);
    case 4:
      return (vec)__builtin_shufflevector((vec_4)a, (vec_4)b, 2, 6, 3, 7);
    default:
      return (vec)__builtin_shufflevector((vec_8)a, (vec_8)b, 1, 3);
  }
}

static inline void vec_store(char *to, vec v) {
  memcpy(to, &v, sizeof v);
}

/* No store of C goes around a cache: nobody asks for that here. */
static inline void vec_stream(char *to, vec v) {
  vec_store(to, v);
}

static inline void line_stream(char *to, const char *from) {
  memcpy(to, from, 64);
}

#include "tensor/copy_transpose_lanes.h"

const tarn__tile_kernels tarn__tile_portable = {.turn = {tile_1, tile_2, tile_4, tile_8, tile_16}};
