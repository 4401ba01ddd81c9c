/* fidelity.c: what the small programs share: the driver's calls, the transcript, held streams. */
#include "tests/gpu/fidelity.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PATIENCE_S = 2 };

fidelity_driver cu;

static bool has_failed;
static CUcontext current;
static sem_t gate;
static int held_count;

static const char *name_of(CUresult answer) {
  static const struct {
    CUresult answer;
    const char *name;
  } names[] = {
#define NAME(code) {code, #code}
      NAME(CUDA_SUCCESS),
      NAME(CUDA_ERROR_INVALID_VALUE),
      NAME(CUDA_ERROR_OUT_OF_MEMORY),
      NAME(CUDA_ERROR_NOT_INITIALIZED),
      NAME(CUDA_ERROR_INVALID_DEVICE),
      NAME(CUDA_ERROR_INVALID_CONTEXT),
      NAME(CUDA_ERROR_ALREADY_MAPPED),
      NAME(CUDA_ERROR_NOT_MAPPED),
      NAME(CUDA_ERROR_INVALID_HANDLE),
      NAME(CUDA_ERROR_ILLEGAL_STATE),
      NAME(CUDA_ERROR_NOT_FOUND),
      NAME(CUDA_ERROR_NOT_READY),
      NAME(CUDA_ERROR_ILLEGAL_ADDRESS),
      NAME(CUDA_ERROR_LAUNCH_TIMEOUT),
      NAME(CUDA_ERROR_CONTEXT_IS_DESTROYED),
      NAME(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED),
      NAME(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED),
      NAME(CUDA_ERROR_NOT_PERMITTED),
      NAME(CUDA_ERROR_NOT_SUPPORTED),
      NAME(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
      NAME(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED),
      NAME(CUDA_ERROR_STREAM_CAPTURE_MERGE),
      NAME(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED),
      NAME(CUDA_ERROR_STREAM_CAPTURE_UNJOINED),
      NAME(CUDA_ERROR_STREAM_CAPTURE_ISOLATION),
      NAME(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT),
      NAME(CUDA_ERROR_CAPTURED_EVENT),
      NAME(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD),
      NAME(CUDA_ERROR_UNKNOWN),
#undef NAME
  };
  for (size_t i = 0; i < FIDELITY_COUNT(names); i++) {
    if (names[i].answer == answer) return names[i].name + sizeof "CUDA_" - 1;
  }
  return "?";
}

static void print_verdict(bool is_allowed) {
  if (!is_allowed) has_failed = true;
  printf("%s\n", is_allowed ? "" : "   <-- DIFFERS");
  fflush(stdout);
}

void fidelity_step(const char *words, CUresult answer, const CUresult *allowed, size_t count) {
  bool is_allowed = false;
  printf("  %s: %s (%d)", words, name_of(answer), (int)answer);
  for (size_t i = 0; i < count; i++) is_allowed |= answer == allowed[i];
  for (size_t i = 0; i < count && (count > 1 || !is_allowed); i++) {
    printf("%s%s", i == 0 ? "; may be " : ", ", name_of(allowed[i]));
  }
  print_verdict(is_allowed);
}

void fidelity_value(const char *words, long long answer, const long long *allowed, size_t count) {
  bool is_allowed = false;
  printf("  %s: %lld", words, answer);
  for (size_t i = 0; i < count; i++) is_allowed |= answer == allowed[i];
  for (size_t i = 0; i < count && (count > 1 || !is_allowed); i++) {
    printf("%s%lld", i == 0 ? "; may be " : ", ", allowed[i]);
  }
  print_verdict(is_allowed);
}

int fidelity_status(void) {
  return has_failed ? 1 : 0;
}

/* What a case stands on, and does not ask about. */
static void need(CUresult answer, const char *what) {
  if (answer == CUDA_SUCCESS) return;
  printf("  %s: %s (%d)   <-- FAILED\n", what, name_of(answer), (int)answer);
  fflush(stdout);
  _Exit(1);
}

/* What a driver loads or makes at first use it may do behind all streams: before one is held. */
static void warm_up(void) {
  CUdeviceptr address = 0;
  unsigned char byte = 0;
  need(cu.cuMemAlloc(&address, 64), "cuMemAlloc");
  need(cu.cuMemsetD8(address, 0, 64), "cuMemsetD8");
  need(cu.cuMemcpyDtoH(&byte, address, 1), "cuMemcpyDtoH");
  need(cu.cuMemFree(address), "cuMemFree");
}

CUcontext fidelity_enter(void) {
  need(cu.cuInit(0), "cuInit");
  need(cu.cuDevicePrimaryCtxRetain(&current, 0), "cuDevicePrimaryCtxRetain");
  need(cu.cuCtxSetCurrent(current), "cuCtxSetCurrent");
  warm_up();
  return current;
}

CUstream fidelity_stream(unsigned flags) {
  CUstream stream = NULL;
  need(cu.cuStreamCreate(&stream, flags), "cuStreamCreate");
  return stream;
}

CUevent fidelity_event(unsigned flags) {
  CUevent event = NULL;
  need(cu.cuEventCreate(&event, flags), "cuEventCreate");
  return event;
}

static void CUDA_CB wait_at_gate(void *argument) {
  (void)argument;
  while (sem_wait(&gate) != 0) {
  }
}

void fidelity_hold(CUstream stream) {
  if (held_count++ == 0) sem_init(&gate, 0, 0);
  need(cu.cuLaunchHostFunc(stream, wait_at_gate, NULL), "cuLaunchHostFunc");
}

void fidelity_release(void) {
  for (; held_count > 0; held_count--) sem_post(&gate);
}

typedef struct thread_call {
  void (*function)(void *argument);
  void *argument;
} thread_call;

static void *run_thread(void *argument) {
  const thread_call *call = argument;
  need(cu.cuCtxSetCurrent(current), "cuCtxSetCurrent on a thread");
  call->function(call->argument);
  return NULL;
}

void fidelity_on_thread(void (*function)(void *argument), void *argument) {
  thread_call call = {function, argument};
  pthread_t thread;
  if (pthread_create(&thread, NULL, run_thread, &call) != 0) abort();
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += PATIENCE_S;
  if (pthread_timedjoin_np(thread, NULL, &until) == 0) return;
  fidelity_release(); /* a driver may let a thread end behind its stream only */
  pthread_join(thread, NULL);
}
