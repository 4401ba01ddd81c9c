/* test_npy_header.c: tests of tensor/npy_header.c and npy_literal.c: what a header says, what is
 * none, and the very bytes that NumPy writes. */
#include <inttypes.h>

#include "tensor/npy_header.h"
#include "tests/support/test.h"
#include "tests/tensor/npy_image.h"

static npy_image image;

static tarn_status parse(int major, const char *dictionary, tarn__npy_header *header) {
  image_begin(&image, major, dictionary, strlen(dictionary));
  return tarn__npy_parse_header(image.bytes, image.size, header);
}

static void assert_says(const char *dictionary, tarn_dtype dtype, int32_t rank,
                        const int64_t *shape, const int64_t *strides) {
  tarn__npy_header header;
  if (parse(1, dictionary, &header) != TARN_OK) {
    fail_msg("%s: %s", dictionary, tarn_last_error()->message);
  }
  assert_true(tarn_dtype_equal(header.dtype, dtype));
  assert_int_equal(header.layout.rank, rank);
  assert_int_equal(header.layout.offset, 0);
  for (int32_t d = 0; d < rank; d++) {
    assert_int_equal(header.layout.shape[d], shape[d]);
    assert_int_equal(header.layout.strides[d], strides[d]);
  }
  assert_int_equal(header.size_bytes, image.size);
  assert_int_equal(header.data_bytes, (size_t)tarn_layout_element_count(&header.layout) *
                                          tarn_dtype_size_bytes(dtype));
}

#define SHAPE(...) ((const int64_t[]){__VA_ARGS__})

/* --- what it says --- */

TEST(a_header_tells_dtype_shape_and_order) {
  assert_says("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", TARN_F32, 2,
              SHAPE(2, 3), SHAPE(3, 1));
  assert_says("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3, 4), }\n", TARN_F32, 3,
              SHAPE(2, 3, 4), SHAPE(1, 2, 6));
  assert_says("{'descr': '|b1', 'fortran_order': False, 'shape': (), }\n", TARN_BOOL, 0, NULL,
              NULL);
  assert_says("{'descr': '<i8', 'fortran_order': False, 'shape': (7,), }\n", TARN_I64, 1, SHAPE(7),
              SHAPE(1));
  assert_says("{'descr': '<i8', 'fortran_order': True, 'shape': (3, 0, 2), }\n", TARN_I64, 3,
              SHAPE(3, 0, 2), SHAPE(1, 3, 3));
}

TEST(a_dictionary_may_be_spelled_as_python_allows) {
  static const char *const spellings[] = {
      "{'descr':'<f4','fortran_order':False,'shape':(2,3)}",
      "{\"shape\": (2,3,), 'fortran_order' : False , \"descr\": \"<f4\"}",
      " \t{ 'fortran_order' : False,\n'shape':\r( 2 ,3\f) , 'descr':'f4', } \n\n  ",
      "{'descr': '=f4', 'fortran_order': False, 'shape': (2L, 3L), }\n",
  };
  for (size_t i = 0; i < COUNT_OF(spellings); i++) {
    assert_says(spellings[i], TARN_F32, 2, SHAPE(2, 3), SHAPE(3, 1));
  }
}

TEST(every_version_has_the_same_dictionary) {
  for (int major = 1; major <= 3; major++) {
    tarn__npy_header header;
    assert_ok(parse(major, "{'descr': '<u2', 'fortran_order': False, 'shape': (5,), }\n", &header));
    assert_int_equal(header.size_bytes, image.size);
    assert_true(tarn_dtype_equal(header.dtype, TARN_U16));
  }
}

TEST(every_descr_has_its_dtype) {
  const struct {
    const char *descr;
    tarn_dtype dtype;
    size_t swapped_bytes;
  } rows[] = {
      {"|b1", TARN_BOOL, 0},
      {"|i1", TARN_I8, 0},
      {"<i2", TARN_I16, 0},
      {"<i4", TARN_I32, 0},
      {"<i8", TARN_I64, 0},
      {"|u1", TARN_U8, 0},
      {"<u2", TARN_U16, 0},
      {"<u4", TARN_U32, 0},
      {"<u8", TARN_U64, 0},
      {"<f2", TARN_F16, 0},
      {"<f4", TARN_F32, 0},
      {"<f8", TARN_F64, 0},
      {"<c8", TARN_C64, 0},
      {"<c16", TARN_C128, 0},
      {"<V2", TARN_BF16, 0},
      {"<f1", tarn_dtype_make(TARN_CODE_FLOAT8_E5M2, 8, 1), 0},
      {"<V1", tarn_dtype_make(TARN_CODE_OPAQUE, 8, 1), 0},
      {"|V2", tarn_dtype_make(TARN_CODE_OPAQUE, 16, 1), 0},
      {"|V16", tarn_dtype_make(TARN_CODE_OPAQUE, 128, 1), 0},
      {">i1", TARN_I8, 0},
      {">i2", TARN_I16, 2},
      {">f8", TARN_F64, 8},
      {">c8", TARN_C64, 4},
      {">c16", TARN_C128, 8},
      {"|i4", TARN_I32, 0},
      {"i4", TARN_I32, 0},
  };
  for (size_t i = 0; i < COUNT_OF(rows); i++) {
    char dictionary[256];
    tarn__npy_header header;
    snprintf(dictionary, sizeof dictionary,
             "{'descr': '%s', 'fortran_order': False, 'shape': (3,), }\n", rows[i].descr);
    if (parse(1, dictionary, &header) != TARN_OK || header.swapped_bytes != rows[i].swapped_bytes ||
        !tarn_dtype_equal(header.dtype, rows[i].dtype)) {
      fail_msg("%s", dictionary);
    }
  }
}

/* --- what is refused --- */

TEST(a_malformed_dictionary_is_refused) {
  const struct {
    const char *dictionary;
    tarn_status status;
    const char *says;
  } rows[] = {
      {"", TARN_BAD_FORMAT, "the { of a dictionary expected at byte 0"},
      {"[]", TARN_BAD_FORMAT, "the { of a dictionary expected at byte 0"},
      {"{", TARN_BAD_FORMAT, "a key in quotes expected at byte 1"},
      {"{}", TARN_BAD_FORMAT, "the key 'descr' is missing"},
      {"{,}", TARN_BAD_FORMAT, "a key"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", TARN_BAD_FORMAT, "a comma or }"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", TARN_BAD_FORMAT,
       "nothing more"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}{}", TARN_BAD_FORMAT, "nothing"},
      {"{'descr': '<f4', 'fortran_order': False}", TARN_BAD_FORMAT, "'shape' is missing"},
      {"{'descr': '<f4', 'shape': (2,)}", TARN_BAD_FORMAT, "'fortran_order' is missing"},
      {"{'shape': (2,), 'fortran_order': False}", TARN_BAD_FORMAT, "'descr' is missing"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}", TARN_BAD_FORMAT,
       "each once, expected"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT,
       "each once, expected at byte 18"},
      {"{'descr' '<f4', 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT, "a colon"},
      {"{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT, "a comma or }"},
      {"{'descr': '<f4',, 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT, "a key"},
      {"{'descr: '<f4', 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT, "each once"},
      {"{descr: '<f4', 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT, "a key"},
      {"{'descr': '<f4\", 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT, "a comma or }"},
      {"{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT,
       "an element type"},
      {"{'descr': 4, 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT, "an element type"},
      {"{'descr': None, 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT, "an element"},
      {"{'descr': [('a', '<f4'), 'fortran_order': False, 'shape': (2,)}", TARN_BAD_FORMAT,
       "a comma or }"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", TARN_BAD_FORMAT, "True or False"},
      {"{'descr': '<f4', 'fortran_order': Falsey, 'shape': (2,)}", TARN_BAD_FORMAT, "a comma or }"},
      {"{'descr': '<f4', 'fortran_order': 'False', 'shape': (2,)}", TARN_BAD_FORMAT, "True or"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2)}", TARN_BAD_FORMAT, "a comma behind"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': 2}", TARN_BAD_FORMAT, "the ( of a shape"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3]}", TARN_BAD_FORMAT, "the ( of"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}", TARN_BAD_FORMAT, "a comma or )"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}", TARN_BAD_FORMAT, "a size"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,,)}", TARN_BAD_FORMAT, "a size"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,", TARN_BAD_FORMAT, "a size"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", TARN_BAD_FORMAT, "a size"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2.0,)}", TARN_BAD_FORMAT, "a comma"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (0x2,)}", TARN_BAD_FORMAT, "a comma"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (02,)}", TARN_BAD_FORMAT, "a size"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", TARN_BAD_FORMAT, "a size"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2LL,)}", TARN_BAD_FORMAT, "a comma"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}", TARN_TOO_LARGE,
       "a size of more than"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807,)}", TARN_TOO_LARGE,
       "elements of 4 bytes"},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807,)}", TARN_TOO_LARGE,
       "elements of 1 bytes"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
       TARN_TOO_LARGE, "multiply to more"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1)}",
       TARN_NOT_SUPPORTED, "more than 12 dimensions"},
  };
  for (size_t i = 0; i < COUNT_OF(rows); i++) {
    tarn__npy_header header;
    const tarn_status status = parse(1, rows[i].dictionary, &header);
    if (status != rows[i].status || strstr(tarn_last_error()->message, rows[i].says) == NULL) {
      fail_msg("%s: %s: %s", rows[i].dictionary, tarn_status_name(status),
               tarn_last_error()->message);
    }
    assert_int_equal(header.size_bytes, 0);
  }
}

TEST(elements_without_a_dtype_are_refused_by_their_descr) {
  const struct {
    const char *descr;
    const char *says;
  } rows[] = {
      {"'|O'", "'|O'"},
      {"'<U3'", "'<U3'"},
      {"'|S3'", "'|S3'"},
      {"'<M8[ns]'", "'<M8[ns]'"},
      {"'<m8[s]'", "'<m8[s]'"},
      {"'<f16'", "'<f16'"},
      {"'<c32'", "'<c32'"},
      {"'|V3'", "'|V3'"},
      {"''", "''"},
      {"'<'", "'<'"},
      {"'<f'", "'<f'"},
      {"'<f04'", "'<f04'"},
      {"'<<f4'", "'<<f4'"},
      {"'<i3'", "'<i3'"},
      {"'<c4'", "'<c4'"},
      {"'b\x01ll'", "'b?ll'"},
      {"[('a', '<f4'), ('b', '<i2')]", "descr [('a', '<f4'), ('b', '<i2')]"},
      {"('<f4', (2, 2))", "descr ('<f4', (2, 2))"},
      {"[(']', '<f4'), ('(\"', [('{', '<i2')])]", "descr [(']', '<f4'), ('(\"', [('{', '<i2')])]"},
      {"'0123456789012345678901234567890123456789012345678901234567890123456789'",
       "'0123456789012345678901234567890123456789012345678901234567890123...'"},
  };
  for (size_t i = 0; i < COUNT_OF(rows); i++) {
    char dictionary[512];
    tarn__npy_header header;
    snprintf(dictionary, sizeof dictionary,
             "{'descr': %s, 'fortran_order': False, 'shape': (3,), }", rows[i].descr);
    assert_status(parse(1, dictionary, &header), TARN_NOT_SUPPORTED);
    if (strstr(tarn_last_error()->message, rows[i].says) == NULL) {
      fail_msg("%s: %s", dictionary, tarn_last_error()->message);
    }
  }
}

TEST(what_python_2_wrote_is_not_in_version_3) {
  tarn__npy_header header;
  const char *text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }\n";
  assert_ok(parse(2, text, &header));
  assert_status(parse(3, text, &header), TARN_BAD_FORMAT);
}

TEST(another_version_is_refused) {
  tarn__npy_header header;
  const char *text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
  assert_status(parse(4, text, &header), TARN_NOT_SUPPORTED);
  assert_status(parse(0, text, &header), TARN_NOT_SUPPORTED);
  image_begin(&image, 1, text, strlen(text));
  image.bytes[7] = 1;
  assert_status(tarn__npy_parse_header(image.bytes, image.size, &header), TARN_NOT_SUPPORTED);
}

/* Of one header all beginnings, and of its prefix every byte. */
TEST(a_header_that_is_cut_is_refused) {
  for (int major = 1; major <= 3; major++) {
    tarn__npy_header header;
    assert_ok(parse(major, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", &header));
    for (size_t size = 0; size < image.size; size++) {
      assert_status(tarn__npy_parse_header(image.bytes, size, &header), TARN_BAD_FORMAT);
    }
    image.bytes[3] ^= 1;
    assert_status(tarn__npy_parse_header(image.bytes, image.size, &header), TARN_BAD_FORMAT);
  }
}

TEST(the_longest_header_is_read_and_none_longer) {
  static char text[65536 + 1];
  tarn__npy_header header;
  memset(text, ' ', sizeof text);
  memcpy(text, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 55);
  image_begin(&image, 1, text, 65535);
  assert_ok(tarn__npy_parse_header(image.bytes, image.size, &header));
  assert_int_equal(header.size_bytes, 65535 + 10);
  image_begin(&image, 2, text, 65535);
  assert_ok(tarn__npy_parse_header(image.bytes, image.size, &header));
  assert_int_equal(header.size_bytes, TARN__NPY_HEADER_BYTES_MAX);
  image_begin(&image, 2, text, 65536);
  assert_status(tarn__npy_parse_header(image.bytes, image.size, &header), TARN_TOO_LARGE);
  memset(image.bytes + 8, 0xff, 4);
  assert_status(tarn__npy_parse_header(image.bytes, image.size, &header), TARN_TOO_LARGE);
}

/* As deep as a header can be long: nothing is called once per bracket. */
TEST(brackets_may_be_nested_without_end) {
  static char text[65535];
  const size_t deep = 32000;
  tarn__npy_header header;
  memset(text, '[', sizeof text);
  memcpy(text, "{'descr': ", 10);
  image_begin(&image, 1, text, sizeof text);
  assert_status(tarn__npy_parse_header(image.bytes, image.size, &header), TARN_BAD_FORMAT);
  memset(text + 10 + deep, ']', deep);
  const char *rest = ", 'fortran_order': False, 'shape': (2,)}";
  memcpy(text + 10 + 2 * deep, rest, strlen(rest));
  image_begin(&image, 1, text, 10 + 2 * deep + strlen(rest));
  assert_status(tarn__npy_parse_header(image.bytes, image.size, &header), TARN_NOT_SUPPORTED);
}

/* --- what is written --- */

/* Each as NumPy 2.4 writes it, spaces counted. */
TEST(a_header_is_what_numpy_writes) {
  const struct {
    tarn_dtype dtype;
    int32_t rank;
    int64_t shape[TARN_RANK_MAX];
    bool is_fortran;
    const char *dictionary;
    int spaces;
    int size;
  } rows[] = {
      {TARN_F32,
       2,
       {2, 3},
       false,
       "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
       58,
       128},
      {TARN_F32,
       2,
       {2, 3},
       true,
       "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }",
       59,
       128},
      {TARN_C128,
       1,
       {2},
       false,
       "{'descr': '<c16', 'fortran_order': False, 'shape': (2,), }",
       59,
       128},
      {TARN_BOOL,
       0,
       {0},
       false,
       "{'descr': '|b1', 'fortran_order': False, 'shape': (), }",
       62,
       128},
      {TARN_I64,
       3,
       {1099511627776, 0, 3},
       false,
       "{'descr': '<i8', 'fortran_order': False, 'shape': (1099511627776, 0, 3), }",
       43,
       128},
      {TARN_BF16,
       1,
       {5},
       false,
       "{'descr': '<V2', 'fortran_order': False, 'shape': (5,), }",
       60,
       128},
      {tarn_dtype_make(TARN_CODE_FLOAT8_E4M3FN, 8, 1),
       1,
       {5},
       false,
       "{'descr': '<V1', 'fortran_order': False, 'shape': (5,), }",
       60,
       128},
      {tarn_dtype_make(TARN_CODE_OPAQUE, 32, 1),
       1,
       {5},
       false,
       "{'descr': '|V4', 'fortran_order': False, 'shape': (5,), }",
       60,
       128},
  };
  for (size_t i = 0; i < COUNT_OF(rows); i++) {
    char bytes[TARN__NPY_WRITTEN_BYTES_MAX], wanted[TARN__NPY_WRITTEN_BYTES_MAX];
    size_t size;
    assert_ok(tarn__npy_write_header(rows[i].dtype, rows[i].rank, rows[i].shape, rows[i].is_fortran,
                                     bytes, &size));
    assert_int_equal(size, rows[i].size);
    const int length =
        snprintf(wanted, sizeof wanted, "%s%*s\n", rows[i].dictionary, rows[i].spaces, "");
    assert_int_equal(length, size - 10);
    assert_memory_equal(bytes, "\x93NUMPY\x01\x00\x76\x00", 10);
    assert_memory_equal(bytes + 10, wanted, (size_t)length);
  }
}

/* NumPy adds a whole block where the header would just fill one; and the longest header fits. */
TEST(a_written_header_ends_on_a_block_and_reads_as_it_was) {
  int64_t shape[TARN_RANK_MAX];
  for (int32_t rank = 0; rank <= TARN_RANK_MAX; rank++) {
    for (int digits = 1; digits <= 18; digits++) {
      char bytes[TARN__NPY_WRITTEN_BYTES_MAX];
      size_t size;
      tarn__npy_header header;
      int64_t large = 1;
      for (int i = 1; i < digits; i++) large *= 10;
      for (int32_t d = 0; d < rank; d++) shape[d] = d == 0 ? large : 1;
      assert_ok(tarn__npy_write_header(TARN_U8, rank, shape, /*is_fortran=*/false, bytes, &size));
      assert_int_equal(size % 64, 0);
      assert_int_equal(bytes[size - 1], '\n');
      assert_int_equal(bytes[size - 2], ' ');
      assert_ok(tarn__npy_parse_header(bytes, size, &header));
      assert_int_equal(header.size_bytes, size);
      assert_int_equal(header.layout.rank, rank);
      assert_memory_equal(header.layout.shape, shape, sizeof shape[0] * (size_t)rank);
    }
  }
  for (int32_t d = 0; d < TARN_RANK_MAX; d++) shape[d] = INT64_MAX;
  char bytes[TARN__NPY_WRITTEN_BYTES_MAX];
  size_t size;
  assert_ok(tarn__npy_write_header(TARN_C128, TARN_RANK_MAX, shape, false, bytes, &size));
  assert_int_equal(size, 320);
}

TEST(a_dtype_without_a_descr_is_not_written) {
  const tarn_dtype dtypes[] = {
      tarn_dtype_make(TARN_CODE_FLOAT, 32, 4), tarn_dtype_make(TARN_CODE_BFLOAT, 16, 2),
      tarn_dtype_make(TARN_CODE_INT, 4, 2), tarn_dtype_make(TARN_CODE_COMPLEX, 32, 1),
      tarn_dtype_make(TARN_CODE_FLOAT4_E2M1FN, 4, 2)};
  for (size_t i = 0; i < COUNT_OF(dtypes); i++) {
    char bytes[TARN__NPY_WRITTEN_BYTES_MAX];
    size_t size = 1;
    assert_status(tarn__npy_write_header(dtypes[i], 0, NULL, false, bytes, &size),
                  TARN_NOT_SUPPORTED);
    assert_int_equal(size, 0);
  }
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
