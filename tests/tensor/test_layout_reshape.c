/* test_layout_reshape.c: tests of tensor/layout_reshape.c. */

#include "tests/support/test.h"
#include "tests/tensor/view_steps.h"

#define SHAPE(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), ((int64_t[]){__VA_ARGS__})

/* --- view --- */

/* Whether some strides list the same elements in the same order in `shape`; tried by computing each
 * stride from the element one index further. */
static bool can_be_viewed(const model *all, int32_t rank, const int64_t *shape) {
  int64_t index[TARN_RANK_MAX], strides[TARN_RANK_MAX] = {0};
  for (int32_t d = 0; d < rank; d++) {
    int64_t unit[TARN_RANK_MAX] = {0};
    unit[d] = 1;
    if (shape[d] > 1) {
      strides[d] = all->elements[model_ravel(rank, shape, unit)] - all->elements[0];
    }
  }
  for (int64_t i = 0; i < all->count; i++) {
    int64_t element = all->elements[0];
    model_unravel(rank, shape, i, index);
    for (int32_t d = 0; d < rank; d++) element += index[d] * strides[d];
    if (element != all->elements[i]) return false;
  }
  return true;
}

TEST(view_refuses_exactly_what_no_strides_express) {
  static model all;
  uint64_t random = 19;
  size_t possible = 0, impossible = 0;
  for (int round = 0; round < 20000; round++) {
    tarn_layout layout = random_layout(&random, 5, 4, 200), viewed = layout;
    view_step view;
    model_of(&layout, &all);
    if (all.count == 0) continue;
    tarn_status status = random_view(&random, &viewed, &view);
    bool expected = can_be_viewed(&all, view.rank, view.shape);
    assert_int_equal(status, expected ? TARN_OK : TARN_NOT_SUPPORTED);
    if (!expected) assert_memory_equal(&viewed, &layout, sizeof layout);
    possible += expected;
    impossible += !expected;
  }
  assert_true(possible > 3000 && impossible > 3000);
}

/* One row of PyTorch's computeStride: old sizes and strides, new sizes, and what comes out. */
typedef struct view_row {
  int32_t old_rank;
  int64_t old_shape[4], old_strides[4];
  int32_t new_rank;
  int64_t new_shape[4];
  tarn_status status;
  int64_t new_strides[4];
} view_row;

TEST(known_views_have_known_strides) {
  static const view_row rows[] = {
      {2, {4, 6}, {6, 1}, 1, {24}, TARN_OK, {1}},
      {2, {4, 6}, {6, 1}, 3, {2, 3, 4}, TARN_OK, {12, 4, 1}},
      {2, {4, 6}, {6, 1}, 4, {3, 2, 2, 2}, TARN_OK, {8, 4, 2, 1}},
      {2, {3, 2}, {1, 3}, 1, {6}, TARN_NOT_SUPPORTED, {0}}, /* transposed */
      {2, {4, 6}, {1, 4}, 3, {4, 2, 3}, TARN_OK, {1, 12, 4}},
      {2, {4, 6}, {1, 4}, 3, {2, 2, 6}, TARN_OK, {2, 1, 4}},
      {3, {2, 1, 3}, {3, 99, 1}, 1, {6}, TARN_OK, {1}}, /* nobody sees a size-1 stride */
      {3, {2, 1, 3}, {3, -7, 1}, 3, {1, 6, 1}, TARN_OK, {6, 1, 1}},
      {2, {0, 3}, {77, 5}, 2, {0, 3}, TARN_OK, {77, 5}}, /* the same shape keeps its strides */
      {2, {0, 3}, {3, 1}, 2, {3, 0}, TARN_OK, {1, 1}},
      {2, {0, 3}, {3, 1}, 3, {2, 0, 4}, TARN_OK, {4, 4, 1}},
      {2, {4, 6}, {6, 1}, 2, {-1, 8}, TARN_OK, {8, 1}},
      {2, {4, 6}, {6, 1}, 1, {-1}, TARN_OK, {1}},
      {2, {4, 6}, {6, 1}, 2, {-1, 5}, TARN_INVALID_ARGUMENT, {0}},
      {2, {4, 6}, {6, 1}, 2, {-1, -1}, TARN_INVALID_ARGUMENT, {0}},
      {2, {4, 6}, {6, 1}, 2, {-2, 12}, TARN_INVALID_ARGUMENT, {0}},
      {2, {4, 6}, {6, 1}, 2, {5, 5}, TARN_INVALID_ARGUMENT, {0}},
      {2, {0, 3}, {3, 1}, 2, {-1, 0}, TARN_INVALID_ARGUMENT, {0}}, /* ambiguous */
      {2, {0, 3}, {3, 1}, 2, {-1, 3}, TARN_OK, {3, 1}},
      {0, {0}, {0}, 2, {1, 1}, TARN_OK, {1, 1}},
      {0, {0}, {0}, 1, {-1}, TARN_OK, {1}},
      {2, {1, 1}, {5, 9}, 0, {0}, TARN_OK, {0}},
      {2, {3, 4}, {0, 0}, 1, {12}, TARN_OK, {0}},            /* expanded beside expanded */
      {2, {3, 4}, {0, 1}, 1, {12}, TARN_NOT_SUPPORTED, {0}}, /* expanded beside plain */
      {2, {3, 4}, {0, 1}, 3, {3, 2, 2}, TARN_OK, {0, 2, 1}},
      {2, {4, 6}, {-6, -1}, 1, {24}, TARN_OK, {-1}}, /* flipped in both */
      {2, {4, 6}, {-6, 1}, 1, {24}, TARN_NOT_SUPPORTED, {0}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const view_row *row = &rows[i];
    tarn_layout layout;
    assert_int_equal(
        tarn_layout_init_strided(&layout, row->old_rank, row->old_shape, row->old_strides, 50),
        TARN_OK);
    tarn_layout before = layout;
    tarn_status status = tarn_layout_view(&layout, row->new_rank, row->new_shape);
    if (status != row->status) fail_msg("row %zu: %s", i, tarn_status_name(status));
    if (status != TARN_OK) {
      assert_memory_equal(&layout, &before, sizeof layout);
      continue;
    }
    assert_int_equal(layout.rank, row->new_rank);
    assert_int_equal(layout.offset, 50);
    for (int32_t d = 0; d < row->new_rank; d++) {
      if (layout.strides[d] != row->new_strides[d]) {
        fail_msg("row %zu: stride %d is %d", i, d, (int)layout.strides[d]);
      }
    }
  }
}

TEST(a_view_may_be_given_the_shape_of_the_layout_itself) {
  tarn_layout layout;
  assert_int_equal(tarn_layout_init(&layout, SHAPE(1, 4, 6)), TARN_OK);
  assert_int_equal(tarn_layout_view(&layout, 2, layout.shape + 1), TARN_OK);
  assert_memory_equal(layout.shape, ((int64_t[]){4, 6}), 16);
  assert_memory_equal(layout.strides, ((int64_t[]){6, 1}), 16);
  assert_int_equal(tarn_layout_as_strided(&layout, 1, layout.shape + 1, layout.strides + 1, 6, 24),
                   TARN_OK);
  assert_memory_equal(layout.shape, ((int64_t[]){6}), 8);
  assert_memory_equal(layout.strides, ((int64_t[]){1}), 8);
}

TEST(a_scalar_flattens_to_one_element) {
  tarn_layout layout = {.offset = 4};
  assert_int_equal(tarn_layout_flatten(&layout, 0, -1), TARN_OK);
  assert_int_equal(layout.rank, 1);
  assert_int_equal(layout.shape[0], 1);
}

TEST(a_dimension_of_any_stride_unflattens) {
  tarn_layout layout;
  assert_int_equal(tarn_layout_init_strided(&layout, SHAPE(2, 12, 3), (int64_t[]){1, -7, 100}, 200),
                   TARN_OK);
  assert_int_equal(tarn_layout_unflatten(&layout, -2, SHAPE(2, -1, 3)), TARN_OK);
  assert_int_equal(layout.rank, 5);
  assert_memory_equal(layout.shape, ((int64_t[]){2, 2, 2, 3, 3}), 40);
  assert_memory_equal(layout.strides, ((int64_t[]){1, -42, -21, -7, 100}), 40);
  assert_int_equal(layout.offset, 200);
}

/* --- as_strided --- */

static tarn_status strided(tarn_layout *layout, int64_t rows, int64_t columns, int64_t row_stride,
                           int64_t column_stride, int64_t offset) {
  return tarn_layout_as_strided(layout, 2, (int64_t[]){rows, columns},
                                (int64_t[]){row_stride, column_stride}, offset, /*elements=*/24);
}

TEST(as_strided_reaches_the_last_element_and_no_further) {
  tarn_layout layout = {0};
  assert_int_equal(strided(&layout, 4, 6, 6, 1, 0), TARN_OK); /* exactly at the end */
  assert_int_equal(strided(&layout, 4, 6, 6, 1, 1), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "[4, 6]"));
  assert_non_null(strstr(tarn_last_error()->message, "24 of a storage of 24"));
  assert_int_equal(layout.offset, 0);
  assert_int_equal(strided(&layout, 4, 6, -6, 1, 18), TARN_OK); /* negative, and inside */
  assert_int_equal(strided(&layout, 4, 6, -6, 1, 17), TARN_INVALID_ARGUMENT);
  assert_int_equal(strided(&layout, 1, 1, 1, 1, -1), TARN_INVALID_ARGUMENT);
  assert_int_equal(strided(&layout, 1, 1, 1, 1, 23), TARN_OK);
  assert_int_equal(strided(&layout, 1, 1, 1, 1, 24), TARN_INVALID_ARGUMENT);
  assert_int_equal(strided(&layout, 0, 9, 100, 100, 24), TARN_OK); /* nothing lies outside */
  assert_int_equal(strided(&layout, 100, 24, 0, 1, 0), TARN_OK);
  assert_int_equal(strided(&layout, 2, 2, INT64_MAX, 1, 0), TARN_TOO_LARGE);
  assert_int_equal(strided(&layout, -1, 2, 1, 1, 0), TARN_INVALID_ARGUMENT);
  assert_int_equal(layout.shape[0], 100);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
