/* sim_race.c: what each call touches, held against what is known of the bytes. */
#include "cuda/sim/sim_race.h"

#include "cuda/sim/sim_launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPANS_MIN = 8192, ENDED_MIN = 32, REPORTED_MAX = 16 };

/* One call's use of memory while it is checked. */
typedef struct check {
  const sim_stamp *now;
  sim_access *access;      /* NULL: nothing is to be kept */
  sim_history *written;    /* what a write leaves */
  sim_history *latest_old; /* a reference; with what it became, also one */
  sim_history *latest_new;
  const sim_access *reported[REPORTED_MAX]; /* each pair of calls once */
  size_t reported_count;
} check;

static size_t spans_max = SPANS_MIN; /* before they are tidied */

bool sim_race_is_on(void) {
  return sim.races != CUSIM_RACES_OFF;
}

void sim_race_out_of_memory(void) {
  fprintf(stderr, "cusim: no memory for the race detector; CUSIM_RACES=off does without it\n");
  abort();
}

/* --- one run of bytes --- */

static bool is_before(const sim_access *earlier, const sim_stamp *now) {
  return sim_stamp_covers(now, earlier->stamp.timeline, earlier->stamp.epoch);
}

/* What a host function touches is told when it runs. Work behind it may have come before that. */
static bool is_behind(const sim_access *kept, const check *self) {
  return self->access->actor == ACTOR_HOST_FUNCTION && kept != NULL &&
         sim_stamp_covers(&kept->stamp, self->now->timeline, self->now->epoch);
}

static void check_pair(check *self, const sim_access *earlier, uintptr_t start, uintptr_t end) {
  if (earlier == NULL || is_before(earlier, self->now) || is_behind(earlier, self)) return;
  for (size_t i = 0; i < self->reported_count; i++) {
    if (self->reported[i] == earlier) return;
  }
  if (self->reported_count < REPORTED_MAX) self->reported[self->reported_count++] = earlier;
  sim_report_race(self->access, self->now, earlier, start, end);
}

static void check_all(check *self, const sim_history *old, uintptr_t start, uintptr_t end) {
  if (old == NULL || old == self->latest_old) return;
  check_pair(self, old->write, start, end);
  for (size_t i = 0; i < old->read_count; i++) check_pair(self, old->reads[i], start, end);
}

/* The same history has the same future; it is kept so that no other can come in its place. */
static void remember(check *self, sim_history *old, sim_history *new) {
  sim_history_retain(old);
  sim_history_retain(new);
  sim_history_release(self->latest_old);
  sim_history_release(self->latest_new);
  self->latest_old = old;
  self->latest_new = new;
}

/* What the bytes become that a host function writes, which may be behind the times. */
static sim_history *written_late(const check *self, sim_history *old) {
  if (old == NULL) return sim_history_retain(self->written);
  if (is_behind(old->write, self)) return sim_history_retain(old);
  sim_history *made = sim_history_create(self->access, old->reads, old->read_count);
  size_t kept_count = 0;
  for (size_t i = 0; i < made->read_count; i++) {
    sim_access *read = made->reads[i];
    if (is_behind(read, self)) {
      made->reads[kept_count++] = read;
    } else {
      sim_access_release(read);
    }
  }
  made->read_count = kept_count;
  return made;
}

static sim_history *write_run(void *context, sim_history *old, uintptr_t start, uintptr_t end) {
  check *self = context;
  check_all(self, old, start, end);
  if (self->access->actor == ACTOR_HOST_FUNCTION) return written_late(self, old);
  remember(self, old, self->written);
  return sim_history_retain(self->written);
}

static sim_history *free_run(void *context, sim_history *old, uintptr_t start, uintptr_t end) {
  check *self = context;
  check_all(self, old, start, end);
  remember(self, old, NULL);
  return NULL;
}

static sim_history *forget_run(void *context, sim_history *old, uintptr_t start, uintptr_t end) {
  (void)context, (void)old, (void)start, (void)end;
  return NULL;
}

/* Those of the history that the stamp does not cover, and `added`, which may be NULL, as a new
 * history; NULL where none is left. */
static sim_history *without_covered(const sim_history *old, const sim_stamp *now, bool keeps_write,
                                    sim_access *added) {
  sim_access *few[32];
  const size_t old_count = old == NULL ? 0 : old->read_count;
  sim_access **reads = few;
  if (old_count + 1 > sizeof few / sizeof few[0]) {
    reads = malloc((old_count + 1) * sizeof reads[0]);
    if (reads == NULL) sim_race_out_of_memory();
  }
  size_t count = 0;
  for (size_t i = 0; i < old_count; i++) {
    sim_access *read = old->reads[i];
    if (!is_before(read, now)) reads[count++] = read;
  }
  if (added != NULL) reads[count++] = added;
  sim_access *write = old == NULL ? NULL : old->write;
  if (write != NULL && !keeps_write && is_before(write, now)) {
    write = NULL;
  }
  sim_history *left = write != NULL || count != 0 ? sim_history_create(write, reads, count) : NULL;
  if (reads != few) free(reads);
  return left;
}

static bool is_same(const sim_history *a, const sim_history *b) {
  if (a == NULL || b == NULL) return a == b;
  return a->write == b->write && a->read_count == b->read_count &&
         memcmp(a->reads, b->reads, a->read_count * sizeof a->reads[0]) == 0;
}

/* What the run before became, where this one becomes the same: then the two are one from now on.
 * Takes `made`. */
static sim_history *share(const check *self, sim_history *made) {
  if (!is_same(made, self->latest_new)) return made;
  sim_history_release(made);
  return sim_history_retain(self->latest_new);
}

/* An earlier read that this one comes after need not be kept: who comes after this one comes after
 * it too. */
static sim_history *read_run(void *context, sim_history *old, uintptr_t start, uintptr_t end) {
  check *self = context;
  if (self->latest_new == NULL || old != self->latest_old) {
    if (old != NULL) check_pair(self, old->write, start, end);
    if (old != NULL && is_behind(old->write, self)) return sim_history_retain(old);
    sim_history *new =
        share(self, without_covered(old, self->now, /*keeps_write=*/true, self->access));
    remember(self, old, new);
    sim_history_release(new);
  }
  return sim_history_retain(self->latest_new);
}

static sim_history *tidy_run(void *context, sim_history *old, uintptr_t start, uintptr_t end) {
  check *self = context;
  (void)start, (void)end;
  if (old != self->latest_old) {
    sim_history *new = share(self, without_covered(old, self->now, /*keeps_write=*/false, NULL));
    remember(self, old, new);
    sim_history_release(new);
  }
  return sim_history_retain(self->latest_new);
}

/* --- one call --- */

static void begin(check *self, const sim_stamp *now, sim_actor actor, bool is_write,
                  const sim_timeline *timeline, const sim_caller *caller) {
  sim_access *access = sim_access_create();
  access->stamp = sim_stamp_copy(now);
  access->call = caller->number;
  access->what = caller->what;
  access->site = caller->site;
  access->stream_id = timeline->stream_id;
  access->ordinal = timeline->ordinal;
  access->device = timeline->device;
  access->actor = actor;
  access->is_write = is_write;
  *self = (check){.now = now, .access = access};
  if (is_write) self->written = sim_history_create(access, NULL, 0);
}

static void end(check *self) {
  sim_access_release(self->access);
  sim_history_release(self->written);
  sim_history_release(self->latest_old);
  sim_history_release(self->latest_new);
}

/* Memory in planes of rows; the pitches stand beside the address. */
typedef struct rows {
  size_t row_bytes;
  size_t row_count;
  size_t plane_count;
} rows;

static void touch_rows(check *self, const sim_place *place, rows size) {
  const sim_shadow_change change = self->access->is_write ? write_run : read_run;
  if (place->pitch == size.row_bytes) {
    size.row_bytes *= size.row_count;
    size.row_count = 1;
  }
  sim_span *hint = NULL;
  for (size_t plane = 0; plane < size.plane_count; plane++) {
    for (size_t row = 0; row < size.row_count; row++) {
      const uintptr_t start = place->address + plane * place->plane_pitch + row * place->pitch;
      hint = sim_shadow_apply(start, start + size.row_bytes, hint, change, self);
    }
  }
}

static void touch_by_stream(const sim_op *op, const sim_place *place, rows size, bool is_write) {
  check self;
  begin(&self, &op->mark->stamp, ACTOR_STREAM, is_write, op->queue->timeline, sim_caller_now());
  touch_rows(&self, place, size);
  end(&self);
}

static void touch_by_host(const sim_place *place, rows size, bool is_write) {
  check self;
  sim_stamp now = sim_clock_host_now();
  begin(&self, &now, ACTOR_HOST, is_write, sim_timeline_of_host(), sim_caller_now());
  touch_rows(&self, place, size);
  end(&self);
  sim_stamp_drop(&now);
}

static rows rows_of_copy(const sim_op *op) {
  return (rows){op->as.copy.row_bytes, op->as.copy.row_count, op->as.copy.plane_count};
}

static rows line(size_t size_bytes) {
  return (rows){size_bytes, 1, 1};
}

typedef struct run_of_check {
  check *self;
  sim_span *hint;
} run_of_check;

static void touch_one_run(void *context, uintptr_t start, uintptr_t end) {
  run_of_check *run = context;
  const sim_shadow_change change = run->self->access->is_write ? write_run : read_run;
  run->hint = sim_shadow_apply(start, end, run->hint, change, run->self);
}

/* Only the bytes of the elements: what lies between them may be somebody else's. Reads before
 * writes, for what a launch writes is ordered behind what it reads of the same bytes. */
static void touch_by_launch(const sim_op *op, bool is_write) {
  const sim_launch *launch = op->as.launch;
  for (size_t i = 0; i < launch->region_count; i++) {
    const sim_region *region = &launch->regions[i];
    if (region->is_written != is_write || region->is_wild) continue;
    check self;
    begin(&self, &op->mark->stamp, ACTOR_STREAM, is_write, op->queue->timeline, sim_caller_now());
    run_of_check run = {.self = &self};
    sim_region_walk(region, touch_one_run, &run);
    end(&self);
  }
}

/* Each kind of operation and the memory that it touches. */
static void check_operation(const sim_op *op) {
  switch (op->kind) {
    case KIND_COPY:
      if (!op->as.copy.is_read_by_call) {
        touch_by_stream(op, &op->as.copy.src, rows_of_copy(op), /*is_write=*/false);
      }
      touch_by_stream(op, &op->as.copy.dst, rows_of_copy(op), /*is_write=*/true);
      break;
    case KIND_FILL:
      touch_by_stream(
          op, &op->as.fill.dst,
          (rows){op->as.fill.width * op->as.fill.element_bytes, op->as.fill.row_count, 1},
          /*is_write=*/true);
      break;
    case KIND_WAIT_VALUE:
    case KIND_WRITE_VALUE:
      /* They do not race with each other, nor with whoever looks at the value. */
      touch_by_stream(op, &op->as.value.place, line(op->as.value.is_wide ? 8 : 4),
                      /*is_write=*/false);
      break;
    case KIND_LEND:
    case KIND_TAKE:
      /* What the block was before its KIND_LEND is the pool's business, and was forgotten. */
      touch_by_stream(op,
                      &(sim_place){.address = op->as.pool.address, .pitch = op->as.pool.size_bytes},
                      line(op->as.pool.size_bytes), /*is_write=*/true);
      break;
    case KIND_KERNEL:
      touch_by_stream(op, &op->as.kernel.place, line(op->as.kernel.size_bytes),
                      !op->as.kernel.is_check);
      break;
    case KIND_LAUNCH:
      touch_by_launch(op, /*is_write=*/false);
      touch_by_launch(op, /*is_write=*/true);
      break;
    case KIND_CALL: /* what it touches, it says itself when it runs */
    case KIND_RECORD:
    case KIND_WAIT:
      break;
  }
}

void sim_race_enqueued(sim_op *op) {
  if (!sim_race_is_on()) return;
  if (op->kind == KIND_COPY && op->as.copy.is_read_by_call) {
    touch_by_host(&op->as.copy.src, rows_of_copy(op), /*is_write=*/false);
  }
  sim_clock_enqueue(op);
  check_operation(op);
  sim_race_tidy();
}

void sim_race_host(uintptr_t address, size_t size_bytes, bool is_write, const char *what) {
  if (!sim_race_is_on() || size_bytes == 0 || size_bytes > UINTPTR_MAX - address) return;
  const sim_place place = {.address = address, .pitch = size_bytes};
  sim_caller caller = {.what = what, .number = sim.call_count};
  check self;
  if (!sim_on_host_thread()) {
    sim_stamp now = sim_clock_host_now();
    begin(&self, &now, ACTOR_HOST, is_write, sim_timeline_of_host(), &caller);
    touch_rows(&self, &place, line(size_bytes));
    end(&self);
    sim_stamp_drop(&now);
  } else if (sim.host_op != NULL && sim.host_op->mark->stamp.timeline != 0) {
    const sim_stamp *now = &sim.host_op->mark->stamp;
    caller.number = now->call;
    begin(&self, now, ACTOR_HOST_FUNCTION, is_write, sim.host_op->queue->timeline, &caller);
    touch_rows(&self, &place, line(size_bytes));
    end(&self);
  }
  sim_race_tidy();
}

void sim_race_gone(uintptr_t address, size_t size_bytes) {
  if (!sim_race_is_on()) return;
  check self;
  sim_stamp now = sim_clock_host_now();
  begin(&self, &now, ACTOR_FREE, /*is_write=*/true, sim_timeline_of_host(), sim_caller_now());
  sim_shadow_apply(address, address + size_bytes, NULL, free_run, &self);
  end(&self);
  sim_stamp_drop(&now);
}

void sim_race_fresh(uintptr_t address, size_t size_bytes) {
  if (!sim_race_is_on()) return;
  sim_shadow_apply(address, address + size_bytes, NULL, forget_run, NULL);
}

/* --- keeping it small --- */

static void tidy(void) {
  sim_stamp floor = sim_clock_floor();
  check self = {.now = &floor};
  sim_shadow_apply_all(tidy_run, &self);
  end(&self);
  sim_clock_retire(&floor);
  sim_stamp_drop(&floor);
  spans_max = 2 * sim_shadow_span_count();
  if (spans_max < SPANS_MIN) spans_max = SPANS_MIN;
}

void sim_race_tidy(void) {
  const size_t ended = sim_clock_ended_count();
  const bool are_many_ended = ended >= ENDED_MIN && ended * 2 >= sim_clock_timeline_count();
  if (are_many_ended || sim_shadow_span_count() > spans_max) tidy();
}

/* --- steering --- */

void cusim_set_races(cusim_races races) {
  sim_lock();
  if (races == CUSIM_RACES_OFF || !sim_race_is_on()) {
    sim_shadow_apply_all(forget_run, NULL); /* nothing is known of what came meanwhile */
  }
  sim.races = races;
  sim.are_races_set = true;
  sim_unlock();
}

cusim_races cusim_get_races(void) {
  sim_lock();
  const cusim_races races = sim.races;
  sim_unlock();
  return races;
}

void cusim_set_threads(cusim_threads threads) {
  sim_lock();
  if ((threads == CUSIM_THREADS_APART) != sim_clock_is_split()) {
    sim_shadow_apply_all(forget_run, NULL);
    sim_clock_split_threads(threads == CUSIM_THREADS_APART);
  }
  sim.are_threads_set = true;
  sim_unlock();
}

cusim_threads cusim_get_threads(void) {
  sim_lock();
  const cusim_threads threads = sim_clock_is_split() ? CUSIM_THREADS_APART : CUSIM_THREADS_AS_ONE;
  sim_unlock();
  return threads;
}

/* --- what the program says --- */

void cusim_host_read(const void *address, size_t bytes) {
  sim_lock();
  sim_race_host((uintptr_t)address, bytes, /*is_write=*/false, "cusim_host_read");
  sim_unlock();
}

void cusim_host_write(const void *address, size_t bytes) {
  sim_lock();
  sim_race_host((uintptr_t)address, bytes, /*is_write=*/true, "cusim_host_write");
  sim_unlock();
}

void cusim_host_acquire(const void *object) {
  sim_lock();
  if (sim_race_is_on()) sim_clock_acquire(object);
  sim_unlock();
}

void cusim_host_release(const void *object) {
  sim_lock();
  if (sim_race_is_on()) sim_clock_release(object);
  sim_unlock();
}
