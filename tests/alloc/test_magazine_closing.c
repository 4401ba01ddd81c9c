/* test_magazine_closing.c: whoever looks into a thread's magazine never meets the thread in it. */
#include "tests/support/test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tests/alloc/caching_fixture.h"

enum { BLOCKS = 8, BLOCK_BYTES = 512 };

/* A thread that takes and gives back as fast as it can. */
typedef struct fast_thread {
  pthread_t thread;
  tarn_pool *pool;
  volatile char *cold; /* memory that it writes to all over, or NULL */
  size_t cold_bytes;
  atomic_bool is_over;
  atomic_uint turn_count;
  atomic_uint wrong_count;
} fast_thread;

/* Stores that miss the caches wait in the processor's store buffer, and all later ones behind
 * them. */
static void write_far_away(fast_thread *self, uint64_t *random) {
  for (int count = 0; count < 8; count++) self->cold[test_random(random) % self->cold_bytes] = 1;
}

static void *run_fast(void *argument) {
  fast_thread *self = argument;
  uint64_t random = 3;
  while (!atomic_load_explicit(&self->is_over, memory_order_relaxed)) {
    void *blocks[BLOCKS];
    for (int index = 0; index < BLOCKS; index++) {
      if (self->cold != NULL) write_far_away(self, &random);
      const tarn_status status = tarn_pool_alloc(self->pool, BLOCK_BYTES, NULL, &blocks[index]);
      if (status != TARN_OK) atomic_fetch_add(&self->wrong_count, 1);
    }
    for (int index = 0; index < BLOCKS; index++) {
      if (self->cold != NULL) write_far_away(self, &random);
      const tarn_status status = tarn_pool_free(self->pool, blocks[index], NULL);
      if (status != TARN_OK) atomic_fetch_add(&self->wrong_count, 1);
    }
    atomic_fetch_add_explicit(&self->turn_count, 1, memory_order_relaxed);
  }
  return NULL;
}

/* Until the thread has come round once more. */
static void wait_for_turn(fast_thread *self) {
  const unsigned now = atomic_load_explicit(&self->turn_count, memory_order_relaxed);
  for (int count = 0; atomic_load_explicit(&self->turn_count, memory_order_relaxed) == now;
       count++) {
    if (count > 10000) sched_yield();
  }
}

static void start(fast_thread *self) {
  self->pool = make_range_pool(0);
  assert_int_equal(pthread_create(&self->thread, NULL, run_fast, self), 0);
  wait_for_turn(self);
}

static void stop(fast_thread *self) {
  atomic_store(&self->is_over, true);
  assert_int_equal(pthread_join(self->thread, NULL), 0);
  assert_int_equal(atomic_load(&self->wrong_count), 0);
  assert_int_equal(stats_of(self->pool).allocated_bytes, 0);
  assert_int_equal(stats_of(self->pool).requested_bytes, 0);
  assert_ok(tarn_pool_trim(self->pool, 0, NULL));
  assert_int_equal(stats_of(self->pool).reserved_bytes, 0);
  tarn_pool_release(self->pool);
}

/* --- a thread that is held up anywhere --- */

static atomic_int held_count;
static atomic_int gone_count;
static atomic_bool may_go_on;

/* Holds the thread wherever it just is, for as long as the other one needs if nothing keeps it. */
static void hold_up(int signal_number) {
  (void)signal_number;
  atomic_fetch_add(&held_count, 1);
  for (int count = 0; count < 500 && !atomic_load(&may_go_on); count++) sched_yield();
  atomic_fetch_add(&gone_count, 1);
}

TEST(a_magazine_is_emptied_only_when_its_thread_has_left_it) {
  enum { ROUNDS = 1500 };
  struct sigaction action = {.sa_handler = hold_up, .sa_flags = SA_RESTART};
  struct sigaction before;
  assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
  fast_thread self = {.cold = NULL};
  start(&self);
  for (int round = 0; round < ROUNDS; round++) {
    atomic_store(&may_go_on, false);
    assert_int_equal(pthread_kill(self.thread, SIGUSR1), 0);
    while (atomic_load(&held_count) <= round) sched_yield();
    assert_ok(tarn_pool_trim(self.pool, SIZE_MAX, NULL));
    atomic_store(&may_go_on, true);
    while (atomic_load(&gone_count) <= round) sched_yield();
  }
  stop(&self);
  assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

/* --- a thread that runs beside --- */

TEST(a_thread_that_enters_is_seen_by_whoever_closes) {
  enum { ROUNDS = 5000, COLD_BYTES = 64 << 20 };
  fast_thread self = {.cold = calloc(1, COLD_BYTES), .cold_bytes = COLD_BYTES};
  assert_non_null((void *)(uintptr_t)self.cold);
  start(&self);
  uint64_t random = 5;
  for (int round = 0; round < ROUNDS; round++) {
    wait_for_turn(&self);
    for (volatile int left = (int)(test_random(&random) % 512); left > 0; left--) {
    }
    assert_ok(tarn_pool_trim(self.pool, SIZE_MAX, NULL));
  }
  stop(&self);
  free((void *)(uintptr_t)self.cold);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
