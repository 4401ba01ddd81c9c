/* test_caching_recycle.c: a range that would grow beyond its mark gives idle memory back first. */
#include "tests/alloc/caching_fixture.h"

#include <string.h>

#include "alloc/tarn_pages.h"
#include "tests/support/manual_stream.h"
#include "tests/support/pools.h"

/* --- pages that count, and refuse on demand --- */

static struct {
  tarn_provider *below;
  int commit_count;
  int decommit_count;
  size_t committed_bytes;
  size_t committed_bytes_peak;
  bool refuses_decommit;
  int refused_commit; /* the n-th from now is refused; 0: none */
} pages;

static tarn_status pages_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  *attributes = *tarn_provider_attributes_of(pages.below);
  return TARN_OK;
}

static tarn_status pages_alloc(void *context, size_t size_bytes, void **address) {
  (void)context;
  return tarn_provider_alloc(pages.below, size_bytes, address);
}

static tarn_status pages_release(void *context, void *address, size_t size_bytes) {
  (void)context;
  return tarn_provider_free(pages.below, address, size_bytes);
}

static tarn_status pages_reserve(void *context, size_t size_bytes, void **address) {
  (void)context;
  return tarn_provider_reserve(pages.below, size_bytes, address);
}

static tarn_status pages_commit(void *context, void *address, size_t size_bytes) {
  (void)context;
  if (pages.refused_commit > 0 && --pages.refused_commit == 0) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "the test refuses");
  }
  pages.commit_count++;
  pages.committed_bytes += size_bytes;
  if (pages.committed_bytes > pages.committed_bytes_peak) {
    pages.committed_bytes_peak = pages.committed_bytes;
  }
  return tarn_provider_commit(pages.below, address, size_bytes);
}

static tarn_status pages_decommit(void *context, void *address, size_t size_bytes) {
  (void)context;
  if (pages.refuses_decommit) return tarn_fail(TARN_SYSTEM_ERROR, "the test refuses");
  pages.decommit_count++;
  pages.committed_bytes -= size_bytes;
  return tarn_provider_decommit(pages.below, address, size_bytes);
}

static void pages_destroy(void *context) {
  (void)context;
  tarn_provider_release(pages.below);
  pages.below = NULL;
}

static tarn_pool *make_pool(size_t granularity_bytes, const tarn_caching_options *options) {
  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "counted pages",
                                        .attributes = pages_attributes,
                                        .alloc = pages_alloc,
                                        .release = pages_release,
                                        .reserve = pages_reserve,
                                        .commit = pages_commit,
                                        .decommit = pages_decommit,
                                        .destroy = pages_destroy};
  const tarn_pages_options below = {.struct_size = sizeof below,
                                    .granularity_bytes = granularity_bytes};
  tarn_provider *provider = NULL;
  memset(&pages, 0, sizeof pages);
  assert_ok(tarn_pages_provider_create(&below, &pages.below));
  assert_ok(tarn_provider_create(&ops, &pages, &provider));
  return pool_over(provider, options);
}

static void finish(idle_scene *self, tarn_stream *stream) {
  for (int i = 0; i < 2; i++) give(self->pool, self->kept[i], stream);
  tarn_pool_release(self->pool);
  assert_int_equal(pages.below == NULL, true);
}

TEST(idle_memory_goes_back_before_the_pool_grows) {
  idle_scene self = begin_idle(make_pool(2 * MIB, NULL), NULL);
  void *large = take(self.pool, 24 * MIB, NULL); /* fits nowhere */
  const tarn_pool_stats stats = stats_of(self.pool);
  assert_int_equal(stats.allocated_bytes, 28 * MIB);
  /* 36 and one huge page are the mark; before the commit there was as much less. */
  assert_true(stats.reserved_bytes <= 38 * MIB);
  assert_int_equal(stats.reserved_bytes_peak, stats.reserved_bytes);
  assert_int_equal(pages.committed_bytes_peak, stats.reserved_bytes_peak);
  assert_int_equal(pages.committed_bytes, stats.reserved_bytes);
  assert_int_equal(stats.provider_calls,
                   (uint64_t)(1 + pages.commit_count + pages.decommit_count)); /* and a range */
  give(self.pool, large, NULL);
  finish(&self, NULL);
}

TEST(no_more_goes_back_than_is_to_come) {
  idle_scene self = begin_idle(make_pool(2 * MIB, NULL), NULL);
  void *block = take(self.pool, 18 * MIB, NULL);
  /* 18 more are too many by 16: half of what is idle stays. */
  assert_int_equal(stats_of(self.pool).reserved_bytes, 38 * MIB);
  assert_int_equal(pages.decommit_count, 1);
  const int commits = pages.commit_count;
  void *other = take(self.pool, 16 * MIB, NULL);
  assert_int_equal(pages.commit_count, commits);
  give(self.pool, block, NULL);
  give(self.pool, other, NULL);
  finish(&self, NULL);
}

TEST(below_the_mark_nothing_is_given_back) {
  idle_scene self = begin_idle(make_pool(2 * MIB, NULL), NULL);
  void *held[16];
  for (int i = 0; i < 16; i++) held[i] = take(self.pool, 2 * MIB, NULL); /* in what is idle */
  assert_int_equal(pages.decommit_count, 0);
  assert_int_equal(stats_of(self.pool).reserved_bytes, 36 * MIB);
  void *more = take(self.pool, 10 * MIB, NULL); /* a new peak of live blocks: nothing is idle */
  assert_int_equal(pages.decommit_count, 0);
  give(self.pool, more, NULL);
  for (int i = 0; i < 16; i++) give(self.pool, held[i], NULL);
  finish(&self, NULL);
}

TEST(memory_that_a_stream_still_uses_stays_and_is_not_waited_for) {
  tarn_stream *stream = NULL;
  assert_ok(manual_stream_create(&stream));
  idle_scene self = begin_idle(make_pool(2 * MIB, NULL), stream);
  assert_ok(tarn_stream_fill(stream, self.kept[0], tarn_device_make(TARN_DEVICE_CPU, 0), 1, 1));
  manual_called = (manual_calls){0};
  void *large = take(self.pool, 24 * MIB, stream);
  assert_int_equal(manual_called.synchronizes, 0);
  assert_int_equal(pages.decommit_count, 0);
  assert_int_equal(stats_of(self.pool).reserved_bytes, 60 * MIB);
  /* Once it is done, its memory serves. */
  while (manual_stream_advance(stream, 1) != 0) {
  }
  void *second = take(self.pool, 20 * MIB, stream);
  assert_true(pages.decommit_count > 0);
  assert_true(stats_of(self.pool).reserved_bytes <= 60 * MIB);
  give(self.pool, large, stream);
  give(self.pool, second, stream);
  while (manual_stream_advance(stream, 1) != 0) {
  }
  finish(&self, stream);
  tarn_stream_release(stream);
}

TEST(neighbours_that_turn_out_to_be_idle_serve_before_fresh_memory) {
  tarn_stream *first = NULL;
  tarn_stream *second = NULL;
  assert_ok(manual_stream_create(&first));
  assert_ok(manual_stream_create(&second));
  tarn_pool *pool = make_pool(2 * MIB, NULL);
  void *low = take(pool, 8 * MIB, NULL);
  void *high = take(pool, 8 * MIB, NULL);
  give(pool, low, first);
  give(pool, high, second);
  void *both = take(pool, 16 * MIB, NULL); /* both streams are idle: asking is enough */
  assert_ptr_equal(both, low);
  assert_int_equal(stats_of(pool).reserved_bytes, 16 * MIB);
  give(pool, both, NULL);
  tarn_pool_release(pool);
  tarn_stream_release(first);
  tarn_stream_release(second);
}

TEST(memory_reserved_ahead_and_the_floor_are_kept) {
  tarn_pool *pool = make_pool(2 * MIB, NULL);
  void *block = take(pool, 2 * MIB, NULL);
  assert_ok(tarn_caching_pool_reserve(pool, 40 * MIB));
  assert_ok(tarn_caching_pool_reserve(pool, 60 * MIB)); /* less than the first time: no front */
  assert_int_equal(pages.decommit_count, 0);
  assert_int_equal(stats_of(pool).reserved_bytes, 60 * MIB);
  give(pool, block, NULL);
  tarn_pool_release(pool);

  const tarn_caching_options options = {.struct_size = sizeof options, .floor_bytes = 128 * MIB};
  idle_scene self = begin_idle(make_pool(2 * MIB, &options), NULL);
  void *large = take(self.pool, 24 * MIB, NULL);
  assert_int_equal(pages.decommit_count, 0);
  assert_int_equal(stats_of(self.pool).reserved_bytes, 60 * MIB);
  give(self.pool, large, NULL);
  finish(&self, NULL);
}

TEST(a_provider_that_takes_nothing_back_does_not_stop_growth) {
  idle_scene self = begin_idle(make_pool(2 * MIB, NULL), NULL);
  pages.refuses_decommit = true;
  void *large = take(self.pool, 24 * MIB, NULL);
  assert_int_equal(stats_of(self.pool).reserved_bytes, 60 * MIB);
  give(self.pool, large, NULL);
  pages.refuses_decommit = false;
  finish(&self, NULL);
}

/* A small block moves into the middle of where a large one was, over and over: without a bound the
 * large one's memory would move each time. */
TEST(recycling_is_rare_among_allocations) {
  enum { ROUNDS = 1000 };
  tarn_pool *pool = make_pool(2 * MIB, NULL);
  void *wall = NULL;
  for (int round = 0; round < ROUNDS; round++) {
    give(pool, take(pool, 24 * MIB, NULL), NULL);
    void *pad = take(pool, 12 * MIB, NULL);
    void *next = take(pool, 2 * MIB, NULL);
    give(pool, pad, NULL);
    give(pool, wall, NULL);
    wall = next;
  }
  const uint64_t allowed = stats_of(pool).alloc_count / 64 + 64;
  assert_true(pages.decommit_count > 32); /* it is what was meant */
  assert_true((uint64_t)pages.decommit_count <= 2 * allowed);
  give(pool, wall, NULL);
  tarn_pool_release(pool);
}

TEST(small_granules_come_in_huge_pages_where_there_is_room) {
  tarn_pool *pool = make_pool(64 << 10, NULL);
  void *small = take(pool, 1000, NULL);
  assert_int_equal(stats_of(pool).reserved_bytes, 2 * MIB);
  assert_int_equal(pages.commit_count, 1);
  void *large = take(pool, 5 * MIB, NULL);
  const size_t reserved = stats_of(pool).reserved_bytes;
  /* The peak of live blocks, and no more than one huge page above it. */
  assert_true(reserved <= 5 * MIB + 1024 + 2 * MIB);
  assert_int_equal(pages.committed_bytes, reserved);
  give(pool, small, NULL);
  give(pool, large, NULL);
  tarn_pool_release(pool);
}

/* --- gaps: holes, and free blocks between them --- */

/* Live blocks at both ends, and between them what the test frees and gives back:
 *
 *     | LIVE 2 |  6  | 1 |  5  | LIVE 2 |  MiB
 */
typedef struct gap_scene {
  tarn_pool *pool;
  char *ends[2];
  char *parts[3];
} gap_scene;

static gap_scene begin_gap(size_t first_bytes, size_t second_bytes, size_t third_bytes) {
  const size_t sizes[3] = {first_bytes, second_bytes, third_bytes};
  gap_scene made = {.pool = make_pool(2 * MIB, NULL)};
  made.ends[0] = take(made.pool, 2 * MIB, NULL);
  for (int i = 0; i < 3; i++) made.parts[i] = take(made.pool, sizes[i], NULL);
  made.ends[1] = take(made.pool, 2 * MIB, NULL);
  return made;
}

static void give_back(const gap_scene *self) {
  size_t released_bytes = 0;
  assert_ok(tarn_pool_trim(self->pool, 0, &released_bytes));
}

static void finish_gap(gap_scene *self, void *block) {
  assert_int_equal(pages.committed_bytes, stats_of(self->pool).reserved_bytes);
  give(self->pool, block, NULL);
  for (int i = 0; i < 2; i++) give(self->pool, self->ends[i], NULL);
  tarn_pool_release(self->pool);
}

/* | LIVE 2 | hole 6 | free 2 | hole 4 | LIVE 2 | */
static gap_scene begin_two_holes(void) {
  gap_scene made = begin_gap(6 * MIB, MIB, 5 * MIB);
  give(made.pool, made.parts[0], NULL);
  give(made.pool, made.parts[2], NULL);
  give_back(&made);
  give(made.pool, made.parts[1], NULL);
  assert_int_equal(stats_of(made.pool).reserved_bytes, 6 * MIB);
  pages.commit_count = 0;
  return made;
}

TEST(a_gap_of_several_holes_is_filled) {
  gap_scene self = begin_two_holes();
  void *block = take(self.pool, 12 * MIB, NULL);
  assert_ptr_equal(block, self.parts[0]);
  assert_int_equal(pages.commit_count, 2);
  assert_int_equal(stats_of(self.pool).reserved_bytes, 16 * MIB);
  finish_gap(&self, block);
}

TEST(what_half_a_growth_got_stays_free) {
  gap_scene self = begin_two_holes();
  pages.refused_commit = 2;
  void *block = take(self.pool, 12 * MIB, NULL);
  const tarn_pool_stats stats = stats_of(self.pool);
  assert_int_equal(stats.allocated_bytes, 16 * MIB);
  assert_int_equal(stats.reserved_bytes, 16 * MIB);
  finish_gap(&self, block);
}

TEST(a_request_lies_at_that_end_of_a_gap_where_it_takes_less_memory) {
  gap_scene self = begin_gap(4 * MIB, MIB, MIB);
  give(self.pool, self.parts[0], NULL);
  give_back(&self);
  give(self.pool, self.parts[1], NULL); /* | hole 4 | free 1 | live 1 | */
  void *block = take(self.pool, 3 * MIB, NULL);
  assert_ptr_equal(block, self.parts[0] + 2 * MIB);
  assert_int_equal(stats_of(self.pool).reserved_bytes, 8 * MIB);
  give(self.pool, self.parts[2], NULL);
  finish_gap(&self, block);
}

TEST(what_a_growth_leaves_of_a_free_block_goes_back_for_it) {
  gap_scene self = begin_gap(6 * MIB, 2 * MIB, 6 * MIB);
  give(self.pool, self.parts[1], NULL);
  give_back(&self);
  give(self.pool, self.parts[0], NULL);
  give(self.pool, self.parts[2], NULL); /* | free 6 | hole 2 | free 6 | */
  assert_int_equal(stats_of(self.pool).reserved_bytes, 16 * MIB);
  assert_ok(tarn_pool_reset_peaks(self.pool)); /* so that there is too much of it */
  void *block = take(self.pool, 9 * MIB, NULL);
  assert_ptr_equal(block, self.parts[0]);
  /* Of the last 5 MiB two granules lie idle, and go back before the hole gets one. */
  assert_int_equal(stats_of(self.pool).reserved_bytes, 14 * MIB);
  finish_gap(&self, block);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
