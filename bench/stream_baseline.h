/* stream_baseline.h: what a thread gets out of memory when it only reads, writes or copies. */
#ifndef BENCH_STREAM_BASELINE_H
#define BENCH_STREAM_BASELINE_H

#include <stddef.h>

/* Reads all of src and writes all of dst around the caches, side by side, in whole lines of 64
 * bytes; what is written means nothing. Both are aligned to 64 and the longer of the two is a
 * multiple of the shorter one. */
void stream_baseline_run(void *dst, size_t dst_bytes, const void *src, size_t src_bytes);

/* A copy around the caches as far as the machine has a way, in whole lines of 64 bytes, which both
 * sides are aligned to. */
void stream_baseline_copy(void *dst, const void *src, size_t size_bytes);

#endif
