/* py_pool.c: tarn.Pool, and what a device is to Python: its pool, and the stream of its work. */
#include "python/src/py_pool.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "numa/tarn_node_pool.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_numa.h"
#include "python/src/py_pause.h"
#include "python/src/py_placement.h"

enum { CUDA_DEVICES_MAX = 64 };

typedef struct tarn_py_pool {
  PyObject_HEAD tarn_pool *pool;
} tarn_py_pool;

static PyTypeObject *pool_type;

/* Made at first use and kept. The GIL guards them. */
static tarn_pool *host_pool, *pinned_pool, *cuda_pools[CUDA_DEVICES_MAX];
static _Atomic(tarn_stream *) cuda_streams[CUDA_DEVICES_MAX]; /* read without the GIL as well */
static tarn_cuda *cuda;

/* --- devices --- */

static int parse_index(const char *text, int32_t *index) {
  int64_t value = 0;
  if (*text == '\0') return -1;
  for (; *text; text++) {
    if (*text < '0' || *text > '9' || value > CUDA_DEVICES_MAX) return -1;
    value = 10 * value + (*text - '0');
  }
  *index = (int32_t)value;
  return 0;
}

static int parse_device_name(const char *name, tarn_device *device) {
  *device = tarn_device_make(TARN_DEVICE_CPU, 0);
  if (strcmp(name, "cpu") == 0 || strcmp(name, "cpu:0") == 0) return 0;
  device->type = TARN_DEVICE_CUDA_HOST;
  if (strcmp(name, "cuda_host") == 0) return 0;
  device->type = TARN_DEVICE_CUDA;
  if (strcmp(name, "cuda") == 0) return 0;
  return strncmp(name, "cuda:", 5) == 0 ? parse_index(name + 5, &device->index) : -1;
}

int tarn__py_device_parse(PyObject *object, tarn_device *device) {
  *device = tarn_device_make(TARN_DEVICE_CPU, 0);
  if (!object || object == Py_None) return 0;
  if (PyTuple_Check(object)) {
    int type, index;
    if (!PyArg_ParseTuple(object, "ii;a device is (type, index)", &type, &index)) return -1;
    *device = tarn_device_make(type, index);
    return 0;
  }
  PyObject *text = PyObject_Str(object); /* torch.device and others say their name so */
  if (!text) return -1;
  Py_ssize_t length;
  const char *name = PyUnicode_AsUTF8AndSize(text, &length);
  bool is_whole = name && strlen(name) == (size_t)length;
  int result = is_whole ? parse_device_name(name, device) : -1;
  if (result < 0 && !PyErr_Occurred()) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%R is no device: 'cpu', 'cuda', 'cuda:1', 'cuda_host'",
                  object);
  }
  Py_DECREF(text);
  return result;
}

PyObject *tarn__py_device_name(tarn_device device) {
  switch (device.type) {
    case TARN_DEVICE_CPU:
      return PyUnicode_FromString("cpu");
    case TARN_DEVICE_CUDA:
      return PyUnicode_FromFormat("cuda:%d", (int)device.index);
    case TARN_DEVICE_CUDA_HOST:
      return PyUnicode_FromString("cuda_host");
    case TARN_DEVICE_CUDA_MANAGED:
      return PyUnicode_FromString("cuda_managed");
    default:
      return PyUnicode_FromFormat("%d:%d", (int)device.type, (int)device.index);
  }
}

/* --- the default pools --- */

tarn_cuda *tarn__py_cuda(void) {
  if (cuda) return cuda;
  tarn_status status = tarn_cuda_open(NULL, &cuda);
  if (status != TARN_OK) tarn__py_raise(status);
  return cuda;
}

/* Takes the provider. */
static tarn_status pool_over(tarn_provider *provider, const tarn_caching_options *options,
                             tarn_pool **pool) {
  tarn_status status = tarn_caching_pool_create(provider, options, pool);
  tarn_provider_release(provider);
  return status;
}

static tarn_status make_pool(tarn_device device, const tarn_caching_options *options,
                             tarn_pool **pool) {
  tarn_provider *provider;
  tarn_status status;
  if (device.type == TARN_DEVICE_CPU) {
    status = tarn_pages_provider_create(NULL, &provider);
  } else if (device.type == TARN_DEVICE_CUDA_HOST) {
    status = tarn_cuda_pinned_provider_create(cuda, NULL, &provider);
  } else {
    status = tarn_cuda_memory_provider_create(cuda, device.index, NULL, &provider);
  }
  return status == TARN_OK ? pool_over(provider, options, pool) : status;
}

/* Where a device's default pool is kept; NULL with an exception. */
static tarn_pool **place_of_pool(tarn_device device) {
  if (device.type == TARN_DEVICE_CPU && device.index == 0) return &host_pool;
  if (device.type == TARN_DEVICE_CUDA_HOST) return tarn__py_cuda() ? &pinned_pool : NULL;
  if (device.type == TARN_DEVICE_CUDA && device.index >= 0 && device.index < CUDA_DEVICES_MAX) {
    return tarn__py_cuda() ? &cuda_pools[device.index] : NULL;
  }
  tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "no memory is to be had on device (%d, %d)",
                (int)device.type, (int)device.index);
  return NULL;
}

tarn_pool *tarn__py_pool_of_device(tarn_device device) {
  tarn_pool **place = place_of_pool(device);
  if (!place || *place) return place ? *place : NULL;
  tarn_status status = make_pool(device, NULL, place);
  if (status != TARN_OK) tarn__py_raise(status);
  return *place;
}

tarn_pool *tarn__py_pool_of(PyObject *pool) {
  if (Py_TYPE(pool) == pool_type) return ((tarn_py_pool *)pool)->pool;
  return (void *)tarn__py_fail(TARN_PY_ERROR_TYPE, "pool is a tarn.Pool, not %R", pool);
}

tarn_pool *tarn__py_pool_choose(PyObject *pool, PyObject *device) {
  tarn_device parsed;
  if (tarn__py_device_parse(device, &parsed) < 0) return NULL;
  if (!pool || pool == Py_None) return tarn__py_pool_of_device(parsed);
  tarn_pool *chosen = tarn__py_pool_of(pool);
  if (!chosen) return NULL;
  tarn_device home = tarn_pool_attributes_of(chosen)->device;
  if (device && device != Py_None && !tarn_device_equal(home, parsed)) {
    return (void *)tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "the pool's memory is not on device %R",
                                 device);
  }
  return chosen;
}

int tarn__py_device_stream_of(tarn_device device, uintptr_t handle, tarn_stream **stream) {
  *stream = NULL;
  if (!tarn__py_cuda()) return -1;
  tarn_status status = tarn_cuda_stream_wrap(cuda, device.index, (void *)handle, stream);
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

int tarn__py_device_stream(tarn_device device, tarn_stream **stream) {
  *stream = NULL;
  if (device.type != TARN_DEVICE_CUDA) return 0;
  if (device.index < 0 || device.index >= CUDA_DEVICES_MAX) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "no device cuda:%d", (int)device.index);
    return -1;
  }
  *stream = atomic_load_explicit(&cuda_streams[device.index], memory_order_acquire);
  if (*stream) return 0;
  if (tarn__py_device_stream_of(device, 0, stream) < 0) return -1;
  atomic_store_explicit(&cuda_streams[device.index], *stream, memory_order_release);
  return 0;
}

tarn_status tarn__py_device_work_stream(void *unused, tarn_device device, tarn_stream **stream,
                                        void **native) {
  (void)unused;
  *native = NULL; /* the legacy default stream, and the CPU's */
  if (device.type != TARN_DEVICE_CUDA) return TARN_OK;
  if (device.index >= 0 && device.index < CUDA_DEVICES_MAX) {
    *stream = atomic_load_explicit(&cuda_streams[device.index], memory_order_acquire);
  }
  return *stream ? TARN_OK
                 : tarn_fail(TARN_UNAVAILABLE, "the package has not used cuda:%d yet",
                             (int)device.index);
}

/* --- the object --- */

PyObject *tarn__py_pool_take(tarn_pool *taken) {
  tarn_py_pool *self = PyObject_New(tarn_py_pool, pool_type);
  if (!self) {
    tarn_pool_release(taken);
    return NULL;
  }
  self->pool = taken;
  return (PyObject *)self;
}

/* jemalloc's arenas in memory of one node and no other. */
static PyObject *pool_on_node(PyObject *node_object, const tarn_caching_options *caching) {
  tarn_node_pool_options options = {.struct_size = sizeof options,
                                    .name = caching->name,
                                    .limit_bytes = caching->limit_bytes,
                                    .decay_ns = caching->decay_ns};
  if (tarn__py_node_parse(node_object, &options.node) < 0) return NULL;
  tarn_topology *topology = tarn__py_topology();
  if (!topology) return NULL;
  tarn_pool *pool;
  tarn_status status = tarn_node_pool_create(topology, &options, &pool);
  return status == TARN_OK ? tarn__py_pool_take(pool) : tarn__py_raise(status);
}

/* Over the host's pages that lie so, page-locked where the device is that. */
static PyObject *pool_on_place(const tarn_py_place *place, tarn_device device,
                               const tarn_caching_options *options) {
  const bool is_pinned = device.type == TARN_DEVICE_CUDA_HOST;
  tarn_provider *provider;
  if ((is_pinned ? tarn__py_pinned_provider : tarn__py_place_provider)(place, &provider) < 0) {
    return NULL;
  }
  tarn_pool *pool;
  tarn_status status = pool_over(provider, options, &pool);
  return status == TARN_OK ? tarn__py_pool_take(pool) : tarn__py_raise(status);
}

/* The pages of a GPU cannot be placed, nor pinned. */
static int parse_pinned(bool is_pinned, const tarn_py_place *place, tarn_device *device) {
  const bool is_host = device->type == TARN_DEVICE_CUDA_HOST ||
                       (device->type == TARN_DEVICE_CPU && device->index == 0);
  if (!is_host && (is_pinned || tarn__py_place_is_said(place))) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT,
                  "only the host's memory is placed and pinned, not (%d, %d)", (int)device->type,
                  (int)device->index);
    return -1;
  }
  if (is_pinned) *device = tarn_device_make(TARN_DEVICE_CUDA_HOST, 0);
  return 0;
}

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  (void)type;
  static const char *names[] = {"device",    "limit_bytes", "name",     "node",    "pinned", "near",
                                "placement", "page_bytes",  "populate", "decay_s", NULL};
  PyObject *device_object = NULL, *limit = NULL, *decay = NULL;
  const char *name = NULL;
  int is_pinned = 0, is_populated = 0;
  tarn_device device;
  tarn_py_place place = {0};
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O$OzOpOOOpO:Pool", (char **)(uintptr_t)names,
                                   &device_object, &limit, &name, &place.node, &is_pinned,
                                   &place.near, &place.placement, &place.page_bytes, &is_populated,
                                   &decay) ||
      tarn__py_device_parse(device_object, &device) < 0) {
    return NULL;
  }
  place.is_populated = is_populated;
  tarn_caching_options options = {.struct_size = sizeof options, .name = name};
  if (tarn__py_size(limit, &options.limit_bytes) < 0 ||
      tarn__py_seconds(decay, &options.decay_ns) < 0 ||
      parse_pinned(is_pinned, &place, &device) < 0) {
    return NULL;
  }
  if (device.type == TARN_DEVICE_CPU && tarn__py_place_is_node_alone(&place)) {
    return pool_on_node(place.node, &options);
  }
  if (tarn__py_place_is_said(&place)) return pool_on_place(&place, device, &options);
  if (!place_of_pool(device)) return NULL;
  tarn_pool *pool;
  tarn_status status = make_pool(device, &options, &pool);
  return status == TARN_OK ? tarn__py_pool_take(pool) : tarn__py_raise(status);
}

static void pool_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  tarn_pool *pool = ((tarn_py_pool *)self)->pool;
  Py_BEGIN_ALLOW_THREADS /* it may wait for streams */
      tarn_pool_release(pool);
  Py_END_ALLOW_THREADS PyObject_Free(self);
  Py_DECREF(type);
}

static PyObject *pool_stats(PyObject *self, PyObject *unused) {
  (void)unused;
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  tarn_status status = tarn_pool_stats_of(((tarn_py_pool *)self)->pool, &stats);
  if (status != TARN_OK) return tarn__py_raise(status);
  return Py_BuildValue(
      "{s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:K,s:K,s:K,s:K,s:K,s:K,s:n,s:n,s:n}", "requested_bytes",
      (Py_ssize_t)stats.requested_bytes, "allocated_bytes", (Py_ssize_t)stats.allocated_bytes,
      "active_bytes", (Py_ssize_t)stats.active_bytes, "reserved_bytes",
      (Py_ssize_t)stats.reserved_bytes, "requested_bytes_peak",
      (Py_ssize_t)stats.requested_bytes_peak, "allocated_bytes_peak",
      (Py_ssize_t)stats.allocated_bytes_peak, "reserved_bytes_peak",
      (Py_ssize_t)stats.reserved_bytes_peak, "alloc_count", (unsigned long long)stats.alloc_count,
      "free_count", (unsigned long long)stats.free_count, "provider_calls",
      (unsigned long long)stats.provider_calls, "fence_count",
      (unsigned long long)stats.fence_count, "wait_count", (unsigned long long)stats.wait_count,
      "out_of_memory_count", (unsigned long long)stats.out_of_memory_count, "captured_bytes",
      (Py_ssize_t)stats.captured_bytes, "graph_bytes", (Py_ssize_t)stats.graph_bytes,
      "paused_bytes", (Py_ssize_t)stats.paused_bytes);
}

static PyObject *pool_trim(PyObject *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *keywords) {
  static const tarn_py_signature signature = {"trim", 0, 1, {"keep_bytes"}};
  PyObject *values[1];
  size_t keep_bytes = 0, released_bytes = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_size(values[0], &keep_bytes) < 0) {
    return NULL;
  }
  tarn_pool *pool = ((tarn_py_pool *)self)->pool;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = tarn_pool_trim(pool, keep_bytes, &released_bytes);
  Py_END_ALLOW_THREADS return status == TARN_OK ? PyLong_FromSize_t(released_bytes)
                                                : tarn__py_raise(status);
}

/* By the clock that does not go back, which all callers share. */
static PyObject *pool_decay(PyObject *self, PyObject *unused) {
  (void)unused;
  tarn_pool *pool = ((tarn_py_pool *)self)->pool;
  size_t released_bytes = 0;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = tarn_pool_decay(pool, now_ns, &released_bytes);
  Py_END_ALLOW_THREADS return status == TARN_OK ? PyLong_FromSize_t(released_bytes)
                                                : tarn__py_raise(status);
}

static PyObject *pool_get_node(PyObject *self, void *unused) {
  (void)unused;
  const int32_t node = tarn_pool_attributes_of(((tarn_py_pool *)self)->pool)->node;
  if (node < 0) Py_RETURN_NONE;
  return PyLong_FromLong(node);
}

static PyObject *pool_get_name(PyObject *self, void *unused) {
  (void)unused;
  return PyUnicode_FromString(tarn_pool_name(((tarn_py_pool *)self)->pool));
}

static PyObject *pool_get_device(PyObject *self, void *unused) {
  (void)unused;
  return tarn__py_device_name(tarn_pool_attributes_of(((tarn_py_pool *)self)->pool)->device);
}

static PyObject *pool_repr(PyObject *self) {
  return PyUnicode_FromFormat("<tarn.Pool '%s'>", tarn_pool_name(((tarn_py_pool *)self)->pool));
}

static PyGetSetDef pool_getset[] = {
    {"name", pool_get_name, NULL, "What it is called in statistics and errors.", NULL},
    {"device", pool_get_device, NULL, "Where its memory lies.", NULL},
    {"node", pool_get_node, NULL, "The one node where its pages are to lie; None: none.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef pool_methods[] = {
    {"decay", pool_decay, METH_NOARGS,
     "decay(): to be called now and then; gives back what was not needed for a while and returns\n"
     "how many bytes. The first call only starts the clock."},
    {"pause", (PyCFunction)(void (*)(void))tarn__py_pool_pause, METH_FASTCALL | METH_KEYWORDS,
     "pause(*, keep=True, tags=None, backup=None, wait=True): gives the memory of tensors back to\n"
     "the system, at unchanged addresses: of all, or of those made in `with tarn.tagged(name)`.\n"
     "With keep their contents are saved to `backup`, a Pool of host memory. Nobody may use them\n"
     "until resume(). Waits for GPUs, or raises BusyError. What was done is told as a dict."},
    {"paused", (PyCFunction)(void (*)(void))tarn__py_pool_paused, METH_FASTCALL | METH_KEYWORDS,
     "with pool.paused(*, keep=True, tags=None, backup=None, wait=True): pause() and resume()."},
    {"resume", (PyCFunction)(void (*)(void))tarn__py_pool_resume, METH_FASTCALL | METH_KEYWORDS,
     "resume(tags=None): the memory is back, with its contents where they were kept. Raises\n"
     "OutOfMemoryError where there is none, and all is paused still."},
    {"stats", pool_stats, METH_NOARGS, "Bytes and counts as a dict; see tarn_pool.h."},
    {"trim", (PyCFunction)(void (*)(void))pool_trim, METH_FASTCALL | METH_KEYWORDS,
     "trim(keep_bytes=0): gives idle memory back to the system; returns how many bytes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_doc,
     (char *)"Pool(device='cpu', *, limit_bytes=None, name=None, node=None, pinned=False,\n"
             "     near=None, placement=None, page_bytes=None, populate=False, decay_s=None)\n\n"
             "A pool of its own. pinned=True is page-locked memory, as device='cuda_host' is.\n"
             "Where the host's memory lies one of these says: node, a number of\n"
             "tarn.numa.nodes(), strictly there; near, a GPU's index, preferably on the node\n"
             "nearest to it; placement, of tarn.numa. With page_bytes it is in explicit huge\n"
             "pages of that size; populate makes pages at once. decay() gives back what was not\n"
             "needed for decay_s seconds, 10 where nothing is said.\n"
             "With node alone the pool is jemalloc's arenas, else a caching pool.\n"
             "Lives as long as the object or any tensor that has memory from it."},
    {Py_tp_new, pool_new},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_repr, pool_repr},
    {Py_tp_getset, pool_getset},
    {Py_tp_methods, pool_methods},
    {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "tarn.Pool",
    .basicsize = sizeof(tarn_py_pool),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = pool_slots,
};

static PyObject *default_pool(PyObject *module, PyObject *const *args, Py_ssize_t count) {
  (void)module;
  if (count > 1) {
    PyErr_SetString(PyExc_TypeError, "default_pool() takes at most a device");
    return NULL;
  }
  tarn_pool *pool = tarn__py_pool_choose(NULL, count == 1 ? args[0] : NULL);
  if (!pool) return NULL;
  tarn_pool_retain(pool);
  return tarn__py_pool_take(pool);
}

static PyMethodDef module_functions[] = {
    {"default_pool", (PyCFunction)(void (*)(void))default_pool, METH_FASTCALL,
     "default_pool(device='cpu'): the pool that tensors come from where no other is named."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_pool_init(PyObject *module) {
  pool_type = (PyTypeObject *)PyType_FromSpec(&pool_spec);
  if (!pool_type) return -1;
  if (PyModule_AddObjectRef(module, "Pool", (PyObject *)pool_type) < 0) return -1;
  return PyModule_AddFunctions(module, module_functions);
}
