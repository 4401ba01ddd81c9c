/* failing_pool.c: an adaptor whose allocations fail by a plan. */
#include "alloc/adapters/pools/tarn_failing_pool.h"

#include <inttypes.h>
#include <stdlib.h>

#include "alloc/adapters/pools/over_pool.h"

enum { MILLION = 1000000 };

typedef struct failing_pool {
  tarn__over over; /* whose lock guards what follows */
  tarn_failing_plan plan;
  uint64_t call_count;
  uint64_t failed_count;
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
  pthread_mutex_lock(self->over.lock);
  const bool is_counted = size_bytes >= self->plan.size_min_bytes;
  if (is_counted) self->call_count++;
  const uint64_t number = self->call_count;
  const bool is_failing = is_counted && fails(&self->plan, number);
  if (is_failing) self->failed_count++;
  const tarn_status planned = self->plan.status;
  pthread_mutex_unlock(self->over.lock);
  if (!is_failing) {
    return tarn__over_alloc(&self->over, size_bytes, alignment_bytes, stream, address);
  }
  tarn__over_count_refusal(&self->over, planned);
  return tarn_fail(planned, "call %" PRIu64 ", for %zu bytes, fails by plan", number, size_bytes);
}

static void failing_destroy(void *context) {
  tarn__over_destroy(context);
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

/* The plan as it is followed. */
static tarn_failing_plan whole_plan(const tarn_failing_plan *plan) {
  tarn_failing_plan whole = *plan;
  if (whole.status == TARN_OK) whole.status = TARN_OUT_OF_MEMORY;
  return whole;
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
  if (self != NULL && options->plan.struct_size != 0) self->plan = whole_plan(&options->plan);
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
  pthread_mutex_lock(self->over.lock);
  self->plan = whole_plan(plan);
  self->call_count = 0;
  self->failed_count = 0;
  pthread_mutex_unlock(self->over.lock);
  return TARN_OK;
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
  pthread_mutex_lock(self->over.lock);
  told->call_count = self->call_count;
  told->failed_count = self->failed_count;
  pthread_mutex_unlock(self->over.lock);
  return TARN_OK;
}
