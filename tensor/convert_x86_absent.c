/* convert_x86_absent.c: a machine whose steps are all portable. */
#include "tensor/convert_steps.h"

const tarn__convert_kernels tarn__convert_kernels_avx2 = {.fence = NULL};
const tarn__convert_kernels tarn__convert_kernels_avx512 = {.fence = NULL};
