/* test_cuda_device.c: opening, describing devices, contexts, and the errors of a broken one. */
#include "tests/cuda/cuda_fixture.h"

#include <sys/wait.h>
#include <unistd.h>

TEST(device_info_is_plausible) {
  tarn_cuda *cuda = *state;
  assert_true(tarn_cuda_device_count(cuda) >= 1);
  for (int32_t device = 0; device < tarn_cuda_device_count(cuda); device++) {
    tarn_cuda_device_info info = {.struct_size = sizeof info};
    OK(tarn_cuda_device_info_of(cuda, device, &info));
    assert_true(strlen(info.name) > 0);
    assert_int_equal(strlen(info.pci_bus_id), strlen("0000:17:00.0"));
    assert_true(info.total_bytes > 0);
    assert_true(info.free_bytes <= info.total_bytes);
    assert_true(info.compute_capability_major >= 5);
    assert_true(info.multiprocessor_count >= 1);
    assert_true(info.host_node >= -1);
    if (tarn_cuda_is_simulated(cuda)) {
      assert_true(info.has_virtual_memory);
      assert_true(info.has_memory_pools);
    }
  }
}

TEST(a_device_that_does_not_exist_is_refused_everywhere) {
  tarn_cuda *cuda = *state;
  const int32_t missing[] = {-1, tarn_cuda_device_count(cuda)};
  for (int i = 0; i < 2; i++) {
    tarn_cuda_device_info info = {.struct_size = sizeof info, .total_bytes = 1};
    assert_int_equal(tarn_cuda_device_info_of(cuda, missing[i], &info), TARN_INVALID_ARGUMENT);
    assert_int_equal(info.total_bytes, 0);
    tarn_stream *stream = (tarn_stream *)&stream;
    assert_int_equal(tarn_cuda_stream_create(cuda, missing[i], &stream), TARN_INVALID_ARGUMENT);
    assert_null(stream);
    stream = (tarn_stream *)&stream;
    assert_int_equal(tarn_cuda_stream_wrap(cuda, missing[i], NULL, &stream), TARN_INVALID_ARGUMENT);
    assert_null(stream);
    tarn_provider *provider = (tarn_provider *)&provider;
    assert_int_equal(tarn_cuda_device_provider_create(cuda, missing[i], &provider),
                     TARN_INVALID_ARGUMENT);
    assert_null(provider);
  }
}

TEST(a_device_is_waited_for_with_all_its_streams) {
  tarn_stream *streams[2] = {fixture_stream(*state), fixture_stream(*state)};
  fixture_block device = fixture_device_block(*state, 4096);
  fixture_block pinned = fixture_pinned_block(*state, 8192);
  for (int i = 0; i < 2; i++) {
    OK(tarn_stream_fill(streams[i], pinned.address + 4096 * i, pinned.device, (uint8_t)(i + 1),
                        4096));
  }
  OK(tarn_cuda_synchronize(*state, 0));
  assert_int_equal(pinned.address[4095], 1);
  assert_int_equal(pinned.address[8191], 2);
  assert_int_equal(tarn_cuda_synchronize(NULL, 0), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_synchronize(*state, -1), TARN_INVALID_ARGUMENT);
  for (int i = 0; i < 2; i++) tarn_stream_release(streams[i]);
  fixture_free(&device), fixture_free(&pinned);
}

TEST(the_driver_tells_what_lies_around_an_address) {
  fixture_block block = fixture_device_block(*state, 4096);
  void *start = state;
  size_t size_bytes = 1;
  OK(tarn_cuda_address_range(*state, 0, block.address + 100, &start, &size_bytes));
  assert_ptr_equal(start, block.address);
  assert_true(size_bytes >= block.size_bytes);
  assert_int_equal(tarn_cuda_address_range(*state, 0, state, &start, &size_bytes), TARN_NOT_FOUND);
  assert_null(start);
  assert_int_equal(size_bytes, 0);
  assert_int_equal(tarn_cuda_address_range(*state, 0, state, NULL, &size_bytes),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_address_range(*state, -1, state, &start, &size_bytes),
                   TARN_INVALID_ARGUMENT);
  fixture_free(&block);
}

TEST(an_info_of_another_size_is_refused) {
  tarn_cuda_device_info info = {.struct_size = sizeof info + 8};
  assert_int_equal(tarn_cuda_device_info_of(*state, 0, &info), TARN_INVALID_ARGUMENT);
  assert_int_equal(info.struct_size, sizeof info + 8);
}

TEST(the_threads_context_is_left_as_it_was) {
  tarn_cuda *cuda = *state;
  const tarn__driver *driver = &cuda->driver;
  const int32_t last = tarn_cuda_device_count(cuda) - 1; /* device 0 where there is only one */
  CUcontext foreign = NULL, found = NULL;
  assert_int_equal(driver->DevicePrimaryCtxRetain(&foreign, cuda->devices[last].native), 0);

  for (int round = 0; round < 2; round++) {
    const CUcontext expected = round == 0 ? NULL : foreign;
    assert_int_equal(driver->CtxSetCurrent(expected), 0);
    tarn_cuda_device_info info = {.struct_size = sizeof info};
    OK(tarn_cuda_device_info_of(cuda, 0, &info));
    tarn_stream *stream = fixture_stream(cuda);
    fixture_block device = fixture_device_block(cuda, 4096);
    fixture_block pinned = fixture_pinned_block(cuda, 4096);
    fixture_copy(stream, &device, &pinned, 4096);
    OK(tarn_stream_fill(stream, device.address, device.device, 1, 4096));
    tarn_fence *fence = NULL;
    OK(tarn_fence_create(stream, &fence));
    OK(tarn_fence_record(fence, stream));
    OK(tarn_fence_synchronize(fence));
    OK(tarn_fence_query(fence));
    tarn_fence_destroy(fence);
    tarn_stream_release(stream);
    fixture_free(&device);
    fixture_free(&pinned);
    assert_int_equal(driver->CtxGetCurrent(&found), 0);
    assert_ptr_equal(found, expected);
  }
  assert_int_equal(driver->CtxSetCurrent(NULL), 0);
  driver->DevicePrimaryCtxRelease(cuda->devices[last].native);
}

TEST(a_context_is_retained_at_first_use_and_released_at_the_end) {
  FIXTURE_NEEDS_SIM();
  cusim_counts counts = counts_now();
  const size_t before = counts.context_retains;
  tarn_cuda *cuda = fixture_open();
  counts = counts_now();
  assert_int_equal(counts.context_retains, before);
  tarn_provider *pinned = NULL;
  tarn_provider *device = NULL;
  OK(tarn_cuda_pinned_provider_create(cuda, NULL, &pinned));
  OK(tarn_cuda_device_provider_create(cuda, 0, &device));
  tarn_cuda_release(cuda); /* the providers hold it */
  counts = counts_now();
  assert_int_equal(counts.context_retains, before + 1);
  tarn_provider_release(pinned);
  tarn_provider_release(device);
  counts = counts_now();
  assert_int_equal(counts.context_retains, before);
}

TEST(a_broken_context_is_a_device_error_with_its_cause) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = fixture_open();
  const int32_t device = tarn_cuda_device_count(cuda) - 1;
  if (device == 0) {
    print_message("skipped: the only device is needed whole by other tests\n");
    tarn_cuda_release(cuda);
    skip();
  }
  tarn_provider *provider = NULL;
  OK(tarn_cuda_device_provider_create(cuda, device, &provider));
  fixture_sim_control()->break_context(device, CUDA_ERROR_ECC_UNCORRECTABLE);
  void *address = &address;
  assert_int_equal(tarn_provider_alloc(provider, 2 << 20, &address), TARN_DEVICE_ERROR);
  assert_null(address);
  assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_ECC_UNCORRECTABLE);
  assert_string_equal(tarn_last_error()->native_call, "cuMemAlloc");
  tarn_provider_release(provider);
  tarn_cuda_release(cuda);
}

TEST(a_forked_child_gets_a_defined_error) {
  tarn_cuda *cuda = *state;
  fixture_block pinned = fixture_pinned_block(cuda, 4096);
  const pid_t child = fork();
  if (child == 0) {
    void *address = NULL;
    const tarn_status status = tarn_provider_alloc(pinned.provider, pinned.size_bytes, &address);
    if (status != TARN_UNAVAILABLE || address != NULL) _exit(1 + (int)status);
    if (tarn_last_error()->native_call != NULL) _exit(100); /* the driver was asked */
    tarn_cuda_release(cuda); /* of two references, so that the provider's is the last */
    tarn_provider_release(pinned.provider);
    _exit(0);
  }
  int ended = -1;
  assert_int_equal(waitpid(child, &ended, 0), child);
  assert_true(WIFEXITED(ended));
  assert_int_equal(WEXITSTATUS(ended), 0);
  fixture_free(&pinned);
}

int run_cuda_device_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
