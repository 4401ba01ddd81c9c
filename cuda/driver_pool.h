/* driver_pool.h: what the files of the driver's pool share. */
#ifndef TARN_DRIVER_POOL_PRIVATE_H
#define TARN_DRIVER_POOL_PRIVATE_H

#include "alloc/tarn_pool_trace.h"
#include "cuda/cuda_fence.h"
#include "cuda/pool_blocks.h"

enum { TARN__DRIVER_POOL_CHUNK_BYTES = 2 << 20 }; /* what drivers reserve is a multiple */

/* Bytes freed behind one stream. */
typedef struct tarn__pool_pending {
  struct tarn__pool_pending *next;
  tarn_stream *stream;      /* retained */
  tarn__cuda_fence *older;  /* behind older_bytes of them; NULL, or no matter, where those are 0 */
  tarn__cuda_fence *latest; /* behind all of them; the same, where latest_bytes are 0 */
  size_t older_bytes;
  size_t latest_bytes;
  uint64_t number; /* of the latest free, by which they were added */
} tarn__pool_pending;

typedef struct tarn__driver_pool {
  tarn_cuda *cuda; /* retained */
  int32_t device;
  CUcontext context;
  CUmemoryPool native;
  size_t limit_bytes;
  bool never_waits;
  uint64_t decay_ns;
  tarn_budget *budget;                       /* its own, below the option's; NULL: none */
  tarn_out_of_memory_function out_of_memory; /* may be NULL */
  void *out_of_memory_context;
  tarn_stream *host_stream;
  tarn_stream *join_stream;
  /* Guards what follows; no driver call under it; budgets' locks come after. */
  pthread_mutex_t lock;
  tarn__pool_block *live;
  tarn__pool_block *kept; /* freed, and of captures: a list by `low` */
  size_t kept_bytes;
  tarn__pool_pending *pendings;
  size_t pending_bytes;      /* of all, those too that a thread looks at */
  uint64_t pending_count;    /* frees that were ever added */
  bool is_looking;           /* a thread has taken the list out */
  pthread_cond_t has_looked; /* and has put back what is left */
  tarn_trace *trace;         /* NULL: nothing is recorded */
  tarn_pool_stats stats;     /* counts, peaks and what is live */
  size_t charged_bytes;      /* to the budget */
  uint64_t looks_begun;      /* at what the driver has reserved, and the latest that counted */
  uint64_t look_counted;
  bool has_window;          /* of tarn_pool_decay */
  uint64_t window_ns;       /* its start */
  size_t window_peak_bytes; /* in use at once since then */
  char name[TARN_OUT_OF_MEMORY_NAME];
} tarn__driver_pool;

/* An allocation on its way. */
typedef struct tarn__driver_ask {
  size_t asked_bytes;
  size_t alignment_bytes;
  size_t size_bytes;   /* of the driver */
  tarn_stream *stream; /* the caller's */
  CUstream native;     /* where the driver lends it */
  bool is_host;        /* and the host waits for that */
} tarn__driver_ask;

/* Whether the driver's calls can go to the stream itself; if so, its handle. */
bool tarn__driver_pool_is_own(const tarn__driver_pool *self, const tarn_stream *stream,
                              CUstream *native);
/* The handle of one of the pool's two streams. */
CUstream tarn__driver_pool_native(tarn_stream *stream);
/* An amount that the driver tells of its pool; 0 where it does not. */
size_t tarn__driver_pool_amount(const tarn__driver_pool *self, CUmemPool_attribute attribute);
void tarn__driver_pool_count_calls(tarn__driver_pool *self, uint64_t count);
/* Trims the driver's pool, and counts what is left at the budget. Without the lock, in a scope that
 * may wait. */
CUresult tarn__driver_pool_give_back(tarn__driver_pool *self, size_t keep_bytes);

/* driver_pool_lend.c: the pool's operation. */
tarn_status tarn__driver_pool_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                    tarn_stream *stream, void **address);

/* driver_pool_free.c: the pool's operations. */
tarn_status tarn__driver_pool_free(void *context, void *address, tarn_stream *stream);
tarn_status tarn__driver_pool_note_use(void *context, void *address, tarn_stream *stream);
tarn_status tarn__driver_pool_size_of(void *context, const void *address, size_t *size_bytes);
/* Frees what was kept for captures that are destroyed. */
void tarn__driver_pool_free_kept(tarn__driver_pool *self);
/* The pool goes, and takes all that it kept along; with the device's context. */
void tarn__driver_pool_drop_kept(tarn__driver_pool *self);

/* driver_pool_tell.c: the pool's operations; and the failure of an allocation, whose cause is the
 * last error, in numbers and words, told to whoever listens. */
tarn_status tarn__driver_pool_stats(void *context, tarn_pool_stats *stats);
tarn_status tarn__driver_pool_snapshot(void *context, tarn_snapshot *snapshot);
tarn_status tarn__driver_pool_reset_peaks(void *context);
tarn_status tarn__driver_pool_explain(tarn__driver_pool *self, const tarn__driver_ask *ask);

/* driver_pool_budget.c: without the lock, with the device's context. Counts what the driver has
 * reserved at the budget; false, with nothing changed, where that has no room. */
bool tarn__driver_pool_settle(tarn__driver_pool *self);
/* Charges for what an allocation of so many bytes will make the driver reserve at least. */
bool tarn__driver_pool_charge(tarn__driver_pool *self, size_t size_bytes);
/* The pressure function of a pool with a budget: gives back what is idle. */
bool tarn__driver_pool_answer_pressure(void *context, const tarn_pressure *pressure);

/* pool_pending.c: what was freed behind streams, and what was kept for captures that are over.
 * Without the lock. Right behind a free of the calling thread's on `stream`, with the device's
 * context; without memory for the record, waits for the stream instead. */
void tarn__driver_pool_add_pending(tarn__driver_pool *self, tarn_stream *stream, CUstream native,
                                   size_t bytes);
/* Asks how far the streams have come, and forgets what has passed; not while another thread is at
 * it, or waits for them. */
void tarn__driver_pool_observe(tarn__driver_pool *self);
/* Waits for all that is pending. */
void tarn__driver_pool_wait_for_all(tarn__driver_pool *self);
/* Forgets what could not be waited for. */
void tarn__driver_pool_drop_pendings(tarn__driver_pool *self);

#endif
