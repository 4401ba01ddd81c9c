/* test_copy_threads.c: each job runs once, whoever calls, whatever fails, before and after fork. */
#include "tests/support/test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tensor/copy_threads.h"

enum { JOB_MAX = 1000, CALLER_COUNT = 4, ROUND_COUNT = 50 };

/* Linked with --wrap: threads can be forbidden, and are counted. */
static _Atomic bool threads_are_forbidden;
static _Atomic int created_count;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument) {
  if (atomic_load(&threads_are_forbidden)) return EAGAIN;
  atomic_fetch_add(&created_count, 1);
  return __real_pthread_create(thread, attributes, start, argument);
}

typedef struct tally {
  int64_t job_count;
  int ran[JOB_MAX]; /* plain: the call itself must order what jobs write */
} tally;

static void count_job(void *context, int64_t index) {
  tally *self = context;
  self->ran[index]++;
}

static bool each_ran_once(const tally *self) {
  for (int64_t index = 0; index < JOB_MAX; index++) {
    if (self->ran[index] != (index < self->job_count ? 1 : 0)) return false;
  }
  return true;
}

static bool run_tally(int64_t job_count, int thread_count) {
  tally tallied = {.job_count = job_count};
  tarn__copy_parallel(job_count, thread_count, count_job, &tallied);
  return each_ran_once(&tallied);
}

/* Two jobs that end only together, so that two threads must run them. */
static void meet_the_other(void *context, int64_t index) {
  (void)index;
  pthread_barrier_wait(context);
}

static void run_a_meeting(void) {
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  tarn__copy_parallel(2, 2, meet_the_other, &barrier);
  pthread_barrier_destroy(&barrier);
}

TEST(no_thread_is_started_where_one_is_allowed) {
  assert_true(run_tally(JOB_MAX, 1));
  assert_true(run_tally(1, 8));
  assert_true(run_tally(0, 8));
  assert_ok(tarn_copy_set_thread_count(1));
  assert_true(run_tally(JOB_MAX, 0));
  assert_ok(tarn_copy_set_thread_count(0));
  assert_int_equal(created_count, 0);
}

TEST(caller_works_alone_where_no_thread_can_be_made) {
  atomic_store(&threads_are_forbidden, true);
  assert_true(run_tally(JOB_MAX, 4));
  atomic_store(&threads_are_forbidden, false);
  assert_int_equal(created_count, 0);
}

TEST(every_job_runs_once) {
  const int64_t job_counts[] = {0, 1, 2, 3, 7, JOB_MAX};
  for (int round = 0; round < ROUND_COUNT; round++) {
    for (size_t i = 0; i < COUNT_OF(job_counts); i++) {
      for (int threads = 0; threads <= 5; threads++) {
        assert_true(run_tally(job_counts[i], threads));
      }
    }
  }
}

TEST(jobs_run_beside_each_other) {
  for (int round = 0; round < ROUND_COUNT; round++) run_a_meeting();
}

TEST(helpers_are_kept) {
  run_a_meeting();
  const int before = created_count;
  for (int round = 0; round < ROUND_COUNT; round++) run_a_meeting();
  assert_int_equal(created_count, before);
}

static void *call_often(void *argument) {
  bool *is_right = argument;
  *is_right = true;
  for (int round = 0; round < ROUND_COUNT; round++) {
    if (!run_tally(JOB_MAX / 10, 3)) *is_right = false;
  }
  return NULL;
}

TEST(callers_share_the_helpers) {
  pthread_t threads[CALLER_COUNT];
  bool are_right[CALLER_COUNT];
  for (int i = 0; i < CALLER_COUNT; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, call_often, &are_right[i]), 0);
  }
  for (int i = 0; i < CALLER_COUNT; i++) {
    pthread_join(threads[i], NULL);
    assert_true(are_right[i]);
  }
}

typedef struct nested {
  pthread_barrier_t barrier;
  bool are_right[2];
} nested;

static void call_again(void *context, int64_t index) {
  nested *self = context;
  pthread_barrier_wait(&self->barrier); /* a helper is at work, and calls too */
  self->are_right[index] = run_tally(10, 4);
}

TEST(job_may_call_again) {
  nested calls = {.are_right = {false, false}};
  pthread_barrier_init(&calls.barrier, NULL, 2);
  tarn__copy_parallel(2, 2, call_again, &calls);
  pthread_barrier_destroy(&calls.barrier);
  assert_true(calls.are_right[0]);
  assert_true(calls.are_right[1]);
}

typedef struct late {
  pthread_barrier_t barrier;
  pthread_t caller;
  bool is_written; /* plain: only the end of the call orders it before the caller's look */
} late;

static void write_late(void *context, int64_t index) {
  (void)index;
  late *self = context;
  pthread_barrier_wait(&self->barrier);
  if (pthread_equal(pthread_self(), self->caller)) return;
  for (int i = 0; i < 1000; i++) sched_yield();
  self->is_written = true;
}

TEST(call_ends_after_its_slowest_job) {
  late work = {.caller = pthread_self()};
  pthread_barrier_init(&work.barrier, NULL, 2);
  tarn__copy_parallel(2, 2, write_late, &work);
  pthread_barrier_destroy(&work.barrier);
  assert_true(work.is_written);
}

typedef struct meeting {
  pthread_barrier_t barrier;
  pthread_t caller;
  bool blocks_all, is_named;
} meeting;

static void look_at_helper(void *context, int64_t index) {
  (void)index;
  meeting *self = context;
  if (!pthread_equal(pthread_self(), self->caller)) {
    sigset_t blocked;
    char name[32] = "";
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    self->blocks_all = sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGUSR1) == 1;
    pthread_getname_np(pthread_self(), name, sizeof name);
    self->is_named = strcmp(name, "tarn-copy") == 0;
  }
  pthread_barrier_wait(&self->barrier);
}

TEST(helpers_take_no_signals_and_have_a_name) {
  meeting met = {.caller = pthread_self()};
  pthread_barrier_init(&met.barrier, NULL, 2);
  tarn__copy_parallel(2, 2, look_at_helper, &met);
  pthread_barrier_destroy(&met.barrier);
  assert_true(met.blocks_all);
  assert_true(met.is_named);
}

/* 0 where the child could share work with a thread of its own. */
static int run_child(void) {
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    run_a_meeting();
    _exit(run_tally(JOB_MAX, 4) ? 0 : 1);
  }
  int ended = -1;
  waitpid(child, &ended, 0);
  return ended;
}

TEST(child_of_a_fork_starts_its_own_helpers) {
#if defined(__SANITIZE_THREAD__)
  skip(); /* which ends a child that makes threads after its parent did */
#endif
  run_a_meeting();
  assert_int_equal(run_child(), 0);
  assert_true(run_tally(JOB_MAX, 4));
}

static void fork_in_a_job(void *context, int64_t index) {
  int *ended = context;
  ended[index] = run_child();
}

TEST(fork_may_happen_while_helpers_work) {
#if defined(__SANITIZE_THREAD__)
  skip();
#endif
  int ended[4] = {-1, -1, -1, -1};
  tarn__copy_parallel(4, 2, fork_in_a_job, ended);
  for (int i = 0; i < 4; i++) assert_int_equal(ended[i], 0);
}

TEST(thread_count_is_what_was_set_or_the_machines) {
  const int machine = tarn_copy_thread_count();
  assert_in_range(machine, 1, 8);
  assert_ok(tarn_copy_set_thread_count(TARN_COPY_THREADS_MAX));
  assert_int_equal(tarn_copy_thread_count(), TARN_COPY_THREADS_MAX);
  assert_status(tarn_copy_set_thread_count(TARN_COPY_THREADS_MAX + 1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_copy_set_thread_count(-1), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_copy_thread_count(), TARN_COPY_THREADS_MAX);
  assert_ok(tarn_copy_set_thread_count(0));
  assert_int_equal(tarn_copy_thread_count(), machine);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
