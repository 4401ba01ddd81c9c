/* progress.h: one line on the terminal while something takes long; nothing into a pipe. */
#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

#include "alloc/tarn_base.h"

/* Replaces the line on standard error, at most ten times a second. One thread at a time. */
void progress_show(const char *format, ...) TARN_PRINTF(1, 2);
/* Takes the line away, before anything else is printed. */
void progress_clear(void);

#endif
