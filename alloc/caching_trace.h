/* caching_trace.h: the ring of a caching pool's last events. */
#ifndef TARN_CACHING_TRACE_PRIVATE_H
#define TARN_CACHING_TRACE_PRIVATE_H

#include "alloc/tarn_stream.h"

typedef struct tarn__trace tarn__trace;

/* With the pool's lock held, while the trace runs. */
void tarn__trace_record(tarn__trace *trace, char op, const void *address, size_t size_bytes,
                        const tarn_stream *stream);
void tarn__trace_destroy(tarn__trace *trace);

#endif
