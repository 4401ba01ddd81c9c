/* sim_boot.c: starts the simulated driver; the head and tail of each of its calls. */
#include "cuda/sim/sim.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

sim_state sim = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .progressed = PTHREAD_COND_INITIALIZER,
    .policy = CUSIM_RANDOM,
    .races = CUSIM_RACES_REPORT,
    .seed = 1,
    .random_state = 1,
    .idle_ms = 250,
    .patience_ms = 50,
    .stall_ms = 2000,
    .pinned_capacity_bytes = SIZE_MAX,
    .failed_call = "",
    .devices = {{.context.device = 0, .capacity_bytes = (size_t)4 << 30},
                {.context.device = 1, .capacity_bytes = (size_t)4 << 30},
                {.context.device = 2, .capacity_bytes = (size_t)4 << 30},
                {.context.device = 3, .capacity_bytes = (size_t)4 << 30}},
};

static atomic_bool is_forked;
static _Thread_local sim_caller caller;

/* --- entering and leaving --- */

static const char *const call_names[CALL_COUNT] = {
#define SIM_CALL_NAME(name) #name,
    SIM_CALLS(SIM_CALL_NAME)
#undef SIM_CALL_NAME
};

const char *sim_call_name(sim_call call) {
  return call_names[call];
}

sim_call sim_call_find(const char *name) {
  for (int call = 0; call < CALL_COUNT; call++) {
    if (strcmp(call_names[call], name) == 0) return (sim_call)call;
  }
  return CALL_COUNT;
}

uint64_t sim_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sim_lock(void) {
  pthread_mutex_lock(&sim.lock);
}

void sim_unlock(void) {
  pthread_mutex_unlock(&sim.lock);
}

/* Both the plan for this call and the one for any call count. */
static CUresult planned_failure(sim_call call) {
  CUresult result = CUDA_SUCCESS;
  const bool is_about_errors = call == CALL_cuGetErrorName || call == CALL_cuGetErrorString;
  sim_failure *plans[] = {&sim.failures[call], is_about_errors ? NULL : &sim.failures[CALL_COUNT]};
  for (int i = 0; i < 2; i++) {
    if (plans[i] == NULL || plans[i]->countdown == 0) continue;
    if (--plans[i]->countdown == 0) result = plans[i]->result;
  }
  if (result != CUDA_SUCCESS) {
    sim.failure_count++;
    sim.failed_call = call_names[call];
  }
  return result;
}

static CUresult check_needs(int needs) {
  if (needs == SIM_NEEDS_NOTHING) return CUDA_SUCCESS;
  if (!sim.is_initialised) return CUDA_ERROR_NOT_INITIALIZED;
  if (needs == SIM_NEEDS_INIT) return CUDA_SUCCESS;
  const CUcontext current = sim_current();
  if (current == NULL) return CUDA_ERROR_INVALID_CONTEXT;
  if (current->retain_count == 0) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  return current->error;
}

CUresult sim_enter(sim_call call, int needs, const void *site) {
  /* The child has the driver's memory but not its thread, and may have a lock that nobody opens. */
  if (atomic_load(&is_forked)) return CUDA_ERROR_NOT_INITIALIZED;
  if (sim_on_host_thread()) return CUDA_ERROR_NOT_PERMITTED;
  sim_lock();
  sim.calls[call]++;
  caller = (sim_caller){.what = call_names[call], .number = ++sim.call_count, .site = site};
  if (sim.pending_count != 0) sim.last_call_ns = sim_now_ns();
  CUresult result = planned_failure(call);
  if (result == CUDA_SUCCESS) result = check_needs(needs);
  if (result == CUDA_SUCCESS) result = sim_capture_permits(call);
  if (result != CUDA_SUCCESS) sim_unlock();
  return result;
}

const sim_caller *sim_caller_now(void) {
  return &caller;
}

CUresult sim_leave(CUresult result) {
  sim_unlock();
  return result;
}

/* --- starting --- */

static void note_fork(void) {
  atomic_store(&is_forked, true);
}

CUresult cuInit(unsigned flags) {
  SIM_ENTER(cuInit, SIM_NEEDS_NOTHING);
  if (flags != 0) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (sim.is_initialised) return sim_leave(CUDA_SUCCESS);
  if (!sim_settings_read()) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!sim_window_open()) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  pthread_atfork(NULL, NULL, note_fork);
  sim.is_initialised = true;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuDriverGetVersion(int *version) {
  SIM_ENTER(cuDriverGetVersion, SIM_NEEDS_NOTHING);
  if (version == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  *version = 13000;
  return sim_leave(CUDA_SUCCESS);
}
