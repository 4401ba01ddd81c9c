/* caching_poison.h: what memory checkers are told about a caching pool's blocks, in host memory.
 *
 *     fresh ---+                 +--- poisoned, all of it --- lent: the bytes asked for
 *     freed, and nobody uses it -+                                    |
 *     freed, streams may use it ---- what was lent, lent on <---------+
 *
 * A free in the order of a stream is a promise about work that may be running: the block stays as
 * it was. The pool looks again at its next call that takes the lock once the host has seen some
 * stream come further. block->is_poisoned says that all of a block is poisoned already.
 *
 * In builds without a checker all of this is nothing. */
#ifndef TARN_CACHING_POISON_H
#define TARN_CACHING_POISON_H

#include "alloc/caching.h"
#include "alloc/tarn_poison.h"

/* Of a block that nobody else has: the lock is held and it stands in a tree, or it is CLAIMED, or
 * in the caller's magazine. */
void tarn__caching_poison_if_idle(const tarn__caching *self, tarn__block *block);
void tarn__caching_poison_lend(const tarn__caching *self, tarn__block *block, size_t size_bytes);
void tarn__caching_poison_lift(const tarn__caching *self, tarn__block *block);
/* Looks at all free blocks again, and at those that threads keep. With the lock. */
void tarn__caching_poison_seen(tarn__caching *self);

/* A block is freed, fresh or idle; is lent out for size_bytes; leaves the pool. */
static inline void tarn__caching_watch_free(const tarn__caching *self, tarn__block *block) {
  if (tarn_poison_is_watched()) tarn__caching_poison_if_idle(self, block);
}

static inline void tarn__caching_watch_lent(const tarn__caching *self, tarn__block *block,
                                            size_t size_bytes) {
  if (tarn_poison_is_watched()) tarn__caching_poison_lend(self, block, size_bytes);
}

static inline void tarn__caching_watch_gone(const tarn__caching *self, tarn__block *block) {
  if (tarn_poison_is_watched()) tarn__caching_poison_lift(self, block);
}

/* A call has taken the lock. */
static inline void tarn__caching_watch_call(tarn__caching *self) {
  if (tarn_poison_is_watched()) tarn__caching_poison_seen(self);
}

#endif
