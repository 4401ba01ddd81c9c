/* churn.c: a fixed random walk of allocations. */
#include "bench/churn.h"

#include <stdlib.h>

static uint64_t next_random(uint64_t *state) {
  /* xorshift64 (Marsaglia 2003). */
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

churn_step *churn_steps_make(uint32_t slot_count) {
  churn_step *steps = malloc(CHURN_STEPS * sizeof *steps);
  uint64_t state = 88172645463325252u;
  for (size_t i = 0; steps != NULL && i < CHURN_STEPS; i++) {
    const uint64_t random = next_random(&state);
    const uint32_t base = UINT32_C(256) << (random % 14);
    steps[i] = (churn_step){
        .slot = (uint32_t)((random >> 8) % slot_count),
        .size_bytes = base + (uint32_t)((random >> 32) % base),
    };
  }
  return steps;
}
