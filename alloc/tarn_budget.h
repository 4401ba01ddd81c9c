/* tarn_budget.h: how many bytes pools may reserve together, and who is asked before one fails.
 *
 * A budget counts what is charged to it and refuses what would exceed its limit. Budgets form
 * trees: a charge counts at every level up to the root, and fits at all of them or at none. Each
 * caching pool has one of its own (tarn_caching_pool_budget), whose parent is the one it was given
 * in its options: so a limit for a pool, for a group of pools and for the process are one thing.
 *
 * Before an allocation fails because a budget or the machine refused, the *pressure functions*
 * registered at the budget that refused and below it are called, and the allocation is tried again
 * where one of them gave something back. Pools that share a budget register one of their own:
 * memory that one of them keeps idle never makes another one fail.
 */
#ifndef TARN_BUDGET_H
#define TARN_BUDGET_H

#include "alloc/tarn_status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_budget tarn_budget;

typedef struct tarn_budget_options {
  size_t struct_size;
  const char *name;    /* copied, for messages; NULL: "budget" */
  size_t limit_bytes;  /* 0: no limit of its own; it still counts */
  tarn_budget *parent; /* retained; NULL: none */
} tarn_budget_options;

typedef struct tarn_budget_stats {
  size_t struct_size;
  size_t limit_bytes; /* 0: none */
  size_t used_bytes;
  size_t used_bytes_peak;
  uint64_t refused_count; /* charges that this budget refused; not those that its parent did */
} tarn_budget_stats;

/* What an allocation is about to fail for. */
typedef struct tarn_pressure {
  size_t struct_size;
  tarn_budget *budget;  /* the one that refused; NULL: the machine has no more */
  size_t asked_bytes;   /* by the allocation */
  size_t missing_bytes; /* giving so much back is enough, where it is whole segments or granules */
} tarn_pressure;

/* Gives memory back, or not; true where something came back that was charged to the budget that
 * refused. Called on the thread that allocates, without any lock: it may free, trim and even
 * allocate (but its own allocations, should they fail, call no pressure functions again). It must
 * not remove itself, nor release the last reference to the pool it is called for. */
typedef bool (*tarn_pressure_function)(void *context, const tarn_pressure *pressure);

/* `options` may be NULL: no limit, no parent. */
TARN_API TARN_NODISCARD tarn_status tarn_budget_create(const tarn_budget_options *options,
                                                       tarn_budget **budget);
/* Shared ownership. Pools retain their budget, and a budget its parent. */
TARN_API void tarn_budget_retain(tarn_budget *budget);
TARN_API void tarn_budget_release(tarn_budget *budget);
TARN_API const char *tarn_budget_name(const tarn_budget *budget);

/* From now on. Below what is used already nothing is taken away from anybody: charges are refused
 * until enough was paid back (tarn_pool_trim gives idle memory back). 0: no limit. */
TARN_API void tarn_budget_set_limit(tarn_budget *budget, size_t limit_bytes);
/* The caller sets stats->struct_size. */
TARN_API TARN_NODISCARD tarn_status tarn_budget_stats_of(const tarn_budget *budget,
                                                         tarn_budget_stats *stats);

/* Counts `size_bytes` at the budget and all above it: TARN_OUT_OF_MEMORY, and nothing is counted,
 * where one of them has no room; the last error names it. For memory of the caller's own, too.
 * Whoever charges pays back as many bytes when the memory is gone. */
TARN_API TARN_NODISCARD tarn_status tarn_budget_charge(tarn_budget *budget, size_t size_bytes);
TARN_API void tarn_budget_pay_back(tarn_budget *budget, size_t size_bytes);

/* For those who implement a pool. The level that would refuse so many bytes more, or NULL; it lives
 * as long as `budget`. */
TARN_API const tarn_budget *tarn_budget_refuser(tarn_budget *budget, size_t size_bytes);
/* Before an allocation of asked_bytes fails for want of size_bytes: calls the pressure functions of
 * the level that would refuse them and below it, or of all levels where none would, but no function
 * registered with the context `except`. True where one gave something back. Without a lock. */
TARN_API bool tarn_budget_press(tarn_budget *budget, size_t asked_bytes, size_t size_bytes,
                                const void *except);

/* Registers a function at `budget`, which is retained until it is removed. Called in the order of
 * registration. */
TARN_API TARN_NODISCARD tarn_status tarn_budget_add_pressure(tarn_budget *budget,
                                                             tarn_pressure_function function,
                                                             void *context);
/* Removes the first registration of just these three; waits for calls of it that are under way in
 * other threads, so that `context` may go afterwards. TARN_NOT_FOUND where there is none. */
TARN_API TARN_NODISCARD tarn_status tarn_budget_remove_pressure(tarn_budget *budget,
                                                                tarn_pressure_function function,
                                                                void *context);

#ifdef __cplusplus
}
#endif
#endif
