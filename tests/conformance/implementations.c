/* implementations.c: every provider, pool and stream of tarn and its examples, as the conformance
 * suites make them. */
#include "tests/conformance/conformance.h"

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pool_provider.h"
#include "numa/tarn_numa.h"
#include "tests/adapters/umf/fake_umf.h"
#include "tests/conformance/examples.h"
#include "tests/support/open_cuda.h"

/* --- providers --- */

static tarn_status make_pages(tarn_provider **provider) {
  return tarn_pages_provider_create(NULL, provider);
}

static tarn_status make_base_pages(tarn_provider **provider) {
  const tarn_pages_options options = {
      .struct_size = sizeof options, .huge = TARN_PAGES_HUGE_NEVER, .granularity_bytes = 4096};
  return tarn_pages_provider_create(&options, provider);
}

static tarn_status make_pages_with(uint32_t flags, size_t page_bytes, tarn_provider **provider) {
  const tarn_pages_options options = {
      .struct_size = sizeof options, .flags = flags, .page_bytes = page_bytes};
  return tarn_pages_provider_create(&options, provider);
}

static tarn_status make_shared_pages(tarn_provider **provider) {
  return make_pages_with(TARN_PAGES_SHARED, 0, provider);
}

static tarn_status make_locked_pages(tarn_provider **provider) {
  return make_pages_with(TARN_PAGES_LOCK, 0, provider);
}

static tarn_status make_populated_pages(tarn_provider **provider) {
  return make_pages_with(TARN_PAGES_POPULATE | TARN_PAGES_NORESERVE, 0, provider);
}

/* The suite takes up to four explicit pages at a time: a pool with fewer is as good as none. */
static tarn_status need_four_pages(tarn_status status, tarn_provider **provider) {
  const size_t size_bytes = (size_t)4 * (2 << 20);
  void *block = NULL;
  if (status == TARN_OK) status = tarn_provider_alloc(*provider, size_bytes, &block);
  if (status == TARN_OK) return tarn_provider_free(*provider, block, size_bytes);
  tarn_provider_release(*provider);
  *provider = NULL;
  return status == TARN_OUT_OF_MEMORY ? TARN_UNAVAILABLE : status;
}

static tarn_status make_explicit_pages(tarn_provider **provider) {
  return need_four_pages(make_pages_with(0, 2 << 20, provider), provider);
}

static tarn_status make_shared_explicit_pages(tarn_provider **provider) {
  return need_four_pages(make_pages_with(TARN_PAGES_SHARED, 2 << 20, provider), provider);
}

static tarn_status make_fixed(tarn_provider **provider) {
  static _Alignas(4096) char range[8 << 20];
  return tarn_fixed_provider_create(range, sizeof range, NULL, provider);
}

/* The first or last node of this machine, as a provider or as a pool. */
static tarn_status make_on_node(bool is_last, uint32_t flags, size_t page_bytes,
                                tarn_provider **provider, tarn_pool **pool) {
  tarn_topology *topology = NULL;
  tarn_node_info info = {.struct_size = sizeof info};
  tarn_status status = tarn_topology_create(NULL, &topology);
  if (status == TARN_OK) {
    const int32_t last = tarn_topology_node_count(topology) - 1;
    status = is_last && last == 0 ? tarn_fail(TARN_UNAVAILABLE, "the first node is the last one")
                                  : tarn_topology_node(topology, is_last ? last : 0, &info);
  }
  if (status == TARN_OK) {
    tarn_node_options options = tarn_node_options_on(info.node);
    options.flags = flags;
    options.page_bytes = page_bytes;
    const tarn_node_pool_options pool_options = {.struct_size = sizeof pool_options,
                                                 .node = info.node};
    status = provider != NULL ? tarn_node_provider_create(topology, &options, provider)
                              : tarn_node_pool_create(topology, &pool_options, pool);
  }
  tarn_topology_release(topology);
  return status;
}

static tarn_status make_node(tarn_provider **provider) {
  return make_on_node(/*is_last=*/false, 0, 0, provider, NULL);
}

static tarn_status make_last_node(tarn_provider **provider) {
  return make_on_node(/*is_last=*/true, 0, 0, provider, NULL);
}

static tarn_status make_shared_node(tarn_provider **provider) {
  return make_on_node(/*is_last=*/false, TARN_PAGES_SHARED, 0, provider, NULL);
}

static tarn_status make_locked_node(tarn_provider **provider) {
  return make_on_node(/*is_last=*/false, TARN_PAGES_LOCK | TARN_PAGES_POPULATE, 0, provider, NULL);
}

static tarn_status make_explicit_node(tarn_provider **provider) {
  return need_four_pages(make_on_node(/*is_last=*/false, 0, 2 << 20, provider, NULL), provider);
}

/* Strictly on all of this machine's nodes in turn. */
static tarn_status make_interleaved_nodes(tarn_provider **provider) {
  tarn_topology *topology = NULL;
  tarn_node_options options = {.struct_size = sizeof options};
  options.placement.struct_size = sizeof options.placement;
  options.placement.kind = TARN_PLACEMENT_INTERLEAVE;
  options.placement.flags = TARN_PLACEMENT_STRICT;
  tarn_status status = tarn_topology_create(NULL, &topology);
  if (status == TARN_OK) status = tarn_node_provider_create(topology, &options, provider);
  tarn_topology_release(topology);
  return status;
}

static tarn_status make_cuda_device(tarn_provider **provider) {
  tarn_cuda *cuda = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_device_provider_create(cuda, 0, provider);
  tarn_cuda_release(cuda);
  return status;
}

static tarn_status make_cuda_virtual(tarn_provider **provider) {
  tarn_cuda *cuda = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_virtual_provider_create(cuda, 0, NULL, provider);
  tarn_cuda_release(cuda);
  return status;
}

/* Small pieces, so that tests meet them, and some of it made ahead. */
static tarn_status make_cuda_pieces(tarn_provider **provider) {
  tarn_cuda *cuda = NULL;
  const tarn_cuda_virtual_options options = {.struct_size = sizeof options,
                                             .piece_bytes = (size_t)4 << 20};
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_virtual_provider_create(cuda, 0, &options, provider);
  if (status == TARN_OK) status = tarn_provider_prepare(*provider, (size_t)12 << 20, NULL);
  tarn_cuda_release(cuda);
  return status;
}

static tarn_status make_cuda_pinned(tarn_provider **provider) {
  tarn_cuda *cuda = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_pinned_provider_create(cuda, NULL, provider);
  tarn_cuda_release(cuda);
  return status;
}

static tarn_status make_cuda_registered(uint32_t flags, tarn_provider **provider) {
  tarn_cuda *cuda = NULL;
  tarn_provider *pages = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = make_pages(&pages);
  const tarn_cuda_pinned_options options = {
      .struct_size = sizeof options, .host = pages, .flags = flags};
  if (status == TARN_OK) status = tarn_cuda_pinned_provider_create(cuda, &options, provider);
  tarn_provider_release(pages);
  tarn_cuda_release(cuda);
  return status;
}

static tarn_status make_cuda_registered_blocks(tarn_provider **provider) {
  return make_cuda_registered(/*flags=*/0, provider);
}

static tarn_status make_cuda_registered_granules(tarn_provider **provider) {
  return make_cuda_registered(TARN_CUDA_PINNED_GRANULES, provider);
}

/* The provider over a caching pool over `make`. */
static tarn_status make_over_pool(tarn_status (*make)(tarn_provider **), tarn_provider **provider) {
  tarn_pool *pool = NULL;
  tarn_status status = make_caching_over(make, &pool);
  if (status == TARN_OK) status = tarn_pool_provider_create(pool, NULL, provider);
  tarn_pool_release(pool);
  return status;
}

static tarn_status make_over_pages_pool(tarn_provider **provider) {
  return make_over_pool(make_pages, provider);
}

static tarn_status make_over_cuda_pool(tarn_provider **provider) {
  return make_over_pool(make_cuda_device, provider);
}

static tarn_status make_umf(tarn_provider **provider) {
  tarn_provider *pages = NULL;
  tarn_status status = make_pages(&pages);
  if (status == TARN_OK) status = fake_umf_detour(pages, provider);
  tarn_provider_release(pages);
  return status;
}

static tarn_status make_example_shared(tarn_provider **provider) {
  return shared_provider_create((size_t)64 << 20, provider);
}

const implementation provider_implementations[] = {
    {.name = "pages", .make_provider = make_pages},
    {.name = "base pages", .make_provider = make_base_pages},
    {.name = "shared pages", .make_provider = make_shared_pages},
    {.name = "locked pages", .make_provider = make_locked_pages},
    {.name = "populated pages", .make_provider = make_populated_pages},
    {.name = "explicit pages", .make_provider = make_explicit_pages},
    {.name = "shared explicit pages", .make_provider = make_shared_explicit_pages},
    {.name = "fixed", .make_provider = make_fixed},
    {.name = "node", .make_provider = make_node},
    {.name = "last node", .make_provider = make_last_node},
    {.name = "shared node", .make_provider = make_shared_node},
    {.name = "locked node", .make_provider = make_locked_node},
    {.name = "explicit node", .make_provider = make_explicit_node},
    {.name = "interleaved nodes", .make_provider = make_interleaved_nodes},
    {.name = "cuda device", .make_provider = make_cuda_device},
    {.name = "cuda virtual", .make_provider = make_cuda_virtual},
    {.name = "cuda virtual pieces", .make_provider = make_cuda_pieces},
    {.name = "cuda pinned", .make_provider = make_cuda_pinned},
    {.name = "cuda pinned pages", .make_provider = make_cuda_registered_blocks},
    {.name = "cuda pinned granules", .make_provider = make_cuda_registered_granules},
    {.name = "umf", .make_provider = make_umf},
    {.name = "pool over pages", .make_provider = make_over_pages_pool},
    {.name = "pool over cuda device", .make_provider = make_over_cuda_pool},
    {.name = "example: shared", .make_provider = make_example_shared},
    {.name = NULL},
};

/* --- pools --- */

static tarn_status make_jemalloc_node(tarn_pool **pool) {
  return make_on_node(/*is_last=*/false, 0, 0, NULL, pool);
}

static tarn_status make_jemalloc_last_node(tarn_pool **pool) {
  return make_on_node(/*is_last=*/true, 0, 0, NULL, pool);
}

static tarn_status make_cuda_driver(tarn_pool **pool) {
  tarn_cuda *cuda = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_driver_pool_create(cuda, 0, NULL, pool);
  tarn_cuda_release(cuda);
  return status;
}

static tarn_status make_example_arena(tarn_pool **pool) {
  static _Alignas(64) char buffer[32 << 20];
  return arena_pool_create(buffer, sizeof buffer, pool);
}

static tarn_status make_example_counting(tarn_pool **pool) {
  static counting_counts counts;
  tarn_pool *below = NULL;
  tarn_status status = make_caching_over(make_pages, &below);
  if (status == TARN_OK) status = counting_pool_create(below, &counts, pool);
  tarn_pool_release(below);
  return status;
}

const implementation pool_implementations[] = {
    {.name = "caching over pages", .make_provider = make_pages},
    {.name = "caching over base pages", .make_provider = make_base_pages},
    {.name = "caching over shared pages", .make_provider = make_shared_pages},
    {.name = "caching over fixed", .make_provider = make_fixed},
    {.name = "caching over node", .make_provider = make_node},
    {.name = "caching over last node", .make_provider = make_last_node},
    {.name = "jemalloc node", .make_pool = make_jemalloc_node},
    {.name = "jemalloc last node", .make_pool = make_jemalloc_last_node},
    {.name = "caching over cuda device", .make_provider = make_cuda_device},
    {.name = "cuda driver", .make_pool = make_cuda_driver},
    {.name = "caching over cuda virtual", .make_provider = make_cuda_virtual},
    {.name = "caching over cuda virtual pieces", .make_provider = make_cuda_pieces},
    {.name = "caching over cuda pinned", .make_provider = make_cuda_pinned},
    {.name = "caching over cuda pinned pages", .make_provider = make_cuda_registered_blocks},
    {.name = "caching over cuda pinned granules", .make_provider = make_cuda_registered_granules},
    {.name = "caching over a pool over pages", .make_provider = make_over_pages_pool},
    {.name = "caching over a pool over cuda device", .make_provider = make_over_cuda_pool},
    {.name = "example: arena", .make_pool = make_example_arena},
    {.name = "example: counting", .make_pool = make_example_counting},
    {.name = "caching over example: shared", .make_provider = make_example_shared},
    {.name = NULL},
};

/* --- streams --- */

static tarn_status make_cuda_stream(tarn_stream **stream) {
  tarn_cuda *cuda = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_stream_create(cuda, 0, stream);
  tarn_cuda_release(cuda);
  return status;
}

const implementation stream_implementations[] = {
    {.name = "host", .make_stream = tarn_host_stream_create},
    {.name = "worker", .make_stream = tarn_worker_stream_create},
    {.name = "cuda", .make_stream = make_cuda_stream},
    {.name = "example: crew", .make_stream = crew_stream_create},
    {.name = NULL},
};

tarn_stream *make_stream_for(const tarn_pool *pool) {
  const int32_t type = tarn_pool_attributes_of(pool)->device.type;
  const bool is_cuda = type == TARN_DEVICE_CUDA || type == TARN_DEVICE_CUDA_HOST;
  tarn_stream *stream = NULL;
  assert_ok(is_cuda ? make_cuda_stream(&stream) : tarn_worker_stream_create(&stream));
  return stream;
}
