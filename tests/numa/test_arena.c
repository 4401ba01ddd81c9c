/* test_arena.c: an arena takes its memory from the provider, and gives all of it back. */
#include "numa/arena.h"

#include <string.h>
#include <unistd.h>

#include "alloc/tarn_pages.h"
#include "alloc/tarn_poison.h"
#include "numa/shadow.h"
#include "tests/support/test.h"

/* A provider of base pages that counts what is out, and fails when told to. */
typedef struct counting {
  tarn_provider *pages;
  _Atomic size_t ranges;
  _Atomic size_t committed_bytes;
  _Atomic bool commit_fails;
  _Atomic bool reserve_fails;
  _Atomic bool decommit_fails;
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
  if (self->decommit_fails) return tarn_fail(TARN_SYSTEM_ERROR, "it stays, says the test");
  const tarn_status status = tarn_provider_decommit(self->pages, address, size_bytes);
  if (status == TARN_OK) self->committed_bytes -= size_bytes;
  return status;
}

static tarn_provider *make_counting(counting *self, size_t granularity_bytes) {
  const tarn_pages_options options = {.struct_size = sizeof options,
                                      .granularity_bytes = granularity_bytes};
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

static tarn__arena *make_arena_of(counting *self, size_t granularity_bytes, unsigned part_count,
                                  size_t limit_bytes) {
  tarn_provider *provider = make_counting(self, granularity_bytes);
  tarn__arena *arena = NULL;
  assert_int_equal(tarn__arena_create(provider, part_count, limit_bytes, &arena), TARN_OK);
  tarn_provider_release(provider);
  return arena;
}

static tarn__arena *make_arena(counting *self) {
  return make_arena_of(self, (size_t)sysconf(_SC_PAGESIZE), /*part_count=*/1, /*limit_bytes=*/0);
}

static void end_arena(counting *self, tarn__arena *arena) {
  tarn__arena_destroy(arena);
  assert_int_equal(self->ranges, 0);
  tarn_provider_release(self->pages);
}

/* A block with the bytes that were asked for open to the test. */
static void *get(tarn__arena *arena, size_t size_bytes, size_t alignment_bytes) {
  void *address = tarn__arena_alloc(arena, /*part=*/0, TARN__NO_CACHE, size_bytes, alignment_bytes);
  if (address != NULL) tarn_poison_lift(address, size_bytes);
  return address;
}

static void put(tarn__arena *arena, void *address) {
  const tarn__found found = tarn__shadow_look(tarn__shadow_find(address), address);
  tarn__arena_free(arena, TARN__NO_CACHE, address, found.size_class);
}

TEST(what_is_committed_is_what_the_provider_gave) {
  counting self;
  tarn__arena *arena = make_arena(&self);
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, 0);
  void *blocks[64];
  for (size_t i = 0; i < 64; ++i) {
    const size_t size_bytes = (size_t)1 << (i % 23);
    blocks[i] = get(arena, size_bytes, 1);
    assert_non_null(blocks[i]);
    memset(blocks[i], 1, size_bytes);
    assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, self.committed_bytes);
  }
  const size_t peak = self.committed_bytes;
  for (size_t i = 0; i < 64; ++i) put(arena, blocks[i]);
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, peak); /* kept until purged */
  tarn__arena_purge(arena);
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, 0);
  assert_int_equal(self.committed_bytes, 0);
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes_peak, peak);
  /* And the same addresses serve again. */
  void *again = get(arena, 1 << 20, 1);
  assert_non_null(again);
  memset(again, 2, 1 << 20);
  put(arena, again);
  end_arena(&self, arena);
}

TEST(a_block_in_use_survives_a_purge) {
  counting self;
  tarn__arena *arena = make_arena(&self);
  char *kept = get(arena, 300000, 1);
  void *idle = get(arena, 300000, 1);
  assert_non_null(kept);
  assert_non_null(idle);
  memset(kept, 0x3c, 300000);
  put(arena, idle);
  tarn__arena_purge(arena);
  for (size_t i = 0; i < 300000; ++i) assert_int_equal(kept[i], 0x3c);
  assert_true(self.committed_bytes >= 300000);
  put(arena, kept);
  end_arena(&self, arena);
}

TEST(blocks_are_aligned_as_asked) {
  counting self;
  tarn__arena *arena = make_arena(&self);
  for (size_t alignment = 1; alignment <= (size_t)64 << 20; alignment *= 2) {
    void *block = get(arena, 10, alignment);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % alignment, 0);
    assert_int_equal((uintptr_t)block % TARN__ARENA_ALIGNMENT_BYTES, 0);
    put(arena, block);
  }
  end_arena(&self, arena);
}

TEST(a_provider_without_memory_leaves_the_arena_sound) {
  counting self;
  tarn__arena *arena = make_arena(&self);
  void *before = get(arena, 100, 1);
  assert_non_null(before);
  self.commit_fails = true;
  assert_null(get(arena, 50 << 20, 1));
  self.commit_fails = false;
  self.reserve_fails = true;
  assert_null(get(arena, (size_t)4 << 30, 1));
  self.reserve_fails = false;
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, self.committed_bytes);
  char *after = get(arena, 50 << 20, 1);
  assert_non_null(after);
  after[(50 << 20) - 1] = 1;
  put(arena, after);
  put(arena, before);
  end_arena(&self, arena);
}

TEST(granules_larger_than_pages_are_given_back_whole) {
  enum { GRANULE_BYTES = 256 << 10, BLOCKS = 40 };
  counting self;
  tarn__arena *arena = make_arena_of(&self, GRANULE_BYTES, /*part_count=*/1, /*limit_bytes=*/0);
  void *blocks[BLOCKS];
  for (size_t i = 0; i < BLOCKS; ++i) {
    blocks[i] = get(arena, 100000, 1);
    assert_non_null(blocks[i]);
    memset(blocks[i], (int)i, 100000);
    assert_int_equal(self.committed_bytes % GRANULE_BYTES, 0);
  }
  assert_true(self.committed_bytes >= BLOCKS * 100000);
  /* Whatever is left of a granule in use keeps all of it. */
  for (size_t i = 0; i < BLOCKS; i += 2) put(arena, blocks[i]);
  tarn__arena_purge(arena);
  for (size_t i = 1; i < BLOCKS; i += 2) {
    for (size_t j = 0; j < 100000; ++j) assert_int_equal(((unsigned char *)blocks[i])[j], i);
  }
  assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, self.committed_bytes);
  for (size_t i = 1; i < BLOCKS; i += 2) put(arena, blocks[i]);
  tarn__arena_purge(arena);
  assert_int_equal(self.committed_bytes, 0);
  char *again = get(arena, 3 << 20, 1);
  assert_non_null(again);
  memset(again, 1, 3 << 20);
  put(arena, again);
  end_arena(&self, arena);
}

TEST(no_more_than_the_limit_is_committed) {
  enum { LIMIT_BYTES = 4 << 20 };
  counting self;
  tarn__arena *arena =
      make_arena_of(&self, (size_t)sysconf(_SC_PAGESIZE), /*part_count=*/2, LIMIT_BYTES);
  void *most = get(arena, LIMIT_BYTES - (1 << 20), 1);
  assert_non_null(most);
  assert_null(get(arena, 2 << 20, 1));
  assert_true(self.committed_bytes <= LIMIT_BYTES);
  put(arena, most);
  tarn__arena_purge(arena);
  void *other = get(arena, 2 << 20, 1);
  assert_non_null(other);
  put(arena, other);
  end_arena(&self, arena);
}

/* Whoever stays at the limit for hours would use up the process's addresses. */
TEST(tries_that_fail_take_no_further_addresses) {
  const size_t granularities[] = {(size_t)sysconf(_SC_PAGESIZE), 64 << 10};
  for (size_t i = 0; i < 2; ++i) {
    counting counts;
    tarn__arena *arena = make_arena_of(&counts, granularities[i], /*part_count=*/1, 1 << 20);
    assert_null(get(arena, 32 << 20, 0));
    const size_t ranges_before = counts.ranges;
    for (int try = 0; try < 50; ++try) assert_null(get(arena, 32 << 20, 0));
    assert_int_equal(counts.ranges, ranges_before);
    void *const block = get(arena, 100 << 10, 0); /* which the limit allows */
    assert_non_null(block);
    put(arena, block);
    end_arena(&counts, arena);
  }
}

TEST(memory_that_the_provider_will_not_take_back_is_counted_once) {
  const size_t granularities[] = {(size_t)sysconf(_SC_PAGESIZE), 64 << 10};
  for (size_t i = 0; i < 2; ++i) {
    counting counts;
    tarn__arena *arena = make_arena_of(&counts, granularities[i], /*part_count=*/1, 8 << 20);
    counts.decommit_fails = true;
    for (int turn = 0; turn < 20; ++turn) {
      void *const block = get(arena, 1 << 20, 0);
      assert_non_null(block);
      put(arena, block);
      tarn__arena_purge(arena);
      assert_int_equal(tarn__arena_counts_of(arena).committed_bytes, counts.committed_bytes);
    }
    counts.decommit_fails = false;
    end_arena(&counts, arena);
  }
}

TEST(each_part_is_an_arena_of_jemallocs) {
  enum { PARTS = 5 };
  counting self;
  tarn__arena *arena = make_arena_of(&self, (size_t)sysconf(_SC_PAGESIZE), PARTS, 0);
  void *blocks[2 * PARTS];
  for (unsigned i = 0; i < 2 * PARTS; ++i) {
    blocks[i] = tarn__arena_alloc(arena, i, TARN__NO_CACHE, 64, 1);
    assert_non_null(blocks[i]);
  }
  /* Blocks of one part share a slab; no two parts do. */
  for (unsigned i = 0; i < PARTS; ++i) {
    assert_int_equal((uintptr_t)blocks[i] >> 12, (uintptr_t)blocks[i + PARTS] >> 12);
    for (unsigned j = 0; j < i; ++j) {
      assert_int_not_equal((uintptr_t)blocks[i] >> 12, (uintptr_t)blocks[j] >> 12);
    }
  }
  tarn__arena_report report;
  assert_int_equal(tarn__arena_report_of(arena, &report), TARN_OK);
  assert_int_equal(report.small_bytes, 2 * PARTS * 64);
  for (unsigned i = 0; i < 2 * PARTS; ++i) put(arena, blocks[i]);
  end_arena(&self, arena);
}

TEST(caches_beyond_jemallocs_limit_are_refused_and_recovered) {
  enum { TRIES = 4200 };
  static tarn__arena_cache caches[TRIES];
  for (int round = 0; round < 2; ++round) {
    int made = 0;
    while (made < TRIES && (caches[made] = tarn__arena_cache_create()) != TARN__NO_CACHE) ++made;
    assert_in_range(made, 4000, 4094);
    tarn__arena_cache_flush(TARN__NO_CACHE);
    tarn__arena_cache_destroy(TARN__NO_CACHE);
    while (made > 0) tarn__arena_cache_destroy(caches[--made]);
  }
}

TEST(arenas_beyond_jemallocs_limit_are_refused_and_recovered) {
  enum { TRIES = 4200 };
  static tarn__arena *arenas[TRIES];
  counting self;
  tarn_provider *provider = make_counting(&self, (size_t)sysconf(_SC_PAGESIZE));
  for (int round = 0; round < 2; ++round) {
    int made = 0;
    tarn_status status = TARN_OK;
    while (made < TRIES && status == TARN_OK) {
      status = tarn__arena_create(provider, 1, 0, &arenas[made]);
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
  return run_listed_tests(NULL, NULL);
}
