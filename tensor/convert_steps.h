/* convert_steps.h: the loops that conversions are made of, and who has a version of each.
 *
 * A step turns contiguous elements of one type into those of another. convert.c makes any of the
 * pairs of one to four of them; so there are about sixty and not two hundred and seventy. */
#ifndef TENSOR_CONVERT_STEPS_H
#define TENSOR_CONVERT_STEPS_H

#include <stddef.h>

/* STEP(name, bytes of an element read, bytes of one written): "a_b" turns an a into a b. An "n8"
 * is any integer of 8 bits; a "mag32" is a float of 32 bits of which only zero or not matters. */
#define TARN__CONVERT_STEPS(STEP)                                                             \
  STEP(n8_bool, 1, 1)                                                                         \
  STEP(n16_bool, 2, 1)                                                                        \
  STEP(n32_bool, 4, 1)                                                                        \
  STEP(n64_bool, 8, 1)                                                                        \
  STEP(mag8_bool, 1, 1)                                                                       \
  STEP(mag16_bool, 2, 1)                                                                      \
  STEP(mag32_bool, 4, 1)                                                                      \
  STEP(mag64_bool, 8, 1)                                                                      \
  STEP(c64_bool, 8, 1)                                                                        \
  STEP(c128_bool, 16, 1)                                                                      \
  STEP(i8_i32, 1, 4)                                                                          \
  STEP(u8_i32, 1, 4)                                                                          \
  STEP(i16_i32, 2, 4)                                                                         \
  STEP(u16_i32, 2, 4)                                                                         \
  STEP(i32_i64, 4, 8)                                                                         \
  STEP(u32_i64, 4, 8)                                                                         \
  STEP(n32_n8, 4, 1)                                                                          \
  STEP(n32_n16, 4, 2)                                                                         \
  STEP(n64_n32, 8, 4)                                                                         \
  STEP(i8_f32, 1, 4)                                                                          \
  STEP(u8_f32, 1, 4)                                                                          \
  STEP(i16_f32, 2, 4)                                                                         \
  STEP(u16_f32, 2, 4)                                                                         \
  STEP(i32_f32, 4, 4)                                                                         \
  STEP(u32_f32, 4, 4)                                                                         \
  STEP(i64_f32, 8, 4)                                                                         \
  STEP(u64_f32, 8, 4)                                                                         \
  STEP(i32_f64, 4, 8)                                                                         \
  STEP(u32_f64, 4, 8)                                                                         \
  STEP(i64_f64, 8, 8)                                                                         \
  STEP(u64_f64, 8, 8)                                                                         \
  STEP(i64_odd64, 8, 8) /* a double that rounds to any narrower float as the integer would */ \
  STEP(u64_odd64, 8, 8)                                                                       \
  STEP(f16_f32, 2, 4)                                                                         \
  STEP(bf16_f32, 2, 4)                                                                        \
  STEP(e4m3fn_f32, 1, 4)                                                                      \
  STEP(e5m2_f32, 1, 4)                                                                        \
  STEP(f64_f32, 8, 4)                                                                         \
  STEP(f32_f64, 4, 8)                                                                         \
  STEP(f32_f16, 4, 2)                                                                         \
  STEP(f32_bf16, 4, 2)                                                                        \
  STEP(f32_e4m3fn, 4, 1)                                                                      \
  STEP(f32_e5m2, 4, 1)                                                                        \
  STEP(f64_f16, 8, 2)                                                                         \
  STEP(f64_bf16, 8, 2)                                                                        \
  STEP(f64_e4m3fn, 8, 1)                                                                      \
  STEP(f64_e5m2, 8, 1)                                                                        \
  STEP(f32_i32, 4, 4)                                                                         \
  STEP(f32_u32, 4, 4)                                                                         \
  STEP(f32_i64, 4, 8)                                                                         \
  STEP(f32_u64, 4, 8)                                                                         \
  STEP(f64_i32, 8, 4)                                                                         \
  STEP(f64_u32, 8, 4)                                                                         \
  STEP(f64_i64, 8, 8)                                                                         \
  STEP(f64_u64, 8, 8)                                                                         \
  STEP(i32_sat_i8, 4, 1) /* after a float became an int32 in the same way */                  \
  STEP(i32_sat_u8, 4, 1)                                                                      \
  STEP(i32_sat_i16, 4, 2)                                                                     \
  STEP(i32_sat_u16, 4, 2)                                                                     \
  STEP(f32_u8, 4, 1) /* a short cut */                                                        \
  STEP(f32_c64, 4, 8)                                                                         \
  STEP(f64_c128, 8, 16)

typedef enum tarn__convert_step_id {
#define STEP(name, from_bytes, to_bytes) TARN__STEP_##name,
  TARN__CONVERT_STEPS(STEP)
#undef STEP
      TARN__STEP_COUNT,
  TARN__STEP_NONE = TARN__STEP_COUNT
} tarn__convert_step_id;

/* Those of them that x86 also has past the caches. */
#define TARN__CONVERT_STREAMS(STREAM) \
  STREAM(f16_f32)                     \
  STREAM(bf16_f32)                    \
  STREAM(u8_f32)                      \
  STREAM(i8_f32)                      \
  STREAM(e4m3fn_f32)                  \
  STREAM(e5m2_f32)                    \
  STREAM(f32_f16)                     \
  STREAM(f32_bf16)                    \
  STREAM(f32_u8)                      \
  STREAM(f64_f32)                     \
  STREAM(f32_f64)

/* Steps work on multiples of so many elements; convert.c pads what is over. */
enum { TARN__STEP_BLOCK = 32 };

/* Neither pointer needs any alignment; they do not overlap. */
typedef void tarn__convert_step(void *dst, const void *src, size_t count);

/* Past the caches a step works on so many strands at once, each of `count` elements, one after the
 * other in memory; dst is a multiple of 64, and count too. */
enum { TARN__CONVERT_STRANDS = 4 };

typedef struct tarn__convert_kernels {
  tarn__convert_step *steps[TARN__STEP_COUNT]; /* NULL: the next lower level's */
  /* For memory that is not read soon. Other threads, and devices, see it after the fence. */
  tarn__convert_step *streams[TARN__STEP_COUNT];                    /* NULL: none */
  void (*put_lines)(void *dst, const void *src, size_t size_bytes); /* both, multiples of 64 */
  void (*fence)(void);
} tarn__convert_kernels;

extern const tarn__convert_kernels tarn__convert_kernels_portable; /* has all steps, and no more */
extern const tarn__convert_kernels tarn__convert_kernels_avx2;
extern const tarn__convert_kernels tarn__convert_kernels_avx512;

#endif
