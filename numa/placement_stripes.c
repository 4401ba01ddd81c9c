/* placement_stripes.c: a range cut among nodes in turn, as arithmetic on addresses. */
#include "numa/placement.h"

static size_t sum_of_weights(const tarn_placement_resolved *resolved) {
  size_t sum = 0;
  for (int32_t i = 0; i < resolved->node_count; ++i) sum += resolved->weights[i];
  return sum;
}

tarn__stripe tarn__placement_stripe(const tarn_placement_resolved *resolved, uintptr_t address,
                                    size_t size_bytes) {
  size_t turn = address / resolved->stripe_bytes % sum_of_weights(resolved);
  int32_t index = 0;
  while (turn >= resolved->weights[index]) turn -= resolved->weights[index++];
  const size_t left_bytes =
      (resolved->weights[index] - turn) * resolved->stripe_bytes - address % resolved->stripe_bytes;
  return (tarn__stripe){.size_bytes = left_bytes < size_bytes ? left_bytes : size_bytes,
                        .index = index};
}

bool tarn__placement_choose_stripe(tarn_placement_resolved *resolved, size_t wished_bytes,
                                   size_t size_bytes) {
  size_t stripe_bytes = wished_bytes;
  if (stripe_bytes == 0) {
    stripe_bytes = resolved->page_bytes > TARN__PLACEMENT_HUGE_BYTES
                       ? resolved->page_bytes
                       : (size_t)TARN__PLACEMENT_HUGE_BYTES;
  }
  /* A range of less than n rounds meets at most n + 1 of them, and begins anywhere in a turn. */
  const size_t rounds_max = TARN_PLACEMENT_PIECES_MAX / (size_t)resolved->node_count - 2;
  size_t round_bytes;
  if (!tarn_size_mul(stripe_bytes, sum_of_weights(resolved), &round_bytes)) return false;
  while (size_bytes / round_bytes >= rounds_max) {
    if (!tarn_size_mul(round_bytes, 2, &round_bytes)) return false;
    stripe_bytes *= 2;
  }
  resolved->stripe_bytes = stripe_bytes;
  return true;
}
