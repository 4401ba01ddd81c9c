/* handle_table.c: puts streams into the table of handles, and takes them out. */
#include "alloc/adapters/callbacks/handle_table.h"

#include <pthread.h>

/* Of those who write, in any table, so that a fork can hold it: a leaf, and streams are seldom new.
 * With it held no key is half in a table, and so the child's are whole. */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

static void hold(void) {
  pthread_mutex_lock(&table_lock);
}

static void unhold(void) {
  pthread_mutex_unlock(&table_lock);
}

__attribute__((constructor)) static void watch_forks(void) {
  (void)pthread_atfork(hold, unhold, unhold);
}

void tarn__handle_table_init(tarn__handle_table *table) {
  atomic_init(&table->change_count, 0);
  for (size_t i = 0; i < TARN__HANDLE_PLACES; i++) {
    atomic_init(&table->places[i].key, 0);
    atomic_init(&table->places[i].stream, tarn__handle_gone());
  }
}

static tarn_stream *scan(const tarn__handle_table *table, uintptr_t key) {
  size_t index = tarn__handle_place_of(key);
  for (size_t step = 0; step < TARN__HANDLE_PLACES; step++) {
    const tarn__handle_place *place = &table->places[index];
    const uintptr_t found = atomic_load_explicit(&place->key, memory_order_acquire);
    if (found == key) return atomic_load_explicit(&place->stream, memory_order_acquire);
    if (found == 0) break;
    index = (index + 1) % TARN__HANDLE_PLACES;
  }
  return tarn__handle_gone();
}

tarn_stream *tarn__handle_table_get_behind(tarn__handle_table *table, uintptr_t key) {
  const size_t before = tarn__handle_table_look(table);
  tarn_stream *found = scan(table, key);
  if (tarn__handle_table_is_settled(table, before)) return found;
  pthread_mutex_lock(&table_lock);
  found = scan(table, key);
  pthread_mutex_unlock(&table_lock);
  return found;
}

/* Where the key lies, or may come to lie; NULL for nowhere. */
static tarn__handle_place *place_for(tarn__handle_table *table, uintptr_t key) {
  tarn__handle_place *usable = NULL;
  size_t index = tarn__handle_place_of(key);
  for (size_t step = 0; step < TARN__HANDLE_PLACES; step++) {
    tarn__handle_place *place = &table->places[index];
    const uintptr_t found = atomic_load_explicit(&place->key, memory_order_relaxed);
    if (found == key) return place;
    const bool is_free =
        atomic_load_explicit(&place->stream, memory_order_relaxed) == tarn__handle_gone();
    if (usable == NULL && is_free) usable = place;
    if (found == 0) return usable;
    index = (index + 1) % TARN__HANDLE_PLACES;
  }
  return usable;
}

/* Release: the stream is whole, and the change is known, to whoever finds it. */
static void put(tarn__handle_table *table, tarn__handle_place *place, uintptr_t key,
                tarn_stream *stream) {
  const size_t before = atomic_load_explicit(&table->change_count, memory_order_relaxed);
  atomic_store_explicit(&table->change_count, before + 1, memory_order_relaxed);
  atomic_store_explicit(&place->stream, stream, memory_order_release);
  atomic_store_explicit(&place->key, key, memory_order_release);
  atomic_store_explicit(&table->change_count, before + 2, memory_order_release);
}

tarn_status tarn__handle_table_add(tarn__handle_table *table, uintptr_t key, tarn_stream **stream) {
  tarn_stream *given = *stream, *refused = NULL;
  tarn_status status = TARN_OK;
  pthread_mutex_lock(&table_lock);
  tarn_stream *const known = scan(table, key);
  tarn__handle_place *place = place_for(table, key);
  if (place == NULL) {
    refused = given;
    status = TARN_NOT_SUPPORTED;
  } else if (known != tarn__handle_gone()) {
    refused = given; /* another thread was here first */
    *stream = known;
  } else {
    put(table, place, key, given);
  }
  pthread_mutex_unlock(&table_lock);
  tarn_stream_release(refused);
  if (status == TARN_OK) return TARN_OK;
  *stream = NULL;
  return tarn_fail(status, "%d streams were handed over and not forgotten",
                   (int)TARN__HANDLE_PLACES);
}

/* Frees the places before `index` that nothing lies behind. */
static void tidy_before(tarn__handle_table *table, size_t index) {
  if (atomic_load_explicit(&table->places[index].key, memory_order_relaxed) != 0) return;
  for (;;) {
    index = (index + TARN__HANDLE_PLACES - 1) % TARN__HANDLE_PLACES;
    tarn__handle_place *place = &table->places[index];
    const bool is_gone =
        atomic_load_explicit(&place->key, memory_order_relaxed) != 0 &&
        atomic_load_explicit(&place->stream, memory_order_relaxed) == tarn__handle_gone();
    if (!is_gone) return;
    atomic_store_explicit(&place->key, 0, memory_order_release);
  }
}

bool tarn__handle_table_remove(tarn__handle_table *table, uintptr_t key, tarn_stream **stream) {
  pthread_mutex_lock(&table_lock);
  *stream = scan(table, key);
  const bool is_known = *stream != tarn__handle_gone();
  if (is_known) {
    tarn__handle_place *place = place_for(table, key);
    atomic_store_explicit(&place->stream, tarn__handle_gone(), memory_order_release);
    tidy_before(table, ((size_t)(place - table->places) + 1) % TARN__HANDLE_PLACES);
  }
  pthread_mutex_unlock(&table_lock);
  if (!is_known) *stream = NULL;
  return is_known;
}
