/* bench_adapter.c: what each adapter costs over the bare pool that it stands on. */
#include <stdio.h>

#include "alloc/tarn_caching_pool.h"
#include "bench/adapters.h"

/* Each adapter has a file adapter_<client>.c, and a row here. */
static const struct {
  tarn_status (*run)(bench_run *bench, const adapter_bench *adapter);
} adapter_rows[] = {
    {adapter_bench_control}, {adapter_bench_callbacks}, {adapter_bench_umf},
    {adapter_bench_ort},     {adapter_bench_torch},     {adapter_bench_pools},
};

static tarn_status run_bare_pairs(void *context, uint64_t iterations) {
  const adapter_bench *bare = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address;
    tarn_status status = tarn_pool_alloc(bare->pool, bare->size_bytes, bare->stream, &address);
    if (status != TARN_OK) return status;
    measure_keep(address);
    status = tarn_pool_free(bare->pool, address, bare->stream);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status adapter_measure(bench_run *bench, const adapter_bench *bare, const char *client,
                            measure_body body, void *context) {
  char name[64];
  snprintf(name, sizeof name, "adapter.%s.pair.%s", client, bench_size_name(bare->size_bytes).text);
  if (!bench_wants(bench, name)) return TARN_OK;
  adapter_bench use = *bare;
  const measure_subject subjects[] = {{client, body, context}, {"bare pool", run_bare_pairs, &use}};
  const measure_options options = {.samples = 0};
  tarn_status status = bench_measure(bench, name, "ns", subjects, 2, &options);
  if (status == TARN_OK) status = bench_check_nothing_left(name, bare->pool);
  return status;
}

/* The bare pool beside itself: how far two equal figures are apart on this machine. */
tarn_status adapter_bench_control(bench_run *bench, const adapter_bench *adapter) {
  adapter_bench use = *adapter;
  return adapter_measure(bench, adapter, "none", run_bare_pairs, &use);
}

tarn_status bench_adapter(bench_run *bench) {
  adapter_bench adapter = {.size_bytes = 1 << 10};
  tarn_status status = TARN_OK;
  if (!bench->options->list) {
    status = tarn_caching_pool_create(bench->where.provider, NULL, &adapter.pool);
    if (status == TARN_OK && bench->where.cuda != NULL) {
      status = where_stream_create(&bench->where, &adapter.stream);
    }
  }
  for (size_t i = 0; status == TARN_OK && i < sizeof adapter_rows / sizeof adapter_rows[0]; i++) {
    status = adapter_rows[i].run(bench, &adapter);
  }
  tarn_stream_release(adapter.stream);
  tarn_pool_release(adapter.pool);
  return status;
}
