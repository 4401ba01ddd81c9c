/* kernel_device.h: memory and arithmetic of the kernels' bodies as a GPU has them.
 *
 * The bodies (kernel_run.h, kernel_turn.h, kernel_values.h) use nothing but these, so that the
 * simulated driver runs the same sources with its own (sim/sim_bodies.h). */
#ifndef CUDA_KERNEL_DEVICE_H
#define CUDA_KERNEL_DEVICE_H

#include <stdint.h>

#define TARN__BODY static __device__ __forceinline__
#define TARN__UNROLL _Pragma("unroll")
#define TARN__UNROLL_4 _Pragma("unroll 4")
#define TARN__ROLLED _Pragma("unroll 1")

typedef unsigned char *tarn__shared;

TARN__BODY uint32_t tarn__multiply_high(uint32_t a, uint32_t b) {
  return __umulhi(a, b);
}

TARN__BODY uint32_t tarn__bits_of_float(float value) {
  return (uint32_t)__float_as_int(value);
}

TARN__BODY float tarn__float_of_bits(uint32_t bits) {
  return __int_as_float((int)bits);
}

TARN__BODY uint64_t tarn__bits_of_double(double value) {
  return (uint64_t)__double_as_longlong(value);
}

TARN__BODY double tarn__double_of_bits(uint64_t bits) {
  return __longlong_as_double((long long)bits);
}

/* What the instructions make of a NaN is a NaN, and its bits are not looked at. */
TARN__BODY uint32_t tarn__half_of_float(float value) {
  uint16_t half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
}

TARN__BODY float tarn__float_of_half(uint32_t half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"((uint16_t)half));
  return value;
}

/* --- memory: every address is a multiple of what is moved --- */

TARN__BODY uint32_t tarn__load_8(uint64_t address) {
  return *(const uint8_t *)address;
}

TARN__BODY uint32_t tarn__load_16(uint64_t address) {
  return *(const uint16_t *)address;
}

TARN__BODY uint32_t tarn__load_32(uint64_t address) {
  return *(const uint32_t *)address;
}

TARN__BODY void tarn__load_64(uint64_t address, uint32_t words[2]) {
  const uint2 found = *(const uint2 *)address;
  words[0] = found.x;
  words[1] = found.y;
}

TARN__BODY void tarn__load_128(uint64_t address, uint32_t words[4]) {
  const uint4 found = *(const uint4 *)address;
  words[0] = found.x;
  words[1] = found.y;
  words[2] = found.z;
  words[3] = found.w;
}

TARN__BODY void tarn__store_8(uint64_t address, uint32_t value) {
  *(uint8_t *)address = (uint8_t)value;
}

TARN__BODY void tarn__store_16(uint64_t address, uint32_t value) {
  *(uint16_t *)address = (uint16_t)value;
}

TARN__BODY void tarn__store_32(uint64_t address, uint32_t value) {
  *(uint32_t *)address = value;
}

TARN__BODY void tarn__store_64(uint64_t address, const uint32_t words[2]) {
  *(uint2 *)address = make_uint2(words[0], words[1]);
}

TARN__BODY void tarn__store_128(uint64_t address, const uint32_t words[4]) {
  *(uint4 *)address = make_uint4(words[0], words[1], words[2], words[3]);
}

/* --- memory that the threads of a block share: offsets into it --- */

TARN__BODY uint32_t tarn__shared_load_8(tarn__shared shared, uint32_t offset) {
  return shared[offset];
}

TARN__BODY uint32_t tarn__shared_load_16(tarn__shared shared, uint32_t offset) {
  return *(const uint16_t *)(shared + offset);
}

TARN__BODY uint32_t tarn__shared_load_32(tarn__shared shared, uint32_t offset) {
  return *(const uint32_t *)(shared + offset);
}

TARN__BODY void tarn__shared_load_64(tarn__shared shared, uint32_t offset, uint32_t words[2]) {
  const uint2 found = *(const uint2 *)(shared + offset);
  words[0] = found.x;
  words[1] = found.y;
}

TARN__BODY void tarn__shared_load_128(tarn__shared shared, uint32_t offset, uint32_t words[4]) {
  const uint4 found = *(const uint4 *)(shared + offset);
  words[0] = found.x;
  words[1] = found.y;
  words[2] = found.z;
  words[3] = found.w;
}

TARN__BODY void tarn__shared_store_8(tarn__shared shared, uint32_t offset, uint32_t value) {
  shared[offset] = (unsigned char)value;
}

TARN__BODY void tarn__shared_store_16(tarn__shared shared, uint32_t offset, uint32_t value) {
  *(uint16_t *)(shared + offset) = (uint16_t)value;
}

TARN__BODY void tarn__shared_store_32(tarn__shared shared, uint32_t offset, uint32_t value) {
  *(uint32_t *)(shared + offset) = value;
}

TARN__BODY void tarn__shared_store_64(tarn__shared shared, uint32_t offset,
                                      const uint32_t words[2]) {
  *(uint2 *)(shared + offset) = make_uint2(words[0], words[1]);
}

TARN__BODY void tarn__shared_store_128(tarn__shared shared, uint32_t offset,
                                       const uint32_t words[4]) {
  *(uint4 *)(shared + offset) = make_uint4(words[0], words[1], words[2], words[3]);
}

#endif
