/* py_copies.h: whatever moves bytes: copy_, clone, contiguous, to, reshape, t[key] = value. */
#ifndef TARN_PY_COPIES_H
#define TARN_PY_COPIES_H

#include "python/src/py_limited.h"
#include "tensor/tarn_tensor.h"

extern PyMethodDef tarn__py_copy_methods[];

/* Copies src, broadcast and converted, to dst; what is on the host is there when it returns. The
 * GIL is released around all but small copies. 0, or -1 with an exception. */
int tarn__py_copy(const tarn_tensor *dst, const tarn_tensor *src);

/* dst = value: a tensor, a number, or whatever tarn.asarray takes. */
int tarn__py_assign(const tarn_tensor *dst, PyObject *value);

/* A row-major copy, of another element type if need be; the caller owns it. */
int tarn__py_clone(const tarn_tensor *src, tarn_dtype dtype, tarn_pool *pool, tarn_tensor *clone);

/* The pool that a copy of this tensor comes from: its own, or its device's. Borrowed; NULL with an
 * exception. */
tarn_pool *tarn__py_pool_for(const tarn_tensor *tensor);

/* A new tensor's elements in the order of a memory format, as tarn__py_memory_format gives it. 0,
 * or -1 with an exception, and then the tensor is released. */
int tarn__py_arrange(tarn_tensor *tensor, int32_t channels_last_rank);

/* A row-major tensor of unset elements. 0, or -1 with an exception. */
int tarn__py_create(tarn_pool *pool, tarn_dtype dtype, int32_t rank, const int64_t *shape,
                    tarn_tensor *tensor);

#endif
