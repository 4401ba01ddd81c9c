/* tarn_pool_provider.h: a provider whose memory is another pool's: pools over pools.
 *
 * A small pool over a large one gives a part of a program its own limit, statistics and reuse,
 * while all of them share the memory of one machine. The provider is ordered
 * (TARN_PROVIDER_ORDERED): the upper pool asks for memory in the order of the stream that needs it,
 * so the lower one may answer with a block that another stream still works on.
 *
 * What the upper pool reserves is lent out by the lower one and counts there, so a budget belongs
 * to the lower one; given to both it would count twice. That the upper pool gives idle memory back
 * when the lower one runs out is a pressure function of one line (tarn_budget.h): trim it.
 */
#ifndef TARN_POOL_PROVIDER_H
#define TARN_POOL_PROVIDER_H

#include "alloc/tarn_pool.h"
#include "alloc/tarn_provider.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_pool_provider_options {
  size_t struct_size;
  const char *name;         /* copied; NULL: the pool's name */
  size_t granularity_bytes; /* power of two: what is asked of the pool is a multiple; 0: 64 KiB */
  size_t alignment_bytes;   /* power of two: of every block; 0: 256, or the pool's where larger */
} tarn_pool_provider_options;

/* Retains `upstream`, whose device and node are the provider's. `options` may be NULL. Memory goes
 * back to the pool once nothing uses it any more, so the pool may lend it to anybody at once. It
 * does not reserve, and says nothing about zeroes. */
TARN_API TARN_NODISCARD tarn_status tarn_pool_provider_create(
    tarn_pool *upstream, const tarn_pool_provider_options *options, tarn_provider **provider);

#ifdef __cplusplus
}
#endif
#endif
