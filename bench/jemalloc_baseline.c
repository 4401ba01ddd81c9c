/* jemalloc_baseline.c: the baseline in a build that has jemalloc's archive. */
#include "bench/jemalloc_baseline.h"

/* jemalloc's own, renamed by the build (jemalloc_baseline.syms). */
extern void *baseline_malloc(size_t size_bytes);
extern void baseline_free(void *address);
extern void *baseline_mallocx(size_t size_bytes, int flags);
extern void baseline_sdallocx(void *address, size_t size_bytes, int flags);

bool jemalloc_baseline_exists(void) {
  return true;
}

void *jemalloc_baseline_malloc(size_t size_bytes) {
  return baseline_malloc(size_bytes);
}

void jemalloc_baseline_free(void *address) {
  baseline_free(address);
}

void *jemalloc_baseline_sized_malloc(size_t size_bytes) {
  return baseline_mallocx(size_bytes, /*flags=*/0);
}

void jemalloc_baseline_sized_free(void *address, size_t size_bytes) {
  baseline_sdallocx(address, size_bytes, /*flags=*/0);
}
