/* tarn_status.h: how tarn says that something did not work, and why.
 *
 * A status is a small number; the reason in words, and the native cause (an errno, a CUresult, and
 * the call that returned it), is kept per thread as its *last error* until the next failure in the
 * same thread. A success leaves it alone, so read it only after a failure.
 *
 * TARN_NOT_READY from tarn_fence_query and tarn_staging_try_acquire, and from a stream's own
 * fence_query, is an answer, "not yet", and leaves it alone as well: asking in a loop costs no
 * message, and hides no earlier one.
 * From anything else TARN_NOT_READY is a refusal, a failure like the others, and sets it.
 */
#ifndef TARN_STATUS_H
#define TARN_STATUS_H

#include "alloc/tarn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One row per status: name, number (part of the ABI), one line for people. */
#define TARN_STATUS_TABLE(X)                                                     \
  X(OK, 0, "success")                                                            \
  X(INVALID_ARGUMENT, 1, "an argument is outside of what the function accepts")  \
  X(OUT_OF_MEMORY, 2, "no memory left, or a limit of the pool is reached")       \
  X(TOO_LARGE, 3, "a size overflows, or is beyond any machine")                  \
  X(NOT_SUPPORTED, 4, "this build or this implementation cannot do that")        \
  X(UNAVAILABLE, 5, "this machine lacks the driver, device or node")             \
  X(NOT_READY, 6, "the work is still under way")                                 \
  X(NOT_FOUND, 7, "the address or name is unknown, or was already freed")        \
  X(READ_ONLY, 8, "the storage may not be written")                              \
  X(OVERLAP, 9, "source and destination overlap in a way that cannot be copied") \
  X(BUSY, 10, "somebody still uses it")                                          \
  X(BAD_FORMAT, 11, "the input is malformed")                                    \
  X(SYSTEM_ERROR, 12, "a call to the operating system failed")                   \
  X(DEVICE_ERROR, 13, "a call to the device's driver failed")

typedef enum tarn_status {
#define TARN_STATUS_ROW(name, number, text) TARN_##name = number,
  TARN_STATUS_TABLE(TARN_STATUS_ROW)
#undef TARN_STATUS_ROW
} tarn_status;

enum { TARN_ERROR_MESSAGE_BYTES = 512 };

typedef struct tarn_error {
  tarn_status status;
  int64_t native_code;     /* errno, CUresult, ...; 0 where there is none */
  const char *native_call; /* the call that returned it, a literal; NULL where there is none */
  char message[TARN_ERROR_MESSAGE_BYTES]; /* one sentence, with the numbers that matter */
} tarn_error;

/* The calling thread's last error. The pointer stays valid as long as the thread; what it points
 * to changes with the thread's next failure. */
TARN_API const tarn_error *tarn_last_error(void);

/* "TARN_OUT_OF_MEMORY", and "no memory left, ...": literals; "TARN_?" for an unknown number. */
TARN_API const char *tarn_status_name(tarn_status status);
TARN_API const char *tarn_status_text(tarn_status status);

/* For those who implement a provider, a pool or a stream: sets the calling thread's last error and
 * returns `status`, so that `return tarn_fail(...)` reads as one step. The message is cut where it
 * is longer than tarn_error holds. */
TARN_API tarn_status tarn_fail(tarn_status status, const char *format, ...) TARN_PRINTF(2, 3);
TARN_API tarn_status tarn_fail_native(tarn_status status, const char *native_call,
                                      int64_t native_code, const char *format, ...)
    TARN_PRINTF(4, 5);
/* A copy of what tarn_last_error said becomes the last error again, and its status is returned: for
 * those who had to undo something in between, and may have failed at that too. */
TARN_API tarn_status tarn_fail_again(const tarn_error *earlier);

#ifdef __cplusplus
}
#endif
#endif
