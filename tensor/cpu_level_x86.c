/* cpu_level_x86.c: the processor's features, where the kernel also saves their registers. */
#include "tensor/cpu_level.h"

tarn__cpu_level tarn__cpu_level_detect(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("f16c")) {
    return TARN__CPU_PORTABLE;
  }
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return TARN__CPU_AVX2;
  }
  return TARN__CPU_AVX512;
}
