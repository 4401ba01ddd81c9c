/* replay_verify.c: patterns, asynchronous fills and linear comparisons for `tarn replay --verify`.
 *
 * One block of random bytes, the *master*, serves all storages: piece k of allocation n holds the
 * PIECE_BYTES of the master that begin at an offset made of n and k, so that two owners of one
 * address differ. The master fits a second-level cache, which keeps 100 GB affordable.
 *
 *     master  |<-------- window -------->|<------- a piece ------->|
 *                     ^ offset(n, k)                ^ a read may end here
 */
#include "bench/replay_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_linear.h"

enum {
  PIECE_BYTES = 512 * 1024,
  WINDOW_BYTES = 128 * 1024, /* a power of two */
  OFFSET_STEP_BYTES = 8,
  SCRIBBLE_BYTES = 32 * 1024, /* written behind the last read, at the storage's start */
};

struct verify_state {
  tarn_pool *host_pool; /* the master, and staging for linear reads */
  tarn_tensor master;   /* bytes, WINDOW_BYTES + PIECE_BYTES */
  const uint8_t *master_bytes;
  tarn_stream *const *streams;
  uint32_t stream_count;
  uint64_t *enqueued; /* per stream: fills and scribbles enqueued so far */
  uint64_t *awaited;  /* per stream: how many of them the host has waited for */
  uint64_t *filled;   /* per slot: `enqueued` of its stream right behind its fill */
  size_t slot_capacity;
  verify_totals totals;
};

static uint64_t mix(uint64_t value) {
  /* The finaliser of SplitMix64 (Steele, Lea, Flood 2014). */
  value += UINT64_C(0x9E3779B97F4A7C15);
  value = (value ^ (value >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  value = (value ^ (value >> 27)) * UINT64_C(0x94D049BB133111EB);
  return value ^ (value >> 31);
}

static size_t master_offset(uint32_t index, uint64_t piece) {
  const uint64_t step = mix(((uint64_t)index << 32) + piece) % (WINDOW_BYTES / OFFSET_STEP_BYTES);
  return (size_t)step * OFFSET_STEP_BYTES;
}

static tarn_status create_master(verify_state *verifier) {
  const int64_t size = WINDOW_BYTES + PIECE_BYTES;
  const tarn_status status =
      tarn_tensor_create(verifier->host_pool, TARN_U8, 1, &size, NULL, &verifier->master);
  if (status != TARN_OK) return status;
  uint8_t *bytes = tarn_tensor_data_mutable(&verifier->master);
  for (int64_t i = 0; i < size; i += 8) {
    const uint64_t word = mix((uint64_t)i);
    memcpy(bytes + i, &word, 8);
  }
  verifier->master_bytes = bytes;
  return TARN_OK;
}

tarn_status verifier_create(const where_place *where, tarn_stream *const *streams,
                            uint32_t stream_count, verify_state **out) {
  *out = NULL;
  verify_state *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a verifier");
  made->streams = streams;
  made->stream_count = stream_count;
  made->enqueued = calloc(stream_count, sizeof *made->enqueued);
  made->awaited = calloc(stream_count, sizeof *made->awaited);
  tarn_status status = TARN_OK;
  if (made->enqueued == NULL || made->awaited == NULL) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %u streams", stream_count);
  }
  if (status == TARN_OK) {
    status = tarn_caching_pool_create(where->host_pages, NULL, &made->host_pool);
  }
  if (status == TARN_OK) status = create_master(made);
  if (status != TARN_OK) {
    verifier_destroy(made);
    return status;
  }
  *out = made;
  return TARN_OK;
}

void verifier_destroy(verify_state *verifier) {
  if (verifier == NULL) return;
  tarn_tensor_release(&verifier->master);
  tarn_pool_release(verifier->host_pool);
  free(verifier->enqueued);
  free(verifier->awaited);
  free(verifier->filled);
  free(verifier);
}

verify_totals verifier_totals(const verify_state *verifier) {
  return verifier->totals;
}

static tarn_status reserve_slot(verify_state *verifier, size_t slot) {
  if (slot < verifier->slot_capacity) return TARN_OK;
  const size_t capacity = (slot + 1) * 2;
  uint64_t *filled = realloc(verifier->filled, capacity * sizeof *filled);
  if (filled == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %zu slots", capacity);
  verifier->filled = filled;
  verifier->slot_capacity = capacity;
  return TARN_OK;
}

static tarn_status fill_piece(verify_state *verifier, tarn_storage *storage, size_t at,
                              size_t piece_bytes, size_t offset, tarn_stream *stream) {
  const int64_t size = (int64_t)piece_bytes;
  tarn_tensor target;
  tarn_status status = tarn_tensor_of_storage(storage, TARN_U8, 1, &size, at, &target);
  if (status != TARN_OK) return status;
  tarn_tensor source = verifier->master; /* borrowed: the verifier holds the master */
  status = tarn_tensor_narrow(&source, 0, (int64_t)offset, size);
  if (status == TARN_OK) status = tarn_tensor_copy(&target, &source, stream, NULL);
  tarn_tensor_release(&target);
  return status;
}

tarn_status verifier_fill(verify_state *verifier, const trace_event *event, tarn_storage *storage,
                          uint32_t stream) {
  const size_t size_bytes = tarn_storage_size_bytes(storage);
  tarn_status status = reserve_slot(verifier, event->slot);
  for (size_t at = 0, piece = 0; status == TARN_OK && at < size_bytes; at += PIECE_BYTES, piece++) {
    const size_t left = size_bytes - at;
    const size_t piece_bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
    status = fill_piece(verifier, storage, at, piece_bytes, master_offset(event->index, piece),
                        verifier->streams[stream]);
    verifier->totals.moved_bytes += piece_bytes;
  }
  if (status == TARN_OK) verifier->filled[event->slot] = ++verifier->enqueued[stream];
  return status;
}

static void count_mismatch(verify_state *verifier, const trace_event *event, size_t at,
                           const uint8_t *found, const uint8_t *expected) {
  size_t i = 0;
  while (found[i] == expected[i]) i++;
  verify_totals *totals = &verifier->totals;
  if (totals->mismatch_count == 0) {
    snprintf(totals->first_mismatch, sizeof totals->first_mismatch,
             "line %" PRIu32 ": id %" PRIu64 ", byte %zu of %" PRIu64
             " is 0x%02x instead of 0x%02x",
             event->line, event->id, at + i, event->bytes, found[i], expected[i]);
  }
  totals->mismatch_count++;
}

static void compare(verify_state *verifier, const trace_event *event, const uint8_t *bytes,
                    size_t size_bytes) {
  verifier->totals.compared_bytes += size_bytes;
  for (size_t at = 0, piece = 0; at < size_bytes; at += PIECE_BYTES, piece++) {
    const size_t left = size_bytes - at;
    const size_t piece_bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
    const uint8_t *expected = verifier->master_bytes + master_offset(event->index, piece);
    if (memcmp(bytes + at, expected, piece_bytes) == 0) continue;
    count_mismatch(verifier, event, at, bytes + at, expected);
    return;
  }
}

/* Linear access to host memory is in place and waits for nothing: the fill is ours to await. Many
 * storages are filled between two waits of one stream, so most need none. */
static tarn_status await_fill(verify_state *verifier, const trace_event *event, uint32_t stream) {
  if (verifier->awaited[stream] >= verifier->filled[event->slot]) return TARN_OK;
  const uint64_t enqueued = verifier->enqueued[stream];
  const tarn_status status = tarn_stream_synchronize(verifier->streams[stream]);
  if (status == TARN_OK) verifier->awaited[stream] = enqueued;
  return status;
}

tarn_status verifier_check(verify_state *verifier, const trace_event *event, tarn_storage *storage,
                           uint32_t stream) {
  const size_t size_bytes = tarn_storage_size_bytes(storage);
  const tarn_device device = tarn_storage_device(storage);
  if (size_bytes == 0) return TARN_OK;
  tarn_status status = TARN_OK;
  if (tarn_device_is_host(device)) status = await_fill(verifier, event, stream);
  const int64_t size = (int64_t)size_bytes;
  tarn_tensor tensor = {.storage = NULL};
  if (status == TARN_OK) {
    status = tarn_tensor_of_storage(storage, TARN_U8, 1, &size, 0, &tensor);
  }
  if (status != TARN_OK) return status;
  tarn_linear_span span;
  tarn_stream *const order = verifier->streams[stream];
  status = tarn_linear_begin(&tensor, TARN_LINEAR_READ, verifier->host_pool, order, &span);
  if (status == TARN_OK) {
    compare(verifier, event, span.data, span.size_bytes);
    if (span.size_bytes != size_bytes) {
      status = tarn_fail(TARN_DEVICE_ERROR, "a linear read of %zu bytes gave %zu", size_bytes,
                         span.size_bytes);
    }
    const tarn_status ended = tarn_linear_end(&span, order);
    if (status == TARN_OK) status = ended;
    verifier->totals.moved_bytes += span.moved_bytes;
  }
  tarn_tensor_release(&tensor);
  if (status != TARN_OK) return status;
  verifier->enqueued[stream]++;
  return tarn_stream_fill(order, tarn_storage_data_mutable(storage), device, 0xDD,
                          size_bytes < SCRIBBLE_BYTES ? size_bytes : SCRIBBLE_BYTES);
}
