/* test_arena.c: an arena takes its memory from the provider, and gives all of it back. */
#include "numa/arena.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/tarn_pages.h"

/* A provider of base pages that counts what is out, and fails when told to. */
typedef struct counting {
  tarn_provider *pages;
  _Atomic size_t ranges;
  _Atomic size_t committed_bytes;
  _Atomic bool commit_fails;
  _Atomic bool reserve_fails;
} counting;

static tarn_status counting_attributes(void *context, tarn_provider_attributes *attributes) {
  *attributes = *tarn_provider_attributes_of(((counting *)context)->pages);
  return TARN_OK;
}

static tarn_status counting_alloc(void *context, size_t size_bytes, void **address) {
  (void)context, (void)address;
  return tarn_fail(TARN_NOT_SUPPORTED, "an arena reserves; %zu bytes", size_bytes);
}

static tarn_status counting_release(void *context, void *address, size_t size_bytes) {
  counting *self = context;
  --self->ranges;
  return tarn_provider_free(self->pages, address, size_bytes);
}

static tarn_status counting_reserve(void *context, size_t size_bytes, void **address) {
  counting *self = context;
  if (self->reserve_fails) return tarn_fail(TARN_OUT_OF_MEMORY, "no addresses, says the test");
  const tarn_status status = tarn_provider_reserve(self->pages, size_bytes, address);
  if (status == TARN_OK) ++self->ranges;
  return status;
}

static tarn_status counting_commit(void *context, void *address, size_t size_bytes) {
  counting *self = context;
  if (self->commit_fails) return tarn_fail(TARN_OUT_OF_MEMORY, "no pages, says the test");
  const tarn_status status = tarn_provider_commit(self->pages, address, size_bytes);
  if (status == TARN_OK) self->committed_bytes += size_bytes;
  return status;
}

static tarn_status counting_decommit(void *context, void *address, size_t size_bytes) {
  counting *self = context;
  const tarn_status status = tarn_provider_decommit(self->pages, address, size_bytes);
  if (status == TARN_OK) self->committed_bytes -= size_bytes;
  return status;
}

static tarn_provider *make_counting(counting *self) {
  const tarn_pages_options options = {.struct_size = sizeof options,
                                      .granularity_bytes = (size_t)sysconf(_SC_PAGESIZE)};
  memset(self, 0, sizeof *self);
  assert_int_equal(tarn_pages_provider_create(&options, &self->pages), TARN_OK);
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = "counting",
                                 .attributes = counting_attributes,
                                 .alloc = counting_alloc,
                                 .release = counting_release,
                                 .reserve = counting_reserve,
                                 .commit = counting_commit,
                                 .decommit = counting_decommit};
  tarn_provider *provider = NULL;
  assert_int_equal(tarn_provider_create(&ops, self, &provider), TARN_OK);
  return provider;
}

static tarn__arena *make_arena(counting *self) {
  tarn_provider *provider = make_counting(self);
  tarn__arena *arena = NULL;
  assert_int_equal(tarn__arena_create(provider, &arena), TARN_OK);
  tarn_provider_release(provider);
  return arena;
}

static void end_arena(counting *self, tarn__arena *arena) {
  tarn__arena_destroy(arena);
  assert_int_equal(self->ranges, 0);
  tarn_provider_release(self->pages);
}

static void what_is_committed_is_what_the_provider_gave(void **state) {
  (void)state;
  counting self;
  tarn__arena *arena = make_arena(&self);
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, 0);
  void *blocks[64];
  for (size_t i = 0; i < 64; ++i) {
    const size_t size_bytes = (size_t)1 << (i % 23);
    blocks[i] = tarn__arena_alloc(arena, size_bytes, 1);
    assert_non_null(blocks[i]);
    memset(blocks[i], 1, size_bytes);
    assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, self.committed_bytes);
  }
  const size_t peak = self.committed_bytes;
  for (size_t i = 0; i < 64; ++i) tarn__arena_free(arena, blocks[i]);
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, peak); /* kept until purged */
  tarn__arena_purge(arena);
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, 0);
  assert_int_equal(self.committed_bytes, 0);
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes_peak, peak);
  /* And the same addresses serve again. */
  void *again = tarn__arena_alloc(arena, 1 << 20, 1);
  assert_non_null(again);
  memset(again, 2, 1 << 20);
  tarn__arena_free(arena, again);
  end_arena(&self, arena);
}

static void a_block_in_use_survives_a_purge(void **state) {
  (void)state;
  counting self;
  tarn__arena *arena = make_arena(&self);
  char *kept = tarn__arena_alloc(arena, 300000, 1);
  void *idle = tarn__arena_alloc(arena, 300000, 1);
  assert_non_null(kept);
  assert_non_null(idle);
  memset(kept, 0x3c, 300000);
  tarn__arena_free(arena, idle);
  tarn__arena_purge(arena);
  for (size_t i = 0; i < 300000; ++i) assert_int_equal(kept[i], 0x3c);
  assert_true(self.committed_bytes >= 300000);
  tarn__arena_free(arena, kept);
  end_arena(&self, arena);
}

static void blocks_are_aligned_as_asked(void **state) {
  (void)state;
  counting self;
  tarn__arena *arena = make_arena(&self);
  for (size_t alignment = 1; alignment <= (size_t)64 << 20; alignment *= 2) {
    void *block = tarn__arena_alloc(arena, 10, alignment);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % alignment, 0);
    assert_int_equal((uintptr_t)block % TARN__ARENA_ALIGNMENT_BYTES, 0);
    tarn__arena_free(arena, block);
  }
  end_arena(&self, arena);
}

static void a_provider_without_memory_leaves_the_arena_sound(void **state) {
  (void)state;
  counting self;
  tarn__arena *arena = make_arena(&self);
  void *before = tarn__arena_alloc(arena, 100, 1);
  assert_non_null(before);
  self.commit_fails = true;
  assert_null(tarn__arena_alloc(arena, 50 << 20, 1));
  self.commit_fails = false;
  self.reserve_fails = true;
  assert_null(tarn__arena_alloc(arena, (size_t)4 << 30, 1));
  self.reserve_fails = false;
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, self.committed_bytes);
  char *after = tarn__arena_alloc(arena, 50 << 20, 1);
  assert_non_null(after);
  after[(50 << 20) - 1] = 1;
  tarn__arena_free(arena, after);
  tarn__arena_free(arena, before);
  end_arena(&self, arena);
}

static void *fill_own_cache(void *argument) {
  tarn__arena *arena = argument;
  void *blocks[100];
  for (size_t i = 0; i < 100; ++i) blocks[i] = tarn__arena_alloc(arena, 1000, 1);
  for (size_t i = 0; i < 100; ++i) tarn__arena_free(arena, blocks[i]);
  return NULL;
}

static void a_threads_cache_ends_with_the_thread(void **state) {
  (void)state;
  counting self;
  tarn__arena *arena = make_arena(&self);
  /* More threads than jemalloc has caches in a process, one after the other. */
  for (int i = 0; i < 4200; ++i) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fill_own_cache, arena), 0);
    pthread_join(thread, NULL);
  }
  tarn__arena_purge(arena);
  assert_int_equal(self.committed_bytes, 0);
  end_arena(&self, arena);
}

typedef struct parked {
  tarn__arena *arena;
  pthread_barrier_t *used;
  pthread_barrier_t *purged;
} parked;

static void *fill_and_park(void *argument) {
  parked *self = argument;
  fill_own_cache(self->arena);
  pthread_barrier_wait(self->used);
  pthread_barrier_wait(self->purged);
  return NULL;
}

static void a_purge_reaches_the_caches_of_other_threads(void **state) {
  (void)state;
  counting self;
  tarn__arena *arena = make_arena(&self);
  pthread_barrier_t used, purged;
  pthread_barrier_init(&used, NULL, 2);
  pthread_barrier_init(&purged, NULL, 2);
  parked other = {arena, &used, &purged};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, fill_and_park, &other), 0);
  pthread_barrier_wait(&used);
  assert_true(self.committed_bytes > 0);
  tarn__arena_purge(arena);
  assert_int_equal(self.committed_bytes, 0);
  end_arena(&self, arena); /* and the thread outlives the arena */
  pthread_barrier_wait(&purged);
  pthread_join(thread, NULL);
  pthread_barrier_destroy(&used);
  pthread_barrier_destroy(&purged);
}

static void arenas_beyond_jemallocs_limit_are_refused_and_recovered(void **state) {
  (void)state;
  enum { TRIES = 4200 };
  static tarn__arena *arenas[TRIES];
  counting self;
  tarn_provider *provider = make_counting(&self);
  for (int round = 0; round < 2; ++round) {
    int made = 0;
    tarn_status status = TARN_OK;
    while (made < TRIES && status == TARN_OK) {
      status = tarn__arena_create(provider, &arenas[made]);
      if (status == TARN_OK) ++made;
    }
    assert_int_equal(status, TARN_NOT_SUPPORTED);
    assert_null(arenas[made]);
    assert_true(made > 4000);
    while (made > 0) tarn__arena_destroy(arenas[--made]);
  }
  tarn_provider_release(provider);
  tarn_provider_release(self.pages);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_committed_is_what_the_provider_gave),
      cmocka_unit_test(a_block_in_use_survives_a_purge),
      cmocka_unit_test(blocks_are_aligned_as_asked),
      cmocka_unit_test(a_provider_without_memory_leaves_the_arena_sound),
      cmocka_unit_test(a_threads_cache_ends_with_the_thread),
      cmocka_unit_test(a_purge_reaches_the_caches_of_other_threads),
      cmocka_unit_test(arenas_beyond_jemallocs_limit_are_refused_and_recovered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
