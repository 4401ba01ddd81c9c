/* granules.h: ranges of reserved addresses, and which granules of each have memory behind them. */
#ifndef TARN_GRANULES_H
#define TARN_GRANULES_H

#include "alloc/tarn_status.h"

#include <pthread.h>

typedef struct tarn__granule_range {
  struct tarn__granule_range *next;
  uintptr_t start;
  size_t size_bytes;
  uint64_t used[]; /* one bit per granule: it has memory, or is getting some */
} tarn__granule_range;

typedef struct tarn__granules {
  size_t granularity_bytes;
  pthread_mutex_t lock; /* a leaf: guards the list and the bits, no driver call under it */
  tarn__granule_range *ranges;
} tarn__granules;

void tarn__granules_init(tarn__granules *self, size_t granularity_bytes);
/* Ranges that nobody gave back are forgotten. */
void tarn__granules_deinit(tarn__granules *self);

/* A record for a range of so many bytes, none of them used; NULL without memory for it. free() ends
 * one that is not added. */
tarn__granule_range *tarn__granule_range_create(const tarn__granules *self, size_t size_bytes);
void tarn__granules_add(tarn__granules *self, tarn__granule_range *range, void *address);

/* Takes the range of exactly these bytes out of the list; NULL where there is none. The caller
 * frees the record, and looks at it alone until then. */
tarn__granule_range *tarn__granules_remove(tarn__granules *self, const void *address,
                                           size_t size_bytes);

/* Marks all granules of [address, address + size_bytes) as used, or as not. False, and nothing
 * changed, where they are not all the other thing, or no part of one range. */
bool tarn__granules_flip(tarn__granules *self, const void *address, size_t size_bytes,
                         bool to_used);

/* The first run of used granules at or behind granule *first: its length, and where it begins in
 * *first; 0 where there is none. */
size_t tarn__granule_range_run(const tarn__granules *self, const tarn__granule_range *range,
                               size_t *first);

#endif
