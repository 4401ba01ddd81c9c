/* program_run.c: runs a program on the simulated driver, and checks it with every oracle. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/sim/cusim.h"
#include "tests/sim/program_runner.h"

enum { STATS_PERIOD = 8 }; /* operations between two looks at every pool's figures */

/* --- verdicts --- */

__attribute__((format(printf, 3, 4))) void runner_condemn(runner *self, program_failing failing,
                                                          const char *format, ...) {
  program_verdict *verdict = self->verdict;
  if (verdict->failing != PROGRAM_FINE) return; /* the first finding is the one to look at */
  verdict->failing = failing;
  verdict->op_index = self->op_index;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(verdict->text, sizeof verdict->text, format, arguments);
  va_end(arguments);
}

/* As what it is; or as a lack of memory, where an allocation had tried everything else. */
static bool is_told_right(tarn_status status, int error) {
  return status == driver_status_of(error) || status == TARN_OUT_OF_MEMORY;
}

/* An operation that has to succeed, unless a driver call was failed on purpose during it. */
static bool is_done(runner *self, tarn_status status, uint64_t failures_before) {
  if (status == TARN_OK) return true;
  const bool is_excused =
      self->may_fail && cusim_failures() != failures_before && is_told_right(status, self->error);
  if (!is_excused) {
    runner_condemn(self, *cusim_fault() != '\0' ? PROGRAM_FAULT : PROGRAM_WRONG_STATUS,
                   "%s: %s%s%s", tarn_status_name(status), tarn_last_error()->message,
                   *cusim_fault() != '\0' ? "; the driver: " : "", cusim_fault());
  }
  return false;
}

/* --- blocks --- */

static void check_place(runner *self, uint32_t block, const program_op *op) {
  const char *start = self->addresses[block];
  size_t alignment_bytes = self->pool_alignment_bytes[op->pool];
  if (alignment_bytes < op->alignment_bytes) alignment_bytes = op->alignment_bytes;
  if ((uintptr_t)start % alignment_bytes != 0) {
    runner_condemn(self, PROGRAM_OVERLAP, "%p is not aligned to %zu", (const void *)start,
                   alignment_bytes);
  }
  for (uint32_t i = 0; i < PROGRAM_BLOCKS_MAX; i++) {
    const model_block *other = &self->model.blocks[i];
    const char *other_start = self->addresses[i];
    if (i == block || !other->is_live) continue;
    if (start < other_start + other->size_bytes && other_start < start + op->size_bytes) {
      runner_condemn(
          self, PROGRAM_OVERLAP, "%p + %" PRIu64 " overlaps the live block %u, %p + %" PRIu64,
          (const void *)start, op->size_bytes, i, (const void *)other_start, other->size_bytes);
    }
  }
}

static tarn_status alloc_once(runner *self, const program_op *op) {
  tarn_stream *stream = op->stream == PROGRAM_HOST ? NULL : self->streams[op->stream];
  tarn_pool *pool = self->pools[op->pool];
  if (op->verb == VERB_ALLOC) {
    return tarn_pool_alloc_aligned(pool, op->size_bytes, op->alignment_bytes, stream,
                                   &self->addresses[op->block]);
  }
  tarn_storage **storage = &self->storages[op->block];
  const tarn_status status = tarn_storage_create(pool, op->size_bytes, stream, storage);
  if (status == TARN_OK) self->addresses[op->block] = tarn_storage_data_mutable(*storage);
  return status;
}

/* Sentence 4: who is told that there is no memory is told so again, for what was pending has been
 * waited for; and an empty pool has room for what its limit allows. */
static void check_refusal(runner *self, const program_op *op) {
  self->verdict->refused_count++;
  if (self->may_fail) return;
  const tarn_status again = alloc_once(self, op);
  if (again != TARN_OUT_OF_MEMORY) {
    runner_condemn(self, PROGRAM_WRONG_STATUS,
                   "%" PRIu64 " bytes were out of memory, and the same call at once after: %s",
                   op->size_bytes, tarn_status_name(again));
  }
}

/* Whether the block is there now. */
static bool alloc_block(runner *self, const program_op *op, uint64_t failures) {
  const tarn_status status = alloc_once(self, op);
  if (op->size_bytes > PTRDIFF_MAX) {
    if (status != TARN_TOO_LARGE) {
      runner_condemn(self, PROGRAM_WRONG_STATUS, "%s for %" PRIu64 " bytes",
                     tarn_status_name(status), op->size_bytes);
    }
    return false;
  }
  if (status == TARN_OUT_OF_MEMORY) {
    check_refusal(self, op);
    return false;
  }
  if (!is_done(self, status, failures)) return false;
  if (op->size_bytes == 0) {
    if (self->addresses[op->block] != NULL) {
      runner_condemn(self, PROGRAM_WRONG_STATUS, "0 bytes have an address");
    }
    tarn_storage_release(self->storages[op->block]);
    self->storages[op->block] = NULL;
    return false;
  }
  check_place(self, op->block, op);
  return true;
}

static bool free_block(runner *self, const program_op *op, uint64_t failures) {
  const model_block *block = &self->model.blocks[op->block];
  if (block->is_storage) {
    tarn_storage_release(self->storages[op->block]);
    self->storages[op->block] = NULL;
    return true;
  }
  tarn_stream *stream = op->stream == PROGRAM_HOST ? NULL : self->streams[op->stream];
  return is_done(self, tarn_pool_free(self->pools[block->pool], self->addresses[op->block], stream),
                 failures);
}

static tarn_status note_block(runner *self, const program_op *op) {
  const model_block *block = &self->model.blocks[op->block];
  tarn_stream *stream = self->streams[op->stream];
  if (block->is_storage) return tarn_storage_note_use(self->storages[op->block], stream);
  /* Anywhere inside will do. */
  const char *inside = (const char *)self->addresses[op->block] + block->size_bytes / 2;
  return tarn_pool_note_use(self->pools[block->pool], inside, stream);
}

/* --- order --- */

static tarn_status fence_of(runner *self, const program_op *op, tarn_fence **fence) {
  const uint32_t event = op->event % PROGRAM_EVENTS_MAX;
  tarn_status status = TARN_OK;
  if (self->fences[event] == NULL) {
    /* Of any stream's kind: all are CUDA's. */
    tarn_stream *stream = NULL;
    for (uint32_t i = 0; i < PROGRAM_STREAMS_MAX && stream == NULL; i++) stream = self->streams[i];
    if (stream == NULL) return TARN_NOT_FOUND;
    status = tarn_fence_create(stream, &self->fences[event]);
  }
  *fence = self->fences[event];
  return status;
}

static tarn_status make_edge(runner *self, const program_op *op) {
  tarn_stream *earlier = self->streams[op->stream];
  tarn_stream *later = self->streams[op->other_stream];
  const tarn_status status = driver_order(&self->driver, earlier, later);
  if (status != TARN_OK || op->verb == VERB_HIDDEN) return status;
  return tarn_stream_edge(earlier, later);
}

static bool do_event(runner *self, const program_op *op, uint64_t failures) {
  tarn_fence *fence = NULL;
  tarn_status status = fence_of(self, op, &fence);
  if (status == TARN_NOT_FOUND) return false;
  if (status == TARN_OK && op->verb == VERB_RECORD) {
    status = tarn_fence_record(fence, self->streams[op->stream]);
  } else if (status == TARN_OK && op->verb == VERB_WAIT) {
    status = tarn_stream_wait(self->streams[op->stream], fence);
  } else if (status == TARN_OK && op->verb == VERB_EVENT_SYNC) {
    status = tarn_fence_synchronize(fence);
  } else if (status == TARN_OK && op->verb == VERB_QUERY) {
    status = tarn_fence_query(fence);
    if (status == TARN_NOT_READY) return true;
  }
  return is_done(self, status, failures);
}

/* --- one operation --- */

static bool do_op(runner *self, const program_op *op, uint64_t tag, uint64_t failures) {
  switch ((program_verb)op->verb) {
    case VERB_ALLOC:
    case VERB_STORAGE:
      return alloc_block(self, op, failures);
    case VERB_FREE:
      return free_block(self, op, failures);
    case VERB_NOTE_USE:
      return is_done(self, note_block(self, op), failures);
    case VERB_WRITE:
      return is_done(self, runner_write_tag(self, op, tag), failures);
    case VERB_CHECK:
      return is_done(self, runner_check_tag(self, op), failures);
    case VERB_COPY:
      return is_done(self, runner_copy_tag(self, op, tag), failures);
    case VERB_CALL:
      return is_done(self, runner_call_tag(self, op, tag), failures);
    case VERB_HOST_WRITE:
      runner_host_write(self, op, tag);
      return true;
    case VERB_HOST_CHECK:
      runner_host_check(self, op);
      return true;
    case VERB_RECORD:
    case VERB_WAIT:
    case VERB_QUERY:
    case VERB_EVENT_SYNC:
      return do_event(self, op, failures);
    case VERB_HIDDEN:
    case VERB_EDGE:
      return is_done(self, make_edge(self, op), failures);
    case VERB_SYNC:
      return is_done(self, tarn_stream_synchronize(self->streams[op->stream]), failures);
    case VERB_TRIM:
      return is_done(self, tarn_pool_trim(self->pools[op->pool], op->size_bytes, NULL), failures);
    case VERB_RETIRE:
      tarn_stream_release(self->streams[op->stream]);
      self->streams[op->stream] = NULL;
      return true;
    case VERB_STREAM:
      return is_done(self, runner_open_stream(self, op->stream), failures);
    case VERB_LIMIT:
      tarn_budget_set_limit(tarn_caching_pool_budget(self->caching[op->pool]), op->size_bytes);
      return true;
    case VERB_RESERVE:
      return is_done(self, runner_reserve(self, op), failures);
    case VERB_DECAY:
      return is_done(self, runner_decay(self, op), failures);
    case VERB_STEP:
      for (uint64_t i = 0; i < op->size_bytes; i++) cusim_step();
      return true;
    case VERB_CAPACITY:
      cusim_set_capacity(0, op->size_bytes);
      return true;
    case VERB_DROP_POOL:
      runner_check_stats(self, op->pool);
      tarn_pool_release(self->pools[op->pool]);
      return true;
    case VERB_PAUSE:
      return is_done(self, runner_pause(self, op->pool), failures);
    case VERB_COUNT:
      break;
  }
  return false;
}

static void run_ops(runner *self) {
  for (uint32_t i = 0; i < self->of->op_count; i++) {
    const program_op *op = &self->of->ops[i];
    self->op_index = i;
    if (!model_allows(&self->model, op)) continue;
    const uint64_t tag = runner_make_tag(self);
    if (do_op(self, op, tag, cusim_failures())) {
      model_apply(&self->model, op, tag);
    } else {
      model_apply_failed(&self->model, op);
    }
    self->verdict->run_count++;
    self->verdict->did_run[i / 8] |= (uint8_t)(1u << i % 8);
    if (self->verdict->failing != PROGRAM_FINE) return;
    for (uint32_t p = 0; i % STATS_PERIOD == 0 && p < self->of->pool_count; p++) {
      runner_check_stats(self, p);
    }
    runner_check_driver(self);
  }
  self->op_index = self->of->op_count;
}

/* --- from beginning to end --- */

static bool open_what_is_named(runner *self) {
  const program *of = self->of;
  tarn_status status = runner_open_ring(self);
  for (uint32_t i = 0; status == TARN_OK && i < of->stream_count; i++) {
    if (model_uses_stream(of, i)) status = runner_open_stream(self, i);
  }
  for (uint32_t i = 0; status == TARN_OK && i < of->pool_count; i++) {
    if (model_uses_pool(of, i)) status = runner_open_pool(self, i);
  }
  if (status != TARN_OK) {
    runner_condemn(self, PROGRAM_WRONG_STATUS, "%s: %s", tarn_status_name(status),
                   tarn_last_error()->message);
  }
  return status == TARN_OK;
}

/* The whole device is waited for, every block freed, every pool trimmed: nothing may be left. */
static void finish(runner *self) {
  cusim_fail_nothing();
  self->may_fail = false;
  const tarn_status status = driver_synchronize(&self->driver);
  if (status != TARN_OK) {
    runner_condemn(self, PROGRAM_FAULT, "the device cannot be waited for: %s", cusim_fault());
    return;
  }
  order_host_saw_all(&self->model.order);
  if (self->verdict->failing == PROGRAM_FINE) runner_check_log(self);
  for (uint32_t i = 0; i < PROGRAM_BLOCKS_MAX; i++) {
    const program_op op = {.verb = VERB_FREE, .block = (uint8_t)i, .stream = PROGRAM_HOST};
    if (!self->model.blocks[i].is_live) continue;
    if (free_block(self, &op, cusim_failures())) model_apply(&self->model, &op, 0);
  }
  /* So that tarn has seen it too, and the storages' frees with it. */
  for (uint32_t i = 0; i < PROGRAM_STREAMS_MAX; i++) {
    if (self->streams[i] == NULL) continue;
    is_done(self, tarn_stream_synchronize(self->streams[i]), cusim_failures());
  }
  /* A pool may have a stream of its own, on which it frees. */
  is_done(self, driver_synchronize(&self->driver), cusim_failures());
  for (uint32_t i = 0; i < self->of->pool_count; i++) runner_check_idle_pool(self, i);
  runner_check_driver(self);
}

static void run_whole(runner *self, uint64_t nth, int error) {
  const size_t word_count = (size_t)(self->of->op_count + 1) * RUNNER_WORDS_PER_OP;
  self->expected = calloc(word_count, sizeof *self->expected);
  self->calls = calloc(self->of->op_count + 1, sizeof *self->calls);
  const uint64_t failures = cusim_failures();
  model_init(&self->model, self->of);
  if (self->expected != NULL && self->calls != NULL && runner_begin(self, word_count) &&
      open_what_is_named(self)) {
    const uint64_t calls = cusim_calls(NULL);
    if (nth != 0) cusim_fail_call(NULL, nth, error);
    run_ops(self);
    self->verdict->driver_calls = cusim_calls(NULL) - calls;
    /* A verdict was reached: what is still under way is nobody's business any more. */
    finish(self);
  }
  self->verdict->trace_hash = cusim_trace_hash();
  self->verdict->driver_failures = cusim_failures() - failures;
  if (self->verdict->driver_failures != 0) {
    snprintf(self->verdict->failed_call, sizeof self->verdict->failed_call, "%s",
             cusim_failed_call());
  }
  for (uint32_t i = 0; i < PROGRAM_EVENTS_MAX; i++) tarn_fence_destroy(self->fences[i]);
  for (uint32_t i = 0; i < PROGRAM_STREAMS_MAX; i++) {
    if (self->streams[i] != NULL) tarn_stream_release(self->streams[i]);
  }
  runner_end(self);
  free(self->expected);
  free(self->calls);
}

void program_run_failing(const program *run, uint64_t nth, int error, program_verdict *verdict) {
  memset(verdict, 0, sizeof *verdict);
  runner *self = calloc(1, sizeof *self);
  if (self == NULL) return;
  self->of = run;
  self->verdict = verdict;
  self->may_fail = nth != 0;
  self->error = error;
  run_whole(self, nth, error);
  free(self);
}

void program_run(const program *run, program_verdict *verdict) {
  program_run_failing(run, /*nth=*/0, /*error=*/0, verdict);
}
