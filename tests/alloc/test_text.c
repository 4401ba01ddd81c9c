/* test_text.c: text in pieces, and names as JSON strings. */
#include "tests/support/test.h"

#include <string.h>

#include "alloc/text.h"

typedef struct written {
  char text[256];
  size_t length;
} written;

static tarn_status append(void *context, const char *text, size_t text_bytes) {
  written *all = context;
  memcpy(all->text + all->length, text, text_bytes);
  all->length += text_bytes;
  return TARN_OK;
}

static void assert_quoted(const char *name, const char *expected) {
  written all = {.length = 0};
  tarn__text text = {.write = append, .context = &all};
  tarn__text_quote(&text, name);
  assert_ok(tarn__text_finish(&text));
  assert_string_equal(all.text, expected);
}

TEST(names_become_valid_json_whatever_their_bytes) {
  assert_quoted("plain", "\"plain\"");
  assert_quoted("a\"b\\c\n", "\"a\\\"b\\\\c\\u000a\"");
  /* Two, three and four bytes, and the lead bytes with narrower second ones. */
  assert_quoted("\xC3\xA9", "\"\xC3\xA9\"");
  assert_quoted("\xE0\xA4\x95\xED\x95\x9C", "\"\xE0\xA4\x95\xED\x95\x9C\"");
  assert_quoted("\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF", "\"\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF\"");
  /* No UTF-8: a stray byte, a cut character, an overlong one, a surrogate, beyond the last. */
  assert_quoted("x\xFF", "\"x\\u00ff\"");
  assert_quoted("\xC3", "\"\\u00c3\"");
  assert_quoted("\xE0\x80\x80", "\"\\u00e0\\u0080\\u0080\"");
  assert_quoted("\xED\xA0\x80", "\"\\u00ed\\u00a0\\u0080\"");
  assert_quoted("\xF4\x90\x80\x80", "\"\\u00f4\\u0090\\u0080\\u0080\"");
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
