/* test_logging_pool.c: the lines of a log, their order, and a log that cannot be written. */
#include "alloc/adapters/pools/tarn_logging_pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_host_stream.h"
#include "tests/adapters/pools/adaptor_fixture.h"

static tarn_pool *make_logging(tarn_pool *upstream, uint32_t flags, text_sink *sink) {
  const tarn_logging_pool_options options = {
      .struct_size = sizeof options, .flags = flags, .write = write_to_sink, .write_context = sink};
  tarn_pool *pool = NULL;
  assert_ok(tarn_logging_pool_create(upstream, &options, &pool));
  tarn_pool_release(upstream);
  return pool;
}

TEST(each_call_is_a_line_of_a_trace) {
  text_sink sink = {.length = 0};
  tarn_pool *pool = make_logging(make_pages_pool(), 0, &sink);
  tarn_stream *stream = NULL;
  void *block = NULL;
  assert_ok(tarn_worker_stream_create(&stream));
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &block));
  assert_ok(tarn_pool_note_use(pool, (char *)block + 5, stream));
  assert_status(tarn_pool_free(pool, (char *)block + 64, stream), TARN_NOT_FOUND);
  assert_ok(tarn_pool_free(pool, block, stream));
  assert_ok(tarn_stream_synchronize(stream));
  char expected[256];
  const uintmax_t id = (uintptr_t)block;
  const unsigned number = tarn_stream_number(stream);
  snprintf(expected, sizeof expected,
           "op,id,bytes,stream,thread\na,%ju,1000,0,0\nu,%ju,1000,%u,0\nf,%ju,1000,%u,0\n", id, id,
           number, id, number);
  assert_string_equal(sink.text, expected);
  assert_int_equal(sink.write_count, 4);
  assert_ok(tarn_logging_pool_status(pool));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(failures_and_times_are_told_where_asked_for) {
  static _Alignas(64) char block[4096];
  scripted_pool script = {.block = block, .alloc_status = TARN_OUT_OF_MEMORY};
  text_sink sink = {.length = 0};
  tarn_pool *pool = make_logging(make_scripted_pool(&script),
                                 TARN_LOGGING_POOL_TIMES | TARN_LOGGING_POOL_FAILURES, &sink);
  void *address = NULL;
  assert_status(tarn_pool_alloc(pool, 77, NULL, &address), TARN_OUT_OF_MEMORY);
  char *line = strstr(sink.text, "\n") + 1;
  assert_int_equal(strncmp(sink.text, "op,id,bytes,stream,thread,time_ns\n", 34), 0);
  assert_int_equal(strncmp(line, "x,0,77,0,0,", 11), 0);
  char *end = NULL;
  (void)strtoull(line + 11, &end, 10);
  assert_string_equal(end, "\n");
  tarn_pool_release(pool);
}

TEST(a_free_that_is_refused_is_taken_back_in_the_log) {
  static _Alignas(64) char block[4096];
  scripted_pool script = {.block = block, .free_status = TARN_NOT_SUPPORTED};
  text_sink sink = {.length = 0};
  tarn_pool *pool = make_logging(make_scripted_pool(&script), 0, &sink);
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 77, NULL, &address));
  assert_status(tarn_pool_free(pool, address, NULL), TARN_NOT_SUPPORTED);
  script.free_status = TARN_OK;
  assert_ok(tarn_pool_free(pool, address, NULL));
  char expected[256];
  const uintmax_t id = (uintptr_t)block;
  snprintf(expected, sizeof expected,
           "op,id,bytes,stream,thread\na,%ju,77,0,0\nf,%ju,77,0,0\na,%ju,77,0,0\nf,%ju,77,0,0\n",
           id, id, id, id);
  assert_string_equal(sink.text, expected);
  tarn_pool_release(pool);
}

static void look_for_the_free(void *context) {
  const text_sink *sink = context;
  assert_non_null(strstr(sink->text, "\nf,"));
}

TEST(a_free_is_written_before_anybody_else_can_have_the_block) {
  static _Alignas(64) char block[4096];
  text_sink sink = {.length = 0};
  scripted_pool script = {.block = block, .in_call_context = &sink};
  tarn_pool *pool = make_logging(make_scripted_pool(&script), 0, &sink);
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 77, NULL, &address));
  script.in_call = look_for_the_free;
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_null(script.in_call);
  tarn_pool_release(pool);
}

TEST(a_log_that_cannot_be_written_fails_nothing_else) {
  text_sink sink = {.refused_from = 3};
  tarn_pool *pool = make_logging(make_pages_pool(), 0, &sink);
  void *block = NULL;
  (void)tarn_fail(TARN_BUSY, "an earlier failure");
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &block));
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_string_equal(tarn_last_error()->message, "an earlier failure");
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &block));
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_int_equal(sink.write_count, 3); /* none behind the refused one */
  assert_status(tarn_logging_pool_status(pool), TARN_SYSTEM_ERROR);
  tarn_pool_release(pool);
}

static void *use_once(void *argument) {
  void *address = NULL;
  if (tarn_pool_alloc(argument, 100, NULL, &address) != TARN_OK) return argument;
  return tarn_pool_free(argument, address, NULL) == TARN_OK ? NULL : argument;
}

static tarn_status find_highest_thread(void *context, const char *text, size_t text_bytes) {
  long *highest = context;
  char line[160] = {0};
  memcpy(line, text, text_bytes);
  const long number = strtol(strrchr(line, ',') + 1, NULL, 10);
  if (number > *highest) *highest = number;
  return TARN_OK;
}

/* bench/traces/README.md: numbers of threads are below 1024. */
TEST(a_process_of_many_threads_writes_what_a_replay_reads) {
  long highest = 0;
  const tarn_logging_pool_options options = {
      .struct_size = sizeof options, .write = find_highest_thread, .write_context = &highest};
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  assert_ok(tarn_logging_pool_create(upstream, &options, &pool));
  tarn_pool_release(upstream);
  for (int count = 0; count < 1030; count++) {
    pthread_t thread;
    void *failed = NULL;
    assert_int_equal(pthread_create(&thread, NULL, use_once, pool), 0);
    pthread_join(thread, &failed);
    assert_null(failed);
  }
  assert_int_equal(highest, 1023);
  tarn_pool_release(pool);
}

TEST(creation_says_what_is_wrong) {
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  text_sink full = {.refused_from = 1};
  tarn_logging_pool_options options = {.struct_size = sizeof options};
  assert_status(tarn_logging_pool_create(upstream, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_logging_pool_create(upstream, &options, &pool), TARN_INVALID_ARGUMENT);
  options.write = write_to_sink;
  options.write_context = &full;
  options.flags = 4;
  assert_status(tarn_logging_pool_create(upstream, &options, &pool), TARN_INVALID_ARGUMENT);
  options.flags = 0;
  assert_status(tarn_logging_pool_create(upstream, &options, &pool), TARN_SYSTEM_ERROR);
  assert_null(pool);
  assert_status(tarn_logging_pool_status(upstream), TARN_INVALID_ARGUMENT);
  tarn_pool_release(upstream);
}

/* Reads the log as it is written: an address has one owner at a time. */
typedef struct checking_log {
  pthread_mutex_t lock;
  unsigned long long live[64];
  bool is_wrong;
} checking_log;

static tarn_status check_line(void *context, const char *text, size_t text_bytes) {
  checking_log *self = context;
  (void)text_bytes;
  if (text[0] != 'a' && text[0] != 'f') return TARN_OK;
  const unsigned long long id = strtoull(text + 2, NULL, 10);
  pthread_mutex_lock(&self->lock);
  size_t at = 0;
  const unsigned long long wanted = text[0] == 'a' ? 0 : id;
  for (size_t index = 0; index < COUNT_OF(self->live); index++) {
    self->is_wrong |= text[0] == 'a' && self->live[index] == id;
  }
  while (at < COUNT_OF(self->live) && self->live[at] != wanted) at++;
  self->is_wrong |= at == COUNT_OF(self->live);
  if (at < COUNT_OF(self->live)) self->live[at] = text[0] == 'a' ? id : 0;
  pthread_mutex_unlock(&self->lock);
  return TARN_OK;
}

static void *use_pool(void *argument) {
  tarn_pool *pool = argument;
  for (int round = 0; round < 2000; round++) {
    void *address = NULL;
    if (tarn_pool_alloc(pool, 3000, NULL, &address) != TARN_OK) return pool;
    if (tarn_pool_free(pool, address, NULL) != TARN_OK) return pool;
  }
  return NULL;
}

TEST(no_address_is_read_to_have_two_owners) {
  checking_log log = {.lock = PTHREAD_MUTEX_INITIALIZER};
  const tarn_logging_pool_options options = {
      .struct_size = sizeof options, .write = check_line, .write_context = &log};
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  assert_ok(tarn_logging_pool_create(upstream, &options, &pool));
  tarn_pool_release(upstream);
  pthread_t threads[4];
  for (int index = 0; index < 4; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, use_pool, pool), 0);
  }
  for (int index = 0; index < 4; index++) {
    void *failed = NULL;
    pthread_join(threads[index], &failed);
    assert_null(failed);
  }
  assert_false(log.is_wrong);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
