/* test_device_provider.c: a GPU's memory behind the provider seam. */
#include "tests/cuda/cuda_fixture.h"

#include <stdio.h>

enum { GRANULE_BYTES = 2 << 20 };

static tarn_provider *make_provider(tarn_cuda *cuda) {
  tarn_provider *provider = NULL;
  OK(tarn_cuda_device_provider_create(cuda, 0, &provider));
  return provider;
}

TEST(it_says_what_it_is) {
  tarn_provider *provider = make_provider(*state);
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  assert_string_equal(tarn_provider_name(provider), "cuda:0");
  assert_true(tarn_device_equal(attributes->device, tarn_device_make(TARN_DEVICE_CUDA, 0)));
  assert_int_equal(attributes->granularity_bytes, GRANULE_BYTES);
  assert_int_equal(attributes->alignment_bytes, 256);
  assert_int_equal(attributes->flags, 0);
  assert_int_equal(attributes->node, -1);
  tarn_provider_release(provider);
}

TEST(blocks_lie_apart_and_are_aligned) {
  enum { BLOCKS = 8 };
  tarn_provider *provider = make_provider(*state);
  void *blocks[BLOCKS];
  for (size_t i = 0; i < BLOCKS; i++) {
    OK(tarn_provider_alloc(provider, (i + 1) * GRANULE_BYTES, &blocks[i]));
    const uintptr_t start = (uintptr_t)blocks[i];
    assert_int_equal(start % tarn_provider_attributes_of(provider)->alignment_bytes, 0);
    for (size_t k = 0; k < i; k++) {
      const uintptr_t other = (uintptr_t)blocks[k];
      assert_true(start >= other + (k + 1) * GRANULE_BYTES ||
                  other >= start + (i + 1) * GRANULE_BYTES);
    }
  }
  for (size_t i = 0; i < BLOCKS; i++) {
    OK(tarn_provider_free(provider, blocks[i], (i + 1) * GRANULE_BYTES));
  }
  tarn_provider_release(provider);
}

TEST(out_of_memory_has_numbers_and_does_not_stick) {
  tarn_cuda *cuda = *state;
  tarn_provider *provider = make_provider(cuda);
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  size_t too_many_bytes = 0;
  assert_true(tarn_size_round_up(info.total_bytes + 1, GRANULE_BYTES, &too_many_bytes));
  void *address = &address;
  for (int i = 0; i < 3; i++) {
    assert_int_equal(tarn_provider_alloc(provider, too_many_bytes, &address), TARN_OUT_OF_MEMORY);
    assert_null(address);
    assert_string_equal(tarn_last_error()->native_call, "cuMemAlloc");
    assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_OUT_OF_MEMORY);
    char asked[32];
    snprintf(asked, sizeof asked, "%zu bytes", too_many_bytes);
    assert_non_null(strstr(tarn_last_error()->message, asked));
  }
  OK(tarn_provider_alloc(provider, GRANULE_BYTES, &address));
  OK(tarn_provider_free(provider, address, GRANULE_BYTES));
  tarn_cuda_device_info after = {.struct_size = sizeof after};
  OK(tarn_cuda_device_info_of(cuda, 0, &after));
  if (tarn_cuda_is_simulated(cuda)) assert_int_equal(after.free_bytes, info.free_bytes);
  tarn_provider_release(provider);
}

TEST(memory_comes_back_to_the_device) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  tarn_cuda_device_info before = {.struct_size = sizeof before}, during = before, after = before;
  OK(tarn_cuda_device_info_of(cuda, 0, &before));
  fixture_sim_control()->set_capacity(0, before.total_bytes - before.free_bytes + GRANULE_BYTES);
  tarn_provider *provider = make_provider(cuda);
  void *first = NULL, *second = &second;
  for (int round = 0; round < 5; round++) {
    OK(tarn_provider_alloc(provider, GRANULE_BYTES, &first));
    OK(tarn_cuda_device_info_of(cuda, 0, &during));
    assert_int_equal(during.free_bytes, 0);
    assert_int_equal(tarn_provider_alloc(provider, GRANULE_BYTES, &second), TARN_OUT_OF_MEMORY);
    assert_null(second);
    OK(tarn_provider_free(provider, first, GRANULE_BYTES));
  }
  fixture_sim_control()->set_capacity(0, before.total_bytes);
  OK(tarn_cuda_device_info_of(cuda, 0, &after));
  assert_int_equal(after.free_bytes, before.free_bytes);
  tarn_provider_release(provider);
}

TEST(a_block_that_is_none_is_refused) {
  tarn_provider *provider = make_provider(*state);
  void *address = NULL;
  OK(tarn_provider_alloc(provider, GRANULE_BYTES, &address));
  assert_int_equal(tarn_provider_free(provider, (char *)address + 512, GRANULE_BYTES),
                   TARN_INVALID_ARGUMENT);
  assert_string_equal(tarn_last_error()->native_call, "cuMemFree");
  OK(tarn_provider_free(provider, address, GRANULE_BYTES));
  tarn_provider_release(provider);
}

int run_device_provider_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
