/* sim_capture.c: stream capture: what becomes a node, what is forbidden meanwhile, and how it
 * ends. */
#include "cuda/sim/sim_graph.h"

#include <stdlib.h>

static struct sim_capture *captures; /* that go on */
static unsigned long long capture_ids;
static uint64_t thread_ids;
static _Thread_local uint64_t own_thread;
static _Thread_local CUstreamCaptureMode own_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

static uint64_t this_thread(void) {
  if (own_thread == 0) own_thread = ++thread_ids;
  return own_thread;
}

/* --- life --- */

static void release(struct sim_capture *capture) {
  if (capture != NULL && --capture->reference_count == 0) free(capture);
}

static void clear(sim_frontier *frontier) {
  free(frontier->nodes);
  *frontier = (sim_frontier){.count = 0};
}

/* The queue is in no capture any more. */
static void part(sim_queue *queue) {
  clear(&queue->frontier);
  release(queue->capture);
  queue->capture = NULL;
}

static void end(struct sim_capture *capture) {
  struct sim_capture **link = &captures;
  while (*link != capture) link = &(*link)->next;
  *link = capture->next;
  capture->is_over = true;
  capture->graph = NULL;
  capture->reference_count++; /* the last stream may be the last to refer to it */
  for (sim_queue *queue = sim.queues; queue != NULL; queue = queue->next) {
    if (queue->capture == capture) part(queue);
  }
  release(capture);
}

static CUresult refuse(struct sim_capture *capture, CUresult result) {
  capture->is_broken = true;
  return result;
}

void sim_capture_drop(sim_queue *queue) {
  struct sim_capture *capture = queue->capture;
  if (capture == NULL) return;
  capture->is_broken = true;
  if (capture->origin != queue) {
    part(queue);
    return;
  }
  sim_graph_destroy(capture->graph); /* nobody can end it any more */
  end(capture);
}

void sim_capture_forget_event(CUevent event) {
  clear(&event->frontier);
  release(event->capture);
  event->capture = NULL;
}

/* --- frontiers --- */

static bool add_to(sim_frontier *frontier, CUgraphNode node) {
  for (size_t i = 0; i < frontier->count; i++) {
    if (frontier->nodes[i] == node) return true;
  }
  CUgraphNode *grown = realloc(frontier->nodes, (frontier->count + 1) * sizeof *grown);
  if (grown == NULL) return false;
  frontier->nodes = grown;
  grown[frontier->count++] = node;
  return true;
}

static bool add_all(sim_frontier *frontier, const sim_frontier *more) {
  for (size_t i = 0; i < more->count; i++) {
    if (!add_to(frontier, more->nodes[i])) return false;
  }
  return true;
}

/* Marks the node and all that it waits for. */
static void mark(CUgraphNode node) {
  if (node->is_marked) return;
  node->is_marked = true;
  for (size_t i = 0; i < node->dependency_count; i++) mark(node->dependencies[i]);
}

/* Whether the origin waits, in the end, for all work of the streams that were drawn in. */
static bool is_joined(const struct sim_capture *capture) {
  for (CUgraphNode node = capture->graph->first; node != NULL; node = node->next) {
    node->is_marked = false;
  }
  const sim_frontier *last = &capture->origin->frontier;
  for (size_t i = 0; i < last->count; i++) mark(last->nodes[i]);
  for (const sim_queue *queue = sim.queues; queue != NULL; queue = queue->next) {
    for (size_t i = 0; queue->capture == capture && i < queue->frontier.count; i++) {
      if (!queue->frontier.nodes[i]->is_marked) return false;
    }
  }
  return true;
}

/* --- what other calls ask --- */

/* May conflict with a capture that it has nothing to do with: it allocates, frees or waits. */
static bool is_unsafe(sim_call call) {
  switch ((int)call) {
    case CALL_cuMemAlloc:
    case CALL_cuMemAllocPitch:
    case CALL_cuMemFree:
    case CALL_cuMemHostAlloc:
    case CALL_cuMemFreeHost:
    case CALL_cuMemHostRegister:
    case CALL_cuMemHostUnregister:
    case CALL_cuMemPoolCreate:
    case CALL_cuMemPoolDestroy:
    case CALL_cuMemPoolTrimTo:
    case CALL_cuMemcpy:
    case CALL_cuMemcpyHtoD:
    case CALL_cuMemcpyDtoH:
    case CALL_cuMemcpyDtoD:
    case CALL_cuMemsetD8:
    case CALL_cuStreamQuery:
    case CALL_cuStreamSynchronize:
    case CALL_cuEventQuery:
    case CALL_cuEventSynchronize:
    case CALL_cuModuleLoadData:
    case CALL_cuModuleLoadDataEx:
    case CALL_cuModuleUnload:
      return true;
    default:
      return false;
  }
}

CUresult sim_capture_permits(sim_call call) {
  if (captures == NULL || own_mode == CU_STREAM_CAPTURE_MODE_RELAXED || !is_unsafe(call)) {
    return CUDA_SUCCESS;
  }
  CUresult result = CUDA_SUCCESS;
  for (struct sim_capture *capture = captures; capture != NULL; capture = capture->next) {
    const bool is_own = capture->thread == this_thread();
    const bool is_forbidden = is_own ? capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED
                                     : own_mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
                                           capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (is_forbidden) result = refuse(capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  }
  return result;
}

CUresult sim_capture_permits_legacy(const sim_queue *queue) {
  if (!queue->is_legacy || captures == NULL) return CUDA_SUCCESS;
  CUresult result = CUDA_SUCCESS;
  for (sim_queue *other = sim.queues; other != NULL; other = other->next) {
    const bool is_blocking = (other->flags & CU_STREAM_NON_BLOCKING) == 0;
    if (other->capture == NULL || other->device != queue->device || !is_blocking) continue;
    result = refuse(other->capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  }
  return result;
}

CUresult sim_capture_refuse(const sim_queue *queue) {
  if (queue->capture == NULL) return CUDA_SUCCESS;
  return refuse(queue->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

CUresult sim_capture_refuse_all(int device) {
  CUresult result = CUDA_SUCCESS;
  for (const sim_queue *queue = sim.queues; queue != NULL; queue = queue->next) {
    if (queue->device == device && sim_capture_refuse(queue) != CUDA_SUCCESS) {
      result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
  }
  return result;
}

CUresult sim_capture_refuse_event(CUevent event) {
  if (event->capture == NULL) return CUDA_SUCCESS;
  return refuse(event->capture, CUDA_ERROR_CAPTURED_EVENT);
}

bool sim_capture_fills(CUgraph graph) {
  const struct sim_capture *capture = captures;
  while (capture != NULL && capture->graph != graph) capture = capture->next;
  return capture != NULL;
}

/* --- what becomes of work --- */

CUresult sim_capture_take(sim_op *op) {
  sim_queue *queue = op->queue;
  struct sim_capture *capture = queue->capture;
  CUresult result = CUDA_SUCCESS;
  if (capture->is_broken) {
    result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  } else if (op->kind == KIND_LEND || op->kind == KIND_TAKE) {
    result = refuse(capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  } else {
    sim_frontier next = {.count = 0};
    CUgraphNode node = sim_graph_add(capture->graph, op, &queue->frontier);
    if (node == NULL || !add_to(&next, node)) {
      result = refuse(capture, CUDA_ERROR_OUT_OF_MEMORY);
    } else {
      clear(&queue->frontier);
      queue->frontier = next;
    }
  }
  sim_op_discard(op);
  return result;
}

CUresult sim_capture_record(CUevent event, sim_queue *queue) {
  struct sim_capture *capture = queue->capture;
  if (capture->is_broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  sim_frontier frontier = {.count = 0};
  if (!add_all(&frontier, &queue->frontier)) {
    clear(&frontier);
    return refuse(capture, CUDA_ERROR_OUT_OF_MEMORY);
  }
  sim_capture_forget_event(event);
  event->frontier = frontier;
  event->capture = capture;
  capture->reference_count++;
  return CUDA_SUCCESS;
}

/* The stream waits for an event that was recorded outside of its capture: a wait that would hold
 * for no launch. One for an event never recorded is refused, too. */
static CUresult refuse_outside(sim_queue *queue) {
  if (queue->capture->is_broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  return refuse(queue->capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
}

CUresult sim_capture_wait(sim_queue *queue, CUevent event) {
  struct sim_capture *capture = event->capture;
  if (capture == NULL) return refuse_outside(queue);
  if (capture->is_over) {
    return queue->capture != NULL ? refuse_outside(queue) : CUDA_ERROR_CAPTURED_EVENT;
  }
  if (capture->is_broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (queue->is_legacy) return refuse(capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  if (queue->capture != NULL && queue->capture != capture) {
    refuse(queue->capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
    return refuse(capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
  }
  if (!add_all(&queue->frontier, &event->frontier)) {
    return refuse(capture, CUDA_ERROR_OUT_OF_MEMORY);
  }
  if (queue->capture == NULL) {
    queue->capture = capture;
    capture->reference_count++;
  }
  return CUDA_SUCCESS;
}

/* --- entry points --- */

static bool is_mode(CUstreamCaptureMode mode) {
  return mode == CU_STREAM_CAPTURE_MODE_GLOBAL || mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL ||
         mode == CU_STREAM_CAPTURE_MODE_RELAXED;
}

static CUresult begin(sim_queue *queue, CUstreamCaptureMode mode) {
  if (queue->is_legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (queue->capture != NULL) return CUDA_ERROR_ILLEGAL_STATE;
  struct sim_capture *capture = calloc(1, sizeof *capture);
  CUgraph graph = sim_graph_create();
  if (capture == NULL || graph == NULL) {
    free(capture);
    if (graph != NULL) sim_graph_destroy(graph);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *capture = (struct sim_capture){.next = captures,
                                  .reference_count = 1,
                                  .id = ++capture_ids,
                                  .graph = graph,
                                  .origin = queue,
                                  .mode = mode,
                                  .thread = this_thread()};
  captures = capture;
  queue->capture = capture;
  return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
  SIM_ENTER(cuStreamBeginCapture, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  if (!is_mode(mode)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const CUresult result = sim_queue_of(stream, &queue);
  return sim_leave(result != CUDA_SUCCESS ? result : begin(queue, mode));
}

static CUresult finish(sim_queue *queue, CUgraph *graph) {
  struct sim_capture *capture = queue->capture;
  if (capture == NULL) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != queue) return refuse(capture, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  if (capture->thread != this_thread() && capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  const CUresult result = capture->is_broken    ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                          : !is_joined(capture) ? CUDA_ERROR_STREAM_CAPTURE_UNJOINED
                                                : CUDA_SUCCESS;
  CUgraph made = capture->graph;
  end(capture);
  if (result == CUDA_SUCCESS) {
    *graph = made;
  } else {
    sim_graph_destroy(made);
  }
  return result;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
  SIM_ENTER(cuStreamEndCapture, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  if (graph == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  *graph = NULL;
  const CUresult result = sim_queue_of(stream, &queue);
  return sim_leave(result != CUDA_SUCCESS ? result : finish(queue, graph));
}

static CUstreamCaptureStatus status_of(const sim_queue *queue) {
  if (queue->capture == NULL) return CU_STREAM_CAPTURE_STATUS_NONE;
  return queue->capture->is_broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                   : CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

/* Asking about the legacy stream spoils nothing, but has no answer while a blocking stream is
 * captured. */
static CUresult find_to_ask(CUstream stream, sim_queue **queue) {
  const CUresult result = sim_queue_of(stream, queue);
  if (result != CUDA_SUCCESS || !(*queue)->is_legacy) return result;
  for (const sim_queue *other = sim.queues; other != NULL; other = other->next) {
    const bool is_blocking = (other->flags & CU_STREAM_NON_BLOCKING) == 0;
    if (other->capture != NULL && other->device == (*queue)->device && is_blocking) {
      return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
  }
  return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
  SIM_ENTER(cuStreamIsCapturing, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  if (status == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const CUresult result = find_to_ask(stream, &queue);
  if (result == CUDA_SUCCESS) *status = status_of(queue);
  return sim_leave(result);
}

static CUresult tell(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                     const CUgraphNode **dependencies, size_t *dependency_count) {
  sim_queue *queue;
  if (status == NULL) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = find_to_ask(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  *status = status_of(queue);
  if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  if (id != NULL) *id = queue->capture->id;
  if (graph != NULL) *graph = queue->capture->graph;
  if (dependencies != NULL) *dependencies = queue->frontier.nodes;
  if (dependency_count != NULL) *dependency_count = queue->frontier.count;
  return CUDA_SUCCESS;
}

/* Edges have no data here: every one is a full dependency. */
CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                CUgraph *graph, const CUgraphNode **dependencies,
                                const CUgraphEdgeData **edges, size_t *dependency_count) {
  SIM_ENTER(cuStreamGetCaptureInfo, SIM_NEEDS_CONTEXT);
  if (edges != NULL) *edges = NULL;
  return sim_leave(tell(stream, status, id, graph, dependencies, dependency_count));
}

CUresult sim_get_capture_info_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                 CUgraph *graph, const CUgraphNode **dependencies,
                                 size_t *dependency_count) {
  SIM_ENTER(cuStreamGetCaptureInfo, SIM_NEEDS_CONTEXT);
  return sim_leave(tell(stream, status, id, graph, dependencies, dependency_count));
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
  SIM_ENTER(cuThreadExchangeStreamCaptureMode, SIM_NEEDS_INIT);
  if (mode == NULL || !is_mode(*mode)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const CUstreamCaptureMode before = own_mode;
  own_mode = *mode;
  *mode = before;
  return sim_leave(CUDA_SUCCESS);
}
