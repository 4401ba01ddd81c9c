/* copy_threads.h: runs the jobs of one copy on several threads. */
#ifndef TENSOR_COPY_THREADS_H
#define TENSOR_COPY_THREADS_H

#include <stdint.h>

#include "tensor/tarn_copy_threads.h"

/* Runs job(context, index) once for each index below job_count, in any order, and returns when all
 * have ended; their writes are then visible to the caller. The caller works too, with at most
 * thread_count - 1 helpers; 0 means tarn_copy_thread_count(). Waking helpers costs some ten
 * microseconds: only for copies of more than TARN__COPY_PARALLEL_BYTES. A job may itself call
 * this; it then runs alone. Jobs need no more stack than TARN__COPY_STACK_BYTES less a half. */
void tarn__copy_parallel(int64_t job_count, int thread_count,
                         void (*job)(void *context, int64_t index), void *context);

enum { TARN__COPY_PARALLEL_BYTES = 1 << 20, TARN__COPY_STACK_BYTES = 512 << 10 };

#endif
