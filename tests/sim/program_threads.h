/* program_threads.h: random legal programs of several host threads.
 *
 * Each thread has streams of its own; blocks go from thread to thread with a fence, or after the
 * host has waited. Threads end with blocks of theirs kept by the pool, and others begin. The
 * schedule is not repeatable, so only the oracles count: races, values, statistics, leaks. */
#ifndef TARN_PROGRAM_THREADS_H
#define TARN_PROGRAM_THREADS_H

#include "tests/sim/program.h"

/* In this process, which must not have another program under way. */
void program_run_threads(uint64_t seed, program_verdict *verdict);

#endif
