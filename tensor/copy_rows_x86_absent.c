/* copy_rows_x86_absent.c: kernels that no machine of this kind chooses. */
#include "tensor/copy_rows.h"

const tarn__row_kernels tarn__rows_avx2 = {.stream = NULL};
const tarn__row_kernels tarn__rows_avx512 = {.stream = NULL};
