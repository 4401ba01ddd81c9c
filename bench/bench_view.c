/* bench_view.c: `tarn bench view`: what a view of a tensor value costs. Ranks and dimensions are
 * constants, as programs write them. */

#include "alloc/tarn_caching_pool.h"
#include "bench/bench.h"
#include "tensor/tarn_tensor.h"

/* All views are of one float32 tensor of this shape. */
static const int64_t base_shape[4] = {4, 6, 8, 10};

/* Makes the view of `tensor` in place. */
typedef tarn_status (*view_function)(tarn_tensor *tensor);

static tarn_status view_select(tarn_tensor *tensor) {
  return tarn_tensor_select(tensor, 1, 3);
}

static tarn_status view_slice(tarn_tensor *tensor) {
  return tarn_tensor_slice(tensor, 2, 1, 7, 2);
}

static tarn_status view_narrow(tarn_tensor *tensor) {
  return tarn_tensor_narrow(tensor, 3, 2, 5);
}

static tarn_status view_transpose(tarn_tensor *tensor) {
  return tarn_tensor_transpose(tensor, 1, 3);
}

static tarn_status view_permute(tarn_tensor *tensor) {
  static const int32_t dims[4] = {0, 2, 3, 1};
  return tarn_tensor_permute(tensor, 4, dims);
}

static tarn_status view_view(tarn_tensor *tensor) {
  static const int64_t shape[3] = {24, 8, 10};
  return tarn_tensor_view(tensor, 3, shape);
}

static tarn_status view_expand(tarn_tensor *tensor) {
  static const int64_t shape[5] = {3, 4, 6, 8, 10};
  return tarn_tensor_expand(tensor, 5, shape);
}

static tarn_status view_unsqueeze(tarn_tensor *tensor) {
  return tarn_tensor_unsqueeze(tensor, 2);
}

static tarn_status view_as_strided(tarn_tensor *tensor) {
  static const int64_t shape[2] = {5, 7};
  static const int64_t strides[2] = {11, 3};
  return tarn_tensor_as_strided(tensor, 2, shape, strides, 4);
}

static tarn_status view_inferred(tarn_tensor *tensor) {
  static const int64_t shape[2] = {-1, 80};
  return tarn_tensor_view(tensor, 2, shape);
}

static tarn_status view_flip(tarn_tensor *tensor) {
  static const int32_t dims[2] = {1, 3};
  return tarn_tensor_flip(tensor, 2, dims);
}

static tarn_status view_unfold(tarn_tensor *tensor) {
  return tarn_tensor_unfold(tensor, 3, 4, 3);
}

static tarn_status view_diagonal(tarn_tensor *tensor) {
  return tarn_tensor_diagonal(tensor, 1, 1, 3);
}

static tarn_status view_as_dtype(tarn_tensor *tensor) {
  return tarn_tensor_view_as_dtype(tensor, TARN_F16);
}

static tarn_status view_chain(tarn_tensor *tensor) {
  tarn_status status = tarn_tensor_narrow(tensor, 3, 2, 5);
  if (status == TARN_OK) status = tarn_tensor_transpose(tensor, 1, 3);
  if (status == TARN_OK) status = tarn_tensor_unsqueeze(tensor, 0);
  return status;
}

/* A view and, by hand, what comes out of it. */
typedef struct view_case {
  const char *name;
  view_function make;
  int32_t rank;
  int64_t offset;
  int64_t shape[5];
  int64_t strides[5];
} view_case;

static const view_case view_cases[] = {
    {"view.select", view_select, 3, 240, {4, 8, 10}, {480, 10, 1}},
    {"view.slice", view_slice, 4, 10, {4, 6, 3, 10}, {480, 80, 20, 1}},
    {"view.narrow", view_narrow, 4, 2, {4, 6, 8, 5}, {480, 80, 10, 1}},
    {"view.transpose", view_transpose, 4, 0, {4, 10, 8, 6}, {480, 1, 10, 80}},
    {"view.permute", view_permute, 4, 0, {4, 8, 10, 6}, {480, 10, 1, 80}},
    {"view.view", view_view, 3, 0, {24, 8, 10}, {80, 10, 1}},
    {"view.expand", view_expand, 5, 0, {3, 4, 6, 8, 10}, {0, 480, 80, 10, 1}},
    {"view.unsqueeze", view_unsqueeze, 5, 0, {4, 6, 1, 8, 10}, {480, 80, 80, 10, 1}},
    {"view.as_strided", view_as_strided, 2, 4, {5, 7}, {11, 3}},
    {"view.view_inferred", view_inferred, 2, 0, {24, 80}, {80, 1}},
    {"view.flip", view_flip, 4, 409, {4, 6, 8, 10}, {480, -80, 10, -1}},
    {"view.unfold", view_unfold, 5, 0, {4, 6, 8, 3, 4}, {480, 80, 10, 3, 1}},
    {"view.diagonal", view_diagonal, 3, 1, {4, 8, 6}, {480, 10, 81}},
    {"view.as_dtype", view_as_dtype, 4, 0, {4, 6, 8, 20}, {960, 160, 20, 1}},
    {"view.narrow_transpose_unsqueeze", view_chain, 5, 2, {1, 4, 5, 8, 6}, {0, 480, 1, 10, 80}},
};

static tarn_status check_view(const view_case *row, const tarn_tensor *base) {
  tarn_tensor tensor = *base;
  const tarn_status status = row->make(&tensor);
  if (status != TARN_OK) return status;
  const tarn_layout *layout = &tensor.layout;
  if (layout->rank != row->rank) return bench_wrong(row->name, "the rank");
  if (layout->offset != row->offset) return bench_wrong(row->name, "the offset");
  for (int32_t i = 0; i < row->rank; i++) {
    if (layout->shape[i] != row->shape[i]) return bench_wrong(row->name, "the shape");
    /* The stride of a dimension of size 1 means nothing. */
    if (row->shape[i] != 1 && layout->strides[i] != row->strides[i]) {
      return bench_wrong(row->name, "the strides");
    }
  }
  return TARN_OK;
}

typedef struct view_run {
  tarn_tensor base;
  view_function make;
} view_run;

static tarn_status run_view(void *context, uint64_t iterations) {
  const view_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_tensor tensor = run->base;
    measure_keep(&tensor); /* the layout is not to be known beforehand */
    const tarn_status status = run->make(&tensor);
    if (status != TARN_OK) return status;
    measure_keep(&tensor);
  }
  return TARN_OK;
}

static tarn_status run_struct_copy(void *context, uint64_t iterations) {
  const view_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_tensor tensor = run->base;
    measure_keep(&tensor);
  }
  return TARN_OK;
}

static tarn_status bench_views(bench_run *bench, const tarn_tensor *base) {
  for (size_t i = 0; i < sizeof view_cases / sizeof view_cases[0]; i++) {
    const view_case *row = &view_cases[i];
    if (!bench_wants(bench, row->name)) continue;
    tarn_status status = check_view(row, base);
    if (status != TARN_OK) return status;
    view_run run = {*base, row->make};
    const measure_subject subjects[] = {{"tarn", run_view, &run},
                                        {"copy of the value", run_struct_copy, &run}};
    const measure_options options = {.samples = 0};
    status = bench_measure(bench, row->name, "ns", subjects, 2, &options);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

/* --- owners: what touches a reference count or a deleter --- */

typedef struct wrap_run {
  float values[64];
  uint64_t wrap_count;
  uint64_t deleter_count;
  bool with_deleter;
} wrap_run;

static void count_deletion(void *context) {
  wrap_run *run = context;
  run->deleter_count++;
}

static tarn_status run_wrap(void *context, uint64_t iterations) {
  wrap_run *run = context;
  static const int64_t shape[2] = {8, 8};
  for (uint64_t i = 0; i < iterations; i++) {
    const tarn_blob blob = {
        .struct_size = sizeof blob,
        .address = run->values,
        .size_bytes = sizeof run->values,
        .deleter = run->with_deleter ? count_deletion : NULL,
        .context = run,
    };
    tarn_tensor tensor;
    const tarn_status status = tarn_tensor_wrap(&blob, TARN_F32, 2, shape, NULL, 0, &tensor);
    if (status != TARN_OK) return status;
    measure_keep(&tensor);
    tarn_tensor_release(&tensor);
  }
  run->wrap_count += iterations;
  return TARN_OK;
}

static tarn_status bench_wraps(bench_run *bench, const tarn_tensor *base) {
  static const char *const names[] = {"view.wrap", "view.wrap_with_deleter"};
  for (int i = 0; i < 2; i++) {
    if (!bench_wants(bench, names[i])) continue;
    wrap_run run = {.with_deleter = i == 1};
    view_run copy = {*base, NULL};
    const measure_subject subjects[] = {{"tarn", run_wrap, &run},
                                        {"copy of the value", run_struct_copy, &copy}};
    const measure_options options = {.samples = 0};
    const tarn_status status = bench_measure(bench, names[i], "ns", subjects, 2, &options);
    if (status != TARN_OK) return status;
    if (run.deleter_count != (run.with_deleter ? run.wrap_count : 0)) {
      return bench_wrong(names[i], "the deleter did not run once per blob");
    }
  }
  return TARN_OK;
}

static tarn_status run_retain(void *context, uint64_t iterations) {
  const view_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_tensor tensor = run->base;
    tarn_tensor_retain(&tensor);
    measure_keep(&tensor);
    tarn_tensor_release(&tensor);
  }
  return TARN_OK;
}

static tarn_status bench_retain(bench_run *bench, const tarn_tensor *base) {
  const char *name = "view.retain_release";
  if (!bench_wants(bench, name)) return TARN_OK;
  view_run run = {*base, NULL};
  const measure_subject subjects[] = {{"tarn", run_retain, &run},
                                      {"copy of the value", run_struct_copy, &run}};
  const measure_options options = {.samples = 0};
  const tarn_status status = bench_measure(bench, name, "ns", subjects, 2, &options);
  if (status == TARN_OK && tarn_storage_use_count(base->storage) != 1) {
    return bench_wrong(name, "the storage's use count is not what it was");
  }
  return status;
}

tarn_status bench_view(bench_run *bench) {
  tarn_pool *pool = NULL;
  tarn_tensor base = {.storage = NULL};
  tarn_status status = TARN_OK;
  if (!bench->options->list) {
    status = tarn_caching_pool_create(bench_host_memory(bench), NULL, &pool);
    if (status == TARN_OK) {
      status = tarn_tensor_create(pool, TARN_F32, 4, base_shape, NULL, &base);
    }
  }
  if (status == TARN_OK) status = bench_views(bench, &base);
  if (status == TARN_OK) status = bench_wraps(bench, &base);
  if (status == TARN_OK) status = bench_retain(bench, &base);
  if (status == TARN_OK) status = bench_dlpack(bench, &base);
  tarn_tensor_release(&base);
  tarn_pool_release(pool);
  return status == TARN_OK ? bench_values(bench) : status;
}
