/* kernel_values.h: elements of one type as those of another, bit for bit as the CPU has it.
 *
 * What becomes what is in tensor/tarn_copy.h, and the formats in tensor/float_formats.h; a test
 * holds every pair against tensor/convert.c. A value is on its way in one of three forms:
 *
 *     int      64 bits: from integers and bool to integers and bool
 *     float    from what a float holds exactly, and from integers to a float in one rounding
 *     double   from the rest
 *
 * A GPU's own conversions lose the bits of a NaN, the CPU's keep as many as fit: NaN goes by way of
 * its bits everywhere. */
#ifndef CUDA_KERNEL_VALUES_H
#define CUDA_KERNEL_VALUES_H

#include "cuda/kernel_args.h"

#define TARN__INF_F32 0x7F800000u
#define TARN__INF_F64 0x7FF0000000000000u

/* --- floats to more bits --- */

/* A finite code of a narrow format, exactly. */
TARN__BODY uint32_t tarn__widen(uint32_t code, int mantissa, int bias) {
  const uint32_t rebias = (uint32_t)(127 - bias) << 23;
  const float unit = tarn__float_of_bits(rebias + ((uint32_t)(1 - mantissa) << 23));
  const uint32_t subnormal = tarn__bits_of_float((float)(int32_t)code * unit);
  const uint32_t normal = (code << (23 - mantissa)) + rebias;
  return code >> mantissa == 0 ? subnormal : normal;
}

TARN__BODY float tarn__f32_of_f16(uint32_t half) {
  const uint32_t sign = (half & 0x8000) << 16, code = half & 0x7FFF;
  const uint32_t nan = sign | TARN__INF_F32 | 0x400000u | (code & 0x3FF) << 13;
  const float number = tarn__float_of_half(half);
  return code > 0x7C00 ? tarn__float_of_bits(nan) : number;
}

TARN__BODY float tarn__f32_of_e4m3fn(uint32_t byte) {
  const uint32_t sign = (byte & 0x80) << 24, code = byte & 0x7F;
  return tarn__float_of_bits(sign | (code == 0x7F ? 0x7FF00000u : tarn__widen(code, 3, 7)));
}

TARN__BODY uint64_t tarn__f64_bits_of_f32(float value) {
  const uint32_t bits = tarn__bits_of_float(value), magnitude = bits & 0x7FFFFFFF;
  const uint64_t sign = (uint64_t)(bits & 0x80000000u) << 32;
  const uint64_t nan =
      sign | TARN__INF_F64 | 0x8000000000000u | (uint64_t)(magnitude & 0x7FFFFF) << 29;
  return magnitude > TARN__INF_F32 ? nan : tarn__bits_of_double((double)value);
}

/* --- floats to fewer bits: once, to the nearest, ties to even --- */

TARN__BODY uint32_t tarn__narrow_f32(uint32_t magnitude, int mantissa, int bias, uint32_t limit) {
  const int shift = 23 - mantissa;
  const uint32_t rebias = (uint32_t)(127 - bias) << 23;
  const uint32_t aligner = rebias + ((uint32_t)(shift + 1) << 23);
  const float sum = tarn__float_of_bits(magnitude) + tarn__float_of_bits(aligner);
  const uint32_t subnormal = tarn__bits_of_float(sum) - aligner;
  const uint32_t is_odd = magnitude >> shift & 1;
  const uint32_t normal = (magnitude - rebias + (1u << (shift - 1)) - 1 + is_odd) >> shift;
  const uint32_t code = magnitude < rebias + (1u << 23) ? subnormal : normal;
  return code < limit ? code : limit;
}

TARN__BODY uint32_t tarn__narrow_f64(uint64_t magnitude, int mantissa, int bias, uint32_t limit) {
  const int shift = 52 - mantissa;
  const uint64_t rebias = (uint64_t)(1023 - bias) << 52;
  const uint64_t aligner = rebias + ((uint64_t)(shift + 1) << 52);
  const double sum = tarn__double_of_bits(magnitude) + tarn__double_of_bits(aligner);
  const uint64_t subnormal = tarn__bits_of_double(sum) - aligner;
  const uint64_t is_odd = magnitude >> shift & 1;
  const uint64_t half = (uint64_t)1 << (shift - 1);
  const uint64_t normal = (magnitude - rebias + half - 1 + is_odd) >> shift;
  const uint64_t code = magnitude < rebias + ((uint64_t)1 << 52) ? subnormal : normal;
  return code < limit ? (uint32_t)code : limit;
}

TARN__BODY uint32_t tarn__f16_of_f32(float value) {
  const uint32_t bits = tarn__bits_of_float(value), magnitude = bits & 0x7FFFFFFF;
  const uint32_t nan = (bits >> 16 & 0x8000) | 0x7E00 | (magnitude >> 13 & 0x3FF);
  const uint32_t number = tarn__half_of_float(value);
  return magnitude > TARN__INF_F32 ? nan : number;
}

TARN__BODY uint32_t tarn__bf16_of_number(float value) {
  const uint32_t bits = tarn__bits_of_float(value);
  return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

TARN__BODY uint32_t tarn__bf16_of_f32(float value) {
  const uint32_t bits = tarn__bits_of_float(value), magnitude = bits & 0x7FFFFFFF;
  return magnitude > TARN__INF_F32 ? bits >> 16 | 0x40 : tarn__bf16_of_number(value);
}

/* NaNs are rare: where several values have none, their bits need not be looked after. */
TARN__BODY bool tarn__have_nan(const float value[8], uint32_t count) {
  bool have = false;
  TARN__UNROLL
  for (uint32_t k = 0; k < count; k++) have |= value[k] != value[k];
  return have;
}

TARN__BODY uint32_t tarn__e4m3fn_of_f32(float value) {
  const uint32_t bits = tarn__bits_of_float(value), magnitude = bits & 0x7FFFFFFF;
  return (bits >> 24 & 0x80) | tarn__narrow_f32(magnitude, 3, 7, 0x7F);
}

TARN__BODY uint32_t tarn__e5m2_of_f32(float value) {
  const uint32_t bits = tarn__bits_of_float(value), magnitude = bits & 0x7FFFFFFF;
  const uint32_t number = tarn__narrow_f32(magnitude, 2, 15, 0x7C);
  return (bits >> 24 & 0x80) | (magnitude > TARN__INF_F32 ? 0x7F : number);
}

TARN__BODY uint32_t tarn__f32_bits_of_f64(double value) {
  const uint64_t bits = tarn__bits_of_double(value), magnitude = bits & ~((uint64_t)1 << 63);
  const uint32_t nan = (uint32_t)(bits >> 32 & 0x80000000u) | TARN__INF_F32 | 0x400000u |
                       (uint32_t)(magnitude >> 29 & 0x7FFFFF);
  return magnitude > TARN__INF_F64 ? nan : tarn__bits_of_float((float)value);
}

/* f16 and bf16; `quiet` is the format's quiet NaN without payload, of which `payload` bits fit. */
TARN__BODY uint32_t tarn__half_of_f64(double value, int mantissa, int bias, uint32_t infinity,
                                      uint32_t quiet, int payload) {
  const uint64_t bits = tarn__bits_of_double(value), magnitude = bits & ~((uint64_t)1 << 63);
  const uint32_t nan = quiet | (uint32_t)(magnitude >> (52 - payload) & ((1u << payload) - 1));
  const uint32_t number = tarn__narrow_f64(magnitude, mantissa, bias, infinity);
  return (uint32_t)(bits >> 48 & 0x8000) | (magnitude > TARN__INF_F64 ? nan : number);
}

TARN__BODY uint32_t tarn__e4m3fn_of_f64(double value) {
  const uint64_t bits = tarn__bits_of_double(value), magnitude = bits & ~((uint64_t)1 << 63);
  return (uint32_t)(bits >> 56 & 0x80) | tarn__narrow_f64(magnitude, 3, 7, 0x7F);
}

TARN__BODY uint32_t tarn__e5m2_of_f64(double value) {
  const uint64_t bits = tarn__bits_of_double(value), magnitude = bits & ~((uint64_t)1 << 63);
  const uint32_t number = tarn__narrow_f64(magnitude, 2, 15, 0x7C);
  return (uint32_t)(bits >> 56 & 0x80) | (magnitude > TARN__INF_F64 ? 0x7F : number);
}

/* --- floats to integers: towards zero, out of range the nearest end of it, NaN 0 --- */

#define TARN__SATURATE(name, to, from, lowest, highest, end) \
  TARN__BODY to name(from value) {                           \
    from x = value == value ? value : (from)0;               \
    x = x > (from)(lowest) ? x : (from)(lowest);             \
    return x < (from)(end) ? (to)x : (highest);              \
  }
TARN__SATURATE(tarn__i32_of_f32, int32_t, float, INT32_MIN, INT32_MAX, 2147483648.0)
TARN__SATURATE(tarn__u32_of_f32, uint32_t, float, 0, UINT32_MAX, 4294967296.0)
TARN__SATURATE(tarn__i64_of_f32, int64_t, float, INT64_MIN, INT64_MAX, 9223372036854775808.0)
TARN__SATURATE(tarn__u64_of_f32, uint64_t, float, 0, UINT64_MAX, 18446744073709551616.0)
TARN__SATURATE(tarn__i32_of_f64, int32_t, double, INT32_MIN, INT32_MAX, 2147483648.0)
TARN__SATURATE(tarn__u32_of_f64, uint32_t, double, 0, UINT32_MAX, 4294967296.0)
TARN__SATURATE(tarn__i64_of_f64, int64_t, double, INT64_MIN, INT64_MAX, 9223372036854775808.0)
TARN__SATURATE(tarn__u64_of_f64, uint64_t, double, 0, UINT64_MAX, 18446744073709551616.0)
#undef TARN__SATURATE

TARN__BODY uint32_t tarn__clamp(int32_t value, int32_t lowest, int32_t highest) {
  const int32_t x = value > lowest ? value : lowest;
  return (uint32_t)(x < highest ? x : highest);
}

/* --- integers to a double that rounds to any narrower float as the integer would --- */

TARN__BODY double tarn__odd_of_u64(uint64_t value) {
  const uint64_t sticky = (value & 0xFFFF) != 0;
  return (double)(value >> 48 == 0 ? value : (value >> 16 | sticky) << 16);
}

TARN__BODY double tarn__odd_of_i64(uint64_t value) {
  const bool is_negative = value >> 63 != 0;
  const double magnitude = tarn__odd_of_u64(is_negative ? 0 - value : value);
  return is_negative ? -magnitude : magnitude;
}

/* --- elements in words, as memory has them --- */

TARN__BODY uint32_t tarn__get_8(const uint32_t words[4], uint32_t k) {
  return words[k / 4] >> (k % 4 * 8) & 0xFF;
}

TARN__BODY uint32_t tarn__get_16(const uint32_t words[4], uint32_t k) {
  return words[k / 2] >> (k % 2 * 16) & 0xFFFF;
}

TARN__BODY uint64_t tarn__get_64(const uint32_t words[4], uint32_t k) {
  return words[k * 2] | (uint64_t)words[k * 2 + 1] << 32;
}

TARN__BODY void tarn__put_8(uint32_t words[4], uint32_t k, uint32_t value) {
  words[k / 4] |= (value & 0xFF) << (k % 4 * 8);
}

TARN__BODY void tarn__put_16(uint32_t words[4], uint32_t k, uint32_t value) {
  words[k / 2] |= (value & 0xFFFF) << (k % 2 * 16);
}

TARN__BODY void tarn__put_64(uint32_t words[4], uint32_t k, uint64_t value) {
  words[k * 2] = (uint32_t)value;
  words[k * 2 + 1] = (uint32_t)(value >> 32);
}

/* One case of the switches below: all the elements there are places for. Wider elements have fewer
 * places, and code for those that fit alone. */
#define TARN__ALL(bytes, action)                                     \
  TARN__UNROLL                                                       \
  for (uint32_t k = 0; k < places && (k + 1) * (bytes) <= 16; k++) { \
    action;                                                          \
  }
#define TARN__EACH(bytes, action) \
  TARN__ALL(bytes, action)        \
  break

/* --- by way of 64 bits of integer --- */

TARN__BODY void tarn__convert_int(uint32_t dst_type, uint32_t src_type, uint32_t places,
                                  const uint32_t in[4], uint32_t out[4]) {
  uint64_t value[8] = {0};
  switch (src_type) {
    case TARN__TYPE_BOOL:
      TARN__EACH(1, value[k] = tarn__get_8(in, k) != 0);
    case TARN__TYPE_I8:
      TARN__EACH(1, value[k] = (uint64_t)(int8_t)tarn__get_8(in, k));
    case TARN__TYPE_U8:
      TARN__EACH(1, value[k] = tarn__get_8(in, k));
    case TARN__TYPE_I16:
      TARN__EACH(2, value[k] = (uint64_t)(int16_t)tarn__get_16(in, k));
    case TARN__TYPE_U16:
      TARN__EACH(2, value[k] = tarn__get_16(in, k));
    case TARN__TYPE_I32:
      TARN__EACH(4, value[k] = (uint64_t)(int32_t)in[k]);
    case TARN__TYPE_U32:
      TARN__EACH(4, value[k] = in[k]);
    default:
      TARN__EACH(8, value[k] = tarn__get_64(in, k));
  }
  switch (dst_type) {
    case TARN__TYPE_BOOL:
      TARN__EACH(1, tarn__put_8(out, k, value[k] != 0));
    case TARN__TYPE_I8:
    case TARN__TYPE_U8:
      TARN__EACH(1, tarn__put_8(out, k, (uint32_t)value[k]));
    case TARN__TYPE_I16:
    case TARN__TYPE_U16:
      TARN__EACH(2, tarn__put_16(out, k, (uint32_t)value[k]));
    case TARN__TYPE_I32:
    case TARN__TYPE_U32:
      TARN__EACH(4, out[k] = (uint32_t)value[k]);
    default:
      TARN__EACH(8, tarn__put_64(out, k, value[k]));
  }
}

/* --- by way of float --- */

TARN__BODY bool tarn__is_true_c64(const uint32_t in[4], uint32_t k) {
  return (in[k * 2] & 0x7FFFFFFF) != 0 || (in[k * 2 + 1] & 0x7FFFFFFF) != 0;
}

TARN__BODY void tarn__floats_of(uint32_t src_type, uint32_t places, const uint32_t in[4],
                                float value[8]) {
  switch (src_type) {
    case TARN__TYPE_BOOL:
      TARN__EACH(1, value[k] = tarn__get_8(in, k) != 0 ? 1.0f : 0.0f);
    case TARN__TYPE_I8:
      TARN__EACH(1, value[k] = (float)(int8_t)tarn__get_8(in, k));
    case TARN__TYPE_U8:
      TARN__EACH(1, value[k] = (float)tarn__get_8(in, k));
    case TARN__TYPE_E4M3FN:
      TARN__EACH(1, value[k] = tarn__f32_of_e4m3fn(tarn__get_8(in, k)));
    case TARN__TYPE_E5M2:
      TARN__EACH(1, value[k] = tarn__f32_of_f16(tarn__get_8(in, k) << 8));
    case TARN__TYPE_I16:
      TARN__EACH(2, value[k] = (float)(int16_t)tarn__get_16(in, k));
    case TARN__TYPE_U16:
      TARN__EACH(2, value[k] = (float)tarn__get_16(in, k));
    case TARN__TYPE_F16:
      TARN__ALL(2, value[k] = tarn__float_of_half(tarn__get_16(in, k)));
      if (!tarn__have_nan(value, places)) break;
      TARN__EACH(2, value[k] = tarn__f32_of_f16(tarn__get_16(in, k)));
    case TARN__TYPE_BF16:
      TARN__EACH(2, value[k] = tarn__float_of_bits(tarn__get_16(in, k) << 16));
    case TARN__TYPE_I32:
      TARN__EACH(4, value[k] = (float)(int32_t)in[k]);
    case TARN__TYPE_U32:
      TARN__EACH(4, value[k] = (float)in[k]);
    case TARN__TYPE_F32:
      TARN__EACH(4, value[k] = tarn__float_of_bits(in[k]));
    case TARN__TYPE_I64:
      TARN__EACH(8, value[k] = (float)(int64_t)tarn__get_64(in, k));
    case TARN__TYPE_U64:
      TARN__EACH(8, value[k] = (float)tarn__get_64(in, k));
    default: /* complex64 becomes bool and nothing else here */
      TARN__EACH(8, value[k] = tarn__is_true_c64(in, k) ? 1.0f : 0.0f);
  }
}

TARN__BODY void tarn__convert_float(uint32_t dst_type, uint32_t src_type, uint32_t places,
                                    const uint32_t in[4], uint32_t out[4]) {
  float value[8] = {0};
  tarn__floats_of(src_type, places, in, value);
  switch (dst_type) {
    case TARN__TYPE_BOOL:
      TARN__EACH(1, tarn__put_8(out, k, (tarn__bits_of_float(value[k]) & 0x7FFFFFFF) != 0));
    case TARN__TYPE_I8:
      TARN__EACH(1, tarn__put_8(out, k, tarn__clamp(tarn__i32_of_f32(value[k]), -128, 127)));
    case TARN__TYPE_U8:
      TARN__EACH(1, tarn__put_8(out, k, tarn__clamp(tarn__i32_of_f32(value[k]), 0, 255)));
    case TARN__TYPE_E4M3FN:
      TARN__EACH(1, tarn__put_8(out, k, tarn__e4m3fn_of_f32(value[k])));
    case TARN__TYPE_E5M2:
      TARN__EACH(1, tarn__put_8(out, k, tarn__e5m2_of_f32(value[k])));
    case TARN__TYPE_I16:
      TARN__EACH(2, tarn__put_16(out, k, tarn__clamp(tarn__i32_of_f32(value[k]), -32768, 32767)));
    case TARN__TYPE_U16:
      TARN__EACH(2, tarn__put_16(out, k, tarn__clamp(tarn__i32_of_f32(value[k]), 0, 65535)));
    case TARN__TYPE_F16:
      if (!tarn__have_nan(value, places)) {
        TARN__EACH(2, tarn__put_16(out, k, tarn__half_of_float(value[k])));
      }
      TARN__EACH(2, tarn__put_16(out, k, tarn__f16_of_f32(value[k])));
    case TARN__TYPE_BF16:
      if (!tarn__have_nan(value, places)) {
        TARN__EACH(2, tarn__put_16(out, k, tarn__bf16_of_number(value[k])));
      }
      TARN__EACH(2, tarn__put_16(out, k, tarn__bf16_of_f32(value[k])));
    case TARN__TYPE_I32:
      TARN__EACH(4, out[k] = (uint32_t)tarn__i32_of_f32(value[k]));
    case TARN__TYPE_U32:
      TARN__EACH(4, out[k] = tarn__u32_of_f32(value[k]));
    case TARN__TYPE_F32:
      TARN__EACH(4, out[k] = tarn__bits_of_float(value[k]));
    case TARN__TYPE_I64:
      TARN__EACH(8, tarn__put_64(out, k, (uint64_t)tarn__i64_of_f32(value[k])));
    case TARN__TYPE_U64:
      TARN__EACH(8, tarn__put_64(out, k, tarn__u64_of_f32(value[k])));
    default: /* complex64: the imaginary part is 0 */
      TARN__EACH(8, tarn__put_64(out, k, tarn__bits_of_float(value[k])));
  }
}

/* --- by way of double --- */

TARN__BODY double tarn__double_of_f32(float value) {
  return tarn__double_of_bits(tarn__f64_bits_of_f32(value));
}

TARN__BODY bool tarn__is_true_c128(const uint32_t in[4]) {
  const uint64_t parts = tarn__get_64(in, 0) | tarn__get_64(in, 1);
  return (parts & ~((uint64_t)1 << 63)) != 0;
}

TARN__BODY void tarn__doubles_of(uint32_t src_type, uint32_t places, const uint32_t in[4],
                                 double value[2]) {
  switch (src_type) {
    case TARN__TYPE_I32:
      TARN__EACH(8, value[k] = (double)(int32_t)in[k]);
    case TARN__TYPE_U32:
      TARN__EACH(8, value[k] = (double)in[k]);
    case TARN__TYPE_I64:
      TARN__EACH(8, value[k] = (double)(int64_t)tarn__get_64(in, k));
    case TARN__TYPE_U64:
      TARN__EACH(8, value[k] = (double)tarn__get_64(in, k));
    case TARN__TYPE_I64_ODD:
      TARN__EACH(8, value[k] = tarn__odd_of_i64(tarn__get_64(in, k)));
    case TARN__TYPE_U64_ODD:
      TARN__EACH(8, value[k] = tarn__odd_of_u64(tarn__get_64(in, k)));
    case TARN__TYPE_F64:
      TARN__EACH(8, value[k] = tarn__double_of_bits(tarn__get_64(in, k)));
    case TARN__TYPE_C128: /* becomes bool and nothing else here */
      value[0] = tarn__is_true_c128(in) ? 1.0 : 0.0;
      break;
    default: {
      float narrow[8] = {0};
      tarn__floats_of(src_type, places, in, narrow);
      TARN__EACH(8, value[k] = tarn__double_of_f32(narrow[k]));
    }
  }
}

TARN__BODY void tarn__convert_double(uint32_t dst_type, uint32_t src_type, uint32_t places,
                                     const uint32_t in[4], uint32_t out[4]) {
  double value[2] = {0};
  tarn__doubles_of(src_type, places, in, value);
  switch (dst_type) {
    case TARN__TYPE_BOOL:
      TARN__EACH(8, tarn__put_8(out, k, (tarn__bits_of_double(value[k]) << 1) != 0));
    case TARN__TYPE_I8:
      TARN__EACH(8, tarn__put_8(out, k, tarn__clamp(tarn__i32_of_f64(value[k]), -128, 127)));
    case TARN__TYPE_U8:
      TARN__EACH(8, tarn__put_8(out, k, tarn__clamp(tarn__i32_of_f64(value[k]), 0, 255)));
    case TARN__TYPE_E4M3FN:
      TARN__EACH(8, tarn__put_8(out, k, tarn__e4m3fn_of_f64(value[k])));
    case TARN__TYPE_E5M2:
      TARN__EACH(8, tarn__put_8(out, k, tarn__e5m2_of_f64(value[k])));
    case TARN__TYPE_I16:
      TARN__EACH(8, tarn__put_16(out, k, tarn__clamp(tarn__i32_of_f64(value[k]), -32768, 32767)));
    case TARN__TYPE_U16:
      TARN__EACH(8, tarn__put_16(out, k, tarn__clamp(tarn__i32_of_f64(value[k]), 0, 65535)));
    case TARN__TYPE_F16:
      TARN__EACH(8, tarn__put_16(out, k, tarn__half_of_f64(value[k], 10, 15, 0x7C00, 0x7E00, 10)));
    case TARN__TYPE_BF16:
      TARN__EACH(8, tarn__put_16(out, k, tarn__half_of_f64(value[k], 7, 127, 0x7F80, 0x7FC0, 7)));
    case TARN__TYPE_I32:
      TARN__EACH(8, out[k] = (uint32_t)tarn__i32_of_f64(value[k]));
    case TARN__TYPE_U32:
      TARN__EACH(8, out[k] = tarn__u32_of_f64(value[k]));
    case TARN__TYPE_F32:
      TARN__EACH(8, out[k] = tarn__f32_bits_of_f64(value[k]));
    case TARN__TYPE_I64:
      TARN__EACH(8, tarn__put_64(out, k, (uint64_t)tarn__i64_of_f64(value[k])));
    case TARN__TYPE_U64:
      TARN__EACH(8, tarn__put_64(out, k, tarn__u64_of_f64(value[k])));
    case TARN__TYPE_F64:
      TARN__EACH(8, tarn__put_64(out, k, tarn__bits_of_double(value[k])));
    case TARN__TYPE_C64: /* the imaginary part is 0 */
      TARN__EACH(8, tarn__put_64(out, k, tarn__f32_bits_of_f64(value[k])));
    default: /* complex128, the same */
      tarn__put_64(out, 0, tarn__bits_of_double(value[0]));
      tarn__put_64(out, 1, 0);
  }
}
#undef TARN__EACH
#undef TARN__ALL

#endif
