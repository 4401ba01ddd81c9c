/* barrier.c: asks the kernel to make every thread of the process pass a fence. */
#include "alloc/barrier.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_registered;

static long membarrier(int command) {
  return syscall(SYS_membarrier, command, 0, 0);
}

static void ask_kernel(void) {
  is_registered = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

bool tarn__barrier_is_one_sided(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, ask_kernel);
  return is_registered;
}

void tarn__barrier_heavy(void) {
  atomic_thread_fence(memory_order_seq_cst);
  /* Registered, so it can only fail for a child of a fork, which is registered anew. */
  if (tarn__barrier_is_one_sided() && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0) {
    (void)!membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    (void)!membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  }
}
