/* copy_convert.h: copies that convert, by the CPU. */
#ifndef TENSOR_COPY_CONVERT_H
#define TENSOR_COPY_CONVERT_H

#include "tensor/convert.h"
#include "tensor/copy_plan.h"

/* `plan` is of the conversion's two element sizes; `dst` and `src` are where its offsets count
 * from, and they share no byte. Large copies use several threads (tarn_copy_threads.h). */
void tarn__copy_convert_run(const tarn__convert *convert, const tarn__copy_plan *plan, char *dst,
                            const char *src);

#endif
