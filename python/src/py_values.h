/* py_values.h: elements as Python's numbers, and back: item, tolist, float(t), int(t), bool(t). */
#ifndef TARN_PY_VALUES_H
#define TARN_PY_VALUES_H

#include "python/src/py_limited.h"
#include "tensor/tarn_tensor.h"

extern PyMethodDef tarn__py_value_methods[];

PyObject *tarn__py_value_float(PyObject *self);
PyObject *tarn__py_value_int(PyObject *self);
PyObject *tarn__py_value_index(PyObject *self);
int tarn__py_value_bool(PyObject *self);

/* Sets every element of dst to what tarn__py_number_in takes. 0, or -1 with an exception. */
int tarn__py_fill(const tarn_tensor *dst, PyObject *value);
/* Writes a Python number as one element that the C language knows (no float16, no bfloat16). */
int tarn__py_pack(PyObject *number, tarn_dtype dtype, void *element);
/* The element type to give numbers in on their way to `dtype`: itself, or float64. */
tarn_dtype tarn__py_packable(tarn_dtype dtype);
/* True for Python's bool, int, float and complex, and what is derived from them. */
bool tarn__py_is_number(PyObject *object);
/* The number itself, or the one in what has no dimensions: a scalar of NumPy, a tensor of any
 * library. A new reference; NULL with an exception, TypeError for anything else. */
PyObject *tarn__py_number_in(PyObject *object);

#endif
