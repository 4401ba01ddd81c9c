/* py_dlpack.h: DLPack, both ways, as Python's array API standard says, and the C exchange API. */
#ifndef TARN_PY_DLPACK_H
#define TARN_PY_DLPACK_H

#include <stdbool.h>

#include "python/src/py_limited.h"

int tarn__py_dlpack_init(PyObject *module);

extern PyMethodDef tarn__py_dlpack_methods[];

bool tarn__py_dlpack_is_offered(PyObject *object);
/* A Tensor of a producer's memory; device and copy as from_dlpack takes them, NULL for None. */
PyObject *tarn__py_dlpack_from(PyObject *producer, PyObject *device, PyObject *copy);

#endif
