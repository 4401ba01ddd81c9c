/* py_lender.h: bytes of a pool in the order of another library's stream, for tarn._cupy. */
#ifndef TARN_PY_LENDER_H
#define TARN_PY_LENDER_H

#include "python/src/py_limited.h"

int tarn__py_lender_init(PyObject *module);

#endif
