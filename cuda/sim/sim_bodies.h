/* sim_bodies.h: memory and arithmetic of the kernels' bodies as the simulator has them.
 *
 * The same names as in cuda/kernel_device.h. Shared memory is the simulator's own; a body's pointer
 * to it means nothing. */
#ifndef SIM_BODIES_H
#define SIM_BODIES_H

#include "cuda/sim/sim_launch.h"

#include <math.h>
#include <string.h>

#define TARN__BODY static inline __attribute__((always_inline, unused))
#define TARN__UNROLL
#define TARN__UNROLL_4
#define TARN__ROLLED

typedef unsigned char *tarn__shared;

TARN__BODY uint32_t tarn__multiply_high(uint32_t a, uint32_t b) {
  return (uint32_t)((uint64_t)a * b >> 32);
}

TARN__BODY uint32_t tarn__bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

TARN__BODY float tarn__float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

TARN__BODY uint64_t tarn__bits_of_double(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

TARN__BODY double tarn__double_of_bits(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* What a GPU has instructions for; from the numbers, not from their bits, so that it is another
 * reckoning than the other formats'. */
TARN__BODY uint32_t tarn__half_of_float(float value) {
  const uint32_t sign = tarn__bits_of_float(value) >> 16 & 0x8000;
  const float magnitude = fabsf(value);
  if (!(magnitude < 65520)) return sign | 0x7C00;
  int exponent = 0;
  frexpf(magnitude, &exponent); /* magnitude = 0.1xxx * 2^exponent */
  if (magnitude < 0x1p-14f) return sign | (uint32_t)rintf(ldexpf(magnitude, 24));
  const uint32_t mantissa = (uint32_t)rintf(ldexpf(magnitude, 11 - exponent));
  return sign | ((uint32_t)(exponent + 13) * 1024 + mantissa);
}

TARN__BODY float tarn__float_of_half(uint32_t half) {
  const uint32_t exponent = half >> 10 & 31, mantissa = half & 1023;
  const float number = exponent == 0    ? ldexpf((float)mantissa, -24)
                       : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                        : ldexpf((float)(mantissa + 1024), (int)exponent - 25);
  return (half & 0x8000) != 0 ? -number : number;
}

/* --- memory --- */

TARN__BODY uint32_t tarn__load_8(uint64_t address) {
  uint8_t value;
  memcpy(&value, sim_launch_reach(address, sizeof value, false), sizeof value);
  return value;
}

TARN__BODY uint32_t tarn__load_16(uint64_t address) {
  uint16_t value;
  memcpy(&value, sim_launch_reach(address, sizeof value, false), sizeof value);
  return value;
}

TARN__BODY uint32_t tarn__load_32(uint64_t address) {
  uint32_t value;
  memcpy(&value, sim_launch_reach(address, sizeof value, false), sizeof value);
  return value;
}

TARN__BODY void tarn__load_64(uint64_t address, uint32_t words[2]) {
  memcpy(words, sim_launch_reach(address, 8, false), 8);
}

TARN__BODY void tarn__load_128(uint64_t address, uint32_t words[4]) {
  memcpy(words, sim_launch_reach(address, 16, false), 16);
}

TARN__BODY void tarn__store_8(uint64_t address, uint32_t value) {
  const uint8_t narrow = (uint8_t)value;
  memcpy(sim_launch_reach(address, sizeof narrow, true), &narrow, sizeof narrow);
}

TARN__BODY void tarn__store_16(uint64_t address, uint32_t value) {
  const uint16_t narrow = (uint16_t)value;
  memcpy(sim_launch_reach(address, sizeof narrow, true), &narrow, sizeof narrow);
}

TARN__BODY void tarn__store_32(uint64_t address, uint32_t value) {
  memcpy(sim_launch_reach(address, sizeof value, true), &value, sizeof value);
}

TARN__BODY void tarn__store_64(uint64_t address, const uint32_t words[2]) {
  memcpy(sim_launch_reach(address, 8, true), words, 8);
}

TARN__BODY void tarn__store_128(uint64_t address, const uint32_t words[4]) {
  memcpy(sim_launch_reach(address, 16, true), words, 16);
}

/* --- shared memory --- */

TARN__BODY uint32_t tarn__shared_load_8(tarn__shared shared, uint32_t offset) {
  uint8_t value;
  (void)shared;
  memcpy(&value, sim_launch_share(offset, sizeof value, false), sizeof value);
  return value;
}

TARN__BODY uint32_t tarn__shared_load_16(tarn__shared shared, uint32_t offset) {
  uint16_t value;
  (void)shared;
  memcpy(&value, sim_launch_share(offset, sizeof value, false), sizeof value);
  return value;
}

TARN__BODY uint32_t tarn__shared_load_32(tarn__shared shared, uint32_t offset) {
  uint32_t value;
  (void)shared;
  memcpy(&value, sim_launch_share(offset, sizeof value, false), sizeof value);
  return value;
}

TARN__BODY void tarn__shared_load_64(tarn__shared shared, uint32_t offset, uint32_t words[2]) {
  (void)shared;
  memcpy(words, sim_launch_share(offset, 8, false), 8);
}

TARN__BODY void tarn__shared_load_128(tarn__shared shared, uint32_t offset, uint32_t words[4]) {
  (void)shared;
  memcpy(words, sim_launch_share(offset, 16, false), 16);
}

TARN__BODY void tarn__shared_store_8(tarn__shared shared, uint32_t offset, uint32_t value) {
  const uint8_t narrow = (uint8_t)value;
  (void)shared;
  memcpy(sim_launch_share(offset, sizeof narrow, true), &narrow, sizeof narrow);
}

TARN__BODY void tarn__shared_store_16(tarn__shared shared, uint32_t offset, uint32_t value) {
  const uint16_t narrow = (uint16_t)value;
  (void)shared;
  memcpy(sim_launch_share(offset, sizeof narrow, true), &narrow, sizeof narrow);
}

TARN__BODY void tarn__shared_store_32(tarn__shared shared, uint32_t offset, uint32_t value) {
  (void)shared;
  memcpy(sim_launch_share(offset, sizeof value, true), &value, sizeof value);
}

TARN__BODY void tarn__shared_store_64(tarn__shared shared, uint32_t offset,
                                      const uint32_t words[2]) {
  (void)shared;
  memcpy(sim_launch_share(offset, 8, true), words, 8);
}

TARN__BODY void tarn__shared_store_128(tarn__shared shared, uint32_t offset,
                                       const uint32_t words[4]) {
  (void)shared;
  memcpy(sim_launch_share(offset, 16, true), words, 16);
}

#endif
