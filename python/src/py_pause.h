/* py_pause.h: Pool.pause, Pool.resume and Pool.paused; and tarn.tagged, which names what goes. */
#ifndef TARN_PY_PAUSE_H
#define TARN_PY_PAUSE_H

#include "python/src/py_limited.h"

int tarn__py_pause_init(PyObject *module);

/* Methods of tarn.Pool, METH_FASTCALL | METH_KEYWORDS. */
PyObject *tarn__py_pool_pause(PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *keywords);
PyObject *tarn__py_pool_resume(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords);
PyObject *tarn__py_pool_paused(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords);

#endif
