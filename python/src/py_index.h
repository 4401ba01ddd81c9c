/* py_index.h: t[key] and t[key] = value: integers, slices, Ellipsis, None, and tuples of them. */
#ifndef TARN_PY_INDEX_H
#define TARN_PY_INDEX_H

#include "python/src/py_limited.h"
#include "tensor/tarn_tensor.h"

PyObject *tarn__py_index_get(PyObject *self, PyObject *key);
int tarn__py_index_set(PyObject *self, PyObject *key, PyObject *value);
Py_ssize_t tarn__py_index_length(PyObject *self);
/* Raises TypeError. */
int tarn__py_index_contains(PyObject *self, PyObject *value);
PyObject *tarn__py_index_iterate(PyObject *self);
/* Element `index` of the first dimension, for iteration; ends it by IndexError. */
PyObject *tarn__py_index_item(PyObject *self, Py_ssize_t index);

#endif
