/* recorded_kernel.h: a kernel for any topology: it records binds, and answers as a test wishes.
 *
 * Linked in place of numa/kernel.c's functions (tarn_record_kernel in CMakeLists.txt). Until
 * recorded_start, and after recorded_stop, the real ones are called.
 */
#ifndef TARN_RECORDED_KERNEL_H
#define TARN_RECORDED_KERNEL_H

#include "numa/kernel.h"

enum { RECORDED_BINDS_MAX = 1024, RECORDED_FILES_MAX = 32 };

typedef struct recorded_bind {
  uintptr_t address;
  size_t size_bytes;
  int policy; /* MPOL_* */
  tarn__node_set nodes;
  int32_t home; /* -1: none was set */
  unsigned flags;
} recorded_bind;

typedef struct recorded_kernel {
  int bind_count; /* successful ones; a bind to MPOL_DEFAULT over some of them takes them away */
  recorded_bind binds[RECORDED_BINDS_MAX];
  /* Answers. */
  int bind_errno;           /* of every bind but to MPOL_DEFAULT; 0: it works */
  int bind_errno_after;     /* so many binds work first */
  int preferred_many_errno; /* of kernels that do not know it yet */
  int home_errno;
  bool is_before_6_7; /* does not keep an order for huge pages */
  int cpu;            /* that the thread runs on */
  int nodes_of_errno;
  int page_nodes[8]; /* what page i % 8 of a move_pages call answers */
} recorded_kernel;

extern recorded_kernel recorded;

/* For cmocka: the next topologies pass for this machine, whatever they describe; there are no
 * files. */
int recorded_start(void **state);
int recorded_stop(void **state);

/* A file with this text; NULL takes it away. The text is the caller's. */
void recorded_set_file(const char *path, const char *text);
/* /proc/zoneinfo with so many free bytes on nodes 0, 1, ... */
void recorded_set_room(int count, const size_t *free_bytes);

#endif
