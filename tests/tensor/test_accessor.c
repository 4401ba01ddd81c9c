/* test_accessor.c: tests of tensor/accessor.c: elements as lvalues, and what the checks say. */
/* Checked in every build of the library. */
#undef TARN_DEBUG
#define TARN_DEBUG 1
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#include "tensor/tarn_accessor.h"

static float numbers[2][3][4];

static tarn_tensor wrap(tarn_dtype dtype, uint32_t flags, tarn_device device) {
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = numbers,
                          .size_bytes = sizeof numbers,
                          .device = device,
                          .flags = flags};
  static const int64_t shape[] = {2, 3, 4};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, dtype, 3, shape, NULL, 0, &tensor));
  return tensor;
}

static tarn_tensor counting(void) {
  for (int i = 0; i < 24; i++) (&numbers[0][0][0])[i] = (float)i;
  return wrap(TARN_F32, 0, (tarn_device){0});
}

TEST(an_element_is_an_lvalue) {
  tarn_tensor tensor = counting(), turned = tensor, row = tensor;
  assert_true(TARN_AT(&tensor, float, 1, 2, 3) == 23.0f);
  TARN_AT(&tensor, float, 1, 0, 2) = -1.0f;
  assert_true(numbers[1][0][2] == -1.0f);
  TARN_AT(&tensor, float, 1, 0, 2) += 5.0f;
  assert_ok(tarn_tensor_transpose(&turned, 0, 2));
  assert_true(TARN_AT(&turned, const float, 2, 0, 1) == 4.0f);
  assert_ok(tarn_tensor_select(&row, 0, 1));
  assert_ok(tarn_tensor_select(&row, 0, 2));
  assert_ok(tarn_tensor_slice(&row, 0, 3, TARN_SLICE_OPEN, -2));
  assert_true(TARN_AT(&row, float, 0) == 23.0f);
  assert_true(TARN_AT(&row, float, 1) == 21.0f);
  tarn_tensor_release(&tensor);
}

TEST(an_accessor_knows_sizes_strides_and_elements) {
  tarn_tensor tensor = counting();
  tarn_accessor a;
  assert_ok(tarn_accessor_init(&tensor, TARN_F32, 3, TARN_ACCESSOR_WRITE, &a));
  static const int64_t shape[] = {2, 3, 4}, strides[] = {12, 4, 1};
  assert_memory_equal(a.shape, shape, sizeof shape);
  assert_memory_equal(a.strides, strides, sizeof strides);
  for (int64_t i = 0; i < a.shape[0]; i++) {
    for (int64_t j = 0; j < a.shape[1]; j++) {
      for (int64_t k = 0; k < a.shape[2]; k++) {
        assert_true(TARN_ELEMENT(a, float, i, j, k) == (float)(i * 12 + j * 4 + k));
      }
    }
  }
  TARN_ELEMENT(a, float, 0, 1, 2) = 60.0f;
  assert_true(numbers[0][1][2] == 60.0f);
  tarn_tensor_release(&tensor);
}

TEST(a_transposed_accessor_is_the_transposed_tensors) {
  tarn_tensor tensor = counting(), row = tensor;
  tarn_accessor a, flat;
  assert_ok(tarn_accessor_init(&tensor, TARN_F32, 3, 0, &a));
  assert_ok(tarn_accessor_transpose(&a, 0, 2));
  for (int64_t i = 0; i < 4; i++) {
    assert_true(TARN_ELEMENT(a, const float, i, 1, 1) == (float)(12 + 4 + i));
  }
  const tarn_accessor before = a;
  assert_status(tarn_accessor_transpose(&a, 2, 5), TARN_INVALID_ARGUMENT);
  assert_status(tarn_accessor_transpose(&a, -1, 0), TARN_INVALID_ARGUMENT);
  assert_memory_equal(&a, &before, sizeof a);
  assert_ok(tarn_tensor_view(&row, 1, (int64_t[]){24}));
  assert_ok(tarn_accessor_init(&row, TARN_F32, 1, 0, &flat));
  assert_status(tarn_accessor_transpose(&flat, 1, 0), TARN_INVALID_ARGUMENT);
  assert_status(tarn_accessor_transpose(NULL, 0, 0), TARN_INVALID_ARGUMENT);
  tarn_tensor_release(&tensor);
}

TEST(an_accessor_that_does_not_fit_is_refused) {
  tarn_tensor tensor = counting(), zeroed = {0}, beyond = tensor, scalar = tensor;
  tarn_tensor locked = wrap(TARN_F32, TARN_STORAGE_READ_ONLY, (tarn_device){0});
  tarn_tensor far = wrap(TARN_F32, 0, (tarn_device){TARN_DEVICE_CUDA, 0});
  tarn_accessor a;
  assert_status(tarn_accessor_init(&tensor, TARN_I32, 3, 0, &a), TARN_INVALID_ARGUMENT);
  assert_null(a.data);
  assert_status(tarn_accessor_init(&tensor, TARN_F32, 2, 0, &a), TARN_INVALID_ARGUMENT);
  assert_status(tarn_accessor_init(&tensor, TARN_F32, 3, 8, &a), TARN_INVALID_ARGUMENT);
  assert_status(tarn_accessor_init(&tensor, TARN_F32, 3, 0, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_accessor_init(&zeroed, TARN_F32, 3, 0, &a), TARN_INVALID_ARGUMENT);
  beyond.layout.offset = 1;
  assert_status(tarn_accessor_init(&beyond, TARN_F32, 3, 0, &a), TARN_INVALID_ARGUMENT);
  scalar.layout = (tarn_layout){0};
  assert_status(tarn_accessor_init(&scalar, TARN_F32, 0, 0, &a), TARN_INVALID_ARGUMENT);
  assert_status(tarn_accessor_init(&locked, TARN_F32, 3, TARN_ACCESSOR_WRITE, &a), TARN_READ_ONLY);
  assert_ok(tarn_accessor_init(&locked, TARN_F32, 3, 0, &a));
  assert_status(tarn_accessor_init(&far, TARN_F32, 3, 0, &a), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_accessor_init(&far, TARN_F32, 3, TARN_ACCESSOR_DEVICE, &a));
  assert_ptr_equal(a.data, numbers);
  tarn_tensor_release(&far);
  tarn_tensor_release(&locked);
  tarn_tensor_release(&tensor);
}

/* A storage of a terabyte, which nobody touches. */
static tarn_tensor huge(int32_t rank, const int64_t *shape, const int64_t *strides,
                        int64_t offset) {
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = (void *)(uintptr_t)(UINT64_C(1) << 32),
                          .size_bytes = (size_t)1 << 40};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_U8, rank, shape, strides, (size_t)offset, &tensor));
  return tensor;
}

TEST(thirty_two_bits_are_enough_or_refused) {
  static const int64_t edge = (INT64_C(1) << 31) - 1;
  static const struct {
    int32_t rank;
    int64_t shape[2], strides[2], offset;
    bool fits;
  } cases[] = {
      {1, {edge}, {1}, 0, true},
      {1, {edge + 1}, {1}, 0, false},
      {2, {2, 1}, {edge, 0}, 0, true},
      {2, {2, 1}, {edge + 1, 0}, 0, false},
      {2, {2, 2}, {edge, 1}, 0, false},
      {2, {2, 2}, {edge - 1, 1}, 0, true},
      {2, {2, 1}, {-edge - 1, 0}, INT64_C(1) << 33, true},
      {2, {2, 1}, {-edge - 2, 0}, INT64_C(1) << 33, false},
      {1, {4}, {1}, INT64_C(1) << 39, true},       /* the offset is in the address */
      {2, {1, 3}, {INT64_C(1) << 35, 1}, 0, true}, /* never stepped */
      {2, {0, INT64_C(1) << 33}, {1, 1}, 0, true}, /* no elements */
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    tarn_accessor32 a;
    tarn_tensor tensor = huge(cases[i].rank, cases[i].shape, cases[i].strides, cases[i].offset);
    const tarn_status status = tarn_accessor32_init(&tensor, TARN_U8, cases[i].rank, 0, &a);
    if (status != (cases[i].fits ? TARN_OK : TARN_TOO_LARGE)) fail_msg("case %zu", i);
    for (int32_t d = 0; status == TARN_OK && d < cases[i].rank && cases[i].shape[0] > 0; d++) {
      assert_int_equal(a.shape[d], cases[i].shape[d]);
      if (cases[i].shape[d] > 1) assert_int_equal(a.strides[d], cases[i].strides[d]);
    }
    tarn_tensor_release(&tensor);
  }
  tarn_tensor tensor = counting();
  tarn_accessor32 a;
  assert_status(tarn_accessor32_init(&tensor, TARN_I32, 3, 0, &a), TARN_INVALID_ARGUMENT);
  assert_status(tarn_accessor32_init(&tensor, TARN_F32, 3, 0, NULL), TARN_INVALID_ARGUMENT);
  tarn_tensor_release(&tensor);
}

/* --- checks --- */

static jmp_buf back;
static char said[512];
static int said_line;

static void hear(const char *message, const char *file, int line) {
  snprintf(said, sizeof said, "%s", message);
  assert_non_null(strstr(file, "test_accessor.c"));
  said_line = line;
  longjmp(back, 1);
}

/* The check of the expression fails, and its message has these words. */
#define EXPECT_SAID(expression, words)                           \
  do {                                                           \
    said[0] = '\0';                                              \
    if (setjmp(back) == 0) {                                     \
      (void)(expression);                                        \
      fail_msg("nothing was said about %s", #expression);        \
    }                                                            \
    assert_int_equal(said_line, __LINE__);                       \
    if (strstr(said, words) == NULL) fail_msg("said: %s", said); \
  } while (0)

TEST(wrong_uses_of_an_element_are_told) {
  tarn_tensor tensor = counting(), zeroed = {0}, beyond = tensor;
  tarn_tensor locked = wrap(TARN_F32, TARN_STORAGE_READ_ONLY, (tarn_device){0});
  tarn_tensor far = wrap(TARN_F32, 0, (tarn_device){TARN_DEVICE_CUDA, 0});
  assert_null(tarn_accessor_set_check_handler(hear));
  EXPECT_SAID(TARN_AT(&tensor, float, 2, 0, 0), "index 2 is not in dimension 0 of size 2");
  EXPECT_SAID(TARN_AT(&tensor, float, 0, -1, 0), "index -1 is not in dimension 1 of size 3");
  EXPECT_SAID(TARN_AT(&tensor, float, 0, 0, 4), "index 4 is not in dimension 2 of size 4");
  EXPECT_SAID(TARN_AT(&tensor, float, 0, 0), "2 indices for a tensor of rank 3");
  EXPECT_SAID(TARN_AT(&tensor, float, 0, 0, 0, 0), "4 indices");
  EXPECT_SAID(TARN_AT(&tensor, double, 0, 0, 0), "float32");
  EXPECT_SAID(TARN_AT(&tensor, int, 0, 0, 0), "float32");
  EXPECT_SAID(TARN_AT(&zeroed, float, 0), "without a storage");
  EXPECT_SAID(TARN_AT(&locked, float, 0, 0, 0), "read-only");
  EXPECT_SAID(TARN_AT(&far, float, 0, 0, 0), "device type 2");
  beyond.layout.offset = 20;
  EXPECT_SAID(TARN_AT(&beyond, float, 0, 0, 0), "do not lie in a storage");
  assert_true(TARN_AT(&locked, const float, 0, 0, 1) == 1.0f);
  assert_ptr_equal(tarn_accessor_set_check_handler(NULL), hear);
  tarn_tensor_release(&far);
  tarn_tensor_release(&locked);
  tarn_tensor_release(&tensor);
}

TEST(wrong_uses_of_an_accessor_are_told) {
  tarn_tensor tensor = counting();
  tarn_accessor reader, writer, far;
  assert_ok(tarn_accessor_init(&tensor, TARN_F32, 3, 0, &reader));
  assert_ok(tarn_accessor_init(&tensor, TARN_F32, 3, TARN_ACCESSOR_WRITE, &writer));
  assert_ok(tarn_accessor_init(&tensor, TARN_F32, 3, TARN_ACCESSOR_DEVICE, &far));
  tarn_accessor_set_check_handler(hear);
  EXPECT_SAID(TARN_ELEMENT(writer, float, 0, 3, 0), "index 3 is not in dimension 1 of size 3");
  EXPECT_SAID(TARN_ELEMENT(writer, float, 0), "1 indices");
  EXPECT_SAID(TARN_ELEMENT(writer, uint32_t, 0, 0, 0), "float32");
  EXPECT_SAID(TARN_ELEMENT(reader, float, 0, 0, 0), "read-only");
  EXPECT_SAID(TARN_ELEMENT(far, const float, 0, 0, 0), "device's accessor");
  tarn_accessor_set_check_handler(NULL);
  tarn_tensor_release(&tensor);
}

TEST(right_uses_are_told_nothing) {
  tarn_tensor tensor = counting();
  tarn_accessor a;
  const tarn_element_use use = {4, TARN_TYPE_CODE(float), 3, __FILE__, __LINE__};
  assert_ok(tarn_accessor_init(&tensor, TARN_F32, 3, TARN_ACCESSOR_WRITE, &a));
  tarn_accessor_set_check_handler(hear);
  if (setjmp(back) != 0) fail_msg("said: %s", said);
  tarn_element_check(&tensor, use, 1, 2, 3, 0, 0, 0);
  tarn_accessor_check(&a, use, 1, 2, 3, 0, 0, 0);
  tarn_accessor_set_check_handler(NULL);
  tarn_tensor_release(&tensor);
}

/* 16 bits stand for types that C has no name for, and for int16 only where they are signed. */
TEST(types_without_a_name_go_by_their_size) {
  typedef struct pair {
    float real, imaginary;
  } pair;
  tarn_tensor tensor = counting(), halves, complex, shorts, bools;
  halves = complex = shorts = bools = tensor;
  halves.dtype = TARN_BF16;
  shorts.dtype = TARN_I16;
  bools.dtype = TARN_BOOL;
  complex.dtype = TARN_C64;
  complex.layout.shape[0] = 1;
  tarn_accessor_set_check_handler(hear);
  TARN_AT(&halves, uint16_t, 0, 0, 0) = 0x3F80;
  EXPECT_SAID(TARN_AT(&halves, int16_t, 0, 0, 0), "bfloat16");
  EXPECT_SAID(TARN_AT(&halves, float, 0, 0, 0), "bfloat16");
  assert_true(TARN_AT(&complex, pair, 0, 1, 0).imaginary == 9.0f);
  TARN_AT(&shorts, short, 0, 0, 0) = 5;
  EXPECT_SAID(TARN_AT(&shorts, uint16_t, 0, 0, 0), "int16");
  TARN_AT(&bools, bool, 0, 0, 0) = true;
  EXPECT_SAID(TARN_AT(&bools, uint8_t, 0, 0, 0), "bool");
  tarn_accessor_set_check_handler(NULL);
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
