/* text.h: writes text through a caller's function, in pieces of a few kilobytes. */
#ifndef TARN_TEXT_H
#define TARN_TEXT_H

#include "alloc/tarn_pool_snapshot.h"

typedef struct tarn__text {
  tarn_write_function write;
  void *context;
  tarn_status status; /* the first failure; nothing is written behind it */
  size_t length;
  char buffer[4096];
} tarn__text;

/* A piece of at most 512 bytes. */
void tarn__text_print(tarn__text *text, const char *format, ...) TARN_PRINTF(2, 3);
/* "name" as a JSON string, quotes and all; where it is no UTF-8, each byte is a character. */
void tarn__text_quote(tarn__text *text, const char *name);
/* Writes what is left; the status of all. */
TARN_NODISCARD tarn_status tarn__text_finish(tarn__text *text);

#endif
