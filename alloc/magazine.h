/* magazine.h: what a thread keeps of a pool's blocks, so that most calls need no lock.
 *
 * A thread has one magazine per pool it uses, with a lane per stream. A freed block goes into the
 * lane of the stream it was freed on, and the same thread's next allocation on that stream takes it
 * out again: work on a stream is ordered behind earlier work on it, so nothing has to be asked.
 *
 *     thread --- table[pool] --- magazine --- lane[host]      bins of blocks by size
 *                                        \--- lane[stream]    bins of blocks by size
 *
 * Where memory is packed, a large block of a stream's goes into no bin. The one that the thread was
 * lent last is set aside when it is freed, and lent again to a request of its size: since then the
 * thread has asked the heap for nothing, so that it would answer the same, and where blocks lie is
 * as if none were kept. With the thread's next call that takes the lock it goes back.
 *
 * To the heap a kept block is LIVE: it stays lent out, to a thread instead of a caller. It carries
 * the stamp of its free all the time, so that it can go back to the heap at any moment.
 *
 * Who may touch a magazine: its thread, while it says that it is inside and as long as the magazine
 * is open; its thread with the pool's lock; and whoever holds the pool's lock, has closed the
 * magazine, and has then seen that the thread is not inside. The two flags are ordered by a
 * one-sided barrier (tarn_barrier.h), so the thread's side is plain loads and stores.
 *
 * The parts: magazine_state.h what it consists of, magazine_fast.h and .c the calls that need no
 * lock, magazine_threads.c how threads come and go, and magazine.c all that is done with the lock.
 *
 * What a pair of calls costs is told in tarn_caching_pool.h. */
#ifndef TARN_MAGAZINE_H
#define TARN_MAGAZINE_H

#include "alloc/caching.h"

/* The calling thread's magazine of the pool, made on first need; NULL where there is no memory for
 * one. Without the pool's lock. */
tarn__magazine *tarn__magazine_of_thread(tarn__caching *self);

/* The same, and NULL where the thread has none. */
tarn__magazine *tarn__magazine_of_caller(const tarn__caching *self);

/* The calling thread's allocations carry another tag from now on. Without any pool's lock. */
void tarn__magazines_set_tag(uint32_t tag);

/* The pool is going, and nobody calls it any more. Without the pool's lock. */
void tarn__magazines_forget(tarn__caching *self);

/* Around a fork: keep every thread from coming and leaving; let them; and in the child, where all
 * pools' locks are held and their magazines closed, give back what the threads kept that are not
 * there. */
void tarn__magazines_hold(void);
void tarn__magazines_unhold(void);
void tarn__magazines_mend(void);

/* From here on with the pool's lock held. Keeps a LIVE block, just freed on the timeline `slot`
 * (TARN__HOST_SLOT: by the CPU). False where the block has to go to the heap, for one because
 * another stream may still use it. */
bool tarn__magazine_keep(tarn__magazine *magazine, tarn__block *block, uint32_t slot);

/* Gives back a large block of a stream's that the calling thread has freed last: it is to be looked
 * at together with its neighbours by an allocation that it does not fit. */
void tarn__magazine_give_large(tarn__caching *self);

/* The calling thread was lent the block just now. */
void tarn__magazine_note_lent(tarn__caching *self, const tarn__block *block);

/* Of what threads keep: the large blocks in a pool that packs its memory. */
size_t tarn__magazines_aside_bytes(const tarn__caching *self);

/* All that the calling thread keeps. */
size_t tarn__magazine_kept_bytes(const tarn__caching *self);

/* What of that which is kept goes back to the heap. */
typedef struct tarn__gathering {
  size_t least_bytes;  /* no block of a smaller size's bin */
  size_t enough_bytes; /* nothing more once so much lies free in one piece; 0: all */
} tarn__gathering;

/* Gives of what the calling thread keeps; true where that was anything. */
bool tarn__magazine_gather_own(tarn__caching *self, const tarn__gathering *what);
/* The same for all threads. */
bool tarn__magazines_gather(tarn__caching *self, size_t least_bytes);
/* Gives all of it back, and keeps every thread out of its magazine until they are opened. */
void tarn__magazines_empty(tarn__caching *self);
/* Keeps every thread out of its magazine until they are opened again. What they hold may then be
 * looked at. They nest. */
void tarn__magazines_close(tarn__caching *self);
void tarn__magazines_open(tarn__caching *self);

/* What the magazines add to the heap's sums. */
typedef struct tarn__kept {
  size_t kept_bytes;      /* in the heap's allocated_bytes, but lent to nobody */
  size_t requested_bytes; /* on top of the heap's; modulo 2^64 */
} tarn__kept;

tarn__kept tarn__magazines_sum(const tarn__caching *self);
/* Raises the pool's peaks of allocated and requested bytes to what they are now, or have been in
 * between by the calling thread's own calls; before the heap's sums change. With several threads, a
 * peak that another thread's fast calls alone have made is seen when that thread next takes the
 * lock, and measured against what the others hold then. */
void tarn__magazine_note_peaks(tarn__caching *self);
/* The most that was allocated at once since every thread's peak was looked at last; a bound from
 * above where several threads had theirs at different times. Closes the magazines for a moment. */
size_t tarn__magazines_peak_bytes(tarn__caching *self);
/* Gives all that a magazine, closed or the caller's own, keeps back to the heap. */
void tarn__magazine_drain(tarn__magazine *magazine);
/* With the magazines closed: adds the allocations and frees that one, or all, have served; kept
 * bytes that some stream may still use. */
void tarn__magazine_count(const tarn__magazine *magazine, uint64_t *alloc_count,
                          uint64_t *free_count);
void tarn__magazines_count(const tarn__caching *self, uint64_t *alloc_count, uint64_t *free_count);
size_t tarn__magazines_pending_bytes(const tarn__caching *self);

#endif
