/* test_layout.c: tests of tensor/layout.c. */

#include "tests/support/test.h"
#include "tests/tensor/layout_model.h"

#define SHAPE(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), ((int64_t[]){__VA_ARGS__})

TEST(a_fresh_layout_is_row_major) {
  tarn_layout layout;
  assert_int_equal(tarn_layout_init(&layout, SHAPE(2, 3, 4)), TARN_OK);
  assert_int_equal(layout.rank, 3);
  assert_int_equal(layout.strides[0], 12);
  assert_int_equal(layout.strides[1], 4);
  assert_int_equal(layout.strides[2], 1);
  assert_int_equal(tarn_layout_element_count(&layout), 24);
  assert_true(tarn_layout_is_contiguous(&layout));
}

TEST(a_scalar_has_one_element) {
  tarn_layout layout;
  int64_t first, end;
  assert_int_equal(tarn_layout_init(&layout, 0, NULL), TARN_OK);
  assert_int_equal(tarn_layout_element_count(&layout), 1);
  tarn_layout_bounds(&layout, &first, &end);
  assert_int_equal(first, 0);
  assert_int_equal(end, 1);
  assert_true(tarn_layout_is_contiguous(&layout) && tarn_layout_is_dense(&layout));
}

TEST(a_size_of_zero_counts_as_one_in_strides) {
  tarn_layout layout;
  int64_t first, end;
  assert_int_equal(tarn_layout_init(&layout, SHAPE(2, 0, 3)), TARN_OK);
  assert_int_equal(layout.strides[0], 3);
  assert_int_equal(layout.strides[1], 3);
  assert_int_equal(tarn_layout_element_count(&layout), 0);
  tarn_layout_bounds(&layout, &first, &end);
  assert_int_equal(first, 0);
  assert_int_equal(end, 0);
}

static void expect_init(tarn_status expected, size_t rank, const int64_t *shape) {
  tarn_layout layout;
  memset(&layout, 0x5a, sizeof layout);
  assert_int_equal(tarn_layout_init(&layout, (int32_t)rank, shape), expected);
  if (expected != TARN_OK) assert_int_equal(layout.rank, 0);
}

TEST(a_shape_out_of_range_is_refused) {
  int64_t half = INT64_C(1) << 31;
  expect_init(TARN_INVALID_ARGUMENT, SHAPE(2, -1));
  expect_init(TARN_INVALID_ARGUMENT, 13, (int64_t[13]){0});
  expect_init(TARN_INVALID_ARGUMENT, 2, NULL);
  expect_init(TARN_OK, 12, (int64_t[12]){0});
  expect_init(TARN_OK, SHAPE(half, half, 2 - 1));
  expect_init(TARN_TOO_LARGE, SHAPE(half, half, 2));
  expect_init(TARN_OK, SHAPE(INT64_MAX));
  expect_init(TARN_TOO_LARGE, SHAPE(INT64_MAX, 2));
  expect_init(TARN_TOO_LARGE, SHAPE(0, INT64_MAX, 2)); /* row-major strides would overflow */
  expect_init(TARN_INVALID_ARGUMENT, SHAPE(INT64_MAX, 2, -1));
}

static void expect_strided(tarn_status expected, int64_t size, int64_t stride, int64_t offset) {
  tarn_layout layout;
  memset(&layout, 0x5a, sizeof layout);
  assert_int_equal(tarn_layout_init_strided(&layout, 2, (int64_t[]){size, 1},
                                            (int64_t[]){stride, INT64_MAX}, offset),
                   expected);
  assert_int_equal(layout.rank, expected == TARN_OK ? 2 : 0);
}

TEST(elements_beyond_63_bits_are_refused) {
  expect_strided(TARN_OK, 2, INT64_MAX - 1, 0);
  expect_strided(TARN_TOO_LARGE, 2, INT64_MAX, 0); /* the end would be 2^63 */
  expect_strided(TARN_TOO_LARGE, 2, INT64_MAX - 1, 1);
  expect_strided(TARN_OK, 2, INT64_MIN, 0);
  expect_strided(TARN_TOO_LARGE, 2, INT64_MIN, -1);
  expect_strided(TARN_TOO_LARGE, 3, INT64_MIN / 2 - 1, 0);
  expect_strided(TARN_OK, 1, INT64_MIN, INT64_MAX - 1);
  expect_strided(TARN_TOO_LARGE, 1, 0, INT64_MAX);
  expect_strided(TARN_OK, 0, INT64_MIN, 5);
  /* Opposite directions must not cancel: a view could drop one of the two. */
  tarn_layout layout;
  assert_int_equal(tarn_layout_init_strided(&layout, 2, (int64_t[]){3, 3},
                                            (int64_t[]){INT64_MAX / 2 + 1, -INT64_MAX / 2}, 0),
                   TARN_TOO_LARGE);
}

TEST(bounds_hold_every_element_tightly) {
  uint64_t random = 3;
  for (int round = 0; round < 5000; round++) {
    static model all;
    tarn_layout layout = random_layout(&random, 5, 6, 1000);
    int64_t first, end, low = INT64_MAX, high = INT64_MIN;
    model_of(&layout, &all);
    tarn_layout_bounds(&layout, &first, &end);
    for (int64_t i = 0; i < all.count; i++) {
      if (all.elements[i] < low) low = all.elements[i];
      if (all.elements[i] > high) high = all.elements[i];
    }
    assert_int_equal(first, all.count > 0 ? low : 0);
    assert_int_equal(end, all.count > 0 ? high + 1 : 0);
    assert_int_equal(tarn_layout_element_count(&layout), all.count);
  }
}

TEST(contiguous_means_consecutive_elements) {
  uint64_t random = 5;
  size_t contiguous = 0;
  for (int round = 0; round < 20000; round++) {
    static model all;
    tarn_layout layout = random_layout(&random, 4, 3, 1000);
    model_of(&layout, &all);
    bool expected = true;
    for (int64_t i = 1; i < all.count; i++) {
      expected &= all.elements[i] == all.elements[i - 1] + 1;
    }
    assert_int_equal(tarn_layout_is_contiguous(&layout), expected);
    contiguous += expected;
  }
  assert_true(contiguous > 500 && contiguous < 19500);
}

/* Dense: some order of the dimensions makes it contiguous. All orders are tried. */
static bool some_order_is_contiguous(const tarn_layout *layout, uint32_t used, tarn_layout *built) {
  if (built->rank == layout->rank) return tarn_layout_is_contiguous(built);
  for (int32_t d = 0; d < layout->rank; d++) {
    if (used & (1u << d)) continue;
    built->shape[built->rank] = layout->shape[d];
    built->strides[built->rank] = layout->strides[d];
    built->rank++;
    bool found = some_order_is_contiguous(layout, used | (1u << d), built);
    built->rank--;
    if (found) return true;
  }
  return false;
}

TEST(dense_means_contiguous_in_some_order) {
  uint64_t random = 6;
  size_t dense = 0;
  for (int round = 0; round < 20000; round++) {
    tarn_layout layout = random_layout(&random, 4, 3, 1000), built = {0};
    bool expected = some_order_is_contiguous(&layout, 0, &built);
    assert_int_equal(tarn_layout_is_dense(&layout), expected);
    dense += expected;
  }
  assert_true(dense > 500 && dense < 19500);
}

TEST(expanded_layouts_are_dense_only_by_one) {
  for (int64_t size = 1; size <= 4; size++) {
    tarn_layout layout;
    assert_int_equal(tarn_layout_init(&layout, SHAPE(1)), TARN_OK);
    assert_int_equal(tarn_layout_expand(&layout, SHAPE(size)), TARN_OK);
    assert_int_equal(tarn_layout_is_contiguous(&layout), size == 1);
    assert_int_equal(tarn_layout_is_dense(&layout), size == 1);
    assert_int_equal(tarn_layout_init(&layout, SHAPE(2, 3)), TARN_OK);
    assert_int_equal(tarn_layout_expand(&layout, SHAPE(size, 2, 3)), TARN_OK);
    assert_int_equal(tarn_layout_is_dense(&layout), size == 1);
    assert_int_equal(tarn_layout_overlaps_itself(&layout), size > 1);
  }
  tarn_layout layout;
  assert_int_equal(tarn_layout_init(&layout, SHAPE(2, 3)), TARN_OK);
  assert_int_equal(tarn_layout_transpose(&layout, 0, 1), TARN_OK);
  assert_true(tarn_layout_is_dense(&layout));
  assert_false(tarn_layout_is_contiguous(&layout));
}

TEST(equality_looks_at_shape_and_strides_only) {
  tarn_layout a, b;
  assert_int_equal(tarn_layout_init(&a, SHAPE(2, 3)), TARN_OK);
  b = a;
  b.offset = 9;
  b.shape[2] = 77; /* behind the rank: nobody's */
  assert_true(tarn_layout_equal(&a, &b));
  b.strides[0] = 4;
  assert_false(tarn_layout_equal(&a, &b));
  assert_true(tarn_layout_same_shape(&a, &b));
  b.rank = 1;
  assert_false(tarn_layout_same_shape(&a, &b));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
