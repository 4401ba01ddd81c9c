/* staging.c: slots that wait for the streams that use them, and threads that wait for slots.
 *
 * Slots of one size are a shelf. A slot is held by a thread, or lies on its shelf in the order in
 * which slots were given back; a thread that finds its shelf empty lines up and is handed the next
 * slot that comes back. What a slot's mark says is known in two ways: by a stamp, which costs
 * nothing and never fails (order.h), and by a fence of the slot's own, recorded right behind its
 * work, so that a later thread waits for that and not for all that the stream was given since.
 * Without the fence the stamp alone will do.
 *
 * One lock, a leaf: no driver is called under it. A slot in a thread's hands is that thread's.
 */
#include "alloc/tarn_staging.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "alloc/status.h"
#include "alloc/stream.h"

enum {
  SLOT_BYTES_DEFAULT = 4 << 20,
  SLOT_COUNT_DEFAULT = 16,
  SMALL_BYTES = 64 << 10,
  SMALL_COUNT = 32,
  SMALL_BELOW_BYTES = 512 << 10, /* slots smaller than this are small enough themselves */
  TIMELINES_ASKED_MAX = 16,
  PIECES_WANTED = 8,
  PIECE_BYTES_MIN = 256 << 10,
};

typedef struct ring_slot {
  char *address;
  struct ring_slot *next; /* on the shelf */
  uint64_t given_at;      /* the shelf is in this order */
  bool is_marked;
  tarn__stamp mark;
  tarn_fence *fence; /* NULL, or of the kind of the stream that marked last */
  bool has_fence;    /* the fence stands for the mark */
} ring_slot;

/* On the stack of a thread that waits. */
typedef struct waiter {
  struct waiter *next;
  pthread_cond_t handed;
  ring_slot *taken;
  bool is_over; /* no slot is going to come back */
} waiter;

typedef struct shelf {
  size_t slot_bytes;
  uint32_t slot_count;
  uint32_t held_count;
  ring_slot *slots;
  ring_slot *first; /* given back first */
  waiter *line;
  waiter **line_end;
} shelf;

struct tarn_staging {
  atomic_size_t reference_count;
  tarn_provider *provider; /* retained */
  tarn_device device;
  char *block;
  size_t block_bytes;
  pid_t owner;
  shelf large;
  shelf small; /* of no slots, where the large ones are small */
  pthread_mutex_t lock;
  uint64_t given_count;
  size_t held_peak;
  uint64_t acquire_count;
  uint64_t refusal_count;
  uint64_t wait_count;
  uint64_t wait_ns;
  _Atomic uint64_t passed_bytes;
  ring_slot slots[];
};

/* --- marks --- */

static bool is_known_passed(const ring_slot *self) {
  return !self->is_marked || tarn__order_is_seen(self->mark);
}

/* Nobody can wait for it: it is a capture's. */
static bool is_kept(const ring_slot *self) {
  return self->is_marked && !self->has_fence && tarn__order_is_held(self->mark);
}

/* Asks the driver once, at most; no answer is no failure. */
static bool has_passed(ring_slot *self) {
  if (is_known_passed(self)) return true;
  if (!self->has_fence) {
    tarn__order_cost cost = {0};
    tarn__order_observe(self->mark, &cost);
    return is_known_passed(self);
  }
  const tarn_error before = *tarn_last_error();
  const tarn_status status = tarn_fence_query(self->fence);
  if (status == TARN_OK) {
    self->is_marked = false;
  } else if (status != TARN_NOT_READY) {
    tarn__error_restore(&before);
  }
  return status == TARN_OK;
}

static tarn_status wait_for_mark(ring_slot *self) {
  if (is_known_passed(self)) return TARN_OK;
  tarn__order_cost cost = {0};
  const tarn_status status = self->has_fence ? tarn_fence_synchronize(self->fence)
                                             : tarn__order_behind(NULL, self->mark, &cost);
  if (status == TARN_OK) self->is_marked = false;
  return status;
}

/* A fence right behind the mark; where there is none to be had, the stamp alone will do. */
static void record_fence(ring_slot *self, tarn_stream *stream) {
  const tarn_error before = *tarn_last_error();
  self->has_fence = false;
  if (self->fence != NULL && self->fence->ops != stream->ops) {
    tarn_fence_destroy(self->fence);
    self->fence = NULL;
  }
  tarn_status status = TARN_OK;
  if (self->fence == NULL) status = tarn_fence_create(stream, &self->fence);
  if (status == TARN_OK) status = tarn_fence_record(self->fence, stream);
  self->has_fence = status == TARN_OK;
  if (status == TARN_OK) return;
  tarn_fence_destroy(self->fence);
  self->fence = NULL;
  tarn__error_restore(&before);
}

/* --- the shelf, with the lock --- */

static ring_slot *take_off(shelf *self, ring_slot **place) {
  ring_slot *taken = *place;
  *place = taken->next;
  taken->next = NULL;
  self->held_count++;
  return taken;
}

static waiter *leave_line(shelf *self) {
  waiter *first = self->line;
  self->line = first->next;
  if (self->line == NULL) self->line_end = &self->line;
  pthread_cond_signal(&first->handed);
  return first;
}

/* To the thread that waits longest, or where its turn is on the shelf. There a capture's slot lies,
 * too; and where no other is to come back, nobody waits in vain. */
static void put_on(shelf *self, ring_slot *back) {
  if (self->line != NULL && !is_kept(back)) {
    leave_line(self)->taken = back;
    return;
  }
  ring_slot **place = &self->first;
  while (*place != NULL && (*place)->given_at < back->given_at) place = &(*place)->next;
  back->next = *place;
  *place = back;
  self->held_count--;
  while (self->held_count == 0 && self->line != NULL) leave_line(self)->is_over = true;
}

/* The first slot that is known to be free; or else the first of a timeline that was not asked yet,
 * as the later ones of a timeline pass later. NULL where there is neither. */
static ring_slot *choose(shelf *self, const uint32_t *asked, size_t asked_count) {
  ring_slot **unknown = NULL;
  for (ring_slot **place = &self->first; *place != NULL; place = &(*place)->next) {
    if (is_known_passed(*place)) return take_off(self, place);
    if (unknown != NULL || is_kept(*place)) continue;
    bool was_asked = asked_count == TIMELINES_ASKED_MAX;
    for (size_t i = 0; i < asked_count; i++) was_asked |= asked[i] == (*place)->mark.slot;
    if (!was_asked) unknown = place;
  }
  return unknown == NULL ? NULL : take_off(self, unknown);
}

/* The slot given back first of those that can be waited for. */
static ring_slot *choose_oldest(shelf *self) {
  for (ring_slot **place = &self->first; *place != NULL; place = &(*place)->next) {
    if (!is_kept(*place)) return take_off(self, place);
  }
  return NULL;
}

/* NULL where all that is left belongs to captures. */
static ring_slot *line_up(tarn_staging *staging, shelf *self) {
  waiter me = {.handed = PTHREAD_COND_INITIALIZER};
  *self->line_end = &me;
  self->line_end = &me.next;
  while (me.taken == NULL && !me.is_over) pthread_cond_wait(&me.handed, &staging->lock);
  pthread_cond_destroy(&me.handed);
  return me.taken;
}

/* --- acquiring --- */

static shelf *shelf_of(tarn_staging *self, size_t wanted_bytes) {
  const bool is_small = wanted_bytes != 0 && wanted_bytes <= self->small.slot_bytes;
  return is_small ? &self->small : &self->large;
}

static shelf *shelf_at(tarn_staging *self, uint32_t index) {
  return index < self->large.slot_count ? &self->large : &self->small;
}

/* Without waiting: a slot whose work is done, or NULL. */
static ring_slot *find_free(tarn_staging *self, shelf *from) {
  uint32_t asked[TIMELINES_ASKED_MAX];
  size_t asked_count = 0;
  pthread_mutex_lock(&self->lock);
  ring_slot *found;
  while ((found = choose(from, asked, asked_count)) != NULL && !is_known_passed(found)) {
    pthread_mutex_unlock(&self->lock);
    const bool is_free = has_passed(found);
    pthread_mutex_lock(&self->lock);
    if (is_free) break;
    asked[asked_count++] = found->mark.slot;
    put_on(from, found);
  }
  pthread_mutex_unlock(&self->lock);
  return found;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* One slot to wait for, from the shelf or handed over; NULL where neither can come, as all belong
 * to captures. */
static ring_slot *find_next(tarn_staging *self, shelf *from) {
  pthread_mutex_lock(&self->lock);
  ring_slot *found = choose_oldest(from);
  if (found == NULL && from->held_count > 0) found = line_up(self, from);
  pthread_mutex_unlock(&self->lock);
  return found;
}

static void put_back(tarn_staging *self, shelf *from, ring_slot *back) {
  pthread_mutex_lock(&self->lock);
  back->given_at = ++self->given_count;
  put_on(from, back);
  pthread_mutex_unlock(&self->lock);
}

static tarn_status wait_for_slot(tarn_staging *self, shelf *from, ring_slot **found) {
  const uint64_t began = now_ns();
  tarn_status status = TARN_OK;
  *found = find_next(self, from);
  if (*found == NULL) {
    status = tarn_fail(TARN_NOT_READY, "all %u slots of staging ring %s belong to captures",
                       from->slot_count, tarn_staging_name(self));
  } else {
    status = wait_for_mark(*found);
    if (status != TARN_OK) put_back(self, from, *found);
  }
  const uint64_t waited = now_ns() - began;
  pthread_mutex_lock(&self->lock);
  self->wait_count++;
  self->wait_ns += waited;
  pthread_mutex_unlock(&self->lock);
  return status;
}

/* Hands a slot that nothing uses to the caller. */
static void lend(tarn_staging *self, const shelf *from, ring_slot *free_slot,
                 tarn_staging_slot *lent) {
  free_slot->is_marked = false;
  pthread_mutex_lock(&self->lock);
  const size_t held = self->large.held_count + self->small.held_count;
  if (held > self->held_peak) self->held_peak = held;
  self->acquire_count++;
  pthread_mutex_unlock(&self->lock);
  tarn_staging_retain(self);
  *lent = (tarn_staging_slot){.address = free_slot->address,
                              .size_bytes = from->slot_bytes,
                              .staging = self,
                              .index = (uint32_t)(free_slot - self->slots)};
}

/* The lock, the marks and the memory are those of the process that made the ring. */
static tarn_status check_owner(const tarn_staging *self) {
  if (self->owner == getpid()) return TARN_OK;
  return tarn_fail(TARN_UNAVAILABLE, "staging ring %s belongs to the process before the fork",
                   tarn_staging_name(self));
}

static tarn_status check_acquire(tarn_staging *staging, tarn_staging_slot *slot) {
  if (slot == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the slot");
  *slot = (tarn_staging_slot){0};
  if (staging == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "staging is NULL");
  return check_owner(staging);
}

tarn_status tarn_staging_acquire(tarn_staging *staging, size_t wanted_bytes,
                                 tarn_staging_slot *slot) {
  tarn_status status = check_acquire(staging, slot);
  if (status != TARN_OK) return status;
  shelf *from = shelf_of(staging, wanted_bytes);
  ring_slot *found = find_free(staging, from);
  if (found == NULL) status = wait_for_slot(staging, from, &found);
  if (status == TARN_OK) lend(staging, from, found, slot);
  return status;
}

tarn_status tarn_staging_try_acquire(tarn_staging *staging, size_t wanted_bytes,
                                     tarn_staging_slot *slot) {
  const tarn_status status = check_acquire(staging, slot);
  if (status != TARN_OK) return status;
  shelf *from = shelf_of(staging, wanted_bytes);
  ring_slot *found = find_free(staging, from);
  if (found != NULL) {
    lend(staging, from, found, slot);
    return TARN_OK;
  }
  pthread_mutex_lock(&staging->lock);
  staging->refusal_count++;
  pthread_mutex_unlock(&staging->lock);
  return TARN_NOT_READY;
}

/* --- a slot in the caller's hands --- */

static ring_slot *check_slot(const tarn_staging_slot *slot) {
  return slot == NULL || slot->address == NULL ? NULL : &slot->staging->slots[slot->index];
}

tarn_status tarn_staging_mark(const tarn_staging_slot *slot, tarn_stream *stream,
                              size_t size_bytes) {
  ring_slot *self = check_slot(slot);
  if (self == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no slot to mark");
  /* Relaxed: a count. */
  atomic_fetch_add_explicit(&slot->staging->passed_bytes, size_bytes, memory_order_relaxed);
  if (tarn_stream_is_synchronous(stream)) return TARN_OK;
  const tarn__stamp reached = tarn__order_stamp(stream);
  if (self->is_marked && self->mark.slot != reached.slot) {
    const tarn_status status = wait_for_mark(self);
    if (status != TARN_OK) return status;
  }
  self->mark = reached;
  self->is_marked = true;
  self->has_fence = false;
  /* In a capture a fence is no point in time, and a closed stream has taken its last. */
  if (!tarn__order_is_captured(stream) && !tarn__stream_is_closed(stream)) {
    record_fence(self, stream);
  }
  return TARN_OK;
}

tarn_status tarn_staging_await(const tarn_staging_slot *slot) {
  ring_slot *self = check_slot(slot);
  if (self == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no slot to wait for");
  return wait_for_mark(self);
}

void tarn_staging_give_back(tarn_staging_slot *slot) {
  ring_slot *self = check_slot(slot);
  if (self == NULL) return;
  tarn_staging *staging = slot->staging;
  if (staging->owner == getpid()) put_back(staging, shelf_at(staging, slot->index), self);
  *slot = (tarn_staging_slot){0};
  tarn_staging_release(staging);
}

/* --- life --- */

/* What the options ask for, with every size checked. */
typedef struct shape {
  size_t slot_bytes;
  size_t slot_count;
  size_t small_count;
  size_t block_bytes;
} shape;

static tarn_status plan(const tarn_provider_attributes *attributes,
                        const tarn_staging_options *options, shape *planned) {
  *planned = (shape){.slot_bytes = options->slot_bytes, .slot_count = options->slot_count};
  if (planned->slot_bytes == 0) planned->slot_bytes = SLOT_BYTES_DEFAULT;
  if (planned->slot_count == 0) planned->slot_count = SLOT_COUNT_DEFAULT;
  if (planned->slot_count > TARN_STAGING_SLOTS_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a staging ring of %zu slots, at most %d",
                     planned->slot_count, (int)TARN_STAGING_SLOTS_MAX);
  }
  bool fits =
      tarn_size_round_up(planned->slot_bytes, TARN_STAGING_SLOT_BYTES_MIN, &planned->slot_bytes) &&
      tarn_size_mul(planned->slot_bytes, planned->slot_count, &planned->block_bytes);
  if (planned->slot_bytes >= SMALL_BELOW_BYTES) planned->small_count = SMALL_COUNT;
  fits = fits &&
         tarn_size_add(planned->block_bytes, planned->small_count * SMALL_BYTES,
                       &planned->block_bytes) &&
         tarn_size_round_up(planned->block_bytes, attributes->granularity_bytes,
                            &planned->block_bytes);
  if (fits) return TARN_OK;
  return tarn_fail(TARN_TOO_LARGE, "a staging ring of %zu slots of %zu bytes", options->slot_count,
                   options->slot_bytes);
}

static void fill_shelf(shelf *self, ring_slot *slots, size_t slot_count, size_t slot_bytes,
                       char *address) {
  *self = (shelf){.slot_bytes = slot_count == 0 ? 0 : slot_bytes,
                  .slot_count = (uint32_t)slot_count,
                  .slots = slots,
                  .line_end = &self->line};
  for (size_t i = slot_count; i-- > 0;) {
    slots[i] = (ring_slot){.address = address + i * slot_bytes, .next = self->first};
    self->first = &slots[i];
  }
}

static tarn_status check_options(tarn_provider *provider, const tarn_staging_options *options) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_staging_options has %zu bytes, not %zu",
                     sizeof *options, options->struct_size);
  }
  const tarn_device device = tarn_provider_attributes_of(provider)->device;
  if (tarn_device_is_host(device)) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "a staging ring lies in host memory; provider %s is of device type %d",
                   tarn_provider_name(provider), (int)device.type);
}

tarn_status tarn_staging_create(tarn_provider *provider, const tarn_staging_options *options,
                                tarn_staging **staging) {
  if (staging == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "staging is NULL");
  *staging = NULL;
  const tarn_staging_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  shape planned;
  tarn_status status = check_options(provider, options);
  if (status != TARN_OK) return status;
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  status = plan(attributes, options, &planned);
  if (status != TARN_OK) return status;
  const char *name = options->name != NULL ? options->name : "staging";
  const size_t slots_bytes = (planned.slot_count + planned.small_count) * sizeof(ring_slot);
  tarn_staging *made = calloc(1, sizeof *made + slots_bytes + strlen(name) + 1);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a staging ring's handle");
  void *block;
  status = tarn_provider_alloc(provider, planned.block_bytes, &block);
  if (status != TARN_OK) {
    free(made);
    return status;
  }
  atomic_init(&made->reference_count, 1);
  tarn_provider_retain(provider);
  made->provider = provider;
  made->device = attributes->device;
  made->block = block;
  made->block_bytes = planned.block_bytes;
  made->owner = getpid();
  pthread_mutex_init(&made->lock, NULL);
  fill_shelf(&made->large, made->slots, planned.slot_count, planned.slot_bytes, block);
  fill_shelf(&made->small, made->slots + planned.slot_count, planned.small_count, SMALL_BYTES,
             (char *)block + planned.slot_count * planned.slot_bytes);
  memcpy((char *)made->slots + slots_bytes, name, strlen(name) + 1);
  *staging = made;
  return TARN_OK;
}

void tarn_staging_retain(tarn_staging *staging) {
  /* Relaxed: whoever retains already holds a reference. */
  atomic_fetch_add_explicit(&staging->reference_count, 1, memory_order_relaxed);
}

void tarn_staging_release(tarn_staging *staging) {
  if (staging == NULL) return;
  /* Release pairs with acquire: all use in other threads happens before the end. */
  if (atomic_fetch_sub_explicit(&staging->reference_count, 1, memory_order_acq_rel) != 1) return;
  if (staging->owner != getpid()) return;
  bool is_done = true;
  for (uint32_t i = 0; i < staging->large.slot_count + staging->small.slot_count; i++) {
    is_done &= wait_for_mark(&staging->slots[i]) == TARN_OK;
    tarn_fence_destroy(staging->slots[i].fence);
  }
  /* Memory that something may still write is lost rather than somebody else's. */
  if (is_done) (void)!tarn_provider_free(staging->provider, staging->block, staging->block_bytes);
  tarn_provider_release(staging->provider);
  pthread_mutex_destroy(&staging->lock);
  free(staging);
}

/* --- questions --- */

const char *tarn_staging_name(const tarn_staging *staging) {
  return (const char *)(staging->slots + staging->large.slot_count + staging->small.slot_count);
}

tarn_device tarn_staging_device(const tarn_staging *staging) {
  return staging->device;
}

size_t tarn_staging_slot_bytes(const tarn_staging *staging) {
  return staging->large.slot_bytes;
}

size_t tarn_staging_piece_bytes(const tarn_staging *staging, size_t total_bytes) {
  const size_t most = staging->large.slot_bytes;
  size_t piece_bytes = total_bytes / PIECES_WANTED;
  if (piece_bytes < PIECE_BYTES_MIN) piece_bytes = PIECE_BYTES_MIN;
  if (total_bytes <= SMALL_BYTES) piece_bytes = total_bytes;
  return piece_bytes < most && total_bytes != 0 ? piece_bytes : most;
}

static size_t count_pending(const shelf *self) {
  size_t count = 0;
  for (const ring_slot *at = self->first; at != NULL; at = at->next) count += !is_known_passed(at);
  return count;
}

tarn_status tarn_staging_stats_of(tarn_staging *staging, tarn_staging_stats *stats) {
  if (staging == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a ring and a tarn_staging_stats with struct_size %zu are needed",
                     sizeof *stats);
  }
  const tarn_status status = check_owner(staging);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(&staging->lock);
  *stats = (tarn_staging_stats){
      .struct_size = sizeof *stats,
      .slot_count = (size_t)staging->large.slot_count + staging->small.slot_count,
      .slot_bytes = staging->large.slot_bytes,
      .reserved_bytes = staging->block_bytes,
      .held_count = (size_t)staging->large.held_count + staging->small.held_count,
      .held_count_peak = staging->held_peak,
      .pending_count = count_pending(&staging->large) + count_pending(&staging->small),
      .acquire_count = staging->acquire_count,
      .refusal_count = staging->refusal_count,
      .wait_count = staging->wait_count,
      .wait_ns = staging->wait_ns,
      .passed_bytes = atomic_load_explicit(&staging->passed_bytes, memory_order_relaxed)};
  pthread_mutex_unlock(&staging->lock);
  return TARN_OK;
}
