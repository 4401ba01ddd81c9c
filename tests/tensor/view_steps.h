/* view_steps.h: views chosen at random, and what each does to a list of elements. */
#ifndef TESTS_VIEW_STEPS_H
#define TESTS_VIEW_STEPS_H

#include "tests/tensor/layout_model.h"

/* How one view maps a new index to the old one. */
typedef struct view_step {
  enum {
    SELECT,
    SLICE,
    NARROW,
    PIECE, /* a narrow by split, chunk or array_split */
    PERMUTE,
    ORDER, /* a permute by movedim or reverse */
    TRANSPOSE,
    FLIP,
    UNFOLD,
    DIAGONAL,
    EXPAND,
    SQUEEZE,
    UNSQUEEZE,
    FLATTEN,   /* a view */
    UNFLATTEN, /* a view */
    VIEW
  } kind;
  int32_t dim, other_dim;
  uint32_t flipped;          /* a bit for each dimension */
  int64_t diagonal;          /* its offset */
  int64_t start, stop, step; /* of a slice as Python resolves it: start is an index */
  int32_t dims[TARN_RANK_MAX];
  int32_t rank;
  int64_t shape[TARN_RANK_MAX]; /* of the result */
} view_step;

/* The two dimensions of a diagonal run together along the new last one. */
static inline int64_t diagonal_index_of(const view_step *view, const model *old,
                                        const int64_t *index, int32_t d) {
  const int64_t along = index[old->rank - 2], offset = view->diagonal;
  if (d == view->dim) return along + (offset < 0 ? -offset : 0);
  if (d == view->other_dim) return along + (offset > 0 ? offset : 0);
  int32_t before = (d > view->dim) + (d > view->other_dim);
  return index[d - before];
}

static inline void old_index_of(const view_step *view, const model *old, const int64_t *index,
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
      case PIECE:
        old_index[d] = d == view->dim ? view->start + index[d] : index[d];
        break;
      case PERMUTE:
      case ORDER:
        for (int32_t n = 0; n < view->rank; n++) {
          if (view->dims[n] == d) old_index[d] = index[n];
        }
        break;
      case TRANSPOSE:
        old_index[d] = index[d == view->dim         ? view->other_dim
                             : d == view->other_dim ? view->dim
                                                    : d];
        break;
      case FLIP:
        old_index[d] = view->flipped & (1u << d) ? old->shape[d] - 1 - index[d] : index[d];
        break;
      case UNFOLD:
        old_index[d] = d == view->dim ? index[d] * view->step + index[old->rank] : index[d];
        break;
      case DIAGONAL:
        old_index[d] = diagonal_index_of(view, old, index, d);
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
      case FLATTEN:
      case UNFLATTEN:
      case VIEW:
        break; /* by place, not by index */
    }
  }
}

static inline void apply_to_model(const view_step *view, const model *old, model *made) {
  int64_t index[TARN_RANK_MAX], old_index[TARN_RANK_MAX] = {0};
  memset(made, 0, sizeof *made);
  made->rank = view->rank;
  memcpy(made->shape, view->shape, sizeof made->shape);
  made->count = model_count(made->rank, made->shape);
  for (int64_t i = 0; i < made->count; i++) {
    int64_t old_place = i;
    if (view->kind != VIEW && view->kind != FLATTEN && view->kind != UNFLATTEN) {
      model_unravel(made->rank, made->shape, i, index);
      old_index_of(view, old, index, old_index);
      old_place = model_ravel(old->rank, old->shape, old_index);
    }
    made->elements[i] = old->elements[old_place];
  }
}

static inline int32_t maybe_negative(uint64_t *random, int32_t dim, int32_t rank) {
  return random_in(random, 0, 1) ? dim : dim - rank;
}

/* A random slice of view->dim; its length is found by walking, not by the formula under test. */
static inline tarn_status random_slice(uint64_t *random, tarn_layout *layout, view_step *view) {
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

static inline tarn_status random_permute(uint64_t *random, tarn_layout *layout, view_step *view) {
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

static inline tarn_status random_expand(uint64_t *random, tarn_layout *layout, view_step *view) {
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
static inline tarn_status random_view(uint64_t *random, tarn_layout *layout, view_step *view) {
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

/* A piece of view->dim, found by cutting pieces off until it comes. */
static inline tarn_status random_piece(uint64_t *random, tarn_layout *layout, view_step *view) {
  const int64_t size = layout->shape[view->dim], how = random_in(random, 0, 2);
  const int64_t number = random_in(random, 1, 4),
                dim = maybe_negative(random, view->dim, view->rank);
  int64_t lengths[16] = {0}, count = 0, left = size, index = 0;
  const int64_t chunk = (size + number - 1) / number;
  const int64_t count_min = how == 2 || (how == 1 && size == 0) ? number : 1;
  for (; (left > 0 || count < count_min) && count < 16; count++) {
    if (how == 0) lengths[count] = left < number ? left : number;
    if (how == 1) lengths[count] = left < chunk ? left : chunk;
    if (how == 2) lengths[count] = (left + number - count - 1) / (number - count);
    left -= lengths[count];
  }
  index = random_in(random, 0, count - 1);
  for (int64_t i = 0; i < index; i++) view->start += lengths[i];
  view->shape[view->dim] = lengths[index];
  if (how == 0) return tarn_layout_split(layout, (int32_t)dim, number, index);
  if (how == 1) return tarn_layout_chunk(layout, (int32_t)dim, number, index);
  return tarn_layout_array_split(layout, (int32_t)dim, number, index);
}

/* movedim by taking the named ones out and putting them in again, the lowest place first. */
static inline tarn_status random_order(uint64_t *random, tarn_layout *layout, view_step *view) {
  const int32_t rank = layout->rank, how = (int32_t)random_in(random, 0, 3);
  int32_t from[TARN_RANK_MAX], to[TARN_RANK_MAX], count = 0;
  for (int32_t d = 0; d < rank; d++) view->dims[d] = how == 0 ? rank - 1 - d : -1;
  if (how > 0) {
    uint32_t moved = 0, taken = 0;
    for (int32_t i = (int32_t)random_in(random, 0, rank); i > 0; i--) {
      int32_t source = (int32_t)random_in(random, 0, rank - 1);
      int32_t place = (int32_t)random_in(random, 0, rank - 1);
      if (moved & (1u << source) || taken & (1u << place)) continue;
      moved |= 1u << source;
      taken |= 1u << place;
      view->dims[place] = source;
      from[count] = maybe_negative(random, source, rank);
      to[count++] = maybe_negative(random, place, rank);
    }
    for (int32_t d = 0; d < rank; d++) {
      if (moved & (1u << d)) continue;
      int32_t place = 0;
      while (view->dims[place] >= 0) place++;
      view->dims[place] = d;
    }
  }
  for (int32_t d = 0; d < rank; d++) view->shape[d] = layout->shape[view->dims[d]];
  if (how > 0) return tarn_layout_movedim(layout, count, from, to);
  tarn_layout_reverse(layout);
  return TARN_OK;
}

static inline tarn_status random_flip(uint64_t *random, tarn_layout *layout, view_step *view) {
  int32_t asked[TARN_RANK_MAX], count = 0;
  view->flipped = (uint32_t)random_in(random, 0, (1 << layout->rank) - 1);
  for (int32_t d = layout->rank - 1; d >= 0; d--) {
    if (view->flipped & (1u << d)) asked[count++] = maybe_negative(random, d, layout->rank);
  }
  return tarn_layout_flip(layout, count, asked);
}

static inline tarn_status random_unfold(uint64_t *random, tarn_layout *layout, view_step *view) {
  const int64_t old_size = layout->shape[view->dim];
  const int64_t size = random_in(random, 0, old_size < 4 ? old_size : 4);
  int64_t windows = 0;
  view->step = random_in(random, 1, 3);
  for (int64_t at = 0; at + size <= old_size; at += view->step) windows++;
  view->shape[view->dim] = windows;
  view->shape[view->rank++] = size;
  return tarn_layout_unfold(layout, maybe_negative(random, view->dim, layout->rank), size,
                            view->step);
}

static inline tarn_status random_diagonal(uint64_t *random, tarn_layout *layout, view_step *view) {
  const int32_t rank = layout->rank;
  view->other_dim = (int32_t)(view->dim + random_in(random, 1, rank - 1)) % rank;
  view->diagonal = random_in(random, -6, 6);
  int64_t length = 0, i = view->diagonal < 0 ? -view->diagonal : 0;
  int64_t j = view->diagonal > 0 ? view->diagonal : 0;
  for (; i < layout->shape[view->dim] && j < layout->shape[view->other_dim]; i++, j++) length++;
  view->rank = 0;
  for (int32_t d = 0; d < rank; d++) {
    if (d != view->dim && d != view->other_dim) view->shape[view->rank++] = layout->shape[d];
  }
  view->shape[view->rank++] = length;
  return tarn_layout_diagonal(layout, view->diagonal, maybe_negative(random, view->dim, rank),
                              maybe_negative(random, view->other_dim, rank));
}

static inline tarn_status random_flatten(uint64_t *random, tarn_layout *layout, view_step *view) {
  const int32_t last = (int32_t)random_in(random, view->dim, layout->rank - 1);
  const int32_t rank = layout->rank;
  view->rank = 0;
  for (int32_t d = 0; d < rank; d++) {
    if (d > view->dim && d <= last) {
      view->shape[view->rank - 1] *= layout->shape[d];
    } else {
      view->shape[view->rank++] = layout->shape[d];
    }
  }
  return tarn_layout_flatten(layout, maybe_negative(random, view->dim, rank),
                             maybe_negative(random, last, rank));
}

static inline tarn_status random_unflatten(uint64_t *random, tarn_layout *layout, view_step *view) {
  const int64_t size = layout->shape[view->dim];
  int64_t factor = random_in(random, 1, 4);
  while (size % factor != 0) factor--;
  int64_t asked[2] = {size / factor, factor};
  for (int32_t d = view->rank; d > view->dim + 1; d--) view->shape[d] = layout->shape[d - 1];
  view->rank++;
  view->shape[view->dim] = asked[0];
  view->shape[view->dim + 1] = asked[1];
  if (random_in(random, 0, 1)) asked[0] = -1;
  return tarn_layout_unflatten(layout, maybe_negative(random, view->dim, layout->rank), 2, asked);
}

/* Chooses a view that is legal for `layout`, applies it there and describes it in *view. */
static inline tarn_status random_step(uint64_t *random, tarn_layout *layout, view_step *view) {
  int32_t rank = layout->rank;
  *view = (view_step){.kind = (int)random_in(random, SELECT, VIEW), .rank = rank};
  if (rank == 0 && view->kind != EXPAND && view->kind != VIEW) view->kind = UNSQUEEZE;
  if (rank < 2 && view->kind == DIAGONAL) view->kind = UNSQUEEZE;
  if (rank > 7 && (view->kind == UNSQUEEZE || view->kind == UNFLATTEN)) view->kind = SELECT;
  if (view->kind == UNFOLD && (rank > 7 || tarn_layout_element_count(layout) > 1000)) {
    view->kind = SLICE;
  }
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
    case PIECE:
      return random_piece(random, layout, view);
    case ORDER:
      return random_order(random, layout, view);
    case FLIP:
      return random_flip(random, layout, view);
    case UNFOLD:
      return random_unfold(random, layout, view);
    case DIAGONAL:
      return random_diagonal(random, layout, view);
    case FLATTEN:
      return random_flatten(random, layout, view);
    case UNFLATTEN:
      return random_unflatten(random, layout, view);
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

#endif
