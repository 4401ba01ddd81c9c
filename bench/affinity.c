/* affinity.c: the processors of a node, for the calling thread. */
#include "bench/affinity.h"

#include <stddef.h>

void affinity_enter(const tarn_topology *topology, int32_t node, affinity_saved *saved) {
  cpu_set_t wanted;
  int32_t cpus[CPU_SETSIZE];
  int32_t count = 0;
  saved->is_moved = false;
  if (topology == NULL || node < 0 ||
      sched_getaffinity(0, sizeof saved->before, &saved->before) != 0 ||
      tarn_topology_node_cpus(topology, node, CPU_SETSIZE, cpus, &count) != TARN_OK) {
    return;
  }
  CPU_ZERO(&wanted);
  for (int32_t i = 0; i < count && i < CPU_SETSIZE; i++) {
    if (cpus[i] < CPU_SETSIZE) CPU_SET((size_t)cpus[i], &wanted);
  }
  saved->is_moved = count > 0 && sched_setaffinity(0, sizeof wanted, &wanted) == 0;
}

void affinity_leave(const affinity_saved *saved) {
  if (saved->is_moved) sched_setaffinity(0, sizeof saved->before, &saved->before);
}
