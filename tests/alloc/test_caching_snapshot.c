/* test_caching_snapshot.c: a pool as JSON. test_snapshot.py runs the program with a folder, in
 * which it leaves snapshots of a pool's life, and looks whether they add up. */
#include "tests/alloc/caching_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "alloc/tarn_pool_snapshot.h"
#include "alloc/tarn_tag.h"
#include "tests/support/manual_stream.h"

typedef struct collected {
  char text[1 << 20];
  size_t length;
  int piece_count;
  int fail_at; /* that piece is refused; 0: none */
} collected;

static collected out;

static tarn_status collect(void *context, const char *text, size_t text_bytes) {
  collected *self = context;
  if (++self->piece_count == self->fail_at) return tarn_fail(TARN_NOT_READY, "the reader is full");
  assert_true(self->length + text_bytes < sizeof self->text);
  memcpy(self->text + self->length, text, text_bytes);
  self->length += text_bytes;
  self->text[self->length] = '\0';
  return TARN_OK;
}

static const char *snapshot_of(tarn_pool *pool) {
  out.length = 0;
  out.piece_count = 0;
  out.fail_at = 0;
  assert_ok(tarn_pool_snapshot(pool, collect, &out));
  return out.text;
}

TEST(an_empty_pool_is_an_object_too) {
  tarn_pool *pool = make_segment_pool(64 * MIB);
  const char *text = snapshot_of(pool);
  assert_non_null(strstr(text, "\"limit_bytes\":67108864,\"floor_bytes\":0"));
  assert_non_null(strstr(text, "\"pool\":\"counting\",\"device\":{\"type\":2,\"index\":0}"));
  assert_non_null(strstr(text, "\"segments\":[]}"));
  tarn_pool_release(pool);
}

TEST(live_blocks_say_what_was_asked_and_by_whom) {
  const tarn_caching_options options = {.struct_size = sizeof options, .name = "a \"b\"\\\n"};
  tarn_pool *pool = make_pool_with(&options);
  assert_ok(tarn_tag_push("kv \"cache\""));
  void *block = take(pool, 1000, NULL);
  tarn_tag_pop();
  const char *text = snapshot_of(pool);
  char expected[200];
  snprintf(expected, sizeof expected,
           "{\"address\":\"%p\",\"size_bytes\":1024,\"state\":\"live\",\"requested_bytes\":1000,"
           "\"tag\":\"kv \\\"cache\\\"\"}",
           block);
  assert_non_null(strstr(text, expected));
  assert_non_null(strstr(text, "\"pool\":\"a \\\"b\\\"\\\\\\u000a\""));
  give(pool, block, NULL);
  tarn_pool_release(pool);
}

TEST(pending_blocks_say_who_may_still_use_them) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  void *block = take(pool, 2 * MIB, stream);
  work(stream);
  give(pool, block, stream);
  char expected[100];
  snprintf(expected, sizeof expected, "\"state\":\"pending\",\"stamps\":[[%u,",
           tarn_stream_number(stream));
  assert_non_null(strstr(snapshot_of(pool), expected));
  assert_ok(tarn_stream_synchronize(stream));
  assert_non_null(strstr(snapshot_of(pool), "\"state\":\"free\"}"));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_writer_that_fails_ends_the_call) {
  tarn_pool *pool = make_segment_pool(0);
  void *blocks[200];
  for (size_t index = 0; index < COUNT_OF(blocks); index++) blocks[index] = take(pool, 300, NULL);
  snapshot_of(pool);
  const int piece_count = out.piece_count;
  assert_true(piece_count > 2);
  for (int piece = 1; piece <= piece_count; piece++) {
    out = (collected){.fail_at = piece};
    assert_status(tarn_pool_snapshot(pool, collect, &out), TARN_NOT_READY);
    assert_int_equal(out.piece_count, piece);
  }
  assert_status(tarn_pool_snapshot(pool, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_snapshot(NULL, collect, &out), TARN_INVALID_ARGUMENT);
  for (size_t index = 0; index < COUNT_OF(blocks); index++) give(pool, blocks[index], NULL);
  tarn_pool_release(pool);
}

/* While threads allocate and free, snapshots go on and stay whole. */
static void *churn(void *argument) {
  tarn_pool *pool = argument;
  for (int round = 0; round < 2000; round++) {
    void *block = NULL;
    if (tarn_pool_alloc(pool, (size_t)1 << (8 + round % 8), NULL, &block) != TARN_OK) return pool;
    if (tarn_pool_free(pool, block, NULL) != TARN_OK) return pool;
  }
  return NULL;
}

TEST(snapshots_are_taken_while_threads_allocate) {
  tarn_pool *pool = make_segment_pool(0);
  pthread_t threads[3];
  for (size_t index = 0; index < COUNT_OF(threads); index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, churn, pool), 0);
  }
  for (int round = 0; round < 50; round++) {
    const char *text = snapshot_of(pool);
    assert_string_equal(text + strlen(text) - 3, "]}\n");
  }
  for (size_t index = 0; index < COUNT_OF(threads); index++) {
    void *failed = NULL;
    assert_int_equal(pthread_join(threads[index], &failed), 0);
    assert_null(failed);
  }
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  tarn_pool_release(pool);
}

/* --- for test_snapshot.py --- */

static void save(tarn_pool *pool, const char *folder, int number) {
  char path[512];
  snprintf(path, sizeof path, "%s/snapshot_%02d.json", folder, number);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  const char *text = snapshot_of(pool);
  assert_int_equal(fwrite(text, 1, out.length, file), out.length);
  assert_int_equal(fclose(file), 0);
  /* The pool's own figures, to be compared. */
  const tarn_pool_stats stats = stats_of(pool);
  snprintf(path, sizeof path, "%s/stats_%02d.json", folder, number);
  file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "{\"requested_bytes\":%zu,\"allocated_bytes\":%zu,\"active_bytes\":%zu,",
          stats.requested_bytes, stats.allocated_bytes, stats.active_bytes);
  fprintf(file, "\"reserved_bytes\":%zu,\"live\":%d}\n", stats.reserved_bytes,
          (int)(stats.alloc_count - stats.free_count));
  assert_int_equal(fclose(file), 0);
}

enum { SLOT_COUNT = 120, STREAM_COUNT = 4, STEP_COUNT = 40 };

/* A pool's life: blocks of several streams come and go; every now and then a snapshot. */
static void live(tarn_pool *pool, const char *folder, int first_number) {
  static const char *const tags[] = {"weights", "activations", "kv cache"};
  tarn_stream *streams[STREAM_COUNT];
  void *blocks[SLOT_COUNT] = {NULL};
  uint64_t random = 88172645463325252U;
  for (int index = 0; index < STREAM_COUNT; index++) streams[index] = make_stream();
  for (int step = 0; step < STEP_COUNT; step++) {
    for (int count = 0; count < 50; count++) {
      const size_t slot = test_random(&random) % SLOT_COUNT;
      tarn_stream *stream = streams[test_random(&random) % STREAM_COUNT];
      if (blocks[slot] != NULL) {
        work(stream);
        give(pool, blocks[slot], stream);
        blocks[slot] = NULL;
      } else {
        assert_ok(tarn_tag_push(tags[slot % COUNT_OF(tags)]));
        blocks[slot] = take(pool, 1 + test_random(&random) % 300000, stream);
        tarn_tag_pop();
      }
    }
    manual_stream_advance(streams[step % STREAM_COUNT], 20);
    if (step % 9 == 8) assert_ok(tarn_pool_trim(pool, 0, NULL));
    save(pool, folder, first_number + step);
  }
  for (size_t slot = 0; slot < SLOT_COUNT; slot++) give(pool, blocks[slot], NULL);
  for (int index = 0; index < STREAM_COUNT; index++) tarn_stream_release(streams[index]);
  tarn_pool_release(pool);
}

static int save_lives(const char *folder) {
  live(make_segment_pool(0), folder, 0);
  live(make_range_pool(0), folder, STEP_COUNT);
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 1) return save_lives(argv[1]);
  return run_listed_tests(NULL, NULL);
}
