/* capture.c: captures: which streams are in one, and what has to be over before its memory goes. */
#include "alloc/capture.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "alloc/stamps.h"
#include "alloc/status.h"
#include "alloc/stream.h"

typedef struct member {
  tarn_stream *stream; /* a reference until the capture ends; then NULL */
  tarn__timeline *timeline;
  tarn__stamp outside; /* what the stream had been given before */
  bool has_fence;      /* one was recorded behind that */
} member;

struct tarn_capture {
  uint64_t id; /* never reused, never 0 */
  bool is_active;
  size_t member_count;
  size_t member_room;
  member *members;
  tarn__stamps launches;
  tarn__stamps earlier; /* the last points of the captures that this one continues */
};

static _Atomic uint64_t capture_ids;

static bool make_room(tarn_capture *capture) {
  if (capture->member_count < capture->member_room) return true;
  const size_t room = capture->member_room == 0 ? 4 : capture->member_room * 2;
  member *grown = realloc(capture->members, room * sizeof *grown);
  if (grown == NULL) return false;
  capture->members = grown;
  capture->member_room = room;
  return true;
}

/* A kind of stream that does not say is not captured by its driver. */
static tarn_status ask_driver(const tarn_stream *stream, bool *is_capturing) {
  *is_capturing = false;
  if (stream->ops->is_capturing == NULL) return TARN_OK;
  return stream->ops->is_capturing(stream->context, is_capturing);
}

static tarn_status join(tarn_capture *capture, tarn_stream *stream) {
  if (tarn_stream_is_synchronous(stream)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a %s stream runs at once: nothing to capture",
                     tarn_stream_name(stream));
  }
  if (tarn__stream_is_closed(stream)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "the %s stream is closed", tarn_stream_name(stream));
  }
  if (tarn__order_is_captured(stream)) {
    return tarn_fail(TARN_BUSY, "the %s stream is being captured already",
                     tarn_stream_name(stream));
  }
  if (!make_room(capture)) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %zu streams in a capture",
                     capture->member_count + 1);
  }
  bool is_capturing = false;
  tarn_status status = ask_driver(stream, &is_capturing);
  if (status != TARN_OK) return status;
  member *joined = &capture->members[capture->member_count];
  *joined = (member){.stream = stream, .has_fence = !is_capturing};
  status = tarn__order_enter(stream, capture, capture->id, joined->has_fence, &capture->earlier,
                             &joined->timeline, &joined->outside);
  if (status != TARN_OK) return status;
  tarn_stream_retain(stream);
  capture->member_count++;
  return TARN_OK;
}

static void free_capture(tarn_capture *capture) {
  tarn__stamps_deinit(&capture->launches);
  tarn__stamps_deinit(&capture->earlier);
  free(capture->members);
  free(capture);
}

/* Notes the end of `earlier` and of what that continues. */
static bool follow(tarn_capture *capture, const tarn_capture *earlier) {
  bool is_noted = tarn__stamps_copy(&capture->earlier, &earlier->earlier);
  for (size_t index = 0; is_noted && index < earlier->member_count; index++) {
    is_noted =
        tarn__stamps_add(&capture->earlier, tarn__order_end(earlier->members[index].timeline));
  }
  return is_noted;
}

static tarn_status begin(tarn_stream *stream, const tarn_capture *earlier, tarn_capture **capture) {
  tarn_capture *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a capture");
  made->id = atomic_fetch_add(&capture_ids, 1) + 1;
  made->is_active = true;
  tarn_status status = TARN_OK;
  if (earlier != NULL && !follow(made, earlier)) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note which capture another continues");
  }
  if (status == TARN_OK) status = join(made, stream);
  if (status != TARN_OK) {
    free_capture(made);
    return status;
  }
  *capture = made;
  return TARN_OK;
}

tarn_status tarn_capture_begin(tarn_stream *stream, tarn_capture **capture) {
  if (capture == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "capture is NULL");
  *capture = NULL;
  return begin(stream, /*earlier=*/NULL, capture);
}

tarn_status tarn_capture_begin_after(tarn_stream *stream, const tarn_capture *earlier,
                                     tarn_capture **capture) {
  if (capture == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "capture is NULL");
  *capture = NULL;
  if (earlier == NULL || earlier->is_active) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a capture cannot continue one that %s",
                     earlier == NULL ? "is NULL" : "has not ended");
  }
  return begin(stream, earlier, capture);
}

tarn_status tarn_capture_stats_of(const tarn_capture *capture, tarn_capture_stats *stats) {
  if (capture == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a capture and a tarn_capture_stats with struct_size %zu are needed",
                     sizeof *stats);
  }
  *stats = (tarn_capture_stats){.struct_size = sizeof *stats, .number = capture->id};
  for (size_t index = 0; index < capture->member_count; index++) {
    stats->kept_bytes += tarn__order_kept_bytes(capture->members[index].timeline);
  }
  return TARN_OK;
}

static bool is_member(const tarn_capture *capture, const tarn_stream *stream) {
  return tarn__order_is_captured(stream) &&
         tarn__order_capture_of(tarn__order_slot(stream)) == capture;
}

tarn_status tarn_capture_join(tarn_capture *capture, tarn_stream *stream) {
  if (capture == NULL || !capture->is_active) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "there is no capture to join: it %s",
                     capture == NULL ? "is NULL" : "has ended");
  }
  return is_member(capture, stream) ? TARN_OK : join(capture, stream);
}

tarn_status tarn_capture_end(tarn_capture *capture) {
  if (capture == NULL || !capture->is_active) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "there is no capture to end: it %s",
                     capture == NULL ? "is NULL" : "has ended");
  }
  capture->is_active = false;
  tarn__order_cost cost = {0};
  for (size_t index = 0; index < capture->member_count; index++) {
    member *left = &capture->members[index];
    tarn__order_leave(left->stream);
    /* Now there may be a fence behind what came before the capture. */
    if (!left->has_fence) tarn__order_observe(left->outside, &cost);
    tarn_stream_release(left->stream);
    left->stream = NULL;
  }
  return TARN_OK;
}

tarn_status tarn_capture_note_launch(tarn_capture *capture, tarn_stream *stream) {
  if (capture == NULL || capture->is_active) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "no graph can have been launched: the capture %s",
                     capture == NULL ? "is NULL" : "has not ended");
  }
  if (tarn_stream_is_synchronous(stream)) return TARN_OK;
  if (tarn__order_is_captured(stream)) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "a graph launched on a captured stream is part of another graph");
  }
  if (tarn__stamps_add(&capture->launches, tarn__order_stamp(stream))) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note that a graph was launched");
}

/* A stream that cannot be waited for has lost its device: nothing of it can still be running. */
static bool wait_for(tarn__stamp stamp) {
  const tarn_error before = *tarn_last_error();
  tarn__order_cost cost = {0};
  const tarn_status status = tarn__order_behind(NULL, stamp, &cost);
  if (status != TARN_OK) tarn__error_restore(&before);
  return status != TARN_NOT_READY;
}

tarn_status tarn_capture_destroy(tarn_capture *capture) {
  if (capture == NULL) return TARN_OK;
  if (capture->is_active) {
    const tarn_status status = tarn_capture_end(capture);
    if (status != TARN_OK) return status;
  }
  bool is_over = true;
  for (uint32_t index = 0; is_over && index < capture->launches.count; index++) {
    is_over = wait_for(tarn__stamps_at(&capture->launches, index));
  }
  for (size_t index = 0; is_over && index < capture->member_count; index++) {
    is_over = wait_for(capture->members[index].outside);
  }
  if (!is_over) {
    return tarn_fail(TARN_BUSY,
                     "a stream that a graph was launched on is being captured: its launch cannot "
                     "be waited for yet");
  }
  for (size_t index = 0; index < capture->member_count; index++) {
    tarn__order_forget(capture->members[index].timeline);
  }
  free_capture(capture);
  return TARN_OK;
}

bool tarn_stream_is_captured(const tarn_stream *stream) {
  return tarn__order_is_captured(stream);
}

/* --- for pools --- */

uint64_t tarn_stream_capture(const tarn_stream *stream) {
  return tarn__order_is_captured(stream) ? tarn__order_capture_number(tarn__order_slot(stream)) : 0;
}

bool tarn_capture_is_destroyed(uint64_t number) {
  uint32_t slot = 0;
  return number == 0 || !tarn__order_find_capture(number, &slot);
}

void tarn_capture_keep(uint64_t number, size_t size_bytes) {
  uint32_t slot = 0;
  if (number != 0 && tarn__order_find_capture(number, &slot)) {
    tarn__order_keep(slot, number, size_bytes);
  }
}

void tarn_capture_let_go(uint64_t number, size_t size_bytes) {
  tarn_capture_keep(number, 0 - size_bytes); /* sums wrap around */
}

/* --- for the stream seam --- */

static tarn_status refuse_crossing(const tarn_stream *stream) {
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "a wait of a %s stream for a fence would reach into a capture or out of it",
                   tarn_stream_name(stream));
}

tarn_status tarn__capture_follow(tarn_stream *stream, uint32_t slot, tarn_capture **joined) {
  *joined = NULL;
  if (!tarn__order_is_private(slot)) {
    return tarn__order_is_captured(stream) ? refuse_crossing(stream) : TARN_OK;
  }
  tarn_capture *capture = tarn__order_capture_of(slot);
  if (capture == NULL) return refuse_crossing(stream);
  if (is_member(capture, stream)) return TARN_OK;
  if (tarn__order_is_captured(stream)) return refuse_crossing(stream);
  const tarn_status status = join(capture, stream);
  if (status == TARN_OK) *joined = capture;
  return status;
}

void tarn__capture_undo_join(tarn_capture *capture, tarn_stream *stream) {
  TARN_ASSERT(capture->member_count > 0);
  const member *last = &capture->members[--capture->member_count];
  TARN_ASSERT(last->stream == stream);
  tarn__order_leave(stream);
  tarn__order_forget(last->timeline);
  tarn_stream_release(stream);
}
