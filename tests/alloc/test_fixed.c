/* test_fixed.c: the fixed-range provider: first fit, joining, and memory it never touches. */
#include "alloc/tarn_fixed.h"
#include "tests/support/touchable.h"

TEST(the_range_is_used_up_and_comes_back_whole) {
  /* Addresses only: never followed. */
  char *const base = (char *)(uintptr_t)0x10000000;
  tarn_provider *provider = NULL;
  assert_ok(tarn_fixed_provider_create(base, 4 * 4096, NULL, &provider));
  void *blocks[4];
  for (int index = 0; index < 4; index++) {
    assert_ok(tarn_provider_alloc(provider, 4096, &blocks[index]));
    assert_ptr_equal(blocks[index], base + 4096 * index);
  }
  void *more = NULL;
  assert_status(tarn_provider_alloc(provider, 4096, &more), TARN_OUT_OF_MEMORY);
  /* Freed out of order, the four runs must join into one again. */
  static const int order[] = {1, 3, 0, 2};
  for (int index = 0; index < 4; index++) {
    assert_ok(tarn_provider_free(provider, blocks[order[index]], 4096));
  }
  assert_ok(tarn_provider_alloc(provider, 4 * 4096, &more));
  assert_ptr_equal(more, base);
  assert_ok(tarn_provider_free(provider, more, 4 * 4096));
  tarn_provider_release(provider);
}

TEST(ends_are_trimmed_to_the_granularity) {
  const tarn_fixed_options options = {
      .struct_size = sizeof options, .device = {TARN_DEVICE_CUDA, 1}, .granularity_bytes = 1024};
  tarn_provider *provider = NULL;
  void *block = NULL;
  assert_ok(tarn_fixed_provider_create((void *)(uintptr_t)0x10000001, 4096, &options, &provider));
  assert_int_equal(tarn_provider_attributes_of(provider)->device.type, TARN_DEVICE_CUDA);
  assert_int_equal(tarn_provider_attributes_of(provider)->device.index, 1);
  assert_ok(tarn_provider_alloc(provider, 3072, &block));
  assert_int_equal((uintptr_t)block, 0x10000400);
  assert_ok(tarn_provider_free(provider, block, 3072));
  tarn_provider_release(provider);
  assert_status(
      tarn_fixed_provider_create((void *)(uintptr_t)0x10000001, 2046, &options, &provider),
      TARN_INVALID_ARGUMENT);
  assert_status(tarn_fixed_provider_create(NULL, 4096, NULL, &provider), TARN_INVALID_ARGUMENT);
}

TEST(a_range_beyond_the_address_space_is_refused) {
  tarn_provider *provider = NULL;
  void *last = (void *)(uintptr_t)-8192;
  assert_status(tarn_fixed_provider_create(last, 3 * 4096, NULL, &provider), TARN_TOO_LARGE);
  assert_status(tarn_fixed_provider_create(last, SIZE_MAX, NULL, &provider), TARN_TOO_LARGE);
  assert_null(provider);
}

TEST(what_was_not_lent_is_not_taken_back) {
  char *const base = (char *)(uintptr_t)0x10000000;
  tarn_provider *provider = NULL;
  void *block = NULL;
  assert_ok(tarn_fixed_provider_create(base, 8 * 4096, NULL, &provider));
  assert_ok(tarn_provider_alloc(provider, 2 * 4096, &block));
  assert_status(tarn_provider_free(provider, base + 4096, 4096), TARN_NOT_FOUND);
  assert_status(tarn_provider_free(provider, block, 4096), TARN_NOT_FOUND);
  assert_status(tarn_provider_free(provider, base + 2 * 4096, 6 * 4096), TARN_NOT_FOUND);
  assert_ok(tarn_provider_free(provider, block, 2 * 4096));
  assert_status(tarn_provider_free(provider, block, 2 * 4096), TARN_NOT_FOUND);
  tarn_provider_release(provider);
}

TEST(what_is_not_lent_out_is_not_to_be_touched) {
  SKIP_UNWATCHED();
  static _Alignas(4096) char range[4 * 4096];
  tarn_provider *provider = NULL;
  void *block = NULL;
  assert_ok(tarn_fixed_provider_create(range, sizeof range, NULL, &provider));
  assert_true(is_all_poisoned(range, sizeof range));
  assert_ok(tarn_provider_alloc(provider, 2 * 4096, &block));
  assert_int_equal(touchable_bytes(block, sizeof range), 2 * 4096);
  assert_ok(tarn_provider_free(provider, block, 2 * 4096));
  assert_true(is_all_poisoned(range, sizeof range));
  tarn_provider_release(provider);
  assert_int_equal(touchable_bytes(range, sizeof range), sizeof range);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
