/* layout_model.h: a layout as what it means: the list of its elements' numbers, index by index. */
#ifndef TESTS_LAYOUT_MODEL_H
#define TESTS_LAYOUT_MODEL_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tarn_layout.h"

enum { MODEL_ELEMENTS_MAX = 4096 };

typedef struct model {
  int32_t rank;
  int64_t shape[TARN_RANK_MAX];
  int64_t count;
  int64_t elements[MODEL_ELEMENTS_MAX]; /* row-major */
} model;

/* Sebastiano Vigna's splitmix64 (public domain algorithm): the same numbers on every machine. */
static inline uint64_t random_next(uint64_t *state) {
  uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* In [low, high]. */
static inline int64_t random_in(uint64_t *state, int64_t low, int64_t high) {
  return low + (int64_t)(random_next(state) % (uint64_t)(high - low + 1));
}

static inline int64_t model_count(int32_t rank, const int64_t *shape) {
  int64_t count = 1;
  for (int32_t d = 0; d < rank; d++) count *= shape[d];
  return count;
}

/* The index at place `flat` in row-major order. */
static inline void model_unravel(int32_t rank, const int64_t *shape, int64_t flat, int64_t *index) {
  for (int32_t d = rank - 1; d >= 0; d--) {
    index[d] = flat % shape[d];
    flat /= shape[d];
  }
}

static inline int64_t model_ravel(int32_t rank, const int64_t *shape, const int64_t *index) {
  int64_t flat = 0;
  for (int32_t d = 0; d < rank; d++) flat = flat * shape[d] + index[d];
  return flat;
}

static inline tarn_layout row_major(int32_t rank, const int64_t *shape) {
  tarn_layout layout;
  if (tarn_layout_init(&layout, rank, shape) != TARN_OK) abort();
  return layout;
}
#define ROW_MAJOR(...) \
  row_major((int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static inline int64_t layout_element(const tarn_layout *layout, const int64_t *index) {
  int64_t element = layout->offset;
  for (int32_t d = 0; d < layout->rank; d++) element += index[d] * layout->strides[d];
  return element;
}

static inline void model_of(const tarn_layout *layout, model *made) {
  int64_t index[TARN_RANK_MAX];
  memset(made, 0, sizeof *made);
  made->rank = layout->rank;
  memcpy(made->shape, layout->shape, sizeof(int64_t) * (size_t)layout->rank);
  made->count = model_count(made->rank, made->shape);
  for (int64_t i = 0; i < made->count; i++) {
    model_unravel(made->rank, made->shape, i, index);
    made->elements[i] = layout_element(layout, index);
  }
}

static inline bool model_equal(const model *a, const model *b) {
  return a->rank == b->rank && a->count == b->count &&
         memcmp(a->shape, b->shape, sizeof(int64_t) * (size_t)a->rank) == 0 &&
         memcmp(a->elements, b->elements, sizeof(int64_t) * (size_t)a->count) == 0;
}

/* A layout of at most element_count_max elements; strides of every kind: row-major in any order,
 * with gaps, zero, negative, and at random. */
static inline tarn_layout random_layout(uint64_t *random, int32_t rank_max, int64_t size_max,
                                        int64_t element_count_max) {
  tarn_layout layout = {.rank = (int32_t)random_in(random, 0, rank_max)};
  int64_t order[TARN_RANK_MAX], stride = random_in(random, 0, 9) == 0 ? 2 : 1, count = 1;
  layout.offset = random_in(random, 0, 5);
  for (int32_t d = 0; d < layout.rank; d++) order[d] = d;
  for (int32_t d = layout.rank - 1; d > 0; d--) {
    int64_t other = random_in(random, 0, 2) == 0 ? random_in(random, 0, d) : d;
    int64_t held = order[d];
    order[d] = order[other];
    order[other] = held;
  }
  for (int32_t i = layout.rank - 1; i >= 0; i--) {
    int64_t d = order[i], size = random_in(random, 1, size_max);
    if (random_in(random, 0, 39) == 0) size = 0;
    if (count * size > element_count_max) size = 1;
    if (size > 0) count *= size;
    layout.shape[d] = size;
    layout.strides[d] = stride;
    int64_t kind = random_in(random, 0, 19);
    if (kind == 0) layout.strides[d] = 0;
    if (kind == 1) layout.strides[d] = random_in(random, -6, 6);
    if (kind >= 2 && kind <= 4) layout.strides[d] = -stride;
    stride *= (size > 1 ? size : 1);
    if (kind == 5) stride += random_in(random, 1, 3);
  }
  return layout;
}

/* A random layout of the given shape that starts at element 0 or a little later: dimensions in any
 * order, gaps, flips; and broadcasts and overlaps where these are asked for. */
static inline tarn_layout random_layout_of(uint64_t *random, int32_t rank, const int64_t *shape,
                                           bool may_overlap) {
  tarn_layout layout = {.rank = rank};
  int64_t order[TARN_RANK_MAX], stride = random_in(random, 0, 9) == 0 ? 2 : 1;
  int64_t shuffle = random_in(random, 0, 2);
  for (int32_t d = 0; d < rank; d++) order[d] = d;
  for (int32_t d = rank - 1; d > 0 && shuffle > 0; d--) {
    int64_t other = random_in(random, 0, d), held = order[d];
    order[d] = order[other];
    order[other] = held;
  }
  for (int32_t i = rank - 1; i >= 0; i--) {
    int64_t d = order[i], kind = random_in(random, 0, 15);
    layout.shape[d] = shape[d];
    layout.strides[d] = kind <= 2 ? -stride : stride;
    if (may_overlap && kind == 3) layout.strides[d] = 0;
    if (may_overlap && kind == 4) layout.strides[d] = random_in(random, 1, 3);
    stride *= shape[d] > 1 ? shape[d] : 1;
    if (kind == 5) stride += random_in(random, 1, 3);
  }
  int64_t first, end;
  tarn_layout_bounds(&layout, &first, &end);
  layout.offset = random_in(random, 0, 3) - first;
  return layout;
}

/* Sizes whose product is at most count_max; now and then one of them is 0. */
static inline int32_t random_shape(uint64_t *random, int64_t size_max, int64_t count_max,
                                   int64_t shape[TARN_RANK_MAX]) {
  int32_t rank = (int32_t)random_in(random, 0, 5);
  int64_t count = 1;
  for (int32_t d = 0; d < rank; d++) {
    shape[d] = random_in(random, 1, size_max);
    if (random_in(random, 0, 59) == 0) shape[d] = 0;
    if (count * shape[d] > count_max) shape[d] = 1;
    if (shape[d] > 0) count *= shape[d];
  }
  return rank;
}

/* Element by element at equal indices, as slowly as can be understood. */
static inline void model_copy(const tarn_layout *dst, char *dst_base, const tarn_layout *src,
                              const char *src_base, size_t element_bytes) {
  int64_t index[TARN_RANK_MAX], count = model_count(dst->rank, dst->shape);
  for (int64_t i = 0; i < count; i++) {
    model_unravel(dst->rank, dst->shape, i, index);
    memcpy(dst_base + layout_element(dst, index) * (int64_t)element_bytes,
           src_base + layout_element(src, index) * (int64_t)element_bytes, element_bytes);
  }
}

static inline void random_fill(uint64_t *random, void *bytes, size_t size_bytes) {
  for (size_t i = 0; i < size_bytes; i++) ((uint8_t *)bytes)[i] = (uint8_t)random_next(random);
}

#endif
