/* arena_pool.c: a pool of one's own: an arena over a buffer that the caller owns.
 *
 *     cc -Wall -Wextra arena_pool.c $(pkg-config --cflags --libs tarn) -o arena_pool
 *
 * prints
 *
 *     block 1 at 0, block 2 at 1024
 *     freed by the CPU: the next one is at 0
 *     freed on a stream: the stream finds it at 1024, and the CPU another at 2048
 *     out of memory: arena: 1048576 bytes asked for, at most 65536 could be had
 *     0 bytes lent, 65536 reserved
 *
 * What it shows of tarn_pool_ops: memory in the order of streams with fences alone, statistics that
 * are exact, what a free must refuse, and what may be left out. It lends first fit over a list of
 * blocks in address order; tarn's own caching pool does all of this without a lock or a fence on
 * the usual way, so write a pool for what that one does not do.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pool.h"

/* What a header of your own declares. The buffer stays the caller's and must outlive the pool,
 * which lives as long as any block of it is lent out. */
tarn_status arena_pool_create(void *buffer, size_t size_bytes, tarn_pool **pool);

enum { ALIGNMENT_BYTES = 64 };

/* Work of one stream that may still touch a block: it is done when the fence has passed. */
typedef struct use {
  struct use *next;
  tarn_fence *fence;
  uint32_t stream_number; /* one stream's alone as long as its work is under way */
} use;

/* FREE has no uses. LENT may have some that were noted. PENDING was freed, and has uses. */
typedef enum block_state { FREE, LENT, PENDING } block_state;

typedef struct block {
  struct block *next; /* in address order, without a gap between them */
  char *address;
  size_t size_bytes;
  size_t requested_bytes;
  block_state state;
  use *uses;
} block;

typedef struct arena {
  pthread_mutex_t lock; /* everything below; no call that may wait for a stream is made under it */
  pthread_cond_t settled;
  block *first;
  size_t waiting_count; /* threads that wait for blocks which they took out of PENDING */
  tarn_pool_stats stats;
} arena;

/* --- uses --- */

/* Frees the uses that have passed; all of them where `is_over`. */
static void drop_passed(use **uses, bool is_over) {
  while (*uses != NULL) {
    use *here = *uses;
    if (!is_over && tarn_fence_query(here->fence) != TARN_OK) {
      uses = &here->next;
      continue;
    }
    *uses = here->next;
    tarn_fence_destroy(here->fence);
    free(here);
  }
}

/* Marks what `stream` has been given by now. With the lock: recording a fence does not wait. */
static tarn_status add_use(block *self, tarn_stream *stream) {
  drop_passed(&self->uses, /*is_over=*/false);
  const uint32_t number = tarn_stream_number(stream);
  for (use *known = self->uses; known != NULL; known = known->next) {
    if (known->stream_number == number) return tarn_fence_record(known->fence, stream);
  }
  use *fresh = calloc(1, sizeof *fresh);
  if (fresh == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "arena: no memory to note a use");
  tarn_status status = tarn_fence_create(stream, &fresh->fence);
  if (status == TARN_OK) status = tarn_fence_record(fresh->fence, stream);
  if (status != TARN_OK) {
    tarn_fence_destroy(fresh->fence);
    free(fresh);
    return status;
  }
  fresh->stream_number = number;
  fresh->next = self->uses;
  self->uses = fresh;
  return TARN_OK;
}

/* Orders `stream` behind the uses; for NULL it waits until they have passed. Without the lock. */
static tarn_status wait_for(const use *uses, tarn_stream *stream) {
  tarn_status status = TARN_OK;
  for (; uses != NULL && status == TARN_OK; uses = uses->next) {
    status = tarn_stream_wait(stream, uses->fence);
  }
  return status;
}

/* --- blocks, all with the lock --- */

static void join_with_next(block *left) {
  block *right = left->next;
  if (right == NULL || left->state != FREE || right->state != FREE) return;
  left->size_bytes += right->size_bytes;
  left->next = right->next;
  free(right);
}

/* Pending blocks whose uses have passed become free, and free neighbours one. */
static void settle(arena *self) {
  for (block *here = self->first; here != NULL; here = here->next) {
    if (here->state != PENDING) continue;
    drop_passed(&here->uses, /*is_over=*/false);
    if (here->uses != NULL) continue;
    self->stats.active_bytes -= here->size_bytes;
    here->state = FREE;
  }
  for (block *here = self->first; here != NULL; here = here->next) {
    while (here->next != NULL && here->state == FREE && here->next->state == FREE) {
      join_with_next(here);
    }
  }
}

/* Bytes in front of the first aligned address of a block. */
static size_t head_bytes(const block *self, size_t alignment_bytes) {
  return (size_t)(-(uintptr_t)self->address & (alignment_bytes - 1));
}

/* The first block in that state with room for so much, and what the largest has room for. */
static block *find_room(arena *self, block_state state, size_t size_bytes, size_t alignment_bytes,
                        size_t *largest_bytes) {
  for (block *here = self->first; here != NULL; here = here->next) {
    const size_t head = head_bytes(here, alignment_bytes);
    if (here->state != state || head >= here->size_bytes) continue;
    if (here->size_bytes - head >= size_bytes) return here;
    if (here->size_bytes - head > *largest_bytes) *largest_bytes = here->size_bytes - head;
  }
  return NULL;
}

/* Cuts `self` in two behind its first size_bytes, where there is more; the rest has its state. */
static bool split(block *self, size_t size_bytes) {
  if (size_bytes == 0 || size_bytes == self->size_bytes) return true;
  block *rest = malloc(sizeof *rest);
  if (rest == NULL) return false;
  *rest = (block){.next = self->next,
                  .address = self->address + size_bytes,
                  .size_bytes = self->size_bytes - size_bytes,
                  .state = self->state};
  self->next = rest;
  self->size_bytes = size_bytes;
  return true;
}

/* Cuts the wanted bytes out of a free block. NULL where there is no memory for the pieces, which
 * are as free as they were. */
static block *carve(block *self, size_t size_bytes, size_t alignment_bytes) {
  const size_t head = head_bytes(self, alignment_bytes);
  if (!split(self, head)) return NULL;
  block *wanted = head != 0 ? self->next : self;
  return split(wanted, size_bytes) ? wanted : NULL;
}

static void count_lent(arena *self, block *lent, size_t requested_bytes) {
  tarn_pool_stats *stats = &self->stats;
  if (lent->state == FREE) stats->active_bytes += lent->size_bytes;
  lent->state = LENT;
  lent->requested_bytes = requested_bytes;
  stats->requested_bytes += requested_bytes;
  stats->allocated_bytes += lent->size_bytes;
  stats->alloc_count++;
  if (stats->requested_bytes > stats->requested_bytes_peak) {
    stats->requested_bytes_peak = stats->requested_bytes;
  }
  if (stats->allocated_bytes > stats->allocated_bytes_peak) {
    stats->allocated_bytes_peak = stats->allocated_bytes;
  }
}

/* Takes a pending block out of the lists' reach, waits for its uses without the lock, and settles
 * it; or waits for another thread that does so. False where there is nothing to wait for. */
static bool wait_for_one(arena *self) {
  block *pending = self->first;
  while (pending != NULL && pending->state != PENDING) pending = pending->next;
  if (pending == NULL && self->waiting_count == 0) return false;
  if (pending == NULL) {
    pthread_cond_wait(&self->settled, &self->lock);
    return true;
  }
  pending->state = LENT; /* with no address that anybody could free */
  pending->requested_bytes = 0;
  self->waiting_count++;
  pthread_mutex_unlock(&self->lock);
  const bool is_over = wait_for(pending->uses, NULL) == TARN_OK;
  pthread_mutex_lock(&self->lock);
  pending->state = PENDING;
  drop_passed(&pending->uses, is_over);
  self->waiting_count--;
  pthread_cond_broadcast(&self->settled);
  return is_over;
}

/* --- operations --- */

static tarn_status arena_attributes(void *context, tarn_pool_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->alignment_bytes = ALIGNMENT_BYTES;
  return TARN_OK; /* the node is -1 already */
}

/* Lends a block that is still in use to a stream that comes behind that. Gives the lock up. */
static tarn_status lend_pending(arena *self, block *pending, size_t requested_bytes,
                                tarn_stream *stream, void **address) {
  use *uses = pending->uses;
  pending->uses = NULL;
  count_lent(self, pending, requested_bytes);
  self->stats.wait_count++;
  pthread_mutex_unlock(&self->lock);
  tarn_status status = wait_for(uses, stream);
  if (status == TARN_OK) {
    *address = pending->address;
    drop_passed(&uses, /*is_over=*/true);
    return TARN_OK;
  }
  pthread_mutex_lock(&self->lock); /* as it was */
  pending->uses = uses;
  pending->state = PENDING;
  self->stats.requested_bytes -= requested_bytes;
  self->stats.allocated_bytes -= pending->size_bytes;
  self->stats.alloc_count--;
  pthread_mutex_unlock(&self->lock);
  return status;
}

static tarn_status arena_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                               tarn_stream *stream, void **address) {
  arena *self = context;
  const size_t requested_bytes = size_bytes;
  if (alignment_bytes < ALIGNMENT_BYTES) alignment_bytes = ALIGNMENT_BYTES;
  if (!tarn_size_round_up(size_bytes, ALIGNMENT_BYTES, &size_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "arena: %zu bytes cannot be rounded", requested_bytes);
  }
  size_t largest_bytes = 0;
  pthread_mutex_lock(&self->lock);
  do { /* what nobody uses; what the stream may come behind; what becomes free by waiting */
    largest_bytes = 0;
    settle(self);
    block *found = find_room(self, FREE, size_bytes, alignment_bytes, &largest_bytes);
    if (found != NULL) {
      found = carve(found, size_bytes, alignment_bytes);
      if (found != NULL) count_lent(self, found, requested_bytes);
      if (found != NULL) *address = found->address;
      pthread_mutex_unlock(&self->lock);
      if (found != NULL) return TARN_OK;
      return tarn_fail(TARN_OUT_OF_MEMORY, "arena: no memory for a block's record");
    }
    found = find_room(self, PENDING, size_bytes, alignment_bytes, &largest_bytes);
    if (found != NULL && head_bytes(found, alignment_bytes) == 0) {
      return lend_pending(self, found, requested_bytes, stream, address);
    }
  } while (wait_for_one(self));
  self->stats.out_of_memory_count++;
  pthread_mutex_unlock(&self->lock);
  return tarn_fail(TARN_OUT_OF_MEMORY, "arena: %zu bytes asked for, at most %zu could be had",
                   requested_bytes, largest_bytes);
}

/* The lent block that the address points into. */
static block *find_lent(arena *self, const char *address) {
  for (block *here = self->first; here != NULL; here = here->next) {
    const bool is_inside = here->address <= address && address < here->address + here->size_bytes;
    if (is_inside) return here->state == LENT && here->requested_bytes != 0 ? here : NULL;
  }
  return NULL;
}

static tarn_status arena_free(void *context, void *address, tarn_stream *stream) {
  arena *self = context;
  tarn_status status = TARN_OK;
  pthread_mutex_lock(&self->lock);
  block *lent = find_lent(self, address);
  if (lent == NULL || lent->address != (char *)address) {
    status = tarn_fail(TARN_NOT_FOUND, "arena: %p is not lent out", address);
  } else if (!tarn_stream_is_synchronous(stream)) {
    status = add_use(lent, stream);
  }
  if (status == TARN_OK) {
    self->stats.requested_bytes -= lent->requested_bytes;
    self->stats.allocated_bytes -= lent->size_bytes;
    self->stats.free_count++;
    lent->state = PENDING;
    settle(self);
  }
  pthread_mutex_unlock(&self->lock);
  return status;
}

static tarn_status arena_note_use(void *context, void *address, tarn_stream *stream) {
  arena *self = context;
  pthread_mutex_lock(&self->lock);
  block *lent = find_lent(self, address);
  const tarn_status status = lent != NULL
                                 ? add_use(lent, stream)
                                 : tarn_fail(TARN_NOT_FOUND, "arena: %p lies in no block", address);
  pthread_mutex_unlock(&self->lock);
  return status;
}

static tarn_status arena_size_of(void *context, const void *address, size_t *size_bytes) {
  arena *self = context;
  pthread_mutex_lock(&self->lock);
  const block *lent = find_lent(self, address);
  const bool is_start = lent != NULL && lent->address == (const char *)address;
  if (is_start) *size_bytes = lent->requested_bytes;
  pthread_mutex_unlock(&self->lock);
  if (is_start) return TARN_OK;
  return tarn_fail(TARN_NOT_FOUND, "arena: no block begins at %p", address);
}

static tarn_status arena_stats(void *context, tarn_pool_stats *stats) {
  arena *self = context;
  pthread_mutex_lock(&self->lock);
  settle(self);
  *stats = self->stats;
  pthread_mutex_unlock(&self->lock);
  return TARN_OK;
}

static tarn_status arena_reset_peaks(void *context) {
  arena *self = context;
  pthread_mutex_lock(&self->lock);
  self->stats.requested_bytes_peak = self->stats.requested_bytes;
  self->stats.allocated_bytes_peak = self->stats.allocated_bytes;
  pthread_mutex_unlock(&self->lock);
  return TARN_OK;
}

/* Nobody else is there any more. What streams still do to the buffer is waited for: the caller
 * may take it back as soon as the pool is gone. */
static void arena_destroy(void *context) {
  arena *self = context;
  for (block *here = self->first, *next = NULL; here != NULL; here = next) {
    next = here->next;
    for (use *left = here->uses; left != NULL; left = left->next) {
      /* A fence that cannot be waited for belongs to a driver that failed. */
      if (tarn_fence_synchronize(left->fence) != TARN_OK) break;
    }
    drop_passed(&here->uses, /*is_over=*/true);
    free(here);
  }
  pthread_cond_destroy(&self->settled);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

tarn_status arena_pool_create(void *buffer, size_t size_bytes, tarn_pool **pool) {
  const size_t head = (size_t)(-(uintptr_t)buffer & (ALIGNMENT_BYTES - 1));
  const size_t usable_bytes =
      size_bytes > head ? (size_bytes - head) & ~(size_t)(ALIGNMENT_BYTES - 1) : 0;
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  if (buffer == NULL || usable_bytes == 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "arena: a buffer of %zu bytes", size_bytes);
  }
  arena *self = calloc(1, sizeof *self);
  block *whole = calloc(1, sizeof *whole);
  if (self == NULL || whole == NULL) {
    free(whole);
    free(self);
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for an arena");
  }
  *whole = (block){.address = (char *)buffer + head, .size_bytes = usable_bytes, .state = FREE};
  self->first = whole;
  self->stats = (tarn_pool_stats){.struct_size = sizeof self->stats,
                                  .reserved_bytes = usable_bytes,
                                  .reserved_bytes_peak = usable_bytes};
  pthread_mutex_init(&self->lock, NULL);
  pthread_cond_init(&self->settled, NULL);
  /* Left out: trim and decay, for there is nowhere to give memory back to; close, so that tarn
   * counts the blocks; traces, snapshots, sharing and pauses, which tarn then refuses. */
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = "arena",
                             .attributes = arena_attributes,
                             .alloc = arena_alloc,
                             .free = arena_free,
                             .note_use = arena_note_use,
                             .stats = arena_stats,
                             .destroy = arena_destroy,
                             .reset_peaks = arena_reset_peaks,
                             .size_of = arena_size_of};
  const tarn_status status = tarn_pool_create(&ops, self, pool);
  if (status != TARN_OK) arena_destroy(self);
  return status;
}

/* --- a program that uses it --- */

static _Alignas(64) char buffer[65536];

static long place(const void *address) {
  return (long)((const char *)address - buffer);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void pass_gate(void *argument) {
  pthread_mutex_lock(argument);
  pthread_mutex_unlock(argument);
}

#define TRY(call)                                                   \
  do {                                                              \
    if ((call) == TARN_OK) break;                                   \
    fprintf(stderr, "%s: %s\n", #call, tarn_last_error()->message); \
    return 1;                                                       \
  } while (0)

int main(void) {
  tarn_pool *pool = NULL;
  tarn_stream *stream = NULL;
  void *first = NULL, *second = NULL, *third = NULL, *large = NULL;
  TRY(arena_pool_create(buffer, sizeof buffer, &pool));
  TRY(tarn_worker_stream_create(&stream));

  TRY(tarn_pool_alloc(pool, 1000, NULL, &first));
  TRY(tarn_pool_alloc(pool, 1000, NULL, &second));
  printf("block 1 at %ld, block 2 at %ld\n", place(first), place(second));
  TRY(tarn_pool_free(pool, first, NULL));
  TRY(tarn_pool_alloc(pool, 1000, NULL, &first));
  printf("freed by the CPU: the next one is at %ld\n", place(first));

  /* The stream has work to do on the second block, which is freed behind that. */
  pthread_mutex_lock(&gate);
  TRY(tarn_stream_call(stream, pass_gate, &gate));
  TRY(tarn_pool_free(pool, second, stream));
  TRY(tarn_pool_alloc(pool, 1000, NULL, &third));
  TRY(tarn_pool_alloc(pool, 62000, NULL, &large)); /* nothing is left but the pending one */
  TRY(tarn_pool_alloc(pool, 1000, stream, &second));
  printf("freed on a stream: the stream finds it at %ld, and the CPU another at %ld\n",
         place(second), place(third));
  pthread_mutex_unlock(&gate);

  TRY(tarn_pool_free(pool, first, NULL));
  TRY(tarn_pool_free(pool, second, stream));
  TRY(tarn_pool_free(pool, third, NULL));
  TRY(tarn_pool_free(pool, large, NULL));
  if (tarn_pool_alloc(pool, 1 << 20, NULL, &large) == TARN_OUT_OF_MEMORY) {
    printf("out of memory: %s\n", tarn_last_error()->message);
  }
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  TRY(tarn_pool_stats_of(pool, &stats));
  printf("%zu bytes lent, %zu reserved\n", stats.allocated_bytes, stats.reserved_bytes);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  return 0;
}
