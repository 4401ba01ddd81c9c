/* slab.h: objects of one size, handed out and taken back in a few nanoseconds, never returned. */
#ifndef TARN_SLAB_H
#define TARN_SLAB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TARN__SLAB_PLACES = 64 };

/* What one thread keeps of a slab: read and written by that thread alone. A line of its own. */
typedef struct tarn__slab_place {
  _Alignas(64) _Atomic uintptr_t thread; /* 0: nobody's; written with the lock */
  void *free_list;
  size_t free_count;
  struct tarn__slab *slab;
} tarn__slab_place;

/* Chunks of objects are linked so that they stay reachable; a free object's first word links a free
 * list. A thread takes from and gives to a list of its own where it found a place for one, without
 * the lock, and hands it over when it ends. Define a slab with TARN__SLAB and leave it alone. The
 * lock is a leaf. */
typedef struct tarn__slab {
  pthread_mutex_t lock;
  size_t object_bytes;
  size_t alignment_bytes;
  void *free_list;
  void *chunks;
  pthread_key_t exit_key; /* tells of a thread's end */
  bool has_exit_key;
  _Atomic bool is_listed; /* of all slabs that were used, for fork */
  struct tarn__slab *next;
  tarn__slab_place places[TARN__SLAB_PLACES];
} tarn__slab;

#define TARN__SLAB(type)                                             \
  {                                                                  \
    .lock = PTHREAD_MUTEX_INITIALIZER, .object_bytes = sizeof(type), \
    .alignment_bytes = _Alignof(type)                                \
  }

/* An object with undefined contents, or NULL where there is no memory. */
void *tarn__slab_take(tarn__slab *slab);
void tarn__slab_give(tarn__slab *slab, void *object);

#endif
