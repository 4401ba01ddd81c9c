/* failing_pool.c: an adaptor whose allocations fail by a plan. */
#include "alloc/adapters/pools/tarn_failing_pool.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "alloc/adapters/pools/over_pool.h"

enum { MILLION = 1000000 };

/* A plan, and what has come of it. Calls may still follow one that another has taken the place of,
 * so that all stay until the pool goes. */
typedef struct plan_node {
  struct plan_node *before;
  tarn_failing_plan plan;
  atomic_uint_fast64_t call_count;
  atomic_uint_fast64_t failed_count;
} plan_node;

typedef struct failing_pool {
  tarn__over over;
  _Atomic(plan_node *) plan; /* release pairs with acquire: a plan is whole when it is seen */
} failing_pool;

/* The finaliser of splitmix64 over the seed's sequence, scaled to a million. */
static uint32_t random_below_million(uint64_t seed, uint64_t number) {
  uint64_t mixed = seed + number * UINT64_C(0x9E3779B97F4A7C15);
  mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
  mixed ^= mixed >> 31;
  return (uint32_t)(((mixed >> 32) * MILLION) >> 32);
}

static bool fails(const tarn_failing_plan *plan, uint64_t number) {
  switch (plan->kind) {
    case TARN_FAILING_NEVER:
      return false;
    case TARN_FAILING_NTH:
      return number == plan->n;
    case TARN_FAILING_EVERY:
      return number % plan->n == 0;
    case TARN_FAILING_RANDOM:
      return random_below_million(plan->seed, number) < plan->per_million;
    case TARN_FAILING_FROM:
      return number >= plan->n;
  }
  return false;
}

static tarn_status failing_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                 tarn_stream *stream, void **address) {
  failing_pool *self = context;
  plan_node *node = atomic_load_explicit(&self->plan, memory_order_acquire);
  if (size_bytes >= node->plan.size_min_bytes) {
    const uint64_t number =
        atomic_fetch_add_explicit(&node->call_count, 1, memory_order_relaxed) + 1;
    if (fails(&node->plan, number)) {
      atomic_fetch_add_explicit(&node->failed_count, 1, memory_order_relaxed);
      tarn__over_count_refusal(&self->over, node->plan.status);
      return tarn_fail(node->plan.status, "call %" PRIu64 ", for %zu bytes, fails by plan", number,
                       size_bytes);
    }
  }
  return tarn__over_alloc(&self->over, size_bytes, alignment_bytes, stream, address);
}

static void failing_destroy(void *context) {
  failing_pool *self = context;
  plan_node *node = atomic_load_explicit(&self->plan, memory_order_relaxed);
  while (node != NULL) {
    plan_node *const before = node->before;
    free(node);
    node = before;
  }
  tarn__over_destroy(self);
}

static tarn_status check_plan(const tarn_failing_plan *plan) {
  if (plan == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "plan is NULL");
  const tarn_status status =
      tarn__over_check_size("tarn_failing_plan", sizeof *plan, plan->struct_size);
  if (status != TARN_OK) return status;
  if ((int)plan->kind < TARN_FAILING_NEVER || (int)plan->kind > TARN_FAILING_FROM) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "there is no kind %d of failing", (int)plan->kind);
  }
  const bool has_number = plan->kind == TARN_FAILING_NTH || plan->kind == TARN_FAILING_EVERY ||
                          plan->kind == TARN_FAILING_FROM;
  if (has_number && plan->n == 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "calls are numbered from 1");
  }
  if (plan->per_million <= MILLION) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "%" PRIu32 " of a million calls", plan->per_million);
}

/* From now on; false where there is no memory for it. A plan of zeroes never fails. */
static bool follow(failing_pool *self, const tarn_failing_plan *plan) {
  plan_node *node = calloc(1, sizeof *node);
  if (node == NULL) return false;
  node->plan = *plan;
  if (node->plan.status == TARN_OK) node->plan.status = TARN_OUT_OF_MEMORY;
  node->before = atomic_load_explicit(&self->plan, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&self->plan, &node->before, node,
                                                memory_order_acq_rel, memory_order_relaxed)) {
  }
  return true;
}

tarn_status tarn_failing_pool_create(tarn_pool *upstream, const tarn_failing_pool_options *options,
                                     tarn_pool **pool) {
  const tarn_failing_pool_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = tarn__over_check(pool, upstream);
  if (status == TARN_OK) {
    status =
        tarn__over_check_size("tarn_failing_pool_options", sizeof *options, options->struct_size);
  }
  if (status == TARN_OK && options->plan.struct_size != 0) status = check_plan(&options->plan);
  if (status != TARN_OK) return status;
  tarn_pool_ops ops = tarn__over_ops;
  ops.alloc = failing_alloc;
  ops.destroy = failing_destroy;
  failing_pool *self = calloc(1, sizeof *self);
  const tarn_failing_plan none = {.kind = TARN_FAILING_NEVER};
  if (self != NULL && !follow(self, options->plan.struct_size != 0 ? &options->plan : &none)) {
    free(self);
    self = NULL;
  }
  return tarn__over_create(self != NULL ? &self->over : NULL, upstream, &ops, "failing",
                           options->name, pool);
}

static tarn_status find_failing(tarn_pool *pool, failing_pool **self) {
  *self = tarn_pool_context(pool, failing_destroy);
  return *self != NULL ? TARN_OK : tarn_fail(TARN_INVALID_ARGUMENT, "not a pool that fails");
}

tarn_status tarn_failing_pool_set(tarn_pool *pool, const tarn_failing_plan *plan) {
  failing_pool *self;
  tarn_status status = find_failing(pool, &self);
  if (status == TARN_OK) status = check_plan(plan);
  if (status != TARN_OK) return status;
  return follow(self, plan) ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a plan");
}

tarn_status tarn_failing_pool_tell(tarn_pool *pool, tarn_failing_told *told) {
  failing_pool *self;
  if (told == NULL || told->struct_size != sizeof *told) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_failing_told with struct_size %zu is needed",
                     sizeof *told);
  }
  *told = (tarn_failing_told){.struct_size = sizeof *told};
  const tarn_status status = find_failing(pool, &self);
  if (status != TARN_OK) return status;
  plan_node *node = atomic_load_explicit(&self->plan, memory_order_acquire);
  told->call_count = atomic_load_explicit(&node->call_count, memory_order_relaxed);
  told->failed_count = atomic_load_explicit(&node->failed_count, memory_order_relaxed);
  return TARN_OK;
}
