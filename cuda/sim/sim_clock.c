/* sim_clock.c: vector clocks: what streams and host threads know of each other. */
#include "cuda/sim/sim_clock.h"

#include "cuda/sim/sim.h"

#include <stdlib.h>
#include <string.h>

typedef struct clock_entry {
  uint64_t timeline;
  uint64_t epoch;
  uint64_t call;
} clock_entry;

struct sim_clock {
  size_t reference_count;
  size_t count;
  clock_entry entries[]; /* by timeline */
};

enum { OBJECTS_MIN = 64 };

/* What cusim_host_release left at an object. */
typedef struct object_clock {
  const void *object; /* NULL: an empty place */
  sim_clock *clock;
} object_clock;

static sim_timeline *timelines, *timelines_last;
static size_t timeline_count, ended_count;
static uint64_t timeline_ids;
static unsigned thread_count;
static sim_timeline *shared_host; /* NULL until a thread does something */
static bool is_split;
static _Thread_local sim_timeline *own_host;
static pthread_key_t thread_key;
static bool has_thread_key;
static object_clock *objects; /* open addressing, a power of two places */
static size_t object_room, object_count;

/* --- clocks --- */

static void *take_memory(size_t size_bytes) {
  void *memory = malloc(size_bytes);
  if (memory == NULL) sim_race_out_of_memory();
  return memory;
}

static sim_clock *clock_retain(sim_clock *clock) {
  if (clock != NULL) clock->reference_count++;
  return clock;
}

/* Out of line: gcc does not see that references keep a clock, and would warn of its use after. */
__attribute__((noinline)) static void clock_drop(sim_clock *clock) {
  if (clock != NULL && --clock->reference_count == 0) free(clock);
}

static const clock_entry *clock_find(const sim_clock *clock, uint64_t timeline) {
  size_t low = 0;
  size_t high = clock == NULL ? 0 : clock->count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (clock->entries[middle].timeline < timeline) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const bool is_found =
      clock != NULL && low < clock->count && clock->entries[low].timeline == timeline;
  return is_found ? &clock->entries[low] : NULL;
}

static sim_clock *clock_make(size_t room) {
  sim_clock *made = take_memory(sizeof *made + room * sizeof made->entries[0]);
  made->reference_count = 1;
  made->count = 0;
  return made;
}

/* The later of both for each timeline but `without`. Takes `a`. */
static sim_clock *clock_join(sim_clock *a, const sim_clock *b, uint64_t without) {
  if (b == NULL || a == b) return a;
  const size_t a_count = a == NULL ? 0 : a->count;
  sim_clock *joined = clock_make(a_count + b->count);
  size_t i = 0;
  size_t k = 0;
  while (i < a_count || k < b->count) {
    const bool is_from_a =
        k == b->count || (i < a_count && a->entries[i].timeline <= b->entries[k].timeline);
    clock_entry entry = is_from_a ? a->entries[i++] : b->entries[k++];
    if (is_from_a && k < b->count && b->entries[k].timeline == entry.timeline) {
      if (b->entries[k].epoch > entry.epoch) entry = b->entries[k];
      k++;
    }
    if (entry.timeline != without) joined->entries[joined->count++] = entry;
  }
  clock_drop(a);
  return joined;
}

static sim_clock *clock_raise(sim_clock *clock, const clock_entry *entry, uint64_t without) {
  sim_clock *one = clock_make(1);
  one->entries[one->count++] = *entry;
  sim_clock *raised = clock_join(clock, one, without);
  clock_drop(one);
  return raised;
}

/* --- stamps --- */

sim_stamp sim_stamp_copy(const sim_stamp *stamp) {
  clock_retain(stamp->base);
  return *stamp;
}

void sim_stamp_drop(sim_stamp *stamp) {
  clock_drop(stamp->base);
  *stamp = (sim_stamp){0};
}

bool sim_stamp_covers(const sim_stamp *stamp, uint64_t timeline, uint64_t epoch) {
  if (stamp->timeline == timeline) return epoch <= stamp->epoch;
  const clock_entry *entry = clock_find(stamp->base, timeline);
  return entry != NULL && epoch <= entry->epoch;
}

uint64_t sim_stamp_last_call(const sim_stamp *stamp, uint64_t timeline) {
  const clock_entry *entry = clock_find(stamp->base, timeline);
  return entry == NULL ? 0 : entry->call;
}

/* The latest point of the timeline, borrowed. */
static sim_stamp latest(const sim_timeline *timeline) {
  return (sim_stamp){.timeline = timeline->id,
                     .epoch = timeline->epoch,
                     .call = timeline->call,
                     .base = timeline->base};
}

static bool knows(const sim_timeline *timeline, const sim_stamp *stamp) {
  const sim_stamp now = latest(timeline);
  return sim_stamp_covers(&now, stamp->timeline, stamp->epoch);
}

/* --- timelines --- */

static sim_timeline *open_timeline(void) {
  sim_timeline *made = take_memory(sizeof *made);
  *made = (sim_timeline){.id = ++timeline_ids, .previous = timelines_last};
  if (timelines_last != NULL) {
    timelines_last->next = made;
  } else {
    timelines = made;
  }
  timelines_last = made;
  timeline_count++;
  return made;
}

static void close_timeline(sim_timeline *timeline) {
  if (timeline->previous != NULL) {
    timeline->previous->next = timeline->next;
  } else {
    timelines = timeline->next;
  }
  if (timeline->next != NULL) {
    timeline->next->previous = timeline->previous;
  } else {
    timelines_last = timeline->previous;
  }
  timeline_count--;
  clock_drop(timeline->base);
  free(timeline);
}

void sim_timeline_open(sim_queue *queue) {
  sim_timeline *made = open_timeline();
  made->stream_id = queue->id;
  made->ordinal = queue->is_legacy ? 0 : ++sim.stream_ordinals;
  made->device = queue->device;
  made->is_blocking = (queue->flags & CU_STREAM_NON_BLOCKING) == 0;
  made->is_legacy = queue->is_legacy;
  queue->timeline = made;
}

void sim_timeline_end(sim_timeline *timeline) {
  if (!sim_race_is_on()) {
    close_timeline(timeline);
    return;
  }
  timeline->is_ended = true;
  ended_count++;
  sim_race_tidy();
}

static void end_thread(void *timeline) {
  sim_lock();
  own_host = NULL;
  sim_timeline_end(timeline);
  sim_unlock();
}

static sim_timeline *open_host(unsigned ordinal) {
  sim_timeline *made = open_timeline();
  made->ordinal = ordinal;
  made->epoch = 1;
  return made;
}

static sim_timeline *open_thread(void) {
  if (!has_thread_key) has_thread_key = pthread_key_create(&thread_key, end_thread) == 0;
  sim_stamp floor = sim_clock_floor();
  sim_timeline *made = open_host(++thread_count);
  made->base = clock_retain(floor.base);
  sim_stamp_drop(&floor);
  if (has_thread_key) pthread_setspecific(thread_key, made);
  return made;
}

sim_timeline *sim_timeline_of_host(void) {
  if (sim_on_host_thread()) return NULL;
  if (!is_split) {
    if (shared_host == NULL) shared_host = open_host(/*ordinal=*/0);
    return shared_host;
  }
  if (own_host == NULL) own_host = open_thread();
  return own_host;
}

bool sim_clock_is_split(void) {
  return is_split;
}

/* --- learning --- */

static void learn(sim_timeline *self, const sim_stamp *stamp) {
  if (stamp->timeline == 0 || stamp->epoch == 0 || knows(self, stamp)) return;
  if (self->is_released) {
    self->epoch++;
    self->is_released = false;
  }
  const clock_entry point = {stamp->timeline, stamp->epoch, stamp->call};
  self->base = clock_join(self->base, stamp->base, self->id);
  self->base = clock_raise(self->base, &point, self->id);
}

static void learn_clock(sim_timeline *self, const sim_clock *clock) {
  if (clock == NULL) return;
  if (self->is_released) {
    self->epoch++;
    self->is_released = false;
  }
  self->base = clock_join(self->base, clock, self->id);
}

/* --- objects that carry an order --- */

/* The object's place, or the empty one where it belongs. */
static object_clock *find_object(const void *object) {
  uint64_t place = ((uint64_t)(uintptr_t)object >> 3) * 0x9E3779B97F4A7C15u >> 32;
  for (;; place++) {
    object_clock *found = &objects[place & (object_room - 1)];
    if (found->object == object || found->object == NULL) return found;
  }
}

static void grow_objects(void) {
  object_clock *old = objects;
  const size_t old_room = object_room;
  object_room = old_room == 0 ? OBJECTS_MIN : old_room * 2;
  objects = take_memory(object_room * sizeof *objects);
  memset(objects, 0, object_room * sizeof *objects);
  for (size_t i = 0; i < old_room; i++) {
    if (old[i].object != NULL) *find_object(old[i].object) = old[i];
  }
  free(old);
}

static void acquire(sim_timeline *self, const void *object) {
  if (object_room == 0) return;
  const object_clock *found = find_object(object);
  if (found->object != NULL) learn_clock(self, found->clock);
}

static void release(const sim_stamp *stamp, const void *object) {
  if (object_count * 2 >= object_room) grow_objects();
  object_clock *found = find_object(object);
  if (found->object == NULL) {
    found->object = object;
    object_count++;
  }
  const clock_entry point = {stamp->timeline, stamp->epoch, stamp->call};
  found->clock = clock_join(found->clock, stamp->base, /*without=*/0);
  found->clock = clock_raise(found->clock, &point, /*without=*/0);
}

/* --- order --- */

static void learn_latest(sim_timeline *self, const sim_timeline *other) {
  const sim_stamp stamp = latest(other);
  learn(self, &stamp);
}

/* Streams that are gone count: what they had queued may still run. */
static bool is_stream_of(const sim_timeline *timeline, int device, bool blocking_only) {
  if (timeline->stream_id == 0 || timeline->device != device) return false;
  return timeline->is_blocking || !blocking_only;
}

/* The default stream waits for all blocking streams of its context, and they for it. */
static void learn_by_default_stream(sim_timeline *self) {
  if (!self->is_blocking) return;
  if (!self->is_legacy) {
    const sim_queue *legacy = sim.devices[self->device].context.legacy;
    if (legacy != NULL) learn_latest(self, legacy->timeline);
    return;
  }
  for (const sim_timeline *other = timelines; other != NULL; other = other->next) {
    if (is_stream_of(other, self->device, /*blocking_only=*/true)) learn_latest(self, other);
  }
}

void sim_clock_enqueue(sim_op *op) {
  sim_timeline *self = op->queue->timeline;
  sim_timeline *host = sim_timeline_of_host();
  if (host != NULL) {
    learn_latest(self, host);
    host->is_released = true;
  }
  learn_by_default_stream(self);
  if (op->kind == KIND_WAIT) learn(self, &op->as.wait_for->stamp);
  if (op->kind == KIND_WAIT_VALUE) acquire(self, (void *)op->as.value.place.address);
  self->epoch++;
  self->call = sim_caller_now()->number;
  const sim_stamp stamp = latest(self);
  op->mark->stamp = sim_stamp_copy(&stamp);
  if (op->kind == KIND_WRITE_VALUE) release(&stamp, (void *)op->as.value.place.address);
}

void sim_clock_host_learns(const sim_mark *mark) {
  sim_timeline *host = sim_timeline_of_host();
  if (mark != NULL && host != NULL) learn(host, &mark->stamp);
}

sim_clock *sim_clock_gather(int device, bool blocking_only) {
  sim_timeline all = {.id = 0};
  if (!sim_race_is_on()) return NULL;
  for (const sim_timeline *other = timelines; other != NULL; other = other->next) {
    if (is_stream_of(other, device, blocking_only)) learn_latest(&all, other);
  }
  return all.base;
}

void sim_clock_host_learns_all(sim_clock *clock) {
  sim_timeline *host = sim_timeline_of_host();
  if (host != NULL) learn_clock(host, clock);
  clock_drop(clock);
}

void sim_clock_host_function_starts(const sim_op *op) {
  if (is_split) return;
  if (shared_host == NULL) shared_host = open_host(/*ordinal=*/0);
  learn(shared_host, &op->mark->stamp);
}

sim_stamp sim_clock_host_now(void) {
  sim_timeline *host = sim_timeline_of_host();
  if (host->is_released) {
    host->epoch++;
    host->is_released = false;
  }
  host->call = sim.call_count;
  const sim_stamp now = latest(host);
  return sim_stamp_copy(&now);
}

/* --- threads, one or many --- */

void sim_clock_split_threads(bool are_split) {
  if (are_split == is_split) return;
  if (!are_split) {
    if (shared_host == NULL) shared_host = open_host(/*ordinal=*/0);
    for (const sim_timeline *other = timelines; other != NULL; other = other->next) {
      if (other->stream_id == 0 && other != shared_host) learn_latest(shared_host, other);
    }
  }
  is_split = are_split;
}

void sim_clock_acquire(const void *object) {
  sim_timeline *host = sim_timeline_of_host();
  if (host != NULL) acquire(host, object);
}

/* From a host function it is the stream's point that is released. */
void sim_clock_release(const void *object) {
  sim_timeline *host = sim_timeline_of_host();
  if (!is_split) return;
  if (host == NULL && (sim.host_op == NULL || sim.host_op->mark->stamp.timeline == 0)) return;
  const sim_stamp stamp = host != NULL ? latest(host) : sim.host_op->mark->stamp;
  if (host != NULL) host->is_released = true;
  release(&stamp, object);
}

/* --- forgetting --- */

size_t sim_clock_timeline_count(void) {
  return timeline_count;
}

size_t sim_clock_ended_count(void) {
  return ended_count;
}

/* Leaves in the floor what the stamp covers too. Takes `floor`; NULL: everything. */
static sim_clock *lower(sim_clock *floor, const sim_stamp *stamp) {
  sim_clock *lowered =
      clock_make(floor != NULL ? floor->count : (stamp->base == NULL ? 0 : stamp->base->count));
  const sim_clock *from = floor != NULL ? floor : stamp->base;
  for (size_t i = 0; from != NULL && i < from->count; i++) {
    const clock_entry own = {stamp->timeline, stamp->epoch, stamp->call};
    const clock_entry entry = from->entries[i];
    const clock_entry *known =
        entry.timeline == own.timeline ? &own : clock_find(stamp->base, entry.timeline);
    if (known == NULL) continue;
    lowered->entries[lowered->count++] = known->epoch < entry.epoch ? *known : entry;
  }
  clock_drop(floor);
  return lowered;
}

/* Whoever does something next is a thread, or a host function that is queued already. */
sim_stamp sim_clock_floor(void) {
  sim_clock *floor = NULL;
  for (const sim_timeline *host = timelines; host != NULL; host = host->next) {
    if (host->stream_id != 0 || host->is_ended || (!is_split && host != shared_host)) continue;
    if (is_split && host == shared_host) continue;
    const clock_entry own = {host->id, host->epoch, host->call};
    sim_stamp stamp = latest(host);
    stamp.base = clock_raise(clock_retain(host->base), &own, /*without=*/0);
    floor = lower(floor, &stamp);
    clock_drop(stamp.base);
  }
  for (const sim_queue *queue = sim.queues; queue != NULL && floor != NULL; queue = queue->next) {
    for (const sim_op *op = queue->first; op != NULL; op = op->next) {
      if (op->kind == KIND_CALL) floor = lower(floor, &op->mark->stamp);
    }
  }
  return (sim_stamp){.base = floor};
}

static bool is_open(uint64_t id, const uint64_t *ids, size_t count) {
  size_t low = 0;
  size_t high = count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (ids[middle] < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count && ids[low] == id;
}

/* The clock without the timelines that are no more. Takes it. */
static sim_clock *clock_without_retired(sim_clock *clock, const uint64_t *ids, size_t count) {
  if (clock == NULL) return NULL;
  size_t kept_count = 0;
  for (size_t i = 0; i < clock->count; i++) {
    kept_count += is_open(clock->entries[i].timeline, ids, count);
  }
  if (kept_count == clock->count) return clock;
  sim_clock *kept = clock_make(kept_count);
  for (size_t i = 0; i < clock->count; i++) {
    if (is_open(clock->entries[i].timeline, ids, count)) {
      kept->entries[kept->count++] = clock->entries[i];
    }
  }
  clock_drop(clock);
  return kept;
}

void sim_clock_retire(const sim_stamp *floor) {
  for (sim_timeline *timeline = timelines; timeline != NULL;) {
    sim_timeline *next = timeline->next;
    const bool is_known = sim_stamp_covers(floor, timeline->id, timeline->epoch);
    /* An ended thread has done nothing since the last time that somebody heard of it. */
    if (timeline->is_ended && is_known) close_timeline(timeline);
    timeline = next;
  }
  ended_count = 0;
  /* Timelines are in the order of their ids. */
  uint64_t *ids = take_memory((timeline_count + 1) * sizeof *ids);
  size_t count = 0;
  for (const sim_timeline *t = timelines; t != NULL; t = t->next) ids[count++] = t->id;
  for (sim_timeline *t = timelines; t != NULL; t = t->next) {
    t->base = clock_without_retired(t->base, ids, count);
  }
  for (size_t i = 0; i < object_room; i++) {
    objects[i].clock = clock_without_retired(objects[i].clock, ids, count);
  }
  free(ids);
}
