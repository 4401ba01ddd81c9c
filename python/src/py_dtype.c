/* py_dtype.c: tarn.DType: an element type as a Python object, one per type. */
#include "python/src/py_dtype.h"

#include <string.h>

#include "python/src/py_errors.h"

enum { NAME_BYTES = 64 };

typedef struct tarn_py_dtype {
  PyObject_HEAD tarn_dtype dtype;
} tarn_py_dtype;

static PyTypeObject *dtype_type;
static PyObject *objects; /* a dict from name to DType */

/* Those of one byte order and no lanes have module constants of their name. */
static const char *const constants[] = {
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "complex64",
    "complex128",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e4m3b11fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
};

static const struct {
  tarn_dtype dtype;
  const char *format;
} formats[] = {
    {{TARN_CODE_BOOL, 8, 1}, "?"},      {{TARN_CODE_INT, 8, 1}, "b"},
    {{TARN_CODE_INT, 16, 1}, "h"},      {{TARN_CODE_INT, 32, 1}, "i"},
    {{TARN_CODE_INT, 64, 1}, "l"},      {{TARN_CODE_UINT, 8, 1}, "B"},
    {{TARN_CODE_UINT, 16, 1}, "H"},     {{TARN_CODE_UINT, 32, 1}, "I"},
    {{TARN_CODE_UINT, 64, 1}, "L"},     {{TARN_CODE_FLOAT, 16, 1}, "e"},
    {{TARN_CODE_FLOAT, 32, 1}, "f"},    {{TARN_CODE_FLOAT, 64, 1}, "d"},
    {{TARN_CODE_COMPLEX, 64, 1}, "Zf"}, {{TARN_CODE_COMPLEX, 128, 1}, "Zd"},
};
enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

/* --- the object --- */

static tarn_dtype dtype_of(PyObject *self) {
  return ((tarn_py_dtype *)self)->dtype;
}

static PyObject *dtype_name(PyObject *self) {
  char name[NAME_BYTES];
  return PyUnicode_FromString(tarn_dtype_name(dtype_of(self), name, sizeof name));
}

static PyObject *dtype_get_name(PyObject *self, void *unused) {
  (void)unused;
  return dtype_name(self);
}

static PyObject *dtype_get_itemsize(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromSize_t(tarn_dtype_size_bytes(dtype_of(self)));
}

static PyObject *dtype_repr(PyObject *self) {
  char name[NAME_BYTES];
  return PyUnicode_FromFormat("tarn.%s", tarn_dtype_name(dtype_of(self), name, sizeof name));
}

/* Equal to whatever names the same type, as numpy.dtype is; hence the hash of the name. */
static PyObject *dtype_compare(PyObject *self, PyObject *other, int operation) {
  tarn_dtype parsed;
  if (operation != Py_EQ && operation != Py_NE) Py_RETURN_NOTIMPLEMENTED;
  bool is_equal = false;
  if (tarn__py_dtype_parse(other, &parsed) < 0) {
    PyErr_Clear();
  } else {
    is_equal = tarn_dtype_equal(dtype_of(self), parsed);
  }
  return PyBool_FromLong(is_equal == (operation == Py_EQ));
}

static Py_hash_t dtype_hash(PyObject *self) {
  PyObject *name = dtype_name(self);
  if (!name) return -1;
  Py_hash_t hash = PyObject_Hash(name);
  Py_DECREF(name);
  return hash;
}

static PyObject *dtype_reduce(PyObject *self, PyObject *unused) {
  (void)unused;
  PyObject *name = dtype_name(self);
  return name ? Py_BuildValue("O(N)", (PyObject *)dtype_type, name) : NULL;
}

static PyObject *dtype_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  (void)type;
  PyObject *object;
  tarn_dtype dtype;
  if (keywords && PyDict_Size(keywords) > 0) {
    PyErr_SetString(PyExc_TypeError, "DType() takes no keyword arguments");
    return NULL;
  }
  if (!PyArg_ParseTuple(args, "O:DType", &object)) return NULL;
  if (tarn__py_dtype_parse(object, &dtype) < 0) return NULL;
  return tarn__py_dtype_object(dtype);
}

static void dtype_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

static PyGetSetDef dtype_getset[] = {
    {"name", dtype_get_name, NULL, "The name, as NumPy and PyTorch write it.", NULL},
    {"itemsize", dtype_get_itemsize, NULL, "Bytes of one element.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef dtype_methods[] = {
    {"__reduce__", dtype_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot dtype_slots[] = {
    {Py_tp_doc,
     (char *)"An element type. Equal to its name, and to NumPy's type of the same name."},
    {Py_tp_new, dtype_new},
    {Py_tp_dealloc, dtype_dealloc},
    {Py_tp_repr, dtype_repr},
    {Py_tp_str, dtype_name},
    {Py_tp_hash, dtype_hash},
    {Py_tp_richcompare, dtype_compare},
    {Py_tp_getset, dtype_getset},
    {Py_tp_methods, dtype_methods},
    {0, NULL},
};

static PyType_Spec dtype_spec = {
    .name = "tarn.DType",
    .basicsize = sizeof(tarn_py_dtype),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = dtype_slots,
};

PyObject *tarn__py_dtype_object(tarn_dtype dtype) {
  char name[NAME_BYTES];
  tarn_dtype_name(dtype, name, sizeof name);
  PyObject *key = PyUnicode_FromString(name);
  if (!key) return NULL;
  PyObject *object = PyDict_GetItemWithError(objects, key);
  if (object) {
    Py_INCREF(object);
  } else if (!PyErr_Occurred()) {
    tarn_py_dtype *made = PyObject_New(tarn_py_dtype, dtype_type);
    object = (PyObject *)made;
    if (made) made->dtype = dtype;
    if (made && PyDict_SetItem(objects, key, object) < 0) Py_CLEAR(object);
  }
  Py_DECREF(key);
  return object;
}

/* --- parsing --- */

static int parse_name(const char *name, tarn_dtype *dtype) {
  if (strcmp(name, "bool_") == 0) name = "bool"; /* NumPy before 2 */
  return tarn_dtype_parse(name, dtype) == TARN_OK ? 0 : -1;
}

static int parse_text(PyObject *text, tarn_dtype *dtype) {
  Py_ssize_t length;
  const char *name = PyUnicode_AsUTF8AndSize(text, &length);
  if (!name || strlen(name) != (size_t)length) return -1;
  static const char *const prefixes[] = {"torch.", "tarn."};
  for (int i = 0; i < 2; i++) {
    size_t prefix_length = strlen(prefixes[i]);
    if (strncmp(name, prefixes[i], prefix_length) == 0) name += prefix_length;
  }
  return parse_name(name, dtype);
}

static bool parse_builtin(PyObject *object, tarn_dtype *dtype) {
  if (object == (PyObject *)&PyBool_Type)
    *dtype = TARN_BOOL;
  else if (object == (PyObject *)&PyLong_Type)
    *dtype = TARN_I64;
  else if (object == (PyObject *)&PyFloat_Type)
    *dtype = TARN_F64;
  else if (object == (PyObject *)&PyComplex_Type)
    *dtype = TARN_C128;
  else
    return false;
  return true;
}

/* By the attribute that carries the name, or by str(object) where that is torch.something. */
static int parse_foreign(PyObject *object, tarn_dtype *dtype) {
  PyObject *native = PyObject_GetAttrString(object, "isnative");
  if (native) {
    bool is_swapped = native == Py_False;
    Py_DECREF(native);
    if (is_swapped) {
      tarn__py_fail(TARN_PY_ERROR_TYPE, "%S has the other byte order; tarn has only this machine's",
                    object);
      return -1;
    }
  }
  PyErr_Clear();
  PyObject *name = PyObject_GetAttrString(object, PyType_Check(object) ? "__name__" : "name");
  if (!name) {
    PyErr_Clear();
    name = PyObject_Str(object);
  }
  if (!name) return -1;
  int result = PyUnicode_Check(name) ? parse_text(name, dtype) : -1;
  Py_DECREF(name);
  return result;
}

int tarn__py_dtype_parse(PyObject *object, tarn_dtype *dtype) {
  if (Py_TYPE(object) == dtype_type) {
    *dtype = dtype_of(object);
    return 0;
  }
  int result = 0;
  if (PyUnicode_Check(object)) {
    result = parse_text(object, dtype);
  } else if (!parse_builtin(object, dtype)) {
    result = parse_foreign(object, dtype);
  }
  if (result < 0 && !PyErr_Occurred()) {
    tarn__py_fail(TARN_PY_ERROR_TYPE,
                  "%R is no element type: bool, int8..int64, uint8..uint64, float16, bfloat16, "
                  "float32, float64, complex64, complex128 and the float8 types are",
                  object);
  }
  return result;
}

const char *tarn__py_dtype_format(tarn_dtype dtype) {
  for (int i = 0; i < FORMAT_COUNT; i++) {
    if (tarn_dtype_equal(formats[i].dtype, dtype)) return formats[i].format;
  }
  return NULL;
}

/* Sizes of C's types as '@' (native) has them, and as '=' and '<' fix them. */
static bool int_of_letter(char letter, bool is_native, tarn_dtype *dtype) {
  static const char letters[] = "bBhHiIlLqQnN";
  static const uint8_t native_bytes[] = {1,
                                         1,
                                         2,
                                         2,
                                         sizeof(int),
                                         sizeof(int),
                                         sizeof(long),
                                         sizeof(long),
                                         8,
                                         8,
                                         sizeof(size_t),
                                         sizeof(size_t)};
  static const uint8_t standard_bytes[] = {1, 1, 2, 2, 4, 4, 4, 4, 8, 8, 0, 0};
  const char *found = strchr(letters, letter);
  if (!found || letter == '\0') return false;
  int index = (int)(found - letters);
  int bytes = is_native ? native_bytes[index] : standard_bytes[index];
  if (bytes == 0) return false;
  *dtype = tarn_dtype_make(index % 2 ? TARN_CODE_UINT : TARN_CODE_INT, 8 * bytes, 1);
  return true;
}

int tarn__py_dtype_of_format(const char *format, Py_ssize_t item_bytes, tarn_dtype *dtype) {
  const char *text = format ? format : "B"; /* PEP 3118: NULL means bytes */
  bool is_native = true;
  if (*text == '@') {
    text++;
  } else if (*text == '=' || *text == '<') {
    is_native = false;
    text++;
  } else if (*text == '>' || *text == '!') {
    tarn__py_fail(TARN_PY_ERROR_TYPE, "format '%s' has the other byte order", format);
    return -1;
  }
  bool is_known = int_of_letter(text[0], is_native, dtype) && text[1] == '\0';
  if (!is_known && strcmp(text, "c") == 0) {
    *dtype = TARN_U8;
    is_known = true;
  }
  for (int i = 0; i < FORMAT_COUNT && !is_known; i++) {
    if (strcmp(text, formats[i].format) != 0) continue;
    *dtype = formats[i].dtype;
    is_known = true;
  }
  if (is_known && (Py_ssize_t)tarn_dtype_size_bytes(*dtype) == item_bytes) return 0;
  tarn__py_fail(TARN_PY_ERROR_TYPE,
                "format '%s' of %zd bytes is no element type of tarn: bool, integers, float16, "
                "float32, float64, complex64 and complex128 can be shared so",
                format ? format : "B", item_bytes);
  return -1;
}

int tarn__py_dtype_init(PyObject *module) {
  dtype_type = (PyTypeObject *)PyType_FromSpec(&dtype_spec);
  objects = PyDict_New();
  if (!dtype_type || !objects) return -1;
  if (PyModule_AddObjectRef(module, "DType", (PyObject *)dtype_type) < 0) return -1;
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
    tarn_dtype dtype;
    tarn_status status = tarn_dtype_parse(constants[i], &dtype);
    if (status != TARN_OK) {
      tarn__py_raise(status);
      return -1;
    }
    PyObject *object = tarn__py_dtype_object(dtype);
    int result = object ? PyModule_AddObjectRef(module, constants[i], object) : -1;
    Py_XDECREF(object);
    if (result < 0) return -1;
  }
  return 0;
}
