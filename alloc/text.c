/* text.c: collects text in a buffer, and hands it on when that is full. */
#include "alloc/text.h"

#include <stdarg.h>
#include <stdio.h>

enum { PIECE_BYTES_MAX = 512 };

static void flush(tarn__text *text) {
  if (text->status == TARN_OK && text->length > 0) {
    text->status = text->write(text->context, text->buffer, text->length);
  }
  text->length = 0;
}

void tarn__text_print(tarn__text *text, const char *format, ...) {
  if (text->status != TARN_OK) return;
  if (text->length + PIECE_BYTES_MAX > sizeof text->buffer) flush(text);
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(text->buffer + text->length, PIECE_BYTES_MAX, format, arguments);
  va_end(arguments);
  TARN_ASSERT(length >= 0 && length < PIECE_BYTES_MAX);
  if (length > 0) text->length += (size_t)length;
}

void tarn__text_quote(tarn__text *text, const char *name) {
  tarn__text_print(text, "\"");
  for (; *name != '\0'; name++) {
    const unsigned char c = (unsigned char)*name;
    if (c < 0x20) {
      tarn__text_print(text, "\\u%04x", c);
    } else {
      tarn__text_print(text, c == '"' || c == '\\' ? "\\%c" : "%c", c);
    }
  }
  tarn__text_print(text, "\"");
}

tarn_status tarn__text_finish(tarn__text *text) {
  flush(text);
  return text->status;
}
