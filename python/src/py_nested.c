/* py_nested.c: nested lists of numbers into a tensor. */
#include "python/src/py_nested.h"

#include "python/src/py_copies.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"
#include "python/src/py_values.h"

/* What the numbers need, from least to most. */
typedef enum kind { KIND_NONE, KIND_BOOL, KIND_INT, KIND_FLOAT, KIND_COMPLEX } kind;

typedef struct nested {
  int64_t shape[TARN_RANK_MAX];
  int32_t rank;
  kind needed;
  tarn_dtype dtype; /* of the elements while they are filled in */
  size_t element_bytes;
  char *next; /* the element to be written next */
} nested;

static bool is_list(PyObject *object) {
  return PyList_Check(object) || PyTuple_Check(object);
}

/* A new reference: a number's __int__ is anybody's code, and may change the lists. */
static PyObject *entry_of(PyObject *list, Py_ssize_t index) {
  PyObject *entry = PyList_Check(list) ? PyList_GetItem(list, index) : PyTuple_GetItem(list, index);
  Py_XINCREF(entry);
  return entry;
}

static int find_shape(PyObject *object, nested *found) {
  while (is_list(object)) { /* nobody's code runs here, so what is borrowed stays */
    if (found->rank == TARN_RANK_MAX) {
      tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "lists nested more than %d deep", (int)TARN_RANK_MAX);
      return -1;
    }
    Py_ssize_t length = PySequence_Size(object);
    found->shape[found->rank++] = length;
    if (length == 0) break;
    object = PyList_Check(object) ? PyList_GetItem(object, 0) : PyTuple_GetItem(object, 0);
  }
  return 0;
}

static kind kind_of_number(PyObject *number) {
  if (PyBool_Check(number)) return KIND_BOOL;
  if (PyLong_Check(number)) return KIND_INT;
  if (PyFloat_Check(number)) return KIND_FLOAT;
  return PyComplex_Check(number) ? KIND_COMPLEX : KIND_NONE;
}

/* Calls visit for every number, and refuses what does not have the shape. */
static int walk(PyObject *object, nested *state, int32_t dim,
                int (*visit)(PyObject *number, nested *state)) {
  if (dim == state->rank && !is_list(object)) return visit(object, state);
  if (dim == state->rank || !is_list(object) || PySequence_Size(object) != state->shape[dim]) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "the nested lists are not all of one shape");
    return -1;
  }
  for (Py_ssize_t i = 0; i < (Py_ssize_t)state->shape[dim]; i++) {
    PyObject *entry = entry_of(object, i);
    int result = entry ? walk(entry, state, dim + 1, visit) : -1;
    Py_XDECREF(entry);
    if (result < 0) return -1;
  }
  return 0;
}

static int visit_kind(PyObject *object, nested *state) {
  PyObject *number = tarn__py_number_in(object);
  if (!number) return -1;
  kind needed = kind_of_number(number);
  Py_DECREF(number);
  if (needed > state->needed) state->needed = needed;
  return 0;
}

static int visit_fill(PyObject *object, nested *state) {
  PyObject *number = tarn__py_number_in(object);
  if (!number) return -1;
  int packed = tarn__py_pack(number, state->dtype, state->next);
  Py_DECREF(number);
  state->next += state->element_bytes;
  return packed;
}

/* NumPy's and the array API's defaults: Python's own types. */
static tarn_dtype dtype_for(kind needed) {
  switch (needed) {
    case KIND_BOOL:
      return TARN_BOOL;
    case KIND_INT:
      return TARN_I64;
    case KIND_COMPLEX:
      return TARN_C128;
    case KIND_NONE:
    case KIND_FLOAT:
      break;
  }
  return TARN_F64;
}

PyObject *tarn__py_nested_tensor(PyObject *object, tarn_dtype wanted) {
  nested state = {0};
  if (find_shape(object, &state) < 0 || walk(object, &state, 0, visit_kind) < 0) return NULL;
  if (wanted.lanes == 0) wanted = dtype_for(state.needed);
  state.dtype = tarn__py_packable(wanted);
  state.element_bytes = tarn_dtype_size_bytes(state.dtype);
  tarn_pool *pool = tarn__py_pool_of_device(tarn_device_make(TARN_DEVICE_CPU, 0));
  tarn_tensor filled, converted;
  if (!pool || tarn__py_create(pool, state.dtype, state.rank, state.shape, &filled) < 0) {
    return NULL;
  }
  state.next = tarn_tensor_data_mutable(&filled);
  if (walk(object, &state, 0, visit_fill) < 0) {
    tarn_tensor_release(&filled);
    return NULL;
  }
  if (tarn_dtype_equal(wanted, state.dtype)) {
    return tarn__py_tensor_take(&filled, /*was_copied=*/true);
  }
  int result = tarn__py_clone(&filled, wanted, pool, &converted);
  tarn_tensor_release(&filled);
  return result < 0 ? NULL : tarn__py_tensor_take(&converted, /*was_copied=*/true);
}
