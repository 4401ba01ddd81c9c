/* progress.c: the progress line. */
#include "bench/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/measure.h"

static bool is_shown;

void progress_show(const char *format, ...) {
  static uint64_t last_ns;
  static int is_terminal = -1;
  if (is_terminal < 0) is_terminal = isatty(STDERR_FILENO);
  if (!is_terminal) return;
  const uint64_t now_ns = measure_now_ns();
  if (now_ns - last_ns < 100 * 1000 * 1000) return;
  last_ns = now_ns;
  char text[160];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(stderr, "\r\033[K%.78s", text);
  is_shown = true;
}

void progress_clear(void) {
  if (is_shown) fputs("\r\033[K", stderr);
  is_shown = false;
}
