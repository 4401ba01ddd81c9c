/* affinity.h: lets the calling thread run on one memory node's processors for a while. */
#ifndef BENCH_AFFINITY_H
#define BENCH_AFFINITY_H

#include <sched.h>

#include "numa/tarn_topology.h"

typedef struct affinity_saved {
  cpu_set_t before;
  bool is_moved;
} affinity_saved;

/* Moves the thread, and says in *saved how it was; where the node is TARN_NODE_ANY, has no
 * processors, or the process may not use them, nothing happens and is_moved is false. `topology`
 * may be NULL. */
void affinity_enter(const tarn_topology *topology, int32_t node, affinity_saved *saved);
void affinity_leave(const affinity_saved *saved);

#endif
