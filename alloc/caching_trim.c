/* caching_trim.c: how a caching pool gives idle memory back. */
#include "alloc/caching_poison.h"
#include "alloc/magazine.h"

/* What may go: until keep_bytes are left, and never below floor_bytes. */
typedef struct giving {
  size_t left_bytes;
  size_t keep_bytes;
  size_t floor_bytes;
  bool is_at_most; /* rather more are left than fewer */
} giving;

/* Bytes of an idle unit that go: whole granules, and no more than are to go. */
static size_t giveable_bytes(const tarn__caching *self, const giving *plan, size_t unit_bytes) {
  const size_t granule = self->machine->granularity_bytes;
  if (plan->left_bytes <= plan->keep_bytes || plan->left_bytes <= plan->floor_bytes) return 0;
  const size_t allowed_bytes = (plan->left_bytes - plan->floor_bytes) & ~(granule - 1);
  const size_t wanted_bytes = (plan->left_bytes - plan->keep_bytes + granule - 1) & ~(granule - 1);
  size_t bytes = unit_bytes < wanted_bytes ? unit_bytes : wanted_bytes;
  return bytes < allowed_bytes ? bytes : allowed_bytes;
}

tarn_provider_span tarn__caching_givable(const tarn__caching *self, const tarn__block *block) {
  const uintptr_t granule = self->machine->granularity_bytes;
  uintptr_t first = ((uintptr_t)block->address + granule - 1) & ~(granule - 1);
  uintptr_t end = ((uintptr_t)block->address + block->size_bytes) & ~(granule - 1);
  if (end < first) end = first;
  tarn__heap_trim_pieces(&self->heap, block->segment, &first, &end);
  return (tarn_provider_span){.address = block->address + (first - (uintptr_t)block->address),
                              .size_bytes = end - first};
}

/* Where what goes begins, so that it is no less than `bytes` or, at most, so many: a piece goes
 * whole or not. */
static uintptr_t first_to_go(const tarn__caching *self, const giving *plan,
                             const tarn__block *block, const tarn_provider_span *span,
                             size_t bytes) {
  uintptr_t end = (uintptr_t)span->address + span->size_bytes;
  const uintptr_t wanted = end - bytes;
  uintptr_t first = wanted;
  tarn__heap_trim_pieces(&self->heap, block->segment, &first, &end);
  if (first == wanted || plan->is_at_most) return first;
  const uintptr_t lower = wanted & ~(self->heap.piece_bytes - 1);
  return end - lower <= plan->left_bytes - plan->floor_bytes ? lower : first;
}

/* Claims whole granules inside a free block that no stream uses any more, the last ones. NULL where
 * there are none, or no records to cut them out. */
static tarn__block *claim_idle_granules(tarn__caching *self, tarn__block *block,
                                        const giving *plan) {
  const uintptr_t start = (uintptr_t)block->address;
  const tarn_provider_span span = tarn__caching_givable(self, block);
  const uintptr_t end = (uintptr_t)span.address + span.size_bytes;
  const size_t bytes = giveable_bytes(self, plan, span.size_bytes);
  if (bytes == 0) return NULL;
  const uintptr_t first = first_to_go(self, plan, block, &span, bytes);
  if (first == end) return NULL;
  tarn__heap_claim(block);
  if (first > start) {
    tarn__block *inner = tarn__block_split(block, first - start);
    tarn__heap_put_free(&self->heap, block);
    if (inner == NULL) return NULL;
    block = inner;
  }
  if (block->size_bytes > end - first) {
    tarn__block *rest = tarn__block_split(block, end - first);
    if (rest == NULL) {
      tarn__heap_put_free(&self->heap, block);
      return NULL;
    }
    tarn__heap_put_free(&self->heap, rest);
  }
  return block;
}

/* Claims a free segment that no stream uses any more. NULL where more would go than may. */
static tarn__block *claim_idle_segment(tarn__block *block, const giving *plan) {
  const bool is_whole = block->size_bytes == block->segment->size_bytes;
  const bool may_go = plan->left_bytes >= plan->floor_bytes &&
                      plan->left_bytes - plan->floor_bytes >= block->size_bytes;
  if (!is_whole || !may_go) return NULL;
  tarn__heap_claim(block);
  return block;
}

/* Claims idle memory as planned; the blocks are chained by `low`. */
static tarn__block *claim_idle(tarn__caching *self, giving plan) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  tarn__block *chain = NULL;
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (plan.left_bytes <= plan.keep_bytes) return chain;
      if (block->state != TARN__BLOCK_FREE) continue;
      tarn__stamps_prune(&block->stamps);
      if (block->stamps.count != 0) continue;
      tarn__block *idle =
          reserves ? claim_idle_granules(self, block, &plan) : claim_idle_segment(block, &plan);
      if (idle == NULL) continue;
      plan.left_bytes -= idle->size_bytes;
      idle->is_going = true;
      idle->low = chain;
      chain = idle;
      block = idle;
    }
  }
  return chain;
}

tarn__block *tarn__caching_claim_idle(tarn__caching *self, size_t at_most_bytes) {
  const size_t reserved_bytes = self->heap.reserved_bytes;
  const giving plan = {
      .left_bytes = reserved_bytes,
      .keep_bytes = reserved_bytes > at_most_bytes ? reserved_bytes - at_most_bytes : 0,
      .is_at_most = true};
  return claim_idle(self, plan);
}

void tarn__caching_note_hole(tarn__caching *self, tarn__block *block) {
  const uintptr_t start = (uintptr_t)block->address;
  tarn__heap_note_pieces(&self->heap, block->segment, start, start + block->size_bytes,
                         /*is_committed=*/false);
  self->heap.reserved_bytes -= block->size_bytes;
  tarn__heap_put_hole(&self->heap, block);
}

static tarn_status release_chain(tarn__caching *self, tarn__block *chain, size_t *released_bytes) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  tarn_status result = TARN_OK;
  while (chain != NULL) {
    tarn__block *block = chain;
    chain = block->low;
    self->stats.provider_calls++;
    self->giving_count++;
    tarn__caching_watch_gone(self, block);
    tarn__caching_leave(self);
    const tarn_status status =
        reserves ? tarn_provider_decommit(self->provider, block->address, block->size_bytes)
                 : tarn_provider_free(self->provider, block->address, block->size_bytes);
    tarn__caching_return(self);
    self->giving_count--;
    block->is_going = false;
    if (status != TARN_OK) result = status;
    if (status == TARN_OK) *released_bytes += block->size_bytes;
    if (status == TARN_OK || !reserves) {
      tarn_budget_pay_back(self->budget, block->size_bytes);
      tarn__caching_trace(self, 'r', block->address, block->size_bytes, /*stream=*/NULL);
    }
    if (reserves && status == TARN_OK) {
      tarn__caching_note_hole(self, block);
    } else if (reserves) {
      tarn__caching_watch_free(self, block);
      tarn__heap_put_free(&self->heap, block);
    } else {
      tarn__heap_remove_segment(&self->heap, block->segment); /* refused or not, it is gone */
    }
  }
  tarn__caching_note_change(self);
  return result;
}

void tarn__caching_release_chain(tarn__caching *self, tarn__block *chain) {
  size_t released_bytes = 0;
  const tarn_status status = release_chain(self, chain, &released_bytes);
  (void)status; /* what the provider does not take stays free */
}

tarn_status tarn__caching_release_idle(tarn__caching *self, size_t keep_bytes,
                                       size_t *released_bytes) {
  const giving plan = {.left_bytes = self->heap.reserved_bytes, .keep_bytes = keep_bytes};
  return release_chain(self, claim_idle(self, plan), released_bytes);
}

tarn_status tarn__caching_give_back(tarn__caching *self, size_t keep_bytes,
                                    size_t *released_bytes) {
  const giving plan = {.left_bytes = self->heap.reserved_bytes,
                       .keep_bytes = keep_bytes,
                       .floor_bytes = self->floor_bytes + self->heap.paused_bytes};
  return release_chain(self, claim_idle(self, plan), released_bytes);
}

tarn__stamps tarn__caching_pending_stamps(tarn__caching *self) {
  tarn__stamps stamps = {.count = 0};
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state != TARN__BLOCK_FREE) continue;
      const bool is_joined = tarn__stamps_join(&stamps, &block->stamps);
      (void)is_joined;
    }
  }
  return stamps;
}

void tarn__caching_observe_pending(tarn__caching *self) {
  tarn__stamps stamps = tarn__caching_pending_stamps(self);
  pthread_mutex_unlock(&self->lock);
  tarn__order_cost cost = {0};
  for (uint32_t index = 0; index < stamps.count; index++) {
    (void)tarn__order_is_done(tarn__stamps_at(&stamps, index), &cost);
  }
  tarn__stamps_deinit(&stamps);
  pthread_mutex_lock(&self->lock);
  tarn__caching_add_cost(self, &cost);
}

/* Points that the host waits for: the last one of each timeline, 0 for none. */
typedef struct host_waits {
  uint64_t tickets[TARN_STREAMS_MAX];
} host_waits;

static void add_waits(host_waits *waits, const tarn__stamps *stamps) {
  for (uint32_t index = 0; index < stamps->count; index++) {
    const tarn__stamp stamp = tarn__stamps_at(stamps, index);
    /* What is held cannot be waited for, and must not stand for what can. */
    if (tarn__order_is_seen(stamp) || tarn__order_is_held(stamp)) continue;
    uint64_t *ticket = &waits->tickets[stamp.slot];
    if (*ticket < stamp.ticket) *ticket = stamp.ticket;
  }
}

/* Leaves the lock. */
static void wait_all(tarn__caching *self, const host_waits *waits) {
  pthread_mutex_unlock(&self->lock);
  tarn__order_cost cost = {0};
  for (uint32_t slot = 0; slot < TARN_STREAMS_MAX; slot++) {
    if (waits->tickets[slot] == 0) continue;
    const tarn_status status =
        tarn__order_behind(NULL, (tarn__stamp){slot, waits->tickets[slot]}, &cost);
    (void)status; /* a stream that cannot be waited for leaves its blocks pending */
  }
  pthread_mutex_lock(&self->lock);
  tarn__caching_add_cost(self, &cost);
}

void tarn__caching_wait_for_pending(tarn__caching *self) {
  host_waits waits = {{0}};
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state == TARN__BLOCK_FREE) add_waits(&waits, &block->stamps);
    }
  }
  wait_all(self, &waits);
}

/* What goes back to the provider as one: a free block of a provider that reserves, as far as it
 * holds whole granules; else a segment, all of it free. */
typedef struct unit {
  tarn__block *first;
  size_t idle_bytes; /* 0: nothing of it can go back */
  bool is_segment;
} unit;

/* By waiting. */
static bool may_become_idle(const tarn__block *block) {
  return block->state == TARN__BLOCK_FREE && !tarn__stamps_are_held(&block->stamps);
}

static unit unit_at(const tarn__caching *self, tarn__block *block) {
  if ((self->machine->flags & TARN_PROVIDER_RESERVES) != 0) {
    const size_t idle_bytes =
        may_become_idle(block) ? tarn__caching_givable(self, block).size_bytes : 0;
    return (unit){.first = block, .idle_bytes = idle_bytes};
  }
  for (const tarn__block *each = block; each != NULL; each = each->right) {
    if (!may_become_idle(each)) return (unit){.first = block, .is_segment = true};
  }
  return (unit){.first = block, .idle_bytes = block->segment->size_bytes, .is_segment = true};
}

/* The unit behind this one, in any segment; NULL at the end. */
static tarn__block *next_unit(const unit *self) {
  tarn__block *next = self->is_segment ? NULL : self->first->right;
  if (next != NULL) return next;
  const tarn__segment *segment = self->first->segment->next;
  return segment != NULL ? segment->first : NULL;
}

static void add_unit_waits(host_waits *waits, const unit *self) {
  for (tarn__block *block = self->first; block != NULL; block = block->right) {
    add_waits(waits, &block->stamps);
    if (!self->is_segment) return;
  }
}

/* Timelines that have to be waited for, besides those that are, until the unit is idle. */
static uint32_t missing_waits(const host_waits *waits, const unit *self) {
  uint32_t count = 0;
  for (tarn__block *block = self->first; block != NULL; block = block->right) {
    for (uint32_t index = 0; index < block->stamps.count; index++) {
      const tarn__stamp stamp = tarn__stamps_at(&block->stamps, index);
      if (waits->tickets[stamp.slot] == 0 && !tarn__order_is_seen(stamp)) count++;
    }
    if (!self->is_segment) return count;
  }
  return count;
}

/* Greedy: again and again the unit that takes the fewest streams more, the largest of these. What
 * an earlier choice makes idle as well comes for nothing. */
void tarn__caching_wait_for_enough(tarn__caching *self, size_t enough_bytes) {
  host_waits waits = {{0}};
  tarn__segment *const start = self->heap.segments;
  for (;;) {
    size_t idle_bytes = 0;
    unit best = {.first = NULL};
    uint32_t best_count = 0;
    for (tarn__block *at = start != NULL ? start->first : NULL; at != NULL;) {
      const unit here = unit_at(self, at);
      at = next_unit(&here);
      if (here.idle_bytes == 0) continue;
      const uint32_t count = missing_waits(&waits, &here);
      if (count == 0) {
        idle_bytes += here.idle_bytes;
        add_unit_waits(&waits, &here); /* raises tickets only */
      } else if (best.first == NULL || count < best_count ||
                 (count == best_count && here.idle_bytes > best.idle_bytes)) {
        best = here;
        best_count = count;
      }
    }
    if (idle_bytes >= enough_bytes || best.first == NULL) break;
    add_unit_waits(&waits, &best);
  }
  wait_all(self, &waits);
}

/* What other threads are giving back counts as well once it is back: whoever asks has not seen it
 * paid for. They hold up nobody, for a provider takes memory back without asking for any. */
static bool await_givers(tarn__caching *self) {
  const bool is_any = self->giving_count > 0;
  while (self->giving_count > 0) pthread_cond_wait(&self->settled, &self->lock);
  return is_any;
}

bool tarn__caching_answer_pressure(void *context, const tarn_pressure *pressure) {
  tarn__caching *self = context;
  size_t released_bytes = 0;
  pthread_mutex_lock(&self->lock);
  tarn__magazines_gather(self, /*least_bytes=*/0);
  tarn__caching_wait_for_enough(self, pressure->missing_bytes);
  tarn__heap_join_all(&self->heap, /*clean_only=*/true);
  const size_t reserved_bytes = self->heap.reserved_bytes;
  const tarn_status status = tarn__caching_give_back(
      self, reserved_bytes > pressure->missing_bytes ? reserved_bytes - pressure->missing_bytes : 0,
      &released_bytes);
  (void)status; /* what the provider refused to take is not given */
  const bool has_others = released_bytes < pressure->missing_bytes && await_givers(self);
  pthread_mutex_unlock(&self->lock);
  return released_bytes > 0 || has_others;
}
