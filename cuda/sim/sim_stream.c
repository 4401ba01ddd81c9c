/* sim_stream.c: streams: handles, which come back, over queues, which do not. */
#include "cuda/sim/sim.h"

#include <stdlib.h>

static struct CUstream_st streams[SIM_STREAMS_MAX];
static struct CUstream_st *free_streams; /* the one freed last comes first */
static size_t used_streams;              /* of the array, ever */

/* --- queues --- */

sim_queue *sim_queue_create(int device, unsigned flags, bool is_legacy) {
  sim_queue *queue = calloc(1, sizeof *queue);
  if (queue == NULL) return NULL;
  queue->id = ++sim.queue_ids;
  queue->device = device;
  queue->flags = flags;
  queue->is_legacy = is_legacy;
  sim_timeline_open(queue);
  queue->previous = sim.queues_last;
  if (sim.queues_last != NULL) {
    sim.queues_last->next = queue;
  } else {
    sim.queues = queue;
  }
  sim.queues_last = queue;
  return queue;
}

void sim_queue_detach(sim_queue *queue) {
  queue->is_detached = true;
  sim_capture_drop(queue);
  if (queue->first != NULL) return; /* the end of its last operation comes here again */
  if (queue->previous != NULL) {
    queue->previous->next = queue->next;
  } else {
    sim.queues = queue->next;
  }
  if (queue->next != NULL) {
    queue->next->previous = queue->previous;
  } else {
    sim.queues_last = queue->previous;
  }
  sim_mark_release(queue->tail);
  sim_timeline_end(queue->timeline);
  free(queue);
}

/* --- handles --- */

static bool is_stream(CUstream stream) {
  const uintptr_t address = (uintptr_t)stream;
  const uintptr_t start = (uintptr_t)streams;
  if (address < start || address >= start + sizeof streams) return false;
  return (address - start) % sizeof streams[0] == 0 && stream->queue != NULL;
}

CUresult sim_queue_of(CUstream stream, sim_queue **queue) {
  if (stream == CU_STREAM_PER_THREAD || (stream == NULL && sim_null_is_per_thread())) {
    *queue = sim_thread_queue();
    if (*queue == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  } else if (stream == NULL || stream == CU_STREAM_LEGACY) {
    *queue = sim_current()->legacy;
  } else if (is_stream(stream)) {
    *queue = stream->queue;
  } else {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  return sim_context_error((*queue)->device);
}

CUresult sim_queue_to_enqueue(CUstream stream, sim_queue **queue) {
  const CUresult result = sim_queue_of(stream, queue);
  if (result != CUDA_SUCCESS) return result;
  if ((*queue)->device != sim_current()->device) return CUDA_ERROR_INVALID_CONTEXT;
  return sim_capture_permits_legacy(*queue);
}

void sim_streams_abandon(int device) {
  for (size_t i = 0; i < used_streams; i++) {
    if (streams[i].queue == NULL || streams[i].queue->device != device) continue;
    sim_queue_detach(streams[i].queue);
    streams[i].queue = NULL;
    streams[i].next_free = free_streams;
    free_streams = &streams[i];
    sim.stream_count--;
    sim.abandoned_count++;
  }
}

enum { PRIORITY_LEAST = 0, PRIORITY_GREATEST = -5 };

/* Priorities order nothing that a program could rely on; they are only remembered. */
static CUresult create_stream(CUstream *stream, unsigned flags, int priority) {
  if (stream == NULL || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (free_streams == NULL && used_streams == SIM_STREAMS_MAX) return CUDA_ERROR_OUT_OF_MEMORY;
  sim_queue *queue = sim_queue_create(sim_current()->device, flags, /*is_legacy=*/false);
  if (queue == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  CUstream made = free_streams;
  if (made != NULL) {
    free_streams = made->next_free;
  } else {
    made = &streams[used_streams++];
  }
  made->queue = queue;
  queue->priority = priority > PRIORITY_LEAST      ? PRIORITY_LEAST
                    : priority < PRIORITY_GREATEST ? PRIORITY_GREATEST
                                                   : priority;
  sim.stream_count++;
  *stream = made;
  return CUDA_SUCCESS;
}

/* --- entry points --- */

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
  SIM_ENTER(cuStreamCreate, SIM_NEEDS_CONTEXT);
  return sim_leave(create_stream(stream, flags, PRIORITY_LEAST));
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
  SIM_ENTER(cuStreamCreateWithPriority, SIM_NEEDS_CONTEXT);
  return sim_leave(create_stream(stream, flags, priority));
}

/* Returns at once; what is queued still runs. */
CUresult cuStreamDestroy(CUstream stream) {
  SIM_ENTER(cuStreamDestroy, SIM_NEEDS_CONTEXT);
  if (!is_stream(stream)) return sim_leave(CUDA_ERROR_INVALID_HANDLE);
  sim_queue_detach(stream->queue);
  stream->queue = NULL;
  stream->next_free = free_streams;
  free_streams = stream;
  sim.stream_count--;
  return sim_leave(CUDA_SUCCESS);
}

/* The default stream's work includes what it would wait for. */
static sim_mark *other_tail(const sim_queue *queue) {
  if (!queue->is_legacy) return NULL;
  for (sim_queue *other = sim.queues; other != NULL; other = other->next) {
    const bool is_blocking = (other->flags & CU_STREAM_NON_BLOCKING) == 0;
    if (other->device == queue->device && is_blocking && other->first != NULL) return other->tail;
  }
  return NULL;
}

/* The queue of a caller that asks or waits for its work. */
static CUresult find_to_wait(CUstream stream, sim_queue **queue) {
  CUresult result = sim_queue_of(stream, queue);
  if (result == CUDA_SUCCESS) result = sim_capture_refuse(*queue);
  return result != CUDA_SUCCESS ? result : sim_capture_permits_legacy(*queue);
}

CUresult cuStreamQuery(CUstream stream) {
  SIM_ENTER(cuStreamQuery, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  const CUresult result = find_to_wait(stream, &queue);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  const int device = queue->device;
  const bool is_legacy = queue->is_legacy;
  const bool is_done =
      is_legacy ? sim_ask(queue->tail) && sim_ask(other_tail(queue)) : sim_host_ask(queue->tail);
  if (is_legacy && is_done) {
    sim_clock_host_learns_all(sim_clock_gather(device, /*blocking_only=*/true));
  }
  if (sim_context_error(device) != CUDA_SUCCESS) return sim_leave(sim_context_error(device));
  return sim_leave(is_done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY);
}

CUresult cuStreamSynchronize(CUstream stream) {
  SIM_ENTER(cuStreamSynchronize, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  const CUresult result = find_to_wait(stream, &queue);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  const int device = queue->device;
  if (!queue->is_legacy) {
    const uint64_t queue_id = queue->id;
    sim_host_wait_for(queue->tail);
    sim_pools_observe(queue_id);
    return sim_leave(sim_context_error(device));
  }
  sim_clock *before = sim_clock_gather(device, /*blocking_only=*/true);
  sim_wait_for(queue->tail);
  for (;;) {
    sim_mark *tail = other_tail(sim.devices[device].context.legacy);
    if (tail == NULL) break;
    sim_wait_for(tail);
  }
  sim_clock_host_learns_all(before);
  sim_pools_observe(0);
  return sim_leave(sim_context_error(device));
}

CUresult cuStreamGetId(CUstream stream, unsigned long long *id) {
  SIM_ENTER(cuStreamGetId, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  const CUresult result = sim_queue_of(stream, &queue);
  if (id == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (result == CUDA_SUCCESS) *id = queue->id;
  return sim_leave(result);
}

CUresult cuStreamGetCtx(CUstream stream, CUcontext *context) {
  SIM_ENTER(cuStreamGetCtx, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  const CUresult result = sim_queue_of(stream, &queue);
  if (context == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (result == CUDA_SUCCESS) *context = &sim.devices[queue->device].context;
  return sim_leave(result);
}

CUresult cuStreamGetFlags(CUstream stream, unsigned *flags) {
  SIM_ENTER(cuStreamGetFlags, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  const CUresult result = sim_queue_of(stream, &queue);
  if (flags == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (result == CUDA_SUCCESS) *flags = queue->flags;
  return sim_leave(result);
}

CUresult cuStreamGetPriority(CUstream stream, int *priority) {
  SIM_ENTER(cuStreamGetPriority, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  const CUresult result = sim_queue_of(stream, &queue);
  if (priority == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (result == CUDA_SUCCESS) *priority = queue->priority;
  return sim_leave(result);
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  SIM_ENTER(cuCtxGetStreamPriorityRange, SIM_NEEDS_CONTEXT);
  if (least != NULL) *least = PRIORITY_LEAST;
  if (greatest != NULL) *greatest = PRIORITY_GREATEST;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *argument) {
  SIM_ENTER(cuLaunchHostFunc, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  if (function == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  sim_op *op = sim_op_create(queue, KIND_CALL);
  if (op == NULL) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  op->as.call.function = function;
  op->as.call.argument = argument;
  return sim_leave(sim_op_enqueue(op));
}
