/* py_torch.c: PyTorch's CUDA allocator: the functions that PyTorch loads from this extension, and
 * what they tell. */
#include "python/src/py_torch.h"

#include <dlfcn.h>
#include <string.h>

#include "alloc/adapters/torch/tarn_torch.h"
#include "alloc/tarn_pool_snapshot.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define ARGUMENTS PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords
typedef unsigned long long number;

static PyObject *none_or_raise(tarn_status status) {
  if (status != TARN_OK) return tarn__py_raise(status);
  Py_RETURN_NONE;
}

/* The one argument of a function, or the first of two: a device's number. */
static int parse_device(PyObject *object, int32_t *device) {
  int64_t value = 0;
  if (tarn__py_int64(object, &value) < 0) return -1;
  *device = value < 0 || value > TARN_TORCH_DEVICES_MAX ? -1 : (int32_t)value;
  return 0;
}

/* The file that holds these functions, and PyTorch's setters with what they take: addresses. That
 * names each of them, so the link keeps them. */
static PyObject *module_hooks(PyObject *module, PyObject *unused) {
  (void)module, (void)unused;
#define ADDRESS(function) (number)(uintptr_t) & function
  Dl_info info;
  if (dladdr((void *)(uintptr_t)&tarn_torch_malloc, &info) == 0) {
    return tarn__py_fail(TARN_PY_ERROR_SUPPORT, "the extension does not find its own file");
  }
  return Py_BuildValue("(s{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}(KKK))", info.dli_fname, "set_init_fn",
                       ADDRESS(tarn_torch_init), "set_reset_fn", ADDRESS(tarn_torch_reset),
                       "set_memory_fraction_fn", ADDRESS(tarn_torch_memory_fraction),
                       "set_base_alloc_fn", ADDRESS(tarn_torch_base_alloc), "set_record_stream_fn",
                       ADDRESS(tarn_torch_record_stream), "set_begin_allocate_to_pool",
                       ADDRESS(tarn_torch_begin_allocate_to_pool), "set_end_allocate_to_pool_fn",
                       ADDRESS(tarn_torch_end_allocate_to_pool), "set_release_pool",
                       ADDRESS(tarn_torch_release_pool), ADDRESS(tarn_torch_malloc),
                       ADDRESS(tarn_torch_malloc_or_null), ADDRESS(tarn_torch_free));
#undef ADDRESS
}

static PyObject *module_set_options(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {
      "use", 0, 0, {"limit_bytes", "floor_bytes", "prepare_bytes", "memory"}};
  PyObject *values[4];
  tarn_torch_options options = {.struct_size = sizeof options};
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_size(values[0], &options.limit_bytes) < 0 ||
      tarn__py_size(values[1], &options.floor_bytes) < 0 ||
      tarn__py_size(values[2], &options.prepare_bytes) < 0) {
    return NULL;
  }
  const char *memory = values[3] ? PyUnicode_AsUTF8AndSize(values[3], NULL) : "";
  if (!memory) return NULL;
  options.memory = strcmp(memory, "virtual") == 0  ? TARN_CUDA_MEMORY_VIRTUAL
                   : strcmp(memory, "blocks") == 0 ? TARN_CUDA_MEMORY_BLOCKS
                                                   : TARN_CUDA_MEMORY_NONE;
  if (values[3] && options.memory == TARN_CUDA_MEMORY_NONE) {
    return tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "memory is 'virtual' or 'blocks', not %R",
                         values[3]);
  }
  return none_or_raise(tarn_torch_set_options(&options));
}

static PyObject *module_pool(PyObject *module, PyObject *object) {
  (void)module;
  int32_t device;
  tarn_pool *pool = NULL;
  tarn_status status;
  if (parse_device(object, &device) < 0) return NULL;
  Py_BEGIN_ALLOW_THREADS status = tarn_torch_pool(device, &pool);
  Py_END_ALLOW_THREADS return status == TARN_OK ? tarn__py_pool_take(pool) : tarn__py_raise(status);
}

static PyObject *module_set_pool(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {"set_pool", 2, 2, {"device", "pool"}};
  PyObject *values[2];
  int32_t device;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      parse_device(values[0], &device) < 0) {
    return NULL;
  }
  tarn_pool *pool = tarn__py_pool_of(values[1]);
  tarn_status status;
  if (!pool) return NULL;
  Py_BEGIN_ALLOW_THREADS /* the earlier one's end waits for its streams */
      status = tarn_torch_set_pool(device, pool);
  Py_END_ALLOW_THREADS return none_or_raise(status);
}

static PyObject *module_counts(PyObject *module, PyObject *object) {
  (void)module;
  int32_t device;
  if (parse_device(object, &device) < 0) return NULL;
  tarn_torch_stats stats = {.struct_size = sizeof stats};
  const tarn_status status = tarn_torch_stats_of(device, &stats);
  if (status != TARN_OK) return tarn__py_raise(status);
  return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K}", "failed_count", (number)stats.failed_count,
                       "refused_free_count", (number)stats.refused_free_count, "stream_count",
                       (number)stats.stream_count, "recorded_count", (number)stats.recorded_count,
                       "graph_pool_count", (number)stats.graph_pool_count, "waiting_graph_count",
                       (number)stats.waiting_graph_count);
}

static PyObject *make_holders(const tarn_out_of_memory *report) {
  PyObject *holders = PyList_New(0);
  for (uint32_t i = 0; holders && i < report->holder_count; i++) {
    const tarn_holder *holder = &report->holders[i];
    PyObject *row = Py_BuildValue("(snn)", tarn_tag_name(holder->tag),
                                  (Py_ssize_t)holder->size_bytes, (Py_ssize_t)holder->block_count);
    if (!row || PyList_Append(holders, row) < 0) Py_CLEAR(holders);
    Py_XDECREF(row);
  }
  return holders;
}

static PyObject *module_report(PyObject *module, PyObject *object) {
  (void)module;
  int32_t device;
  if (parse_device(object, &device) < 0) return NULL;
  tarn_out_of_memory report = {.struct_size = sizeof report};
  const tarn_status status = tarn_torch_out_of_memory(device, &report);
  if (status == TARN_NOT_FOUND) Py_RETURN_NONE;
  if (status != TARN_OK) return tarn__py_raise(status);
  PyObject *holders = make_holders(&report);
  if (!holders) return NULL;
  return Py_BuildValue(
      "{s:s,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:s,s:n,s:n,s:s,s:N}", "pool", report.pool,
      "asked_bytes", (Py_ssize_t)report.asked_bytes, "live_bytes", (Py_ssize_t)report.live_bytes,
      "live_count", (Py_ssize_t)report.live_count, "reserved_bytes",
      (Py_ssize_t)report.reserved_bytes, "cached_bytes", (Py_ssize_t)report.cached_bytes,
      "pending_bytes", (Py_ssize_t)report.pending_bytes, "largest_free_bytes",
      (Py_ssize_t)report.largest_free_bytes, "graph_bytes", (Py_ssize_t)report.graph_bytes,
      "paused_bytes", (Py_ssize_t)report.paused_bytes, "budget", report.budget,
      "budget_limit_bytes", (Py_ssize_t)report.budget_limit_bytes, "budget_used_bytes",
      (Py_ssize_t)report.budget_used_bytes, "cause", report.cause, "holders", holders);
}

/* --- files --- */

/* A device and a path. */
static PyObject *save(PyObject *const *args, Py_ssize_t count,
                      tarn_status (*function)(int32_t device, const char *path)) {
  int32_t device;
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "a device and a path are needed");
    return NULL;
  }
  if (parse_device(args[0], &device) < 0) return NULL;
  PyObject *path;
  if (!PyUnicode_FSConverter(args[1], &path)) return NULL;
  tarn_status status;
  const char *text = PyBytes_AsString(path);
  Py_BEGIN_ALLOW_THREADS status = function(device, text);
  Py_END_ALLOW_THREADS Py_DECREF(path);
  if (status != TARN_OK) return tarn__py_raise_for_file(status, args[1]);
  Py_RETURN_NONE;
}

static PyObject *module_snapshot_save(PyObject *module, PyObject *const *args, Py_ssize_t count) {
  (void)module;
  return save(args, count, tarn_torch_snapshot_save);
}

static PyObject *module_trace_save(PyObject *module, PyObject *const *args, Py_ssize_t count) {
  (void)module;
  return save(args, count, tarn_torch_trace_save);
}

/* Of no entries: stops. */
static PyObject *module_trace(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {"trace", 2, 2, {"device", "entries"}};
  PyObject *values[2];
  int32_t device;
  size_t entry_count = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      parse_device(values[0], &device) < 0 || tarn__py_size(values[1], &entry_count) < 0) {
    return NULL;
  }
  return none_or_raise(entry_count == 0 ? tarn_torch_trace_stop(device)
                                        : tarn_torch_trace_start(device, entry_count));
}

static PyObject *module_forget(ARGUMENTS) {
  (void)module;
  static const tarn_py_signature signature = {"forget", 2, 2, {"device", "stream"}};
  PyObject *values[2];
  int32_t device;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      parse_device(values[0], &device) < 0) {
    return NULL;
  }
  void *stream = PyLong_AsVoidPtr(values[1]);
  if (!stream && PyErr_Occurred()) return NULL;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = tarn_torch_forget_stream(device, stream);
  Py_END_ALLOW_THREADS return none_or_raise(status);
}

static PyObject *module_close(PyObject *module, PyObject *unused) {
  (void)module, (void)unused;
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = tarn_torch_close();
  Py_END_ALLOW_THREADS return none_or_raise(status);
}

static PyMethodDef module_functions[] = {
    {"_torch_hooks", module_hooks, METH_NOARGS, "See tarn.torch."},
    {"_torch_set_options", FAST(module_set_options), METH_FASTCALL | METH_KEYWORDS,
     "See tarn.torch."},
    {"_torch_pool", module_pool, METH_O, "See tarn.torch."},
    {"_torch_set_pool", FAST(module_set_pool), METH_FASTCALL | METH_KEYWORDS, "See tarn.torch."},
    {"_torch_counts", module_counts, METH_O, "See tarn.torch."},
    {"_torch_report", module_report, METH_O, "See tarn.torch."},
    {"_torch_snapshot_save", FAST(module_snapshot_save), METH_FASTCALL, "See tarn.torch."},
    {"_torch_trace_save", FAST(module_trace_save), METH_FASTCALL, "See tarn.torch."},
    {"_torch_trace", FAST(module_trace), METH_FASTCALL | METH_KEYWORDS, "See tarn.torch."},
    {"_torch_forget", FAST(module_forget), METH_FASTCALL | METH_KEYWORDS, "See tarn.torch."},
    {"_torch_close", module_close, METH_NOARGS, "See tarn.torch."},
    {NULL, NULL, 0, NULL},
};

int tarn__py_torch_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
