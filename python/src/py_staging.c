/* py_staging.c: tarn.Staging: page-locked slots through which pageable memory reaches a GPU. */
#include "python/src/py_staging.h"

#include "alloc/tarn_staging.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_placement.h"
#include "python/src/py_pool.h"

typedef struct tarn_py_staging {
  PyObject_HEAD tarn_staging *staging;
} tarn_py_staging;

static PyTypeObject *staging_type;

static tarn_staging *staging_of(PyObject *self) {
  return ((tarn_py_staging *)self)->staging;
}

static PyObject *staging_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  (void)type;
  static const char *names[] = {"slot_bytes", "slot_count", "name",       "node",
                                "near",       "placement",  "page_bytes", NULL};
  PyObject *slot_bytes = NULL, *slot_count = NULL;
  tarn_py_place place = {0};
  tarn_staging_options options = {.struct_size = sizeof options};
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|$OOzOOOO:Staging", (char **)(uintptr_t)names,
                                   &slot_bytes, &slot_count, &options.name, &place.node,
                                   &place.near, &place.placement, &place.page_bytes) ||
      tarn__py_size(slot_bytes, &options.slot_bytes) < 0 ||
      tarn__py_size(slot_count, &options.slot_count) < 0) {
    return NULL;
  }
  tarn_provider *provider;
  if (tarn__py_pinned_provider(&place, &provider) < 0) return NULL;
  tarn_staging *staging;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS /* it locks the memory */
      status = tarn_staging_create(provider, &options, &staging);
  tarn_provider_release(provider);
  Py_END_ALLOW_THREADS if (status != TARN_OK) return tarn__py_raise(status);
  tarn_py_staging *self = PyObject_New(tarn_py_staging, staging_type);
  if (!self) {
    tarn_staging_release(staging);
    return NULL;
  }
  self->staging = staging;
  return (PyObject *)self;
}

static void staging_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  tarn_staging *staging = staging_of(self);
  Py_BEGIN_ALLOW_THREADS /* it may wait for streams */
      tarn_staging_release(staging);
  Py_END_ALLOW_THREADS PyObject_Free(self);
  Py_DECREF(type);
}

static PyObject *staging_stats(PyObject *self, PyObject *unused) {
  (void)unused;
  tarn_staging_stats stats = {.struct_size = sizeof stats};
  tarn_status status = tarn_staging_stats_of(staging_of(self), &stats);
  if (status != TARN_OK) return tarn__py_raise(status);
  return Py_BuildValue(
      "{s:n,s:n,s:n,s:n,s:n,s:n,s:K,s:K,s:K,s:K,s:K}", "slot_count", (Py_ssize_t)stats.slot_count,
      "slot_bytes", (Py_ssize_t)stats.slot_bytes, "reserved_bytes",
      (Py_ssize_t)stats.reserved_bytes, "held_count", (Py_ssize_t)stats.held_count,
      "held_count_peak", (Py_ssize_t)stats.held_count_peak, "pending_count",
      (Py_ssize_t)stats.pending_count, "acquire_count", (unsigned long long)stats.acquire_count,
      "refusal_count", (unsigned long long)stats.refusal_count, "wait_count",
      (unsigned long long)stats.wait_count, "wait_ns", (unsigned long long)stats.wait_ns,
      "passed_bytes", (unsigned long long)stats.passed_bytes);
}

static PyObject *staging_get_name(PyObject *self, void *unused) {
  (void)unused;
  return PyUnicode_FromString(tarn_staging_name(staging_of(self)));
}

static PyObject *staging_repr(PyObject *self) {
  return PyUnicode_FromFormat("<tarn.Staging '%s'>", tarn_staging_name(staging_of(self)));
}

static PyGetSetDef staging_getset[] = {
    {"name", staging_get_name, NULL, "What it is called in errors.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef staging_methods[] = {
    {"stats", staging_stats, METH_NOARGS, "Bytes and counts as a dict; see tarn_staging.h."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot staging_slots[] = {
    {Py_tp_doc,
     (char *)"Staging(*, slot_bytes=None, slot_count=None, name=None, node=None, near=None,\n"
             "        placement=None, page_bytes=None): a ring of page-locked slots.\n\n"
             "It never grows: who finds no slot free waits for one. Where its memory lies is said\n"
             "as in Pool; near=0 is right for the copies of cuda:0. See set_staging."},
    {Py_tp_new, staging_new},
    {Py_tp_dealloc, staging_dealloc},
    {Py_tp_repr, staging_repr},
    {Py_tp_getset, staging_getset},
    {Py_tp_methods, staging_methods},
    {0, NULL},
};

static PyType_Spec staging_spec = {
    .name = "tarn.Staging",
    .basicsize = sizeof(tarn_py_staging),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = staging_slots,
};

static PyObject *module_set_staging(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *device_object, *staging_object;
  tarn_device device;
  tarn_stream *stream;
  if (!PyArg_ParseTuple(args, "OO:set_staging", &device_object, &staging_object) ||
      tarn__py_device_parse(device_object, &device) < 0) {
    return NULL;
  }
  if (staging_object != Py_None && Py_TYPE(staging_object) != staging_type) {
    return tarn__py_fail(TARN_PY_ERROR_TYPE, "%R is no tarn.Staging", staging_object);
  }
  if (tarn__py_device_stream(device, &stream) < 0) return NULL;
  tarn_staging *staging = staging_object == Py_None ? NULL : staging_of(staging_object);
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS /* it may end the ring before, and wait for its slots */
      status = tarn_stream_set_staging(stream, staging);
  Py_END_ALLOW_THREADS if (status != TARN_OK) return tarn__py_raise(status);
  Py_RETURN_NONE;
}

static PyMethodDef module_functions[] = {
    {"set_staging", module_set_staging, METH_VARARGS,
     "set_staging(device, staging): copies between pageable memory and that GPU go through the\n"
     "ring from now on, None: no more. What is copied to the GPU may be overwritten at once, and\n"
     "the call need not wait for the GPU. Call it while no other thread copies from or to the\n"
     "GPU."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_staging_init(PyObject *module) {
  staging_type = (PyTypeObject *)PyType_FromSpec(&staging_spec);
  if (!staging_type) return -1;
  if (PyModule_AddObjectRef(module, "Staging", (PyObject *)staging_type) < 0) return -1;
  return PyModule_AddFunctions(module, module_functions);
}
