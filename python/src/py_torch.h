/* py_torch.h: tarn.torch: PyTorch's CUDA allocator, which is this extension itself. */
#ifndef TARN_PY_TORCH_H
#define TARN_PY_TORCH_H

#include "python/src/py_limited.h"

int tarn__py_torch_init(PyObject *module);

#endif
