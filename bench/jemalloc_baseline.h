/* jemalloc_baseline.h: a jemalloc beside the process's own malloc, to measure against. */
#ifndef BENCH_JEMALLOC_BASELINE_H
#define BENCH_JEMALLOC_BASELINE_H

#include <stdbool.h>
#include <stddef.h>

/* False in a build that found no archive of jemalloc: the others then give NULL and do nothing. */
bool jemalloc_baseline_exists(void);
void *jemalloc_baseline_malloc(size_t size_bytes);
void jemalloc_baseline_free(void *address);
/* The calls whose freer says how large the block was: mallocx and sdallocx, without flags. */
void *jemalloc_baseline_sized_malloc(size_t size_bytes);
void jemalloc_baseline_sized_free(void *address, size_t size_bytes);

#endif
