/* stream_baseline_absent.c: a machine on which nothing is known of stores past the caches. */
#include <stdint.h>
#include <string.h>

#include "bench/stream_baseline.h"

void stream_baseline_run(void *dst, size_t dst_bytes, const void *src, size_t src_bytes) {
  const uint64_t *from = src;
  uint64_t sum = 0;
  for (size_t i = 0; i < src_bytes / sizeof *from; i++) sum ^= from[i];
  memset(dst, (int)(sum & 0xFF), dst_bytes);
}

void stream_baseline_copy(void *dst, const void *src, size_t size_bytes) {
  memcpy(dst, src, size_bytes);
}
