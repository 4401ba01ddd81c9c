/* py_numa.c: tarn.numa in C: nodes as tuples, distances, best nodes, and where memory lies. */
#include "python/src/py_numa.h"

#include <string.h>

#include "numa/tarn_placement.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"

static tarn_topology *topology; /* the GIL guards it */

tarn_topology *tarn__py_topology(void) {
  if (topology) return topology;
  tarn_status status = tarn_topology_create(NULL, &topology);
  if (status != TARN_OK) tarn__py_raise(status);
  return topology;
}

int tarn__py_node_parse(PyObject *object, int32_t *node) {
  int64_t value = *node;
  if (!object || object == Py_None) return 0;
  if (tarn__py_int64(object, &value) < 0) return -1;
  if (value < 0 || value > INT32_MAX) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%lld is no node's number", (long long)value);
    return -1;
  }
  *node = (int32_t)value;
  return 0;
}

/* --- nodes --- */

static PyObject *cpus_of(int32_t node) {
  int32_t count = 0;
  tarn_status status = tarn_topology_node_cpus(topology, node, 0, NULL, &count);
  if (status != TARN_OK) return tarn__py_raise(status);
  int32_t *cpus = PyMem_Calloc((size_t)count + 1, sizeof *cpus);
  if (!cpus) return PyErr_NoMemory();
  const int32_t capacity = count;
  status = tarn_topology_node_cpus(topology, node, capacity, cpus, &count);
  PyObject *tuple = status == TARN_OK ? PyTuple_New(capacity) : tarn__py_raise(status);
  for (int32_t i = 0; tuple && i < capacity; i++) {
    PyObject *number = PyLong_FromLong(cpus[i]);
    if (!number || PyTuple_SetItem(tuple, i, number) < 0) Py_CLEAR(tuple);
  }
  PyMem_Free(cpus);
  return tuple;
}

static const char *kind_name(tarn_memory_kind kind) {
  switch (kind) {
    case TARN_MEMORY_UNKNOWN:
      return "unknown";
    case TARN_MEMORY_DRAM:
      return "dram";
    case TARN_MEMORY_HBM:
      return "hbm";
    case TARN_MEMORY_CXL:
      return "cxl";
    case TARN_MEMORY_NVM:
      return "nvm";
    case TARN_MEMORY_GPU:
      return "gpu";
  }
  return "unknown";
}

/* None for what the firmware does not tell. */
static PyObject *told(uint64_t value) {
  if (value == 0) Py_RETURN_NONE;
  return PyLong_FromUnsignedLongLong(value);
}

static PyObject *node_tuple(int32_t index) {
  tarn_node_info info = {.struct_size = sizeof info};
  tarn_status status = tarn_topology_node(topology, index, &info);
  if (status != TARN_OK) return tarn__py_raise(status);
  PyObject *cpus = cpus_of(info.node);
  if (!cpus) return NULL;
  return Py_BuildValue("(inNNNsiN)", (int)info.node, (Py_ssize_t)info.capacity_bytes, cpus,
                       told(info.bandwidth_mib_per_s), told(info.latency_ns),
                       kind_name(info.memory_kind), (int)info.tier,
                       PyBool_FromLong(info.is_memory_only));
}

static PyObject *module_nodes(PyObject *module, PyObject *unused) {
  (void)module, (void)unused;
  if (!tarn__py_topology()) return NULL;
  const int32_t count = tarn_topology_node_count(topology);
  PyObject *list = PyList_New(0);
  for (int32_t i = 0; list && i < count; i++) {
    PyObject *node = node_tuple(i);
    if (!node || PyList_Append(list, node) < 0) Py_CLEAR(list);
    Py_XDECREF(node);
  }
  return list;
}

static PyObject *module_distance(PyObject *module, PyObject *const *args, Py_ssize_t count,
                                 PyObject *keywords) {
  (void)module;
  static const tarn_py_signature signature = {"distance", 2, 2, {"from_node", "to_node"}};
  PyObject *values[2];
  int32_t from = 0, to = 0;
  uint32_t distance = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_node_parse(values[0], &from) < 0 || tarn__py_node_parse(values[1], &to) < 0 ||
      !tarn__py_topology()) {
    return NULL;
  }
  tarn_status status = tarn_topology_distance(topology, from, to, &distance);
  return status == TARN_OK ? PyLong_FromUnsignedLong(distance) : tarn__py_raise(status);
}

/* --- the best --- */

int tarn__py_attribute_parse(PyObject *object, tarn_node_attribute *attribute) {
  static const struct {
    const char *name;
    tarn_node_attribute attribute;
  } known[] = {
      {"bandwidth", TARN_NODE_BANDWIDTH},
      {"latency", TARN_NODE_LATENCY},
      {"capacity", TARN_NODE_CAPACITY},
      {"locality", TARN_NODE_LOCALITY},
      {"read_bandwidth", TARN_NODE_READ_BANDWIDTH},
      {"write_bandwidth", TARN_NODE_WRITE_BANDWIDTH},
      {"read_latency", TARN_NODE_READ_LATENCY},
      {"write_latency", TARN_NODE_WRITE_LATENCY},
  };
  Py_ssize_t length;
  const char *name = PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, &length) : "";
  for (size_t i = 0; name && i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(name, known[i].name) != 0) continue;
    *attribute = known[i].attribute;
    return 0;
  }
  if (!PyErr_Occurred()) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "nodes have no attribute %R", object);
  }
  return -1;
}

static PyObject *module_best(PyObject *module, PyObject *const *args, Py_ssize_t count,
                             PyObject *keywords) {
  (void)module;
  static const tarn_py_signature signature = {
      "best_node", 1, 1, {"attribute", "near", "least_free_bytes"}};
  PyObject *values[3];
  tarn_node_attribute attribute;
  int32_t near_node = TARN_NODE_ANY;
  size_t least_free_bytes = 0;
  if (tarn__py_arguments(&signature, args, count, keywords, values) < 0 ||
      tarn__py_attribute_parse(values[0], &attribute) < 0 ||
      tarn__py_node_parse(values[1], &near_node) < 0 ||
      tarn__py_size(values[2], &least_free_bytes) < 0 || !tarn__py_topology()) {
    return NULL;
  }
  tarn_best_node best = {.struct_size = sizeof best};
  tarn_status status =
      tarn_topology_best_node(topology, near_node, attribute, least_free_bytes, &best);
  if (status != TARN_OK) return tarn__py_raise(status);
  return Py_BuildValue("(iNN)", (int)best.node, told(best.value),
                       PyBool_FromLong(best.is_measured));
}

/* --- where memory lies --- */

static PyObject *pages_tuple(const tarn_placement_pages *placed) {
  PyObject *nodes = PyDict_New();
  for (int32_t i = 0; nodes && i < placed->node_count; i++) {
    PyObject *node = PyLong_FromLong(placed->nodes[i]);
    PyObject *pages = PyLong_FromSize_t(placed->node_pages[i]);
    if (!node || !pages || PyDict_SetItem(nodes, node, pages) < 0) Py_CLEAR(nodes);
    Py_XDECREF(node);
    Py_XDECREF(pages);
  }
  if (!nodes) return NULL;
  return Py_BuildValue("(Nnn)", nodes, (Py_ssize_t)placed->untouched_pages,
                       (Py_ssize_t)placed->page_bytes);
}

static PyObject *verify_range(const void *address, size_t size_bytes) {
  tarn_placement_pages placed = {.struct_size = sizeof placed};
  tarn_status status;
  Py_BEGIN_ALLOW_THREADS status = tarn_placement_verify(address, size_bytes, &placed);
  Py_END_ALLOW_THREADS return status == TARN_OK ? pages_tuple(&placed) : tarn__py_raise(status);
}

static PyObject *module_verify(PyObject *module, PyObject *array) {
  (void)module;
  Py_buffer view;
  if (PyObject_GetBuffer(array, &view, PyBUF_SIMPLE) < 0) return NULL;
  PyObject *result = verify_range(view.buf, (size_t)view.len);
  PyBuffer_Release(&view);
  return result;
}

#define FAST(function) (PyCFunction)(void (*)(void))(function)

static PyMethodDef module_functions[] = {
    {"_numa_nodes", module_nodes, METH_NOARGS, NULL},
    {"_numa_distance", FAST(module_distance), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_numa_best_node", FAST(module_best), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_numa_verify", module_verify, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int tarn__py_numa_init(PyObject *module) {
  return PyModule_AddFunctions(module, module_functions);
}
