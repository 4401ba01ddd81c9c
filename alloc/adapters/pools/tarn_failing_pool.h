/* tarn_failing_pool.h: an adaptor over a pool: allocations that fail when a test wants them to.
 *
 * What a program does without memory is mostly what nobody has tried. Put this pool under it, say
 * which call is to fail, and look; then the next. tarn_limit_pool.h says what all adaptors share.
 *
 *     for (plan.n = 1; ; plan.n++) {          every allocation of a piece of work fails once
 *       tarn_failing_pool_set(pool, &plan);
 *       ... the work, which must come through or fail without a trace ...
 *       tarn_failing_pool_tell(pool, &told);
 *       if (told.failed_count == 0) break;
 *     }
 */
#ifndef TARN_FAILING_POOL_H
#define TARN_FAILING_POOL_H

#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tarn_failing_kind {
  TARN_FAILING_NEVER = 0,
  TARN_FAILING_NTH = 1,    /* the n-th call, and no other */
  TARN_FAILING_EVERY = 2,  /* every n-th call */
  TARN_FAILING_RANDOM = 3, /* each with the same probability, decided by the seed and its number */
  TARN_FAILING_FROM = 4,   /* the n-th call and all after it, until told otherwise */
} tarn_failing_kind;

/* Calls are numbered from 1 as they come in, from the moment the plan is set. */
typedef struct tarn_failing_plan {
  size_t struct_size;
  tarn_failing_kind kind;
  uint64_t n;            /* NTH, EVERY, FROM: above 0 */
  uint32_t per_million;  /* RANDOM: how many of a million calls, 0 to 1000000 */
  uint64_t seed;         /* RANDOM: call k of the same seed fails again, on whatever thread */
  tarn_status status;    /* what a failing call answers; 0: TARN_OUT_OF_MEMORY */
  size_t size_min_bytes; /* calls for less are neither counted nor fail */
} tarn_failing_plan;

typedef struct tarn_failing_told {
  size_t struct_size;
  uint64_t call_count;   /* since the plan was set */
  uint64_t failed_count; /* of those, by the plan */
} tarn_failing_told;

typedef struct tarn_failing_pool_options {
  size_t struct_size;
  const char *name;       /* copied; NULL: "failing over <the upstream's name>" */
  tarn_failing_plan plan; /* with struct_size 0: nothing fails yet */
} tarn_failing_pool_options;

/* `options` may be NULL. An allocation that fails by the plan does not reach the upstream. */
TARN_API TARN_NODISCARD tarn_status tarn_failing_pool_create(
    tarn_pool *upstream, const tarn_failing_pool_options *options, tarn_pool **pool);

/* Begins anew with this plan, which takes some 100 bytes until the pool's end.
 * TARN_INVALID_ARGUMENT for a pool of another kind and for a plan that means nothing, and
 * TARN_OUT_OF_MEMORY; the one before goes on then. */
TARN_API TARN_NODISCARD tarn_status tarn_failing_pool_set(tarn_pool *pool,
                                                          const tarn_failing_plan *plan);
/* The caller sets told->struct_size. */
TARN_API TARN_NODISCARD tarn_status tarn_failing_pool_tell(tarn_pool *pool,
                                                           tarn_failing_told *told);

#ifdef __cplusplus
}
#endif
#endif
