/* py_numpy.h: memory of pools for NumPy's arrays: what tarn.numpy_allocator stands on.
 *
 * The functions that NumPy calls touch nothing of Python's, so they do with the GIL and without,
 * on any thread, after the pool's object is gone, in a child of fork, and while the interpreter
 * ends. Each handler keeps its pool; each array keeps its handler.
 */
#ifndef TARN_PY_NUMPY_H
#define TARN_PY_NUMPY_H

#include "python/src/py_limited.h"

int tarn__py_numpy_init(PyObject *module);

#endif
