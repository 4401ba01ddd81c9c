/* copy_host.h: runs a copy plan with the CPU. */
#ifndef TENSOR_COPY_HOST_H
#define TENSOR_COPY_HOST_H

#include "tensor/copy_plan.h"

/* `dst` and `src` are where the plan's offsets count from. The two may overlap only where the plan
 * is one run. */
void tarn__copy_host_run(const tarn__copy_plan *plan, char *dst, const char *src);

#endif
