/* test_maintenance.c: decay for many pools, by steps of a clock that the test holds, and by the
 * thread. */
#include "tests/alloc/caching_fixture.h"

#include <pthread.h>
#include <stdlib.h>

#include "alloc/tarn_maintenance.h"
#include "tests/support/child.h"

enum { WINDOW = 8000 };

/* --- a pool of one's own that tells of its decay, and holds it up where the test wants --- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

typedef struct told {
  int decay_count;
  bool holds;      /* decay waits until it is false */
  bool is_holding; /* a decay is under way */
  bool is_destroyed;
  tarn_status answer;
} told;

static tarn_status told_attributes(void *context, tarn_pool_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->alignment_bytes = 16;
  return TARN_OK;
}

static tarn_status told_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                              tarn_stream *stream, void **address) {
  (void)context, (void)size_bytes, (void)alignment_bytes, (void)stream, (void)address;
  return tarn_fail(TARN_OUT_OF_MEMORY, "none");
}

static tarn_status told_free(void *context, void *address, tarn_stream *stream) {
  (void)context, (void)address, (void)stream;
  return TARN_NOT_FOUND;
}

static tarn_status told_stats(void *context, tarn_pool_stats *stats) {
  (void)context, (void)stats;
  return TARN_OK;
}

static tarn_status told_decay(void *context, uint64_t now_ns, size_t *released_bytes) {
  told *self = context;
  (void)now_ns;
  pthread_mutex_lock(&lock);
  self->decay_count++;
  self->is_holding = true;
  pthread_cond_broadcast(&changed);
  while (self->holds) pthread_cond_wait(&changed, &lock);
  self->is_holding = false;
  assert_false(self->is_destroyed);
  const tarn_status answer = self->answer;
  pthread_mutex_unlock(&lock);
  if (answer != TARN_OK) return tarn_fail(answer, "as told");
  *released_bytes = 10;
  return TARN_OK;
}

static void told_destroy(void *context) {
  told *self = context;
  pthread_mutex_lock(&lock);
  assert_false(self->is_holding);
  self->is_destroyed = true;
  pthread_mutex_unlock(&lock);
}

static tarn_pool *make_told(told *self) {
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = "told",
                             .attributes = told_attributes,
                             .alloc = told_alloc,
                             .free = told_free,
                             .note_use = told_free,
                             .stats = told_stats,
                             .decay = told_decay,
                             .destroy = told_destroy};
  tarn_pool *pool = NULL;
  assert_ok(tarn_pool_create(&ops, self, &pool));
  return pool;
}

static void wait_until_holding(const told *self) {
  pthread_mutex_lock(&lock);
  while (!self->is_holding) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

static void let_go(told *self) {
  pthread_mutex_lock(&lock);
  self->holds = false;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void wait_for_decays(const told *self, int count) {
  pthread_mutex_lock(&lock);
  while (self->decay_count < count) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

static tarn_maintenance *make_manual(void) {
  const tarn_maintenance_options options = {.struct_size = sizeof options,
                                            .flags = TARN_MAINTENANCE_MANUAL};
  tarn_maintenance *maintenance = NULL;
  assert_ok(tarn_maintenance_create(&options, &maintenance));
  return maintenance;
}

/* One that does hardly anything else. */
static tarn_maintenance *make_busy(void) {
  const tarn_maintenance_options options = {.struct_size = sizeof options,
                                            .name = "a name that is longer than a thread's",
                                            .period_ns = 1};
  tarn_maintenance *maintenance = NULL;
  assert_ok(tarn_maintenance_create(&options, &maintenance));
  return maintenance;
}

/* --- the end of the process --- */

static told at_exit;

static void check_that_nothing_is_called(void) {
  /* Registered before the first maintenance of the process, so that it runs after its end. */
  if (at_exit.is_holding || at_exit.decay_count == 0) _exit(9);
}

/* First: this process has had no maintenance yet. */
TEST(exit_stops_the_thread) {
  const pid_t child = fork();
  if (child == 0) {
    atexit(check_that_nothing_is_called);
    tarn_maintenance *maintenance = make_busy();
    tarn_pool *pool = make_told(&at_exit);
    if (tarn_maintenance_add(maintenance, pool) != TARN_OK) _exit(8);
    wait_for_decays(&at_exit, 1);
    exit(7); /* with all of it still there */
  }
  assert_int_equal(exit_code_of(child), 7);
}

/* --- steps --- */

TEST(a_step_gives_back_what_each_pool_has_not_needed) {
  const tarn_caching_options options = {.struct_size = sizeof options, .decay_ns = WINDOW};
  tarn_pool *pools[2] = {make_pool_with(&options), make_pool_with(&options)};
  tarn_maintenance *maintenance = make_manual();
  for (int i = 0; i < 2; i++) {
    assert_ok(tarn_maintenance_add(maintenance, pools[i]));
    give(pools[i], take(pools[i], 2 * MIB, NULL), NULL);
  }
  size_t released = 1;
  assert_ok(tarn_maintenance_step(maintenance, 5, &released));
  assert_int_equal(released, 0);
  assert_ok(tarn_maintenance_remove(maintenance, pools[1]));
  assert_ok(tarn_maintenance_step(maintenance, 5 + WINDOW, &released));
  assert_int_equal(released, 2 * MIB);
  assert_int_equal(stats_of(pools[0]).reserved_bytes, 0);
  assert_int_equal(stats_of(pools[1]).reserved_bytes, 2 * MIB);
  tarn_maintenance_destroy(maintenance);
  tarn_pool_release(pools[0]);
  tarn_pool_release(pools[1]);
}

TEST(a_pool_that_ends_is_not_touched_any_more) {
  told gone = {0};
  told there = {0};
  tarn_maintenance *maintenance = make_manual();
  tarn_maintenance *other = make_manual();
  tarn_pool *pool = make_told(&gone);
  tarn_pool *second = make_told(&there);
  assert_ok(tarn_maintenance_add(maintenance, pool));
  assert_ok(tarn_maintenance_add(maintenance, second));
  assert_ok(tarn_maintenance_add(other, pool));
  tarn_pool_release(pool);
  assert_true(gone.is_destroyed); /* it was not kept alive */
  assert_ok(tarn_maintenance_step(maintenance, 1, NULL));
  assert_ok(tarn_maintenance_step(other, 1, NULL));
  assert_int_equal(gone.decay_count, 0);
  assert_int_equal(there.decay_count, 1);
  tarn_maintenance_destroy(other);
  tarn_maintenance_destroy(maintenance);
  tarn_pool_release(second);
}

TEST(one_pools_failure_keeps_no_other_from_its_turn) {
  told failing = {.answer = TARN_DEVICE_ERROR};
  told there = {0};
  tarn_maintenance *maintenance = make_manual();
  tarn_pool *pool = make_told(&failing);
  tarn_pool *second = make_told(&there);
  assert_ok(tarn_maintenance_add(maintenance, pool));
  assert_ok(tarn_maintenance_add(maintenance, second));
  size_t released = 0;
  assert_status(tarn_maintenance_step(maintenance, 1, &released), TARN_DEVICE_ERROR);
  assert_int_equal(released, 10);
  tarn_pool_release(pool);
  tarn_pool_release(second);
  tarn_maintenance_destroy(maintenance);
}

TEST(what_is_wrong_is_refused) {
  told self = {0};
  tarn_pool *pool = make_told(&self);
  tarn_maintenance *maintenance = make_manual();
  tarn_maintenance *none = maintenance;
  tarn_maintenance_options options = {.struct_size = sizeof options, .flags = 2};
  assert_status(tarn_maintenance_create(&options, &none), TARN_INVALID_ARGUMENT);
  assert_null(none);
  options = (tarn_maintenance_options){.struct_size = 1};
  assert_status(tarn_maintenance_create(&options, &none), TARN_INVALID_ARGUMENT);
  assert_status(tarn_maintenance_create(NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_maintenance_add(NULL, pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_maintenance_add(maintenance, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_maintenance_remove(maintenance, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_maintenance_step(NULL, 0, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_maintenance_remove(maintenance, pool), TARN_NOT_FOUND);
  assert_ok(tarn_maintenance_add(maintenance, pool));
  assert_status(tarn_maintenance_add(maintenance, pool), TARN_BUSY);
  tarn_maintenance *threaded = NULL;
  assert_ok(tarn_maintenance_create(NULL, &threaded));
  assert_status(tarn_maintenance_step(threaded, 0, NULL), TARN_NOT_SUPPORTED);
  tarn_maintenance_destroy(threaded);
  tarn_maintenance_destroy(maintenance);
  tarn_maintenance_destroy(NULL);
  tarn_pool_release(pool);
}

/* --- the thread --- */

TEST(the_thread_calls_again_and_again) {
  told self = {0};
  tarn_pool *pool = make_told(&self);
  tarn_maintenance *maintenance = make_busy();
  assert_ok(tarn_maintenance_add(maintenance, pool));
  wait_for_decays(&self, 3);
  tarn_maintenance_destroy(maintenance);
  const int count = self.decay_count;
  tarn_pool_release(pool);
  assert_int_equal(self.decay_count, count);
}

static void *release_pool(void *pool) {
  tarn_pool_release(pool);
  return NULL;
}

static void *remove_pool(void *argument) {
  void **both = argument;
  assert_ok(tarn_maintenance_remove(both[0], both[1]));
  pthread_mutex_lock(&lock);
  assert_false(((told *)both[2])->is_holding);
  pthread_mutex_unlock(&lock);
  return NULL;
}

TEST(the_end_of_a_pool_waits_for_the_call_that_is_under_way) {
  told self = {.holds = true};
  tarn_pool *pool = make_told(&self);
  tarn_maintenance *maintenance = make_busy();
  assert_ok(tarn_maintenance_add(maintenance, pool));
  wait_until_holding(&self);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, release_pool, pool), 0);
  let_go(&self); /* told_decay and told_destroy check who came first */
  pthread_join(thread, NULL);
  assert_true(self.is_destroyed);
  tarn_maintenance_destroy(maintenance);
}

TEST(a_removal_waits_for_the_call_that_is_under_way) {
  told self = {.holds = true};
  tarn_pool *pool = make_told(&self);
  tarn_maintenance *maintenance = make_busy();
  assert_ok(tarn_maintenance_add(maintenance, pool));
  wait_until_holding(&self);
  void *both[3] = {maintenance, pool, &self};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, remove_pool, both), 0);
  let_go(&self);
  pthread_join(thread, NULL);
  tarn_maintenance_destroy(maintenance);
  tarn_pool_release(pool);
}

static void *make_and_end_pools(void *maintenance) {
  for (int round = 0; round < 200; round++) {
    tarn_pool *pool = make_range_pool(0);
    assert_ok(tarn_maintenance_add(maintenance, pool));
    give(pool, take(pool, 5000, NULL), NULL);
    if (round % 3 == 0) assert_ok(tarn_maintenance_remove(maintenance, pool));
    tarn_pool_release(pool);
  }
  return NULL;
}

TEST(pools_come_and_go_under_the_thread) {
  tarn_maintenance *maintenance = make_busy();
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, make_and_end_pools, maintenance), 0);
  }
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  tarn_maintenance_destroy(maintenance);
}

/* --- a child of the process --- */

static int use_in_child(tarn_maintenance *threaded, tarn_maintenance *manual, tarn_pool *pool,
                        told *self) {
  self->holds = false;
  if (tarn_maintenance_add(threaded, pool) != TARN_UNAVAILABLE) return 1;
  if (tarn_maintenance_add(manual, pool) != TARN_OK) return 2;
  const int count = self->decay_count;
  if (tarn_maintenance_step(manual, 1, NULL) != TARN_OK) return 3;
  if (self->decay_count != count + 1) return 4;
  if (tarn_maintenance_remove(threaded, pool) != TARN_OK) return 5;
  tarn_pool_release(pool); /* the parent's call is not waited for */
  if (!self->is_destroyed) return 6;
  tarn_maintenance_destroy(threaded);
  tarn_maintenance_destroy(manual);
  return 0;
}

TEST(a_child_has_no_such_thread_and_says_so) {
  told self = {.holds = true};
  tarn_pool *pool = make_told(&self);
  tarn_maintenance *threaded = make_busy();
  tarn_maintenance *manual = make_manual();
  assert_ok(tarn_maintenance_add(threaded, pool));
  wait_until_holding(&self);
  pthread_mutex_lock(&lock);
  const pid_t child = fork();
  pthread_mutex_unlock(&lock);
  if (child == 0) _exit(use_in_child(threaded, manual, pool, &self));
  assert_int_equal(exit_code_of(child), 0);
  let_go(&self);
  tarn_maintenance_destroy(threaded);
  tarn_maintenance_destroy(manual);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
