/* test_provider_conformance.c: what every provider must do. */
#include "tests/conformance/conformance.h"

#include <string.h>

static size_t granule(const tarn_provider *provider) {
  return tarn_provider_attributes_of(provider)->granularity_bytes;
}

static bool is_host(const tarn_provider *provider) {
  return tarn_device_is_host(tarn_provider_attributes_of(provider)->device);
}

static void blocks_are_aligned_and_do_not_overlap(void **state) {
  tarn_provider *provider = make_provider(state);
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  enum { COUNT = 3 };
  void *blocks[COUNT];
  for (int index = 0; index < COUNT; index++) {
    assert_ok(tarn_provider_alloc(provider, granule(provider), &blocks[index]));
    assert_non_null(blocks[index]);
    assert_int_equal((uintptr_t)blocks[index] & (attributes->alignment_bytes - 1), 0);
    for (int other = 0; other < index; other++) {
      const char *a = blocks[index];
      const char *b = blocks[other];
      assert_true(a + granule(provider) <= b || b + granule(provider) <= a);
    }
  }
  for (int index = 0; index < COUNT; index++) {
    assert_ok(tarn_provider_free(provider, blocks[index], granule(provider)));
  }
  tarn_provider_release(provider);
}

static void host_memory_can_be_written_to_its_ends(void **state) {
  tarn_provider *provider = make_provider(state);
  if (!is_host(provider)) {
    tarn_provider_release(provider);
    skip();
  }
  const size_t size = 2 * granule(provider);
  void *block = NULL;
  assert_ok(tarn_provider_alloc(provider, size, &block));
  unsigned char *bytes = block;
  if ((tarn_provider_attributes_of(provider)->flags & TARN_PROVIDER_ZEROED) != 0) {
    for (size_t index = 0; index < size; index += 512) assert_int_equal(bytes[index], 0);
  }
  memset(bytes, 0xA5, size);
  assert_int_equal(bytes[0], 0xA5);
  assert_int_equal(bytes[size - 1], 0xA5);
  assert_ok(tarn_provider_free(provider, block, size));
  tarn_provider_release(provider);
}

static void released_memory_can_be_had_again(void **state) {
  tarn_provider *provider = make_provider(state);
  for (int round = 0; round < 64; round++) {
    void *block = NULL;
    assert_ok(tarn_provider_alloc(provider, 4 * granule(provider), &block));
    assert_ok(tarn_provider_free(provider, block, 4 * granule(provider)));
  }
  tarn_provider_release(provider);
}

static void sizes_off_the_granularity_are_refused(void **state) {
  tarn_provider *provider = make_provider(state);
  void *block = &block;
  assert_int_equal(tarn_provider_alloc(provider, 0, &block), TARN_INVALID_ARGUMENT);
  assert_null(block);
  assert_int_equal(tarn_provider_alloc(provider, granule(provider) + 1, &block),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_provider_free(provider, NULL, granule(provider)), TARN_INVALID_ARGUMENT);
  tarn_provider_release(provider);
}

static void absurd_sizes_fail_and_the_next_allocation_works(void **state) {
  tarn_provider *provider = make_provider(state);
  const size_t absurd = ((size_t)1 << 62) & ~(granule(provider) - 1);
  void *block = &block;
  const tarn_status status = tarn_provider_alloc(provider, absurd, &block);
  assert_true(status == TARN_OUT_OF_MEMORY || status == TARN_TOO_LARGE);
  assert_null(block);
  assert_true(strlen(tarn_last_error()->message) > 0);
  assert_ok(tarn_provider_alloc(provider, granule(provider), &block));
  assert_ok(tarn_provider_free(provider, block, granule(provider)));
  tarn_provider_release(provider);
}

static void reserved_ranges_commit_and_decommit_piecewise(void **state) {
  tarn_provider *provider = make_provider(state);
  void *range = NULL;
  if ((tarn_provider_attributes_of(provider)->flags & TARN_PROVIDER_RESERVES) == 0) {
    assert_int_equal(tarn_provider_reserve(provider, granule(provider), &range),
                     TARN_NOT_SUPPORTED);
    tarn_provider_release(provider);
    skip();
  }
  const size_t step = granule(provider);
  assert_ok(tarn_provider_reserve(provider, 64 * step, &range));
  char *bytes = range;
  for (int round = 0; round < 3; round++) {
    assert_ok(tarn_provider_commit(provider, bytes + 8 * step, 2 * step));
    if (is_host(provider)) {
      assert_int_equal(bytes[8 * step], 0); /* given back means forgotten */
      memset(bytes + 8 * step, round + 1, 2 * step);
    }
    assert_ok(tarn_provider_decommit(provider, bytes + 8 * step, 2 * step));
  }
  assert_int_equal(tarn_provider_commit(provider, bytes + 1, step), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_provider_free(provider, range, 64 * step));
  tarn_provider_release(provider);
}

static void committed_memory_moves_to_another_place(void **state) {
  tarn_provider *provider = make_provider(state);
  const size_t step = granule(provider);
  if ((tarn_provider_attributes_of(provider)->flags & TARN_PROVIDER_RESERVES) == 0) {
    tarn_provider_release(provider);
    skip();
  }
  void *range = NULL;
  assert_ok(tarn_provider_reserve(provider, 64 * step, &range));
  char *bytes = range;
  /* Both ends of three granules, or all of them where they may be one piece. */
  const bool is_whole = tarn_provider_attributes_of(provider)->piece_bytes != 0;
  assert_ok(tarn_provider_commit(provider, bytes, 3 * step));
  for (int round = 0; round < 3; round++) {
    char *from = bytes + (size_t)(round % 2) * 8 * step;
    char *to = bytes + (size_t)((round + 1) % 2) * 8 * step;
    if (!is_whole) assert_ok(tarn_provider_decommit(provider, from + step, step));
    const tarn_provider_span idle[] = {{from, is_whole ? 3 * step : step}, {from + 2 * step, step}};
    const size_t idle_count = is_whole ? 1 : 2;
    size_t taken_count = 0;
    assert_ok(tarn_provider_move(provider, idle, idle_count, to, 3 * step, &taken_count));
    assert_int_equal(taken_count, idle_count);
    if (is_host(provider)) memset(to, round + 1, 3 * step);
  }
  assert_ok(tarn_provider_free(provider, range, 64 * step));
  tarn_provider_release(provider);
}

int main(int argc, char **argv) {
  static const conformance_test tests[] = {
      CONFORMANCE_TEST(blocks_are_aligned_and_do_not_overlap),
      CONFORMANCE_TEST(host_memory_can_be_written_to_its_ends),
      CONFORMANCE_TEST(released_memory_can_be_had_again),
      CONFORMANCE_TEST(sizes_off_the_granularity_are_refused),
      CONFORMANCE_TEST(absurd_sizes_fail_and_the_next_allocation_works),
      CONFORMANCE_TEST(reserved_ranges_commit_and_decommit_piecewise),
      CONFORMANCE_TEST(committed_memory_moves_to_another_place),
      {NULL, NULL},
  };
  return run_conformance(tests, provider_implementations, argc > 1 ? argv[1] : NULL);
}
