/* order.c: tickets, knowledge and lazy fences of the process's streams. */
#include "alloc/order.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/stream.h"

typedef enum timeline_state {
  TIMELINE_FREE,
  TIMELINE_ALIVE,
  TIMELINE_RETIRING, /* the stream is going; its final fence is being recorded */
  TIMELINE_RETIRED,  /* the final fence is recorded; free once it was seen */
} timeline_state;

struct tarn__timeline {
  uint32_t slot;
  _Atomic uint64_t ticket;
  _Atomic uint64_t seen;
  _Atomic uint64_t known[TARN_STREAMS_MAX];
  /* Guarded by the lock. */
  timeline_state state;
  tarn_stream *stream; /* while alive; borrowed */
  tarn_fence *fence;   /* NULL until first needed */
  uint64_t covered;
  uint64_t snapshot[TARN_STREAMS_MAX];
};

static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t order_retired = PTHREAD_COND_INITIALIZER;
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

static bool is_host(const tarn_stream *stream) {
  return stream == NULL || stream->timeline == NULL;
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

tarn_status tarn__order_register(tarn_stream *stream, tarn__timeline **timeline) {
  observe_retired();
  tarn__timeline *fresh = calloc(1, sizeof *fresh);
  if (fresh == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a stream's timeline");

  pthread_mutex_lock(&order_lock);
  const uint32_t count = atomic_load(&timeline_count);
  tarn__timeline *found = NULL;
  for (uint32_t slot = 0; slot < count && found == NULL; slot++) {
    if (timeline_of(slot)->state == TIMELINE_FREE) found = timeline_of(slot);
  }
  if (found == NULL && count < TARN_STREAMS_MAX) {
    found = fresh;
    fresh = NULL;
    found->slot = count;
    atomic_init(&found->ticket, 1);
    atomic_store_explicit(&timelines[count], found, memory_order_release);
    atomic_store(&timeline_count, count + 1);
  }
  if (found != NULL) {
    found->state = TIMELINE_ALIVE;
    *timeline = found; /* before anybody can find the stream, and ask it for its timeline */
    found->stream = stream;
  }
  pthread_mutex_unlock(&order_lock);

  free(fresh);
  if (found != NULL) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED, "%d asynchronous streams are alive, and no more can be",
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
    const tarn_status status = tarn_fence_create(stream, &made);
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
  const tarn__stamp closed = tarn__order_close_ticket(stream);
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
  pthread_mutex_unlock(&order_lock);

  tarn__order_cost cost = {0};
  tarn_status status = record_fence(timeline, stream, &cost);
  if (status != TARN_OK) {
    /* No fence to be had: waiting is the one way left to know that the work is done. A stream that
     * cannot even be waited for has lost its device, and with it all that could still be
     * running. */
    const tarn__stamp last = tarn__order_close_ticket(stream);
    status = stream->ops->synchronize(stream->context);
    tarn__order_saw(last);
    pthread_mutex_lock(&order_lock);
    timeline->covered = last.ticket;
    pthread_mutex_unlock(&order_lock);
  }

  pthread_mutex_lock(&order_lock);
  timeline->state = TIMELINE_RETIRED;
  const tarn__stamp last = {timeline->slot, timeline->covered};
  pthread_cond_broadcast(&order_retired);
  pthread_mutex_unlock(&order_lock);
  /* Most streams are idle when they go: then nothing is kept for them. */
  tarn__order_observe(last, &cost);
  forget_passed(timeline);
}

/* --- stamps and coverage --- */

uint32_t tarn__order_slot(const tarn_stream *stream) {
  return stream->timeline->slot;
}

tarn__stamp tarn__order_stamp(const tarn_stream *stream) {
  return (tarn__stamp){stream->timeline->slot, load(&stream->timeline->ticket)};
}

tarn__stamp tarn__order_close_ticket(const tarn_stream *stream) {
  return (tarn__stamp){stream->timeline->slot, atomic_fetch_add_explicit(&stream->timeline->ticket,
                                                                         1, memory_order_acq_rel)};
}

bool tarn__order_is_seen(tarn__stamp stamp) {
  return stamp.ticket <= load(&timeline_of(stamp.slot)->seen);
}

bool tarn__order_is_covered(const tarn_stream *stream, tarn__stamp stamp) {
  if (tarn__order_is_seen(stamp)) return true;
  if (is_host(stream)) return false;
  return stream->timeline->slot == stamp.slot ||
         stamp.ticket <= load(&stream->timeline->known[stamp.slot]);
}

uint64_t tarn__order_first_uncovered(const tarn_stream *stream, uint32_t slot) {
  const uint64_t seen = load(&timeline_of(slot)->seen);
  if (is_host(stream)) return seen + 1;
  if (stream->timeline->slot == slot) return UINT64_MAX;
  const uint64_t known = load(&stream->timeline->known[slot]);
  return (seen > known ? seen : known) + 1;
}

void tarn__order_saw(tarn__stamp stamp) {
  raise_to(&timeline_of(stamp.slot)->seen, stamp.ticket);
}

void tarn__order_knows(const tarn_stream *later, tarn__stamp stamp) {
  if (is_host(later)) {
    tarn__order_saw(stamp);
  } else {
    raise_to(&later->timeline->known[stamp.slot], stamp.ticket);
  }
}

void tarn__order_edge(const tarn_stream *earlier, const tarn_stream *later) {
  if (is_host(earlier)) return;
  uint64_t snapshot[TARN_STREAMS_MAX];
  take_snapshot(earlier->timeline, snapshot);
  tarn__order_knows(later, tarn__order_close_ticket(earlier));
  const uint32_t count = atomic_load(&timeline_count);
  for (uint32_t slot = 0; slot < count; slot++) {
    if (snapshot[slot] != 0) tarn__order_knows(later, (tarn__stamp){slot, snapshot[slot]});
  }
}

/* --- ordering --- */

/* A published fence as one thread found it: what it covers, with the knowledge that goes with
 * it. */
typedef struct published {
  tarn_fence *fence;   /* a reference; NULL where the wanted stamp is not covered by a fence */
  tarn_stream *stream; /* a reference, to record a fence on, where fence is NULL */
  tarn__stamp covered;
  uint64_t snapshot[TARN_STREAMS_MAX];
} published;

static void find_published(tarn__timeline *timeline, uint64_t wanted_ticket, published *found) {
  found->fence = NULL;
  found->stream = NULL;
  pthread_mutex_lock(&order_lock);
  for (;;) {
    if (timeline->covered >= wanted_ticket && timeline->fence != NULL) {
      found->fence = timeline->fence;
      tarn__fence_retain(found->fence);
      found->covered = (tarn__stamp){timeline->slot, timeline->covered};
      memcpy(found->snapshot, timeline->snapshot, sizeof found->snapshot);
      break;
    }
    if (timeline->stream != NULL && tarn__stream_try_retain(timeline->stream)) {
      found->stream = timeline->stream;
      break;
    }
    if (timeline->state == TIMELINE_RETIRED || timeline->state == TIMELINE_FREE) break;
    /* Its last reference is gone, and another thread is about to record the final fence. */
    pthread_cond_wait(&order_retired, &order_lock);
  }
  pthread_mutex_unlock(&order_lock);
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
  if (found.fence != NULL) {
    if (found.fence->ops->fence_query(found.fence->native) == TARN_OK) learn(NULL, &found);
    tarn_fence_destroy(found.fence);
  } else if (found.stream != NULL) {
    /* Nothing to ask yet: record, so that a later look has an answer. A failure costs only that. */
    const tarn_status status = record_fence(timeline, found.stream, cost);
    (void)status;
    tarn_stream_release(found.stream);
  }
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
    published found;
    find_published(timeline, stamp.ticket, &found);
    tarn_status status = TARN_OK;
    if (found.fence != NULL) {
      status = wait_for(stream, &found, cost);
      tarn_fence_destroy(found.fence);
    } else if (found.stream != NULL) {
      status = record_fence(timeline, found.stream, cost);
      if (status != TARN_OK && is_host(stream)) status = wait_without_fence(found.stream, cost);
      tarn_stream_release(found.stream);
    } else {
      TARN_ASSERT(tarn__order_is_covered(stream, stamp)); /* retired without a fence: was seen */
    }
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}
