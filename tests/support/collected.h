/* collected.h: what a pool writes, kept as a test's text. */
#ifndef TARN_TEST_COLLECTED_H
#define TARN_TEST_COLLECTED_H

#include <string.h>

#include "tests/support/test.h"

enum { TEXT_BYTES = 1 << 20 };

static char text[TEXT_BYTES];
static size_t text_length; /* zeroed by the test before each writing */

static inline tarn_status collect(void *context, const char *piece, size_t piece_bytes) {
  (void)context;
  assert_true(text_length + piece_bytes < sizeof text);
  memcpy(text + text_length, piece, piece_bytes);
  text_length += piece_bytes;
  text[text_length] = '\0';
  return TARN_OK;
}

#endif
