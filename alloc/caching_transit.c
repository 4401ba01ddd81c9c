/* caching_transit.c: memory that a pause gives back and a resume obtains, and its contents. */
#include "alloc/caching_pause.h"

#include <stdlib.h>

#include "alloc/heap_paused.h"
#include "alloc/magazine.h"
#include "alloc/status.h"

/* Contents in device memory that lie so close together are copied with what is between them: a copy
 * costs as much as that. The CPU's memory is checked by those who watch it, byte by byte. */
static const size_t DEVICE_GAP_BYTES = (size_t)64 << 10;

/* Neighbouring pieces that one call of the provider moves. */
typedef struct run {
  size_t first;
  size_t end;
  char *address;
  size_t size_bytes;
} run;

static bool is_wanted(const tarn__piece *piece, bool has_memory, bool fresh_only) {
  return piece->is_chosen && piece->has_memory == has_memory && (!fresh_only || piece->is_fresh);
}

/* The first run at or behind `index`; its size is 0 where there is none. */
static run find_run(const tarn__paused *paused, size_t index, bool has_memory, bool fresh_only) {
  const tarn__piece *pieces = paused->pieces;
  while (index < paused->count && !is_wanted(&pieces[index], has_memory, fresh_only)) index++;
  run found = {.first = index, .end = index};
  if (index == paused->count) return found;
  found.address = pieces[index].address;
  for (; index < paused->count && is_wanted(&pieces[index], has_memory, fresh_only); index++) {
    const bool is_neighbour = pieces[index].address == found.address + found.size_bytes &&
                              pieces[index].range == pieces[found.first].range;
    if (!is_neighbour) break;
    found.size_bytes += pieces[index].size_bytes;
    found.end = index + 1;
  }
  return found;
}

static void set_moving(tarn__caching *self, const run *at, bool is_moving) {
  for (size_t index = at->first; index < at->end; index++) {
    self->paused.pieces[index].is_moving = is_moving;
  }
}

/* What the heap knows of the provider's pieces. */
static void note_pieces(tarn__caching *self, const run *at, bool is_committed) {
  tarn__segment *segment = self->paused.pieces[at->first].range;
  const uintptr_t start = (uintptr_t)at->address;
  tarn__heap_note_pieces(&self->heap, segment, start, start + at->size_bytes, is_committed);
}

/* --- memory --- */

static tarn_status release_run(tarn__pausing *op, const run *at) {
  tarn__caching *self = op->self;
  self->stats.provider_calls++;
  self->giving_count++;
  set_moving(self, at, /*is_moving=*/true);
  tarn__caching_leave(self);
  const tarn_status status = tarn_provider_decommit(self->provider, at->address, at->size_bytes);
  tarn__caching_return(self);
  set_moving(self, at, /*is_moving=*/false);
  self->giving_count--;
  if (status != TARN_OK) return status;
  for (size_t index = at->first; index < at->end; index++) {
    tarn__piece *piece = &self->paused.pieces[index];
    piece->has_memory = false;
    piece->is_fresh = false;
    piece->is_in_place = false;
  }
  note_pieces(self, at, /*is_committed=*/false);
  self->heap.paused_bytes += at->size_bytes;
  tarn_budget_pay_back(self->budget, at->size_bytes);
  tarn__caching_trace(self, 'r', at->address, at->size_bytes, /*stream=*/NULL);
  return TARN_OK;
}

tarn_status tarn__pausing_release(tarn__pausing *op, bool fresh_only) {
  tarn_status result = TARN_OK;
  for (run at = {.end = 0};;) {
    at = find_run(&op->self->paused, at.end, /*has_memory=*/true, fresh_only);
    if (at.size_bytes == 0) return result;
    const tarn_status status = release_run(op, &at);
    if (status != TARN_OK && !fresh_only) return status;
    if (status != TARN_OK) {
      op->report->stuck_bytes += at.size_bytes;
      result = status;
    } else if (fresh_only) {
      op->report->moved_bytes -= at.size_bytes;
    } else {
      op->report->moved_bytes += at.size_bytes;
    }
  }
}

static tarn_status commit_run(tarn__pausing *op, const run *at) {
  tarn__caching *self = op->self;
  tarn_status status = tarn_budget_charge(self->budget, at->size_bytes);
  if (status != TARN_OK) return status;
  self->obtaining_bytes += at->size_bytes;
  self->stats.provider_calls++;
  set_moving(self, at, /*is_moving=*/true);
  tarn__caching_leave(self);
  status = tarn_provider_commit(self->provider, at->address, at->size_bytes);
  tarn__caching_return(self);
  set_moving(self, at, /*is_moving=*/false);
  self->obtaining_bytes -= at->size_bytes;
  if (status != TARN_OK) {
    tarn__budget_cancel(self->budget, at->size_bytes);
    return status;
  }
  for (size_t index = at->first; index < at->end; index++) {
    self->paused.pieces[index].has_memory = true;
    self->paused.pieces[index].is_fresh = true;
  }
  note_pieces(self, at, /*is_committed=*/true);
  self->heap.paused_bytes -= at->size_bytes;
  tarn__caching_trace(self, 's', at->address, at->size_bytes, /*stream=*/NULL);
  tarn__caching_note_change(self);
  return TARN_OK;
}

/* Idle memory of the pool's own goes back, or somebody else gives some. */
static bool make_room(tarn__caching *self, size_t size_bytes) {
  size_t released_bytes = 0;
  tarn__magazines_gather(self, /*least_bytes=*/0);
  tarn__caching_observe_pending(self);
  tarn__heap_join_all(&self->heap, /*clean_only=*/true);
  tarn_status status = tarn__caching_release_idle(self, /*keep_bytes=*/0, &released_bytes);
  (void)status; /* what the provider does not take stays free */
  if (released_bytes >= size_bytes) return true;
  pthread_mutex_unlock(&self->lock);
  const bool has_given = tarn_budget_press(self->budget, size_bytes, size_bytes, /*except=*/self);
  pthread_mutex_lock(&self->lock);
  return has_given || released_bytes > 0;
}

static tarn_status obtain_run(tarn__pausing *op, const run *at) {
  const tarn_error before = *tarn_last_error();
  tarn_status status = commit_run(op, at);
  if (status != TARN_OUT_OF_MEMORY) return status;
  const tarn_error refused = *tarn_last_error();
  if (!make_room(op->self, at->size_bytes)) return tarn_fail_again(&refused);
  status = commit_run(op, at);
  if (status == TARN_OK) tarn__error_restore(&before); /* nobody's failure */
  return status;
}

tarn_status tarn__pausing_obtain(tarn__pausing *op, bool is_undoing) {
  tarn_status result = TARN_OK;
  for (run at = {.end = 0};;) {
    at = find_run(&op->self->paused, at.end, /*has_memory=*/false, /*fresh_only=*/false);
    if (at.size_bytes == 0) return result;
    const tarn_status status = obtain_run(op, &at);
    if (status != TARN_OK && !is_undoing) return status;
    if (status != TARN_OK) {
      op->report->stuck_bytes += at.size_bytes;
      result = status;
    } else if (is_undoing) {
      op->report->moved_bytes -= at.size_bytes;
    } else {
      op->report->moved_bytes += at.size_bytes;
    }
  }
}

/* --- contents --- */

static tarn__backup *make_backup(tarn_pool *pool, size_t size_bytes, tarn_stream *stream) {
  tarn__backup *made = calloc(1, sizeof *made);
  if (made == NULL) {
    const tarn_status status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a backup's record");
    (void)status; /* the caller returns it */
    return NULL;
  }
  void *memory = NULL;
  if (tarn_pool_alloc(pool, size_bytes, stream, &memory) != TARN_OK) {
    free(made);
    return NULL;
  }
  *made = (tarn__backup){.pool = pool, .memory = memory, .piece_count = 1};
  return made;
}

tarn_status tarn__pausing_add_backups(tarn__pausing *op, tarn_pool *backup) {
  tarn__caching *self = op->self;
  for (size_t index = 0; index < self->paused.count; index++) {
    tarn__piece *piece = &self->paused.pieces[index];
    if (!piece->is_chosen) continue;
    pthread_mutex_unlock(&self->lock);
    tarn__backup *made = make_backup(backup, piece->size_bytes, op->stream);
    pthread_mutex_lock(&self->lock);
    if (made == NULL) return tarn_last_error()->status;
    piece->backup = made;
    piece->kept = made->memory;
  }
  return TARN_OK;
}

/* Adds contents to the last span, or as one more. */
static bool add_span(tarn__pausing *op, const tarn__span *more, bool is_same_piece) {
  const bool is_host = tarn_device_is_host(op->self->machine->device);
  const size_t gap_bytes = is_host ? 0 : DEVICE_GAP_BYTES;
  tarn__span *last = op->span_count > 0 ? &op->spans[op->span_count - 1] : NULL;
  if (is_same_piece && last != NULL) {
    const size_t distance_bytes = (size_t)(more->address - last->address);
    if (distance_bytes - last->size_bytes <= gap_bytes) {
      last->size_bytes = distance_bytes + more->size_bytes;
      return true;
    }
  }
  if (op->span_count == op->span_capacity) {
    const size_t capacity = op->span_capacity * 2 + 64;
    tarn__span *grown = realloc(op->spans, capacity * sizeof *grown);
    if (grown == NULL) return false;
    op->spans = grown;
    op->span_capacity = capacity;
  }
  op->spans[op->span_count++] = *more;
  return true;
}

/* The first paused block that reaches into the piece, or lies behind it. */
static tarn__block *first_block(const tarn__heap *heap, const tarn__piece *piece) {
  tarn__block *block = tarn__heap_paused_around(heap, piece->address);
  return block != NULL ? block : tarn__tree_at_least(heap->paused, 0, piece->address);
}

static bool collect_piece(tarn__pausing *op, const tarn__piece *piece) {
  char *const end = piece->address + piece->size_bytes;
  bool is_same_piece = false;
  tarn__block *block = first_block(&op->self->heap, piece);
  for (; block != NULL && block->address < end; block = tarn__heap_paused_next(block)) {
    char *from = block->address > piece->address ? block->address : piece->address;
    char *to = block->address + block->requested_bytes;
    if (to > end) to = end;
    if (!block->is_kept || to <= from) continue;
    const tarn__span span = {from, piece->kept + (from - piece->address), (size_t)(to - from)};
    if (!add_span(op, &span, is_same_piece)) return false;
    is_same_piece = true;
  }
  return true;
}

tarn_status tarn__pausing_collect(tarn__pausing *op) {
  const tarn__paused *paused = &op->self->paused;
  for (size_t index = 0; index < paused->count; index++) {
    const tarn__piece *piece = &paused->pieces[index];
    if (!piece->is_chosen || piece->backup == NULL) continue;
    if (!collect_piece(op, piece)) {
      return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a list of what is to be copied");
    }
  }
  return TARN_OK;
}

/* Has the memory that the span belongs to lost its contents, and can it have them back? */
static bool misses_contents(const tarn__paused *paused, const tarn__span *span) {
  const size_t index = tarn__paused_find(paused, (uintptr_t)span->address);
  const tarn__piece *piece = &paused->pieces[index];
  return piece->has_memory && !piece->is_in_place;
}

static tarn_status copy_span(const tarn__pausing *op, const tarn__span *span, bool to_backup) {
  const tarn__paused *paused = &op->self->paused;
  const tarn_device own = op->self->machine->device;
  const size_t index = tarn__paused_find(paused, (uintptr_t)span->address);
  const tarn_pool *pool = paused->pieces[index].backup->pool;
  const tarn_device backup = tarn_pool_attributes_of(pool)->device;
  return to_backup ? tarn_stream_copy(op->stream, span->kept, backup, span->address, own,
                                      span->size_bytes)
                   : tarn_stream_copy(op->stream, span->address, own, span->kept, backup,
                                      span->size_bytes);
}

tarn_status tarn__pausing_copy(tarn__pausing *op, bool to_backup) {
  if (op->span_count == 0) return TARN_OK;
  tarn__caching *self = op->self;
  size_t copied_bytes = 0;
  tarn_status status = TARN_OK;
  pthread_mutex_unlock(&self->lock);
  for (size_t index = 0; status == TARN_OK && index < op->span_count; index++) {
    const tarn__span *span = &op->spans[index];
    if (!to_backup && !misses_contents(&self->paused, span)) continue;
    status = copy_span(op, span, to_backup);
    if (status == TARN_OK) copied_bytes += span->size_bytes;
  }
  const tarn_error failed = *tarn_last_error();
  /* After a failure, too, for what was enqueued by then. */
  const tarn_status waited = tarn_stream_synchronize(op->stream);
  const bool is_over = waited == TARN_OK || tarn_stream_synchronize(op->stream) == TARN_OK;
  pthread_mutex_lock(&self->lock);
  if (!is_over) op->unsure = op->stream;
  if (status != TARN_OK) return tarn_fail_again(&failed);
  if (waited == TARN_OK) op->report->copied_bytes += copied_bytes;
  return waited;
}
