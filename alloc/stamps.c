/* stamps.c: small sets of stamps, at most one per timeline. */
#include "alloc/stamps.h"

#include <stdlib.h>
#include <string.h>

static tarn__stamp *items(tarn__stamps *stamps) {
  return stamps->capacity != 0 ? stamps->more : stamps->few;
}

tarn__stamp tarn__stamps_at(const tarn__stamps *stamps, uint32_t index) {
  return stamps->capacity != 0 ? stamps->more[index] : stamps->few[index];
}

bool tarn__stamps_reserve(tarn__stamps *stamps, uint32_t more) {
  uint32_t capacity = stamps->capacity != 0 ? stamps->capacity : TARN__STAMPS_INLINE;
  if (stamps->count + more <= capacity) return true;
  while (capacity < stamps->count + more) capacity *= 2;
  tarn__stamp *grown = malloc(capacity * sizeof *grown);
  if (grown == NULL) return false;
  memcpy(grown, items(stamps), stamps->count * sizeof *grown);
  free(stamps->more);
  stamps->more = grown;
  stamps->capacity = capacity;
  return true;
}

void tarn__stamps_prune(tarn__stamps *stamps) {
  tarn__stamp *item = items(stamps);
  uint32_t kept = 0;
  for (uint32_t index = 0; index < stamps->count; index++) {
    if (!tarn__order_is_seen(item[index])) item[kept++] = item[index];
  }
  stamps->count = kept;
}

void tarn__stamps_drop_covered(tarn__stamps *stamps, const tarn_stream *stream) {
  tarn__stamp *item = items(stamps);
  uint32_t kept = 0;
  for (uint32_t index = 0; index < stamps->count; index++) {
    if (!tarn__order_is_covered(stream, item[index]) ||
        tarn__order_is_of_another(stream, item[index])) {
      item[kept++] = item[index];
    }
  }
  stamps->count = kept;
}

bool tarn__stamps_add(tarn__stamps *stamps, tarn__stamp stamp) {
  tarn__stamps_prune(stamps);
  if (tarn__order_is_seen(stamp)) return true;
  tarn__stamp *item = items(stamps);
  for (uint32_t index = 0; index < stamps->count; index++) {
    if (item[index].slot != stamp.slot) continue;
    if (item[index].ticket < stamp.ticket) item[index].ticket = stamp.ticket;
    return true;
  }
  if (!tarn__stamps_reserve(stamps, 1)) return false;
  items(stamps)[stamps->count++] = stamp;
  return true;
}

bool tarn__stamps_join(tarn__stamps *stamps, const tarn__stamps *other) {
  for (uint32_t index = 0; index < other->count; index++) {
    if (!tarn__stamps_add(stamps, tarn__stamps_at(other, index))) return false;
  }
  return true;
}

bool tarn__stamps_copy(tarn__stamps *stamps, const tarn__stamps *source) {
  tarn__stamps_clear(stamps);
  return tarn__stamps_join(stamps, source);
}

static bool stands_for(const tarn__stamps *stamps, tarn__stamp stamp) {
  for (uint32_t index = 0; index < stamps->count; index++) {
    const tarn__stamp own = tarn__stamps_at(stamps, index);
    if (own.slot == stamp.slot && own.ticket >= stamp.ticket) return true;
  }
  return tarn__order_is_seen(stamp);
}

bool tarn__stamps_stand_for(const tarn__stamps *stamps, const tarn__stamps *other) {
  for (uint32_t index = 0; index < other->count; index++) {
    if (!stands_for(stamps, tarn__stamps_at(other, index))) return false;
  }
  return true;
}

bool tarn__stamps_are_covered(const tarn__stamps *stamps, const tarn_stream *stream) {
  for (uint32_t index = 0; index < stamps->count; index++) {
    if (!tarn__order_is_covered(stream, tarn__stamps_at(stamps, index))) return false;
  }
  return true;
}

bool tarn__stamps_are_of_captures(const tarn__stamps *stamps) {
  for (uint32_t index = 0; index < stamps->count; index++) {
    const tarn__stamp stamp = tarn__stamps_at(stamps, index);
    if (tarn__order_is_private(stamp.slot) && !tarn__order_is_seen(stamp)) return true;
  }
  return false;
}

bool tarn__stamps_are_of_capture(const tarn__stamps *stamps, uint64_t capture_number) {
  for (uint32_t index = 0; index < stamps->count; index++) {
    const tarn__stamp stamp = tarn__stamps_at(stamps, index);
    if (tarn__order_is_seen(stamp)) continue;
    if (tarn__order_capture_number(stamp.slot) == capture_number) return true;
  }
  return false;
}

bool tarn__stamps_are_held(const tarn__stamps *stamps) {
  for (uint32_t index = 0; index < stamps->count; index++) {
    if (tarn__order_is_held(tarn__stamps_at(stamps, index))) return true;
  }
  return false;
}

tarn__stamp tarn__stamps_mark(const tarn__stamps *stamps, const tarn_stream *stream) {
  if (!tarn__order_is_captured(stream)) return tarn__order_stamp(stream);
  for (uint32_t index = 0; index < stamps->count; index++) {
    if (tarn__order_is_of_capture(stream, tarn__stamps_at(stamps, index))) {
      return tarn__order_stamp(stream);
    }
  }
  return tarn__order_limbo(stream);
}

void tarn__stamps_clear(tarn__stamps *stamps) {
  stamps->count = 0;
}

void tarn__stamps_deinit(tarn__stamps *stamps) {
  free(stamps->more);
  *stamps = (tarn__stamps){.count = 0};
}
