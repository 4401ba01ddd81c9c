/* fuzz_as_strided.c: any shape, strides and offset: accepted exactly where every element lies in
 * the storage. */
#include "tensor/tarn_layout.h"
#include "tests/fuzz/fuzz.h"

__extension__ typedef __int128 wide;

typedef struct request {
  int32_t rank;
  int64_t shape[TARN_RANK_MAX + 1];
  int64_t strides[TARN_RANK_MAX + 1];
  int64_t offset;
  int64_t element_count;
} request;

static bool fits(wide number) {
  return number >= INT64_MIN && number <= INT64_MAX;
}

static bool is_shape(const request *asked) {
  wide product = 1;
  if (asked->rank < 0 || asked->rank > TARN_RANK_MAX) return false;
  for (int32_t d = 0; d < asked->rank; d++) {
    if (asked->shape[d] < 0) return false;
    product *= asked->shape[d] > 1 ? asked->shape[d] : 1;
    if (!fits(product)) return false;
  }
  return true;
}

/* The first element and the one behind the last, which a size of 0 does not change; false where
 * they have no number. */
static bool reach(const request *asked, wide *first, wide *end) {
  *first = asked->offset;
  *end = (wide)asked->offset + 1;
  for (int32_t d = 0; d < asked->rank; d++) {
    const int64_t size = asked->shape[d] > 1 ? asked->shape[d] : 1;
    const wide span = (wide)(size - 1) * asked->strides[d];
    if (!fits(span)) return false;
    *(span < 0 ? first : end) += span;
  }
  return fits(*first) && fits(*end);
}

static bool is_empty(const request *asked) {
  for (int32_t d = 0; d < asked->rank; d++) {
    if (asked->shape[d] == 0) return true;
  }
  return false;
}

static bool is_right(const request *asked) {
  wide first, end;
  if (!is_shape(asked) || !reach(asked, &first, &end)) return false;
  if (is_empty(asked)) return asked->element_count >= 0;
  return first >= 0 && end <= asked->element_count;
}

/* What was accepted answers questions about itself without leaving the range of its numbers. */
static void question(const tarn_layout *layout, const request *asked) {
  int64_t first, end;
  tarn_layout_bounds(layout, &first, &end);
  fuzz_check(first >= 0 && first <= end && end <= asked->element_count);
  const int64_t count = tarn_layout_element_count(layout);
  fuzz_check((count == 0) == is_empty(asked));
  const bool is_contiguous = tarn_layout_is_contiguous(layout);
  const bool is_dense = tarn_layout_is_dense(layout);
  fuzz_check(!is_contiguous || is_dense);
  if (is_dense) fuzz_check(end - first == count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_input input = {data, size};
  request asked = {.rank = fuzz_take_byte(&input) % (TARN_RANK_MAX + 2)};
  asked.element_count = fuzz_take_number(&input);
  asked.offset = fuzz_take_number(&input);
  for (int32_t d = 0; d < asked.rank; d++) {
    asked.shape[d] = fuzz_take_number(&input);
    asked.strides[d] = fuzz_take_number(&input);
  }
  tarn_layout layout, before;
  memset(&layout, 0x5a, sizeof layout);
  before = layout;
  const tarn_status status = tarn_layout_as_strided(&layout, asked.rank, asked.shape, asked.strides,
                                                    asked.offset, asked.element_count);
  fuzz_check((status == TARN_OK) == is_right(&asked));
  if (status == TARN_OK) {
    question(&layout, &asked);
  } else {
    fuzz_check(memcmp(&layout, &before, sizeof layout) == 0);
  }
  return 0;
}
