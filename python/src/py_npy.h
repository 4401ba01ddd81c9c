/* py_npy.h: .npy files as tensors: mapped, loaded and saved without NumPy. */
#ifndef TARN_PY_NPY_H
#define TARN_PY_NPY_H

#include "python/src/py_limited.h"

int tarn__py_npy_init(PyObject *module);

#endif
