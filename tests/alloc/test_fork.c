/* test_fork.c: what a child of fork finds in pools, streams and slabs that other threads of the
 * parent were in the middle of using. */
#include "tests/alloc/caching_fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/caching.h"
#include "alloc/slab.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pool_provider.h"
#include "tests/support/child.h"
#include "tests/support/manual_stream.h"
#include "tests/support/pools.h"

/* Steps that the parent's threads take one after the other. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int step;

static void go_to(int next) {
  pthread_mutex_lock(&lock);
  step = next;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void wait_for(int wanted) {
  pthread_mutex_lock(&lock);
  while (step < wanted) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

static void *keep_a_block(void *pool) {
  give(pool, take(pool, 100000, NULL), NULL);
  go_to(1);
  wait_for(2);
  return NULL;
}

static int lend_what_was_kept(tarn_pool *pool) {
  void *block = NULL;
  CHECK(tarn__caching_of(pool)->magazines == NULL); /* the thread's has gone with it */
  CHECK(tarn_pool_alloc(pool, 100000, NULL, &block) == TARN_OK);
  CHECK(stats_of(pool).provider_calls == 1); /* it did not grow */
  CHECK(tarn_pool_free(pool, block, NULL) == TARN_OK);
  CHECK(tarn_pool_trim(pool, 0, NULL) == TARN_OK);
  CHECK(stats_of(pool).reserved_bytes == 0);
  tarn_pool_release(pool);
  return 0;
}

TEST(what_a_thread_kept_is_the_childs_to_lend) {
  step = 0;
  const tarn_caching_options options = {.struct_size = sizeof options};
  const size_t range_bytes = 4 * MIB;
  char *range = malloc(range_bytes);
  tarn_provider *fixed = NULL;
  assert_ok(tarn_fixed_provider_create(range, range_bytes, NULL, &fixed));
  tarn_pool *pool = pool_over(fixed, &options);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, keep_a_block, pool), 0);
  wait_for(1);
  const pid_t child = fork();
  if (child == 0) _exit(lend_what_was_kept(pool));
  assert_int_equal(exit_code_of(child), 0);
  go_to(2);
  pthread_join(thread, NULL);
  tarn_pool_release(pool);
  free(range);
}

/* --- a call to the provider that is under way --- */

static struct {
  bool holds_alloc;
  bool holds_release;
} slow;

static void wait_inside(void) {
  go_to(1);
  wait_for(2);
}

static tarn_status slow_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->granularity_bytes = attributes->alignment_bytes = 4096;
  return TARN_OK;
}

static tarn_status slow_alloc(void *context, size_t size_bytes, void **address) {
  (void)context;
  if (slow.holds_alloc) wait_inside();
  *address = aligned_alloc(4096, size_bytes);
  return *address != NULL ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "none");
}

static tarn_status slow_release(void *context, void *address, size_t size_bytes) {
  (void)context;
  (void)size_bytes;
  free(address); /* the child could not free it once more */
  if (slow.holds_release) wait_inside();
  return TARN_OK;
}

static tarn_pool *make_slow(void) {
  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "slow",
                                        .attributes = slow_attributes,
                                        .alloc = slow_alloc,
                                        .release = slow_release};
  tarn_provider *provider = NULL;
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = 4 * MIB};
  return pool_over(provider, &options);
}

static void *take_slowly(void *pool) {
  give(pool, take(pool, MIB, NULL), NULL);
  return NULL;
}

static void *trim_slowly(void *pool) {
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  return NULL;
}

/* All of the limit can be had: nothing is charged for what never arrives or has gone. */
static int use_up(tarn_pool *pool) {
  alarm(CHILD_SECONDS);
  slow.holds_alloc = slow.holds_release = false;
  void *blocks[2];
  for (int i = 0; i < 2; i++) {
    CHECK(tarn_pool_alloc(pool, 2 * MIB, NULL, &blocks[i]) == TARN_OK);
    memset(blocks[i], 3, 2 * MIB);
  }
  void *none = NULL;
  CHECK(tarn_pool_alloc(pool, 2 * MIB, NULL, &none) == TARN_OUT_OF_MEMORY); /* and does not wait */
  for (int i = 0; i < 2; i++) CHECK(tarn_pool_free(pool, blocks[i], NULL) == TARN_OK);
  tarn_pool_release(pool);
  return 0;
}

static void fork_inside(tarn_pool *pool, void *(*function)(void *)) {
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, function, pool), 0);
  wait_for(1);
  const pid_t child = fork();
  if (child == 0) _exit(use_up(pool));
  assert_int_equal(exit_code_of(child), 0);
  go_to(2);
  pthread_join(thread, NULL);
}

TEST(a_child_pays_for_nothing_that_never_arrives) {
  step = 0;
  slow.holds_release = false;
  slow.holds_alloc = true;
  tarn_pool *pool = make_slow();
  fork_inside(pool, take_slowly);
  slow.holds_alloc = false;
  tarn_pool_release(pool);
}

TEST(a_child_lends_nothing_that_was_going) {
  step = 0;
  slow.holds_alloc = slow.holds_release = false;
  tarn_pool *pool = make_slow();
  give(pool, take(pool, MIB, NULL), NULL);
  slow.holds_release = true;
  fork_inside(pool, trim_slowly);
  slow.holds_release = false;
  tarn_pool_release(pool);
}

/* --- streams --- */

static void wait_in_job(void *argument) {
  (void)argument;
  wait_inside();
}

static void count_job(void *count) {
  ++*(int *)count;
}

static int find_all_passed(tarn_stream *stream, tarn_fence *fence, tarn_pool *pool, int *count) {
  alarm(CHILD_SECONDS);
  CHECK(stats_of(pool).active_bytes == 0);
  CHECK(tarn_fence_query(fence) == TARN_OK);
  CHECK(tarn_fence_synchronize(fence) == TARN_OK);
  CHECK(tarn_stream_synchronize(stream) == TARN_OK);
  CHECK(*count == 0); /* what was queued is the parent's */
  if (CHILD_HAS_THREADS) {
    CHECK(tarn_stream_call(stream, count_job, count) == TARN_OK);
    CHECK(tarn_fence_record(fence, stream) == TARN_OK);
    CHECK(tarn_fence_synchronize(fence) == TARN_OK);
    CHECK(*count == 1);
  }
  tarn_fence_destroy(fence);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  return 0;
}

TEST(a_childs_streams_have_nothing_to_do_and_work) {
  step = 0;
  int count = 0;
  tarn_stream *stream = NULL;
  tarn_fence *fence = NULL;
  tarn_pool *pool = make_range_pool(0);
  assert_ok(tarn_worker_stream_create(&stream));
  assert_ok(tarn_fence_create(stream, &fence));
  void *block = take(pool, 5000, stream);
  assert_ok(tarn_stream_call(stream, wait_in_job, NULL));
  assert_ok(tarn_stream_call(stream, count_job, &count));
  give(pool, block, stream);
  assert_ok(tarn_fence_record(fence, stream));
  wait_for(1);
  const pid_t child = fork();
  if (child == 0) _exit(find_all_passed(stream, fence, pool, &count));
  assert_int_equal(exit_code_of(child), 0);
  assert_status(tarn_fence_query(fence), TARN_NOT_READY);
  go_to(2);
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(count, 1);
  tarn_fence_destroy(fence);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* --- objects that a thread has at hand --- */

typedef struct object {
  void *words[4];
} object;

static tarn__slab slab = TARN__SLAB(object);

static void *use_slab(void *argument) {
  (void)argument;
  tarn__slab_give(&slab, tarn__slab_take(&slab));
  go_to(1);
  wait_for(2);
  return NULL;
}

static int look_at_places(void) {
  for (int i = 0; i < TARN__SLAB_PLACES; i++) CHECK(slab.places[i].free_list == NULL);
  for (int i = 0; i < TARN__SLAB_PLACES; i++) CHECK(slab.places[i].thread == 0);
  void *taken = tarn__slab_take(&slab);
  CHECK(taken != NULL);
  tarn__slab_give(&slab, taken);
  return 0;
}

TEST(a_child_takes_no_object_that_a_thread_may_have_been_linking) {
  step = 0;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, use_slab, NULL), 0);
  wait_for(1);
  const pid_t child = fork();
  if (child == 0) _exit(look_at_places());
  assert_int_equal(exit_code_of(child), 0);
  go_to(2);
  pthread_join(thread, NULL);
}

/* --- memory of a device --- */

static int find_device_memory_gone(tarn_pool *pool, void *block, tarn_stream *stream) {
  void *none = NULL;
  CHECK(tarn_pool_alloc(pool, MIB, NULL, &none) == TARN_UNAVAILABLE && none == NULL);
  CHECK(tarn_pool_alloc(pool, MIB, stream, &none) == TARN_UNAVAILABLE);
  CHECK(strstr(tarn_last_error()->message, "fork") != NULL);
  CHECK(tarn_pool_trim(pool, 0, NULL) == TARN_UNAVAILABLE);
  CHECK(tarn_pool_decay(pool, 5, NULL) == TARN_UNAVAILABLE);
  CHECK(tarn_caching_pool_reserve(pool, 8 * MIB) == TARN_UNAVAILABLE);
  CHECK(tarn_pool_free(pool, block, stream) == TARN_OK);
  CHECK(tarn_pool_free(pool, block, NULL) == TARN_NOT_FOUND);
  CHECK(stats_of(pool).active_bytes <= stats_of(pool).reserved_bytes);
  CHECK(tarn_pool_alloc(pool, MIB, NULL, &none) == TARN_UNAVAILABLE);
  tarn_pool_release(pool);
  return 0;
}

TEST(a_child_gets_no_memory_of_a_device) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  give(pool, take(pool, MIB, NULL), NULL); /* at hand, and all the same not for the child */
  void *block = take(pool, MIB, stream);
  const pid_t child = fork();
  if (child == 0) _exit(find_device_memory_gone(pool, block, stream));
  assert_int_equal(exit_code_of(child), 0);
  give(pool, block, stream);
  give(pool, take(pool, MIB, NULL), NULL);
  while (manual_stream_advance(stream, 1) == 1) {
  }
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

static int find_shared_memory_gone(tarn_pool *pool, tarn_pool *upper, void *block) {
  void *none = NULL;
  CHECK(tarn_pool_alloc(pool, 5000, NULL, &none) == TARN_UNAVAILABLE && none == NULL);
  CHECK(tarn_pool_alloc(upper, 5000, NULL, &none) == TARN_UNAVAILABLE && none == NULL);
  CHECK(tarn_pool_free(upper, block, NULL) == TARN_OK);
  tarn_pool_release(upper);
  tarn_pool_release(pool);
  return 0;
}

/* Both processes would write the same bytes. */
TEST(a_child_gets_no_memory_that_it_shares) {
  const tarn_pages_options shared = {.struct_size = sizeof shared, .flags = TARN_PAGES_SHARED};
  tarn_provider *provider = NULL;
  tarn_pool *upper = NULL;
  assert_ok(tarn_pages_provider_create(&shared, &provider));
  tarn_pool *pool = pool_over(provider, NULL);
  assert_ok(tarn_pool_provider_create(pool, NULL, &provider));
  upper = pool_over(provider, NULL);
  give(pool, take(pool, 5000, NULL), NULL);
  give(upper, take(upper, 5000, NULL), NULL);
  void *block = take(upper, 5000, NULL);
  memset(block, 3, 5000);
  const pid_t child = fork();
  if (child == 0) _exit(find_shared_memory_gone(pool, upper, block));
  assert_int_equal(exit_code_of(child), 0);
  for (int i = 0; i < 5000; i++) assert_int_equal(((char *)block)[i], 3);
  give(upper, block, NULL);
  tarn_pool_release(upper);
  tarn_pool_release(pool);
}

static int use_in_child(tarn_pool *pool) {
  for (size_t size_bytes = 1; size_bytes < MIB; size_bytes *= 3) {
    void *block = NULL;
    CHECK(tarn_pool_alloc(pool, size_bytes, NULL, &block) == TARN_OK);
    memset(block, 1, size_bytes);
    CHECK(tarn_pool_free(pool, block, NULL) == TARN_OK);
  }
  return 0;
}

/* A child of a child is a child. */
static int fork_again(tarn_pool *pool) {
  const pid_t child = fork();
  if (child == 0) _exit(use_in_child(pool));
  int how = 0;
  CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
  return use_in_child(pool);
}

TEST(a_grandchild_can_do_as_much) {
  step = 0;
  tarn_pool *pool = make_range_pool(0);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, keep_a_block, pool), 0);
  wait_for(1);
  const pid_t child = fork();
  if (child == 0) _exit(fork_again(pool));
  assert_int_equal(exit_code_of(child), 0);
  go_to(2);
  pthread_join(thread, NULL);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
