/* py_pieces.c: views that cut a dimension up: split, chunk, unbind, unfold, diagonal, unflatten. */
#include "python/src/py_pieces.h"

#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_tensor.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define ARGUMENTS PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords

/* The size of dimension `dim`; -1 with an IndexError where there is none. */
static int64_t size_of(PyObject *self, int32_t dim) {
  const tarn_layout *layout = &tarn__py_tensor_of(self)->layout;
  int32_t place = dim < 0 ? dim + layout->rank : dim;
  if (place >= 0 && place < layout->rank) return layout->shape[place];
  tarn__py_fail(TARN_PY_ERROR_INDEX, "no dimension %d of %d", (int)dim, (int)layout->rank);
  return -1;
}

static int64_t divided_up(int64_t a, int64_t b) {
  return a / b + (a % b != 0);
}

/* --- tuples of views --- */

/* Piece `index` of what `number` says. */
typedef tarn_status cut(tarn_layout *layout, int32_t dim, int64_t number, int64_t index);

static tarn_status cut_one(tarn_layout *layout, int32_t dim, int64_t number, int64_t index) {
  (void)number;
  return tarn_layout_select(layout, dim, index);
}

static PyObject *pieces(PyObject *self, cut *piece, int32_t dim, int64_t number, int64_t count) {
  PyObject *tuple = PyTuple_New((Py_ssize_t)count);
  for (int64_t i = 0; tuple && i < count; i++) {
    tarn_tensor view = *tarn__py_tensor_of(self);
    PyObject *object = tarn__py_tensor_view_if(piece(&view.layout, dim, number, i), &view);
    if (!object) {
      Py_DECREF(tuple);
      return NULL;
    }
    PyTuple_SetItem(tuple, (Py_ssize_t)i, object);
  }
  return tuple;
}

/* Appends [start, stop) of `dim`, in NumPy's meaning, to a list. */
static int append_range(PyObject *list, PyObject *self, int32_t dim, int64_t start, int64_t stop) {
  tarn_tensor view = *tarn__py_tensor_of(self);
  tarn_status status = tarn_tensor_slice(&view, dim, start, stop, 1);
  PyObject *object = tarn__py_tensor_view_if(status, &view);
  int result = object ? PyList_Append(list, object) : -1;
  Py_XDECREF(object);
  return result;
}

/* Takes `list`. */
static PyObject *tuple_if(int result, PyObject *list) {
  PyObject *tuple = result == 0 ? PyList_AsTuple(list) : NULL;
  Py_XDECREF(list);
  return tuple;
}

/* Pieces of the given lengths, which fill the dimension. */
static PyObject *split_by_lengths(PyObject *self, PyObject *lengths, int32_t dim, int64_t size) {
  PyObject *list = PyList_New(0);
  int64_t start = 0, length = 0;
  int result = list ? 0 : -1;
  for (Py_ssize_t i = 0; i < PyTuple_Size(lengths) && result == 0; i++) {
    result = tarn__py_int64(PyTuple_GetItem(lengths, i), &length);
    if (result == 0 && (length < 0 || length > size - start)) break;
    if (result == 0) result = append_range(list, self, dim, start, start + length);
    start += length;
    length = 0;
  }
  if (result == 0 && (length != 0 || start != size)) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "the lengths %R do not add up to the dimension's %lld",
                  lengths, (long long)size);
    result = -1;
  }
  return tuple_if(result, list);
}

/* Pieces that end before the given indices, and the rest, as slices of NumPy. */
static PyObject *split_at(PyObject *self, PyObject *ends, int32_t dim, int64_t size) {
  PyObject *list = PyList_New(0);
  int64_t start = 0, stop = 0;
  int result = list ? 0 : -1;
  for (Py_ssize_t i = 0; i < PyTuple_Size(ends) && result == 0; i++) {
    result = tarn__py_int64(PyTuple_GetItem(ends, i), &stop);
    if (stop == TARN_SLICE_OPEN) stop++; /* which clamps to the same end */
    if (result == 0) result = append_range(list, self, dim, start, stop);
    start = stop;
  }
  if (result == 0) result = append_range(list, self, dim, start, size);
  return tuple_if(result, list);
}

/* What split and tensor_split have in common: an integer, or a list for `by_list`. */
static PyObject *split(const tarn_py_signature *signature, ARGUMENTS, cut *piece,
                       PyObject *(*by_list)(PyObject *, PyObject *, int32_t, int64_t)) {
  PyObject *values[2];
  int32_t dim = 0;
  int64_t number = 0;
  if (tarn__py_arguments(signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[1], &dim) < 0) {
    return NULL;
  }
  int64_t size = size_of(self, dim);
  if (size < 0) return NULL;
  if (!PyIndex_Check(values[0])) {
    PyObject *list = PySequence_Tuple(values[0]);
    PyObject *result = list ? by_list(self, list, dim, size) : NULL;
    Py_XDECREF(list);
    return result;
  }
  if (tarn__py_int64(values[0], &number) < 0) return NULL;
  int64_t piece_count = 1; /* where the number is no good, the first piece says so */
  if (piece == tarn_layout_array_split && number > 0) piece_count = number;
  if (piece == tarn_layout_split && number > 0 && size > 0) piece_count = divided_up(size, number);
  return pieces(self, piece, dim, number, piece_count);
}

static PyObject *tensor_split(ARGUMENTS) {
  static const tarn_py_signature signature = {"split", 1, 2, {"split_size", "dim"}};
  return split(&signature, self, args, count, keywords, tarn_layout_split, split_by_lengths);
}

static PyObject *tensor_tensor_split(ARGUMENTS) {
  static const tarn_py_signature signature = {"tensor_split", 1, 2, {"indices_or_sections", "dim"}};
  return split(&signature, self, args, count, keywords, tarn_layout_array_split, split_at);
}

static PyObject *tensor_chunk(ARGUMENTS) {
  static const tarn_py_signature signature = {"chunk", 1, 2, {"chunks", "dim"}};
  PyObject *values[2];
  int32_t dim = 0;
  int64_t chunk_count = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_int64(values[0], &chunk_count) < 0 || tarn__py_dim(values[1], &dim) < 0) {
    return NULL;
  }
  int64_t size = size_of(self, dim), piece_count = chunk_count > 0 ? chunk_count : 1;
  if (size < 0) return NULL;
  if (size > 0) piece_count = divided_up(size, divided_up(size, piece_count));
  return pieces(self, tarn_layout_chunk, dim, chunk_count, piece_count);
}

static PyObject *tensor_unbind(ARGUMENTS) {
  static const tarn_py_signature signature = {"unbind", 0, 1, {"dim"}};
  PyObject *values[1];
  int32_t dim = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[0], &dim) < 0) {
    return NULL;
  }
  int64_t size = size_of(self, dim);
  return size < 0 ? NULL : pieces(self, cut_one, dim, 0, size);
}

/* --- single views --- */

static PyObject *tensor_unfold(ARGUMENTS) {
  static const tarn_py_signature signature = {"unfold", 3, 3, {"dimension", "size", "step"}};
  PyObject *values[3];
  int32_t dim = 0;
  int64_t size = 0, step = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[0], &dim) < 0 || tarn__py_int64(values[1], &size) < 0 ||
      tarn__py_int64(values[2], &step) < 0 || size_of(self, dim) < 0) {
    return NULL;
  }
  tarn_tensor view = *tarn__py_tensor_of(self);
  return tarn__py_tensor_view_if(tarn_layout_unfold(&view.layout, dim, size, step), &view);
}

static PyObject *tensor_diagonal(ARGUMENTS) {
  static const tarn_py_signature signature = {"diagonal", 0, 3, {"offset", "dim1", "dim2"}};
  PyObject *values[3];
  int32_t dim1 = 0, dim2 = 1;
  int64_t offset = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_int64(values[0], &offset) < 0 || tarn__py_dim(values[1], &dim1) < 0 ||
      tarn__py_dim(values[2], &dim2) < 0 || size_of(self, dim1) < 0 || size_of(self, dim2) < 0) {
    return NULL;
  }
  tarn_tensor view = *tarn__py_tensor_of(self);
  return tarn__py_tensor_view_if(tarn_layout_diagonal(&view.layout, offset, dim1, dim2), &view);
}

static PyObject *tensor_unflatten(ARGUMENTS) {
  static const tarn_py_signature signature = {"unflatten", 2, 2, {"dim", "sizes"}};
  PyObject *values[2];
  int64_t shape[TARN_RANK_MAX];
  int32_t dim = 0, rank = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[0], &dim) < 0 || tarn__py_int64s(values[1], shape, &rank) < 0 ||
      size_of(self, dim) < 0) {
    return NULL;
  }
  tarn_tensor view = *tarn__py_tensor_of(self);
  return tarn__py_tensor_view_if(tarn_layout_unflatten(&view.layout, dim, rank, shape), &view);
}

PyMethodDef tarn__py_piece_methods[] = {
    {"split", FAST(tensor_split), METH_FASTCALL | METH_KEYWORDS,
     "split(split_size, dim=0): a tuple of views of that size, the last one of what is left; or "
     "of\n"
     "the sizes in a list, which add up to the dimension."},
    {"chunk", FAST(tensor_chunk), METH_FASTCALL | METH_KEYWORDS,
     "chunk(chunks, dim=0): a tuple of at most so many views of one size, the last one shorter."},
    {"tensor_split", FAST(tensor_tensor_split), METH_FASTCALL | METH_KEYWORDS,
     "tensor_split(indices_or_sections, dim=0): exactly so many views, or cut before each index;\n"
     "numpy.array_split."},
    {"unbind", FAST(tensor_unbind), METH_FASTCALL | METH_KEYWORDS,
     "unbind(dim=0): a tuple of select(dim, i) for every i."},
    {"unfold", FAST(tensor_unfold), METH_FASTCALL | METH_KEYWORDS,
     "unfold(dimension, size, step): windows of `size`, one every `step`; a new last dimension\n"
     "runs through each."},
    {"diagonal", FAST(tensor_diagonal), METH_FASTCALL | METH_KEYWORDS,
     "diagonal(offset=0, dim1=0, dim2=1): the diagonals as a new last dimension."},
    {"unflatten", FAST(tensor_unflatten), METH_FASTCALL | METH_KEYWORDS,
     "unflatten(dim, sizes): several dimensions of one; one size may be -1."},
    {NULL, NULL, 0, NULL},
};
