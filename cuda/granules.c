/* granules.c: bitmaps of the granules that have memory, range by range. */
#include "cuda/granules.h"

#include <stdlib.h>

void tarn__granules_init(tarn__granules *self, size_t granularity_bytes) {
  *self = (tarn__granules){.granularity_bytes = granularity_bytes};
  pthread_mutex_init(&self->lock, NULL);
}

void tarn__granules_deinit(tarn__granules *self) {
  for (tarn__granule_range *range = self->ranges; range != NULL; range = self->ranges) {
    self->ranges = range->next;
    free(range);
  }
  pthread_mutex_destroy(&self->lock);
}

tarn__granule_range *tarn__granule_range_create(const tarn__granules *self, size_t size_bytes) {
  const size_t words = size_bytes / self->granularity_bytes / 64 + 1;
  tarn__granule_range *range = calloc(1, sizeof *range + words * sizeof range->used[0]);
  if (range != NULL) range->size_bytes = size_bytes;
  return range;
}

void tarn__granules_add(tarn__granules *self, tarn__granule_range *range, void *address) {
  range->start = (uintptr_t)address;
  pthread_mutex_lock(&self->lock);
  range->next = self->ranges;
  self->ranges = range;
  pthread_mutex_unlock(&self->lock);
}

tarn__granule_range *tarn__granules_remove(tarn__granules *self, const void *address,
                                           size_t size_bytes) {
  pthread_mutex_lock(&self->lock);
  tarn__granule_range **link = &self->ranges;
  while (*link != NULL && (*link)->start != (uintptr_t)address) link = &(*link)->next;
  tarn__granule_range *found = *link;
  if (found != NULL && found->size_bytes != size_bytes) found = NULL;
  if (found != NULL) *link = found->next;
  pthread_mutex_unlock(&self->lock);
  return found;
}

static tarn__granule_range *find_range(const tarn__granules *self, const void *address) {
  for (tarn__granule_range *range = self->ranges; range != NULL; range = range->next) {
    if ((uintptr_t)address - range->start < range->size_bytes) return range;
  }
  return NULL;
}

static bool is_used(const tarn__granule_range *range, size_t index) {
  return (range->used[index / 64] >> (index % 64) & 1) != 0;
}

static bool flip(tarn__granule_range *range, size_t first, size_t count, bool to_used) {
  for (size_t i = first; i < first + count; i++) {
    if (is_used(range, i) == to_used) return false;
  }
  for (size_t i = first; i < first + count; i++) {
    range->used[i / 64] ^= UINT64_C(1) << (i % 64);
  }
  return true;
}

bool tarn__granules_flip(tarn__granules *self, const void *address, size_t size_bytes,
                         bool to_used) {
  pthread_mutex_lock(&self->lock);
  tarn__granule_range *range = find_range(self, address);
  const size_t offset = range != NULL ? (uintptr_t)address - range->start : 0;
  const bool is_flipped =
      range != NULL && size_bytes <= range->size_bytes - offset &&
      flip(range, offset / self->granularity_bytes, size_bytes / self->granularity_bytes, to_used);
  pthread_mutex_unlock(&self->lock);
  return is_flipped;
}

size_t tarn__granule_range_run(const tarn__granules *self, const tarn__granule_range *range,
                               size_t *first) {
  const size_t count = range->size_bytes / self->granularity_bytes;
  size_t at = *first;
  while (at < count && !is_used(range, at)) at++;
  *first = at;
  while (at < count && is_used(range, at)) at++;
  return at - *first;
}
