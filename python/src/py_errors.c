/* py_errors.c: tarn's statuses as Python exceptions. */
#include "python/src/py_errors.h"

#include <errno.h>

static PyObject *classes[TARN_PY_ERROR_COUNT];

static PyObject *make_class(const char *name, PyObject *above, PyObject *builtin,
                            const char *text) {
  char full_name[64];
  PyOS_snprintf(full_name, sizeof full_name, "tarn.%s", name);
  if (!above) return PyErr_NewExceptionWithDoc(full_name, text, builtin, NULL);
  PyObject *bases = PyTuple_Pack(2, above, builtin);
  if (!bases) return NULL;
  PyObject *made = PyErr_NewExceptionWithDoc(full_name, text, bases, NULL);
  Py_DECREF(bases);
  return made;
}

int tarn__py_errors_init(PyObject *module) {
#define TARN_PY_ERROR_ROW(name, python, above, builtin, text)                     \
  classes[TARN_PY_ERROR_##name] =                                                 \
      make_class(python, classes[TARN_PY_ERROR_##above], builtin, text);          \
  if (!classes[TARN_PY_ERROR_##name] ||                                           \
      PyModule_AddObjectRef(module, python, classes[TARN_PY_ERROR_##name]) < 0) { \
    return -1;                                                                    \
  }
  TARN_PY_ERROR_TABLE(TARN_PY_ERROR_ROW)
#undef TARN_PY_ERROR_ROW
  return 0;
}

static tarn_py_error kind_of(tarn_status status) {
  switch (status) {
    case TARN_INVALID_ARGUMENT:
    case TARN_TOO_LARGE:
    case TARN_NOT_FOUND:
    case TARN_BAD_FORMAT:
      return TARN_PY_ERROR_ARGUMENT;
    case TARN_OUT_OF_MEMORY:
      return TARN_PY_ERROR_MEMORY;
    case TARN_NOT_SUPPORTED:
      return TARN_PY_ERROR_SUPPORT;
    case TARN_READ_ONLY:
      return TARN_PY_ERROR_READ_ONLY;
    case TARN_OVERLAP:
      return TARN_PY_ERROR_OVERLAP;
    case TARN_NOT_READY:
    case TARN_BUSY:
      return TARN_PY_ERROR_BUSY;
    case TARN_UNAVAILABLE:
    case TARN_SYSTEM_ERROR:
    case TARN_DEVICE_ERROR:
      return TARN_PY_ERROR_DEVICE;
    case TARN_OK:
      break;
  }
  return TARN_PY_ERROR_ANY;
}

/* The status and its native cause become attributes of the exception. */
static PyObject *raise_last_error(tarn_py_error kind, tarn_status status) {
  const tarn_error *error = tarn_last_error();
  PyObject *raised = PyObject_CallFunction(classes[kind], "s", error->message);
  if (!raised) return NULL;
  PyObject *values[3] = {
      PyUnicode_FromString(tarn_status_name(status)), PyLong_FromLongLong(error->native_code),
      error->native_call ? PyUnicode_FromString(error->native_call) : Py_BuildValue("")};
  static const char *const names[3] = {"status", "native_code", "native_call"};
  int result = 0;
  for (int i = 0; i < 3; i++) {
    if (!values[i] || result < 0)
      result = -1;
    else
      result = PyObject_SetAttrString(raised, names[i], values[i]);
    Py_XDECREF(values[i]);
  }
  if (result == 0) PyErr_SetObject(classes[kind], raised);
  Py_DECREF(raised);
  return NULL;
}

PyObject *tarn__py_raise(tarn_status status) {
  return raise_last_error(kind_of(status), status);
}

PyObject *tarn__py_raise_as(tarn_py_error kind, tarn_status status) {
  return raise_last_error(status == TARN_OUT_OF_MEMORY ? TARN_PY_ERROR_MEMORY : kind, status);
}

PyObject *tarn__py_raise_for_file(tarn_status status, PyObject *name) {
  int native_code = (int)tarn_last_error()->native_code;
  if (status == TARN_NOT_FOUND) native_code = ENOENT;
  if ((status != TARN_NOT_FOUND && status != TARN_SYSTEM_ERROR) || native_code == 0) {
    return tarn__py_raise(status);
  }
  PyObject *value = name ? Py_BuildValue("(isO)", native_code, tarn_last_error()->message, name)
                         : Py_BuildValue("(is)", native_code, tarn_last_error()->message);
  if (value) PyErr_SetObject(PyExc_OSError, value);
  Py_XDECREF(value);
  return NULL;
}

PyObject *tarn__py_fail(tarn_py_error kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  PyErr_FormatV(classes[kind], format, arguments);
  va_end(arguments);
  return NULL;
}
