/* py_ort.h: what tarn.ort needs of C: the runtime inside of onnxruntime's own extension. */
#ifndef TARN_PY_ORT_H
#define TARN_PY_ORT_H

#include "python/src/py_limited.h"

int tarn__py_ort_init(PyObject *module);

#endif
