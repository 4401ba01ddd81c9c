/* sim_device.c: simulated devices, their primary contexts, and each thread's stack of contexts. */
#include "cuda/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local CUcontext stack[SIM_CONTEXT_DEPTH_MAX];
static _Thread_local int depth;

/* --- devices --- */

static bool is_device(CUdevice device) {
  return device >= 0 && device < sim.device_count;
}

CUresult cuDeviceGetCount(int *count) {
  SIM_ENTER(cuDeviceGetCount, SIM_NEEDS_INIT);
  if (count == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  *count = sim.device_count;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  SIM_ENTER(cuDeviceGet, SIM_NEEDS_INIT);
  if (device == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!is_device(ordinal)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  *device = ordinal;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  SIM_ENTER(cuDeviceGetName, SIM_NEEDS_INIT);
  if (name == NULL || length < 1) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!is_device(device)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  snprintf(name, (size_t)length, "simulated GPU %d", device);
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
  SIM_ENTER(cuDeviceGetUuid, SIM_NEEDS_INIT);
  if (uuid == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!is_device(device)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  memset(uuid, 0, sizeof *uuid);
  memcpy(uuid->bytes, "cusim", 5);
  uuid->bytes[sizeof uuid->bytes - 1] = (char)device;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice device) {
  SIM_ENTER(cuDeviceGetPCIBusId, SIM_NEEDS_INIT);
  if (id == NULL || length < 13) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!is_device(device)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  /* A domain that no machine has. */
  snprintf(id, (size_t)length, "ffff:%02x:00.0", (unsigned)device);
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *id) {
  SIM_ENTER(cuDeviceGetByPCIBusId, SIM_NEEDS_INIT);
  unsigned domain, bus, slot, function;
  if (device == NULL || id == NULL ||
      sscanf(id, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  if (domain != 0xffff || slot != 0 || function != 0 || !is_device((CUdevice)bus)) {
    return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  }
  *device = (CUdevice)bus;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device) {
  SIM_ENTER(cuDeviceTotalMem, SIM_NEEDS_INIT);
  if (bytes == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!is_device(device)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  *bytes = sim.devices[device].capacity_bytes;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
  SIM_ENTER(cuDeviceGetAttribute, SIM_NEEDS_INIT);
  if (value == NULL || (int)attribute < 1 || attribute >= CU_DEVICE_ATTRIBUTE_MAX) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  if (!is_device(device)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  switch ((int)attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
      *value = SIM_PITCH_MAX;
      break;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID:
      *value = -1;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: /* 7.5: the oldest that CUDA 13 knows */
      *value = 7;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = 5;
      break;
    default: /* whatever else is asked for: it cannot do it */
      *value = 0;
      break;
  }
  return sim_leave(CUDA_SUCCESS);
}

/* --- primary contexts --- */

CUresult sim_context_error(int device) {
  return sim.devices[device].context.error;
}

void sim_break(int device, CUresult result, const char *format, ...) {
  if (sim.devices[device].context.error != CUDA_SUCCESS) return; /* the first cause counts */
  sim.devices[device].context.error = result;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sim.fault, sizeof sim.fault, format, arguments);
  va_end(arguments);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  SIM_ENTER(cuDevicePrimaryCtxRetain, SIM_NEEDS_INIT);
  if (context == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!is_device(device)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  CUcontext self = &sim.devices[device].context;
  if (self->retain_count == 0) {
    self->error = CUDA_SUCCESS;
    self->legacy = sim_queue_create(device, CU_STREAM_DEFAULT, /*is_legacy=*/true);
    if (self->legacy == NULL) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  }
  self->retain_count++;
  *context = self;
  return sim_leave(CUDA_SUCCESS);
}

/* Takes everything of the context with it, as the driver does; what there was, is counted. */
CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  SIM_ENTER(cuDevicePrimaryCtxRelease, SIM_NEEDS_INIT);
  if (!is_device(device)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  CUcontext self = &sim.devices[device].context;
  if (self->retain_count == 0) return sim_leave(CUDA_ERROR_INVALID_CONTEXT);
  if (--self->retain_count > 0) return sim_leave(CUDA_SUCCESS);
  for (sim_queue *queue = sim.queues; queue != NULL;) {
    if (queue->device == device && queue->first != NULL) {
      sim_wait_for(queue->tail);
      queue = sim.queues; /* the list may have changed meanwhile */
    } else {
      queue = queue->next;
    }
  }
  sim_clock_host_learns_all(sim_clock_gather(device, /*blocking_only=*/false));
  sim_events_abandon(device);
  sim_streams_abandon(device);
  sim_thread_queues_abandon(device);
  sim_memory_abandon(device);
  sim_pools_abandon(device);
  sim_modules_abandon(device);
  sim_peers_abandon(device);
  if (self->legacy != NULL) sim_queue_detach(self->legacy);
  self->legacy = NULL;
  self->error = CUDA_SUCCESS;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *is_active) {
  SIM_ENTER(cuDevicePrimaryCtxGetState, SIM_NEEDS_INIT);
  if (flags == NULL || is_active == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!is_device(device)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  *flags = 0;
  *is_active = sim.devices[device].context.retain_count > 0;
  return sim_leave(CUDA_SUCCESS);
}

/* --- the thread's contexts --- */

static bool is_context(CUcontext context) {
  for (int i = 0; i < sim.device_count; i++) {
    if (context == &sim.devices[i].context) return true;
  }
  return false;
}

bool sim_context_exists(CUcontext context) {
  return is_context(context) && context->retain_count != 0;
}

CUcontext sim_current(void) {
  return depth == 0 ? NULL : stack[depth - 1];
}

CUresult cuCtxGetCurrent(CUcontext *context) {
  SIM_ENTER(cuCtxGetCurrent, SIM_NEEDS_INIT);
  if (context == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  *context = sim_current();
  return sim_leave(CUDA_SUCCESS);
}

/* NULL pops; any other context takes the place of the top one. */
CUresult cuCtxSetCurrent(CUcontext context) {
  SIM_ENTER(cuCtxSetCurrent, SIM_NEEDS_INIT);
  if (context == NULL) {
    if (depth > 0) depth--;
    return sim_leave(CUDA_SUCCESS);
  }
  if (!is_context(context)) return sim_leave(CUDA_ERROR_INVALID_CONTEXT);
  if (depth == 0) depth = 1;
  stack[depth - 1] = context;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuCtxPushCurrent(CUcontext context) {
  SIM_ENTER(cuCtxPushCurrent, SIM_NEEDS_INIT);
  if (!is_context(context)) return sim_leave(CUDA_ERROR_INVALID_CONTEXT);
  if (depth == SIM_CONTEXT_DEPTH_MAX) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  stack[depth++] = context;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuCtxPopCurrent(CUcontext *context) {
  SIM_ENTER(cuCtxPopCurrent, SIM_NEEDS_INIT);
  if (depth == 0) return sim_leave(CUDA_ERROR_INVALID_CONTEXT);
  depth--;
  if (context != NULL) *context = stack[depth];
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuCtxGetDevice(CUdevice *device) {
  SIM_ENTER(cuCtxGetDevice, SIM_NEEDS_CONTEXT);
  if (device == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  *device = sim_current()->device;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuCtxSynchronize(void) {
  SIM_ENTER(cuCtxSynchronize, SIM_NEEDS_CONTEXT);
  const int device = sim_current()->device;
  const CUresult refused = sim_capture_refuse_all(device);
  if (refused != CUDA_SUCCESS) return sim_leave(refused);
  sim_clock *before = sim_clock_gather(device, /*blocking_only=*/false);
  for (sim_queue *queue = sim.queues; queue != NULL;) {
    if (queue->device == device && queue->first != NULL) {
      sim_wait_for(queue->tail);
      queue = sim.queues;
    } else {
      queue = queue->next;
    }
  }
  sim_clock_host_learns_all(before);
  sim_pools_observe(0);
  return sim_leave(sim_context_error(device));
}
