/* cpu_count.h: how many processors the process may keep busy. */
#ifndef TENSOR_CPU_COUNT_H
#define TENSOR_CPU_COUNT_H

/* A mask for sched_getaffinity that holds more processors than a kernel can be built for. */
enum { TARN__CPU_MASK_WORDS = 256 };

/* By the process's affinity and by the quotas of its cgroup and all above it, both versions of
 * cgroups; at least 1. Reads files. */
int tarn__cpu_count(void);

/* The quota alone, rounded up, with `root` before each file's name: 0 where there is none. */
int tarn__cpu_count_quota(const char *root);

#endif
