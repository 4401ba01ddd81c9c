/* churn.h: a fixed random walk of allocations: the slot that is freed and filled, and its size. */
#ifndef BENCH_CHURN_H
#define BENCH_CHURN_H

#include <stddef.h>
#include <stdint.h>

enum {
  CHURN_STEPS = 1 << 16,  /* a power of two: a body walks round them */
  CHURN_ROUNDS_AHEAD = 8, /* untimed, for an allocator has to grow first */
};

typedef struct churn_step {
  uint32_t slot;
  uint32_t size_bytes;
} churn_step;

/* Log-uniform: a random power of two from 256 B to 2 MiB, and evenly inside it, below 4 MiB. The
 * caller frees; NULL where there is no memory. */
churn_step *churn_steps_make(uint32_t slot_count);

#endif
