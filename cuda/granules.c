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
  const size_t count = size_bytes / self->granularity_bytes;
  const size_t words = count / 64 + 1;
  /* A range begins on a granule, so it may touch one piece more than it has room for. */
  const size_t piece_words =
      self->piece_bytes != 0 ? (size_bytes / self->piece_bytes + 1) / 64 + 1 : 0;
  const size_t handles = self->has_handles ? count : 0;
  tarn__granule_range *range =
      calloc(1, sizeof *range + (words + piece_words + handles) * sizeof range->used[0]);
  if (range == NULL) return NULL;
  range->size_bytes = size_bytes;
  range->pieces = piece_words != 0 ? (_Atomic uint64_t *)&range->used[words] : NULL;
  range->handles = handles != 0 ? &range->used[words + piece_words] : NULL;
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

tarn__granule_range *tarn__granules_find(tarn__granules *self, const void *address) {
  pthread_mutex_lock(&self->lock);
  tarn__granule_range *range = find_range(self, address);
  pthread_mutex_unlock(&self->lock);
  return range;
}

static bool is_used(const tarn__granule_range *range, size_t index) {
  return (range->used[index / 64] >> (index % 64) & 1) != 0;
}

/* Which piece of the range's the granule lies in. */
static size_t piece_of(const tarn__granules *self, const tarn__granule_range *range, size_t index) {
  const uintptr_t address = range->start + index * self->granularity_bytes;
  return address / self->piece_bytes - range->start / self->piece_bytes;
}

static bool is_piece(const tarn__granule_range *range, size_t piece) {
  /* Relaxed: the bit is whoever's granules are; it shares its word with others' alone. */
  return (atomic_load_explicit(&range->pieces[piece / 64], memory_order_relaxed) >> piece % 64 &
          1) != 0;
}

/* Granules on both sides of the boundary belong to one piece. */
static bool cuts_piece(const tarn__granules *self, const tarn__granule_range *range,
                       size_t boundary) {
  if (self->piece_bytes == 0 || boundary == 0) return false;
  if (boundary == range->size_bytes / self->granularity_bytes) return false;
  const size_t piece = piece_of(self, range, boundary);
  return piece == piece_of(self, range, boundary - 1) && is_piece(range, piece);
}

static bool flip(const tarn__granules *self, tarn__granule_range *range, size_t first, size_t count,
                 bool to_used) {
  for (size_t i = first; i < first + count; i++) {
    if (is_used(range, i) == to_used) return false;
  }
  if (!to_used && (cuts_piece(self, range, first) || cuts_piece(self, range, first + count))) {
    return false;
  }
  for (size_t i = first; i < first + count; i++) {
    range->used[i / 64] ^= UINT64_C(1) << (i % 64);
  }
  return true;
}

tarn__granule_range *tarn__granules_flip(tarn__granules *self, const void *address,
                                         size_t size_bytes, bool to_used) {
  pthread_mutex_lock(&self->lock);
  tarn__granule_range *range = find_range(self, address);
  const size_t offset = range != NULL ? (uintptr_t)address - range->start : 0;
  const bool is_flipped = range != NULL && size_bytes <= range->size_bytes - offset &&
                          flip(self, range, offset / self->granularity_bytes,
                               size_bytes / self->granularity_bytes, to_used);
  pthread_mutex_unlock(&self->lock);
  return is_flipped ? range : NULL;
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

size_t tarn__granule_piece(const tarn__granules *self, const tarn__granule_range *range,
                           size_t index) {
  const bool is_large = self->piece_bytes != 0 && is_piece(range, piece_of(self, range, index));
  return is_large ? self->piece_bytes / self->granularity_bytes : 1;
}

bool tarn__granule_fits_piece(const tarn__granules *self, const tarn__granule_range *range,
                              size_t index, size_t end) {
  const uintptr_t address = range->start + index * self->granularity_bytes;
  return self->piece_bytes != 0 && (address & (self->piece_bytes - 1)) == 0 &&
         end - index >= self->piece_bytes / self->granularity_bytes;
}

void tarn__granule_set_piece(const tarn__granules *self, tarn__granule_range *range, size_t index,
                             bool is_large) {
  if (self->piece_bytes == 0) return;
  const size_t piece = piece_of(self, range, index);
  const uint64_t bit = UINT64_C(1) << piece % 64;
  if (is_large) {
    atomic_fetch_or_explicit(&range->pieces[piece / 64], bit, memory_order_relaxed);
  } else if (is_piece(range, piece)) {
    atomic_fetch_and_explicit(&range->pieces[piece / 64], ~bit, memory_order_relaxed);
  }
}
