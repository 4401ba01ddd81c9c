/* stream.h: what a stream and a fence consist of, for the files that order work. */
#ifndef TARN_STREAM_PRIVATE_H
#define TARN_STREAM_PRIVATE_H

#include <stdatomic.h>

#include "alloc/order.h"
#include "alloc/tarn_capture.h"

/* What a timeline begins with. */
struct tarn__timeline_face {
  _Atomic uint64_t ticket;
  uint32_t slot;
  uint32_t lane; /* the slot, where a thread may keep what the stream frees; else no slot at all */
};

struct tarn_stream {
  atomic_size_t reference_count;
  const tarn_stream_ops *ops;
  void *context;
  tarn_device device;
  uint32_t flags;
  /* NULL for a synchronous stream. While the stream is captured, a timeline of the capture's: see
   * order.h. Relaxed loads will do on the way to a stamp. */
  _Atomic(tarn__timeline *) timeline;
  tarn__timeline *base; /* the stream's own; the same but while it is captured */
  /* Nothing is enqueued any more, and the context is gone. `timeline` is the face below then, no
   * whole timeline: its ticket stands for all that there was. Set before that is swapped in. */
  atomic_bool is_closed;
  struct tarn__timeline_face last;
  _Atomic(tarn_staging *) staging; /* a reference; NULL: none */
  /* The ticket of `base` behind which every host function lies that the stream is behind; 0 where
   * there was none. */
  _Atomic uint64_t called;
};

struct tarn_fence {
  atomic_size_t reference_count;
  const tarn_stream_ops *ops; /* NULL: of a synchronous stream, always passed */
  void *native;
  /* The mark: ticket * TARN_STREAMS_MAX + slot of the last record, 0 where there is none. Zero
   * while a record is under way, so that two equal reads around a native wait prove what it waited
   * for. */
  _Atomic uint64_t mark;
  /* The mark may lie behind a host function that has not run: set before such a mark is made, taken
   * back after one that is not. */
  atomic_bool is_behind_call;
};

/* The CPU's place among the timelines, and that of synchronous streams. */
enum { TARN__HOST_SLOT = TARN_STREAMS_MAX };
/* Where a thread keeps nothing: a closed stream's slot may be another stream's by now. */
enum { TARN__NO_LANE = TARN__HOST_SLOT + 1 };

static inline const struct tarn__timeline_face *tarn__stream_face(const tarn_stream *stream) {
  if (stream == NULL) return NULL;
  return (const struct tarn__timeline_face *)atomic_load_explicit(&stream->timeline,
                                                                  memory_order_relaxed);
}

/* tarn__order_slot and tarn__order_stamp, written out where they are called most. */
static inline uint32_t tarn__stream_slot(const tarn_stream *stream) {
  const struct tarn__timeline_face *face = tarn__stream_face(stream);
  return face == NULL ? TARN__HOST_SLOT : face->slot;
}

static inline tarn__stamp tarn__face_stamp(const struct tarn__timeline_face *face) {
  return (tarn__stamp){face->slot, atomic_load_explicit(&face->ticket, memory_order_acquire)};
}

static inline tarn__stamp tarn__stream_stamp(const tarn_stream *stream) {
  return tarn__face_stamp(tarn__stream_face(stream));
}

static inline bool tarn__stream_is_closed(const tarn_stream *stream) {
  return stream != NULL && atomic_load_explicit(&stream->is_closed, memory_order_relaxed);
}

/* One reference more, unless the last one is already gone. */
bool tarn__stream_try_retain(tarn_stream *stream);
/* Whether the stream is captured, by what tarn was told or by what the driver says. */
tarn_status tarn__stream_ask_captured(const tarn_stream *stream, bool *is_captured);
/* What tarn_stream_copy_rows checks of the rows and of the stream. */
tarn_status tarn__stream_check_rows(const tarn_stream *stream, const tarn_copy_rows *rows);
tarn_status tarn__stream_refuse_closed(const tarn_stream *stream, const char *what);
void tarn__fence_retain(tarn_fence *fence);
/* tarn_fence_create, for a stream that is being closed, too. */
tarn_status tarn__fence_create(tarn_stream *stream, tarn_fence **fence);

#endif
