/* guest_makers.c: the table of providers and pools on one node. */
#include "tests/vm/guest_makers.h"

#include "alloc/tarn_pool_provider.h"
#include "cuda/tarn_cuda.h"
#include "tests/support/open_cuda.h"

bool guest_can_make(const guest_maker *maker) {
  tarn_cuda *cuda = NULL;
  const bool can = !maker->needs_cuda || test_open_cuda(&cuda) != TARN_NOT_SUPPORTED;
  tarn_cuda_release(cuda);
  return can;
}

static tarn_status make_with(tarn_topology *topology, int32_t node, uint32_t flags,
                             size_t granularity_bytes, tarn_provider **provider) {
  tarn_node_options options = tarn_node_options_on(node);
  options.flags = flags;
  options.granularity_bytes = granularity_bytes;
  options.touch_threads = 2;
  return tarn_node_provider_create(topology, &options, provider);
}

static tarn_status make_node(tarn_topology *topology, int32_t node, tarn_provider **provider) {
  return make_with(topology, node, 0, 0, provider);
}

static tarn_status make_base_pages(tarn_topology *topology, int32_t node,
                                   tarn_provider **provider) {
  tarn_node_options options = tarn_node_options_on(node);
  options.huge = TARN_PAGES_HUGE_NEVER;
  options.granularity_bytes = 4096;
  return tarn_node_provider_create(topology, &options, provider);
}

static tarn_status make_coarse(tarn_topology *topology, int32_t node, tarn_provider **provider) {
  return make_with(topology, node, 0, 2 << 20, provider);
}

static tarn_status make_populated(tarn_topology *topology, int32_t node, tarn_provider **provider) {
  return make_with(topology, node, TARN_PAGES_POPULATE, 0, provider);
}

static tarn_status make_locked_pages(tarn_topology *topology, int32_t node,
                                     tarn_provider **provider) {
  return make_with(topology, node, TARN_PAGES_LOCK | TARN_PAGES_NORESERVE, 0, provider);
}

static tarn_status make_shared(tarn_topology *topology, int32_t node, tarn_provider **provider) {
  return make_with(topology, node, TARN_PAGES_SHARED, 0, provider);
}

/* Locked for the simulated driver's devices, over pages of the node. */
static tarn_status make_locked(tarn_topology *topology, int32_t node, uint32_t flags,
                               tarn_provider **provider) {
  tarn_provider *host = NULL;
  tarn_cuda *cuda = NULL;
  tarn_status status = make_coarse(topology, node, &host);
  if (status == TARN_OK) status = test_open_cuda(&cuda);
  if (status == TARN_OK) {
    const tarn_cuda_pinned_options options = {
        .struct_size = sizeof options, .host = host, .flags = flags};
    status = tarn_cuda_pinned_provider_create(cuda, &options, provider);
  }
  tarn_cuda_release(cuda);
  tarn_provider_release(host);
  return status;
}

static tarn_status make_pinned(tarn_topology *topology, int32_t node, tarn_provider **provider) {
  return make_locked(topology, node, 0, provider);
}

static tarn_status make_pinned_granules(tarn_topology *topology, int32_t node,
                                        tarn_provider **provider) {
  return make_locked(topology, node, TARN_CUDA_PINNED_GRANULES, provider);
}

const guest_maker guest_providers[] = {
    {.name = "node", .make_provider = make_node},
    {.name = "node, base pages", .make_provider = make_base_pages},
    {.name = "node, coarse", .make_provider = make_coarse},
    {.name = "node, populated", .make_provider = make_populated},
    {.name = "node, locked", .make_provider = make_locked_pages},
    {.name = "node, shared", .make_provider = make_shared},
    {.name = "pinned", .needs_cuda = true, .make_provider = make_pinned},
    {.name = "pinned granules", .needs_cuda = true, .make_provider = make_pinned_granules},
    {.name = NULL},
};

static tarn_status make_jemalloc(tarn_topology *topology, int32_t node, tarn_pool **pool) {
  const tarn_node_pool_options options = {.struct_size = sizeof options, .node = node};
  return tarn_node_pool_create(topology, &options, pool);
}

static tarn_status make_over(tarn_status (*make)(tarn_topology *, int32_t, tarn_provider **),
                             tarn_topology *topology, int32_t node, tarn_pool **pool) {
  tarn_provider *provider = NULL;
  tarn_status status = make(topology, node, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  return status;
}

static tarn_status make_caching(tarn_topology *topology, int32_t node, tarn_pool **pool) {
  return make_over(make_node, topology, node, pool);
}

static tarn_status make_caching_pinned(tarn_topology *topology, int32_t node, tarn_pool **pool) {
  return make_over(make_pinned, topology, node, pool);
}

static tarn_status make_caching_pinned_granules(tarn_topology *topology, int32_t node,
                                                tarn_pool **pool) {
  return make_over(make_pinned_granules, topology, node, pool);
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
    {.name = "caching over pinned", .needs_cuda = true, .make_pool = make_caching_pinned},
    {.name = "caching over pinned granules",
     .needs_cuda = true,
     .make_pool = make_caching_pinned_granules},
    {.name = "caching over jemalloc", .make_pool = make_caching_over_jemalloc},
    {.name = NULL},
};
