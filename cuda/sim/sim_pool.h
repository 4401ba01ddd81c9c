/* sim_pool.h: what the files of simulated memory pools share. */
#ifndef SIM_POOL_H
#define SIM_POOL_H

#include "cuda/sim/sim.h"

enum { SIM_POOLS_MAX = 256 };

typedef struct pool_chunk pool_chunk;

struct CUmemPoolHandle_st {
  bool is_alive;   /* the handle is good */
  bool is_default; /* of its device */
  bool is_leaving; /* destroyed, and some blocks are still lent */
  int device;
  size_t size_bytes_max; /* 0: no limit */
  int follows_events;
  int is_opportunistic;
  int adds_dependencies;
  cuuint64_t threshold_bytes;
  cuuint64_t reserved_bytes;
  cuuint64_t reserved_bytes_high;
  cuuint64_t used_bytes;
  cuuint64_t used_bytes_high;
  CUmemAccess_flags access[SIM_DEVICES_MAX];
  pool_chunk *chunks;
};

typedef struct sim_pool_state {
  struct CUmemPoolHandle_st pools[SIM_DEVICES_MAX + SIM_POOLS_MAX]; /* the devices' own first */
  CUmemoryPool current[SIM_DEVICES_MAX];                            /* NULL: the device's own */
  sim_pool_counts counts;
} sim_pool_state;

extern sim_pool_state sim_pools;

/* Lends a block in the stream's order, as the pool's policies allow. */
CUresult sim_pool_lend(CUmemoryPool pool, size_t size_bytes, CUstream stream, CUdeviceptr *address);
/* Gives whole clean chunks back, as long as no less than keep_bytes stay. */
void sim_pool_release_above(CUmemoryPool pool, size_t keep_bytes);
/* The host has waited for a stream, or for all (0): what is done there is clean, and what no
 * threshold keeps goes back. */
void sim_pool_observe(CUmemoryPool pool, uint64_t queue_id);
/* A pool that was destroyed goes with its last block. */
void sim_pool_end(CUmemoryPool pool);
/* The device's context is gone, and all blocks with it. */
void sim_pool_abandon(CUmemoryPool pool);

#endif
