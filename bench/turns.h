/* turns.h: several threads play one list of steps: each step on its own thread, in the list's
 * order. */
#ifndef BENCH_TURNS_H
#define BENCH_TURNS_H

#include "alloc/tarn_status.h"

typedef struct turns_list {
  size_t step_count;
  uint32_t thread_count; /* 1: all on the calling thread */
  void *context;
  uint32_t (*thread_of)(const void *context, size_t step); /* below thread_count */
  tarn_status (*play)(void *context, size_t step);
} turns_list;

/* Plays until the end or the first failure, which is the calling thread's last error then. A step
 * begins when the one before it has returned, and sees what that has written. */
TARN_NODISCARD tarn_status turns_play(const turns_list *list);

#endif
