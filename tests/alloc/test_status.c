/* test_status.c: statuses, their names, and the thread's last error. */
#include "tests/support/test.h"

#include <pthread.h>
#include <string.h>

TEST(every_status_has_a_name_and_a_text) {
#define CHECK_ROW(name, number, text)                                \
  assert_int_equal(TARN_##name, number);                             \
  assert_string_equal(tarn_status_name(TARN_##name), "TARN_" #name); \
  assert_string_equal(tarn_status_text(TARN_##name), text);
  TARN_STATUS_TABLE(CHECK_ROW)
#undef CHECK_ROW
  assert_string_equal(tarn_status_name((tarn_status)999), "TARN_?");
  assert_non_null(tarn_status_text((tarn_status)999));
}

TEST(fail_keeps_the_native_cause) {
  assert_status(tarn_fail_native(TARN_DEVICE_ERROR, "cuFoo", 700, "at %d", 3), TARN_DEVICE_ERROR);
  const tarn_error *error = tarn_last_error();
  assert_int_equal(error->status, TARN_DEVICE_ERROR);
  assert_int_equal(error->native_code, 700);
  assert_string_equal(error->native_call, "cuFoo");
  assert_string_equal(error->message, "at 3");
  assert_status(tarn_fail(TARN_BUSY, "again"), TARN_BUSY);
  assert_null(error->native_call);
  assert_int_equal(error->native_code, 0);
}

TEST(an_earlier_failure_is_told_again) {
  assert_status(tarn_fail_native(TARN_DEVICE_ERROR, "cuFoo", 700, "at %s", "%d"),
                TARN_DEVICE_ERROR);
  const tarn_error earlier = *tarn_last_error();
  assert_status(tarn_fail(TARN_BUSY, "while undoing"), TARN_BUSY);
  assert_status(tarn_fail_again(&earlier), TARN_DEVICE_ERROR);
  const tarn_error *error = tarn_last_error();
  assert_int_equal(error->status, TARN_DEVICE_ERROR);
  assert_int_equal(error->native_code, 700);
  assert_string_equal(error->native_call, "cuFoo");
  assert_string_equal(error->message, "at %d");
}

TEST(long_messages_are_cut_and_terminated) {
  char text[2 * TARN_ERROR_MESSAGE_BYTES];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  assert_status(tarn_fail(TARN_BUSY, "%s", text), TARN_BUSY);
  assert_int_equal(strlen(tarn_last_error()->message), TARN_ERROR_MESSAGE_BYTES - 1);
}

static void *fail_elsewhere(void *argument) {
  (void)argument;
  const tarn_status status = tarn_fail(TARN_OVERLAP, "in another thread");
  (void)status;
  return NULL;
}

TEST(each_thread_has_its_own_last_error) {
  assert_status(tarn_fail(TARN_BUSY, "here"), TARN_BUSY);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
  pthread_join(thread, NULL);
  assert_string_equal(tarn_last_error()->message, "here");
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
