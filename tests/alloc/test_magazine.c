/* test_magazine.c: what threads keep of a pool's blocks: for whom, how much, and until when. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/magazine.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/support/manual_stream.h"

/* --- one thread --- */

TEST(a_kept_block_comes_back_to_its_own_stream_only) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *first = make_stream();
  tarn_stream *second = make_stream();
  void *block = take(pool, 4096, first);
  work(first);
  give(pool, block, first);
  void *other = take(pool, 4096, second);
  assert_ptr_not_equal(other, block);
  void *host = take(pool, 4096, NULL);
  assert_ptr_not_equal(host, block);
  assert_ptr_equal(take(pool, 4096, first), block);
  give(pool, host, NULL);
  give(pool, other, second);
  give(pool, block, first);
  tarn_stream_release(first);
  tarn_stream_release(second);
  tarn_pool_release(pool);
  assert_int_equal(provided.live_bytes, 0);
}

TEST(a_block_that_another_stream_used_is_not_kept) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *first = make_stream();
  tarn_stream *second = make_stream();
  void *warm = take(pool, 4096, first);
  give(pool, warm, first);
  void *block = take(pool, 4096, first);
  work(second);
  assert_ok(tarn_pool_note_use(pool, block, second));
  give(pool, block, first);
  /* Not covered for `first`: it is behind nothing of `second`. */
  void *next = take(pool, 4096, first);
  assert_ptr_not_equal(next, block);
  give(pool, next, first);
  tarn_stream_release(first);
  tarn_stream_release(second);
  tarn_pool_release(pool);
}

TEST(a_kept_block_serves_requests_down_to_eight_ninths_of_its_size) {
  tarn_pool *pool = make_range_pool(0);
  void *wall = take(pool, 256, NULL);
  void *block = take(pool, 90 * 1024, NULL);
  void *end = take(pool, 256, NULL);
  give(pool, block, NULL);
  assert_ptr_equal(take(pool, 80 * 1024, NULL), block);
  assert_int_equal(stats_of(pool).requested_bytes, 512 + 80 * 1024);
  assert_int_equal(stats_of(pool).allocated_bytes, 512 + 90 * 1024);
  give(pool, block, NULL);
  void *less = take(pool, 79 * 1024, NULL);
  assert_int_equal(stats_of(pool).allocated_bytes, 512 + 79 * 1024);
  give(pool, less, NULL);
  give(pool, wall, NULL);
  give(pool, end, NULL);
  tarn_pool_release(pool);
}

TEST(a_kept_block_is_lent_to_nobody) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  void *block = take(pool, 4096, stream);
  give(pool, block, stream);
  assert_int_equal(tarn_pool_free(pool, block, stream), TARN_NOT_FOUND);
  assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_NOT_FOUND);
  assert_int_equal(tarn_pool_note_use(pool, block, stream), TARN_NOT_FOUND);
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.allocated_bytes, 0);
  assert_int_equal(stats.requested_bytes, 0);
  assert_int_equal(stats.active_bytes, 4096);
  assert_int_equal(stats.alloc_count, 1);
  assert_int_equal(stats.free_count, 1);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(peaks_of_one_thread_are_exact) {
  enum { COUNT = 40 };
  tarn_pool *pool = make_range_pool(0);
  void *blocks[COUNT];
  size_t live_bytes = 0;
  size_t peak_bytes = 0;
  uint64_t random = 7;
  for (int round = 0; round < 50; round++) {
    const int count = 1 + (int)(random >> 60);
    size_t sizes[COUNT];
    for (int index = 0; index < count; index++) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      sizes[index] = 1 + (random >> 40) % 5000;
      blocks[index] = take(pool, sizes[index], NULL);
      live_bytes += sizes[index];
      if (peak_bytes < live_bytes) peak_bytes = live_bytes;
    }
    for (int index = 0; index < count; index++) {
      give(pool, blocks[index], NULL);
      live_bytes -= sizes[index];
    }
    if (round % 10 == 0) assert_ok(tarn_pool_trim(pool, SIZE_MAX, NULL));
  }
  assert_int_equal(stats_of(pool).requested_bytes_peak, peak_bytes);
  assert_int_equal(stats_of(pool).requested_bytes, 0);
  tarn_pool_release(pool);
}

TEST(what_is_kept_goes_back_before_the_pool_grows) {
  tarn_pool *pool = make_segment_pool(0);
  void *halves[2] = {take(pool, MIB, NULL), take(pool, MIB, NULL)};
  give(pool, halves[0], NULL);
  give(pool, halves[1], NULL);
  void *whole = take(pool, 2 * MIB, NULL);
  assert_int_equal(provided.alloc_count, 1);
  give(pool, whole, NULL);
  tarn_pool_release(pool);
}

/* Sixteen neighbours of 64 KiB that this thread keeps, and nothing free but them. */
static void keep_neighbours(tarn_pool *pool, void *blocks[16], void **wall) {
  for (int index = 0; index < 16; index++) blocks[index] = take(pool, 64 * 1024, NULL);
  *wall = take(pool, stats_of(pool).reserved_bytes - MIB, NULL);
  for (int index = 0; index < 16; index++) give(pool, blocks[index], NULL);
}

TEST(much_that_is_kept_stays_while_the_pool_may_grow_without_waste) {
  tarn_pool *pool = make_range_pool(0);
  void *blocks[16], *wall = NULL;
  keep_neighbours(pool, blocks, &wall);
  const size_t reserved_bytes = stats_of(pool).reserved_bytes;
  char *fresh = take(pool, 32 * 1024, NULL);
  assert_true(fresh < (char *)blocks[0] || fresh >= (char *)blocks[15] + 64 * 1024);
  assert_true(stats_of(pool).reserved_bytes > reserved_bytes);
  assert_int_equal(tarn__magazine_kept_bytes(tarn__caching_of(pool)), MIB);
  char *large = take(pool, 8 * MIB, NULL); /* beside which it is little */
  assert_int_equal(tarn__magazine_kept_bytes(tarn__caching_of(pool)), 0);
  give(pool, fresh, NULL);
  give(pool, large, NULL);
  give(pool, wall, NULL);
  tarn_pool_release(pool);
}

TEST(no_more_is_gathered_than_was_wanted) {
  tarn_pool *pool = make_range_pool(0);
  tarn__caching *self = tarn__caching_of(pool);
  void *blocks[16], *wall = NULL;
  keep_neighbours(pool, blocks, &wall);
  tarn__gathering what = {.least_bytes = 128 * 1024};
  assert_false(tarn__magazine_gather_own(self, &what)); /* one has as much */
  what = (tarn__gathering){.least_bytes = 64 * 1024, .enough_bytes = 192 * 1024};
  assert_true(tarn__magazine_gather_own(self, &what));
  assert_int_equal(tarn__magazine_kept_bytes(self), MIB - 192 * 1024);
  what.enough_bytes = 0;
  assert_true(tarn__magazine_gather_own(self, &what));
  assert_int_equal(tarn__magazine_kept_bytes(self), 0);
  give(pool, wall, NULL);
  tarn_pool_release(pool);
}

TEST(large_blocks_of_a_stream_are_joined_with_their_neighbours) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  void *low = take(pool, 64 * 1024, stream);
  void *high = take(pool, 64 * 1024, stream);
  void *wall = take(pool, 256, stream);
  give(pool, low, stream);
  give(pool, high, stream);
  /* Behind the wall there is room as well, but these two are the best fit. */
  void *both = take(pool, 128 * 1024, stream);
  assert_ptr_equal(both, low);
  give(pool, both, stream);
  give(pool, wall, stream);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* How many of two such blocks that were freed one after the other a thread keeps. */
static size_t count_kept(tarn_pool *pool, size_t size_bytes) {
  tarn_stream *stream = make_stream();
  void *first = take(pool, size_bytes, stream);
  void *second = take(pool, size_bytes, stream);
  give(pool, first, stream);
  give(pool, second, stream);
  const size_t kept_bytes = tarn__magazine_kept_bytes(tarn__caching_of(pool));
  assert_int_equal(kept_bytes % size_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  return kept_bytes / size_bytes;
}

TEST(of_large_blocks_of_a_stream_the_last_is_kept_and_none_in_large_granules) {
  assert_int_equal(count_kept(make_segment_pool(0), 4 * 1024), 2);
  assert_int_equal(count_kept(make_segment_pool(0), 64 * 1024), 1);
  assert_int_equal(count_kept(make_range_pool(0), 4 * 1024), 2);
  assert_int_equal(count_kept(make_range_pool(0), 64 * 1024), 0);
}

/* One block, however large, comes on top, and does not lift what is kept of others. */
TEST(a_thread_keeps_its_share_and_the_block_freed_last) {
  enum { SMALL_BYTES = 64 * 1024, SMALL_COUNT = 256 };
  tarn_pool *pool = make_range_pool(0);
  tarn__caching *self = tarn__caching_of(pool);
  void *large = take(pool, 32 * MIB, NULL), *small[SMALL_COUNT];
  for (int index = 0; index < SMALL_COUNT; index++) small[index] = take(pool, SMALL_BYTES, NULL);
  give(pool, large, NULL);
  assert_ptr_equal(take(pool, 32 * MIB, NULL), large);
  for (int index = 0; index < SMALL_COUNT; index++) give(pool, small[index], NULL);
  const size_t share_bytes = stats_of(pool).reserved_bytes / 4;
  assert_true(tarn__magazine_kept_bytes(self) > share_bytes / 2);
  assert_true(tarn__magazine_kept_bytes(self) <= share_bytes + SMALL_BYTES);
  give(pool, large, NULL);
  assert_true(tarn__magazine_kept_bytes(self) >= 32 * MIB);
  large = take(pool, 32 * MIB, NULL);
  assert_true(tarn__magazine_kept_bytes(self) <= share_bytes + SMALL_BYTES);
  give(pool, large, NULL);
  tarn_pool_release(pool);
}

TEST(a_pool_at_the_address_of_an_earlier_one_starts_afresh) {
  for (int round = 0; round < 200; round++) {
    tarn_pool *pool = make_range_pool(0);
    void *block = take(pool, 1000, NULL);
    memset(block, round, 1000);
    give(pool, block, NULL);
    block = take(pool, 1000, NULL);
    give(pool, block, NULL);
    assert_int_equal(stats_of(pool).alloc_count, 2);
    tarn_pool_release(pool);
  }
}

/* --- several threads --- */

typedef struct helper {
  pthread_t thread;
  tarn_pool *pool;
  void *blocks[8];
  int count;
  pthread_barrier_t *met; /* NULL: none to meet */
} helper;

static void *free_all(void *argument) {
  helper *self = argument;
  for (int index = 0; index < self->count; index++) give(self->pool, self->blocks[index], NULL);
  if (self->met != NULL) {
    pthread_barrier_wait(self->met); /* the blocks are kept now */
    pthread_barrier_wait(self->met); /* the other thread has looked */
  }
  return argument;
}

TEST(a_thread_that_ends_hands_everything_back) {
  tarn_pool *pool = make_segment_pool(0);
  helper other = {.pool = pool, .count = 8};
  for (int index = 0; index < 8; index++) other.blocks[index] = take(pool, 256 * 1024, NULL);
  assert_int_equal(pthread_create(&other.thread, NULL, free_all, &other), 0);
  pthread_join(other.thread, NULL);
  void *whole = take(pool, 2 * MIB, NULL);
  assert_int_equal(provided.alloc_count, 1);
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.free_count, 8);
  assert_int_equal(stats.allocated_bytes, 2 * MIB);
  give(pool, whole, NULL);
  tarn_pool_release(pool);
}

TEST(what_another_thread_keeps_is_had_before_out_of_memory) {
  tarn_pool *pool = make_segment_pool(2 * MIB);
  pthread_barrier_t met;
  pthread_barrier_init(&met, NULL, 2);
  helper other = {.pool = pool, .count = 8, .met = &met};
  for (int index = 0; index < 8; index++) other.blocks[index] = take(pool, 256 * 1024, NULL);
  assert_int_equal(pthread_create(&other.thread, NULL, free_all, &other), 0);
  pthread_barrier_wait(&met);
  void *whole = take(pool, 2 * MIB, NULL);
  assert_non_null(whole);
  pthread_barrier_wait(&met);
  pthread_join(other.thread, NULL);
  give(pool, whole, NULL);
  tarn_pool_release(pool);
  pthread_barrier_destroy(&met);
}

TEST(a_pool_may_go_before_the_threads_that_used_it) {
  tarn_pool *pool = make_segment_pool(0);
  pthread_barrier_t met;
  pthread_barrier_init(&met, NULL, 2);
  helper other = {.pool = pool, .count = 8, .met = &met};
  for (int index = 0; index < 8; index++) other.blocks[index] = take(pool, 256 * 1024, NULL);
  assert_int_equal(pthread_create(&other.thread, NULL, free_all, &other), 0);
  pthread_barrier_wait(&met);
  tarn_pool_release(pool);
  assert_int_equal(provided.live_bytes, 0);
  pthread_barrier_wait(&met);
  pthread_join(other.thread, NULL);
  pthread_barrier_destroy(&met);
}

TEST(the_last_block_freed_by_another_thread_ends_the_pool) {
  tarn_pool *pool = make_segment_pool(0);
  void *warm = take(pool, 256 * 1024, NULL);
  give(pool, warm, NULL);
  helper other = {.pool = pool, .count = 2};
  other.blocks[0] = take(pool, 256 * 1024, NULL);
  other.blocks[1] = take(pool, 256 * 1024, NULL);
  tarn_pool_release(pool);
  assert_int_not_equal(provided.live_bytes, 0);
  assert_int_equal(pthread_create(&other.thread, NULL, free_all, &other), 0);
  pthread_join(other.thread, NULL);
  assert_int_equal(provided.live_bytes, 0);
}

typedef struct neighbour {
  pthread_t thread;
  tarn_pool *pool;
  pthread_barrier_t *all_there;
  bool is_kept;
} neighbour;

static void *keep_one(void *argument) {
  neighbour *self = argument;
  void *block = take(self->pool, 4096, NULL);
  give(self->pool, block, NULL);
  pthread_barrier_wait(self->all_there); /* all are alive at once */
  void *again = take(self->pool, 4096, NULL);
  self->is_kept = again == block;
  give(self->pool, again, NULL);
  pthread_barrier_wait(self->all_there);
  return argument;
}

TEST(every_one_of_many_threads_keeps_its_own) {
  enum { COUNT = 72 };
  static neighbour threads[COUNT];
  tarn_pool *pool = make_range_pool(0);
  assert_ok(tarn_caching_pool_reserve(pool, 4 * MIB)); /* growth would empty the magazines */
  pthread_barrier_t all_there;
  pthread_barrier_init(&all_there, NULL, COUNT);
  for (int index = 0; index < COUNT; index++) {
    threads[index] = (neighbour){.pool = pool, .all_there = &all_there};
    assert_int_equal(pthread_create(&threads[index].thread, NULL, keep_one, &threads[index]), 0);
  }
  int kept_count = 0;
  for (int index = 0; index < COUNT; index++) {
    pthread_join(threads[index].thread, NULL);
    kept_count += threads[index].is_kept;
  }
  assert_int_equal(kept_count, COUNT);
  tarn_pool_release(pool);
  pthread_barrier_destroy(&all_there);
}

/* --- many threads, with somebody emptying their magazines all the time --- */

enum { WORKERS = 4, ROUNDS = 3000, SLOTS = 16, MAILBOXES = 8 };

typedef struct crowd {
  tarn_pool *pool;
  _Atomic(uint64_t *) mail[MAILBOXES]; /* blocks that change hands */
  atomic_bool is_over;
  atomic_int bad_count;
} crowd;

/* Every block holds its own size and its owner's mark at both ends. */
static void mark(uint64_t *block, uint64_t words) {
  block[0] = words;
  block[words - 1] = words;
}

static void check_and_free(crowd *all, uint64_t *block) {
  const uint64_t words = block[0];
  if (words < 2 || words > 4096 || block[words - 1] != words) atomic_fetch_add(&all->bad_count, 1);
  block[0] = 0;
  give(all->pool, block, NULL);
}

static void *run_worker(void *argument) {
  crowd *all = argument;
  uint64_t *blocks[SLOTS] = {NULL};
  uint64_t random = (uintptr_t)&blocks;
  for (int round = 0; round < ROUNDS; round++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const int slot = (int)(random >> 60);
    if (blocks[slot] != NULL && (random >> 50) % 4 == 0) {
      blocks[slot] = atomic_exchange(&all->mail[(random >> 40) % MAILBOXES], blocks[slot]);
    }
    if (blocks[slot] != NULL) check_and_free(all, blocks[slot]);
    const uint64_t words = 2 + (random >> 33) % ((random >> 20) % 8 == 0 ? 4000 : 60);
    blocks[slot] = take(all->pool, words * sizeof(uint64_t), NULL);
    mark(blocks[slot], words);
  }
  for (int slot = 0; slot < SLOTS; slot++) {
    if (blocks[slot] != NULL) check_and_free(all, blocks[slot]);
  }
  return argument;
}

static void *run_trimmer(void *argument) {
  crowd *all = argument;
  for (int round = 0; !atomic_load(&all->is_over); round++) {
    if (tarn_pool_trim(all->pool, round % 2 ? 0 : SIZE_MAX, NULL) != TARN_OK) {
      atomic_fetch_add(&all->bad_count, 1);
    }
    const tarn_pool_stats stats = stats_of(all->pool);
    if (stats.requested_bytes > stats.reserved_bytes) atomic_fetch_add(&all->bad_count, 1);
  }
  return argument;
}

TEST(threads_keep_and_exchange_blocks_while_magazines_are_emptied) {
  static crowd all;
  memset(&all, 0, sizeof all);
  all.pool = make_range_pool(0);
  pthread_t workers[WORKERS];
  pthread_t trimmer;
  assert_int_equal(pthread_create(&trimmer, NULL, run_trimmer, &all), 0);
  for (int index = 0; index < WORKERS; index++) {
    assert_int_equal(pthread_create(&workers[index], NULL, run_worker, &all), 0);
  }
  for (int index = 0; index < WORKERS; index++) pthread_join(workers[index], NULL);
  atomic_store(&all.is_over, true);
  pthread_join(trimmer, NULL);
  for (int index = 0; index < MAILBOXES; index++) {
    uint64_t *block = atomic_load(&all.mail[index]);
    if (block != NULL) check_and_free(&all, block);
  }
  assert_int_equal(atomic_load(&all.bad_count), 0);
  const tarn_pool_stats stats = stats_of(all.pool);
  assert_int_equal(stats.requested_bytes, 0);
  assert_int_equal(stats.allocated_bytes, 0);
  assert_int_equal(stats.active_bytes, 0);
  assert_int_equal(stats.alloc_count, WORKERS * ROUNDS);
  assert_int_equal(stats.free_count, WORKERS * ROUNDS);
  assert_ok(tarn_pool_trim(all.pool, 0, NULL));
  assert_int_equal(stats_of(all.pool).reserved_bytes, 0);
  tarn_pool_release(all.pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
