/* topology_tables.c: what the firmware tells of pairs of nodes, read once into plain numbers. */
#include "numa/topology.h"

#include <stdlib.h>

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

static size_t cell(const tarn_topology *topology, int32_t from, int32_t to) {
  return (size_t)from * (size_t)topology->node_count + (size_t)to;
}

static void take_distances(tarn_topology *topology, const struct hwloc_distances_s *matrix) {
  for (unsigned i = 0; i < matrix->nbobjs; ++i) {
    const int32_t row = tarn__topology_index(topology, (int32_t)matrix->objs[i]->os_index);
    for (unsigned j = 0; row >= 0 && j < matrix->nbobjs; ++j) {
      const int32_t column = tarn__topology_index(topology, (int32_t)matrix->objs[j]->os_index);
      if (column < 0) continue;
      const hwloc_uint64_t value = matrix->values[(size_t)i * matrix->nbobjs + j];
      topology->distances[cell(topology, row, column)] =
          value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
    }
  }
}

static bool covers_all_nodes(const tarn_topology *topology,
                             const struct hwloc_distances_s *matrix) {
  for (int32_t i = 0; i < topology->node_count; ++i) {
    if (hwloc_distances_obj_index((struct hwloc_distances_s *)matrix, topology->nodes[i].object) <
        0) {
      return false;
    }
  }
  return true;
}

/* Of several matrices, the first that means latency between all nodes: the firmware's, if any. */
tarn_status tarn__topology_read_distances(tarn_topology *topology) {
  struct hwloc_distances_s *matrix = NULL;
  unsigned matrix_count = 1;
  if (hwloc_distances_get_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE, &matrix_count, &matrix,
                                  HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
      matrix_count == 0 || matrix == NULL) {
    return TARN_OK;
  }
  tarn_status status = TARN_OK;
  if (covers_all_nodes(topology, matrix)) {
    const size_t count = (size_t)topology->node_count;
    topology->distances = calloc(count * count, sizeof *topology->distances);
    if (topology->distances != NULL) {
      take_distances(topology, matrix);
    } else {
      status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the distances of %zu nodes", count);
    }
  }
  hwloc_distances_release(topology->hwloc, matrix);
  return status;
}

static const struct {
  tarn_node_attribute attribute;
  hwloc_memattr_id_t hwloc_id;
} asked_of_firmware[] = {
    {TARN_NODE_BANDWIDTH, HWLOC_MEMATTR_ID_BANDWIDTH},
    {TARN_NODE_LATENCY, HWLOC_MEMATTR_ID_LATENCY},
    {TARN_NODE_READ_BANDWIDTH, HWLOC_MEMATTR_ID_READ_BANDWIDTH},
    {TARN_NODE_WRITE_BANDWIDTH, HWLOC_MEMATTR_ID_WRITE_BANDWIDTH},
    {TARN_NODE_READ_LATENCY, HWLOC_MEMATTR_ID_READ_LATENCY},
    {TARN_NODE_WRITE_LATENCY, HWLOC_MEMATTR_ID_WRITE_LATENCY},
};

/* Seen from a node means: from the processors near to it. */
static void ask(const tarn_topology *topology, hwloc_memattr_id_t id, uint64_t *values) {
  for (int32_t from = 0; from < topology->node_count; ++from) {
    struct hwloc_location initiator = {.type = HWLOC_LOCATION_TYPE_CPUSET};
    initiator.location.cpuset = topology->nodes[from].object->cpuset;
    if (initiator.location.cpuset == NULL || hwloc_bitmap_iszero(initiator.location.cpuset)) {
      continue; /* hwloc would find nobody's processors among everybody's */
    }
    for (int32_t to = 0; to < topology->node_count; ++to) {
      hwloc_uint64_t value = 0;
      if (hwloc_memattr_get_value(topology->hwloc, id, topology->nodes[to].object, &initiator, 0,
                                  &value) == 0) {
        values[cell(topology, from, to)] = value;
      }
    }
  }
}

tarn_status tarn__topology_read_attributes(tarn_topology *topology) {
  const size_t count = (size_t)topology->node_count;
  for (size_t i = 0; i < sizeof asked_of_firmware / sizeof *asked_of_firmware; ++i) {
    uint64_t *values = calloc(count * count, sizeof *values);
    topology->values[asked_of_firmware[i].attribute] = values;
    if (values == NULL) {
      return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the attributes of %zu nodes", count);
    }
    ask(topology, asked_of_firmware[i].hwloc_id, values);
  }
  for (int32_t i = 0; i < topology->node_count; ++i) {
    tarn__node *node = &topology->nodes[i];
    tarn_status status = best_attribute(topology->hwloc, HWLOC_MEMATTR_ID_BANDWIDTH, node->object,
                                        /*higher_is_better=*/true, &node->info.bandwidth_mib_per_s);
    if (status == TARN_OK) {
      status = best_attribute(topology->hwloc, HWLOC_MEMATTR_ID_LATENCY, node->object,
                              /*higher_is_better=*/false, &node->info.latency_ns);
    }
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

bool tarn__topology_share_processors(const tarn_topology *topology, int32_t a, int32_t b) {
  const hwloc_const_bitmap_t first = topology->nodes[a].object->cpuset;
  const hwloc_const_bitmap_t second = topology->nodes[b].object->cpuset;
  return first != NULL && second != NULL && hwloc_bitmap_intersects(first, second);
}

uint32_t tarn__topology_distance(const tarn_topology *topology, int32_t from, int32_t to) {
  if (topology->distances != NULL) return topology->distances[cell(topology, from, to)];
  return from == to || tarn__topology_share_processors(topology, from, to) ? 10 : 20;
}

uint64_t tarn__topology_value(const tarn_topology *topology, tarn_node_attribute attribute,
                              int32_t from, int32_t to) {
  const uint64_t told = topology->values[attribute] != NULL
                            ? topology->values[attribute][cell(topology, from, to)]
                            : 0;
  if (told != 0) return told;
  switch (attribute) {
    case TARN_NODE_CAPACITY:
      return topology->nodes[to].info.capacity_bytes;
    case TARN_NODE_LOCALITY:
      return tarn__topology_distance(topology, from, to);
    case TARN_NODE_READ_BANDWIDTH:
    case TARN_NODE_WRITE_BANDWIDTH:
      return tarn__topology_value(topology, TARN_NODE_BANDWIDTH, from, to);
    case TARN_NODE_READ_LATENCY:
    case TARN_NODE_WRITE_LATENCY:
      return tarn__topology_value(topology, TARN_NODE_LATENCY, from, to);
    case TARN_NODE_BANDWIDTH:
    case TARN_NODE_LATENCY:
      break;
  }
  return 0;
}
