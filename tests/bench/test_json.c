/* test_json.c: strings and numbers as JSON wants them. */
#include "bench/json.h"

#include <math.h>
#include <stdlib.h>

#include "tests/support/test.h"

static void expect_text(const char *text, const char *json) {
  char *written = NULL;
  size_t written_bytes = 0;
  FILE *file = open_memstream(&written, &written_bytes);
  assert_non_null(file);
  json_string(file, text);
  fclose(file);
  assert_string_equal(written, json);
  free(written);
}

static void expect_number(double value, const char *json) {
  char *written = NULL;
  size_t written_bytes = 0;
  FILE *file = open_memstream(&written, &written_bytes);
  assert_non_null(file);
  json_number(file, value);
  fclose(file);
  assert_string_equal(written, json);
  free(written);
}

TEST(quotes_and_control_characters_are_escaped) {
  expect_text("plain", "\"plain\"");
  expect_text("", "\"\"");
  expect_text("a\"b\\c", "\"a\\\"b\\\\c\"");
  expect_text("a\nb\x01\x7f", "\"a\\u000ab\\u0001\\u007f\"");
  expect_text(NULL, "null");
}

TEST(utf8_stays_and_other_bytes_are_replaced) {
  expect_text("B\xc3\xa4r \xe2\x82\xac \xf0\x9f\x8f\x94",
              "\"B\xc3\xa4r \xe2\x82\xac \xf0\x9f\x8f\x94\"");
  expect_text("\xff", "\"\\ufffd\"");
  expect_text("\xc3", "\"\\ufffd\"");                       /* ends too early */
  expect_text("\xc0\xaf", "\"\\ufffd\\ufffd\"");            /* longer than needed */
  expect_text("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""); /* half of a surrogate pair */
  expect_text("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* behind the last */
}

TEST(whole_numbers_stay_whole) {
  expect_number(0, "0");
  expect_number(1365810128, "1365810128");
  expect_number(9007199254740992.0, "9007199254740992");
  expect_number(1.0625, "1.0625");
  expect_number(-2.5, "-2.5");
}

TEST(what_json_lacks_is_null) {
  expect_number(INFINITY, "null");
  expect_number(NAN, "null");
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
