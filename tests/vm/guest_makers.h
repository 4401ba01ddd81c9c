/* guest_makers.h: every provider and pool whose memory is to lie on one node. */
#ifndef TARN_GUEST_MAKERS_H
#define TARN_GUEST_MAKERS_H

#include "numa/tarn_numa.h"

/* One of the two makes what the name says, on `node` of this machine. A test fails where it cannot
 * be made, but for a build without CUDA. Rows end with one without a name. */
typedef struct guest_maker {
  const char *name;
  bool needs_cuda;
  tarn_status (*make_provider)(tarn_topology *topology, int32_t node, tarn_provider **provider);
  tarn_status (*make_pool)(tarn_topology *topology, int32_t node, tarn_pool **pool);
} guest_maker;

bool guest_can_make(const guest_maker *maker);

extern const guest_maker guest_providers[];
extern const guest_maker guest_pools[];

#endif
