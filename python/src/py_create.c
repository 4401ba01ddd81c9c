/* py_create.c: new tensors: empty, zeros, full, and asarray for whatever holds elements. */
#include "python/src/py_create.h"

#include "python/src/py_arguments.h"
#include "python/src/py_arrays.h"
#include "python/src/py_buffer.h"
#include "python/src/py_copies.h"
#include "python/src/py_dlpack.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_nested.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"
#include "python/src/py_values.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define ARGUMENTS PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords

/* What empty, zeros and full have in common; `dtype` holds the default. */
static int create(PyObject *shape_object, PyObject *dtype_object, PyObject *pool_object,
                  PyObject *device_object, tarn_dtype dtype, tarn_tensor *tensor) {
  int64_t shape[TARN_RANK_MAX];
  int32_t rank;
  if (tarn__py_int64s(shape_object, shape, &rank) < 0) return -1;
  bool has_dtype = dtype_object && dtype_object != Py_None;
  if (has_dtype && tarn__py_dtype_parse(dtype_object, &dtype) < 0) return -1;
  tarn_pool *pool = tarn__py_pool_choose(pool_object, device_object);
  return pool ? tarn__py_create(pool, dtype, rank, shape, tensor) : -1;
}

static PyObject *module_empty(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {
      "empty", 1, 2, {"shape", "dtype", "pool", "device", "memory_format"}};
  PyObject *values[5];
  int32_t channels_last_rank;
  tarn_tensor tensor;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_memory_format(values[4], &channels_last_rank) < 0 ||
      create(values[0], values[1], values[2], values[3], TARN_F32, &tensor) < 0 ||
      tarn__py_arrange(&tensor, channels_last_rank) < 0) {
    return NULL;
  }
  return tarn__py_tensor_take(&tensor, /*was_copied=*/false);
}

static tarn_status fill_zeros(const tarn_tensor *tensor, tarn_stream *stream) {
  size_t size_bytes = tarn_tensor_size_bytes(tensor);
  if (size_bytes == 0) return TARN_OK;
  return tarn_stream_fill(stream, tarn_tensor_data_mutable(tensor), tarn_tensor_device(tensor), 0,
                          size_bytes);
}

static PyObject *module_zeros(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {"zeros", 1, 2, {"shape", "dtype", "pool", "device"}};
  PyObject *values[4];
  tarn_tensor tensor;
  tarn_stream *stream;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      create(values[0], values[1], values[2], values[3], TARN_F32, &tensor) < 0) {
    return NULL;
  }
  tarn_status status;
  if (tarn__py_device_stream(tarn_tensor_device(&tensor), &stream) < 0) {
    tarn_tensor_release(&tensor);
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS status = fill_zeros(&tensor, stream);
  Py_END_ALLOW_THREADS if (status == TARN_OK) return tarn__py_tensor_take(&tensor,
                                                                          /*was_copied=*/false);
  tarn_tensor_release(&tensor);
  return tarn__py_raise(status);
}

static PyObject *module_full(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {
      "full", 2, 3, {"shape", "fill_value", "dtype", "pool", "device"}};
  PyObject *values[5];
  tarn_tensor tensor;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      create(values[0], values[2], values[3], values[4], TARN_F32, &tensor) < 0) {
    return NULL;
  }
  if (tarn__py_fill(&tensor, values[1]) == 0) {
    return tarn__py_tensor_take(&tensor, /*was_copied=*/false);
  }
  tarn_tensor_release(&tensor);
  return NULL;
}

PyObject *tarn__py_as_tensor(PyObject *object, tarn_dtype wanted) {
  if (tarn__py_is_tensor(object)) {
    Py_INCREF(object);
    return object;
  }
  if (tarn__py_is_number(object) || PyList_Check(object) || PyTuple_Check(object)) {
    return tarn__py_nested_tensor(object, wanted);
  }
  if (tarn__py_arrays_is_ndarray(object)) return tarn__py_arrays_from_numpy(object);
  if (tarn__py_dlpack_is_offered(object)) return tarn__py_dlpack_from(object, NULL, NULL);
  if (PyObject_CheckBuffer(object)) return tarn__py_buffer_tensor(object);
  return tarn__py_arrays_from_interface(object);
}

static PyObject *module_asarray(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {
      "asarray", 1, 2, {"object", "dtype", "copy", "device", "pool"}};
  PyObject *values[5];
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  tarn_dtype dtype = {0};
  bool has_dtype = values[1] && values[1] != Py_None;
  if (has_dtype && tarn__py_dtype_parse(values[1], &dtype) < 0) return NULL;
  bool must_copy = false, is_strict = values[2] && values[2] != Py_None;
  if (is_strict && tarn__py_flag(values[2], &must_copy) < 0) return NULL;
  bool is_memory =
      !tarn__py_is_number(values[0]) && !PyList_Check(values[0]) && !PyTuple_Check(values[0]);
  if (is_strict && !must_copy && !is_memory) {
    return tarn__py_fail(TARN_PY_ERROR_COPY, "asarray(copy=False) of Python's own numbers");
  }
  PyObject *tensor = tarn__py_as_tensor(values[0], dtype);
  if (!tensor) return NULL;
  PyObject *to = PyObject_GetAttrString(tensor, "to");
  Py_DECREF(tensor);
  if (!to) return NULL;
  PyObject *none = PyTuple_New(0);
  PyObject *options = Py_BuildValue("{s:O,s:O,s:O,s:O}", "dtype", has_dtype ? values[1] : Py_None,
                                    "device", values[3] ? values[3] : Py_None, "copy",
                                    is_strict && is_memory ? values[2] : Py_None, "pool",
                                    values[4] ? values[4] : Py_None);
  PyObject *result = none && options ? PyObject_Call(to, none, options) : NULL;
  Py_XDECREF(options);
  Py_XDECREF(none);
  Py_DECREF(to);
  return result;
}

static PyMethodDef module_functions[] = {
    {"empty", FAST(module_empty), METH_FASTCALL | METH_KEYWORDS,
     "empty(shape, dtype='float32', *, pool=None, device=None, memory_format=None)\n\n"
     "Elements are not set. With memory_format='channels_last' an NCHW shape has NHWC memory."},
    {"zeros", FAST(module_zeros), METH_FASTCALL | METH_KEYWORDS,
     "zeros(shape, dtype='float32', *, pool=None, device=None)"},
    {"full", FAST(module_full), METH_FASTCALL | METH_KEYWORDS,
     "full(shape, fill_value, dtype='float32', *, pool=None, device=None)"},
    {"asarray", FAST(module_asarray), METH_FASTCALL | METH_KEYWORDS,
     "asarray(object, dtype=None, *, copy=None, device=None, pool=None)\n\n"
     "Shares the memory of whatever offers it: a tensor, DLPack, a buffer, an array interface.\n"
     "Numbers and nested lists are copied. was_copied says which; copy=False refuses to."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_create_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
