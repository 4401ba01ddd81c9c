/* tarn_node_pool.h: small and many blocks on one memory node, by a jemalloc of tarn's own. */
#ifndef TARN_NODE_POOL_H
#define TARN_NODE_POOL_H

#include "alloc/tarn_pool.h"
#include "numa/tarn_topology.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A jemalloc arena whose extents come from `node`, as a pool. Host memory for small and many
 * blocks: jemalloc's speed and packing. A block freed in the order of a stream that has not passed
 * yet is held back until it has. The jemalloc is tarn's own; the process's malloc is not
 * touched. */
TARN_API TARN_NODISCARD tarn_status tarn_node_pool_create(tarn_topology *topology, int32_t node,
                                                          tarn_pool **pool);

#ifdef __cplusplus
}
#endif
#endif
