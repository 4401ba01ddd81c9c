/* sim_pool.c: memory pools: blocks lent and taken in stream order, from chunks of device memory.
 *
 *     pool --> chunk [ live | freed behind a mark | clean | live ] --> chunk ...
 *
 * A freed block remembers the mark of its KIND_TAKE. It is clean when the host has waited for that
 * mark. Neighbours join when both are clean; a chunk that is one clean block can go back to the
 * device.
 */
#include "cuda/sim/sim_pool.h"

#include "cuda/sim/sim_race.h"

#include <stdlib.h>
#include <string.h>

enum {
  BLOCK_STEP_BYTES = 512,
  CHUNK_STEP_BYTES = 2 << 20,
  CHUNK_BYTES = 32 << 20, /* what a pool takes at least, where it can have it */
};

typedef struct pool_chunk pool_chunk;

struct sim_pool_block {
  sim_pool_block *next; /* by address */
  sim_pool_block *previous;
  pool_chunk *chunk;
  uintptr_t start;
  size_t size_bytes;
  bool is_live;
  sim_mark *lent;    /* of a live block's KIND_LEND; a reference */
  sim_mark *freed;   /* of a free block's KIND_TAKE; a reference; NULL: clean */
  uint64_t freed_on; /* the queue's id */
};

struct pool_chunk {
  pool_chunk *next;
  CUmemoryPool pool;
  sim_reservation *memory;
  size_t size_bytes;
  sim_pool_block *first;
};

/* Blocks given to cuMemFreeAsync whose KIND_TAKE has not run. */
typedef struct ending {
  struct ending *next;
  uint64_t range_id;
} ending;

static ending *endings;
/* --- chunks and blocks --- */

/* A device's memory that nobody has, at least `least_bytes` of it. */
static size_t choose_chunk(const struct CUmemPoolHandle_st *pool, size_t least_bytes) {
  const sim_device *device = &sim.devices[pool->device];
  size_t left_bytes =
      device->capacity_bytes > device->used_bytes ? device->capacity_bytes - device->used_bytes : 0;
  if (pool->size_bytes_max != 0) {
    const size_t below_bytes = pool->size_bytes_max > pool->reserved_bytes
                                   ? pool->size_bytes_max - pool->reserved_bytes
                                   : 0;
    if (below_bytes < left_bytes) left_bytes = below_bytes;
  }
  if (least_bytes <= CHUNK_BYTES && CHUNK_BYTES <= left_bytes) return CHUNK_BYTES;
  return least_bytes <= left_bytes ? least_bytes : 0;
}

static sim_pool_block *add_chunk(CUmemoryPool pool, size_t size_bytes) {
  pool_chunk *chunk = calloc(1, sizeof *chunk);
  sim_pool_block *block = calloc(1, sizeof *block);
  sim_reservation *memory = sim_virtual_take(size_bytes);
  if (chunk == NULL || block == NULL || memory == NULL) {
    if (memory != NULL) sim_virtual_give(memory);
    free(block);
    free(chunk);
    return NULL;
  }
  *chunk = (pool_chunk){.next = pool->chunks,
                        .pool = pool,
                        .memory = memory,
                        .size_bytes = size_bytes,
                        .first = block};
  *block = (sim_pool_block){
      .chunk = chunk, .start = sim_virtual_start(memory), .size_bytes = size_bytes};
  pool->chunks = chunk;
  pool->reserved_bytes += size_bytes;
  if (pool->reserved_bytes > pool->reserved_bytes_high) {
    pool->reserved_bytes_high = pool->reserved_bytes;
  }
  sim.devices[pool->device].used_bytes += size_bytes;
  sim_pools.counts.reserved_bytes += size_bytes;
  return block;
}

static void free_block(sim_pool_block *block) {
  sim_mark_release(block->lent);
  sim_mark_release(block->freed);
  free(block);
}

static void remove_chunk(pool_chunk **link) {
  pool_chunk *gone = *link;
  *link = gone->next;
  while (gone->first != NULL) {
    sim_pool_block *block = gone->first;
    gone->first = block->next;
    free_block(block);
  }
  gone->pool->reserved_bytes -= gone->size_bytes;
  sim.devices[gone->pool->device].used_bytes -= gone->size_bytes;
  sim_pools.counts.reserved_bytes -= gone->size_bytes;
  sim_race_fresh(sim_virtual_start(gone->memory), gone->size_bytes);
  sim_virtual_give(gone->memory);
  free(gone);
}

/* The rest behind size_bytes becomes a block as free as the first part; false without memory. */
static bool split(sim_pool_block *block, size_t size_bytes) {
  if (block->size_bytes == size_bytes) return true;
  sim_pool_block *rest = calloc(1, sizeof *rest);
  if (rest == NULL) return false;
  *rest = *block;
  rest->start += size_bytes;
  rest->size_bytes -= size_bytes;
  rest->previous = block;
  if (rest->next != NULL) rest->next->previous = rest;
  sim_mark_retain(rest->freed);
  block->next = rest;
  block->size_bytes = size_bytes;
  return true;
}

static bool is_clean(const sim_pool_block *block) {
  return block != NULL && !block->is_live && block->freed == NULL;
}

static void absorb_next(sim_pool_block *block) {
  sim_pool_block *gone = block->next;
  block->size_bytes += gone->size_bytes;
  block->next = gone->next;
  if (block->next != NULL) block->next->previous = block;
  free_block(gone);
}

/* Joins a chunk's clean neighbours, after the marks that are passed were dropped: a stream's, or
 * all (0). */
static void clean_chunk(pool_chunk *chunk, uint64_t queue_id) {
  for (sim_pool_block *block = chunk->first; block != NULL; block = block->next) {
    const bool is_seen = queue_id == 0 || block->freed_on == queue_id;
    if (block->freed != NULL && block->freed->is_done && is_seen) {
      sim_mark_release(block->freed);
      block->freed = NULL;
    }
  }
  for (sim_pool_block *block = chunk->first; block != NULL; block = block->next) {
    while (is_clean(block) && is_clean(block->next)) absorb_next(block);
  }
}

static bool is_idle(const pool_chunk *chunk) {
  return is_clean(chunk->first) && chunk->first->next == NULL;
}

void sim_pool_release_above(CUmemoryPool pool, size_t keep_bytes) {
  for (pool_chunk **link = &pool->chunks; *link != NULL;) {
    const bool is_too_much = pool->reserved_bytes >= keep_bytes &&
                             pool->reserved_bytes - keep_bytes >= (*link)->size_bytes;
    if (is_too_much && is_idle(*link)) {
      remove_chunk(link);
    } else {
      link = &(*link)->next;
    }
  }
}

/* Gives whole clean chunks back until no more than the threshold is held. */
static void release_to_threshold(CUmemoryPool pool) {
  for (pool_chunk **link = &pool->chunks; *link != NULL;) {
    if (pool->reserved_bytes > pool->threshold_bytes && is_idle(*link)) {
      remove_chunk(link);
    } else {
      link = &(*link)->next;
    }
  }
}

void sim_pool_end(CUmemoryPool pool) {
  if (!pool->is_leaving || pool->used_bytes != 0) return;
  for (pool_chunk *chunk = pool->chunks; chunk != NULL; chunk = chunk->next) clean_chunk(chunk, 0);
  sim_pool_release_above(pool, 0);
  if (pool->chunks == NULL) *pool = (struct CUmemPoolHandle_st){0};
}

void sim_pool_observe(CUmemoryPool pool, uint64_t queue_id) {
  for (pool_chunk *chunk = pool->chunks; chunk != NULL; chunk = chunk->next) {
    clean_chunk(chunk, queue_id);
  }
  release_to_threshold(pool);
  sim_pool_end(pool);
}

void sim_pool_abandon(CUmemoryPool pool) {
  while (pool->chunks != NULL) remove_chunk(&pool->chunks);
  if (pool->is_leaving) *pool = (struct CUmemPoolHandle_st){0};
}

/* --- lending and taking --- */

typedef enum fit { FIT_NONE, FIT_BEHIND_A_WAIT, FIT_AT_ONCE } fit;

/* Whether the pool's policies let work of the queue have the block. */
static fit fit_of(const struct CUmemPoolHandle_st *pool, const sim_pool_block *block,
                  const sim_queue *queue) {
  if (block->freed == NULL || block->freed_on == queue->id) return FIT_AT_ONCE;
  if (pool->is_opportunistic && block->freed->is_done) return FIT_AT_ONCE;
  if (pool->follows_events && sim_queue_is_behind(queue, block->freed)) return FIT_AT_ONCE;
  return pool->adds_dependencies ? FIT_BEHIND_A_WAIT : FIT_NONE;
}

/* The best of the pool's free blocks: at once rather than behind a wait, then the smallest. */
static sim_pool_block *find_block(const struct CUmemPoolHandle_st *pool, size_t size_bytes,
                                  const sim_queue *queue, fit *found) {
  sim_pool_block *best = NULL;
  *found = FIT_NONE;
  for (pool_chunk *chunk = pool->chunks; chunk != NULL; chunk = chunk->next) {
    for (sim_pool_block *block = chunk->first; block != NULL; block = block->next) {
      if (block->is_live || block->size_bytes < size_bytes) continue;
      if (*found == FIT_AT_ONCE && best->size_bytes <= block->size_bytes) continue;
      const fit how = fit_of(pool, block, queue);
      if (how < *found || how == FIT_NONE) continue;
      if (how == *found && best->size_bytes <= block->size_bytes) continue;
      best = block;
      *found = how;
    }
  }
  return best;
}

static sim_pool_block *take_block(CUmemoryPool pool, size_t size_bytes, sim_queue *queue) {
  fit found;
  sim_pool_block *block = find_block(pool, size_bytes, queue, &found);
  if (block == NULL) {
    const size_t least_bytes =
        (size_bytes + CHUNK_STEP_BYTES - 1) & ~(size_t)(CHUNK_STEP_BYTES - 1);
    const size_t chunk_bytes = choose_chunk(pool, least_bytes);
    if (chunk_bytes == 0) return NULL;
    block = add_chunk(pool, chunk_bytes);
  }
  if (block == NULL || !split(block, size_bytes)) return NULL;
  if (found == FIT_BEHIND_A_WAIT && !sim_queue_wait(queue, block->freed)) return NULL;
  return block;
}

static bool is_freed_on(const sim_pool_block *block, uint64_t queue_id) {
  return block != NULL && !block->is_live && block->freed != NULL && block->freed_on == queue_id;
}

/* What was freed last on a queue is behind all that was freed on it before. */
static void join_freed(sim_pool_block *block) {
  if (block->freed == NULL) return;
  if (is_freed_on(block->next, block->freed_on)) absorb_next(block);
  sim_pool_block *previous = block->previous;
  if (!is_freed_on(previous, block->freed_on)) return;
  sim_mark_release(previous->freed);
  previous->freed = sim_mark_retain(block->freed);
  absorb_next(previous);
}

/* A live block is free, behind `freed`, or at once where that is NULL. */
static void take_back(sim_range *range, sim_mark *freed, uint64_t freed_on) {
  sim_pool_block *block = range->block;
  CUmemoryPool pool = block->chunk->pool;
  sim_range_remove(range);
  sim_mark_release(block->lent);
  block->lent = NULL;
  block->is_live = false;
  block->freed = sim_mark_retain(freed);
  block->freed_on = freed_on;
  pool->used_bytes -= block->size_bytes;
  sim_pools.counts.blocks--;
  join_freed(block);
}

CUresult sim_pool_lend(CUmemoryPool pool, size_t size_bytes, CUstream stream,
                       CUdeviceptr *address) {
  sim_queue *queue;
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  size_t rounded_bytes;
  if (__builtin_add_overflow(size_bytes, BLOCK_STEP_BYTES - 1, &rounded_bytes) ||
      rounded_bytes > sim.devices[pool->device].capacity_bytes || !sim_range_make_room()) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  rounded_bytes &= ~(size_t)(BLOCK_STEP_BYTES - 1);
  sim_op *op = sim_op_create(queue, KIND_LEND);
  sim_pool_block *block = op != NULL ? take_block(pool, rounded_bytes, queue) : NULL;
  if (block == NULL) {
    if (op != NULL) sim_op_discard(op);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  sim_mark_release(block->freed);
  block->freed = NULL;
  block->is_live = true;
  block->lent = sim_mark_retain(op->mark);
  pool->used_bytes += block->size_bytes;
  if (pool->used_bytes > pool->used_bytes_high) pool->used_bytes_high = pool->used_bytes;
  sim_pools.counts.blocks++;
  *address = block->start;
  op->as.pool.address = block->start;
  op->as.pool.size_bytes = block->size_bytes;
  op->as.pool.range_id = sim_range_insert((sim_range){.start = block->start,
                                                      .size_bytes = block->size_bytes,
                                                      .kind = RANGE_POOL,
                                                      .device = pool->device,
                                                      .block = block});
  const CUresult enqueued = sim_op_enqueue(op);
  if (enqueued != CUDA_SUCCESS) take_back(sim_range_find(*address), NULL, 0);
  return enqueued;
}

void sim_lend_run(sim_op *op) {
  const sim_range *range = sim_range_find(op->as.pool.address);
  const bool is_here = (range != NULL && range->id == op->as.pool.range_id) ||
                       sim_pool_is_ending(op->as.pool.range_id);
  if (is_here) memset(sim_window_view(op->as.pool.address), 0xCD, op->as.pool.size_bytes);
}

static void forget_ending(uint64_t range_id) {
  for (ending **link = &endings; *link != NULL; link = &(*link)->next) {
    if ((*link)->range_id != range_id) continue;
    ending *gone = *link;
    *link = gone->next;
    free(gone);
    return;
  }
}

/* The block is taken back behind the operation, once that stands in the queue. */
static CUresult end_behind(sim_op *op) {
  const uintptr_t address = op->as.pool.address;
  const uint64_t range_id = op->as.pool.range_id;
  const uint64_t queue_id = op->queue->id;
  sim_mark *mark = sim_mark_retain(op->mark);
  const CUresult result = sim_op_enqueue(op);
  if (result == CUDA_SUCCESS) {
    take_back(sim_range_find(address), mark, queue_id);
  } else {
    forget_ending(range_id);
  }
  sim_mark_release(mark);
  return result;
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
  SIM_ENTER(cuMemFreeAsync, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  const sim_range *range = sim_range_find(address);
  if (range == NULL || range->kind != RANGE_POOL || range->start != address ||
      sim_pool_is_ending(range->id)) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  ending *end = calloc(1, sizeof *end);
  sim_op *op = end != NULL ? sim_op_create(queue, KIND_TAKE) : NULL;
  if (op == NULL) {
    free(end);
    return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  }
  *end = (ending){.next = endings, .range_id = range->id};
  endings = end;
  op->as.pool.address = address;
  op->as.pool.size_bytes = range->size_bytes;
  op->as.pool.range_id = range->id;
  op->as.pool.lent = sim_mark_retain(range->block->lent);
  return sim_leave(end_behind(op));
}

bool sim_pool_is_ending(uint64_t range_id) {
  for (const ending *end = endings; end != NULL; end = end->next) {
    if (end->range_id == range_id) return true;
  }
  return false;
}

void sim_take_run(sim_op *op) {
  forget_ending(op->as.pool.range_id);
  if (!op->as.pool.lent->is_done) {
    sim_break(op->queue->device, CUDA_ERROR_ILLEGAL_ADDRESS,
              "a pool's block at %p was freed in stream %llu before its allocation in stream order",
              (void *)op->as.pool.address, (unsigned long long)op->queue->id);
  }
}

void sim_pool_free_now(sim_range *range) {
  CUmemoryPool pool = range->block->chunk->pool;
  take_back(range, NULL, 0);
  sim_pool_end(pool);
}

bool sim_pool_has_begun(const sim_range *range) {
  return range == NULL || range->kind != RANGE_POOL || range->block->lent->is_done;
}

bool sim_pool_allows(const sim_range *range, int device, bool is_written) {
  const CUmemAccess_flags needed =
      is_written ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_READ;
  return (range->block->chunk->pool->access[device] & needed) == needed;
}

CUmemoryPool sim_pool_of(const sim_range *range) {
  return range->block->chunk->pool;
}
