/* test_layout_view.c: tests of tensor/layout_view.c, and of all views in chains, against the model
 * of plain index lists. */

#include "tests/support/test.h"
#include "tests/tensor/view_steps.h"

#define SHAPE(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), ((int64_t[]){__VA_ARGS__})

TEST(chains_of_views_agree_with_index_lists) {
  static model current, next, seen;
  uint64_t random = 17;
  size_t steps_done = 0, done[VIEW + 1] = {0}, views_refused = 0;
  for (int chain = 0; chain < 10000; chain++) {
    tarn_layout layout = random_layout(&random, 4, 5, 200);
    model_of(&layout, &current);
    for (int i = 0; i < 8; i++) {
      tarn_layout before = layout;
      view_step view;
      tarn_status status = random_step(&random, &layout, &view);
      if (status == TARN_NOT_SUPPORTED && (view.kind == VIEW || view.kind == FLATTEN)) {
        assert_memory_equal(&layout, &before, sizeof layout);
        views_refused++;
        continue;
      }
      if (status != TARN_OK) fail_msg("chain %d: %s", chain, tarn_last_error()->message);
      apply_to_model(&view, &current, &next);
      model_of(&layout, &seen);
      if (!model_equal(&seen, &next)) fail_msg("chain %d step %d kind %d", chain, i, view.kind);
      current = next;
      steps_done++;
      done[view.kind]++;
    }
  }
  assert_true(steps_done > 50000 && views_refused > 500);
  for (int kind = SELECT; kind <= VIEW; kind++) assert_true(done[kind] > 500);
}

/* --- slice --- */

/* What Python's slice.indices says for every pair of these bounds, start by start: each character
 * is length * 4 + first index, in base 32. */
#define NONE TARN_SLICE_OPEN
static const int64_t bounds[] = {NONE, -6, -4, -1, 0, 2, 4, 6};
enum { BOUND_COUNT = sizeof bounds / sizeof bounds[0] };
static const struct {
  int64_t size, step;
  const char *answers;
} slice_rows[] = {
    {0, 1, "0000000000000000000000000000000000000000000000000000000000000000"},
    {0, 3, "0000000000000000000000000000000000000000000000000000000000000000"},
    {0, -1, "0000000000000000000000000000000000000000000000000000000000000000"},
    {0, -2, "0000000000000000000000000000000000000000000000000000000000000000"},
    {1, 1, "4000044440000444400004444000044440000444000000000000000000000000"},
    {1, 3, "4000044440000444400004444000044440000444000000000000000000000000"},
    {1, -1, "4440000000000000000000004440000044400000444000004440000044400000"},
    {1, -2, "4440000000000000000000004440000044400000444000004440000044400000"},
    {4, 1, "g00c08ggg00c08ggg00c08gg70000077g00c08gga00600aa0000000000000000"},
    {4, 3, "8004048880040488800404887000007780040488600600660000000000000000"},
    {4, -1, "jjf0f7000000000044000000jjf0f70044000000eea0a000jjf0f700jjf0f700"},
    {4, -2, "bbb0b7000000000044000000bbb0b70044000000aa606000bbb0b700bbb0b700"},
};

TEST(slices_agree_with_python) {
  for (size_t row = 0; row < sizeof slice_rows / sizeof slice_rows[0]; row++) {
    for (size_t i = 0; i < BOUND_COUNT * BOUND_COUNT; i++) {
      char c = slice_rows[row].answers[i];
      int64_t answer = c <= '9' ? c - '0' : c - 'a' + 10;
      tarn_layout layout = {1, 100, {slice_rows[row].size}, {7}};
      int64_t start = bounds[i / BOUND_COUNT], stop = bounds[i % BOUND_COUNT];
      assert_int_equal(tarn_layout_slice(&layout, 0, start, stop, slice_rows[row].step), TARN_OK);
      if (layout.shape[0] != answer / 4 || layout.offset != 100 + answer % 4 * 7) {
        fail_msg("%d[%d:%d:%d]", (int)slice_rows[row].size, (int)start, (int)stop,
                 (int)slice_rows[row].step);
      }
      assert_int_equal(layout.strides[0], 7 * slice_rows[row].step);
    }
  }
}

TEST(extreme_slices_do_not_overflow) {
  tarn_layout layout = {1, 0, {INT64_MAX}, {1}};
  assert_int_equal(tarn_layout_slice(&layout, 0, INT64_MIN + 1, INT64_MAX, INT64_MAX), TARN_OK);
  assert_int_equal(layout.shape[0], 1);
  layout = (tarn_layout){1, 0, {INT64_MAX}, {1}};
  assert_int_equal(tarn_layout_slice(&layout, 0, INT64_MAX, INT64_MIN + 1, INT64_MIN), TARN_OK);
  assert_int_equal(layout.shape[0], 1);
  assert_int_equal(layout.offset, INT64_MAX - 1);
  layout = (tarn_layout){1, 0, {INT64_MAX}, {1}};
  assert_int_equal(tarn_layout_slice(&layout, 0, NONE, NONE, -1), TARN_OK);
  assert_int_equal(layout.shape[0], INT64_MAX);
  assert_int_equal(layout.strides[0], -1);
  layout = (tarn_layout){1, 0, {3}, {INT64_MAX / 4}};
  assert_int_equal(tarn_layout_slice(&layout, 0, 1, 2, INT64_MAX), TARN_OK);
  assert_int_equal(layout.shape[0], 1);
  assert_int_equal(layout.offset, INT64_MAX / 4);
}

/* --- pieces, windows, diagonals --- */

/* As PyTorch's split, chunk and tensor_split: how many pieces there are, and their sizes. */
TEST(pieces_end_where_pytorchs_do) {
  typedef tarn_status (*cut)(tarn_layout *, int32_t, int64_t, int64_t);
  static const struct {
    cut cut;
    int64_t size, number, count, pieces[5];
  } rows[] = {
      {tarn_layout_split, 10, 4, 3, {4, 4, 2}},
      {tarn_layout_split, 8, 4, 2, {4, 4}},
      {tarn_layout_split, 3, 9, 1, {3}},
      {tarn_layout_split, 0, 4, 1, {0}},
      {tarn_layout_split, 0, 0, 1, {0}},
      {tarn_layout_split, 3, INT64_MAX, 1, {3}},
      {tarn_layout_chunk, 10, 4, 4, {3, 3, 3, 1}},
      {tarn_layout_chunk, 5, 4, 3, {2, 2, 1}}, /* fewer than asked for */
      {tarn_layout_chunk, 2, 5, 2, {1, 1}},
      {tarn_layout_chunk, 0, 3, 3, {0, 0, 0}},
      {tarn_layout_array_split, 10, 4, 4, {3, 3, 2, 2}},
      {tarn_layout_array_split, 2, 4, 4, {1, 1, 0, 0}},
      {tarn_layout_array_split, 0, 3, 3, {0, 0, 0}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    int64_t start = 0;
    for (int64_t piece = 0; piece <= rows[i].count; piece++) {
      tarn_layout layout = {1, 100, {rows[i].size}, {7}};
      const tarn_status status = rows[i].cut(&layout, -1, rows[i].number, piece);
      if (piece == rows[i].count) {
        assert_int_equal(status, TARN_INVALID_ARGUMENT);
        assert_int_equal(layout.shape[0], rows[i].size);
        continue;
      }
      assert_int_equal(status, TARN_OK);
      assert_int_equal(layout.shape[0], rows[i].pieces[piece]);
      if (layout.shape[0] > 0) assert_int_equal(layout.offset, 100 + 7 * start);
      start += layout.shape[0];
    }
    assert_int_equal(start, rows[i].size);
  }
}

TEST(windows_overlap_where_the_step_is_short) {
  tarn_layout layout;
  assert_int_equal(tarn_layout_init(&layout, SHAPE(2, 7)), TARN_OK);
  assert_int_equal(tarn_layout_unfold(&layout, 1, 3, 2), TARN_OK);
  assert_int_equal(layout.rank, 3);
  assert_memory_equal(layout.shape, ((int64_t[]){2, 3, 3}), 24);
  assert_memory_equal(layout.strides, ((int64_t[]){7, 2, 1}), 24);
  assert_true(tarn_layout_overlaps_itself(&layout));
  assert_int_equal(tarn_layout_unfold(&layout, 0, 2, INT64_MAX), TARN_OK);
  assert_int_equal(layout.shape[0], 1); /* one window, whatever the step */
}

TEST(windows_beyond_63_bits_are_too_large) {
  const int64_t half = INT64_C(1) << 33;
  tarn_layout layout;
  assert_int_equal(tarn_layout_init(&layout, SHAPE(half)), TARN_OK);
  const tarn_layout before = layout;
  assert_int_equal(tarn_layout_unfold(&layout, 0, half / 2, 1), TARN_TOO_LARGE);
  assert_memory_equal(&layout, &before, sizeof layout);
}

TEST(a_diagonal_far_outside_is_empty) {
  static const int64_t offsets[] = {3, -2, INT64_MAX, INT64_MIN, INT64_MIN + 1};
  for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
    tarn_layout layout;
    assert_int_equal(tarn_layout_init(&layout, SHAPE(2, 3)), TARN_OK);
    assert_int_equal(tarn_layout_diagonal(&layout, offsets[i], 0, 1), TARN_OK);
    assert_int_equal(layout.rank, 1);
    assert_int_equal(layout.shape[0], 0);
    assert_int_equal(layout.offset, 0);
  }
  tarn_layout layout = {2, 0, {INT64_MAX, INT64_MAX}, {0, 0}};
  assert_int_equal(tarn_layout_diagonal(&layout, INT64_MIN, 0, 1), TARN_OK);
  assert_int_equal(layout.shape[0], 0);
}

TEST(a_diagonal_whose_stride_overflows_is_too_large) {
  const int64_t wide = INT64_C(1) << 62;
  tarn_layout layout;
  assert_int_equal(
      tarn_layout_init_strided(&layout, SHAPE(2, 2), (int64_t[]){wide, wide}, -wide - 1), TARN_OK);
  const tarn_layout before = layout;
  assert_int_equal(tarn_layout_diagonal(&layout, 0, 0, 1), TARN_TOO_LARGE);
  assert_memory_equal(&layout, &before, sizeof layout);
  assert_int_equal(tarn_layout_diagonal(&layout, 1, 0, 1), TARN_OK); /* one element */
  assert_int_equal(layout.offset, -1);
}

/* --- what is refused --- */

#define REFUSED(call)                                     \
  do {                                                    \
    tarn_layout before = layout;                          \
    assert_int_equal(call, TARN_INVALID_ARGUMENT);        \
    assert_memory_equal(&layout, &before, sizeof layout); \
  } while (0)

TEST(a_refused_view_leaves_the_layout_as_it_was) {
  tarn_layout layout, scalar = {0};
  assert_int_equal(tarn_layout_init(&layout, SHAPE(2, 3, 1)), TARN_OK);
  REFUSED(tarn_layout_select(&layout, 3, 0));
  REFUSED(tarn_layout_select(&layout, -4, 0));
  REFUSED(tarn_layout_select(&layout, INT32_MIN, 0));
  REFUSED(tarn_layout_select(&layout, 1, 3));
  REFUSED(tarn_layout_select(&layout, 1, -4));
  REFUSED(tarn_layout_select(&layout, 1, INT64_MIN));
  REFUSED(tarn_layout_slice(&layout, 1, 0, 2, 0));
  REFUSED(tarn_layout_slice(&layout, 5, 0, 2, 1));
  REFUSED(tarn_layout_narrow(&layout, 1, -1, 1));
  REFUSED(tarn_layout_narrow(&layout, 1, 2, 2));
  REFUSED(tarn_layout_narrow(&layout, 1, 4, 0));
  REFUSED(tarn_layout_narrow(&layout, 1, 1, -1));
  REFUSED(tarn_layout_narrow(&layout, 1, 1, INT64_MAX));
  REFUSED(tarn_layout_permute(&layout, 2, (int32_t[]){0, 1}));
  REFUSED(tarn_layout_permute(&layout, 3, (int32_t[]){0, 1, -2}));
  REFUSED(tarn_layout_permute(&layout, 3, (int32_t[]){0, 1, 3}));
  REFUSED(tarn_layout_permute(&layout, 3, NULL));
  REFUSED(tarn_layout_transpose(&layout, 0, 3));
  REFUSED(tarn_layout_transpose(&layout, -4, 0));
  REFUSED(tarn_layout_expand(&layout, SHAPE(3, 1)));
  REFUSED(tarn_layout_expand(&layout, INT32_MIN, (int64_t[]){1}));
  REFUSED(tarn_layout_expand(&layout, SHAPE(-1, 2, 3, 1)));
  REFUSED(tarn_layout_expand(&layout, SHAPE(2, 4, 1)));
  REFUSED(tarn_layout_expand(&layout, SHAPE(2, 3, -2)));
  REFUSED(tarn_layout_expand(&layout, 13, (int64_t[13]){0}));
  REFUSED(tarn_layout_squeeze(&layout, 3));
  REFUSED(tarn_layout_unsqueeze(&layout, 4));
  REFUSED(tarn_layout_unsqueeze(&layout, -5));
  REFUSED(tarn_layout_split(&layout, 3, 1, 0));
  REFUSED(tarn_layout_split(&layout, 1, 0, 0));
  REFUSED(tarn_layout_split(&layout, 1, -1, 0));
  REFUSED(tarn_layout_split(&layout, 1, 2, -1));
  REFUSED(tarn_layout_chunk(&layout, 3, 1, 0));
  REFUSED(tarn_layout_chunk(&layout, 1, 0, 0));
  REFUSED(tarn_layout_array_split(&layout, -4, 1, 0));
  REFUSED(tarn_layout_array_split(&layout, 1, 0, 0));
  REFUSED(tarn_layout_unfold(&layout, 3, 1, 1));
  REFUSED(tarn_layout_unfold(&layout, 1, 4, 1));
  REFUSED(tarn_layout_unfold(&layout, 1, -1, 1));
  REFUSED(tarn_layout_unfold(&layout, 1, 1, 0));
  REFUSED(tarn_layout_diagonal(&layout, 0, 1, -2));
  REFUSED(tarn_layout_diagonal(&layout, 0, 0, 3));
  REFUSED(tarn_layout_diagonal(&layout, 0, -4, 0));
  REFUSED(tarn_layout_flatten(&layout, 2, 1));
  REFUSED(tarn_layout_flatten(&layout, 0, 3));
  REFUSED(tarn_layout_unflatten(&layout, 3, SHAPE(1, 1)));
  REFUSED(tarn_layout_unflatten(&layout, 1, SHAPE(2, 2)));
  REFUSED(tarn_layout_unflatten(&layout, 1, SHAPE(2, -1)));
  REFUSED(tarn_layout_unflatten(&layout, 1, 0, NULL));
  REFUSED(tarn_layout_unflatten(&layout, 1, 2, NULL));
  REFUSED(tarn_layout_unflatten(&layout, 1, 11, (int64_t[11]){3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}));
  layout = scalar;
  REFUSED(tarn_layout_select(&layout, 0, 0));
  REFUSED(tarn_layout_squeeze(&layout, 0));
  REFUSED(tarn_layout_unfold(&layout, 0, 1, 1));
  REFUSED(tarn_layout_flatten(&layout, 1, 1));
  layout.rank = TARN_RANK_MAX;
  REFUSED(tarn_layout_unsqueeze(&layout, 0));
  REFUSED(tarn_layout_unfold(&layout, 0, 0, 1));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
