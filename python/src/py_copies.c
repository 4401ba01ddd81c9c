/* py_copies.c: whatever moves bytes: copy_, clone, contiguous, to, reshape, t[key] = value. */
#include "python/src/py_copies.h"

#include <string.h>

#include "python/src/py_arguments.h"
#include "python/src/py_create.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"
#include "python/src/py_values.h"
#include "tensor/tarn_copy.h"

/* Below this, taking the GIL again may cost more than the copy. */
enum { GIL_KEPT_BYTES = 32 * 1024 };

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define ARGUMENTS PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords

/* NumPy lets a source have more dimensions than the destination where those are of size 1. */
static void drop_leading_ones(tarn_tensor *src, int32_t rank) {
  int32_t extra = 0;
  while (src->layout.rank - extra > rank && src->layout.shape[extra] == 1) extra++;
  if (extra == 0) return;
  src->layout.rank -= extra;
  size_t kept_bytes = (size_t)src->layout.rank * sizeof src->layout.shape[0];
  memmove(src->layout.shape, src->layout.shape + extra, kept_bytes);
  memmove(src->layout.strides, src->layout.strides + extra, kept_bytes);
}

static tarn_status copy_and_wait(const tarn_tensor *dst, const tarn_tensor *src,
                                 tarn_stream *stream) {
  tarn_status status = tarn_tensor_copy(dst, src, stream, NULL);
  if (status == TARN_OK && stream && tarn_device_is_host(tarn_tensor_device(dst))) {
    status = tarn_stream_synchronize(stream);
  }
  return status;
}

int tarn__py_copy(const tarn_tensor *dst, const tarn_tensor *src) {
  tarn_stream *stream;
  tarn_device on = tarn_tensor_device(dst);
  if (tarn_device_is_host(on)) on = tarn_tensor_device(src);
  if (tarn__py_device_stream(on, &stream) < 0) return -1;
  tarn_tensor from = *src;
  drop_leading_ones(&from, dst->layout.rank);
  tarn_status status;
  if (!stream && tarn_tensor_size_bytes(dst) <= GIL_KEPT_BYTES) {
    status = copy_and_wait(dst, &from, stream);
  } else {
    Py_BEGIN_ALLOW_THREADS status = copy_and_wait(dst, &from, stream);
    Py_END_ALLOW_THREADS
  }
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

int tarn__py_assign(const tarn_tensor *dst, PyObject *value) {
  if (tarn__py_is_tensor(value)) return tarn__py_copy(dst, tarn__py_tensor_of(value));
  if (tarn__py_is_number(value)) return tarn__py_fill(dst, value);
  PyObject *source = tarn__py_as_tensor(value, dst->dtype);
  if (!source) return -1;
  int result = tarn__py_copy(dst, tarn__py_tensor_of(source));
  Py_DECREF(source);
  return result;
}

int tarn__py_create(tarn_pool *pool, tarn_dtype dtype, int32_t rank, const int64_t *shape,
                    tarn_tensor *tensor) {
  tarn_stream *stream;
  if (tarn__py_device_stream(tarn_pool_attributes_of(pool)->device, &stream) < 0) return -1;
  tarn_status status = tarn_tensor_create(pool, dtype, rank, shape, stream, tensor);
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

int tarn__py_arrange(tarn_tensor *tensor, int32_t channels_last_rank) {
  tarn_layout layout = tensor->layout;
  if (channels_last_rank == 0) return 0;
  if (channels_last_rank != layout.rank) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "this memory format is for %d dimensions, not %d",
                  (int)channels_last_rank, (int)layout.rank);
    tarn_tensor_release(tensor);
    return -1;
  }
  tarn_status status = tarn_layout_init_channels_last(&tensor->layout, layout.rank, layout.shape);
  if (status == TARN_OK) return 0;
  tarn__py_raise(status);
  tarn_tensor_release(tensor);
  return -1;
}

tarn_pool *tarn__py_pool_for(const tarn_tensor *tensor) {
  tarn_pool *own = tarn_storage_pool(tensor->storage);
  return own ? own : tarn__py_pool_of_device(tarn_tensor_device(tensor));
}

int tarn__py_clone(const tarn_tensor *src, tarn_dtype dtype, tarn_pool *pool, tarn_tensor *clone) {
  if (!pool || tarn__py_create(pool, dtype, src->layout.rank, src->layout.shape, clone) < 0) {
    return -1;
  }
  if (tarn__py_copy(clone, src) == 0) return 0;
  tarn_tensor_release(clone);
  return -1;
}

static PyObject *clone_object(const tarn_tensor *src, tarn_dtype dtype, tarn_pool *pool) {
  tarn_tensor clone;
  if (tarn__py_clone(src, dtype, pool, &clone) < 0) return NULL;
  return tarn__py_tensor_take(&clone, /*was_copied=*/true);
}

static PyObject *same_object(PyObject *self) {
  Py_INCREF(self);
  return self;
}

/* --- methods --- */

static PyObject *tensor_copy_from(PyObject *self, PyObject *value) {
  if (tarn__py_assign(tarn__py_tensor_of(self), value) < 0) return NULL;
  return same_object(self);
}

static PyObject *tensor_fill(PyObject *self, PyObject *number) {
  if (tarn__py_fill(tarn__py_tensor_of(self), number) < 0) return NULL;
  return same_object(self);
}

static PyObject *tensor_clone(ARGUMENTS) {
  static const tarn_py_signature signature = {"clone", 0, 0, {"pool"}};
  PyObject *values[1];
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  bool is_named = values[0] && values[0] != Py_None;
  tarn_pool *pool = is_named ? tarn__py_pool_choose(values[0], NULL) : tarn__py_pool_for(tensor);
  return clone_object(tensor, tensor->dtype, pool);
}

/* Whether the elements lie without gaps in the order of a memory format. */
static bool lies_in(const tarn_layout *layout, int32_t channels_last_rank) {
  static const int32_t orders[2][5] = {{0, 2, 3, 1}, {0, 2, 3, 4, 1}};
  if (channels_last_rank == 0) return tarn_layout_is_contiguous(layout);
  return layout->rank == channels_last_rank &&
         tarn_layout_is_contiguous_in(layout, orders[channels_last_rank - 4]);
}

static int parse_format(ARGUMENTS, const char *function, int32_t *channels_last_rank) {
  const tarn_py_signature signature = {function, 0, 0, {"memory_format"}};
  PyObject *values[1];
  (void)self;
  return tarn__py_arguments(&signature, args, count, keywords, values) < 0
             ? -1
             : tarn__py_memory_format(values[0], channels_last_rank);
}

static PyObject *tensor_is_contiguous(ARGUMENTS) {
  int32_t rank;
  if (parse_format(self, args, count, keywords, "is_contiguous", &rank) < 0) return NULL;
  return PyBool_FromLong(lies_in(&tarn__py_tensor_of(self)->layout, rank));
}

static PyObject *tensor_contiguous(ARGUMENTS) {
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  int32_t rank;
  if (parse_format(self, args, count, keywords, "contiguous", &rank) < 0) return NULL;
  if (lies_in(&tensor->layout, rank)) return same_object(self);
  tarn_pool *pool = tarn__py_pool_for(tensor);
  tarn_tensor copy;
  if (!pool ||
      tarn__py_create(pool, tensor->dtype, tensor->layout.rank, tensor->layout.shape, &copy) < 0 ||
      tarn__py_arrange(&copy, rank) < 0) {
    return NULL;
  }
  if (tarn__py_copy(&copy, tensor) == 0) return tarn__py_tensor_take(&copy, /*was_copied=*/true);
  tarn_tensor_release(&copy);
  return NULL;
}

/* The first argument of to() is a device where it is written as one, else an element type. */
static bool names_a_device(PyObject *object) {
  PyObject *text = PyObject_Str(object);
  Py_ssize_t length;
  const char *name = text ? PyUnicode_AsUTF8AndSize(text, &length) : NULL;
  bool is_device = PyTuple_Check(object) ||
                   (name && (strncmp(name, "cpu", 3) == 0 || strncmp(name, "cuda", 4) == 0));
  PyErr_Clear();
  Py_XDECREF(text);
  return is_device;
}

static PyObject *tensor_to(ARGUMENTS) {
  static const tarn_py_signature signature = {"to", 0, 2, {"device", "dtype", "copy", "pool"}};
  PyObject *values[4];
  bool must_copy = false;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_flag(values[2] == Py_None ? NULL : values[2], &must_copy) < 0) {
    return NULL;
  }
  if (values[0] && values[0] != Py_None && !values[1] && !names_a_device(values[0])) {
    values[1] = values[0];
    values[0] = NULL;
  }
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  tarn_dtype dtype = tensor->dtype;
  tarn_device device = tarn_tensor_device(tensor);
  if (values[1] && values[1] != Py_None && tarn__py_dtype_parse(values[1], &dtype) < 0) return NULL;
  if (values[0] && values[0] != Py_None && tarn__py_device_parse(values[0], &device) < 0) {
    return NULL;
  }
  bool has_pool = values[3] && values[3] != Py_None;
  bool is_there = tarn_device_equal(device, tarn_tensor_device(tensor));
  if (is_there && tarn_dtype_equal(dtype, tensor->dtype) && !must_copy && !has_pool) {
    return same_object(self);
  }
  if (!must_copy && values[2] && values[2] != Py_None) {
    return tarn__py_fail(TARN_PY_ERROR_COPY, "to(copy=False) would have to copy");
  }
  tarn_pool *pool = has_pool   ? tarn__py_pool_choose(values[3], values[0])
                    : is_there ? tarn__py_pool_for(tensor)
                               : tarn__py_pool_of_device(device);
  return clone_object(tensor, dtype, pool);
}

static PyObject *reshape(PyObject *self, int32_t rank, const int64_t *shape, PyObject *copy) {
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  bool must_copy = false;
  if (tarn__py_flag(copy == Py_None ? NULL : copy, &must_copy) < 0) return NULL;
  tarn_tensor view = *tensor;
  tarn_status status = tarn_tensor_view(&view, rank, shape);
  if (status == TARN_OK && !must_copy) return tarn__py_tensor_view(&view);
  if (status != TARN_OK && status != TARN_NOT_SUPPORTED) return tarn__py_raise(status);
  if (!must_copy && copy && copy != Py_None) {
    return tarn__py_raise_as(TARN_PY_ERROR_COPY, status);
  }
  tarn_tensor clone;
  if (tarn__py_clone(tensor, tensor->dtype, tarn__py_pool_for(tensor), &clone) < 0) return NULL;
  status = tarn_tensor_view(&clone, rank, shape);
  if (status == TARN_OK) return tarn__py_tensor_take(&clone, /*was_copied=*/true);
  tarn_tensor_release(&clone);
  return tarn__py_raise(status);
}

static PyObject *tensor_reshape(ARGUMENTS) {
  static const tarn_py_signature signature = {"reshape", 0, 0, {"shape", "copy"}};
  PyObject *values[2];
  int64_t shape[TARN_RANK_MAX];
  int32_t rank = 0;
  if (tarn__py_arguments(&signature, args + count, 0, keywords, values) < 0) return NULL;
  if (values[0] && count > 0) {
    PyErr_SetString(PyExc_TypeError, "reshape() got several values for 'shape'");
    return NULL;
  }
  if (values[0] ? tarn__py_int64s(values[0], shape, &rank) < 0
                : tarn__py_int64s_spread(args, count, shape, &rank) < 0) {
    return NULL;
  }
  return reshape(self, rank, shape, values[1]);
}

static PyObject *tensor_flatten(ARGUMENTS) {
  static const tarn_py_signature signature = {"flatten", 0, 2, {"start_dim", "end_dim", "copy"}};
  PyObject *values[3];
  int32_t first = 0, last = -1;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_dim(values[0], &first) < 0 || tarn__py_dim(values[1], &last) < 0) {
    return NULL;
  }
  const tarn_layout *layout = &tarn__py_tensor_of(self)->layout;
  int32_t rank = layout->rank, limit = rank ? rank : 1;
  if (first < 0) first += limit;
  if (last < 0) last += limit;
  if (first < 0 || last >= limit || first > last) {
    return tarn__py_fail(TARN_PY_ERROR_INDEX, "flatten from %d to %d of %d dimensions", (int)first,
                         (int)last, (int)rank);
  }
  int64_t shape[TARN_RANK_MAX] = {1}, merged = 1;
  int32_t new_rank = 0;
  for (int32_t i = 0; i < first; i++) shape[new_rank++] = layout->shape[i];
  for (int32_t i = first; i <= last && i < rank; i++) merged *= layout->shape[i];
  shape[new_rank++] = merged;
  for (int32_t i = last + 1; i < rank; i++) shape[new_rank++] = layout->shape[i];
  return reshape(self, new_rank, shape, values[2]);
}

PyMethodDef tarn__py_copy_methods[] = {
    {"copy_", tensor_copy_from, METH_O,
     "copy_(source): every element from source, broadcast and converted; returns self."},
    {"fill_", tensor_fill, METH_O, "fill_(number): every element set; returns self."},
    {"clone", FAST(tensor_clone), METH_FASTCALL | METH_KEYWORDS,
     "clone(*, pool=None): a row-major copy of its own."},
    {"is_contiguous", FAST(tensor_is_contiguous), METH_FASTCALL | METH_KEYWORDS,
     "is_contiguous(*, memory_format=None): row-major without gaps; or with 'channels_last' (NCHW\n"
     "shapes) or 'channels_last_3d' (NCDHW) the channels innermost."},
    {"contiguous", FAST(tensor_contiguous), METH_FASTCALL | METH_KEYWORDS,
     "contiguous(*, memory_format=None): the tensor itself where it is_contiguous() so, else a\n"
     "copy that is (was_copied says so)."},
    {"to", FAST(tensor_to), METH_FASTCALL | METH_KEYWORDS,
     "to(device=None, dtype=None, *, copy=None, pool=None): also to(dtype).\n\n"
     "The tensor itself where nothing changes, unless copy is True. Else a copy, and was_copied\n"
     "says so; with copy=False that is CopyNeededError."},
    {"reshape", FAST(tensor_reshape), METH_FASTCALL | METH_KEYWORDS,
     "reshape(*shape, copy=None): a view where that is possible, else a copy.\n\n"
     "was_copied says which; copy=False raises CopyNeededError instead, copy=True always copies."},
    {"flatten", FAST(tensor_flatten), METH_FASTCALL | METH_KEYWORDS,
     "flatten(start_dim=0, end_dim=-1, *, copy=None): those dimensions as one, as reshape does."},
    {NULL, NULL, 0, NULL},
};
