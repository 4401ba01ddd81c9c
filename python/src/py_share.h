/* py_share.h: tensors sent to other processes, and pools of memory that can be. */
#ifndef TARN_PY_SHARE_H
#define TARN_PY_SHARE_H

#include "python/src/py_limited.h"

int tarn__py_share_init(PyObject *module);

#endif
