/* linear.h: what spans and walks check first. */
#ifndef TENSOR_LINEAR_H
#define TENSOR_LINEAR_H

#include "tensor/tarn_linear.h"

/* A known access to a tensor whose elements lie in its storage, and for WRITE to one that is not
 * read-only and reaches no element twice. */
tarn_status tarn__linear_check(const tarn_tensor *tensor, uint32_t access);

/* A pool that can lend size_bytes which the CPU reaches. */
tarn_status tarn__linear_check_pool(tarn_pool *pool, size_t size_bytes);

#endif
