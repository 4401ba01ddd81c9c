/* topology.c: the machine as hwloc tells it, loaded once, and what is asked of single nodes. */
#include "numa/topology.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "numa/kernel.h"

/* Without sysfs hwloc's part for Linux finds nothing, and says so on standard error where no
 * setting but the environment's keeps it from that. Both places, as it looks at them. */
static bool has_sysfs(void) {
  return access("/sys/devices/system/cpu", R_OK | X_OK) == 0 ||
         access("/sys/bus/cpu/devices", R_OK | X_OK) == 0;
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
  if (!has_sysfs()) {
    (void)hwloc_topology_set_components(topology->hwloc, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
                                        "linux");
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
  topology->is_this_machine =
      tarn__kernel_is_here(hwloc_topology_is_thissystem(topology->hwloc) != 0);
  tarn_status status = tarn__topology_read_nodes(topology);
  if (status == TARN_OK) status = tarn__topology_read_distances(topology);
  if (status == TARN_OK) status = tarn__topology_read_attributes(topology);
  if (status == TARN_OK) tarn__topology_rank_tiers(topology);
  return status;
}

static void destroy_topology(tarn_topology *topology) {
  if (topology->hwloc != NULL) hwloc_topology_destroy(topology->hwloc);
  for (int i = 0; i < TARN__ATTRIBUTE_COUNT; ++i) free(topology->values[i]);
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

int32_t tarn__topology_index(const tarn_topology *topology, int32_t node) {
  for (int32_t i = 0; i < topology->node_count; ++i) {
    if (topology->nodes[i].info.node == node) return i;
  }
  return -1;
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
  *info = topology->nodes[index].info;
  return TARN_OK;
}

static tarn_status no_such_node(const tarn_topology *topology, int32_t node) {
  return tarn_fail(TARN_INVALID_ARGUMENT, "there is no node %d among the %d of the topology", node,
                   topology->node_count);
}

tarn_status tarn_topology_node_cpus(const tarn_topology *topology, int32_t node, int32_t capacity,
                                    int32_t *cpus, int32_t *count) {
  if (count != NULL) *count = 0;
  if (topology == NULL || count == NULL || capacity < 0 || (cpus == NULL && capacity > 0)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a topology, a count and room for %d numbers are needed", capacity);
  }
  const int32_t index = tarn__topology_index(topology, node);
  if (index < 0) return no_such_node(topology, node);
  const hwloc_const_bitmap_t cpuset = topology->nodes[index].object->cpuset;
  if (cpuset == NULL) return TARN_OK;
  for (int cpu = hwloc_bitmap_first(cpuset); cpu >= 0; cpu = hwloc_bitmap_next(cpuset, cpu)) {
    if (*count < capacity) cpus[*count] = cpu;
    ++*count;
  }
  return TARN_OK;
}

tarn_status tarn_topology_distance(const tarn_topology *topology, int32_t from_node,
                                   int32_t to_node, uint32_t *distance) {
  if (topology == NULL || distance == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a topology and an output are needed");
  }
  *distance = 0;
  const int32_t from = tarn__topology_index(topology, from_node);
  const int32_t to = tarn__topology_index(topology, to_node);
  if (from < 0 || to < 0) return no_such_node(topology, from < 0 ? from_node : to_node);
  if (topology->distances == NULL) {
    return tarn_fail(TARN_UNAVAILABLE, "the firmware tells no distances between %d node(s)",
                     topology->node_count);
  }
  *distance = tarn__topology_distance(topology, from, to);
  return TARN_OK;
}

tarn_status tarn_topology_attribute(const tarn_topology *topology, tarn_node_attribute attribute,
                                    int32_t from_node, int32_t to_node, uint64_t *value) {
  if (value != NULL) *value = 0;
  if (topology == NULL || value == NULL || (unsigned)attribute >= TARN__ATTRIBUTE_COUNT) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a topology, an attribute (not %d) and an output are needed", (int)attribute);
  }
  const int32_t to = tarn__topology_index(topology, to_node);
  if (to < 0) return no_such_node(topology, to_node);
  int32_t from = tarn__topology_index(topology, from_node);
  if (from < 0 && from_node != TARN_NODE_ANY) return no_such_node(topology, from_node);
  if (from >= 0) {
    *value = tarn__topology_value(topology, attribute, from, to);
  } else {
    for (from = 0; from < topology->node_count; ++from) {
      const uint64_t seen = tarn__topology_value(topology, attribute, from, to);
      const bool is_better =
          tarn__topology_less_is_better(attribute) ? seen < *value : seen > *value;
      if (seen != 0 && (*value == 0 || is_better)) *value = seen;
    }
  }
  if (*value != 0) return TARN_OK;
  return tarn_fail(TARN_UNAVAILABLE, "the firmware does not tell this of node %d", to_node);
}

tarn_status tarn__topology_check_node(const tarn_topology *topology, int32_t node,
                                      tarn_node_info *info) {
  const int32_t index = tarn__topology_index(topology, node);
  if (index < 0) {
    return tarn_fail(TARN_UNAVAILABLE, "there is no node %d among the %d of the topology", node,
                     topology->node_count);
  }
  if (!topology->is_this_machine) {
    return tarn_fail(TARN_UNAVAILABLE,
                     "node %d is of a topology that is not this machine's: nothing can be bound",
                     node);
  }
  if (info != NULL) *info = topology->nodes[index].info;
  return TARN_OK;
}
