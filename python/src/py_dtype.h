/* py_dtype.h: tarn.DType: an element type as a Python object, one per type. */
#ifndef TARN_PY_DTYPE_H
#define TARN_PY_DTYPE_H

#include "python/src/py_limited.h"
#include "tensor/tarn_dtype.h"

int tarn__py_dtype_init(PyObject *module);

/* A new reference to the one object of this element type. */
PyObject *tarn__py_dtype_object(tarn_dtype dtype);

/* Takes a DType, an exact name ("float32"), NumPy's and PyTorch's types of the same name, and
 * Python's bool, int, float and complex. 0, or -1 with a TypeError. */
int tarn__py_dtype_parse(PyObject *object, tarn_dtype *dtype);

/* The format of PEP 3118 ("f", "Zd"); NULL where the buffer protocol has none, as for bfloat16. */
const char *tarn__py_dtype_format(tarn_dtype dtype);
/* The reverse, in native byte order only. 0, or -1 with a TypeError that says what is wrong. */
int tarn__py_dtype_of_format(const char *format, Py_ssize_t item_bytes, tarn_dtype *dtype);

#endif
