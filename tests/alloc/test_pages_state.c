/* test_pages_state.c: what the kernel made of a range is told byte by byte. */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "alloc/tarn_pages.h"
#include "tests/support/hardship.h"

static size_t page_bytes;

/* A kernel before 6.7 knows no PAGEMAP_SCAN: this one, or what a test makes of it. */
static bool is_old_here;
static bool is_old;

int __real_ioctl(int file, unsigned long request, void *argument);
int __wrap_ioctl(int file, unsigned long request, void *argument);
int __wrap_ioctl(int file, unsigned long request, void *argument) {
  return is_old ? -1 : __real_ioctl(file, request, argument);
}

static int set_up(void **state) {
  (void)state;
  page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  struct utsname kernel;
  int major = 0, minor = 0;
  if (uname(&kernel) == 0) (void)sscanf(kernel.release, "%d.%d", &major, &minor);
  is_old_here = major < 6 || (major == 6 && minor < 7);
  is_old = is_old_here;
  return 0;
}

/* Between two pages without access, so that it is a mapping of its own. */
static char *map(size_t size_bytes) {
  char *range =
      mmap(NULL, size_bytes + 2 * page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(range != MAP_FAILED);
  range += page_bytes;
  assert_int_equal(mprotect(range, size_bytes, PROT_READ | PROT_WRITE), 0);
  madvise(range, size_bytes, MADV_NOHUGEPAGE);
  return range;
}

static size_t resident(const void *address, size_t size_bytes) {
  size_t resident_bytes = 7;
  assert_ok(tarn_pages_resident(address, size_bytes, &resident_bytes));
  return resident_bytes;
}

TEST_WITH(written_pages_are_resident, set_up, NULL) {
  enum { PAGES = 10000 }; /* more than one call of mincore */
  for (int round = 0; round < 2; round++) {
    is_old = is_old_here || round == 1;
    char *range = map(PAGES * page_bytes);
    assert_int_equal(resident(range, PAGES * page_bytes), 0);
    for (size_t i = 0; i < PAGES; i += 7) range[i * page_bytes] = 1;
    const size_t written = (PAGES + 6) / 7;
    assert_int_equal(resident(range, PAGES * page_bytes), written * page_bytes);
    assert_int_equal(resident(range + page_bytes - 1, 2), page_bytes);
    assert_int_equal(resident(range, 0), 0);
    /* What is not mapped is not there, and hides nothing of the rest. */
    munmap(range + 14 * page_bytes, page_bytes);
    assert_int_equal(resident(range, PAGES * page_bytes), (written - 1) * page_bytes);
    /* Most of the address space, which would take days page by page. */
    if (HAS_PLAIN_MEMORY) assert_true(resident(range, (size_t)1 << 50) > 0);
    munmap(range, PAGES * page_bytes);
  }
  assert_status(tarn_pages_resident(NULL, 1, &(size_t){0}), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pages_resident(&page_bytes, 1, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pages_resident(&page_bytes, SIZE_MAX, &(size_t){0}), TARN_INVALID_ARGUMENT);
}

TEST_WITH(a_page_that_was_only_read_is_not_resident, set_up, NULL) {
  char *range = map(2 * page_bytes);
  volatile char seen = range[0];
  (void)seen;
  range[page_bytes] = 1;
  const size_t found = resident(range, 2 * page_bytes);
  if (is_old) skip();
  assert_int_equal(found, page_bytes);
  munmap(range, 2 * page_bytes);
}

TEST_WITH(a_range_is_told_from_its_neighbours, set_up, NULL) {
  char *range = map(8 * page_bytes);
  memset(range, 1, 4 * page_bytes);
  assert_int_equal(mlock2(range + 2 * page_bytes, page_bytes, 0), 0);
  tarn_pages_state found = {.struct_size = sizeof found};
  const tarn_status status = tarn_pages_inspect(range, 8 * page_bytes, &found);
  if (status == TARN_NOT_SUPPORTED) skip();
  assert_ok(status);
  assert_int_equal(found.page_bytes, page_bytes);
  assert_int_equal(found.resident_bytes, 4 * page_bytes);
  assert_int_equal(found.locked_bytes, page_bytes);
  assert_int_equal(found.huge_bytes, 0);
  assert_true(found.is_exact);
  assert_ok(tarn_pages_inspect(range + page_bytes, page_bytes, &found));
  assert_int_equal(found.resident_bytes, page_bytes);
  assert_int_equal(found.locked_bytes, 0);
  assert_ok(tarn_pages_inspect(range + 2 * page_bytes, page_bytes, &found));
  assert_int_equal(found.locked_bytes, page_bytes);
  munmap(range + 5 * page_bytes, page_bytes);
  assert_status(tarn_pages_inspect(range, 8 * page_bytes, &found), TARN_INVALID_ARGUMENT);
  assert_int_equal(found.resident_bytes, 0);
  munmap(range, 8 * page_bytes);
  assert_status(tarn_pages_inspect(range, 8 * page_bytes, NULL), TARN_INVALID_ARGUMENT);
  found.struct_size = 1;
  assert_status(tarn_pages_inspect(range, 8 * page_bytes, &found), TARN_INVALID_ARGUMENT);
}

TEST_WITH(transparent_huge_pages_are_told, set_up, NULL) {
  const size_t huge_bytes = (size_t)2 << 20;
  tarn_provider *provider = NULL;
  char *block = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  assert_ok(tarn_provider_alloc(provider, 4 * huge_bytes, (void **)&block));
  memset(block, 1, 2 * huge_bytes);
  for (int round = 0; round < 2; round++) {
    is_old = is_old_here || round == 1;
    tarn_pages_state found = {.struct_size = sizeof found};
    assert_ok(tarn_pages_inspect(block, 4 * huge_bytes, &found));
    assert_int_equal(found.resident_bytes, 2 * huge_bytes);
    if (found.huge_bytes == 0) skip(); /* the kernel found none, or may not */
    if (found.huge_bytes == 2 * huge_bytes) assert_int_equal(found.page_bytes, huge_bytes);
    /* Of a part the old kernel knows only how much the whole has. */
    assert_ok(tarn_pages_inspect(block, huge_bytes, &found));
    assert_int_equal(found.is_exact, !is_old);
    assert_ok(tarn_pages_inspect(block + 3 * huge_bytes, huge_bytes, &found));
    assert_int_equal(found.resident_bytes, 0);
    if (!is_old) assert_int_equal(found.huge_bytes, 0);
  }
  assert_ok(tarn_provider_free(provider, block, 4 * huge_bytes));
  tarn_provider_release(provider);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
