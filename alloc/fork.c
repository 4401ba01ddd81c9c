/* fork.c: takes all locks of alloc/ around a fork, in their order. */
#include "alloc/fork.h"

#include <pthread.h>
#include <stddef.h>

typedef struct fork_part {
  void (*hold)(void);
  void (*unhold)(void);
  void (*mend)(void);
} fork_part;

/* A lock ranks before those of the rows below; and what a row needs to mend its own, those below
 * have mended already. */
static const fork_part parts[] = {
    {tarn__maintenance_hold, tarn__maintenance_unhold, tarn__maintenance_mend},
    {tarn__caching_hold, tarn__caching_unhold, tarn__caching_mend},
    {tarn__budget_hold, tarn__budget_unhold, tarn__budget_mend},
    {tarn__fixed_hold, tarn__fixed_unhold, tarn__fixed_unhold},
    {tarn__worker_hold, tarn__worker_unhold, tarn__worker_mend},
    {tarn__order_hold, tarn__order_unhold, tarn__order_mend},
    {tarn__storage_hold, tarn__storage_unhold, tarn__storage_unhold},
    {tarn__share_hold, tarn__share_unhold, tarn__share_mend},
    {tarn__tag_hold, tarn__tag_unhold, tarn__tag_unhold},
    {tarn__trace_hold, tarn__trace_unhold, tarn__trace_unhold},
    {tarn__provider_hold, tarn__provider_unhold, tarn__provider_unhold},
    {tarn__slab_hold, tarn__slab_unhold, tarn__slab_mend},
};

enum { PART_COUNT = sizeof parts / sizeof *parts };

static void before_fork(void) {
  for (size_t index = 0; index < PART_COUNT; index++) parts[index].hold();
}

static void after_fork(void) {
  for (size_t index = PART_COUNT; index-- > 0;) parts[index].unhold();
}

static void after_fork_in_child(void) {
  for (size_t index = PART_COUNT; index-- > 0;) parts[index].mend();
}

/* Handlers run the last one registered first. This one comes before all other constructors of the
 * library, and so what calls alloc/ with locks of its own held, jemalloc with its hooks among them,
 * takes those first. */
__attribute__((constructor(102))) static void watch_forks(void) {
  (void)pthread_atfork(before_fork, after_fork, after_fork_in_child);
}
