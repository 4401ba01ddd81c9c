/* py_index.c: t[key] and t[key] = value: integers, slices, Ellipsis, None, and tuples of them. */
#include "python/src/py_index.h"

#include "python/src/py_copies.h"
#include "python/src/py_errors.h"
#include "python/src/py_tensor.h"

static int refuse(tarn_status status) {
  if (status == TARN_OK) return 0;
  if (status == TARN_INVALID_ARGUMENT)
    tarn__py_raise_as(TARN_PY_ERROR_INDEX, status);
  else
    tarn__py_raise(status);
  return -1;
}

static bool takes_a_dimension(PyObject *item) {
  return item != Py_None && item != Py_Ellipsis;
}

static int apply_slice(tarn_tensor *view, int32_t dim, PyObject *slice) {
  Py_ssize_t start, stop, step;
  if (PySlice_Unpack(slice, &start, &stop, &step) < 0) return -1;
  /* What was left out arrives as an extreme value that clamps to the same end, but for the one
   * that tarn_layout_slice reads as "left out" itself and that can stand on the other side. */
  if (start == TARN_SLICE_OPEN) start++;
  if (stop == TARN_SLICE_OPEN && step > 0) stop++;
  return refuse(tarn_tensor_slice(view, dim, start, stop, step));
}

/* One item of a key, at dimension *dim of what is left. */
static int apply_item(tarn_tensor *view, int32_t *dim, PyObject *item, Py_ssize_t taken_count) {
  if (PySlice_Check(item)) return apply_slice(view, (*dim)++, item);
  if (item == Py_None) return refuse(tarn_tensor_unsqueeze(view, (*dim)++));
  if (item == Py_Ellipsis) {
    /* In front of it *dim dimensions are done; behind it the rest of the key takes taken_count. */
    *dim = (int32_t)(view->layout.rank - taken_count);
    return 0;
  }
  /* Arrays have __index__ as well, which raises TypeError for what is not one integer. */
  bool is_index = !PyBool_Check(item) && PyIndex_Check(item);
  Py_ssize_t index = is_index ? PyNumber_AsSsize_t(item, PyExc_IndexError) : -1;
  if (index == -1 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) return -1;
    PyErr_Clear();
    is_index = false;
  }
  if (is_index) return refuse(tarn_tensor_select(view, *dim, index));
  tarn__py_fail(TARN_PY_ERROR_INDEX,
                "a key is made of integers, slices, Ellipsis and None, not %R: what picks elements "
                "one by one would be a copy",
                (PyObject *)Py_TYPE(item));
  return -1;
}

static int apply_tuple(tarn_tensor *view, PyObject *key) {
  Py_ssize_t item_count = PyTuple_Size(key), taken_count = 0, ellipsis_count = 0;
  for (Py_ssize_t i = 0; i < item_count; i++) {
    PyObject *item = PyTuple_GetItem(key, i);
    taken_count += takes_a_dimension(item);
    ellipsis_count += item == Py_Ellipsis;
  }
  if (taken_count > view->layout.rank || ellipsis_count > 1) {
    tarn__py_fail(TARN_PY_ERROR_INDEX, "%zd indices and %zd Ellipsis for %d dimensions",
                  taken_count, ellipsis_count, (int)view->layout.rank);
    return -1;
  }
  int32_t dim = 0;
  for (Py_ssize_t i = 0; i < item_count; i++) {
    PyObject *item = PyTuple_GetItem(key, i);
    taken_count -= takes_a_dimension(item);
    if (apply_item(view, &dim, item, taken_count) < 0) return -1;
  }
  return 0;
}

static int apply_key(tarn_tensor *view, PyObject *key) {
  if (PyTuple_Check(key)) return apply_tuple(view, key);
  if (takes_a_dimension(key) && view->layout.rank == 0) {
    tarn__py_fail(TARN_PY_ERROR_INDEX, "a tensor without dimensions takes no index but () and ...");
    return -1;
  }
  int32_t dim = 0;
  return apply_item(view, &dim, key, 0);
}

PyObject *tarn__py_index_get(PyObject *self, PyObject *key) {
  tarn_tensor view = *tarn__py_tensor_of(self);
  return apply_key(&view, key) < 0 ? NULL : tarn__py_tensor_view(&view);
}

int tarn__py_index_set(PyObject *self, PyObject *key, PyObject *value) {
  if (!value) {
    PyErr_SetString(PyExc_TypeError, "elements of a tensor cannot be deleted");
    return -1;
  }
  tarn_tensor view = *tarn__py_tensor_of(self);
  return apply_key(&view, key) < 0 ? -1 : tarn__py_assign(&view, value);
}

Py_ssize_t tarn__py_index_length(PyObject *self) {
  const tarn_layout *layout = &tarn__py_tensor_of(self)->layout;
  if (layout->rank > 0) return (Py_ssize_t)layout->shape[0];
  PyErr_SetString(PyExc_TypeError, "len() of a tensor without dimensions");
  return -1;
}

/* Python would compare the rows by ==, which is identity, and so answer False. */
int tarn__py_index_contains(PyObject *self, PyObject *value) {
  (void)self, (void)value;
  PyErr_SetString(PyExc_TypeError, "`in` compares elements: ask t.numpy() or t.tolist()");
  return -1;
}

PyObject *tarn__py_index_iterate(PyObject *self) {
  if (tarn__py_tensor_of(self)->layout.rank > 0) return PySeqIter_New(self);
  PyErr_SetString(PyExc_TypeError, "iteration over a tensor without dimensions");
  return NULL;
}

PyObject *tarn__py_index_item(PyObject *self, Py_ssize_t index) {
  tarn_tensor view = *tarn__py_tensor_of(self);
  if (view.layout.rank == 0) {
    PyErr_SetString(PyExc_TypeError, "iteration over a tensor without dimensions");
    return NULL;
  }
  if (refuse(tarn_tensor_select(&view, 0, index)) < 0) return NULL;
  return tarn__py_tensor_view(&view);
}
