/* test_dtype.c: tests of tensor/dtype.c. */

#include "tensor/tarn_dtype.h"
#include "tests/support/test.h"

typedef struct known {
  tarn_dtype dtype;
  size_t size_bytes;
  const char *name;
} known;

static const known knowns[] = {
    {{TARN_CODE_BOOL, 8, 1}, 1, "bool"},
    {{TARN_CODE_INT, 8, 1}, 1, "int8"},
    {{TARN_CODE_INT, 16, 1}, 2, "int16"},
    {{TARN_CODE_INT, 32, 1}, 4, "int32"},
    {{TARN_CODE_INT, 64, 1}, 8, "int64"},
    {{TARN_CODE_UINT, 8, 1}, 1, "uint8"},
    {{TARN_CODE_UINT, 16, 1}, 2, "uint16"},
    {{TARN_CODE_UINT, 32, 1}, 4, "uint32"},
    {{TARN_CODE_UINT, 64, 1}, 8, "uint64"},
    {{TARN_CODE_INT, 4, 2}, 1, "int4x2"},
    {{TARN_CODE_UINT, 2, 4}, 1, "uint2x4"},
    {{TARN_CODE_UINT, 1, 8}, 1, "uint1x8"},
    {{TARN_CODE_FLOAT, 16, 1}, 2, "float16"},
    {{TARN_CODE_FLOAT, 32, 1}, 4, "float32"},
    {{TARN_CODE_FLOAT, 64, 1}, 8, "float64"},
    {{TARN_CODE_FLOAT, 32, 4}, 16, "float32x4"},
    {{TARN_CODE_FLOAT, 32, 3}, 12, "float32x3"},
    {{TARN_CODE_FLOAT, 64, 65535}, 524280, "float64x65535"},
    {{TARN_CODE_OPAQUE, 64, 1}, 8, "opaque64"},
    {{TARN_CODE_BFLOAT, 16, 1}, 2, "bfloat16"},
    {{TARN_CODE_COMPLEX, 32, 1}, 4, "complex32"},
    {{TARN_CODE_COMPLEX, 64, 1}, 8, "complex64"},
    {{TARN_CODE_COMPLEX, 128, 1}, 16, "complex128"},
    {{TARN_CODE_FLOAT8_E3M4, 8, 1}, 1, "float8_e3m4"},
    {{TARN_CODE_FLOAT8_E4M3, 8, 1}, 1, "float8_e4m3"},
    {{TARN_CODE_FLOAT8_E4M3B11FNUZ, 8, 1}, 1, "float8_e4m3b11fnuz"},
    {{TARN_CODE_FLOAT8_E4M3FN, 8, 1}, 1, "float8_e4m3fn"},
    {{TARN_CODE_FLOAT8_E4M3FNUZ, 8, 1}, 1, "float8_e4m3fnuz"},
    {{TARN_CODE_FLOAT8_E5M2, 8, 1}, 1, "float8_e5m2"},
    {{TARN_CODE_FLOAT8_E5M2FNUZ, 8, 1}, 1, "float8_e5m2fnuz"},
    {{TARN_CODE_FLOAT8_E8M0FNU, 8, 1}, 1, "float8_e8m0fnu"},
    {{TARN_CODE_FLOAT6_E2M3FN, 6, 1}, 1, "float6_e2m3fn"},
    {{TARN_CODE_FLOAT6_E3M2FN, 6, 4}, 4, "float6_e3m2fnx4"},
    {{TARN_CODE_FLOAT4_E2M1FN, 4, 2}, 1, "float4_e2m1fnx2"},
};
enum { KNOWN_COUNT = sizeof knowns / sizeof knowns[0] };

TEST(every_dtype_has_its_size_and_name) {
  for (size_t i = 0; i < KNOWN_COUNT; i++) {
    char name[64];
    assert_int_equal(tarn_dtype_check(knowns[i].dtype), TARN_OK);
    assert_int_equal(tarn_dtype_size_bytes(knowns[i].dtype), knowns[i].size_bytes);
    assert_string_equal(tarn_dtype_name(knowns[i].dtype, name, sizeof name), knowns[i].name);
  }
}

TEST(every_name_parses_back_to_its_dtype) {
  for (size_t i = 0; i < KNOWN_COUNT; i++) {
    tarn_dtype parsed = {9, 9, 9};
    assert_int_equal(tarn_dtype_parse(knowns[i].name, &parsed), TARN_OK);
    assert_true(tarn_dtype_equal(parsed, knowns[i].dtype));
  }
}

/* Every width of every code, and of some beyond, with some lanes: what is supported has a size and
 * a name of its own that parses back; what is not has neither. */
TEST(names_and_sizes_agree_with_check_everywhere) {
  static const uint16_t lane_counts[] = {0, 1, 2, 3, 4, 8, 65535};
  size_t supported = 0;
  for (unsigned pair = 0; pair < 24 << 8; pair++) {
    for (size_t i = 0; i < sizeof lane_counts / sizeof lane_counts[0]; i++) {
      tarn_dtype dtype = {(uint8_t)(pair >> 8), (uint8_t)pair, lane_counts[i]}, parsed;
      char name[64];
      bool is_supported = tarn_dtype_check(dtype) == TARN_OK;
      assert_int_equal(is_supported, tarn_dtype_size_bytes(dtype) > 0);
      assert_int_equal(is_supported, tarn_dtype_parse(tarn_dtype_name(dtype, name, sizeof name),
                                                      &parsed) == TARN_OK);
      if (is_supported) assert_true(tarn_dtype_equal(dtype, parsed));
      supported += is_supported;
    }
  }
  assert_true(supported > 100);
}

TEST(what_dlpack_does_not_define_is_not_supported) {
  static const tarn_dtype refused[] = {
      {18, 8, 1},                /* no such code */
      {255, 32, 1},              /* none either */
      {TARN_CODE_INT, 12, 1},    /* no such width */
      {TARN_CODE_FLOAT, 8, 1},   /* eight-bit floats have codes of their own */
      {TARN_CODE_FLOAT, 128, 1}, /* x87 padding or IEEE quad: nobody can tell */
      {TARN_CODE_BFLOAT, 32, 1}, /* only one width */
      {TARN_CODE_BOOL, 1, 8},    /* a bool is a byte */
      {TARN_CODE_FLOAT, 32, 0},  /* no lane */
      {TARN_CODE_INT, 4, 1},     /* half a byte */
      {TARN_CODE_INT, 4, 3},     /* a byte and a half */
      {TARN_CODE_FLOAT4_E2M1FN, 4, 1},
      {TARN_CODE_INT, 0, 1},
  };
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    assert_int_equal(tarn_dtype_check(refused[i]), TARN_NOT_SUPPORTED);
    assert_int_equal(tarn_last_error()->status, TARN_NOT_SUPPORTED);
    assert_int_equal(tarn_dtype_size_bytes(refused[i]), 0);
  }
}

TEST(only_exact_names_parse) {
  static const char *const refused[] = {"",
                                        "float",
                                        "float032",
                                        "Float32",
                                        "float32 ",
                                        " float32",
                                        "float32x",
                                        "float32x0",
                                        "float32x1",
                                        "float32x02",
                                        "float32x-2",
                                        "float32x65536",
                                        "float32x99999999999999",
                                        "int4",
                                        "int4x3",
                                        "bool8",
                                        "bfloat",
                                        "float8",
                                        "float8_e4m3f",
                                        "float8_e4m3fnx",
                                        "float4_e2m1fn",
                                        "int8x2y",
                                        "complex16"};
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    tarn_dtype parsed = {9, 9, 9};
    assert_int_equal(tarn_dtype_parse(refused[i], &parsed), TARN_INVALID_ARGUMENT);
    assert_int_equal(parsed.bits, 0); /* outputs are cleared */
  }
  tarn_dtype parsed;
  assert_int_equal(tarn_dtype_parse(NULL, &parsed), TARN_INVALID_ARGUMENT);
}

TEST(a_short_buffer_cuts_the_name) {
  char name[6] = "#####";
  assert_string_equal(tarn_dtype_name(TARN_BF16, name, sizeof name), "bfloa");
  assert_string_equal(tarn_dtype_name(TARN_BF16, name, 1), "");
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
