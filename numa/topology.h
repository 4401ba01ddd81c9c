/* topology.h: what the other files of numa/ may see of a topology. */
#ifndef TARN_NUMA_TOPOLOGY_H
#define TARN_NUMA_TOPOLOGY_H

#include "numa/tarn_topology.h"

#include <hwloc.h>
#include <stdatomic.h>

enum {
  TARN__ATTRIBUTE_COUNT = TARN_NODE_WRITE_LATENCY + 1,
};

typedef struct tarn__node {
  tarn_node_info info;
  hwloc_obj_t object; /* the topology's own */
} tarn__node;

/* Read once into plain numbers. Tables are node_count x node_count, row = from. */
struct tarn_topology {
  atomic_size_t reference_count;
  hwloc_topology_t hwloc; /* only read after creation, which hwloc allows from several threads */
  bool is_this_machine;   /* else it is a description, and nothing can be bound by it */
  int32_t node_count;     /* > 0 */
  tarn__node *nodes;      /* in hwloc's order */
  uint32_t *distances;    /* NULL where none is told */
  uint64_t *values[TARN__ATTRIBUTE_COUNT]; /* 0: not told; NULL where the firmware is not asked */
};

/* -1 where the topology has no such node. */
int32_t tarn__topology_index(const tarn_topology *topology, int32_t node);

/* The steps of reading, in this order. */
tarn_status tarn__topology_read_nodes(tarn_topology *topology);
tarn_status tarn__topology_read_distances(tarn_topology *topology);
tarn_status tarn__topology_read_attributes(tarn_topology *topology);
void tarn__topology_rank_tiers(tarn_topology *topology);

/* By index: whether some processor is near to both. */
bool tarn__topology_share_processors(const tarn_topology *topology, int32_t a, int32_t b);
/* By index. As told, or 10 for nodes that share processors and 20 for others: Linux's own numbers
 * where the firmware has none. */
uint32_t tarn__topology_distance(const tarn_topology *topology, int32_t from, int32_t to);
/* By index; 0 where it is not told. Capacity and locality are always known. */
uint64_t tarn__topology_value(const tarn_topology *topology, tarn_node_attribute attribute,
                              int32_t from, int32_t to);
static inline bool tarn__topology_less_is_better(tarn_node_attribute attribute) {
  return attribute == TARN_NODE_LATENCY || attribute == TARN_NODE_LOCALITY ||
         attribute == TARN_NODE_READ_LATENCY || attribute == TARN_NODE_WRITE_LATENCY;
}

/* The index of a node given by the caller; TARN_NODE_ANY is the calling thread's. */
tarn_status tarn__topology_from(const tarn_topology *topology, int32_t node, int32_t *index);

/* What is free on each of the nodes, and what the control groups leave the process (SIZE_MAX: all),
 * each read once. False where the kernel does not tell of one of them, or it is not its machine. */
bool tarn__topology_rooms(const tarn_topology *topology, const int32_t *nodes, int32_t count,
                          size_t *free_bytes, size_t *left_bytes);

/* TARN_OK where memory of this process can be bound to `node`: the topology is this machine's, and
 * the node is in it and may be used. `info` may be NULL. */
tarn_status tarn__topology_check_node(const tarn_topology *topology, int32_t node,
                                      tarn_node_info *info);

#endif
