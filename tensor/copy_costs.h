/* copy_costs.h: the sums that tarn_copy_costs.h speaks of. */
#ifndef TENSOR_COPY_COSTS_H
#define TENSOR_COPY_COSTS_H

#include "alloc/tarn_stream_copy.h"
#include "tensor/copy_staged.h"
#include "tensor/tarn_copy_costs.h"

/* Runs in one call of tarn_stream_copy_batch. */
enum { TARN__COPY_BATCH_MAX = 256 };

/* Whether a grid has dimensions enough for the plan. */
bool tarn__copy_plan_fits_grid(const tarn__copy_plan *plan);

/* A copy that is to be estimated: `plan` is that of the two sides' layouts. */
typedef struct tarn__copy_question {
  const tarn__copy_plan *plan;
  const tarn__copy_side *dst;
  const tarn__copy_side *src;
  const tarn__copy_elements *element;
  uint32_t abilities; /* TARN_STREAM_COPIES_*; BY_RING where the ring carries this copy */
} tarn__copy_question;

/* UINT64_MAX where the copy cannot go that way. */
void tarn__copy_estimate(const tarn__copy_question *question,
                         uint64_t estimates_ns[TARN_COPY_WAYS]);
/* The same of the ways without the CPU; the others are left at UINT64_MAX. */
void tarn__copy_estimate_direct(const tarn__copy_question *question,
                                uint64_t estimates_ns[TARN_COPY_WAYS]);

/* The way by these estimates; false where there is none. */
bool tarn__copy_cheapest(const uint64_t estimates_ns[TARN_COPY_WAYS], tarn_copy_way *way);

/* Whether the ring takes it, whatever the sum. */
bool tarn__copy_must_take_ring(const tarn__copy_question *question);

#endif
