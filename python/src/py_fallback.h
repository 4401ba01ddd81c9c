/* py_fallback.h: lists of pools for Python, of which the first that works gives the memory. */
#ifndef TARN_PY_FALLBACK_H
#define TARN_PY_FALLBACK_H

#include "python/src/py_limited.h"

int tarn__py_fallback_init(PyObject *module);

#endif
