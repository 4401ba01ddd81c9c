/* test_pool_conformance.c: what every pool must do, on its own memory and in the order of
 * streams. */
#include "tests/conformance/conformance.h"

#include <pthread.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pause.h"

#ifndef POOL_ROWS /* tests/adapters/pools: the same suite over adaptors */
#define POOL_ROWS pool_implementations
#endif

enum { LIVE_MAX = 64 };

static bool is_host(const tarn_pool *pool) {
  return tarn_device_is_host(tarn_pool_attributes_of(pool)->device);
}

static tarn_pool_stats stats_of(tarn_pool *pool) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_pool_stats_of(pool, &stats));
  assert_true(stats.requested_bytes <= stats.allocated_bytes);
  assert_true(stats.allocated_bytes <= stats.active_bytes);
  assert_true(stats.active_bytes <= stats.reserved_bytes + stats.paused_bytes);
  assert_true(stats.free_count <= stats.alloc_count);
  return stats;
}

static tarn_pool *make_backup(void) {
  tarn_provider *pages = NULL;
  tarn_pool *backup = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &pages));
  assert_ok(tarn_caching_pool_create(pages, NULL, &backup));
  tarn_provider_release(pages);
  return backup;
}

static void assert_filled(tarn_stream *stream, const char *address, tarn_device device,
                          uint8_t value) {
  if (tarn_device_is_host(device)) {
    assert_int_equal((uint8_t)*address, value);
    return;
  }
  uint8_t found = 0;
  assert_ok(
      tarn_stream_copy(stream, &found, tarn_device_make(TARN_DEVICE_CPU, 0), address, device, 1));
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(found, value);
}

static void a_pause_gives_memory_back_or_says_that_it_cannot(void **state) {
  enum { SIZE_BYTES = 5 << 20, VALUE = 0x5A };
  tarn_pool *pool = make_pool(state);
  tarn_pool *backup = make_backup();
  tarn_stream *stream = make_stream_for(pool);
  const tarn_device device = tarn_pool_attributes_of(pool)->device;
  void *block = NULL;
  assert_ok(tarn_pool_alloc(pool, SIZE_BYTES, is_host(pool) ? NULL : stream, &block));
  if (is_host(pool)) {
    memset(block, VALUE, SIZE_BYTES);
  } else {
    assert_ok(tarn_stream_fill(stream, block, device, VALUE, SIZE_BYTES));
  }
  const tarn_pool_stats before = stats_of(pool);
  const tarn_pause_options options = {
      .struct_size = sizeof options, .backup = backup, .stream = stream};
  const tarn_resume_options back = {.struct_size = sizeof back, .stream = stream};
  const tarn_status status = tarn_pool_pause(pool, &options, NULL);
  assert_true(status == TARN_OK || status == TARN_NOT_SUPPORTED);
  const tarn_pool_stats away = stats_of(pool);
  assert_int_equal(away.paused_bytes != 0, status == TARN_OK);
  assert_int_equal(tarn_pool_is_paused(pool, block), status == TARN_OK);
  assert_int_equal(away.reserved_bytes + away.paused_bytes, before.reserved_bytes);
  assert_int_equal(away.allocated_bytes, before.allocated_bytes);
  assert_int_equal(tarn_pool_resume(pool, &back, NULL), status);
  assert_int_equal(stats_of(pool).reserved_bytes, before.reserved_bytes);
  assert_false(tarn_pool_is_paused(pool, block));
  assert_filled(stream, block, device, VALUE);
  assert_filled(stream, (char *)block + SIZE_BYTES - 1, device, VALUE);
  assert_ok(tarn_pool_free(pool, block, stream));
  assert_ok(tarn_stream_synchronize(stream));
  tarn_pool_release(pool);
  tarn_pool_release(backup);
  tarn_stream_release(stream);
}

static void size_zero_is_null_and_counts_nowhere(void **state) {
  tarn_pool *pool = make_pool(state);
  void *address = &address;
  assert_ok(tarn_pool_alloc(pool, 0, NULL, &address));
  assert_null(address);
  assert_int_equal(stats_of(pool).alloc_count, 0);
  assert_ok(tarn_pool_free(pool, NULL, NULL));
  tarn_pool_release(pool);
}

static void statistics_return_to_where_they_were(void **state) {
  tarn_pool *pool = make_pool(state);
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &address));
  const tarn_pool_stats during = stats_of(pool);
  assert_int_equal(during.requested_bytes, 1000);
  assert_true(during.reserved_bytes >= during.allocated_bytes);
  assert_ok(tarn_pool_free(pool, address, NULL));
  const tarn_pool_stats after = stats_of(pool);
  assert_int_equal(after.requested_bytes, 0);
  assert_int_equal(after.allocated_bytes, 0);
  assert_int_equal(after.requested_bytes_peak, 1000);
  assert_int_equal(after.alloc_count, 1);
  assert_int_equal(after.free_count, 1);
  tarn_pool_release(pool);
}

static void addresses_are_aligned_as_asked(void **state) {
  tarn_pool *pool = make_pool(state);
  static const size_t alignments[] = {0, 1, 64, 256, 512, 4096, 65536, 1 << 20};
  void *held[sizeof alignments / sizeof *alignments];
  for (size_t index = 0; index < sizeof alignments / sizeof *alignments; index++) {
    const size_t wanted =
        alignments[index] != 0 ? alignments[index] : tarn_pool_attributes_of(pool)->alignment_bytes;
    assert_ok(tarn_pool_alloc_aligned(pool, 777, alignments[index], NULL, &held[index]));
    assert_int_equal((uintptr_t)held[index] & (wanted - 1), 0);
  }
  void *address = &address;
  assert_int_equal(tarn_pool_alloc_aligned(pool, 8, 48, NULL, &address), TARN_INVALID_ARGUMENT);
  assert_null(address);
  for (size_t index = 0; index < sizeof alignments / sizeof *alignments; index++) {
    assert_ok(tarn_pool_free(pool, held[index], NULL));
  }
  tarn_pool_release(pool);
}

static void unknown_and_double_frees_change_nothing(void **state) {
  tarn_pool *pool = make_pool(state);
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 5000, NULL, &address));
  const tarn_pool_stats before = stats_of(pool);
  int elsewhere = 0;
  assert_int_equal(tarn_pool_free(pool, &elsewhere, NULL), TARN_NOT_FOUND);
  assert_int_equal(tarn_pool_free(pool, (char *)address + 256, NULL), TARN_NOT_FOUND);
  const tarn_pool_stats same = stats_of(pool);
  assert_memory_equal(&before, &same, sizeof before);
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_int_equal(tarn_pool_free(pool, address, NULL), TARN_NOT_FOUND);
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  tarn_pool_release(pool);
}

static void absurd_sizes_fail_and_leave_the_pool_sound(void **state) {
  tarn_pool *pool = make_pool(state);
  void *address = &address;
  assert_int_equal(tarn_pool_alloc(pool, SIZE_MAX, NULL, &address), TARN_TOO_LARGE);
  assert_null(address);
  assert_int_equal(tarn_pool_alloc_aligned(pool, PTRDIFF_MAX, (size_t)1 << 62, NULL, &address),
                   TARN_TOO_LARGE);
  const tarn_status status = tarn_pool_alloc(pool, (size_t)800 << 50, NULL, &address);
  assert_true(status == TARN_OUT_OF_MEMORY || status == TARN_TOO_LARGE);
  assert_true(strlen(tarn_last_error()->message) > 0);
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  assert_ok(tarn_pool_alloc(pool, 4096, NULL, &address));
  assert_ok(tarn_pool_free(pool, address, NULL));
  tarn_pool_release(pool);
}

static void freed_memory_is_lent_again(void **state) {
  tarn_pool *pool = make_pool(state);
  for (int round = 0; round < 200; round++) {
    void *address = NULL;
    assert_ok(tarn_pool_alloc(pool, 3 << 20, NULL, &address));
    assert_ok(tarn_pool_free(pool, address, NULL));
  }
  /* Of 600 MiB in all; the CUDA driver takes 32 at a time. */
  assert_true(stats_of(pool).reserved_bytes_peak <= (size_t)32 << 20);
  tarn_pool_release(pool);
}

static void trim_gives_everything_idle_back(void **state) {
  tarn_pool *pool = make_pool(state);
  void *kept = NULL;
  void *idle = NULL;
  assert_ok(tarn_pool_alloc(pool, 1 << 20, NULL, &kept));
  assert_ok(tarn_pool_alloc(pool, 5 << 20, NULL, &idle));
  assert_ok(tarn_pool_free(pool, idle, NULL));
  const size_t before = stats_of(pool).reserved_bytes;
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(stats_of(pool).reserved_bytes, before - released);
  if (is_host(pool)) memset(kept, 1, 1 << 20);
  assert_ok(tarn_pool_free(pool, kept, NULL));
  assert_ok(tarn_pool_trim(pool, 0, &released));
  /* A second trim finds nothing more. */
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 0);
  tarn_pool_release(pool);
}

static void a_pool_lives_as_long_as_its_blocks(void **state) {
  tarn_pool *pool = make_pool(state);
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 10000, NULL, &address));
  tarn_pool_release(pool);
  if (is_host(pool)) memset(address, 1, 10000);
  assert_ok(tarn_pool_free(pool, address, NULL));
}

static void note_use_takes_any_address_inside_a_live_block(void **state) {
  tarn_pool *pool = make_pool(state);
  tarn_stream *stream = make_stream_for(pool);
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 10000, NULL, &address));
  assert_ok(tarn_pool_note_use(pool, address, stream));
  assert_ok(tarn_pool_note_use(pool, (char *)address + 9999, stream));
  int elsewhere = 0;
  assert_int_equal(tarn_pool_note_use(pool, &elsewhere, stream), TARN_NOT_FOUND);
  assert_ok(tarn_pool_free(pool, address, stream));
  assert_ok(tarn_stream_synchronize(stream));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

static void the_size_that_was_asked_for_is_told_or_said_to_be_unknown(void **state) {
  tarn_pool *pool = make_pool(state);
  static const size_t sizes[] = {1, 100, 4097, 100000, (3 << 20) + 5};
  enum { COUNT = sizeof sizes / sizeof *sizes };
  void *blocks[COUNT];
  size_t size_bytes = 77;
  const tarn_status known = tarn_pool_size_of(pool, &size_bytes, &size_bytes);
  assert_true(known == TARN_NOT_FOUND || known == TARN_NOT_SUPPORTED);
  assert_int_equal(size_bytes, 0);
  const tarn_status told = known == TARN_NOT_FOUND ? TARN_OK : known;
  for (int round = 0; round < 2; round++) { /* what a thread kept and lends again, too */
    for (int i = 0; i < COUNT; i++) {
      assert_ok(tarn_pool_alloc(pool, sizes[i], NULL, &blocks[i]));
    }
    for (int i = 0; i < COUNT; i++) {
      assert_int_equal(tarn_pool_size_of(pool, blocks[i], &size_bytes), told);
      assert_int_equal(size_bytes, told == TARN_OK ? sizes[i] : 0);
    }
    assert_int_equal(tarn_pool_size_of(pool, (char *)blocks[3] + 1, &size_bytes), known);
    assert_int_equal(size_bytes, 0);
    for (int i = 0; i < COUNT; i++) {
      assert_ok(tarn_pool_free(pool, blocks[i], NULL));
      assert_int_equal(tarn_pool_size_of(pool, blocks[i], &size_bytes), known);
    }
  }
  tarn_pool_release(pool);
}

/* The pool must not hand a block to the CPU while a stream still works on it. */
typedef struct gate {
  pthread_mutex_t lock;
  pthread_cond_t opened;
  bool is_open;
} gate;

static void gate_pass(void *argument) {
  gate *self = argument;
  pthread_mutex_lock(&self->lock);
  while (!self->is_open) pthread_cond_wait(&self->opened, &self->lock);
  pthread_mutex_unlock(&self->lock);
}

static void gate_open(gate *self) {
  pthread_mutex_lock(&self->lock);
  self->is_open = true;
  pthread_cond_broadcast(&self->opened);
  pthread_mutex_unlock(&self->lock);
}

static void a_block_that_a_stream_still_uses_is_not_lent_to_the_host(void **state) {
  tarn_pool *pool = make_pool(state);
  tarn_stream *stream = make_stream_for(pool);
  gate blocked = {.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};
  enum { SIZE = 1 << 20, TRIES = 3 };
  void *used = NULL;
  void *noted = NULL;
  assert_ok(tarn_pool_alloc(pool, SIZE, stream, &used));
  assert_ok(tarn_pool_alloc(pool, SIZE, NULL, &noted));
  assert_ok(tarn_stream_call(stream, gate_pass, &blocked));
  assert_ok(tarn_pool_note_use(pool, noted, stream));
  assert_ok(tarn_pool_free(pool, used, stream));
  assert_ok(tarn_pool_free(pool, noted, NULL));
  void *host[TRIES];
  for (int index = 0; index < TRIES; index++) {
    assert_ok(tarn_pool_alloc(pool, SIZE, NULL, &host[index]));
    const char *start = host[index];
    assert_true(start + SIZE <= (char *)used || (char *)used + SIZE <= start);
    assert_true(start + SIZE <= (char *)noted || (char *)noted + SIZE <= start);
  }
  assert_true(stats_of(pool).active_bytes >= stats_of(pool).allocated_bytes + 2 * SIZE);
  gate_open(&blocked);
  assert_ok(tarn_stream_synchronize(stream));
  for (int index = 0; index < TRIES; index++) assert_ok(tarn_pool_free(pool, host[index], NULL));
  assert_int_equal(stats_of(pool).active_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

typedef struct live_block {
  unsigned char *address;
  size_t size_bytes;
  unsigned char pattern;
} live_block;

static void check_and_free(tarn_pool *pool, live_block *block, bool is_checked) {
  for (size_t index = 0; is_checked && index < block->size_bytes; index++) {
    if (block->address[index] != block->pattern) {
      fail_msg("byte %zu of %zu at %p was overwritten", index, block->size_bytes,
               (void *)block->address);
    }
  }
  assert_ok(tarn_pool_free(pool, block->address, NULL));
  *block = (live_block){0};
}

/* Random sizes, filled and checked: no two live blocks share a byte, and the sums are right. */
static void random_use(tarn_pool *pool, uint64_t seed, int step_count) {
  live_block live[LIVE_MAX] = {{0}};
  uint64_t random = seed;
  for (int step = 0; step < step_count; step++) {
    live_block *slot = &live[test_random(&random) % LIVE_MAX];
    if (slot->address != NULL) {
      check_and_free(pool, slot, is_host(pool));
      continue;
    }
    slot->size_bytes = 1 + (test_random(&random) % ((size_t)1 << (test_random(&random) % 17)));
    slot->pattern = (unsigned char)step;
    void *address = NULL;
    assert_ok(tarn_pool_alloc(pool, slot->size_bytes, NULL, &address));
    slot->address = address;
    if (is_host(pool)) memset(address, slot->pattern, slot->size_bytes);
    if (step % 1000 == 999) assert_ok(tarn_pool_trim(pool, 0, NULL));
  }
  for (int index = 0; index < LIVE_MAX; index++) {
    if (live[index].address != NULL) check_and_free(pool, &live[index], is_host(pool));
  }
}

static void live_blocks_never_share_a_byte(void **state) {
  tarn_pool *pool = make_pool(state);
  random_use(pool, 42, 4000);
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.alloc_count, stats.free_count);
  assert_int_equal(stats.requested_bytes, 0);
  tarn_pool_release(pool);
}

typedef struct user_thread {
  tarn_pool *pool;
  uint64_t seed;
} user_thread;

static void *use_pool(void *argument) {
  const user_thread *self = argument;
  uint64_t random = self->seed;
  for (int step = 0; step < 500; step++) {
    void *address = NULL;
    const size_t size = 1 + test_random(&random) % 20000;
    if (tarn_pool_alloc(self->pool, size, NULL, &address) != TARN_OK) return self->pool;
    if (is_host(self->pool)) memset(address, (int)self->seed, size);
    for (size_t index = 0; is_host(self->pool) && index < size; index++) {
      if (((unsigned char *)address)[index] != (unsigned char)self->seed) return self->pool;
    }
    if (tarn_pool_free(self->pool, address, NULL) != TARN_OK) return self->pool;
  }
  return NULL;
}

static void many_threads_may_use_a_pool(void **state) {
  tarn_pool *pool = make_pool(state);
  user_thread users[4];
  pthread_t threads[4];
  for (int index = 0; index < 4; index++) {
    users[index] = (user_thread){pool, (uint64_t)index + 1};
    assert_int_equal(pthread_create(&threads[index], NULL, use_pool, &users[index]), 0);
  }
  for (int index = 0; index < 4; index++) {
    void *failed = NULL;
    pthread_join(threads[index], &failed);
    assert_null(failed);
  }
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  tarn_pool_release(pool);
}

int main(int argc, char **argv) {
  static const conformance_test tests[] = {
      CONFORMANCE_TEST(size_zero_is_null_and_counts_nowhere),
      CONFORMANCE_TEST(statistics_return_to_where_they_were),
      CONFORMANCE_TEST(addresses_are_aligned_as_asked),
      CONFORMANCE_TEST(unknown_and_double_frees_change_nothing),
      CONFORMANCE_TEST(absurd_sizes_fail_and_leave_the_pool_sound),
      CONFORMANCE_TEST(freed_memory_is_lent_again),
      CONFORMANCE_TEST(trim_gives_everything_idle_back),
      CONFORMANCE_TEST(a_pool_lives_as_long_as_its_blocks),
      CONFORMANCE_TEST(note_use_takes_any_address_inside_a_live_block),
      CONFORMANCE_TEST(the_size_that_was_asked_for_is_told_or_said_to_be_unknown),
      CONFORMANCE_TEST(a_block_that_a_stream_still_uses_is_not_lent_to_the_host),
      CONFORMANCE_TEST(live_blocks_never_share_a_byte),
      CONFORMANCE_TEST(a_pause_gives_memory_back_or_says_that_it_cannot),
      CONFORMANCE_TEST(many_threads_may_use_a_pool),
      {NULL, NULL},
  };
  return run_conformance(tests, POOL_ROWS, argc > 1 ? argv[1] : NULL);
}
