/* caching_poison.c: tells memory checkers what of a caching pool's memory may be touched. */
#include "alloc/caching_poison.h"

#include "alloc/magazine_state.h"

static bool is_host_pool(const tarn__caching *self) {
  return tarn_device_is_host(self->machine->device);
}

void tarn__caching_poison_if_idle(const tarn__caching *self, tarn__block *block) {
  const bool is_idle = tarn__stamps_are_covered(&block->stamps, /*stream=*/NULL);
  if (block->is_poisoned || !is_idle || !is_host_pool(self)) return;
  tarn_poison(block->address, block->size_bytes);
  block->is_poisoned = true;
}

void tarn__caching_poison_lend(const tarn__caching *self, tarn__block *block, size_t size_bytes) {
  if (!is_host_pool(self)) return;
  tarn__caching_poison_if_idle(self, block);
  if (block->is_poisoned) {
    tarn_poison_lend(block->address, size_bytes);
  } else { /* work that comes before the stream's next still reads and writes it */
    tarn_poison_lift(block->address, size_bytes);
  }
  block->is_poisoned = false;
}

void tarn__caching_poison_lift(const tarn__caching *self, tarn__block *block) {
  if (!is_host_pool(self)) return;
  tarn_poison_lift(block->address, block->size_bytes);
  block->is_poisoned = false;
}

static void look_at_lane(const tarn__caching *self, const tarn__lane *kept) {
  for (unsigned bin = 0; bin < TARN__SIZE_BINS; bin++) {
    tarn__block *block = kept->bins[bin];
    for (; block != NULL; block = block->below) tarn__caching_poison_if_idle(self, block);
  }
}

/* What the CPU freed last was poisoned then. */
static void look_at_magazines(tarn__caching *self) {
  tarn__magazines_close(self);
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    if (each->recent.lane != NULL) tarn__caching_poison_if_idle(self, each->recent.block);
    if (each->aside.lane != NULL) tarn__caching_poison_if_idle(self, each->aside.block);
    for (const tarn__lane *kept = each->lanes; kept != NULL; kept = kept->next) {
      look_at_lane(self, kept);
    }
  }
  tarn__magazines_open(self);
}

void tarn__caching_poison_seen(tarn__caching *self) {
  const uint64_t progress = tarn__order_progress();
  if (progress == self->poison_progress || !is_host_pool(self)) return;
  self->poison_progress = progress;
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state == TARN__BLOCK_FREE) tarn__caching_poison_if_idle(self, block);
    }
  }
  look_at_magazines(self);
}
