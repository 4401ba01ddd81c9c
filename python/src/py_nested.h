/* py_nested.h: nested lists of numbers into a tensor. */
#ifndef TARN_PY_NESTED_H
#define TARN_PY_NESTED_H

#include "python/src/py_limited.h"
#include "tensor/tarn_tensor.h"

/* A new Tensor on the host, row-major; see tarn__py_as_tensor for `wanted`. */
PyObject *tarn__py_nested_tensor(PyObject *object, tarn_dtype wanted);

#endif
