/* topology.h: what the other files of numa/ may see of a topology. */
#ifndef TARN_NUMA_TOPOLOGY_H
#define TARN_NUMA_TOPOLOGY_H

#include "numa/tarn_topology.h"

/* TARN_OK where memory of this process can be bound to `node`: the topology is this machine's, and
 * the node is in it and may be used. `info` may be NULL. */
tarn_status tarn__topology_check_node(const tarn_topology *topology, int32_t node,
                                      tarn_node_info *info);

/* Binds the range strictly to `node`; what is in it already stays where it is. */
tarn_status tarn__topology_bind(const tarn_topology *topology, int32_t node, void *address,
                                size_t size_bytes);

#endif
