/* sim_schedule.c: which queued operation runs next: seeded, and as adverse as the policy says. */
#include "cuda/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* --- chance --- */

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
uint64_t sim_random(void) {
  uint64_t value = (sim.random_state += 0x9E3779B97F4A7C15u);
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

/* --- marks and operations --- */

sim_mark *sim_mark_retain(sim_mark *mark) {
  if (mark != NULL) mark->reference_count++;
  return mark;
}

void sim_mark_release(sim_mark *mark) {
  if (mark == NULL || --mark->reference_count > 0) return;
  sim_stamp_drop(&mark->stamp);
  free(mark);
}

sim_op *sim_op_create(sim_queue *queue, sim_kind kind) {
  sim_op *op = calloc(1, sizeof *op);
  sim_mark *mark = calloc(1, sizeof *mark);
  if (op == NULL || mark == NULL) {
    free(op);
    free(mark);
    return NULL;
  }
  mark->reference_count = 1;
  mark->op = op;
  mark->queue_id = queue->id;
  op->mark = mark;
  op->queue = queue;
  op->kind = kind;
  return op;
}

void sim_op_discard(sim_op *op) {
  if (op->kind == KIND_WAIT) sim_mark_release(op->as.wait_for);
  if (op->kind == KIND_COPY) free(op->as.copy.staged);
  if (op->kind == KIND_TAKE) sim_mark_release(op->as.pool.lent);
  if (op->kind == KIND_LAUNCH && op->as.launch != NULL) sim_launch_release(op->as.launch);
  op->mark->op = NULL;
  sim_mark_release(op->mark);
  free(op);
}

static void append(sim_op *op) {
  sim_queue *queue = op->queue;
  if (queue->last != NULL) {
    queue->last->next = op;
  } else {
    queue->first = op;
  }
  queue->last = op;
  op->sequence = ++queue->enqueued_count;
  sim_mark_release(queue->tail);
  queue->tail = sim_mark_retain(op->mark);
  sim.pending_count++;
}

/* FNV-1a over what ran where. */
static void trace(const sim_queue *queue, sim_kind kind) {
  const uint64_t words[] = {queue->id - sim.trace_base, queue->executed_count, (uint64_t)kind};
  uint64_t hash = sim.trace_length == 0 ? 0xCBF29CE484222325u : sim.trace_hash;
  for (size_t i = 0; i < sizeof words; i++) {
    hash = (hash ^ ((const unsigned char *)words)[i]) * 0x100000001B3u;
  }
  sim.trace_hash = hash;
  sim.trace_length++;
}

/* What the operation would have taken: a fixed start and 16 bytes a nanosecond. */
static uint64_t duration_ns(const sim_op *op) {
  size_t moved_bytes = 0;
  if (op->kind == KIND_COPY) {
    moved_bytes = op->as.copy.row_bytes * op->as.copy.row_count * op->as.copy.plane_count;
  } else if (op->kind == KIND_FILL) {
    moved_bytes = op->as.fill.width * op->as.fill.row_count * op->as.fill.element_bytes;
  } else if (op->kind == KIND_KERNEL) {
    moved_bytes = op->as.kernel.size_bytes;
  } else if (op->kind == KIND_LAUNCH) {
    moved_bytes = sim_launch_bytes(op->as.launch);
  }
  return 1000 + moved_bytes / 16;
}

void sim_op_finish(sim_op *op) {
  sim_queue *queue = op->queue;
  queue->first = op->next;
  if (queue->first == NULL) queue->last = NULL;
  queue->is_running = false;
  trace(queue, op->kind);
  queue->executed_count++;
  sim.pending_count--;
  sim.clock_ns += duration_ns(op);
  op->mark->is_done = true;
  op->mark->done_ns = sim.clock_ns;
  sim_op_discard(op);
  if (queue->is_detached && queue->first == NULL) sim_queue_detach(queue);
}

/* --- running --- */

bool sim_queue_is_ready(const sim_queue *queue) {
  const sim_op *op = queue->first;
  if (op == NULL || queue->is_running) return false;
  if (op->kind == KIND_WAIT) return op->as.wait_for->is_done;
  if (op->kind == KIND_WAIT_VALUE) {
    return sim_context_error(queue->device) != CUDA_SUCCESS || sim_value_is_reached(op);
  }
  return op->kind != KIND_CALL || sim.host_op == NULL;
}

/* A context that is broken passes over its work, host functions too. */
static void run(sim_op *op) {
  const bool is_broken = sim_context_error(op->queue->device) != CUDA_SUCCESS;
  if (!is_broken && op->kind == KIND_CALL) {
    sim_host_run(op);
    return;
  }
  if (!is_broken && op->kind == KIND_COPY) sim_copy_run(op);
  if (!is_broken && op->kind == KIND_FILL) sim_fill_run(op);
  if (!is_broken && op->kind == KIND_KERNEL) sim_kernel_run(op);
  if (!is_broken && op->kind == KIND_LAUNCH) sim_launch_run(op);
  if (!is_broken && (op->kind == KIND_WAIT_VALUE || op->kind == KIND_WRITE_VALUE)) {
    sim_value_run(op);
  }
  if (!is_broken && op->kind == KIND_LEND) sim_lend_run(op);
  if (op->kind == KIND_TAKE) sim_take_run(op);
  sim_op_finish(op);
}

void sim_queue_run_first(sim_queue *queue) {
  run(queue->first);
}

bool sim_step(void) {
  size_t ready_count = 0;
  for (sim_queue *queue = sim.queues; queue != NULL; queue = queue->next) {
    ready_count += sim_queue_is_ready(queue);
  }
  if (ready_count == 0) return false;
  size_t chosen = (size_t)(sim_random() % ready_count);
  for (sim_queue *queue = sim.queues; queue != NULL; queue = queue->next) {
    if (sim_queue_is_ready(queue) && chosen-- == 0) {
      run(queue->first);
      break;
    }
  }
  return true;
}

bool sim_step_towards(const sim_mark *mark) {
  while (!mark->is_done) {
    sim_queue *queue = mark->op->queue;
    if (sim_queue_is_ready(queue)) {
      run(queue->first);
      return true;
    }
    if (!queue->is_running && queue->first->kind == KIND_WAIT_VALUE) return sim_step();
    if (queue->is_running || queue->first->kind != KIND_WAIT) return false;
    mark = queue->first->as.wait_for;
  }
  return false;
}

/* --- when --- */

bool sim_queue_wait(sim_queue *queue, sim_mark *mark) {
  if (mark == NULL || mark->is_done) return true;
  sim_op *wait = sim_op_create(queue, KIND_WAIT);
  if (wait == NULL) return false;
  wait->as.wait_for = sim_mark_retain(mark);
  append(wait);
  return true;
}

/* Covers what a queue's pending waits lead to, as far as the queue itself is covered; true where
 * that was anything new. */
static bool cover_waits(const sim_queue *queue) {
  bool is_new = false;
  for (const sim_op *op = queue->first; op != NULL && op->sequence <= queue->covered;
       op = op->next) {
    if (op->kind != KIND_WAIT || op->as.wait_for->is_done) continue;
    const sim_op *target = op->as.wait_for->op;
    if (target->queue->covered >= target->sequence) continue;
    target->queue->covered = target->sequence;
    is_new = true;
  }
  return is_new;
}

bool sim_queue_is_behind(const sim_queue *queue, const sim_mark *mark) {
  if (mark->is_done) return false;
  for (sim_queue *other = sim.queues; other != NULL; other = other->next) {
    other->covered = other == queue ? UINT64_MAX : 0;
  }
  bool is_new = true;
  while (is_new) {
    is_new = false;
    for (sim_queue *other = sim.queues; other != NULL; other = other->next) {
      is_new |= cover_waits(other);
    }
  }
  return mark->op->queue->covered >= mark->op->sequence;
}

/* The default stream waits for all blocking streams of its context, and they for it. */
static bool append_implicit_waits(sim_queue *queue) {
  if ((queue->flags & CU_STREAM_NON_BLOCKING) != 0) return true;
  if (!queue->is_legacy) {
    return sim_queue_wait(queue, sim.devices[queue->device].context.legacy->tail);
  }
  for (sim_queue *other = sim.queues; other != NULL; other = other->next) {
    const bool is_blocking = (other->flags & CU_STREAM_NON_BLOCKING) == 0;
    if (other == queue || other->device != queue->device || !is_blocking) continue;
    if (!sim_queue_wait(queue, other->tail)) return false;
  }
  return true;
}

CUresult sim_op_enqueue(sim_op *op) {
  if (op->queue->capture != NULL) return sim_capture_take(op);
  if (!append_implicit_waits(op->queue)) {
    sim_op_discard(op);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  sim_race_enqueued(op);
  append(op);
  sim_host_watch();
  sim_policy_enqueued(op);
  return CUDA_SUCCESS;
}

/* The wait for a value that the mark waits for in the end, or NULL where it is something else. */
static const sim_op *find_stalled(const sim_mark *mark) {
  for (;;) {
    const sim_op *first = mark->op->queue->first;
    if (first->kind == KIND_WAIT_VALUE) return first;
    if (first->kind != KIND_WAIT) return NULL;
    mark = first->as.wait_for;
  }
}

/* A host thread may still write the value, so it is looked at again and again for a while. */
static void wait_for_value(const sim_op *stalled, uint64_t *since_ns) {
  const uint64_t now_ns = sim_now_ns();
  if (*since_ns == 0) *since_ns = now_ns;
  if (now_ns - *since_ns >= (uint64_t)sim.stall_ms * 1000000u) {
    sim_break(stalled->queue->device, CUDA_ERROR_LAUNCH_TIMEOUT,
              "stream %llu waits for a value at %p that nobody writes, and a call waits for it",
              (unsigned long long)stalled->queue->id, (void *)stalled->as.value.place.address);
    return;
  }
  struct timespec deadline;
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_nsec += 1000000;
  if (deadline.tv_nsec >= 1000000000) {
    deadline.tv_nsec -= 1000000000;
    deadline.tv_sec++;
  }
  pthread_cond_timedwait(&sim.progressed, &sim.lock, &deadline);
}

void sim_wait_for(sim_mark *mark) {
  if (mark == NULL) return;
  sim_mark_retain(mark);
  uint64_t since_ns = 0;
  while (!mark->is_done) {
    const bool has_run = sim_policy_wait(mark);
    if (has_run) since_ns = 0;
    if (has_run || mark->is_done) continue;
    const sim_op *stalled = find_stalled(mark);
    if (stalled != NULL) {
      wait_for_value(stalled, &since_ns);
      continue;
    }
    if (sim.host_op == NULL) {
      /* Waits for marks point backwards in time only, so this is a fault of the simulator. */
      fprintf(stderr, "cusim: nothing can run, and somebody waits (seed %llu)\n",
              (unsigned long long)sim.seed);
      abort();
    }
    pthread_cond_wait(&sim.progressed, &sim.lock);
  }
  sim_mark_release(mark);
}

void sim_host_wait_for(sim_mark *mark) {
  sim_mark_retain(mark);
  sim_wait_for(mark);
  sim_clock_host_learns(mark);
  sim_mark_release(mark);
}

static bool ask(sim_mark *mark) {
  return mark == NULL || mark->is_done || sim_policy_ask(mark);
}

bool sim_ask(sim_mark *mark) {
  sim_mark_retain(mark);
  const bool is_done = ask(mark);
  sim_mark_release(mark);
  return is_done;
}

bool sim_host_ask(sim_mark *mark) {
  sim_mark_retain(mark);
  const bool is_done = ask(mark);
  if (is_done) sim_clock_host_learns(mark);
  sim_mark_release(mark);
  return is_done;
}
