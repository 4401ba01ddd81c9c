/* consumer.c: a program outside of the tree: memory of a node, through the installed library. */
#include <stdio.h>
#include <string.h>
#include <tarn.h>

static int report(const char *step) {
  fprintf(stderr, "%s: %s\n", step, tarn_last_error()->message);
  return 1;
}

int main(void) {
  tarn_topology *topology = NULL;
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return report("topology");
  tarn_node_info info = {.struct_size = sizeof info};
  if (tarn_topology_node(topology, 0, &info) != TARN_OK) return report("node");
  tarn_pool *pool = NULL;
  const tarn_node_pool_options options = {.struct_size = sizeof options, .node = info.node};
  if (tarn_node_pool_create(topology, &options, &pool) != TARN_OK) return report("pool");
  void *address = NULL;
  if (tarn_pool_alloc(pool, 100000, NULL, &address) != TARN_OK) return report("alloc");
  memset(address, 1, 100000);
  if (tarn_pool_free(pool, address, NULL) != TARN_OK) return report("free");
  if (tarn_pool_free(pool, address, NULL) != TARN_NOT_FOUND) return report("second free");
  tarn_pool_release(pool);
  tarn_topology_release(topology);
  puts("consumer: fine");
  return 0;
}
