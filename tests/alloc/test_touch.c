/* test_touch.c: first touch makes every page of a range, changes no byte, and tells what failed. */
#include "tests/support/test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "alloc/tarn_pages.h"
#include "alloc/tarn_touch.h"

enum { POPULATE_WRITE = 23 };

static size_t page_bytes;

/* What the library's own calls meet: an older kernel, or one that starts no more threads. */
static bool has_no_populate;
static int threads_left;
static atomic_int started_count;
static atomic_int populated_count;

int __real_madvise(void *address, size_t size_bytes, int advice);
int __wrap_madvise(void *address, size_t size_bytes, int advice);
int __wrap_madvise(void *address, size_t size_bytes, int advice) {
  if (advice == POPULATE_WRITE) {
    atomic_fetch_add(&populated_count, 1);
    if (has_no_populate) {
      errno = EINVAL;
      return -1;
    }
  }
  return __real_madvise(address, size_bytes, advice);
}

static cpu_set_t seen_cpus;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *context) {
  if (threads_left-- <= 0) return EAGAIN;
  started_count++;
  CPU_ZERO(&seen_cpus);
  if (attributes != NULL) {
    (void)pthread_attr_getaffinity_np(attributes, sizeof seen_cpus, &seen_cpus);
  }
  return __real_pthread_create(thread, attributes, run, context);
}

static int set_up(void **state) {
  (void)state;
  page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  has_no_populate = false;
  threads_left = 1000;
  started_count = 0;
  populated_count = 0;
  return 0;
}

static char *map(size_t size_bytes, int protection) {
  char *range = mmap(NULL, size_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(range != MAP_FAILED);
  return range;
}

static size_t resident(const void *address, size_t size_bytes) {
  size_t resident_bytes = 0;
  assert_ok(tarn_pages_resident(address, size_bytes, &resident_bytes));
  return resident_bytes;
}

static tarn_touch_options by(int32_t thread_count) {
  return (tarn_touch_options){.struct_size = sizeof(tarn_touch_options),
                              .thread_count = thread_count};
}

/* Twice: as this kernel does it, and as an older one. */
TEST_WITH(every_page_is_made_and_no_byte_changes, set_up, NULL) {
  const size_t size_bytes = ((size_t)40 << 20) + 3 * page_bytes;
  for (int round = 0; round < 2; round++) {
    has_no_populate = round == 1;
    char *range = map(size_bytes, PROT_READ | PROT_WRITE);
    madvise(range, size_bytes, MADV_NOHUGEPAGE);
    memset(range + 5 * page_bytes, 0x5a, page_bytes);
    assert_true(resident(range, size_bytes) < size_bytes);
    const tarn_touch_options options = by(3);
    assert_ok(tarn_touch(range, size_bytes, &options));
    assert_int_equal(resident(range, size_bytes), size_bytes);
    for (size_t i = 0; i < size_bytes; i += 64) {
      assert_int_equal(range[i], i / page_bytes == 5 ? 0x5a : 0);
    }
    munmap(range, size_bytes);
  }
}

TEST_WITH(a_range_inside_of_pages_touches_those_it_meets, set_up, NULL) {
  char *range = map(4 * page_bytes, PROT_READ | PROT_WRITE);
  madvise(range, 4 * page_bytes, MADV_NOHUGEPAGE);
  assert_ok(tarn_touch(range + 2 * page_bytes - 1, 2, NULL));
  assert_int_equal(resident(range, page_bytes), 0);
  assert_int_equal(resident(range + page_bytes, 2 * page_bytes), 2 * page_bytes);
  assert_int_equal(resident(range + 3 * page_bytes, page_bytes), 0);
  assert_ok(tarn_touch(range, 0, NULL));
  assert_int_equal(resident(range, page_bytes), 0);
  munmap(range, 4 * page_bytes);
}

TEST_WITH(threads_are_as_many_as_asked_and_as_pay_off, set_up, NULL) {
  const size_t size_bytes = (size_t)64 << 20;
  char *range = map(size_bytes, PROT_READ | PROT_WRITE);
  tarn_touch_options options = by(4);
  assert_ok(tarn_touch(range, size_bytes, &options));
  assert_int_equal(started_count, 3); /* and the calling thread */
  started_count = 0;
  assert_ok(tarn_touch(range, (size_t)16 << 20, &options)); /* enough for two */
  assert_int_equal(started_count, 1);
  started_count = 0;
  options = by(1);
  assert_ok(tarn_touch(range, size_bytes, &options));
  assert_int_equal(started_count, 0);
  munmap(range, size_bytes);
}

TEST_WITH(threads_that_do_not_start_are_done_without, set_up, NULL) {
  const size_t size_bytes = (size_t)64 << 20;
  char *range = map(size_bytes, PROT_READ | PROT_WRITE);
  const int32_t cpus[] = {sched_getcpu()};
  for (int round = 0; round < 2; round++) {
    threads_left = round;
    tarn_touch_options options = by(4);
    if (round == 0) options.cpu_count = 1, options.cpus = cpus;
    assert_ok(tarn_touch(range, size_bytes, &options));
    assert_int_equal(started_count, round);
    assert_int_equal(resident(range, size_bytes), size_bytes);
    madvise(range, size_bytes, MADV_DONTNEED);
  }
  munmap(range, size_bytes);
}

TEST_WITH(threads_run_on_the_processors_that_are_named, set_up, NULL) {
  const size_t size_bytes = (size_t)32 << 20;
  char *range = map(size_bytes, PROT_READ | PROT_WRITE);
  const int here = sched_getcpu();
  /* The last ones are no processors of this process. */
  const int32_t cpus[] = {here, -3, 100000, 8100};
  tarn_touch_options options = by(2);
  options.cpu_count = COUNT_OF(cpus);
  options.cpus = cpus;
  assert_ok(tarn_touch(range, size_bytes, &options));
  assert_int_equal(started_count, 2); /* the calling thread may run elsewhere, and so waits */
  assert_int_equal(CPU_COUNT(&seen_cpus), 1);
  assert_true(CPU_ISSET(here, &seen_cpus));
  /* Where none of them is there, the threads run where they may. */
  options.cpus = cpus + 1;
  options.cpu_count = 3;
  madvise(range, size_bytes, MADV_DONTNEED);
  assert_ok(tarn_touch(range, size_bytes, &options));
  assert_int_equal(resident(range, size_bytes), size_bytes);
  munmap(range, size_bytes);
}

TEST_WITH(what_cannot_be_had_is_a_status, set_up, NULL) {
  const size_t size_bytes = (size_t)32 << 20;
  for (int round = 0; round < 2; round++) {
    has_no_populate = round == 1;
    char *range = map(size_bytes, PROT_READ | PROT_WRITE);
    mprotect(range + size_bytes - page_bytes, page_bytes, PROT_NONE);
    const tarn_touch_options options = by(2);
    assert_status(tarn_touch(range, size_bytes, &options), TARN_OUT_OF_MEMORY);
    assert_int_equal(tarn_last_error()->native_code, EFAULT);
    munmap(range + size_bytes - page_bytes, page_bytes);
    assert_status(tarn_touch(range, size_bytes, &options), TARN_INVALID_ARGUMENT);
    assert_non_null(strstr(tarn_last_error()->message, "not mapped"));
    munmap(range, size_bytes - page_bytes);
  }
}

/* A file behind a mapping that ends before it: the touch of a program would be a SIGBUS. */
TEST_WITH(what_would_be_a_signal_is_a_status, set_up, NULL) {
  const int file = memfd_create("test", MFD_CLOEXEC);
  assert_true(file >= 0);
  assert_int_equal(ftruncate(file, (off_t)page_bytes), 0);
  for (int round = 0; round < 2; round++) {
    has_no_populate = round == 1;
    char *range = mmap(NULL, 2 * page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    assert_true(range != MAP_FAILED);
    assert_ok(tarn_touch(range, page_bytes, NULL));
    assert_status(tarn_touch(range, 2 * page_bytes, NULL), TARN_OUT_OF_MEMORY);
    munmap(range, 2 * page_bytes);
  }
  close(file);
}

TEST_WITH(wrong_arguments_are_refused, set_up, NULL) {
  char byte = 0;
  tarn_touch_options options = by(-1);
  assert_status(tarn_touch(&byte, 1, &options), TARN_INVALID_ARGUMENT);
  options = by(1);
  options.cpu_count = 1;
  assert_status(tarn_touch(&byte, 1, &options), TARN_INVALID_ARGUMENT);
  options = by(1);
  options.page_bytes = 12345;
  assert_status(tarn_touch(&byte, 1, &options), TARN_INVALID_ARGUMENT);
  options = by(1);
  options.struct_size = 1;
  assert_status(tarn_touch(&byte, 1, &options), TARN_INVALID_ARGUMENT);
  assert_status(tarn_touch(NULL, 1, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_touch(&byte, SIZE_MAX, NULL), TARN_INVALID_ARGUMENT);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
