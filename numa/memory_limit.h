/* memory_limit.h: what the control groups of this process leave it of the machine's memory. */
#ifndef TARN_NUMA_MEMORY_LIMIT_H
#define TARN_NUMA_MEMORY_LIMIT_H

#include <stddef.h>
#include <stdint.h>

typedef struct tarn__memory_limit {
  size_t limit_bytes; /* SIZE_MAX: none */
  size_t used_bytes;  /* less the file pages that the kernel can drop */
} tarn__memory_limit;

/* Of the group with the least left, among the process's own and all above it that can be seen: the
 * memory controller of version 1 where it is mounted, otherwise of version 2. What cannot be read
 * is no limit. */
tarn__memory_limit tarn__memory_limit_read(void);

/* SIZE_MAX where there is no limit. */
static inline size_t tarn__memory_limit_left(const tarn__memory_limit *limit) {
  if (limit->limit_bytes == SIZE_MAX) return SIZE_MAX;
  return limit->limit_bytes > limit->used_bytes ? limit->limit_bytes - limit->used_bytes : 0;
}

#endif
