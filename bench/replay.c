/* replay.c: replays a trace through storages, and holds the pool to its figures afterwards. */
#include "bench/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pool_trace.h"
#include "bench/meter.h"
#include "bench/progress.h"
#include "bench/turns.h"

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
  meter_state *meter; /* NULL over the driver's own pool */
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
                   replay->options->name, event->line,
                   event->is_alloc ? "allocation"
                   : event->is_use ? "use"
                                   : "release",
                   event->id, event->bytes, cause);
}

/* --- passes --- */

static tarn_status begin_pass(const replay_state *replay, replay_pass *pass) {
  memset(pass, 0, sizeof *pass);
  if (where_has_own_pool(replay->where)) return where_pool_create(replay->where, &pass->pool);
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
  const recorded_trace *trace = replay->trace;
  if (stats->requested_bytes != 0 || stats->alloc_count != stats->free_count) {
    return tarn_fail(TARN_DEVICE_ERROR,
                     "leak: %zu bytes are still lent out, %" PRIu64 " blocks lent and %" PRIu64
                     " taken back",
                     stats->requested_bytes, stats->alloc_count, stats->free_count);
  }
  /* Of several threads' peaks the pool knows a bound only: what they keep counts for each. */
  if (trace->thread_count == 1 && stats->requested_bytes_peak != trace->peak_live_bytes) {
    return tarn_fail(TARN_DEVICE_ERROR,
                     "the pool counted a peak of %zu live bytes, the trace %" PRIu64,
                     stats->requested_bytes_peak, trace->peak_live_bytes);
  }
  if (pass->meter == NULL) return TARN_OK;
  const meter_reading reading = meter_read(pass->meter);
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
  const meter_reading reading =
      pass->meter != NULL ? meter_read(pass->meter) : (meter_reading){.held_bytes = 0};
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
  if (reading.moved_bytes > outcome->moved_bytes) outcome->moved_bytes = reading.moved_bytes;
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

static tarn_status play_use(const replay_state *replay, const trace_event *event) {
  return tarn_storage_note_use(replay->storages[event->slot],
                               replay->streams[stream_of(replay, event)]);
}

/* What a step of a pass works on. */
typedef struct replay_player {
  const replay_state *replay;
  tarn_pool *pool;
  verify_state *verifier; /* NULL: allocate and free only */
  uint32_t *slot_streams; /* with a verifier: the stream on which a slot's block was allocated */
} replay_player;

static tarn_status play_event(const replay_player *player, const trace_event *event) {
  if (event->is_alloc) return play_alloc(player->replay, event, player->pool);
  return event->is_use ? play_use(player->replay, event) : play_free(player->replay, event);
}

/* Frees carry a stream of their own in some traces: the block was filled on its allocation's. */
static tarn_status check_storage(const replay_state *replay, const trace_event *event,
                                 const uint32_t *slot_streams, verify_state *verifier) {
  return verifier_check(verifier, event, replay->storages[event->slot], slot_streams[event->slot]);
}

static tarn_status play_event_verified(const replay_player *player, const trace_event *event) {
  const replay_state *replay = player->replay;
  uint32_t *stream = &player->slot_streams[event->slot];
  if (event->is_alloc) {
    *stream = stream_of(replay, event);
    const tarn_status status = play_alloc(replay, event, player->pool);
    if (status != TARN_OK) return status;
    return verifier_fill(player->verifier, event, replay->storages[event->slot], *stream);
  }
  if (!event->is_use) {
    const tarn_status status = check_storage(replay, event, player->slot_streams, player->verifier);
    if (status != TARN_OK) return status;
  }
  return play_event(player, event);
}

static tarn_status play_step(void *context, size_t step) {
  const replay_player *player = context;
  const recorded_trace *trace = player->replay->trace;
  const trace_event *event = &trace->events[step];
  if (player->verifier != NULL && step % 64 == 0) {
    progress_show("%s: verifying, %zu of %zu events", player->replay->options->name, step,
                  trace->event_count);
  }
  const tarn_status status =
      player->verifier != NULL ? play_event_verified(player, event) : play_event(player, event);
  return status == TARN_OK ? TARN_OK : fail_event(player->replay, event, status);
}

static uint32_t thread_of_step(const void *context, size_t step) {
  const replay_player *player = context;
  return player->replay->trace->events[step].thread;
}

static tarn_status play_all(replay_player *player) {
  const recorded_trace *trace = player->replay->trace;
  const turns_list list = {.step_count = trace->event_count,
                           .thread_count = trace->thread_count,
                           .context = player,
                           .thread_of = thread_of_step,
                           .play = play_step};
  return turns_play(&list);
}

static tarn_status play_timed(const replay_state *replay, tarn_pool *pool, uint64_t *ns) {
  replay_player player = {.replay = replay, .pool = pool};
  const uint64_t start_ns = measure_now_ns();
  const tarn_status status = play_all(&player);
  *ns = measure_now_ns() - start_ns;
  return status;
}

static tarn_status play_verified(const replay_state *replay, tarn_pool *pool,
                                 verify_state *verifier, uint32_t *slot_streams) {
  replay_player player = {
      .replay = replay, .pool = pool, .verifier = verifier, .slot_streams = slot_streams};
  return play_all(&player);
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

/* --- recording --- */

static tarn_status write_file(void *context, const char *text, size_t text_bytes) {
  if (fwrite(text, 1, text_bytes, context) == text_bytes) return TARN_OK;
  return tarn_fail_native(TARN_UNAVAILABLE, "fwrite", errno, "the record cannot be written: %s",
                          strerror(errno));
}

static tarn_status write_record(tarn_pool *pool, const char *path) {
  FILE *file = fopen(path, "w");
  if (file == NULL) {
    return tarn_fail_native(TARN_UNAVAILABLE, "fopen", errno, "%s: %s", path, strerror(errno));
  }
  tarn_status status = tarn_pool_trace_write(pool, TARN_TRACE_COMPLETE, write_file, file);
  if (fclose(file) != 0 && status == TARN_OK) {
    status = tarn_fail_native(TARN_UNAVAILABLE, "fclose", errno, "%s: %s", path, strerror(errno));
  }
  return status;
}

/* The trace as the pool itself records it; what is left live at the end stays so in the record. */
static tarn_status run_recorded(const replay_state *replay, replay_outcome *outcome) {
  enum { SEGMENT_EVENTS = 1 << 16 };
  replay_pass pass;
  uint64_t ns = 0;
  tarn_status status = begin_pass(replay, &pass);
  if (status == TARN_OK) {
    status = tarn_pool_trace_start(pass.pool, 2 * replay->trace->event_count + SEGMENT_EVENTS);
  }
  if (status == TARN_OK) status = play_timed(replay, pass.pool, &ns);
  if (status == TARN_OK) status = tarn_pool_trace_stop(pass.pool);
  if (status == TARN_OK) status = write_record(pass.pool, replay->options->record);
  release_left(replay);
  const tarn_status synchronized = synchronize_all(replay);
  if (status == TARN_OK) status = synchronized;
  if (status == TARN_OK) status = end_pass(replay, &pass, outcome);
  drop_pool(&pass);
  meter_destroy(pass.meter);
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
    } else if (!event->is_use) {
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

/* In a trace that tarn recorded stream 0 is the host's order; a device has no such stream, and an
 * asynchronous one takes its place. */
static tarn_status make_stream(const replay_state *replay, uint32_t number, tarn_stream **stream) {
  const bool is_host = number == 0 && replay->trace->has_threads && where_is_host(replay->where);
  return is_host ? tarn_host_stream_create(stream) : where_stream_create(replay->where, stream);
}

static tarn_status make_streams(replay_state *replay) {
  for (uint32_t i = 0; i < replay->options->stream_count; i++) {
    const tarn_status status = make_stream(replay, i, &replay->streams[i]);
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
  if (replay->options->verify) status = run_verified(replay, outcome);
  if (status == TARN_OK && replay->options->record != NULL) {
    status = run_recorded(replay, outcome);
  }
  return status;
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
