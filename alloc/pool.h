/* pool.h: what a pool's own calls need of its handle. */
#ifndef TARN_POOL_PRIVATE_H
#define TARN_POOL_PRIVATE_H

#include <stdatomic.h>

#include "alloc/caching.h"
#include "alloc/tarn_pool_snapshot.h"
#include "alloc/tarn_pool_trace.h"

/* Calls to a caching pool begin with what the calling thread keeps of it. Before anybody else has
 * the pool. */
void tarn__pool_set_caching(tarn_pool *pool, tarn__caching *caching);

/* The pool's end takes it off all maintenance. With the lock of maintenance.c. */
void tarn__pool_set_maintained(tarn_pool *pool);

/* pool_trace.c: where the pool's trace is kept until its end; whether it can be told to record
 * there, and tells it. */
_Atomic(tarn_trace *) *tarn__pool_trace(tarn_pool *pool);
tarn_status tarn__pool_check_traced(const tarn_pool *pool);
void tarn__pool_set_trace(tarn_pool *pool, tarn_trace *trace);
void tarn__trace_destroy(tarn_trace *trace);

/* The implementation's snapshot, with nothing in it yet. */
tarn_status tarn__pool_take_snapshot(tarn_pool *pool, tarn_snapshot *snapshot);

/* The implementation and its context. */
const tarn_pool_ops *tarn__pool_ops(const tarn_pool *pool, void **context);

#endif
