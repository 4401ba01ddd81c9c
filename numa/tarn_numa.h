/* tarn_numa.h: all of numa/ in one include: nodes, where memory lies, and memory on a node. */
#ifndef TARN_NUMA_H
#define TARN_NUMA_H

#include "alloc/tarn_caching_pool.h"
#include "numa/tarn_node_pool.h"
#include "numa/tarn_node_provider.h"
#include "numa/tarn_placement.h"
#include "numa/tarn_topology.h"

#ifdef __cplusplus
extern "C" { /* each of them says so too */
}
#endif
#endif
