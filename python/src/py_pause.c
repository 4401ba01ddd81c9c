/* py_pause.c: Pool.pause, Pool.resume and Pool.paused; and tarn.tagged, which names what goes. */
#include "python/src/py_pause.h"

#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_tag.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"

/* --- arguments --- */

typedef struct tag_list {
  PyObject *owner; /* a tuple whose strings the names are in; NULL: every block */
  const char *names[TARN_TAGS_MAX];
  size_t count;
} tag_list;

static void drop_tags(tag_list *tags) {
  Py_CLEAR(tags->owner);
}

/* None, a name, or several. 0, or -1 with an exception. */
static int parse_tags(PyObject *object, tag_list *tags) {
  *tags = (tag_list){.owner = NULL};
  if (!object || object == Py_None) return 0;
  tags->owner = PyUnicode_Check(object) ? PyTuple_Pack(1, object) : PySequence_Tuple(object);
  if (!tags->owner) return -1;
  const Py_ssize_t count = PyTuple_Size(tags->owner);
  for (Py_ssize_t i = 0; i < count; i++) {
    Py_ssize_t size = 0;
    const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(tags->owner, i), &size);
    const bool is_whole = name && strlen(name) == (size_t)size;
    if (is_whole && tags->count < TARN_TAGS_MAX) {
      tags->names[tags->count++] = name;
      continue;
    }
    if (is_whole) {
      tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "there are no %zd tags", count);
    } else if (name) {
      tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "no tag's name has a zero in it: %s", name);
    }
    drop_tags(tags);
    return -1;
  }
  if (count > 0) return 0;
  tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "tags is None for all, or names at least one");
  drop_tags(tags);
  return -1;
}

/* Saves contents of the CPU's memory, and has nothing else. Made at first need, under the GIL. */
static tarn_pool *own_backup;

static tarn_pool *backup_for(PyObject *object, tarn_device device) {
  if (object && object != Py_None) return tarn__py_pool_of(object);
  if (device.type == TARN_DEVICE_CUDA) {
    return tarn__py_pool_of_device(tarn_device_make(TARN_DEVICE_CUDA_HOST, 0));
  }
  if (own_backup) return own_backup;
  const tarn_caching_options options = {.struct_size = sizeof options, .name = "paused"};
  tarn_provider *provider;
  tarn_status status = tarn_pages_provider_create(NULL, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, &options, &own_backup);
  tarn_provider_release(provider);
  if (status != TARN_OK) tarn__py_raise(status);
  return own_backup;
}

/* A stream of its own for copies to and from a device's memory; NULL for the CPU's. */
static int copier_for(tarn_device device, tarn_stream **stream) {
  *stream = NULL;
  if (device.type != TARN_DEVICE_CUDA) return 0;
  tarn_cuda *cuda = tarn__py_cuda();
  if (!cuda) return -1;
  const tarn_status status = tarn_cuda_stream_create(cuda, device.index, stream);
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

static PyObject *report_object(tarn_status status, const tarn_pause_report *report) {
  if (status != TARN_OK) return tarn__py_raise(status);
  return Py_BuildValue("{s:K,s:n,s:n,s:n}", "block_count", (unsigned long long)report->block_count,
                       "moved_bytes", (Py_ssize_t)report->moved_bytes, "copied_bytes",
                       (Py_ssize_t)report->copied_bytes, "shared_bytes",
                       (Py_ssize_t)report->shared_bytes);
}

/* --- the pool's methods --- */

static const tarn_py_signature pause_signature = {
    "pause", 0, 0, {"keep", "tags", "backup", "wait"}};

PyObject *tarn__py_pool_pause(PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *keywords) {
  PyObject *values[4];
  bool is_kept = true, may_wait = true;
  if (tarn__py_arguments(&pause_signature, args, count, keywords, values) < 0 ||
      tarn__py_flag(values[0], &is_kept) < 0 || tarn__py_flag(values[3], &may_wait) < 0) {
    return NULL;
  }
  tarn_pool *pool = tarn__py_pool_of(self);
  const tarn_device device = tarn_pool_attributes_of(pool)->device;
  tarn_pause_options options = {.struct_size = sizeof options,
                                .contents = is_kept ? TARN_PAUSE_KEEP : TARN_PAUSE_DISCARD,
                                .flags = may_wait ? 0 : TARN_PAUSE_NO_WAIT};
  tag_list tags;
  if (is_kept && !(options.backup = backup_for(values[2], device))) return NULL;
  if (parse_tags(values[1], &tags) < 0) return NULL;
  if (is_kept && copier_for(device, &options.stream) < 0) {
    drop_tags(&tags);
    return NULL;
  }
  options.tags = tags.names;
  options.tag_count = tags.count;
  tarn_pause_report report = {.struct_size = sizeof report};
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = tarn_pool_pause(pool, &options, &report);
  tarn_stream_release(options.stream);
  Py_END_ALLOW_THREADS drop_tags(&tags);
  return report_object(status, &report);
}

/* Nothing of it stays when the contents are back where they belong. */
static tarn_status trim_own_backup(void) {
  return own_backup ? tarn_pool_trim(own_backup, 0, NULL) : TARN_OK;
}

PyObject *tarn__py_pool_resume(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords) {
  static const tarn_py_signature signature = {"resume", 0, 1, {"tags"}};
  PyObject *values[1];
  tag_list tags;
  tarn_resume_options options = {.struct_size = sizeof options};
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0) return NULL;
  tarn_pool *pool = tarn__py_pool_of(self);
  if (copier_for(tarn_pool_attributes_of(pool)->device, &options.stream) < 0) return NULL;
  if (parse_tags(values[0], &tags) < 0) {
    tarn_stream_release(options.stream);
    return NULL;
  }
  options.tags = tags.names;
  options.tag_count = tags.count;
  tarn_pause_report report = {.struct_size = sizeof report};
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = tarn_pool_resume(pool, &options, &report);
  if (status == TARN_OK) status = trim_own_backup();
  tarn_stream_release(options.stream);
  Py_END_ALLOW_THREADS drop_tags(&tags);
  return report_object(status, &report);
}

/* --- with blocks --- */

/* Of Pool.paused, and of tagged. */
typedef struct scope {
  PyObject_HEAD PyObject *subject; /* the pool; the tag */
  PyObject *arguments;             /* a dict for pause() */
} scope;

static PyTypeObject *paused_type;

static PyObject *scope_make(PyTypeObject *type, PyObject *subject, PyObject *taken) {
  scope *self = PyObject_New(scope, type);
  if (!self) {
    Py_XDECREF(taken);
    return NULL;
  }
  Py_INCREF(subject);
  self->subject = subject;
  self->arguments = taken;
  return (PyObject *)self;
}

static void scope_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  Py_CLEAR(((scope *)self)->subject);
  Py_CLEAR(((scope *)self)->arguments);
  PyObject_Free(self);
  Py_DECREF(type);
}

PyObject *tarn__py_pool_paused(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords) {
  PyObject *values[4];
  if (tarn__py_arguments(&pause_signature, args, count, keywords, values) < 0) return NULL;
  PyObject *arguments = PyDict_New();
  for (int i = 0; arguments && i < 4; i++) {
    if (values[i] && PyDict_SetItemString(arguments, pause_signature.names[i], values[i]) < 0) {
      Py_CLEAR(arguments);
    }
  }
  return arguments ? scope_make(paused_type, self, arguments) : NULL;
}

static PyObject *call_method(PyObject *pool, const char *name, PyObject *arguments) {
  PyObject *method = PyObject_GetAttrString(pool, name);
  PyObject *nothing = method ? PyTuple_New(0) : NULL;
  PyObject *result = nothing ? PyObject_Call(method, nothing, arguments) : NULL;
  Py_XDECREF(nothing);
  Py_XDECREF(method);
  return result;
}

/* What the pause did is what `as` gets. */
static PyObject *paused_enter(PyObject *self, PyObject *unused) {
  (void)unused;
  return call_method(((scope *)self)->subject, "pause", ((scope *)self)->arguments);
}

static PyObject *paused_exit(PyObject *self, PyObject *args) {
  (void)args;
  PyObject *tags = PyDict_GetItemString(((scope *)self)->arguments, "tags"); /* borrowed */
  PyObject *arguments = PyDict_New();
  const bool is_whole = arguments && (!tags || PyDict_SetItemString(arguments, "tags", tags) == 0);
  PyObject *result = is_whole ? call_method(((scope *)self)->subject, "resume", arguments) : NULL;
  Py_XDECREF(arguments);
  if (!result) return NULL;
  Py_DECREF(result);
  Py_RETURN_FALSE;
}

static PyObject *tagged_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  static const char *names[] = {"name", NULL};
  PyObject *name;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "U:tagged", (char **)(uintptr_t)names, &name)) {
    return NULL;
  }
  return scope_make(type, name, NULL);
}

static PyObject *tagged_enter(PyObject *self, PyObject *unused) {
  (void)unused;
  const char *name = PyUnicode_AsUTF8AndSize(((scope *)self)->subject, NULL);
  if (!name) return NULL;
  const tarn_status status = tarn_tag_push(name);
  if (status != TARN_OK) return tarn__py_raise(status);
  Py_INCREF(((scope *)self)->subject);
  return ((scope *)self)->subject;
}

static PyObject *tagged_exit(PyObject *self, PyObject *args) {
  (void)self;
  (void)args;
  tarn_tag_pop();
  Py_RETURN_FALSE;
}

static PyMethodDef paused_methods[] = {
    {"__enter__", paused_enter, METH_NOARGS, NULL},
    {"__exit__", paused_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef tagged_methods[] = {
    {"__enter__", tagged_enter, METH_NOARGS, NULL},
    {"__exit__", tagged_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot paused_slots[] = {
    {Py_tp_dealloc, scope_dealloc},
    {Py_tp_methods, paused_methods},
    {0, NULL},
};

static PyType_Slot tagged_slots[] = {
    {Py_tp_doc, (char *)"tagged(name): in its with block the thread's allocations carry the name, "
                        "by which\nPool.pause() and an out-of-memory error tell them apart."},
    {Py_tp_new, tagged_new},
    {Py_tp_dealloc, scope_dealloc},
    {Py_tp_methods, tagged_methods},
    {0, NULL},
};

static PyType_Spec paused_spec = {
    .name = "tarn._Paused",
    .basicsize = sizeof(scope),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = paused_slots,
};

static PyType_Spec tagged_spec = {
    .name = "tarn.tagged",
    .basicsize = sizeof(scope),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = tagged_slots,
};

int tarn__py_pause_init(PyObject *module) {
  paused_type = (PyTypeObject *)PyType_FromSpec(&paused_spec);
  PyObject *tagged = paused_type ? PyType_FromSpec(&tagged_spec) : NULL;
  if (!tagged) return -1;
  const int result = PyModule_AddObjectRef(module, "tagged", tagged);
  Py_DECREF(tagged);
  return result;
}
