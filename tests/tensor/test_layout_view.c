/* test_layout_view.c: tests of tensor/layout_view.c against the model of plain index lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/tensor/layout_model.h"

#define SHAPE(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), ((int64_t[]){__VA_ARGS__})

/* --- chains of views --- */

/* How one view maps a new index to the old one. */
typedef struct view_step {
  enum { SELECT, SLICE, NARROW, PERMUTE, TRANSPOSE, EXPAND, SQUEEZE, UNSQUEEZE, VIEW } kind;
  int32_t dim, other_dim;
  int64_t start, stop, step; /* of a slice as Python resolves it: start is an index */
  int32_t dims[TARN_RANK_MAX];
  int32_t rank;
  int64_t shape[TARN_RANK_MAX]; /* of the result */
} view_step;

static void old_index_of(const view_step *view, const model *old, const int64_t *index,
                         int64_t *old_index) {
  int32_t missing = view->rank - old->rank;
  for (int32_t d = 0; d < old->rank; d++) {
    switch (view->kind) {
      case SELECT:
        old_index[d] = d < view->dim ? index[d] : d == view->dim ? view->start : index[d - 1];
        break;
      case SLICE:
        old_index[d] = d == view->dim ? view->start + index[d] * view->step : index[d];
        break;
      case NARROW:
        old_index[d] = d == view->dim ? view->start + index[d] : index[d];
        break;
      case PERMUTE:
        for (int32_t n = 0; n < view->rank; n++) {
          if (view->dims[n] == d) old_index[d] = index[n];
        }
        break;
      case TRANSPOSE:
        old_index[d] = index[d == view->dim         ? view->other_dim
                             : d == view->other_dim ? view->dim
                                                    : d];
        break;
      case EXPAND:
        old_index[d] = old->shape[d] == 1 ? 0 : index[d + missing];
        break;
      case SQUEEZE:
        old_index[d] = d < view->dim ? index[d] : d == view->dim ? 0 : index[d - 1];
        break;
      case UNSQUEEZE:
        old_index[d] = d < view->dim ? index[d] : index[d + 1];
        break;
      case VIEW:
        break; /* by place, not by index */
    }
  }
}

static void apply_to_model(const view_step *view, const model *old, model *made) {
  int64_t index[TARN_RANK_MAX], old_index[TARN_RANK_MAX] = {0};
  memset(made, 0, sizeof *made);
  made->rank = view->rank;
  memcpy(made->shape, view->shape, sizeof made->shape);
  made->count = model_count(made->rank, made->shape);
  for (int64_t i = 0; i < made->count; i++) {
    int64_t old_place = i;
    if (view->kind != VIEW) {
      model_unravel(made->rank, made->shape, i, index);
      old_index_of(view, old, index, old_index);
      old_place = model_ravel(old->rank, old->shape, old_index);
    }
    made->elements[i] = old->elements[old_place];
  }
}

static int32_t maybe_negative(uint64_t *random, int32_t dim, int32_t rank) {
  return random_in(random, 0, 1) ? dim : dim - rank;
}

/* A random slice of view->dim; its length is found by walking, not by the formula under test. */
static tarn_status random_slice(uint64_t *random, tarn_layout *layout, view_step *view) {
  int64_t size = layout->shape[view->dim];
  int64_t step = random_in(random, 1, 3) * (random_in(random, 0, 1) ? 1 : -1);
  view->step = step;
  view->start = size > 0 ? random_in(random, 0, size - 1) : 0;
  view->stop = random_in(random, 0, size + 2);
  int64_t length = 0;
  for (int64_t at = view->start; at >= 0 && at < size; at += step) {
    if (step > 0 ? at >= view->stop : at <= view->stop) break;
    length++;
  }
  view->shape[view->dim] = length;
  int64_t start = random_in(random, 0, 1) && size > 0 ? view->start - size : view->start;
  return tarn_layout_slice(layout, maybe_negative(random, view->dim, layout->rank), start,
                           view->stop, step);
}

static tarn_status random_permute(uint64_t *random, tarn_layout *layout, view_step *view) {
  int32_t asked[TARN_RANK_MAX];
  for (int32_t d = 0; d < layout->rank; d++) view->dims[d] = d;
  for (int32_t d = layout->rank - 1; d > 0; d--) {
    int32_t other = (int32_t)random_in(random, 0, d), held = view->dims[d];
    view->dims[d] = view->dims[other];
    view->dims[other] = held;
  }
  for (int32_t d = 0; d < layout->rank; d++) {
    view->shape[d] = layout->shape[view->dims[d]];
    asked[d] = maybe_negative(random, view->dims[d], layout->rank);
  }
  return tarn_layout_permute(layout, layout->rank, asked);
}

static tarn_status random_expand(uint64_t *random, tarn_layout *layout, view_step *view) {
  int64_t asked[TARN_RANK_MAX], count = tarn_layout_element_count(layout);
  int32_t missing = layout->rank < 6 ? (int32_t)random_in(random, 0, 2) : 0;
  view->rank = layout->rank + missing;
  for (int32_t d = 0; d < view->rank; d++) {
    int64_t old = d < missing ? 1 : layout->shape[d - missing];
    int64_t grown = count < MODEL_ELEMENTS_MAX / 16 ? random_in(random, 1, 3) : 1;
    view->shape[d] = old == 1 ? grown : old;
    if (old == 1) count *= grown;
    asked[d] = d >= missing && view->shape[d] == old && grown == 2 ? -1 : view->shape[d];
  }
  return tarn_layout_expand(layout, view->rank, asked);
}

/* A shape of as many elements: factors of the count, at random. */
static tarn_status random_view(uint64_t *random, tarn_layout *layout, view_step *view) {
  int64_t left = tarn_layout_element_count(layout);
  view->rank = 0;
  if (left == 0) view->shape[view->rank++] = 0;
  while (left > 1 && view->rank < 6) {
    int64_t factor = random_in(random, 1, 6);
    if (left % factor != 0) continue;
    view->shape[view->rank++] = factor;
    left /= factor;
    if (random_in(random, 0, 3) == 0) break;
  }
  if (left > 1) view->shape[view->rank++] = left;
  int64_t asked[TARN_RANK_MAX];
  memcpy(asked, view->shape, sizeof asked);
  if (view->rank > 0 && model_count(view->rank, asked) > 0 && random_in(random, 0, 1)) {
    asked[random_in(random, 0, view->rank - 1)] = -1;
  }
  return tarn_layout_view(layout, view->rank, asked);
}

/* Chooses a view that is legal for `layout`, applies it there and describes it in *view. */
static tarn_status random_step(uint64_t *random, tarn_layout *layout, view_step *view) {
  int32_t rank = layout->rank;
  *view = (view_step){.kind = (int)random_in(random, SELECT, VIEW), .rank = rank};
  if (rank == 0 && view->kind < EXPAND) view->kind = UNSQUEEZE;
  if (rank > 7 && view->kind == UNSQUEEZE) view->kind = SELECT;
  memcpy(view->shape, layout->shape, sizeof(int64_t) * (size_t)rank);
  if (rank > 0) view->dim = (int32_t)random_in(random, 0, rank - 1);
  int32_t asked = maybe_negative(random, view->dim, rank);
  int64_t size = rank > 0 ? view->shape[view->dim] : 0;
  switch (view->kind) {
    case SELECT:
      if (size == 0 || size > 3) return random_slice(random, layout, (view->kind = SLICE, view));
      view->rank--;
      memmove(view->shape + view->dim, view->shape + view->dim + 1,
              sizeof(int64_t) * (size_t)(view->rank - view->dim));
      view->start = random_in(random, 0, size - 1);
      return tarn_layout_select(layout, asked, view->start - (random_in(random, 0, 1) ? size : 0));
    case SLICE:
      return random_slice(random, layout, view);
    case NARROW:
      view->start = random_in(random, 0, size);
      view->shape[view->dim] = random_in(random, size > view->start, size - view->start);
      return tarn_layout_narrow(layout, asked, view->start, view->shape[view->dim]);
    case PERMUTE:
      return random_permute(random, layout, view);
    case TRANSPOSE:
      view->other_dim = (int32_t)random_in(random, 0, rank - 1);
      view->shape[view->dim] = layout->shape[view->other_dim];
      view->shape[view->other_dim] = size;
      return tarn_layout_transpose(layout, asked, view->other_dim);
    case EXPAND:
      return random_expand(random, layout, view);
    case SQUEEZE:
      if (size != 1) view->kind = PERMUTE; /* changes nothing: the permutation that keeps all */
      for (int32_t d = 0; d < rank; d++) view->dims[d] = d;
      if (size == 1 && rank > 0) {
        view->rank--;
        memmove(view->shape + view->dim, view->shape + view->dim + 1,
                sizeof(int64_t) * (size_t)(view->rank - view->dim));
      }
      return rank > 0 ? tarn_layout_squeeze(layout, asked) : TARN_OK;
    case UNSQUEEZE:
      view->dim = (int32_t)random_in(random, 0, rank);
      view->rank++;
      memmove(view->shape + view->dim + 1, view->shape + view->dim,
              sizeof(int64_t) * (size_t)(rank - view->dim));
      view->shape[view->dim] = 1;
      return tarn_layout_unsqueeze(layout, maybe_negative(random, view->dim, rank + 1));
    case VIEW:
      return random_view(random, layout, view);
  }
  return TARN_INVALID_ARGUMENT;
}

static void chains_of_views_agree_with_index_lists(void **state) {
  (void)state;
  static model current, next, seen;
  uint64_t random = 17;
  size_t steps_done = 0, views_done = 0, views_refused = 0;
  for (int chain = 0; chain < 6000; chain++) {
    tarn_layout layout = random_layout(&random, 4, 5, 200);
    model_of(&layout, &current);
    for (int i = 0; i < 8; i++) {
      tarn_layout before = layout;
      view_step view;
      tarn_status status = random_step(&random, &layout, &view);
      if (status == TARN_NOT_SUPPORTED && view.kind == VIEW) {
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
      views_done += view.kind == VIEW;
    }
  }
  assert_true(steps_done > 30000 && views_done > 500 && views_refused > 500);
}

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

static void view_refuses_exactly_what_no_strides_express(void **state) {
  (void)state;
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

static void known_views_have_known_strides(void **state) {
  (void)state;
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

static void slices_agree_with_python(void **state) {
  (void)state;
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

static void extreme_slices_do_not_overflow(void **state) {
  (void)state;
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

/* --- as_strided, and what is refused --- */

static tarn_status strided(tarn_layout *layout, int64_t rows, int64_t columns, int64_t row_stride,
                           int64_t column_stride, int64_t offset) {
  return tarn_layout_as_strided(layout, 2, (int64_t[]){rows, columns},
                                (int64_t[]){row_stride, column_stride}, offset, /*elements=*/24);
}

static void as_strided_reaches_the_last_element_and_no_further(void **state) {
  (void)state;
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

#define REFUSED(call)                                     \
  do {                                                    \
    tarn_layout before = layout;                          \
    assert_int_equal(call, TARN_INVALID_ARGUMENT);        \
    assert_memory_equal(&layout, &before, sizeof layout); \
  } while (0)

static void a_refused_view_leaves_the_layout_as_it_was(void **state) {
  (void)state;
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
  REFUSED(tarn_layout_expand(&layout, SHAPE(-1, 2, 3, 1)));
  REFUSED(tarn_layout_expand(&layout, SHAPE(2, 4, 1)));
  REFUSED(tarn_layout_expand(&layout, SHAPE(2, 3, -2)));
  REFUSED(tarn_layout_expand(&layout, 13, (int64_t[13]){0}));
  REFUSED(tarn_layout_squeeze(&layout, 3));
  REFUSED(tarn_layout_unsqueeze(&layout, 4));
  REFUSED(tarn_layout_unsqueeze(&layout, -5));
  layout = scalar;
  REFUSED(tarn_layout_select(&layout, 0, 0));
  REFUSED(tarn_layout_squeeze(&layout, 0));
  layout.rank = TARN_RANK_MAX;
  REFUSED(tarn_layout_unsqueeze(&layout, 0));
}

static void expanding_beyond_63_bits_is_too_large(void **state) {
  (void)state;
  tarn_layout layout;
  int64_t half = INT64_C(1) << 32;
  assert_int_equal(tarn_layout_init(&layout, SHAPE(half, 1)), TARN_OK);
  tarn_layout before = layout;
  assert_int_equal(tarn_layout_expand(&layout, SHAPE(half, half)), TARN_TOO_LARGE);
  assert_memory_equal(&layout, &before, sizeof layout);
  assert_int_equal(tarn_layout_expand(&layout, SHAPE(half, half / 2 - 1)), TARN_OK);
}

static void a_one_sized_dimension_comes_and_goes(void **state) {
  (void)state;
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(chains_of_views_agree_with_index_lists),
      cmocka_unit_test(view_refuses_exactly_what_no_strides_express),
      cmocka_unit_test(known_views_have_known_strides),
      cmocka_unit_test(slices_agree_with_python),
      cmocka_unit_test(extreme_slices_do_not_overflow),
      cmocka_unit_test(as_strided_reaches_the_last_element_and_no_further),
      cmocka_unit_test(a_refused_view_leaves_the_layout_as_it_was),
      cmocka_unit_test(expanding_beyond_63_bits_is_too_large),
      cmocka_unit_test(a_one_sized_dimension_comes_and_goes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
