/* processors.h: how many processors a process really gets at a moment, to write memory with. */
#ifndef BENCH_PROCESSORS_H
#define BENCH_PROCESSORS_H

#include <stddef.h>

/* How many times as fast two threads write the block, memory that is there, as one does: near 2 on
 * two processors that nobody else uses, near 1 where the threads take turns, or where a virtual
 * machine's two processors share one core, which no counter inside of it tells. 0 where no second
 * thread is to be had. The block is overwritten. */
double processors_now(void *block, size_t size_bytes);

#endif
