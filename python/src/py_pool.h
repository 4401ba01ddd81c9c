/* py_pool.h: tarn.Pool, and what a device is to Python: its pool, and the stream of its work.
 *
 * Each device has one default pool and one stream. The CPU's stream is NULL: its work is done when
 * a call returns. A GPU's is the legacy default stream, which PyTorch uses too.
 */
#ifndef TARN_PY_POOL_H
#define TARN_PY_POOL_H

#include "alloc/tarn_pool.h"
#include "cuda/tarn_cuda.h"
#include "python/src/py_limited.h"

int tarn__py_pool_init(PyObject *module);

/* A tarn.Pool; takes the reference, on failure too: then NULL with an exception. */
PyObject *tarn__py_pool_take(tarn_pool *taken);

/* The pool that `pool` (a tarn.Pool) or else `device` ("cpu", "cuda", "cuda:1", "cuda_host", or
 * DLPack's pair of numbers) names; either may be NULL or None. Borrowed, lives as long as the
 * object, or as the module. NULL with an exception. */
tarn_pool *tarn__py_pool_choose(PyObject *pool, PyObject *device);
tarn_pool *tarn__py_pool_of_device(tarn_device device);
/* A tarn.Pool's own; borrowed. NULL with a TypeError. */
tarn_pool *tarn__py_pool_of(PyObject *pool);

/* The driver, opened at first use and kept; borrowed. NULL with an exception. */
tarn_cuda *tarn__py_cuda(void);

/* Borrowed; NULL in *stream is the CPU's. 0, or -1 with an exception. */
int tarn__py_device_stream(tarn_device device, tarn_stream **stream);

/* A stream of somebody else's by its CUstream handle, 0 for the legacy default one. The caller
 * releases it. */
int tarn__py_device_stream_of(tarn_device device, uintptr_t handle, tarn_stream **stream);
/* For DLPack's exchange API: the same as a tarn_dlpack_work_stream, on any thread. */
tarn_status tarn__py_device_work_stream(void *unused, tarn_device device, tarn_stream **stream,
                                        void **native);

int tarn__py_device_parse(PyObject *object, tarn_device *device);
PyObject *tarn__py_device_name(tarn_device device);

#endif
