/* tarn_copy_threads.h: how many threads one copy by the CPU may use.
 *
 * A large copy between host memories is shared out among the calling thread and a few helpers.
 * These start with the first copy that is worth it, serve all callers, sleep between copies, run
 * with every signal blocked, and end with the process. A caller that finds them at work for another
 * one copies alone. After fork the child has none, and starts its own where it needs them. */
#ifndef TARN_COPY_THREADS_H
#define TARN_COPY_THREADS_H

#include "alloc/tarn_status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TARN_COPY_THREADS_MAX = 64 };

/* From the next copy on: at most `thread_count` threads, the caller among them. 1: no thread is
 * ever started. 0, the default: as many as there are processors for this process, by its affinity
 * and its cgroup's quota, but not more than 8. TARN_INVALID_ARGUMENT for less than 0 or more than
 * TARN_COPY_THREADS_MAX. Threads that sleep already are kept. */
TARN_API TARN_NODISCARD tarn_status tarn_copy_set_thread_count(int thread_count);

/* What holds now; never 0. The first call looks at the machine, some microseconds. */
TARN_API int tarn_copy_thread_count(void);

#ifdef __cplusplus
}
#endif
#endif
