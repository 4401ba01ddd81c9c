/* heap_paused.h: blocks of a caching pool's heap that go without memory for a while.
 *
 *     granules  |      1      |      2      |      3      |      4      |
 *     before    | LIVE |   LIVE a    | FREE | LIVE a |  LIVE b  | FREE  |   1 stays, for others
 *     paused    | LIVE |  PAUSED a   |ASLEEP|PAUSED a| PAUSED b |ASLEEP |
 *     a freed   | LIVE |FREE|  HOLE         | ASLEEP | PAUSED b |ASLEEP |
 *
 * A paused block is in no page map, so no thread's fast path finds it; the tree `paused` has it.
 * Which granules are without memory, paused.h knows. */
#ifndef TARN_HEAP_PAUSED_H
#define TARN_HEAP_PAUSED_H

#include "alloc/heap.h"

/* A live block that a caller holds becomes PAUSED; and back. */
void tarn__heap_pause(tarn__heap *heap, tarn__block *block, bool is_kept);
void tarn__heap_unpause(tarn__heap *heap, tarn__block *block);

/* The paused block that starts at `address`; or that holds it. NULL for none. */
tarn__block *tarn__heap_paused_at(const tarn__heap *heap, const void *address);
tarn__block *tarn__heap_paused_around(const tarn__heap *heap, const void *address);
/* The next one by address. */
tarn__block *tarn__heap_paused_first(const tarn__heap *heap);
tarn__block *tarn__heap_paused_next(const tarn__block *block);

/* A CLAIMED block goes to sleep, joined with sleeping neighbours: what it is part of then. Only the
 * stamps of captures stay with it, and keep it apart. And one awakes as CLAIMED. */
tarn__block *tarn__heap_put_asleep(tarn__heap *heap, tarn__block *block);
void tarn__heap_awake(tarn__heap *heap, tarn__block *block);

/* Cuts a CLAIMED block to [start, end), and returns to sleep what is over. NULL, and all of it
 * asleep, where there is no record for a cut. */
tarn__block *tarn__heap_cut_asleep(tarn__heap *heap, tarn__block *block, uintptr_t start,
                                   uintptr_t end);

#endif
