/* status.c: status names and the thread's last error. */
#include "alloc/tarn_status.h"

#include "alloc/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local tarn_error last_error;

const tarn_error *tarn_last_error(void) {
  return &last_error;
}

const char *tarn_status_name(tarn_status status) {
  switch (status) {
#define TARN_STATUS_ROW(name, number, text) \
  case TARN_##name:                         \
    return "TARN_" #name;
    TARN_STATUS_TABLE(TARN_STATUS_ROW)
#undef TARN_STATUS_ROW
  }
  return "TARN_?";
}

const char *tarn_status_text(tarn_status status) {
  switch (status) {
#define TARN_STATUS_ROW(name, number, text) \
  case TARN_##name:                         \
    return text;
    TARN_STATUS_TABLE(TARN_STATUS_ROW)
#undef TARN_STATUS_ROW
  }
  return "unknown status";
}

static void set_last_error(tarn_status status, const char *native_call, int64_t native_code,
                           const char *format, va_list arguments) {
  last_error.status = status;
  last_error.native_call = native_call;
  last_error.native_code = native_code;
  vsnprintf(last_error.message, sizeof last_error.message, format, arguments);
}

tarn_status tarn_fail(tarn_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  set_last_error(status, NULL, 0, format, arguments);
  va_end(arguments);
  return status;
}

tarn_status tarn_fail_native(tarn_status status, const char *native_call, int64_t native_code,
                             const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  set_last_error(status, native_call, native_code, format, arguments);
  va_end(arguments);
  return status;
}

tarn_status tarn_fail_again(const tarn_error *earlier) {
  last_error = *earlier;
  return earlier->status;
}

void tarn__error_restore(const tarn_error *error) {
  last_error = *error;
}

void tarn_assert_failed(const char *condition, const char *file, int line) {
  /* Debug builds only: a broken belief of tarn about itself leaves nothing sound to return to. */
  fprintf(stderr, "%s:%d: tarn believed that %s\n", file, line, condition);
  abort();
}
