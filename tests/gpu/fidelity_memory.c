/* fidelity_memory.c: device and host memory, copies, fills and the driver's pools. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/fidelity.h"

enum { MIB = 1 << 20, BYTES = 4 * MIB, PAGE = 4096 };

static void frees_are_of_whole_allocations_once(void) {
  fidelity_enter();
  CUdeviceptr address = 0, huge = 0;
  STEP(cu.cuMemAlloc(&address, 0), INVALID);
  STEP(cu.cuMemAlloc(NULL, BYTES), INVALID);
  STEP(cu.cuMemAlloc(&huge, (size_t)1 << 50), CUDA_ERROR_OUT_OF_MEMORY);
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  VALUE(address % 256, 0);
  STEP(cu.cuMemFree(address + 256), INVALID);
  STEP(cu.cuMemFree(address), OK);
  STEP(cu.cuMemFree(address), INVALID);
  STEP(cu.cuMemFree(0), OK, INVALID);
}

static void copies_end_with_the_allocation(void) {
  fidelity_enter();
  CUdeviceptr address = 0, other = 0;
  unsigned char *host = calloc(2, BYTES);
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  STEP(cu.cuMemAlloc(&other, 2 * BYTES), OK);
  STEP(cu.cuMemcpyHtoD(address, host, BYTES), OK);
  STEP(cu.cuMemcpyHtoD(address + BYTES / 2, host, BYTES), INVALID);
  STEP(cu.cuMemcpyDtoH(host, address + BYTES / 2, BYTES), INVALID);
  STEP(cu.cuMemcpyDtoD(address + BYTES / 2, other, BYTES), INVALID);
  STEP(cu.cuMemcpyDtoD(other, address + BYTES / 2, BYTES), INVALID);
  STEP(cu.cuMemcpyHtoDAsync(address + BYTES / 2, host, BYTES, stream), INVALID);
  STEP(cu.cuMemcpyDtoHAsync(host, address + BYTES / 2, BYTES, stream), INVALID);
  STEP(cu.cuMemsetD8(address + BYTES / 2, 1, BYTES), INVALID);
  STEP(cu.cuMemsetD8Async(address + BYTES / 2, 1, BYTES, stream), INVALID);
  STEP(cu.cuMemcpyHtoD(address, host, 0), OK);
  STEP(cu.cuMemcpyHtoD(address, NULL, 16), INVALID);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuMemFree(address), OK);
  STEP(cu.cuMemcpyHtoD(address, host, 16), INVALID);
  free(host);
}

static void fills_are_aligned_to_their_value(void) {
  fidelity_enter();
  CUdeviceptr address = 0;
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  STEP(cu.cuMemsetD16Async(address + 1, 1, 8, stream), INVALID);
  STEP(cu.cuMemsetD32Async(address + 2, 1, 8, stream), INVALID);
  STEP(cu.cuMemsetD32Async(address + 4, 1, 8, stream), OK);
  STEP(cu.cuMemsetD8Async(address, 1, 0, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
}

static CUDA_MEMCPY2D rows(CUdeviceptr address, void *host, size_t width, size_t pitch) {
  return (CUDA_MEMCPY2D){.srcMemoryType = CU_MEMORYTYPE_HOST,
                         .srcHost = host,
                         .srcPitch = pitch,
                         .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                         .dstDevice = address,
                         .dstPitch = pitch,
                         .WidthInBytes = width,
                         .Height = 4};
}

static void rows_fit_their_pitch(void) {
  fidelity_enter();
  CUdeviceptr address = 0;
  void *host = NULL;
  int pitch_max = 0;
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  STEP(cu.cuMemHostAlloc(&host, BYTES, 0), OK);
  STEP(cu.cuDeviceGetAttribute(&pitch_max, CU_DEVICE_ATTRIBUTE_MAX_PITCH, 0), OK);
  VALUE(pitch_max, INT32_MAX);
  CUDA_MEMCPY2D copy = rows(address, host, 100, 512);
  STEP(cu.cuMemcpy2DAsync(&copy, stream), OK);
  copy = rows(address, host, 513, 512);
  STEP(cu.cuMemcpy2DAsync(&copy, stream), INVALID);
  copy = rows(address, host, 0, 512);
  STEP(cu.cuMemcpy2DAsync(&copy, stream), OK);
  copy = rows(address, host, 100, 512);
  copy.Height = 0;
  STEP(cu.cuMemcpy2DAsync(&copy, stream), OK);
  copy = rows(address, host, 100, 512);
  copy.Height = 1; /* and then a pitch has no meaning */
  copy.dstPitch = (size_t)pitch_max + 1;
  STEP(cu.cuMemcpy2DAsync(&copy, stream), INVALID, OK);
  copy = rows(address, host, 100, 2 * MIB);
  STEP(cu.cuMemcpy2DAsync(&copy, stream), INVALID);
  STEP(cu.cuStreamSynchronize(stream), OK);
}

static void addresses_are_known_while_they_live(void) {
  fidelity_enter();
  CUdeviceptr address = 0, base = 0;
  size_t size_bytes = 0;
  unsigned kind = 0;
  int on_stack = 0;
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  STEP(cu.cuMemGetAddressRange(&base, &size_bytes, address + 1000), OK);
  VALUE(base == address, 1);
  VALUE(size_bytes, BYTES);
  STEP(cu.cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address + 7), OK);
  VALUE(kind, CU_MEMORYTYPE_DEVICE);
  STEP(cu.cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                (CUdeviceptr)(uintptr_t)&on_stack),
       INVALID);
  STEP(cu.cuMemFree(address), OK);
  STEP(cu.cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address), INVALID);
  STEP(cu.cuMemGetAddressRange(&base, &size_bytes, address), CUDA_ERROR_NOT_FOUND, INVALID);
}

static void host_memory_is_freed_once(void) {
  fidelity_enter();
  void *host = NULL;
  CUdeviceptr address = 0;
  STEP(cu.cuMemHostAlloc(&host, PAGE, 0x80), INVALID);
  STEP(cu.cuMemHostAlloc(&host, PAGE, CU_MEMHOSTALLOC_PORTABLE), OK);
  VALUE((uintptr_t)host % 256, 0);
  VALUE((uintptr_t)host % PAGE == 0, 0, 1); /* not told: small ones may share a page */
  STEP(cu.cuMemHostGetDevicePointer(&address, host, 0), OK);
  STEP(cu.cuMemHostRegister(host, PAGE, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  STEP(cu.cuMemHostUnregister(host), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, INVALID);
  STEP(cu.cuMemFreeHost(host), OK);
  STEP(cu.cuMemFreeHost(host), INVALID);
}

static void memory_is_registered_once(void) {
  fidelity_enter();
  unsigned char *host = aligned_alloc(PAGE, (size_t)8 * PAGE);
  CUdeviceptr address = 0;
  memset(host, 1, (size_t)8 * PAGE);
  STEP(cu.cuMemHostRegister(NULL, PAGE, 0), INVALID);
  STEP(cu.cuMemHostRegister(host, 0, 0), INVALID);
  STEP(cu.cuMemHostRegister(host, PAGE, 0x80), INVALID);
  STEP(cu.cuMemHostRegister(host, (size_t)2 * PAGE, 0), OK);
  STEP(cu.cuMemHostGetDevicePointer(&address, host, 0), OK);
  STEP(cu.cuMemHostRegister(host, (size_t)2 * PAGE, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  STEP(cu.cuMemHostRegister(host + PAGE, (size_t)2 * PAGE, 0),
       CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  STEP(cu.cuMemFreeHost(host), INVALID);
  STEP(cu.cuMemHostUnregister(host), OK);
  STEP(cu.cuMemHostUnregister(host), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  /* A start within a page: the manual asks for no alignment. */
  const CUresult answer = cu.cuMemHostRegister(host + (size_t)4 * PAGE + 16, PAGE, 0);
  STEP(answer, OK, INVALID);
  if (answer == CUDA_SUCCESS) STEP(cu.cuMemHostUnregister(host + (size_t)4 * PAGE + 16), OK);
  free(host);
}

/* --- pools --- */

static CUmemoryPool make_pool(void) {
  CUmemoryPool pool = NULL;
  const CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}};
  STEP(cu.cuMemPoolCreate(&pool, &props), OK);
  return pool;
}

static void pools_have_attributes(void) {
  fidelity_enter();
  CUmemoryPool pool = make_pool(), none = NULL;
  cuuint64_t bytes = 99, nothing = 0, something = 5;
  int flag = -1;
  STEP(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &bytes), OK);
  VALUE(bytes, 0);
  STEP(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES, &flag), OK);
  VALUE(flag, 1);
  STEP(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, &flag), OK);
  VALUE(flag, 1);
  STEP(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, &flag),
       OK);
  VALUE(flag, 1);
  STEP(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &something), INVALID);
  STEP(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &nothing), OK);
  STEP(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &nothing), INVALID);
  STEP(cu.cuMemPoolSetAttribute(pool, (CUmemPool_attribute)99, &nothing), INVALID);
  STEP(cu.cuMemPoolGetAttribute(pool, (CUmemPool_attribute)99, &bytes), INVALID);
  const CUmemPoolProps elsewhere = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                    .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 99}};
  STEP(cu.cuMemPoolCreate(&none, &elsewhere), INVALID, CUDA_ERROR_INVALID_DEVICE);
  STEP(cu.cuMemPoolDestroy(pool), OK);
}

static void a_pool_goes_with_its_last_block(void) {
  fidelity_enter();
  CUmemoryPool pool = make_pool(), default_pool = NULL;
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUdeviceptr address = 0, other = 0;
  cuuint64_t used_bytes = 0;
  STEP(cu.cuMemAllocFromPoolAsync(&address, 0, pool, stream), INVALID);
  STEP(cu.cuMemAllocFromPoolAsync(&address, BYTES, pool, stream), OK);
  STEP(cu.cuMemAllocFromPoolAsync(&other, BYTES, pool, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used_bytes), OK);
  VALUE(used_bytes, 2 * BYTES);
  STEP(cu.cuMemFree(other), OK); /* waits for nothing that is there */
  STEP(cu.cuMemPoolTrimTo(pool, 0), OK);
  STEP(cu.cuMemPoolDestroy(pool), OK);
  STEP(cu.cuMemsetD8Async(address, 1, BYTES, stream), OK);
  STEP(cu.cuMemFreeAsync(address, stream), OK);
  STEP(cu.cuMemFreeAsync(address, stream), INVALID);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuDeviceGetDefaultMemPool(&default_pool, 0), OK);
  STEP(cu.cuMemPoolDestroy(default_pool), INVALID, CUDA_ERROR_NOT_PERMITTED);
  STEP(cu.cuMemFreeAsync(0, stream), INVALID, OK);
}

static int is_reserved(CUmemoryPool pool) {
  cuuint64_t bytes = 0;
  STEP(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &bytes), OK);
  return bytes != 0;
}

/* What was freed goes back once the host has waited: how much of a wait it needs, is not told. */
static void a_pool_gives_back_what_was_waited_for(void) {
  fidelity_enter();
  CUmemoryPool pool = make_pool();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream other = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  CUdeviceptr address = 0;
  cuuint64_t everything = UINT64_MAX;
  STEP(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &everything), OK);
  STEP(cu.cuMemAllocFromPoolAsync(&address, BYTES, pool, stream), OK);
  fidelity_hold(stream);
  STEP(cu.cuMemFreeAsync(address, stream), OK);
  STEP(cu.cuEventRecord(event, stream), OK);
  STEP(cu.cuMemPoolTrimTo(pool, 0), OK);
  VALUE(is_reserved(pool), 1);
  fidelity_release();
  while (cu.cuEventQuery(event) == CUDA_ERROR_NOT_READY) {
  }
  STEP(cu.cuMemPoolTrimTo(pool, 0), OK);
  VALUE(is_reserved(pool), 0, 1);
  STEP(cu.cuStreamSynchronize(other), OK);
  STEP(cu.cuMemPoolTrimTo(pool, 0), OK);
  VALUE(is_reserved(pool), 0, 1);
  STEP(cu.cuEventSynchronize(event), OK);
  STEP(cu.cuMemPoolTrimTo(pool, 0), OK);
  VALUE(is_reserved(pool), 0, 1);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuMemPoolTrimTo(pool, 0), OK);
  VALUE(is_reserved(pool), 0);
  STEP(cu.cuMemPoolDestroy(pool), OK);
}

static void a_pool_has_a_largest_size(void) {
  fidelity_enter();
  CUmemoryPool pool = NULL;
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUdeviceptr address = 0, none = 0;
  const CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
                                .maxSize = BYTES};
  STEP(cu.cuMemPoolCreate(&pool, &props), OK);
  STEP(cu.cuMemAllocFromPoolAsync(&address, BYTES, pool, stream), OK);
  /* It may be rounded up, but not as far as that. */
  STEP(cu.cuMemAllocFromPoolAsync(&none, 64 * BYTES, pool, stream), CUDA_ERROR_OUT_OF_MEMORY);
  STEP(cu.cuMemFreeAsync(address, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuMemPoolDestroy(pool), OK);
}

#define CASE(function) \
  { #function, function }
const fidelity_case fidelity_memory[] = {
    CASE(frees_are_of_whole_allocations_once), CASE(copies_end_with_the_allocation),
    CASE(fills_are_aligned_to_their_value),    CASE(rows_fit_their_pitch),
    CASE(addresses_are_known_while_they_live), CASE(host_memory_is_freed_once),
    CASE(memory_is_registered_once),           CASE(pools_have_attributes),
    CASE(a_pool_goes_with_its_last_block),     CASE(a_pool_gives_back_what_was_waited_for),
    CASE(a_pool_has_a_largest_size),           {0},
};
