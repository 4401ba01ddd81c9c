/* test_layout_overlap.c: tests of tensor/layout_overlap.c against marking every element. */

#include "tensor/layout.h"
#include "tests/support/test.h"
#include "tests/tensor/layout_model.h"

enum { MARKS = 1 << 16, MARK_ORIGIN = MARKS / 2 };

/* Marks the bytes of every element; true where one was marked already. */
static bool mark(const tarn_layout *layout, int64_t start_bytes, int64_t element_bytes,
                 uint8_t *marks) {
  model all;
  model_of(layout, &all);
  bool met = false;
  for (int64_t i = 0; i < all.count; i++) {
    for (int64_t b = 0; b < element_bytes; b++) {
      int64_t at = MARK_ORIGIN + start_bytes + all.elements[i] * element_bytes + b;
      assert_in_range(at, 0, MARKS - 1);
      met |= marks[at] != 0;
      marks[at] = 1;
    }
  }
  return met;
}

/* A layout whose strides interleave without nesting. */
static tarn_layout random_comb(uint64_t *random) {
  tarn_layout layout = {.rank = (int32_t)random_in(random, 1, 4)};
  static const int64_t size_max[] = {0, 40, 14, 8, 5};
  for (int32_t d = 0; d < layout.rank; d++) {
    layout.shape[d] = random_in(random, 1, size_max[layout.rank]);
    layout.strides[d] = random_in(random, -90, 90);
  }
  layout.offset = random_in(random, -20, 20);
  return layout;
}

TEST(self_overlap_agrees_with_marking) {
  uint64_t random = 7;
  size_t overlapping = 0;
  for (int round = 0; round < 30000; round++) {
    static uint8_t marks[MARKS];
    tarn_layout layout = round % 2 ? random_comb(&random) : random_layout(&random, 5, 6, 600);
    memset(marks, 0, sizeof marks);
    bool expected = mark(&layout, 0, 1, marks);
    if (tarn_layout_overlaps_itself(&layout) != expected) fail_msg("round %d", round);
    overlapping += expected;
  }
  assert_in_range(overlapping, 3000, 27000);
}

TEST(meeting_agrees_with_marking) {
  uint64_t random = 11;
  size_t meeting = 0, apart = 0;
  for (int round = 0; round < 30000; round++) {
    static uint8_t marks[MARKS];
    tarn_layout a = round % 2 ? random_comb(&random) : random_layout(&random, 4, 5, 100);
    tarn_layout b = round % 4 < 2 ? random_comb(&random) : random_layout(&random, 4, 5, 100);
    int64_t element_bytes = random_in(&random, 1, 4);
    int64_t distance = random_in(&random, -60, 60) * (round % 3 == 0 ? 1 : element_bytes);
    if (round % 5 == 0) distance *= 8;
    memset(marks, 0, sizeof marks);
    (void)mark(&a, 0, element_bytes, marks);
    model other;
    model_of(&b, &other);
    bool expected = false;
    for (int64_t i = 0; i < other.count * element_bytes; i++) {
      int64_t at = other.elements[i / element_bytes] * element_bytes + i % element_bytes;
      expected |= marks[MARK_ORIGIN + distance + at] != 0;
    }
    bool got = tarn__layouts_meet(&a, &b, distance, (size_t)element_bytes);
    if (got != expected) fail_msg("round %d", round);
    if (tarn__layouts_meet(&b, &a, -distance, (size_t)element_bytes) != expected) {
      fail_msg("round %d, the other way round", round);
    }
    meeting += expected;
    apart += !expected;
  }
  assert_true(meeting > 3000 && apart > 3000);
}

static bool overlaps(int32_t rank, const int64_t *shape, const int64_t *strides) {
  tarn_layout layout;
  assert_int_equal(tarn_layout_init_strided(&layout, rank, shape, strides, 0), TARN_OK);
  return tarn_layout_overlaps_itself(&layout);
}

#define OVERLAPS(rank, ...) \
  overlaps(rank, (const int64_t[]){__VA_ARGS__}, (const int64_t[]){__VA_ARGS__} + rank)

TEST(known_layouts_are_decided) {
  assert_true(OVERLAPS(2, 3, 3, 1, 1)); /* PyTorch: too hard */
  assert_true(OVERLAPS(2, 3, 3, 0, 1));
  assert_false(OVERLAPS(2, 1, 3, 0, 1)); /* nobody sees the stride of a size of 1 */
  assert_false(OVERLAPS(2, 0, 3, 0, 0)); /* no elements */
  assert_false(OVERLAPS(2, 3, 2, 2, 3)); /* 0 3 2 5 4 7: the strides interleave without meeting */
  assert_true(OVERLAPS(2, 4, 3, 2, 3));  /* 6 is 3 * 2 and 2 * 3 */
  assert_false(OVERLAPS(2, 4, 3, -3, 1));
}

/* Sizes where marking every element would take gigabytes; the nested and the coprime case. */
TEST(huge_layouts_are_decided_at_once) {
  int64_t big = INT64_C(1) << 30;
  assert_false(OVERLAPS(2, big, big, big, 1));
  assert_false(OVERLAPS(2, big, big - 1, big, -1));
  assert_true(OVERLAPS(2, big, big, big - 1, 1));
  assert_false(OVERLAPS(2, big, big, big + 1, big)); /* first meet at big * (big + 1) */
  assert_true(OVERLAPS(2, big + 1, big + 2, big + 1, big));
  assert_false(OVERLAPS(2, 2, 2, INT64_MAX - 2, 1));
  assert_false(OVERLAPS(1, 2, INT64_MIN + 1));
  tarn_layout left = {2, 0, {big, big / 2}, {big, 1}};
  tarn_layout right = left;
  right.offset = big / 2;
  assert_false(tarn__layouts_meet(&left, &right, 0, 4));
  right.offset--;
  assert_true(tarn__layouts_meet(&left, &right, 0, 4));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
