/* test_pages.c: the pages provider: options, huge page advice, and what decommit forgets. */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "alloc/tarn_pages.h"

static tarn_pages_options options_of(size_t granularity_bytes, tarn_pages_huge huge) {
  return (tarn_pages_options){.struct_size = sizeof(tarn_pages_options),
                              .huge = huge,
                              .granularity_bytes = granularity_bytes};
}

static void defaults_are_small_granules_where_huge_pages_can_lie(void **state) {
  (void)state;
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

static void bad_options_are_refused(void **state) {
  (void)state;
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
  assert_status(tarn_pages_provider_create(NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_null(provider);
}

/* The kernel's own word on a mapping: its line "VmFlags:" in /proc/self/smaps. */
static bool mapping_has_flag(const void *address, const char *flag) {
  FILE *maps = fopen("/proc/self/smaps", "r");
  if (maps == NULL) return false;
  char line[512];
  bool is_inside = false;
  bool is_set = false;
  while (fgets(line, sizeof line, maps) != NULL) {
    unsigned long start = 0;
    unsigned long end = 0;
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
      is_inside = (uintptr_t)address >= start && (uintptr_t)address < end;
    } else if (is_inside && strncmp(line, "VmFlags:", 8) == 0) {
      is_set = strstr(line, flag) != NULL;
    }
  }
  fclose(maps);
  return is_set;
}

static void huge_page_advice_reaches_the_kernel(void **state) {
  (void)state;
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

static void only_committed_memory_can_be_touched(void **state) {
  (void)state;
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

static void overflowing_sizes_are_too_large(void **state) {
  (void)state;
  tarn_provider *provider = NULL;
  void *block = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  assert_status(tarn_provider_alloc(provider, SIZE_MAX & ~(size_t)((2 << 20) - 1), &block),
                TARN_TOO_LARGE);
  tarn_provider_release(provider);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_are_small_granules_where_huge_pages_can_lie),
      cmocka_unit_test(bad_options_are_refused),
      cmocka_unit_test(huge_page_advice_reaches_the_kernel),
      cmocka_unit_test(only_committed_memory_can_be_touched),
      cmocka_unit_test(overflowing_sizes_are_too_large),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
