/* caching_decay.c: gives back what was not needed for a while, by a clock that the caller reads.
 *
 * A window is cut into slices. What is reserved and not lent out at the worst moment of a slice was
 * not needed in it; the least over a whole window of slices was needed by nobody for as long. Each
 * slice that ends gives back its share of that, so a burst's memory goes in steps, and what comes
 * back once in a window stays. */
#include "alloc/magazine.h"

static const uint64_t DEFAULT_DECAY_NS = UINT64_C(10000000000);

/* What threads keep is not lent out. */
static size_t spare_bytes(const tarn__caching *self) {
  return tarn__caching_spare_bytes(self) + tarn__magazines_sum(self).kept_bytes;
}

void tarn__caching_note_spare(tarn__caching *self, size_t allocated_bytes) {
  const size_t reserved_bytes = self->heap.reserved_bytes - self->heap.asleep_bytes;
  const size_t spare = reserved_bytes > allocated_bytes ? reserved_bytes - allocated_bytes : 0;
  if (self->decay.lowest_now > spare) self->decay.lowest_now = spare;
}

/* Ends `count` slices: the ones behind the first saw no call, so its low counts for all. */
static void end_slices(tarn__decay *decay, uint64_t count) {
  if (count > TARN__DECAY_SLICES) count = TARN__DECAY_SLICES;
  for (; count > 0; count--) {
    decay->lowest[decay->slice] = decay->lowest_now;
    decay->slice = (decay->slice + 1) % TARN__DECAY_SLICES;
  }
}

static size_t lowest_in_window(const tarn__decay *decay) {
  size_t lowest = decay->lowest[0];
  for (int slice = 1; slice < TARN__DECAY_SLICES; slice++) {
    if (decay->lowest[slice] < lowest) lowest = decay->lowest[slice];
  }
  return lowest;
}

/* What has gone is spare in no slice any more. */
static void forget_released(tarn__decay *decay, size_t released_bytes) {
  for (int slice = 0; slice < TARN__DECAY_SLICES; slice++) {
    size_t *lowest = &decay->lowest[slice];
    *lowest = *lowest > released_bytes ? *lowest - released_bytes : 0;
  }
}

/* The share of `bytes` that goes when so many slices end: at least a granule, so that it ends. */
static size_t share_bytes(const tarn__caching *self, size_t bytes, uint64_t slice_count) {
  if (slice_count >= TARN__DECAY_SLICES) return bytes;
  size_t share = bytes / TARN__DECAY_SLICES * (size_t)slice_count;
  if (!tarn_size_round_up(share + 1, self->machine->granularity_bytes, &share)) return bytes;
  return share < bytes ? share : bytes;
}

static tarn_status decay_to(tarn__caching *self, uint64_t now_ns, size_t *released_bytes) {
  tarn__decay *decay = &self->decay;
  if (!decay->is_running) { /* nothing is known of the time before: all of it may be needed */
    tarn__magazines_gather(self, /*least_bytes=*/0); /* so that nobody looks back beyond now */
    *decay = (tarn__decay){.is_running = true, .start_ns = now_ns, .lowest_now = spare_bytes(self)};
    return TARN_OK;
  }
  uint64_t slice_ns = self->decay_ns / TARN__DECAY_SLICES;
  if (slice_ns == 0) slice_ns = 1;
  if (now_ns < decay->start_ns || now_ns - decay->start_ns < slice_ns) return TARN_OK;
  const uint64_t slice_count = (now_ns - decay->start_ns) / slice_ns;
  decay->start_ns += slice_count * slice_ns;
  tarn__caching_note_spare(self, tarn__magazines_peak_bytes(self));
  tarn__magazines_gather(self, /*least_bytes=*/0);
  end_slices(decay, slice_count);
  const size_t unneeded_bytes = lowest_in_window(decay);
  tarn_status status = TARN_OK;
  if (unneeded_bytes > 0) {
    tarn__caching_observe_pending(self);
    tarn__heap_join_all(&self->heap, /*clean_only=*/true);
    const size_t share = share_bytes(self, unneeded_bytes, slice_count);
    const size_t reserved_bytes = self->heap.reserved_bytes;
    status = tarn__caching_give_back(self, reserved_bytes > share ? reserved_bytes - share : 0,
                                     released_bytes);
    forget_released(decay, *released_bytes);
  }
  decay->lowest_now = spare_bytes(self);
  return status;
}

tarn_status tarn__caching_decay(void *context, uint64_t now_ns, size_t *released_bytes) {
  tarn__caching *self = context;
  const tarn_status there = tarn__caching_check_process(self);
  if (there != TARN_OK) return there;
  pthread_mutex_lock(&self->lock);
  if (self->decay_ns == 0) self->decay_ns = DEFAULT_DECAY_NS;
  tarn_status status = decay_to(self, now_ns, released_bytes);
  if (status == TARN_OK) status = tarn__caching_prepare(self, SIZE_MAX);
  pthread_mutex_unlock(&self->lock);
  return status;
}
