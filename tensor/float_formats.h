/* float_formats.h: what C has no type for: float16, bfloat16 and the two common fp8 formats.
 *
 *                  sign  exponent  mantissa  bias   largest   infinity   NaN
 *     f16            1       5        10      15      65504     yes      exponent all ones
 *     bf16           1       8         7     127     3.39e38    yes      exponent all ones
 *     float8_e4m3fn  1       4         3       7        448      no      0x7F and 0xFF only
 *     float8_e5m2    1       5         2      15      57344     yes      exponent all ones
 *
 * A value stands here as its bits. To float and double is exact. From float and from double rounds
 * once, to the nearest and ties to even, subnormals included; no conversion from double goes by way
 * of float. (PyTorch's from double do, and so round twice: 1 + 2^-11 + 2^-40 is 1 there and
 * 1 + 2^-10 here and in NumPy.)
 *
 * Too large: f16, bf16 and e5m2 become infinity, e4m3fn becomes NaN, infinity too (as PyTorch and
 * ml_dtypes do it; nothing saturates to the largest finite value).
 *
 * NaN keeps its sign. Among f16, float and double it keeps as much payload as fits and becomes
 * quiet, as the processors' instructions do it; so does float to bf16, while bf16 to float moves
 * the bits as they are. To fp8, NaN is 0x7F or 0xFF, as in PyTorch; e4m3fn's to float is 0x7FF00000
 * with its sign.
 *
 * The caller's rounding mode is the default one. Flushing subnormals to zero changes nothing here.
 */
#ifndef TENSOR_FLOAT_FORMATS_H
#define TENSOR_FLOAT_FORMATS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t tarn__f32_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float tarn__f32_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint64_t tarn__f64_bits(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline double tarn__f64_of_bits(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

#define TARN__F32_INFINITY UINT32_C(0x7F800000)
#define TARN__F64_INFINITY UINT64_C(0x7FF0000000000000)

/* --- any format; no branches, so that a loop over one of them becomes vectors --- */

/* Rounds a magnitude (a float's bits without the sign) to a format's `mantissa` bits and `bias`;
 * the exponent goes on beyond the format's, up to `limit`, the code to answer for all of these. */
static inline uint32_t tarn__round_f32(uint32_t magnitude, int mantissa, int bias, uint32_t limit) {
  const int shift = 23 - mantissa;
  const uint32_t rebias = (uint32_t)(127 - bias) << 23;
  /* Added to a float whose last bit has the weight of the format's smallest subnormal, the sum is
   * rounded where the format would be. */
  const uint32_t aligner = rebias + ((uint32_t)(shift + 1) << 23);
  const float sum = tarn__f32_of_bits(magnitude) + tarn__f32_of_bits(aligner);
  const uint32_t subnormal = tarn__f32_bits(sum) - aligner;
  const uint32_t is_odd = magnitude >> shift & 1;
  const uint32_t half = UINT32_C(1) << (shift - 1);
  const uint32_t normal = (magnitude - rebias + half - 1 + is_odd) >> shift;
  const uint32_t code = magnitude < rebias + (UINT32_C(1) << 23) ? subnormal : normal;
  return code < limit ? code : limit;
}

static inline uint32_t tarn__round_f64(uint64_t magnitude, int mantissa, int bias, uint32_t limit) {
  const int shift = 52 - mantissa;
  const uint64_t rebias = (uint64_t)(1023 - bias) << 52;
  const uint64_t aligner = rebias + ((uint64_t)(shift + 1) << 52);
  const double sum = tarn__f64_of_bits(magnitude) + tarn__f64_of_bits(aligner);
  const uint64_t subnormal = tarn__f64_bits(sum) - aligner;
  const uint64_t is_odd = magnitude >> shift & 1;
  const uint64_t half = UINT64_C(1) << (shift - 1);
  const uint64_t normal = (magnitude - rebias + half - 1 + is_odd) >> shift;
  const uint64_t code = magnitude < rebias + (UINT64_C(1) << 52) ? subnormal : normal;
  return code < limit ? (uint32_t)code : limit;
}

/* The bits of a float for a finite code of a format that a float holds exactly. */
static inline uint32_t tarn__widen_to_f32(uint32_t code, int mantissa, int bias) {
  const uint32_t rebias = (uint32_t)(127 - bias) << 23;
  /* The smallest subnormal is a normal float. */
  const float unit = tarn__f32_of_bits(rebias + ((uint32_t)(1 - mantissa) << 23));
  const uint32_t subnormal = tarn__f32_bits((float)(int32_t)code * unit);
  const uint32_t normal = (code << (23 - mantissa)) + rebias;
  return code >> mantissa == 0 ? subnormal : normal;
}

/* --- f16 --- */

static inline float tarn__f16_to_f32(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16, code = half & 0x7FFF;
  const uint32_t special = TARN__F32_INFINITY | (code & 0x3FF) << 13;
  const uint32_t quiet = code > 0x7C00 ? UINT32_C(1) << 22 : 0;
  const uint32_t finite = tarn__widen_to_f32(code, 10, 15);
  return tarn__f32_of_bits(sign | (code >= 0x7C00 ? special | quiet : finite));
}

static inline double tarn__f16_to_f64(uint16_t half) {
  return (double)tarn__f16_to_f32(half);
}

static inline uint16_t tarn__f16_from_f32(float value) {
  const uint32_t bits = tarn__f32_bits(value), magnitude = bits & UINT32_C(0x7FFFFFFF);
  const uint32_t nan = 0x7E00 | (magnitude >> 13 & 0x3FF);
  const uint32_t number = tarn__round_f32(magnitude, 10, 15, 0x7C00);
  const uint32_t code = magnitude > TARN__F32_INFINITY ? nan : number;
  return (uint16_t)((bits >> 16 & 0x8000) | code);
}

static inline uint16_t tarn__f16_from_f64(double value) {
  const uint64_t bits = tarn__f64_bits(value), magnitude = bits & (UINT64_MAX >> 1);
  const uint32_t nan = 0x7E00 | (uint32_t)(magnitude >> 42 & 0x3FF);
  const uint32_t number = tarn__round_f64(magnitude, 10, 15, 0x7C00);
  const uint32_t code = magnitude > TARN__F64_INFINITY ? nan : number;
  return (uint16_t)((uint32_t)(bits >> 48 & 0x8000) | code);
}

/* --- bf16: the upper half of a float --- */

static inline float tarn__bf16_to_f32(uint16_t upper) {
  return tarn__f32_of_bits((uint32_t)upper << 16);
}

static inline double tarn__bf16_to_f64(uint16_t upper) {
  return (double)tarn__bf16_to_f32(upper);
}

static inline uint16_t tarn__bf16_from_f32(float value) {
  const uint32_t bits = tarn__f32_bits(value), magnitude = bits & UINT32_C(0x7FFFFFFF);
  const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  const uint32_t nan = bits >> 16 | 0x40;
  return (uint16_t)(magnitude > TARN__F32_INFINITY ? nan : rounded);
}

static inline uint16_t tarn__bf16_from_f64(double value) {
  const uint64_t bits = tarn__f64_bits(value), magnitude = bits & (UINT64_MAX >> 1);
  const uint32_t nan = 0x7FC0 | (uint32_t)(magnitude >> 45 & 0x7F);
  const uint32_t number = tarn__round_f64(magnitude, 7, 127, 0x7F80);
  const uint32_t code = magnitude > TARN__F64_INFINITY ? nan : number;
  return (uint16_t)((uint32_t)(bits >> 48 & 0x8000) | code);
}

/* --- float8_e4m3fn: NaN is the code that infinity would have had after 448 --- */

static inline float tarn__e4m3fn_to_f32(uint8_t byte) {
  const uint32_t sign = (uint32_t)(byte & 0x80) << 24, code = byte & 0x7F;
  const uint32_t finite = tarn__widen_to_f32(code, 3, 7);
  return tarn__f32_of_bits(sign | (code == 0x7F ? UINT32_C(0x7FF00000) : finite));
}

static inline double tarn__e4m3fn_to_f64(uint8_t byte) {
  return (double)tarn__e4m3fn_to_f32(byte);
}

static inline uint8_t tarn__e4m3fn_from_f32(float value) {
  const uint32_t bits = tarn__f32_bits(value), magnitude = bits & UINT32_C(0x7FFFFFFF);
  return (uint8_t)((bits >> 24 & 0x80) | tarn__round_f32(magnitude, 3, 7, 0x7F));
}

static inline uint8_t tarn__e4m3fn_from_f64(double value) {
  const uint64_t bits = tarn__f64_bits(value), magnitude = bits & (UINT64_MAX >> 1);
  return (uint8_t)((uint32_t)(bits >> 56 & 0x80) | tarn__round_f64(magnitude, 3, 7, 0x7F));
}

/* --- float8_e5m2: the upper half of an f16 --- */

static inline float tarn__e5m2_to_f32(uint8_t byte) {
  return tarn__f16_to_f32((uint16_t)(byte << 8));
}

static inline double tarn__e5m2_to_f64(uint8_t byte) {
  return (double)tarn__e5m2_to_f32(byte);
}

static inline uint8_t tarn__e5m2_from_f32(float value) {
  const uint32_t bits = tarn__f32_bits(value), magnitude = bits & UINT32_C(0x7FFFFFFF);
  const uint32_t number = tarn__round_f32(magnitude, 2, 15, 0x7C);
  const uint32_t code = magnitude > TARN__F32_INFINITY ? 0x7F : number;
  return (uint8_t)((bits >> 24 & 0x80) | code);
}

static inline uint8_t tarn__e5m2_from_f64(double value) {
  const uint64_t bits = tarn__f64_bits(value), magnitude = bits & (UINT64_MAX >> 1);
  const uint32_t number = tarn__round_f64(magnitude, 2, 15, 0x7C);
  const uint32_t code = magnitude > TARN__F64_INFINITY ? 0x7F : number;
  return (uint8_t)((uint32_t)(bits >> 56 & 0x80) | code);
}

#endif
