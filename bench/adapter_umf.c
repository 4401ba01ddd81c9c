/* adapter_umf.c: UMF's pools of tarn's over the bare pool: what UMF calls, and what its users call,
 * in the libumf.so.1 that the environment names. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/adapters/umf/tarn_umf.h"
#include "bench/adapters.h"

/* As UMF's header declares it (umf/memory_pool_ops.h), as far as it is called here. */
struct umf_memory_pool_ops_t {
  uint32_t version;
  unsigned (*initialize)(struct umf_memory_provider_t *provider, const void *params, void **pool);
  unsigned (*finalize)(void *pool);
  void *(*malloc)(void *pool, size_t size);
  void *(*calloc)(void *pool, size_t count, size_t size);
  void *(*realloc)(void *pool, void *address, size_t size);
  void *(*aligned_malloc)(void *pool, size_t size, size_t alignment);
  unsigned (*malloc_usable_size)(void *pool, const void *address, size_t *size);
  unsigned (*free)(void *pool, void *address);
};

/* X(member, name, result, arguments) */
#define UMF_CALLS(X)                                                                              \
  X(init, umfInit, unsigned, (void))                                                              \
  X(tear_down, umfTearDown, unsigned, (void))                                                     \
  X(provider_create, umfMemoryProviderCreate, unsigned,                                           \
    (const void *ops, const void *params, struct umf_memory_provider_t **provider))               \
  X(pool_create, umfPoolCreate, unsigned,                                                         \
    (const void *ops, struct umf_memory_provider_t *provider, const void *params, uint32_t flags, \
     void **pool))                                                                                \
  X(pool_destroy, umfPoolDestroy, unsigned, (void *pool))                                         \
  X(provider_destroy, umfMemoryProviderDestroy, unsigned,                                         \
    (struct umf_memory_provider_t * provider))                                                    \
  X(malloc, umfPoolMalloc, void *, (void *pool, size_t size))                                     \
  X(free, umfPoolFree, unsigned, (void *pool, void *address))

typedef struct client {
  const struct umf_memory_pool_ops_t *ops;
  void *pool;
  size_t size_bytes;
  void *library;
  struct umf_memory_provider_t *below; /* has no memory; UMF wants one */
#define MEMBER(member, name, result, arguments) result(*member) arguments;
  UMF_CALLS(MEMBER)
#undef MEMBER
} client;

static tarn_status run_ops(void *context, uint64_t iterations) {
  const client *self = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = self->ops->malloc(self->pool, self->size_bytes);
    if (address == NULL) return TARN_OUT_OF_MEMORY;
    measure_keep(address);
    if (self->ops->free(self->pool, address) != 0) return TARN_NOT_FOUND;
  }
  return TARN_OK;
}

static tarn_status run_library(void *context, uint64_t iterations) {
  const client *self = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = self->malloc(self->pool, self->size_bytes);
    if (address == NULL) return TARN_OUT_OF_MEMORY;
    measure_keep(address);
    if (self->free(self->pool, address) != 0) return TARN_NOT_FOUND;
  }
  return TARN_OK;
}

static tarn_status check_umf(unsigned result, const char *call) {
  if (result == 0) return TARN_OK;
  return tarn_fail(TARN_SYSTEM_ERROR, "%s answers %u", call, result);
}

static tarn_status bench_ops(bench_run *bench, const adapter_bench *bare,
                             const tarn_umf_pool_params *params) {
  client use = {.ops = tarn_umf_pool_ops(0), .size_bytes = bare->size_bytes};
  tarn_status status = TARN_OK;
  if (!bench->options->list) {
    status = check_umf(use.ops->initialize(NULL, params, &use.pool), "initialize");
  }
  if (status == TARN_OK) status = adapter_measure(bench, bare, "umf", run_ops, &use);
  if (use.pool != NULL) use.ops->finalize(use.pool);
  return status;
}

static tarn_status open_library(const char *path, client *use) {
  use->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (use->library == NULL) return tarn_fail(TARN_UNAVAILABLE, "%s", dlerror());
#define LOOK(member, name, result, arguments)                                           \
  {                                                                                     \
    void *found = dlsym(use->library, #name);                                           \
    if (found == NULL) return tarn_fail(TARN_UNAVAILABLE, "%s has no %s", path, #name); \
    memcpy(&use->member, &found, sizeof found);                                         \
  }
  UMF_CALLS(LOOK)
#undef LOOK
  return check_umf(use->init(), "umfInit");
}

static tarn_status make_pool(const tarn_umf_pool_params *params, client *use) {
  tarn_status status =
      check_umf(use->provider_create(tarn_umf_provider_ops(0), /*params=*/NULL, &use->below),
                "umfMemoryProviderCreate");
  if (status == TARN_OK) {
    status = check_umf(use->pool_create(use->ops, use->below, params, /*flags=*/0, &use->pool),
                       "umfPoolCreate");
  }
  return status;
}

static tarn_status bench_library(bench_run *bench, const adapter_bench *bare,
                                 const tarn_umf_pool_params *params) {
  client use = {.ops = tarn_umf_pool_ops(0), .size_bytes = bare->size_bytes};
  const char *path = getenv("TARN_BENCH_UMF");
  const bool is_list = bench->options->list;
  if (!is_list && path == NULL) {
    if (bench_filter_fits(bench, "adapter.libumf.pair")) {
      fprintf(stderr, "adapter.libumf left out: TARN_BENCH_UMF=FILE names no libumf.so.1\n");
    }
    return TARN_OK;
  }
  tarn_status status = is_list ? TARN_OK : open_library(path, &use);
  if (status == TARN_OK && !is_list) status = make_pool(params, &use);
  if (status == TARN_OK) status = adapter_measure(bench, bare, "libumf", run_library, &use);
  if (use.pool != NULL) use.pool_destroy(use.pool);
  if (use.below != NULL) use.provider_destroy(use.below);
  if (use.tear_down != NULL) use.tear_down();
  return status;
}

tarn_status adapter_bench_umf(bench_run *bench, const adapter_bench *bare) {
  const tarn_umf_pool_params params = {
      .struct_size = sizeof params, .pool = bare->pool, .stream = bare->stream};
  tarn_status status = bench_ops(bench, bare, &params);
  if (status == TARN_OK) status = bench_library(bench, bare, &params);
  return status;
}
