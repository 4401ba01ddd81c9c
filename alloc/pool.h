/* pool.h: what a pool's own calls need of its handle. */
#ifndef TARN_POOL_PRIVATE_H
#define TARN_POOL_PRIVATE_H

#include "alloc/caching.h"

/* Calls to a caching pool begin with what the calling thread keeps of it. Before anybody else has
 * the pool. */
void tarn__pool_set_caching(tarn_pool *pool, tarn__caching *caching);

/* The pool's end takes it off all maintenance. With the lock of maintenance.c. */
void tarn__pool_set_maintained(tarn_pool *pool);

/* The context of a pool whose operations have this destroy; NULL for any other pool, and for
 * NULL. */
void *tarn__pool_context(const tarn_pool *pool, void (*destroy)(void *context));

#endif
