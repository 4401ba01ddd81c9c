/* umf_pool.h: what a UMF pool of tarn's is to its files. */
#ifndef TARN_UMF_POOL_H
#define TARN_UMF_POOL_H

#include "alloc/adapters/umf/umf_status.h"

typedef struct tarn__umf_pool {
  tarn_pool *pool;      /* a reference */
  tarn_stream *stream;  /* a reference; NULL: the CPU's order */
  tarn_provider *below; /* a reference: UMF's provider below a pool of its own; NULL: neither */
  char name[TARN__UMF_NAME_BYTES];
} tarn__umf_pool;

/* umf_pool_tell.c: UMF's operations. */
tarn__umf_result tarn__umf_pool_ctl(void *pool, uint32_t source, const char *name, void *argument,
                                    size_t size, uint32_t kind, va_list arguments);
tarn__umf_result tarn__umf_pool_trim(void *pool, size_t keep_bytes);

#endif
