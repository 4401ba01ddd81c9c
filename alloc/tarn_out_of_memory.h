/* tarn_out_of_memory.h: why a pool had no memory: the numbers behind the message.
 *
 * When an allocation fails with TARN_OUT_OF_MEMORY after everything was tried (tarn_pool.h,
 * sentence 4), the pool writes down what it looked like at that moment. All figures are of one
 * moment, and add up.
 */
#ifndef TARN_OUT_OF_MEMORY_H
#define TARN_OUT_OF_MEMORY_H

#include "alloc/tarn_pool_snapshot.h"
#include "alloc/tarn_tag.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  TARN_OUT_OF_MEMORY_ROWS = 8,  /* streams and holders that are named: those with the most */
  TARN_OUT_OF_MEMORY_NAME = 64, /* bytes of a name, cut where it is longer */
  TARN_OUT_OF_MEMORY_CAUSE = 192,
};

/* Free bytes that a stream may still use. A block that two streams use counts at both. */
typedef struct tarn_pending_stream {
  uint32_t stream; /* tarn_stream_number */
  size_t size_bytes;
} tarn_pending_stream;

typedef struct tarn_out_of_memory {
  size_t struct_size;
  char pool[TARN_OUT_OF_MEMORY_NAME];
  tarn_device device;
  size_t asked_bytes;
  size_t alignment_bytes;
  uint32_t stream; /* it was asked for on: tarn_stream_number */
  size_t live_bytes;
  size_t live_count;
  size_t reserved_bytes;     /* = live_bytes + cached_bytes */
  size_t cached_bytes;       /* free, idle and pending */
  size_t pending_bytes;      /* of these: some stream may still use them */
  size_t largest_free_bytes; /* the longest run of free neighbours, pending ones too; 0 where
                                the driver does not tell */
  size_t trim_bytes;         /* tarn_pool_trim(pool, 0) would give so much to the provider */
  size_t wait_bytes;         /* and after a wait for every stream so much more */
  /* Who refused to let the pool grow: a budget, or else the provider. */
  char budget[TARN_OUT_OF_MEMORY_NAME]; /* its name; "" where the provider refused */
  size_t budget_limit_bytes;
  size_t budget_used_bytes;
  char cause[TARN_OUT_OF_MEMORY_CAUSE];                 /* the last refusal in its own words */
  uint32_t stream_count;                                /* rows of `streams` that are filled */
  tarn_pending_stream streams[TARN_OUT_OF_MEMORY_ROWS]; /* most bytes first */
  uint32_t holder_count;
  tarn_holder holders[TARN_OUT_OF_MEMORY_ROWS]; /* most bytes first */
  size_t graph_bytes;  /* live or cached: kept until captures are destroyed (tarn_pool_stats) */
  size_t paused_bytes; /* away for now, of live blocks and what lies between: tarn_pause.h */
} tarn_out_of_memory;

/* What the calling thread's last allocation that failed so found, of a caching pool or the CUDA
 * driver's; NULL where none has. The pointer stays valid as long as the thread; what it points to
 * changes with the next such failure. tarn_last_error()->message says the same in a paragraph. */
TARN_API const tarn_out_of_memory *tarn_last_out_of_memory(void);

/* Told once for each allocation that fails so, on its thread, without any lock: it may use the
 * pool. `report` is tarn_last_out_of_memory(). */
typedef void (*tarn_out_of_memory_function)(void *context, const tarn_out_of_memory *report);

/* For those who implement a pool: the report becomes the calling thread's last one, and a paragraph
 * about it the last error's message; the native cause that is there stays. Returns
 * TARN_OUT_OF_MEMORY. */
TARN_API tarn_status tarn_out_of_memory_report(const tarn_out_of_memory *report);

#ifdef __cplusplus
}
#endif
#endif
