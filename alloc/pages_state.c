/* pages_state.c: asks the kernel what it made of a range: what is in memory, huge, locked. */
#include "alloc/tarn_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* PAGEMAP_SCAN of Linux 6.7, whose names older headers lack. */
enum {
  SCAN_PRESENT = 1 << 3,
  SCAN_ZERO_PAGE = 1 << 5,
  SCAN_HUGE = 1 << 6,
  SCAN_REGIONS = 256,
  MINCORE_PAGES = 4096,
};

typedef struct scan_region {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
} scan_region;

typedef struct scan_request {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
} scan_request;

typedef struct page_sums {
  size_t resident_bytes;
  size_t huge_bytes;
} page_sums;

/* False where the kernel cannot. */
static bool scan_pages(uintptr_t start, uintptr_t end, page_sums *sums) {
  const int pagemap = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return false;
  page_sums found = {0};
  uintptr_t at = start;
  while (at < end) {
    scan_region regions[SCAN_REGIONS];
    scan_request request = {
        .size = sizeof request,
        .start = at,
        .end = end,
        .vec = (uintptr_t)regions,
        .vec_len = SCAN_REGIONS,
        .category_inverted = SCAN_ZERO_PAGE,
        .category_mask = SCAN_PRESENT | SCAN_ZERO_PAGE,
        .return_mask = SCAN_HUGE,
    };
    const int count = ioctl(pagemap, _IOWR('f', 16, scan_request), &request);
    if (count < 0 || request.walk_end <= at) break;
    for (int i = 0; i < count; ++i) {
      const size_t bytes = (size_t)(regions[i].end - regions[i].start);
      found.resident_bytes += bytes;
      if ((regions[i].categories & SCAN_HUGE) != 0) found.huge_bytes += bytes;
    }
    at = (uintptr_t)request.walk_end;
  }
  close(pagemap);
  if (at < end) return false;
  *sums = found;
  return true;
}

/* Counts a page that was only read as well: it shows the kernel's page of zeros. What is not mapped
 * fails the call for all of its pages, which are then asked one by one. 0, or the errno. */
static int count_in_core(uintptr_t start, uintptr_t end, size_t page_bytes, page_sums *sums) {
  size_t pages_at_once = MINCORE_PAGES;
  uintptr_t singly_until = start;
  while (start < end) {
    unsigned char residents[MINCORE_PAGES];
    if (start >= singly_until) pages_at_once = MINCORE_PAGES;
    const size_t left = (end - start) / page_bytes;
    const size_t count = left < pages_at_once ? left : pages_at_once;
    const bool is_mapped = mincore((void *)start, count * page_bytes, residents) == 0;
    if (!is_mapped && errno != ENOMEM) return errno;
    if (!is_mapped && count > 1) {
      singly_until = start + count * page_bytes;
      pages_at_once = 1;
      continue;
    }
    for (size_t i = 0; is_mapped && i < count; ++i) {
      sums->resident_bytes += (residents[i] & 1) * page_bytes;
    }
    start += count * page_bytes;
  }
  return 0;
}

/* Of more than one call's pages only what is mapped is asked, where that is told: a range may be
 * far larger. 0, or the errno. */
static int count_mapped_in_core(uintptr_t start, uintptr_t end, page_sums *sums) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const bool is_large = (end - start) / page_bytes > MINCORE_PAGES;
  FILE *maps = is_large ? fopen("/proc/thread-self/maps", "re") : NULL;
  if (maps == NULL) return count_in_core(start, end, page_bytes, sums);
  int error = 0;
  char line[512];
  while (error == 0 && fgets(line, sizeof line, maps) != NULL) {
    unsigned long first, last;
    if (sscanf(line, "%lx-%lx ", &first, &last) != 2) continue;
    if (first < start) first = start;
    if (last > end) last = end;
    if (first < last) error = count_in_core(first, last, page_bytes, sums);
  }
  fclose(maps);
  return error;
}

static tarn_status whole_pages(const void *address, size_t size_bytes, uintptr_t *start,
                               uintptr_t *end) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  if (address == NULL || __builtin_add_overflow((uintptr_t)address, size_bytes, end) ||
      __builtin_add_overflow(*end, page_bytes - 1, end)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "no %zu bytes can lie at %p", size_bytes, address);
  }
  *start = (uintptr_t)address & ~(uintptr_t)(page_bytes - 1);
  *end &= ~(uintptr_t)(page_bytes - 1);
  if (size_bytes == 0) *end = *start;
  return TARN_OK;
}

/* is_huge_told: whether of what is in memory sums->huge_bytes is huge. */
static tarn_status sum_pages(uintptr_t start, uintptr_t end, page_sums *sums, bool *is_huge_told) {
  *is_huge_told = start == end || scan_pages(start, end, sums);
  if (*is_huge_told) return TARN_OK;
  const int error = count_mapped_in_core(start, end, sums);
  if (error == 0) return TARN_OK;
  return tarn_fail_native(TARN_NOT_SUPPORTED, "mincore", error,
                          "the kernel does not tell which of %zu bytes at %p are in memory: %s",
                          end - start, (void *)start, strerror(error));
}

tarn_status tarn_pages_resident(const void *address, size_t size_bytes, size_t *resident_bytes) {
  if (resident_bytes == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "resident_bytes is NULL");
  *resident_bytes = 0;
  uintptr_t start = 0, end = 0;
  tarn_status status = whole_pages(address, size_bytes, &start, &end);
  page_sums sums = {0};
  bool is_huge_told;
  if (status == TARN_OK) status = sum_pages(start, end, &sums, &is_huge_told);
  if (status == TARN_OK) *resident_bytes = sums.resident_bytes;
  return status;
}

/* --- mappings --- */

/* One entry of the kernel's smaps. */
typedef struct mapping {
  uintptr_t start;
  uintptr_t end;
  size_t page_bytes;
  size_t huge_bytes; /* transparent */
  bool is_locked;
  bool is_explicit;
} mapping;

static bool starts_mapping(const char *line, mapping *next) {
  unsigned long start, end;
  if (sscanf(line, "%lx-%lx ", &start, &end) != 2) return false;
  *next = (mapping){.start = start, .end = end};
  return true;
}

static void read_field(const char *line, mapping *current) {
  size_t kib;
  if (sscanf(line, "KernelPageSize: %zu", &kib) == 1) {
    current->page_bytes = kib << 10;
  } else if (sscanf(line, "AnonHugePages: %zu", &kib) == 1 ||
             sscanf(line, "ShmemPmdMapped: %zu", &kib) == 1) {
    current->huge_bytes += kib << 10;
  } else if (strncmp(line, "VmFlags:", 8) == 0) {
    current->is_locked = strstr(line, " lo") != NULL;
    current->is_explicit = strstr(line, " ht") != NULL;
  }
}

/* Adds what the range has of a mapping. Its huge pages count whole where the kernel did not tell
 * them page by page. */
static void add_mapping(const mapping *current, uintptr_t start, uintptr_t end,
                        tarn_pages_state *state, size_t *mapped_bytes) {
  const uintptr_t first = current->start > start ? current->start : start;
  const uintptr_t last = current->end < end ? current->end : end;
  if (first >= last) return;
  const size_t bytes = last - first;
  *mapped_bytes += bytes;
  if (state->page_bytes == 0 || current->page_bytes < state->page_bytes) {
    state->page_bytes = current->page_bytes;
  }
  if (current->is_locked || current->is_explicit) state->locked_bytes += bytes;
  if (state->is_exact) return;
  size_t huge_bytes = current->huge_bytes;
  if (current->is_explicit) {
    page_sums sums = {0};
    bool is_huge_told;
    (void)!sum_pages(first, last, &sums, &is_huge_told); /* it did for the whole range */
    huge_bytes = sums.resident_bytes;
  }
  state->huge_bytes += huge_bytes < bytes ? huge_bytes : bytes;
}

static tarn_status read_mappings(uintptr_t start, uintptr_t end, tarn_pages_state *state,
                                 size_t *mapped_bytes, bool *is_part) {
  FILE *file = fopen("/proc/thread-self/smaps", "re");
  if (file == NULL) {
    return tarn_fail_native(TARN_NOT_SUPPORTED, "fopen", errno,
                            "what the kernel made of memory is not to be read: %s",
                            strerror(errno));
  }
  char line[512];
  mapping current = {0};
  mapping next;
  while (current.start < end && fgets(line, sizeof line, file) != NULL) {
    if (!starts_mapping(line, &next)) {
      read_field(line, &current);
      continue;
    }
    add_mapping(&current, start, end, state, mapped_bytes);
    if (next.start < end && next.end > start && (next.start < start || next.end > end)) {
      *is_part = true;
    }
    current = next;
  }
  if (current.start < end) add_mapping(&current, start, end, state, mapped_bytes);
  fclose(file);
  return TARN_OK;
}

/* The size of a transparent huge page that one entry of the upper page table maps. */
static size_t transparent_bytes(void) {
  FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "re");
  if (file == NULL) return 0;
  size_t bytes;
  if (fscanf(file, "%zu", &bytes) != 1) bytes = 0;
  fclose(file);
  return bytes;
}

tarn_status tarn_pages_inspect(const void *address, size_t size_bytes, tarn_pages_state *state) {
  if (state == NULL || state->struct_size != sizeof *state) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_pages_state with struct_size %zu is needed",
                     sizeof *state);
  }
  *state = (tarn_pages_state){.struct_size = sizeof *state};
  uintptr_t start = 0, end = 0;
  tarn_status status = whole_pages(address, size_bytes, &start, &end);
  tarn_pages_state found = *state;
  page_sums sums = {0};
  if (status == TARN_OK) status = sum_pages(start, end, &sums, &found.is_exact);
  if (status != TARN_OK) return status;
  found.resident_bytes = sums.resident_bytes;
  found.huge_bytes = sums.huge_bytes;
  size_t mapped_bytes = 0;
  bool is_part = false;
  status = read_mappings(start, end, &found, &mapped_bytes, &is_part);
  if (status != TARN_OK) return status;
  if (mapped_bytes != end - start) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "of %zu bytes at %p only %zu are mapped", end - start,
                     address, mapped_bytes);
  }
  if (!is_part) found.is_exact = true;
  const bool is_small = found.page_bytes == (size_t)sysconf(_SC_PAGESIZE);
  if (is_small && found.resident_bytes > 0 && found.huge_bytes == found.resident_bytes) {
    const size_t transparent = transparent_bytes();
    if (transparent != 0) found.page_bytes = transparent;
  }
  *state = found;
  return TARN_OK;
}
