/* slab.c: free lists of equal objects over chunks that are kept. */
#include "alloc/slab.h"

#include <stdlib.h>

enum { CHUNK_OBJECTS = 64, OBJECT_ALIGNMENT = 16 };

/* Under the lock. Puts a chunk of fresh objects on the free list. */
static void *grow(tarn__slab *slab) {
  const size_t step = (slab->object_bytes + OBJECT_ALIGNMENT - 1) & ~(size_t)(OBJECT_ALIGNMENT - 1);
  char *chunk = malloc(OBJECT_ALIGNMENT + step * CHUNK_OBJECTS);
  if (chunk == NULL) return NULL;
  *(void **)chunk = slab->chunks;
  slab->chunks = chunk;
  for (int index = CHUNK_OBJECTS - 1; index >= 0; index--) {
    char *object = chunk + OBJECT_ALIGNMENT + step * (size_t)index;
    *(void **)object = slab->free_list;
    slab->free_list = object;
  }
  return slab->free_list;
}

void *tarn__slab_take(tarn__slab *slab) {
  pthread_mutex_lock(&slab->lock);
  void *object = slab->free_list != NULL ? slab->free_list : grow(slab);
  if (object != NULL) slab->free_list = *(void **)object;
  pthread_mutex_unlock(&slab->lock);
  return object;
}

void tarn__slab_give(tarn__slab *slab, void *object) {
  pthread_mutex_lock(&slab->lock);
  *(void **)object = slab->free_list;
  slab->free_list = object;
  pthread_mutex_unlock(&slab->lock);
}
