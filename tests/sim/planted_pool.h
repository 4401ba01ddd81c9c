/* planted_pool.h: a pool with a defect, to see that the oracles find it. */
#ifndef TARN_PLANTED_POOL_H
#define TARN_PLANTED_POOL_H

#include "alloc/tarn_caching_pool.h"
#include "tests/sim/program.h"

/* *pool is `inner` itself where nothing is planted; else a pool in front of it, which takes the
 * reference. On failure `inner` is released. */
tarn_status planted_pool_create(tarn_pool *inner, program_plant plant, tarn_pool **pool);

#endif
