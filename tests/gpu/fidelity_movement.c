/* fidelity_movement.c: copies in rows and batches, what an address is, and what others may open. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/gpu/fidelity.h"

enum { MIB = 1 << 20, BYTES = 4096, COUNT = 3 };

static CUdeviceptr device_memory(size_t size_bytes) {
  CUdeviceptr address = 0;
  STEP(cu.cuMemAlloc(&address, size_bytes), OK);
  STEP(cu.cuMemsetD8(address, 0, size_bytes), OK);
  STEP(cu.cuStreamSynchronize(NULL), OK); /* a fill of the device's memory waits for nobody */
  return address;
}

static unsigned char *host_memory(size_t size_bytes) {
  void *address = NULL;
  STEP(cu.cuMemHostAlloc(&address, size_bytes, CU_MEMHOSTALLOC_PORTABLE), OK);
  for (size_t i = 0; i < size_bytes; i++) ((unsigned char *)address)[i] = (unsigned char)(i * 7);
  return address;
}

static int is_copied(const unsigned char *bytes, size_t size_bytes) {
  for (size_t i = 0; i < size_bytes; i++) {
    if (bytes[i] != (unsigned char)(i * 7)) return 0;
  }
  return 1;
}

/* --- copies --- */

/* The type of a copy comes from its two addresses, and rows may be any distance apart. */
static void addresses_tell_where_a_copy_goes(void) {
  fidelity_enter();
  enum { WIDTH = 37, ROWS = 5, PITCH = 53 };
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  unsigned char *from = host_memory(BYTES), *to = host_memory(BYTES);
  const CUdeviceptr first = device_memory(BYTES), second = device_memory(BYTES);
  memset(to, 0, BYTES);
  STEP(cu.cuMemcpyAsync(first, (CUdeviceptr)(uintptr_t)from, BYTES, stream), OK);
  STEP(cu.cuMemcpyAsync(second, first, BYTES, stream), OK);
  STEP(cu.cuMemcpyAsync((CUdeviceptr)(uintptr_t)to, second, BYTES, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  VALUE(is_copied(to, BYTES), 1);
  CUDA_MEMCPY2D rows = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                        .srcDevice = first + 1,
                        .srcPitch = WIDTH,
                        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                        .dstDevice = second + 3,
                        .dstPitch = PITCH,
                        .WidthInBytes = WIDTH,
                        .Height = ROWS};
  STEP(cu.cuMemcpy2DAsync(&rows, stream), OK);
  STEP(cu.cuMemcpyDtoHAsync(to, second + 3, ROWS * PITCH, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  VALUE(to[0] == from[1] && to[(ROWS - 1) * PITCH + WIDTH - 1] == from[ROWS * WIDTH], 1);
  rows.srcMemoryType = rows.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  rows.dstDevice = (CUdeviceptr)(uintptr_t)to;
  STEP(cu.cuMemcpy2DAsync(&rows, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  VALUE(to[PITCH] == from[1 + WIDTH], 1);
  STEP(cu.cuMemsetD8Async((CUdeviceptr)(uintptr_t)to, 9, BYTES, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  VALUE(to[0] == 9 && to[BYTES - 1] == 9, 1);
}

/* Memory of malloc's as a source has been read when the call returns, as a destination written. */
static void pageable_memory_is_done_with_on_return(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  unsigned char *pageable = malloc(BYTES);
  const CUdeviceptr address = device_memory(BYTES);
  for (size_t i = 0; i < BYTES; i++) pageable[i] = (unsigned char)(i * 7);
  STEP(cu.cuMemcpyHtoDAsync(address, pageable, BYTES, stream), OK);
  memset(pageable, 0, BYTES);
  STEP(cu.cuMemcpyDtoHAsync(pageable, address, BYTES, stream), OK);
  VALUE(is_copied(pageable, BYTES), 1);
  free(pageable);
}

static void batches_go_anywhere_but_on_the_legacy_stream(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  unsigned char *from = host_memory(BYTES), *to = host_memory(BYTES);
  const CUdeviceptr address = device_memory(BYTES);
  CUdeviceptr outs[COUNT], device[COUNT], ins[COUNT];
  size_t sizes[COUNT], first = 0, late = 1;
  for (size_t i = 0; i < COUNT; i++) {
    sizes[i] = BYTES / 4 - i;
    outs[i] = (CUdeviceptr)(uintptr_t)from + i * (BYTES / 4);
    device[i] = address + i * (BYTES / 4);
    ins[i] = (CUdeviceptr)(uintptr_t)to + i * (BYTES / 4);
  }
  const CUmemLocation host = {.type = CU_MEM_LOCATION_TYPE_HOST};
  const CUmemLocation gpu = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0};
  CUmemcpyAttributes attributes = {
      .srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM, .srcLocHint = host, .dstLocHint = gpu};
#define BATCH(dsts, srcs, starts, on) \
  cu.cuMemcpyBatchAsync(dsts, srcs, sizes, COUNT, &attributes, starts, 1, on)
  memset(to, 0, BYTES);
  STEP(BATCH(device, outs, &first, stream), OK);
  attributes.srcLocHint = gpu;
  attributes.dstLocHint = host;
  STEP(BATCH(ins, device, &first, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  VALUE(is_copied(to, sizes[0]), 1);
  VALUE(to[(COUNT - 1) * (BYTES / 4)] == from[(COUNT - 1) * (BYTES / 4)], 1);
  STEP(BATCH(ins, device, &first, CU_STREAM_PER_THREAD), OK);
  STEP(cu.cuStreamSynchronize(CU_STREAM_PER_THREAD), OK);
  STEP(BATCH(ins, device, &first, NULL), INVALID, CUDA_ERROR_INVALID_HANDLE);
  STEP(BATCH(ins, device, &first, CU_STREAM_LEGACY), INVALID, CUDA_ERROR_INVALID_HANDLE);
  STEP(BATCH(ins, device, &late, stream), INVALID);
  attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_INVALID;
  STEP(BATCH(ins, device, &first, stream), INVALID);
#undef BATCH
}

/* --- addresses --- */

typedef struct description {
  unsigned type;
  unsigned is_managed;
  int ordinal;
  CUdeviceptr start;
  size_t size_bytes;
} description;

static description describe(const void *address) {
  description found = {.ordinal = -1};
  CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                 CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                 CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
                                 CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void *answers[] = {&found.type, &found.is_managed, &found.ordinal, &found.start,
                     &found.size_bytes};
  STEP(cu.cuPointerGetAttributes(FIDELITY_COUNT(asked), asked, answers,
                                 (CUdeviceptr)(uintptr_t)address),
       OK);
  return found;
}

static void an_address_tells_what_it_is(void) {
  fidelity_enter();
  int on_stack = 0;
  const CUdeviceptr address = device_memory(BYTES);
  unsigned char *pinned = host_memory(BYTES);
  description found = describe(&on_stack);
  VALUE(found.type, 0);
  VALUE(found.is_managed, 0);
  found = describe((void *)(uintptr_t)(address + 1));
  VALUE(found.type, CU_MEMORYTYPE_DEVICE);
  VALUE(found.is_managed, 0);
  VALUE(found.ordinal, 0);
  VALUE(found.start == address && found.size_bytes == BYTES, 1);
  found = describe(pinned + 1);
  VALUE(found.type, CU_MEMORYTYPE_HOST);
  VALUE(found.is_managed, 0);
}

/* A range is all that was reserved, and what is mapped is known piece by piece. */
static void virtual_memory_is_known_by_pieces(void) {
  fidelity_enter();
  const CUmemAllocationProp properties = {
      .type = CU_MEM_ALLOCATION_TYPE_PINNED,
      .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
      .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}};
  const size_t size = 2 * MIB;
  CUdeviceptr range = 0, base = 0;
  size_t found_bytes = 0;
  CUmemGenericAllocationHandle handles[2] = {0}, again = 0;
  STEP(cu.cuMemAddressReserve(&range, 4 * size, 0, 0, 0), OK);
  for (size_t i = 0; i < 2; i++) {
    STEP(cu.cuMemCreate(&handles[i], size, &properties, 0), OK);
    STEP(cu.cuMemMap(range + i * size, size, 0, handles[i], 0), OK);
  }
  const description found = describe((void *)(uintptr_t)(range + size + 5));
  VALUE(found.type, CU_MEMORYTYPE_DEVICE);
  VALUE(found.start == range && found.size_bytes == 4 * size, 1);
  STEP(cu.cuMemGetAddressRange(&base, &found_bytes, range + size + 5), OK);
  VALUE(base == range + size && found_bytes == size, 1);
  STEP(cu.cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(range + size + 5)), OK);
  int descriptor = -1;
  STEP(cu.cuMemExportToShareableHandle(&descriptor, again, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                       0),
       OK);
  VALUE(descriptor >= 0, 1);
  if (descriptor >= 0) close(descriptor);
  STEP(cu.cuMemRelease(again), OK);
  CUipcMemHandle handle;
  STEP(cu.cuIpcGetMemHandle(&handle, range), INVALID, CUDA_ERROR_INVALID_HANDLE,
       CUDA_ERROR_NOT_SUPPORTED);
  STEP(cu.cuMemUnmap(range, 2 * size), OK);
  /* What is left is a reservation: whether a driver counts that is not told. */
  STEP(cu.cuMemGetAddressRange(&base, &found_bytes, range), CUDA_ERROR_NOT_FOUND, INVALID, OK);
}

/* --- other processes --- */

static void an_own_handle_is_not_opened(void) {
  fidelity_enter();
  CUipcMemHandle memory;
  CUipcEventHandle order;
  CUdeviceptr opened = 0;
  CUevent event = NULL;
  CUevent mark = fidelity_event(CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS);
  CUevent plain = fidelity_event(CU_EVENT_DISABLE_TIMING);
  const CUdeviceptr address = device_memory(2 * MIB);
  STEP(cu.cuIpcGetMemHandle(&memory, address), OK);
  STEP(cu.cuIpcOpenMemHandle(&opened, memory, 0), INVALID, CUDA_ERROR_INVALID_CONTEXT);
  STEP(cu.cuIpcOpenMemHandle(&opened, memory, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS),
       CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_HANDLE, INVALID);
  STEP(cu.cuIpcGetEventHandle(&order, plain), CUDA_ERROR_INVALID_HANDLE, INVALID);
  STEP(cu.cuEventRecord(mark, NULL), OK);
  STEP(cu.cuIpcGetEventHandle(&order, mark), OK);
  const CUresult answer = cu.cuIpcOpenEventHandle(&event, order);
  STEP(answer, CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_HANDLE, INVALID, OK);
}

#define CASE(function) \
  { #function, function }
const fidelity_case fidelity_movement[] = {
    CASE(addresses_tell_where_a_copy_goes),
    CASE(pageable_memory_is_done_with_on_return),
    CASE(batches_go_anywhere_but_on_the_legacy_stream),
    CASE(an_address_tells_what_it_is),
    CASE(virtual_memory_is_known_by_pieces),
    CASE(an_own_handle_is_not_opened),
    {0},
};
