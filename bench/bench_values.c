/* bench_values.c: the part of `tarn bench view` about reaching a tensor's elements. */

#include "alloc/tarn_caching_pool.h"
#include "bench/bench.h"
#include "tensor/tarn_accessor.h"
#include "tensor/tarn_element.h"
#include "tensor/tarn_linear.h"

static tarn_status run_linear(void *context, uint64_t iterations) {
  const tarn_tensor *tensor = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_linear_span span;
    tarn_status status = tarn_linear_begin(tensor, TARN_LINEAR_READ, NULL, NULL, &span);
    if (status != TARN_OK) return status;
    measure_keep(&span);
    if (!span.is_zero_copy) return bench_wrong("linear.zero_copy", "a copy was made");
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

typedef struct value_row {
  const char *name;
  measure_body body;
} value_row;

static tarn_status bench_rows(bench_run *bench, const value_row *rows, size_t count,
                              tarn_tensor *tensor) {
  for (size_t i = 0; i < count; i++) {
    if (!bench_wants(bench, rows[i].name)) continue;
    const measure_subject subjects[] = {{"tarn", rows[i].body, tensor},
                                        {"address alone", run_data, tensor}};
    const measure_options options = {.samples = 0};
    const tarn_status status = bench_measure(bench, rows[i].name, "ns", subjects, 2, &options);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status bench_linear(bench_run *bench, tarn_tensor *tensor) {
  static const value_row rows[] = {{"linear.zero_copy", run_linear},
                                   {"linear.zero_copy_rows", run_linear_rows}};
  return bench_rows(bench, rows, sizeof rows / sizeof rows[0], tensor);
}

/* --- item --- */

static tarn_status run_item(void *context, uint64_t iterations) {
  tarn_tensor one = *(const tarn_tensor *)context;
  for (int i = 0; i < 4; i++) {
    const tarn_status status = tarn_tensor_select(&one, 0, 1);
    if (status != TARN_OK) return status;
  }
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_scalar scalar;
    const tarn_status status = tarn_tensor_item(&one, NULL, &scalar);
    if (status != TARN_OK) return status;
    measure_keep(&scalar);
  }
  return TARN_OK;
}

static tarn_status run_at(void *context, uint64_t iterations) {
  const tarn_tensor *tensor = context;
  for (uint64_t i = 0; i < iterations; i++) {
    measure_keep(tensor);
    const float value = TARN_AT(tensor, const float, 1, 2, 3, 4);
    measure_keep(&value);
  }
  return TARN_OK;
}

static tarn_status bench_item(bench_run *bench, tarn_tensor *tensor) {
  static const value_row rows[] = {{"element.item", run_item}, {"element.at", run_at}};
  return bench_rows(bench, rows, sizeof rows / sizeof rows[0], tensor);
}

/* --- loops over all elements --- */

enum { LOOP_SIZE = 4096 };

typedef struct loop_run {
  tarn_tensor matrix;
  float sum;
} loop_run;

static tarn_status run_accessor_loop(void *context, uint64_t iterations) {
  loop_run *run = context;
  tarn_accessor a;
  const tarn_status status = tarn_accessor_init(&run->matrix, TARN_F32, 2, 0, &a);
  if (status != TARN_OK) return status;
  for (uint64_t n = 0; n < iterations; n++) {
    float sum = 0;
    for (int64_t i = 0; i < a.shape[0]; i++) {
      for (int64_t j = 0; j < a.shape[1]; j++) sum += TARN_ELEMENT(a, const float, i, j);
    }
    run->sum = sum;
    measure_keep(run);
  }
  return TARN_OK;
}

static tarn_status run_pointer_loop(void *context, uint64_t iterations) {
  loop_run *run = context;
  const float *data = tarn_tensor_data(&run->matrix);
  for (uint64_t n = 0; n < iterations; n++) {
    float sum = 0;
    for (int64_t i = 0; i < (int64_t)LOOP_SIZE * LOOP_SIZE; i++) sum += data[i];
    run->sum = sum;
    measure_keep(run);
  }
  return TARN_OK;
}

static tarn_status bench_loop(bench_run *bench, tarn_pool *pool) {
  static const int64_t shape[2] = {LOOP_SIZE, LOOP_SIZE};
  const char *name = "element.accessor_sum_4096";
  if (!bench_wants(bench, name)) return TARN_OK;
  loop_run run = {.sum = 0};
  tarn_status status = tarn_tensor_create(pool, TARN_F32, 2, shape, NULL, &run.matrix);
  if (status != TARN_OK) return status;
  status = tarn_tensor_fill(&run.matrix, tarn_scalar_of_float(0.5), NULL);
  const measure_subject subjects[] = {{"tarn", run_accessor_loop, &run},
                                      {"raw pointer", run_pointer_loop, &run}};
  const measure_options options = {.samples = 7,
                                   .bytes = (size_t)LOOP_SIZE * LOOP_SIZE * sizeof(float)};
  if (status == TARN_OK) status = bench_measure(bench, name, "GB/s", subjects, 2, &options);
  /* Halves are exact in a float as long as the sum is below 2^23. */
  if (status == TARN_OK && run.sum != 0.5f * LOOP_SIZE * LOOP_SIZE) {
    status = bench_wrong(name, "the sum");
  }
  tarn_tensor_release(&run.matrix);
  return status;
}

tarn_status bench_values(bench_run *bench) {
  static const int64_t shape[4] = {4, 6, 8, 10};
  tarn_pool *pool = NULL;
  tarn_tensor tensor = {.storage = NULL};
  tarn_status status = TARN_OK;
  if (!bench->options->list) {
    status = tarn_caching_pool_create(bench_host_memory(bench), NULL, &pool);
    if (status == TARN_OK) status = tarn_tensor_create(pool, TARN_F32, 4, shape, NULL, &tensor);
    if (status == TARN_OK) status = tarn_tensor_fill_zero(&tensor, NULL);
  }
  if (status == TARN_OK) status = bench_linear(bench, &tensor);
  if (status == TARN_OK) status = bench_item(bench, &tensor);
  if (status == TARN_OK) status = bench_loop(bench, pool);
  tarn_tensor_release(&tensor);
  tarn_pool_release(pool);
  return status;
}
