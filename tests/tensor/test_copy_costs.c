/* test_copy_costs.c: the table of costs, and which way it makes copies go. */
#include "tests/support/test.h"

#include <string.h>

#include "alloc/tarn_stream_copy.h"
#include "tensor/tarn_copy_costs.h"

static const tarn_device pageable = {TARN_DEVICE_CPU, 0};
static const tarn_device pinned = {TARN_DEVICE_CUDA_HOST, 0};
static const tarn_device device = {TARN_DEVICE_CUDA, 0};

enum {
  ALL = TARN_STREAM_COPIES_PLANES | TARN_STREAM_COPIES_BATCHES | TARN_STREAM_COPIES_GRIDS,
  RING = TARN_STREAM_COPIES_BY_RING,
};

/* A tensor that is nowhere. */
static tarn_tensor shaped(tarn_dtype dtype, int32_t rank, const int64_t *shape) {
  tarn_tensor tensor = {.dtype = dtype};
  assert_ok(tarn_layout_init(&tensor.layout, rank, shape));
  return tensor;
}

static tarn_tensor square(tarn_dtype dtype, int64_t edge) {
  return shaped(dtype, 2, (int64_t[]){edge, edge});
}

static tarn_copy_choice chosen(const tarn_tensor *dst, tarn_device to, const tarn_tensor *src,
                               tarn_device from, uint32_t abilities) {
  tarn_copy_choice choice = {.struct_size = sizeof choice};
  assert_ok(tarn_copy_choose(dst, to, src, from, abilities, &choice));
  return choice;
}

TEST(a_cost_is_what_is_built_in_until_it_is_set) {
  for (int i = 0; i < TARN_COPY_COSTS; i++) {
    const tarn_copy_cost cost = (tarn_copy_cost)i;
    const uint64_t built_in = tarn_copy_cost_get(cost);
    assert_true(built_in > 0);
    assert_true(strlen(tarn_copy_cost_name(cost)) > 1 && strlen(tarn_copy_cost_text(cost)) > 1);
    /* Nothing here was measured on a device yet, and must not be told as if it were. */
    assert_non_null(strstr(tarn_copy_cost_origin(cost), "guess"));
    assert_ok(tarn_copy_cost_set(cost, 77));
    assert_int_equal(tarn_copy_cost_get(cost), 77);
    assert_string_equal(tarn_copy_cost_origin(cost), "set");
    assert_ok(tarn_copy_cost_set(cost, 0));
    assert_int_equal(tarn_copy_cost_get(cost), built_in);
  }
  assert_status(tarn_copy_cost_set(TARN_COPY_COSTS, 1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_copy_cost_set(TARN_COPY_COST_ROW, UINT64_MAX), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_copy_cost_get(TARN_COPY_COSTS), 0);
  assert_string_equal(tarn_copy_cost_name(TARN_COPY_COSTS), "?");
  assert_string_equal(tarn_copy_cost_unit(TARN_COPY_COSTS), "?");
  assert_string_equal(tarn_copy_way_name(TARN_COPY_BY_RING), "ring");
  assert_string_equal(tarn_copy_way_name((tarn_copy_way)TARN_COPY_WAYS), "?");
}

TEST(a_transpose_on_the_device_is_the_kernels) {
  tarn_tensor dst = square(TARN_F32, 1024), src = square(TARN_F32, 1024);
  assert_ok(tarn_tensor_transpose(&src, 0, 1));
  tarn_copy_choice choice = chosen(&dst, device, &src, device, ALL);
  assert_int_equal(choice.way, TARN_COPY_BY_KERNEL);
  assert_int_equal(choice.call_count, 1024);
  assert_int_equal(choice.run_count, 1024 * 1024);
  assert_int_equal(choice.estimates_ns[TARN_COPY_BY_RING], UINT64_MAX);
  choice = chosen(&dst, device, &src, device, 0);
  assert_int_equal(choice.way, TARN_COPY_BY_STAGING);
  assert_int_equal(choice.estimates_ns[TARN_COPY_BY_KERNEL], UINT64_MAX);
  assert_int_equal(choice.estimates_ns[TARN_COPY_BY_BATCH], UINT64_MAX);
}

TEST(what_lies_in_order_is_copied_by_the_driver) {
  const tarn_tensor dst = square(TARN_F32, 1024);
  tarn_tensor src = shaped(TARN_F32, 2, (int64_t[]){1024, 2048});
  const tarn_device sides[] = {pinned, device};
  for (size_t i = 0; i < COUNT_OF(sides); i++) {
    assert_int_equal(chosen(&dst, device, &dst, sides[i], ALL | RING).way, TARN_COPY_BY_ROWS);
  }
  assert_ok(tarn_tensor_narrow(&src, 1, 0, 1024)); /* rows of 4 KiB */
  assert_int_equal(chosen(&dst, device, &src, pinned, ALL | RING).way, TARN_COPY_BY_ROWS);
  assert_int_equal(chosen(&dst, device, &src, pinned, ALL | RING).call_count, 1);
}

TEST(a_few_long_runs_in_no_order_are_a_batch) {
  /* Blocks of 32 KiB, the three dimensions of which are turned round. */
  tarn_tensor dst = shaped(TARN_F32, 4, (int64_t[]){6, 7, 8, 8192}), src = dst;
  static const int32_t dims[] = {2, 1, 0, 3};
  src = shaped(TARN_F32, 4, (int64_t[]){8, 7, 6, 8192});
  assert_ok(tarn_tensor_permute(&src, 4, dims));
  const uint32_t no_kernels = TARN_STREAM_COPIES_BATCHES;
  tarn_copy_choice choice = chosen(&dst, pinned, &src, device, no_kernels);
  assert_int_equal(choice.run_count, 336);
  assert_int_equal(choice.call_count, 42);
  assert_int_equal(choice.way, TARN_COPY_BY_ROWS); /* their bytes take longer than the calls */
  assert_ok(tarn_copy_cost_set(TARN_COPY_COST_ROW_CALL, 40000));
  choice = chosen(&dst, pinned, &src, device, no_kernels);
  assert_int_equal(choice.way, TARN_COPY_BY_BATCH);
  assert_ok(tarn_copy_cost_set(TARN_COPY_COST_ROW_CALL, 0));
}

TEST(pageable_memory_takes_the_ring_or_is_staged) {
  tarn_tensor dst = square(TARN_F32, 256), src = square(TARN_F32, 256);
  assert_int_equal(chosen(&dst, device, &src, pageable, ALL | RING).way, TARN_COPY_BY_RING);
  assert_int_equal(chosen(&dst, device, &src, pageable, ALL).way, TARN_COPY_BY_ROWS);
  assert_ok(tarn_tensor_transpose(&src, 0, 1));
  const tarn_copy_choice choice = chosen(&dst, device, &src, pageable, ALL);
  assert_int_equal(choice.way, TARN_COPY_BY_STAGING);
  assert_int_equal(choice.estimates_ns[TARN_COPY_BY_KERNEL], UINT64_MAX); /* does not reach it */
  assert_int_equal(choice.estimates_ns[TARN_COPY_BY_BATCH], UINT64_MAX);
}

TEST(conversions_are_the_kernels_or_the_cpus) {
  const tarn_tensor dst = square(TARN_F16, 256), src = square(TARN_F32, 256);
  tarn_copy_choice choice = chosen(&dst, device, &src, device, ALL);
  assert_int_equal(choice.way, TARN_COPY_BY_KERNEL);
  assert_int_equal(choice.estimates_ns[TARN_COPY_BY_ROWS], UINT64_MAX);
  assert_int_equal(choice.estimates_ns[TARN_COPY_BY_BATCH], UINT64_MAX);
  choice = chosen(&dst, device, &src, pinned, RING);
  assert_int_equal(choice.way, TARN_COPY_BY_RING);
}

/* A kernel fetches whole sectors of host memory: with one element wanted of each, the bus carries
 * many times the bytes. */
TEST(scattered_host_memory_costs_a_kernel_whole_sectors) {
  const tarn_tensor dst = square(TARN_U8, 1024);
  tarn_tensor dense = square(TARN_U8, 1024);
  tarn_tensor sparse = shaped(TARN_U8, 2, (int64_t[]){1024, 64 << 10});
  assert_ok(tarn_tensor_transpose(&dense, 0, 1));
  assert_ok(tarn_tensor_slice(&sparse, 1, TARN_SLICE_OPEN, TARN_SLICE_OPEN, 64));
  const uint64_t few = chosen(&dst, device, &dense, pinned, ALL).estimates_ns[TARN_COPY_BY_KERNEL];
  const uint64_t many =
      chosen(&dst, device, &sparse, pinned, ALL).estimates_ns[TARN_COPY_BY_KERNEL];
  const uint64_t start = tarn_copy_cost_get(TARN_COPY_COST_KERNEL_CALL);
  assert_in_range((many - start) / (few - start), 31, 33);
}

TEST(more_dimensions_than_a_grid_has_are_not_for_it) {
  int64_t shape[10];
  int32_t dims[10];
  for (int32_t d = 0; d < 10; d++) {
    shape[d] = 2;
    dims[d] = 9 - d;
  }
  const tarn_tensor dst = shaped(TARN_F32, 10, shape);
  tarn_tensor src = dst;
  assert_ok(tarn_tensor_permute(&src, 10, dims));
  assert_int_equal(chosen(&dst, device, &src, device, ALL).estimates_ns[TARN_COPY_BY_KERNEL],
                   UINT64_MAX);
}

TEST(questions_without_an_answer_are_refused) {
  const tarn_tensor a = square(TARN_F32, 4), b = square(TARN_F32, 5);
  const tarn_tensor complex_one = square(TARN_C64, 4);
  const tarn_tensor none = shaped(TARN_F32, 1, (int64_t[]){0});
  tarn_copy_choice choice = {.struct_size = sizeof choice};
  assert_status(tarn_copy_choose(&a, pageable, &a, pinned, 0, &choice), TARN_INVALID_ARGUMENT);
  assert_status(tarn_copy_choose(NULL, device, &a, pinned, 0, &choice), TARN_INVALID_ARGUMENT);
  assert_status(tarn_copy_choose(&a, device, &b, pinned, 0, &choice), TARN_INVALID_ARGUMENT);
  assert_status(tarn_copy_choose(&a, device, &complex_one, pinned, 0, &choice), TARN_NOT_SUPPORTED);
  assert_status(tarn_copy_choose(&a, device, &a, pinned, 0, NULL), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_copy_choose(&none, device, &none, pinned, 0, &choice));
  assert_int_equal(choice.run_count, 0);
  choice.struct_size = 1;
  assert_status(tarn_copy_choose(&a, device, &a, pinned, 0, &choice), TARN_INVALID_ARGUMENT);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
