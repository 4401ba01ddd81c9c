/* paused.c: the sorted pieces of what is paused, and their backups. */
#include "alloc/paused.h"

#include <stdlib.h>
#include <string.h>

static uintptr_t start_of(const tarn__piece *piece) {
  return (uintptr_t)piece->address;
}

static uintptr_t end_of(const tarn__piece *piece) {
  return (uintptr_t)piece->address + piece->size_bytes;
}

bool tarn__paused_reserve(tarn__paused *self, size_t more) {
  const size_t least = self->count + more + 1; /* two cuts come before what they cut out goes */
  if (self->capacity >= least) return true;
  size_t capacity = self->capacity + self->capacity / 2;
  if (capacity < least) capacity = least;
  tarn__piece *grown = realloc(self->pieces, capacity * sizeof *grown);
  if (grown == NULL) return false;
  self->pieces = grown;
  self->capacity = capacity;
  return true;
}

size_t tarn__paused_find(const tarn__paused *self, uintptr_t address) {
  size_t low = 0;
  for (size_t high = self->count; low < high;) {
    const size_t middle = low + (high - low) / 2;
    if (end_of(&self->pieces[middle]) > address) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

static void insert_at(tarn__paused *self, size_t index, const tarn__piece *piece) {
  TARN_ASSERT(self->count < self->capacity);
  tarn__piece *at = &self->pieces[index];
  memmove(at + 1, at, (self->count - index) * sizeof *at);
  *at = *piece;
  self->count++;
}

void tarn__paused_insert(tarn__paused *self, const tarn__piece *piece) {
  TARN_ASSERT(!tarn__paused_touches(self, start_of(piece), end_of(piece)));
  if (piece->backup != NULL) piece->backup->piece_count++;
  insert_at(self, tarn__paused_find(self, start_of(piece)), piece);
}

void tarn__paused_cut(tarn__paused *self, uintptr_t address) {
  const size_t index = tarn__paused_find(self, address);
  if (index == self->count || start_of(&self->pieces[index]) >= address) return;
  const size_t size_bytes = address - start_of(&self->pieces[index]);
  tarn__piece rest = self->pieces[index];
  rest.address += size_bytes;
  rest.size_bytes -= size_bytes;
  if (rest.backup != NULL) {
    rest.kept += size_bytes;
    rest.backup->piece_count++;
  }
  self->pieces[index].size_bytes = size_bytes;
  insert_at(self, index + 1, &rest);
}

bool tarn__paused_touches(const tarn__paused *self, uintptr_t start, uintptr_t end) {
  const size_t index = tarn__paused_find(self, start);
  return index < self->count && start_of(&self->pieces[index]) < end;
}

bool tarn__paused_lacks(const tarn__paused *self, uintptr_t start, uintptr_t end) {
  return tarn__paused_missing_bytes(self, start, end) == end - start;
}

size_t tarn__paused_missing_bytes(const tarn__paused *self, uintptr_t start, uintptr_t end) {
  size_t bytes = 0;
  for (size_t index = tarn__paused_find(self, start); index < self->count; index++) {
    const tarn__piece *piece = &self->pieces[index];
    if (start_of(piece) >= end) break;
    if (piece->has_memory) continue;
    const uintptr_t from = start_of(piece) > start ? start_of(piece) : start;
    const uintptr_t to = end_of(piece) < end ? end_of(piece) : end;
    bytes += to - from;
  }
  return bytes;
}

void tarn__paused_remove(tarn__paused *self, uintptr_t start, uintptr_t end) {
  tarn__paused_cut(self, start);
  tarn__paused_cut(self, end);
  const size_t first = tarn__paused_find(self, start);
  size_t last = first;
  for (; last < self->count && start_of(&self->pieces[last]) < end; last++) {
    tarn__backup *backup = self->pieces[last].backup;
    if (backup == NULL || --backup->piece_count != 0) continue;
    backup->next = self->gone;
    self->gone = backup;
  }
  memmove(&self->pieces[first], &self->pieces[last], (self->count - last) * sizeof *self->pieces);
  self->count -= last - first;
}

void tarn__backups_free(tarn__backup *gone, tarn_stream *stream) {
  while (gone != NULL) {
    tarn__backup *backup = gone;
    gone = backup->next;
    if (backup->memory != NULL) {
      const tarn_status status = tarn_pool_free(backup->pool, backup->memory, stream);
      TARN_ASSERT(status == TARN_OK);
      (void)status;
    }
    free(backup);
  }
}
