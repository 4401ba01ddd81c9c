/* counting_pool.c: a pool over a pool: everything goes on to the one below, and is counted.
 *
 *     cc -Wall -Wextra counting_pool.c $(pkg-config --cflags --libs tarn) -o counting_pool
 *
 * prints
 *
 *     up to     64 bytes: 30
 *     up to    128 bytes: 20
 *     up to 131072 bytes: 50
 *     100 lent, 99 taken back, 1 refused
 *
 * What it shows of tarn_pool_ops: what a wrapper hands on, what tarn does for it (arguments are
 * checked, a pool lives as long as its blocks), and how its user gets at what it knows: by memory
 * that the user owns, here the counts.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool.h"

/* What a header of your own declares: counts that the caller owns and that may be read at any time;
 * they must outlive the pool. `below` is retained. */
typedef struct counting_counts {
  atomic_size_t lent;
  atomic_size_t taken_back;
  atomic_size_t refused;
  atomic_size_t by_size[64]; /* [n]: lent blocks of more than 2^(n-1) bytes, up to 2^n */
} counting_counts;

tarn_status counting_pool_create(tarn_pool *below, counting_counts *counts, tarn_pool **pool);

typedef struct counting {
  tarn_pool *below;
  counting_counts *counts;
} counting;

/* Threads need no order between these counts and anything else. */
static void count(atomic_size_t *counter) {
  atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Memory is what the pool below says it is, its device and its node with it. */
static tarn_status counting_attributes(void *context, tarn_pool_attributes *attributes) {
  const counting *self = context;
  *attributes = *tarn_pool_attributes_of(self->below);
  return TARN_OK;
}

static tarn_status counting_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                  tarn_stream *stream, void **address) {
  counting *self = context;
  const tarn_status status =
      tarn_pool_alloc_aligned(self->below, size_bytes, alignment_bytes, stream, address);
  if (status != TARN_OK) {
    count(&self->counts->refused);
    return status; /* the last error is the one of the pool below, as it should be */
  }
  int exponent = 0;
  while (((size_t)1 << exponent) < size_bytes) exponent++;
  count(&self->counts->lent);
  count(&self->counts->by_size[exponent]);
  return TARN_OK;
}

static tarn_status counting_free(void *context, void *address, tarn_stream *stream) {
  counting *self = context;
  const tarn_status status = tarn_pool_free(self->below, address, stream);
  if (status == TARN_OK) count(&self->counts->taken_back);
  return status;
}

/* --- handed on as it comes --- */

static tarn_pool *below(void *context) {
  return ((counting *)context)->below;
}

static tarn_status counting_note_use(void *context, void *address, tarn_stream *stream) {
  return tarn_pool_note_use(below(context), address, stream);
}

static tarn_status counting_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  return tarn_pool_trim(below(context), keep_bytes, released_bytes);
}

static tarn_status counting_decay(void *context, uint64_t now_ns, size_t *released_bytes) {
  return tarn_pool_decay(below(context), now_ns, released_bytes);
}

/* Of the pool below, whoever else allocates there. */
static tarn_status counting_stats(void *context, tarn_pool_stats *stats) {
  return tarn_pool_stats_of(below(context), stats);
}

static tarn_status counting_reset_peaks(void *context) {
  return tarn_pool_reset_peaks(below(context));
}

static tarn_status counting_share_range(void *context, const void *address, size_t size_bytes,
                                        tarn_stream *stream, bool may_mark,
                                        tarn_share_memory *memory) {
  return tarn_pool_share_range(below(context), address, size_bytes, stream, may_mark, memory);
}

static tarn_status counting_pause(void *context, const tarn_pause_options *options,
                                  tarn_pause_report *report) {
  return tarn_pool_pause(below(context), options, report);
}

static tarn_status counting_resume(void *context, const tarn_resume_options *options,
                                   tarn_pause_report *report) {
  return tarn_pool_resume(below(context), options, report);
}

static bool counting_is_paused(void *context, const void *address) {
  return tarn_pool_is_paused(below(context), address);
}

static tarn_status counting_size_of(void *context, const void *address, size_t *size_bytes) {
  return tarn_pool_size_of(below(context), address, size_bytes);
}

/* The last handle is gone and the last block is back: only then the pool below is let go. */
static void counting_destroy(void *context) {
  counting *self = context;
  tarn_pool_release(self->below);
  free(self);
}

tarn_status counting_pool_create(tarn_pool *below_pool, counting_counts *counts, tarn_pool **pool) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  if (below_pool == NULL || counts == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a counting pool needs a pool below, and its counts");
  }
  counting *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a counting pool");
  self->below = below_pool;
  self->counts = counts;
  tarn_pool_retain(below_pool);
  /* Left out: close, so that tarn counts the blocks, and with each of them keeps this pool; traces
   * and snapshots, which are the pool's below: take them there. */
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = "counting",
                             .attributes = counting_attributes,
                             .alloc = counting_alloc,
                             .free = counting_free,
                             .note_use = counting_note_use,
                             .trim = counting_trim,
                             .stats = counting_stats,
                             .destroy = counting_destroy,
                             .decay = counting_decay,
                             .share_range = counting_share_range,
                             .reset_peaks = counting_reset_peaks,
                             .pause = counting_pause,
                             .resume = counting_resume,
                             .is_paused = counting_is_paused,
                             .size_of = counting_size_of};
  const tarn_status status = tarn_pool_create(&ops, self, pool);
  if (status != TARN_OK) counting_destroy(self);
  return status;
}

/* --- a program that uses it --- */

#define TRY(call)                                                   \
  do {                                                              \
    if ((call) == TARN_OK) break;                                   \
    fprintf(stderr, "%s: %s\n", #call, tarn_last_error()->message); \
    return 1;                                                       \
  } while (0)

int main(void) {
  static counting_counts counts;
  tarn_provider *pages = NULL;
  tarn_pool *caching = NULL, *pool = NULL;
  TRY(tarn_pages_provider_create(NULL, &pages));
  TRY(tarn_caching_pool_create(pages, NULL, &caching));
  TRY(counting_pool_create(caching, &counts, &pool));
  tarn_provider_release(pages); /* the pools keep what they need */
  tarn_pool_release(caching);

  void *kept = NULL;
  for (int i = 0; i < 100; i++) {
    void *address = NULL;
    TRY(tarn_pool_alloc(pool, i < 30 ? 50 : i < 50 ? 100 : 100000, NULL, &address));
    if (i == 0) kept = address;
    if (i != 0) TRY(tarn_pool_free(pool, address, NULL));
  }
  void *none = NULL;
  if (tarn_pool_alloc(pool, PTRDIFF_MAX / 2, NULL, &none) == TARN_OK) return 1;
  for (int n = 0; n < 64; n++) {
    const size_t lent = atomic_load(&counts.by_size[n]);
    if (lent != 0) printf("up to %6zu bytes: %zu\n", (size_t)1 << n, lent);
  }
  printf("%zu lent, %zu taken back, %zu refused\n", atomic_load(&counts.lent),
         atomic_load(&counts.taken_back), atomic_load(&counts.refused));
  tarn_pool_release(pool);
  TRY(tarn_pool_free(pool, kept, NULL)); /* the last block takes the pool down, here */
  return 0;
}
