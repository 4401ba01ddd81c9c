/* test_front.c: what threads keep is theirs alone, is counted, and goes back when it has to. */
#include "numa/front.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/tarn_pages.h"
#include "tests/support/test.h"

typedef struct place {
  tarn__arena *arena;
  tarn__fronts fronts;
} place;

static void begin(place *self) {
  const tarn_pages_options options = {.struct_size = sizeof options,
                                      .granularity_bytes = (size_t)sysconf(_SC_PAGESIZE)};
  tarn_provider *provider = NULL;
  assert_int_equal(tarn_pages_provider_create(&options, &provider), TARN_OK);
  assert_int_equal(tarn__arena_create(provider, 1, 0, &self->arena), TARN_OK);
  tarn_provider_release(provider);
  tarn__fronts_init(&self->fronts, self->arena);
}

static void end(place *self) {
  tarn__fronts_deinit(&self->fronts);
  tarn__arena_purge(self->arena);
  assert_int_equal(tarn__arena_counts_of(self->arena).committed_bytes, 0);
  tarn__arena_destroy(self->arena);
}

static void *lend(tarn__front *front, size_t size_bytes) {
  void *address = NULL;
  if (tarn__front_alloc(front, size_bytes, &address)) return address;
  if (!tarn__front_enter_slowly(front)) return NULL;
  address = tarn__front_get(front, tarn__class_of(size_bytes));
  const tarn__found found = tarn__shadow_look(tarn__shadow_find(address), address);
  tarn__front_lend(front, address, found.word, found.size_class, size_bytes);
  tarn__front_leave(front);
  return address;
}

static bool take_back(tarn__front *front, void *address) {
  if (tarn__front_free(front, address)) return true;
  const tarn__found found = tarn__shadow_look(tarn__shadow_find(address), address);
  if (found.requested_bytes == 0 || !tarn__front_enter_slowly(front)) return false;
  tarn__front_take(front, address, &found, tarn__class_bytes(found.size_class));
  tarn__front_put(front, address, found.word, found.size_class);
  tarn__front_leave(front);
  return true;
}

static void drain(tarn__fronts *fronts) {
  pthread_mutex_lock(&fronts->lock);
  tarn__fronts_close(fronts);
  tarn__fronts_drain(fronts);
  tarn__fronts_open(fronts);
  pthread_mutex_unlock(&fronts->lock);
}

static size_t settle(tarn__fronts *fronts) {
  pthread_mutex_lock(&fronts->lock);
  tarn__fronts_close(fronts);
  const size_t kept_bytes = tarn__fronts_settle(fronts);
  tarn__fronts_open(fronts);
  pthread_mutex_unlock(&fronts->lock);
  return kept_bytes;
}

TEST(the_block_freed_last_is_lent_first) {
  place self;
  begin(&self);
  tarn__front *front = tarn__front_of_thread(&self.fronts);
  void *first = lend(front, 1000), *second = lend(front, 1000);
  assert_true(take_back(front, first));
  assert_true(take_back(front, second));
  assert_false(take_back(front, second)); /* it is not lent any more */
  assert_null(tarn__front_alloc(front, 2000, &first) ? first : NULL);
  void *again = NULL;
  assert_true(tarn__front_alloc(front, 900, &again));
  assert_ptr_equal(again, second);
  assert_true(take_back(front, again));
  end(&self);
}

TEST(a_front_keeps_no_more_than_its_share) {
  enum { CLASSES = 20, OF_A_CLASS = 8 };
  place self;
  begin(&self);
  tarn__front *front = tarn__front_of_thread(&self.fronts);
  void *blocks[CLASSES][OF_A_CLASS];
  const unsigned first_class = tarn__class_of(256 << 10);
  for (unsigned i = 0; i < CLASSES; ++i) {
    const size_t block_bytes = tarn__class_bytes(first_class + i);
    for (size_t j = 0; j < OF_A_CLASS; ++j) {
      assert_non_null(blocks[i][j] = lend(front, block_bytes));
    }
  }
  (void)settle(&self.fronts);
  const size_t most_bytes = tarn__count_load(&self.fronts.allocated_sum) / 8 +
                            tarn__class_bytes(first_class + CLASSES - 1);
  for (unsigned i = 0; i < CLASSES; ++i) {
    for (size_t j = 0; j < OF_A_CLASS; ++j) {
      assert_true(take_back(front, blocks[i][j]));
      assert_true(tarn__count_load(&front->kept_bytes) <= most_bytes);
    }
  }
  assert_true(tarn__count_load(&front->kept_bytes) > 0);
  end(&self);
}

typedef struct closer {
  tarn__fronts *fronts;
  atomic_bool *has_closed;
} closer;

static void *close_fronts(void *argument) {
  const closer *self = argument;
  pthread_mutex_lock(&self->fronts->lock);
  tarn__fronts_close(self->fronts);
  atomic_store(self->has_closed, true);
  tarn__fronts_open(self->fronts);
  pthread_mutex_unlock(&self->fronts->lock);
  return NULL;
}

TEST(whoever_closes_waits_for_the_thread_inside) {
  enum { TURNS = 2000 }; /* in which it could be over if it did not wait */
  place self;
  begin(&self);
  tarn__front *front = tarn__front_of_thread(&self.fronts);
  atomic_bool has_closed = false;
  closer other = {&self.fronts, &has_closed};
  assert_true(tarn__front_enter_slowly(front));
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, close_fronts, &other), 0);
  while (atomic_load(&front->closed) % TARN__FRONT_NEEDS_FENCE == 0 && !has_closed) sched_yield();
  for (int turn = 0; turn < TURNS; ++turn) sched_yield();
  const bool was_over = atomic_load(&has_closed);
  tarn__front_leave(front);
  pthread_join(thread, NULL);
  assert_false(was_over);
  assert_true(has_closed);
  end(&self);
}

typedef struct visit {
  tarn__fronts *fronts;
  atomic_bool stop;
  _Atomic uint64_t begun;
  _Atomic uint64_t ended;
} visit;

static void *visit_until_stopped(void *argument) {
  visit *self = argument;
  tarn__front *front = tarn__front_of_thread(self->fronts);
  while (!atomic_load(&self->stop)) {
    if (front == NULL || !tarn__front_enter_slowly(front)) continue;
    atomic_fetch_add(&self->begun, 1);
    atomic_fetch_add(&self->ended, 1);
    tarn__front_leave(front);
  }
  return NULL;
}

/* The kernel copies a process page by page: of what a thread changed meanwhile it has a part. */
TEST(no_thread_is_inside_around_a_fork) {
  place pool;
  begin(&pool);
  visit visits = {.fronts = &pool.fronts};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, visit_until_stopped, &visits), 0);
  while (atomic_load(&visits.ended) == 0) sched_yield();
  int inside_count = 0;
  for (int i = 0; i < 2000; ++i) {
    tarn__fronts_lock_all();
    const uint64_t begun = atomic_load(&visits.begun);
    for (int look = 0; look < 100; ++look) {
      inside_count += atomic_load(&visits.ended) != begun || atomic_load(&visits.begun) != begun;
    }
    tarn__fronts_unlock_all();
  }
  atomic_store(&visits.stop, true);
  pthread_join(thread, NULL);
  assert_int_equal(inside_count, 0);
  end(&pool);
}

static void *use_and_end(void *argument) {
  tarn__front *front = tarn__front_of_thread(argument);
  void *blocks[100];
  for (size_t i = 0; i < 100; ++i) blocks[i] = lend(front, 1000);
  for (size_t i = 0; i < 100; ++i) take_back(front, blocks[i]);
  return NULL;
}

TEST(a_front_ends_with_its_thread) {
  enum { THREADS = 4200 }; /* more than jemalloc has caches in a process, one after the other */
  place self;
  begin(&self);
  for (int i = 0; i < THREADS; ++i) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, use_and_end, &self.fronts), 0);
    pthread_join(thread, NULL);
  }
  assert_null(self.fronts.first);
  tarn__arena_purge(self.arena);
  assert_int_equal(tarn__arena_counts_of(self.arena).committed_bytes, 0);
  uint64_t alloc_count, free_count;
  tarn__fronts_count(&self.fronts, &alloc_count, &free_count);
  assert_int_equal(alloc_count, 100 * THREADS);
  assert_int_equal(free_count, 100 * THREADS);
  assert_int_equal(tarn__count_load(&self.fronts.allocated_sum), 0);
  tarn__front *front = tarn__front_of_thread(&self.fronts);
  assert_int_not_equal(front->cache, TARN__NO_CACHE);
  end(&self);
}

TEST(without_a_cache_of_jemallocs_a_front_works) {
  enum { POOLS = 4200 };
  place self;
  begin(&self);
  tarn__fronts *many = calloc(POOLS, sizeof *many);
  assert_non_null(many);
  int without_count = 0;
  for (int i = 0; i < POOLS; ++i) {
    tarn__fronts_init(&many[i], self.arena);
    tarn__front *front = tarn__front_of_thread(&many[i]);
    if (front->cache == TARN__NO_CACHE) ++without_count;
    void *block = lend(front, 1000);
    assert_non_null(block);
    memset(block, 1, 1000);
    assert_true(take_back(front, block));
  }
  assert_true(without_count >= POOLS - 4094);
  for (int i = 0; i < POOLS; ++i) tarn__fronts_deinit(&many[i]);
  tarn__front *front = tarn__front_of_thread(&self.fronts);
  assert_int_not_equal(front->cache, TARN__NO_CACHE);
  free(many);
  end(&self);
}

typedef struct parked {
  tarn__fronts *fronts;
  pthread_barrier_t *used;
  pthread_barrier_t *drained;
} parked;

static void *use_and_park(void *argument) {
  const parked *self = argument;
  use_and_end(self->fronts);
  pthread_barrier_wait(self->used);
  pthread_barrier_wait(self->drained);
  return NULL;
}

TEST(draining_reaches_a_thread_that_never_comes_back) {
  place self;
  begin(&self);
  pthread_barrier_t used, drained;
  pthread_barrier_init(&used, NULL, 2);
  pthread_barrier_init(&drained, NULL, 2);
  parked other = {&self.fronts, &used, &drained};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, use_and_park, &other), 0);
  pthread_barrier_wait(&used);
  assert_true(settle(&self.fronts) > 0);
  drain(&self.fronts);
  assert_int_equal(settle(&self.fronts), 0);
  tarn__arena_purge(self.arena);
  assert_int_equal(tarn__arena_counts_of(self.arena).committed_bytes, 0);
  end(&self); /* and the thread outlives it */
  pthread_barrier_wait(&drained);
  pthread_join(thread, NULL);
  pthread_barrier_destroy(&used);
  pthread_barrier_destroy(&drained);
}

typedef struct shared_use {
  tarn__fronts *fronts;
  atomic_bool *stop;
} shared_use;

/* Each block carries its own address at both ends: two owners would show. */
static void *use_until_stopped(void *argument) {
  const shared_use *self = argument;
  tarn__front *front = tarn__front_of_thread(self->fronts);
  while (!atomic_load(self->stop)) {
    char **blocks[8] = {NULL};
    for (size_t i = 0; i < 8; ++i) {
      const size_t size_bytes = (size_t)64 << (i % 4);
      blocks[i] = lend(front, size_bytes);
      if (blocks[i] == NULL) continue; /* the front was closed */
      blocks[i][0] = blocks[i][size_bytes / sizeof(char *) - 1] = (char *)blocks[i];
    }
    for (size_t i = 0; i < 8; ++i) {
      if (blocks[i] == NULL) continue;
      const size_t size_bytes = (size_t)64 << (i % 4);
      if (blocks[i][0] != (char *)blocks[i]) return argument;
      if (blocks[i][size_bytes / sizeof(char *) - 1] != (char *)blocks[i]) return argument;
      while (!take_back(front, blocks[i])) {
      }
    }
  }
  return NULL;
}

TEST(threads_may_be_drained_in_the_middle_of_their_calls) {
  enum { USERS = 3, DRAINS = 3000 };
  place self;
  begin(&self);
  atomic_bool stop = false;
  shared_use use = {&self.fronts, &stop};
  pthread_t users[USERS];
  for (int i = 0; i < USERS; ++i) {
    assert_int_equal(pthread_create(&users[i], NULL, use_until_stopped, &use), 0);
  }
  for (int i = 0; i < DRAINS; ++i) drain(&self.fronts);
  atomic_store(&stop, true);
  int failed_count = 0;
  for (int i = 0; i < USERS; ++i) {
    void *failed = NULL;
    pthread_join(users[i], &failed);
    failed_count += failed != NULL;
  }
  assert_int_equal(failed_count, 0);
  assert_int_equal(tarn__count_load(&self.fronts.allocated_sum), 0);
  end(&self);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
