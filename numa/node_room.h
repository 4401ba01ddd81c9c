/* node_room.h: what the kernel can still give of a node, in bytes. */
#ifndef TARN_NUMA_NODE_ROOM_H
#define TARN_NUMA_NODE_ROOM_H

#include <stddef.h>
#include <stdint.h>

/* By one reading of all zones, which takes the longer the larger the machine is. How many of the
 * nodes the kernel tells of; 0 bytes for the others. */
int32_t tarn__node_rooms_read(const int32_t *nodes, int32_t count, size_t *free_bytes);

#endif
