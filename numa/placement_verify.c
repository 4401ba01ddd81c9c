/* placement_verify.c: asks the kernel where pages really lie. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "numa/kernel.h"
#include "numa/tarn_placement.h"

enum { PAGES_PER_CALL = 512 };

/* A mapped page that was only read shows the kernel's shared zero page, for which move_pages says
 * EFAULT, as it does for addresses that are not mapped. mincore tells the two apart. */
static bool is_mapped(void *page, size_t page_bytes) {
  unsigned char resident;
  return mincore(page, page_bytes, &resident) == 0;
}

/* Of one node all pages are counted, also where more nodes are found than fit. */
typedef struct page_counts {
  tarn_placement_pages placed;
  int32_t node;
  size_t on_node_pages;
  size_t elsewhere_pages;
} page_counts;

static void count_page(page_counts *counts, int32_t node) {
  ++*(node == counts->node ? &counts->on_node_pages : &counts->elsewhere_pages);
  tarn_placement_pages *placed = &counts->placed;
  int32_t i = 0;
  while (i < placed->node_count && placed->nodes[i] < node) ++i;
  if (i == placed->node_count || placed->nodes[i] != node) {
    if (placed->node_count == TARN_PLACEMENT_NODES_MAX) {
      ++placed->other_pages;
      return;
    }
    for (int32_t j = placed->node_count++; j > i; --j) {
      placed->nodes[j] = placed->nodes[j - 1];
      placed->node_pages[j] = placed->node_pages[j - 1];
    }
    placed->nodes[i] = node;
    placed->node_pages[i] = 0;
  }
  ++placed->node_pages[i];
}

static tarn_status count_some(uintptr_t first, size_t count, page_counts *counts) {
  const size_t page_bytes = counts->placed.page_bytes;
  void *pages[PAGES_PER_CALL];
  int nodes[PAGES_PER_CALL];
  for (size_t i = 0; i < count; ++i) pages[i] = (void *)(first + i * page_bytes);
  const int error = tarn__kernel_nodes_of(count, pages, nodes);
  if (error != 0) {
    const bool is_forbidden = error == ENOSYS || error == EPERM;
    return tarn_fail_native(is_forbidden ? TARN_NOT_SUPPORTED : TARN_SYSTEM_ERROR, "move_pages",
                            error, "the kernel does not tell where %zu pages at %p lie: %s", count,
                            pages[0], strerror(error));
  }
  for (size_t i = 0; i < count; ++i) {
    if (nodes[i] >= 0) {
      count_page(counts, nodes[i]);
    } else if (nodes[i] == -ENOENT || (nodes[i] == -EFAULT && is_mapped(pages[i], page_bytes))) {
      ++counts->placed.untouched_pages;
    } else {
      return tarn_fail_native(nodes[i] == -EFAULT ? TARN_INVALID_ARGUMENT : TARN_SYSTEM_ERROR,
                              "move_pages", -nodes[i], "the page at %p has no node: %s", pages[i],
                              strerror(-nodes[i]));
    }
  }
  return TARN_OK;
}

static tarn_status count_pages(const void *address, size_t size_bytes, page_counts *counts) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  counts->placed.page_bytes = page_bytes;
  uintptr_t end;
  if (address == NULL || __builtin_add_overflow((uintptr_t)address, size_bytes, &end)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu bytes at %p are no range", size_bytes, address);
  }
  if (size_bytes == 0) return TARN_OK;
  uintptr_t page = (uintptr_t)address & ~(uintptr_t)(page_bytes - 1);
  while (page < end) {
    const size_t left = (end - page + page_bytes - 1) / page_bytes;
    const size_t count = left < PAGES_PER_CALL ? left : PAGES_PER_CALL;
    const tarn_status status = count_some(page, count, counts);
    if (status != TARN_OK) return status;
    page += count * page_bytes;
  }
  return TARN_OK;
}

tarn_status tarn_placement_verify(const void *address, size_t size_bytes,
                                  tarn_placement_pages *placed) {
  if (placed == NULL || placed->struct_size != sizeof *placed) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_placement_pages with struct_size %zu is needed",
                     sizeof *placed);
  }
  *placed = (tarn_placement_pages){.struct_size = sizeof *placed};
  page_counts counts = {.placed = *placed};
  const tarn_status status = count_pages(address, size_bytes, &counts);
  if (status == TARN_OK) *placed = counts.placed;
  return status;
}

tarn_status tarn_node_verify(const void *address, size_t size_bytes, int32_t node,
                             size_t *on_node_pages, size_t *elsewhere_pages,
                             size_t *untouched_pages) {
  if (on_node_pages != NULL) *on_node_pages = 0;
  if (elsewhere_pages != NULL) *elsewhere_pages = 0;
  if (untouched_pages != NULL) *untouched_pages = 0;
  if (node < 0) return tarn_fail(TARN_INVALID_ARGUMENT, "nothing can be on node %d", node);
  page_counts counts = {.node = node};
  const tarn_status status = count_pages(address, size_bytes, &counts);
  if (status != TARN_OK) return status;
  if (on_node_pages != NULL) *on_node_pages = counts.on_node_pages;
  if (elsewhere_pages != NULL) *elsewhere_pages = counts.elsewhere_pages;
  if (untouched_pages != NULL) *untouched_pages = counts.placed.untouched_pages;
  return TARN_OK;
}
