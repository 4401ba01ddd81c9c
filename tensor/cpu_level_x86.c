/* cpu_level_x86.c: the processor's features, where the kernel also saves their registers. */
#include "tensor/cpu_level.h"

#include <cpuid.h>
#include <stdbool.h>

/* clang 14 has no name for it in __builtin_cpu_supports. */
static bool has_f16c(void) {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

tarn__cpu_level tarn__cpu_level_detect(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) {
    return TARN__CPU_PORTABLE;
  }
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return TARN__CPU_AVX2;
  }
  return TARN__CPU_AVX512;
}
