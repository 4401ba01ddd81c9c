/* topology_near.c: which node is near to a thread, to a device and to another node. */
#include "numa/topology.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "numa/kernel.h"

/* Nearer for what runs on processors: not a GPU's memory, processors of its own, then the smaller
 * locality, then the lower number. */
static bool is_nearer(const tarn__node *node, const tarn__node *than) {
  const bool is_gpu = node->info.memory_kind == TARN_MEMORY_GPU;
  const bool than_is_gpu = than->info.memory_kind == TARN_MEMORY_GPU;
  if (is_gpu != than_is_gpu) return than_is_gpu;
  if (node->info.is_memory_only != than->info.is_memory_only) return than->info.is_memory_only;
  if (node->info.cpu_count != than->info.cpu_count) {
    return node->info.cpu_count < than->info.cpu_count;
  }
  return node->info.node < than->info.node;
}

tarn_status tarn_topology_node_here(const tarn_topology *topology, int32_t *node) {
  if (topology == NULL || node == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a topology and an output are needed");
  }
  *node = -1;
  if (!topology->is_this_machine) {
    return tarn_fail(TARN_UNAVAILABLE, "no thread runs on a topology that is not this machine's");
  }
  const int cpu = tarn__kernel_cpu_here();
  if (cpu < 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "sched_getcpu", errno,
                            "the thread's processor is unknown: %s", strerror(errno));
  }
  const tarn__node *nearest = NULL;
  for (int32_t i = 0; i < topology->node_count; ++i) {
    const tarn__node *candidate = &topology->nodes[i];
    if (candidate->object->cpuset == NULL ||
        !hwloc_bitmap_isset(candidate->object->cpuset, (unsigned)cpu)) {
      continue;
    }
    if (nearest == NULL || is_nearer(candidate, nearest)) nearest = candidate;
  }
  if (nearest == NULL) {
    return tarn_fail(TARN_UNAVAILABLE, "no node is near to processor %d of the thread", cpu);
  }
  *node = nearest->info.node;
  return TARN_OK;
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
  const hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology->hwloc, object);
  const tarn__node *nearest = NULL;
  int32_t with_cpus = 0;
  for (int32_t i = 0; near != NULL && near->nodeset != NULL && i < topology->node_count; ++i) {
    const tarn__node *candidate = &topology->nodes[i];
    if (!hwloc_bitmap_isset(near->nodeset, candidate->object->os_index)) continue;
    with_cpus += !candidate->info.is_memory_only;
    if (nearest == NULL || is_nearer(candidate, nearest)) nearest = candidate;
  }
  /* Below the whole machine is where hwloc puts what the firmware says nothing of. */
  const bool is_anywhere =
      near == hwloc_get_root_obj(topology->hwloc) && topology->node_count > 1 && with_cpus != 1;
  if (nearest == NULL || is_anywhere) {
    return tarn_fail(TARN_UNAVAILABLE, "the firmware does not say where the PCI device %s is",
                     bus_id);
  }
  *node = nearest->info.node;
  return TARN_OK;
}

tarn_status tarn__topology_from(const tarn_topology *topology, int32_t node, int32_t *index) {
  if (node == TARN_NODE_ANY) {
    const tarn_status status = tarn_topology_node_here(topology, &node);
    if (status != TARN_OK) return status;
  }
  *index = tarn__topology_index(topology, node);
  if (*index >= 0) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "there is no node %d among the %d of the topology", node,
                   topology->node_count);
}

/* By index: strictly nearer to `from`. */
static bool is_nearer_to(const tarn_topology *topology, int32_t from, int32_t a, int32_t b) {
  const uint32_t distance_a = tarn__topology_distance(topology, from, a);
  const uint32_t distance_b = tarn__topology_distance(topology, from, b);
  if (distance_a != distance_b) return distance_a < distance_b;
  const tarn_node_info *info_a = &topology->nodes[a].info;
  const tarn_node_info *info_b = &topology->nodes[b].info;
  if (info_a->capacity_bytes != info_b->capacity_bytes) {
    return info_a->capacity_bytes > info_b->capacity_bytes;
  }
  return info_a->node < info_b->node;
}

tarn_status tarn_topology_nodes_near(const tarn_topology *topology, int32_t from_node,
                                     int32_t capacity, int32_t *nodes, int32_t *count) {
  if (count != NULL) *count = 0;
  if (topology == NULL || count == NULL || capacity < 0 || (nodes == NULL && capacity > 0)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a topology, a count and room for %d numbers are needed", capacity);
  }
  int32_t from;
  const tarn_status status = tarn__topology_from(topology, from_node, &from);
  if (status != TARN_OK) return status;
  for (int32_t i = 0; i < topology->node_count; ++i) {
    if (topology->nodes[i].info.memory_kind == TARN_MEMORY_GPU) continue;
    int32_t place = 0;
    for (int32_t j = 0; j < topology->node_count; ++j) {
      if (j == i || topology->nodes[j].info.memory_kind == TARN_MEMORY_GPU) continue;
      place += is_nearer_to(topology, from, j, i);
    }
    if (place < capacity) nodes[place] = topology->nodes[i].info.node;
    ++*count;
  }
  return TARN_OK;
}
