/* caching_pause.h: what the files share that pause a caching pool and resume it.
 *
 *     caching_pause.c    which granules may go, and a pause from begin to end
 *     caching_resume.c   the same for a resume
 *     caching_transit.c  memory that goes and comes; contents that are saved and restored
 *     caching_paused.c   what becomes of blocks: paused, freed meanwhile, live again
 *
 * One call at a time has `paused.is_busy`. It alone changes the pieces then, under the lock, so it
 * may read them without. A piece has memory until the provider has taken that back, and its
 * contents are in place until then; so whatever fails, what the pieces say is what is there. */
#ifndef TARN_CACHING_PAUSE_H
#define TARN_CACHING_PAUSE_H

#include "alloc/caching.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_tag.h"

/* Contents that lie in one run on both sides. */
typedef struct tarn__span {
  char *address;
  char *kept;
  size_t size_bytes;
} tarn__span;

/* A pause or resume that is under way. */
typedef struct tarn__pausing {
  tarn__caching *self;
  tarn_stream *stream;
  tarn_pause_report *report;
  bool has_tag[TARN_TAGS_MAX]; /* blocks with it are chosen */
  tarn__span *spans;
  size_t span_count;
  size_t span_capacity;
  tarn_stream *unsure; /* may still be copying: it could not be waited for */
} tarn__pausing;

/* The pool's operations. */
tarn_status tarn__caching_pause(void *context, const tarn_pause_options *options,
                                tarn_pause_report *report);
tarn_status tarn__caching_resume(void *context, const tarn_resume_options *options,
                                 tarn_pause_report *report);
bool tarn__caching_is_paused(void *context, const void *address);

/* caching_pause.c: fills in what is chosen. Refuses where the pool cannot pause or is left behind,
 * or a stream is captured. */
tarn_status tarn__pausing_init(tarn__pausing *op, tarn__caching *self, const char *const *tags,
                               size_t tag_count);
/* Takes the lock and waits for its turn; and ends it and leaves the lock. */
void tarn__pausing_begin(tarn__pausing *op);
void tarn__pausing_end(tarn__pausing *op);

/* caching_transit.c, with the lock; all leave it. For each run of chosen pieces with memory, and
 * obtained by this call where `fresh_only`: to the provider. Stops at the first failure, unless it
 * undoes. */
tarn_status tarn__pausing_release(tarn__pausing *op, bool fresh_only);
/* For each run of chosen pieces without memory: from the provider, which is asked again after idle
 * memory has gone back. As above. */
tarn_status tarn__pausing_obtain(tarn__pausing *op, bool is_undoing);
/* Gives each chosen piece a place for its contents. */
tarn_status tarn__pausing_add_backups(tarn__pausing *op, tarn_pool *backup);
/* Collects the spans of what is to be copied: what callers asked for, of paused blocks that are
 * kept, in chosen pieces with a backup. Does not leave the lock. */
tarn_status tarn__pausing_collect(tarn__pausing *op);
/* Copies the spans, and waits for that; only those whose piece misses its contents where
 * `to_backup` is false. */
tarn_status tarn__pausing_copy(tarn__pausing *op, bool to_backup);

/* caching_paused.c: with the lock. Blocks that no piece touches are live or free again; what sleeps
 * in whole granules without memory becomes a hole. Counts the blocks that live again. */
uint64_t tarn__caching_settle_paused(tarn__caching *self);
/* A PAUSED block is freed, and has the stamp of that. */
void tarn__caching_free_paused(tarn__caching *self, tarn__block *block);
/* Takes chosen pieces off whose contents are in their memory, or all chosen ones; none is chosen
 * any more. */
void tarn__caching_drop_pieces(tarn__caching *self, bool is_all);
/* Backups that nobody needs any more, to be freed without the lock. */
tarn__backup *tarn__caching_take_gone(tarn__caching *self);
/* In a child of fork, where whoever was at it is not there. */
void tarn__caching_mend_paused(tarn__caching *self);
/* The pool ends. */
void tarn__caching_forget_paused(tarn__caching *self);

#endif
