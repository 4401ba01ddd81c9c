/* program_run.c: runs a program on the simulated driver, and checks it with every oracle there is.
 *
 * Values: each write puts a tag of its own into a block, each check reads it, both in stream order;
 * what was read goes to a log of page-locked memory, compared when everything is done. */
#include "tests/sim/program.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_storage.h"
#include "cuda/sim/cusim.h"
#include "cuda/tarn_cuda.h"
#include "tests/sim/planted_pool.h"
#include "tests/sim/program_driver.h"
#include "tests/sim/program_model.h"

enum {
  STATS_PERIOD = 8, /* operations between two looks at every pool's figures */
  WORDS_PER_OP = 2 * MODEL_WINDOWS_MAX,
};

/* A place of the log, and what has to be there at the end. */
typedef struct expectation {
  uint64_t value;
  uint32_t op_index;
  uint32_t size_bytes;
} expectation;

/* What a host function of a stream is given; it writes `found` for the end. */
typedef struct call_use {
  char *address;
  uint64_t size_bytes;
  uint64_t tag;
  uint64_t found_head;
} call_use;

typedef struct runner {
  const program *of;
  program_verdict *verdict;
  model_state model;
  bool may_fail; /* a driver call is failed on purpose */
  uint32_t op_index;
  tarn_cuda *cuda;
  driver_calls driver;
  tarn_device pinned;
  tarn_provider *scratch_provider;
  size_t scratch_bytes;
  uint64_t *scratch; /* tags to write, and the log of what was read: each word used once */
  uint32_t scratch_used;
  expectation *expected; /* per word of scratch; size_bytes 0: a tag */
  call_use *calls;       /* per operation */
  tarn_pool *pools[PROGRAM_POOLS_MAX];
  size_t pool_alignment_bytes[PROGRAM_POOLS_MAX];
  tarn_stream *streams[PROGRAM_STREAMS_MAX];
  tarn_fence *fences[PROGRAM_EVENTS_MAX];
  void *addresses[PROGRAM_BLOCKS_MAX];
  tarn_storage *storages[PROGRAM_BLOCKS_MAX];
} runner;

/* --- verdicts --- */

__attribute__((format(printf, 3, 4))) static void condemn(runner *self, program_failing failing,
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

/* An operation that has to succeed, unless a driver call was failed on purpose during it. */
static bool is_done(runner *self, tarn_status status, uint64_t failures_before) {
  if (status == TARN_OK) return true;
  const bool is_excused = self->may_fail && cusim_failures() != failures_before;
  if (!is_excused) {
    condemn(self, *cusim_fault() != '\0' ? PROGRAM_FAULT : PROGRAM_WRONG_STATUS, "%s: %s%s%s",
            tarn_status_name(status), tarn_last_error()->message,
            *cusim_fault() != '\0' ? "; the driver: " : "", cusim_fault());
  }
  return false;
}

/* --- values --- */

static uint64_t make_tag(const runner *self) {
  uint64_t tag = (self->of->seed + 1) * 0x9E3779B97F4A7C15u + (self->op_index + 1);
  tag ^= tag >> 29;
  return (tag * 0xBF58476D1CE4E5B9u) | 1;
}

static uint64_t *take_word(runner *self, uint64_t value, uint32_t size_bytes) {
  const uint32_t index = self->scratch_used++;
  self->expected[index] = (expectation){value, self->op_index, size_bytes};
  return &self->scratch[index];
}

static uint64_t masked(uint64_t value, uint32_t size_bytes) {
  return size_bytes < sizeof value ? value & (((uint64_t)1 << 8 * size_bytes) - 1) : value;
}

/* Puts `tag` into the windows of the block; the head only where asked for. */
static tarn_status write_windows(runner *self, uint32_t block, tarn_stream *stream, uint64_t tag,
                                 bool with_head) {
  const model_block *to = &self->model.blocks[block];
  model_window windows[MODEL_WINDOWS_MAX];
  const uint32_t count = model_windows(to->size_bytes, windows);
  const tarn_device device = tarn_pool_attributes_of(self->pools[to->pool])->device;
  tarn_status status = TARN_OK;
  for (uint32_t i = 0; status == TARN_OK && i < count; i++) {
    if (windows[i].is_head && !with_head) continue;
    uint64_t *word = take_word(self, 0, 0);
    *word = tag;
    status = tarn_stream_copy(stream, (char *)self->addresses[block] + windows[i].offset_bytes,
                              device, word, self->pinned, windows[i].size_bytes);
  }
  return status;
}

static tarn_status write_tag(runner *self, const program_op *op, uint64_t tag) {
  const model_block *to = &self->model.blocks[op->block];
  tarn_stream *stream = self->streams[op->stream];
  const tarn_device device = tarn_pool_attributes_of(self->pools[to->pool])->device;
  const tarn_status status =
      tarn_stream_fill(stream, self->addresses[op->block], device, (uint8_t)tag, to->size_bytes);
  return status != TARN_OK ? status : write_windows(self, op->block, stream, tag, true);
}

static tarn_status check_tag(runner *self, const program_op *op) {
  const model_block *from = &self->model.blocks[op->block];
  model_window windows[MODEL_WINDOWS_MAX];
  const uint32_t count = model_windows(from->size_bytes, windows);
  const tarn_device device = tarn_pool_attributes_of(self->pools[from->pool])->device;
  tarn_status status = TARN_OK;
  for (uint32_t i = 0; status == TARN_OK && i < count; i++) {
    const uint64_t tag = windows[i].is_head ? from->head_tag : from->rest_tag;
    uint64_t *word = take_word(self, tag, windows[i].size_bytes);
    *word = ~tag;
    status = tarn_stream_copy(self->streams[op->stream], word, self->pinned,
                              (const char *)self->addresses[op->block] + windows[i].offset_bytes,
                              device, windows[i].size_bytes);
    if (status != TARN_OK) self->expected[self->scratch_used - 1].size_bytes = 0;
  }
  return status;
}

static tarn_status copy_tag(runner *self, const program_op *op, uint64_t tag) {
  const model_block *to = &self->model.blocks[op->block];
  const model_block *from = &self->model.blocks[op->other_block];
  const tarn_device to_device = tarn_pool_attributes_of(self->pools[to->pool])->device;
  const tarn_device from_device = tarn_pool_attributes_of(self->pools[from->pool])->device;
  const uint64_t size_bytes = to->size_bytes < from->size_bytes ? to->size_bytes : from->size_bytes;
  tarn_stream *stream = self->streams[op->stream];
  const tarn_status status =
      tarn_stream_copy(stream, self->addresses[op->block], to_device,
                       self->addresses[op->other_block], from_device, size_bytes);
  return status != TARN_OK ? status : write_windows(self, op->block, stream, tag, false);
}

static void put_tag(char *address, uint64_t size_bytes, uint64_t tag) {
  model_window windows[MODEL_WINDOWS_MAX];
  const uint32_t count = model_windows(size_bytes, windows);
  memset(address, (uint8_t)tag, size_bytes);
  for (uint32_t i = 0; i < count; i++) {
    memcpy(address + windows[i].offset_bytes, &tag, windows[i].size_bytes);
  }
}

static void condemn_value(runner *self, uint32_t op_index, uint64_t found, uint64_t expected) {
  self->op_index = op_index;
  condemn(self, PROGRAM_WRONG_VALUE,
          "operation %u (%s) found %016" PRIx64 " where the program wrote %016" PRIx64, op_index,
          program_verb_name((program_verb)self->of->ops[op_index].verb), found, expected);
}

static void host_check(runner *self, const program_op *op) {
  const model_block *from = &self->model.blocks[op->block];
  model_window windows[MODEL_WINDOWS_MAX];
  const uint32_t count = model_windows(from->size_bytes, windows);
  cusim_host_read(self->addresses[op->block], from->size_bytes);
  for (uint32_t i = 0; i < count; i++) {
    const uint64_t tag = windows[i].is_head ? from->head_tag : from->rest_tag;
    uint64_t found = 0;
    memcpy(&found, (const char *)self->addresses[op->block] + windows[i].offset_bytes,
           windows[i].size_bytes);
    const uint64_t expected = masked(tag, windows[i].size_bytes);
    self->verdict->check_count++;
    if (found != expected) condemn_value(self, self->op_index, found, expected);
  }
}

/* Only values are checked here: the driver cannot tell what is enqueued behind a function from what
 * races with it, when the function runs late. */
static void run_call(void *argument) {
  call_use *use = argument;
  const uint64_t head_bytes = use->size_bytes < 8 ? use->size_bytes : 8;
  memcpy(&use->found_head, use->address, head_bytes);
  put_tag(use->address, use->size_bytes, use->tag);
}

static tarn_status call_tag(runner *self, const program_op *op, uint64_t tag) {
  const model_block *on = &self->model.blocks[op->block];
  const uint32_t head_bytes = on->size_bytes < 8 ? (uint32_t)on->size_bytes : 8;
  call_use *use = &self->calls[self->op_index];
  *use = (call_use){self->addresses[op->block], on->size_bytes, tag, 0};
  const tarn_status status = tarn_stream_call(self->streams[op->stream], run_call, use);
  /* The log's word is filled at the end, from what the function found. */
  if (status == TARN_OK) take_word(self, on->head_tag, head_bytes);
  return status;
}

static void check_log(runner *self) {
  for (uint32_t i = 0; i < self->scratch_used; i++) {
    const expectation *at = &self->expected[i];
    if (at->size_bytes == 0) continue;
    const bool is_call = self->of->ops[at->op_index].verb == VERB_CALL;
    const uint64_t word = is_call ? self->calls[at->op_index].found_head : self->scratch[i];
    const uint64_t found = masked(word, at->size_bytes);
    const uint64_t expected = masked(at->value, at->size_bytes);
    self->verdict->check_count++;
    if (found != expected) condemn_value(self, at->op_index, found, expected);
  }
}

/* --- blocks --- */

static void check_place(runner *self, uint32_t block, const program_op *op) {
  const char *start = self->addresses[block];
  size_t alignment_bytes = self->pool_alignment_bytes[op->pool];
  if (alignment_bytes < op->alignment_bytes) alignment_bytes = op->alignment_bytes;
  if ((uintptr_t)start % alignment_bytes != 0) {
    condemn(self, PROGRAM_OVERLAP, "%p is not aligned to %zu", (const void *)start,
            alignment_bytes);
  }
  for (uint32_t i = 0; i < PROGRAM_BLOCKS_MAX; i++) {
    const model_block *other = &self->model.blocks[i];
    const char *other_start = self->addresses[i];
    if (i == block || !other->is_live) continue;
    if (start < other_start + other->size_bytes && other_start < start + op->size_bytes) {
      condemn(self, PROGRAM_OVERLAP, "%p + %" PRIu64 " overlaps the live block %u, %p + %" PRIu64,
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
    condemn(self, PROGRAM_WRONG_STATUS,
            "%" PRIu64 " bytes were out of memory, and the same call at once after: %s",
            op->size_bytes, tarn_status_name(again));
  }
}

/* Whether the block is there now. */
static bool alloc_block(runner *self, const program_op *op, uint64_t failures) {
  const tarn_status status = alloc_once(self, op);
  if (op->size_bytes > PTRDIFF_MAX) {
    if (status != TARN_TOO_LARGE) {
      condemn(self, PROGRAM_WRONG_STATUS, "%s for %" PRIu64 " bytes", tarn_status_name(status),
              op->size_bytes);
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
      condemn(self, PROGRAM_WRONG_STATUS, "0 bytes have an address");
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

/* --- pools and figures --- */

static void check_stats(runner *self, uint32_t index) {
  const model_pool *model = &self->model.pools[index];
  if (self->pools[index] == NULL || model->is_dropped) return;
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  const tarn_status status = tarn_pool_stats_of(self->pools[index], &stats);
  if (status != TARN_OK) {
    condemn(self, PROGRAM_WRONG_STATUS, "the statistics of pool %u: %s", index,
            tarn_status_name(status));
    return;
  }
  const uint64_t limit_bytes = self->of->pools[index].limit_bytes;
  const char *wrong = NULL;
  if (stats.requested_bytes != model->requested_bytes) wrong = "requested_bytes";
  if (stats.alloc_count != model->alloc_count) wrong = "alloc_count";
  if (stats.free_count != model->free_count) wrong = "free_count";
  if (stats.requested_bytes_peak != model->requested_bytes_peak) wrong = "requested_bytes_peak";
  if (stats.requested_bytes > stats.allocated_bytes) wrong = "requested <= allocated";
  if (stats.allocated_bytes > stats.active_bytes) wrong = "allocated <= active";
  if (stats.active_bytes > stats.reserved_bytes) wrong = "active <= reserved";
  if (stats.allocated_bytes > stats.allocated_bytes_peak) wrong = "allocated <= its peak";
  if (stats.reserved_bytes > stats.reserved_bytes_peak) wrong = "reserved <= its peak";
  if (limit_bytes != 0 && stats.reserved_bytes > limit_bytes) wrong = "reserved <= limit";
  if (model->live_count == 0 && stats.allocated_bytes != 0) wrong = "nothing lent, all free";
  if (wrong == NULL) return;
  condemn(self, PROGRAM_WRONG_STATS,
          "pool %u, %s: requested %zu (peak %zu), allocated %zu, active %zu, reserved %zu, "
          "%" PRIu64 " allocs, %" PRIu64 " frees; the model has requested %" PRIu64
          " (peak %" PRIu64 "), %" PRIu64 " allocs, %" PRIu64 " frees",
          index, wrong, stats.requested_bytes, stats.requested_bytes_peak, stats.allocated_bytes,
          stats.active_bytes, stats.reserved_bytes, stats.alloc_count, stats.free_count,
          model->requested_bytes, model->requested_bytes_peak, model->alloc_count,
          model->free_count);
}

static tarn_status open_pool(runner *self, uint32_t index) {
  const program_pool *wanted = &self->of->pools[index];
  tarn_provider *provider = NULL;
  tarn_status status = TARN_OK;
  switch (wanted->kind) {
    case POOL_DEVICE:
      status = tarn_cuda_device_provider_create(self->cuda, 0, &provider);
      break;
    case POOL_PINNED:
      status = tarn_cuda_pinned_provider_create(self->cuda, &provider);
      break;
    case POOL_KIND_COUNT:
      break;
  }
  if (status != TARN_OK) return status;
  const tarn_caching_options options = {.struct_size = sizeof options,
                                        .limit_bytes = wanted->limit_bytes,
                                        .segment_bytes = wanted->segment_bytes};
  tarn_pool *pool = NULL;
  status = tarn_caching_pool_create(provider, &options, &pool);
  tarn_provider_release(provider);
  if (status == TARN_OK) status = planted_pool_create(pool, self->of->plant, &self->pools[index]);
  if (status != TARN_OK) return status;
  self->pool_alignment_bytes[index] = tarn_pool_attributes_of(self->pools[index])->alignment_bytes;
  return TARN_OK;
}

/* --- one operation --- */

static bool do_op(runner *self, const program_op *op, uint64_t tag, uint64_t failures) {
  const model_block *block = &self->model.blocks[op->block];
  switch ((program_verb)op->verb) {
    case VERB_ALLOC:
    case VERB_STORAGE:
      return alloc_block(self, op, failures);
    case VERB_FREE:
      return free_block(self, op, failures);
    case VERB_NOTE_USE:
      return is_done(self, note_block(self, op), failures);
    case VERB_WRITE:
      return is_done(self, write_tag(self, op, tag), failures);
    case VERB_CHECK:
      return is_done(self, check_tag(self, op), failures);
    case VERB_COPY:
      return is_done(self, copy_tag(self, op, tag), failures);
    case VERB_CALL:
      return is_done(self, call_tag(self, op, tag), failures);
    case VERB_HOST_WRITE:
      cusim_host_write(self->addresses[op->block], block->size_bytes);
      put_tag(self->addresses[op->block], block->size_bytes, tag);
      return true;
    case VERB_HOST_CHECK:
      host_check(self, op);
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
      return is_done(self, tarn_cuda_stream_create(self->cuda, 0, &self->streams[op->stream]),
                     failures);
    case VERB_STEP:
      for (uint64_t i = 0; i < op->size_bytes; i++) cusim_step();
      return true;
    case VERB_CAPACITY:
      cusim_set_capacity(0, op->size_bytes);
      return true;
    case VERB_DROP_POOL:
      check_stats(self, op->pool);
      tarn_pool_release(self->pools[op->pool]);
      return true;
    case VERB_COUNT:
      break;
  }
  return false;
}

static void check_driver(runner *self) {
  if (cusim_race_count() != 0) {
    char report[sizeof self->verdict->text] = "";
    cusim_race_report(0, report, sizeof report);
    condemn(self, PROGRAM_RACE, "%s", report);
  }
  if (*cusim_fault() != '\0') condemn(self, PROGRAM_FAULT, "%s", cusim_fault());
}

static void run_ops(runner *self) {
  for (uint32_t i = 0; i < self->of->op_count; i++) {
    const program_op *op = &self->of->ops[i];
    self->op_index = i;
    if (!model_allows(&self->model, op)) continue;
    const uint64_t tag = make_tag(self);
    if (do_op(self, op, tag, cusim_failures())) {
      model_apply(&self->model, op, tag);
    } else {
      model_apply_failed(&self->model, op);
    }
    self->verdict->run_count++;
    self->verdict->did_run[i / 8] |= (uint8_t)(1u << i % 8);
    if (self->verdict->failing != PROGRAM_FINE) return;
    for (uint32_t p = 0; i % STATS_PERIOD == 0 && p < self->of->pool_count; p++) {
      check_stats(self, p);
    }
    check_driver(self);
  }
  self->op_index = self->of->op_count;
}

/* --- from beginning to end --- */

static bool set_up(runner *self) {
  const program *of = self->of;
  cusim_set_idle_ms(0);
  cusim_set_races(CUSIM_RACES_COUNT);
  cusim_forget_races();
  cusim_set_patience_ms(5000); /* the order must not hang on how busy the machine is */
  cusim_set_policy((cusim_policy)of->policy);
  cusim_set_capacity(0, of->capacity_bytes);
  cusim_set_seed(of->seed);
  const size_t word_count = (size_t)(of->op_count + 1) * WORDS_PER_OP;
  self->expected = calloc(word_count, sizeof *self->expected);
  self->calls = calloc(of->op_count + 1, sizeof *self->calls);
  if (self->expected == NULL || self->calls == NULL) return false;
  tarn_status status = tarn_cuda_open(NULL, &self->cuda);
  if (status == TARN_OK) status = driver_calls_open(self->cuda, &self->driver);
  if (status == TARN_OK) {
    status = tarn_cuda_pinned_provider_create(self->cuda, &self->scratch_provider);
  }
  if (status == TARN_OK) {
    const tarn_provider_attributes *about = tarn_provider_attributes_of(self->scratch_provider);
    const bool is_rounded = tarn_size_round_up(word_count * sizeof *self->scratch,
                                               about->granularity_bytes, &self->scratch_bytes);
    void *scratch = NULL;
    self->pinned = about->device;
    if (is_rounded) {
      status = tarn_provider_alloc(self->scratch_provider, self->scratch_bytes, &scratch);
    }
    self->scratch = scratch;
  }
  for (uint32_t i = 0; status == TARN_OK && i < of->stream_count; i++) {
    if (!model_uses_stream(of, i)) continue;
    status = tarn_cuda_stream_create(self->cuda, 0, &self->streams[i]);
  }
  for (uint32_t i = 0; status == TARN_OK && i < of->pool_count; i++) {
    if (model_uses_pool(of, i)) status = open_pool(self, i);
  }
  if (status != TARN_OK) {
    condemn(self, PROGRAM_WRONG_STATUS, "%s: %s", tarn_status_name(status),
            tarn_last_error()->message);
  }
  return status == TARN_OK;
}

static void check_idle_pool(runner *self, uint32_t index) {
  if (self->pools[index] == NULL || self->model.pools[index].is_dropped) return;
  check_stats(self, index);
  const tarn_status status = tarn_pool_trim(self->pools[index], 0, NULL);
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  if (status == TARN_OK && tarn_pool_stats_of(self->pools[index], &stats) == TARN_OK) {
    if (stats.reserved_bytes != 0) {
      condemn(self, PROGRAM_WRONG_STATS,
              "pool %u keeps %zu bytes though all is free, done and trimmed", index,
              stats.reserved_bytes);
    }
  } else {
    condemn(self, PROGRAM_WRONG_STATUS, "the last trim of pool %u: %s", index,
            tarn_last_error()->message);
  }
}

/* The whole device is waited for, every block freed, every pool trimmed: nothing may be left. */
static void finish(runner *self) {
  cusim_fail_nothing();
  self->may_fail = false;
  const tarn_status status = driver_synchronize(&self->driver);
  if (status != TARN_OK) {
    condemn(self, PROGRAM_FAULT, "the device cannot be waited for: %s", cusim_fault());
    return;
  }
  order_host_saw_all(&self->model.order);
  if (self->verdict->failing == PROGRAM_FINE) check_log(self);
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
  for (uint32_t i = 0; i < self->of->pool_count; i++) check_idle_pool(self, i);
  check_driver(self);
}

/* A stream that went with work pending is remembered until somebody looks: the next one that comes.
 * From here on whatever is enqueued runs at once. */
static void forget_streams(runner *self) {
  tarn_stream *another = NULL;
  cusim_set_policy(CUSIM_EAGER);
  cusim_drain();
  if (self->cuda == NULL || tarn_cuda_stream_create(self->cuda, 0, &another) != TARN_OK) return;
  tarn_stream_release(another);
}

static void tear_down(runner *self) {
  for (uint32_t i = 0; i < PROGRAM_EVENTS_MAX; i++) tarn_fence_destroy(self->fences[i]);
  for (uint32_t i = 0; i < PROGRAM_STREAMS_MAX; i++) {
    if (self->streams[i] != NULL) tarn_stream_release(self->streams[i]);
  }
  for (uint32_t i = 0; i < PROGRAM_POOLS_MAX; i++) {
    if (self->pools[i] != NULL && !self->model.pools[i].is_dropped) {
      tarn_pool_release(self->pools[i]);
    }
  }
  if (self->scratch != NULL) {
    const tarn_status status =
        tarn_provider_free(self->scratch_provider, self->scratch, self->scratch_bytes);
    if (status != TARN_OK) condemn(self, PROGRAM_LEAK, "%s", tarn_last_error()->message);
  }
  tarn_provider_release(self->scratch_provider);
  forget_streams(self);
  driver_calls_close(&self->driver);
  if (self->cuda != NULL) tarn_cuda_release(self->cuda);
  free(self->expected);
  free(self->calls);
}

static void check_leaks(runner *self, const cusim_counts *before) {
  cusim_counts after;
  cusim_get_counts(&after);
  if (after.device_bytes != before->device_bytes || after.pinned_bytes != before->pinned_bytes ||
      after.streams != before->streams || after.events != before->events ||
      after.context_retains != before->context_retains || after.abandoned != before->abandoned ||
      after.reservations != before->reservations ||
      after.physical_bytes != before->physical_bytes) {
    condemn(self, PROGRAM_LEAK,
            "left: %zu bytes of device and %zu of pinned memory, %zu streams, %zu events, %zu "
            "retains of contexts, %zu reservations, %zu physical bytes; abandoned %zu",
            after.device_bytes - before->device_bytes, after.pinned_bytes - before->pinned_bytes,
            after.streams - before->streams, after.events - before->events,
            after.context_retains - before->context_retains,
            after.reservations - before->reservations,
            after.physical_bytes - before->physical_bytes, after.abandoned - before->abandoned);
  }
}

static void run_whole(runner *self, uint64_t nth, int error) {
  cusim_counts before;
  cusim_get_counts(&before);
  const uint64_t failures = cusim_failures();
  if (set_up(self)) {
    model_init(&self->model, self->of);
    if (nth != 0) cusim_fail_call(NULL, nth, error);
    run_ops(self);
    /* A verdict was reached: what is still under way is nobody's business any more. */
    finish(self);
  }
  self->verdict->trace_hash = cusim_trace_hash();
  self->verdict->driver_failures = cusim_failures() - failures;
  tear_down(self);
  if (self->verdict->failing == PROGRAM_FINE && nth == 0) check_leaks(self, &before);
}

void program_run_failing(const program *run, uint64_t nth, int error, program_verdict *verdict) {
  memset(verdict, 0, sizeof *verdict);
  runner *self = calloc(1, sizeof *self);
  if (self == NULL) return;
  self->of = run;
  self->verdict = verdict;
  self->may_fail = nth != 0;
  run_whole(self, nth, error);
  free(self);
}

void program_run(const program *run, program_verdict *verdict) {
  program_run_failing(run, /*nth=*/0, /*error=*/0, verdict);
}
