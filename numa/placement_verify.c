/* placement_verify.c: asks the kernel where pages really lie. */
#include "numa/tarn_placement.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGES_PER_CALL = 512 };

typedef struct page_counts {
  size_t on_node;
  size_t elsewhere;
  size_t untouched;
} page_counts;

/* A mapped page that was only read shows the kernel's shared zero page, for which move_pages says
 * EFAULT, as it does for addresses that are not mapped. mincore tells the two apart. */
static bool is_mapped(void *page, size_t page_bytes) {
  unsigned char resident;
  return mincore(page, page_bytes, &resident) == 0;
}

static tarn_status count_pages(uintptr_t first, size_t count, size_t page_bytes, int32_t node,
                               page_counts *counts) {
  void *pages[PAGES_PER_CALL];
  int nodes[PAGES_PER_CALL];
  for (size_t i = 0; i < count; ++i) pages[i] = (void *)(first + i * page_bytes);
  /* Without target nodes, move_pages moves nothing and only tells. */
  if (syscall(SYS_move_pages, 0, (unsigned long)count, pages, NULL, nodes, 0) < 0) {
    const bool is_forbidden = errno == ENOSYS || errno == EPERM;
    return tarn_fail_native(is_forbidden ? TARN_NOT_SUPPORTED : TARN_SYSTEM_ERROR, "move_pages",
                            errno, "the kernel does not tell where %zu pages at %p lie: %s", count,
                            pages[0], strerror(errno));
  }
  for (size_t i = 0; i < count; ++i) {
    if (nodes[i] == node) {
      ++counts->on_node;
    } else if (nodes[i] >= 0) {
      ++counts->elsewhere;
    } else if (nodes[i] == -ENOENT || (nodes[i] == -EFAULT && is_mapped(pages[i], page_bytes))) {
      ++counts->untouched;
    } else {
      return tarn_fail_native(nodes[i] == -EFAULT ? TARN_INVALID_ARGUMENT : TARN_SYSTEM_ERROR,
                              "move_pages", -nodes[i], "the page at %p has no node: %s", pages[i],
                              strerror(-nodes[i]));
    }
  }
  return TARN_OK;
}

tarn_status tarn_node_verify(const void *address, size_t size_bytes, int32_t node,
                             size_t *on_node_pages, size_t *elsewhere_pages,
                             size_t *untouched_pages) {
  if (on_node_pages != NULL) *on_node_pages = 0;
  if (elsewhere_pages != NULL) *elsewhere_pages = 0;
  if (untouched_pages != NULL) *untouched_pages = 0;
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  uintptr_t end;
  if (address == NULL || node < 0 || __builtin_add_overflow((uintptr_t)address, size_bytes, &end)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu bytes at %p cannot be on node %d", size_bytes,
                     address, node);
  }
  if (size_bytes == 0) return TARN_OK;
  page_counts counts = {0};
  uintptr_t page = (uintptr_t)address & ~(uintptr_t)(page_bytes - 1);
  while (page < end) {
    const size_t left = (end - page + page_bytes - 1) / page_bytes;
    const size_t count = left < PAGES_PER_CALL ? left : PAGES_PER_CALL;
    const tarn_status status = count_pages(page, count, page_bytes, node, &counts);
    if (status != TARN_OK) return status;
    page += count * page_bytes;
  }
  if (on_node_pages != NULL) *on_node_pages = counts.on_node;
  if (elsewhere_pages != NULL) *elsewhere_pages = counts.elsewhere;
  if (untouched_pages != NULL) *untouched_pages = counts.untouched;
  return TARN_OK;
}
