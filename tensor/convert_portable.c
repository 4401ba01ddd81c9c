/* convert_portable.c: the steps with what the compiler may use on any machine. */
#include "tensor/convert_loops.h"

#define STEP(name, from_bytes, to_bytes) [TARN__STEP_##name] = loop_##name,
const tarn__convert_kernels tarn__convert_kernels_portable = {.steps = {TARN__CONVERT_STEPS(STEP)}};
