/* fast_taker.h: a thread that takes from a budget what has just been given back to it, before
 * whoever asks for it can, so many times in a row. */
#ifndef TARN_TEST_FAST_TAKER_H
#define TARN_TEST_FAST_TAKER_H

#include "alloc/tarn_budget.h"
#include "tests/support/test.h"

typedef struct fast_taker {
  tarn_budget *budget;
  size_t size_bytes;
  int left_count;
} fast_taker;

/* A pressure function. */
static inline bool give_and_take(void *context, const tarn_pressure *pressure) {
  (void)pressure;
  fast_taker *self = context;
  tarn_budget_pay_back(self->budget, self->size_bytes);
  if (self->left_count-- > 0) assert_ok(tarn_budget_charge(self->budget, self->size_bytes));
  return true;
}

#endif
