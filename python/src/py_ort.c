/* py_ort.c: tarn's allocators in the environment of the onnxruntime package.
 *
 * The package's extension has a copy of the runtime of its own, without OrtGetApiBase among its
 * symbols. But it hands its OrtApiBase to the RegisterCustomOps of any library that it is asked to
 * register custom operators of, and this extension is such a library: one without operators.
 */
#include "python/src/py_ort.h"

#include <stdatomic.h>

#include "alloc/adapters/ort/tarn_ort.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"

struct OrtStatus;
struct OrtSessionOptions;

/* By the name and with the parameters that onnxruntime_c_api.h gives at RegisterCustomOpsLibrary.
 */
TARN_API struct OrtStatus *RegisterCustomOps(struct OrtSessionOptions *options,
                                             const struct OrtApiBase *base);

static _Atomic(const struct OrtApiBase *) offered;

struct OrtStatus *RegisterCustomOps(struct OrtSessionOptions *options,
                                    const struct OrtApiBase *base) {
  (void)options;
  atomic_store_explicit(&offered, base, memory_order_release); /* pairs with open_runtime's load */
  return NULL;
}

/* Borrowed; opened once and kept. NULL with an exception. */
static tarn_ort *open_runtime(void) {
  static tarn_ort *opened; /* under the GIL */
  if (opened) return opened;
  const struct OrtApiBase *base = atomic_load_explicit(&offered, memory_order_acquire);
  if (!base) {
    tarn__py_fail(TARN_PY_ERROR_SUPPORT, "onnxruntime has not offered its interface");
    return NULL;
  }
  tarn_status status = tarn_ort_open(base, &opened);
  if (status != TARN_OK) tarn__py_raise(status);
  return opened;
}

static const char capsule_name[] = "tarn.ort.allocator";

/* ort_allocator(pool, stream, as_cpu): one that lives as long as the process, since nobody tells
 * when the last session that uses it has gone. */
static PyObject *ort_allocator(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *pool_object, *stream_object;
  int as_cpu;
  if (!PyArg_ParseTuple(args, "OOp:_ort_allocator", &pool_object, &stream_object, &as_cpu)) {
    return NULL;
  }
  tarn_pool *pool = tarn__py_pool_of(pool_object);
  tarn_ort *ort = pool ? open_runtime() : NULL;
  if (!ort) return NULL;
  tarn_ort_allocator_options options = {.struct_size = sizeof options};
  options.flags = as_cpu ? TARN_ORT_AS_CPU : 0;
  if (stream_object != Py_None) {
    size_t handle = 0;
    if (tarn__py_size(stream_object, &handle) < 0 ||
        tarn__py_device_stream_of(tarn_pool_attributes_of(pool)->device, handle, &options.stream) <
            0) {
      return NULL;
    }
  }
  struct OrtAllocator *allocator;
  tarn_status status = tarn_ort_allocator_create(ort, pool, &options, &allocator);
  tarn_stream_release(options.stream);
  if (status != TARN_OK) return tarn__py_raise(status);
  PyObject *capsule = PyCapsule_New(allocator, capsule_name, NULL);
  if (!capsule) tarn_ort_allocator_release(allocator);
  return capsule;
}

typedef tarn_status (*registration)(tarn_ort *ort, struct OrtEnv *env,
                                    struct OrtAllocator *allocator);

static PyObject *change_registration(PyObject *capsule, registration change) {
  struct OrtAllocator *allocator = PyCapsule_GetPointer(capsule, capsule_name);
  tarn_ort *ort = allocator ? open_runtime() : NULL;
  if (!ort) return NULL;
  struct OrtEnv *env;
  tarn_status status = tarn_ort_env_acquire(ort, &env);
  if (status == TARN_OK) status = change(ort, env, allocator);
  tarn_ort_env_release(ort, env);
  if (status != TARN_OK) return tarn__py_raise(status);
  Py_RETURN_NONE;
}

static PyObject *ort_register(PyObject *module, PyObject *capsule) {
  (void)module;
  return change_registration(capsule, tarn_ort_register);
}

static PyObject *ort_unregister(PyObject *module, PyObject *capsule) {
  (void)module;
  return change_registration(capsule, tarn_ort_unregister);
}

int tarn__py_ort_init(PyObject *module) {
  static PyMethodDef methods[] = {
      {"_ort_allocator", ort_allocator, METH_VARARGS, NULL},
      {"_ort_register", ort_register, METH_O, NULL},
      {"_ort_unregister", ort_unregister, METH_O, NULL},
      {NULL, NULL, 0, NULL},
  };
  return PyModule_AddFunctions(module, methods);
}
