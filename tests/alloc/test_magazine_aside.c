/* test_magazine_aside.c: the large block that a thread sets aside where memory is packed. */
#include <pthread.h>

#include "alloc/magazine.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/support/manual_stream.h"

enum { KIB = 1 << 10, LARGE = 8 * MIB };

static size_t kept_bytes(tarn_pool *pool) {
  return tarn__magazine_kept_bytes(tarn__caching_of(pool));
}

/* The thread has a lane for the stream once it has freed something on it. */
static void warm(tarn_pool *pool, tarn_stream *stream) {
  give(pool, take(pool, 4 * KIB, stream), stream);
}

/* A block of the thread's that it has been lent and has set aside. */
static void *set_aside(tarn_pool *pool, size_t size_bytes, tarn_stream *stream) {
  warm(pool, stream);
  void *block = take(pool, size_bytes, stream);
  const size_t before_bytes = kept_bytes(pool);
  give(pool, block, stream);
  assert_int_equal(kept_bytes(pool), before_bytes + size_bytes);
  return block;
}

TEST(a_block_set_aside_is_lent_again_to_its_stream) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *stream = make_stream();
  void *block = set_aside(pool, LARGE, stream);
  work(stream);
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  const uint64_t alloc_count = stats_of(pool).alloc_count;
  for (int round = 0; round < 3; round++) {
    assert_ptr_equal(take(pool, LARGE - round, stream), block);
    assert_int_equal(stats_of(pool).allocated_bytes, LARGE);
    assert_int_equal(stats_of(pool).requested_bytes, LARGE - round);
    give(pool, block, stream);
    assert_true(kept_bytes(pool) >= LARGE);
    assert_true(stats_of(pool).active_bytes >= LARGE);
  }
  assert_int_equal(stats_of(pool).alloc_count, alloc_count + 3);
  assert_int_equal(stats_of(pool).free_count, alloc_count + 3);
  assert_int_equal(stats_of(pool).allocated_bytes_peak, LARGE);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_block_set_aside_is_lent_to_no_other_stream) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *first = make_stream();
  tarn_stream *second = make_stream();
  warm(pool, second);
  void *block = set_aside(pool, LARGE, first);
  work(first);
  void *other = take(pool, LARGE, second);
  assert_ptr_not_equal(other, block);
  give(pool, other, second);
  tarn_stream_release(first);
  tarn_stream_release(second);
  tarn_pool_release(pool);
}

TEST(a_block_that_is_set_aside_is_lent_to_nobody) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *stream = make_stream();
  void *block = set_aside(pool, LARGE, stream);
  assert_int_equal(tarn_pool_note_use(pool, block, stream), TARN_NOT_FOUND);
  assert_int_equal(tarn_pool_free(pool, block, stream), TARN_NOT_FOUND);
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_block_that_another_stream_used_is_not_set_aside) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *first = make_stream();
  tarn_stream *second = make_stream();
  void *block = set_aside(pool, LARGE, first);
  assert_ptr_equal(take(pool, LARGE, first), block);
  work(second);
  assert_ok(tarn_pool_note_use(pool, block, second));
  give(pool, block, first);
  assert_true(kept_bytes(pool) < LARGE);
  void *next = take(pool, LARGE, first);
  assert_ptr_not_equal(next, block);
  give(pool, next, first);
  tarn_stream_release(first);
  tarn_stream_release(second);
  tarn_pool_release(pool);
}

/* It would be cut elsewhere if the heap were asked. */
TEST(a_block_set_aside_serves_its_own_size_alone) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *stream = make_stream();
  set_aside(pool, 64 * KIB, stream);
  void *less = take(pool, 64 * KIB - 256, stream);
  assert_int_equal(stats_of(pool).allocated_bytes, 64 * KIB - 256);
  give(pool, less, stream);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* Else it would lie as an island in what its neighbours leave. */
TEST(only_the_block_that_was_lent_last_is_set_aside) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *stream = make_stream();
  warm(pool, stream);
  void *low = take(pool, 64 * KIB, stream);
  void *high = take(pool, 64 * KIB, stream);
  const size_t before_bytes = kept_bytes(pool);
  give(pool, low, stream); /* not lent last */
  assert_int_equal(kept_bytes(pool), before_bytes);
  give(pool, high, stream); /* and something else came back since this one was lent */
  assert_int_equal(kept_bytes(pool), before_bytes);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_block_set_aside_is_joined_when_its_neighbour_comes_back) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *stream = make_stream();
  warm(pool, stream);
  void *low = take(pool, 64 * KIB, stream);
  void *high = take(pool, 64 * KIB, stream);
  give(pool, low, stream);
  assert_ptr_equal(take(pool, 64 * KIB, stream), low);
  const size_t before_bytes = kept_bytes(pool);
  give(pool, low, stream);
  assert_int_equal(kept_bytes(pool), before_bytes + 64 * KIB);
  give(pool, high, stream);
  assert_int_equal(kept_bytes(pool), before_bytes);
  assert_ptr_equal(take(pool, 128 * KIB, stream), low);
  give(pool, low, stream);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(small_blocks_are_kept_beside_a_block_set_aside) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *stream = make_stream();
  void *wall = take(pool, 64 * KIB, stream);
  void *small = take(pool, 4 * KIB, stream);
  void *large = set_aside(pool, LARGE, stream);
  const size_t before_bytes = kept_bytes(pool);
  give(pool, small, stream);
  assert_int_equal(kept_bytes(pool), before_bytes + 4 * KIB);
  assert_ptr_equal(take(pool, LARGE, stream), large);
  assert_int_equal(kept_bytes(pool), before_bytes + 4 * KIB - LARGE);
  give(pool, large, stream);
  assert_int_equal(kept_bytes(pool), before_bytes + 4 * KIB);
  give(pool, wall, stream);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(trim_takes_what_is_set_aside) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *stream = make_stream();
  set_aside(pool, LARGE, stream);
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* --- another thread --- */

typedef struct other_thread {
  tarn_pool *pool;
  tarn_stream *stream;
  pthread_barrier_t meeting;
} other_thread;

static void *run_other(void *argument) {
  other_thread *self = argument;
  set_aside(self->pool, LARGE, self->stream);
  pthread_barrier_wait(&self->meeting); /* it is set aside */
  pthread_barrier_wait(&self->meeting); /* and this thread may go */
  return NULL;
}

static void start_other(other_thread *self, pthread_t *thread, size_t limit_bytes) {
  self->pool = make_range_pool(limit_bytes);
  self->stream = make_stream();
  pthread_barrier_init(&self->meeting, NULL, 2);
  assert_int_equal(pthread_create(thread, NULL, run_other, self), 0);
  pthread_barrier_wait(&self->meeting);
}

static void stop_other(other_thread *self, pthread_t thread) {
  pthread_barrier_wait(&self->meeting);
  pthread_join(thread, NULL);
  pthread_barrier_destroy(&self->meeting);
  tarn_stream_release(self->stream);
  tarn_pool_release(self->pool);
}

TEST(what_another_thread_has_set_aside_is_had_before_the_pool_grows) {
  other_thread other;
  pthread_t thread;
  start_other(&other, &thread, 0);
  const size_t reserved_bytes = stats_of(other.pool).reserved_bytes;
  void *mine = take(other.pool, LARGE, other.stream);
  assert_int_equal(stats_of(other.pool).reserved_bytes, reserved_bytes);
  give(other.pool, mine, other.stream);
  stop_other(&other, thread);
}

TEST(a_thread_that_ends_hands_back_what_it_has_set_aside) {
  other_thread other;
  pthread_t thread;
  start_other(&other, &thread, 0);
  pthread_barrier_wait(&other.meeting);
  pthread_join(thread, NULL);
  pthread_barrier_destroy(&other.meeting);
  const tarn_pool_stats stats = stats_of(other.pool);
  assert_int_equal(stats.alloc_count, stats.free_count);
  assert_ok(tarn_pool_trim(other.pool, 0, NULL));
  assert_int_equal(stats_of(other.pool).reserved_bytes, 0);
  tarn_stream_release(other.stream);
  tarn_pool_release(other.pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
