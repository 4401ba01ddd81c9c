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

/* The bytes of the UTF-8 character that begins here; 0 for none (RFC 3629, section 4: what the
 * second byte may be depends on the first). */
static int character_bytes(const unsigned char *at) {
  const unsigned char first = at[0];
  if (first < 0x80) return 1;
  const int count = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  const unsigned char least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (count == 0 || at[1] < least || at[1] > most) return 0;
  for (int index = 2; index < count; index++) {
    if ((at[index] & 0xC0) != 0x80) return 0;
  }
  return count;
}

static bool is_utf8(const char *name) {
  const unsigned char *at = (const unsigned char *)name;
  while (*at != 0) {
    const int count = character_bytes(at);
    if (count == 0) return false;
    at += count;
  }
  return true;
}

void tarn__text_quote(tarn__text *text, const char *name) {
  const unsigned char plain_max = is_utf8(name) ? 0xFF : 0x7E;
  tarn__text_print(text, "\"");
  for (; *name != '\0'; name++) {
    const unsigned char c = (unsigned char)*name;
    if (c < 0x20 || c > plain_max) {
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
