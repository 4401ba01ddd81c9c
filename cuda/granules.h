/* granules.h: ranges of reserved addresses, and which granules of each have memory behind them. */
#ifndef TARN_GRANULES_H
#define TARN_GRANULES_H

#include "alloc/tarn_status.h"

#include <pthread.h>
#include <stdatomic.h>

/* A range has memory granule by granule, or, where its owner says so, in pieces of several of them,
 * which stand on multiples of their size and come and go whole:
 *
 *     used      1 1 1 1 1 1 1 1 0 0 1 0
 *     pieces    0       1       0         granules 4 to 7 are one piece
 *     handles   a b c d e . . . . . f .   one for each piece or single granule, where it begins
 */
typedef struct tarn__granule_range {
  struct tarn__granule_range *next;
  uintptr_t start;
  size_t size_bytes;
  /* Of the owner's own, where the granules have handles; whoever marks granules as used has those
   * of them to itself. */
  uint64_t *handles;
  _Atomic uint64_t *pieces; /* one bit per piece_bytes */
  uint64_t used[];          /* one bit per granule: it has memory, or is getting some */
} tarn__granule_range;

typedef struct tarn__granules {
  size_t granularity_bytes;
  size_t piece_bytes; /* a larger power of two; 0: there are no pieces */
  bool has_handles;
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

/* Marks all granules of [address, address + size_bytes) as used, or as not, and answers their
 * range. NULL, and nothing changed, where they are not all the other thing, no part of one range,
 * or, to be unused, end inside a piece. */
tarn__granule_range *tarn__granules_flip(tarn__granules *self, const void *address,
                                         size_t size_bytes, bool to_used);

/* The range that holds the address; NULL for none. */
tarn__granule_range *tarn__granules_find(tarn__granules *self, const void *address);

/* The first run of used granules at or behind granule *first: its length, and where it begins in
 * *first; 0 where there is none. */
size_t tarn__granule_range_run(const tarn__granules *self, const tarn__granule_range *range,
                               size_t *first);

/* How many granules the piece that begins at the granule has; 1 for a single one. */
size_t tarn__granule_piece(const tarn__granules *self, const tarn__granule_range *range,
                           size_t index);
/* Whether a piece may begin at the granule and end with it or before granule `end`. */
bool tarn__granule_fits_piece(const tarn__granules *self, const tarn__granule_range *range,
                              size_t index, size_t end);
/* By whoever has the granules to itself. */
void tarn__granule_set_piece(const tarn__granules *self, tarn__granule_range *range, size_t index,
                             bool is_piece);

#endif
