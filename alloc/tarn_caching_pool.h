/* tarn_caching_pool.h: tarn's own pool: keeps freed blocks and lends them out in stream order.
 *
 * Over a provider that reserves (pages, a NUMA node) the pool grows one address range in place;
 * over any other it collects segments. Inside, blocks are cut by best fit and joined with their
 * free neighbours. Metadata lies apart from the memory, which is never touched: device memory will
 * do.
 */
#ifndef TARN_CACHING_POOL_H
#define TARN_CACHING_POOL_H

#include "alloc/tarn_pool.h"
#include "alloc/tarn_provider.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_caching_options {
  size_t struct_size;
  const char *name;     /* copied; NULL: the provider's name */
  size_t limit_bytes;   /* never reserve more than this; 0: no limit but the machine's */
  size_t segment_bytes; /* least taken from a provider that does not reserve, more as the pool
                           grows; 0: 2 MiB */
  size_t range_bytes;   /* address space per range of a provider that reserves; 0: 64 GiB */
} tarn_caching_options;

/* Retains `provider`. `options` may be NULL. Blocks are multiples of 256 bytes and aligned so (what
 * DLPack asks of producers), or to the provider's alignment where that is less. */
TARN_API TARN_NODISCARD tarn_status tarn_caching_pool_create(tarn_provider *provider,
                                                             const tarn_caching_options *options,
                                                             tarn_pool **pool);

#ifdef __cplusplus
}
#endif
#endif
