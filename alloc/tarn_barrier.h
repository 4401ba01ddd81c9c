/* tarn_barrier.h: a fence that costs one side nothing: whoever needs it rarely pays for both.
 *
 * Two threads each write a flag of theirs and then read the other's; a full fence between the two
 * steps keeps them from both reading the old value. Here the frequent side only keeps the compiler
 * from reordering, and the rare side makes every running thread of the process pass a fence
 * (membarrier(2), private expedited). Where the kernel refuses that, both sides pay.
 *
 * For those who implement a pool whose threads keep something that others must reach now and then,
 * as tarn's own pools do.
 *
 * A limit: a seccomp filter that is set later may forbid what was granted before, and then who has
 * chosen to go without a fence cannot be told in time. On x86-64 the rare side then maps a page,
 * writes it and takes it away, for which kernels interrupt the processors that run the process's
 * threads, and an interrupt is a fence. No manual promises it; it does not hold where processors
 * forget pages by broadcast (INVLPGB, on newer AMD with Linux 6.15 and later), and other machines
 * have nothing of the kind. What is left there is time: the frequent side's write has to be seen
 * before the refused calls are over, some hundred nanoseconds. Whoever asks after the first refusal
 * is told to pay. */
#ifndef TARN_BARRIER_H
#define TARN_BARRIER_H

#include <stdbool.h>

#include "alloc/tarn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Asks the kernel, once. True where only the rare side pays; else the frequent side needs a
 * sequentially consistent fence of its own, where it otherwise keeps the compiler in order with
 * atomic_signal_fence. May turn from true to false; an answer of true stays good as far as the
 * limit above goes. */
TARN_API bool tarn_barrier_is_one_sided(void);

/* The rare side, between its write and its read. Some microseconds. */
TARN_API void tarn_barrier_heavy(void);

#ifdef __cplusplus
}
#endif
#endif
