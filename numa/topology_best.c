/* topology_best.c: the best node by an attribute, with an answer where the firmware has none. */
#include "numa/kernel.h"
#include "numa/topology.h"

static bool is_hbm_of(const tarn_topology *topology, int32_t from, int32_t index) {
  return topology->nodes[index].info.memory_kind == TARN_MEMORY_HBM &&
         tarn__topology_share_processors(topology, from, index);
}

/* Less than 0 where `a` is better than `b`; *by is what told them apart. */
static int compare(const tarn_topology *topology, tarn_node_attribute attribute, int32_t from,
                   int32_t a, int32_t b, tarn_best_by *by) {
  const uint64_t value_a = tarn__topology_value(topology, attribute, from, a);
  const uint64_t value_b = tarn__topology_value(topology, attribute, from, b);
  *by = TARN_BEST_BY_VALUE;
  if (value_a != value_b) {
    if (value_a == 0 || value_b == 0) return value_a != 0 ? -1 : 1;
    return (value_a < value_b) == tarn__topology_less_is_better(attribute) ? -1 : 1;
  }
  const tarn_node_info *info_a = &topology->nodes[a].info;
  const tarn_node_info *info_b = &topology->nodes[b].info;
  if (value_a == 0 && !tarn__topology_less_is_better(attribute)) {
    const bool is_hbm_a = is_hbm_of(topology, from, a);
    const bool is_hbm_b = is_hbm_of(topology, from, b);
    *by = TARN_BEST_BY_KIND;
    if (is_hbm_a != is_hbm_b) return is_hbm_a ? -1 : 1;
  }
  const uint32_t distance_a = tarn__topology_distance(topology, from, a);
  const uint32_t distance_b = tarn__topology_distance(topology, from, b);
  *by = TARN_BEST_BY_DISTANCE;
  if (distance_a != distance_b) return distance_a < distance_b ? -1 : 1;
  *by = TARN_BEST_BY_CAPACITY;
  if (info_a->capacity_bytes != info_b->capacity_bytes) {
    return info_a->capacity_bytes > info_b->capacity_bytes ? -1 : 1;
  }
  *by = TARN_BEST_BY_NUMBER;
  return info_a->node < info_b->node ? -1 : 1;
}

static bool may_take_part(const tarn_topology *topology, int32_t index, size_t least_free_bytes) {
  const tarn_node_info *info = &topology->nodes[index].info;
  if (info->memory_kind == TARN_MEMORY_GPU) return false;
  if (least_free_bytes == 0) return true;
  if (!topology->is_this_machine) return info->capacity_bytes >= least_free_bytes;
  tarn_node_room room = {.struct_size = sizeof room};
  /* Where the kernel does not tell what is free, the capacity is all that is known. */
  if (tarn_topology_room(topology, info->node, &room) != TARN_OK) {
    return info->capacity_bytes >= least_free_bytes;
  }
  return room.room_bytes >= least_free_bytes;
}

tarn_status tarn_topology_best_node(const tarn_topology *topology, int32_t from_node,
                                    tarn_node_attribute attribute, size_t least_free_bytes,
                                    tarn_best_node *best) {
  if (topology == NULL || best == NULL || best->struct_size != sizeof *best ||
      (unsigned)attribute >= TARN__ATTRIBUTE_COUNT) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a topology, an attribute (not %d) and a tarn_best_node with struct_size %zu "
                     "are needed",
                     (int)attribute, sizeof *best);
  }
  *best = (tarn_best_node){.struct_size = sizeof *best, .node = -1};
  int32_t from;
  const tarn_status status = tarn__topology_from(topology, from_node, &from);
  if (status != TARN_OK) return status;
  tarn__node_set taking_part = {0}; /* by index; asked once, for room comes and goes */
  for (int32_t i = 0; i < topology->node_count; ++i) {
    if (may_take_part(topology, i, least_free_bytes)) tarn__node_set_add(&taking_part, i);
  }
  tarn_best_by by;
  int32_t winner = -1;
  for (int32_t i = 0; i < topology->node_count; ++i) {
    if (!tarn__node_set_has(&taking_part, i)) continue;
    if (winner < 0 || compare(topology, attribute, from, i, winner, &by) < 0) winner = i;
  }
  if (winner < 0) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "none of the %d nodes has room for %zu bytes",
                     topology->node_count, least_free_bytes);
  }
  for (int32_t i = 0; i < topology->node_count; ++i) {
    if (i == winner || !tarn__node_set_has(&taking_part, i)) continue;
    compare(topology, attribute, from, winner, i, &by);
    if (by > best->by) best->by = by;
  }
  best->node = topology->nodes[winner].info.node;
  best->value = tarn__topology_value(topology, attribute, from, winner);
  best->is_measured = best->by == TARN_BEST_BY_VALUE &&
                      (attribute != TARN_NODE_LOCALITY || topology->distances != NULL);
  return TARN_OK;
}
