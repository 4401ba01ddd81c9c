/* test_huge_pages.c: explicit huge pages as the kernel's pool gives them; most of it needs one. */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/huge_pages.h"
#include "alloc/tarn_pages.h"

static const size_t huge_bytes = (size_t)2 << 20;

static long long read_free_pages(void) {
  FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
  long long count = 0;
  if (file == NULL) return 0;
  if (fscanf(file, "%lld", &count) != 1) count = 0;
  fclose(file);
  return count;
}

/* Skips the test where there are fewer than `least_count` to have. */
static tarn_provider *make(uint32_t flags, long long least_count) {
  const tarn_pages_options options = {
      .struct_size = sizeof options, .page_bytes = huge_bytes, .flags = flags};
  tarn_provider *provider = NULL;
  const tarn_status status = tarn_pages_provider_create(&options, &provider);
  if (status == TARN_UNAVAILABLE || read_free_pages() < least_count) {
    print_message("skipped: %s\n", status == TARN_OK ? "too few" : tarn_last_error()->message);
    tarn_provider_release(provider);
    skip();
  }
  assert_ok(status);
  return provider;
}

TEST(a_size_that_no_machine_has_is_unavailable) {
  tarn_pages_options options = {.struct_size = sizeof options, .page_bytes = (size_t)8 << 20};
  tarn_provider *provider = NULL;
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_UNAVAILABLE);
  assert_null(provider);
  options.page_bytes = 12345;
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
  options.page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
  options.page_bytes = huge_bytes;
  options.granularity_bytes = 64 << 10; /* less than a page */
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
  options.granularity_bytes = 0;
  options.flags = TARN_PAGES_NORESERVE;
  assert_status(tarn_pages_provider_create(&options, &provider), TARN_INVALID_ARGUMENT);
}

TEST(an_empty_pool_is_unavailable_and_the_file_is_named) {
  const tarn_status status = tarn__huge_pages_check(huge_bytes);
  if (status == TARN_OK) skip(); /* there is a pool */
  assert_int_equal(status, TARN_UNAVAILABLE);
  if (access("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", F_OK) == 0) {
    assert_non_null(strstr(tarn_last_error()->message, "hugepages-2048kB/nr_hugepages"));
    assert_non_null(strstr(tarn_last_error()->message, "/proc/sys/vm/nr_hugepages"));
  }
}

TEST(committed_pages_are_huge_there_and_zeroed) {
  static const uint32_t kinds[] = {0, TARN_PAGES_SHARED, TARN_PAGES_LOCK};
  for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
    tarn_provider *provider = make(kinds[kind], 2);
    const long long free_before = read_free_pages();
    assert_int_equal(tarn_provider_attributes_of(provider)->granularity_bytes, huge_bytes);
    char *range = NULL;
    assert_ok(tarn_provider_reserve(provider, 1024 * huge_bytes, (void **)&range));
    for (int round = 0; round < 2; round++) {
      assert_ok(tarn_provider_commit(provider, range + 8 * huge_bytes, 2 * huge_bytes));
      tarn_pages_state found = {.struct_size = sizeof found};
      assert_ok(tarn_pages_inspect(range + 8 * huge_bytes, 2 * huge_bytes, &found));
      assert_int_equal(found.page_bytes, huge_bytes);
      assert_int_equal(found.resident_bytes, 2 * huge_bytes);
      assert_int_equal(found.huge_bytes, 2 * huge_bytes);
      assert_int_equal(found.locked_bytes, 2 * huge_bytes);
      for (size_t i = 0; i < 2 * huge_bytes; i += 512) {
        assert_int_equal(range[8 * huge_bytes + i], 0);
        range[8 * huge_bytes + i] = 1;
      }
      /* One of the two alone: the other keeps its bytes. */
      assert_ok(tarn_provider_decommit(provider, range + 8 * huge_bytes, huge_bytes));
      assert_int_equal(read_free_pages(), free_before - 1);
      assert_int_equal(range[9 * huge_bytes], 1);
      assert_ok(tarn_provider_decommit(provider, range + 9 * huge_bytes, huge_bytes));
      assert_int_equal(read_free_pages(), free_before);
    }
    assert_ok(tarn_provider_commit(provider, range, huge_bytes));
    assert_ok(tarn_provider_free(provider, range, 1024 * huge_bytes));
    assert_int_equal(read_free_pages(), free_before);
    tarn_provider_release(provider);
  }
}

/* Never a SIGBUS: neither a block nor a commit takes more than there is, and nothing stays. */
TEST(more_than_the_pool_has_is_out_of_memory) {
  static const uint32_t kinds[] = {0, TARN_PAGES_SHARED};
  for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
    tarn_provider *provider = make(kinds[kind], 1);
    const long long free_before = read_free_pages();
    const size_t too_much = ((size_t)free_before + 1) * huge_bytes;
    char *range = NULL;
    void *block = NULL;
    assert_status(tarn_provider_alloc(provider, too_much, &block), TARN_OUT_OF_MEMORY);
    assert_null(block);
    assert_non_null(strstr(tarn_last_error()->message, "nr_hugepages"));
    assert_ok(tarn_provider_reserve(provider, too_much, (void **)&range));
    assert_status(tarn_provider_commit(provider, range, too_much), TARN_OUT_OF_MEMORY);
    assert_int_equal(read_free_pages(), free_before);
    assert_ok(tarn_provider_commit(provider, range, too_much - huge_bytes));
    for (size_t i = 0; i < too_much - huge_bytes; i += huge_bytes) range[i] = 1;
    assert_status(tarn_provider_alloc(provider, huge_bytes, &block), TARN_OUT_OF_MEMORY);
    assert_ok(tarn_provider_free(provider, range, too_much));
    assert_int_equal(read_free_pages(), free_before);
    tarn_provider_release(provider);
  }
}

/* The parent made the pages, so they stay its own, whatever a child does. */
TEST(a_parent_can_write_while_a_child_holds_the_rest) {
  tarn_provider *provider = make(0, 1);
  const size_t size_bytes = (size_t)read_free_pages() * huge_bytes;
  char *block = NULL;
  assert_ok(tarn_provider_alloc(provider, size_bytes, (void **)&block));
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte;
    close(ends[1]);
    (void)!read(ends[0], &byte, 1); /* until the parent has written */
    _exit(0);
  }
  assert_true(child > 0);
  close(ends[0]);
  for (size_t i = 0; i < size_bytes; i += huge_bytes) block[i] = 1;
  close(ends[1]);
  int how;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_true(WIFEXITED(how));
  assert_ok(tarn_provider_free(provider, block, size_bytes));
  tarn_provider_release(provider);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
