/* tarn_limit_pool.h: an adaptor over a pool: at most so many bytes lent out at once.
 *
 * What counts are bytes as they were asked for, from the moment a call asks until the block is
 * taken back: exact under any number of threads, never over the limit, and memory that a free has
 * not yet brought back counts still. In a child of fork what other threads were asking for at that
 * moment counts for good. It is a part of a program that is held to its share of a pool; to limit
 * what pools *reserve* of a machine use a budget (tarn_budget.h).
 *
 * What all adaptors (limit, tracking, logging, failing, aligned, binning, prefetch) share, stated
 * once. An adaptor is a pool over a pool, its upstream, of which it has a reference; they stack in
 * any order, and anybody may go on using the upstream itself.
 *
 * 1. Order. Blocks are the upstream's, at its addresses, and streams are handed through: what
 *    tarn_pool.h says of an alloc, a free and a note_use holds unchanged.
 * 2. Ownership. A block goes back to the pool that lent it: an adaptor answers TARN_NOT_FOUND for
 *    an address that it has not lent out, the upstream's own blocks included. A block keeps its
 *    adaptor alive, whoever released the handle, and an adaptor its upstream.
 * 3. Statistics. requested and allocated bytes, their peaks, and the counts of allocations, frees
 *    and failures are of what *this adaptor* lent out; allocated is what it asked of the upstream.
 *    Peaks are exact for one thread; with several they are bounds from above: calls that are under
 *    way count, and of each thread up to 1 MiB that it has freed. All else (active, reserved and
 *    paused bytes, fences, waits, calls) is what the upstream says. Peaks are reset here and in the
 *    upstream, or where that refuses, nowhere.
 * 4. trim, decay, pause and resume are the upstream's, and so reach what others have of it too. A
 *    range is shared where the upstream shares it; addresses in no block of the adaptor are refused
 *    as in 2.
 * 5. A trace records what the adaptor was asked for (no s and r entries), a snapshot lists what it
 *    has lent out; what is paused of a block is not in there, but that it is. A snapshot agrees
 *    with itself, but is of no one moment where other threads allocate and free meanwhile.
 * 6. Cost: no lock, and a record of 8 bytes in a table by address. Threads share one sum, and
 *    change it for what they have not freed themselves (up to 1 MiB); where a limit came near once
 *    or was lowered, always. An allocation of 1 KiB and its free took 16 nanoseconds more than the
 *    8 of a caching pool on the host, and 28 more where a limit had come near. The table has 8
 *    bytes for each unit of the upstream's alignment (of up to 512 bytes), in whole pages, where
 *    blocks have begun so far, and keeps them until the adaptor goes: 3 percent of small blocks
 *    aligned to 256 bytes, a page for a large one, and 8 bytes for each 256 KiB of it. In address
 *    space, which RLIMIT_AS and strict overcommit count, it has them for all units of each 64 MiB
 *    that a block has begun in. Sums alone, by what tarn_pool_size_of says of the upstream's
 *    blocks, could keep neither 2 nor 5: a block that somebody else was lent would be taken, and
 *    count as paid back. Out of memory for the table is TARN_OUT_OF_MEMORY, and so is a block that
 *    the upstream does not align as its attributes say, or that lies beyond 2^49; one of 2^46 bytes
 *    and more is TARN_TOO_LARGE.
 * 7. A block of the adaptor's that somebody frees in the upstream himself stays lent out here until
 *    the adaptor is lent its address again. */
#ifndef TARN_LIMIT_POOL_H
#define TARN_LIMIT_POOL_H

#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_limit_pool_options {
  size_t struct_size;
  const char *name;   /* copied; NULL: "limit over <the upstream's name>" */
  size_t limit_bytes; /* 0: none yet */
} tarn_limit_pool_options;

/* `options` may be NULL. An allocation beyond the limit answers TARN_OUT_OF_MEMORY without asking
 * the upstream. */
TARN_API TARN_NODISCARD tarn_status tarn_limit_pool_create(tarn_pool *upstream,
                                                           const tarn_limit_pool_options *options,
                                                           tarn_pool **pool);

/* From now on; 0: no limit, which any other is lower than. What is lent out already may be more:
 * then nothing is lent before enough of it is back. Takes some microseconds. TARN_INVALID_ARGUMENT
 * for a pool of another kind. */
TARN_API TARN_NODISCARD tarn_status tarn_limit_pool_set(tarn_pool *pool, size_t limit_bytes);

#ifdef __cplusplus
}
#endif
#endif
