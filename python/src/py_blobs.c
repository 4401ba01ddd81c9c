/* py_blobs.c: memory by file, address and image in, and by descriptor and entries out. */
#include "python/src/py_blobs.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "alloc/tarn_mapping.h"
#include "python/src/py_arguments.h"
#include "python/src/py_buffer.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"
#include "tensor/tarn_image.h"
#include "tensor/tarn_iovec.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define ARGUMENTS PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords

/* --- files and shared memory in --- */

/* The way in: a path, a name of POSIX shared memory, or a descriptor. */
typedef tarn_status (*map_text)(const char *text, const tarn_mapping_options *options,
                                tarn_storage **storage);

/* What is asked for besides the file. */
typedef struct request {
  tarn_mapping_options options;
  tarn_dtype dtype;
  bool has_shape; /* else one dimension, to the file's end */
  int32_t rank;
  int64_t shape[TARN_RANK_MAX];
} request;

/* open's and numpy.memmap's names of the ways to map a file. */
static int parse_mode(PyObject *object, tarn_mapping_mode *mode) {
  static const char *const names[] = {"r", "c", "r+"};
  if (!object) return 0;
  for (int i = 0; i < 3 && PyUnicode_Check(object); i++) {
    if (PyUnicode_CompareWithASCIIString(object, names[i]) != 0) continue;
    *mode = (tarn_mapping_mode)i;
    return 0;
  }
  tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "mode is 'r', 'c' or 'r+', not %R", object);
  return -1;
}

/* `values`: dtype, shape, offset, mode, sealed. */
static int parse_request(PyObject *const *values, request *asked) {
  int64_t offset = 0;
  bool is_sealed = false;
  *asked = (request){.options.struct_size = sizeof asked->options, .dtype = TARN_U8};
  asked->has_shape = values[1] && values[1] != Py_None;
  if ((values[0] && tarn__py_dtype_parse(values[0], &asked->dtype) < 0) ||
      (asked->has_shape && tarn__py_int64s(values[1], asked->shape, &asked->rank) < 0) ||
      tarn__py_int64(values[2], &offset) < 0 || parse_mode(values[3], &asked->options.mode) < 0 ||
      tarn__py_flag(values[4], &is_sealed) < 0) {
    return -1;
  }
  if (offset < 0) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "byte %lld of a file", (long long)offset);
    return -1;
  }
  asked->options.offset_bytes = (uint64_t)offset;
  if (is_sealed) asked->options.flags |= TARN_MAPPING_SEALED;
  if (!asked->has_shape) return 0;
  tarn_layout layout;
  tarn_status status = tarn_layout_init(&layout, asked->rank, asked->shape);
  if (status == TARN_OK &&
      !tarn_size_mul((size_t)tarn_layout_element_count(&layout),
                     tarn_dtype_size_bytes(asked->dtype), &asked->options.size_bytes)) {
    status = tarn_fail(TARN_TOO_LARGE, "a shape of more bytes than there can be");
  }
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

/* Takes the storage. */
static PyObject *tensor_of_mapping(tarn_storage *storage, request *asked) {
  const size_t element_bytes = tarn_dtype_size_bytes(asked->dtype);
  const size_t size_bytes = tarn_storage_size_bytes(storage);
  tarn_tensor tensor = {0};
  tarn_status status = TARN_OK;
  if (!asked->has_shape) {
    asked->rank = 1;
    asked->shape[0] = (int64_t)(size_bytes / element_bytes);
    if (size_bytes % element_bytes != 0) {
      status = tarn_fail(TARN_INVALID_ARGUMENT,
                         "%zu bytes to the end of the file are no whole elements of %zu",
                         size_bytes, element_bytes);
    }
  }
  if (status == TARN_OK) {
    status = tarn_tensor_of_storage(storage, asked->dtype, asked->rank, asked->shape,
                                    /*offset_bytes=*/0, &tensor);
  }
  tarn_storage_release(storage);
  return status == TARN_OK ? tarn__py_tensor_take(&tensor, /*was_copied=*/false)
                           : tarn__py_raise(status);
}

static PyObject *map_by_text(map_text map, PyObject *name, PyObject *const *values) {
  request asked;
  PyObject *bytes;
  tarn_storage *storage;
  tarn_status status;
  if (parse_request(values, &asked) < 0 || !PyUnicode_FSConverter(name, &bytes)) return NULL;
  const char *text = PyBytes_AsString(bytes);
  Py_BEGIN_ALLOW_THREADS status = map(text, &asked.options, &storage);
  Py_END_ALLOW_THREADS Py_DECREF(bytes);
  return status == TARN_OK ? tensor_of_mapping(storage, &asked)
                           : tarn__py_raise_for_file(status, name);
}

static PyObject *module_from_file(ARGUMENTS) {
  (void)self;
  static const tarn_py_signature signature = {
      "from_file", 1, 3, {"path", "dtype", "shape", "offset", "mode", "sealed"}};
  PyObject *values[6];
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  return map_by_text(tarn_storage_map_path, values[0], values + 1);
}

static PyObject *module_from_shm(ARGUMENTS) {
  (void)self;
  static const tarn_py_signature signature = {
      "from_shm", 1, 3, {"name", "dtype", "shape", "offset", "mode", "sealed"}};
  PyObject *values[6];
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  return map_by_text(tarn_storage_map_shared, values[0], values + 1);
}

static PyObject *module_from_fd(ARGUMENTS) {
  (void)self;
  static const tarn_py_signature signature = {
      "from_fd", 1, 3, {"file", "dtype", "shape", "offset", "mode", "sealed"}};
  PyObject *values[6];
  request asked;
  tarn_storage *storage;
  tarn_status status;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      parse_request(values + 1, &asked) < 0) {
    return NULL;
  }
  const int file = PyObject_AsFileDescriptor(values[0]);
  if (file < 0) return NULL;
  Py_BEGIN_ALLOW_THREADS status = tarn_storage_map_descriptor(file, &asked.options, &storage);
  Py_END_ALLOW_THREADS return status == TARN_OK ? tensor_of_mapping(storage, &asked)
                                                : tarn__py_raise_for_file(status, NULL);
}

/* --- addresses and images in --- */

static PyObject *module_from_address(ARGUMENTS) {
  (void)self;
  static const tarn_py_signature signature = {
      "from_address",
      2,
      3,
      {"address", "shape", "dtype", "strides", "device", "read_only", "owner"}};
  PyObject *values[7];
  int64_t shape[TARN_RANK_MAX], strides[TARN_RANK_MAX];
  int32_t stride_count = 0;
  size_t address = 0;
  tarn_py_memory memory = {.dtype = TARN_F32, .is_checked = true};
  tarn_tensor tensor;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_size(values[0], &address) < 0 ||
      tarn__py_int64s(values[1], shape, &memory.rank) < 0 ||
      (values[2] && tarn__py_dtype_parse(values[2], &memory.dtype) < 0) ||
      tarn__py_device_parse(values[4], &memory.device) < 0 ||
      tarn__py_flag(values[5], &memory.is_read_only) < 0) {
    return NULL;
  }
  if (values[3] && values[3] != Py_None) {
    if (tarn__py_int64s(values[3], strides, &stride_count) < 0) return NULL;
    if (stride_count != memory.rank) {
      return tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%d sizes and %d strides", (int)memory.rank,
                           (int)stride_count);
    }
    memory.strides_bytes = strides;
  }
  PyObject *owner = values[6] && values[6] != Py_None ? values[6] : NULL;
  memory.first = (void *)address;
  memory.shape = shape;
  memory.deleter = owner ? tarn__py_drop_reference : NULL;
  memory.context = owner;
  if (memory.device.type != TARN_DEVICE_CPU && !tarn__py_cuda()) return NULL;
  if (tarn__py_wrap(&memory, &tensor) < 0) return NULL;
  Py_XINCREF(owner); /* the deleter's */
  return tarn__py_tensor_take(&tensor, /*was_copied=*/false);
}

/* `values`: shape, dtype, row_bytes, pixel_bytes, offset. */
static int parse_image(PyObject *const *values, const Py_buffer *buffer, tarn_image *image) {
  int64_t shape[TARN_RANK_MAX], offset = -1;
  int32_t rank;
  *image = (tarn_image){.struct_size = sizeof *image, .dtype = TARN_U8};
  if (tarn__py_int64s(values[0], shape, &rank) < 0 ||
      (values[1] && tarn__py_dtype_parse(values[1], &image->dtype) < 0) ||
      tarn__py_int64(values[2], &image->row_pitch_bytes) < 0 ||
      tarn__py_int64(values[3], &image->pixel_pitch_bytes) < 0 ||
      (values[4] && values[4] != Py_None && tarn__py_int64(values[4], &offset) < 0)) {
    return -1;
  }
  if (rank != 2 && rank != 3) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                  "an image's shape is (height, width) or (height, width, channels), not %R",
                  values[0]);
    return -1;
  }
  image->height = shape[0];
  image->width = shape[1];
  image->channels = rank == 3 ? shape[2] : 0;
  const bool is_offset_given = values[4] && values[4] != Py_None;
  if (!is_offset_given) {
    /* Upside down, the first row is the last one in memory. */
    const int64_t last = image->row_pitch_bytes < 0 && image->height > 0 ? image->height - 1 : 0;
    if (!tarn_int64_mul(last, image->row_pitch_bytes, &offset)) offset = INT64_MIN;
    offset = offset == INT64_MIN ? -1 : -offset;
  }
  if (offset < 0 || offset > buffer->len || (rank == 3 && image->channels == 0)) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                  "an image of the shape %R whose first row is at byte %lld of %zd", values[0],
                  (long long)offset, buffer->len);
    return -1;
  }
  image->address = (char *)buffer->buf + offset;
  image->memory = buffer->buf;
  image->memory_bytes = (size_t)buffer->len;
  return 0;
}

static PyObject *module_from_image(ARGUMENTS) {
  (void)self;
  static const tarn_py_signature signature = {
      "from_image", 2, 3, {"buffer", "shape", "dtype", "row_bytes", "pixel_bytes", "offset"}};
  PyObject *values[6];
  tarn_image image;
  tarn_tensor tensor;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  Py_buffer *buffer = PyMem_Malloc(sizeof *buffer);
  if (!buffer) return PyErr_NoMemory();
  if (PyObject_GetBuffer(values[0], buffer, PyBUF_SIMPLE) < 0) {
    PyMem_Free(buffer);
    return NULL;
  }
  tarn_status status = TARN_OK;
  int result = parse_image(values + 1, buffer, &image);
  if (result == 0) {
    image.flags = buffer->readonly ? TARN_STORAGE_READ_ONLY : 0;
    image.deleter = tarn__py_release_buffer;
    image.context = buffer;
    /* 0 bytes would mean that the size is not known. */
    const bool is_nothing = buffer->len == 0 && image.height > 0 && image.width > 0;
    status = is_nothing ? tarn_fail(TARN_INVALID_ARGUMENT, "a buffer without bytes is no image")
                        : tarn_tensor_wrap_image(&image, &tensor);
  }
  if (result == 0 && status == TARN_OK) return tarn__py_tensor_take(&tensor, /*was_copied=*/false);
  PyBuffer_Release(buffer);
  PyMem_Free(buffer);
  return result < 0 ? NULL : tarn__py_raise(status);
}

/* --- out --- */

static PyObject *tensor_descriptor(PyObject *self, PyObject *unused) {
  (void)unused;
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  const int64_t element_bytes = (int64_t)tarn_dtype_size_bytes(tensor->dtype);
  int64_t first, end, offset;
  int file;
  tarn_stream *stream;
  tarn_status status;
  if (tarn__py_device_stream(tarn_tensor_device(tensor), &stream) < 0) return NULL;
  Py_BEGIN_ALLOW_THREADS status = tarn_storage_descriptor(tensor->storage, stream, &file, &offset);
  Py_END_ALLOW_THREADS if (status != TARN_OK) return tarn__py_raise_for_file(status, NULL);
  tarn_layout_bounds(&tensor->layout, &first, &end);
  const long long lowest = offset + first * element_bytes, reached = (end - first) * element_bytes;
  PyObject *told = Py_BuildValue("(iLL)", file, lowest, reached);
  if (!told) close(file);
  return told;
}

static PyObject *view_of_entry(const tarn_tensor *tensor, const struct iovec *entry) {
  tarn_tensor view = {.storage = tensor->storage, .dtype = TARN_U8, .layout.rank = 1};
  view.layout.shape[0] = (int64_t)entry->iov_len;
  view.layout.strides[0] = 1;
  view.layout.offset =
      (const char *)entry->iov_base - (const char *)tarn_storage_data(tensor->storage);
  return tarn__py_tensor_view(&view);
}

/* A walk at byte `start`. 0, or -1 with an exception. */
static int open_walk(const tarn_tensor *tensor, tarn_iovec_access access, PyObject *start,
                     tarn_iovec_walk *walk) {
  size_t start_bytes = 0;
  if (tarn__py_size(start, &start_bytes) < 0) return -1;
  const tarn_status status = tarn_iovec_begin(tensor, access, /*stream=*/NULL, walk);
  if (status != TARN_OK) {
    tarn__py_raise(status);
    return -1;
  }
  if (start_bytes > walk->total_bytes) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "byte %zu of %llu", start_bytes,
                  (unsigned long long)walk->total_bytes);
    return -1;
  }
  tarn_iovec_advance(walk, start_bytes);
  return 0;
}

static PyObject *tensor_iovecs(ARGUMENTS) {
  static const tarn_py_signature signature = {"iovecs", 0, 0, {"start", "count", "write"}};
  PyObject *values[3];
  size_t count_max = TARN_IOVEC_MAX;
  bool is_written = false;
  tarn_iovec_walk walk;
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_size(values[1], &count_max) < 0 || tarn__py_flag(values[2], &is_written) < 0 ||
      open_walk(tensor, is_written ? TARN_IOVEC_WRITE : TARN_IOVEC_READ, values[0], &walk) < 0) {
    return NULL;
  }
  struct iovec entries[TARN_IOVEC_MAX];
  PyObject *list = PyList_New(0);
  while (list && count_max != 0) {
    const int wanted = count_max < TARN_IOVEC_MAX ? (int)count_max : TARN_IOVEC_MAX;
    const int found = tarn_iovec_fill(&walk, entries, wanted);
    for (int i = 0; i < found && list; i++) {
      PyObject *view = view_of_entry(tensor, &entries[i]);
      if (!view || PyList_Append(list, view) < 0) Py_CLEAR(list);
      Py_XDECREF(view);
      tarn_iovec_advance(&walk, entries[i].iov_len);
    }
    count_max -= (size_t)found;
    if (found == 0) break;
  }
  return list;
}

/* os.writev's exception where a file does not block; how far it came is in characters_written. */
static PyObject *raise_blocked(const tarn_iovec_walk *walk) {
  PyObject *value =
      Py_BuildValue("(isn)", EAGAIN, tarn_last_error()->message, (Py_ssize_t)walk->done_bytes);
  if (value) PyErr_SetObject(PyExc_BlockingIOError, value);
  Py_XDECREF(value);
  return NULL;
}

static PyObject *move(const tarn_py_signature *signature, tarn_iovec_access access, ARGUMENTS) {
  PyObject *values[3];
  int64_t offset = 0;
  tarn_iovec_walk walk;
  tarn_status status;
  if (tarn__py_arguments(signature, args, count, keywords, values) < 0) return NULL;
  const int file = PyObject_AsFileDescriptor(values[0]);
  const bool has_offset = values[1] && values[1] != Py_None;
  if (file < 0 || (has_offset && tarn__py_int64(values[1], &offset) < 0) ||
      open_walk(tarn__py_tensor_of(self), access, values[2], &walk) < 0) {
    return NULL;
  }
  if (offset < 0) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "byte %lld of a file", (long long)offset);
  }
  if (!has_offset) offset = -1;
  for (;;) {
    Py_BEGIN_ALLOW_THREADS status = access == TARN_IOVEC_READ
                                        ? tarn_iovec_write_to(&walk, file, offset)
                                        : tarn_iovec_read_from(&walk, file, offset);
    Py_END_ALLOW_THREADS if (status == TARN_OK) {
      return PyLong_FromUnsignedLongLong(walk.done_bytes);
    }
    if (status != TARN_NOT_READY) return tarn__py_raise_for_file(status, NULL);
    if (tarn_last_error()->native_code != EINTR) return raise_blocked(&walk);
    if (PyErr_CheckSignals() < 0) return NULL; /* a handler has something else to do */
  }
}

static PyObject *tensor_write_to(ARGUMENTS) {
  static const tarn_py_signature signature = {"write_to", 1, 1, {"file", "offset", "start"}};
  return move(&signature, TARN_IOVEC_READ, self, args, count, keywords);
}

static PyObject *tensor_read_from(ARGUMENTS) {
  static const tarn_py_signature signature = {"read_from", 1, 1, {"file", "offset", "start"}};
  return move(&signature, TARN_IOVEC_WRITE, self, args, count, keywords);
}

PyMethodDef tarn__py_blob_methods[] = {
    {"descriptor", tensor_descriptor, METH_NOARGS,
     "descriptor() -> (fd, offset, nbytes): the part of a file that the tensor's bytes lie in.\n\n"
     "From the lowest byte to the highest that it reaches. The descriptor is the caller's to\n"
     "close. Of mapped files ('r' and 'r+') and of tarn.share.pool(); others have none."},
    {"iovecs", FAST(tensor_iovecs), METH_FASTCALL | METH_KEYWORDS,
     "iovecs(*, start=0, count=1024, write=False): what os.writev takes, without a copy.\n\n"
     "The fewest runs of bytes, in row-major order, as tensors of uint8: from byte `start` on, so\n"
     "many, 1024 being what one call takes. With write=True for os.readv: refused where the\n"
     "tensor is read-only or has an element at two indices."},
    {"write_to", FAST(tensor_write_to), METH_FASTCALL | METH_KEYWORDS,
     "write_to(file, *, offset=None, start=0): the tensor's bytes in row-major order, by "
     "writev.\n\n"
     "To a descriptor, or what has fileno() (flush it first): at its position, or at byte\n"
     "`offset` of the file. Where a socket does not block, BlockingIOError.characters_written is\n"
     "the `start` to go on with. Returns how many bytes of the tensor are written now."},
    {"read_from", FAST(tensor_read_from), METH_FASTCALL | METH_KEYWORDS,
     "read_from(file, *, offset=None, start=0): fills the tensor in row-major order, by readv.\n\n"
     "As write_to; ArgumentError where the file ends too early."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef module_functions[] = {
    {"from_file", FAST(module_from_file), METH_FASTCALL | METH_KEYWORDS,
     "from_file(path, dtype='uint8', shape=None, *, offset=0, mode='r', sealed=False)\n\n"
     "A part of a file, mapped: 'r' read-only, 'c' copy on write, 'r+' written back. Without a\n"
     "shape one dimension to the file's end. Any offset; it has to suit the element type.\n"
     "Whoever makes the file shorter meanwhile ends the process: see tarn_mapping.h."},
    {"from_fd", FAST(module_from_fd), METH_FASTCALL | METH_KEYWORDS,
     "from_fd(file, dtype='uint8', shape=None, *, offset=0, mode='r', sealed=False)\n\n"
     "As from_file, of an open descriptor or what has fileno(): a file, a memfd, another\n"
     "process's shared memory. It may be closed then. sealed=True refuses what its owner could\n"
     "make shorter."},
    {"from_shm", FAST(module_from_shm), METH_FASTCALL | METH_KEYWORDS,
     "from_shm(name, dtype='uint8', shape=None, *, offset=0, mode='r', sealed=False)\n\n"
     "As from_file, of POSIX shared memory: '/name', or the name that\n"
     "multiprocessing.shared_memory.SharedMemory has."},
    {"from_address", FAST(module_from_address), METH_FASTCALL | METH_KEYWORDS,
     "from_address(address, shape, dtype='float32', *, strides=None, device=None,\n"
     "             read_only=False, owner=None)\n\n"
     "Memory of somebody else's, strides in bytes. The kernel is asked whether it is mapped, and\n"
     "for another device than 'cpu' the driver what it is: a lie is an ArgumentError. `owner` is\n"
     "kept until the last tensor of the memory is gone."},
    {"from_image", FAST(module_from_image), METH_FASTCALL | METH_KEYWORDS,
     "from_image(buffer, shape, dtype='uint8', *, row_bytes=0, pixel_bytes=0, offset=None)\n\n"
     "Rows of pixels with padding as (height, width) or (height, width, channels) of the same\n"
     "memory. Negative row_bytes: the image stands upside down in memory. offset is that of the\n"
     "first row's first pixel, by default the first byte, or the last row's upside down."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_blobs_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
