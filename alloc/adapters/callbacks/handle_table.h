/* handle_table.h: streams by the handles that a client names them by, found without a lock.
 *
 * Open addressing: a key lies at the first place from its own on that was free, and places are not
 * moved. A place whose stream is gone keeps its key, so that what lies behind it is found, until
 * another key needs a place or nothing lies behind it. Whoever looks for a key while it is removed
 * may find either; nobody does, by the contract of tarn_callbacks_forget. Whoever reads a place
 * while another key comes into it sees by `change_count` that its key and its stream may not belong
 * together. */
#ifndef TARN_CALLBACKS_HANDLE_TABLE_H
#define TARN_CALLBACKS_HANDLE_TABLE_H

#include <stdatomic.h>

#include "alloc/tarn_stream.h"

enum { TARN__HANDLE_PLACE_BITS = 11, TARN__HANDLE_PLACES = 1 << TARN__HANDLE_PLACE_BITS };

typedef struct tarn__handle_place {
  _Atomic uintptr_t key;         /* 0: free. Written last, where a key comes in */
  _Atomic(tarn_stream *) stream; /* a reference; tarn__handle_gone(): none */
} tarn__handle_place;

typedef struct tarn__handle_table {
  _Atomic size_t change_count; /* odd while a key comes in */
  tarn__handle_place places[TARN__HANDLE_PLACES];
} tarn__handle_table;

/* No stream's address; a NULL stream is one. */
static inline tarn_stream *tarn__handle_gone(void) {
  return (tarn_stream *)(uintptr_t)1;
}

void tarn__handle_table_init(tarn__handle_table *table);

static inline size_t tarn__handle_place_of(uintptr_t key) {
  return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - TARN__HANDLE_PLACE_BITS));
}

/* What the count has to be once a place was read; never so while a key comes in. */
static inline size_t tarn__handle_table_look(const tarn__handle_table *table) {
  return atomic_load_explicit(&table->change_count, memory_order_acquire) & ~(size_t)1;
}

/* Whether what was read since belongs together. The places' acquires pair with the releases of
 * whoever puts a stream in: who has seen that sees the count changed. */
static inline bool tarn__handle_table_is_settled(const tarn__handle_table *table, size_t before) {
  return atomic_load_explicit(&table->change_count, memory_order_relaxed) == before;
}

/* The stream of a key, which may be NULL, or tarn__handle_gone(), as for 0. `_behind` is for those
 * that do not lie at their own place, or may have been moved in just now. */
tarn_stream *tarn__handle_table_get_behind(tarn__handle_table *table, uintptr_t key);

static inline tarn_stream *tarn__handle_table_get(tarn__handle_table *table, uintptr_t key) {
  const size_t before = tarn__handle_table_look(table);
  const tarn__handle_place *place = &table->places[tarn__handle_place_of(key)];
  /* Acquire: pairs with the release of whoever puts it in. */
  if (__builtin_expect(atomic_load_explicit(&place->key, memory_order_acquire) == key, true)) {
    tarn_stream *found = atomic_load_explicit(&place->stream, memory_order_acquire);
    if (__builtin_expect(tarn__handle_table_is_settled(table, before), true)) return found;
  }
  return tarn__handle_table_get_behind(table, key);
}

/* Takes *stream, or releases it where another one is there already: that one it answers.
 * TARN_NOT_SUPPORTED, and released, where there are too many. */
tarn_status tarn__handle_table_add(tarn__handle_table *table, uintptr_t key, tarn_stream **stream);
/* The reference is the caller's; false where there is none. */
bool tarn__handle_table_remove(tarn__handle_table *table, uintptr_t key, tarn_stream **stream);

#endif
