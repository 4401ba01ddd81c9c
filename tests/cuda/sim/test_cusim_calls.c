/* test_cusim_calls.c: calls that fail on demand, each by its name; and small ones that only ask. */
#include "tests/cuda/sim/cusim_fixture.h"

/* What all the calls below need. */
static CUstream stream;
static CUevent event;
static CUdeviceptr device;
static CUcontext context;

/* Told to fail, the call fails so and changes nothing; the next one works. */
#define FAILS_ONCE(name, ...)                                       \
  do {                                                              \
    const uint64_t before = cusim_calls(#name);                     \
    assert_true(cusim_fail_call(#name, 1, CUDA_ERROR_UNKNOWN));     \
    assert_int_equal(name(__VA_ARGS__), CUDA_ERROR_UNKNOWN);        \
    assert_string_equal(cusim_failed_call(), #name);                \
    assert_int_equal(cusim_fixture_counts().pending_operations, 0); \
    CU(name(__VA_ARGS__));                                          \
    assert_true(cusim_calls(#name) == before + 2);                  \
    CU(cuCtxSynchronize());                                         \
  } while (0)

CUSIM_TEST(calls_on_streams_fail_on_demand) {
  stream = cusim_fixture_stream();
  event = cusim_fixture_event();
  device = cusim_fixture_device(256);
  CU(cuCtxGetCurrent(&context));
  CUDA_MEMCPY3D box = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                       .srcDevice = device,
                       .srcPitch = 8,
                       .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                       .dstDevice = device + 128,
                       .dstPitch = 8,
                       .WidthInBytes = 8,
                       .Height = 1,
                       .Depth = 1};
  CUdeviceptr to[] = {device + 64}, from[] = {device};
  size_t sizes[] = {8}, starts[] = {0};
  CUmemcpyAttributes attributes[] = {{.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM}};
  int priority;
  FAILS_ONCE(cuMemcpyDtoD, device + 64, device, 8);
  FAILS_ONCE(cuMemcpyPeerAsync, device + 64, context, device, context, 8, stream);
  FAILS_ONCE(cuMemcpy3DAsync, &box, stream);
  FAILS_ONCE(cuMemcpyBatchAsync, to, from, sizes, 1, attributes, starts, 1, stream);
  FAILS_ONCE(cuMemsetD8, device, 1, 8);
  FAILS_ONCE(cuMemsetD16Async, device, 1, 4, stream);
  FAILS_ONCE(cuMemsetD32Async, device, 1, 2, stream);
  FAILS_ONCE(cuMemsetD2D8Async, device, 16, 1, 8, 2, stream);
  FAILS_ONCE(cuMemsetD2D16Async, device, 16, 1, 4, 2, stream);
  FAILS_ONCE(cuMemsetD2D32Async, device, 16, 1, 2, 2, stream);
  FAILS_ONCE(cuStreamWriteValue32, stream, device, 1, 0);
  FAILS_ONCE(cuStreamWaitValue32, stream, device, 1, CU_STREAM_WAIT_VALUE_EQ);
  FAILS_ONCE(cuStreamWriteValue64, stream, device, 1, 0);
  FAILS_ONCE(cuStreamWaitValue64, stream, device, 1, CU_STREAM_WAIT_VALUE_EQ);
  FAILS_ONCE(cuStreamGetPriority, stream, &priority);
  FAILS_ONCE(cuEventRecordWithFlags, event, stream, CU_EVENT_RECORD_DEFAULT);
  CU(cuMemFree(device));
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(calls_that_ask_fail_on_demand) {
  int least, greatest, can;
  CUdevice found;
  size_t pitch;
  CUdeviceptr pitched = 0;
  unsigned flags;
  unsigned char *pinned = cusim_fixture_pinned(8);
  CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE};
  void *data[] = {&flags};
  FAILS_ONCE(cuCtxGetStreamPriorityRange, &least, &greatest);
  FAILS_ONCE(cuDeviceCanAccessPeer, &can, 0, 1);
  FAILS_ONCE(cuDeviceGetByPCIBusId, &found, "ffff:01:00.0");
  FAILS_ONCE(cuMemAllocPitch, &pitched, &pitch, 5, 3, 4);
  FAILS_ONCE(cuMemHostGetFlags, &flags, pinned);
  FAILS_ONCE(cuPointerGetAttributes, 1, attributes, data, pitched);
  CU(cuMemFree(pitched));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(priorities_are_kept_within_their_range) {
  int least = 1, greatest = 1, priority = 1;
  CU(cuCtxGetStreamPriorityRange(&least, &greatest));
  CU(cuCtxGetStreamPriorityRange(NULL, NULL));
  assert_true(greatest < least);
  const int asked[] = {least, greatest, greatest - 7, least + 7};
  const int given[] = {least, greatest, greatest, least};
  for (int i = 0; i < 4; i++) {
    CUstream made = NULL;
    CU(cuStreamCreateWithPriority(&made, CU_STREAM_NON_BLOCKING, asked[i]));
    CU(cuStreamGetPriority(made, &priority));
    assert_int_equal(priority, given[i]);
    CU(cuStreamDestroy(made));
    assert_int_equal(cuStreamGetPriority(made, &priority), CUDA_ERROR_INVALID_HANDLE);
  }
  assert_int_equal(cuStreamGetPriority(NULL, NULL), CUDA_ERROR_INVALID_VALUE);
}

CUSIM_TEST(devices_are_found_by_their_bus_and_reach_no_peer) {
  char id[16];
  CUdevice found = -1;
  int can = -1;
  CU(cuDeviceGetPCIBusId(id, sizeof id, 1));
  CU(cuDeviceGetByPCIBusId(&found, id));
  assert_int_equal(found, 1);
  assert_int_equal(cuDeviceGetByPCIBusId(&found, "0000:01:00.0"), CUDA_ERROR_INVALID_DEVICE);
  assert_int_equal(cuDeviceGetByPCIBusId(&found, "nonsense"), CUDA_ERROR_INVALID_VALUE);
  CU(cuDeviceCanAccessPeer(&can, 0, 1));
  assert_int_equal(can, 0);
  assert_int_equal(cuDeviceCanAccessPeer(&can, 0, 7), CUDA_ERROR_INVALID_DEVICE);
  assert_int_equal(cuDeviceCanAccessPeer(NULL, 0, 1), CUDA_ERROR_INVALID_VALUE);
}

CUSIM_TEST(pitched_memory_has_room_for_every_row) {
  CUdeviceptr address = 0, start = 0;
  size_t pitch = 0, size_bytes = 0;
  CU(cuMemAllocPitch(&address, &pitch, 513, 3, 16));
  assert_int_equal(pitch, 1024);
  CU(cuMemGetAddressRange(&start, &size_bytes, address + 2 * pitch + 512));
  assert_true(start == address && size_bytes == 3 * pitch);
  CU(cuMemFree(address));
  assert_int_equal(cuMemAllocPitch(&address, &pitch, 8, 1, 3), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemAllocPitch(&address, &pitch, 0, 1, 4), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemAllocPitch(&address, &pitch, SIZE_MAX, 1, 4), CUDA_ERROR_OUT_OF_MEMORY);
  assert_int_equal(cuMemAllocPitch(&address, &pitch, 512, SIZE_MAX / 8, 4),
                   CUDA_ERROR_OUT_OF_MEMORY);
}

CUSIM_TEST(many_attributes_of_an_address_at_once) {
  unsigned char *pinned = cusim_fixture_pinned(64);
  CUdeviceptr memory = cusim_fixture_device(64);
  CUcontext owner = NULL;
  unsigned type = 9, flags = 0;
  void *host = &host;
  int ordinal = 9;
  CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_CONTEXT, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                 CU_POINTER_ATTRIBUTE_HOST_POINTER,
                                 CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  void *data[] = {&owner, &type, &host, &ordinal};
  CU(cuPointerGetAttributes(4, asked, data, at(pinned) + 5));
  assert_true(owner == *state && type == CU_MEMORYTYPE_HOST && host == pinned + 5 && ordinal == 0);
  CU(cuPointerGetAttributes(4, asked, data, memory));
  assert_true(type == CU_MEMORYTYPE_DEVICE && host == NULL); /* no error, unlike one at a time */
  CU(cuPointerGetAttributes(4, asked, data, at(&type)));
  assert_true(owner == NULL && type == 0 && host == NULL && ordinal == CU_DEVICE_INVALID);
  data[2] = NULL;
  assert_int_equal(cuPointerGetAttributes(4, asked, data, memory), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuPointerGetAttributes(0, asked, data, memory), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemHostGetFlags(&flags, pinned));
  assert_int_equal(flags, CU_MEMHOSTALLOC_PORTABLE);
  assert_int_equal(cuMemHostGetFlags(&flags, &flags), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemFree(memory));
  CU(cuMemFreeHost(pinned));
}

int run_cusim_call_tests(void) {
  return run_listed_tests(NULL, NULL);
}
