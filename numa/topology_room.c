/* topology_room.c: how much memory a node, or all of them, can give this process now. */
#include "numa/memory_limit.h"
#include "numa/node_room.h"
#include "numa/topology.h"

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
  bool is_told = false;
  for (int32_t i = 0; i < topology->node_count; ++i) {
    const tarn_node_info *info = &topology->nodes[i].info;
    if (node != TARN_NODE_ANY && info->node != node) continue;
    size_t of_node_bytes;
    is_told |= tarn__node_room_read(info->node, &of_node_bytes);
    free_bytes += of_node_bytes;
  }
  if (!is_told) {
    return tarn_fail(TARN_UNAVAILABLE, "the kernel does not tell what is free on node %d", node);
  }
  const tarn__memory_limit limit = tarn__memory_limit_read();
  room->free_bytes = free_bytes;
  room->limit_bytes = limit.limit_bytes;
  room->limit_used_bytes = limit.used_bytes;
  room->room_bytes = free_bytes;
  if (limit.limit_bytes != SIZE_MAX) {
    const size_t left_bytes =
        limit.limit_bytes > limit.used_bytes ? limit.limit_bytes - limit.used_bytes : 0;
    if (left_bytes < free_bytes) room->room_bytes = left_bytes;
  }
  return TARN_OK;
}
