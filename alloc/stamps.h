/* stamps.h: the points that streams must have passed before a block may be used again. */
#ifndef TARN_STAMPS_H
#define TARN_STAMPS_H

#include "alloc/order.h"

enum { TARN__STAMPS_INLINE = 2 };

/* At most one stamp per timeline. A zeroed struct is empty. Few streams touch a block, so a few
 * stamps lie inside; more go to the heap. */
struct tarn__stamps {
  uint32_t count;
  uint32_t capacity; /* of `more`; 0: the inline ones hold all */
  tarn__stamp few[TARN__STAMPS_INLINE];
  tarn__stamp *more;
};

tarn__stamp tarn__stamps_at(const tarn__stamps *stamps, uint32_t index);

/* Adds a stamp, or raises the one of the same timeline; forgets those the host has seen first.
 * False, with nothing changed, where memory is needed and there is none. */
bool tarn__stamps_add(tarn__stamps *stamps, tarn__stamp stamp);
/* Adds all of `other`. False where there is no memory: then some may have been added, which only
 * makes a block wait longer. */
bool tarn__stamps_join(tarn__stamps *stamps, const tarn__stamps *other);
bool tarn__stamps_copy(tarn__stamps *stamps, const tarn__stamps *source);

/* The stamp that work on `stream` (asynchronous) enqueued by now leaves on a block with these
 * stamps: limbo in a capture, unless the block was lent there (order.h). */
tarn__stamp tarn__stamps_mark(const tarn__stamps *stamps, const tarn_stream *stream);

/* Whoever is behind these is behind all of `other`. */
bool tarn__stamps_stand_for(const tarn__stamps *stamps, const tarn__stamps *other);

/* Forgets stamps that the host has seen complete. */
void tarn__stamps_prune(tarn__stamps *stamps);
/* Forgets those that a stamp of `stream` taken now stands for: all that are covered for it, but for
 * those of other captures, which keep the block as long as they are there. */
void tarn__stamps_drop_covered(tarn__stamps *stamps, const tarn_stream *stream);
/* Makes room for `more` stamps, so that adding so many cannot fail. */
bool tarn__stamps_reserve(tarn__stamps *stamps, uint32_t more);
/* Every stamp is covered for work enqueued on `stream`; NULL is the host. */
bool tarn__stamps_are_covered(const tarn__stamps *stamps, const tarn_stream *stream);

/* One of them is a capture's, which is not destroyed yet. */
bool tarn__stamps_are_of_captures(const tarn__stamps *stamps);
/* One of them is of the capture numbered so. */
bool tarn__stamps_are_of_capture(const tarn__stamps *stamps, uint64_t capture_number);
/* One of them is held: nobody can get behind it for now. */
bool tarn__stamps_are_held(const tarn__stamps *stamps);

void tarn__stamps_clear(tarn__stamps *stamps);
void tarn__stamps_deinit(tarn__stamps *stamps);

#endif
