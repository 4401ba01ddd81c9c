/* replay.c: replays a trace through storages, and holds the pool to its figures afterwards. */
#include "bench/replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "bench/meter.h"
#include "bench/progress.h"

#ifndef BENCH_MALLOC_IS_PLAIN
#error "the build says whether malloc is the C library's or a sanitizer's"
#endif

typedef struct replay_state {
  const recorded_trace *trace;
  const where_place *where;
  const replay_options *options;
  tarn_stream **streams;
  tarn_storage **storages; /* by slot; NULL: none live */
  void **blocks;           /* by slot, of the malloc passes */
} replay_state;

/* What one pass over the trace lives on. */
typedef struct replay_pass {
  meter_state *meter;
  tarn_provider *provider;
  tarn_pool *pool;
} replay_pass;

static uint32_t stream_of(const replay_state *replay, const trace_event *event) {
  const uint64_t number = replay->trace->has_streams ? event->stream : event->id;
  return (uint32_t)(number % replay->options->stream_count);
}

static tarn_status fail_event(const replay_state *replay, const trace_event *event,
                              tarn_status status) {
  char cause[TARN_ERROR_MESSAGE_BYTES];
  memcpy(cause, tarn_last_error()->message, sizeof cause);
  return tarn_fail(status, "%.200s:%" PRIu32 ": %s of id %" PRIu64 ", %" PRIu64 " bytes: %s",
                   replay->options->name, event->line, event->is_alloc ? "allocation" : "release",
                   event->id, event->bytes, cause);
}

/* --- passes --- */

static tarn_status begin_pass(const replay_state *replay, replay_pass *pass) {
  memset(pass, 0, sizeof *pass);
  tarn_status status = meter_create(replay->where->provider, &pass->provider, &pass->meter);
  if (status == TARN_OK) status = tarn_caching_pool_create(pass->provider, NULL, &pass->pool);
  return status;
}

static void drop_pool(replay_pass *pass) {
  tarn_pool_release(pass->pool);
  tarn_provider_release(pass->provider);
  pass->pool = NULL;
  pass->provider = NULL;
}

static tarn_status check_stats(const replay_state *replay, const replay_pass *pass,
                               const tarn_pool_stats *stats) {
  const meter_reading reading = meter_read(pass->meter);
  const recorded_trace *trace = replay->trace;
  if (stats->requested_bytes != 0 || stats->alloc_count != stats->free_count) {
    return tarn_fail(TARN_DEVICE_ERROR,
                     "leak: %zu bytes are still lent out, %" PRIu64 " blocks lent and %" PRIu64
                     " taken back",
                     stats->requested_bytes, stats->alloc_count, stats->free_count);
  }
  if (stats->requested_bytes_peak != trace->peak_live_bytes) {
    return tarn_fail(TARN_DEVICE_ERROR,
                     "the pool counted a peak of %zu live bytes, the trace %" PRIu64,
                     stats->requested_bytes_peak, trace->peak_live_bytes);
  }
  if (stats->reserved_bytes_peak != reading.held_bytes_peak) {
    return tarn_fail(TARN_DEVICE_ERROR,
                     "the pool counted a peak of %zu reserved bytes, its provider %zu",
                     stats->reserved_bytes_peak, reading.held_bytes_peak);
  }
  if (stats->provider_calls != reading.calls) {
    return tarn_fail(TARN_DEVICE_ERROR,
                     "the pool counted %" PRIu64 " calls to its provider, the provider %" PRIu64,
                     stats->provider_calls, reading.calls);
  }
  return TARN_OK;
}

/* Reads the pool's figures, takes it down, and looks whether everything came back. */
static tarn_status end_pass(const replay_state *replay, replay_pass *pass,
                            replay_outcome *outcome) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  tarn_status status = tarn_pool_stats_of(pass->pool, &stats);
  if (status == TARN_OK) status = check_stats(replay, pass, &stats);
  drop_pool(pass);
  if (status != TARN_OK) return status;
  const meter_reading reading = meter_read(pass->meter);
  if (reading.held_bytes != 0 || reading.ranges_left != 0) {
    return tarn_fail(TARN_DEVICE_ERROR,
                     "leak: the pool is gone and its provider still misses %zu bytes, %zu ranges",
                     reading.held_bytes, reading.ranges_left);
  }
  if (stats.reserved_bytes_peak > outcome->peak_reserved_bytes) {
    outcome->peak_reserved_bytes = stats.reserved_bytes_peak;
  }
  if (stats.provider_calls > outcome->provider_calls) {
    outcome->provider_calls = stats.provider_calls;
  }
  if (stats.fence_count > outcome->fence_count) outcome->fence_count = stats.fence_count;
  return TARN_OK;
}

/* What a trace leaves live, and what a failure leaves behind. */
static void release_left(const replay_state *replay) {
  for (size_t i = 0; i < replay->trace->slot_count; i++) {
    tarn_storage_release(replay->storages[i]);
    replay->storages[i] = NULL;
  }
}

static tarn_status synchronize_all(const replay_state *replay) {
  tarn_status status = TARN_OK;
  for (uint32_t i = 0; i < replay->options->stream_count; i++) {
    const tarn_status one = tarn_stream_synchronize(replay->streams[i]);
    if (status == TARN_OK) status = one;
  }
  return status;
}

/* --- events --- */

static tarn_status play_alloc(const replay_state *replay, const trace_event *event,
                              tarn_pool *pool) {
  return tarn_storage_create(pool, (size_t)event->bytes, replay->streams[stream_of(replay, event)],
                             &replay->storages[event->slot]);
}

/* A free recorded on another stream than the allocation is a use there. */
static tarn_status play_free(const replay_state *replay, const trace_event *event) {
  tarn_storage *storage = replay->storages[event->slot];
  if (replay->trace->has_streams) {
    tarn_stream *stream = replay->streams[stream_of(replay, event)];
    if (stream != tarn_storage_stream(storage)) {
      const tarn_status status = tarn_storage_note_use(storage, stream);
      if (status != TARN_OK) return status;
    }
  }
  replay->storages[event->slot] = NULL;
  tarn_storage_release(storage);
  return TARN_OK;
}

static tarn_status play_timed(const replay_state *replay, tarn_pool *pool, uint64_t *ns) {
  const recorded_trace *trace = replay->trace;
  const uint64_t start_ns = measure_now_ns();
  for (size_t i = 0; i < trace->event_count; i++) {
    const trace_event *event = &trace->events[i];
    const tarn_status status =
        event->is_alloc ? play_alloc(replay, event, pool) : play_free(replay, event);
    if (status != TARN_OK) return fail_event(replay, event, status);
  }
  *ns = measure_now_ns() - start_ns;
  return TARN_OK;
}

/* The stream on which an allocation of a slot was made: frees carry their own in some traces. */
static tarn_status check_storage(const replay_state *replay, const trace_event *event,
                                 const uint32_t *slot_streams, verify_state *verifier) {
  return verifier_check(verifier, event, replay->storages[event->slot], slot_streams[event->slot]);
}

static tarn_status play_verified(const replay_state *replay, tarn_pool *pool,
                                 verify_state *verifier, uint32_t *slot_streams) {
  const recorded_trace *trace = replay->trace;
  for (size_t i = 0; i < trace->event_count; i++) {
    const trace_event *event = &trace->events[i];
    tarn_status status = TARN_OK;
    if (event->is_alloc) {
      slot_streams[event->slot] = stream_of(replay, event);
      status = play_alloc(replay, event, pool);
      if (status == TARN_OK) {
        status = verifier_fill(verifier, event, replay->storages[event->slot],
                               slot_streams[event->slot]);
      }
    } else {
      status = check_storage(replay, event, slot_streams, verifier);
      if (status == TARN_OK) status = play_free(replay, event);
    }
    if (status != TARN_OK) return fail_event(replay, event, status);
    if (i % 64 == 0) {
      progress_show("%s: verifying, %zu of %zu events", replay->options->name, i,
                    trace->event_count);
    }
  }
  return TARN_OK;
}

/* Blocks that the trace never frees are compared as well. */
static tarn_status check_left(const replay_state *replay, const uint32_t *slot_streams,
                              verify_state *verifier) {
  const recorded_trace *trace = replay->trace;
  for (size_t i = trace->event_count; i > 0 && trace->left_count > 0; i--) {
    const trace_event *event = &trace->events[i - 1];
    tarn_storage *storage = replay->storages[event->slot];
    if (!event->is_alloc || storage == NULL) continue;
    const tarn_status status = check_storage(replay, event, slot_streams, verifier);
    if (status != TARN_OK) return fail_event(replay, event, status);
    replay->storages[event->slot] = NULL;
    tarn_storage_release(storage);
  }
  return TARN_OK;
}

static tarn_status run_timed(const replay_state *replay, replay_outcome *outcome,
                             double *event_ns) {
  replay_pass pass;
  uint64_t ns = 0;
  tarn_status status = begin_pass(replay, &pass);
  if (status == TARN_OK) status = play_timed(replay, pass.pool, &ns);
  release_left(replay);
  const tarn_status synchronized = synchronize_all(replay);
  if (status == TARN_OK) status = synchronized;
  if (status == TARN_OK) status = end_pass(replay, &pass, outcome);
  drop_pool(&pass);
  meter_destroy(pass.meter);
  *event_ns = (double)ns / (double)replay->trace->event_count;
  return status;
}

static tarn_status run_verified(const replay_state *replay, replay_outcome *outcome) {
  replay_pass pass;
  verify_state *verifier = NULL;
  uint32_t *slot_streams = calloc(replay->trace->slot_count, sizeof *slot_streams);
  tarn_status status = begin_pass(replay, &pass);
  if (slot_streams == NULL) status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the replay");
  if (status == TARN_OK) {
    status =
        verifier_create(replay->where, replay->streams, replay->options->stream_count, &verifier);
  }
  if (status == TARN_OK) status = play_verified(replay, pass.pool, verifier, slot_streams);
  if (status == TARN_OK) status = check_left(replay, slot_streams, verifier);
  release_left(replay);
  const tarn_status synchronized = synchronize_all(replay);
  if (status == TARN_OK) status = synchronized;
  if (verifier != NULL) outcome->verified = verifier_totals(verifier);
  if (status == TARN_OK) status = end_pass(replay, &pass, outcome);
  drop_pool(&pass);
  meter_destroy(pass.meter);
  verifier_destroy(verifier);
  free(slot_streams);
  return status;
}

/* --- the baseline --- */

static tarn_status run_malloc(const replay_state *replay, double *event_ns) {
  const recorded_trace *trace = replay->trace;
  tarn_status status = TARN_OK;
  const uint64_t start_ns = measure_now_ns();
  for (size_t i = 0; i < trace->event_count; i++) {
    const trace_event *event = &trace->events[i];
    void **block = &replay->blocks[event->slot];
    if (event->is_alloc) {
      *block = malloc((size_t)event->bytes);
      measure_keep(*block);
      if (*block == NULL && event->bytes > 0) {
        status = tarn_fail(TARN_OUT_OF_MEMORY, "malloc refuses %" PRIu64 " bytes", event->bytes);
        break;
      }
    } else {
      free(*block);
      *block = NULL;
    }
  }
  *event_ns = (double)(measure_now_ns() - start_ns) / (double)trace->event_count;
  for (size_t i = 0; i < trace->slot_count; i++) {
    free(replay->blocks[i]);
    replay->blocks[i] = NULL;
  }
  return status;
}

/* --- all together --- */

static tarn_status make_streams(replay_state *replay) {
  for (uint32_t i = 0; i < replay->options->stream_count; i++) {
    const tarn_status status = where_stream_create(replay->where, &replay->streams[i]);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status run_passes(const replay_state *replay, replay_outcome *outcome) {
  double tarn_ns[REPLAY_SAMPLES];
  double malloc_ns[REPLAY_SAMPLES];
  double warm_up_ns = 0;
  /* A sanitizer's malloc is no baseline, and takes minutes over large blocks. */
  outcome->has_malloc = BENCH_MALLOC_IS_PLAIN && where_is_host(replay->where);
  tarn_status status = run_timed(replay, outcome, &warm_up_ns);
  for (int i = 0; status == TARN_OK && i < REPLAY_SAMPLES; i++) {
    progress_show("%s: timing, pass %d of %d", replay->options->name, i + 1, REPLAY_SAMPLES);
    status = run_timed(replay, outcome, &tarn_ns[i]);
    if (status == TARN_OK && outcome->has_malloc) status = run_malloc(replay, &malloc_ns[i]);
  }
  if (status != TARN_OK) return status;
  measure_summarize(tarn_ns, REPLAY_SAMPLES, &outcome->event_ns);
  if (outcome->has_malloc) {
    measure_summarize(malloc_ns, REPLAY_SAMPLES, &outcome->malloc_event_ns);
  }
  return replay->options->verify ? run_verified(replay, outcome) : TARN_OK;
}

tarn_status replay_run(const recorded_trace *trace, const where_place *where,
                       const replay_options *options, replay_outcome *outcome) {
  memset(outcome, 0, sizeof *outcome);
  replay_state replay = {
      .trace = trace,
      .where = where,
      .options = options,
      .streams = calloc(options->stream_count, sizeof *replay.streams),
      .storages = calloc(trace->slot_count, sizeof *replay.storages),
      .blocks = calloc(trace->slot_count, sizeof *replay.blocks),
  };
  tarn_status status = TARN_OK;
  if (replay.streams == NULL || replay.storages == NULL || replay.blocks == NULL) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %zu live blocks", trace->slot_count);
  } else {
    status = make_streams(&replay);
    if (status == TARN_OK) status = run_passes(&replay, outcome);
    for (uint32_t i = 0; i < options->stream_count; i++) tarn_stream_release(replay.streams[i]);
  }
  progress_clear();
  free(replay.streams);
  free(replay.storages);
  free(replay.blocks);
  return status;
}
