/* tarn_node_provider.h: whole blocks of memory that lie where a placement says. */
#ifndef TARN_NODE_PROVIDER_H
#define TARN_NODE_PROVIDER_H

#include <string.h>

#include "alloc/tarn_pages.h"
#include "numa/tarn_placement.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_node_options {
  size_t struct_size;
  /* struct_size and all may be 0: the kernel's own choice. What needs a moment (the thread that is
   * near, the node with the most room) is settled when the provider is made; ORDERED looks at the
   * room at every commit. page_bytes is the provider's to fill in. */
  tarn_placement placement;
  uint32_t flags;           /* TARN_PAGES_POPULATE, _LOCK, _NORESERVE, _SHARED */
  size_t page_bytes;        /* explicit huge pages, as in tarn_pages_options; 0: base pages */
  tarn_pages_huge huge;     /* as there */
  size_t granularity_bytes; /* as there */
  /* POPULATE and explicit pages: how many threads make pages at once, as in tarn_touch_options.
   * They run on the processors that are nearest to the nodes. */
  int32_t touch_threads;
} tarn_node_options;

/* Strictly on one node, and else the defaults. */
static inline tarn_node_options tarn_node_options_on(int32_t node) {
  tarn_node_options options; /* C++17 has no designated initializers */
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.placement.struct_size = sizeof options.placement;
  options.placement.kind = TARN_PLACEMENT_NODE;
  options.placement.flags = TARN_PLACEMENT_STRICT;
  options.placement.node_count = 1;
  options.placement.nodes[0] = node;
  return options;
}

/* Pages as of tarn_pages_provider_create, which are bound before the first of them is made, also
 * after a decommit. Blocks and ranges that are committed are placed; attributes.node is the node
 * where there is one, strict or preferred, else -1. Retains the topology. `options` may be NULL.
 *
 * Where the placement is strict, a commit is refused with TARN_OUT_OF_MEMORY that the nodes, or the
 * process's control group, have no room for: less what this process has been given strictly and
 * not touched yet, and without TARN_PLACEMENT_UNCHECKED. The kernel would grant it, and end a
 * process when it is touched. What other processes take meanwhile nobody can know. Costs some 0.2
 * ms at every hundredth of a second of commits, and more often when a node is nearly full.
 *
 * Fails as tarn_placement_resolve and tarn_pages_provider_create do; TARN_UNAVAILABLE where a node
 * does not exist or the topology is not this machine's. */
TARN_API TARN_NODISCARD tarn_status tarn_node_provider_create(tarn_topology *topology,
                                                              const tarn_node_options *options,
                                                              tarn_provider **provider);

/* What was granted of what was asked, as far as the kernel tells. */
typedef struct tarn_node_granted {
  size_t struct_size;
  tarn_placement_resolved resolved; /* the provider's placement, here */
  /* False where the kernel refused to bind what was only preferred (refused_code, an errno), or
   * there was nothing to bind. Of all that the provider has given. */
  bool is_bound;
  int32_t refused_code;
  tarn_pages_state pages;      /* what is in memory, huge, locked */
  tarn_placement_pages placed; /* on which nodes it lies */
} tarn_node_granted;

/* Of committed memory of a node provider; the caller sets granted->struct_size. For reports and
 * tests. TARN_INVALID_ARGUMENT for another provider; otherwise fails as tarn_pages_inspect and
 * tarn_placement_verify do, and granted has what could be told. */
TARN_API TARN_NODISCARD tarn_status tarn_node_provider_granted(const tarn_provider *provider,
                                                               const void *address,
                                                               size_t size_bytes,
                                                               tarn_node_granted *granted);

#ifdef __cplusplus
}
#endif
#endif
