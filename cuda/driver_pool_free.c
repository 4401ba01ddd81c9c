/* driver_pool_free.c: the driver's pool takes back: behind whom, and what captures keep. */
#include "cuda/driver_pool.h"

#include <stdlib.h>

/* Under a capture that tarn was not told of, nobody knows when the block may go. */
static tarn_status refuse_untold_capture(const tarn__driver_pool *self, CUstream native) {
  const tarn__driver *driver = &self->cuda->driver;
  CUstreamCaptureStatus found = CU_STREAM_CAPTURE_STATUS_NONE;
  if (driver->StreamIsCapturing == NULL) return TARN_OK;
  const CUresult result = driver->StreamIsCapturing(native, &found);
  /* Any other failure the call itself will meet. */
  if (result != CUDA_SUCCESS && result != CUDA_ERROR_STREAM_CAPTURE_IMPLICIT) return TARN_OK;
  if (result == CUDA_SUCCESS && found == CU_STREAM_CAPTURE_STATUS_NONE) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "the stream %p is being captured, and tarn was not told: the driver's pool on "
                   "CUDA device %d cannot take a block back there",
                   (void *)native, (int)self->device);
}

/* Puts join_stream behind all that is enqueued on `stream`. A stream of another kind is waited for
 * by the calling thread, and so is one of which no fence is to be had. */
static tarn_status join_behind(tarn__driver_pool *self, tarn_stream *stream) {
  tarn__cuda_stream found;
  if (tarn__cuda_stream_of(stream, &found)) {
    const tarn_status untold = refuse_untold_capture(self, found.native);
    if (untold != TARN_OK) return untold;
  }
  tarn_fence *fence = NULL;
  tarn_status status = tarn_fence_create(stream, &fence);
  if (status == TARN_OK) status = tarn_fence_record(fence, stream);
  if (status == TARN_OK) status = tarn_stream_wait(self->join_stream, fence);
  tarn_fence_destroy(fence);
  if (status != TARN_OK) status = tarn_stream_synchronize(stream);
  pthread_mutex_lock(&self->lock);
  self->stats.fence_count++;
  self->stats.wait_count++;
  pthread_mutex_unlock(&self->lock);
  return status;
}

/* The next of the uses that have to be waited for: what was used in a capture is over with that. */
static tarn_stream *next_user(const tarn__pool_use **rest) {
  const tarn__pool_use *at = *rest;
  while (at != NULL && at->capture != 0) at = at->next;
  *rest = at != NULL ? at->next : NULL;
  return at != NULL ? at->stream : NULL;
}

/* Freed in a capture, by the stream it was lent to, and that is destroyed: tarn_capture_destroy has
 * waited for the work before the capture and for all launches. So nobody has to go behind the
 * stream, which another thread may be about to capture again. */
static bool is_over(const tarn__pool_block *block) {
  const tarn__pool_use *rest = block->uses;
  return block->freed.stream != NULL && block->freed.capture != 0 &&
         (block->stream == NULL || block->stream == block->freed.stream) &&
         tarn_capture_is_destroyed(block->freed.capture) && next_user(&rest) == NULL;
}

/* Where the block's end goes, ordered behind all its streams; all of them are among its uses or its
 * own one. *pending_on: NULL where the host is all that has used it. */
static tarn_status choose_end(tarn__driver_pool *self, const tarn__pool_block *block,
                              CUstream *native, tarn_stream **pending_on) {
  const tarn__pool_use *rest = block->uses;
  tarn_stream *only = block->stream != NULL ? block->stream : next_user(&rest);
  tarn_stream *user = next_user(&rest);
  *pending_on = only;
  if (only == NULL || is_over(block)) {
    *pending_on = NULL;
    *native = tarn__driver_pool_native(self->host_stream);
    return TARN_OK;
  }
  if (user == NULL && tarn__driver_pool_is_own(self, only, native)) return TARN_OK;
  *pending_on = self->join_stream;
  *native = tarn__driver_pool_native(self->join_stream);
  tarn_status status = join_behind(self, only);
  for (; user != NULL && status == TARN_OK; user = next_user(&rest)) {
    status = join_behind(self, user);
  }
  return status;
}

/* Gives the block to the driver. */
static tarn_status end_native(tarn__driver_pool *self, const tarn__pool_block *block,
                              tarn_stream **pending_on, CUstream *native) {
  const tarn__driver *driver = &self->cuda->driver;
  tarn_status status = choose_end(self, block, native, pending_on);
  if (status == TARN_OK) status = refuse_untold_capture(self, *native);
  if (status != TARN_OK) return status;
  tarn__driver_pool_count_calls(self, 1);
  const CUresult result = driver->MemFreeAsync((CUdeviceptr)(uintptr_t)block->base, *native);
  return tarn__cuda_status(driver, result, "cuMemFreeAsync",
                           "the block of %zu bytes at %p of the driver's pool on CUDA device %d",
                           block->requested_bytes, (void *)block->address, (int)self->device);
}

static tarn_status end_block(tarn__driver_pool *self, const tarn__pool_block *block) {
  CUstream native = NULL;
  tarn_stream *pending_on = NULL;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = end_native(self, block, &pending_on, &native);
  if (status == TARN_OK && pending_on != NULL) {
    tarn__driver_pool_add_pending(self, pending_on, native, block->allocated_bytes);
  }
  tarn__cuda_leave(&scope);
  return status;
}

/* --- what captures keep --- */

/* What each capture keeps of the pool counts there once for a block. */
static void count_keepers(const tarn__pool_block *block,
                          void (*count)(uint64_t number, size_t size_bytes)) {
  for (const tarn__pool_use *use = block->uses; use != NULL; use = use->next) {
    bool is_first = use->capture != 0;
    for (const tarn__pool_use *after = use->next; after != NULL && is_first; after = after->next) {
      is_first = after->capture != use->capture;
    }
    if (is_first) count(use->capture, block->allocated_bytes);
  }
}

static void keep_block(tarn__driver_pool *self, tarn__pool_block *block) {
  pthread_mutex_lock(&self->lock);
  block->low = self->kept;
  self->kept = block;
  self->kept_bytes += block->allocated_bytes;
  pthread_mutex_unlock(&self->lock);
}

static bool keep_for_capture(tarn__driver_pool *self, tarn__pool_block *block) {
  if (tarn__pool_block_capture(block) == 0) return false;
  keep_block(self, block);
  return true;
}

static tarn__pool_block *take_kept(tarn__driver_pool *self) {
  pthread_mutex_lock(&self->lock);
  tarn__pool_block *list = self->kept;
  self->kept = NULL;
  self->kept_bytes = 0;
  pthread_mutex_unlock(&self->lock);
  return list;
}

void tarn__driver_pool_free_kept(tarn__driver_pool *self) {
  tarn__pool_block *list = take_kept(self);
  while (list != NULL) {
    tarn__pool_block *block = list;
    list = block->low;
    if (keep_for_capture(self, block)) continue;
    if (end_block(self, block) == TARN_OK) {
      tarn__pool_block_destroy(block);
    } else { /* perhaps a stream of it is in a capture that tarn was not told of */
      keep_block(self, block);
    }
  }
}

void tarn__driver_pool_drop_kept(tarn__driver_pool *self) {
  tarn__pool_block *list = take_kept(self);
  while (list != NULL) {
    tarn__pool_block *block = list;
    list = block->low;
    count_keepers(block, tarn_capture_let_go);
    if (end_block(self, block) != TARN_OK) { /* behind a stream that is captured, nobody gets */
      self->cuda->driver.MemFreeAsync((CUdeviceptr)(uintptr_t)block->base,
                                      tarn__driver_pool_native(self->host_stream));
    }
    tarn__pool_block_destroy(block);
  }
}

/* --- the pool's operations --- */

static tarn_status refuse_unknown(const tarn__driver_pool *self, const void *address) {
  return tarn_fail(TARN_NOT_FOUND, "the driver's pool on CUDA device %d: %p is not lent out",
                   (int)self->device, address);
}

static void record(const tarn__driver_pool *self, char op, const tarn__pool_block *block,
                   const tarn_stream *stream) {
  if (self->trace == NULL) return;
  tarn_trace_record(self->trace, op, block->address, block->requested_bytes, stream);
}

/* Adds a use; where that is a capture's first of the block, it counts there. */
static bool note_use(tarn__pool_block *block, tarn_stream *stream, tarn__pool_use *place) {
  const uint64_t capture = tarn_stream_capture(stream);
  const bool is_new = capture != 0 && !tarn__pool_block_is_of(block, capture);
  if (!tarn__pool_block_note(block, stream, place)) return false;
  if (is_new) tarn_capture_keep(capture, block->allocated_bytes);
  return true;
}

static void undo_free(tarn__driver_pool *self, tarn__pool_block *block) {
  const uint64_t capture = block->freed.stream != NULL ? block->freed.capture : 0;
  tarn__pool_block_unfree(block);
  if (capture != 0 && !tarn__pool_block_is_of(block, capture)) {
    tarn_capture_let_go(capture, block->allocated_bytes);
  }
  pthread_mutex_lock(&self->lock);
  tarn__pool_blocks_insert(&self->live, block);
  self->stats.free_count--;
  self->stats.requested_bytes += block->requested_bytes;
  self->stats.allocated_bytes += block->allocated_bytes;
  record(self, 'a', block, block->stream); /* it is there again */
  pthread_mutex_unlock(&self->lock);
}

/* Before the driver can lend the memory again, so that events come in the order of a replay. */
static tarn__pool_block *take_live(tarn__driver_pool *self, const void *address,
                                   const tarn_stream *stream) {
  pthread_mutex_lock(&self->lock);
  tarn__pool_block *block = tarn__pool_blocks_remove(&self->live, address);
  if (block != NULL) {
    record(self, 'f', block, stream);
    self->stats.free_count++;
    self->stats.requested_bytes -= block->requested_bytes;
    self->stats.allocated_bytes -= block->allocated_bytes;
  }
  pthread_mutex_unlock(&self->lock);
  return block;
}

tarn_status tarn__driver_pool_free(void *context, void *address, tarn_stream *stream) {
  tarn__driver_pool *self = context;
  /* The parent's memory: all that there is to do is to forget it. */
  if (tarn__cuda_is_left_behind(self->cuda)) return TARN_OK;
  tarn__pool_block *block = take_live(self, address, stream);
  if (block == NULL) return refuse_unknown(self, address);
  if (!tarn_stream_is_synchronous(stream)) {
    const bool is_noted = note_use(block, stream, &block->freed);
    TARN_ASSERT(is_noted); /* there is a place for it */
    (void)is_noted;
  }
  if (keep_for_capture(self, block)) return TARN_OK;
  const tarn_status status = end_block(self, block);
  if (status == TARN_OK) {
    tarn__pool_block_destroy(block);
  } else {
    undo_free(self, block);
  }
  return status;
}

tarn_status tarn__driver_pool_note_use(void *context, void *address, tarn_stream *stream) {
  tarn__driver_pool *self = context;
  const tarn_status there = tarn__cuda_check_process(self->cuda);
  if (there != TARN_OK) return there;
  pthread_mutex_lock(&self->lock);
  tarn__pool_block *block = tarn__pool_blocks_find(self->live, address);
  const bool is_noted = block != NULL && note_use(block, stream, /*place=*/NULL);
  if (is_noted) record(self, 'u', block, stream);
  pthread_mutex_unlock(&self->lock);
  if (block == NULL) return refuse_unknown(self, address);
  if (is_noted) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note that a stream uses a block");
}

tarn_status tarn__driver_pool_size_of(void *context, const void *address, size_t *size_bytes) {
  tarn__driver_pool *self = context;
  const tarn_status there = tarn__cuda_check_process(self->cuda);
  if (there != TARN_OK) return there;
  pthread_mutex_lock(&self->lock);
  const tarn__pool_block *block = tarn__pool_blocks_find(self->live, address);
  if (block != NULL && block->address == address) *size_bytes = block->requested_bytes;
  pthread_mutex_unlock(&self->lock);
  return *size_bytes != 0 ? TARN_OK : refuse_unknown(self, address);
}
