/* py_buffer.c: the buffer protocol (PEP 3118), both ways. */
#include "python/src/py_buffer.h"

#include "alloc/tarn_mapping.h"
#include "python/src/py_arguments.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define ARGUMENTS PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords

_Static_assert(sizeof(Py_ssize_t) == sizeof(int64_t), "a shape is handed out as it is");

/* --- exporting --- */

static int refuse(const char *why) {
  tarn__py_fail(TARN_PY_ERROR_BUFFER, "%s", why);
  return -1;
}

static bool is_column_major(const tarn_layout *layout) {
  tarn_layout turned = *layout;
  for (int32_t i = 0; i < layout->rank; i++) {
    turned.shape[i] = layout->shape[layout->rank - 1 - i];
    turned.strides[i] = layout->strides[layout->rank - 1 - i];
  }
  return tarn_layout_is_contiguous(&turned);
}

static int check_request(const tarn_tensor *tensor, int flags) {
  bool is_row_major = tarn_tensor_is_contiguous(tensor);
  if ((flags & PyBUF_WRITABLE) && tarn_storage_is_read_only(tensor->storage)) {
    return refuse("the tensor is read-only");
  }
  if ((flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS) {
    return is_row_major || is_column_major(&tensor->layout) ? 0 : -2;
  }
  if ((flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS) {
    return is_column_major(&tensor->layout) ? 0 : -2;
  }
  if ((flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS) return is_row_major ? 0 : -2;
  return (flags & PyBUF_STRIDES) == PyBUF_STRIDES || is_row_major ? 0 : -2;
}

/* Strides in bytes live in the Tensor, whose geometry never changes, from the first export on. */
static Py_ssize_t *strides_of(tarn_py_tensor *self) {
  if (self->strides_bytes) return self->strides_bytes;
  const tarn_layout *layout = &self->tensor.layout;
  Py_ssize_t element_bytes = (Py_ssize_t)tarn_dtype_size_bytes(self->tensor.dtype);
  self->strides_bytes = PyMem_Malloc(sizeof(Py_ssize_t) * (size_t)(layout->rank + 1));
  if (!self->strides_bytes) return (void *)PyErr_NoMemory();
  for (int32_t i = 0; i < layout->rank; i++) {
    self->strides_bytes[i] = layout->strides[i] * element_bytes;
  }
  return self->strides_bytes;
}

int tarn__py_buffer_get(PyObject *object, Py_buffer *buffer, int flags) {
  tarn_py_tensor *self = (tarn_py_tensor *)object;
  const tarn_tensor *tensor = &self->tensor;
  buffer->obj = NULL;
  const char *format = tarn__py_dtype_format(tensor->dtype);
  if (!tarn_device_is_host(tarn_tensor_device(tensor))) {
    return refuse("memory of a GPU is no buffer: copy the tensor with to('cpu') first");
  }
  if (!format) {
    PyObject *dtype = tarn__py_dtype_object(tensor->dtype);
    if (!dtype) return -1;
    tarn__py_fail(TARN_PY_ERROR_BUFFER,
                  "the buffer protocol has no %S: export view('uint8') or view('uint16')", dtype);
    Py_DECREF(dtype);
    return -1;
  }
  int check = check_request(tensor, flags);
  if (check == -2) {
    return refuse("the tensor is not contiguous as the consumer asks");
  }
  Py_ssize_t *strides = check == 0 ? strides_of(self) : NULL;
  if (!strides) return -1;
  static char nothing[1]; /* some consumers take a NULL address for a failure */
  void *data = (void *)(uintptr_t)tarn_tensor_data(tensor);
  *buffer = (Py_buffer){
      .buf = data ? data : nothing,
      .obj = object,
      .len = (Py_ssize_t)tarn_tensor_size_bytes(tensor),
      .itemsize = (Py_ssize_t)tarn_dtype_size_bytes(tensor->dtype),
      .readonly = tarn_storage_is_read_only(tensor->storage),
      .ndim = tensor->layout.rank,
      .format = (flags & PyBUF_FORMAT) ? (char *)(uintptr_t)format : NULL,
      .shape = (flags & PyBUF_ND) ? self->tensor.layout.shape : NULL,
      .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? strides : NULL,
  };
  Py_INCREF(object);
  return 0;
}

/* --- wrapping --- */

/* The kernel is asked about the CPU's memory, and the driver about any other. */
static tarn_status check_blob(tarn_blob *blob) {
  if (blob->device.type == 0 || blob->device.type == TARN_DEVICE_CPU) {
    const bool is_written = (blob->flags & TARN_STORAGE_READ_ONLY) == 0;
    return tarn_extent_check(blob->address, blob->size_bytes, is_written);
  }
  return tarn_cuda_blob_check(tarn__py_cuda(), blob);
}

static int element_strides(const tarn_py_memory *memory, int64_t *strides) {
  int64_t element_bytes = (int64_t)tarn_dtype_size_bytes(memory->dtype);
  for (int32_t i = 0; i < memory->rank; i++) {
    strides[i] = memory->strides_bytes[i] / element_bytes;
    if (memory->strides_bytes[i] % element_bytes == 0) continue;
    if (memory->shape[i] > 1) {
      tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                    "a stride of %lld bytes is no multiple of the element's %lld",
                    (long long)memory->strides_bytes[i], (long long)element_bytes);
      return -1;
    }
    strides[i] = 1; /* nobody steps along it */
  }
  return 0;
}

int tarn__py_wrap(const tarn_py_memory *memory, tarn_tensor *tensor) {
  int64_t strides[TARN_RANK_MAX], first, end;
  tarn_layout layout;
  tarn_status status;
  if (memory->rank > TARN_RANK_MAX) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%d dimensions; tarn has at most %d", (int)memory->rank,
                  (int)TARN_RANK_MAX);
    return -1;
  }
  if (memory->strides_bytes) {
    if (element_strides(memory, strides) < 0) return -1;
    status = tarn_layout_init_strided(&layout, memory->rank, memory->shape, strides, 0);
  } else {
    status = tarn_layout_init(&layout, memory->rank, memory->shape);
  }
  if (status == TARN_OK) {
    tarn_layout_bounds(&layout, &first, &end);
    int64_t element_bytes = (int64_t)tarn_dtype_size_bytes(memory->dtype);
    tarn_blob blob = {
        .struct_size = sizeof blob,
        .address = end > first ? (char *)memory->first + first * element_bytes : NULL,
        .size_bytes = (size_t)((end - first) * element_bytes),
        .device = memory->device,
        .flags = memory->is_read_only ? TARN_STORAGE_READ_ONLY : 0,
        .deleter = memory->deleter,
        .context = memory->context,
    };
    if (memory->is_checked) status = check_blob(&blob);
    if (status == TARN_OK) {
      status = tarn_tensor_wrap(&blob, memory->dtype, layout.rank, layout.shape, layout.strides,
                                (size_t)(-first * element_bytes), tensor);
    }
  }
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

/* The last reference to memory may go on any thread, and after Python itself; then what it owns
 * ends with the process. */
void tarn__py_drop_reference(void *object) {
  if (!Py_IsInitialized()) return;
  PyGILState_STATE state = PyGILState_Ensure();
  Py_DECREF((PyObject *)object);
  PyGILState_Release(state);
}

void tarn__py_release_buffer(void *context) {
  if (!Py_IsInitialized()) return;
  PyGILState_STATE state = PyGILState_Ensure();
  PyBuffer_Release(context);
  PyMem_Free(context);
  PyGILState_Release(state);
}

static PyObject *wrap_buffer(PyObject *exporter, const tarn_dtype *dtype) {
  Py_buffer *buffer = PyMem_Malloc(sizeof *buffer);
  if (!buffer) return PyErr_NoMemory();
  if (PyObject_GetBuffer(exporter, buffer, PyBUF_RECORDS_RO) < 0) {
    PyMem_Free(buffer);
    return NULL;
  }
  tarn_py_memory memory = {
      .first = buffer->buf,
      .rank = buffer->ndim,
      .shape = (const int64_t *)buffer->shape,
      .strides_bytes = (const int64_t *)buffer->strides,
      .is_read_only = buffer->readonly != 0,
      .deleter = tarn__py_release_buffer,
      .context = buffer,
  };
  tarn_tensor tensor;
  int result = tarn__py_dtype_of_format(buffer->format, buffer->itemsize, &memory.dtype);
  if (result == 0 && dtype) {
    size_t needed_bytes = tarn_dtype_size_bytes(*dtype);
    if (needed_bytes == tarn_dtype_size_bytes(memory.dtype)) memory.dtype = *dtype;
  }
  if (result == 0) result = tarn__py_wrap(&memory, &tensor);
  if (result == 0) return tarn__py_tensor_take(&tensor, /*was_copied=*/false);
  PyBuffer_Release(buffer);
  PyMem_Free(buffer);
  return NULL;
}

PyObject *tarn__py_buffer_tensor(PyObject *exporter) {
  return wrap_buffer(exporter, NULL);
}

PyObject *tarn__py_buffer_tensor_as(PyObject *exporter, tarn_dtype dtype) {
  return wrap_buffer(exporter, &dtype);
}

static PyObject *module_from_buffer(PyObject *module, PyObject *exporter) {
  (void)module;
  return tarn__py_buffer_tensor(exporter);
}

/* Bytes read as one run of elements, as numpy.frombuffer and torch.frombuffer do. */
static PyObject *module_frombuffer(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {
      "frombuffer", 1, 4, {"buffer", "dtype", "count", "offset"}};
  PyObject *values[4];
  tarn_dtype dtype = TARN_F32;
  int64_t length = -1, offset = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      (values[1] && tarn__py_dtype_parse(values[1], &dtype) < 0) ||
      tarn__py_int64(values[2], &length) < 0 || tarn__py_int64(values[3], &offset) < 0) {
    return NULL;
  }
  Py_buffer *buffer = PyMem_Malloc(sizeof *buffer);
  if (!buffer) return PyErr_NoMemory();
  if (PyObject_GetBuffer(values[0], buffer, PyBUF_SIMPLE) < 0) {
    PyMem_Free(buffer);
    return NULL;
  }
  int64_t element_bytes = (int64_t)tarn_dtype_size_bytes(dtype), left = buffer->len - offset;
  if (length < 0 && left >= 0 && left % element_bytes == 0) length = left / element_bytes;
  tarn_tensor tensor;
  int result = -1;
  if (offset < 0 || left < 0 || length < 0 || length > left / element_bytes) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                  "%zd bytes do not hold %lld elements of %lld bytes from byte %lld on",
                  buffer->len, (long long)length, (long long)element_bytes, (long long)offset);
  } else {
    tarn_py_memory memory = {
        .first = (char *)buffer->buf + offset,
        .dtype = dtype,
        .rank = 1,
        .shape = &length,
        .is_read_only = buffer->readonly != 0,
        .deleter = tarn__py_release_buffer,
        .context = buffer,
    };
    result = tarn__py_wrap(&memory, &tensor);
  }
  if (result == 0) return tarn__py_tensor_take(&tensor, /*was_copied=*/false);
  PyBuffer_Release(buffer);
  PyMem_Free(buffer);
  return NULL;
}

static PyMethodDef module_functions[] = {
    {"from_buffer", module_from_buffer, METH_O,
     "from_buffer(object): its memory, shape and strides, by the buffer protocol; never a copy."},
    {"frombuffer", FAST(module_frombuffer), METH_FASTCALL | METH_KEYWORDS,
     "frombuffer(buffer, dtype='float32', count=-1, offset=0): bytes as one run of elements."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_buffer_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
