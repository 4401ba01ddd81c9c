/* test_turns.c: steps are played on their own threads and in their order. */
#include "bench/turns.h"

#include "tests/support/test.h"
#include <pthread.h>

enum { STEP_COUNT = 500, THREAD_COUNT = 4 };

typedef struct log_book {
  uint32_t threads[STEP_COUNT]; /* which one each step is for */
  pthread_t players[STEP_COUNT];
  size_t played[STEP_COUNT]; /* which step was the n-th */
  size_t count;              /* plain: the turns alone keep it whole */
  size_t fail_at;            /* that step fails; STEP_COUNT: none */
} log_book;

static uint32_t thread_of(const void *context, size_t step) {
  return ((const log_book *)context)->threads[step];
}

static tarn_status play(void *context, size_t step) {
  log_book *book = context;
  if (step == book->fail_at) {
    return tarn_fail_native(TARN_NOT_READY, "play", 7, "step %zu fails", step);
  }
  book->players[step] = pthread_self();
  book->played[book->count++] = step;
  return TARN_OK;
}

static turns_list make_list(log_book *book, uint32_t thread_count) {
  *book = (log_book){.fail_at = STEP_COUNT};
  for (size_t step = 0; step < STEP_COUNT; step++) {
    book->threads[step] = (uint32_t)(step * step / 3 % thread_count);
  }
  return (turns_list){.step_count = STEP_COUNT,
                      .thread_count = thread_count,
                      .context = book,
                      .thread_of = thread_of,
                      .play = play};
}

TEST(steps_run_in_order_each_on_its_thread) {
  static log_book book;
  const turns_list list = make_list(&book, THREAD_COUNT);
  assert_int_equal(turns_play(&list), TARN_OK);
  assert_int_equal(book.count, STEP_COUNT);
  pthread_t players[THREAD_COUNT];
  bool is_known[THREAD_COUNT] = {false};
  for (size_t step = 0; step < STEP_COUNT; step++) {
    assert_int_equal(book.played[step], step);
    const uint32_t thread = book.threads[step];
    if (!is_known[thread]) players[thread] = book.players[step];
    is_known[thread] = true;
    assert_true(pthread_equal(players[thread], book.players[step]));
    assert_false(pthread_equal(players[thread], pthread_self()));
    for (uint32_t other = 0; other < THREAD_COUNT; other++) {
      if (other == thread || !is_known[other]) continue;
      assert_false(pthread_equal(players[other], players[thread]));
    }
  }
}

TEST(one_thread_is_the_callers) {
  static log_book book;
  const turns_list list = make_list(&book, 1);
  assert_int_equal(turns_play(&list), TARN_OK);
  assert_true(pthread_equal(book.players[STEP_COUNT - 1], pthread_self()));
}

TEST(the_first_failure_ends_it_and_is_the_callers_error) {
  static log_book book;
  for (uint32_t thread_count = 1; thread_count <= THREAD_COUNT; thread_count++) {
    const turns_list list = make_list(&book, thread_count);
    book.fail_at = 123;
    assert_int_equal(turns_play(&list), TARN_NOT_READY);
    assert_int_equal(book.count, 123);
    assert_string_equal(tarn_last_error()->message, "step 123 fails");
    assert_int_equal(tarn_last_error()->native_code, 7);
  }
}

TEST(no_steps_are_played_at_once) {
  static log_book book;
  turns_list list = make_list(&book, THREAD_COUNT);
  list.step_count = 0;
  assert_int_equal(turns_play(&list), TARN_OK);
  assert_int_equal(book.count, 0);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
