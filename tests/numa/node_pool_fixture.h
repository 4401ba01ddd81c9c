/* node_pool_fixture.h: this machine's topology around all tests; pools of its first node. */
#ifndef TARN_NODE_POOL_FIXTURE_H
#define TARN_NODE_POOL_FIXTURE_H

#include "numa/tarn_numa.h"

#include "tests/support/pools.h"

static tarn_topology *topology;
static int32_t first_node;

static int load_topology(void **state) {
  (void)state;
  tarn_node_info info = {.struct_size = sizeof info};
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return -1;
  if (tarn_topology_node(topology, 0, &info) != TARN_OK) return -1;
  first_node = info.node;
  return 0;
}

static int release_topology(void **state) {
  (void)state;
  tarn_topology_release(topology);
  return 0;
}

static tarn_pool *make_pool(void) {
  const tarn_node_pool_options options = {.struct_size = sizeof options, .node = first_node};
  tarn_pool *pool = NULL;
  assert_int_equal(tarn_node_pool_create(topology, &options, &pool), TARN_OK);
  return pool;
}

#endif
