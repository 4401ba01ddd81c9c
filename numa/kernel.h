/* kernel.h: what numa/ asks of the kernel about memory nodes. Tests link a recorder in its place.
 *
 * Nothing here decides anything: every answer is the kernel's, an errno included.
 */
#ifndef TARN_NUMA_KERNEL_H
#define TARN_NUMA_KERNEL_H

#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
  TARN__KERNEL_NODES_MAX = 1024, /* the most that any kernel is built for (MAX_NUMNODES) */
  TARN__NODE_SET_WORD_BITS = 8 * sizeof(unsigned long),
};

/* Node numbers as the kernel takes them: bit N stands for node N. */
typedef struct tarn__node_set {
  unsigned long words[TARN__KERNEL_NODES_MAX / TARN__NODE_SET_WORD_BITS];
} tarn__node_set;

/* Numbers outside of the set's range are left out, and are never in it. */
static inline void tarn__node_set_add(tarn__node_set *set, int32_t node) {
  if (node < 0 || node >= TARN__KERNEL_NODES_MAX) return;
  set->words[node / TARN__NODE_SET_WORD_BITS] |= 1ul << (node % TARN__NODE_SET_WORD_BITS);
}

static inline bool tarn__node_set_has(const tarn__node_set *set, int32_t node) {
  if (node < 0 || node >= TARN__KERNEL_NODES_MAX) return false;
  return (set->words[node / TARN__NODE_SET_WORD_BITS] >> (node % TARN__NODE_SET_WORD_BITS)) & 1;
}

/* Whether what hwloc loaded can be acted upon. */
bool tarn__kernel_is_here(bool is_loaded_from_here);

/* Sets the policy (MPOL_*) of a range. `nodes` may be NULL for MPOL_DEFAULT; `flags` are MPOL_MF_*.
 * 0, or the errno. */
int tarn__kernel_bind(void *address, size_t size_bytes, int policy, const tarn__node_set *nodes,
                      unsigned flags);

/* From which node a range bound by MPOL_BIND or MPOL_PREFERRED_MANY looks for memory first. 0, or
 * the errno; kernels before 5.17 answer ENOSYS. */
int tarn__kernel_set_home(void *address, size_t size_bytes, int32_t node);
/* Whether that holds for transparent huge pages: before Linux 6.7 one comes from the node of the
 * thread that touches it, where that is among those bound to (seen on 6.1). */
bool tarn__kernel_homes_huge_pages(void);

/* nodes[i] becomes the node that pages[i] lies on, or less than 0, an errno. 0, or the errno. */
int tarn__kernel_nodes_of(size_t count, void **pages, int *nodes);

/* The processor that runs the calling thread; -1 where it is not told. */
int tarn__kernel_cpu_here(void);

/* A file of /proc or /sys for reading; NULL where there is none. The caller closes it. */
FILE *tarn__kernel_open(const char *path);

/* "0-3,8" as the kernel writes lists of nodes. False where it is not one. */
bool tarn__kernel_parse_list(const char *text, tarn__node_set *set);

#endif
