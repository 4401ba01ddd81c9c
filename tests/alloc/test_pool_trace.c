/* test_pool_trace.c: the ring of a pool's last events, and its text. */
#include "tests/alloc/caching_fixture.h"
#include "tests/support/collected.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "alloc/tarn_pool_trace.h"
#include "tests/support/manual_stream.h"

enum { LINES_MAX = 20000 };

typedef struct line {
  char op;
  uint64_t id;
  size_t size_bytes;
  uint32_t stream;
  uint32_t thread;
} line;

static line lines[LINES_MAX];

/* Writes the trace and reads it back; how many lines it has. */
static int read_trace(tarn_pool *pool, uint32_t flags) {
  text_length = 0;
  assert_ok(tarn_pool_trace_write(pool, flags, collect, NULL));
  const char *at = text;
  static const char header[] = "op,id,bytes,stream,thread\n";
  assert_memory_equal(at, header, sizeof header - 1);
  at += sizeof header - 1;
  int count = 0;
  for (; *at != '\0'; at = strchr(at, '\n') + 1) {
    assert_true(count < LINES_MAX);
    line *one = &lines[count++];
    assert_int_equal(sscanf(at, "%c,%" SCNu64 ",%zu,%" SCNu32 ",%" SCNu32, &one->op, &one->id,
                            &one->size_bytes, &one->stream, &one->thread),
                     5);
  }
  return count;
}

static void assert_line(int index, char op, const void *address, size_t size_bytes,
                        const tarn_stream *stream) {
  assert_int_equal(lines[index].op, op);
  assert_int_equal(lines[index].id, (uintptr_t)address);
  assert_int_equal(lines[index].size_bytes, size_bytes);
  assert_int_equal(lines[index].stream, tarn_stream_number(stream));
}

TEST(every_event_is_recorded_in_order) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  assert_ok(tarn_pool_trace_start(pool, 100));
  char *block = take(pool, 1000, stream);
  assert_ok(tarn_pool_note_use(pool, block + 5, stream));
  give(pool, block, NULL);
  assert_status(tarn_pool_free(pool, block, NULL), TARN_NOT_FOUND); /* failures are no events */
  assert_ok(tarn_stream_synchronize(stream));
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(read_trace(pool, 0), 5);
  assert_line(0, 's', block, 2 * MIB, stream);
  assert_line(1, 'a', block, 1000, stream);
  assert_line(2, 'u', block, 1000, stream);
  assert_line(3, 'f', block, 1000, NULL);
  assert_line(4, 'r', block, 2 * MIB, NULL);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* 500 MiB give one segment, its release and a trim take it back. */
TEST(a_large_block_is_one_segment_obtained_and_one_given_back) {
  tarn_pool *pools[] = {make_segment_pool(0), make_range_pool(0)};
  for (size_t index = 0; index < COUNT_OF(pools); index++) {
    assert_ok(tarn_pool_trace_start(pools[index], 100));
    void *block = take(pools[index], 500 * (size_t)MIB, NULL);
    give(pools[index], block, NULL);
    assert_ok(tarn_pool_trim(pools[index], 0, NULL));
    assert_int_equal(read_trace(pools[index], 0), 4);
    assert_line(0, 's', block, 500 * (size_t)MIB, NULL);
    assert_line(3, 'r', block, 500 * (size_t)MIB, NULL);
    tarn_pool_release(pools[index]);
  }
}

TEST(a_ring_of_ten_keeps_exactly_the_last_ten) {
  tarn_pool *pool = make_segment_pool(0);
  void *first = take(pool, 256, NULL);
  assert_ok(tarn_pool_trace_start(pool, 10));
  for (size_t size = 1; size <= 8; size++) give(pool, take(pool, size, NULL), NULL);
  assert_int_equal(read_trace(pool, 0), 10);
  for (int index = 0; index < 10; index++) {
    assert_int_equal(lines[index].op, index % 2 == 0 ? 'a' : 'f');
    assert_int_equal(lines[index].size_bytes, 4 + index / 2);
  }
  give(pool, first, NULL);
  /* Both frees' blocks were allocated before: the text says that it begins in the middle. */
  assert_int_equal(read_trace(pool, 0), 11);
  assert_line(0, 'm', (const void *)2, 4 + 256, NULL);
  assert_line(10, 'f', first, 256, NULL);
  assert_int_equal(lines[1].op, 'f');
  /* What the ring forgot comes first where the text is to be complete. */
  const uint64_t orphan = lines[1].id;
  assert_int_equal(read_trace(pool, TARN_TRACE_COMPLETE), 12);
  assert_int_equal(lines[0].op, 'a');
  assert_int_equal(lines[0].id, orphan);
  assert_line(1, 'a', first, 256, NULL);
  assert_int_equal(lines[2].op, 'f');
  tarn_pool_release(pool);
}

TEST(a_stopped_trace_stays_and_a_start_forgets_it) {
  tarn_pool *pool = make_segment_pool(0);
  assert_status(tarn_pool_trace_write(pool, 0, collect, NULL), TARN_NOT_FOUND);
  assert_ok(tarn_pool_trace_stop(pool));
  assert_ok(tarn_pool_trace_start(pool, 10));
  give(pool, take(pool, 1, NULL), NULL);
  assert_ok(tarn_pool_trace_stop(pool));
  give(pool, take(pool, 2, NULL), NULL);
  assert_int_equal(read_trace(pool, 0), 3);
  assert_ok(tarn_pool_trace_start(pool, 10));
  assert_int_equal(read_trace(pool, 0), 0);
  tarn_pool_release(pool);
}

TEST(without_a_trace_a_snapshot_is_the_same) {
  tarn_pool *pool = make_segment_pool(0);
  void *block = take(pool, 1000, NULL);
  static char before[TEXT_BYTES];
  text_length = 0;
  assert_ok(tarn_pool_snapshot(pool, collect, NULL));
  memcpy(before, text, text_length + 1);
  assert_ok(tarn_pool_trace_start(pool, 10));
  text_length = 0;
  assert_ok(tarn_pool_snapshot(pool, collect, NULL));
  assert_string_equal(text, before);
  give(pool, block, NULL);
  tarn_pool_release(pool);
}

TEST(bad_arguments_are_refused) {
  tarn_pool *pool = make_segment_pool(0);
  assert_status(tarn_pool_trace_start(NULL, 10), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_trace_start(pool, 0), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_trace_start(pool, SIZE_MAX / 8), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_trace_stop(NULL), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_pool_trace_start(pool, 10));
  assert_status(tarn_pool_trace_write(pool, 2, collect, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_trace_write(pool, 0, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_trace_write(NULL, 0, collect, NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
}

/* --- threads --- */

enum { THREAD_COUNT = 3, ROUND_COUNT = 500 };

static void *churn(void *argument) {
  tarn_pool *pool = argument;
  void *held[8] = {NULL};
  for (int round = 0; round < ROUND_COUNT; round++) {
    void **slot = &held[round * 5 % 8];
    if (tarn_pool_free(pool, *slot, NULL) != TARN_OK) return pool;
    if (tarn_pool_alloc(pool, (size_t)100 << round % 6, NULL, slot) != TARN_OK) return pool;
  }
  for (int index = 0; index < 8; index++) {
    if (tarn_pool_free(pool, held[index], NULL) != TARN_OK) return pool;
  }
  return NULL;
}

/* Whatever the threads did: in the recorded order no block is lent out twice at once. */
TEST(threads_are_recorded_in_one_order) {
  tarn_pool *pool = make_segment_pool(0);
  assert_ok(tarn_pool_trace_start(pool, LINES_MAX));
  pthread_t threads[THREAD_COUNT];
  for (int index = 0; index < THREAD_COUNT; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, churn, pool), 0);
  }
  for (int index = 0; index < THREAD_COUNT; index++) {
    void *failed = NULL;
    assert_int_equal(pthread_join(threads[index], &failed), 0);
    assert_null(failed);
  }
  const int count = read_trace(pool, 0);
  uint64_t live[THREAD_COUNT * 8] = {0};
  int alloc_count = 0;
  int per_thread[64] = {0};
  for (int index = 0; index < count; index++) {
    const line *one = &lines[index];
    if (one->op != 'a' && one->op != 'f') continue;
    assert_true(one->thread < COUNT_OF(per_thread));
    per_thread[one->thread]++;
    size_t at = 0;
    while (at < COUNT_OF(live) && live[at] != one->id) at++;
    assert_int_equal(at < COUNT_OF(live), one->op == 'f');
    if (one->op == 'f') {
      live[at] = 0;
      continue;
    }
    alloc_count++;
    for (at = 0; live[at] != 0; at++) assert_true(at + 1 < COUNT_OF(live));
    live[at] = one->id;
  }
  assert_int_equal(alloc_count, THREAD_COUNT * ROUND_COUNT);
  for (size_t thread = 0; thread < COUNT_OF(per_thread); thread++) {
    assert_int_equal(per_thread[thread], thread < THREAD_COUNT ? 2 * ROUND_COUNT : 0);
  }
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
