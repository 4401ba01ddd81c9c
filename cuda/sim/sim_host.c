/* sim_host.c: the driver's own thread: it runs host functions, and work that nobody waits for. */
#include "cuda/sim/sim.h"

#include <signal.h>
#include <time.h>

static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static bool is_started;
static bool is_parked; /* waits without an end: to be woken when work is enqueued */
static _Thread_local bool is_host_thread;

bool sim_on_host_thread(void) {
  return is_host_thread;
}

/* The lock is dropped while the function runs. */
static void run_function(void) {
  sim_op *op = sim.host_op;
  const CUhostFn function = op->as.call.function;
  void *argument = op->as.call.argument;
  sim_clock_host_function_starts(op);
  sim_unlock();
  function(argument);
  sim_lock();
  sim.host_op = NULL;
  sim_op_finish(op);
  pthread_cond_broadcast(&sim.progressed);
}

static struct timespec deadline_in(uint64_t wait_ns) {
  struct timespec deadline;
  clock_gettime(CLOCK_REALTIME, &deadline);
  const uint64_t total_ns = (uint64_t)deadline.tv_nsec + wait_ns;
  deadline.tv_sec += (time_t)(total_ns / 1000000000u);
  deadline.tv_nsec = (long)(total_ns % 1000000000u);
  return deadline;
}

/* Nobody has called for a while and work is left: run it, as a GPU would long since have. */
static void look_after_idle_work(void) {
  const uint64_t idle_ns = (uint64_t)sim.idle_ms * 1000000u;
  const uint64_t passed_ns = sim_now_ns() - sim.last_call_ns;
  if (passed_ns < idle_ns) {
    const struct timespec deadline = deadline_in(idle_ns - passed_ns);
    pthread_cond_timedwait(&work, &sim.lock, &deadline);
    return;
  }
  if (sim_step()) {
    sim.idle_steps++;
    pthread_cond_broadcast(&sim.progressed);
    return;
  }
  /* All that is left waits for a value: a host thread may write it. */
  const struct timespec deadline = deadline_in(idle_ns);
  pthread_cond_timedwait(&work, &sim.lock, &deadline);
}

static void *serve(void *unused) {
  (void)unused;
  is_host_thread = true;
  sim_lock();
  for (;;) {
    if (sim.host_op != NULL) {
      run_function();
    } else if (sim.pending_count != 0 && sim.idle_ms != 0) {
      look_after_idle_work();
    } else {
      is_parked = true;
      pthread_cond_wait(&work, &sim.lock);
      is_parked = false;
    }
  }
  return NULL;
}

static void start(void) {
  if (is_started) return;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  is_started = pthread_create(&thread, &attributes, serve, NULL) == 0;
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void sim_host_watch(void) {
  if (sim.pending_count != 0) start();
  if (sim.pending_count == 1) sim.last_call_ns = sim_now_ns();
  if (is_parked && sim.idle_ms != 0) pthread_cond_signal(&work);
}

void sim_host_run(sim_op *op) {
  sim.host_op = op;
  op->queue->is_running = true;
  if (is_host_thread) return; /* it is us: the loop goes on with it */
  pthread_cond_signal(&work);
  sim_mark *mark = sim_mark_retain(op->mark);
  const struct timespec deadline = deadline_in((uint64_t)sim.patience_ms * 1000000u);
  while (!mark->is_done) {
    if (pthread_cond_timedwait(&sim.progressed, &sim.lock, &deadline) != 0) break;
  }
  sim_mark_release(mark);
}
