/* py_blobs.h: memory by file, address and image in, and by descriptor and entries out. */
#ifndef TARN_PY_BLOBS_H
#define TARN_PY_BLOBS_H

#include "python/src/py_limited.h"

extern PyMethodDef tarn__py_blob_methods[]; /* of a Tensor */

int tarn__py_blobs_init(PyObject *module);

#endif
