/* fidelity_virtual.c: address ranges, physical memory, and what maps one to the other. */
#include <stdint.h>
#include <stdlib.h>

#include "tests/gpu/fidelity.h"

static const CUmemAllocationProp device_memory = {
    .type = CU_MEM_ALLOCATION_TYPE_PINNED,
    .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}};
static const CUmemAccessDesc read_write = {
    .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

static size_t granule(void) {
  size_t size_bytes = 0;
  STEP(cu.cuMemGetAllocationGranularity(&size_bytes, &device_memory,
                                        CU_MEM_ALLOC_GRANULARITY_MINIMUM),
       OK);
  VALUE(size_bytes, 2 << 20);
  return size_bytes;
}

static void ranges_come_and_go_whole(void) {
  fidelity_enter();
  const size_t size = granule();
  CUdeviceptr range = 0, other = 0;
  STEP(cu.cuMemAddressReserve(&range, 0, 0, 0, 0), INVALID);
  STEP(cu.cuMemAddressReserve(&range, size + 1, 0, 0, 0), INVALID);
  STEP(cu.cuMemAddressReserve(&range, size, 3, 0, 0), INVALID);
  STEP(cu.cuMemAddressReserve(&range, size, 0, 0, 1), INVALID);
  STEP(cu.cuMemAddressReserve(&range, 4 * size, 0, 0, 0), OK);
  VALUE(range % size, 0);
  /* A hint that cannot be followed is not an error. */
  STEP(cu.cuMemAddressReserve(&other, 2 * size, 0, range, 0), OK);
  VALUE(other != range, 1);
  STEP(cu.cuMemAddressFree(range, 2 * size), INVALID);
  STEP(cu.cuMemAddressFree(range + size, 3 * size), INVALID);
  STEP(cu.cuMemAddressFree(range, 4 * size), OK);
  STEP(cu.cuMemAddressFree(range, 4 * size), INVALID);
  STEP(cu.cuMemAddressFree(other, 2 * size), OK);
}

static void memory_is_made_in_granules(void) {
  fidelity_enter();
  const size_t size = granule();
  CUmemGenericAllocationHandle handle = 0;
  CUmemAllocationProp elsewhere = device_memory;
  elsewhere.location.id = 99;
  STEP(cu.cuMemCreate(&handle, size - 1, &device_memory, 0), INVALID);
  STEP(cu.cuMemCreate(&handle, 0, &device_memory, 0), INVALID);
  STEP(cu.cuMemCreate(&handle, size, &device_memory, 1), INVALID);
  STEP(cu.cuMemCreate(&handle, size, &elsewhere, 0), INVALID, CUDA_ERROR_INVALID_DEVICE);
  STEP(cu.cuMemCreate(&handle, (size_t)1 << 50, &device_memory, 0), CUDA_ERROR_OUT_OF_MEMORY);
  STEP(cu.cuMemCreate(&handle, size, &device_memory, 0), OK);
  STEP(cu.cuMemRelease(handle), OK); /* what a second time does is not defined */
}

static void a_range_is_mapped_once(void) {
  fidelity_enter();
  const size_t size = granule();
  CUdeviceptr range = 0;
  CUmemGenericAllocationHandle first = 0, second = 0;
  STEP(cu.cuMemAddressReserve(&range, 4 * size, 0, 0, 0), OK);
  STEP(cu.cuMemCreate(&first, 2 * size, &device_memory, 0), OK);
  STEP(cu.cuMemCreate(&second, size, &device_memory, 0), OK);
  STEP(cu.cuMemMap(range, size, size, first, 0), INVALID, CUDA_ERROR_NOT_SUPPORTED);
  STEP(cu.cuMemMap(range, 4 * size, 0, first, 0), INVALID);
  STEP(cu.cuMemMap(range + 1, 2 * size, 0, first, 0), INVALID);
  STEP(cu.cuMemMap(range, 2 * size, 0, first, 0), OK);
  STEP(cu.cuMemMap(range + size, size, 0, second, 0), INVALID, CUDA_ERROR_ALREADY_MAPPED);
  STEP(cu.cuMemMap(range + 4 * size, size, 0, second, 0), INVALID);
  STEP(cu.cuMemMap(range + 2 * size, size, 0, second, 0), OK);
  STEP(cu.cuMemUnmap(range, size), INVALID);
  STEP(cu.cuMemAddressFree(range, 4 * size), INVALID);
  STEP(cu.cuMemUnmap(range, 3 * size), OK);
  STEP(cu.cuMemUnmap(range, 2 * size), INVALID);
  STEP(cu.cuMemRelease(first), OK);
  STEP(cu.cuMemRelease(second), OK);
  STEP(cu.cuMemAddressFree(range, 4 * size), OK);
}

static void memory_lives_as_long_as_it_is_mapped(void) {
  fidelity_enter();
  const size_t size = granule();
  CUdeviceptr range = 0;
  CUmemGenericAllocationHandle handle = 0;
  unsigned char byte = 0;
  STEP(cu.cuMemAddressReserve(&range, size, 0, 0, 0), OK);
  STEP(cu.cuMemCreate(&handle, size, &device_memory, 0), OK);
  STEP(cu.cuMemMap(range, size, 0, handle, 0), OK);
  STEP(cu.cuMemRelease(handle), OK);
  STEP(cu.cuMemSetAccess(range, size, &read_write, 1), OK);
  STEP(cu.cuMemsetD8(range, 7, size), OK);
  STEP(cu.cuMemcpyDtoH(&byte, range + size - 1, 1), OK);
  VALUE(byte, 7);
  STEP(cu.cuMemFree(range), INVALID);
  STEP(cu.cuMemUnmap(range, size), OK);
  STEP(cu.cuMemcpyDtoH(&byte, range, 1), INVALID);
  STEP(cu.cuMemAddressFree(range, size), OK);
}

static void access_is_given_to_what_is_mapped(void) {
  fidelity_enter();
  const size_t size = granule();
  CUdeviceptr range = 0;
  CUmemGenericAllocationHandle first = 0, second = 0;
  unsigned long long flags = 99;
  unsigned char byte = 0;
  CUmemLocation here = read_write.location;
  STEP(cu.cuMemAddressReserve(&range, 4 * size, 0, 0, 0), OK);
  STEP(cu.cuMemSetAccess(range, size, &read_write, 1), INVALID);
  STEP(cu.cuMemCreate(&first, size, &device_memory, 0), OK);
  STEP(cu.cuMemCreate(&second, size, &device_memory, 0), OK);
  STEP(cu.cuMemMap(range, size, 0, first, 0), OK);
  STEP(cu.cuMemMap(range + size, size, 0, second, 0), OK);
  STEP(cu.cuMemGetAccess(&flags, &here, range), OK);
  VALUE(flags, CU_MEM_ACCESS_FLAGS_PROT_NONE);
  STEP(cu.cuMemcpyDtoH(&byte, range, 1), INVALID);
  STEP(cu.cuMemSetAccess(range, 3 * size, &read_write, 1), INVALID);
  STEP(cu.cuMemSetAccess(range, 2 * size, &read_write, 1), OK);
  STEP(cu.cuMemGetAccess(&flags, &here, range + size), OK);
  VALUE(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  /* Over both, side by side. */
  STEP(cu.cuMemsetD8(range + size / 2, 3, size), OK);
  STEP(cu.cuMemcpyDtoH(&byte, range + size + size / 4, 1), OK);
  VALUE(byte, 3);
  STEP(cu.cuMemUnmap(range, 2 * size), OK);
}

/* The bytes belong to the memory and not to where it is mapped. */
static void memory_may_be_mapped_elsewhere(void) {
  fidelity_enter();
  const size_t size = granule();
  CUdeviceptr range = 0;
  CUmemGenericAllocationHandle handle = 0;
  unsigned char byte = 0;
  STEP(cu.cuMemAddressReserve(&range, 2 * size, 0, 0, 0), OK);
  STEP(cu.cuMemCreate(&handle, size, &device_memory, 0), OK);
  STEP(cu.cuMemMap(range, size, 0, handle, 0), OK);
  STEP(cu.cuMemSetAccess(range, size, &read_write, 1), OK);
  STEP(cu.cuMemsetD8(range, 5, size), OK);
  STEP(cu.cuCtxSynchronize(), OK);
  STEP(cu.cuMemUnmap(range, size), OK);
  STEP(cu.cuMemMap(range + size, size, 0, handle, 0), OK);
  /* Access goes with the mapping. */
  STEP(cu.cuMemcpyDtoH(&byte, range + size, 1), INVALID);
  STEP(cu.cuMemSetAccess(range + size, size, &read_write, 1), OK);
  STEP(cu.cuMemcpyDtoH(&byte, range + size, 1), OK);
  VALUE(byte, 5);
  STEP(cu.cuMemUnmap(range + size, size), OK);
  STEP(cu.cuMemRelease(handle), OK);
}

#define CASE(function) \
  { #function, function }
const fidelity_case fidelity_virtual[] = {
    CASE(ranges_come_and_go_whole),
    CASE(memory_is_made_in_granules),
    CASE(a_range_is_mapped_once),
    CASE(memory_lives_as_long_as_it_is_mapped),
    CASE(access_is_given_to_what_is_mapped),
    CASE(memory_may_be_mapped_elsewhere),
    {0},
};
