/* py_placement.c: where host memory shall lie, as Python says it: a node, a GPU, a placement. */
#include "python/src/py_placement.h"

#include <string.h>

#include "cuda/tarn_cuda.h"
#include "numa/tarn_node_provider.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_numa.h"
#include "python/src/py_pool.h"

static bool is_said(PyObject *object) {
  return object && object != Py_None;
}

bool tarn__py_place_is_said(const tarn_py_place *place) {
  return is_said(place->node) || is_said(place->near) || is_said(place->placement) ||
         is_said(place->page_bytes) || place->is_populated;
}

bool tarn__py_place_is_node_alone(const tarn_py_place *place) {
  return is_said(place->node) && !is_said(place->near) && !is_said(place->placement) &&
         !is_said(place->page_bytes) && !place->is_populated;
}

/* --- the parts of a tarn.numa.Placement --- */

static int parse_kind(const char *name, tarn_placement_kind *kind) {
  static const char *const names[] = {
      [TARN_PLACEMENT_DEFAULT] = "default",         [TARN_PLACEMENT_NODE] = "node",
      [TARN_PLACEMENT_NEAR_DEVICE] = "near_device", [TARN_PLACEMENT_NEAR_THREAD] = "near_thread",
      [TARN_PLACEMENT_INTERLEAVE] = "interleave",   [TARN_PLACEMENT_WEIGHTED] = "weighted",
      [TARN_PLACEMENT_ORDERED] = "ordered",         [TARN_PLACEMENT_ATTRIBUTE] = "attribute",
  };
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    *kind = (tarn_placement_kind)i;
    return 0;
  }
  tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "no placement is called '%s'", name);
  return -1;
}

/* At most TARN_PLACEMENT_NODES_MAX numbers, which C checks further. */
static int parse_numbers(PyObject *tuple, int64_t max, int64_t *numbers, int32_t *count) {
  const Py_ssize_t length = PyTuple_Size(tuple);
  if (length > TARN_PLACEMENT_NODES_MAX) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%zd nodes; a placement has at most %d", length,
                  (int)TARN_PLACEMENT_NODES_MAX);
    return -1;
  }
  for (Py_ssize_t i = 0; i < length; i++) {
    if (tarn__py_int64(PyTuple_GetItem(tuple, i), &numbers[i]) < 0) return -1;
    if (numbers[i] >= 0 && numbers[i] <= max) continue;
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%lld is no node's number or weight",
                  (long long)numbers[i]);
    return -1;
  }
  *count = (int32_t)length;
  return 0;
}

static int parse_nodes(PyObject *nodes, PyObject *weights, tarn_placement *placement) {
  int64_t numbers[TARN_PLACEMENT_NODES_MAX];
  int32_t weight_count;
  if (parse_numbers(nodes, INT32_MAX, numbers, &placement->node_count) < 0) return -1;
  for (int32_t i = 0; i < placement->node_count; i++) placement->nodes[i] = (int32_t)numbers[i];
  if (parse_numbers(weights, UINT32_MAX, numbers, &weight_count) < 0) return -1;
  for (int32_t i = 0; i < weight_count; i++) placement->weights[i] = (uint32_t)numbers[i];
  return 0;
}

/* Where neither the driver nor the firmware says which node is near, the only one there is. */
static int place_near_gpu(PyObject *index_object, tarn_placement *placement) {
  int64_t index = 0;
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  if (tarn__py_int64(index_object, &index) < 0) return -1;
  if (index < 0 || index > INT32_MAX) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%lld is no GPU's index", (long long)index);
    return -1;
  }
  tarn_cuda *cuda = tarn__py_cuda();
  tarn_topology *topology = cuda ? tarn__py_topology() : NULL;
  if (!topology) return -1;
  tarn_status status = tarn_cuda_device_info_of(cuda, (int32_t)index, &info);
  tarn_node_info only = {.struct_size = sizeof only, .node = -1};
  if (status == TARN_OK && tarn_topology_node_count(topology) == 1) {
    status = tarn_topology_node(topology, 0, &only);
  }
  if (status != TARN_OK) {
    tarn__py_raise(status);
    return -1;
  }
  memcpy(placement->pci_bus_id, info.pci_bus_id, sizeof placement->pci_bus_id);
  placement->nodes[0] = info.host_node >= 0 ? info.host_node : only.node;
  placement->node_count = placement->nodes[0] >= 0 ? 1 : 0;
  return 0;
}

/* A GPU's index, or a bus id. */
static int parse_gpu(PyObject *gpu, tarn_placement *placement) {
  if (!is_said(gpu)) return 0;
  if (!PyUnicode_Check(gpu)) return place_near_gpu(gpu, placement);
  Py_ssize_t length;
  const char *text = PyUnicode_AsUTF8AndSize(gpu, &length);
  if (!text) return -1;
  if (length == 0 || length >= TARN_PLACEMENT_PCI_BYTES || strlen(text) != (size_t)length) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "%R is no PCI bus id", gpu);
    return -1;
  }
  memcpy(placement->pci_bus_id, text, (size_t)length + 1);
  return 0;
}

static int parse_placement(PyObject *object, tarn_placement *placement) {
  const char *kind;
  PyObject *nodes, *weights, *gpu, *attribute, *least_free_bytes, *stripe_bytes;
  int is_strict;
  if (!PyTuple_Check(object)) {
    tarn__py_fail(TARN_PY_ERROR_TYPE, "placement is a tarn.numa.Placement, not %R", object);
    return -1;
  }
  if (!PyArg_ParseTuple(object, "sO!O!pOOOO;placement is a tarn.numa.Placement", &kind,
                        &PyTuple_Type, &nodes, &PyTuple_Type, &weights, &is_strict, &gpu,
                        &attribute, &least_free_bytes, &stripe_bytes) ||
      parse_kind(kind, &placement->kind) < 0 || parse_nodes(nodes, weights, placement) < 0 ||
      parse_gpu(gpu, placement) < 0 ||
      (is_said(attribute) && tarn__py_attribute_parse(attribute, &placement->attribute) < 0) ||
      tarn__py_size(least_free_bytes, &placement->least_free_bytes) < 0 ||
      tarn__py_size(stripe_bytes, &placement->stripe_bytes) < 0) {
    return -1;
  }
  placement->flags = is_strict ? TARN_PLACEMENT_STRICT : 0;
  return 0;
}

/* --- the whole --- */

static int parse_place(const tarn_py_place *place, tarn_placement *placement) {
  *placement = (tarn_placement){.struct_size = sizeof *placement};
  if (is_said(place->node) + is_said(place->near) + is_said(place->placement) > 1) {
    tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "only one of node, near and placement says where");
    return -1;
  }
  if (is_said(place->placement)) return parse_placement(place->placement, placement);
  if (is_said(place->near)) {
    placement->kind = TARN_PLACEMENT_NEAR_DEVICE;
    return place_near_gpu(place->near, placement);
  }
  if (!is_said(place->node)) return 0;
  placement->kind = TARN_PLACEMENT_NODE;
  placement->flags = TARN_PLACEMENT_STRICT;
  placement->node_count = 1;
  return tarn__py_node_parse(place->node, &placement->nodes[0]);
}

int tarn__py_place_provider(const tarn_py_place *place, tarn_provider **provider) {
  *provider = NULL;
  tarn_node_options options = {.struct_size = sizeof options,
                               .flags = place->is_populated ? TARN_PAGES_POPULATE : 0};
  tarn_topology *topology = tarn__py_topology();
  if (!topology || parse_place(place, &options.placement) < 0 ||
      tarn__py_size(place->page_bytes, &options.page_bytes) < 0) {
    return -1;
  }
  tarn_status status = tarn_node_provider_create(topology, &options, provider);
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}

int tarn__py_pinned_provider(const tarn_py_place *place, tarn_provider **provider) {
  *provider = NULL;
  tarn_cuda *cuda = tarn__py_cuda();
  tarn_cuda_pinned_options options = {.struct_size = sizeof options};
  if (!cuda) return -1;
  if (tarn__py_place_is_said(place) && tarn__py_place_provider(place, &options.host) < 0) return -1;
  tarn_status status = tarn_cuda_pinned_provider_create(cuda, &options, provider);
  tarn_provider_release(options.host);
  if (status != TARN_OK) tarn__py_raise(status);
  return status == TARN_OK ? 0 : -1;
}
