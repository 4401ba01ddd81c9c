/* guest_makers.c: the table of providers and pools on one node. */
#include "tests/vm/guest_makers.h"

#include "alloc/tarn_pool_provider.h"

static tarn_status make_node(tarn_topology *topology, int32_t node, tarn_provider **provider) {
  return tarn_node_provider_create(topology, node, NULL, provider);
}

static tarn_status make_base_pages(tarn_topology *topology, int32_t node,
                                   tarn_provider **provider) {
  const tarn_pages_options pages = {
      .struct_size = sizeof pages, .huge = TARN_PAGES_HUGE_NEVER, .granularity_bytes = 4096};
  return tarn_node_provider_create(topology, node, &pages, provider);
}

static tarn_status make_coarse(tarn_topology *topology, int32_t node, tarn_provider **provider) {
  const tarn_pages_options pages = {
      .struct_size = sizeof pages, .huge = TARN_PAGES_HUGE_ADVISE, .granularity_bytes = 2 << 20};
  return tarn_node_provider_create(topology, node, &pages, provider);
}

const guest_maker guest_providers[] = {
    {.name = "node", .make_provider = make_node},
    {.name = "node, base pages", .make_provider = make_base_pages},
    {.name = "node, coarse", .make_provider = make_coarse},
    {.name = NULL},
};

static tarn_status make_jemalloc(tarn_topology *topology, int32_t node, tarn_pool **pool) {
  return tarn_node_pool_create(topology, node, pool);
}

static tarn_status make_caching(tarn_topology *topology, int32_t node, tarn_pool **pool) {
  tarn_provider *provider = NULL;
  tarn_status status = make_node(topology, node, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  return status;
}

/* Whole blocks out of one pool, lent out by another. */
static tarn_status make_caching_over_jemalloc(tarn_topology *topology, int32_t node,
                                              tarn_pool **pool) {
  tarn_pool *below = NULL;
  tarn_provider *provider = NULL;
  tarn_status status = make_jemalloc(topology, node, &below);
  if (status == TARN_OK) status = tarn_pool_provider_create(below, NULL, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  tarn_pool_release(below);
  return status;
}

const guest_maker guest_pools[] = {
    {.name = "jemalloc", .make_pool = make_jemalloc},
    {.name = "caching over node", .make_pool = make_caching},
    {.name = "caching over jemalloc", .make_pool = make_caching_over_jemalloc},
    {.name = NULL},
};
