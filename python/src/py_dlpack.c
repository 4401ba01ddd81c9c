/* py_dlpack.c: __dlpack__ and from_dlpack, as Python's array API standard says. */
#include "python/src/py_dlpack.h"

#include "python/src/py_arguments.h"
#include "python/src/py_copies.h"
#include "python/src/py_errors.h"
#include "python/src/py_exchange.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"
#include "tensor/tarn_dlpack.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static const char legacy_name[] = "dltensor", legacy_used[] = "used_dltensor";
static const char versioned_name[] = "dltensor_versioned";
static const char versioned_used[] = "used_dltensor_versioned";

static PyObject *refuse(const char *why) {
  return tarn__py_fail(TARN_PY_ERROR_BUFFER, "%s", why);
}

/* --- producing --- */

/* A capsule that nobody consumed gives back what it holds. */
static void destroy_legacy(PyObject *capsule) {
  if (!PyCapsule_IsValid(capsule, legacy_name)) return;
  tarn_dl_managed_tensor *managed = PyCapsule_GetPointer(capsule, legacy_name);
  if (managed->deleter) managed->deleter(managed);
}

static void destroy_versioned(PyObject *capsule) {
  if (!PyCapsule_IsValid(capsule, versioned_name)) return;
  tarn_dl_managed_tensor_versioned *managed = PyCapsule_GetPointer(capsule, versioned_name);
  if (managed->deleter) managed->deleter(managed);
}

/* Whether the consumer understands the versioned form: max_version is None or (major, minor). */
static int wants_versioned(PyObject *max_version) {
  if (!max_version || max_version == Py_None) return 0;
  long major, minor;
  if (!PyTuple_Check(max_version)) {
    tarn__py_fail(TARN_PY_ERROR_TYPE, "max_version is (major, minor), not %R", max_version);
    return -1;
  }
  if (!PyArg_ParseTuple(max_version, "ll;max_version is (major, minor)", &major, &minor)) return -1;
  return major >= 1;
}

/* The consumer's stream: None or -1 on the CPU; on a GPU -1 for no ordering, None or 1 for the
 * legacy default stream, 2 for the thread's own, else a handle. The caller releases *stream. */
static int parse_stream(PyObject *object, tarn_device device, bool *is_ordered,
                        tarn_stream **stream) {
  int64_t number = device.type == TARN_DEVICE_CUDA ? 1 : -1;
  *is_ordered = false;
  *stream = NULL;
  if (object && object != Py_None) {
    if (!PyLong_Check(object) || PyBool_Check(object)) {
      tarn__py_fail(TARN_PY_ERROR_TYPE, "stream is an integer or None, not %R", object);
      return -1;
    }
    if (tarn__py_int64(object, &number) < 0) return -1;
  }
  if (number == -1) return 0;
  if (device.type != TARN_DEVICE_CUDA) {
    refuse("memory of the CPU has no streams: stream must be None");
    return -1;
  }
  if (number <= 0) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                  "stream %lld is no CUDA stream: 1 is the legacy default one, 2 the thread's own",
                  (long long)number);
    return -1;
  }
  *is_ordered = true;
  return tarn__py_device_stream_of(device, number == 1 ? 0 : (uintptr_t)number, stream);
}

/* Where the consumer wants it; zero where that is where it lies. */
static int parse_target(PyObject *object, tarn_device own, tarn_device *target) {
  *target = (tarn_device){0};
  if (!object || object == Py_None) return 0;
  if (!PyTuple_Check(object)) {
    tarn__py_fail(TARN_PY_ERROR_TYPE, "dl_device is (type, index), not %R", object);
    return -1;
  }
  if (tarn__py_device_parse(object, target) < 0) return -1;
  if (tarn_device_equal(*target, own)) *target = (tarn_device){0};
  return 0;
}

static int parse_copy(PyObject *object, tarn_dlpack_copy *copy) {
  *copy = TARN_DLPACK_COPY_IF_NEEDED;
  if (!object || object == Py_None) return 0;
  if (!PyBool_Check(object)) {
    tarn__py_fail(TARN_PY_ERROR_TYPE, "copy is True, False or None, not %R", object);
    return -1;
  }
  *copy = object == Py_True ? TARN_DLPACK_COPY_ALWAYS : TARN_DLPACK_COPY_NEVER;
  return 0;
}

static PyObject *export_capsule(const tarn_tensor *tensor,
                                const tarn_dlpack_export_options *options, bool is_versioned) {
  tarn_dl_managed_tensor_versioned *versioned = NULL;
  tarn_dl_managed_tensor *legacy = NULL;
  tarn_status status;
  if (options->copy == TARN_DLPACK_COPY_IF_NEEDED || options->copy == TARN_DLPACK_COPY_NEVER) {
    status = is_versioned ? tarn_dlpack_export(tensor, options, &versioned)
                          : tarn_dlpack_export_legacy(tensor, options, &legacy);
  } else {
    Py_BEGIN_ALLOW_THREADS status = is_versioned
                                        ? tarn_dlpack_export(tensor, options, &versioned)
                                        : tarn_dlpack_export_legacy(tensor, options, &legacy);
    Py_END_ALLOW_THREADS
  }
  if (status != TARN_OK) return tarn__py_raise_as(TARN_PY_ERROR_BUFFER, status);
  PyObject *capsule = is_versioned ? PyCapsule_New(versioned, versioned_name, destroy_versioned)
                                   : PyCapsule_New(legacy, legacy_name, destroy_legacy);
  if (!capsule && versioned) versioned->deleter(versioned);
  if (!capsule && legacy) legacy->deleter(legacy);
  return capsule;
}

/* Fills in what a copy needs. */
static int prepare_copy(const tarn_tensor *tensor, tarn_dlpack_export_options *options) {
  tarn_device own = tarn_tensor_device(tensor);
  bool moves = options->device.type != 0;
  if (options->copy == TARN_DLPACK_COPY_NEVER) return 0;
  if (!moves && options->copy == TARN_DLPACK_COPY_IF_NEEDED) return 0;
  options->pool = moves ? tarn__py_pool_of_device(options->device) : tarn__py_pool_for(tensor);
  if (options->pool) return 0;
  if (PyErr_ExceptionMatches(PyExc_MemoryError)) return -1;
  PyErr_Clear();
  tarn__py_fail(TARN_PY_ERROR_BUFFER, "no way from device (%d, %d) to (%d, %d)", (int)own.type,
                (int)own.index, (int)options->device.type, (int)options->device.index);
  return -1;
}

static PyObject *tensor_dlpack(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords) {
  static const tarn_py_signature signature = {
      "__dlpack__", 0, 0, {"stream", "max_version", "dl_device", "copy"}};
  PyObject *values[4];
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  const tarn_tensor *tensor = tarn__py_tensor_of(self);
  tarn_device own = tarn_tensor_device(tensor);
  tarn_dlpack_export_options options = {.struct_size = sizeof options};
  bool is_ordered;
  int is_versioned = wants_versioned(values[1]);
  if (is_versioned < 0 || parse_copy(values[3], &options.copy) < 0 ||
      parse_target(values[2], own, &options.device) < 0 || prepare_copy(tensor, &options) < 0 ||
      tarn__py_device_stream(own, &options.producer) < 0 ||
      parse_stream(values[0], own, &is_ordered, &options.consumer) < 0) {
    return NULL;
  }
  /* A copy to the CPU is read there as soon as it is handed over. */
  bool to_host = options.device.type != 0 && tarn_device_is_host(options.device);
  tarn_stream *wrapped = options.consumer;
  if (to_host) options.consumer = NULL;
  if (!is_ordered && !to_host) {
    if (options.copy != TARN_DLPACK_COPY_ALWAYS) options.producer = NULL;
    options.consumer = options.producer;
  }
  PyObject *capsule = export_capsule(tensor, &options, is_versioned != 0);
  tarn_stream_release(wrapped);
  return capsule;
}

static PyObject *tensor_dlpack_device(PyObject *self, PyObject *unused) {
  (void)unused;
  tarn_device device = tarn_tensor_device(tarn__py_tensor_of(self));
  bool is_host = tarn_device_is_host(device);
  return Py_BuildValue("(ii)", (int)device.type, is_host ? 0 : (int)device.index);
}

PyMethodDef tarn__py_dlpack_methods[] = {
    {"__dlpack__", FAST(tensor_dlpack), METH_FASTCALL | METH_KEYWORDS,
     "__dlpack__(*, stream=None, max_version=None, dl_device=None, copy=None)"},
    {"__dlpack_device__", tensor_dlpack_device, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* --- consuming --- */

static PyObject *take_versioned(PyObject *capsule) {
  tarn_dl_managed_tensor_versioned *managed = PyCapsule_GetPointer(capsule, versioned_name);
  if (!managed) return NULL;
  /* The import deletes what has a foreign major version, and takes what it accepts. */
  bool is_foreign = managed->version.major != TARN_DLPACK_MAJOR;
  bool was_copied = !is_foreign && (managed->flags & TARN_DL_IS_COPIED) != 0;
  tarn_tensor tensor;
  tarn_status status = tarn_dlpack_import(managed, NULL, &tensor);
  if (status == TARN_OK || is_foreign) {
    if (PyCapsule_SetName(capsule, versioned_used) < 0) return NULL;
  }
  if (status != TARN_OK) return tarn__py_raise_as(TARN_PY_ERROR_BUFFER, status);
  return tarn__py_tensor_take(&tensor, was_copied);
}

static PyObject *take_legacy(PyObject *capsule) {
  tarn_dl_managed_tensor *managed = PyCapsule_GetPointer(capsule, legacy_name);
  if (!managed) return NULL;
  tarn_tensor tensor;
  tarn_status status = tarn_dlpack_import_legacy(managed, NULL, &tensor);
  if (status != TARN_OK) return tarn__py_raise_as(TARN_PY_ERROR_BUFFER, status);
  if (PyCapsule_SetName(capsule, legacy_used) < 0) {
    tarn_tensor_release(&tensor);
    return NULL;
  }
  return tarn__py_tensor_take(&tensor, /*was_copied=*/false);
}

static PyObject *take_capsule(PyObject *capsule) {
  if (PyCapsule_IsValid(capsule, versioned_name)) return take_versioned(capsule);
  if (PyCapsule_IsValid(capsule, legacy_name)) return take_legacy(capsule);
  if (PyCapsule_IsValid(capsule, versioned_used) || PyCapsule_IsValid(capsule, legacy_used)) {
    return refuse("the DLPack capsule was consumed before; each can be once");
  }
  return tarn__py_fail(TARN_PY_ERROR_TYPE, "%R is no DLPack capsule", capsule);
}

bool tarn__py_dlpack_is_offered(PyObject *object) {
  PyObject *method = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__dlpack__");
  PyErr_Clear();
  Py_XDECREF(method);
  return method != NULL || PyCapsule_CheckExact(object);
}

static int device_of(PyObject *producer, tarn_device *device) {
  PyObject *pair = PyObject_CallMethod(producer, "__dlpack_device__", NULL);
  if (!pair) return -1;
  PyObject *numbers = PySequence_Tuple(pair);
  Py_DECREF(pair);
  if (!numbers) return -1;
  int64_t type = 0, index = 0;
  int result = PyTuple_Size(numbers) == 2 ? 0 : -1;
  if (result == 0) result = tarn__py_int64(PyTuple_GetItem(numbers, 0), &type);
  if (result == 0) result = tarn__py_int64(PyTuple_GetItem(numbers, 1), &index);
  Py_DECREF(numbers);
  if (result < 0 && !PyErr_Occurred()) refuse("__dlpack_device__() is no pair of integers");
  *device = tarn_device_make((int32_t)type, (int32_t)index);
  return result;
}

/* __dlpack__ with all keywords; with the stream alone where the producer does not know them, and
 * then *is_old. */
static PyObject *ask(PyObject *producer, PyObject *stream, PyObject *dl_device, PyObject *copy,
                     bool *is_old) {
  PyObject *method = PyObject_GetAttrString(producer, "__dlpack__");
  PyObject *none = PyTuple_New(0), *capsule = NULL;
  PyObject *all = Py_BuildValue("{s:(ii)}", "max_version", TARN_DLPACK_MAJOR, TARN_DLPACK_MINOR);
  PyObject *few = PyDict_New();
  *is_old = false;
  bool is_ready = method && none && all && few;
  if (is_ready && stream) {
    is_ready = PyDict_SetItemString(all, "stream", stream) == 0 &&
               PyDict_SetItemString(few, "stream", stream) == 0;
  }
  if (is_ready && dl_device) is_ready = PyDict_SetItemString(all, "dl_device", dl_device) == 0;
  if (is_ready && copy) is_ready = PyDict_SetItemString(all, "copy", copy) == 0;
  if (is_ready) capsule = PyObject_Call(method, none, all);
  if (is_ready && !capsule && PyErr_ExceptionMatches(PyExc_TypeError)) {
    PyErr_Clear();
    *is_old = true;
    capsule = PyObject_Call(method, none, few);
  }
  Py_XDECREF(method);
  Py_XDECREF(none);
  Py_XDECREF(all);
  Py_XDECREF(few);
  return capsule;
}

/* What an old producer could not be asked for is done here. Takes `tensor`. */
static PyObject *move_by_ourselves(PyObject *tensor, PyObject *device, PyObject *copy) {
  PyObject *to = PyObject_GetAttrString(tensor, "to");
  PyObject *none = to ? PyTuple_New(0) : NULL;
  PyObject *options = none ? Py_BuildValue("{s:O,s:O}", "device", device ? device : Py_None, "copy",
                                           copy ? copy : Py_None)
                           : NULL;
  PyObject *moved = options ? PyObject_Call(to, none, options) : NULL;
  Py_XDECREF(options);
  Py_XDECREF(none);
  Py_XDECREF(to);
  Py_DECREF(tensor);
  return moved;
}

PyObject *tarn__py_dlpack_from(PyObject *producer, PyObject *device, PyObject *copy) {
  if (device == Py_None) device = NULL;
  if (copy == Py_None) copy = NULL;
  tarn_dlpack_copy checked;
  if (parse_copy(copy, &checked) < 0) return NULL;
  if (PyCapsule_CheckExact(producer)) {
    PyObject *tensor = take_capsule(producer);
    return tensor && (device || copy) ? move_by_ourselves(tensor, device, copy) : tensor;
  }
  tarn_device from, target;
  if (device_of(producer, &from) < 0 || tarn__py_device_parse(device, &target) < 0) return NULL;
  bool is_moved = device && !tarn_device_equal(from, target);
  if (is_moved && checked == TARN_DLPACK_COPY_NEVER) {
    return tarn__py_fail(TARN_PY_ERROR_COPY, "from_dlpack(copy=False) to another device");
  }
  PyObject *pair = is_moved ? Py_BuildValue("(ii)", (int)target.type, (int)target.index) : NULL;
  PyObject *stream = from.type == TARN_DEVICE_CUDA ? PyLong_FromLong(1) : NULL;
  bool is_old;
  PyObject *capsule = PyErr_Occurred() ? NULL : ask(producer, stream, pair, copy, &is_old);
  Py_XDECREF(pair);
  Py_XDECREF(stream);
  if (!capsule) return NULL;
  PyObject *tensor = take_capsule(capsule);
  Py_DECREF(capsule);
  bool was_asked = is_moved || checked == TARN_DLPACK_COPY_ALWAYS;
  if (!tensor || !was_asked) return tensor;
  if (is_old) return move_by_ourselves(tensor, device, copy);
  ((tarn_py_tensor *)tensor)->was_copied = true; /* the legacy form has no flag to say so */
  return tensor;
}

static PyObject *module_from_dlpack(PyObject *module, PyObject *const *args, Py_ssize_t count,
                                    PyObject *keywords) {
  (void)module;
  static const tarn_py_signature signature = {"from_dlpack", 1, 1, {"x", "device", "copy"}};
  PyObject *values[3];
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  if (!tarn__py_dlpack_is_offered(values[0])) {
    return tarn__py_fail(TARN_PY_ERROR_TYPE, "%R has no __dlpack__",
                         (PyObject *)Py_TYPE(values[0]));
  }
  return tarn__py_dlpack_from(values[0], values[1], values[2]);
}

static PyMethodDef module_functions[] = {
    {"from_dlpack", FAST(module_from_dlpack), METH_FASTCALL | METH_KEYWORDS,
     "from_dlpack(x, *, device=None, copy=None): a tensor of x's memory, or of a capsule's.\n\n"
     "copy=None copies only to reach another device, and was_copied says so."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_dlpack_init(PyObject *module) {
  if (tarn__py_exchange_init() < 0) return -1;
  return PyModule_AddFunctions(module, module_functions);
}
