/* py_values.c: elements as Python's numbers, and back: item, tolist, float(t), int(t), bool(t). */
#include "python/src/py_values.h"

#include <string.h>

#include "python/src/py_copies.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"

enum { ELEMENT_BYTES_MAX = 16 };

/* --- one element --- */

static bool is_packable(tarn_dtype dtype) {
  if (dtype.lanes != 1) return false;
  switch (dtype.code) {
    case TARN_CODE_BOOL:
      return dtype.bits == 8;
    case TARN_CODE_INT:
    case TARN_CODE_UINT:
      return dtype.bits >= 8;
    case TARN_CODE_FLOAT:
      return dtype.bits == 32 || dtype.bits == 64;
    case TARN_CODE_COMPLEX:
      return dtype.bits == 64 || dtype.bits == 128;
    default:
      return false;
  }
}

tarn_dtype tarn__py_packable(tarn_dtype dtype) {
  return is_packable(dtype) ? dtype : TARN_F64;
}

static PyObject *unpack_int(const void *element, int bits) {
  switch (bits) {
    case 8:
      return PyLong_FromLong(*(const int8_t *)element);
    case 16:
      return PyLong_FromLong(*(const int16_t *)element);
    case 32:
      return PyLong_FromLong(*(const int32_t *)element);
    default:
      return PyLong_FromLongLong(*(const int64_t *)element);
  }
}

static PyObject *unpack_uint(const void *element, int bits) {
  switch (bits) {
    case 8:
      return PyLong_FromLong(*(const uint8_t *)element);
    case 16:
      return PyLong_FromLong(*(const uint16_t *)element);
    case 32:
      return PyLong_FromUnsignedLong(*(const uint32_t *)element);
    default:
      return PyLong_FromUnsignedLongLong(*(const uint64_t *)element);
  }
}

/* tarn's tensors are aligned for their elements, so they are read in place. */
static PyObject *unpack(const void *element, tarn_dtype dtype) {
  switch (dtype.code) {
    case TARN_CODE_BOOL:
      return PyBool_FromLong(*(const uint8_t *)element != 0);
    case TARN_CODE_INT:
      return unpack_int(element, dtype.bits);
    case TARN_CODE_UINT:
      return unpack_uint(element, dtype.bits);
    case TARN_CODE_FLOAT:
      return PyFloat_FromDouble(dtype.bits == 32 ? *(const float *)element
                                                 : *(const double *)element);
    default:
      if (dtype.bits == 64) {
        const float *parts = element;
        return PyComplex_FromDoubles(parts[0], parts[1]);
      }
      const double *parts = element;
      return PyComplex_FromDoubles(parts[0], parts[1]);
  }
}

static int out_of_bounds(PyObject *number, int bits, bool is_signed) {
  PyErr_Format(PyExc_OverflowError, "%R does not fit %sint%d", number, is_signed ? "" : "u", bits);
  return -1;
}

static int pack_int(PyObject *number, int bits, void *element) {
  PyObject *integer = PyNumber_Long(number);
  if (!integer) return -1;
  int overflow;
  int64_t value = PyLong_AsLongLongAndOverflow(integer, &overflow);
  Py_DECREF(integer);
  if (value == -1 && !overflow && PyErr_Occurred()) return -1;
  int64_t limit = bits == 64 ? INT64_MAX : ((int64_t)1 << (bits - 1)) - 1;
  if (overflow || value > limit || value < -limit - 1) {
    return out_of_bounds(number, bits, /*is_signed=*/true);
  }
  memcpy(element, &value, (size_t)bits / 8); /* little-endian */
  return 0;
}

static int pack_uint(PyObject *number, int bits, void *element) {
  PyObject *integer = PyNumber_Long(number);
  if (!integer) return -1;
  uint64_t value = PyLong_AsUnsignedLongLong(integer);
  Py_DECREF(integer);
  bool has_failed = value == UINT64_MAX && PyErr_Occurred();
  if (has_failed && !PyErr_ExceptionMatches(PyExc_OverflowError)) return -1;
  if (has_failed || (bits < 64 && value >> bits != 0)) {
    return out_of_bounds(number, bits, /*is_signed=*/false);
  }
  memcpy(element, &value, (size_t)bits / 8);
  return 0;
}

static int pack_complex(PyObject *number, int bits, void *element) {
  double real = PyComplex_RealAsDouble(number);
  if (real == -1 && PyErr_Occurred()) return -1;
  double imaginary = PyComplex_ImagAsDouble(number);
  if (imaginary == -1 && PyErr_Occurred()) return -1;
  if (bits == 64) {
    float parts[2] = {(float)real, (float)imaginary};
    memcpy(element, parts, sizeof parts);
  } else {
    double parts[2] = {real, imaginary};
    memcpy(element, parts, sizeof parts);
  }
  return 0;
}

int tarn__py_pack(PyObject *number, tarn_dtype dtype, void *element) {
  if (dtype.code == TARN_CODE_INT) return pack_int(number, dtype.bits, element);
  if (dtype.code == TARN_CODE_UINT) return pack_uint(number, dtype.bits, element);
  if (dtype.code == TARN_CODE_COMPLEX) return pack_complex(number, dtype.bits, element);
  if (dtype.code == TARN_CODE_BOOL) {
    int truth = PyObject_IsTrue(number);
    if (truth >= 0) *(uint8_t *)element = (uint8_t)truth;
    return truth < 0 ? -1 : 0;
  }
  double value = PyFloat_AsDouble(number);
  if (value == -1 && PyErr_Occurred()) return -1;
  float narrow = (float)value;
  if (dtype.bits == 32)
    memcpy(element, &narrow, sizeof narrow);
  else
    memcpy(element, &value, sizeof value);
  return 0;
}

bool tarn__py_is_number(PyObject *object) {
  return PyLong_Check(object) || PyFloat_Check(object) || PyComplex_Check(object);
}

/* item() of what has no dimensions; Py_None where that is no number. NULL with an exception. */
static PyObject *item_in(PyObject *object) {
  PyObject *rank = PyObject_GetAttrString(object, "ndim");
  bool has_none = rank && PyLong_Check(rank) && PyLong_AsLong(rank) == 0;
  Py_XDECREF(rank);
  PyErr_Clear();
  PyObject *number = has_none ? PyObject_CallMethod(object, "item", NULL) : Py_None;
  if (!has_none) Py_INCREF(Py_None);
  if (!number || tarn__py_is_number(number)) return number;
  Py_DECREF(number);
  Py_RETURN_NONE;
}

PyObject *tarn__py_number_in(PyObject *object) {
  if (tarn__py_is_number(object)) {
    Py_INCREF(object);
    return object;
  }
  PyObject *number = item_in(object);
  if (number != Py_None) return number;
  Py_DECREF(number);
  return tarn__py_fail(TARN_PY_ERROR_TYPE, "a number is needed, not %R",
                       (PyObject *)Py_TYPE(object));
}

/* One element on the stack, broadcast. */
int tarn__py_fill(const tarn_tensor *dst, PyObject *value) {
  _Alignas(ELEMENT_BYTES_MAX) unsigned char element[ELEMENT_BYTES_MAX] = {0};
  tarn_dtype dtype = tarn__py_packable(dst->dtype);
  PyObject *number = tarn__py_number_in(value);
  if (!number) return -1;
  int packed = tarn__py_pack(number, dtype, element);
  Py_DECREF(number);
  if (packed < 0) return -1;
  tarn_blob blob = {
      .struct_size = sizeof blob, .address = element, .size_bytes = tarn_dtype_size_bytes(dtype)};
  tarn_tensor source;
  tarn_status status = tarn_tensor_wrap(&blob, dtype, 0, NULL, NULL, 0, &source);
  if (status != TARN_OK) {
    tarn__py_raise(status);
    return -1;
  }
  int result = tarn__py_copy(dst, &source);
  tarn_tensor_release(&source);
  return result;
}

/* --- all of them --- */

/* The elements where Python can read them: the tensor itself, retained, or a host copy in float64.
 * 0, or -1 with an exception. */
static int make_readable(const tarn_tensor *tensor, tarn_tensor *readable) {
  tarn_dtype dtype = tarn__py_packable(tensor->dtype);
  if (tarn_dtype_equal(dtype, tensor->dtype) && tarn_device_is_host(tarn_tensor_device(tensor))) {
    *readable = *tensor;
    tarn_tensor_retain(readable);
    return 0;
  }
  return tarn__py_clone(tensor, dtype, tarn__py_pool_of_device((tarn_device){TARN_DEVICE_CPU, 0}),
                        readable);
}

static PyObject *item_of(PyObject *self) {
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  int64_t element_count = tarn_tensor_element_count(tensor);
  if (element_count != 1) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "item() of %lld elements; it takes exactly one",
                         (long long)element_count);
  }
  tarn_tensor readable;
  if (make_readable(tensor, &readable) < 0) return NULL;
  PyObject *number = unpack(tarn_tensor_data(&readable), readable.dtype);
  tarn_tensor_release(&readable);
  return number;
}

static PyObject *tensor_item(PyObject *self, PyObject *unused) {
  (void)unused;
  return item_of(self);
}

static PyObject *list_of(const tarn_tensor *tensor, int32_t dim, const char *data) {
  if (dim == tensor->layout.rank) return unpack(data, tensor->dtype);
  int64_t count = tensor->layout.shape[dim];
  ptrdiff_t step =
      (ptrdiff_t)tensor->layout.strides[dim] * (ptrdiff_t)tarn_dtype_size_bytes(tensor->dtype);
  PyObject *list = PyList_New((Py_ssize_t)count);
  if (!list) return NULL;
  for (int64_t i = 0; i < count; i++, data += step) {
    PyObject *entry = list_of(tensor, dim + 1, data);
    if (!entry) {
      Py_DECREF(list);
      return NULL;
    }
    PyList_SetItem(list, (Py_ssize_t)i, entry);
  }
  return list;
}

static PyObject *tensor_tolist(PyObject *self, PyObject *unused) {
  (void)unused;
  tarn_tensor readable;
  if (make_readable(tarn__py_tensor_of(self), &readable) < 0) return NULL;
  PyObject *list = list_of(&readable, 0, tarn_tensor_data(&readable));
  tarn_tensor_release(&readable);
  return list;
}

/* Takes `number`. */
static PyObject *converted(PyObject *number, PyObject *(*convert)(PyObject *)) {
  if (!number) return NULL;
  PyObject *result = convert(number);
  Py_DECREF(number);
  return result;
}

PyObject *tarn__py_value_float(PyObject *self) {
  return converted(item_of(self), PyNumber_Float);
}

PyObject *tarn__py_value_int(PyObject *self) {
  return converted(item_of(self), PyNumber_Long);
}

PyObject *tarn__py_value_index(PyObject *self) {
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  bool is_integer = tensor->dtype.code == TARN_CODE_INT || tensor->dtype.code == TARN_CODE_UINT;
  if (!is_integer || tensor->layout.rank != 0) {
    return tarn__py_fail(TARN_PY_ERROR_TYPE,
                         "only an integer tensor without dimensions can be an index");
  }
  return item_of(self);
}

int tarn__py_value_bool(PyObject *self) {
  PyObject *number = item_of(self);
  if (!number) return -1;
  int truth = PyObject_IsTrue(number);
  Py_DECREF(number);
  return truth;
}

static PyObject *tensor_complex(PyObject *self, PyObject *unused) {
  (void)unused;
  PyObject *number = item_of(self);
  if (!number) return NULL;
  PyObject *result = PyObject_CallFunctionObjArgs((PyObject *)&PyComplex_Type, number, NULL);
  Py_DECREF(number);
  return result;
}

PyMethodDef tarn__py_value_methods[] = {
    {"item", tensor_item, METH_NOARGS, "The one element as a Python number."},
    {"tolist", tensor_tolist, METH_NOARGS,
     "Nested lists of Python numbers; a number where there is no dimension."},
    {"__complex__", tensor_complex, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
