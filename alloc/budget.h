/* budget.h: what caching pools ask of budgets besides the public calls. */
#ifndef TARN_BUDGET_PRIVATE_H
#define TARN_BUDGET_PRIVATE_H

#include "alloc/tarn_budget.h"

/* Would a charge fit now? Only the charge itself decides. */
bool tarn__budget_has_room(const tarn_budget *budget, size_t size_bytes);
/* The same with a charge's answer, and with its message. */
TARN_NODISCARD tarn_status tarn__budget_check(tarn_budget *budget, size_t size_bytes);
/* False where a level's limit is below size_bytes: then no amount of giving back helps. */
bool tarn__budget_may_ever_fit(const tarn_budget *budget, size_t size_bytes);
/* The level that would refuse so many bytes more, and how many too many they are; NULL for none.
 * Borrowed: it lives as long as `budget`. */
tarn_budget *tarn__budget_find_refuser(tarn_budget *budget, size_t size_bytes,
                                       size_t *missing_bytes);
size_t tarn__budget_used_bytes(const tarn_budget *budget);
/* Takes a charge back for which no memory was to be had. */
void tarn__budget_cancel(tarn_budget *budget, size_t size_bytes);
/* How often memory was paid back under the same root, or a limit moved: where it has risen since a
 * charge was refused, another try may fit. */
uint64_t tarn__budget_given_count(const tarn_budget *budget);

/* Calls the pressure functions at and below pressure->budget, or below the root over `budget` where
 * that is NULL, but none with the context `except`. True where one gave something back. */
bool tarn__budget_press(tarn_budget *budget, const tarn_pressure *pressure, const void *except);

#endif
