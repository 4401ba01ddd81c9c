/* kernel.c: the calls themselves. Raw, so that no libnuma is needed. */
#include "numa/kernel.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* One number on all architectures, and in no header of the oldest systems that tarn builds on. */
#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

bool tarn__kernel_is_here(bool is_loaded_from_here) {
  return is_loaded_from_here;
}

int tarn__kernel_bind(void *address, size_t size_bytes, int policy, const tarn__node_set *nodes,
                      unsigned flags) {
  /* The kernel takes one bit less than it is told. */
  const unsigned long bit_count = nodes != NULL ? TARN__KERNEL_NODES_MAX + 1ul : 0ul;
  return syscall(SYS_mbind, address, size_bytes, policy, nodes, bit_count, flags) == 0 ? 0 : errno;
}

int tarn__kernel_set_home(void *address, size_t size_bytes, int32_t node) {
  return syscall(SYS_set_mempolicy_home_node, address, size_bytes, (long)node, 0ul) == 0 ? 0
                                                                                         : errno;
}

bool tarn__kernel_homes_huge_pages(void) {
  struct utsname name;
  int major, minor;
  if (uname(&name) != 0 || sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 6 || (major == 6 && minor >= 7);
}

int tarn__kernel_nodes_of(size_t count, void **pages, int *nodes) {
  /* Without target nodes, move_pages moves nothing and only tells. */
  return syscall(SYS_move_pages, 0, (unsigned long)count, pages, NULL, nodes, 0) >= 0 ? 0 : errno;
}

int tarn__kernel_cpu_here(void) {
  return sched_getcpu();
}

FILE *tarn__kernel_open(const char *path) {
  return fopen(path, "re");
}

bool tarn__kernel_parse_list(const char *text, tarn__node_set *set) {
  *set = (tarn__node_set){0};
  while (*text != '\0' && *text != '\n') {
    char *end;
    const long first = strtol(text, &end, 10);
    if (end == text || first < 0) return false;
    long last = first;
    if (*end == '-') {
      text = end + 1;
      last = strtol(text, &end, 10);
      if (end == text || last < first) return false;
    }
    if (*end != ',' && *end != '\n' && *end != '\0') return false;
    if (last >= TARN__KERNEL_NODES_MAX) last = TARN__KERNEL_NODES_MAX - 1;
    for (long node = first; node <= last; ++node) tarn__node_set_add(set, (int32_t)node);
    text = *end == ',' ? end + 1 : end;
  }
  return true;
}
