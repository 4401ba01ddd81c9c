/* test_live_blocks.c: blocks are found by their start and by every address inside, and only so. */
#include "numa/live_blocks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "alloc/tarn_host_stream.h"

static tarn__live_block block_at(uintptr_t address, size_t requested, size_t rounded) {
  return (tarn__live_block){
      .address = (void *)address, .requested_bytes = requested, .rounded_bytes = rounded};
}

/* Whether a use can be noted at the address; the streams it takes are counted by nobody. */
static bool is_inside(tarn__live_blocks *live, uintptr_t address, tarn_stream *stream) {
  return tarn__live_blocks_note_use(live, (const void *)address, stream) == TARN_OK;
}

static void remove_block(tarn__live_blocks *live, uintptr_t address) {
  tarn__live_block block;
  assert_true(tarn__live_blocks_remove(live, (const void *)address, &block));
  assert_ptr_equal(block.address, (void *)address);
  tarn__block_uses_free(block.uses);
}

static void a_block_is_removed_once_and_by_its_start_only(void **state) {
  (void)state;
  tarn__live_blocks live;
  tarn__live_blocks_init(&live);
  const tarn__live_block block = block_at(0x7f0000010000, 5000, 5120);
  assert_true(tarn__live_blocks_add(&live, &block));
  tarn__live_block removed;
  assert_false(tarn__live_blocks_remove(&live, (void *)0x7f0000010040, &removed));
  assert_false(tarn__live_blocks_remove(&live, NULL, &removed));
  assert_true(tarn__live_blocks_remove(&live, (void *)0x7f0000010000, &removed));
  assert_int_equal(removed.requested_bytes, 5000);
  assert_int_equal(removed.rounded_bytes, 5120);
  assert_null(removed.uses);
  assert_false(tarn__live_blocks_remove(&live, (void *)0x7f0000010000, &removed));
  tarn__live_blocks_deinit(&live);
}

static void every_address_inside_finds_its_block(void **state) {
  (void)state;
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  const size_t sizes[] = {
      1, 64, 100, 4096, 4097, 8192, 8193, 65536, 1000003, (size_t)1 << 31, ((size_t)1 << 40) - 1};
  const uintptr_t starts[] = {0x7f0000000000, 0x7f0000000040, 0x7f123456f000, 0x7effffffffc0};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    for (size_t j = 0; j < sizeof starts / sizeof *starts; ++j) {
      tarn__live_blocks live;
      tarn__live_blocks_init(&live);
      const uintptr_t start = starts[j];
      const tarn__live_block block = block_at(start, sizes[i], (sizes[i] + 63) & ~(size_t)63);
      assert_true(tarn__live_blocks_add(&live, &block));
      for (size_t part = 0; part <= 16; ++part) {
        const size_t offset = (size_t)((__uint128_t)(sizes[i] - 1) * part / 16);
        assert_true(is_inside(&live, start + offset, stream));
      }
      assert_false(is_inside(&live, start - 1, stream));
      assert_false(is_inside(&live, start + sizes[i], stream));
      remove_block(&live, start);
      assert_false(is_inside(&live, start, stream));
      tarn__live_blocks_deinit(&live);
    }
  }
  tarn_stream_release(stream);
}

static void neighbours_are_told_apart(void **state) {
  (void)state;
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  tarn__live_blocks live;
  tarn__live_blocks_init(&live);
  const uintptr_t base = 0x7f0000000000;
  const size_t sizes[] = {64, 8192, 128, 1 << 20, 4096, 64, 20480};
  uintptr_t at = base;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; at += sizes[i++]) {
    const tarn__live_block block = block_at(at, sizes[i], sizes[i]);
    assert_true(tarn__live_blocks_add(&live, &block));
  }
  at = base;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; at += sizes[i++]) {
    assert_true(is_inside(&live, at + sizes[i] - 1, stream));
    tarn__live_block removed;
    assert_true(tarn__live_blocks_remove(&live, (void *)at, &removed));
    assert_non_null(removed.uses); /* the use went to this block and not to a neighbour */
    assert_null(removed.uses->next);
    tarn__block_uses_free(removed.uses);
  }
  tarn__live_blocks_deinit(&live);
  tarn_stream_release(stream);
}

static void a_stream_is_noted_once(void **state) {
  (void)state;
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  tarn__live_blocks live;
  tarn__live_blocks_init(&live);
  const tarn__live_block block = block_at(0x7f0000000000, 100, 128);
  assert_true(tarn__live_blocks_add(&live, &block));
  assert_true(is_inside(&live, 0x7f0000000000, stream));
  assert_true(is_inside(&live, 0x7f0000000050, stream));
  tarn__live_block removed;
  assert_true(tarn__live_blocks_remove(&live, block.address, &removed));
  assert_ptr_equal(removed.uses->stream, stream);
  assert_null(removed.uses->next);
  tarn__block_uses_free(removed.uses);
  tarn__live_blocks_deinit(&live);
  tarn_stream_release(stream);
}

/* Against a plain list of what should be there, while the shards grow and shrink. */
static void a_hundred_thousand_changes_keep_the_table_right(void **state) {
  (void)state;
  enum { PLACES = 4096, CHANGES = 100000 };
  static bool is_live[PLACES];
  tarn__live_blocks live;
  tarn__live_blocks_init(&live);
  uint64_t random = 7;
  for (int change = 0; change < CHANGES; ++change) {
    random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
    const size_t place = (size_t)(random >> 33) % PLACES;
    const uintptr_t address = 0x7f0000000000 + place * 16384;
    tarn__live_block block = block_at(address, place + 1, (place * 4 + 64) & ~(size_t)63);
    if (is_live[place]) {
      assert_true(tarn__live_blocks_remove(&live, (void *)address, &block));
      assert_int_equal(block.requested_bytes, place + 1);
    } else {
      assert_false(tarn__live_blocks_remove(&live, (void *)address, &block));
      assert_true(tarn__live_blocks_add(&live, &block));
    }
    is_live[place] = !is_live[place];
  }
  for (size_t place = 0; place < PLACES; ++place) {
    if (is_live[place]) remove_block(&live, 0x7f0000000000 + place * 16384);
  }
  tarn__live_blocks_deinit(&live); /* asserts that nothing is left */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_block_is_removed_once_and_by_its_start_only),
      cmocka_unit_test(every_address_inside_finds_its_block),
      cmocka_unit_test(neighbours_are_told_apart),
      cmocka_unit_test(a_stream_is_noted_once),
      cmocka_unit_test(a_hundred_thousand_changes_keep_the_table_right),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
