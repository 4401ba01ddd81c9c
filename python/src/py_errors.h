/* py_errors.h: tarn's statuses as Python exceptions.
 *
 * Every exception of the package is a tarn.TarnError and, beside that, the built-in one that a user
 * of NumPy or PyTorch would catch: ValueError, IndexError, TypeError, BufferError, MemoryError.
 */
#ifndef TARN_PY_ERRORS_H
#define TARN_PY_ERRORS_H

#include "alloc/tarn_status.h"
#include "python/src/py_limited.h"

/* One row per class: name here, name in Python, the class above, the built-in one beside that, what
 * it is for. */
#define TARN_PY_ERROR_TABLE(X)                                                                    \
  X(ANY, "TarnError", ANY, PyExc_Exception, "Whatever tarn could not do.")                        \
  X(ARGUMENT, "ArgumentError", ANY, PyExc_ValueError, "An argument outside of what is accepted.") \
  X(INDEX, "OutOfBoundsError", ARGUMENT, PyExc_IndexError,                                        \
    "An index or a dimension that is not there.")                                                 \
  X(TYPE, "ElementTypeError", ANY, PyExc_TypeError,                                               \
    "A type, or an element type, that does not fit.")                                             \
  X(BUFFER, "ExportError", ANY, PyExc_BufferError, "Memory that cannot be shared as asked.")      \
  X(MEMORY, "OutOfMemoryError", ANY, PyExc_MemoryError, "No memory left, or a limit is reached.") \
  X(COPY, "CopyNeededError", ANY, PyExc_ValueError,                                               \
    "copy=False, and it does not go without a copy.")                                             \
  X(READ_ONLY, "ReadOnlyError", ANY, PyExc_ValueError, "The memory may not be written.")          \
  X(OVERLAP, "OverlapError", ANY, PyExc_ValueError,                                               \
    "Elements that share memory cannot be written so.")                                           \
  X(BUSY, "BusyError", ANY, PyExc_BufferError, "Somebody still uses it.")                         \
  X(SUPPORT, "UnsupportedError", ANY, PyExc_NotImplementedError, "This build cannot do that.")    \
  X(DEVICE, "DeviceError", ANY, PyExc_RuntimeError, "The driver, the device or the system failed.")

typedef enum tarn_py_error {
#define TARN_PY_ERROR_ROW(name, python, above, builtin, text) TARN_PY_ERROR_##name,
  TARN_PY_ERROR_TABLE(TARN_PY_ERROR_ROW)
#undef TARN_PY_ERROR_ROW
      TARN_PY_ERROR_COUNT
} tarn_py_error;

/* Makes the classes and adds them to the module. 0, or -1 with an exception. */
int tarn__py_errors_init(PyObject *module);

/* Raises the class that fits `status`, with the thread's last error as its text. Returns NULL. */
PyObject *tarn__py_raise(tarn_status status);
/* The same as a class of the caller's choice, who knows what the argument was. Running out of
 * memory stays what it is. */
PyObject *tarn__py_raise_as(tarn_py_error kind, tarn_status status);
/* What open() and os.writev() would raise: FileNotFoundError, or OSError with its errno and, where
 * it is not NULL, the file's name; what the system has no number for as tarn__py_raise. */
PyObject *tarn__py_raise_for_file(tarn_status status, PyObject *name);
/* Raises with a text of our own, as PyUnicode_FromFormat takes it. Returns NULL. */
PyObject *tarn__py_fail(tarn_py_error kind, const char *format, ...);

#endif
