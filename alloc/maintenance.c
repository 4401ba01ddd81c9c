/* maintenance.c: rounds over pools that it does not own, by a thread or by the caller. */
#include "alloc/maintenance.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/fork.h"
#include "alloc/pool.h"
#include "alloc/tarn_share.h"

enum { THREAD_NAME_BYTES = 16 };

static const uint64_t DEFAULT_PERIOD_NS = UINT64_C(1000000000);
static const uint64_t SECOND_NS = UINT64_C(1000000000);

/* One pool. Whoever takes it off waits until it is not being called, so that a round can go on from
 * it. */
typedef struct entry {
  struct entry *next;
  tarn_pool *pool; /* not a reference: a pool that ends says so */
  bool is_called;
} entry;

struct tarn_maintenance {
  tarn_maintenance *next; /* of all */
  entry *entries;
  pthread_cond_t changed; /* the thread is to look again, or is gone */
  uint64_t period_ns;
  bool is_manual;
  bool is_stepping; /* a round is under way */
  bool is_stopping;
  bool has_thread;
  bool is_joining;     /* somebody waits for the thread's end */
  bool is_left_behind; /* by a fork: its thread is the parent's */
  pthread_t thread;
  char name[THREAD_NAME_BYTES];
};

/* One lock for all: it is held for a few instructions per pool and round. A leaf: nothing is called
 * under it. */
static pthread_mutex_t maintenance_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t call_ended = PTHREAD_COND_INITIALIZER;
static tarn_maintenance *all;
static bool is_exiting; /* the process is */

/* --- rounds: under the lock, which is left for each call --- */

static entry **find(tarn_maintenance *self, const tarn_pool *pool) {
  entry **link = &self->entries;
  while (*link != NULL && (*link)->pool != pool) link = &(*link)->next;
  return link;
}

typedef enum taking { TAKEN_NOTHING, TAKEN_LATER, TAKEN } taking;

/* Unlinks the pool, where it is there and not being called. */
static taking try_take_off(tarn_maintenance *self, const tarn_pool *pool) {
  entry **link = find(self, pool);
  entry *found = *link;
  if (found == NULL) return TAKEN_NOTHING;
  if (found->is_called) return TAKEN_LATER;
  *link = found->next;
  free(found);
  return TAKEN;
}

/* The same, after the call. */
static taking take_off(tarn_maintenance *self, const tarn_pool *pool) {
  taking taken = try_take_off(self, pool);
  while (taken == TAKEN_LATER) {
    pthread_cond_wait(&call_ended, &maintenance_lock);
    taken = try_take_off(self, pool);
  }
  return taken;
}

static tarn_status run_round(tarn_maintenance *self, uint64_t now_ns, size_t *released_bytes) {
  tarn_status result = TARN_OK;
  self->is_stepping = true;
  pthread_mutex_unlock(&maintenance_lock);
  (void)tarn_share_collect();
  pthread_mutex_lock(&maintenance_lock);
  for (entry *each = self->entries; each != NULL && !self->is_stopping; each = each->next) {
    size_t released = 0;
    each->is_called = true;
    pthread_mutex_unlock(&maintenance_lock);
    const tarn_status status = tarn_pool_decay(each->pool, now_ns, &released);
    pthread_mutex_lock(&maintenance_lock);
    each->is_called = false;
    pthread_cond_broadcast(&call_ended);
    if (result == TARN_OK) result = status;
    *released_bytes += released;
  }
  self->is_stepping = false;
  return result;
}

/* --- the thread --- */

static struct timespec time_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now;
}

static uint64_t to_ns(struct timespec time) {
  return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

static void *maintenance_main(void *argument) {
  tarn_maintenance *self = argument;
  pthread_setname_np(pthread_self(), self->name);
  pthread_mutex_lock(&maintenance_lock);
  while (!self->is_stopping) {
    const uint64_t begin_ns = to_ns(time_now());
    size_t released_bytes = 0;
    /* There is nobody to tell: what a pool cannot give back it keeps. */
    (void)!run_round(self, begin_ns, &released_bytes);
    const uint64_t end_ns = to_ns(time_now()) + self->period_ns;
    const struct timespec end = {.tv_sec = (time_t)(end_ns / SECOND_NS),
                                 .tv_nsec = (long)(end_ns % SECOND_NS)};
    while (!self->is_stopping &&
           pthread_cond_timedwait(&self->changed, &maintenance_lock, &end) == 0) {
    }
  }
  pthread_mutex_unlock(&maintenance_lock);
  return NULL;
}

static tarn_status start_thread(tarn_maintenance *self) {
  /* The process's signals are for its own threads. */
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  const int error = pthread_create(&self->thread, NULL, maintenance_main, self);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  self->has_thread = error == 0;
  if (error == 0) return TARN_OK;
  return tarn_fail_native(TARN_SYSTEM_ERROR, "pthread_create", error,
                          "no thread for maintenance: %s", strerror(error));
}

/* Under the lock, which is left. */
static void stop_thread(tarn_maintenance *self) {
  self->is_stopping = true;
  while (self->is_joining) pthread_cond_wait(&call_ended, &maintenance_lock);
  if (!self->has_thread) return;
  self->is_joining = true;
  pthread_cond_signal(&self->changed);
  pthread_mutex_unlock(&maintenance_lock);
  /* A pool's own function may end the process. */
  if (!pthread_equal(self->thread, pthread_self())) pthread_join(self->thread, NULL);
  pthread_mutex_lock(&maintenance_lock);
  self->is_joining = false;
  self->has_thread = false;
  pthread_cond_broadcast(&call_ended);
}

static tarn_maintenance *find_running(void) {
  tarn_maintenance *found = all;
  while (found != NULL && !found->has_thread) found = found->next;
  return found;
}

/* Other libraries' handlers, registered before this one, run later: what pools stand on is there
 * still. */
static void stop_all(void) {
  pthread_mutex_lock(&maintenance_lock);
  is_exiting = true;
  for (tarn_maintenance *each = find_running(); each != NULL; each = find_running()) {
    stop_thread(each);
  }
  pthread_mutex_unlock(&maintenance_lock);
}

static void watch_exit(void) {
  (void)!atexit(stop_all);
}

/* --- life --- */

static tarn_status check_options(const tarn_maintenance_options *options) {
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_maintenance_options has %zu bytes here, %zu were given", sizeof *options,
                     options->struct_size);
  }
  if ((options->flags & ~(uint32_t)TARN_MAINTENANCE_MANUAL) == 0) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "unknown maintenance flags 0x%x", options->flags);
}

static tarn_maintenance *make(const tarn_maintenance_options *options) {
  tarn_maintenance *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  const char *name = options->name != NULL ? options->name : "tarn-maintain";
  strncpy(made->name, name, THREAD_NAME_BYTES - 1);
  made->period_ns = options->period_ns != 0 ? options->period_ns : DEFAULT_PERIOD_NS;
  made->is_manual = (options->flags & TARN_MAINTENANCE_MANUAL) != 0;
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&made->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  return made;
}

tarn_status tarn_maintenance_create(const tarn_maintenance_options *options,
                                    tarn_maintenance **maintenance) {
  if (maintenance == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "maintenance is NULL");
  *maintenance = NULL;
  const tarn_maintenance_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = check_options(options);
  if (status != TARN_OK) return status;
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_exit);
  tarn_maintenance *made = make(options);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for maintenance");
  pthread_mutex_lock(&maintenance_lock);
  if (!made->is_manual) {
    status = is_exiting ? tarn_fail(TARN_UNAVAILABLE, "the process is ending") : start_thread(made);
  }
  if (status == TARN_OK) {
    made->next = all;
    all = made;
  }
  pthread_mutex_unlock(&maintenance_lock);
  if (status == TARN_OK) {
    *maintenance = made;
  } else {
    pthread_cond_destroy(&made->changed);
    free(made);
  }
  return status;
}

void tarn_maintenance_destroy(tarn_maintenance *maintenance) {
  if (maintenance == NULL) return;
  pthread_mutex_lock(&maintenance_lock);
  stop_thread(maintenance);
  while (maintenance->entries != NULL) (void)take_off(maintenance, maintenance->entries->pool);
  tarn_maintenance **link = &all;
  while (*link != maintenance) link = &(*link)->next;
  *link = maintenance->next;
  pthread_mutex_unlock(&maintenance_lock);
  pthread_cond_destroy(&maintenance->changed);
  free(maintenance);
}

/* --- pools --- */

static tarn_status check_pool(const tarn_maintenance *maintenance, const tarn_pool *pool) {
  if (maintenance != NULL && pool != NULL) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "maintenance and a pool are needed");
}

tarn_status tarn_maintenance_add(tarn_maintenance *maintenance, tarn_pool *pool) {
  tarn_status status = check_pool(maintenance, pool);
  if (status != TARN_OK) return status;
  entry *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to maintain a pool");
  made->pool = pool;
  pthread_mutex_lock(&maintenance_lock);
  entry **last = find(maintenance, pool);
  if (maintenance->is_left_behind) {
    status = tarn_fail(TARN_UNAVAILABLE,
                       "the thread of this maintenance is the parent's of this process");
  } else if (*last != NULL) {
    status = tarn_fail(TARN_BUSY, "pool %s is maintained already", tarn_pool_name(pool));
  } else {
    tarn__pool_set_maintained(pool);
    *last = made;
    made = NULL;
  }
  pthread_mutex_unlock(&maintenance_lock);
  free(made);
  return status;
}

tarn_status tarn_maintenance_remove(tarn_maintenance *maintenance, tarn_pool *pool) {
  const tarn_status status = check_pool(maintenance, pool);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(&maintenance_lock);
  const taking taken = take_off(maintenance, pool);
  pthread_mutex_unlock(&maintenance_lock);
  if (taken == TAKEN) return TARN_OK;
  return tarn_fail(TARN_NOT_FOUND, "pool %s is not maintained here", tarn_pool_name(pool));
}

void tarn__maintenance_forget(tarn_pool *pool) {
  pthread_mutex_lock(&maintenance_lock);
  for (tarn_maintenance *each = all; each != NULL;) {
    const taking taken = try_take_off(each, pool);
    if (taken == TAKEN_LATER) pthread_cond_wait(&call_ended, &maintenance_lock);
    /* Waiting leaves the lock: any of them may be destroyed meanwhile. */
    each = taken == TAKEN_LATER ? all : each->next;
  }
  pthread_mutex_unlock(&maintenance_lock);
}

tarn_status tarn_maintenance_step(tarn_maintenance *maintenance, uint64_t now_ns,
                                  size_t *released_bytes) {
  size_t released = 0;
  if (released_bytes != NULL) *released_bytes = 0;
  if (maintenance == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "maintenance is NULL");
  if (!maintenance->is_manual) {
    return tarn_fail(TARN_NOT_SUPPORTED, "this maintenance has a thread that takes the steps");
  }
  pthread_mutex_lock(&maintenance_lock);
  const tarn_status status = maintenance->is_stepping
                                 ? tarn_fail(TARN_BUSY, "another thread takes a step just now")
                                 : run_round(maintenance, now_ns, &released);
  pthread_mutex_unlock(&maintenance_lock);
  if (released_bytes != NULL) *released_bytes = released;
  return status;
}

/* --- fork --- */

void tarn__maintenance_hold(void) {
  pthread_mutex_lock(&maintenance_lock);
}

void tarn__maintenance_unhold(void) {
  pthread_mutex_unlock(&maintenance_lock);
}

void tarn__maintenance_mend(void) {
  pthread_cond_init(&call_ended, NULL); /* it may remember threads that wait */
  for (tarn_maintenance *self = all; self != NULL; self = self->next) {
    self->is_stepping = false;
    self->is_left_behind |= self->has_thread;
    self->has_thread = false;
    self->is_joining = false;
    for (entry *each = self->entries; each != NULL; each = each->next) each->is_called = false;
  }
  pthread_mutex_unlock(&maintenance_lock);
}
