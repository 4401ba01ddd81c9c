/* py_share.c: tensors sent to other processes, and pools of memory that can be. */
#include "python/src/py_share.h"

#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_share.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define ARGUMENTS PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords

/* A tensor's geometry, as the note of its storage's parcel. */
typedef struct geometry {
  char magic[8];
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
  int32_t rank;
  int64_t offset;
  int64_t shape[TARN_RANK_MAX];
  int64_t strides[TARN_RANK_MAX];
} geometry;
_Static_assert(sizeof(geometry) <= TARN_SHARE_NOTE_BYTES_MAX, "a note holds it");

static const char MAGIC[8] = "tensor1";

static void describe(const tarn_tensor *tensor, geometry *told) {
  memset(told, 0, sizeof *told);
  memcpy(told->magic, MAGIC, sizeof told->magic);
  told->code = tensor->dtype.code;
  told->bits = tensor->dtype.bits;
  told->lanes = tensor->dtype.lanes;
  told->rank = tensor->layout.rank;
  told->offset = tensor->layout.offset;
  for (int32_t i = 0; i < told->rank; i++) {
    told->shape[i] = tensor->layout.shape[i];
    told->strides[i] = tensor->layout.strides[i];
  }
}

/* Whatever the other side says: a view within the storage, or an error. Retains the storage. */
static tarn_status apply(const geometry *told, tarn_storage *storage, tarn_tensor *tensor) {
  const tarn_dtype dtype = {told->code, told->bits, told->lanes};
  *tensor = (tarn_tensor){.storage = NULL};
  tarn_status status = tarn_dtype_check(dtype);
  if (status != TARN_OK) return status;
  const int64_t capacity =
      (int64_t)(tarn_storage_size_bytes(storage) / tarn_dtype_size_bytes(dtype));
  status = tarn_tensor_of_storage(storage, dtype, 1, &capacity, /*offset_bytes=*/0, tensor);
  if (status != TARN_OK) return status;
  status = tarn_tensor_as_strided(tensor, told->rank, told->shape, told->strides, told->offset);
  if (status != TARN_OK) tarn_tensor_release(tensor);
  return status;
}

/* In milliseconds; None is for good. */
static int parse_timeout(PyObject *object, int *timeout_ms) {
  *timeout_ms = -1;
  if (!object || object == Py_None) return 0;
  const double seconds = PyFloat_AsDouble(object);
  if (PyErr_Occurred()) return -1;
  if (!(seconds >= 0 && seconds <= 2000000)) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "a timeout of %R seconds", object);
    return -1;
  }
  *timeout_ms = (int)(seconds * 1000);
  return 0;
}

static int parse_socket(PyObject *object, int *socket) {
  *socket = PyObject_AsFileDescriptor(object);
  return *socket < 0 ? -1 : 0;
}

static PyObject *raise(tarn_status status) {
  if (status != TARN_NOT_READY) return tarn__py_raise(status);
  PyErr_SetString(PyExc_TimeoutError, tarn_last_error()->message);
  return NULL;
}

static tarn_status send_tensor(int socket, const tarn_tensor *tensor, tarn_stream *stream,
                               uint32_t flags, int timeout_ms) {
  geometry told;
  describe(tensor, &told);
  const tarn_export_options options = {.struct_size = sizeof options,
                                       .stream = stream,
                                       .flags = flags,
                                       .note = &told,
                                       .note_bytes = sizeof told};
  tarn_parcel *parcel;
  tarn_status status = tarn_storage_export(tensor->storage, &options, &parcel);
  if (status != TARN_OK) return status;
  status = tarn_share_send(socket, parcel, timeout_ms);
  const tarn_error cause = *tarn_last_error();
  tarn_parcel_destroy(parcel);
  return status == TARN_OK ? TARN_OK : tarn_fail_again(&cause);
}

static PyObject *module_send(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {
      "send", 2, 2, {"connection", "tensor", "read_only", "timeout"}};
  PyObject *values[4];
  int socket, timeout_ms;
  bool is_read_only = false;
  tarn_stream *stream;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      parse_socket(values[0], &socket) < 0 || parse_timeout(values[3], &timeout_ms) < 0 ||
      tarn__py_flag(values[2], &is_read_only) < 0) {
    return NULL;
  }
  if (!tarn__py_is_tensor(values[1])) {
    return tarn__py_fail(TARN_PY_ERROR_TYPE, "a tarn.Tensor is sent, not %R",
                         (PyObject *)Py_TYPE(values[1]));
  }
  const tarn_tensor *tensor = tarn__py_tensor_of(values[1]);
  if (tarn__py_device_stream(tarn_tensor_device(tensor), &stream) < 0) return NULL;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status =
      send_tensor(socket, tensor, stream, is_read_only ? TARN_SHARE_READ_ONLY : 0, timeout_ms);
  Py_END_ALLOW_THREADS if (status != TARN_OK) return raise(status);
  Py_RETURN_NONE;
}

/* What maps a GPU's memory: any provider of the driver's. Made once and kept; the GIL guards it. */
static int find_importer(const tarn_parcel *parcel, tarn_provider **importer) {
  static tarn_provider *cuda_importer;
  *importer = NULL;
  if (tarn_parcel_device(parcel).type != TARN_DEVICE_CUDA) return 0;
  tarn_cuda *cuda = tarn__py_cuda();
  if (!cuda) return -1;
  if (!cuda_importer) {
    const tarn_status status = tarn_cuda_device_provider_create(cuda, 0, &cuda_importer);
    if (status != TARN_OK) tarn__py_raise(status);
  }
  *importer = cuda_importer;
  return cuda_importer ? 0 : -1;
}

/* Takes the parcel. */
static tarn_status import_tensor(tarn_parcel *parcel, tarn_provider *importer,
                                 tarn_tensor *tensor) {
  geometry told;
  size_t note_bytes;
  tarn_storage *storage = NULL;
  const void *note = tarn_parcel_note(parcel, &note_bytes);
  tarn_status status = TARN_OK;
  if (note_bytes == sizeof told) memcpy(&told, note, sizeof told);
  if (note_bytes != sizeof told || memcmp(told.magic, MAGIC, sizeof told.magic) != 0) {
    status = tarn_fail(TARN_BAD_FORMAT, "what arrived is a parcel, but no tensor of this package");
  }
  if (status == TARN_OK) {
    status = tarn_storage_import(parcel, importer, /*stream=*/NULL, &storage);
  }
  if (status != TARN_OK) {
    tarn_parcel_destroy(parcel);
    return status;
  }
  status = apply(&told, storage, tensor);
  tarn_storage_release(storage);
  return status;
}

static PyObject *module_receive(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {"receive", 1, 1, {"connection", "timeout"}};
  PyObject *values[2];
  int socket, timeout_ms;
  tarn_parcel *parcel;
  tarn_provider *importer;
  tarn_tensor tensor;
  tarn_status status;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      parse_socket(values[0], &socket) < 0 || parse_timeout(values[1], &timeout_ms) < 0) {
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS status = tarn_share_receive(socket, timeout_ms, &parcel);
  Py_END_ALLOW_THREADS if (status != TARN_OK) return raise(status);
  if (find_importer(parcel, &importer) < 0) {
    tarn_parcel_destroy(parcel);
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS status = import_tensor(parcel, importer, &tensor);
  Py_END_ALLOW_THREADS if (status != TARN_OK) return raise(status);
  return tarn__py_tensor_take(&tensor, /*was_copied=*/false);
}

static PyObject *module_collect(PyObject *module, PyObject *unused) {
  (void)module, (void)unused;
  return PyLong_FromSize_t(tarn_share_collect());
}

static tarn_status make_provider(tarn_device device, tarn_cuda *cuda, tarn_provider **provider) {
  const tarn_pages_options pages = {.struct_size = sizeof pages, .flags = TARN_PAGES_SHARED};
  const tarn_cuda_virtual_options virtual = {.struct_size = sizeof virtual,
                                             .flags = TARN_CUDA_VIRTUAL_SHARED};
  return device.type == TARN_DEVICE_CPU
             ? tarn_pages_provider_create(&pages, provider)
             : tarn_cuda_virtual_provider_create(cuda, device.index, &virtual, provider);
}

static PyObject *module_pool(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {"pool", 0, 1, {"device", "limit_bytes", "name"}};
  PyObject *values[3];
  tarn_device device;
  tarn_caching_options options = {.struct_size = sizeof options};
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_device_parse(values[0], &device) < 0 ||
      tarn__py_size(values[1] == Py_None ? NULL : values[1], &options.limit_bytes) < 0) {
    return NULL;
  }
  if (values[2] && values[2] != Py_None) {
    options.name = PyUnicode_AsUTF8AndSize(values[2], NULL);
    if (!options.name) return NULL;
  }
  if (device.type != TARN_DEVICE_CPU && device.type != TARN_DEVICE_CUDA) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "memory to share is 'cpu' or 'cuda', not %R",
                         values[0]);
  }
  tarn_cuda *cuda = device.type == TARN_DEVICE_CUDA ? tarn__py_cuda() : NULL;
  if (device.type == TARN_DEVICE_CUDA && !cuda) return NULL;
  tarn_provider *provider;
  tarn_pool *pool = NULL;
  tarn_status status = make_provider(device, cuda, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, &options, &pool);
  tarn_provider_release(provider);
  return status == TARN_OK ? tarn__py_pool_take(pool) : tarn__py_raise(status);
}

static PyMethodDef module_functions[] = {
    {"_share_send", FAST(module_send), METH_FASTCALL | METH_KEYWORDS, "See tarn.share."},
    {"_share_receive", FAST(module_receive), METH_FASTCALL | METH_KEYWORDS, "See tarn.share."},
    {"_share_collect", module_collect, METH_NOARGS, "See tarn.share."},
    {"_share_pool", FAST(module_pool), METH_FASTCALL | METH_KEYWORDS, "See tarn.share."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_share_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
