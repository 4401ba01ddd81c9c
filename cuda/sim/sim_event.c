/* sim_event.c: events: a handle on the mark of its latest record. */
#include "cuda/sim/sim.h"

static struct CUevent_st events[SIM_EVENTS_MAX];
static struct CUevent_st *free_events; /* the one freed last comes first */
static size_t used_events;             /* of the array, ever */

static bool is_event(CUevent event) {
  const uintptr_t address = (uintptr_t)event;
  const uintptr_t start = (uintptr_t)events;
  if (address < start || address >= start + sizeof events) return false;
  return (address - start) % sizeof events[0] == 0 && event->is_alive;
}

bool sim_event_is_alive(CUevent event) {
  return is_event(event);
}

/* Work that was enqueued with the event goes on with the mark. */
static void give_back(CUevent event) {
  sim_mark_release(event->latest);
  event->latest = NULL;
  sim_capture_forget_event(event);
  event->is_alive = false;
  event->next_free = free_events;
  free_events = event;
  sim.event_count--;
}

void sim_events_abandon(int device) {
  for (size_t i = 0; i < used_events; i++) {
    if (!events[i].is_alive || events[i].device != device) continue;
    give_back(&events[i]);
    sim.abandoned_count++;
  }
}

CUresult sim_event_make(unsigned flags, CUevent *event) {
  CUevent made = free_events;
  if (made != NULL) {
    free_events = made->next_free;
  } else if (used_events < SIM_EVENTS_MAX) {
    made = &events[used_events++];
  } else {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  made->is_alive = true;
  made->device = sim_current()->device;
  made->flags = flags;
  made->latest = NULL;
  made->counters = NULL;
  made->is_opened = false;
  sim.event_count++;
  *event = made;
  return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned flags) {
  SIM_ENTER(cuEventCreate, SIM_NEEDS_CONTEXT);
  const unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
  const bool is_shared = (flags & CU_EVENT_INTERPROCESS) != 0;
  if (event == NULL || (flags & ~known) != 0 ||
      (is_shared && (flags & CU_EVENT_DISABLE_TIMING) == 0)) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  CUevent made;
  const CUresult result = sim_event_make(flags, &made);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  if (is_shared && !sim_ipc_event_create(made)) {
    give_back(made);
    return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  }
  *event = made;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuEventDestroy(CUevent event) {
  SIM_ENTER(cuEventDestroy, SIM_NEEDS_CONTEXT);
  if (!is_event(event)) return sim_leave(CUDA_ERROR_INVALID_HANDLE);
  give_back(event);
  return sim_leave(CUDA_SUCCESS);
}

static CUresult record(CUevent event, CUstream stream) {
  sim_queue *queue;
  if (!is_event(event)) return CUDA_ERROR_INVALID_HANDLE;
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  if (event->device != queue->device) return CUDA_ERROR_INVALID_HANDLE;
  if (event->is_opened) return CUDA_ERROR_NOT_SUPPORTED; /* the simulator's limit: owners record */
  if (event->counters != NULL && queue->capture != NULL) return sim_capture_refuse(queue);
  if (queue->capture != NULL) return sim_capture_record(event, queue);
  sim_op *op = sim_op_create(queue, KIND_RECORD);
  if (op == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  sim_mark *mark = sim_mark_retain(op->mark);
  sim_mark *earlier = event->latest;
  event->latest = mark; /* before anything can run: other threads may come in between */
  const CUresult enqueued = sim_op_enqueue(op);
  if (enqueued != CUDA_SUCCESS) {
    event->latest = earlier;
    earlier = mark;
  } else {
    sim_capture_forget_event(event);
  }
  sim_mark_release(earlier);
  if (enqueued == CUDA_SUCCESS && event->counters != NULL) {
    return sim_ipc_event_record(event, stream);
  }
  return enqueued;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  SIM_ENTER(cuEventRecord, SIM_NEEDS_CONTEXT);
  return sim_leave(record(event, stream));
}

/* CU_EVENT_RECORD_EXTERNAL is for captures, where it would make a node of its own. */
CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
  SIM_ENTER(cuEventRecordWithFlags, SIM_NEEDS_CONTEXT);
  if (flags != CU_EVENT_RECORD_DEFAULT) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  return sim_leave(record(event, stream));
}

/* Binds what the event marks now: recording it again later changes nothing for this wait. */
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
  SIM_ENTER(cuStreamWaitEvent, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  if (flags != CU_EVENT_WAIT_DEFAULT) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!is_event(event)) return sim_leave(CUDA_ERROR_INVALID_HANDLE);
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  if (event->is_opened && queue->capture != NULL) return sim_leave(sim_capture_refuse(queue));
  if (event->is_opened) return sim_leave(sim_ipc_event_wait(event, stream));
  if (queue->capture != NULL || event->capture != NULL) {
    return sim_leave(sim_capture_wait(queue, event));
  }
  if (event->latest == NULL) return sim_leave(CUDA_SUCCESS); /* never recorded */
  sim_op *op = sim_op_create(queue, KIND_WAIT);
  if (op == NULL) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  op->as.wait_for = sim_mark_retain(event->latest);
  return sim_leave(sim_op_enqueue(op));
}

CUresult cuEventQuery(CUevent event) {
  SIM_ENTER(cuEventQuery, SIM_NEEDS_CONTEXT);
  if (!is_event(event)) return sim_leave(CUDA_ERROR_INVALID_HANDLE);
  if (event->capture != NULL) return sim_leave(sim_capture_refuse_event(event));
  const int device = event->device;
  const bool is_done =
      event->is_opened ? sim_ipc_event_is_done(event) : sim_host_ask(event->latest);
  if (sim_context_error(device) != CUDA_SUCCESS) return sim_leave(sim_context_error(device));
  return sim_leave(is_done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY);
}

CUresult cuEventSynchronize(CUevent event) {
  SIM_ENTER(cuEventSynchronize, SIM_NEEDS_CONTEXT);
  if (!is_event(event)) return sim_leave(CUDA_ERROR_INVALID_HANDLE);
  if (event->capture != NULL) return sim_leave(sim_capture_refuse_event(event));
  const int device = event->device;
  if (event->is_opened) return sim_leave(sim_ipc_event_synchronize(event));
  if (event->latest == NULL) return sim_leave(sim_context_error(device));
  const uint64_t queue_id = event->latest->queue_id;
  sim_host_wait_for(event->latest);
  sim_pools_observe(queue_id);
  return sim_leave(sim_context_error(device));
}

/* Recorded, with timing, and not in a capture last. */
static CUresult check_timed(CUevent event) {
  if (!is_event(event) || (event->flags & CU_EVENT_DISABLE_TIMING) != 0) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  if (event->capture != NULL) return sim_capture_refuse_event(event);
  return event->latest != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* Simulated time: no claim about any GPU, but the same in every run of a seed. */
CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  SIM_ENTER(cuEventElapsedTime, SIM_NEEDS_CONTEXT);
  if (milliseconds == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  CUresult result = check_timed(start);
  if (result == CUDA_SUCCESS) result = check_timed(end);
  if (result == CUDA_SUCCESS && start->device != end->device) result = CUDA_ERROR_INVALID_HANDLE;
  if (result != CUDA_SUCCESS) return sim_leave(result);
  const int device = start->device;
  sim_mark *first = sim_mark_retain(start->latest);
  sim_mark *last = sim_mark_retain(end->latest);
  const bool is_done = sim_host_ask(first) && sim_host_ask(last);
  result = is_done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
  if (sim_context_error(device) != CUDA_SUCCESS) result = sim_context_error(device);
  if (result == CUDA_SUCCESS) {
    const int64_t elapsed_ns = (int64_t)(last->done_ns - first->done_ns);
    *milliseconds = (float)((double)elapsed_ns / 1e6);
  }
  sim_mark_release(first);
  sim_mark_release(last);
  return sim_leave(result);
}
