/* copy_threads.c: one team of sleeping threads that whoever comes first may use. */
#include "tensor/copy_threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tensor/cpu_count.h"

enum { DEFAULT_THREADS_MAX = 8 };

/* One copy that is shared out. It lives on its caller's stack, which helpers leave before that
 * returns. */
typedef struct shared_work {
  void (*job)(void *context, int64_t index);
  void *context;
  int64_t job_count;
  _Atomic int64_t next; /* relaxed: a number only; the team's lock publishes the rest */
} shared_work;

/* All under `lock`, a leaf: nothing is called with it held but pthread's own functions.
 * 0 <= joined_count <= helper_count; work is NULL where no caller has the team. */
typedef struct team {
  pthread_mutex_t lock;
  pthread_cond_t called; /* wanted_count rose */
  pthread_cond_t left;   /* joined_count fell to 0 */
  shared_work *work;
  int helper_count; /* threads that live */
  int wanted_count; /* how many more may join; a helper that wakes late finds 0 */
  int joined_count; /* at work now */
  bool survives_fork;
} team;

static team the_team = {.lock = PTHREAD_MUTEX_INITIALIZER,
                        .called = PTHREAD_COND_INITIALIZER,
                        .left = PTHREAD_COND_INITIALIZER};

/* What was set, and what the machine gives; 0 where nothing was set or asked. Relaxed: numbers. */
static _Atomic int count_set, count_found;

tarn_status tarn_copy_set_thread_count(int thread_count) {
  if (thread_count < 0 || thread_count > TARN_COPY_THREADS_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d threads for a copy; 0 to %d", thread_count,
                     TARN_COPY_THREADS_MAX);
  }
  atomic_store_explicit(&count_set, thread_count, memory_order_relaxed);
  return TARN_OK;
}

int tarn_copy_thread_count(void) {
  int count = atomic_load_explicit(&count_set, memory_order_relaxed);
  if (count != 0) return count;
  count = atomic_load_explicit(&count_found, memory_order_relaxed);
  if (count != 0) return count;
  count = tarn__cpu_count();
  if (count > DEFAULT_THREADS_MAX) count = DEFAULT_THREADS_MAX;
  atomic_store_explicit(&count_found, count, memory_order_relaxed);
  return count;
}

static void run_jobs(shared_work *work) {
  for (;;) {
    int64_t index = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed);
    if (index >= work->job_count) return;
    work->job(work->context, index);
  }
}

/* --- helpers --- */

/* A thread starts on the processors of the one that made it, which may be a single one. */
static void use_all_processors(void) {
  unsigned long mask[TARN__CPU_MASK_WORDS] = {0};
  if (sched_getaffinity(getpid(), sizeof mask, (cpu_set_t *)mask) != 0) return;
  (void)sched_setaffinity(0, sizeof mask, (const cpu_set_t *)mask);
}

static void *helper_main(void *argument) {
  (void)argument;
  team *self = &the_team;
  use_all_processors();
  pthread_mutex_lock(&self->lock);
  for (;;) {
    while (self->wanted_count == 0) pthread_cond_wait(&self->called, &self->lock);
    self->wanted_count--;
    self->joined_count++;
    shared_work *work = self->work;
    pthread_mutex_unlock(&self->lock);
    run_jobs(work);
    pthread_mutex_lock(&self->lock);
    if (--self->joined_count == 0) pthread_cond_signal(&self->left);
  }
  return NULL;
}

static bool start_helper(void) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, TARN__COPY_STACK_BYTES);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const bool is_started = pthread_create(&thread, &attributes, helper_main, NULL) == 0;
  if (is_started) pthread_setname_np(thread, "tarn-copy");
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return is_started;
}

/* --- fork: the child has the caller only --- */

static void before_fork(void) {
  pthread_mutex_lock(&the_team.lock);
}
static void after_fork(void) {
  pthread_mutex_unlock(&the_team.lock);
}
static void after_fork_in_child(void) {
  pthread_mutex_init(&the_team.lock, NULL);
  pthread_cond_init(&the_team.called, NULL);
  pthread_cond_init(&the_team.left, NULL);
  the_team.work = NULL;
  the_team.helper_count = the_team.wanted_count = the_team.joined_count = 0;
}

/* --- callers --- */

/* The team for this work, with up to `helper_count` helpers called; false where there is none. The
 * caller holds no lock. */
static bool take_team(shared_work *work, int helper_count) {
  team *self = &the_team;
  pthread_mutex_lock(&self->lock);
  bool is_mine = self->work == NULL;
  if (is_mine) {
    if (!self->survives_fork) {
      self->survives_fork = pthread_atfork(before_fork, after_fork, after_fork_in_child) == 0;
    }
    while (self->survives_fork && self->helper_count < helper_count && start_helper()) {
      self->helper_count++;
    }
    if (helper_count > self->helper_count) helper_count = self->helper_count;
    is_mine = helper_count > 0;
  }
  if (is_mine) {
    self->work = work;
    self->wanted_count = helper_count;
    for (int i = 0; i < helper_count; i++) pthread_cond_signal(&self->called);
  }
  pthread_mutex_unlock(&self->lock);
  return is_mine;
}

static void leave_team(void) {
  team *self = &the_team;
  pthread_mutex_lock(&self->lock);
  self->wanted_count = 0;
  while (self->joined_count > 0) pthread_cond_wait(&self->left, &self->lock);
  self->work = NULL;
  pthread_mutex_unlock(&self->lock);
}

void tarn__copy_parallel(int64_t job_count, int thread_count,
                         void (*job)(void *context, int64_t index), void *context) {
  shared_work work = {.job = job, .context = context, .job_count = job_count};
  if (thread_count == 0) thread_count = tarn_copy_thread_count();
  if (thread_count > job_count) thread_count = (int)job_count;
  const bool is_shared = thread_count > 1 && take_team(&work, thread_count - 1);
  run_jobs(&work);
  if (is_shared) leave_team();
}
