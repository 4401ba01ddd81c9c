/* slab.h: objects of one size, handed out and taken back in a few nanoseconds, never returned. */
#ifndef TARN_SLAB_H
#define TARN_SLAB_H

#include <pthread.h>
#include <stddef.h>

/* Chunks of objects are linked so that they stay reachable; a free object's first word links the
 * free list. Define one with TARN__SLAB and leave it alone. The lock is a leaf. */
typedef struct tarn__slab {
  pthread_mutex_t lock;
  size_t object_bytes;
  void *free_list;
  void *chunks;
} tarn__slab;

#define TARN__SLAB(type) \
  { .lock = PTHREAD_MUTEX_INITIALIZER, .object_bytes = sizeof(type) }

/* An object with undefined contents, or NULL where there is no memory. */
void *tarn__slab_take(tarn__slab *slab);
void tarn__slab_give(tarn__slab *slab, void *object);

#endif
