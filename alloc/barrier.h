/* barrier.h: a fence that costs one side nothing: whoever needs it rarely pays for both.
 *
 * Two threads each write a flag of theirs and then read the other's; a full fence between the two
 * steps keeps them from both reading the old value. Here the frequent side only keeps the compiler
 * from reordering, and the rare side makes every running thread of the process pass a fence
 * (membarrier(2), private expedited). Where the kernel refuses that, both sides pay. */
#ifndef TARN_BARRIER_H
#define TARN_BARRIER_H

#include <stdbool.h>

/* Asks the kernel, once. True where only the rare side pays; else the frequent side needs a
 * sequentially consistent fence of its own, where it otherwise keeps the compiler in order with
 * atomic_signal_fence. */
bool tarn__barrier_is_one_sided(void);

/* The rare side, between its write and its read. Some microseconds. */
void tarn__barrier_heavy(void);

#endif
