/* cpu_level.h: which instructions this processor and this kernel let a copy use.
 *
 * A unit with kernels for one instruction set is `unit.c`, which holds the portable path and
 * chooses, and `unit_avx2.c` and `unit_avx512.c`, which alone are compiled with that set's flags
 * (tensor/CMakeLists.txt: tarn_add_kernels). Other machines get `unit_x86_absent.c`, which defines
 * the same functions as the two and is never asked to run them. Whatever a kernel file calls from
 * a header is static inline: a shared copy could be the one with the wrong instructions. */
#ifndef TENSOR_CPU_LEVEL_H
#define TENSOR_CPU_LEVEL_H

typedef enum tarn__cpu_level {
  TARN__CPU_PORTABLE, /* what the compiler may use anyway */
  TARN__CPU_AVX2,     /* and fma, f16c */
  TARN__CPU_AVX512,   /* f, bw, vl, dq, and all of the above */
} tarn__cpu_level;

/* The highest level that may run. An atomic load. */
tarn__cpu_level tarn__cpu_level_now(void);

/* For tests: from now on no level above `highest`; TARN__CPU_AVX512 limits nothing. */
void tarn__cpu_level_limit(tarn__cpu_level highest);

/* The machine's own answer, found anew. */
tarn__cpu_level tarn__cpu_level_detect(void);

#endif
