/* thread_caches.c: jemalloc's explicit caches: one per thread and arena, gone with either. */
#include "numa/thread_caches.h"

#include <jemalloc/jemalloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

/* Ranks before jemalloc's own locks, which flushing and destroying take. Guards the lists of the
 * arenas and the field `arena` of every cache. */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static tarn__cached_arena *arenas;
static atomic_uint_fast64_t last_arena_id;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* its value only makes the destructor run */
static bool has_key;

static _Thread_local tarn__thread_cache *own_caches; /* the most recently used first */
static _Thread_local bool is_ending;

static void unlink_from_arena(tarn__thread_cache *cache) {
  tarn__thread_cache **link = &cache->arena->first;
  while (*link != cache) link = &(*link)->next_of_arena;
  *link = cache->next_of_arena;
  cache->arena = NULL;
}

/* Also gives what it caches back to the arena. */
static void destroy_in_jemalloc(unsigned index) {
  (void)je_mallctl("tcache.destroy", NULL, NULL, &index, sizeof index);
}

static void end_thread(void *value) {
  (void)value;
  is_ending = true;
  pthread_mutex_lock(&registry);
  for (tarn__thread_cache *cache = own_caches; cache != NULL;) {
    tarn__thread_cache *const next = cache->next_of_thread;
    if (cache->arena != NULL) {
      unlink_from_arena(cache);
      destroy_in_jemalloc(cache->index);
    }
    free(cache);
    cache = next;
  }
  own_caches = NULL;
  pthread_mutex_unlock(&registry);
}

static void before_fork(void) {
  pthread_mutex_lock(&registry);
}

static void after_fork(void) {
  pthread_mutex_unlock(&registry);
}

static bool is_own(const tarn__thread_cache *cache) {
  const tarn__thread_cache *own = own_caches;
  while (own != NULL && own != cache) own = own->next_of_thread;
  return own != NULL;
}

/* The other threads are not there, and what they left may be half changed: nobody looks at it. */
static void after_fork_in_child(void) {
  for (tarn__cached_arena *arena = arenas; arena != NULL; arena = arena->next) {
    for (tarn__thread_cache **link = &arena->first; *link != NULL;) {
      if (is_own(*link)) {
        link = &(*link)->next_of_arena;
      } else {
        *link = (*link)->next_of_arena;
      }
    }
  }
  pthread_mutex_unlock(&registry);
}

static void start(void) {
  has_key = pthread_key_create(&key, end_thread) == 0;
  /* jemalloc registered its own handlers when it was loaded, so that this lock is taken first. */
  (void)pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

void tarn__cached_arena_init(tarn__cached_arena *arena) {
  pthread_once(&once, start);
  arena->id = atomic_fetch_add_explicit(&last_arena_id, 1, memory_order_relaxed) + 1;
  arena->first = NULL;
  pthread_mutex_lock(&registry);
  arena->next = arenas;
  arenas = arena;
  pthread_mutex_unlock(&registry);
}

void tarn__cached_arena_deinit(tarn__cached_arena *arena) {
  pthread_mutex_lock(&registry);
  while (arena->first != NULL) {
    tarn__thread_cache *const cache = arena->first;
    unlink_from_arena(cache);
    destroy_in_jemalloc(cache->index); /* the record itself is its thread's */
  }
  tarn__cached_arena **link = &arenas;
  while (*link != arena) link = &(*link)->next;
  *link = arena->next;
  pthread_mutex_unlock(&registry);
}

static bool try_take(tarn__thread_cache *cache) {
  /* Acquire pairs with put's release: the cache's content goes from one thread to the next. */
  return !atomic_exchange_explicit(&cache->is_taken, true, memory_order_acquire);
}

void tarn__cached_arena_flush(tarn__cached_arena *arena) {
  pthread_mutex_lock(&registry);
  for (tarn__thread_cache *cache = arena->first; cache != NULL; cache = cache->next_of_arena) {
    while (!try_take(cache)) sched_yield(); /* its thread is inside of one allocation or free */
    (void)je_mallctl("tcache.flush", NULL, NULL, &cache->index, sizeof cache->index);
    tarn__thread_cache_put(cache);
  }
  pthread_mutex_unlock(&registry);
}

/* Frees the thread's records of arenas that are gone. */
static void forget_dead_caches(void) {
  tarn__thread_cache **link = &own_caches;
  while (*link != NULL) {
    tarn__thread_cache *const cache = *link;
    if (cache->arena == NULL) {
      *link = cache->next_of_thread;
      free(cache);
    } else {
      link = &cache->next_of_thread;
    }
  }
}

static tarn__thread_cache *make_cache(tarn__cached_arena *arena) {
  if (is_ending || !has_key || pthread_setspecific(key, &key) != 0) return NULL;
  tarn__thread_cache *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  size_t index_bytes = sizeof made->index;
  if (je_mallctl("tcache.create", &made->index, &index_bytes, NULL, 0) != 0) {
    free(made);
    return NULL;
  }
  atomic_init(&made->is_taken, false);
  made->arena = arena;
  made->arena_id = arena->id;
  pthread_mutex_lock(&registry);
  forget_dead_caches();
  made->next_of_arena = arena->first;
  arena->first = made;
  pthread_mutex_unlock(&registry);
  made->next_of_thread = own_caches;
  own_caches = made;
  return made;
}

tarn__thread_cache *tarn__thread_cache_take(tarn__cached_arena *arena) {
  tarn__thread_cache *cache = own_caches;
  if (cache == NULL || cache->arena_id != arena->id) {
    tarn__thread_cache **link = &own_caches;
    while (*link != NULL && (*link)->arena_id != arena->id) link = &(*link)->next_of_thread;
    cache = *link;
    if (cache != NULL) { /* to the front: the same arena is likely to be used again */
      *link = cache->next_of_thread;
      cache->next_of_thread = own_caches;
      own_caches = cache;
    } else {
      cache = make_cache(arena);
    }
  }
  return cache != NULL && try_take(cache) ? cache : NULL;
}

void tarn__thread_cache_put(tarn__thread_cache *cache) {
  atomic_store_explicit(&cache->is_taken, false, memory_order_release);
}
