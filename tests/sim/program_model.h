/* program_model.h: what a program's blocks, pools and streams are by rights, without any pool. */
#ifndef TARN_PROGRAM_MODEL_H
#define TARN_PROGRAM_MODEL_H

#include "tests/sim/program_order.h"

typedef struct model_block {
  bool is_live;
  bool is_storage;
  bool is_known; /* what it holds: false before the first write, and where one failed half way */
  uint8_t pool;
  uint8_t stream; /* a storage's own */
  uint64_t size_bytes;
  uint64_t head_tag; /* in the first bytes */
  uint64_t rest_tag; /* in the middle and at the end */
} model_block;

typedef struct model_pool {
  bool is_dropped;
  bool is_limit_changed; /* it may have more than that already */
  uint64_t live_count;
  uint64_t alloc_count;
  uint64_t free_count;
  uint64_t requested_bytes;
  uint64_t requested_bytes_peak;
} model_pool;

typedef struct model_state {
  const program *of;
  order_state order;
  model_block blocks[PROGRAM_BLOCKS_MAX];
  model_pool pools[PROGRAM_POOLS_MAX];
} model_state;

/* Every stream is there, nothing is lent out. */
void model_init(model_state *self, const program *of);
/* Legal by the numbered sentences, and not without meaning (a free of nothing). */
bool model_allows(const model_state *self, const program_op *op);
/* The operation was done. Tags are those that it wrote. */
void model_apply(model_state *self, const program_op *op, uint64_t tag);
/* It failed: what may have been enqueued before that counts as uses. */
void model_apply_failed(model_state *self, const program_op *op);

/* Which streams and pools a program names at all; the others are not made. */
bool model_uses_stream(const program *of, uint32_t stream);
bool model_uses_pool(const program *of, uint32_t pool);
/* The CPU may touch the pool's memory. */
bool model_pool_is_host(const program *of, uint32_t pool);

/* Where a block of size_bytes carries tags: 1 to 3 places. */
typedef struct model_window {
  uint64_t offset_bytes;
  uint32_t size_bytes;
  bool is_head;
} model_window;
enum { MODEL_WINDOWS_MAX = 3 };
uint32_t model_windows(uint64_t size_bytes, model_window windows[MODEL_WINDOWS_MAX]);

#endif
