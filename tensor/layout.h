/* layout.h: what the files of tensor/ share about layouts. */
#ifndef TENSOR_LAYOUT_H
#define TENSOR_LAYOUT_H

#include "tensor/tarn_layout_inline.h"

/* The largest row of numbers, written out: a sign, 19 digits, a comma and a space for each. */
enum { TARN__NUMBERS_BYTES = TARN_RANK_MAX * 22 + 4 };

/* "[2, 3]", for messages. Returns `text`. */
char *tarn__numbers_text(const int64_t *numbers, int32_t count, char text[TARN__NUMBERS_BYTES]);

static inline int64_t tarn__max_one(int64_t size) {
  return size > 1 ? size : 1;
}

/* Turns a dimension counted from the end into one counted from the front. */
static inline bool tarn__resolve_dim(int32_t rank, int32_t *dim) {
  if (*dim < 0) *dim += rank;
  return *dim >= 0 && *dim < rank;
}

/* The messages stay out of the way of the views that succeed. */
__attribute__((cold)) tarn_status tarn__layout_fail_dim(int32_t rank, int32_t dim);
__attribute__((cold)) tarn_status tarn__layout_fail_rank(int32_t rank);

/* What init demands of a shape. */
tarn_status tarn__layout_check_shape(int32_t rank, const int64_t *shape);

/* Row-major strides of a checked shape; a size of 0 counts as 1. */
void tarn__layout_row_major(int32_t rank, const int64_t *shape, int64_t *strides);

/* What a layout's bounds are: elements in [first, end); both 0 where there are none. */
typedef struct tarn__reach {
  int64_t first;
  int64_t end;
} tarn__reach;

/* init_strided and init that say what is reached and leave *layout undefined where they fail.
 * `shape` and `strides` may be the layout's own, or begin some dimensions behind. */
tarn_status tarn__layout_make_strided(int32_t rank, const int64_t *shape, const int64_t *strides,
                                      int64_t offset, tarn_layout *layout, tarn__reach *reach);
tarn_status tarn__layout_make_row_major(int32_t rank, const int64_t *shape, int64_t offset,
                                        tarn_layout *layout, tarn__reach *reach);

/* Says what is wrong with a layout that has no reach. */
__attribute__((cold)) tarn_status tarn__layout_fail_strided(int32_t rank, const int64_t *shape,
                                                            const int64_t *strides, int64_t offset);

/* The first half of tarn_layout_view: fills in a -1 and checks the number of elements. */
tarn_status tarn__layout_resolve_shape(const tarn_layout *layout, int32_t rank,
                                       const int64_t *shape, int64_t resolved[TARN_RANK_MAX]);

/* The second half: false where no strides express `layout` in a resolved shape. */
bool tarn__layout_view_strides(const tarn_layout *layout, int32_t rank, const int64_t *shape,
                               int64_t strides[TARN_RANK_MAX]);

/* True where an element of `a` and one of `b` share a byte. `distance_bytes` is the address of b's
 * element number 0 minus the address of a's; elements of both are element_bytes long. Exact; cost
 * as tarn_layout_overlaps_itself. */
bool tarn__layouts_meet(const tarn_layout *a, const tarn_layout *b, int64_t distance_bytes,
                        size_t element_bytes);

/* The same for elements of two sizes. */
bool tarn__layouts_share_bytes(const tarn_layout *a, size_t a_element_bytes, const tarn_layout *b,
                               size_t b_element_bytes, int64_t distance_bytes);

#endif
