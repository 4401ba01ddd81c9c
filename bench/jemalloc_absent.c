/* jemalloc_absent.c: the baseline in a build without jemalloc's archive. */
#include "bench/jemalloc_baseline.h"

bool jemalloc_baseline_exists(void) {
  return false;
}

void *jemalloc_baseline_malloc(size_t size_bytes) {
  (void)size_bytes;
  return NULL;
}

void jemalloc_baseline_free(void *address) {
  (void)address;
}

void *jemalloc_baseline_sized_malloc(size_t size_bytes) {
  (void)size_bytes;
  return NULL;
}

void jemalloc_baseline_sized_free(void *address, size_t size_bytes) {
  (void)address;
  (void)size_bytes;
}
