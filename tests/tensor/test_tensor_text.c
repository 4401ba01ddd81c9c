/* test_tensor_text.c: tests of tensor/tensor_text.c and of the formats under it. */
#include "tests/support/test.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_scalar.h"
#include "tensor/tarn_text.h"
#include "tensor/text_decimal.h"
#include "tests/support/manual_stream.h"
#include "tests/tensor/text_cases.h"
#include "tests/tensor/two_places.h"

static tarn_tensor make(const char *dtype_name, int32_t rank, const int64_t *shape) {
  tarn_tensor tensor;
  tarn_dtype dtype;
  assert_ok(tarn_dtype_parse(dtype_name, &dtype));
  assert_ok(tarn_tensor_create(pool, dtype, rank, shape, NULL, &tensor));
  return tensor;
}

static void set(const tarn_tensor *tensor, int64_t index, tarn_scalar scalar) {
  const size_t element_bytes = tarn_dtype_size_bytes(tensor->dtype);
  char *data = tarn_tensor_data_mutable(tensor);
  assert_ok(tarn_scalar_store(scalar, tensor->dtype, data + (size_t)index * element_bytes));
}

static tarn_tensor make_case(const text_case *row) {
  tarn_tensor tensor = make(row->dtype, row->rank, row->shape);
  const bool is_complex = tensor.dtype.code == TARN_CODE_COMPLEX;
  for (int64_t i = 0; i < tarn_tensor_element_count(&tensor); i++) {
    const double first = is_complex ? row->values[2 * i] : row->values[i];
    tarn_scalar scalar = tarn_scalar_of_float(row->values[0] == COUNTING ? (double)i : first);
    if (is_complex) scalar = tarn_scalar_of_complex(first, row->values[2 * i + 1]);
    set(&tensor, i, scalar);
  }
  return tensor;
}

static void check(const tarn_tensor *tensor, const tarn_text_options *options, tarn_stream *stream,
                  const char *expected, const char *name) {
  static char text[1 << 16];
  size_t length_bytes;
  assert_ok(tarn_tensor_text(tensor, options, pool, stream, text, sizeof text, &length_bytes));
  if (strcmp(text, expected) != 0) fail_msg("%s: expected\n%s\nbut got\n%s", name, expected, text);
  assert_int_equal(length_bytes, strlen(expected));
}

static void check_styles(const text_case *row, const tarn_tensor *tensor, tarn_stream *stream) {
  const char *const expected[] = {row->str, row->repr, row->list};
  for (int style = TARN_TEXT_STR; style <= TARN_TEXT_LIST; style++) {
    const tarn_text_options options = {.struct_size = sizeof options,
                                       .style = (tarn_text_style)style,
                                       .precision = row->precision,
                                       .threshold = row->threshold,
                                       .edge_items = row->edge_items,
                                       .line_width = row->line_width,
                                       .suppress_small = row->suppress_small};
    check(tensor, &options, stream, expected[style], row->name);
  }
}

TEST(texts_are_numpys) {
  for (size_t i = 0; i < COUNT_OF(text_cases); i++) {
    tarn_tensor tensor = make_case(&text_cases[i]);
    check_styles(&text_cases[i], &tensor, NULL);
    tarn_tensor_release(&tensor);
  }
}

/* The same through a view with strides of both signs, and on a device that the CPU cannot read. */
TEST(strides_and_devices_change_nothing) {
  for (size_t i = 0; i < COUNT_OF(text_cases); i++) {
    const text_case *row = &text_cases[i];
    tarn_tensor tensor = make_case(row), view, far;
    int64_t wide[4];
    for (int32_t d = 0; d < row->rank; d++) wide[d] = row->shape[d] * 2;
    tarn_tensor holder = make(row->dtype, row->rank, wide);
    view = holder;
    for (int32_t d = 0; d < row->rank; d++) {
      assert_ok(tarn_tensor_slice(&view, d, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -2));
    }
    assert_ok(tarn_tensor_copy(&view, &tensor, NULL, NULL));
    check_styles(row, &view, NULL);
    assert_ok(
        tarn_tensor_create(device_pool, tensor.dtype, row->rank, row->shape, device_stream, &far));
    assert_ok(tarn_tensor_copy(&far, &tensor, device_stream, NULL));
    check_styles(row, &far, device_stream);
    tarn_tensor_release(&far);
    tarn_tensor_release(&holder);
    tarn_tensor_release(&tensor);
  }
}

TEST(only_the_edges_of_a_device_tensor_are_brought_over) {
  tarn_tensor far;
  size_t length_bytes;
  assert_ok(
      tarn_tensor_create(device_pool, TARN_F32, 2, (int64_t[]){4000, 5000}, device_stream, &far));
  tarn_pool_stats before = {.struct_size = sizeof before}, after = before;
  assert_ok(tarn_pool_stats_of(pool, &before));
  fake_copy_calls = 0;
  assert_ok(tarn_tensor_text(&far, NULL, pool, device_stream, NULL, 0, &length_bytes));
  assert_ok(tarn_pool_stats_of(pool, &after));
  assert_in_range(fake_copy_calls, 1, 12); /* four corners of three rows */
  assert_true(after.reserved_bytes == before.reserved_bytes);
  tarn_tensor_release(&far);
}

TEST(text_waits_for_the_stream) {
  tarn_stream *stream;
  assert_ok(manual_stream_create(&stream));
  tarn_tensor src = make("int32", 1, (int64_t[]){2}), dst = make("int32", 1, (int64_t[]){2});
  for (int64_t i = 0; i < 2; i++) {
    set(&src, i, tarn_scalar_of_int(i + 5));
    set(&dst, i, tarn_scalar_of_int(0));
  }
  assert_ok(tarn_tensor_copy(&dst, &src, stream, NULL));
  check(&dst, NULL, stream, "[5 6]", "behind a stream");
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
  tarn_stream_release(stream);
}

TEST(types_that_numpy_lacks_are_written_likewise) {
  static const struct {
    const char *dtype, *repr;
  } cases[] = {
      {"bfloat16", "array([0.1, 3. ], dtype=bfloat16)"},
      {"float8_e5m2", "array([0.09, 3.  ], dtype=float8_e5m2)"},
      {"float8_e4m3fn", "array([0.1, 3. ], dtype=float8_e4m3fn)"},
      {"complex32", "array([0.1+0.j, 3. +0.j], dtype=complex32)"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    const tarn_text_options options = {.struct_size = sizeof options, .style = TARN_TEXT_REPR};
    tarn_tensor tensor = make(cases[i].dtype, 1, (int64_t[]){2});
    set(&tensor, 0, tarn_scalar_of_float(0.1));
    set(&tensor, 1, tarn_scalar_of_float(3.0));
    check(&tensor, &options, NULL, cases[i].repr, cases[i].dtype);
    tarn_tensor_release(&tensor);
  }
}

/* --- digits --- */

static void check_shortest(double value, tarn_dtype real, const char *expected) {
  tarn__decimal decimal;
  char text[64];
  tarn__decimal_shortest(value, real, &decimal);
  snprintf(text, sizeof text, "%s%.*se%d", decimal.is_negative ? "-" : "", decimal.digit_count,
           decimal.digits, decimal.exponent);
  assert_string_equal(text, expected);
}

TEST(the_fewest_digits_are_found) {
  check_shortest(0.1, TARN_F64, "1e-1");
  check_shortest(-0.0, TARN_F64, "-0e0");
  check_shortest(5e-324, TARN_F64, "5e-324");
  check_shortest(1.7976931348623157e308, TARN_F64, "17976931348623157e308");
  check_shortest(0.1 + 0.2, TARN_F64, "30000000000000004e-1");
  check_shortest(9007199254740993.0, TARN_F64, "9007199254740992e15");
  check_shortest(0x1p-44, TARN_F64,
                 "5684341886080802e-14"); /* above the value: it is nearer there */
  check_shortest((double)0.1f, TARN_F32, "1e-1");
  check_shortest(0x1p-149, TARN_F32, "1e-45");
  check_shortest(16777216.0, TARN_F32, "16777216e7");
  check_shortest(0x1p-24, TARN_F16, "6e-8");
  check_shortest(65504.0, TARN_F16, "655e4");
  check_shortest(0x1.FEp127, TARN_BF16, "339e38");
}

/* Numbers that are read back as themselves, and not with a digit less. */
TEST(no_shorter_digits_would_do) {
  uint64_t random = 17;
  for (int i = 0; i < 20000; i++) {
    tarn__decimal decimal, fewer;
    char text[64];
    double value;
    const uint64_t bits = test_random(&random);
    memcpy(&value, &bits, sizeof value);
    if (i % 4 == 0) value = ldexp(1.0, (int)(bits % 2000) - 1040);
    if (!isfinite(value) || value == 0.0) continue;
    tarn__decimal_shortest(value, TARN_F64, &decimal);
    snprintf(text, sizeof text, "%.*se%d", decimal.digit_count, decimal.digits,
             decimal.exponent - decimal.digit_count + 1);
    assert_true(strtod(text, NULL) == fabs(value));
    if (decimal.digit_count == 1) continue;
    tarn__decimal_round_digits(value, decimal.digit_count - 1, &fewer);
    snprintf(text, sizeof text, "%.*se%d", fewer.digit_count, fewer.digits,
             fewer.exponent - fewer.digit_count + 1);
    assert_true(strtod(text, NULL) != fabs(value));
  }
}

TEST(a_locale_changes_nothing) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
  const char *found = NULL;
  for (size_t i = 0; i < COUNT_OF(names) && found == NULL; i++) {
    found = setlocale(LC_NUMERIC, names[i]);
  }
  if (found == NULL) {
    print_message("no locale with another decimal point is installed here\n");
    skip();
  }
  tarn_tensor tensor = make("float64", 1, (int64_t[]){2});
  set(&tensor, 0, tarn_scalar_of_float(0.1));
  set(&tensor, 1, tarn_scalar_of_float(1.0 / 3));
  check(&tensor, NULL, NULL, "[0.1        0.33333333]", found);
  setlocale(LC_NUMERIC, "C");
  tarn_tensor_release(&tensor);
}

/* --- the buffer, the callback, mistakes --- */

TEST(a_small_buffer_gets_the_beginning) {
  tarn_tensor tensor = make("int32", 1, (int64_t[]){3});
  for (int64_t i = 0; i < 3; i++) set(&tensor, i, tarn_scalar_of_int(i));
  for (size_t text_bytes = 0; text_bytes < 10; text_bytes++) {
    char text[16];
    size_t length_bytes;
    memset(text, '#', sizeof text);
    assert_ok(tarn_tensor_text(&tensor, NULL, NULL, NULL, text_bytes > 0 ? text : NULL, text_bytes,
                               &length_bytes));
    assert_int_equal(length_bytes, 7);
    if (text_bytes > 0) {
      const size_t kept = text_bytes - 1 < 7 ? text_bytes - 1 : 7;
      assert_memory_equal(text, "[0 1 2]", kept);
      assert_int_equal(text[kept], '\0');
    }
    assert_int_equal(text[text_bytes], '#');
  }
  tarn_tensor_release(&tensor);
}

static tarn_status refuse_third(void *context, const char *text, size_t size_bytes) {
  int *calls = context;
  (void)text;
  assert_true(size_bytes > 0);
  return ++*calls == 3 ? TARN_BUSY : TARN_OK;
}

TEST(a_callback_that_fails_ends_the_writing) {
  tarn_tensor tensor = make("int64", 1, (int64_t[]){100000});
  memset(tarn_tensor_data_mutable(&tensor), 1, 800000);
  const tarn_text_options options = {.struct_size = sizeof options, .style = TARN_TEXT_LIST};
  int calls = 0;
  assert_status(tarn_tensor_write_text(&tensor, &options, NULL, NULL, refuse_third, &calls),
                TARN_BUSY);
  assert_int_equal(calls, 3);
  tarn_tensor_release(&tensor);
}

TEST(mistakes_are_refused) {
  tarn_tensor tensor = make("int32", 1, (int64_t[]){3}), zeroed = {0}, far, opaque;
  char text[8] = "before";
  size_t length_bytes = 5;
  const tarn_text_options wrong[] = {
      {.struct_size = 3},
      {.struct_size = sizeof wrong[0], .style = (tarn_text_style)3},
      {.struct_size = sizeof wrong[0], .precision = 65},
      {.struct_size = sizeof wrong[0], .edge_items = -1},
      {.struct_size = sizeof wrong[0], .line_width = -1},
  };
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    assert_status(
        tarn_tensor_text(&tensor, &wrong[i], NULL, NULL, text, sizeof text, &length_bytes),
        TARN_INVALID_ARGUMENT);
    assert_string_equal(text, "");
    assert_int_equal(length_bytes, 0);
  }
  assert_status(tarn_tensor_text(&zeroed, NULL, NULL, NULL, text, 8, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_text(&tensor, NULL, NULL, NULL, NULL, 8, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_write_text(&tensor, NULL, NULL, NULL, NULL, NULL),
                TARN_INVALID_ARGUMENT);
  opaque = make("opaque32", 1, (int64_t[]){3});
  assert_status(tarn_tensor_text(&opaque, NULL, NULL, NULL, text, 8, NULL), TARN_NOT_SUPPORTED);
  assert_ok(tarn_tensor_create(device_pool, TARN_I32, 1, (int64_t[]){3}, device_stream, &far));
  assert_status(tarn_tensor_text(&far, NULL, NULL, device_stream, text, 8, NULL),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_text(&far, NULL, device_pool, device_stream, text, 8, NULL),
                TARN_INVALID_ARGUMENT);
  fake_copies_to_fail = 0;
  assert_status(tarn_tensor_text(&far, NULL, pool, device_stream, text, 8, NULL),
                TARN_DEVICE_ERROR);
  fake_copies_to_fail = -1;
  tarn_tensor_release(&far);
  tarn_tensor_release(&opaque);
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(start, stop);
}
