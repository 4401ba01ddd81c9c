/* test_pinned_pool.c: the caching pool over page-locked memory: the CPU has its own place in the
 * order of streams, and what is locked goes back. */
#include "alloc/tarn_caching_pool.h"
#include "tests/cuda/pinned_fixture.h"
#include "tests/support/pools.h"

enum { BLOCK_BYTES = 256 << 10, MIB = 1 << 20 };

static tarn_pool *pinned_pool(tarn_cuda *cuda, pinned_origin origin, size_t limit_bytes) {
  tarn_provider *provider = pinned_provider(cuda, origin);
  const tarn_caching_options options = {.struct_size = sizeof options,
                                        .limit_bytes = limit_bytes,
                                        .decay_ns = 8000,
                                        .range_bytes = (size_t)64 << 20};
  return pool_over(provider, &options);
}

static unsigned char *alloc_for_cpu(tarn_pool *pool, size_t size_bytes) {
  void *block = NULL;
  OK(tarn_pool_alloc(pool, size_bytes, /*stream=*/NULL, &block));
  return block;
}

/* Says in its own way that the stream's copy out of the block at `used` is the block's last use,
 * and frees it. */
typedef void (*end_of_use)(tarn_pool *pool, unsigned char *block, unsigned char *used,
                           tarn_stream *stream);

static void free_on_stream(tarn_pool *pool, unsigned char *block, unsigned char *used,
                           tarn_stream *stream) {
  (void)used;
  OK(tarn_pool_free(pool, block, stream));
}

static void note_inner_address(tarn_pool *pool, unsigned char *block, unsigned char *used,
                               tarn_stream *stream) {
  OK(tarn_pool_note_use(pool, used, stream));
  OK(tarn_pool_free(pool, block, /*stream=*/NULL));
}

/* Somebody else's storage on a part of the block: it knows nothing of the pool. */
static void note_alias_of_slice(tarn_pool *pool, unsigned char *block, unsigned char *used,
                                tarn_stream *stream) {
  const tarn_blob blob = {
      .struct_size = sizeof blob, .address = used, .size_bytes = 100, .device = PINNED_DEVICE};
  tarn_storage *alias = NULL;
  OK(tarn_storage_wrap(&blob, &alias));
  OK(tarn_pool_note_use(pool, (const char *)tarn_storage_data(alias) + 99, stream));
  OK(tarn_pool_free(pool, block, /*stream=*/NULL));
  tarn_storage_release(alias);
}

/* The CPU gets the block only once the copy that reads it is through. */
static void check_cpu_waits(tarn_cuda *cuda, pinned_origin origin, end_of_use end) {
  fixture_block device = fixture_device_block(cuda, BLOCK_BYTES);
  tarn_stream *stream = fixture_stream(cuda);
  tarn_pool *pool = pinned_pool(cuda, origin, /*limit_bytes=*/0);
  fixture_gate gate;
  unsigned char *block = alloc_for_cpu(pool, BLOCK_BYTES);
  memset(block, 1, BLOCK_BYTES);
  fixture_hold(stream, &gate);
  unsigned char *used = block + BLOCK_BYTES / 2;
  OK(tarn_stream_copy(stream, device.address, device.device, used, PINNED_DEVICE, 100));
  end(pool, block, used, stream);
  unsigned char *other = alloc_for_cpu(pool, BLOCK_BYTES);
  assert_true(other >= block + BLOCK_BYTES || other + BLOCK_BYTES <= block);
  memset(other, 2, BLOCK_BYTES);
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(stream));
  OK(tarn_pool_trim(pool, SIZE_MAX, NULL)); /* what the thread keeps goes to the heap */
  unsigned char *again = alloc_for_cpu(pool, BLOCK_BYTES);
  assert_ptr_equal(again, block);
  OK(tarn_stream_copy(stream, again, PINNED_DEVICE, device.address, device.device, 100));
  OK(tarn_stream_synchronize(stream));
  assert_int_equal(again[0], 1);
  assert_int_equal(again[99], 1);
  OK(tarn_pool_free(pool, again, NULL));
  OK(tarn_pool_free(pool, other, NULL));
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  tarn_pool_release(pool);
  tarn_stream_release(stream);
  fixture_free(&device);
}

TEST(the_cpu_does_not_get_what_a_copy_still_reads) {
  static const end_of_use ends[] = {free_on_stream, note_inner_address, note_alias_of_slice};
  for (pinned_origin origin = 0; origin < PINNED_ORIGINS; origin++) {
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
      check_cpu_waits(*state, origin, ends[i]);
    }
  }
}

/* A storage's part is used by a stream that was never told to the pool but through the storage. */
TEST(a_storage_outlasts_the_copies_of_its_slices) {
  tarn_cuda *cuda = *state;
  for (pinned_origin origin = 0; origin < PINNED_ORIGINS; origin++) {
    fixture_block device = fixture_device_block(cuda, BLOCK_BYTES);
    tarn_stream *stream = fixture_stream(cuda);
    tarn_pool *pool = pinned_pool(cuda, origin, /*limit_bytes=*/0);
    fixture_gate gate;
    tarn_storage *storage = NULL;
    OK(tarn_storage_create(pool, BLOCK_BYTES, /*stream=*/NULL, &storage));
    unsigned char *bytes = tarn_storage_data_mutable(storage);
    memset(bytes, 1, BLOCK_BYTES);
    fixture_hold(stream, &gate);
    OK(tarn_stream_copy(stream, device.address, device.device, bytes + 5000, PINNED_DEVICE, 100));
    OK(tarn_storage_note_use(storage, stream));
    tarn_storage_release(storage);
    unsigned char *other = alloc_for_cpu(pool, BLOCK_BYTES);
    assert_ptr_not_equal(other, bytes);
    fixture_let_go(&gate);
    OK(tarn_stream_synchronize(stream));
    OK(tarn_pool_free(pool, other, NULL));
    tarn_pool_release(pool);
    tarn_stream_release(stream);
    fixture_free(&device);
  }
}

TEST(large_blocks_are_exact_to_the_granule) {
  for (pinned_origin origin = 0; origin < PINNED_ORIGINS; origin++) {
    tarn_pool *pool = pinned_pool(*state, origin, /*limit_bytes=*/0);
    const size_t asked_bytes = 65 * MIB / 4 + 4097;
    unsigned char *block = alloc_for_cpu(pool, asked_bytes);
    const tarn_pool_stats stats = stats_of(pool);
    assert_true(stats.allocated_bytes - asked_bytes < 256);
    /* Small granules come by whole huge pages. */
    const size_t step_bytes = origin == PINNED_GRANULES ? 2 * MIB : PINNED_GRANULE_BYTES;
    assert_true(stats.reserved_bytes - asked_bytes < step_bytes);
    OK(tarn_pool_free(pool, block, NULL));
    tarn_pool_release(pool);
  }
}

TEST(a_kept_block_is_no_page_too_large) {
  tarn_pool *pool = pinned_pool(*state, PINNED_OF_DRIVER, /*limit_bytes=*/0);
  OK(tarn_pool_free(pool, alloc_for_cpu(pool, 8 * MIB), NULL));
  OK(tarn_pool_free(pool, alloc_for_cpu(pool, 8 * MIB), NULL)); /* now by the thread */
  unsigned char *block = alloc_for_cpu(pool, 8 * MIB - 8192);
  assert_int_equal(stats_of(pool).allocated_bytes, 8 * MIB - 8192);
  OK(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
}

TEST(idle_granules_go_back_one_by_one) {
  FIXTURE_NEEDS_SIM();
  enum { COUNT = 40 };
  tarn_pool *pool = pinned_pool(*state, PINNED_GRANULES, /*limit_bytes=*/0);
  cusim_counts counts = counts_now();
  const size_t before_bytes = counts.pinned_bytes;
  unsigned char *blocks[COUNT];
  size_t released_bytes = 0;
  for (int i = 0; i < COUNT; i++) blocks[i] = alloc_for_cpu(pool, PINNED_GRANULE_BYTES);
  for (int i = 1; i < COUNT; i += 2) OK(tarn_pool_free(pool, blocks[i], NULL));
  OK(tarn_pool_trim(pool, 0, &released_bytes));
  assert_true(released_bytes >= COUNT / 2 * PINNED_GRANULE_BYTES);
  assert_int_equal(stats_of(pool).reserved_bytes, COUNT / 2 * PINNED_GRANULE_BYTES);
  counts = counts_now();
  assert_int_equal(counts.pinned_bytes, before_bytes + COUNT / 2 * PINNED_GRANULE_BYTES);
  for (int i = 0; i < COUNT; i += 2) memset(blocks[i], i, PINNED_GRANULE_BYTES);
  for (int i = 0; i < COUNT; i += 2) OK(tarn_pool_free(pool, blocks[i], NULL));
  tarn_pool_release(pool);
  counts = counts_now();
  assert_int_equal(counts.pinned_bytes, before_bytes);
}

TEST(a_limit_holds_and_idle_memory_goes_with_time) {
  for (pinned_origin origin = 0; origin < PINNED_ORIGINS; origin++) {
    tarn_pool *pool = pinned_pool(*state, origin, 8 * MIB);
    unsigned char *block = alloc_for_cpu(pool, 5 * MIB);
    void *refused = &refused;
    assert_int_equal(tarn_pool_alloc(pool, 5 * MIB, NULL, &refused), TARN_OUT_OF_MEMORY);
    assert_null(refused);
    OK(tarn_pool_decay(pool, 1000, NULL));
    OK(tarn_pool_free(pool, block, NULL));
    OK(tarn_pool_decay(pool, 2000, NULL));
    assert_true(stats_of(pool).reserved_bytes >= 5 * MIB);
    OK(tarn_pool_decay(pool, 20000, NULL));
    OK(tarn_pool_decay(pool, 40000, NULL));
    assert_int_equal(stats_of(pool).reserved_bytes, 0);
    block = alloc_for_cpu(pool, 5 * MIB);
    memset(block, 3, 5 * MIB);
    OK(tarn_pool_free(pool, block, NULL));
    tarn_pool_release(pool);
  }
}

/* What a pool cannot lock it takes back from what lies idle, whoever refused it. */
TEST(what_cannot_be_locked_is_made_of_idle_memory) {
  FIXTURE_NEEDS_SIM();
  for (pinned_origin origin = 0; origin < PINNED_ORIGINS; origin++) {
    tarn_pool *pool = pinned_pool(*state, origin, /*limit_bytes=*/0);
    cusim_counts counts = counts_now();
    fixture_sim_control()->set_pinned_capacity(counts.pinned_bytes + 8 * MIB);
    OK(tarn_pool_free(pool, alloc_for_cpu(pool, 5 * MIB), NULL));
    unsigned char *block = alloc_for_cpu(pool, 7 * MIB);
    void *refused = &refused;
    assert_int_equal(tarn_pool_alloc(pool, 2 * MIB, NULL, &refused), TARN_OUT_OF_MEMORY);
    assert_null(refused);
    OK(tarn_pool_free(pool, block, NULL));
    fixture_sim_control()->set_pinned_capacity(SIZE_MAX);
    tarn_pool_release(pool);
  }
}

int run_pinned_pool_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
