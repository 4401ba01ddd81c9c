/* torch_streams.c: PyTorch's streams as tarn's, found by their handles; and what was recorded to
 * be used by them. */
#include <stdlib.h>
#include <string.h>

#include "alloc/adapters/torch/torch_state.h"

enum { RECORD_BUCKET_BITS = 10, RECORD_BUCKETS = 1 << RECORD_BUCKET_BITS };
enum { STREAM_BUCKETS = 1 << TARN__TORCH_STREAM_BUCKET_BITS };

tarn__torch_stream tarn__torch_streams[STREAM_BUCKETS];

static tarn__torch_record *records[RECORD_BUCKETS]; /* guarded by the lock */
atomic_uint_fast64_t tarn__torch_use_count;
static atomic_bool has_lost_record;

/* --- streams --- */

/* With the turn. */
static tarn_status add_node(int32_t device, void *handle, tarn_stream *stream) {
  tarn__torch_stream *first = tarn__torch_stream_bucket(device, handle);
  const bool is_first = atomic_load_explicit(&first->key, memory_order_relaxed) == 0;
  tarn__torch_stream *node = is_first ? first : calloc(1, sizeof *node);
  if (node == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a stream of PyTorch's");
  node->handle = handle;
  atomic_store_explicit(&node->stream, stream, memory_order_relaxed);
  atomic_store_explicit(&node->key, tarn__torch_key(device), memory_order_release);
  if (is_first) return TARN_OK;
  atomic_init(&node->next, atomic_load_explicit(&first->next, memory_order_relaxed));
  atomic_store_explicit(&first->next, node, memory_order_release);
  return TARN_OK;
}

/* With the turn. */
static tarn_status wrap(int32_t device, void *handle, tarn_stream **stream) {
  tarn__torch_stream *node = tarn__torch_find_node(device, handle);
  *stream = NULL;
  if (node != NULL) *stream = atomic_load_explicit(&node->stream, memory_order_acquire);
  if (*stream != NULL) return TARN_OK; /* another thread came first */
  tarn_status status = tarn_cuda_stream_wrap(tarn__torch_cuda(), device, handle, stream);
  if (status != TARN_OK) return status;
  if (node != NULL) {
    atomic_store_explicit(&node->stream, *stream, memory_order_release);
  } else {
    status = add_node(device, handle, *stream);
  }
  if (status != TARN_OK) {
    tarn_stream_release(*stream);
    *stream = NULL;
    return status;
  }
  atomic_fetch_add_explicit(&tarn__torch_devices[device].stream_count, 1, memory_order_relaxed);
  return TARN_OK;
}

tarn_status tarn__torch_wrap_stream(int32_t device, void *handle, tarn_stream **stream) {
  tarn__torch_take_turn();
  const tarn_status status = wrap(device, handle, stream);
  tarn__torch_end_turn();
  return status;
}

/* With the turn: who waits for streams, or notes records, finds it whole or not at all. */
static tarn_status forget(int32_t device, void *handle) {
  tarn__torch_stream *node = tarn__torch_find_node(device, handle);
  tarn_stream *stream =
      node != NULL ? atomic_load_explicit(&node->stream, memory_order_acquire) : NULL;
  if (stream == NULL) return TARN_OK;
  if (tarn_stream_is_captured(stream)) {
    return tarn_fail(TARN_BUSY, "the stream %p is being captured", handle);
  }
  tarn_status status = tarn_stream_synchronize(stream);
  if (status == TARN_OK) status = tarn_stream_close(stream);
  if (status != TARN_OK) return status;
  atomic_store_explicit(&node->stream, NULL, memory_order_release);
  atomic_fetch_sub_explicit(&tarn__torch_devices[device].stream_count, 1, memory_order_relaxed);
  tarn_stream_release(stream);
  return TARN_OK;
}

tarn_status tarn_torch_forget_stream(int32_t device, void *handle) {
  tarn_status status = tarn__torch_check_device(device);
  if (status != TARN_OK) return status;
  tarn__torch_take_turn();
  status = forget(device, handle);
  tarn__torch_end_turn();
  return status;
}

/* Whoever made the CUstream may destroy it from now on. */
static void close_node(tarn__torch_stream *node) {
  tarn_stream *stream = atomic_load(&node->stream);
  if (stream != NULL) (void)!tarn_stream_close(stream);
  tarn_stream_release(stream);
}

static void close_streams(void) {
  for (size_t bucket = 0; bucket < STREAM_BUCKETS; bucket++) {
    tarn__torch_stream *first = &tarn__torch_streams[bucket];
    for (tarn__torch_stream *node = first; node != NULL;) {
      tarn__torch_stream *next = atomic_load(&node->next);
      close_node(node);
      if (node != first) free(node);
      node = next;
    }
    memset(first, 0, sizeof *first);
  }
}

/* --- records --- */

void tarn__torch_add_record(void *address, void *handle) {
  tarn__torch_record *made = malloc(sizeof *made);
  if (made == NULL) {
    if (!atomic_exchange_explicit(&has_lost_record, true, memory_order_relaxed)) {
      atomic_fetch_add_explicit(&tarn__torch_use_count, 1, memory_order_release);
    }
    return;
  }
  *made = (tarn__torch_record){.address = address, .handle = handle};
  tarn__torch_record **head = &records[tarn__torch_bucket(address, 0, RECORD_BUCKET_BITS)];
  tarn__torch_lock();
  const tarn__torch_record *same = *head;
  while (same != NULL && (same->address != address || same->handle != handle)) same = same->next;
  if (same == NULL) {
    made->next = *head;
    *head = made;
    atomic_fetch_add_explicit(&tarn__torch_use_count, 1, memory_order_release);
  }
  tarn__torch_unlock();
  if (same != NULL) free(made);
}

/* The block's records, which are the caller's then. */
static tarn__torch_record *take_records(const void *address) {
  tarn__torch_record *taken = NULL;
  tarn__torch_lock();
  tarn__torch_record **at = &records[tarn__torch_bucket(address, 0, RECORD_BUCKET_BITS)];
  while (*at != NULL) {
    tarn__torch_record *record = *at;
    if (record->address != address) {
      at = &record->next;
      continue;
    }
    *at = record->next;
    record->next = taken;
    taken = record;
    atomic_fetch_sub_explicit(&tarn__torch_use_count, 1, memory_order_relaxed);
  }
  tarn__torch_unlock();
  return taken;
}

/* What cannot be noted is waited for. */
static tarn_status note(tarn_pool *pool, const void *address, tarn_stream *stream) {
  if (stream == NULL) return TARN_OK; /* its work was waited for when it was forgotten */
  const tarn_status status = tarn_pool_note_use(pool, address, stream);
  if (status == TARN_OK || status == TARN_NOT_FOUND) return status;
  return tarn_stream_synchronize(stream);
}

/* With the turn. A stream may be of another device than the block. PyTorch names no device: a
 * legacy default stream, the handle 0, stands for those of all devices in use. */
static tarn_status note_record(int32_t device, tarn_pool *pool, const tarn__torch_record *record) {
  tarn_stream *stream = NULL;
  bool is_found = false;
  tarn_status status = TARN_OK;
  for (int32_t i = 0; status == TARN_OK && i < TARN_TORCH_DEVICES_MAX; i++) {
    if (!tarn__torch_find_stream(i, record->handle, &stream)) continue;
    is_found = is_found || i == device || record->handle != NULL;
    status = note(pool, record->address, stream);
  }
  if (is_found || status != TARN_OK) return status;
  status = wrap(device, record->handle, &stream);
  for (int32_t i = 0; status != TARN_OK && i < tarn_cuda_device_count(tarn__torch_cuda()) &&
                      i < TARN_TORCH_DEVICES_MAX;
       i++) {
    if (i != device) status = wrap(i, record->handle, &stream);
  }
  return status == TARN_OK ? note(pool, record->address, stream) : status;
}

/* Of all devices: the next stream that is known and was not forgotten, behind *node in *bucket or
 * in the buckets behind; NULL: there is no more. */
static tarn_stream *next_stream(size_t *bucket, const tarn__torch_stream **node) {
  tarn_stream *stream = NULL;
  while (stream == NULL && *bucket < STREAM_BUCKETS) {
    *node = *node == NULL ? &tarn__torch_streams[*bucket]
                          : atomic_load_explicit(&(*node)->next, memory_order_acquire);
    if (*node == NULL) {
      ++*bucket;
    } else {
      stream = atomic_load_explicit(&(*node)->stream, memory_order_acquire);
    }
  }
  return stream;
}

/* With the turn. */
static void wait_for_streams(int32_t device) {
  if (atomic_load_explicit(&tarn__torch_devices[device].open_routes, memory_order_acquire) != 0) {
    return;
  }
  size_t bucket = 0;
  const tarn__torch_stream *node = NULL;
  for (tarn_stream *stream; (stream = next_stream(&bucket, &node)) != NULL;) {
    const uint64_t key = atomic_load_explicit(&node->key, memory_order_acquire);
    if (key == tarn__torch_key(device)) (void)!tarn_stream_synchronize(stream);
  }
}

void tarn__torch_wait_for_streams(int32_t device) {
  tarn__torch_take_turn();
  wait_for_streams(device);
  tarn__torch_end_turn();
}

static tarn_status note_all_streams(tarn_pool *pool, const void *address) {
  tarn_status status = TARN_OK;
  size_t bucket = 0;
  const tarn__torch_stream *node = NULL;
  for (tarn_stream *stream; status == TARN_OK && (stream = next_stream(&bucket, &node)) != NULL;) {
    status = note(pool, address, stream);
  }
  return status;
}

tarn_status tarn__torch_note_records(int32_t device, tarn_pool *pool, void *address) {
  const bool is_lost = atomic_load_explicit(&has_lost_record, memory_order_relaxed);
  tarn__torch_record *record = take_records(address);
  if (record == NULL && !is_lost) return TARN_OK;
  tarn__torch_take_turn();
  tarn_status status = is_lost ? note_all_streams(pool, address) : TARN_OK;
  while (record != NULL) {
    tarn__torch_record *next = record->next;
    if (status == TARN_OK) status = note_record(device, pool, record);
    free(record);
    record = next;
  }
  tarn__torch_end_turn();
  return status;
}

uint64_t tarn__torch_record_count(void) {
  return atomic_load_explicit(&tarn__torch_use_count, memory_order_relaxed) -
         (atomic_load_explicit(&has_lost_record, memory_order_relaxed) ? 1 : 0);
}

void tarn__torch_close_streams(void) {
  close_streams();
  for (size_t bucket = 0; bucket < RECORD_BUCKETS; bucket++) {
    while (records[bucket] != NULL) {
      tarn__torch_record *next = records[bucket]->next;
      free(records[bucket]);
      records[bucket] = next;
    }
  }
  atomic_store(&tarn__torch_use_count, 0);
  atomic_store(&has_lost_record, false);
}
