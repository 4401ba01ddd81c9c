/* copy_transpose_x86_absent.c: kernels that no machine of this kind chooses. */
#include <stddef.h>

#include "tensor/copy_transpose_tile.h"

const tarn__tile_kernels tarn__tile_avx2 = {.finish = NULL};
const tarn__tile_kernels tarn__tile_avx512 = {.finish = NULL};
