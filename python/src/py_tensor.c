/* py_tensor.c: tarn.Tensor: the type, what it says of itself, and the table of all its methods. */
#include "python/src/py_tensor.h"

#include "python/src/py_arguments.h"
#include "python/src/py_arrays.h"
#include "python/src/py_blobs.h"
#include "python/src/py_buffer.h"
#include "python/src/py_copies.h"
#include "python/src/py_dlpack.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_index.h"
#include "python/src/py_linear.h"
#include "python/src/py_pieces.h"
#include "python/src/py_pool.h"
#include "python/src/py_values.h"
#include "python/src/py_views.h"

/* A repr shows at most this many elements, and nothing of the others. */
enum { SHOWN_ELEMENTS_MAX = 1000, METHODS_MAX = 64, PROPERTIES_MAX = 32 };

PyTypeObject *tarn__py_tensor_type;

PyObject *tarn__py_tensor_take(tarn_tensor *tensor, bool was_copied) {
  tarn_py_tensor *self = PyObject_New(tarn_py_tensor, tarn__py_tensor_type);
  if (!self) {
    tarn_tensor_release(tensor);
    return NULL;
  }
  self->tensor = *tensor;
  self->strides_bytes = NULL;
  self->weak_references = NULL;
  self->was_copied = was_copied;
  return (PyObject *)self;
}

PyObject *tarn__py_tensor_view(const tarn_tensor *view) {
  tarn_tensor owner = *view;
  tarn_tensor_retain(&owner);
  return tarn__py_tensor_take(&owner, /*was_copied=*/false);
}

PyObject *tarn__py_tensor_view_if(tarn_status status, const tarn_tensor *view) {
  return status == TARN_OK ? tarn__py_tensor_view(view) : tarn__py_raise(status);
}

/* The memory may be another library's, whose deleter takes the GIL by itself where it needs it. */
static void tensor_dealloc(PyObject *object) {
  PyTypeObject *type = Py_TYPE(object);
  tarn_py_tensor *self = (tarn_py_tensor *)object;
  if (self->weak_references) PyObject_ClearWeakRefs(object);
  tarn_tensor_release(&self->tensor);
  PyMem_Free(self->strides_bytes);
  PyObject_Free(object);
  Py_DECREF(type);
}

/* --- what it says of itself --- */

#define GETTER(name) static PyObject *tensor_get_##name(PyObject *self, void *unused)

GETTER(shape) {
  (void)unused;
  const tarn_layout *layout = &tarn__py_tensor_of(self)->layout;
  return tarn__py_tuple(layout->shape, layout->rank, 1);
}

GETTER(strides) {
  (void)unused;
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  return tarn__py_tuple(tensor->layout.strides, tensor->layout.rank,
                        (int64_t)tarn_dtype_size_bytes(tensor->dtype));
}

GETTER(dtype) {
  (void)unused;
  return tarn__py_dtype_object(tarn__py_tensor_of(self)->dtype);
}

GETTER(device) {
  (void)unused;
  return tarn__py_device_name(tarn_tensor_device(tarn__py_tensor_of(self)));
}

GETTER(ndim) {
  (void)unused;
  return PyLong_FromLong(tarn__py_tensor_of(self)->layout.rank);
}

GETTER(size) {
  (void)unused;
  return PyLong_FromLongLong(tarn_tensor_element_count(tarn__py_tensor_of(self)));
}

GETTER(itemsize) {
  (void)unused;
  return PyLong_FromSize_t(tarn_dtype_size_bytes(tarn__py_tensor_of(self)->dtype));
}

GETTER(nbytes) {
  (void)unused;
  return PyLong_FromSize_t(tarn_tensor_size_bytes(tarn__py_tensor_of(self)));
}

GETTER(read_only) {
  (void)unused;
  return PyBool_FromLong(tarn_storage_is_read_only(tarn__py_tensor_of(self)->storage));
}

GETTER(was_copied) {
  (void)unused;
  return PyBool_FromLong(((tarn_py_tensor *)self)->was_copied);
}

static PyObject *tensor_stride(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords) {
  static const tarn_py_signature signature = {"stride", 0, 1, {"dim"}};
  PyObject *values[1];
  int32_t dim = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[0] == Py_None ? NULL : values[0], &dim) < 0) {
    return NULL;
  }
  const tarn_layout *layout = &tarn__py_tensor_of(self)->layout;
  if (!values[0] || values[0] == Py_None) return tarn__py_tuple(layout->strides, layout->rank, 1);
  if (dim < -layout->rank || dim >= layout->rank) {
    return tarn__py_fail(TARN_PY_ERROR_INDEX, "no dimension %d of %d", (int)dim, (int)layout->rank);
  }
  return PyLong_FromLongLong(layout->strides[dim < 0 ? dim + layout->rank : dim]);
}

static PyObject *tensor_storage_offset(PyObject *self, PyObject *unused) {
  (void)unused;
  return PyLong_FromLongLong(tarn__py_tensor_of(self)->layout.offset);
}

static PyObject *tensor_data_ptr(PyObject *self, PyObject *unused) {
  (void)unused;
  return PyLong_FromVoidPtr((void *)(uintptr_t)tarn_tensor_data(tarn__py_tensor_of(self)));
}

static PyObject *tensor_shares_memory(PyObject *self, PyObject *other) {
  if (!tarn__py_is_tensor(other)) {
    return tarn__py_fail(TARN_PY_ERROR_TYPE, "a tarn.Tensor is needed, not %R",
                         (PyObject *)Py_TYPE(other));
  }
  return PyBool_FromLong(tarn__py_tensor_of(self)->storage == tarn__py_tensor_of(other)->storage);
}

static PyObject *tensor_use_count(PyObject *self, PyObject *unused) {
  (void)unused;
  return PyLong_FromSize_t(tarn_storage_use_count(tarn__py_tensor_of(self)->storage));
}

static PyObject *tensor_repr(PyObject *self) {
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  PyObject *dtype = tarn__py_dtype_object(tensor->dtype);
  PyObject *shape = tensor_get_shape(self, NULL), *device = tensor_get_device(self, NULL);
  PyObject *elements = NULL, *text = NULL;
  int64_t element_count = tarn_tensor_element_count(tensor);
  bool is_shown = element_count > 0 && element_count <= SHOWN_ELEMENTS_MAX;
  if (is_shown) elements = PyObject_CallMethod(self, "tolist", NULL);
  if (is_shown && !elements) PyErr_Clear(); /* a repr says what it can */
  if (dtype && shape && device) {
    text = elements ? PyUnicode_FromFormat("tarn.Tensor(%R, dtype=%S, device='%U')", elements,
                                           dtype, device)
                    : PyUnicode_FromFormat("tarn.Tensor(%s, shape=%R, dtype=%S, device='%U')",
                                           element_count ? "..." : "[]", shape, dtype, device);
  }
  Py_XDECREF(dtype);
  Py_XDECREF(shape);
  Py_XDECREF(device);
  Py_XDECREF(elements);
  return text;
}

static PyMethodDef own_methods[] = {
    {"stride", (PyCFunction)(void (*)(void))tensor_stride, METH_FASTCALL | METH_KEYWORDS,
     "stride(dim=None): strides in elements, as in PyTorch; t.strides is in bytes, as in NumPy."},
    {"storage_offset", tensor_storage_offset, METH_NOARGS,
     "Elements from the start of the storage to the first of the tensor."},
    {"data_ptr", tensor_data_ptr, METH_NOARGS, "Address of the first element; 0 without any."},
    {"shares_memory", tensor_shares_memory, METH_O, "Whether both are views of one storage."},
    {"storage_use_count", tensor_use_count, METH_NOARGS,
     "How many references there are to the storage, views and exports included."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef own_getset[] = {
    {"shape", tensor_get_shape, NULL, "Sizes, a tuple.", NULL},
    {"strides", tensor_get_strides, NULL, "Strides in bytes, as in NumPy.", NULL},
    {"dtype", tensor_get_dtype, NULL, "The element type, a DType.", NULL},
    {"device", tensor_get_device, NULL, "'cpu', 'cuda:0', 'cuda_host', ...", NULL},
    {"ndim", tensor_get_ndim, NULL, "How many dimensions.", NULL},
    {"size", tensor_get_size, NULL, "How many elements, as in NumPy.", NULL},
    {"itemsize", tensor_get_itemsize, NULL, "Bytes of one element.", NULL},
    {"nbytes", tensor_get_nbytes, NULL, "Bytes of all elements, packed.", NULL},
    {"read_only", tensor_get_read_only, NULL, "Whether the storage may not be written.", NULL},
    {"was_copied", tensor_get_was_copied, NULL,
     "Whether the call that returned this tensor copied elements to make it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* --- the type --- */

static PyMethodDef methods[METHODS_MAX];
static PyGetSetDef getset[PROPERTIES_MAX];

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(tarn_py_tensor, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     (char *)"A strided view of a storage. Made by tarn.empty, zeros, full, asarray, from_numpy, "
             "...\n\n"
             "Views share memory and never copy. == is identity: compare t.numpy() or t.tolist()."},
    {Py_tp_dealloc, tensor_dealloc},
    {Py_tp_repr, tensor_repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_tp_members, members},
    {Py_bf_getbuffer, tarn__py_buffer_get},
    {Py_mp_length, tarn__py_index_length},
    {Py_mp_subscript, tarn__py_index_get},
    {Py_mp_ass_subscript, tarn__py_index_set},
    {Py_sq_length, tarn__py_index_length},
    {Py_sq_item, tarn__py_index_item},
    {Py_sq_contains, tarn__py_index_contains},
    {Py_tp_iter, tarn__py_index_iterate},
    {Py_nb_float, tarn__py_value_float},
    {Py_nb_int, tarn__py_value_int},
    {Py_nb_index, tarn__py_value_index},
    {Py_nb_bool, tarn__py_value_bool},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "tarn.Tensor",
    .basicsize = sizeof(tarn_py_tensor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

static void add_methods(const PyMethodDef *more) {
  int end = 0;
  while (methods[end].ml_name) end++;
  while (more->ml_name && end < METHODS_MAX - 1) methods[end++] = *more++;
}

static void add_getset(const PyGetSetDef *more) {
  int end = 0;
  while (getset[end].name) end++;
  while (more->name && end < PROPERTIES_MAX - 1) getset[end++] = *more++;
}

int tarn__py_tensor_init(PyObject *module) {
  if (!methods[0].ml_name) {
    add_methods(own_methods);
    add_methods(tarn__py_view_methods);
    add_methods(tarn__py_piece_methods);
    add_methods(tarn__py_copy_methods);
    add_methods(tarn__py_value_methods);
    add_methods(tarn__py_array_methods);
    add_methods(tarn__py_dlpack_methods);
    add_methods(tarn__py_linear_methods);
    add_methods(tarn__py_blob_methods);
    add_getset(own_getset);
    add_getset(tarn__py_view_getset);
    add_getset(tarn__py_array_getset);
  }
  tarn__py_tensor_type = (PyTypeObject *)PyType_FromSpec(&spec);
  if (!tarn__py_tensor_type) return -1;
  return PyModule_AddObjectRef(module, "Tensor", (PyObject *)tarn__py_tensor_type);
}
