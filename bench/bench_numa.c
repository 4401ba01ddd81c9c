/* bench_numa.c: `tarn bench alloc`: the jemalloc pool of a node against jemalloc itself. */
#include <stdio.h>

#include "bench/bench.h"
#include "bench/jemalloc_baseline.h"
#include "numa/tarn_node_pool.h"

typedef struct numa_run {
  tarn_pool *pool; /* of tarn's run alone */
  size_t size_bytes;
} numa_run;

static tarn_status run_pool_pairs(void *context, uint64_t iterations) {
  const numa_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = NULL;
    tarn_status status = tarn_pool_alloc(run->pool, run->size_bytes, NULL, &address);
    measure_keep(address);
    if (status == TARN_OK) status = tarn_pool_free(run->pool, address, NULL);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status run_sized_pairs(void *context, uint64_t iterations) {
  const numa_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = jemalloc_baseline_sized_malloc(run->size_bytes);
    if (address == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "jemalloc gives no memory");
    measure_keep(address);
    jemalloc_baseline_sized_free(address, run->size_bytes);
  }
  return TARN_OK;
}

static tarn_status run_malloc_pairs(void *context, uint64_t iterations) {
  const numa_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = jemalloc_baseline_malloc(run->size_bytes);
    if (address == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "jemalloc gives no memory");
    measure_keep(address);
    jemalloc_baseline_free(address);
  }
  return TARN_OK;
}

static tarn_status bench_pairs(bench_run *bench, tarn_pool *pool) {
  static const size_t sizes[] = {64, 1 << 10, 32 << 10, 64 << 10, 1 << 20, 16 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char name[64];
    snprintf(name, sizeof name, "numa.pair.%s", bench_size_name(sizes[i]).text);
    if (!bench_wants(bench, name)) continue;
    numa_run run = {pool, sizes[i]};
    const measure_subject subjects[] = {{"tarn", run_pool_pairs, &run},
                                        {"mallocx", run_sized_pairs, &run},
                                        {"jemalloc", run_malloc_pairs, &run}};
    const measure_options options = {.samples = 0};
    const int count = jemalloc_baseline_exists() ? 3 : 1;
    tarn_status status = bench_measure(bench, name, "ns", subjects, count, &options);
    if (status == TARN_OK) status = bench_check_nothing_left(name, pool);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

/* On the node that --on names, or on the machine's first. */
static tarn_status make_pool(const bench_run *bench, tarn_pool **pool) {
  tarn_topology *topology = NULL;
  tarn_node_info info = {.struct_size = sizeof info};
  tarn_status status = tarn_topology_create(NULL, &topology);
  if (status == TARN_OK) status = tarn_topology_node(topology, 0, &info);
  const tarn_node_pool_options options = {
      .struct_size = sizeof options,
      .node = bench->where.kind == WHERE_NODE ? bench->where.index : info.node};
  if (status == TARN_OK) status = tarn_node_pool_create(topology, &options, pool);
  tarn_topology_release(topology);
  return status;
}

tarn_status bench_numa(bench_run *bench) {
  if (!where_is_host(&bench->where)) return TARN_OK;
  tarn_pool *pool = NULL;
  tarn_status status = bench->options->list ? TARN_OK : make_pool(bench, &pool);
  if (status == TARN_OK) status = bench_pairs(bench, pool);
  tarn_pool_release(pool);
  return status;
}
