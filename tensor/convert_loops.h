/* convert_loops.h: every step as a plain loop, for the compiler to make vectors of.
 *
 * Included once by each file that is compiled for one instruction set. */
#ifndef TENSOR_CONVERT_LOOPS_H
#define TENSOR_CONVERT_LOOPS_H

#include "tensor/convert_steps.h"
#include "tensor/float_formats.h"

/* Elements at any address, in memory of any type. */
#define ELEMENT __attribute__((aligned(1), may_alias))
typedef int8_t element_i8 ELEMENT;
typedef int16_t element_i16 ELEMENT;
typedef int32_t element_i32 ELEMENT;
typedef int64_t element_i64 ELEMENT;
typedef uint8_t element_u8 ELEMENT;
typedef uint16_t element_u16 ELEMENT;
typedef uint32_t element_u32 ELEMENT;
typedef uint64_t element_u64 ELEMENT;
typedef float element_f32 ELEMENT;
typedef double element_f64 ELEMENT;
typedef struct element_c64 {
  element_f32 re, im;
} element_c64;
typedef struct element_c128 {
  element_f64 re, im;
} element_c128;
#undef ELEMENT

/* Out of range is the nearest end of the range, NaN is 0; only what is in range is cast. `end` is
 * the power of two after `highest`. */
#define SATURATE(name, to, from, lowest, highest, end) \
  static inline to name(from value) {                  \
    from x = value == value ? value : 0;               \
    x = x > (from)(lowest) ? x : (from)(lowest);       \
    return x < (end) ? (to)x : (highest);              \
  }
SATURATE(f32_to_i32, int32_t, float, INT32_MIN, INT32_MAX, 0x1p31f)
SATURATE(f32_to_u32, uint32_t, float, 0, UINT32_MAX, 0x1p32f)
SATURATE(f32_to_i64, int64_t, float, INT64_MIN, INT64_MAX, 0x1p63f)
SATURATE(f32_to_u64, uint64_t, float, 0, UINT64_MAX, 0x1p64f)
SATURATE(f64_to_i32, int32_t, double, INT32_MIN, INT32_MAX, 0x1p31)
SATURATE(f64_to_u32, uint32_t, double, 0, UINT32_MAX, 0x1p32)
SATURATE(f64_to_i64, int64_t, double, INT64_MIN, INT64_MAX, 0x1p63)
SATURATE(f64_to_u64, uint64_t, double, 0, UINT64_MAX, 0x1p64)
#undef SATURATE

static inline int32_t clamp(int32_t value, int32_t lowest, int32_t highest) {
  const int32_t x = value > lowest ? value : lowest;
  return x < highest ? x : highest;
}

/* Numbers beyond 2^48 give up their last 16 bits for one that says whether any was set ("rounding
 * to odd", Boldo and Melquiond): exact in a double, and no narrower float can tell. */
static inline uint64_t odd_bits(uint64_t magnitude) {
  const uint64_t sticky = (magnitude & 0xFFFF) != 0;
  return magnitude >> 48 == 0 ? magnitude : ((magnitude >> 16 | sticky) << 16);
}

static inline double odd_of_u64(uint64_t value) {
  return (double)odd_bits(value);
}

static inline double odd_of_i64(int64_t value) {
  const double magnitude = odd_of_u64(value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
  return value < 0 ? -magnitude : magnitude;
}

/* The inner loop is of a known length: it becomes vectors without a rest, at any level of
 * optimisation. */
#define LOOP(name, to, from, expression)                                                \
  static void loop_##name(void *restrict dst, const void *restrict src, size_t count) { \
    element_##to *restrict out = dst;                                                   \
    const element_##from *restrict in = src;                                            \
    for (; count != 0; count -= TARN__STEP_BLOCK) {                                     \
      for (int i = 0; i < TARN__STEP_BLOCK; i++) {                                      \
        const element_##from x = in[i];                                                 \
        out[i] = (expression);                                                          \
      }                                                                                 \
      in += TARN__STEP_BLOCK;                                                           \
      out += TARN__STEP_BLOCK;                                                          \
    }                                                                                   \
  }

LOOP(n8_bool, u8, u8, x != 0)
LOOP(n16_bool, u8, u16, x != 0)
LOOP(n32_bool, u8, u32, x != 0)
LOOP(n64_bool, u8, u64, x != 0)
LOOP(mag8_bool, u8, u8, (x & 0x7F) != 0)
LOOP(mag16_bool, u8, u16, (x & 0x7FFF) != 0)
LOOP(mag32_bool, u8, u32, (x & (UINT32_MAX >> 1)) != 0)
LOOP(mag64_bool, u8, u64, (x & (UINT64_MAX >> 1)) != 0)
LOOP(c64_bool, u8, c64, x.re != 0 || x.im != 0)
LOOP(c128_bool, u8, c128, x.re != 0 || x.im != 0)

LOOP(i8_i32, i32, i8, (int32_t)x)
LOOP(u8_i32, i32, u8, (int32_t)x)
LOOP(i16_i32, i32, i16, x)
LOOP(u16_i32, i32, u16, x)
LOOP(i32_i64, i64, i32, x)
LOOP(u32_i64, i64, u32, x)
LOOP(n32_n8, u8, u32, (uint8_t)x)
LOOP(n32_n16, u16, u32, (uint16_t)x)
LOOP(n64_n32, u32, u64, (uint32_t)x)

LOOP(i16_f32, f32, i16, (float)x)
LOOP(u16_f32, f32, u16, (float)x)
LOOP(i32_f32, f32, i32, (float)x)
LOOP(u32_f32, f32, u32, (float)x)
LOOP(i64_f32, f32, i64, (float)x)
LOOP(u64_f32, f32, u64, (float)x)
LOOP(i32_f64, f64, i32, (double)x)
LOOP(u32_f64, f64, u32, (double)x)
LOOP(i64_f64, f64, i64, (double)x)
LOOP(u64_f64, f64, u64, (double)x)
LOOP(i64_odd64, f64, i64, odd_of_i64(x))
LOOP(u64_odd64, f64, u64, odd_of_u64(x))

LOOP(f32_e4m3fn, u8, f32, tarn__e4m3fn_from_f32(x))
LOOP(f32_e5m2, u8, f32, tarn__e5m2_from_f32(x))
LOOP(f64_f16, u16, f64, tarn__f16_from_f64(x))
LOOP(f64_bf16, u16, f64, tarn__bf16_from_f64(x))
LOOP(f64_e4m3fn, u8, f64, tarn__e4m3fn_from_f64(x))
LOOP(f64_e5m2, u8, f64, tarn__e5m2_from_f64(x))

LOOP(f32_i32, i32, f32, f32_to_i32(x))
LOOP(f32_u32, u32, f32, f32_to_u32(x))
LOOP(f32_i64, i64, f32, f32_to_i64(x))
LOOP(f32_u64, u64, f32, f32_to_u64(x))
LOOP(f64_i32, i32, f64, f64_to_i32(x))
LOOP(f64_u32, u32, f64, f64_to_u32(x))
LOOP(f64_i64, i64, f64, f64_to_i64(x))
LOOP(f64_u64, u64, f64, f64_to_u64(x))
LOOP(i32_sat_i8, i8, i32, (int8_t)clamp(x, INT8_MIN, INT8_MAX))
LOOP(i32_sat_u8, u8, i32, (uint8_t)clamp(x, 0, UINT8_MAX))
LOOP(i32_sat_i16, i16, i32, (int16_t)clamp(x, INT16_MIN, INT16_MAX))
LOOP(i32_sat_u16, u16, i32, (uint16_t)clamp(x, 0, UINT16_MAX))
LOOP(f32_c64, c64, f32, ((element_c64){x, 0}))
LOOP(f64_c128, c128, f64, ((element_c128){x, 0}))

#ifndef TENSOR_CONVERT_BLOCKS_H /* else that has them */
LOOP(i8_f32, f32, i8, (float)x)
LOOP(u8_f32, f32, u8, (float)x)
LOOP(bf16_f32, u32, u16, (uint32_t)x << 16)
LOOP(f64_f32, f32, f64, (float)x)
LOOP(f32_f64, f64, f32, (double)x)
LOOP(f16_f32, f32, u16, tarn__f16_to_f32(x))
LOOP(e4m3fn_f32, f32, u8, tarn__e4m3fn_to_f32(x))
LOOP(e5m2_f32, f32, u8, tarn__e5m2_to_f32(x))
LOOP(f32_f16, u16, f32, tarn__f16_from_f32(x))
LOOP(f32_bf16, u16, f32, tarn__bf16_from_f32(x))
LOOP(f32_u8, u8, f32, (uint8_t)clamp(f32_to_i32(x), 0, UINT8_MAX))
#endif
#undef LOOP

#endif
