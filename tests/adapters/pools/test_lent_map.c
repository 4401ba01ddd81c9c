/* test_lent_map.c: blocks by their address, beside a plain list of them. */
#include "alloc/adapters/pools/lent_map.h"

#include <stdlib.h>

#include "tests/support/mapping_flags.h"
#include "tests/support/test.h"

enum { BLOCKS = 500, STEPS = 20000 };

static const uintptr_t BASE = (uintptr_t)0x7f0000000000;

/* Steps of a granule, of a unit and of a leaf: inside of a table and across their edges. */
static void the_map_has_what_a_list_has_with_steps_of(size_t step_bytes) {
  static uint64_t listed[BLOCKS];
  tarn__lent_map map = {.granule_bits = 0};
  uint64_t random = 7;
  tarn__lent_map_align(&map, step_bytes < 256 ? step_bytes : 256);
  for (size_t index = 0; index < BLOCKS; index++) listed[index] = 0;
  for (int step = 0; step < STEPS; step++) {
    const size_t index = test_random(&random) % BLOCKS;
    const uintptr_t address = BASE + index * step_bytes;
    if (listed[index] != 0) {
      tarn__lent_leaf *place = tarn__lent_place(&map, tarn__lent_map_leaf(&map, address), address);
      assert_int_equal(atomic_load(place), listed[index]);
      atomic_store(place, 0);
      listed[index] = 0;
    } else {
      uint64_t before = 1;
      const size_t size_bytes = 1 + (size_t)(test_random(&random) % step_bytes);
      listed[index] = tarn__lent_record(size_bytes, (uint32_t)(index * 7));
      assert_true(tarn__lent_map_enter(&map, address, listed[index], &before));
      assert_int_equal(before, 0);
    }
    const size_t asked = test_random(&random) % BLOCKS;
    const size_t inside = (size_t)(test_random(&random) % step_bytes);
    const bool is_found = inside < tarn__lent_size(listed[asked]);
    uintptr_t start = 0;
    const uint64_t found = tarn__lent_map_find(&map, BASE + asked * step_bytes + inside, &start);
    assert_int_equal(found, is_found ? listed[asked] : 0);
    if (is_found) assert_int_equal(start, BASE + asked * step_bytes);
  }
  uintptr_t start = 0;
  uint64_t record = tarn__lent_map_next(&map, 0, &start);
  for (size_t index = 0; index < BLOCKS; index++) {
    if (listed[index] == 0) continue;
    assert_int_equal(record, listed[index]);
    assert_int_equal(start, BASE + index * step_bytes);
    record = tarn__lent_map_next(&map, start + 1, &start);
  }
  assert_int_equal(record, 0);
  tarn__lent_map_deinit(&map);
}

TEST(the_map_has_what_a_list_has) {
  static const size_t steps[] = {1, 16, 256, 256 << 10, (256 << 10) + 256, 5 << 20, 64 << 20};
  (void)state;
  for (size_t index = 0; index < COUNT_OF(steps); index++) {
    the_map_has_what_a_list_has_with_steps_of(steps[index]);
  }
}

TEST(a_block_is_found_from_its_far_end_and_no_further) {
  tarn__lent_map map = {.granule_bits = 0};
  tarn__lent_map_align(&map, 4096);
  const size_t size_bytes = ((size_t)130 << 30) + 5; /* over an edge of the middle tables */
  uint64_t before;
  uintptr_t start;
  const uint64_t record = tarn__lent_record(size_bytes, 3);
  assert_true(tarn__lent_map_enter(&map, BASE + 4096, record, &before));
  assert_int_equal(tarn__lent_map_find(&map, BASE + 4096 + size_bytes - 1, &start), record);
  assert_int_equal(start, BASE + 4096);
  assert_int_equal(tarn__lent_map_find(&map, BASE + 4096 + size_bytes, &start), 0);
  assert_int_equal(tarn__lent_map_find(&map, BASE + 4095, &start), 0);
  /* What covered it goes with its record, and a smaller one there covers less. */
  const uint64_t smaller = tarn__lent_record(100, 4);
  assert_true(tarn__lent_map_enter(&map, BASE + 4096, smaller, &before));
  assert_int_equal(before, record);
  assert_int_equal(tarn__lent_map_find(&map, BASE + 4096 + size_bytes - 1, &start), 0);
  tarn__lent_map_deinit(&map);
}

TEST(where_no_block_can_begin_none_is_entered) {
  tarn__lent_map map = {.granule_bits = 0};
  tarn__lent_map_align(&map, 64);
  uint64_t before;
  uintptr_t start;
  const uint64_t record = tarn__lent_record(100, 0);
  assert_int_equal(tarn__lent_map_next(&map, 0, &start), 0);
  assert_int_equal(tarn__lent_map_find(&map, BASE, &start), 0);
  assert_false(tarn__lent_map_enter(&map, BASE + 8, record, &before));
  assert_false(tarn__lent_map_enter(&map, UINTPTR_MAX - 63, record, &before));
  assert_int_equal(tarn__lent_map_find(&map, UINTPTR_MAX, &start), 0);
  assert_null(tarn__lent_map_leaf(&map, UINTPTR_MAX));
  assert_int_equal(tarn__lent_map_next(&map, 0, &start), 0);
  tarn__lent_map_deinit(&map);
}

/* One record must not take a huge page, as it would where the machine gives those to everybody. */
TEST(tables_take_memory_in_small_pages) {
  tarn__lent_map map = {.granule_bits = 0};
  uint64_t before = 1;
  tarn__lent_map_align(&map, 256);
  assert_true(tarn__lent_map_enter(&map, BASE, tarn__lent_record(1, 1), &before));
  assert_true(mapping_has_flag(tarn__lent_map_leaf(&map, BASE), " nh"));
  tarn__lent_map_deinit(&map);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
