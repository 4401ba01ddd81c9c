/* py_linear.c: t.linear(): the elements as one row-major run, free where they lie so.
 *
 * A span is a context manager and an exporter of buffers. Memory that somebody still looks at must
 * not go away under them, so a span with exports does not end: __exit__ raises, and the span ends
 * with its last export.
 */
#include "python/src/py_linear.h"

#include <string.h>

#include "python/src/py_arguments.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"
#include "tensor/tarn_linear.h"

typedef struct tarn_py_span {
  PyObject_HEAD PyObject *tensor;
  tarn_linear_span span;
  tarn_stream *stream; /* the device's; borrowed */
  PyObject *data;      /* a weak reference to the memoryview that .data has given out */
  Py_ssize_t export_count, element_count, element_bytes;
  uint32_t access;
  bool is_open, is_ending;
} tarn_py_span;

static PyTypeObject *span_type;

/* --- beginning and ending --- */

static int begin(tarn_py_span *self) {
  const tarn_tensor *tensor = tarn__py_tensor_of(self->tensor);
  tarn_pool *pool = tarn__py_pool_of_device(tarn_device_make(TARN_DEVICE_CPU, 0));
  if (!pool || tarn__py_device_stream(tarn_tensor_device(tensor), &self->stream) < 0) return -1;
  tarn_status status;
  uint32_t access = self->access;
  tarn_stream *stream = self->stream;
  tarn_linear_span span;
  Py_BEGIN_ALLOW_THREADS status = tarn_linear_begin(tensor, access, pool, stream, &span);
  Py_END_ALLOW_THREADS if (status != TARN_OK) {
    tarn__py_raise(status);
    return -1;
  }
  self->span = span;
  self->is_open = true;
  return 0;
}

static int end(tarn_py_span *self) {
  tarn_status status;
  tarn_linear_span span = self->span;
  tarn_stream *stream = self->stream;
  self->is_open = false;
  Py_BEGIN_ALLOW_THREADS status = tarn_linear_end(&span, stream);
  Py_END_ALLOW_THREADS self->span = span;
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

/* The memoryview where it still is and was not released; NULL without an exception else. Weakly,
 * because it holds the span: together they would never go. */
static PyObject *given_view(tarn_py_span *self) {
  PyObject *view = self->data ? PyWeakref_GetObject(self->data) : NULL;
  if (!view || view == Py_None) return NULL;
  Py_INCREF(view);
  PyObject *size = PyObject_GetAttrString(view, "nbytes");
  PyErr_Clear();
  if (!size) Py_CLEAR(view);
  Py_XDECREF(size);
  return view;
}

/* Ends the span, or says that it cannot yet. */
static int close_span(tarn_py_span *self) {
  if (!self->is_open) return 0;
  PyObject *view = given_view(self);
  if (view) {
    PyObject *released = PyObject_CallMethod(view, "release", NULL);
    if (!released) PyErr_Clear(); /* a view of it is still there, and counted below */
    Py_XDECREF(released);
    Py_DECREF(view);
  }
  Py_CLEAR(self->data);
  if (self->export_count == 0) return end(self);
  self->is_ending = true;
  tarn__py_fail(TARN_PY_ERROR_BUSY,
                "the span is still looked at by %zd buffers (arrays or memoryviews of it); it ends "
                "with the last of them",
                self->export_count);
  return -1;
}

/* --- as an exporter --- */

static int span_get_buffer(PyObject *object, Py_buffer *buffer, int flags) {
  tarn_py_span *self = (tarn_py_span *)object;
  bool is_read_only = !(self->access & TARN_LINEAR_WRITE);
  buffer->obj = NULL;
  if (!self->is_open || self->is_ending) {
    tarn__py_fail(TARN_PY_ERROR_BUFFER, "the span is not open");
    return -1;
  }
  if (is_read_only && (flags & PyBUF_WRITABLE)) {
    tarn__py_fail(TARN_PY_ERROR_BUFFER, "the span was opened for reading");
    return -1;
  }
  static char nothing[1];
  const char *format = tarn__py_dtype_format(tarn__py_tensor_of(self->tensor)->dtype);
  *buffer = (Py_buffer){
      .buf = self->span.data ? self->span.data : nothing,
      .obj = object,
      .len = (Py_ssize_t)self->span.size_bytes,
      .itemsize = self->element_bytes,
      .readonly = is_read_only,
      .ndim = 1,
      .format = (flags & PyBUF_FORMAT) ? (char *)(uintptr_t)(format ? format : "B") : NULL,
      .shape = (flags & PyBUF_ND) ? &self->element_count : NULL,
      .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? &self->element_bytes : NULL,
  };
  Py_INCREF(object);
  self->export_count++;
  return 0;
}

static void span_release_buffer(PyObject *object, Py_buffer *buffer) {
  (void)buffer;
  tarn_py_span *self = (tarn_py_span *)object;
  self->export_count--;
  if (self->export_count > 0 || !self->is_ending) return;
  self->is_ending = false;
  if (end(self) < 0) PyErr_WriteUnraisable(object);
}

/* --- the object --- */

static PyObject *span_enter(PyObject *object, PyObject *unused) {
  (void)unused;
  tarn_py_span *self = (tarn_py_span *)object;
  if (!self->is_open && begin(self) < 0) return NULL;
  Py_INCREF(object);
  return object;
}

static PyObject *span_exit(PyObject *object, PyObject *const *args, Py_ssize_t count) {
  (void)args, (void)count;
  if (close_span((tarn_py_span *)object) < 0) return NULL;
  Py_RETURN_FALSE;
}

static PyObject *span_get_data(PyObject *object, void *unused) {
  (void)unused;
  tarn_py_span *self = (tarn_py_span *)object;
  PyObject *view = given_view(self);
  if (view) return view;
  Py_CLEAR(self->data);
  view = PyMemoryView_FromObject(object);
  if (view) self->data = PyWeakref_NewRef(view, NULL);
  if (view && !self->data) Py_CLEAR(view);
  return view;
}

static PyObject *span_get_zero_copy(PyObject *object, void *unused) {
  (void)unused;
  return PyBool_FromLong(((tarn_py_span *)object)->span.is_zero_copy);
}

static PyObject *span_get_moved_bytes(PyObject *object, void *unused) {
  (void)unused;
  return PyLong_FromSize_t(((tarn_py_span *)object)->span.moved_bytes);
}

static void span_dealloc(PyObject *object) {
  PyTypeObject *type = Py_TYPE(object);
  tarn_py_span *self = (tarn_py_span *)object;
  if (self->is_open) {
    PyObject *error, *value, *traceback;
    PyErr_Fetch(&error, &value, &traceback);
    if (end(self) < 0) PyErr_WriteUnraisable(NULL);
    PyErr_Restore(error, value, traceback);
  }
  Py_XDECREF(self->data);
  Py_XDECREF(self->tensor);
  PyObject_Free(object);
  Py_DECREF(type);
}

static PyMethodDef span_methods[] = {
    {"__enter__", span_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))span_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef span_getset[] = {
    {"data", span_get_data, NULL, "A one-dimensional memoryview of the elements.", NULL},
    {"zero_copy", span_get_zero_copy, NULL, "Whether it is the tensor's own memory.", NULL},
    {"moved_bytes", span_get_moved_bytes, NULL,
     "Bytes copied so far: by the gather, and after the block by the scatter as well.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot span_slots[] = {
    {Py_tp_doc, (char *)"What t.linear() gives: a context manager, and a buffer inside its block."},
    {Py_tp_dealloc, span_dealloc},
    {Py_tp_methods, span_methods},
    {Py_tp_getset, span_getset},
    {Py_bf_getbuffer, span_get_buffer},
    {Py_bf_releasebuffer, span_release_buffer},
    {0, NULL},
};

static PyType_Spec span_spec = {
    .name = "tarn.LinearSpan",
    .basicsize = sizeof(tarn_py_span),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = span_slots,
};

static int parse_access(PyObject *object, uint32_t *access) {
  static const char *const names[] = {"r", "w", "rw"};
  static const uint32_t flags[] = {TARN_LINEAR_READ, TARN_LINEAR_WRITE,
                                   TARN_LINEAR_READ | TARN_LINEAR_WRITE};
  *access = TARN_LINEAR_READ;
  if (!object) return 0;
  for (int i = 0; i < 3; i++) {
    if (!PyUnicode_Check(object)) break;
    if (PyUnicode_CompareWithASCIIString(object, names[i]) != 0) continue;
    *access = flags[i];
    return 0;
  }
  tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "linear() is for 'r', 'w' or 'rw', not %R", object);
  return -1;
}

static PyObject *tensor_linear(PyObject *tensor, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords) {
  static const tarn_py_signature signature = {"linear", 0, 1, {"access"}};
  PyObject *values[1];
  uint32_t access;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      parse_access(values[0], &access) < 0) {
    return NULL;
  }
  tarn_py_span *self = PyObject_New(tarn_py_span, span_type);
  if (!self) return NULL;
  const tarn_tensor *value = tarn__py_tensor_of(tensor);
  memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
  self->tensor = tensor;
  self->access = access;
  self->element_count = (Py_ssize_t)tarn_tensor_element_count(value);
  self->element_bytes = (Py_ssize_t)tarn_dtype_size_bytes(value->dtype);
  if (!tarn__py_dtype_format(value->dtype)) { /* as bytes */
    self->element_count *= self->element_bytes;
    self->element_bytes = 1;
  }
  Py_INCREF(tensor);
  return (PyObject *)self;
}

PyMethodDef tarn__py_linear_methods[] = {
    {"linear", (PyCFunction)(void (*)(void))tensor_linear, METH_FASTCALL | METH_KEYWORDS,
     "linear(access='r'): the elements in row-major order, for 'r', 'w' or 'rw'.\n\n"
     "    with t.linear('rw') as span:\n"
     "        span.data[0] = 1          # a memoryview; numpy.asarray(span) works as well\n\n"
     "Free where the elements lie so on the host (span.zero_copy), else one gathering copy, and a\n"
     "scatter after writing (span.moved_bytes). 'w' alone must write every element."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_linear_init(PyObject *module) {
  span_type = (PyTypeObject *)PyType_FromSpec(&span_spec);
  if (!span_type) return -1;
  return PyModule_AddObjectRef(module, "LinearSpan", (PyObject *)span_type);
}
