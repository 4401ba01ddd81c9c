/* test_layout_format.c: tests of tensor/layout_format.c. */

#include "tests/support/test.h"
#include "tests/tensor/layout_model.h"

#define SHAPE(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), ((int64_t[]){__VA_ARGS__})

static const int32_t nhwc[4] = {0, 2, 3, 1};

TEST(channels_lie_innermost) {
  tarn_layout layout;
  assert_ok(tarn_layout_init_channels_last(&layout, SHAPE(2, 3, 4, 5)));
  assert_memory_equal(layout.strides, ((int64_t[]){60, 1, 15, 3}), 32);
  assert_true(tarn_layout_is_channels_last(&layout));
  assert_true(tarn_layout_is_contiguous_in(&layout, nhwc));
  assert_false(tarn_layout_is_contiguous(&layout));
  assert_true(tarn_layout_is_dense(&layout));
  assert_ok(tarn_layout_init_channels_last(&layout, SHAPE(2, 3, 4, 5, 6)));
  assert_memory_equal(layout.strides, ((int64_t[]){360, 1, 90, 18, 3}), 40);
  assert_true(tarn_layout_is_channels_last(&layout));
  assert_int_equal(tarn_layout_init_channels_last(&layout, SHAPE(2, 3, 4)), TARN_INVALID_ARGUMENT);
  assert_int_equal(layout.rank, 0);
  assert_int_equal(tarn_layout_init_channels_last(&layout, SHAPE(2, 3, -4, 1)),
                   TARN_INVALID_ARGUMENT);
}

TEST(any_order_of_dimensions_can_lie_in_memory) {
  uint64_t random = 3;
  for (int round = 0; round < 2000; round++) {
    int64_t shape[TARN_RANK_MAX];
    int32_t order[TARN_RANK_MAX];
    tarn_layout layout, permuted;
    const int32_t rank = random_shape(&random, 4, 300, shape);
    for (int32_t d = 0; d < rank; d++) order[d] = d;
    for (int32_t d = rank - 1; d > 0; d--) {
      const int32_t other = (int32_t)random_in(&random, 0, d), held = order[d];
      order[d] = order[other];
      order[other] = held;
    }
    assert_ok(tarn_layout_init_permuted(&layout, rank, shape, order));
    assert_memory_equal(layout.shape, shape, sizeof(int64_t) * (size_t)rank);
    assert_true(tarn_layout_is_contiguous_in(&layout, order));
    permuted = layout;
    assert_ok(tarn_layout_permute(&permuted, rank, order));
    assert_true(tarn_layout_is_contiguous(&permuted));
    assert_true(tarn_layout_is_dense(&layout));
  }
}

TEST(an_order_names_each_dimension_once) {
  tarn_layout layout;
  assert_int_equal(tarn_layout_init_permuted(&layout, 2, (int64_t[]){2, 3}, (int32_t[]){0, 0}),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_layout_init_permuted(&layout, 2, (int64_t[]){2, 3}, (int32_t[]){0, 2}),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_layout_init_permuted(&layout, 2, (int64_t[]){2, 3}, NULL),
                   TARN_INVALID_ARGUMENT);
  assert_ok(tarn_layout_init_permuted(&layout, 0, NULL, NULL));
  assert_ok(tarn_layout_init_permuted(&layout, 2, (int64_t[]){2, 3}, (int32_t[]){-1, 0}));
  assert_memory_equal(layout.strides, ((int64_t[]){1, 2}), 16);
}

/* PyTorch's memory_format_test: sizes whose channels-last strides are told from row-major ones. */
static const int64_t told[][4] = {{4, 4, 4, 4}, {4, 4, 1, 1}, {4, 1, 4, 4}, {4, 1, 4, 1},
                                  {4, 1, 1, 4}, {1, 4, 1, 4}, {1, 4, 4, 1}};
enum { TOLD_COUNT = sizeof told / sizeof told[0] };

TEST(channels_last_is_told_from_the_strides) {
  for (size_t i = 0; i < TOLD_COUNT; i++) {
    tarn_layout layout;
    assert_ok(tarn_layout_init_channels_last(&layout, 4, told[i]));
    if (!tarn_layout_is_channels_last(&layout)) fail_msg("row %zu", i);
    assert_ok(tarn_layout_init(&layout, 4, told[i]));
    if (tarn_layout_is_channels_last(&layout)) fail_msg("row %zu, row-major", i);
  }
}

TEST(what_fits_both_formats_is_row_major) {
  tarn_layout layout;
  assert_ok(tarn_layout_init_channels_last(&layout, SHAPE(4, 1, 1, 1)));
  assert_false(tarn_layout_is_channels_last(&layout));
  assert_ok(tarn_layout_init(&layout, SHAPE(4, 1, 1, 1)));
  assert_false(tarn_layout_is_channels_last(&layout));
  /* N x 1 x 1 x W, of which one column is left. */
  assert_ok(tarn_layout_init(&layout, SHAPE(4, 1, 1, 8)));
  assert_ok(tarn_layout_narrow(&layout, 3, 2, 1));
  assert_false(tarn_layout_is_channels_last(&layout));
}

/* What PyTorch's memory_format_test does to a layout, letter by letter, and whether it is
 * channels-last after each: "2+" is a slice 0:3:2 of dimension 2 that leaves it so, "2-" one that
 * does not; "f2" keeps the first index only; "t12" swaps. */
typedef struct format_row {
  bool is_channels_last; /* to begin with */
  int64_t shape[4];
  const char *steps;
} format_row;

static const format_row format_rows[] = {
    {false, {4, 4, 4, 4}, "1- 1- 2- 2- 3- 3-"},
    {false, {4, 4, 4, 4}, "2- 2- 3- 3- 1- 1-"},
    {true, {4, 4, 4, 4}, "1+ 1+ 2+ 2+ 3+ 3+"},
    {true, {4, 4, 4, 4}, "2+ 2+ 3+ 3+ 1+ 1+"},
    {false, {4, 4, 1, 1}, "1- 1-"},
    {true, {4, 4, 1, 1}, "1+ 1-"}, /* N x 1 x 1 x 1 now, and nothing tells */
    {false, {4, 1, 4, 4}, "2- 2- 3- 3-"},
    {true, {4, 1, 4, 4}, "2+ 2+ 3+ 3+"},
    {false, {4, 1, 1, 4}, "3- 3-"},
    {true, {4, 1, 1, 4}, "3+ 3+"},
    {false, {4, 1, 4, 1}, "2- 2-"},
    {true, {4, 1, 4, 1}, "2+ 2+"},
    {false, {4, 4, 4, 4}, "f1- f2- f3-"},
    {false, {4, 4, 4, 4}, "f2- f3- f1-"},
    {true, {4, 4, 4, 4}, "f1+ f2+ f3+"},
    {true, {4, 4, 4, 4}, "f2+ f3+ f1+"},
    {false, {4, 4, 1, 1}, "f1-"},
    {true, {4, 4, 1, 1}, "f1+"},
    {false, {4, 1, 4, 4}, "f2- f3-"},
    {true, {4, 1, 4, 4}, "f2+ f3+"},
    {false, {4, 1, 1, 4}, "f3-"},
    {true, {4, 1, 1, 4}, "f3+"},
    {false, {4, 1, 4, 1}, "f2-"},
    {true, {4, 1, 4, 1}, "f2-"}, /* the same again */
    {false, {2, 3, 4, 5}, "t13- t23+"},
    {false, {2, 3, 4, 5}, "t12-"},
    {false, {2, 3, 4, 5}, "t23-"},
    {false, {1, 4, 1, 4}, "t13-"},
    {false, {1, 4, 1, 4}, "t12-"},
    {false, {1, 4, 1, 4}, "t23- t12+"},
    {false, {1, 4, 4, 1}, "t13-"},
    {false, {1, 4, 4, 1}, "t12-"},
    {false, {1, 4, 4, 1}, "t23- t12+"},
};

TEST(views_keep_the_format_as_pytorchs_do) {
  for (size_t i = 0; i < sizeof format_rows / sizeof format_rows[0]; i++) {
    const format_row *row = &format_rows[i];
    tarn_layout layout;
    if (row->is_channels_last) {
      assert_ok(tarn_layout_init_channels_last(&layout, 4, row->shape));
    } else {
      assert_ok(tarn_layout_init(&layout, 4, row->shape));
    }
    for (const char *step = row->steps; *step != '\0'; step++) {
      if (*step == ' ') continue;
      if (*step == '+' || *step == '-') {
        if (tarn_layout_is_channels_last(&layout) == (*step == '+')) continue;
        fail_msg("row %zu, %s", i, step);
      } else if (*step == 't') {
        assert_ok(tarn_layout_transpose(&layout, step[1] - '0', step[2] - '0'));
        step += 2;
      } else if (*step == 'f') {
        assert_ok(tarn_layout_slice(&layout, *++step - '0', 0, 1, 1));
      } else {
        assert_ok(tarn_layout_slice(&layout, *step - '0', 0, 3, 2));
      }
    }
  }
}

TEST(the_rest_is_not_channels_last) {
  tarn_layout layout;
  assert_ok(tarn_layout_init_channels_last(&layout, SHAPE(2, 3, 0, 5)));
  assert_false(tarn_layout_is_channels_last(&layout));
  assert_ok(tarn_layout_init_channels_last(&layout, SHAPE(2, 1, 4, 5)));
  assert_ok(tarn_layout_expand(&layout, SHAPE(2, 3, 4, 5)));
  assert_false(tarn_layout_is_channels_last(&layout)); /* one channel, three times */
  assert_ok(tarn_layout_init_channels_last(&layout, SHAPE(2, 3, 4, 5)));
  assert_ok(tarn_layout_flip(&layout, 1, (int32_t[]){2}));
  assert_false(tarn_layout_is_channels_last(&layout));
  assert_ok(tarn_layout_init(&layout, SHAPE(3, 4, 5)));
  assert_false(tarn_layout_is_channels_last(&layout));
  layout = (tarn_layout){4, 0, {1, 3, 1, 1}, {INT64_MAX, INT64_MAX / 2, INT64_MAX, INT64_MAX}};
  assert_true(tarn_layout_is_channels_last(&layout)); /* and nothing overflows */
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
