/* test_pages.c: the pages provider: options, huge page advice, and what decommit forgets. */
#include "tests/support/mapping_flags.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_pages.h"

static tarn_pages_options options_of(size_t granularity_bytes, tarn_pages_huge huge) {
  return (tarn_pages_options){.struct_size = sizeof(tarn_pages_options),
                              .huge = huge,
                              .granularity_bytes = granularity_bytes};
}

TEST(defaults_are_small_granules_where_huge_pages_can_lie) {
  tarn_provider *provider = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const size_t granularity = page_bytes > 64 << 10 ? page_bytes : 64 << 10;
  assert_int_equal(attributes->granularity_bytes, granularity);
  assert_int_equal(attributes->alignment_bytes, granularity);
  for (int i = 0; i < 2; i++) {
    void *block = NULL;
    assert_ok(i == 0 ? tarn_provider_alloc(provider, 3 << 20, &block)
                     : tarn_provider_reserve(provider, 3 << 20, &block));
    assert_int_equal((uintptr_t)block % (2 << 20), 0);
    assert_ok(tarn_provider_free(provider, block, 3 << 20));
  }
  assert_int_equal(attributes->flags, TARN_PROVIDER_ZEROED | TARN_PROVIDER_RESERVES);
  assert_int_equal(attributes->device.type, TARN_DEVICE_CPU);
  tarn_provider_release(provider);
}

TEST(bad_options_are_refused) {
  tarn_provider *provider = NULL;
  tarn_pages_options options = options_of(3 << 20, TARN_PAGES_HUGE_DEFAULT);
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
  options = options_of(512, TARN_PAGES_HUGE_DEFAULT);
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
  options = options_of(0, (tarn_pages_huge)9);
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
  options = options_of(0, TARN_PAGES_HUGE_DEFAULT);
  options.struct_size = 1;
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
  options = options_of(0, TARN_PAGES_HUGE_DEFAULT);
  options.flags = 1u << 20;
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
  options.flags = 0;
  const tarn_touch_options touch = {.struct_size = sizeof touch, .thread_count = -1};
  options.touch = &touch;
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pages_provider_create(NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_null(provider);
}

TEST(huge_page_advice_reaches_the_kernel) {
  static const struct {
    tarn_pages_huge huge;
    const char *flag;
  } rows[] = {{TARN_PAGES_HUGE_ADVISE, " hg"}, {TARN_PAGES_HUGE_NEVER, " nh"}};
  for (size_t row = 0; row < COUNT_OF(rows); row++) {
    const tarn_pages_options options = options_of(0, rows[row].huge);
    tarn_provider *provider = NULL;
    void *block = NULL;
    assert_ok(tarn_pages_provider_create(&options, &provider));
    assert_ok(tarn_provider_alloc(provider, 4 << 20, &block));
    if (!mapping_has_flag(block, "rd")) skip(); /* no smaps on this machine */
    assert_true(mapping_has_flag(block, rows[row].flag));
    assert_ok(tarn_provider_free(provider, block, 4 << 20));
    tarn_provider_release(provider);
  }
}

/* Whether the kernel lets anybody read there, without a fault: mincore answers ENOMEM for no
 * mapping and write(2) EFAULT for no access. */
static bool is_readable(const void *address) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const bool readable = write(ends[1], address, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return readable;
}

TEST(only_committed_memory_can_be_touched) {
  const tarn_pages_options options = options_of(4096, TARN_PAGES_HUGE_NEVER);
  tarn_provider *provider = NULL;
  void *range = NULL;
  assert_ok(tarn_pages_provider_create(&options, &provider));
  assert_ok(tarn_provider_reserve(provider, 16 * 4096, &range));
  char *bytes = range;
  assert_false(is_readable(bytes));
  assert_ok(tarn_provider_commit(provider, bytes + 4096, 4096));
  assert_true(is_readable(bytes + 4096));
  assert_false(is_readable(bytes + 2 * 4096));
  assert_ok(tarn_provider_decommit(provider, bytes + 4096, 4096));
  assert_false(is_readable(bytes + 4096));
  assert_ok(tarn_provider_free(provider, range, 16 * 4096));
  tarn_provider_release(provider);
}

TEST(overflowing_sizes_are_too_large) {
  tarn_provider *provider = NULL;
  void *block = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  assert_status(tarn_provider_alloc(provider, SIZE_MAX & ~(size_t)((2 << 20) - 1), &block),
                TARN_TOO_LARGE);
  tarn_provider_release(provider);
}

static tarn_provider *make(uint32_t flags, tarn_pages_huge huge) {
  tarn_pages_options options = options_of(0, huge);
  options.flags = flags;
  tarn_provider *provider = NULL;
  assert_ok(tarn_pages_provider_create(&options, &provider));
  return provider;
}

static tarn_pages_state inspect(const void *address, size_t size_bytes) {
  tarn_pages_state found = {.struct_size = sizeof found};
  const tarn_status status = tarn_pages_inspect(address, size_bytes, &found);
  if (status == TARN_NOT_SUPPORTED) skip(); /* no smaps on this machine */
  assert_ok(status);
  return found;
}

TEST(populated_pages_are_there_before_they_are_touched) {
  static const uint32_t kinds[] = {0, TARN_PAGES_SHARED, TARN_PAGES_NORESERVE};
  const size_t size_bytes = 3 << 20;
  for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
    tarn_provider *provider = make(TARN_PAGES_POPULATE | kinds[kind], TARN_PAGES_HUGE_NEVER);
    char *block = NULL;
    assert_ok(tarn_provider_alloc(provider, size_bytes, (void **)&block));
    assert_int_equal(inspect(block, size_bytes).resident_bytes, size_bytes);
    assert_ok(tarn_provider_free(provider, block, size_bytes));
    assert_ok(tarn_provider_reserve(provider, 4 * size_bytes, (void **)&block));
    assert_ok(tarn_provider_commit(provider, block + size_bytes, size_bytes));
    assert_int_equal(inspect(block, 4 * size_bytes).resident_bytes, size_bytes);
    assert_ok(tarn_provider_decommit(provider, block + size_bytes, size_bytes));
    assert_int_equal(inspect(block, 4 * size_bytes).resident_bytes, 0);
    assert_ok(tarn_provider_free(provider, block, 4 * size_bytes));
    tarn_provider_release(provider);
  }
}

TEST(locked_pages_are_locked_until_they_are_given_back) {
  static const uint32_t kinds[] = {0, TARN_PAGES_SHARED, TARN_PAGES_POPULATE};
  const size_t size_bytes = 256 << 10;
  for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
    tarn_provider *provider = make(TARN_PAGES_LOCK | kinds[kind], TARN_PAGES_HUGE_NEVER);
    char *range = NULL;
    assert_ok(tarn_provider_reserve(provider, 4 * size_bytes, (void **)&range));
    for (int round = 0; round < 2; round++) {
      const tarn_status status = tarn_provider_commit(provider, range + size_bytes, size_bytes);
      if (status == TARN_UNAVAILABLE) skip(); /* no right to lock anything */
      assert_ok(status);
      assert_int_equal(range[size_bytes], 0);
      memset(range + size_bytes, 1, size_bytes);
      assert_int_equal(inspect(range, 4 * size_bytes).locked_bytes, size_bytes);
      assert_ok(tarn_provider_decommit(provider, range + size_bytes, size_bytes));
      assert_int_equal(inspect(range, 4 * size_bytes).locked_bytes, 0);
      assert_int_equal(inspect(range, 4 * size_bytes).resident_bytes, 0);
    }
    assert_ok(tarn_provider_free(provider, range, 4 * size_bytes));
    tarn_provider_release(provider);
  }
}

/* Runs `body` in a child that may lock only so much, as somebody who is not root. */
static int run_with_lock_limit(size_t limit_bytes, int (*body)(void)) {
  const pid_t child = fork();
  if (child == 0) {
    const struct rlimit limit = {limit_bytes, limit_bytes};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) _exit(90);
    if (geteuid() == 0 && setuid(65534) != 0) _exit(91);
    _exit(body());
  }
  assert_true(child > 0);
  int how;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_true(WIFEXITED(how));
  return WEXITSTATUS(how);
}

/* 0, or the number of the step that went wrong. */
static int lock_too_much(void) {
  tarn_pages_options options = options_of(0, TARN_PAGES_HUGE_NEVER);
  options.flags = TARN_PAGES_LOCK;
  tarn_provider *provider = NULL;
  void *block = NULL;
  char *range = NULL;
  if (tarn_pages_provider_create(&options, &provider) != TARN_OK) return 1;
  if (tarn_provider_alloc(provider, 2 << 20, &block) != TARN_OUT_OF_MEMORY) return 2;
  if (block != NULL || tarn_last_error()->native_code != ENOMEM) return 3;
  if (strstr(tarn_last_error()->message, "may lock 1024 KiB in all (`ulimit -l`") == NULL) return 4;
  /* What was refused is not committed and holds nothing of the limit. */
  if (tarn_provider_reserve(provider, 4 << 20, (void **)&range) != TARN_OK) return 5;
  if (tarn_provider_commit(provider, range, 2 << 20) != TARN_OUT_OF_MEMORY) return 6;
  if (is_readable(range)) return 7;
  if (tarn_provider_commit(provider, range, 1 << 20) != TARN_OK) return 8;
  if (tarn_provider_commit(provider, range + (1 << 20), 1 << 16) != TARN_OUT_OF_MEMORY) return 9;
  if (tarn_provider_decommit(provider, range, 1 << 20) != TARN_OK) return 10;
  if (tarn_provider_commit(provider, range + (1 << 20), 1 << 20) != TARN_OK) return 11;
  if (tarn_provider_free(provider, range, 4 << 20) != TARN_OK) return 12;
  tarn_provider_release(provider);
  return 0;
}

static int lock_without_right(void) {
  tarn_pages_options options = options_of(0, TARN_PAGES_HUGE_NEVER);
  options.flags = TARN_PAGES_LOCK;
  tarn_provider *provider = NULL;
  void *block = NULL;
  if (tarn_pages_provider_create(&options, &provider) != TARN_OK) return 1;
  if (tarn_provider_alloc(provider, 1 << 20, &block) != TARN_UNAVAILABLE) return 2;
  if (strstr(tarn_last_error()->message, "ulimit -l") == NULL) return 3;
  tarn_provider_release(provider);
  return 0;
}

TEST(more_than_may_be_locked_is_refused_and_the_limit_named) {
  assert_int_equal(run_with_lock_limit(1 << 20, lock_too_much), 0);
  assert_int_equal(run_with_lock_limit(0, lock_without_right), 0);
}

TEST(another_mapping_of_shared_memory_shows_the_same_bytes) {
  tarn_provider *provider = make(TARN_PAGES_SHARED, TARN_PAGES_HUGE_DEFAULT);
  const size_t size_bytes = 256 << 10;
  char *blocks[2] = {NULL};
  char *other[2];
  for (int i = 0; i < 2; i++) {
    assert_ok(tarn_provider_alloc(provider, size_bytes, (void **)&blocks[i]));
    int descriptor = -1;
    int64_t offset_bytes = -1;
    assert_ok(tarn_provider_share(provider, blocks[i] + 4096, &descriptor, &offset_bytes));
    other[i] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, offset_bytes);
    assert_true(other[i] != MAP_FAILED);
    assert_int_not_equal(ftruncate(descriptor, 0), 0); /* nobody cuts it short */
    close(descriptor);
    blocks[i][4096] = (char)('a' + i);
    assert_int_equal(other[i][0], 'a' + i);
    other[i][1] = 'z';
    assert_int_equal(blocks[i][4097], 'z');
  }
  assert_ok(tarn_provider_free(provider, blocks[0], size_bytes));
  assert_int_equal(other[0][0], 0); /* what was released is nobody's any more */
  assert_int_equal(other[1][0], 'b');
  int descriptor = 7;
  int64_t offset_bytes = 7;
  assert_status(tarn_provider_share(provider, &provider, &descriptor, &offset_bytes),
                TARN_NOT_FOUND);
  assert_int_equal(descriptor, -1);
  assert_int_equal(offset_bytes, 0);
  assert_status(tarn_provider_share(provider, NULL, &descriptor, &offset_bytes),
                TARN_INVALID_ARGUMENT);
  assert_ok(tarn_provider_free(provider, blocks[1], size_bytes));
  for (int i = 0; i < 2; i++) munmap(other[i], 4096);
  tarn_provider_release(provider);
  provider = make(0, TARN_PAGES_HUGE_DEFAULT);
  assert_status(tarn_provider_share(provider, &provider, &descriptor, &offset_bytes),
                TARN_NOT_SUPPORTED);
  tarn_provider_release(provider);
}

TEST(a_forked_child_cannot_take_its_parents_shared_pages) {
  tarn_provider *provider = make(TARN_PAGES_SHARED, TARN_PAGES_HUGE_DEFAULT);
  char *block = NULL;
  assert_ok(tarn_provider_alloc(provider, 1 << 20, (void **)&block));
  block[0] = 1;
  const pid_t child = fork();
  if (child == 0) {
    void *more = NULL;
    if (tarn_provider_alloc(provider, 1 << 20, &more) != TARN_NOT_SUPPORTED) _exit(1);
    if (tarn_provider_reserve(provider, 1 << 20, &more) != TARN_NOT_SUPPORTED) _exit(2);
    if (tarn_provider_commit(provider, block, 1 << 20) != TARN_NOT_SUPPORTED) _exit(3);
    if (tarn_provider_decommit(provider, block, 1 << 20) != TARN_NOT_SUPPORTED) _exit(4);
    block[1] = 2;
    if (tarn_provider_free(provider, block, 1 << 20) != TARN_OK) _exit(5);
    tarn_provider_release(provider);
    _exit(0);
  }
  int how;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_int_equal(how, 0);
  assert_int_equal(block[0], 1);
  assert_int_equal(block[1], 2);
  assert_ok(tarn_provider_free(provider, block, 1 << 20));
  tarn_provider_release(provider);
}

/* What a placement function is told, and what it answers. */
typedef struct placer {
  int call_count;
  const void *address;
  size_t size_bytes;
  size_t resident_bytes;
  tarn_status answer;
} placer;

static tarn_status place(void *context, void *address, size_t size_bytes) {
  placer *self = context;
  self->call_count++;
  self->address = address;
  self->size_bytes = size_bytes;
  assert_ok(tarn_pages_resident(address, size_bytes, &self->resident_bytes));
  if (self->answer != TARN_OK) return tarn_fail(self->answer, "not here");
  return TARN_OK;
}

TEST(memory_is_placed_before_its_first_page) {
  static const uint32_t kinds[] = {0, TARN_PAGES_SHARED};
  const size_t size_bytes = 256 << 10;
  for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
    placer self = {.resident_bytes = 7};
    tarn_pages_options options = options_of(0, TARN_PAGES_HUGE_NEVER);
    options.flags = TARN_PAGES_POPULATE | kinds[kind];
    options.place = place;
    options.place_context = &self;
    tarn_provider *provider = NULL;
    char *range = NULL;
    assert_ok(tarn_pages_provider_create(&options, &provider));
    assert_ok(tarn_provider_reserve(provider, 4 * size_bytes, (void **)&range));
    assert_int_equal(self.call_count, 0);
    assert_ok(tarn_provider_commit(provider, range + size_bytes, size_bytes));
    assert_int_equal(self.call_count, 1);
    assert_ptr_equal(self.address, range + size_bytes);
    assert_int_equal(self.size_bytes, size_bytes);
    assert_int_equal(self.resident_bytes, 0);
    /* A refusal is passed on, and nothing is committed. */
    self.answer = TARN_UNAVAILABLE;
    assert_status(tarn_provider_commit(provider, range, size_bytes), TARN_UNAVAILABLE);
    assert_string_equal(tarn_last_error()->message, "not here");
    assert_false(is_readable(range));
    void *block = &block;
    assert_status(tarn_provider_alloc(provider, size_bytes, &block), TARN_UNAVAILABLE);
    assert_null(block);
    assert_ok(tarn_provider_free(provider, range, 4 * size_bytes));
    tarn_provider_release(provider);
  }
}

TEST(a_provider_knows_its_own_kind_only) {
  tarn_provider *provider = make(0, TARN_PAGES_HUGE_DEFAULT);
  assert_null(tarn_provider_context(provider, NULL));
  assert_null(tarn_provider_context(NULL, NULL));
  tarn_provider_release(provider);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
