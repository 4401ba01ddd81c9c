/* sim_window.c: device addresses that the CPU faults on, and the memory that stands behind them.
 *
 *     addresses  [ ........ block ........ block ... ]   never readable: what programs see
 *                           |
 *                     same distance
 *                           v
 *     memory     [ ........ bytes ........ bytes ... ]   readable where a block is
 *
 * The kernel picks both places, so the sanitizers' own maps of memory are never in the way.
 */
#include "cuda/sim/sim.h"

#include <string.h>
#include <sys/mman.h>

/* Less where addresses are few, as under valgrind. */
static const size_t window_bytes_max = (size_t)1 << 38;
static const size_t window_bytes_min = (size_t)1 << 34;
static const size_t page_bytes = 4096;
static uintptr_t addresses, memory;
static size_t window_bytes;

static uintptr_t map_nothing(size_t size_bytes) {
  void *mapped =
      mmap(NULL, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return mapped == MAP_FAILED ? 0 : (uintptr_t)mapped;
}

static bool open_window(size_t size_bytes) {
  addresses = map_nothing(size_bytes);
  if (addresses == 0) return false;
  memory = map_nothing(size_bytes);
  window_bytes = size_bytes;
  if (memory != 0) return true;
  munmap((void *)addresses, size_bytes);
  addresses = 0;
  return false;
}

bool sim_window_open(void) {
  for (size_t bytes = window_bytes_max; addresses == 0 && bytes >= window_bytes_min; bytes /= 2) {
    if (open_window(bytes)) return true;
  }
  return addresses != 0;
}

static bool is_in_window(uintptr_t address) {
  return addresses != 0 && address >= addresses && address - addresses < window_bytes;
}

bool sim_window_holds(uintptr_t address) {
  return is_in_window(address) || sim_virtual_find(address) != NULL;
}

void *sim_window_view(uintptr_t address) {
  if (!is_in_window(address)) return sim_virtual_view(sim_virtual_find(address), address);
  return (void *)(address - addresses + memory);
}

/* Whole pages around a block, which begins behind a page's start so that nobody comes to rely on
 * more alignment than is promised. */
static size_t pages_bytes(size_t size_bytes) {
  return (size_bytes + SIM_DEVICE_ALIGNMENT + page_bytes - 1) & ~(page_bytes - 1);
}

size_t sim_window_pages(size_t size_bytes) {
  return pages_bytes(size_bytes);
}

bool sim_window_move(uintptr_t address, size_t size_bytes, int file) {
  char *pages = sim_window_view(address - SIM_DEVICE_ALIGNMENT);
  const size_t moved_bytes = pages_bytes(size_bytes);
  char *moved = mmap(NULL, moved_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (moved == MAP_FAILED) return false;
  memcpy(moved, pages, moved_bytes);
  munmap(moved, moved_bytes);
  return mmap(pages, moved_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) !=
         MAP_FAILED;
}

static uintptr_t find_hole(size_t size_bytes) {
  uintptr_t candidate = addresses;
  for (const sim_range *range = sim_range_after(addresses);
       range != NULL && is_in_window(range->start);
       range = sim_range_after(range->start + range->size_bytes)) {
    const uintptr_t first_page = range->start - SIM_DEVICE_ALIGNMENT;
    if (first_page - candidate >= size_bytes) return candidate;
    candidate = first_page + pages_bytes(range->size_bytes);
  }
  return addresses + window_bytes - candidate >= size_bytes ? candidate : 0;
}

uintptr_t sim_window_take(size_t size_bytes) {
  if (size_bytes > window_bytes / 2) return 0;
  const size_t taken_bytes = pages_bytes(size_bytes);
  const uintptr_t first_page = find_hole(taken_bytes);
  if (first_page == 0) return 0;
  if (mprotect(sim_window_view(first_page), taken_bytes, PROT_READ | PROT_WRITE) != 0) return 0;
  const uintptr_t address = first_page + SIM_DEVICE_ALIGNMENT;
  memset(sim_window_view(address), 0xCD, size_bytes);
  return address;
}

uintptr_t sim_window_open_file(size_t size_bytes, int file) {
  if (size_bytes > window_bytes / 2) return 0;
  const size_t taken_bytes = pages_bytes(size_bytes);
  const uintptr_t first_page = find_hole(taken_bytes);
  if (first_page == 0 || mmap(sim_window_view(first_page), taken_bytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED) {
    return 0;
  }
  return first_page + SIM_DEVICE_ALIGNMENT;
}

void sim_window_give(uintptr_t address, size_t size_bytes) {
  void *pages = sim_window_view(address - SIM_DEVICE_ALIGNMENT);
  /* A fresh mapping in its place gives the memory back and takes the access away at once. Where the
   * kernel refuses, the memory stays: no caller could do better. */
  (void)mmap(pages, pages_bytes(size_bytes), PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}
