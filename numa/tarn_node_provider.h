/* tarn_node_provider.h: whole blocks of memory that lie on one memory node. */
#ifndef TARN_NODE_PROVIDER_H
#define TARN_NODE_PROVIDER_H

#include "alloc/tarn_pages.h"
#include "numa/tarn_topology.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Pages bound strictly to `node`: as tarn_pages_provider_create otherwise, `pages` may be NULL. The
 * bind goes with the range, so it holds for every page touched later and touched again after a
 * decommit. Retains the topology. TARN_UNAVAILABLE where the node does not exist or the topology is
 * not this machine's. */
TARN_API TARN_NODISCARD tarn_status tarn_node_provider_create(tarn_topology *topology, int32_t node,
                                                              const tarn_pages_options *pages,
                                                              tarn_provider **provider);

#ifdef __cplusplus
}
#endif
#endif
