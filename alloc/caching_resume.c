/* caching_resume.c: a caching pool's paused blocks get their memory back, or stay as they are. */
#include "alloc/caching_pause.h"

#include "alloc/heap_paused.h"
#include "alloc/status.h"

static uintptr_t granules_start(const tarn__caching *self, const tarn__block *block) {
  return (uintptr_t)block->address & ~(uintptr_t)(self->machine->granularity_bytes - 1);
}

static uintptr_t granules_end(const tarn__caching *self, const tarn__block *block) {
  const uintptr_t granule = self->machine->granularity_bytes;
  return ((uintptr_t)block->address + block->size_bytes + granule - 1) & ~(granule - 1);
}

/* Does a paused block have a part of the piece? */
static bool is_needed(const tarn__heap *heap, const tarn__piece *piece) {
  if (tarn__heap_paused_around(heap, piece->address) != NULL) return true;
  const tarn__block *block = tarn__tree_at_least(heap->paused, 0, piece->address);
  return block != NULL && block->address < piece->address + piece->size_bytes;
}

/* All granules that chosen blocks have a part of, and those that no block needs any more. */
static tarn_status choose(tarn__pausing *op) {
  tarn__caching *self = op->self;
  tarn__paused *paused = &self->paused;
  if (!tarn__paused_reserve(paused, 3 * paused->block_count)) { /* two cuts each, and a free */
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a list of what is paused");
  }
  const tarn__heap *heap = &self->heap;
  for (tarn__block *block = tarn__heap_paused_first(heap); block != NULL;
       block = tarn__heap_paused_next(block)) {
    if (!op->has_tag[block->tag]) continue;
    const uintptr_t start = granules_start(self, block);
    const uintptr_t end = granules_end(self, block);
    tarn__paused_cut(paused, start);
    tarn__paused_cut(paused, end);
    for (size_t index = tarn__paused_find(paused, start); index < paused->count; index++) {
      if ((uintptr_t)paused->pieces[index].address >= end) break;
      paused->pieces[index].is_chosen = true;
    }
  }
  for (size_t index = 0; index < paused->count; index++) {
    tarn__piece *piece = &paused->pieces[index];
    if (!is_needed(heap, piece)) piece->is_chosen = true;
  }
  return TARN_OK;
}

/* A child of fork may have the pool, and not what its contents were saved in. */
static tarn_status check_backups(const tarn__caching *self) {
  const tarn_error before = *tarn_last_error();
  tarn_status status = TARN_OK;
  for (size_t index = 0; index < self->paused.count && status == TARN_OK; index++) {
    const tarn__piece *piece = &self->paused.pieces[index];
    if (!piece->is_chosen || piece->backup == NULL) continue;
    const tarn__caching *backup = tarn__caching_of(piece->backup->pool);
    status = backup != NULL ? tarn__caching_check_process(backup) : TARN_OK;
  }
  if (status == TARN_OK) tarn__error_restore(&before); /* no failure: another kind of pool */
  return status;
}

/* With memory for all of it, and all contents back. */
static tarn_status bring_back(tarn__pausing *op) {
  tarn_status status = check_backups(op->self);
  if (status == TARN_OK) status = tarn__pausing_collect(op);
  const bool is_host = tarn_device_is_host(op->self->machine->device);
  if (status == TARN_OK && op->span_count > 0 && op->stream == NULL && !is_host) {
    status = tarn_fail(TARN_INVALID_ARGUMENT, "contents of a device's memory need a stream");
  }
  if (status == TARN_OK) status = tarn__pausing_obtain(op, /*is_undoing=*/false);
  if (status == TARN_OK) status = tarn__pausing_copy(op, /*to_backup=*/false);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  if (op->unsure == NULL) {
    const tarn_status undone = tarn__pausing_release(op, /*fresh_only=*/true);
    (void)undone; /* the report has it */
  } else {        /* a copy may still be writing there: the memory waits for the next resume */
    op->report->stuck_bytes += op->report->moved_bytes;
  }
  return tarn_fail_again(&cause);
}

tarn_status tarn__caching_resume(void *context, const tarn_resume_options *options,
                                 tarn_pause_report *report) {
  tarn__caching *self = context;
  const bool is_host = tarn_device_is_host(self->machine->device);
  tarn__pausing op = {.stream = is_host ? NULL : options->stream, .report = report};
  tarn_status status = tarn__pausing_init(&op, self, options->tags, options->tag_count);
  if (status != TARN_OK) return status;
  tarn__pausing_begin(&op);
  status = choose(&op);
  if (status == TARN_OK) status = bring_back(&op);
  if (status == TARN_OK) {
    tarn__caching_drop_pieces(self, /*is_all=*/true);
  } else {
    report->copied_bytes = 0;
    for (size_t index = 0; index < self->paused.count; index++) {
      self->paused.pieces[index].is_chosen = false;
      self->paused.pieces[index].is_fresh = false;
    }
  }
  report->block_count = tarn__caching_settle_paused(self);
  tarn__pausing_end(&op);
  return status;
}
