/* fidelity_streams.c: contexts, streams, events, host functions and waits for values. */
#include <stdint.h>
#include <string.h>

#include "tests/gpu/fidelity.h"

enum { BYTES = 4096 };

static CUdeviceptr device_memory(size_t size_bytes) {
  CUdeviceptr address = 0;
  STEP(cu.cuMemAlloc(&address, size_bytes), OK);
  return address;
}

static unsigned char *host_memory(void) {
  void *address = NULL;
  STEP(cu.cuMemHostAlloc(&address, BYTES, 0), OK);
  memset(address, 0, BYTES);
  return address;
}

/* --- contexts --- */

static void nothing_before_init(void) {
  int count = 0;
  CUdevice device = 0;
  CUcontext context = NULL;
  STEP(cu.cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
  STEP(cu.cuDevicePrimaryCtxRetain(&context, 0), CUDA_ERROR_NOT_INITIALIZED);
  STEP(cu.cuInit(1), INVALID);
  STEP(cu.cuInit(0), OK);
  STEP(cu.cuDeviceGetCount(&count), OK);
  STEP(cu.cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE);
  STEP(cu.cuDeviceGet(&device, count), CUDA_ERROR_INVALID_DEVICE);
  STEP(cu.cuDeviceGet(NULL, 0), INVALID);
}

static void nothing_without_a_context(void) {
  CUcontext context = NULL;
  CUdeviceptr address = 0;
  CUstream stream = NULL;
  CUevent event = NULL;
  STEP(cu.cuInit(0), OK);
  STEP(cu.cuCtxGetCurrent(&context), OK);
  VALUE(context == NULL, 1);
  STEP(cu.cuMemAlloc(&address, BYTES), CUDA_ERROR_INVALID_CONTEXT);
  STEP(cu.cuStreamCreate(&stream, 0), CUDA_ERROR_INVALID_CONTEXT);
  STEP(cu.cuEventCreate(&event, 0), CUDA_ERROR_INVALID_CONTEXT);
  STEP(cu.cuStreamSynchronize(NULL), CUDA_ERROR_INVALID_CONTEXT);
  STEP(cu.cuCtxPopCurrent(&context), CUDA_ERROR_INVALID_CONTEXT);
}

static void primary_context_is_counted(void) {
  CUcontext first = NULL, second = NULL;
  unsigned flags = 0;
  int is_active = -1;
  STEP(cu.cuInit(0), OK);
  STEP(cu.cuDevicePrimaryCtxGetState(0, &flags, &is_active), OK);
  VALUE(is_active, 0);
  STEP(cu.cuDevicePrimaryCtxRelease(0), CUDA_ERROR_INVALID_CONTEXT);
  STEP(cu.cuDevicePrimaryCtxRetain(&first, 0), OK);
  STEP(cu.cuDevicePrimaryCtxRetain(&second, 0), OK);
  VALUE(first == second, 1);
  STEP(cu.cuDevicePrimaryCtxRelease(0), OK);
  STEP(cu.cuDevicePrimaryCtxGetState(0, &flags, &is_active), OK);
  VALUE(is_active, 1);
  STEP(cu.cuDevicePrimaryCtxRelease(0), OK);
  STEP(cu.cuDevicePrimaryCtxGetState(0, &flags, &is_active), OK);
  VALUE(is_active, 0);
  STEP(cu.cuDevicePrimaryCtxRelease(0), CUDA_ERROR_INVALID_CONTEXT);
}

static void a_mistake_does_not_stick(void) {
  CUdeviceptr address = 0;
  fidelity_enter();
  STEP(cu.cuMemFree(12345), INVALID);
  STEP(cu.cuCtxSynchronize(), OK);
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  STEP(cu.cuMemsetD8(address, 1, BYTES), OK);
  STEP(cu.cuMemFree(address), OK);
}

/* --- events --- */

static void an_event_never_recorded_has_passed(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent first = fidelity_event(0), second = fidelity_event(0);
  float took_ms = 0;
  STEP(cu.cuEventQuery(first), OK);
  STEP(cu.cuEventSynchronize(first), OK);
  STEP(cu.cuStreamWaitEvent(stream, first, 0), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuEventElapsedTime(&took_ms, first, second), CUDA_ERROR_INVALID_HANDLE);
  STEP(cu.cuEventRecord(first, stream), OK);
  STEP(cu.cuEventSynchronize(first), OK);
  STEP(cu.cuEventElapsedTime(&took_ms, first, second), CUDA_ERROR_INVALID_HANDLE);
  STEP(cu.cuEventDestroy(first), OK);
  STEP(cu.cuEventDestroy(second), OK);
  STEP(cu.cuStreamDestroy(stream), OK);
}

static void an_event_passes_with_its_stream(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream other = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent start = fidelity_event(0), end = fidelity_event(0);
  const CUdeviceptr address = device_memory(BYTES);
  float took_ms = -1;
  STEP(cu.cuEventRecord(start, stream), OK);
  fidelity_hold(stream);
  STEP(cu.cuEventRecord(end, stream), OK);
  STEP(cu.cuEventQuery(end), CUDA_ERROR_NOT_READY);
  STEP(cu.cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
  STEP(cu.cuEventElapsedTime(&took_ms, start, end), CUDA_ERROR_NOT_READY);
  STEP(cu.cuStreamWaitEvent(other, end, 0), OK);
  STEP(cu.cuMemsetD8Async(address, 1, BYTES, other), OK);
  STEP(cu.cuStreamQuery(other), CUDA_ERROR_NOT_READY);
  fidelity_release();
  STEP(cu.cuStreamSynchronize(other), OK);
  STEP(cu.cuEventQuery(end), OK);
  STEP(cu.cuEventElapsedTime(&took_ms, start, end), OK);
  VALUE(took_ms >= 0, 1);
}

static void a_wait_is_for_what_was_recorded_then(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream other = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  STEP(cu.cuEventRecord(event, stream), OK);
  STEP(cu.cuStreamWaitEvent(other, event, 0), OK);
  fidelity_hold(stream);
  STEP(cu.cuEventRecord(event, stream), OK);
  STEP(cu.cuStreamSynchronize(other), OK);
  STEP(cu.cuEventQuery(event), CUDA_ERROR_NOT_READY);
  fidelity_release();
  STEP(cu.cuStreamSynchronize(stream), OK);
}

static void a_destroyed_event_is_waited_for_all_the_same(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream other = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  const CUdeviceptr address = device_memory(BYTES);
  fidelity_hold(stream);
  STEP(cu.cuEventRecord(event, stream), OK);
  STEP(cu.cuStreamWaitEvent(other, event, 0), OK);
  STEP(cu.cuEventDestroy(event), OK);
  CUevent next = fidelity_event(CU_EVENT_DISABLE_TIMING); /* perhaps at the same address */
  STEP(cu.cuEventQuery(next), OK);
  STEP(cu.cuMemsetD8Async(address, 1, BYTES, other), OK);
  STEP(cu.cuStreamQuery(other), CUDA_ERROR_NOT_READY);
  fidelity_release();
  STEP(cu.cuStreamSynchronize(other), OK);
}

static void events_have_flags(void) {
  fidelity_enter();
  CUevent event = NULL;
  float took_ms = 0;
  STEP(cu.cuEventCreate(&event, 0x80), INVALID);
  STEP(cu.cuEventCreate(&event, CU_EVENT_INTERPROCESS), INVALID);
  CUstream stream = fidelity_stream(0);
  CUevent timed = fidelity_event(0), plain = fidelity_event(CU_EVENT_DISABLE_TIMING);
  STEP(cu.cuEventRecord(timed, stream), OK);
  STEP(cu.cuEventRecord(plain, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuEventElapsedTime(&took_ms, timed, plain), CUDA_ERROR_INVALID_HANDLE);
  STEP(cu.cuStreamWaitEvent(stream, timed, 0x80), INVALID);
  STEP(cu.cuStreamWaitEvent(stream, NULL, 0), CUDA_ERROR_INVALID_HANDLE);
  STEP(cu.cuEventRecord(NULL, stream), CUDA_ERROR_INVALID_HANDLE);
}

/* --- streams --- */

static void stream_ids_never_come_back(void) {
  fidelity_enter();
  unsigned long long first = 0, second = 0, third = 0, null_id = 0, legacy = 0;
  CUstream a = fidelity_stream(0), b = fidelity_stream(0);
  STEP(cu.cuStreamGetId(a, &first), OK);
  STEP(cu.cuStreamGetId(b, &second), OK);
  VALUE(first != second, 1);
  STEP(cu.cuStreamDestroy(a), OK);
  a = fidelity_stream(0);
  STEP(cu.cuStreamGetId(a, &third), OK);
  VALUE(third != first && third != second, 1);
  STEP(cu.cuStreamGetId(NULL, &null_id), OK);
  STEP(cu.cuStreamGetId(CU_STREAM_LEGACY, &legacy), OK);
  VALUE(null_id == legacy, 1);
  STEP(cu.cuStreamGetId(CU_STREAM_PER_THREAD, &third), OK);
  VALUE(third != legacy, 1);
}

static void streams_have_flags_and_priorities(void) {
  fidelity_enter();
  CUstream stream = NULL;
  unsigned flags = 99;
  int least = 0, greatest = 0, priority = 0;
  STEP(cu.cuStreamCreate(&stream, 0x80), INVALID);
  STEP(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), OK);
  STEP(cu.cuStreamGetFlags(stream, &flags), OK);
  VALUE(flags, CU_STREAM_NON_BLOCKING);
  STEP(cu.cuCtxGetStreamPriorityRange(&least, &greatest), OK);
  VALUE(greatest <= least, 1);
  STEP(cu.cuStreamCreateWithPriority(&stream, 0, greatest - 100), OK);
  STEP(cu.cuStreamGetPriority(stream, &priority), OK);
  VALUE(priority == greatest, 1);
}

static void a_destroyed_stream_does_its_work(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  unsigned char *host = host_memory();
  const CUdeviceptr address = device_memory(BYTES);
  fidelity_hold(stream);
  STEP(cu.cuMemsetD8Async(address, 7, BYTES, stream), OK);
  STEP(cu.cuMemcpyDtoHAsync(host, address, BYTES, stream), OK);
  STEP(cu.cuStreamDestroy(stream), OK);
  fidelity_release();
  STEP(cu.cuCtxSynchronize(), OK);
  VALUE(host[0] == 7 && host[BYTES - 1] == 7, 1);
}

static void the_legacy_stream_waits_for_blocking_streams(void) {
  fidelity_enter();
  CUstream blocking = fidelity_stream(CU_STREAM_DEFAULT);
  CUstream free_stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  const CUdeviceptr address = device_memory(BYTES), other = device_memory(BYTES);
  fidelity_hold(blocking);
  STEP(cu.cuMemsetD8Async(address, 1, BYTES, NULL), OK);
  STEP(cu.cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
  STEP(cu.cuMemsetD8Async(other, 1, BYTES, free_stream), OK);
  STEP(cu.cuStreamSynchronize(free_stream), OK);
  fidelity_release();
  STEP(cu.cuStreamSynchronize(NULL), OK);
  fidelity_hold(free_stream);
  STEP(cu.cuMemsetD8Async(address, 2, BYTES, NULL), OK);
  STEP(cu.cuStreamSynchronize(NULL), OK);
  STEP(cu.cuStreamQuery(free_stream), CUDA_ERROR_NOT_READY);
  fidelity_release();
  STEP(cu.cuCtxSynchronize(), OK);
}

typedef struct thread_work {
  CUdeviceptr address;
  unsigned char *host;
} thread_work;

static void work_on_own_stream(void *argument) {
  const thread_work *work = argument;
  fidelity_hold(CU_STREAM_PER_THREAD);
  STEP(cu.cuMemsetD8Async(work->address, 9, BYTES, CU_STREAM_PER_THREAD), OK);
  STEP(cu.cuMemcpyDtoHAsync(work->host, work->address, BYTES, CU_STREAM_PER_THREAD), OK);
  STEP(cu.cuStreamQuery(CU_STREAM_PER_THREAD), CUDA_ERROR_NOT_READY);
}

static void a_thread_may_end_before_its_stream(void) {
  fidelity_enter();
  thread_work work = {device_memory(BYTES), host_memory()};
  fidelity_on_thread(work_on_own_stream, &work);
  fidelity_release();
  STEP(cu.cuCtxSynchronize(), OK);
  VALUE(work.host[BYTES - 1], 9);
  STEP(cu.cuStreamQuery(CU_STREAM_PER_THREAD), OK); /* this thread's own */
}

/* --- host functions and values --- */

static CUresult answers[3];

static void CUDA_CB call_the_driver(void *argument) {
  CUdeviceptr address = 0;
  CUevent event = NULL;
  answers[0] = cu.cuStreamQuery(argument);
  answers[1] = cu.cuMemAlloc(&address, BYTES);
  answers[2] = cu.cuEventCreate(&event, 0);
}

/* "May" be refused, says the manual. */
static void host_functions_call_no_driver(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  STEP(cu.cuLaunchHostFunc(stream, call_the_driver, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(answers[0], CUDA_ERROR_NOT_PERMITTED, CUDA_ERROR_NOT_READY, OK);
  STEP(answers[1], CUDA_ERROR_NOT_PERMITTED, CUDA_ERROR_INVALID_CONTEXT, OK);
  STEP(answers[2], CUDA_ERROR_NOT_PERMITTED, CUDA_ERROR_INVALID_CONTEXT, OK);
  STEP(cu.cuLaunchHostFunc(stream, NULL, NULL), INVALID);
}

static void streams_wait_for_values(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream other = fidelity_stream(CU_STREAM_NON_BLOCKING);
  const CUdeviceptr flag = device_memory(BYTES);
  STEP(cu.cuMemsetD8(flag, 0, BYTES), OK);
  STEP(cu.cuStreamWaitValue32(stream, flag, 5, CU_STREAM_WAIT_VALUE_GEQ), OK);
  STEP(cu.cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
  STEP(cu.cuStreamWriteValue32(other, flag, 6, 0), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuStreamWaitValue32(stream, flag, 6, CU_STREAM_WAIT_VALUE_EQ), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuStreamWaitValue32(stream, flag + 1, 6, CU_STREAM_WAIT_VALUE_EQ), INVALID);
  STEP(cu.cuStreamWriteValue32(stream, flag + 2, 6, 0), INVALID);
  STEP(cu.cuStreamWriteValue32(stream, flag, 6, 0x80), INVALID);
}

#define CASE(function) \
  { #function, function }
const fidelity_case fidelity_streams[] = {
    CASE(nothing_before_init),
    CASE(nothing_without_a_context),
    CASE(primary_context_is_counted),
    CASE(a_mistake_does_not_stick),
    CASE(an_event_never_recorded_has_passed),
    CASE(an_event_passes_with_its_stream),
    CASE(a_wait_is_for_what_was_recorded_then),
    CASE(a_destroyed_event_is_waited_for_all_the_same),
    CASE(events_have_flags),
    CASE(stream_ids_never_come_back),
    CASE(streams_have_flags_and_priorities),
    CASE(a_destroyed_stream_does_its_work),
    CASE(the_legacy_stream_waits_for_blocking_streams),
    CASE(a_thread_may_end_before_its_stream),
    CASE(host_functions_call_no_driver),
    CASE(streams_wait_for_values),
    {0},
};
