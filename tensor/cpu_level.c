/* cpu_level.c: asks the machine once, and remembers. */
#include "tensor/cpu_level.h"

#include <stdatomic.h>

/* One more than the level, so that 0 means not asked yet. Relaxed: it publishes nothing else, and
 * whoever asks a second time gets the same answer. */
static _Atomic int level_known;

static int ask(void) {
  int level = (int)tarn__cpu_level_detect() + 1;
  int unknown = 0;
  if (atomic_compare_exchange_strong_explicit(&level_known, &unknown, level, memory_order_relaxed,
                                              memory_order_relaxed)) {
    return level;
  }
  return unknown; /* somebody set a limit meanwhile */
}

tarn__cpu_level tarn__cpu_level_now(void) {
  int level = atomic_load_explicit(&level_known, memory_order_relaxed);
  if (__builtin_expect(level == 0, 0)) level = ask();
  return (tarn__cpu_level)(level - 1);
}

void tarn__cpu_level_limit(tarn__cpu_level highest) {
  tarn__cpu_level machine = tarn__cpu_level_detect();
  int level = (int)(highest < machine ? highest : machine);
  atomic_store_explicit(&level_known, level + 1, memory_order_relaxed);
}
