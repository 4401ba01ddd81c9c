/* barrier.c: asks the kernel to make every thread of the process pass a fence. */
#include "alloc/tarn_barrier.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_registered;
static atomic_bool is_refused; /* since then */

static long membarrier(int command) {
  return syscall(SYS_membarrier, command, 0, 0);
}

static void ask_kernel(void) {
  is_registered = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

static bool was_registered(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, ask_kernel);
  return is_registered;
}

bool tarn_barrier_is_one_sided(void) {
  return was_registered() && !atomic_load_explicit(&is_refused, memory_order_relaxed);
}

/* Takes a page away that was just written: every processor that runs a thread of the process may
 * know where it was, and is interrupted to forget it. liburcu and folly have used a page's rights
 * so where there is no membarrier; tarn_barrier.h says what that is worth. */
static void interrupt_all(void) {
#if defined(__x86_64__)
  enum { PAGE_BYTES = 4096 };
  volatile char *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                             /*fd=*/-1, /*offset=*/0);
  if (page == MAP_FAILED) return;
  page[0] = 1;
  (void)!munmap((void *)page, PAGE_BYTES);
#endif
}

void tarn_barrier_heavy(void) {
  atomic_thread_fence(memory_order_seq_cst);
  if (!was_registered() || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return;
  /* A child of a fork is registered anew; else a filter that was set since forbids it. */
  if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
      membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) {
    return;
  }
  atomic_store_explicit(&is_refused, true, memory_order_relaxed);
  interrupt_all();
}
