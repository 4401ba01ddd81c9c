/* py_lender.c: bytes of a pool in the order of another library's stream, for tarn._cupy. */
#include "python/src/py_lender.h"

#include "alloc/adapters/callbacks/tarn_callbacks.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"

typedef struct tarn_py_lender {
  PyObject_HEAD tarn_pool *pool; /* retained */
  tarn_callbacks *callbacks;
  PyObject *streams; /* a dict: objects that keep the streams alive whose handles are known */
} tarn_py_lender;

/* Knows its stream and not that one's handle, which may mean another stream by the time that the
 * loan ends, or in the thread where it does. */
typedef struct tarn_py_loan {
  PyObject_HEAD PyObject *lender;
  tarn_pool *pool;     /* the lender's */
  tarn_stream *stream; /* retained */
  void *address;
  size_t size_bytes;
} tarn_py_loan;

static PyTypeObject *loan_type;

/* --- loans --- */

static void loan_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  tarn_py_loan *loan = (tarn_py_loan *)self;
  const tarn_status status = tarn_pool_free(loan->pool, loan->address, loan->stream);
  (void)status;          /* it was lent out, and is freed once */
  Py_BEGIN_ALLOW_THREADS /* the last one may wait for its stream */
      tarn_stream_release(loan->stream);
  Py_END_ALLOW_THREADS Py_DECREF(loan->lender);
  PyObject_Free(self);
  Py_DECREF(type);
}

static PyObject *loan_get_ptr(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromVoidPtr(((tarn_py_loan *)self)->address);
}

static PyObject *loan_get_size(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromSize_t(((tarn_py_loan *)self)->size_bytes);
}

static PyGetSetDef loan_getset[] = {
    {"ptr", loan_get_ptr, NULL, "The address; 0 for no bytes.", NULL},
    {"size", loan_get_size, NULL, "Bytes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot loan_slots[] = {
    {Py_tp_doc, (char *)"Bytes of a pool, given back in their stream's order with the object."},
    {Py_tp_dealloc, loan_dealloc},
    {Py_tp_getset, loan_getset},
    {0, NULL},
};

static PyType_Spec loan_spec = {
    .name = "tarn._tarn._Loan",
    .basicsize = sizeof(tarn_py_loan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = loan_slots,
};

/* --- lenders --- */

/* Of somebody else's stream; None is no stream: whoever asks is the CPU, now. */
static int stream_of(tarn_py_lender *self, PyObject *handle, tarn_stream **stream) {
  *stream = NULL;
  if (handle == Py_None) return 0;
  void *native = PyLong_AsVoidPtr(handle);
  if (!native && PyErr_Occurred()) return -1;
  const tarn_status status = tarn_callbacks_stream(self->callbacks, native, stream);
  if (status == TARN_OK) return 0;
  tarn__py_raise(status);
  return -1;
}

static PyObject *lender_lend(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  tarn_py_lender *lender = (tarn_py_lender *)self;
  size_t size_bytes = 0;
  tarn_stream *stream;
  if (count != 2) return PyErr_Format(PyExc_TypeError, "lend() takes a size and a stream's handle");
  if (tarn__py_size(args[0], &size_bytes) < 0 || stream_of(lender, args[1], &stream) < 0) {
    return NULL;
  }
  tarn_py_loan *loan = PyObject_New(tarn_py_loan, loan_type);
  if (!loan) return NULL;
  if (stream) tarn_stream_retain(stream);
  Py_INCREF(self);
  loan->lender = self;
  loan->pool = lender->pool;
  loan->stream = stream;
  loan->size_bytes = size_bytes;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS /* it may wait for streams */
      status = tarn_pool_alloc(lender->pool, size_bytes, stream, &loan->address);
  Py_END_ALLOW_THREADS if (status == TARN_OK) return (PyObject *)loan;
  tarn__py_raise(status);
  Py_DECREF(loan);
  return NULL;
}

static PyObject *lender_note_use(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  tarn_py_lender *lender = (tarn_py_lender *)self;
  tarn_stream *stream;
  if (count != 2) {
    return PyErr_Format(PyExc_TypeError, "note_use() takes an address and a stream's handle");
  }
  const void *address = PyLong_AsVoidPtr(args[0]);
  if (PyErr_Occurred() || stream_of(lender, args[1], &stream) < 0) return NULL;
  const tarn_status status = tarn_pool_note_use(lender->pool, address, stream);
  if (status != TARN_OK) return tarn__py_raise(status);
  Py_RETURN_NONE;
}

static PyObject *lender_forget(PyObject *self, PyObject *handle) {
  void *native = PyLong_AsVoidPtr(handle);
  if (!native && PyErr_Occurred()) return NULL;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS /* where no fence is to be had, it waits */
      status = tarn_callbacks_forget(((tarn_py_lender *)self)->callbacks, native);
  Py_END_ALLOW_THREADS if (status != TARN_OK) return tarn__py_raise(status);
  Py_RETURN_NONE;
}

/* --- streams that nobody but the lender keeps --- */

static PyObject *getrefcount;
static long lone_references; /* what getrefcount says of an object with one reference */

static long references_of(PyObject *object) {
  PyObject *count = PyObject_CallFunctionObjArgs(getrefcount, object, NULL);
  const long answer = count ? PyLong_AsLong(count) : -1;
  Py_XDECREF(count);
  return answer;
}

/* 1 and the key, a new reference, of a stream that only the dict still has; 0 for none. */
static int find_unused(PyObject *streams, PyObject **key) {
  Py_ssize_t position = 0;
  PyObject *stream;
  while (PyDict_Next(streams, &position, key, &stream)) {
    const long references = references_of(stream);
    if (references < 0) return -1;
    if (references > lone_references) continue;
    Py_INCREF(*key);
    return 1;
  }
  return 0;
}

/* The GIL is kept from the count to the end of the stream, so that nobody takes it up meanwhile,
 * as CuPy's weak references could. */
static PyObject *lender_sweep(PyObject *self, PyObject *unused) {
  (void)unused;
  PyObject *const streams = ((tarn_py_lender *)self)->streams;
  PyObject *key;
  int found;
  while ((found = find_unused(streams, &key)) > 0) {
    void *native = PyLong_AsVoidPtr(key);
    tarn_status status = tarn_callbacks_forget(((tarn_py_lender *)self)->callbacks, native);
    /* A stream that is captured is kept: the sweep goes on when that is over. */
    const int deleted = status == TARN_OK ? PyDict_DelItem(streams, key) : 0;
    Py_DECREF(key);
    if (deleted < 0) return NULL;
    if (status != TARN_OK) Py_RETURN_NONE;
  }
  if (found < 0) return NULL;
  Py_RETURN_NONE;
}

static int measure_lone_references(void) {
  getrefcount = PySys_GetObject("getrefcount"); /* borrowed */
  PyObject *alone = getrefcount ? PyList_New(0) : NULL;
  if (!alone) return -1;
  Py_INCREF(getrefcount);
  lone_references = references_of(alone);
  Py_DECREF(alone);
  return lone_references < 0 ? -1 : 0;
}

static PyObject *lender_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  static const char *names[] = {"pool", NULL};
  PyObject *pool_object;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O:_Lender", (char **)(uintptr_t)names,
                                   &pool_object)) {
    return NULL;
  }
  tarn_pool *pool = tarn__py_pool_of(pool_object);
  tarn_cuda *cuda = pool ? tarn__py_cuda() : NULL;
  if (!cuda) return NULL;
  const tarn_callbacks_options options = {.struct_size = sizeof options, .cuda = cuda};
  tarn_callbacks *callbacks;
  const tarn_status status = tarn_callbacks_create(pool, &options, &callbacks);
  if (status != TARN_OK) return tarn__py_raise(status);
  tarn_py_lender *self = PyObject_New(tarn_py_lender, type);
  PyObject *streams = self ? PyDict_New() : NULL;
  if (!streams) {
    if (self) PyObject_Free(self);
    tarn_callbacks_destroy(callbacks);
    return NULL;
  }
  self->streams = streams;
  self->pool = pool;
  tarn_pool_retain(pool);
  self->callbacks = callbacks;
  return (PyObject *)self;
}

static void lender_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  tarn_py_lender *lender = (tarn_py_lender *)self;
  Py_BEGIN_ALLOW_THREADS /* the pool's end waits for its streams */
      tarn_callbacks_destroy(lender->callbacks);
  tarn_pool_release(lender->pool);
  Py_END_ALLOW_THREADS Py_DECREF(lender->streams); /* they may end: they are closed to tarn */
  PyObject_Free(self);
  Py_DECREF(type);
}

static PyObject *lender_get_streams(PyObject *self, void *unused) {
  (void)unused;
  PyObject *const streams = ((tarn_py_lender *)self)->streams;
  Py_INCREF(streams);
  return streams;
}

static PyGetSetDef lender_getset[] = {
    {"streams", lender_get_streams, NULL,
     "Whatever keeps a stream alive, by its handle. It ends no sooner than the last loan.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef lender_methods[] = {
    {"lend", (PyCFunction)(void (*)(void))lender_lend, METH_FASTCALL,
     "lend(size, handle): a _Loan on the stream of a CUstream's handle; None: the CPU's."},
    {"note_use", (PyCFunction)(void (*)(void))lender_note_use, METH_FASTCALL,
     "note_use(address, handle): what is on the stream by now uses the block."},
    {"forget", lender_forget, METH_O, "forget(handle): the stream is about to be destroyed."},
    {"sweep", lender_sweep, METH_NOARGS,
     "sweep(): forgets, and takes out of streams, those that nobody else refers to."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot lender_slots[] = {
    {Py_tp_doc, (char *)"A pool for a library with streams of its own."},
    {Py_tp_new, lender_new},
    {Py_tp_dealloc, lender_dealloc},
    {Py_tp_getset, lender_getset},
    {Py_tp_methods, lender_methods},
    {0, NULL},
};

static PyType_Spec lender_spec = {
    .name = "tarn._tarn._Lender",
    .basicsize = sizeof(tarn_py_lender),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = lender_slots,
};

int tarn__py_lender_init(PyObject *module) {
  loan_type = (PyTypeObject *)PyType_FromSpec(&loan_spec);
  if (!loan_type || measure_lone_references() < 0) return -1;
  PyObject *type = PyType_FromSpec(&lender_spec);
  if (!type) return -1;
  const int result = PyModule_AddObjectRef(module, "_Lender", type);
  Py_DECREF(type);
  return result;
}
