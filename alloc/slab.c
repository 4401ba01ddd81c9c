/* slab.c: free lists of equal objects over chunks that are kept. */
#include "alloc/slab.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "alloc/fork.h"
#include "alloc/thread_number.h"

enum {
  CHUNK_OBJECTS = 64,
  ALIGNMENT_MIN = 16,
  /* A thread keeps no more objects than this, and moves half of them at once. */
  PLACE_OBJECTS_MAX = 64,
};

static void *next_of(void *object) {
  return *(void **)object;
}

static void push(void **list, void *object) {
  *(void **)object = *list;
  *list = object;
}

static void *pop(void **list) {
  void *object = *list;
  *list = next_of(object);
  return object;
}

static tarn__slab_place *place_of(tarn__slab *slab, uintptr_t thread) {
  return &slab->places[tarn__thread_place(thread, TARN__SLAB_PLACES)];
}

static bool is_own(const tarn__slab_place *place, uintptr_t thread) {
  return atomic_load_explicit(&place->thread, memory_order_relaxed) == thread;
}

/* Ranks before the locks of the slabs. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static tarn__slab *listed;

/* Before the slab's lock is taken first. */
static void enlist(tarn__slab *slab) {
  if (atomic_load_explicit(&slab->is_listed, memory_order_acquire)) return;
  pthread_mutex_lock(&list_lock);
  if (!atomic_load_explicit(&slab->is_listed, memory_order_relaxed)) {
    slab->next = listed;
    listed = slab;
    atomic_store_explicit(&slab->is_listed, true, memory_order_release);
  }
  pthread_mutex_unlock(&list_lock);
}

/* --- with the lock --- */

/* Puts a chunk of fresh objects on the free list. */
static bool grow(tarn__slab *slab) {
  const size_t alignment =
      slab->alignment_bytes > ALIGNMENT_MIN ? slab->alignment_bytes : ALIGNMENT_MIN;
  const size_t step = (slab->object_bytes + alignment - 1) & ~(alignment - 1);
  char *chunk = malloc(sizeof(void *) + alignment - 1 + step * CHUNK_OBJECTS);
  if (chunk == NULL) return false;
  push(&slab->chunks, chunk);
  const uintptr_t after_link = (uintptr_t)chunk + sizeof(void *);
  char *first = chunk + (((after_link + alignment - 1) & ~(alignment - 1)) - (uintptr_t)chunk);
  for (int index = CHUNK_OBJECTS - 1; index >= 0; index--) {
    push(&slab->free_list, first + step * (size_t)index);
  }
  return true;
}

static void hand_over(void *argument) {
  tarn__slab_place *place = argument;
  pthread_mutex_lock(&place->slab->lock);
  while (place->free_list != NULL) push(&place->slab->free_list, pop(&place->free_list));
  place->free_count = 0;
  atomic_store_explicit(&place->thread, 0, memory_order_relaxed);
  pthread_mutex_unlock(&place->slab->lock);
}

/* Makes the thread's place its own, where nobody else's and the thread's end can be heard of. */
static bool claim(tarn__slab *slab, tarn__slab_place *place, uintptr_t thread) {
  if (is_own(place, thread)) return true;
  if (!is_own(place, 0)) return false;
  if (!slab->has_exit_key) {
    slab->has_exit_key = pthread_key_create(&slab->exit_key, hand_over) == 0;
  }
  if (!slab->has_exit_key || pthread_setspecific(slab->exit_key, place) != 0) return false;
  place->slab = slab;
  atomic_store_explicit(&place->thread, thread, memory_order_relaxed);
  return true;
}

static __attribute__((noinline)) void *take_locked(tarn__slab *slab, tarn__slab_place *place,
                                                   uintptr_t thread) {
  enlist(slab);
  pthread_mutex_lock(&slab->lock);
  void *object = NULL;
  if (slab->free_list != NULL || grow(slab)) object = pop(&slab->free_list);
  if (object != NULL && claim(slab, place, thread)) {
    while (slab->free_list != NULL && place->free_count < PLACE_OBJECTS_MAX / 2) {
      push(&place->free_list, pop(&slab->free_list));
      place->free_count++;
    }
  }
  pthread_mutex_unlock(&slab->lock);
  return object;
}

static __attribute__((noinline)) void give_locked(tarn__slab *slab, tarn__slab_place *place,
                                                  uintptr_t thread, void *object) {
  pthread_mutex_lock(&slab->lock);
  push(&slab->free_list, object);
  if (claim(slab, place, thread)) {
    while (place->free_count > PLACE_OBJECTS_MAX / 2) {
      push(&slab->free_list, pop(&place->free_list));
      place->free_count--;
    }
  }
  pthread_mutex_unlock(&slab->lock);
}

/* --- without --- */

void *tarn__slab_take(tarn__slab *slab) {
  const uintptr_t thread = tarn__thread_number();
  tarn__slab_place *place = place_of(slab, thread);
  if (!is_own(place, thread) || place->free_list == NULL) return take_locked(slab, place, thread);
  place->free_count--;
  return pop(&place->free_list);
}

void tarn__slab_give(tarn__slab *slab, void *object) {
  const uintptr_t thread = tarn__thread_number();
  tarn__slab_place *place = place_of(slab, thread);
  if (!is_own(place, thread) || place->free_count >= PLACE_OBJECTS_MAX) {
    give_locked(slab, place, thread, object);
    return;
  }
  place->free_count++;
  push(&place->free_list, object);
}

/* --- fork --- */

void tarn__slab_hold(void) {
  pthread_mutex_lock(&list_lock);
  for (tarn__slab *slab = listed; slab != NULL; slab = slab->next) pthread_mutex_lock(&slab->lock);
}

void tarn__slab_unhold(void) {
  for (tarn__slab *slab = listed; slab != NULL; slab = slab->next) {
    pthread_mutex_unlock(&slab->lock);
  }
  pthread_mutex_unlock(&list_lock);
}

/* The other threads were not stopped: what lies in their lists may be in use or half linked, and is
 * not taken again. */
void tarn__slab_mend(void) {
  const uintptr_t thread = tarn__thread_number();
  for (tarn__slab *slab = listed; slab != NULL; slab = slab->next) {
    for (size_t index = 0; index < TARN__SLAB_PLACES; index++) {
      tarn__slab_place *place = &slab->places[index];
      if (is_own(place, thread)) continue;
      place->free_list = NULL;
      place->free_count = 0;
      atomic_store_explicit(&place->thread, 0, memory_order_relaxed);
    }
  }
  tarn__slab_unhold();
}
