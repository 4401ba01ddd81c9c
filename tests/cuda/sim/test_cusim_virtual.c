/* test_cusim_virtual.c: simulated virtual memory: reserve, create, map, open, and back again. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <errno.h>
#include <unistd.h>

enum { GRANULE = 2 << 20 };

static CUmemAllocationProp properties_of(int device) {
  return (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                               .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device}};
}

static CUmemGenericAllocationHandle create(size_t size_bytes) {
  const CUmemAllocationProp properties = properties_of(0);
  CUmemGenericAllocationHandle handle = 0;
  CU(cuMemCreate(&handle, size_bytes, &properties, 0));
  return handle;
}

static CUdeviceptr reserve(size_t size_bytes) {
  CUdeviceptr address = 0;
  CU(cuMemAddressReserve(&address, size_bytes, 0, 0, 0));
  return address;
}

static CUresult allow(CUdeviceptr address, size_t size_bytes, int device, CUmemAccess_flags flags) {
  const CUmemAccessDesc access = {.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device},
                                  .flags = flags};
  return cuMemSetAccess(address, size_bytes, &access, 1);
}

/* Fresh memory at the address, open to the first device; its handle is gone. */
static void map_fresh(CUdeviceptr address, size_t size_bytes) {
  const CUmemGenericAllocationHandle handle = create(size_bytes);
  CU(cuMemMap(address, size_bytes, 0, handle, 0));
  CU(cuMemRelease(handle));
  CU(allow(address, size_bytes, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
}

static void free_all(CUdeviceptr address, size_t size_bytes) {
  CU(cuMemUnmap(address, size_bytes));
  CU(cuMemAddressFree(address, size_bytes));
}

static size_t used_bytes(void) {
  size_t free_bytes = 0, total_bytes = 0;
  CU(cuMemGetInfo(&free_bytes, &total_bytes));
  return total_bytes - free_bytes;
}

CUSIM_TEST(the_device_says_that_it_can) {
  int can = 0;
  size_t minimum = 0, recommended = 0;
  CU(cuDeviceGetAttribute(&can, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0));
  assert_int_equal(can, 1);
  CUmemAllocationProp properties = properties_of(0);
  CU(cuMemGetAllocationGranularity(&minimum, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
  CU(cuMemGetAllocationGranularity(&recommended, &properties,
                                   CU_MEM_ALLOC_GRANULARITY_RECOMMENDED));
  assert_int_equal(minimum, GRANULE);
  assert_int_equal(recommended, GRANULE);
  properties = properties_of(CUSIM_TEST_DEVICES);
  assert_int_equal(
      cuMemGetAllocationGranularity(&minimum, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
      CUDA_ERROR_INVALID_DEVICE);
}

CUSIM_TEST(mappings_side_by_side_are_one_memory) {
  const CUdeviceptr range = reserve(8 * GRANULE);
  assert_int_equal(range % GRANULE, 0);
  map_fresh(range + GRANULE, GRANULE);
  map_fresh(range + 2 * GRANULE, 2 * GRANULE);
  unsigned char *bytes = cusim_fixture_pinned(3 * GRANULE);
  for (size_t i = 0; i < 3 * GRANULE; i++) assert_int_equal(bytes[i], 0xCD);
  for (size_t i = 0; i < 3 * GRANULE; i++) bytes[i] = (unsigned char)(i * 7 >> 8);
  CU(cuMemcpyHtoD(range + GRANULE, bytes, 3 * GRANULE));
  unsigned char *back = cusim_fixture_pinned(3 * GRANULE);
  CU(cuMemcpyDtoH(back, range + GRANULE, 3 * GRANULE));
  assert_memory_equal(back, bytes, 3 * GRANULE);
  /* And no further on either side. */
  assert_int_equal(cuMemcpyDtoH(back, range + GRANULE - 1, 2), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemcpyDtoH(back, range + 4 * GRANULE - 1, 2), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemUnmap(range + 2 * GRANULE, 2 * GRANULE));
  assert_int_equal(cuMemcpyDtoH(back, range + GRANULE, 3 * GRANULE), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemcpyDtoH(back, range + GRANULE, GRANULE));
  CU(cuMemUnmap(range + GRANULE, GRANULE));
  CU(cuMemAddressFree(range, 8 * GRANULE));
  CU(cuMemFreeHost(bytes));
  CU(cuMemFreeHost(back));
}

CUSIM_TEST(mapped_memory_is_closed_until_it_is_opened) {
  unsigned char byte = 1;
  unsigned long long flags = 99;
  const CUmemLocation location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0};
  const CUdeviceptr range = reserve(GRANULE);
  assert_int_equal(cuMemcpyHtoD(range, &byte, 1), CUDA_ERROR_INVALID_VALUE);
  const CUmemGenericAllocationHandle handle = create(GRANULE);
  CU(cuMemMap(range, GRANULE, 0, handle, 0));
  CU(cuMemGetAccess(&flags, &location, range));
  assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_NONE);
  assert_int_equal(cuMemcpyHtoD(range, &byte, 1), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD8Async(range, 1, 1, NULL), CUDA_ERROR_INVALID_VALUE);
  CU(allow(range, GRANULE, 0, CU_MEM_ACCESS_FLAGS_PROT_READ));
  CU(cuMemGetAccess(&flags, &location, range + GRANULE - 1));
  assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_READ);
  CU(cuMemcpyDtoH(&byte, range, 1));
  assert_int_equal(byte, 0xCD);
  assert_int_equal(cuMemcpyHtoD(range, &byte, 1), CUDA_ERROR_INVALID_VALUE);
  CU(allow(range, GRANULE, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
  CU(cuMemcpyHtoD(range, &byte, 1));
  /* A new mapping begins closed again. */
  CU(cuMemUnmap(range, GRANULE));
  CU(cuMemMap(range, GRANULE, 0, handle, 0));
  assert_int_equal(cuMemcpyDtoH(&byte, range, 1), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemRelease(handle));
  free_all(range, GRANULE);
}

CUSIM_TEST(memory_is_counted_where_it_is_made_and_lives_while_it_is_mapped) {
  const size_t before = used_bytes();
  const CUdeviceptr range = reserve((size_t)1 << 36); /* addresses cost nothing */
  assert_int_equal(used_bytes(), before);
  const CUmemGenericAllocationHandle handle = create(4 * GRANULE);
  assert_int_equal(used_bytes(), before + 4 * GRANULE);
  CU(cuMemMap(range, 4 * GRANULE, 0, handle, 0));
  assert_int_equal(used_bytes(), before + 4 * GRANULE);
  CU(cuMemRelease(handle));
  assert_int_equal(cuMemRelease(handle), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(used_bytes(), before + 4 * GRANULE);
  assert_int_equal(cusim_fixture_counts().physical_blocks, 1);
  assert_int_equal(cusim_fixture_counts().mappings, 1);
  CU(cuMemUnmap(range, 4 * GRANULE));
  assert_int_equal(used_bytes(), before);
  CU(cuMemAddressFree(range, (size_t)1 << 36));
  /* And the other way round: the handle last. */
  const CUdeviceptr other = reserve(GRANULE);
  const CUmemGenericAllocationHandle second = create(GRANULE);
  CU(cuMemMap(other, GRANULE, 0, second, 0));
  free_all(other, GRANULE);
  assert_int_equal(used_bytes(), before + GRANULE);
  CU(cuMemRelease(second));
  assert_int_equal(used_bytes(), before);
}

CUSIM_TEST(virtual_memory_has_the_devices_capacity) {
  const CUmemAllocationProp properties = properties_of(0);
  CUmemGenericAllocationHandle handle = 0;
  cusim_set_capacity(0, 3 * GRANULE);
  const CUdeviceptr block = cusim_fixture_device(GRANULE + 1);
  assert_int_equal(cuMemCreate(&handle, 2 * GRANULE, &properties, 0), CUDA_ERROR_OUT_OF_MEMORY);
  CU(cuMemCreate(&handle, GRANULE, &properties, 0));
  CU(cuMemFree(block));
  CU(cuMemRelease(handle));
  cusim_set_capacity(0, CUSIM_TEST_CAPACITY);
}

CUSIM_TEST(bytes_stay_with_the_memory_and_not_with_the_address) {
  unsigned char byte = 42;
  const CUdeviceptr first = reserve(GRANULE), second = reserve(GRANULE);
  const CUmemGenericAllocationHandle handle = create(GRANULE);
  CU(cuMemMap(first, GRANULE, 0, handle, 0));
  CU(cuMemMap(second, GRANULE, 0, handle, 0)); /* twice the same memory */
  CU(allow(first, GRANULE, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
  CU(allow(second, GRANULE, 0, CU_MEM_ACCESS_FLAGS_PROT_READ));
  CU(cuMemcpyHtoD(first + 5, &byte, 1));
  byte = 0;
  CU(cuMemcpyDtoH(&byte, second + 5, 1));
  assert_int_equal(byte, 42);
  CU(cuMemUnmap(first, GRANULE));
  CU(cuMemUnmap(second, GRANULE));
  CU(cuMemRelease(handle));
  map_fresh(first, GRANULE);
  CU(cuMemcpyDtoH(&byte, first + 5, 1));
  assert_int_equal(byte, 0xCD);
  free_all(first, GRANULE);
  CU(cuMemAddressFree(second, GRANULE));
}

CUSIM_TEST(a_handle_is_found_by_address_and_says_what_it_is) {
  const CUdeviceptr range = reserve(2 * GRANULE);
  map_fresh(range, GRANULE);
  CUmemGenericAllocationHandle handle = 0;
  CU(cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)(range + 77)));
  CUmemAllocationProp properties = {0};
  CU(cuMemGetAllocationPropertiesFromHandle(&properties, handle));
  assert_int_equal(properties.type, CU_MEM_ALLOCATION_TYPE_PINNED);
  assert_int_equal(properties.location.id, 0);
  assert_int_equal(cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)(range + GRANULE)),
                   CUDA_ERROR_INVALID_VALUE);
  CU(cuMemUnmap(range, GRANULE));
  assert_int_equal(cusim_fixture_counts().physical_blocks, 1);
  CU(cuMemRelease(handle));
  assert_int_equal(cuMemGetAllocationPropertiesFromHandle(&properties, handle),
                   CUDA_ERROR_INVALID_VALUE);
  CU(cuMemAddressFree(range, 2 * GRANULE));
}

CUSIM_TEST(misuse_is_refused_and_changes_nothing) {
  CUdeviceptr range = 0;
  CUmemGenericAllocationHandle handle = 0;
  CUmemAllocationProp properties = properties_of(0);
  assert_int_equal(cuMemAddressReserve(&range, GRANULE + 1, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemAddressReserve(&range, 0, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemAddressReserve(&range, GRANULE, 3, 0, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemAddressReserve(&range, (size_t)1 << 60, 0, 0, 0), CUDA_ERROR_OUT_OF_MEMORY);
  assert_int_equal(cuMemCreate(&handle, GRANULE / 2, &properties, 0), CUDA_ERROR_INVALID_VALUE);
  properties.location.type = CU_MEM_LOCATION_TYPE_HOST;
  assert_int_equal(cuMemCreate(&handle, GRANULE, &properties, 0), CUDA_ERROR_INVALID_VALUE);
  range = reserve(4 * GRANULE);
  handle = create(2 * GRANULE);
  assert_int_equal(cuMemMap(range + 1, GRANULE, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemMap(range, 4 * GRANULE, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemMap(range, GRANULE, GRANULE, handle, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemMap(range, GRANULE, 0, handle + 1, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemMap(range + 3 * GRANULE, 2 * GRANULE, 0, handle, 0),
                   CUDA_ERROR_INVALID_VALUE);
  CU(cuMemMap(range, 2 * GRANULE, 0, handle, 0));
  assert_int_equal(cuMemMap(range + GRANULE, 2 * GRANULE, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  /* No part of a mapping, and nothing that is not mapped. */
  assert_int_equal(cuMemUnmap(range, GRANULE), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemUnmap(range, 4 * GRANULE), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(allow(range, GRANULE, 0, CU_MEM_ACCESS_FLAGS_PROT_READ),
                   CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(allow(range, 2 * GRANULE, 9, CU_MEM_ACCESS_FLAGS_PROT_READ),
                   CUDA_ERROR_INVALID_DEVICE);
  assert_int_equal(cuMemAddressFree(range, 4 * GRANULE), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemFree(range), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemUnmap(range, 2 * GRANULE));
  assert_int_equal(cuMemAddressFree(range, 2 * GRANULE), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemAddressFree(range, 4 * GRANULE));
  assert_int_equal(cuMemAddressFree(range, 4 * GRANULE), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemRelease(handle));
}

CUSIM_TEST(the_cpu_cannot_follow_a_mapped_address) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const CUdeviceptr range = reserve(GRANULE);
  map_fresh(range, GRANULE);
  assert_int_equal(write(ends[1], (const void *)(uintptr_t)range, 1), -1);
  assert_int_equal(errno, EFAULT);
  free_all(range, GRANULE);
  close(ends[0]);
  close(ends[1]);
}

CUSIM_TEST(another_device_needs_access_of_its_own) {
  CUcontext second = NULL;
  unsigned char byte = 3;
  const CUdeviceptr range = reserve(GRANULE);
  map_fresh(range, GRANULE);
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  assert_int_equal(cuMemcpyHtoD(range, &byte, 1), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(allow(range, GRANULE, 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE),
                   CUDA_ERROR_INVALID_DEVICE);
  cusim_set_peers(1);
  CU(allow(range, GRANULE, 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
  CU(cuMemcpyHtoD(range, &byte, 1));
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(1));
  /* Memory belongs to the process: it outlives a context. */
  CU(cuMemcpyDtoH(&byte, range, 1));
  assert_int_equal(byte, 3);
  free_all(range, GRANULE);
}

typedef enum way { WAY_UNMAP, WAY_REMAP, WAY_CLOSE, WAYS } way;

static int teardown_after_the_breaks(void **state) {
  (void)state;
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(0));
  assert_int_equal(cusim_fixture_counts().physical_bytes, 0);
  return 0;
}

TEST_WITH(taking_memory_from_enqueued_work_breaks_the_context, cusim_setup,
          teardown_after_the_breaks) {
  for (way how = WAY_UNMAP; how < WAYS; how++) {
    CUcontext second = NULL;
    cusim_set_peers(1);
    CU(cuDevicePrimaryCtxRetain(&second, 1));
    CU(cuCtxPushCurrent(second));
    CUstream stream = cusim_fixture_stream();
    const CUdeviceptr range = reserve(2 * GRANULE);
    map_fresh(range, GRANULE);
    map_fresh(range + GRANULE, GRANULE);
    CU(allow(range, 2 * GRANULE, 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
    /* The first bytes stay; what is taken lies under the end. */
    CU(cuMemsetD8Async(range, 1, 2 * GRANULE, stream));
    if (how == WAY_CLOSE) {
      CU(allow(range + GRANULE, GRANULE, 1, CU_MEM_ACCESS_FLAGS_PROT_READ));
    } else {
      CU(cuMemUnmap(range + GRANULE, GRANULE));
    }
    if (how == WAY_REMAP) {
      map_fresh(range + GRANULE, GRANULE);
      CU(allow(range + GRANULE, GRANULE, 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
    }
    assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_non_null(strstr(cusim_fault(), "unmapped"));
    CU(cuCtxPopCurrent(NULL));
    CU(cuDevicePrimaryCtxRelease(1));
    if (how != WAY_UNMAP) CU(cuMemUnmap(range + GRANULE, GRANULE));
    CU(cuMemUnmap(range, GRANULE));
    CU(cuMemAddressFree(range, 2 * GRANULE));
  }
}

CUSIM_TEST(memory_that_other_work_lies_beside_may_be_unmapped) {
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr range = reserve(2 * GRANULE);
  map_fresh(range, GRANULE);
  map_fresh(range + GRANULE, GRANULE);
  CU(cuMemsetD8Async(range, 1, GRANULE, stream));
  CU(cuMemUnmap(range + GRANULE, GRANULE));
  map_fresh(range + GRANULE, GRANULE);
  CU(cuStreamSynchronize(stream));
  CU(cuStreamDestroy(stream));
  free_all(range, 2 * GRANULE); /* several mappings at once */
}

/* The broken context took its stream with it. */
int run_cusim_virtual_tests(void) {
  return run_listed_tests(NULL, NULL);
}
