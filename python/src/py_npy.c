/* py_npy.c: .npy files as tensors: mapped, loaded and saved without NumPy. */
#include "python/src/py_npy.h"

#include <stdbool.h>

#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"
#include "tensor/tarn_npy.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define ARGUMENTS PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords

/* An array that tarn has no element type for is a TypeError, as NumPy's are. */
static PyObject *raise_for_file(tarn_status status, PyObject *path) {
  return status == TARN_NOT_SUPPORTED ? tarn__py_raise_as(TARN_PY_ERROR_TYPE, status)
                                      : tarn__py_raise_for_file(status, path);
}

/* Bytes of a str or a path; a new reference, NULL with an exception. */
static PyObject *bytes_of_path(PyObject *path, const char **text) {
  PyObject *bytes;
  if (!PyUnicode_FSConverter(path, &bytes)) return NULL;
  *text = PyBytes_AsString(bytes);
  return bytes;
}

/* NumPy's names of the ways to map a file; 0 for None, which is no mapping. */
static int parse_mode(PyObject *object, bool *is_mapped, tarn_npy_mode *mode) {
  static const char *const names[] = {"r", "c", "r+"};
  *mode = TARN_NPY_READ_ONLY;
  *is_mapped = object && object != Py_None;
  for (int i = 0; i < 3 && *is_mapped && PyUnicode_Check(object); i++) {
    if (PyUnicode_CompareWithASCIIString(object, names[i]) != 0) continue;
    *mode = (tarn_npy_mode)i;
    return 0;
  }
  if (!*is_mapped) return 0;
  tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "mmap_mode is 'r', 'c' or 'r+', not %R", object);
  return -1;
}

static PyObject *module_load(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {
      "load_npy", 1, 1, {"path", "mmap_mode", "pool", "device"}};
  PyObject *values[4];
  const char *path;
  bool is_mapped;
  tarn_npy_open_options options = {.struct_size = sizeof options};
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      parse_mode(values[1], &is_mapped, &options.mode) < 0) {
    return NULL;
  }
  tarn_device device;
  if (tarn__py_device_parse(values[3], &device) < 0) return NULL;
  bool has_pool = values[2] && values[2] != Py_None;
  if (is_mapped && (has_pool || device.type != TARN_DEVICE_CPU)) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                         "a mapped file is the CPU's memory of no pool: without mmap_mode it is "
                         "loaded");
  }
  tarn_pool *pool = is_mapped ? NULL : tarn__py_pool_choose(values[2], values[3]);
  tarn_stream *stream = NULL;
  if (!is_mapped &&
      (!pool || tarn__py_device_stream(tarn_pool_attributes_of(pool)->device, &stream) < 0)) {
    return NULL;
  }
  PyObject *bytes = bytes_of_path(values[0], &path);
  if (!bytes) return NULL;
  tarn_tensor tensor;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = is_mapped ? tarn_npy_open(path, &options, &tensor)
                                            : tarn_npy_load(path, pool, stream, &tensor);
  Py_END_ALLOW_THREADS Py_DECREF(bytes);
  if (status != TARN_OK) return raise_for_file(status, values[0]);
  return tarn__py_tensor_take(&tensor, /*was_copied=*/!is_mapped);
}

static PyObject *module_save(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {"save_npy", 2, 2, {"path", "tensor", "sync"}};
  PyObject *values[3];
  const char *path;
  bool is_synced = false;
  tarn_stream *stream;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_flag(values[2], &is_synced) < 0) {
    return NULL;
  }
  if (!tarn__py_is_tensor(values[1])) {
    return tarn__py_fail(TARN_PY_ERROR_TYPE, "a tarn.Tensor is needed, not %R",
                         (PyObject *)Py_TYPE(values[1]));
  }
  const tarn_tensor *tensor = tarn__py_tensor_of(values[1]);
  if (tarn__py_device_stream(tarn_tensor_device(tensor), &stream) < 0) return NULL;
  PyObject *bytes = bytes_of_path(values[0], &path);
  if (!bytes) return NULL;
  tarn_npy_save_options options = {.struct_size = sizeof options,
                                   .flags = is_synced ? TARN_NPY_SYNC : 0};
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = tarn_npy_save(tensor, path, stream, &options);
  Py_END_ALLOW_THREADS Py_DECREF(bytes);
  if (status != TARN_OK) return raise_for_file(status, values[0]);
  Py_RETURN_NONE;
}

static PyMethodDef module_functions[] = {
    {"load_npy", FAST(module_load), METH_FASTCALL | METH_KEYWORDS,
     "load_npy(path, *, mmap_mode=None, pool=None, device=None)\n\n"
     "A .npy file in memory of a pool; or with mmap_mode the file itself, mapped: 'r' read-only,\n"
     "'c' copy on write, 'r+' written back."},
    {"save_npy", FAST(module_save), METH_FASTCALL | METH_KEYWORDS,
     "save_npy(path, tensor, *, sync=False): the bytes that numpy.save would write.\n\n"
     "The file appears whole or not at all; with sync it is on the disk when this returns."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_npy_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
