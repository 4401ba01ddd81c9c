/* test_pinned.c: page-locked memory behind the provider seam. */
#include "tests/cuda/cuda_fixture.h"

enum { GRANULE_BYTES = 64 << 10 };

static tarn_provider *make_provider(tarn_cuda *cuda) {
  tarn_provider *provider = NULL;
  OK(tarn_cuda_pinned_provider_create(cuda, &provider));
  return provider;
}

static void it_says_what_it_is(void **state) {
  tarn_provider *provider = make_provider(*state);
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  assert_string_equal(tarn_provider_name(provider), "cuda:pinned");
  assert_true(tarn_device_equal(attributes->device, tarn_device_make(TARN_DEVICE_CUDA_HOST, 0)));
  assert_true(tarn_device_is_host(attributes->device));
  assert_int_equal(attributes->granularity_bytes, GRANULE_BYTES);
  assert_int_equal(attributes->alignment_bytes, 4096);
  assert_int_equal(attributes->flags, 0);
  tarn_provider_release(provider);
}

static void the_cpu_and_every_device_reach_it(void **state) {
  tarn_cuda *cuda = *state;
  tarn_provider *provider = make_provider(cuda);
  void *block = NULL;
  OK(tarn_provider_alloc(provider, GRANULE_BYTES, &block));
  assert_int_equal((uintptr_t)block % 4096, 0);
  unsigned char *bytes = block;
  memset(bytes, 1, GRANULE_BYTES);
  for (int32_t device = 0; device < tarn_cuda_device_count(cuda); device++) {
    tarn_stream *stream = NULL;
    OK(tarn_cuda_stream_create(cuda, device, &stream));
    const tarn_device pinned = tarn_device_make(TARN_DEVICE_CUDA_HOST, 0);
    OK(tarn_stream_fill(stream, bytes + device, pinned, (uint8_t)(10 + device), 1));
    OK(tarn_stream_copy(stream, bytes + GRANULE_BYTES / 2 + device, pinned, bytes + device, pinned,
                        1));
    OK(tarn_stream_synchronize(stream));
    assert_int_equal(bytes[device], 10 + device);
    assert_int_equal(bytes[GRANULE_BYTES / 2 + device], 10 + device);
    tarn_stream_release(stream);
  }
  assert_int_equal(bytes[GRANULE_BYTES - 1], 1);
  OK(tarn_provider_free(provider, block, GRANULE_BYTES));
  tarn_provider_release(provider);
}

static void a_failure_to_pin_leaves_nothing_behind(void **state) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  tarn_provider *provider = make_provider(cuda);
  cusim_counts counts;
  fixture_sim_control()->get_counts(&counts);
  fixture_sim_control()->set_pinned_capacity(counts.pinned_bytes + GRANULE_BYTES);
  void *address = &address;
  assert_int_equal(tarn_provider_alloc(provider, 2 * GRANULE_BYTES, &address), TARN_OUT_OF_MEMORY);
  assert_null(address);
  assert_string_equal(tarn_last_error()->native_call, "cuMemHostAlloc");
  OK(tarn_provider_alloc(provider, GRANULE_BYTES, &address));
  OK(tarn_provider_free(provider, address, GRANULE_BYTES));
  fixture_sim_control()->set_pinned_capacity(SIZE_MAX);
  tarn_stream *stream = fixture_stream(cuda);
  OK(tarn_stream_synchronize(stream)); /* the driver's state is clean */
  tarn_stream_release(stream);
  tarn_provider_release(provider);
}

static void a_block_that_is_none_is_refused(void **state) {
  tarn_provider *provider = make_provider(*state);
  void *address = NULL;
  OK(tarn_provider_alloc(provider, GRANULE_BYTES, &address));
  assert_int_equal(tarn_provider_free(provider, (char *)address + 4096, GRANULE_BYTES),
                   TARN_INVALID_ARGUMENT);
  assert_string_equal(tarn_last_error()->native_call, "cuMemFreeHost");
  OK(tarn_provider_free(provider, address, GRANULE_BYTES));
  tarn_provider_release(provider);
}

int run_pinned_tests(void) {
  const struct CMUnitTest pinned_tests[] = {
      cmocka_unit_test(it_says_what_it_is),
      cmocka_unit_test(the_cpu_and_every_device_reach_it),
      cmocka_unit_test(a_failure_to_pin_leaves_nothing_behind),
      cmocka_unit_test(a_block_that_is_none_is_refused),
  };
  return cmocka_run_group_tests(pinned_tests, fixture_setup, fixture_teardown);
}
