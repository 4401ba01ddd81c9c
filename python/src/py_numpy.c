/* py_numpy.c: memory of pools for NumPy's arrays: what tarn.numpy_allocator stands on. */
#include "python/src/py_numpy.h"

#include <stdio.h>
#include <string.h>

#include "python/src/numpy_abi.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"

/* Of blocks in any pool: what the widest vectors of NumPy's loops like. */
enum { ALIGNMENT_BYTES = 64 };

typedef PyObject *(*set_handler_function)(PyObject *handler);

/* --- what NumPy calls --- */

/* NumPy asks for a byte where an array has none; whoever else calls may ask for nothing. */
static void *numpy_malloc(void *context, size_t size_bytes) {
  void *address;
  tarn_pool *pool = context;
  const size_t asked_bytes = size_bytes != 0 ? size_bytes : 1;
  const tarn_status status =
      tarn_pool_alloc_aligned(pool, asked_bytes, ALIGNMENT_BYTES, /*stream=*/NULL, &address);
  return status == TARN_OK ? address : NULL; /* MemoryError is NumPy's to raise */
}

/* A pool does not tell whether anybody has written to a block before. */
static void *numpy_calloc(void *context, size_t count, size_t element_bytes) {
  size_t size_bytes;
  if (!tarn_size_mul(count, element_bytes, &size_bytes)) return NULL;
  void *address = numpy_malloc(context, size_bytes);
  return address ? memset(address, 0, size_bytes) : NULL;
}

/* The size that NumPy knows counts nowhere: the pool has its own. */
static void numpy_free(void *context, void *address, size_t size_bytes) {
  (void)size_bytes;
  (void)!tarn_pool_free(context, address, /*stream=*/NULL); /* there is nobody to be told */
}

/* Always to a new block, so that the pool's sums are of what arrays have. NULL, too, where the pool
 * does not tell what was asked for: then nobody knows how much there is to keep. */
static void *numpy_realloc(void *context, void *address, size_t size_bytes) {
  size_t old_bytes = 0;
  if (address && tarn_pool_size_of(context, address, &old_bytes) != TARN_OK) return NULL;
  void *moved = numpy_malloc(context, size_bytes);
  if (!moved || !address) return moved;
  memcpy(moved, address, old_bytes < size_bytes ? old_bytes : size_bytes);
  numpy_free(context, address, old_bytes);
  return moved;
}

/* --- handlers --- */

/* No array has it any more, and no context. */
static void end_handler(PyObject *capsule) {
  tarn_numpy_handler *handler = PyCapsule_GetPointer(capsule, TARN_NUMPY_HANDLER_CAPSULE);
  tarn_pool *pool = handler->allocator.context;
  Py_BEGIN_ALLOW_THREADS /* it may be the pool's last reference */
      tarn_pool_release(pool);
  Py_END_ALLOW_THREADS PyMem_Free(handler);
}

static int check_device(tarn_pool *pool) {
  const tarn_device device = tarn_pool_attributes_of(pool)->device;
  if (tarn_device_is_host(device)) return 0;
  PyObject *name = tarn__py_device_name(device);
  if (name) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                  "NumPy's arrays are in memory of the CPU, and pool %s has memory of %U",
                  tarn_pool_name(pool), name);
    Py_DECREF(name);
  }
  return -1;
}

static PyObject *make_handler(tarn_pool *pool) {
  tarn_numpy_handler *handler = PyMem_Calloc(1, sizeof *handler);
  if (!handler) return PyErr_NoMemory();
  snprintf(handler->name, sizeof handler->name, "tarn:%s", tarn_pool_name(pool));
  handler->version = TARN_NUMPY_HANDLER_VERSION;
  handler->allocator = (tarn_numpy_allocator){.context = pool,
                                              .malloc = numpy_malloc,
                                              .calloc = numpy_calloc,
                                              .realloc = numpy_realloc,
                                              .free = numpy_free};
  PyObject *capsule = PyCapsule_New(handler, TARN_NUMPY_HANDLER_CAPSULE, end_handler);
  if (!capsule) {
    PyMem_Free(handler);
    return NULL;
  }
  tarn_pool_retain(pool);
  return capsule;
}

static PyObject *module_handler(PyObject *module, PyObject *pool_object) {
  (void)module;
  tarn_pool *pool = tarn__py_pool_of(pool_object);
  if (!pool || check_device(pool) < 0) return NULL;
  return make_handler(pool);
}

/* --- NumPy's side --- */

static PyObject *import_umath(void) {
  PyObject *umath = PyImport_ImportModule("numpy._core._multiarray_umath");
  if (umath || !PyErr_ExceptionMatches(PyExc_ModuleNotFoundError)) return umath;
  PyErr_Clear();
  return PyImport_ImportModule("numpy.core._multiarray_umath"); /* before NumPy 2 */
}

/* NumPy's table, which lasts as long as the process; NULL with an exception. */
static void **find_table(void) {
  PyObject *umath = import_umath();
  PyObject *capsule = umath ? PyObject_GetAttrString(umath, "_ARRAY_API") : NULL;
  void **table = capsule ? PyCapsule_GetPointer(capsule, NULL) : NULL;
  Py_XDECREF(capsule);
  Py_XDECREF(umath);
  if (!table) return NULL;
  const unsigned version = ((unsigned (*)(void))table[TARN_NUMPY_GET_FEATURE_VERSION])();
  if (version >= TARN_NUMPY_HANDLERS_SINCE) return table;
  return (void *)tarn__py_fail(TARN_PY_ERROR_SUPPORT,
                               "NumPy 1.22 is the first whose arrays can be in memory of others");
}

/* NumPy's state and tarn's pools are the process's: one interpreter has them. */
static set_handler_function find_set_handler(void) {
  static void **table; /* the GIL guards it */
  if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
    return (set_handler_function)(void *)tarn__py_fail(
        TARN_PY_ERROR_SUPPORT, "numpy_allocator works in the main interpreter alone");
  }
  if (!table) table = find_table();
  return table ? (set_handler_function)table[TARN_NUMPY_SET_HANDLER] : NULL;
}

static PyObject *module_set_handler(PyObject *module, PyObject *handler) {
  (void)module;
  set_handler_function set_handler = find_set_handler();
  return set_handler ? set_handler(handler != Py_None ? handler : NULL) : NULL;
}

static PyMethodDef module_functions[] = {
    {"_numpy_handler", module_handler, METH_O, NULL},
    {"_numpy_set_handler", module_set_handler, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int tarn__py_numpy_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
