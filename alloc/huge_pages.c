/* huge_pages.c: explicit huge pages from the kernel's pool, and words for when it has none. */
#include "alloc/huge_pages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

enum { POOL_FILE_BYTES = 96 };

int tarn__huge_pages_size_bits(size_t page_bytes) {
  return __builtin_ctzll(page_bytes) << MAP_HUGE_SHIFT;
}

static void name_pool_file(char name[POOL_FILE_BYTES], size_t page_bytes, const char *what) {
  snprintf(name, POOL_FILE_BYTES, "/sys/kernel/mm/hugepages/hugepages-%zukB/%s", page_bytes >> 10,
           what);
}

/* -1 where the kernel does not tell. */
static long long read_pool(size_t page_bytes, const char *what) {
  char name[POOL_FILE_BYTES];
  name_pool_file(name, page_bytes, what);
  FILE *file = fopen(name, "re");
  if (file == NULL) return -1;
  long long value;
  if (fscanf(file, "%lld", &value) != 1) value = -1;
  fclose(file);
  return value;
}

static void *map(size_t page_bytes, size_t size_bytes, int protection, int more_flags) {
  return mmap(NULL, size_bytes, protection,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | more_flags |
                  tarn__huge_pages_size_bits(page_bytes),
              -1, 0);
}

tarn_status tarn__huge_pages_check(size_t page_bytes) {
  /* Without a promise of pages: the kernel tells only whether it knows the size. */
  void *probe = map(page_bytes, page_bytes, PROT_NONE, MAP_NORESERVE);
  if (probe == MAP_FAILED) {
    return tarn_fail_native(TARN_UNAVAILABLE, "mmap", errno,
                            "the kernel has no explicit huge pages of %zu KiB here: %s",
                            page_bytes >> 10, strerror(errno));
  }
  munmap(probe, page_bytes);
  char name[POOL_FILE_BYTES];
  name_pool_file(name, page_bytes, "nr_hugepages");
  if (read_pool(page_bytes, "nr_hugepages") == 0 &&
      read_pool(page_bytes, "nr_overcommit_hugepages") == 0) {
    return tarn_fail(TARN_UNAVAILABLE,
                     "the pool of explicit huge pages of %zu KiB is empty: %s says how many there "
                     "shall be (for the default size also /proc/sys/vm/nr_hugepages)",
                     page_bytes >> 10, name);
  }
  return TARN_OK;
}

bool tarn__huge_pages_can_move(size_t page_bytes) {
  char *probe = map(page_bytes, 2 * page_bytes, PROT_NONE, MAP_NORESERVE);
  if (probe == MAP_FAILED) return false;
  const bool can_move = mremap(probe, page_bytes, page_bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                               probe + page_bytes) != MAP_FAILED;
  munmap(probe, 2 * page_bytes);
  return can_move;
}

tarn_status tarn__huge_pages_map(size_t page_bytes, size_t size_bytes, void **address) {
  void *mapped = map(page_bytes, size_bytes, PROT_READ | PROT_WRITE, 0);
  if (mapped == MAP_FAILED) return tarn__huge_pages_fail(page_bytes, size_bytes, "mmap", errno);
  *address = mapped;
  return TARN_OK;
}

tarn_status tarn__huge_pages_move(void *from, size_t size_bytes, void *to) {
  if (mremap(from, size_bytes, size_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED) {
    return TARN_OK;
  }
  const int error = errno;
  /* The kernel unmaps what lies there first, and seldom fails after that: no hole may stay, which
   * another mapping could take. Where there is none, this call does nothing. */
  (void)mmap(to, size_bytes, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  return tarn_fail_native(TARN_OUT_OF_MEMORY, "mremap", error,
                          "moving %zu bytes of huge pages to %p: %s", size_bytes, to,
                          strerror(error));
}

tarn_status tarn__huge_pages_fail(size_t page_bytes, size_t size_bytes, const char *call,
                                  int error) {
  char name[POOL_FILE_BYTES];
  name_pool_file(name, page_bytes, "nr_hugepages");
  return tarn_fail_native(
      TARN_OUT_OF_MEMORY, call, error,
      "%zu explicit huge pages of %zu KiB: the pool has %lld, of them %lld free and %lld of these "
      "promised, %s (%s sets how many, node by node "
      "/sys/devices/system/node/node*/hugepages/hugepages-%zukB/nr_hugepages)",
      size_bytes / page_bytes, page_bytes >> 10, read_pool(page_bytes, "nr_hugepages"),
      read_pool(page_bytes, "free_hugepages"), read_pool(page_bytes, "resv_hugepages"),
      strerror(error), name, page_bytes >> 10);
}
