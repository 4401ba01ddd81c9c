/* tarn_topology.h: the host's memory nodes as hwloc and the kernel tell them.
 *
 * A node is named by its operating-system number, the N of /sys/devices/system/node/nodeN.
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

/* What nodes are compared by. "Measured" is what the firmware tells of them, by way of hwloc. */
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

typedef struct tarn_node_info {
  size_t struct_size;
  int32_t node;                 /* operating system's number */
  size_t capacity_bytes;        /* local memory */
  int32_t cpu_count;            /* processing units nearest to it; memory-only nodes share them */
  uint64_t bandwidth_mib_per_s; /* as the firmware tells; 0 where it does not */
  uint64_t latency_ns;
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
/* The firmware's relative distance between two nodes (SLIT: 10 is local); TARN_UNAVAILABLE where it
 * tells none. */
TARN_API TARN_NODISCARD tarn_status tarn_topology_distance(const tarn_topology *topology,
                                                           int32_t from_node, int32_t to_node,
                                                           uint32_t *distance);
/* The node nearest to the calling thread's processor; and to a PCI device ("0000:17:00.0"). */
TARN_API TARN_NODISCARD tarn_status tarn_topology_node_here(const tarn_topology *topology,
                                                            int32_t *node);
TARN_API TARN_NODISCARD tarn_status tarn_topology_node_of_pci(const tarn_topology *topology,
                                                              const char *bus_id, int32_t *node);

#ifdef __cplusplus
}
#endif
#endif
