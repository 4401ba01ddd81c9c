/* py_create.h: new tensors: empty, zeros, full, and asarray for whatever holds elements. */
#ifndef TARN_PY_CREATE_H
#define TARN_PY_CREATE_H

#include "python/src/py_limited.h"
#include "tensor/tarn_tensor.h"

int tarn__py_create_init(PyObject *module);

/* A Tensor for an object: itself where it is one; its memory where it offers DLPack or the buffer
 * protocol; a copy where it is a number or nested lists of numbers, in `wanted`, or what fits the
 * numbers where wanted.lanes is 0. A new reference; NULL with an exception. */
PyObject *tarn__py_as_tensor(PyObject *object, tarn_dtype wanted);

#endif
