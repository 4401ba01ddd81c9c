/* jemalloc_baseline.c: the baseline in a build that has jemalloc's archive. */
#include "bench/jemalloc_baseline.h"

/* jemalloc's malloc and free, renamed by the build (jemalloc_baseline.syms). */
extern void *baseline_malloc(size_t size_bytes);
extern void baseline_free(void *address);

bool jemalloc_baseline_exists(void) {
  return true;
}

void *jemalloc_baseline_malloc(size_t size_bytes) {
  return baseline_malloc(size_bytes);
}

void jemalloc_baseline_free(void *address) {
  baseline_free(address);
}
