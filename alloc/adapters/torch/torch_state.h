/* torch_state.h: what the adapter for PyTorch keeps: devices, their streams, pools of graphs.
 *
 * All of it is static and never taken down by itself, because PyTorch frees until the process is
 * gone. One lock, a leaf, guards the lists; reading a device's pool and finding a stream need none.
 * What calls the driver while it changes something takes the *turn* instead: one thread at a time
 * has it, others wait, and nobody holds the lock meanwhile. */
#ifndef TARN_TORCH_STATE_H
#define TARN_TORCH_STATE_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>

#include "alloc/adapters/torch/tarn_torch.h"
#include "alloc/tarn_budget.h"
#include "alloc/tarn_capture.h"

/* A block that was recorded to be used by a stream, until it is freed. */
typedef struct tarn__torch_record {
  struct tarn__torch_record *next;
  void *address;
  void *handle;
} tarn__torch_record;

/* Memory that graphs share: their captures, in the order in which they began. */
typedef struct tarn__torch_graphs {
  struct tarn__torch_graphs *next;
  int32_t device;
  tarn_torch_pool_id id;
  uint64_t use_count;  /* begun less released */
  uint64_t open_count; /* begun less ended */
  tarn_capture *current;
  size_t capture_count;
  size_t capture_room;
  tarn_capture **captures; /* with the current one */
} tarn__torch_graphs;

/* Each has a line of the cache, found by a shift. */
typedef struct tarn__torch_device {
  /* Acquire pairs with the release that publishes it. */
  alignas(64) _Atomic(tarn_pool *) pool;
  atomic_uint open_routes; /* pools begun and not ended: malloc has to ask for each stream */
  atomic_uint_fast64_t failed_count;
  atomic_uint_fast64_t refused_free_count;
  atomic_uint_fast64_t stream_count;
} tarn__torch_device;

extern tarn__torch_device tarn__torch_devices[TARN_TORCH_DEVICES_MAX];

/* A CUstream of a device, and its tarn_stream; stays until tarn_torch_close. */
typedef struct tarn__torch_stream {
  _Atomic uint64_t key; /* 0: of no stream yet. Release, when the rest is whole */
  void *handle;
  _Atomic(tarn_stream *) stream;             /* NULL once it was forgotten */
  _Atomic(struct tarn__torch_stream *) next; /* in the bucket; allocated, but for the first */
} tarn__torch_stream;

enum { TARN__TORCH_STREAM_BUCKET_BITS = 7 };

extern tarn__torch_stream tarn__torch_streams[1 << TARN__TORCH_STREAM_BUCKET_BITS];

/* --- torch_state.c --- */

void tarn__torch_lock(void);
void tarn__torch_unlock(void);
/* With the lock: until somebody wakes, and wakes all. */
void tarn__torch_wait(void);
void tarn__torch_wake(void);
void tarn__torch_take_turn(void);
void tarn__torch_end_turn(void);

/* The open driver, borrowed; NULL before the first use. */
tarn_cuda *tarn__torch_cuda(void);
TARN_NODISCARD tarn_status tarn__torch_check_device(int64_t device);
/* The device's pool, borrowed: made where it was not yet. */
TARN_NODISCARD tarn_status tarn__torch_make_pool(int32_t device, tarn_pool **pool);
static inline tarn_status tarn__torch_pool_of(int32_t device, tarn_pool **pool) {
  if ((uint32_t)device >= TARN_TORCH_DEVICES_MAX) return tarn__torch_check_device(device);
  *pool = atomic_load_explicit(&tarn__torch_devices[device].pool, memory_order_acquire);
  return *pool != NULL ? TARN_OK : tarn__torch_make_pool(device, pool);
}

/* --- torch_tell.c --- */

/* Why the calling thread has just had no memory. */
void tarn__torch_keep_report(int32_t device);
void tarn__torch_forget_reports(void);

/* --- torch_streams.c --- */

/* Handles and blocks are addresses, alike in their low bits: Fibonacci hashing (Knuth, The Art of
 * Computer Programming, 6.4), whose highest bits depend on all below. */
static inline uint32_t tarn__torch_bucket(const void *address, int32_t device, int bucket_bits) {
  return ((uint32_t)(uintptr_t)address + (uint32_t)device) * UINT32_C(2654435769) >>
         (32 - bucket_bits);
}

/* Says to the compiler which way most calls go, so that those run straight on. */
static inline bool tarn__torch_is_common(bool condition) {
  return __builtin_expect(condition, true);
}

static inline tarn__torch_stream *tarn__torch_stream_bucket(int32_t device, const void *handle) {
  return &tarn__torch_streams[tarn__torch_bucket(handle, device, TARN__TORCH_STREAM_BUCKET_BITS)];
}

/* Of no number that a caller takes for a device 0. */
static inline uint64_t tarn__torch_key(int32_t device) {
  return (uint64_t)(uint32_t)device + 1;
}

static inline bool tarn__torch_is_stream(const tarn__torch_stream *node, int32_t device,
                                         const void *handle) {
  return atomic_load_explicit(&node->key, memory_order_acquire) == tarn__torch_key(device) &&
         node->handle == handle;
}

/* Where the handle is known and came first to its bucket; else NULL. */
static inline const tarn__torch_stream *tarn__torch_first_stream(int32_t device,
                                                                 const void *handle) {
  const tarn__torch_stream *node = tarn__torch_stream_bucket(device, handle);
  return tarn__torch_is_common(tarn__torch_is_stream(node, device, handle)) ? node : NULL;
}

/* Where the handle is known; NULL where it is not. */
static inline tarn__torch_stream *tarn__torch_find_node(int32_t device, const void *handle) {
  tarn__torch_stream *node = tarn__torch_stream_bucket(device, handle);
  while (node != NULL && !tarn__torch_is_stream(node, device, handle)) {
    node = atomic_load_explicit(&node->next, memory_order_acquire);
  }
  return node;
}

/* Where the handle is known: *stream, NULL where that was forgotten; false where it is not. */
static inline bool tarn__torch_find_stream(int32_t device, const void *handle,
                                           tarn_stream **stream) {
  const tarn__torch_stream *node = tarn__torch_find_node(device, handle);
  *stream = node != NULL ? atomic_load_explicit(&node->stream, memory_order_acquire) : NULL;
  return node != NULL;
}

/* The same, wrapped now where it was not known or forgotten. */
TARN_NODISCARD tarn_status tarn__torch_wrap_stream(int32_t device, void *handle,
                                                   tarn_stream **stream);
/* Waits for the device's streams, so that what they used is idle; not during a capture. */
void tarn__torch_wait_for_streams(int32_t device);
/* Remembers a use; what has no room to be remembered makes frees note all streams. */
void tarn__torch_add_record(void *address, void *handle);
/* Notes the uses that were recorded of a block about to be freed. Where one of them can be neither
 * noted nor waited for, the block must not be freed. */
TARN_NODISCARD tarn_status tarn__torch_note_records(int32_t device, tarn_pool *pool, void *address);
/* Records, and one more once one was lost. Release pairs with acquire: whoever recorded a use of a
 * block did it before the block is freed. */
extern atomic_uint_fast64_t tarn__torch_use_count;
TARN_NODISCARD static inline tarn_status tarn__torch_settle_records(int32_t device, tarn_pool *pool,
                                                                    void *address) {
  if (atomic_load_explicit(&tarn__torch_use_count, memory_order_acquire) == 0) return TARN_OK;
  return tarn__torch_note_records(device, pool, address);
}
uint64_t tarn__torch_record_count(void);
void tarn__torch_close_streams(void);

/* --- torch_graphs.c --- */

/* Draws a stream into the captures whose filter names it. */
TARN_NODISCARD tarn_status tarn__torch_draw_in(int32_t device, void *handle, tarn_stream *stream);
/* Ends what was released, where nothing is being captured on the device; whether it ended any. */
bool tarn__torch_reap(int32_t device);
void tarn__torch_count_graphs(int32_t device, tarn_torch_stats *stats);
bool tarn__torch_has_graphs(void); /* begun, and not released */
/* What was released: all of it goes; TARN_BUSY where it cannot. */
TARN_NODISCARD tarn_status tarn__torch_close_graphs(void);
/* In a child of fork: whoever was asking a filter is not there. */
void tarn__torch_forget_askers(void);

/* --- torch_throw.c --- */

/* Throws a std::runtime_error where the process has C++; else returns. */
void tarn__torch_throw(const char *message);

#endif
