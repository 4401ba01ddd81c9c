/* test_virtual_provider.c: a GPU's memory in granules behind reserved addresses. */
#include "tests/cuda/cuda_fixture.h"

#include <stdio.h>

#include "alloc/tarn_caching_pool.h"

static tarn_provider *make_provider(tarn_cuda *cuda) {
  tarn_provider *provider = NULL;
  const tarn_status status = tarn_cuda_virtual_provider_create(cuda, 0, NULL, &provider);
  if (status == TARN_NOT_SUPPORTED) {
    print_message("skipped: %s\n", tarn_last_error()->message);
    skip();
  }
  OK(status);
  return provider;
}

static size_t granule(const tarn_provider *provider) {
  return tarn_provider_attributes_of(provider)->granularity_bytes;
}

static tarn_cuda_virtual_stats stats_of(const tarn_provider *provider) {
  tarn_cuda_virtual_stats stats = {.struct_size = sizeof stats};
  OK(tarn_cuda_virtual_stats_of(provider, &stats));
  return stats;
}

TEST(it_says_that_it_reserves) {
  tarn_provider *provider = make_provider(*state);
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  assert_string_equal(tarn_provider_name(provider), "cuda:0 virtual");
  assert_true(tarn_device_equal(attributes->device, tarn_device_make(TARN_DEVICE_CUDA, 0)));
  assert_int_equal(attributes->flags, TARN_PROVIDER_RESERVES | TARN_PROVIDER_MOVES);
  assert_true(tarn_is_power_of_two(attributes->granularity_bytes));
  assert_int_equal(attributes->alignment_bytes, attributes->granularity_bytes);
  if (tarn_cuda_is_simulated(*state)) assert_int_equal(attributes->granularity_bytes, 2 << 20);
  tarn_provider_release(provider);
}

TEST(committed_granules_are_one_memory) {
  tarn_cuda *cuda = *state;
  tarn_provider *provider = make_provider(cuda);
  const size_t step = granule(provider);
  void *address = NULL;
  OK(tarn_provider_reserve(provider, 16 * step, &address));
  char *range = address;
  OK(tarn_provider_commit(provider, range + 2 * step, step));
  OK(tarn_provider_commit(provider, range + 3 * step, 2 * step));
  fixture_block pinned = fixture_pinned_block(cuda, 2 * step);
  tarn_stream *stream = fixture_stream(cuda);
  const tarn_device device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  /* Over the middle of three granules, from inside the first to inside the third. */
  memset(pinned.address, 0x5A, 2 * step);
  char *inside = range + 2 * step + step / 2;
  OK(tarn_stream_copy(stream, inside, device, pinned.address, pinned.device, 2 * step));
  OK(tarn_stream_synchronize(stream));
  memset(pinned.address, 0, 2 * step);
  OK(tarn_stream_copy(stream, pinned.address, pinned.device, inside, device, 2 * step));
  OK(tarn_stream_synchronize(stream));
  for (size_t i = 0; i < 2 * step; i += 511) assert_int_equal(pinned.address[i], 0x5A);
  OK(tarn_provider_decommit(provider, range + 3 * step, step));
  OK(tarn_stream_copy(stream, pinned.address, pinned.device, range + 4 * step, device, 8));
  OK(tarn_stream_synchronize(stream));
  assert_int_equal(pinned.address[0], 0x5A);          /* its neighbour is gone, it is not */
  OK(tarn_provider_free(provider, range, 16 * step)); /* with two granules committed */
  tarn_stream_release(stream);
  fixture_free(&pinned);
  tarn_provider_release(provider);
}

TEST(what_is_committed_is_committed_once) {
  tarn_provider *provider = make_provider(*state);
  const size_t step = granule(provider);
  void *address = NULL;
  OK(tarn_provider_reserve(provider, 4 * step, &address));
  char *range = address;
  OK(tarn_provider_commit(provider, range + step, step));
  assert_int_equal(tarn_provider_commit(provider, range, 2 * step), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_provider_decommit(provider, range, 2 * step), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_provider_commit(provider, range + 3 * step, 2 * step),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_provider_free(provider, range, 2 * step), TARN_INVALID_ARGUMENT);
  OK(tarn_provider_commit(provider, range, step)); /* refusing changed nothing */
  OK(tarn_provider_decommit(provider, range, 2 * step));
  OK(tarn_provider_free(provider, range, 4 * step));
  tarn_provider_release(provider);
}

TEST(memory_that_does_not_suffice_is_not_kept_in_part) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = *state;
  tarn_provider *provider = make_provider(cuda);
  const size_t step = granule(provider);
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  void *range = NULL;
  OK(tarn_provider_reserve(provider, 8 * step, &range));
  fixture_sim_control()->set_capacity(0, info.total_bytes - info.free_bytes + 3 * step);
  const cusim_counts before = counts_now();
  for (int i = 0; i < 3; i++) { /* it does not stick */
    assert_int_equal(tarn_provider_commit(provider, range, 4 * step), TARN_OUT_OF_MEMORY);
    assert_string_equal(tarn_last_error()->native_call, "cuMemCreate");
    char asked[32];
    snprintf(asked, sizeof asked, "%zu bytes", 4 * step);
    assert_non_null(strstr(tarn_last_error()->message, asked));
    assert_int_equal(counts_now().physical_bytes, before.physical_bytes);
    assert_int_equal(counts_now().mappings, before.mappings);
  }
  void *block = &block;
  assert_int_equal(tarn_provider_alloc(provider, 4 * step, &block), TARN_OUT_OF_MEMORY);
  assert_null(block);
  assert_string_equal(tarn_last_error()->native_call, "cuMemCreate");
  assert_int_equal(counts_now().reservations, before.reservations);
  OK(tarn_provider_commit(provider, range, 3 * step));
  fixture_sim_control()->set_capacity(0, info.total_bytes);
  OK(tarn_provider_free(provider, range, 8 * step));
  assert_int_equal(counts_now().physical_bytes, before.physical_bytes);
  tarn_provider_release(provider);
}

TEST(granules_may_be_larger_than_the_devices) {
  tarn_cuda *cuda = *state;
  tarn_provider_release(make_provider(cuda));
  tarn_cuda_virtual_options options = {.struct_size = sizeof options,
                                       .granularity_bytes = 16 << 20};
  tarn_provider *provider = NULL;
  OK(tarn_cuda_virtual_provider_create(cuda, 0, &options, &provider));
  assert_int_equal(granule(provider), 16 << 20);
  void *block = NULL;
  OK(tarn_provider_alloc(provider, 16 << 20, &block));
  if (fixture_sim_control() != NULL) assert_int_equal(counts_now().mappings, 1);
  OK(tarn_provider_free(provider, block, 16 << 20));
  tarn_provider_release(provider);
  static const size_t refused[] = {3 << 20, 4096};
  for (int i = 0; i < 2; i++) {
    options.granularity_bytes = refused[i];
    provider = (tarn_provider *)&provider;
    assert_int_equal(tarn_cuda_virtual_provider_create(cuda, 0, &options, &provider),
                     TARN_INVALID_ARGUMENT);
    assert_null(provider);
  }
  options.struct_size = 1;
  assert_int_equal(tarn_cuda_virtual_provider_create(cuda, 0, &options, &provider),
                   TARN_INVALID_ARGUMENT);
}

TEST(a_driver_without_virtual_memory_is_told_and_gets_blocks) {
  FIXTURE_NEEDS_SIM();
  static const char *const entries[] = {"cuMemGetAllocationGranularity",
                                        "cuMemAddressReserve",
                                        "cuMemAddressFree",
                                        "cuMemCreate",
                                        "cuMemRelease",
                                        "cuMemMap",
                                        "cuMemUnmap",
                                        "cuMemSetAccess"};
  for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
    fixture_sim_control()->hide(entries[i]);
    tarn_cuda *cuda = fixture_open();
    fixture_sim_control()->hide(NULL);
    tarn_provider *provider = (tarn_provider *)&provider;
    assert_int_equal(tarn_cuda_virtual_provider_create(cuda, 0, NULL, &provider),
                     TARN_NOT_SUPPORTED);
    assert_null(provider);
    assert_non_null(strstr(tarn_last_error()->message, entries[i]));
    tarn_cuda_memory memory = TARN_CUDA_MEMORY_NONE;
    OK(tarn_cuda_memory_provider_create(cuda, 0, &memory, &provider));
    assert_int_equal(memory, TARN_CUDA_MEMORY_BLOCKS);
    assert_string_equal(tarn_provider_name(provider), "cuda:0");
    tarn_provider_release(provider);
    tarn_cuda_release(cuda);
  }
}

TEST(a_device_without_virtual_memory_is_told_and_gets_blocks) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = *state;
  tarn_provider_release(make_provider(cuda)); /* the context is retained now */
  tarn_provider *provider = NULL;
  tarn_cuda_memory memory = TARN_CUDA_MEMORY_NONE;
  fixture_sim_control()->fail_call("cuDeviceGetAttribute", 1, CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(tarn_cuda_virtual_provider_create(cuda, 0, NULL, &provider), TARN_NOT_SUPPORTED);
  fixture_sim_control()->fail_call("cuDeviceGetAttribute", 1, CUDA_ERROR_INVALID_VALUE);
  OK(tarn_cuda_memory_provider_create(cuda, 0, &memory, &provider));
  assert_int_equal(memory, TARN_CUDA_MEMORY_BLOCKS);
  tarn_provider_release(provider);
}

TEST(the_best_memory_is_virtual) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = *state;
  tarn_provider *provider = NULL;
  tarn_cuda_memory memory = TARN_CUDA_MEMORY_NONE;
  OK(tarn_cuda_memory_provider_create(cuda, 0, &memory, &provider));
  assert_int_equal(memory, TARN_CUDA_MEMORY_VIRTUAL);
  assert_string_equal(tarn_provider_name(provider), "cuda:0 virtual");
  tarn_provider_release(provider);
  OK(tarn_cuda_memory_provider_create(cuda, 0, NULL, &provider));
  tarn_provider_release(provider);
  memory = TARN_CUDA_MEMORY_VIRTUAL;
  provider = (tarn_provider *)&provider;
  assert_int_equal(tarn_cuda_memory_provider_create(cuda, 99, &memory, &provider),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(memory, TARN_CUDA_MEMORY_NONE);
  assert_null(provider);
}

TEST(a_pool_over_it_grows_in_place_and_gives_granules_back) {
  tarn_cuda *cuda = *state;
  tarn_provider *provider = make_provider(cuda);
  const size_t step = granule(provider);
  tarn_pool *pool = NULL;
  OK(tarn_caching_pool_create(provider, NULL, &pool));
  void *first = NULL, *second = NULL;
  OK(tarn_pool_alloc(pool, 3 * step / 2, NULL, &first));
  OK(tarn_pool_alloc(pool, 4 * step, NULL, &second));
  assert_ptr_equal(second, (char *)first + 3 * step / 2);
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  OK(tarn_pool_stats_of(pool, &stats));
  assert_int_equal(stats.reserved_bytes, 6 * step);
  OK(tarn_pool_free(pool, second, NULL));
  size_t released = 0;
  OK(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 4 * step);
  if (fixture_sim_control() != NULL) assert_int_equal(counts_now().physical_bytes, 2 * step);
  OK(tarn_pool_free(pool, first, NULL));
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  if (fixture_sim_control() == NULL) return;
  assert_int_equal(counts_now().reservations, 0);
  assert_int_equal(counts_now().physical_bytes, 0);
}

/* Last: one call's handle is lost. */
TEST(every_driver_call_may_fail) {
  FIXTURE_NEEDS_SIM();
  tarn_provider *provider = make_provider(*state);
  const fixture_sim *sim = fixture_sim_control();
  const size_t step = granule(provider);
  void *range = NULL;
  OK(tarn_provider_reserve(provider, 4 * step, &range));
  static const char *const calls[] = {"cuMemCreate", "cuMemMap", "cuMemSetAccess",
                                      "cuCtxGetCurrent"};
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
    const cusim_counts before = counts_now();
    const uint64_t last = i < 2 ? 3 : 1; /* the first two once per granule */
    for (uint64_t nth = 1; nth <= last; nth++) {
      sim->fail_call(calls[i], nth, CUDA_ERROR_UNKNOWN);
      assert_int_equal(tarn_provider_commit(provider, range, 3 * step), TARN_DEVICE_ERROR);
      assert_string_equal(tarn_last_error()->native_call, calls[i]);
      assert_int_equal(counts_now().physical_bytes, before.physical_bytes);
      assert_int_equal(counts_now().mappings, before.mappings);
    }
  }
  OK(tarn_provider_commit(provider, range, 3 * step));
  sim->fail_call("cuMemUnmap", 1, CUDA_ERROR_UNKNOWN);
  assert_int_equal(tarn_provider_decommit(provider, range, step), TARN_DEVICE_ERROR);
  OK(tarn_provider_decommit(provider, range, step)); /* it still was committed */
  OK(tarn_provider_free(provider, range, 4 * step));
  void *block = &block;
  sim->fail_call("cuMemAddressReserve", 1, CUDA_ERROR_OUT_OF_MEMORY);
  assert_int_equal(tarn_provider_alloc(provider, step, &block), TARN_OUT_OF_MEMORY);
  assert_null(block);
  OK(tarn_provider_alloc(provider, step, &block));
  sim->fail_call("cuMemRelease", 1, CUDA_ERROR_UNKNOWN); /* the memory is the driver's loss */
  OK(tarn_provider_free(provider, block, step));
  const tarn_cuda_virtual_stats stats = stats_of(provider);
  assert_int_equal(stats.lost_bytes, step);
  assert_int_equal(stats.mapped_bytes, 0);
  assert_int_equal(counts_now().mappings, 0);
  OK(tarn_provider_alloc(provider, step, &block));
  OK(tarn_provider_free(provider, block, step));
  tarn_provider_release(provider);
}

int run_virtual_provider_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
