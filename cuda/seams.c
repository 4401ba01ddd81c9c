/* seams.c: a list of ranges, few and large. */
#include "cuda/seams.h"

#include <stdlib.h>

void tarn__seams_init(tarn__seams *self) {
  *self = (tarn__seams){.ranges = NULL};
  pthread_mutex_init(&self->lock, NULL);
}

void tarn__seams_deinit(tarn__seams *self) {
  for (tarn__seam_range *range = self->ranges; range != NULL; range = self->ranges) {
    self->ranges = range->next;
    free(range);
  }
  pthread_mutex_destroy(&self->lock);
}

tarn_status tarn__seams_add(tarn__seams *self, const void *address, size_t size_bytes,
                            size_t piece_bytes) {
  tarn__seam_range *range = calloc(1, sizeof *range);
  if (range == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a range's record");
  range->start = (uintptr_t)address;
  range->size_bytes = size_bytes;
  range->piece_bytes = piece_bytes;
  pthread_mutex_lock(&self->lock);
  range->next = self->ranges;
  self->ranges = range;
  pthread_mutex_unlock(&self->lock);
  atomic_fetch_add_explicit(&self->range_count, 1, memory_order_relaxed);
  return TARN_OK;
}

void tarn__seams_remove(tarn__seams *self, const void *address) {
  if (atomic_load_explicit(&self->range_count, memory_order_relaxed) == 0) return;
  pthread_mutex_lock(&self->lock);
  tarn__seam_range **link = &self->ranges;
  while (*link != NULL && (*link)->start != (uintptr_t)address) link = &(*link)->next;
  tarn__seam_range *found = *link;
  if (found != NULL) *link = found->next;
  pthread_mutex_unlock(&self->lock);
  if (found != NULL) atomic_fetch_sub_explicit(&self->range_count, 1, memory_order_relaxed);
  free(found);
}

size_t tarn__seams_room(tarn__seams *self, const void *address) {
  if (atomic_load_explicit(&self->range_count, memory_order_relaxed) == 0) return SIZE_MAX;
  size_t room = SIZE_MAX;
  pthread_mutex_lock(&self->lock);
  for (const tarn__seam_range *range = self->ranges; range != NULL; range = range->next) {
    const size_t offset = (uintptr_t)address - range->start;
    if (offset >= range->size_bytes) continue;
    room = range->piece_bytes - offset % range->piece_bytes;
    break;
  }
  pthread_mutex_unlock(&self->lock);
  return room;
}
