/* topology.c: the machine's memory nodes as hwloc tells them, read once into plain numbers. */
#include "numa/topology.h"

#include <errno.h>
#include <hwloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tarn_topology {
  atomic_size_t reference_count;
  hwloc_topology_t hwloc; /* only read after creation, which hwloc allows from several threads */
  bool is_this_machine;   /* else it is a description, and nothing can be bound by it */
  int32_t node_count;     /* > 0 */
  tarn_node_info *nodes;  /* in hwloc's order */
  uint32_t *distances;    /* node_count x node_count, row = from; NULL where none is told */
};

/* The best value that any initiator has to the node: what the firmware tells of its local access.
 * 0 where it tells nothing. */
static tarn_status best_attribute(hwloc_topology_t hwloc, hwloc_memattr_id_t attribute,
                                  hwloc_obj_t node, bool higher_is_better, uint64_t *best) {
  *best = 0;
  unsigned count = 0;
  if (hwloc_memattr_get_initiators(hwloc, attribute, node, 0, &count, NULL, NULL) != 0 ||
      count == 0) {
    return TARN_OK;
  }
  struct hwloc_location *initiators = calloc(count, sizeof *initiators);
  hwloc_uint64_t *values = calloc(count, sizeof *values);
  const bool has_memory = initiators != NULL && values != NULL;
  if (has_memory &&
      hwloc_memattr_get_initiators(hwloc, attribute, node, 0, &count, initiators, values) == 0) {
    for (unsigned i = 0; i < count; ++i) {
      const bool is_better = higher_is_better ? values[i] > *best : values[i] < *best;
      if (*best == 0 || is_better) *best = values[i];
    }
  }
  free(initiators);
  free(values);
  if (has_memory) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the attributes of a node");
}

static tarn_status read_nodes(tarn_topology *topology) {
  const int count = hwloc_get_nbobjs_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE);
  if (count <= 0) {
    return tarn_fail(TARN_UNAVAILABLE, "the topology has no memory node (hwloc counts %d)", count);
  }
  topology->nodes = calloc((size_t)count, sizeof *topology->nodes);
  if (topology->nodes == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %d nodes", count);
  }
  topology->node_count = count;
  for (int i = 0; i < count; ++i) {
    hwloc_obj_t object = hwloc_get_obj_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE, (unsigned)i);
    const int cpu_count = object->cpuset != NULL ? hwloc_bitmap_weight(object->cpuset) : 0;
    topology->nodes[i] = (tarn_node_info){
        .struct_size = sizeof(tarn_node_info),
        .node = (int32_t)object->os_index,
        .capacity_bytes = object->attr->numanode.local_memory,
        .cpu_count = cpu_count > 0 ? cpu_count : 0,
    };
    tarn_node_info *info = &topology->nodes[i];
    tarn_status status = best_attribute(topology->hwloc, HWLOC_MEMATTR_ID_BANDWIDTH, object,
                                        /*higher_is_better=*/true, &info->bandwidth_mib_per_s);
    if (status == TARN_OK) {
      status = best_attribute(topology->hwloc, HWLOC_MEMATTR_ID_LATENCY, object,
                              /*higher_is_better=*/false, &info->latency_ns);
    }
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static int32_t index_of(const tarn_topology *topology, int32_t node) {
  for (int32_t i = 0; i < topology->node_count; ++i) {
    if (topology->nodes[i].node == node) return i;
  }
  return -1;
}

/* Of several matrices, the first that means latency between all nodes: the firmware's, if any. */
static tarn_status read_distances(tarn_topology *topology) {
  struct hwloc_distances_s *matrix = NULL;
  unsigned matrix_count = 1;
  if (hwloc_distances_get_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE, &matrix_count, &matrix,
                                  HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
      matrix_count == 0 || matrix == NULL) {
    return TARN_OK;
  }
  const size_t count = (size_t)topology->node_count;
  tarn_status status = TARN_OK;
  if (matrix->nbobjs == count) {
    topology->distances = calloc(count * count, sizeof *topology->distances);
    if (topology->distances == NULL) {
      status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the distances of %zu nodes", count);
    }
  }
  for (size_t i = 0; topology->distances != NULL && i < count; ++i) {
    const int32_t row = index_of(topology, (int32_t)matrix->objs[i]->os_index);
    for (size_t j = 0; row >= 0 && j < count; ++j) {
      const int32_t column = index_of(topology, (int32_t)matrix->objs[j]->os_index);
      if (column < 0) continue;
      topology->distances[(size_t)row * count + (size_t)column] =
          (uint32_t)matrix->values[i * count + j];
    }
  }
  hwloc_distances_release(topology->hwloc, matrix);
  return status;
}

static tarn_status load(const tarn_topology_options *options, tarn_topology *topology) {
  if (hwloc_topology_init(&topology->hwloc) != 0) {
    topology->hwloc = NULL;
    return tarn_fail_native(TARN_OUT_OF_MEMORY, "hwloc_topology_init", errno,
                            "hwloc has no memory for a topology");
  }
  if (options->synthetic != NULL &&
      hwloc_topology_set_synthetic(topology->hwloc, options->synthetic) != 0) {
    return tarn_fail_native(TARN_BAD_FORMAT, "hwloc_topology_set_synthetic", errno,
                            "hwloc does not understand the topology \"%s\"", options->synthetic);
  }
  if (options->xml_path != NULL &&
      hwloc_topology_set_xml(topology->hwloc, options->xml_path) != 0) {
    return tarn_fail_native(
        errno == ENOENT ? TARN_NOT_FOUND : TARN_BAD_FORMAT, "hwloc_topology_set_xml", errno,
        "hwloc cannot read a topology from %s: %s", options->xml_path, strerror(errno));
  }
  /* PCI devices that matter: without them no GPU has a nearest node. */
  hwloc_topology_set_io_types_filter(topology->hwloc, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  if (hwloc_topology_load(topology->hwloc) != 0) {
    return tarn_fail_native(
        options->synthetic != NULL || options->xml_path != NULL ? TARN_BAD_FORMAT
                                                                : TARN_SYSTEM_ERROR,
        "hwloc_topology_load", errno, "hwloc cannot load %s: %s",
        options->xml_path != NULL ? options->xml_path : "the topology", strerror(errno));
  }
  topology->is_this_machine = hwloc_topology_is_thissystem(topology->hwloc) != 0;
  const tarn_status status = read_nodes(topology);
  return status == TARN_OK ? read_distances(topology) : status;
}

static void destroy_topology(tarn_topology *topology) {
  if (topology->hwloc != NULL) hwloc_topology_destroy(topology->hwloc);
  free(topology->nodes);
  free(topology->distances);
  free(topology);
}

tarn_status tarn_topology_create(const tarn_topology_options *options, tarn_topology **topology) {
  if (topology == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "topology is NULL");
  *topology = NULL;
  const tarn_topology_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_topology_options has %zu bytes here, %zu were given", sizeof *options,
                     options->struct_size);
  }
  if (options->synthetic != NULL && options->xml_path != NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a topology is synthetic or from a file, not both");
  }
  tarn_topology *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a topology");
  atomic_init(&made->reference_count, 1);
  const tarn_status status = load(options, made);
  if (status != TARN_OK) {
    destroy_topology(made);
    return status;
  }
  *topology = made;
  return TARN_OK;
}

void tarn_topology_retain(tarn_topology *topology) {
  /* Relaxed: whoever retains already holds a reference. */
  atomic_fetch_add_explicit(&topology->reference_count, 1, memory_order_relaxed);
}

void tarn_topology_release(tarn_topology *topology) {
  if (topology == NULL) return;
  /* Release pairs with acquire: all use in other threads happens before the end. */
  if (atomic_fetch_sub_explicit(&topology->reference_count, 1, memory_order_acq_rel) != 1) return;
  destroy_topology(topology);
}

int32_t tarn_topology_node_count(const tarn_topology *topology) {
  return topology->node_count;
}

tarn_status tarn_topology_node(const tarn_topology *topology, int32_t index, tarn_node_info *info) {
  if (topology == NULL || info == NULL || info->struct_size != sizeof *info) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a topology and a tarn_node_info with struct_size %zu are needed",
                     sizeof *info);
  }
  *info = (tarn_node_info){.struct_size = sizeof *info};
  if (index < 0 || index >= topology->node_count) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "index %d is outside of the %d nodes", index,
                     topology->node_count);
  }
  *info = topology->nodes[index];
  return TARN_OK;
}

tarn_status tarn_topology_distance(const tarn_topology *topology, int32_t from_node,
                                   int32_t to_node, uint32_t *distance) {
  if (topology == NULL || distance == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a topology and an output are needed");
  }
  *distance = 0;
  const int32_t from = index_of(topology, from_node);
  const int32_t to = index_of(topology, to_node);
  if (from < 0 || to < 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "the topology has no node %d",
                     from < 0 ? from_node : to_node);
  }
  if (topology->distances == NULL) {
    return tarn_fail(TARN_UNAVAILABLE, "the firmware tells no distances between %d node(s)",
                     topology->node_count);
  }
  *distance = topology->distances[(size_t)from * (size_t)topology->node_count + (size_t)to];
  return TARN_OK;
}

/* The first node that shares a processing unit with `cpuset`; of several, the smallest locality. */
static int32_t node_of_cpuset(const tarn_topology *topology, hwloc_const_bitmap_t cpuset) {
  int32_t best = -1;
  int best_weight = 0;
  for (int32_t i = 0; i < topology->node_count; ++i) {
    hwloc_obj_t object = hwloc_get_obj_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE, (unsigned)i);
    if (object->cpuset == NULL || !hwloc_bitmap_intersects(object->cpuset, cpuset)) continue;
    const int weight = hwloc_bitmap_weight(object->cpuset);
    if (best < 0 || weight < best_weight) {
      best = topology->nodes[i].node;
      best_weight = weight;
    }
  }
  return best;
}

tarn_status tarn_topology_node_here(const tarn_topology *topology, int32_t *node) {
  if (topology == NULL || node == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a topology and an output are needed");
  }
  *node = -1;
  if (!topology->is_this_machine) {
    return tarn_fail(TARN_UNAVAILABLE, "no thread runs on a topology that is not this machine's");
  }
  hwloc_bitmap_t cpuset = hwloc_bitmap_alloc();
  if (cpuset == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a set of processors");
  tarn_status status = TARN_OK;
  if (hwloc_get_last_cpu_location(topology->hwloc, cpuset, HWLOC_CPUBIND_THREAD) != 0) {
    status = tarn_fail_native(TARN_SYSTEM_ERROR, "hwloc_get_last_cpu_location", errno,
                              "the thread's processor is unknown: %s", strerror(errno));
  } else {
    *node = node_of_cpuset(topology, cpuset);
    if (*node < 0) {
      status = tarn_fail(TARN_UNAVAILABLE, "no node is near to the thread's processor");
    }
  }
  hwloc_bitmap_free(cpuset);
  return status;
}

tarn_status tarn_topology_node_of_pci(const tarn_topology *topology, const char *bus_id,
                                      int32_t *node) {
  if (topology == NULL || bus_id == NULL || node == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a topology, a bus id and an output are needed");
  }
  *node = -1;
  unsigned domain, bus, device, function;
  if (sscanf(bus_id, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "\"%s\" is not a PCI address like 0000:17:00.0",
                     bus_id);
  }
  hwloc_obj_t object = hwloc_get_pcidev_by_busid(topology->hwloc, domain, bus, device, function);
  if (object == NULL) {
    return tarn_fail(TARN_NOT_FOUND, "the topology has no PCI device %s", bus_id);
  }
  hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology->hwloc, object);
  if (near != NULL && near->nodeset != NULL && !hwloc_bitmap_iszero(near->nodeset)) {
    *node = node_of_cpuset(topology, near->cpuset);
    if (*node < 0) *node = hwloc_bitmap_first(near->nodeset);
    return TARN_OK;
  }
  return tarn_fail(TARN_UNAVAILABLE, "no node is near to the PCI device %s", bus_id);
}

tarn_status tarn__topology_check_node(const tarn_topology *topology, int32_t node,
                                      tarn_node_info *info) {
  const int32_t index = index_of(topology, node);
  if (index < 0) {
    return tarn_fail(TARN_UNAVAILABLE, "there is no node %d among the %d of the topology", node,
                     topology->node_count);
  }
  if (!topology->is_this_machine) {
    return tarn_fail(TARN_UNAVAILABLE,
                     "node %d is of a topology that is not this machine's: nothing can be bound",
                     node);
  }
  if (info != NULL) *info = topology->nodes[index];
  return TARN_OK;
}

tarn_status tarn__topology_bind(const tarn_topology *topology, int32_t node, void *address,
                                size_t size_bytes) {
  hwloc_bitmap_t nodeset = hwloc_bitmap_alloc();
  if (nodeset == NULL || hwloc_bitmap_only(nodeset, (unsigned)node) != 0) {
    hwloc_bitmap_free(nodeset);
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a set of nodes");
  }
  const int result =
      hwloc_set_area_membind(topology->hwloc, address, size_bytes, nodeset, HWLOC_MEMBIND_BIND,
                             HWLOC_MEMBIND_BYNODESET | HWLOC_MEMBIND_STRICT);
  const int error = errno;
  hwloc_bitmap_free(nodeset);
  if (result == 0) return TARN_OK;
  /* A container may forbid the call. Where there is one node, all memory is on it all the same. */
  if (topology->node_count == 1 && (error == EPERM || error == ENOSYS)) return TARN_OK;
  return tarn_fail_native(error == ENOMEM ? TARN_OUT_OF_MEMORY : TARN_SYSTEM_ERROR,
                          "hwloc_set_area_membind", error, "binding %zu bytes to node %d: %s",
                          size_bytes, node, strerror(error));
}
