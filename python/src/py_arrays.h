/* py_arrays.h: NumPy's arrays, and the array interfaces that NumPy, CuPy and Numba read.
 *
 * NumPy is imported where an ndarray is asked for, and never before.
 */
#ifndef TARN_PY_ARRAYS_H
#define TARN_PY_ARRAYS_H

#include <stdbool.h>

#include "python/src/py_limited.h"

int tarn__py_arrays_init(PyObject *module);

extern PyMethodDef tarn__py_array_methods[];
extern PyGetSetDef tarn__py_array_getset[];

bool tarn__py_arrays_is_ndarray(PyObject *object);
/* The array's memory; NULL with an exception. */
PyObject *tarn__py_arrays_from_numpy(PyObject *array);
/* The memory behind __array_interface__ or __cuda_array_interface__; TypeError without any. */
PyObject *tarn__py_arrays_from_interface(PyObject *object);

#endif
