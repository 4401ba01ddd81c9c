/* py_arguments.h: arguments of a call into C values: what positional and keyword arguments a
 * function takes, and integers, shapes and dimensions among them. */
#ifndef TARN_PY_ARGUMENTS_H
#define TARN_PY_ARGUMENTS_H

#include "python/src/py_limited.h"
#include "tensor/tarn_layout.h"

enum { TARN_PY_ARGUMENTS_MAX = 8 };

/* A function's parameters in order: the first `positional` may come by position, the first
 * `required` must come at all. */
typedef struct tarn_py_signature {
  const char *function;
  int required;
  int positional;
  const char *names[TARN_PY_ARGUMENTS_MAX]; /* ends at the first NULL */
} tarn_py_signature;

/* Spreads the arguments of a METH_FASTCALL | METH_KEYWORDS call over `values`, one per name:
 * borrowed, NULL where left out. 0, or -1 with a TypeError. */
int tarn__py_arguments(const tarn_py_signature *signature, PyObject *const *args, Py_ssize_t count,
                       PyObject *keywords, PyObject **values);

/* Each returns 0, or -1 with an exception. A NULL object leaves *value as it is. */
int tarn__py_int64(PyObject *object, int64_t *value);
int tarn__py_dim(PyObject *object, int32_t *dim);
int tarn__py_size(PyObject *object, size_t *value);
int tarn__py_flag(PyObject *object, bool *value);
/* Of a time of more than 0; None leaves *ns as it is. */
int tarn__py_seconds(PyObject *object, uint64_t *ns);

/* A shape, strides or several dimensions: (2, 3) or 2 alone. */
int tarn__py_int64s(PyObject *object, int64_t *values, int32_t *count);
int tarn__py_dims(PyObject *object, int32_t *dims, int32_t *count);
/* The same where they are all the arguments of a call: f(2, 3) or f((2, 3)). */
int tarn__py_int64s_spread(PyObject *const *args, Py_ssize_t arg_count, int64_t *values,
                           int32_t *count);
int tarn__py_dims_spread(PyObject *const *args, Py_ssize_t arg_count, int32_t *dims,
                         int32_t *count);

/* PyTorch's memory formats by their names: how many dimensions a channels-last one is for, 4 or 5;
 * 0 for row-major, which None is too. */
int tarn__py_memory_format(PyObject *object, int32_t *channels_last_rank);

/* A tuple of `count` integers, each times `unit`. */
PyObject *tarn__py_tuple(const int64_t *values, int32_t count, int64_t unit);

#endif
