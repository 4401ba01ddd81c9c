/* order_baseline.h: the usual way to reuse memory across streams: an event at every free. */
#ifndef BENCH_ORDER_BASELINE_H
#define BENCH_ORDER_BASELINE_H

#include "alloc/tarn_stream.h"

typedef struct order_baseline order_baseline;

/* Lends parts of [0, size_bytes) out to streams 0 .. stream_count, borrowed. As RMM's pool does it:
 * each stream has a list of free blocks and one event, recorded at each of its frees; a stream that
 * finds nothing in its own list waits for the event of the first other one that has what it needs,
 * and where no single list has it takes them over, one after the other. */
TARN_NODISCARD tarn_status order_baseline_create(size_t size_bytes, tarn_stream *const *streams,
                                                 int stream_count, order_baseline **out);
void order_baseline_destroy(order_baseline *baseline);

/* TARN_OUT_OF_MEMORY where all lists together have no room. */
TARN_NODISCARD tarn_status order_baseline_get(order_baseline *baseline, size_t size_bytes,
                                              int stream, size_t *offset_bytes);
TARN_NODISCARD tarn_status order_baseline_put(order_baseline *baseline, size_t offset_bytes,
                                              size_t size_bytes, int stream);

#endif
