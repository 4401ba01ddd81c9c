/* node_room.h: what the kernel can still give of a node, in bytes. */
#ifndef TARN_NUMA_NODE_ROOM_H
#define TARN_NUMA_NODE_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False where the kernel does not tell. */
bool tarn__node_room_read(int32_t node, size_t *free_bytes);

#endif
