/* test_copy_plan.c: tests of tensor/copy_plan.c and of tensor/copy_host.c, which runs the plans. */

#include "tensor/copy_host.h"
#include "tests/support/test.h"
#include "tests/tensor/layout_model.h"

static tarn__copy_plan plan_of(tarn_layout dst, tarn_layout src, size_t element_bytes) {
  tarn__copy_plan plan;
  tarn__copy_plan_make(&dst, &src, element_bytes, element_bytes, &plan);
  return plan;
}

TEST(equal_packed_layouts_are_one_run) {
  tarn__copy_plan plan = plan_of(ROW_MAJOR(4, 1, 6, 8), ROW_MAJOR(4, 1, 6, 8), 4);
  assert_int_equal(plan.kind, TARN__COPY_MEMCPY);
  assert_int_equal(plan.unit_bytes, 4 * 6 * 8 * 4);
  assert_int_equal(plan.run_count, 1);
  /* In another order than row-major, as long as it is the same on both sides. */
  tarn_layout turned = ROW_MAJOR(4, 6, 8);
  assert_int_equal(tarn_layout_permute(&turned, 3, (int32_t[]){2, 0, 1}), TARN_OK);
  assert_int_equal(plan_of(turned, turned, 2).kind, TARN__COPY_MEMCPY);
}

TEST(columns_of_a_matrix_are_rows) {
  tarn_layout src = ROW_MAJOR(10, 32);
  assert_int_equal(tarn_layout_narrow(&src, 1, 8, 16), TARN_OK);
  tarn__copy_plan plan = plan_of(ROW_MAJOR(10, 16), src, 4);
  assert_int_equal(plan.kind, TARN__COPY_ROWS);
  assert_int_equal(plan.rank, 1);
  assert_int_equal(plan.unit_bytes, 64);
  assert_int_equal(plan.shape[0], 10);
  assert_int_equal(plan.dst_strides[0], 64);
  assert_int_equal(plan.src_strides[0], 128);
  assert_int_equal(plan.src_offset, 32);
  assert_int_equal(tarn__copy_plan_call_count(&plan), 1);
}

TEST(a_channel_of_images_needs_a_call_per_image) {
  tarn_layout src = ROW_MAJOR(8, 3, 20, 20);
  assert_int_equal(tarn_layout_narrow(&src, 3, 5, 10), TARN_OK);
  tarn__copy_plan plan = plan_of(ROW_MAJOR(8, 3, 20, 10), src, 1);
  assert_int_equal(plan.kind, TARN__COPY_ROWS); /* batches, channels and rows are all 20 apart */
  assert_int_equal(plan.run_count, 480);
  assert_int_equal(tarn_layout_select(&src, 1, 1), TARN_OK);
  plan = plan_of(ROW_MAJOR(8, 20, 10), src, 1);
  assert_int_equal(plan.kind, TARN__COPY_STRIDED);
  assert_int_equal(plan.rank, 2);
  assert_int_equal(plan.unit_bytes, 10);
  assert_int_equal(tarn__copy_plan_row_dim(&plan), 1);
  assert_int_equal(tarn__copy_plan_call_count(&plan), 8);
}

TEST(planes_of_rows_take_one_call) {
  tarn_layout dst, src;
  int32_t row, plane;
  /* Four planes of six rows, each with room behind it on one side or the other. */
  assert_int_equal(tarn_layout_init(&dst, 3, (int64_t[]){4, 6, 12}), TARN_OK);
  assert_int_equal(tarn_layout_narrow(&dst, 2, 0, 10), TARN_OK);
  assert_int_equal(tarn_layout_init(&src, 3, (int64_t[]){4, 8, 10}), TARN_OK);
  assert_int_equal(tarn_layout_narrow(&src, 1, 2, 6), TARN_OK);
  tarn__copy_plan plan = plan_of(dst, src, 1);
  assert_int_equal(tarn__copy_plan_call_count(&plan), 4);
  assert_int_equal(tarn__copy_plan_box(&plan, &row, &plane), 1);
  assert_int_equal(plan.shape[row], 6);
  assert_int_equal(plan.shape[plane], 4);
  /* More planes than rows: those are still the rows. */
  assert_int_equal(tarn_layout_narrow(&dst, 1, 0, 3), TARN_OK);
  assert_int_equal(tarn_layout_narrow(&src, 1, 0, 3), TARN_OK);
  plan = plan_of(dst, src, 1);
  assert_int_equal(tarn__copy_plan_call_count(&plan), 3);
  assert_int_equal(tarn__copy_plan_box(&plan, &row, &plane), 1);
  assert_int_equal(plan.shape[row], 3);
  /* A plane's pitch that is no whole number of rows: one call for each plane or row. */
  src.strides[0] += 1;
  plan = plan_of(dst, src, 1);
  assert_int_equal(tarn__copy_plan_box(&plan, &row, &plane), 3);
  assert_int_equal(plane, -1);
  assert_int_equal(row, tarn__copy_plan_row_dim(&plan));
}

TEST(what_is_flipped_on_both_sides_is_flipped_on_none) {
  tarn_layout flipped = ROW_MAJOR(6, 5);
  assert_int_equal(tarn_layout_slice(&flipped, 0, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1), TARN_OK);
  tarn__copy_plan plan = plan_of(flipped, flipped, 8);
  assert_int_equal(plan.kind, TARN__COPY_MEMCPY);
  assert_int_equal(plan.dst_offset, 0);
  plan = plan_of(flipped, ROW_MAJOR(6, 5), 8);
  assert_int_equal(plan.kind, TARN__COPY_STRIDED); /* rows, but their pitch is negative */
  assert_int_equal(plan.dst_strides[0], 40);
  assert_int_equal(plan.src_strides[0], -40);
  assert_int_equal(plan.src_offset, 200);
  assert_int_equal(tarn__copy_plan_call_count(&plan), 6);
}

TEST(a_transpose_stays_two_dimensions) {
  tarn_layout src = ROW_MAJOR(7, 9);
  assert_int_equal(tarn_layout_transpose(&src, 0, 1), TARN_OK);
  tarn__copy_plan plan = plan_of(ROW_MAJOR(9, 7), src, 4);
  assert_int_equal(plan.kind, TARN__COPY_STRIDED);
  assert_int_equal(plan.rank, 2);
  assert_int_equal(plan.unit_bytes, 4);
  assert_int_equal(plan.run_count, 63);
  assert_int_equal(tarn__copy_plan_call_count(&plan), 7); /* columns of 9 elements each */
}

TEST(a_broadcast_source_has_stride_zero) {
  tarn_layout src = ROW_MAJOR(1, 5);
  assert_int_equal(tarn_layout_expand(&src, 3, (int64_t[]){4, 3, 5}), TARN_OK);
  tarn__copy_plan plan = plan_of(ROW_MAJOR(4, 3, 5), src, 4);
  assert_int_equal(plan.kind, TARN__COPY_STRIDED);
  assert_int_equal(plan.rank, 1); /* both broadcast dimensions became one */
  assert_int_equal(plan.shape[0], 12);
  assert_int_equal(plan.src_strides[0], 0);
  assert_int_equal(tarn__copy_plan_call_count(&plan), 12);
}

TEST(no_elements_are_no_copy) {
  tarn__copy_plan plan = plan_of(ROW_MAJOR(4, 0), ROW_MAJOR(4, 0), 4);
  assert_int_equal(plan.kind, TARN__COPY_NONE);
  assert_int_equal(plan.run_count, 0);
}

/* No two dimensions of a plan could be one, or be part of the run. */
static void check_reduced(const tarn__copy_plan *plan) {
  for (int32_t a = 0; a < plan->rank; a++) {
    int64_t unit = (int64_t)plan->unit_bytes;
    assert_true(plan->shape[a] > 1 && plan->dst_strides[a] > 0);
    assert_false(plan->dst_strides[a] == unit && plan->src_strides[a] == unit);
    if (a > 0) assert_true(plan->dst_strides[a - 1] >= plan->dst_strides[a]);
    for (int32_t b = 0; b < plan->rank; b++) {
      assert_false(a != b && plan->dst_strides[a] == plan->dst_strides[b] * plan->shape[b] &&
                   plan->src_strides[a] == plan->src_strides[b] * plan->shape[b]);
    }
  }
}

enum { BUFFER_BYTES = 1 << 16 };

/* A layout without elements may have strides and an offset that no memory has. */
TEST(without_elements_no_stride_is_counted_in_bytes) {
  tarn_layout far;
  const int64_t shape[] = {2, 0}, strides[] = {INT64_MAX / 2, 1};
  assert_int_equal(tarn_layout_init_strided(&far, 2, shape, strides, INT64_MAX / 2), TARN_OK);
  tarn__copy_plan plan = plan_of(far, far, 16);
  assert_int_equal(plan.kind, TARN__COPY_NONE);
  assert_int_equal(plan.run_count, 0);
}

TEST(running_a_plan_equals_copying_each_element) {
  static const size_t sizes[] = {1, 2, 4, 8, 16, 3, 12, 32};
  static char dst[BUFFER_BYTES], expected[BUFFER_BYTES], src[BUFFER_BYTES];
  uint64_t random = 23;
  size_t kinds[4] = {0};
  random_fill(&random, src, sizeof src);
  for (int round = 0; round < 8000; round++) {
    int64_t shape[TARN_RANK_MAX];
    size_t element_bytes = sizes[random_in(&random, 0, 7)];
    bool is_large = round % 16 == 0; /* beyond one tile */
    int32_t rank = random_shape(&random, is_large ? 100 : 5, is_large ? 1500 : 200, shape);
    tarn_layout to = random_layout_of(&random, rank, shape, /*may_overlap=*/false);
    tarn_layout from = random_layout_of(&random, rank, shape, /*may_overlap=*/true);
    int64_t first, to_end, from_end;
    tarn_layout_bounds(&to, &first, &to_end);
    tarn_layout_bounds(&from, &first, &from_end);
    if ((size_t)to_end * element_bytes > BUFFER_BYTES) continue;
    if ((size_t)from_end * element_bytes > BUFFER_BYTES) continue;
    memset(dst, 0, sizeof dst);
    memset(expected, 0, sizeof expected);
    model_copy(&to, expected, &from, src, element_bytes);
    tarn__copy_plan plan = plan_of(to, from, element_bytes);
    check_reduced(&plan);
    tarn__copy_host_run(&plan, dst, src);
    if (memcmp(dst, expected, sizeof dst) != 0) fail_msg("round %d", round);
    kinds[plan.kind]++;
  }
  assert_true(kinds[TARN__COPY_NONE] > 100 && kinds[TARN__COPY_MEMCPY] > 500 &&
              kinds[TARN__COPY_ROWS] > 200 && kinds[TARN__COPY_STRIDED] > 2000);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
