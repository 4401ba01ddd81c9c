/* topology_room.c: how much memory a node, or all of them, can give this process now. */
#include "numa/memory_limit.h"
#include "numa/node_room.h"
#include "numa/topology.h"

bool tarn__topology_rooms(const tarn_topology *topology, const int32_t *nodes, int32_t count,
                          size_t *free_bytes, size_t *left_bytes) {
  if (!topology->is_this_machine) return false;
  if (tarn__node_rooms_read(nodes, count, free_bytes) != count) return false;
  const tarn__memory_limit limit = tarn__memory_limit_read();
  *left_bytes = tarn__memory_limit_left(&limit);
  return true;
}

/* Adds up the node, or all of the topology. False where the kernel tells of none. */
static bool add_free(const tarn_topology *topology, int32_t node, size_t *sum_bytes) {
  enum { NODES_AT_ONCE = 64 };
  bool is_told = false;
  for (int32_t first = 0; first < topology->node_count; first += NODES_AT_ONCE) {
    int32_t nodes[NODES_AT_ONCE];
    size_t free_bytes[NODES_AT_ONCE];
    int32_t count = 0;
    for (int32_t i = first; i < topology->node_count && i < first + NODES_AT_ONCE; ++i) {
      const int32_t number = topology->nodes[i].info.node;
      if (node == TARN_NODE_ANY || number == node) nodes[count++] = number;
    }
    if (count == 0) continue;
    is_told |= tarn__node_rooms_read(nodes, count, free_bytes) > 0;
    for (int32_t i = 0; i < count; ++i) *sum_bytes += free_bytes[i];
  }
  return is_told;
}

tarn_status tarn_topology_room(const tarn_topology *topology, int32_t node, tarn_node_room *room) {
  if (topology == NULL || room == NULL || room->struct_size != sizeof *room) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a topology and a tarn_node_room with struct_size %zu are needed",
                     sizeof *room);
  }
  *room = (tarn_node_room){.struct_size = sizeof *room};
  if (node != TARN_NODE_ANY && tarn__topology_index(topology, node) < 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "there is no node %d among the %d of the topology",
                     node, topology->node_count);
  }
  if (!topology->is_this_machine) {
    return tarn_fail(TARN_UNAVAILABLE, "nothing is free on a topology that is not this machine's");
  }
  size_t free_bytes = 0;
  if (!add_free(topology, node, &free_bytes)) {
    return tarn_fail(TARN_UNAVAILABLE, "the kernel does not tell what is free on node %d", node);
  }
  const tarn__memory_limit limit = tarn__memory_limit_read();
  room->free_bytes = free_bytes;
  room->limit_bytes = limit.limit_bytes;
  room->limit_used_bytes = limit.used_bytes;
  const size_t left_bytes = tarn__memory_limit_left(&limit);
  room->room_bytes = left_bytes < free_bytes ? left_bytes : free_bytes;
  return TARN_OK;
}
