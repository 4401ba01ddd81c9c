/* py_arrays.c: NumPy's arrays, and the array interfaces that NumPy, CuPy and Numba read. */
#include "python/src/py_arrays.h"

#include "python/src/py_arguments.h"
#include "python/src/py_buffer.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyObject *ndarray_type, *asarray; /* numpy's, once it was seen and used */

/* --- from an ndarray --- */

bool tarn__py_arrays_is_ndarray(PyObject *object) {
  if (!ndarray_type) {
    PyObject *name = PyUnicode_FromString("numpy");
    PyObject *numpy = name ? PyImport_GetModule(name) : NULL;
    Py_XDECREF(name);
    if (numpy) ndarray_type = PyObject_GetAttrString(numpy, "ndarray");
    Py_XDECREF(numpy);
    PyErr_Clear();
    if (!ndarray_type) return false;
  }
  return PyObject_TypeCheck(object, (PyTypeObject *)ndarray_type) != 0;
}

/* The types of ml_dtypes, which the buffer protocol cannot name: as integers, then renamed. Leaves
 * the first exception where that is no way either. */
static PyObject *from_renamed(PyObject *array) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyObject *result = NULL, *dtype_object = PyObject_GetAttrString(array, "dtype");
  tarn_dtype dtype;
  bool is_ours = dtype_object && tarn__py_dtype_parse(dtype_object, &dtype) == 0 &&
                 !tarn__py_dtype_format(dtype);
  if (is_ours) {
    bool is_byte = tarn_dtype_size_bytes(dtype) == 1;
    PyObject *view = PyObject_CallMethod(array, "view", "s", is_byte ? "uint8" : "uint16");
    if (view) result = tarn__py_buffer_tensor_as(view, dtype);
    Py_XDECREF(view);
  } else if (dtype_object && !PyErr_GivenExceptionMatches(type, PyExc_BufferError)) {
    PyErr_Clear();
    tarn__py_fail(TARN_PY_ERROR_TYPE,
                  "arrays of %S cannot be shared: bool, integers, float16, float32, float64, "
                  "complex64, complex128, and bfloat16 and float8 of ml_dtypes can, in this "
                  "machine's byte order",
                  dtype_object);
  }
  Py_XDECREF(dtype_object);
  if (result || PyErr_Occurred()) {
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
  } else {
    PyErr_Restore(type, value, traceback);
  }
  return result;
}

/* True where the exception says that the element type is the trouble: tarn's own TypeError, or
 * NumPy's ValueError, which is the plain class. */
static bool is_about_the_type(void) {
  return PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_Occurred() == PyExc_ValueError;
}

PyObject *tarn__py_arrays_from_numpy(PyObject *array) {
  PyObject *tensor = tarn__py_buffer_tensor(array);
  return tensor || !is_about_the_type() ? tensor : from_renamed(array);
}

static PyObject *module_from_numpy(PyObject *module, PyObject *array) {
  (void)module;
  if (!tarn__py_arrays_is_ndarray(array)) {
    return tarn__py_fail(TARN_PY_ERROR_TYPE, "from_numpy() takes a numpy.ndarray, not %R",
                         (PyObject *)Py_TYPE(array));
  }
  return tarn__py_arrays_from_numpy(array);
}

/* --- to an ndarray --- */

static PyObject *numpy_asarray(PyObject *object) {
  if (!asarray) {
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (!numpy) return NULL;
    asarray = PyObject_GetAttrString(numpy, "asarray");
    Py_DECREF(numpy);
    if (!asarray) return NULL;
  }
  return PyObject_CallFunctionObjArgs(asarray, object, NULL);
}

/* bfloat16 and float8: NumPy has them from ml_dtypes alone. */
static PyObject *numpy_renamed(const tarn_tensor *tensor) {
  PyObject *dtype = tarn__py_dtype_object(tensor->dtype);
  PyObject *name = dtype ? PyObject_Str(dtype) : NULL;
  PyObject *module = name ? PyImport_ImportModule("ml_dtypes") : NULL;
  PyObject *type = module ? PyObject_GetAttr(module, name) : NULL;
  PyObject *array = NULL;
  if (!type && name) {
    PyErr_Clear();
    tarn__py_fail(TARN_PY_ERROR_TYPE,
                  "NumPy has no %S: install ml_dtypes, or take view('uint8') or view('uint16')",
                  name);
  }
  if (type) {
    tarn_tensor view = *tensor;
    view.dtype = tarn_dtype_size_bytes(view.dtype) == 1 ? TARN_U8 : TARN_U16;
    PyObject *integers = tarn__py_tensor_view(&view);
    PyObject *plain = integers ? numpy_asarray(integers) : NULL;
    if (plain) array = PyObject_CallMethod(plain, "view", "O", type);
    Py_XDECREF(integers);
    Py_XDECREF(plain);
  }
  Py_XDECREF(dtype);
  Py_XDECREF(name);
  Py_XDECREF(module);
  Py_XDECREF(type);
  return array;
}

static PyObject *tensor_numpy(PyObject *self, PyObject *unused) {
  (void)unused;
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  if (!tarn_device_is_host(tarn_tensor_device(tensor))) {
    PyObject *device = tarn__py_device_name(tarn_tensor_device(tensor));
    if (!device) return NULL;
    tarn__py_fail(TARN_PY_ERROR_TYPE,
                  "NumPy cannot reach memory on %S: copy the tensor first, t.to('cpu').numpy()",
                  device);
    Py_DECREF(device);
    return NULL;
  }
  if (!tarn__py_dtype_format(tensor->dtype)) return numpy_renamed(tensor);
  return numpy_asarray(self);
}

/* NumPy calls this where the buffer protocol did not do. */
static PyObject *tensor_array(PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *keywords) {
  static const tarn_py_signature signature = {"__array__", 0, 1, {"dtype", "copy"}};
  PyObject *values[2];
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  PyObject *array = tensor_numpy(self, NULL);
  bool must_copy = values[1] && values[1] == Py_True;
  bool has_dtype = values[0] && values[0] != Py_None;
  if (!array || (!has_dtype && !must_copy)) return array;
  PyObject *dtype = has_dtype ? values[0] : PyObject_GetAttrString(array, "dtype");
  PyObject *converted = NULL;
  PyObject *present = PyObject_GetAttrString(array, "dtype");
  int is_same = dtype && present ? PyObject_RichCompareBool(present, dtype, Py_EQ) : -1;
  if (is_same == 1 && !must_copy) {
    converted = array;
    Py_INCREF(array);
  } else if (is_same >= 0 && values[1] == Py_False) {
    tarn__py_fail(TARN_PY_ERROR_COPY, "__array__(copy=False) to another dtype");
  } else if (is_same >= 0) {
    converted = PyObject_CallMethod(array, "astype", "O", dtype);
  }
  if (!has_dtype) Py_XDECREF(dtype);
  Py_XDECREF(present);
  Py_DECREF(array);
  return converted;
}

/* --- array interfaces --- */

/* "<f4"; NULL with AttributeError, so that hasattr() tells the truth. */
static PyObject *type_string(tarn_dtype dtype) {
  static const char kinds[] = {[TARN_CODE_INT] = 'i',
                               [TARN_CODE_UINT] = 'u',
                               [TARN_CODE_FLOAT] = 'f',
                               [TARN_CODE_COMPLEX] = 'c',
                               [TARN_CODE_BOOL] = 'b'};
  if (!tarn__py_dtype_format(dtype)) {
    PyErr_SetString(PyExc_AttributeError, "no array interface for this element type");
    return NULL;
  }
  int bytes = (int)tarn_dtype_size_bytes(dtype);
  return PyUnicode_FromFormat("%c%c%d", bytes == 1 ? '|' : '<', kinds[dtype.code], bytes);
}

static PyObject *interface_of(const tarn_tensor *tensor) {
  PyObject *type = type_string(tensor->dtype);
  if (!type) return NULL;
  const tarn_layout *layout = &tensor->layout;
  PyObject *shape = tarn__py_tuple(layout->shape, layout->rank, 1);
  PyObject *strides = Py_None;
  Py_INCREF(strides);
  if (!tarn_tensor_is_contiguous(tensor)) {
    Py_DECREF(strides);
    strides = tarn__py_tuple(layout->strides, layout->rank,
                             (int64_t)tarn_dtype_size_bytes(tensor->dtype));
  }
  if (!shape || !strides) {
    Py_XDECREF(shape);
    Py_XDECREF(strides);
    Py_DECREF(type);
    return NULL;
  }
  return Py_BuildValue("{s:N,s:N,s:(KO),s:N,s:i}", "shape", shape, "typestr", type, "data",
                       (unsigned long long)(uintptr_t)tarn_tensor_data(tensor),
                       tarn_storage_is_read_only(tensor->storage) ? Py_True : Py_False, "strides",
                       strides, "version", 3);
}

static PyObject *tensor_get_interface(PyObject *self, void *unused) {
  (void)unused;
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  if (tarn_device_is_host(tarn_tensor_device(tensor))) return interface_of(tensor);
  PyErr_SetString(PyExc_AttributeError, "memory of a GPU has __cuda_array_interface__");
  return NULL;
}

/* Version 3 with stream 1: the legacy default stream, on which the package works. */
static PyObject *tensor_get_cuda_interface(PyObject *self, void *unused) {
  (void)unused;
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  if (tarn_tensor_device(tensor).type != TARN_DEVICE_CUDA) {
    PyErr_SetString(PyExc_AttributeError,
                    "only a tensor on a GPU has __cuda_array_interface__; see __array_interface__");
    return NULL;
  }
  PyObject *interface = interface_of(tensor), *stream = PyLong_FromLong(1);
  if (interface && (!stream || PyDict_SetItemString(interface, "stream", stream) < 0)) {
    Py_CLEAR(interface);
  }
  Py_XDECREF(stream);
  return interface;
}

/* What an interface's dict says, in C. */
typedef struct interface {
  int64_t shape[TARN_RANK_MAX];
  int64_t strides[TARN_RANK_MAX];
  bool has_strides;
  tarn_py_memory memory;
} interface;

/* One or two digits; 0 for anything else. */
static int bytes_of(const char *digits, Py_ssize_t length) {
  int bytes = 0;
  for (Py_ssize_t i = 0; i < length; i++) {
    if (length > 2 || digits[i] < '0' || digits[i] > '9') return 0;
    bytes = 10 * bytes + (digits[i] - '0');
  }
  return bytes;
}

static int read_type_string(PyObject *text, tarn_dtype *dtype) {
  Py_ssize_t length;
  const char *type = text && PyUnicode_Check(text) ? PyUnicode_AsUTF8AndSize(text, &length) : NULL;
  if (type && length >= 3 && (type[0] == '<' || type[0] == '|')) {
    char kind = type[1];
    int bytes = bytes_of(type + 2, length - 2);
    tarn_dtype_code code = kind == 'i'   ? TARN_CODE_INT
                           : kind == 'u' ? TARN_CODE_UINT
                           : kind == 'f' ? TARN_CODE_FLOAT
                           : kind == 'c' ? TARN_CODE_COMPLEX
                           : kind == 'b' ? TARN_CODE_BOOL
                                         : TARN_CODE_OPAQUE;
    if (bytes >= 1 && bytes <= 16) {
      *dtype = tarn_dtype_make(code, 8 * bytes, 1);
      if (tarn__py_dtype_format(*dtype)) return 0;
    }
  }
  if (!PyErr_Occurred()) {
    tarn__py_fail(TARN_PY_ERROR_TYPE, "an array interface of type %R cannot be shared",
                  text ? text : Py_None);
  }
  return -1;
}

/* `data` is (address, is_read_only). */
static int read_data(PyObject *data, tarn_py_memory *memory) {
  PyObject *address =
      data && PyTuple_Check(data) && PyTuple_Size(data) == 2 ? PyTuple_GetItem(data, 0) : NULL;
  if (!address) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "an array interface needs data, (address, read-only)");
    return -1;
  }
  unsigned long long value = PyLong_AsUnsignedLongLong(address);
  if (value == (unsigned long long)-1 && PyErr_Occurred()) return -1;
  memory->first = (void *)(uintptr_t)value;
  return tarn__py_flag(PyTuple_GetItem(data, 1), &memory->is_read_only);
}

static int read_interface(PyObject *dict, interface *read) {
  PyObject *shape = PyDict_GetItemString(dict, "shape");
  PyObject *strides = PyDict_GetItemString(dict, "strides");
  int32_t stride_count;
  if (!shape || !PyTuple_Check(shape)) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "an array interface needs a shape");
    return -1;
  }
  tarn_py_memory *memory = &read->memory;
  if (read_type_string(PyDict_GetItemString(dict, "typestr"), &memory->dtype) < 0 ||
      read_data(PyDict_GetItemString(dict, "data"), memory) < 0 ||
      tarn__py_int64s(shape, read->shape, &memory->rank) < 0) {
    return -1;
  }
  memory->shape = read->shape;
  if (!strides || strides == Py_None) return 0;
  if (tarn__py_int64s(strides, read->strides, &stride_count) < 0) return -1;
  if (stride_count != memory->rank) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "an array interface of %d sizes and %d strides",
                  (int)memory->rank, (int)stride_count);
    return -1;
  }
  memory->strides_bytes = read->strides;
  return 0;
}

/* The device's own stream waits for theirs. */
static tarn_status order_after(tarn_stream *own, tarn_stream *theirs) {
  tarn_fence *fence;
  tarn_status status = tarn_fence_create(theirs, &fence);
  if (status != TARN_OK) return status;
  status = tarn_fence_record(fence, theirs);
  if (status == TARN_OK) status = tarn_stream_wait(own, fence);
  tarn_fence_destroy(fence);
  return status;
}

/* Version 3 names the stream that may still write: None for none, 1 for the legacy default one,
 * which the package works on, 2 for the thread's own, else a handle. What the CPU reaches has no
 * stream that its readers are ordered by, and is waited for. */
static int wait_for_writer(PyObject *dict, tarn_device device, bool is_host) {
  PyObject *number = PyDict_GetItemString(dict, "stream");
  int64_t handle = 1;
  if (device.type != TARN_DEVICE_CUDA) return 0;
  if (number && number != Py_None && tarn__py_int64(number, &handle) < 0) return -1;
  if (handle <= 0) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "an array interface of stream %lld", (long long)handle);
    return -1;
  }
  tarn_stream *own, *theirs;
  if (handle == 1 && !is_host) return 0;
  if (tarn__py_device_stream(device, &own) < 0 ||
      tarn__py_device_stream_of(device, handle == 1 ? 0 : (uintptr_t)handle, &theirs) < 0) {
    return -1;
  }
  tarn_status status = is_host ? tarn_stream_synchronize(theirs) : order_after(own, theirs);
  if (status != TARN_OK) tarn__py_raise(status);
  tarn_stream_release(theirs);
  return status == TARN_OK ? 0 : -1;
}

/* An interface of CUDA's does not name the device: the driver does. *writer is the device whose
 * streams may be at work. */
static int find_device(tarn_py_memory *memory, tarn_device *writer) {
  tarn_cuda_pointer_info info = {.struct_size = sizeof info};
  *writer = memory->device;
  if (memory->device.type != TARN_DEVICE_CUDA || !memory->first) return 0;
  tarn_cuda *cuda = tarn__py_cuda();
  if (!cuda) return -1;
  tarn_status status = tarn_cuda_pointer_info_of(cuda, memory->first, &info);
  if (status == TARN_OK && !info.is_known) {
    status = tarn_fail(TARN_INVALID_ARGUMENT,
                       "an array interface of %p, which the driver does not know", memory->first);
  }
  if (status != TARN_OK) {
    tarn__py_raise(status);
    return -1;
  }
  memory->device = info.device;
  memory->is_checked = true;
  *writer = tarn_device_make(TARN_DEVICE_CUDA, info.ordinal >= 0 ? info.ordinal : 0);
  return 0;
}

static PyObject *from_dict(PyObject *object, PyObject *dict, tarn_device device) {
  interface read = {
      .memory = {.device = device, .deleter = tarn__py_drop_reference, .context = object}};
  tarn_tensor tensor;
  if (!PyDict_Check(dict)) {
    return tarn__py_fail(TARN_PY_ERROR_TYPE, "an array interface is a dict, not %R", dict);
  }
  /* The __index__ of its numbers is anybody's code, and may change the dict. */
  PyObject *copy = PyDict_Copy(dict);
  int result = copy ? read_interface(copy, &read) : -1;
  tarn_device writer = device;
  if (result == 0) result = find_device(&read.memory, &writer);
  if (result == 0) {
    result = wait_for_writer(copy, writer, tarn_device_is_host(read.memory.device));
  }
  Py_XDECREF(copy);
  if (result < 0 || tarn__py_wrap(&read.memory, &tensor) < 0) return NULL;
  Py_INCREF(object); /* the deleter's */
  return tarn__py_tensor_take(&tensor, /*was_copied=*/false);
}

PyObject *tarn__py_arrays_from_interface(PyObject *object) {
  static const char *const names[] = {"__array_interface__", "__cuda_array_interface__"};
  static const int32_t devices[] = {TARN_DEVICE_CPU, TARN_DEVICE_CUDA};
  for (int i = 0; i < 2; i++) {
    PyObject *dict = PyObject_GetAttrString(object, names[i]);
    if (!dict && !PyErr_ExceptionMatches(PyExc_AttributeError)) return NULL;
    PyErr_Clear();
    if (!dict) continue;
    PyObject *tensor = from_dict(object, dict, tarn_device_make(devices[i], 0));
    Py_DECREF(dict);
    return tensor;
  }
  return tarn__py_fail(TARN_PY_ERROR_TYPE,
                       "%R offers no memory: no DLPack, no buffer, no array interface",
                       (PyObject *)Py_TYPE(object));
}

PyMethodDef tarn__py_array_methods[] = {
    {"numpy", tensor_numpy, METH_NOARGS,
     "A numpy.ndarray of the same memory, shared both ways; read-only where the tensor is.\n\n"
     "TypeError where NumPy cannot go: memory of a GPU, element types that it lacks."},
    {"__array__", FAST(tensor_array), METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

PyGetSetDef tarn__py_array_getset[] = {
    {"__array_interface__", tensor_get_interface, NULL, NULL, NULL},
    {"__cuda_array_interface__", tensor_get_cuda_interface, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef module_functions[] = {
    {"from_numpy", module_from_numpy, METH_O,
     "from_numpy(array): a tensor of the array's memory, shared both ways, any strides.\n\n"
     "A read-only array gives a read-only tensor. Never copies: what cannot be shared is refused."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_arrays_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
