/* tarn_aligned_pool.h: an adaptor over a pool: every block aligned to more than was asked for.
 *
 * For a client that cannot say which alignment it needs: a cache line for vectors, pages for
 * O_DIRECT or a registration with a network card, 2 MiB for large pages. tarn_limit_pool.h says
 * what all adaptors share. */
#ifndef TARN_ALIGNED_POOL_H
#define TARN_ALIGNED_POOL_H

#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  TARN_ALIGNED_POOL_WHOLE = 1u << 0, /* sizes are rounded up, too: no two blocks share a unit */
};

typedef struct tarn_aligned_pool_options {
  size_t struct_size;
  const char *name;       /* copied; NULL: "aligned over <the upstream's name>" */
  size_t alignment_bytes; /* power of two: what each block is aligned to, at least */
  size_t size_min_bytes;  /* smaller blocks are left as the upstream aligns them; 0: none is */
  uint32_t flags;         /* TARN_ALIGNED_POOL_* */
} tarn_aligned_pool_options;

/* The alignment that the pool's attributes promise is the option's where size_min_bytes is 0.
 * TARN_INVALID_ARGUMENT for an alignment that is no power of two. */
TARN_API TARN_NODISCARD tarn_status tarn_aligned_pool_create(
    tarn_pool *upstream, const tarn_aligned_pool_options *options, tarn_pool **pool);

#ifdef __cplusplus
}
#endif
#endif
