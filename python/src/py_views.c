/* py_views.c: views of a tensor: new shapes and strides over the same bytes, never a copy. */
#include "python/src/py_views.h"

#include "python/src/py_arguments.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_tensor.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define ARGUMENTS PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords

/* A view, or IndexError: what was refused is a dimension or an index. */
static PyObject *view_of_dims(tarn_status status, const tarn_tensor *view) {
  if (status == TARN_INVALID_ARGUMENT) return tarn__py_raise_as(TARN_PY_ERROR_INDEX, status);
  return tarn__py_tensor_view_if(status, view);
}

static PyObject *tensor_select(ARGUMENTS) {
  static const tarn_py_signature signature = {"select", 2, 2, {"dim", "index"}};
  PyObject *values[2];
  int32_t dim = 0;
  int64_t index = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[0], &dim) < 0 || tarn__py_int64(values[1], &index) < 0) {
    return NULL;
  }
  tarn_tensor view = *tarn__py_tensor_of(self);
  return view_of_dims(tarn_tensor_select(&view, dim, index), &view);
}

static PyObject *tensor_narrow(ARGUMENTS) {
  static const tarn_py_signature signature = {"narrow", 3, 3, {"dim", "start", "length"}};
  PyObject *values[3];
  int32_t dim = 0;
  int64_t start = 0, length = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[0], &dim) < 0 || tarn__py_int64(values[1], &start) < 0 ||
      tarn__py_int64(values[2], &length) < 0) {
    return NULL;
  }
  tarn_tensor view = *tarn__py_tensor_of(self);
  int32_t rank = view.layout.rank, place = dim < 0 ? dim + rank : dim;
  if (start < 0 && place >= 0 && place < rank) start += view.layout.shape[place];
  return view_of_dims(tarn_tensor_narrow(&view, dim, start, length), &view);
}

static PyObject *tensor_permute(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  int32_t dims[TARN_RANK_MAX], dim_count;
  if (tarn__py_dims_spread(args, count, dims, &dim_count) < 0) return NULL;
  tarn_tensor view = *tarn__py_tensor_of(self);
  return view_of_dims(tarn_tensor_permute(&view, dim_count, dims), &view);
}

static PyObject *tensor_transpose(ARGUMENTS) {
  static const tarn_py_signature signature = {"transpose", 2, 2, {"dim0", "dim1"}};
  PyObject *values[2];
  int32_t a = 0, b = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[0], &a) < 0 || tarn__py_dim(values[1], &b) < 0) {
    return NULL;
  }
  tarn_tensor view = *tarn__py_tensor_of(self);
  return view_of_dims(tarn_tensor_transpose(&view, a, b), &view);
}

static PyObject *tensor_get_reversed(PyObject *self, void *unused) {
  (void)unused;
  tarn_tensor view = *tarn__py_tensor_of(self);
  int32_t dims[TARN_RANK_MAX];
  for (int32_t i = 0; i < view.layout.rank; i++) dims[i] = view.layout.rank - 1 - i;
  return view_of_dims(tarn_tensor_permute(&view, view.layout.rank, dims), &view);
}

static PyObject *tensor_get_matrix_transpose(PyObject *self, void *unused) {
  (void)unused;
  tarn_tensor view = *tarn__py_tensor_of(self);
  if (view.layout.rank < 2) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "mT needs two dimensions or more, not %d",
                         (int)view.layout.rank);
  }
  return view_of_dims(tarn_tensor_transpose(&view, -1, -2), &view);
}

/* Moves each from[i] to place to[i]; the others keep their order. */
static PyObject *tensor_movedim(ARGUMENTS) {
  static const tarn_py_signature signature = {"movedim", 2, 2, {"source", "destination"}};
  PyObject *values[2];
  int32_t from[TARN_RANK_MAX], to[TARN_RANK_MAX], from_count, to_count;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dims(values[0], from, &from_count) < 0 ||
      tarn__py_dims(values[1], to, &to_count) < 0) {
    return NULL;
  }
  tarn_tensor view = *tarn__py_tensor_of(self);
  int32_t rank = view.layout.rank, order[TARN_RANK_MAX];
  bool is_moved[TARN_RANK_MAX] = {false}, is_taken[TARN_RANK_MAX] = {false};
  if (from_count != to_count) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "movedim of %d dimensions to %d places",
                         (int)from_count, (int)to_count);
  }
  for (int32_t i = 0; i < from_count; i++) {
    int32_t source = from[i] < 0 ? from[i] + rank : from[i];
    int32_t place = to[i] < 0 ? to[i] + rank : to[i];
    if (source < 0 || source >= rank || place < 0 || place >= rank || is_moved[source] ||
        is_taken[place]) {
      return tarn__py_fail(TARN_PY_ERROR_INDEX,
                           "movedim from %d to %d: out of range for %d dimensions, or twice",
                           (int)from[i], (int)to[i], (int)rank);
    }
    is_moved[source] = is_taken[place] = true;
    order[place] = source;
  }
  for (int32_t place = 0, next = 0; place < rank; place++) {
    if (is_taken[place]) continue;
    while (is_moved[next]) next++;
    order[place] = next++;
  }
  return view_of_dims(tarn_tensor_permute(&view, rank, order), &view);
}

static PyObject *tensor_expand(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  int64_t shape[TARN_RANK_MAX];
  int32_t rank;
  if (tarn__py_int64s_spread(args, count, shape, &rank) < 0) return NULL;
  tarn_tensor view = *tarn__py_tensor_of(self);
  return tarn__py_tensor_view_if(tarn_tensor_expand(&view, rank, shape), &view);
}

static PyObject *tensor_squeeze(ARGUMENTS) {
  static const tarn_py_signature signature = {"squeeze", 0, 1, {"dim"}};
  PyObject *values[1];
  int32_t dims[TARN_RANK_MAX], dim_count = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  tarn_tensor view = *tarn__py_tensor_of(self);
  if (!values[0] || values[0] == Py_None) {
    tarn_layout_squeeze_all(&view.layout);
    return tarn__py_tensor_view(&view);
  }
  if (tarn__py_dims(values[0], dims, &dim_count) < 0) return NULL;
  int32_t rank = view.layout.rank;
  int32_t limit = rank ? rank : 1; /* NumPy and PyTorch both let a scalar pass as one dimension */
  bool is_chosen[TARN_RANK_MAX] = {false};
  for (int32_t i = 0; i < dim_count; i++) {
    int32_t dim = dims[i] < 0 ? dims[i] + limit : dims[i];
    if (dim < 0 || dim >= limit || is_chosen[dim]) {
      return tarn__py_fail(TARN_PY_ERROR_INDEX, "squeeze of dimension %d of %d, or twice",
                           (int)dims[i], (int)rank);
    }
    is_chosen[dim] = true;
  }
  tarn_status status = TARN_OK;
  for (int32_t dim = rank - 1; dim >= 0 && status == TARN_OK; dim--) {
    if (is_chosen[dim]) status = tarn_tensor_squeeze(&view, dim);
  }
  return view_of_dims(status, &view);
}

static PyObject *tensor_unsqueeze(ARGUMENTS) {
  static const tarn_py_signature signature = {"unsqueeze", 1, 1, {"dim"}};
  PyObject *values[1];
  int32_t dim = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[0], &dim) < 0) {
    return NULL;
  }
  tarn_tensor view = *tarn__py_tensor_of(self);
  return view_of_dims(tarn_tensor_unsqueeze(&view, dim), &view);
}

/* Without arguments every dimension, as NumPy. */
static PyObject *tensor_flip(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  int32_t dims[TARN_RANK_MAX], dim_count;
  tarn_tensor view = *tarn__py_tensor_of(self);
  if (count == 0) {
    dim_count = view.layout.rank;
    for (int32_t i = 0; i < dim_count; i++) dims[i] = i;
  } else if (tarn__py_dims_spread(args, count, dims, &dim_count) < 0) {
    return NULL;
  }
  tarn_status status = TARN_OK;
  bool is_flipped[TARN_RANK_MAX] = {false};
  for (int32_t i = 0; i < dim_count && status == TARN_OK; i++) {
    int32_t dim = dims[i] < 0 ? dims[i] + view.layout.rank : dims[i];
    if (dim >= 0 && dim < view.layout.rank && is_flipped[dim]) {
      return tarn__py_fail(TARN_PY_ERROR_INDEX, "flip of dimension %d twice", (int)dims[i]);
    }
    status = tarn_tensor_slice(&view, dims[i], TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1);
    if (status == TARN_OK) is_flipped[dim] = true;
  }
  return view_of_dims(status, &view);
}

/* The bytes read as another type of the same size. */
static PyObject *view_as_dtype(PyObject *self, PyObject *object) {
  tarn_tensor view = *tarn__py_tensor_of(self);
  tarn_dtype dtype;
  if (tarn__py_dtype_parse(object, &dtype) < 0) return NULL;
  size_t old_bytes = tarn_dtype_size_bytes(view.dtype), new_bytes = tarn_dtype_size_bytes(dtype);
  if (old_bytes != new_bytes) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                         "elements of %zd bytes cannot be viewed as %R of %zd bytes",
                         (Py_ssize_t)old_bytes, object, (Py_ssize_t)new_bytes);
  }
  size_t alignment = dtype.code == TARN_CODE_COMPLEX ? new_bytes / 2 : new_bytes;
  if (alignment > 1 && (uintptr_t)tarn_tensor_data(&view) % alignment != 0) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "the memory is not aligned for %R", object);
  }
  view.dtype = dtype;
  return tarn__py_tensor_view(&view);
}

static bool is_dtype_argument(PyObject *object) {
  return !PyIndex_Check(object) && !PyTuple_Check(object) && !PyList_Check(object);
}

static PyObject *tensor_view(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  int64_t shape[TARN_RANK_MAX];
  int32_t rank;
  if (count == 1 && is_dtype_argument(args[0])) return view_as_dtype(self, args[0]);
  if (tarn__py_int64s_spread(args, count, shape, &rank) < 0) return NULL;
  tarn_tensor view = *tarn__py_tensor_of(self);
  tarn_status status = tarn_tensor_view(&view, rank, shape);
  if (status == TARN_NOT_SUPPORTED) return tarn__py_raise_as(TARN_PY_ERROR_COPY, status);
  return tarn__py_tensor_view_if(status, &view);
}

static PyObject *tensor_as_strided(ARGUMENTS) {
  static const tarn_py_signature signature = {
      "as_strided", 2, 3, {"shape", "strides", "storage_offset"}};
  PyObject *values[3];
  int64_t shape[TARN_RANK_MAX], strides[TARN_RANK_MAX];
  int32_t rank, stride_count;
  tarn_tensor view = *tarn__py_tensor_of(self);
  int64_t offset = view.layout.offset;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_int64s(values[0], shape, &rank) < 0 ||
      tarn__py_int64s(values[1], strides, &stride_count) < 0 ||
      tarn__py_int64(values[2] == Py_None ? NULL : values[2], &offset) < 0) {
    return NULL;
  }
  if (rank != stride_count) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%d sizes and %d strides", (int)rank,
                         (int)stride_count);
  }
  return tarn__py_tensor_view_if(tarn_tensor_as_strided(&view, rank, shape, strides, offset),
                                 &view);
}

PyMethodDef tarn__py_view_methods[] = {
    {"select", FAST(tensor_select), METH_FASTCALL | METH_KEYWORDS,
     "select(dim, index): that dimension fixed and removed."},
    {"narrow", FAST(tensor_narrow), METH_FASTCALL | METH_KEYWORDS,
     "narrow(dim, start, length): a range of a dimension, nothing clamped; a negative start "
     "counts\n"
     "from the end."},
    {"permute", FAST(tensor_permute), METH_FASTCALL,
     "permute(*dims): dimension i is the old dims[i]; numpy.transpose with arguments."},
    {"transpose", FAST(tensor_transpose), METH_FASTCALL | METH_KEYWORDS,
     "transpose(dim0, dim1): the two swapped, as in PyTorch. permute reorders them all."},
    {"swapaxes", FAST(tensor_transpose), METH_FASTCALL | METH_KEYWORDS, "As transpose."},
    {"movedim", FAST(tensor_movedim), METH_FASTCALL | METH_KEYWORDS,
     "movedim(source, destination): dimensions moved, the others in their order."},
    {"moveaxis", FAST(tensor_movedim), METH_FASTCALL | METH_KEYWORDS, "As movedim."},
    {"expand", FAST(tensor_expand), METH_FASTCALL,
     "expand(*shape): sizes of 1, and new leading dimensions, repeated with stride 0."},
    {"broadcast_to", FAST(tensor_expand), METH_FASTCALL, "As expand."},
    {"squeeze", FAST(tensor_squeeze), METH_FASTCALL | METH_KEYWORDS,
     "squeeze(dim=None): without dimensions of size 1; other sizes stay, as in PyTorch."},
    {"unsqueeze", FAST(tensor_unsqueeze), METH_FASTCALL | METH_KEYWORDS,
     "unsqueeze(dim): a new dimension of size 1 before dim."},
    {"flip", FAST(tensor_flip), METH_FASTCALL,
     "flip(*dims): those dimensions backwards, a view with negative strides; all without dims."},
    {"view", FAST(tensor_view), METH_FASTCALL,
     "view(*shape): another shape without a copy, or CopyNeededError.\n"
     "view(dtype): the bytes read as another element type of the same size."},
    {"as_strided", FAST(tensor_as_strided), METH_FASTCALL | METH_KEYWORDS,
     "as_strided(shape, strides, storage_offset=None): any view of the storage, in elements;\n"
     "strides may be negative, and whatever lies outside of the storage is refused."},
    {NULL, NULL, 0, NULL},
};

PyGetSetDef tarn__py_view_getset[] = {
    {"T", tensor_get_reversed, NULL, "The dimensions in reverse order.", NULL},
    {"mT", tensor_get_matrix_transpose, NULL, "The last two dimensions swapped.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
