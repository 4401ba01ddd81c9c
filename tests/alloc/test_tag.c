/* test_tag.c: names for what a thread allocates. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "alloc/tag.h"

TEST(tags_nest_and_keep_their_numbers) {
  assert_int_equal(tarn_tag_current(), 0);
  assert_ok(tarn_tag_push("weights"));
  const uint32_t weights = tarn_tag_current();
  assert_int_not_equal(weights, 0);
  assert_string_equal(tarn_tag_name(weights), "weights");
  assert_ok(tarn_tag_push("activations"));
  assert_int_not_equal(tarn_tag_current(), weights);
  assert_int_equal(tarn_tag_current(), tarn__tag_current);
  assert_ok(tarn_tag_push("weights"));
  assert_int_equal(tarn_tag_current(), weights);
  tarn_tag_pop();
  tarn_tag_pop();
  assert_int_equal(tarn_tag_current(), weights);
  tarn_tag_pop();
  assert_int_equal(tarn_tag_current(), 0);
  tarn_tag_pop(); /* one too many does nothing */
  assert_int_equal(tarn_tag_current(), 0);
  assert_string_equal(tarn_tag_name(0), "");
  assert_string_equal(tarn_tag_name(TARN_TAGS_MAX), "");
}

TEST(bad_names_and_too_many_pushes_are_refused) {
  char longest[TARN_TAG_BYTES_MAX + 1];
  memset(longest, 'x', sizeof longest);
  longest[TARN_TAG_BYTES_MAX] = '\0';
  assert_status(tarn_tag_push(NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tag_push(""), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tag_push(longest), TARN_INVALID_ARGUMENT);
  longest[TARN_TAG_BYTES_MAX - 1] = '\0';
  assert_ok(tarn_tag_push(longest));
  assert_string_equal(tarn_tag_name(tarn_tag_current()), longest);
  for (int count = 1; count < TARN_TAG_DEPTH_MAX; count++) assert_ok(tarn_tag_push("deep"));
  assert_status(tarn_tag_push("deep"), TARN_NOT_SUPPORTED);
  for (int count = 0; count < TARN_TAG_DEPTH_MAX; count++) tarn_tag_pop();
  assert_int_equal(tarn_tag_current(), 0);
}

enum { THREAD_COUNT = 4, NAME_COUNT = 100 };

/* The same names in another order in each thread: each is one tag for all of them. */
static void *push_many(void *argument) {
  uint32_t *tags = argument;
  const int step = 1 + 2 * (int)tags[0];
  for (int index = 0; index < NAME_COUNT; index++) {
    const int number = index * step % NAME_COUNT;
    char name[16];
    snprintf(name, sizeof name, "name %d", number);
    if (tarn_tag_push(name) != TARN_OK) return NULL;
    tags[number] = tarn_tag_current();
    if (strcmp(tarn_tag_name(tags[number]), name) != 0) return NULL;
    tarn_tag_pop();
  }
  return argument;
}

TEST(threads_agree_on_numbers_and_have_their_own_stacks) {
  static const uint32_t steps[THREAD_COUNT] = {0, 1, 3, 4}; /* prime to the count */
  uint32_t tags[THREAD_COUNT][NAME_COUNT];
  pthread_t threads[THREAD_COUNT];
  assert_ok(tarn_tag_push("main"));
  for (int index = 0; index < THREAD_COUNT; index++) {
    tags[index][0] = steps[index];
    assert_int_equal(pthread_create(&threads[index], NULL, push_many, tags[index]), 0);
  }
  for (int index = 0; index < THREAD_COUNT; index++) {
    void *result = NULL;
    assert_int_equal(pthread_join(threads[index], &result), 0);
    assert_non_null(result);
    assert_memory_equal(tags[index], tags[0], sizeof tags[0]);
  }
  assert_string_equal(tarn_tag_name(tarn_tag_current()), "main");
  tarn_tag_pop();
}

/* Last: it uses all names up. */
TEST(names_end_and_known_ones_go_on) {
  assert_ok(tarn_tag_push("known"));
  tarn_tag_pop();
  tarn_status status = TARN_OK;
  for (int index = 0; status == TARN_OK && index < TARN_TAGS_MAX; index++) {
    char name[16];
    snprintf(name, sizeof name, "filler %d", index);
    status = tarn_tag_push(name);
    if (status == TARN_OK) tarn_tag_pop();
  }
  assert_int_equal(status, TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_tag_current(), 0);
  assert_ok(tarn_tag_push("known"));
  tarn_tag_pop();
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
