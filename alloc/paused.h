/* paused.h: which granules of a pool are paused, and where their contents are kept.
 *
 *     pieces    [ 64 MiB ][ 64 MiB ][ 10 MiB ]        [ 4 MiB ]     whole granules, by address
 *                   |          |        |                  |
 *     backups    memory     memory    memory             (none)    of another pool; or discarded
 *
 * Plain bookkeeping: no lock, no provider, no heap. Room is made ahead, so that a block that is
 * freed needs no memory to take its granules out of the middle of a piece. */
#ifndef TARN_PAUSED_H
#define TARN_PAUSED_H

#include "alloc/tarn_pool.h"

/* A block of the backup pool; goes with the last piece that has a part of it. */
typedef struct tarn__backup {
  tarn_pool *pool; /* kept alive by the block */
  char *memory;    /* NULL: nothing was lent yet */
  size_t piece_count;
  struct tarn__backup *next; /* of those that have no piece left */
} tarn__backup;

typedef struct tarn__piece {
  char *address;
  size_t size_bytes;
  tarn__backup *backup;        /* NULL: the contents are not kept */
  char *kept;                  /* where the backup has what belongs to `address` */
  bool has_memory;             /* not given back yet, or obtained again and not done with */
  bool is_in_place;            /* its contents are in that memory, or are of no interest any more */
  bool is_chosen;              /* the call that is under way works on it, */
  bool is_fresh;               /* and has obtained its memory, */
  bool is_moving;              /* and just now the provider is at it */
  struct tarn__segment *range; /* that it lies in: no call to a provider reaches across two */
} tarn__piece;

/* A zeroed struct is empty. */
typedef struct tarn__paused {
  tarn__piece *pieces;
  size_t count;
  size_t capacity;
  size_t block_count; /* paused blocks; there is room for as many pieces more */
  bool is_busy;       /* a pause or resume is under way: nobody else changes the pieces */
  tarn__backup *gone; /* to be freed by whoever leaves the pool's lock next */
} tarn__paused;

/* Room for `more` pieces, and one to turn round in; false, and nothing changed, where there is no
 * memory. */
bool tarn__paused_reserve(tarn__paused *self, size_t more);
/* Adds a piece that overlaps none, for which there is room. */
void tarn__paused_insert(tarn__paused *self, const tarn__piece *piece);
/* The first piece that ends behind the address; `count` for none. */
size_t tarn__paused_find(const tarn__paused *self, uintptr_t address);
/* Makes two of the piece that has the address, unless it begins there. There is room. */
void tarn__paused_cut(tarn__paused *self, uintptr_t address);
/* Some of [start, end) is in a piece. */
bool tarn__paused_touches(const tarn__paused *self, uintptr_t start, uintptr_t end);
/* All of [start, end) is in pieces without memory. */
bool tarn__paused_lacks(const tarn__paused *self, uintptr_t start, uintptr_t end);
/* Bytes of [start, end) in pieces without memory. */
size_t tarn__paused_missing_bytes(const tarn__paused *self, uintptr_t start, uintptr_t end);
/* Takes [start, end) out of all pieces, and puts the backups that go with it on the list `gone`.
 * There is room for one piece more. */
void tarn__paused_remove(tarn__paused *self, uintptr_t start, uintptr_t end);

/* Gives backups back to their pools, behind what `stream` may still do with them. To be called
 * without any lock. */
void tarn__backups_free(tarn__backup *gone, tarn_stream *stream);

#endif
