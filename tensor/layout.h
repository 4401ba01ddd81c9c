/* layout.h: what the files of tensor/ share about layouts. */
#ifndef TENSOR_LAYOUT_H
#define TENSOR_LAYOUT_H

#include "tensor/tarn_layout.h"

/* The largest row of numbers, written out: a sign, 19 digits, a comma and a space for each. */
enum { TARN__NUMBERS_BYTES = TARN_RANK_MAX * 22 + 4 };

/* "[2, 3]", for messages. Returns `text`. */
char *tarn__numbers_text(const int64_t *numbers, int32_t count, char text[TARN__NUMBERS_BYTES]);

/* What init demands of a shape. */
tarn_status tarn__layout_check_shape(int32_t rank, const int64_t *shape);

/* Row-major strides of a checked shape; a size of 0 counts as 1. */
void tarn__layout_row_major(int32_t rank, const int64_t *shape, int64_t *strides);

/* init_strided that leaves *made undefined where it fails, for callers that keep the old layout. */
tarn_status tarn__layout_make_strided(int32_t rank, const int64_t *shape, const int64_t *strides,
                                      int64_t offset, tarn_layout *made);

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
