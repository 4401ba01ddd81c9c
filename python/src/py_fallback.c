/* py_fallback.c: lists of pools for Python, of which the first that works gives the memory. */
#include "python/src/py_fallback.h"

#include <string.h>

#include "alloc/tarn_fallback.h"
#include "python/src/py_arguments.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"

static const char CAPSULE[] = "tarn.fallback";

typedef struct tarn_py_fallback {
  tarn_fallback *fallback;
  tarn_stream *stream; /* of the one GPU in the list, kept by the module; NULL: no GPU */
  tarn_device gpu;
} tarn_py_fallback;

static void end_fallback(PyObject *capsule) {
  tarn_py_fallback *self = PyCapsule_GetPointer(capsule, CAPSULE);
  Py_BEGIN_ALLOW_THREADS /* it may be the pools' last reference */
      tarn_fallback_release(self->fallback);
  Py_END_ALLOW_THREADS PyMem_Free(self);
}

/* --- the list --- */

static tarn_status status_of(const char *name) {
#define TARN_STATUS_ROW(word, number, text) \
  if (strcmp(name, "TARN_" #word) == 0) return TARN_##word;
  TARN_STATUS_TABLE(TARN_STATUS_ROW)
#undef TARN_STATUS_ROW
  return TARN_UNAVAILABLE;
}

/* All that is granted is usable in the order of one stream, so one GPU is all there can be. */
static int take_stream(tarn_py_fallback *self, tarn_pool *pool) {
  const tarn_device device = tarn_pool_attributes_of(pool)->device;
  if (device.type != TARN_DEVICE_CUDA) return 0;
  if (self->stream && !tarn_device_equal(device, self->gpu)) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "pools of two GPUs, cuda:%d and cuda:%d",
                  (int)self->gpu.index, (int)device.index);
    return -1;
  }
  self->gpu = device;
  return tarn__py_device_stream(device, &self->stream);
}

/* (name, pool, status, reason): a pool, or None and why. */
static int parse_choice(tarn_py_fallback *self, PyObject *item, tarn_fallback_choice *choice) {
  PyObject *pool;
  const char *status;
  *choice = (tarn_fallback_choice){.struct_size = sizeof *choice};
  if (!PyArg_ParseTuple(item, "sOzz", &choice->name, &pool, &status, &choice->reason)) return -1;
  if (pool == Py_None && choice->reason) {
    choice->status = status ? status_of(status) : TARN_UNAVAILABLE;
    return 0;
  }
  choice->reason = NULL;
  choice->pool = tarn__py_pool_of(pool);
  return choice->pool ? take_stream(self, choice->pool) : -1;
}

static int make_fallback(tarn_py_fallback *self, PyObject *tuple) {
  tarn_fallback_choice choices[TARN_FALLBACK_CHOICES_MAX];
  const Py_ssize_t count = PyTuple_Size(tuple);
  if (count > TARN_FALLBACK_CHOICES_MAX) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%zd choices; there may be %d", count,
                  (int)TARN_FALLBACK_CHOICES_MAX);
    return -1;
  }
  for (Py_ssize_t i = 0; i < count; i++) {
    if (parse_choice(self, PyTuple_GetItem(tuple, i), &choices[i]) < 0) return -1;
  }
  tarn_status status = tarn_fallback_create(choices, (size_t)count, &self->fallback);
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

static PyObject *module_create(PyObject *module, PyObject *tuple) {
  (void)module;
  if (!PyTuple_Check(tuple)) return tarn__py_fail(TARN_PY_ERROR_TYPE, "%R is no tuple", tuple);
  tarn_py_fallback *self = PyMem_Calloc(1, sizeof *self);
  if (!self) return PyErr_NoMemory();
  PyObject *capsule = NULL;
  if (make_fallback(self, tuple) == 0) capsule = PyCapsule_New(self, CAPSULE, end_fallback);
  if (!capsule) {
    tarn_fallback_release(self->fallback);
    PyMem_Free(self);
  }
  return capsule;
}

/* --- what it gives --- */

/* The CPU does not wait for the GPU's stream by itself, in whose order the memory is usable. */
static tarn_status ask(const tarn_py_fallback *self, size_t size_bytes, tarn_storage **storage,
                       tarn_fallback_grant *grant) {
  tarn_status status =
      tarn_fallback_storage_create(self->fallback, size_bytes, self->stream, storage, grant);
  if (status != TARN_OK || !self->stream || !tarn_device_is_host(grant->device)) return status;
  status = tarn_stream_synchronize(self->stream);
  if (status == TARN_OK) return status;
  tarn_storage_release(*storage);
  *storage = NULL;
  return status;
}

static PyObject *refusals_tuple(const tarn_fallback_grant *grant) {
  PyObject *tuple = PyTuple_New((Py_ssize_t)grant->refusal_count);
  for (size_t i = 0; tuple && i < grant->refusal_count; i++) {
    PyObject *refusal = Py_BuildValue("(ss)", tarn_status_name(grant->refusals[i].status),
                                      grant->refusals[i].message);
    if (!refusal || PyTuple_SetItem(tuple, (Py_ssize_t)i, refusal) < 0) Py_CLEAR(tuple);
  }
  return tuple;
}

static int size_of(tarn_dtype dtype, int32_t rank, const int64_t *shape, size_t *size_bytes) {
  tarn_layout layout;
  tarn_status status = tarn_layout_init(&layout, rank, shape);
  if (status == TARN_OK && !tarn_size_mul((size_t)tarn_layout_element_count(&layout),
                                          tarn_dtype_size_bytes(dtype), size_bytes)) {
    status = tarn_fail(TARN_TOO_LARGE, "more bytes than any machine has");
  }
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

/* (tensor, place in the list, ((status, message), ...)) */
static PyObject *grant_tuple(tarn_storage *storage, tarn_dtype dtype, int32_t rank,
                             const int64_t *shape, const tarn_fallback_grant *grant) {
  tarn_tensor tensor;
  tarn_status status = tarn_tensor_of_storage(storage, dtype, rank, shape, 0, &tensor);
  tarn_storage_release(storage);
  if (status != TARN_OK) return tarn__py_raise(status);
  PyObject *object = tarn__py_tensor_take(&tensor, /*was_copied=*/false);
  PyObject *refusals = object ? refusals_tuple(grant) : NULL;
  if (!refusals) {
    Py_XDECREF(object);
    return NULL;
  }
  return Py_BuildValue("(NnN)", object, (Py_ssize_t)grant->choice, refusals);
}

static PyObject *module_empty(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *capsule, *shape_object, *dtype_object;
  int64_t shape[TARN_RANK_MAX];
  int32_t rank;
  tarn_dtype dtype;
  size_t size_bytes;
  if (!PyArg_ParseTuple(args, "OOO", &capsule, &shape_object, &dtype_object)) return NULL;
  tarn_py_fallback *self = PyCapsule_GetPointer(capsule, CAPSULE);
  if (!self || tarn__py_int64s(shape_object, shape, &rank) < 0 ||
      tarn__py_dtype_parse(dtype_object, &dtype) < 0 ||
      size_of(dtype, rank, shape, &size_bytes) < 0) {
    return NULL;
  }
  tarn_fallback_grant grant = {.struct_size = sizeof grant};
  tarn_storage *storage;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = ask(self, size_bytes, &storage, &grant);
  Py_END_ALLOW_THREADS return status == TARN_OK ? grant_tuple(storage, dtype, rank, shape, &grant)
                                                : tarn__py_raise(status);
}

static PyMethodDef module_functions[] = {
    {"_fallback_create", module_create, METH_O, NULL},
    {"_fallback_empty", module_empty, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int tarn__py_fallback_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
