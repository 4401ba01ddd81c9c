/* tarn_topology.h: the host's memory nodes: what they are, how far apart, which one is best.
 *
 * A node is named by its operating-system number, the N of /sys/devices/system/node/nodeN. Only
 * nodes and processors that this process may use are told: the cpuset of its control group holds,
 * as it was when the topology was read.
 *
 * What the firmware tells (ACPI's SLIT and HMAT tables, by way of hwloc) differs a lot between
 * machines, and Linux passes on what HMAT says of the nearest processors only. Where it tells
 * nothing the answers are still defined, and say that they are not measured.
 */
#ifndef TARN_TOPOLOGY_H
#define TARN_TOPOLOGY_H

#include "alloc/tarn_status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_topology tarn_topology;

typedef struct tarn_topology_options {
  size_t struct_size;
  const char *synthetic; /* hwloc's synthetic description, for tests; NULL: this machine */
  const char *xml_path;  /* a topology saved by lstopo; NULL: this machine */
} tarn_topology_options;

enum {
  TARN_NODE_ANY = -1, /* no node in particular; what that means is said where it is taken */
};

/* What nodes are compared by. */
typedef enum tarn_node_attribute {
  TARN_NODE_BANDWIDTH = 0, /* MiB/s, more is better */
  TARN_NODE_LATENCY = 1,   /* ns, less is better */
  TARN_NODE_CAPACITY = 2,  /* bytes of memory, more is better; always known */
  TARN_NODE_LOCALITY = 3,  /* the distance, less is better */
  TARN_NODE_READ_BANDWIDTH = 4,
  TARN_NODE_WRITE_BANDWIDTH = 5,
  TARN_NODE_READ_LATENCY = 6,
  TARN_NODE_WRITE_LATENCY = 7,
} tarn_node_attribute;

typedef enum tarn_memory_kind {
  TARN_MEMORY_UNKNOWN = 0, /* on most machines: ordinary memory */
  TARN_MEMORY_DRAM = 1,
  TARN_MEMORY_HBM = 2,
  TARN_MEMORY_CXL = 3,
  TARN_MEMORY_NVM = 4,
  TARN_MEMORY_GPU = 5, /* a GPU's own, shown as a node: used where it is asked for by number only */
} tarn_memory_kind;

typedef struct tarn_node_info {
  size_t struct_size;
  int32_t node;                 /* operating system's number */
  size_t capacity_bytes;        /* local memory */
  int32_t cpu_count;            /* processing units nearest to it; memory-only nodes share them */
  uint64_t bandwidth_mib_per_s; /* as the firmware tells; 0 where it does not */
  uint64_t latency_ns;
  tarn_memory_kind memory_kind; /* as hwloc knows it */
  /* 0 is the fastest: by kind (HBM; DRAM and unknown; CXL; NVM; GPU), and inside of a kind by
   * bandwidth: a node with less than 9/10 of a tier's best begins the next. Where nothing is told
   * there is one tier. */
  int32_t tier;
  /* No processor is its own: the kernel says so, or, where the topology is not this machine's, all
   * that are near to it are near to nodes with lower numbers too. */
  bool is_memory_only;
} tarn_node_info;

/* Reads the topology (milliseconds: do it once). `options` may be NULL. Shared; immutable. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_create(const tarn_topology_options *options,
                                                         tarn_topology **topology);
TARN_API void tarn_topology_retain(tarn_topology *topology);
TARN_API void tarn_topology_release(tarn_topology *topology);

TARN_API int32_t tarn_topology_node_count(const tarn_topology *topology); /* at least 1 */
/* index in [0, node_count). The caller sets info->struct_size. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_node(const tarn_topology *topology, int32_t index,
                                                       tarn_node_info *info);
/* The operating system's numbers of the processing units nearest to `node`, ascending. Writes at
 * most `capacity` of them; *count is how many there are. `cpus` may be NULL where capacity is 0. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_node_cpus(const tarn_topology *topology,
                                                            int32_t node, int32_t capacity,
                                                            int32_t *cpus, int32_t *count);
/* The firmware's relative distance between two nodes (SLIT: 10 is local); TARN_UNAVAILABLE where it
 * tells none. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_distance(const tarn_topology *topology,
                                                           int32_t from_node, int32_t to_node,
                                                           uint32_t *distance);
/* What the firmware tells of `to_node`, seen from the processors nearest to `from_node`, or, with
 * TARN_NODE_ANY, the best that any processor sees. Reading and writing apart are as both together
 * where they are not told apart. TARN_UNAVAILABLE where it tells nothing. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_attribute(const tarn_topology *topology,
                                                            tarn_node_attribute attribute,
                                                            int32_t from_node, int32_t to_node,
                                                            uint64_t *value);

/* The node nearest to the calling thread's processor. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_node_here(const tarn_topology *topology,
                                                            int32_t *node);
/* The node nearest to a PCI device ("0000:17:00.0"): of several that are equally near one with
 * processors of its own, then the lowest number. TARN_NOT_FOUND where the topology does not have
 * the device; TARN_UNAVAILABLE where the firmware does not say where it is. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_node_of_pci(const tarn_topology *topology,
                                                              const char *bus_id, int32_t *node);

/* All nodes but GPUs' own, the nearest to `from_node` first: by distance, then by more capacity,
 * then by number. Where no distances are told, nodes that share processors with it are near and all
 * others far. TARN_NODE_ANY: seen from the calling thread. Writes at most `capacity` numbers;
 * *count is how many there are. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_nodes_near(const tarn_topology *topology,
                                                             int32_t from_node, int32_t capacity,
                                                             int32_t *nodes, int32_t *count);

/* What set the best node apart from the last of the others. */
typedef enum tarn_best_by {
  TARN_BEST_BY_NOTHING = 0, /* there was no other */
  TARN_BEST_BY_VALUE = 1,   /* the attribute as told; what is told beats what is not */
  TARN_BEST_BY_KIND = 2,    /* it shares the processors, and is HBM where the others are not */
  TARN_BEST_BY_DISTANCE = 3,
  TARN_BEST_BY_CAPACITY = 4,
  TARN_BEST_BY_NUMBER = 5,
} tarn_best_by;

typedef struct tarn_best_node {
  size_t struct_size;
  int32_t node;
  uint64_t value; /* of the attribute; 0 where it is not told */
  tarn_best_by by;
  bool is_measured; /* value is told, and it alone decided */
} tarn_best_node;

/* The best node by `attribute`, seen from `from_node` (TARN_NODE_ANY: from the calling thread),
 * among those that have room for least_free_bytes now (0: all). GPUs' own nodes do not take part.
 *
 * Compared in this order, until one is better: the attribute as told; for bandwidths, where it is
 * told of neither, HBM that shares the processors; less distance; more capacity; the lower number.
 * On a topology that is not this machine's all of a node's capacity is room.
 * TARN_OUT_OF_MEMORY where no node has the room. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_best_node(const tarn_topology *topology,
                                                            int32_t from_node,
                                                            tarn_node_attribute attribute,
                                                            size_t least_free_bytes,
                                                            tarn_best_node *best);

/* How much memory there is to have, at this moment. */
typedef struct tarn_node_room {
  size_t struct_size;
  /* What the kernel can give of the node before it has to take from somebody else: free pages over
   * its own reserves, and file pages that it can drop. */
  size_t free_bytes;
  /* Of the control group with the least left, this process's or one above it. SIZE_MAX where
   * there is no limit. File pages that it can drop do not count as used. */
  size_t limit_bytes;
  size_t limit_used_bytes;
  size_t room_bytes; /* the lesser of what is free and what is left of the limit */
} tarn_node_room;

/* Asks the kernel: some 0.1 ms, more on large machines. `node` may be TARN_NODE_ANY: all nodes of
 * the topology together. TARN_UNAVAILABLE where the kernel does not tell, or the topology is not
 * this machine's. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_room(const tarn_topology *topology, int32_t node,
                                                       tarn_node_room *room);

#ifdef __cplusplus
}
#endif
#endif
