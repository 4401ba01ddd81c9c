/* copy_host.h: runs a copy with the CPU. */
#ifndef TENSOR_COPY_HOST_H
#define TENSOR_COPY_HOST_H

#include "tensor/copy_walk.h"

/* `dst` and `src` are where the walk's offsets count from. The two may overlap only where the walk
 * is one run. */
void tarn__copy_host_walk(const tarn__copy_walk *walk, char *dst, const char *src);

/* The plan's walk. */
void tarn__copy_host_run(const tarn__copy_plan *plan, char *dst, const char *src);

#endif
