/* test_barrier.c: two threads that raise a flag and look at the other's never both miss it. */
#include "tests/support/test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "alloc/tarn_barrier.h"

/* Without the barrier a flag is missed within some tens of meetings. */
enum { ROUNDS_MAX = 30000, MEETINGS = 5000 };

/* Each on a line of its own, so that one side may have the other's at hand, and miss its own. */
static _Alignas(128) atomic_int frequent_flag;
static _Alignas(128) atomic_int rare_flag;
static _Alignas(128) atomic_int round_begun;
static atomic_int frequent_done;
static atomic_bool is_over;
static int frequent_saw;
static cpu_set_t processors; /* that the process may use */

/* A processor short, the other side may not be running at all. */
static void wait_for(atomic_int *value, int least) {
  for (int count = 0; atomic_load(value) < least; count++) {
    if (count > 1000) sched_yield();
  }
}

/* Each side on a processor of its own, where there are two: two threads that yield to each other on
 * one never meet. */
static void run_on(int which) {
  if (CPU_COUNT(&processors) < 2) return;
  int cpu = 0;
  for (int left = which; !CPU_ISSET(cpu, &processors) || left-- > 0; cpu++) {
  }
  cpu_set_t chosen;
  CPU_ZERO(&chosen);
  CPU_SET(cpu, &chosen);
  (void)!sched_setaffinity(0, sizeof chosen, &chosen);
}

/* Lets the two sides meet at another point in every round. */
static void dawdle(uint64_t *random, int most) {
  for (volatile int left = (int)(test_random(random) % (uint64_t)most); left > 0; left--) {
  }
}

/* `argument`: whether the thread goes without a fence. */
static void *run_frequent_side(void *argument) {
  const bool is_one_sided = *(const bool *)argument;
  uint64_t random = 11;
  run_on(1);
  for (int round = 1;; round++) {
    wait_for(&round_begun, round);
    if (atomic_load(&is_over)) return argument;
    dawdle(&random, 64);
    (void)atomic_load_explicit(&rare_flag, memory_order_relaxed); /* has it at hand below */
    atomic_store_explicit(&frequent_flag, 1, memory_order_relaxed);
    if (is_one_sided) {
      atomic_signal_fence(memory_order_seq_cst);
    } else {
      atomic_thread_fence(memory_order_seq_cst);
    }
    frequent_saw = atomic_load_explicit(&rare_flag, memory_order_relaxed);
    atomic_store(&frequent_done, round);
  }
}

/* One round: what the two sides saw, the rare one's in the higher bit. */
static int run_round(int round, uint64_t *random) {
  atomic_store(&frequent_flag, 0);
  atomic_store(&rare_flag, 0);
  atomic_store(&round_begun, round);
  dawdle(random, 128);
  atomic_store_explicit(&rare_flag, 1, memory_order_relaxed);
  tarn_barrier_heavy();
  const int rare_saw = atomic_load_explicit(&frequent_flag, memory_order_relaxed);
  wait_for(&frequent_done, round);
  return 2 * rare_saw + frequent_saw;
}

/* How often neither side saw the other: 0, or it ends at the first. */
static int count_missed(bool is_one_sided) {
  pthread_t thread;
  atomic_store(&is_over, false);
  atomic_store(&round_begun, 0);
  atomic_store(&frequent_done, 0);
  assert_int_equal(pthread_create(&thread, NULL, run_frequent_side, &is_one_sided), 0);
  uint64_t random = 7;
  run_on(0);
  int counts[4] = {0};
  int round = 0;
  /* Where each saw the other, they ran side by side: only such rounds say much. */
  while (round < ROUNDS_MAX && counts[3] < MEETINGS && counts[0] == 0) {
    round++;
    counts[run_round(round, &random)]++;
  }
  atomic_store(&is_over, true);
  atomic_store(&round_begun, round + 1);
  pthread_join(thread, NULL);
  return counts[0];
}

TEST(one_of_two_sides_always_sees_the_other) {
  assert_int_equal(count_missed(tarn_barrier_is_one_sided()), 0);
}

/* From here on, for this thread and those it makes. */
static bool forbid_membarrier(void) {
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1), /* EPERM */
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog filter = {sizeof rules / sizeof rules[0], rules};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/* The last: it stays refused. */
TEST(who_comes_after_the_kernel_refused_has_a_fence) {
  if (!tarn_barrier_is_one_sided() || !forbid_membarrier()) skip();
  tarn_barrier_heavy();
  assert_false(tarn_barrier_is_one_sided());
  assert_int_equal(count_missed(tarn_barrier_is_one_sided()), 0);
#if defined(__x86_64__) /* who came before has none; tarn_barrier.h */
  assert_int_equal(count_missed(/*is_one_sided=*/true), 0);
#endif
}

int main(void) {
  if (sched_getaffinity(0, sizeof processors, &processors) != 0) CPU_ZERO(&processors);
  return run_listed_tests(NULL, NULL);
}
