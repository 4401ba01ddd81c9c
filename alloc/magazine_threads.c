/* magazine_threads.c: how threads come by their magazines, and what happens when they end. */
#include <stdlib.h>

#include "alloc/tarn_barrier.h"
#include "alloc/magazine_fast.h"
#include "alloc/tag.h"

/* Pools that a thread uses at once without one pushing another's magazine out. */
enum { POOLS_MAX = 64 };

/* A thread's magazines, each where its pool's number says. Written by the thread with the lock, so
 * that a child of fork finds what the other threads had. */
typedef struct thread_table {
  tarn__magazine *magazines[POOLS_MAX];
  uint64_t used; /* a bit for each that is not NULL */
  struct thread_table *next;
  struct thread_table *previous;
} thread_table;

_Static_assert(POOLS_MAX == 64, "a thread's table has a bit for each place");

static _Thread_local thread_table *current_table;

/* Held while a thread comes, and while it leaves a pool that another thread may be taking down.
 * Rank: before a pool's lock. */
static pthread_mutex_t magazines_lock = PTHREAD_MUTEX_INITIALIZER;
static thread_table *all_tables;

/* Empties the magazine and takes it off the pool's list; its counts go over to the pool. */
static void detach(tarn__magazine *magazine) {
  tarn__caching *self = magazine->pool;
  tarn__magazine_note_peaks(self);
  tarn__magazine_drain(magazine);
  self->heap.requested_bytes +=
      atomic_load_explicit(&magazine->requested_bytes, memory_order_relaxed);
  tarn__magazine_count(magazine, &self->stats.alloc_count, &self->stats.free_count);
  if (magazine->previous != NULL) magazine->previous->next = magazine->next;
  if (magazine->next != NULL) magazine->next->previous = magazine->previous;
  if (self->magazines == magazine) self->magazines = magazine->next;
  for (int index = 0; index < TARN__MAGAZINE_PLACES; index++) {
    tarn__magazine_place *place = &self->places[index];
    if (atomic_load_explicit(&place->magazine, memory_order_relaxed) != magazine) continue;
    atomic_store_explicit(&place->thread, 0, memory_order_relaxed);
    atomic_store_explicit(&place->magazine, NULL, memory_order_relaxed);
  }
}

static void destroy_magazine(tarn__magazine *magazine) {
  for (tarn__lane *kept = magazine->lanes, *next = NULL; kept != NULL; kept = next) {
    next = kept->next;
    free(kept);
  }
  free(magazine);
}

/* The thread's own, and it is not inside. With the lock. */
static void discard(thread_table *table, size_t index) {
  tarn__magazine *magazine = table->magazines[index];
  table->magazines[index] = NULL;
  table->used &= ~(UINT64_C(1) << index);
  if (!magazine->is_forgotten) {
    pthread_mutex_t *lock = &magazine->pool->lock;
    pthread_mutex_lock(lock);
    detach(magazine);
    pthread_mutex_unlock(lock);
  }
  destroy_magazine(magazine);
}

static void destroy_table(thread_table *table) {
  if (table->previous != NULL) table->previous->next = table->next;
  if (table->next != NULL) table->next->previous = table->previous;
  if (all_tables == table) all_tables = table->next;
  free(table);
}

void tarn__magazines_forget(tarn__caching *self) {
  pthread_mutex_lock(&magazines_lock);
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    each->is_forgotten = true;
    atomic_fetch_add_explicit(&each->closed, 1, memory_order_relaxed);
  }
  self->magazines = NULL;
  pthread_mutex_unlock(&magazines_lock);
}

static pthread_key_t exit_key;
static bool has_exit_key;

static void leave_pools(void *argument) {
  thread_table *table = argument;
  pthread_mutex_lock(&magazines_lock);
  while (table->used != 0) discard(table, (size_t)__builtin_ctzll(table->used));
  /* Another library's destructor may still free something: it then gets a fresh table, and this
   * runs once more. */
  current_table = NULL;
  destroy_table(table);
  pthread_mutex_unlock(&magazines_lock);
}

/* The thread's own table; NULL where nobody would hear of its exit. With the lock. */
static thread_table *make_table(void) {
  if (!has_exit_key) has_exit_key = pthread_key_create(&exit_key, leave_pools) == 0;
  if (!has_exit_key) return NULL;
  thread_table *table = calloc(1, sizeof *table);
  if (table == NULL || pthread_setspecific(exit_key, table) != 0) {
    free(table);
    return NULL;
  }
  table->next = all_tables;
  if (table->next != NULL) table->next->previous = table;
  all_tables = table;
  current_table = table;
  return table;
}

void tarn__magazines_set_tag(uint32_t tag) {
  const thread_table *table = current_table;
  for (uint64_t left = table == NULL ? 0 : table->used; left != 0; left &= left - 1) {
    table->magazines[__builtin_ctzll(left)]->tag = tag;
  }
}

/* A magazine that is on no list; NULL where there is no memory. */
static tarn__magazine *make_magazine(tarn__caching *self) {
  tarn__magazine *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->pool = self;
  made->pool_id = self->id;
  made->tag = tarn__tag_current;
  for (int index = 0; index < TARN__KNOWN_LEAVES; index++) made->leaves[index].key = TARN__NO_LEAF;
  return made;
}

static void attach(tarn__magazine *made) {
  tarn__caching *self = made->pool;
  pthread_mutex_lock(&self->lock);
  const uint32_t fenced = tarn_barrier_is_one_sided() ? 0 : TARN__NEEDS_FENCE;
  atomic_init(&made->closed, self->magazines_closed_count + fenced);
  made->next = self->magazines;
  if (made->next != NULL) made->next->previous = made;
  self->magazines = made;
  const uintptr_t thread = tarn__thread_number();
  tarn__magazine_place *place = tarn__magazine_place_of(self, thread);
  if (atomic_load_explicit(&place->magazine, memory_order_relaxed) == NULL) {
    atomic_store_explicit(&place->magazine, made, memory_order_relaxed);
    atomic_store_explicit(&place->thread, thread, memory_order_relaxed);
  }
  pthread_mutex_unlock(&self->lock);
}

/* A pool that is gone may have had the same address, but not the same number. */
tarn__magazine *tarn__magazine_of_caller(const tarn__caching *self) {
  tarn__magazine *found =
      current_table == NULL ? NULL : current_table->magazines[self->id % POOLS_MAX];
  return found != NULL && found->pool_id == self->id ? found : NULL;
}

/* With the lock. */
static tarn__magazine *come_in(tarn__caching *self) {
  thread_table *table = current_table != NULL ? current_table : make_table();
  if (table == NULL) return NULL;
  const size_t index = self->id % POOLS_MAX;
  if (table->magazines[index] != NULL) discard(table, index);
  tarn__magazine *made = make_magazine(self);
  if (made == NULL) return NULL;
  attach(made);
  table->magazines[index] = made;
  table->used |= UINT64_C(1) << index;
  return made;
}

tarn__magazine *tarn__magazine_of_thread(tarn__caching *self) {
  tarn__magazine *found = tarn__magazine_of_caller(self);
  if (found != NULL) return found;
  pthread_mutex_lock(&magazines_lock);
  found = come_in(self);
  pthread_mutex_unlock(&magazines_lock);
  return found;
}

/* --- fork --- */

void tarn__magazines_hold(void) {
  pthread_mutex_lock(&magazines_lock);
}

void tarn__magazines_unhold(void) {
  pthread_mutex_unlock(&magazines_lock);
}

void tarn__magazines_mend(void) {
  for (thread_table *table = all_tables, *next = NULL; table != NULL; table = next) {
    next = table->next;
    if (table == current_table) continue;
    for (; table->used != 0; table->used &= table->used - 1) {
      tarn__magazine *magazine = table->magazines[__builtin_ctzll(table->used)];
      if (!magazine->is_forgotten) detach(magazine);
      destroy_magazine(magazine);
    }
    destroy_table(table);
  }
}
