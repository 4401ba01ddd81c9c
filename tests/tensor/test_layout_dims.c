/* test_layout_dims.c: tests of tensor/layout_dims.c. */

#include "tests/support/test.h"
#include "tests/tensor/layout_model.h"

#define SHAPE(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), ((int64_t[]){__VA_ARGS__})
#define DIMS(...) (sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)), ((int32_t[]){__VA_ARGS__})

static void assert_layout(const tarn_layout *layout, int64_t offset, size_t rank,
                          const int64_t *shape, const int64_t *strides) {
  assert_int_equal(layout->offset, offset);
  assert_int_equal(layout->rank, rank);
  assert_memory_equal(layout->shape, shape, rank * sizeof *shape);
  assert_memory_equal(layout->strides, strides, rank * sizeof *strides);
}

#define STRIDES(...) ((int64_t[]){__VA_ARGS__})

#define REFUSED(call)                                     \
  do {                                                    \
    tarn_layout before = layout;                          \
    assert_int_equal(call, TARN_INVALID_ARGUMENT);        \
    assert_memory_equal(&layout, &before, sizeof layout); \
  } while (0)

/* --- order and direction --- */

TEST(moved_dimensions_leave_the_others_in_order) {
  tarn_layout layout;
  assert_ok(tarn_layout_init(&layout, SHAPE(2, 3, 4, 5)));
  assert_ok(tarn_layout_movedim(&layout, 1, (int32_t[]){0}, (int32_t[]){-1}));
  assert_layout(&layout, 0, SHAPE(3, 4, 5, 2), STRIDES(20, 5, 1, 60));
  assert_ok(tarn_layout_movedim(&layout, 2, (int32_t[]){3, 0}, (int32_t[]){0, 1}));
  assert_layout(&layout, 0, SHAPE(2, 3, 4, 5), STRIDES(60, 20, 5, 1));
  assert_ok(tarn_layout_movedim(&layout, 0, NULL, NULL));
  REFUSED(tarn_layout_movedim(&layout, 2, (int32_t[]){0, 0}, (int32_t[]){1, 2}));
  REFUSED(tarn_layout_movedim(&layout, 2, (int32_t[]){0, 1}, (int32_t[]){1, -3}));
  REFUSED(tarn_layout_movedim(&layout, 1, (int32_t[]){4}, (int32_t[]){0}));
  REFUSED(tarn_layout_movedim(&layout, 1, (int32_t[]){0}, NULL));
  REFUSED(tarn_layout_movedim(&layout, -1, NULL, NULL));
  REFUSED(tarn_layout_movedim(&layout, 5, (int32_t[5]){0}, (int32_t[5]){0}));
}

TEST(a_flip_starts_at_the_last_element) {
  tarn_layout layout;
  assert_ok(tarn_layout_init(&layout, SHAPE(2, 3, 4)));
  assert_ok(tarn_layout_flip(&layout, DIMS(-1, 0)));
  assert_layout(&layout, 15, SHAPE(2, 3, 4), STRIDES(-12, 4, -1));
  assert_ok(tarn_layout_flip(&layout, DIMS(2, 0)));
  assert_layout(&layout, 0, SHAPE(2, 3, 4), STRIDES(12, 4, 1));
  REFUSED(tarn_layout_flip(&layout, DIMS(0, -3)));
  REFUSED(tarn_layout_flip(&layout, DIMS(3)));
  REFUSED(tarn_layout_flip(&layout, 1, NULL));
}

TEST(a_flip_of_one_element_or_none_stays_inside) {
  tarn_layout layout;
  assert_ok(tarn_layout_init_strided(&layout, SHAPE(1, 0), STRIDES(INT64_MIN, 7), 5));
  assert_ok(tarn_layout_flip(&layout, DIMS(0, 1)));
  assert_layout(&layout, 5, SHAPE(1, 0), STRIDES(INT64_MIN, -7));
}

TEST(many_dimensions_permute_as_few_do) {
  for (int32_t rank = 0; rank <= TARN_RANK_MAX; rank++) {
    int64_t shape[TARN_RANK_MAX] = {0};
    int32_t dims[TARN_RANK_MAX] = {0};
    tarn_layout layout, reversed;
    for (int32_t d = 0; d < rank; d++) shape[d] = d + 1;
    for (int32_t d = 0; d < rank; d++) dims[d] = rank - 1 - d;
    assert_ok(tarn_layout_init(&layout, rank, shape));
    reversed = layout;
    tarn_layout_reverse(&reversed);
    assert_ok(tarn_layout_permute(&layout, rank, dims));
    assert_true(tarn_layout_equal(&layout, &reversed));
    if (rank > 0) dims[0] = rank > 1 ? dims[1] : 1;
    if (rank > 0) REFUSED(tarn_layout_permute(&layout, rank, dims));
  }
}

/* --- broadcasts --- */

TEST(layouts_broadcast_to_the_shape_they_share) {
  tarn_layout a, b;
  assert_ok(tarn_layout_init(&a, SHAPE(4, 1, 3)));
  assert_ok(tarn_layout_init(&b, SHAPE(5, 1)));
  assert_ok(tarn_layout_broadcast(&a, &b));
  assert_layout(&a, 0, SHAPE(4, 5, 3), STRIDES(3, 0, 1));
  assert_layout(&b, 0, SHAPE(4, 5, 3), STRIDES(0, 1, 0));
  tarn_layout scalar = {.offset = 9};
  assert_ok(tarn_layout_broadcast(&scalar, &a));
  assert_layout(&scalar, 9, SHAPE(4, 5, 3), STRIDES(0, 0, 0));
  assert_layout(&a, 0, SHAPE(4, 5, 3), STRIDES(3, 0, 1));
}

TEST(empty_and_one_broadcast_to_empty) {
  tarn_layout a, b;
  assert_ok(tarn_layout_init(&a, SHAPE(0, 3)));
  assert_ok(tarn_layout_init(&b, SHAPE(1, 1)));
  assert_ok(tarn_layout_broadcast(&a, &b));
  assert_layout(&b, 0, SHAPE(0, 3), STRIDES(0, 0));
}

TEST(shapes_that_differ_do_not_broadcast_and_neither_changes) {
  tarn_layout layout, other, other_before;
  assert_ok(tarn_layout_init(&layout, SHAPE(4, 1)));
  assert_ok(tarn_layout_init(&other, SHAPE(2, 3, 2)));
  other_before = other;
  REFUSED(tarn_layout_broadcast(&layout, &other));
  assert_non_null(strstr(tarn_last_error()->message, "[4, 1] and [2, 3, 2]"));
  assert_memory_equal(&other, &other_before, sizeof other);
  assert_ok(tarn_layout_init(&layout, SHAPE(4)));
  assert_ok(tarn_layout_init(&other, SHAPE(1, 2)));
  REFUSED(tarn_layout_broadcast(&layout, &other));
  const int64_t wide = INT64_C(1) << 32;
  assert_ok(tarn_layout_init(&layout, SHAPE(wide, 1)));
  assert_ok(tarn_layout_init(&other, SHAPE(1, wide)));
  other_before = other;
  const tarn_layout before = layout;
  assert_int_equal(tarn_layout_broadcast(&layout, &other), TARN_TOO_LARGE);
  assert_memory_equal(&layout, &before, sizeof layout);
  assert_memory_equal(&other, &other_before, sizeof other);
}

TEST(a_layout_expands_as_another) {
  tarn_layout layout, other;
  assert_ok(tarn_layout_init(&layout, SHAPE(3, 1)));
  assert_ok(tarn_layout_init(&other, SHAPE(2, 3, 4)));
  assert_ok(tarn_layout_expand_as(&layout, &other));
  assert_layout(&layout, 0, SHAPE(2, 3, 4), STRIDES(0, 1, 0));
  assert_ok(tarn_layout_init(&other, SHAPE(3, 4)));
  REFUSED(tarn_layout_expand_as(&layout, &other));
}

/* The straight code for small ranks and the loops for all others, by shapes with and without the
 * numbers that only the loops take. */
TEST(every_rank_expands_by_the_same_rules) {
  uint64_t random = 23;
  for (int round = 0; round < 20000; round++) {
    int64_t old[TARN_RANK_MAX] = {0}, asked[TARN_RANK_MAX] = {0}, size[TARN_RANK_MAX] = {0};
    const int32_t rank = (int32_t)random_in(&random, 0, 6),
                  more = (int32_t)random_in(&random, 0, 3);
    bool fits = true;
    for (int32_t d = 0; d < rank; d++) old[d] = random_in(&random, 0, 3);
    for (int32_t d = 0; d < rank + more; d++) {
      const int64_t was = d < more ? 1 : old[d - more];
      asked[d] = random_in(&random, 0, 9) > 0 && d >= more ? was : random_in(&random, -1, 3);
      size[d] = asked[d] == -1 && d >= more ? was : asked[d];
      if (size[d] < 0 || (size[d] != was && was != 1)) fits = false;
    }
    tarn_layout layout, before;
    assert_ok(tarn_layout_init(&layout, rank, old));
    before = layout;
    const tarn_status status = tarn_layout_expand(&layout, rank + more, asked);
    assert_int_equal(status, fits ? TARN_OK : TARN_INVALID_ARGUMENT);
    if (!fits) {
      assert_memory_equal(&layout, &before, sizeof layout);
      continue;
    }
    assert_int_equal(layout.rank, rank + more);
    for (int32_t d = 0; d < rank + more; d++) {
      assert_int_equal(layout.shape[d], size[d]);
      const bool is_kept = d >= more && size[d] == old[d - more];
      assert_int_equal(layout.strides[d], is_kept ? before.strides[d - more] : 0);
    }
  }
}

/* --- dimensions of size 1, and too many elements --- */

TEST(expanding_beyond_63_bits_is_too_large) {
  tarn_layout layout;
  int64_t half = INT64_C(1) << 32;
  assert_int_equal(tarn_layout_init(&layout, SHAPE(half, 1)), TARN_OK);
  tarn_layout before = layout;
  assert_int_equal(tarn_layout_expand(&layout, SHAPE(half, half)), TARN_TOO_LARGE);
  assert_memory_equal(&layout, &before, sizeof layout);
  assert_int_equal(tarn_layout_expand(&layout, SHAPE(half, half / 2 - 1)), TARN_OK);
}

TEST(a_one_sized_dimension_comes_and_goes) {
  tarn_layout layout;
  assert_int_equal(tarn_layout_init(&layout, SHAPE(2, 3)), TARN_OK);
  assert_int_equal(tarn_layout_unsqueeze(&layout, 0), TARN_OK);
  assert_int_equal(layout.strides[0], 6); /* as PyTorch: size * stride of the next one */
  assert_int_equal(tarn_layout_unsqueeze(&layout, -1), TARN_OK);
  assert_int_equal(layout.strides[3], 1);
  assert_int_equal(tarn_layout_squeeze(&layout, 1), TARN_OK); /* size 2 stays */
  assert_int_equal(layout.rank, 4);
  tarn_layout_squeeze_all(&layout);
  assert_int_equal(layout.rank, 2);
  assert_int_equal(layout.shape[0], 2);
  assert_int_equal(layout.strides[0], 3);
}

TEST(several_dimensions_are_squeezed_at_once) {
  tarn_layout layout;
  assert_ok(tarn_layout_init(&layout, SHAPE(1, 2, 1, 3, 1)));
  assert_ok(tarn_layout_squeeze_dims(&layout, DIMS(0, 1, -1)));
  assert_layout(&layout, 0, SHAPE(2, 1, 3), STRIDES(3, 3, 1));
  REFUSED(tarn_layout_squeeze_dims(&layout, DIMS(1, -2)));
  REFUSED(tarn_layout_squeeze_dims(&layout, DIMS(3)));
  assert_ok(tarn_layout_squeeze_dims(&layout, 0, NULL));
  assert_int_equal(layout.rank, 3);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
