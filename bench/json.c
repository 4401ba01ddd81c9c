/* json.c: JSON's strings and numbers. */
#include "bench/json.h"

#include <math.h>
#include <string.h>

int json_utf8_length(const unsigned char *text) {
  const unsigned char first = text[0];
  int length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) length = 2;
  if (first >= 0xE0 && first <= 0xEF) length = 3;
  if (first >= 0xF0 && first <= 0xF4) length = 4;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  for (int i = 1; i < length; i++) {
    if (text[i] < low || text[i] > high) return 0;
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

void json_string(FILE *file, const char *text) {
  if (text == NULL) {
    fputs("null", file);
    return;
  }
  fputc('"', file);
  for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
    const int length = json_utf8_length(at);
    if (length == 0) {
      fputs("\\ufffd", file);
      at++;
      continue;
    }
    if (*at == '"' || *at == '\\') {
      fprintf(file, "\\%c", *at);
    } else if (*at < 0x20 || *at == 0x7F) {
      fprintf(file, "\\u%04x", (unsigned)*at);
    } else {
      fwrite(at, 1, (size_t)length, file);
    }
    at += length;
  }
  fputc('"', file);
}

void json_number(FILE *file, double value) {
  if (!isfinite(value)) {
    fputs("null", file);
  } else if (fabs(value) <= 9007199254740992.0 && value == trunc(value)) {
    fprintf(file, "%.0f", value);
  } else {
    fprintf(file, "%.9g", value);
  }
}
