/* order.c: tickets, knowledge and lazy fences of the process's streams. */
#include "alloc/order.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/fork.h"
#include "alloc/stamps.h"
#include "alloc/status.h"
#include "alloc/stream.h"

typedef enum timeline_state {
  TIMELINE_FREE,
  TIMELINE_ALIVE,
  TIMELINE_RETIRING, /* the stream is going; its final fence is being recorded */
  TIMELINE_RETIRED,  /* the final fence is recorded; free once it was seen */
  TIMELINE_PRIVATE,  /* of a capture */
} timeline_state;

/* More tickets than a capture takes, or a stream that is lost to a child of fork. */
static const uint64_t LIMBO_DISTANCE = (uint64_t)1 << 32;
static const uint64_t NO_TICKET = UINT64_MAX;

struct tarn__timeline {
  _Atomic uint64_t ticket; /* these three: struct tarn__timeline_face */
  uint32_t slot;
  uint32_t lane;
  _Atomic uint64_t seen;
  _Atomic uint64_t held_above;     /* stamps above it are held; NO_TICKET: none */
  _Atomic uint64_t limbo;          /* of a private timeline; else NO_TICKET */
  _Atomic uint64_t capture_id;     /* of a private timeline; else 0 */
  _Atomic(tarn_capture *) capture; /* while the stream is in it */
  _Atomic size_t kept_bytes;       /* of pools, by its capture; the sum over a capture counts */
  bool is_private;                 /* for ever */
  _Atomic uint64_t known[TARN_STREAMS_MAX];
  /* Guarded by the lock. */
  timeline_state state;
  tarn_stream *stream; /* while alive; borrowed */
  bool is_held;        /* its stream is captured: no fence is recorded */
  uint32_t recording;  /* threads that may be recording one just now */
  tarn_fence *fence;   /* NULL until first needed */
  uint64_t covered;
  uint64_t snapshot[TARN_STREAMS_MAX];
};

_Static_assert(offsetof(struct tarn__timeline, slot) == offsetof(struct tarn__timeline_face, slot),
               "a timeline begins with its face");
_Static_assert(offsetof(struct tarn__timeline, lane) == offsetof(struct tarn__timeline_face, lane),
               "a timeline begins with its face");

static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t order_changed = PTHREAD_COND_INITIALIZER; /* retired, or done recording */
/* Written under the lock, never taken back: a pointer once seen is good for ever. */
static _Atomic(tarn__timeline *) timelines[TARN_STREAMS_MAX];
static _Atomic uint32_t timeline_count;

/* Acquire and release throughout: whoever reads a ticket as seen or known may touch memory because
 * of it, and must see what the thread that raised it saw. */
static uint64_t load(const _Atomic uint64_t *value) {
  return atomic_load_explicit(value, memory_order_acquire);
}

static void raise_to(_Atomic uint64_t *value, uint64_t least) {
  uint64_t current = load(value);
  while (current < least &&
         !atomic_compare_exchange_weak_explicit(value, &current, least, memory_order_acq_rel,
                                                memory_order_acquire)) {
  }
}

static tarn__timeline *timeline_of(uint32_t slot) {
  return atomic_load_explicit(&timelines[slot], memory_order_acquire);
}

/* Where an asynchronous stream's stamps are taken now. */
static tarn__timeline *taken_from(const tarn_stream *stream) {
  return atomic_load_explicit(&stream->timeline, memory_order_acquire);
}

/* The same as a whole timeline; NULL for the host, and for a closed stream. */
static tarn__timeline *current(const tarn_stream *stream) {
  if (stream == NULL) return NULL;
  tarn__timeline *timeline = taken_from(stream);
  return atomic_load_explicit(&stream->is_closed, memory_order_relaxed) ? NULL : timeline;
}

static bool is_host(const tarn_stream *stream) {
  return current(stream) == NULL;
}

static tarn__stamp close_ticket(tarn__timeline *timeline) {
  const uint64_t ticket = atomic_fetch_add_explicit(&timeline->ticket, 1, memory_order_acq_rel);
  return (tarn__stamp){timeline->slot, ticket};
}

/* Only what a closed ticket stands for can be behind anybody: an open one still gets work. */
static bool is_closed(tarn__stamp stamp) {
  return stamp.ticket < load(&timeline_of(stamp.slot)->ticket);
}

/* --- registering and retiring --- */

/* Drops the fence of a retired timeline whose last work was seen; the timeline may then serve
 * another stream. What its stream knew may stay: it was seen with the final fence. */
static void forget_passed(tarn__timeline *timeline) {
  tarn_fence *passed = NULL;
  pthread_mutex_lock(&order_lock);
  if (timeline->state == TIMELINE_RETIRED && load(&timeline->seen) >= timeline->covered) {
    timeline->state = TIMELINE_FREE;
    passed = timeline->fence;
    timeline->fence = NULL;
  }
  pthread_mutex_unlock(&order_lock);
  tarn_fence_destroy(passed);
}

static void observe_retired(void) {
  const uint32_t count = atomic_load(&timeline_count);
  for (uint32_t slot = 0; slot < count; slot++) {
    tarn__timeline *timeline = timeline_of(slot);
    pthread_mutex_lock(&order_lock);
    const tarn__stamp last = {slot, timeline->covered};
    const bool is_pending =
        timeline->state == TIMELINE_RETIRED && load(&timeline->seen) < timeline->covered;
    pthread_mutex_unlock(&order_lock);
    tarn__order_cost cost = {0};
    if (is_pending) tarn__order_observe(last, &cost);
    forget_passed(timeline);
  }
}

/* A free timeline of the kind, or the fresh one in a slot more; NULL where there is neither. With
 * the lock. */
static tarn__timeline *find_free(bool is_private, tarn__timeline **fresh) {
  const uint32_t count = atomic_load(&timeline_count);
  for (uint32_t slot = 0; slot < count; slot++) {
    tarn__timeline *timeline = timeline_of(slot);
    if (timeline->state == TIMELINE_FREE && timeline->is_private == is_private) return timeline;
  }
  if (count == TARN_STREAMS_MAX) return NULL;
  tarn__timeline *made = *fresh;
  *fresh = NULL;
  made->slot = count;
  made->lane = count;
  made->is_private = is_private;
  atomic_init(&made->ticket, 1);
  atomic_init(&made->held_above, is_private ? 0 : NO_TICKET);
  atomic_init(&made->limbo, NO_TICKET);
  atomic_store_explicit(&timelines[count], made, memory_order_release);
  atomic_store(&timeline_count, count + 1);
  return made;
}

tarn_status tarn__order_register(tarn_stream *stream) {
  observe_retired();
  tarn__timeline *fresh = calloc(1, sizeof *fresh);
  if (fresh == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a stream's timeline");
  pthread_mutex_lock(&order_lock);
  tarn__timeline *found = find_free(/*is_private=*/false, &fresh);
  if (found != NULL) {
    found->state = TIMELINE_ALIVE;
    /* Late frees on a closed stream may have been seen with tickets that it never took. */
    raise_to(&found->ticket, load(&found->seen) + 1);
    /* Before anybody can find the stream, and ask it for its timeline. */
    stream->base = found;
    atomic_store_explicit(&stream->timeline, found, memory_order_release);
    found->stream = stream;
  }
  pthread_mutex_unlock(&order_lock);

  free(fresh);
  if (found != NULL) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "%d asynchronous streams and captures are alive, and no more can be",
                   TARN_STREAMS_MAX);
}

/* --- fences --- */

/* Copies what the timeline's stream knows; `snapshot` has TARN_STREAMS_MAX entries. */
static void take_snapshot(const tarn__timeline *timeline, uint64_t *snapshot) {
  const uint32_t count = atomic_load(&timeline_count);
  for (uint32_t slot = 0; slot < count; slot++) snapshot[slot] = load(&timeline->known[slot]);
  for (uint32_t slot = count; slot < TARN_STREAMS_MAX; slot++) snapshot[slot] = 0;
}

/* The timeline's fence, made on first need; a reference for the caller. */
static tarn_status acquire_fence(tarn__timeline *timeline, tarn_stream *stream,
                                 tarn_fence **fence) {
  tarn_fence *made = NULL;
  pthread_mutex_lock(&order_lock);
  bool is_missing = timeline->fence == NULL;
  pthread_mutex_unlock(&order_lock);
  if (is_missing) {
    const tarn_status status = tarn__fence_create(stream, &made);
    if (status != TARN_OK) return status;
  }
  pthread_mutex_lock(&order_lock);
  if (timeline->fence == NULL) {
    timeline->fence = made;
    made = NULL;
  }
  *fence = timeline->fence;
  tarn__fence_retain(*fence);
  pthread_mutex_unlock(&order_lock);
  tarn_fence_destroy(made); /* another thread was first */
  return TARN_OK;
}

/* Records the timeline's fence on its stream, which the caller keeps alive, and publishes it. */
static tarn_status record_fence(tarn__timeline *timeline, tarn_stream *stream,
                                tarn__order_cost *cost) {
  tarn_fence *fence = NULL;
  tarn_status status = acquire_fence(timeline, stream, &fence);
  if (status != TARN_OK) return status;
  uint64_t snapshot[TARN_STREAMS_MAX];
  take_snapshot(timeline, snapshot);
  TARN_ASSERT(!timeline->is_private);
  const tarn__stamp closed = close_ticket(timeline);
  status = fence->ops->fence_record(stream->context, fence->native);
  cost->fence_count++;
  if (status == TARN_OK) {
    pthread_mutex_lock(&order_lock);
    if (timeline->covered < closed.ticket) timeline->covered = closed.ticket;
    const uint32_t count = atomic_load(&timeline_count);
    for (uint32_t slot = 0; slot < count; slot++) {
      if (timeline->snapshot[slot] < snapshot[slot]) timeline->snapshot[slot] = snapshot[slot];
    }
    pthread_mutex_unlock(&order_lock);
  }
  tarn_fence_destroy(fence);
  return status;
}

void tarn__order_retire(tarn__timeline *timeline) {
  pthread_mutex_lock(&order_lock);
  timeline->state = TIMELINE_RETIRING;
  tarn_stream *stream = timeline->stream;
  timeline->stream = NULL;
  while (timeline->recording != 0) pthread_cond_wait(&order_changed, &order_lock);
  pthread_mutex_unlock(&order_lock);

  tarn__order_cost cost = {0};
  tarn_status status = record_fence(timeline, stream, &cost);
  if (status != TARN_OK) {
    /* No fence to be had: waiting is the one way left to know that the work is done. A stream that
     * cannot even be waited for has lost its device, and with it all that could still be
     * running. */
    const tarn__stamp last = close_ticket(timeline);
    status = stream->ops->synchronize(stream->context);
    tarn__order_saw(last);
    pthread_mutex_lock(&order_lock);
    timeline->covered = last.ticket;
    pthread_mutex_unlock(&order_lock);
  }

  pthread_mutex_lock(&order_lock);
  timeline->state = TIMELINE_RETIRED;
  const tarn__stamp last = {timeline->slot, timeline->covered};
  pthread_cond_broadcast(&order_changed);
  pthread_mutex_unlock(&order_lock);
  /* Most streams are idle when they go: then nothing is kept for them. */
  tarn__order_observe(last, &cost);
  forget_passed(timeline);
}

void tarn__order_close(tarn_stream *stream) {
  tarn__timeline *base = stream->base;
  const tarn__stamp last = close_ticket(base);
  atomic_init(&stream->last.ticket, last.ticket);
  stream->last.slot = last.slot;
  stream->last.lane = TARN__NO_LANE;
  atomic_store(&stream->is_closed, true);
  atomic_store_explicit(&stream->timeline, (tarn__timeline *)&stream->last, memory_order_release);
  tarn__order_retire(base);
}

/* --- stamps and coverage --- */

uint32_t tarn__order_slot(const tarn_stream *stream) {
  return tarn__stream_slot(stream);
}

tarn__stamp tarn__order_stamp(const tarn_stream *stream) {
  return tarn__stream_stamp(stream);
}

tarn__stamp tarn__order_close_ticket(const tarn_stream *stream) {
  return close_ticket(taken_from(stream));
}

bool tarn__order_is_seen(tarn__stamp stamp) {
  return stamp.ticket <= load(&timeline_of(stamp.slot)->seen);
}

uint64_t tarn__order_progress(void) {
  const uint32_t count = atomic_load_explicit(&timeline_count, memory_order_acquire);
  uint64_t sum = 0; /* of what only rises */
  for (uint32_t slot = 0; slot < count; slot++) sum += load(&timeline_of(slot)->seen);
  return sum;
}

bool tarn__order_is_covered(const tarn_stream *stream, tarn__stamp stamp) {
  if (tarn__order_is_seen(stamp)) return true;
  const tarn__timeline *timeline = current(stream);
  if (timeline == NULL) return false;
  if (timeline->slot == stamp.slot) return stamp.ticket < load(&timeline->limbo);
  return stamp.ticket <= load(&timeline->known[stamp.slot]);
}

uint64_t tarn__order_first_uncovered(const tarn_stream *stream, uint32_t slot) {
  const uint64_t seen = load(&timeline_of(slot)->seen);
  if (is_host(stream)) return seen + 1;
  if (stream->timeline->slot == slot) return UINT64_MAX;
  const uint64_t known = load(&stream->timeline->known[slot]);
  return (seen > known ? seen : known) + 1;
}

void tarn__order_saw(tarn__stamp stamp) {
  /* Work in a capture has not been done but is to be done, again and again. */
  if (timeline_of(stamp.slot)->is_private) return;
  TARN_ASSERT(is_closed(stamp));
  raise_to(&timeline_of(stamp.slot)->seen, stamp.ticket);
}

void tarn__order_knows(const tarn_stream *later, tarn__stamp stamp) {
  tarn__timeline *timeline = current(later);
  if (timeline == NULL) {
    tarn__order_saw(stamp);
    return;
  }
  /* No order reaches into a capture or out of it: it would not hold at every launch. */
  if (load(&timeline->capture_id) != load(&timeline_of(stamp.slot)->capture_id)) return;
  TARN_ASSERT(is_closed(stamp));
  raise_to(&timeline->known[stamp.slot], stamp.ticket);
}

void tarn__order_edge(const tarn_stream *earlier, const tarn_stream *later) {
  tarn__timeline *timeline = current(earlier);
  if (timeline == NULL) return;
  uint64_t snapshot[TARN_STREAMS_MAX];
  take_snapshot(timeline, snapshot);
  tarn__order_knows(later, close_ticket(timeline));
  const uint32_t count = atomic_load(&timeline_count);
  for (uint32_t slot = 0; slot < count; slot++) {
    if (snapshot[slot] != 0) tarn__order_knows(later, (tarn__stamp){slot, snapshot[slot]});
  }
}

uint32_t tarn__order_slot_end(void) {
  return atomic_load(&timeline_count);
}

bool tarn__order_reached(uint32_t slot, tarn__stamp *stamp) {
  tarn__timeline *timeline = timeline_of(slot);
  pthread_mutex_lock(&order_lock);
  const timeline_state state = timeline->state;
  const uint64_t covered = timeline->covered;
  pthread_mutex_unlock(&order_lock);
  const bool has_stream = state == TIMELINE_ALIVE || state == TIMELINE_RETIRING;
  *stamp = (tarn__stamp){slot, has_stream ? load(&timeline->ticket) : covered};
  return (has_stream || state == TIMELINE_RETIRED) && !tarn__order_is_seen(*stamp);
}

bool tarn__order_is_any_captured(void) {
  const uint32_t count = atomic_load(&timeline_count);
  for (uint32_t slot = 0; slot < count; slot++) {
    if (atomic_load(&timeline_of(slot)->capture) != NULL) return true;
  }
  return false;
}

/* --- ordering --- */

/* A published fence as one thread found it: what it covers, with the knowledge that goes with
 * it. */
typedef struct published {
  tarn_fence *fence;   /* a reference; NULL where the wanted stamp is not covered by a fence */
  tarn_stream *stream; /* a reference, to record a fence on, where fence is NULL; given back with
                        * recorded() */
  bool is_held;        /* neither is to be had for now */
  tarn__stamp covered;
  uint64_t snapshot[TARN_STREAMS_MAX];
} published;

/* With the lock. Behind the final fence no work can have come: a stamp that is later all the same
 * was taken by a free on a stream that was just being closed. */
static void cover_late(tarn__timeline *timeline, uint64_t ticket) {
  if (timeline->state != TIMELINE_RETIRED && timeline->state != TIMELINE_FREE) return;
  raise_to(&timeline->ticket, ticket + 1); /* closed, as all before it */
  if (timeline->state == TIMELINE_RETIRED && timeline->covered < ticket) timeline->covered = ticket;
  if (timeline->state == TIMELINE_FREE) raise_to(&timeline->seen, ticket);
}

static void find_published(tarn__timeline *timeline, uint64_t wanted_ticket, published *found) {
  found->fence = NULL;
  found->stream = NULL;
  found->is_held = false;
  pthread_mutex_lock(&order_lock);
  for (;;) {
    cover_late(timeline, wanted_ticket);
    if (timeline->covered >= wanted_ticket && timeline->fence != NULL) {
      found->fence = timeline->fence;
      tarn__fence_retain(found->fence);
      found->covered = (tarn__stamp){timeline->slot, timeline->covered};
      memcpy(found->snapshot, timeline->snapshot, sizeof found->snapshot);
      break;
    }
    found->is_held = timeline->is_held || timeline->is_private;
    if (found->is_held) break;
    if (timeline->stream != NULL && tarn__stream_try_retain(timeline->stream)) {
      found->stream = timeline->stream;
      timeline->recording++;
      break;
    }
    if (timeline->state == TIMELINE_RETIRED || timeline->state == TIMELINE_FREE) break;
    /* Its last reference is gone, and another thread is about to record the final fence. */
    pthread_cond_wait(&order_changed, &order_lock);
  }
  pthread_mutex_unlock(&order_lock);
}

static void recorded(tarn__timeline *timeline, tarn_stream *stream) {
  pthread_mutex_lock(&order_lock);
  if (--timeline->recording == 0) pthread_cond_broadcast(&order_changed);
  pthread_mutex_unlock(&order_lock);
  tarn_stream_release(stream);
}

static void learn(const tarn_stream *stream, const published *passed) {
  const uint32_t count = atomic_load(&timeline_count);
  for (uint32_t slot = 0; slot < count; slot++) {
    if (passed->snapshot[slot] == 0) continue;
    tarn__order_knows(stream, (tarn__stamp){slot, passed->snapshot[slot]});
  }
  tarn__order_knows(stream, passed->covered);
}

void tarn__order_observe(tarn__stamp wanted, tarn__order_cost *cost) {
  if (tarn__order_is_seen(wanted)) return;
  tarn__timeline *timeline = timeline_of(wanted.slot);
  published found;
  find_published(timeline, load(&timeline->seen) + 1, &found);
  /* That there is no answer is nobody's failure, whatever the cause. */
  const tarn_error before = *tarn_last_error();
  tarn_status status = TARN_OK;
  if (found.fence != NULL) {
    status = found.fence->ops->fence_query(found.fence->native);
    if (status == TARN_OK) learn(NULL, &found);
    tarn_fence_destroy(found.fence);
  } else if (found.stream != NULL) {
    /* Nothing to ask yet: record, so that a later look has an answer. A failure costs only that. */
    status = record_fence(timeline, found.stream, cost);
    recorded(timeline, found.stream);
  }
  if (status != TARN_OK) tarn__error_restore(&before);
}

/* One wait on a published fence, by the stream where it can, by the host where not. */
static tarn_status wait_for(tarn_stream *stream, const published *found, tarn__order_cost *cost) {
  const bool in_stream = !is_host(stream) && stream->ops == found->fence->ops;
  const tarn_status status = in_stream
                                 ? stream->ops->fence_wait(stream->context, found->fence->native)
                                 : found->fence->ops->fence_synchronize(found->fence->native);
  cost->wait_count++;
  if (status == TARN_OK) learn(in_stream ? stream : NULL, found);
  return status;
}

/* No fence to be had: the host waits for all that is enqueued on `other`. */
static tarn_status wait_without_fence(tarn_stream *other, tarn__order_cost *cost) {
  const tarn__stamp reached = tarn__order_close_ticket(other);
  const tarn_status status = other->ops->synchronize(other->context);
  cost->wait_count++;
  if (status == TARN_OK) tarn__order_saw(reached);
  return status;
}

tarn_status tarn__order_behind(tarn_stream *stream, tarn__stamp stamp, tarn__order_cost *cost) {
  tarn__timeline *timeline = timeline_of(stamp.slot);
  while (!tarn__order_is_covered(stream, stamp)) {
    if (tarn__order_is_captured(stream)) {
      return tarn_fail(TARN_NOT_READY, "a stream that is captured waits for no work outside");
    }
    published found;
    find_published(timeline, stamp.ticket, &found);
    tarn_status status = TARN_OK;
    if (found.fence != NULL) {
      status = wait_for(stream, &found, cost);
      tarn_fence_destroy(found.fence);
    } else if (found.stream != NULL) {
      status = record_fence(timeline, found.stream, cost);
      if (status != TARN_OK && is_host(stream)) status = wait_without_fence(found.stream, cost);
      recorded(timeline, found.stream);
    } else if (found.is_held) {
      status = tarn_fail(TARN_NOT_READY, "the work belongs to a capture: nobody can wait for it");
    } else {
      TARN_ASSERT(tarn__order_is_covered(stream, stamp)); /* retired without a fence: was seen */
    }
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

/* --- captures --- */

/* Keeps everybody from recording on the stream, and waits for those who just are. */
static void hold(tarn__timeline *timeline) {
  pthread_mutex_lock(&order_lock);
  timeline->is_held = true;
  atomic_store_explicit(&timeline->held_above, timeline->covered, memory_order_release);
  while (timeline->recording != 0) pthread_cond_wait(&order_changed, &order_lock);
  atomic_store_explicit(&timeline->held_above, timeline->covered, memory_order_release);
  pthread_mutex_unlock(&order_lock);
}

static tarn_status make_private(tarn_capture *capture, uint64_t capture_id,
                                tarn__timeline **timeline) {
  tarn__timeline *fresh = calloc(1, sizeof *fresh);
  if (fresh == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a capture's timeline");
  pthread_mutex_lock(&order_lock);
  tarn__timeline *found = find_free(/*is_private=*/true, &fresh);
  if (found != NULL) {
    found->state = TIMELINE_PRIVATE;
    atomic_store(&found->limbo, load(&found->ticket) + LIMBO_DISTANCE);
    atomic_store(&found->capture_id, capture_id);
    atomic_store(&found->capture, capture);
  }
  pthread_mutex_unlock(&order_lock);
  free(fresh);
  *timeline = found;
  if (found != NULL) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "%d asynchronous streams and captures are alive, and no more can be",
                   TARN_STREAMS_MAX);
}

tarn_status tarn__order_enter(tarn_stream *stream, tarn_capture *capture, uint64_t capture_id,
                              bool may_record, const tarn__stamps *earlier,
                              tarn__timeline **timeline, tarn__stamp *outside) {
  observe_retired();
  tarn__order_cost cost = {0};
  tarn_status status = TARN_OK;
  if (may_record) status = record_fence(stream->base, stream, &cost);
  if (status == TARN_OK) status = make_private(capture, capture_id, timeline);
  if (status != TARN_OK) return status;
  for (uint32_t index = 0; index < earlier->count; index++) {
    const tarn__stamp stamp = tarn__stamps_at(earlier, index);
    raise_to(&(*timeline)->known[stamp.slot], stamp.ticket);
  }
  hold(stream->base);
  *outside = (tarn__stamp){stream->base->slot, load(&stream->base->held_above)};
  if (!may_record) *outside = close_ticket(stream->base);
  atomic_store_explicit(&stream->timeline, *timeline, memory_order_release);
  return TARN_OK;
}

void tarn__order_leave(tarn_stream *stream) {
  tarn__timeline *timeline = taken_from(stream);
  tarn__timeline *base = stream->base;
  TARN_ASSERT(timeline->is_private);
  atomic_store_explicit(&stream->timeline, base, memory_order_release);
  atomic_store(&timeline->capture, NULL);
  pthread_mutex_lock(&order_lock);
  base->is_held = false;
  atomic_store_explicit(&base->held_above, NO_TICKET, memory_order_release);
  pthread_mutex_unlock(&order_lock);
}

void tarn__order_forget(tarn__timeline *timeline) {
  const uint64_t limbo = load(&timeline->limbo);
  raise_to(&timeline->seen, limbo);
  pthread_mutex_lock(&order_lock);
  atomic_store_explicit(&timeline->ticket, limbo + 1, memory_order_release);
  atomic_store(&timeline->limbo, NO_TICKET);
  atomic_store(&timeline->capture_id, 0);
  atomic_store(&timeline->kept_bytes, 0);
  timeline->state = TIMELINE_FREE;
  pthread_mutex_unlock(&order_lock);
}

bool tarn__order_is_captured(const tarn_stream *stream) {
  const tarn__timeline *timeline = current(stream);
  return timeline != NULL && timeline->is_private;
}

bool tarn__order_is_private(uint32_t slot) {
  return timeline_of(slot)->is_private;
}

uint64_t tarn__order_capture_number(uint32_t slot) {
  return load(&timeline_of(slot)->capture_id);
}

tarn_capture *tarn__order_capture_of(uint32_t slot) {
  return atomic_load_explicit(&timeline_of(slot)->capture, memory_order_acquire);
}

bool tarn__order_is_of_capture(const tarn_stream *stream, tarn__stamp stamp) {
  const tarn__timeline *timeline = timeline_of(stamp.slot);
  if (!timeline->is_private || stamp.ticket <= load(&timeline->seen)) return false;
  if (load(&timeline->capture_id) == load(&taken_from(stream)->capture_id)) {
    return stamp.ticket < load(&timeline->limbo);
  }
  return stamp.ticket <= load(&taken_from(stream)->known[stamp.slot]);
}

bool tarn__order_is_of_another(const tarn_stream *stream, tarn__stamp stamp) {
  const tarn__timeline *timeline = timeline_of(stamp.slot);
  const tarn__timeline *own = current(stream);
  return timeline->is_private && stamp.ticket > load(&timeline->seen) &&
         (own == NULL || load(&timeline->capture_id) != load(&own->capture_id));
}

tarn__stamp tarn__order_end(const tarn__timeline *timeline) {
  return (tarn__stamp){timeline->slot, load(&timeline->limbo) - 1};
}

void tarn__order_keep(uint32_t slot, uint64_t capture_number, size_t size_bytes) {
  tarn__timeline *timeline = timeline_of(slot);
  pthread_mutex_lock(&order_lock);
  if (load(&timeline->capture_id) == capture_number) {
    atomic_fetch_add(&timeline->kept_bytes, size_bytes);
  }
  pthread_mutex_unlock(&order_lock);
}

bool tarn__order_find_capture(uint64_t capture_number, uint32_t *slot) {
  const uint32_t count = atomic_load(&timeline_count);
  for (*slot = 0; *slot < count; ++*slot) {
    if (load(&timeline_of(*slot)->capture_id) == capture_number) return true;
  }
  return false;
}

size_t tarn__order_kept_bytes(const tarn__timeline *timeline) {
  return atomic_load(&timeline->kept_bytes);
}

tarn__stamp tarn__order_limbo(const tarn_stream *stream) {
  const tarn__timeline *timeline = taken_from(stream);
  return (tarn__stamp){timeline->slot, load(&timeline->limbo)};
}

bool tarn__order_is_limbo(tarn__stamp stamp) {
  return stamp.ticket >= load(&timeline_of(stamp.slot)->limbo);
}

bool tarn__order_is_held(tarn__stamp stamp) {
  return stamp.ticket > load(&timeline_of(stamp.slot)->held_above) && !tarn__order_is_seen(stamp);
}

/* --- fork --- */

void tarn__order_hold(void) {
  pthread_mutex_lock(&order_lock);
}

void tarn__order_unhold(void) {
  pthread_mutex_unlock(&order_lock);
}

/* A device's stream takes no work in a child, and no fence that would tell so: what is freed in its
 * order, or waits for it, has tickets that were seen before they are taken. */
static bool is_lost(const tarn__timeline *timeline) {
  return timeline->state == TIMELINE_ALIVE &&
         !tarn_device_is_host(tarn_stream_device(timeline->stream));
}

/* The work enqueued by now is the parent's, and nothing of it touches the child's memory: all of it
 * counts as seen. Fences stay until somebody looks. */
void tarn__order_mend(void) {
  const uint32_t count = atomic_load(&timeline_count);
  for (uint32_t slot = 0; slot < count; slot++) {
    tarn__timeline *timeline = timeline_of(slot);
    timeline->recording = 0;
    if (timeline->is_private) continue;
    const tarn__stamp last = close_ticket(timeline);
    if (is_lost(timeline)) raise_to(&timeline->seen, last.ticket + LIMBO_DISTANCE);
    raise_to(&timeline->seen, last.ticket);
    /* The thread that was ending the stream is not there. */
    if (timeline->state == TIMELINE_RETIRING) timeline->state = TIMELINE_RETIRED;
  }
  pthread_cond_init(&order_changed, NULL); /* it may remember threads that wait */
  pthread_mutex_unlock(&order_lock);
}
