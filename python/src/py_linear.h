/* py_linear.h: t.linear(): the elements as one row-major run, free where they lie so. */
#ifndef TARN_PY_LINEAR_H
#define TARN_PY_LINEAR_H

#include "python/src/py_limited.h"

int tarn__py_linear_init(PyObject *module);

extern PyMethodDef tarn__py_linear_methods[];

#endif
