/* py_staging.h: tarn.Staging: page-locked slots through which pageable memory reaches a GPU. */
#ifndef TARN_PY_STAGING_H
#define TARN_PY_STAGING_H

#include "python/src/py_limited.h"

int tarn__py_staging_init(PyObject *module);

#endif
