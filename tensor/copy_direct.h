/* copy_direct.h: copies that the stream does alone: rows, planes, batches of runs, grids. */
#ifndef TENSOR_COPY_DIRECT_H
#define TENSOR_COPY_DIRECT_H

#include "tensor/copy_costs.h"

/* Enqueues the plan as one grid. TARN_NOT_SUPPORTED with nothing enqueued: another way is left. */
tarn_status tarn__copy_by_grid(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                               const tarn__copy_side *src, const tarn__copy_elements *element,
                               tarn_stream *stream, tarn__copy_outcome *outcome);

/* Enqueues one that does not convert, or does by a kernel, one of the ways without the CPU.
 * TARN_NOT_SUPPORTED from a kernel: as above. */
tarn_status tarn__copy_by_way(tarn_copy_way way, const tarn__copy_question *question,
                              tarn_stream *stream, tarn__copy_outcome *outcome);

/* Enqueues the plan, whose elements do not change, the cheapest of the ways that the stream has;
 * outcome->executor says which it was. */
tarn_status tarn__copy_directly(const tarn__copy_plan *plan, const tarn__copy_side *dst,
                                const tarn__copy_side *src, size_t element_bytes,
                                tarn_stream *stream, tarn__copy_outcome *outcome);

#endif
