/* tarn_touch.h: has memory's pages made before they are needed, by several threads at once.
 *
 * The kernel gives a page of fresh memory where it is first written, and zeroes it then: one thread
 * gets a few gigabytes a second. Whoever pins memory, or times work on it, wants that done before.
 */
#ifndef TARN_TOUCH_H
#define TARN_TOUCH_H

#include "alloc/tarn_status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TARN_TOUCH_THREADS_MAX = 64 };

typedef struct tarn_touch_options {
  size_t struct_size;
  /* How many work at once; fewer where the range has less than a few megabytes for each, or where
   * the system gives no more. 0: one for each of `cpus`, or for each that the calling thread may
   * run on, but at most 8. 1: the calling thread itself. */
  int32_t thread_count;
  /* Where they run: processors by the operating system's numbers, best those of the node that the
   * pages lie on. 0: where the calling thread may. Processors that the process may not use are
   * left out. Read during the call only. */
  int32_t cpu_count;
  const int32_t *cpus;
  size_t page_bytes; /* of the range's pages, a power of two; 0: not known, so base pages */
} tarn_touch_options;

/* Makes every page of [address, address + size_bytes) the process's own, as a write to it would,
 * and changes no byte. Pages that are there already stay. Nobody may write to the range meanwhile.
 * `options` may be NULL. Returns when all threads have ended; they take no signals.
 *
 * TARN_OUT_OF_MEMORY where the kernel has no page for a place, or the place may not be written: a
 * pool of explicit huge pages that is empty is told here, and not by SIGBUS later.
 * TARN_INVALID_ARGUMENT where part of the range is not mapped. Pages made before a failure stay. */
TARN_API TARN_NODISCARD tarn_status tarn_touch(void *address, size_t size_bytes,
                                               const tarn_touch_options *options);

#ifdef __cplusplus
}
#endif
#endif
