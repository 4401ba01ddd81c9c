/* bench_values.c: the part of `tarn bench view` about reaching a tensor's elements. */
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "bench/bench.h"
#include "tensor/tarn_linear.h"

static tarn_status run_linear(void *context, uint64_t iterations) {
  const tarn_tensor *tensor = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_linear_span span;
    tarn_status status = tarn_linear_begin(tensor, TARN_LINEAR_READ, NULL, NULL, &span);
    if (status != TARN_OK) return status;
    measure_keep(&span);
    if (!span.is_zero_copy) return bench_wrong("view.linear_zero_copy", "a copy was made");
    status = tarn_linear_end(&span, NULL);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status run_linear_rows(void *context, uint64_t iterations) {
  const tarn_tensor *tensor = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_linear_span span;
    tarn_status status = tarn_linear_begin_rows(tensor, 1, 2, TARN_LINEAR_READ, NULL, NULL, &span);
    if (status != TARN_OK) return status;
    measure_keep(&span);
    status = tarn_linear_end(&span, NULL);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status run_data(void *context, uint64_t iterations) {
  const tarn_tensor *tensor = context;
  for (uint64_t i = 0; i < iterations; i++) measure_keep(tarn_tensor_data(tensor));
  return TARN_OK;
}

static tarn_status bench_linear(bench_run *bench, tarn_tensor *tensor) {
  static const struct {
    const char *name;
    measure_body body;
  } rows[] = {{"view.linear_zero_copy", run_linear},
              {"view.linear_zero_copy_rows", run_linear_rows}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (!bench_wants(bench, rows[i].name)) continue;
    const measure_subject subjects[] = {{"tarn", rows[i].body, tensor},
                                        {"address alone", run_data, tensor}};
    const measure_options options = {.samples = 0};
    const tarn_status status = bench_measure(bench, rows[i].name, "ns", subjects, 2, &options);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status bench_values(bench_run *bench) {
  static const int64_t shape[4] = {4, 6, 8, 10};
  tarn_pool *pool = NULL;
  tarn_tensor tensor = {.storage = NULL};
  tarn_status status = TARN_OK;
  if (!bench->options->list) {
    status = tarn_caching_pool_create(bench_host_memory(bench), NULL, &pool);
    if (status == TARN_OK) status = tarn_tensor_create(pool, TARN_F32, 4, shape, NULL, &tensor);
  }
  if (status == TARN_OK) status = bench_linear(bench, &tensor);
  tarn_tensor_release(&tensor);
  tarn_pool_release(pool);
  return status;
}
