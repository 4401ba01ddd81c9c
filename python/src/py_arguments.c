/* py_arguments.c: arguments of a call into C values. */
#include "python/src/py_arguments.h"

#include <string.h>

#include "python/src/py_errors.h"

static int place_keyword(const tarn_py_signature *signature, int name_count, PyObject *keyword,
                         PyObject *value, PyObject **values) {
  for (int i = 0; i < name_count; i++) {
    if (PyUnicode_CompareWithASCIIString(keyword, signature->names[i]) != 0) continue;
    if (values[i]) {
      PyErr_Format(PyExc_TypeError, "%s() got several values for '%s'", signature->function,
                   signature->names[i]);
      return -1;
    }
    values[i] = value;
    return 0;
  }
  PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", signature->function,
               keyword);
  return -1;
}

int tarn__py_arguments(const tarn_py_signature *signature, PyObject *const *args, Py_ssize_t count,
                       PyObject *keywords, PyObject **values) {
  int name_count = 0;
  while (name_count < TARN_PY_ARGUMENTS_MAX && signature->names[name_count]) {
    values[name_count++] = NULL;
  }
  if (count > signature->positional) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments, got %zd",
                 signature->function, signature->positional, count);
    return -1;
  }
  for (Py_ssize_t i = 0; i < count; i++) values[i] = args[i];
  Py_ssize_t keyword_count = keywords ? PyTuple_Size(keywords) : 0;
  for (Py_ssize_t i = 0; i < keyword_count; i++) {
    PyObject *keyword = PyTuple_GetItem(keywords, i);
    if (place_keyword(signature, name_count, keyword, args[count + i], values) < 0) return -1;
  }
  for (int i = 0; i < signature->required; i++) {
    if (values[i]) continue;
    PyErr_Format(PyExc_TypeError, "%s() is missing '%s'", signature->function, signature->names[i]);
    return -1;
  }
  return 0;
}

int tarn__py_int64(PyObject *object, int64_t *value) {
  if (!object) return 0;
  Py_ssize_t converted = PyNumber_AsSsize_t(object, PyExc_OverflowError);
  if (converted == -1 && PyErr_Occurred()) return -1;
  *value = converted;
  return 0;
}

int tarn__py_dim(PyObject *object, int32_t *dim) {
  int64_t value = *dim;
  if (tarn__py_int64(object, &value) < 0) return -1;
  if (value < INT32_MIN || value > INT32_MAX) {
    tarn__py_fail(TARN_PY_ERROR_INDEX, "dimension %lld is out of range", (long long)value);
    return -1;
  }
  *dim = (int32_t)value;
  return 0;
}

int tarn__py_size(PyObject *object, size_t *value) {
  if (!object || object == Py_None) return 0;
  int64_t converted = 0;
  if (tarn__py_int64(object, &converted) < 0) return -1;
  if (converted < 0) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "a size may not be negative: %lld", (long long)converted);
    return -1;
  }
  *value = (size_t)converted;
  return 0;
}

int tarn__py_flag(PyObject *object, bool *value) {
  if (!object) return 0;
  int truth = PyObject_IsTrue(object);
  if (truth < 0) return -1;
  *value = truth != 0;
  return 0;
}

int tarn__py_seconds(PyObject *object, uint64_t *ns) {
  static const double LONGEST_S = 1e9, NS_PER_S = 1e9;
  if (!object || object == Py_None) return 0;
  const double seconds = PyFloat_AsDouble(object);
  if (seconds == -1 && PyErr_Occurred()) return -1;
  const double wanted_ns = seconds * NS_PER_S;
  if (!(wanted_ns >= 1 && seconds <= LONGEST_S)) { /* not a number is neither */
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%R seconds: 1e-9 to 1e9 are possible", object);
    return -1;
  }
  *ns = (uint64_t)wanted_ns;
  return 0;
}

static int too_many(Py_ssize_t count) {
  tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%zd dimensions; tarn has at most %d", count,
                (int)TARN_RANK_MAX);
  return -1;
}

/* An array or a tensor without dimensions has the methods of a sequence, but no length. */
static bool is_one_integer(PyObject *object) {
  if (!PyIndex_Check(object) || PyLong_Check(object)) return PyIndex_Check(object) != 0;
  Py_ssize_t length = PySequence_Check(object) ? PySequence_Size(object) : -1;
  PyErr_Clear();
  return length < 0;
}

int tarn__py_int64s(PyObject *object, int64_t *values, int32_t *count) {
  *count = 0;
  if (is_one_integer(object)) {
    *count = 1;
    return tarn__py_int64(object, &values[0]);
  }
  PyObject *items = PySequence_Tuple(object);
  if (!items && PyErr_ExceptionMatches(PyExc_TypeError)) {
    PyErr_Clear();
    tarn__py_fail(TARN_PY_ERROR_TYPE, "an integer or a sequence of integers is needed, not %R",
                  (PyObject *)Py_TYPE(object));
  }
  if (!items) return -1;
  Py_ssize_t item_count = PyTuple_Size(items);
  int result = item_count > TARN_RANK_MAX ? too_many(item_count) : 0;
  for (Py_ssize_t i = 0; i < item_count && result == 0; i++) {
    result = tarn__py_int64(PyTuple_GetItem(items, i), &values[i]);
  }
  Py_DECREF(items);
  if (result == 0) *count = (int32_t)item_count;
  return result;
}

int tarn__py_int64s_spread(PyObject *const *args, Py_ssize_t arg_count, int64_t *values,
                           int32_t *count) {
  *count = 0;
  if (arg_count == 1) return tarn__py_int64s(args[0], values, count);
  if (arg_count > TARN_RANK_MAX) return too_many(arg_count);
  for (Py_ssize_t i = 0; i < arg_count; i++) {
    if (tarn__py_int64(args[i], &values[i]) < 0) return -1;
  }
  *count = (int32_t)arg_count;
  return 0;
}

static int narrow_dims(const int64_t *values, int32_t count, int32_t *dims) {
  for (int32_t i = 0; i < count; i++) {
    if (values[i] < INT32_MIN || values[i] > INT32_MAX) {
      tarn__py_fail(TARN_PY_ERROR_INDEX, "dimension %lld is out of range", (long long)values[i]);
      return -1;
    }
    dims[i] = (int32_t)values[i];
  }
  return 0;
}

int tarn__py_dims(PyObject *object, int32_t *dims, int32_t *count) {
  int64_t values[TARN_RANK_MAX];
  if (tarn__py_int64s(object, values, count) < 0) return -1;
  return narrow_dims(values, *count, dims);
}

int tarn__py_dims_spread(PyObject *const *args, Py_ssize_t arg_count, int32_t *dims,
                         int32_t *count) {
  int64_t values[TARN_RANK_MAX];
  if (tarn__py_int64s_spread(args, arg_count, values, count) < 0) return -1;
  return narrow_dims(values, *count, dims);
}

int tarn__py_memory_format(PyObject *object, int32_t *channels_last_rank) {
  static const struct {
    const char *name;
    int32_t rank;
  } formats[] = {{"contiguous_format", 0}, {"channels_last", 4}, {"channels_last_3d", 5}};
  *channels_last_rank = 0;
  if (!object || object == Py_None) return 0;
  PyObject *text = PyObject_Str(object); /* torch.channels_last says its name so */
  Py_ssize_t length = 0;
  const char *name = text ? PyUnicode_AsUTF8AndSize(text, &length) : NULL;
  if (name && strlen(name) != (size_t)length) name = "";
  if (name && strncmp(name, "torch.", 6) == 0) name += 6;
  int result = -1;
  for (int i = 0; i < 3 && name; i++) {
    if (strcmp(name, formats[i].name) != 0) continue;
    *channels_last_rank = formats[i].rank;
    result = 0;
  }
  Py_XDECREF(text);
  if (result < 0 && !PyErr_Occurred()) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                  "%R is no memory format: 'contiguous_format', 'channels_last' and "
                  "'channels_last_3d' are",
                  object);
  }
  return result;
}

PyObject *tarn__py_tuple(const int64_t *values, int32_t count, int64_t unit) {
  PyObject *tuple = PyTuple_New(count);
  if (!tuple) return NULL;
  for (int32_t i = 0; i < count; i++) {
    PyObject *value = PyLong_FromLongLong(values[i] * unit);
    if (!value) {
      Py_DECREF(tuple);
      return NULL;
    }
    PyTuple_SetItem(tuple, i, value);
  }
  return tuple;
}
