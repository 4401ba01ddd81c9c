/* sim_value.c: streams that wait for a value in memory, and streams that write one.
 *
 * A wait for a value is the one operation that may never become ready: nobody may write the value.
 * On a GPU the stream then hangs, and so does whoever waits for it. Here a caller that waits gives
 * up after a while (cusim_set_stall_ms) and the context breaks; see sim_wait_for.
 */
#include "cuda/sim/sim.h"

/* Read and written by host threads too, without the simulator's lock. */
static uint64_t read_value(const sim_op *op) {
  const void *address = sim_place_view(&op->as.value.place);
  return op->as.value.is_wide ? __atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE)
                              : __atomic_load_n((const uint32_t *)address, __ATOMIC_ACQUIRE);
}

static bool is_met(const sim_op *op, uint64_t found) {
  const uint64_t wanted = op->as.value.value;
  const bool is_wide = op->as.value.is_wide;
  switch (op->as.value.condition) {
    case CU_STREAM_WAIT_VALUE_EQ:
      return found == wanted;
    case CU_STREAM_WAIT_VALUE_AND:
      return (found & wanted) != 0;
    case CU_STREAM_WAIT_VALUE_NOR:
      return is_wide ? ~(found | wanted) != 0 : (uint32_t) ~(found | wanted) != 0;
    default: /* at least, in a circle of numbers */
      return is_wide ? (int64_t)(found - wanted) >= 0 : (int32_t)(uint32_t)(found - wanted) >= 0;
  }
}

/* A value does not reach over the end of a range. */
static bool is_there(const sim_op *op) {
  const sim_range *range = sim_range_find(op->as.value.place.address);
  return range != NULL && range->id == op->as.value.place.range_id;
}

bool sim_value_is_reached(const sim_op *op) {
  return !is_there(op) || is_met(op, read_value(op));
}

void sim_value_run(sim_op *op) {
  const bool is_wait = op->kind == KIND_WAIT_VALUE;
  const char *what = is_wait ? "a wait for a value" : "a write of a value";
  if (!sim_place_is_intact(op, &op->as.value.place, !is_wait, what) || is_wait) return;
  void *address = sim_place_view(&op->as.value.place);
  if (op->as.value.is_wide) {
    __atomic_store_n((uint64_t *)address, op->as.value.value, __ATOMIC_RELEASE);
  } else {
    __atomic_store_n((uint32_t *)address, (uint32_t)op->as.value.value, __ATOMIC_RELEASE);
  }
}

static CUresult enqueue(sim_kind kind, CUstream stream, CUdeviceptr address, uint64_t value,
                        bool is_wide, unsigned flags) {
  const size_t size_bytes = is_wide ? 8 : 4;
  const unsigned known = kind == KIND_WAIT_VALUE ? CU_STREAM_WAIT_VALUE_NOR : 0;
  if ((flags & CU_STREAM_WAIT_VALUE_FLUSH) != 0) return CUDA_ERROR_NOT_SUPPORTED;
  if (address % size_bytes != 0 || flags > known) return CUDA_ERROR_INVALID_VALUE;
  sim_place place = {.pitch = size_bytes};
  sim_queue *queue;
  CUresult result = sim_place_find(address, size_bytes, 1, 1, kind == KIND_WRITE_VALUE, &place);
  if (result == CUDA_SUCCESS && sim_place_is_pageable(&place)) result = CUDA_ERROR_INVALID_VALUE;
  if (result == CUDA_SUCCESS) result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  sim_op *op = sim_op_create(queue, kind);
  if (op == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  op->as.value.place = place;
  op->as.value.value = value;
  op->as.value.is_wide = is_wide;
  op->as.value.condition = flags;
  return sim_op_enqueue(op);
}

CUresult sim_value_wait(CUstream stream, uintptr_t address, uint64_t value) {
  return enqueue(KIND_WAIT_VALUE, stream, address, value, /*is_wide=*/true,
                 CU_STREAM_WAIT_VALUE_GEQ);
}

CUresult sim_value_write(CUstream stream, uintptr_t address, uint64_t value) {
  return enqueue(KIND_WRITE_VALUE, stream, address, value, /*is_wide=*/true, /*flags=*/0);
}

CUresult cuStreamWaitValue32(CUstream stream, CUdeviceptr address, cuuint32_t value,
                             unsigned flags) {
  SIM_ENTER(cuStreamWaitValue32, SIM_NEEDS_CONTEXT);
  return sim_leave(enqueue(KIND_WAIT_VALUE, stream, address, value, /*is_wide=*/false, flags));
}

CUresult cuStreamWaitValue64(CUstream stream, CUdeviceptr address, cuuint64_t value,
                             unsigned flags) {
  SIM_ENTER(cuStreamWaitValue64, SIM_NEEDS_CONTEXT);
  return sim_leave(enqueue(KIND_WAIT_VALUE, stream, address, value, /*is_wide=*/true, flags));
}

CUresult cuStreamWriteValue32(CUstream stream, CUdeviceptr address, cuuint32_t value,
                              unsigned flags) {
  SIM_ENTER(cuStreamWriteValue32, SIM_NEEDS_CONTEXT);
  return sim_leave(enqueue(KIND_WRITE_VALUE, stream, address, value, /*is_wide=*/false, flags));
}

CUresult cuStreamWriteValue64(CUstream stream, CUdeviceptr address, cuuint64_t value,
                              unsigned flags) {
  SIM_ENTER(cuStreamWriteValue64, SIM_NEEDS_CONTEXT);
  return sim_leave(enqueue(KIND_WRITE_VALUE, stream, address, value, /*is_wide=*/true, flags));
}
