/* test_page_map.c: blocks are found by where they start, and by any address inside. */
#include "tests/support/test.h"

#include <stdlib.h>

#include "alloc/page_map.h"

enum { LEAF_SPAN = 1 << TARN__PAGE_SPAN_BITS };

static char *at(uint64_t address) {
  return (char *)(uintptr_t)address;
}

static tarn__block *start_of(tarn__page_map *map, const void *address) {
  tarn__page_leaf *leaf = tarn__page_map_leaf(map, address);
  return leaf == NULL ? NULL : tarn__page_leaf_get(leaf, address);
}

TEST(a_block_is_found_by_its_granule_until_it_is_cleared) {
  tarn__page_map map = {NULL};
  tarn__block block = {.address = at(0x7e8012345600)};
  assert_null(start_of(&map, block.address));
  assert_true(tarn__page_map_set(&map, &block));
  assert_ptr_equal(start_of(&map, block.address), &block);
  assert_null(start_of(&map, block.address + 256));
  assert_null(start_of(&map, block.address - 256));
  tarn__page_map_clear(&map, &block);
  assert_null(start_of(&map, block.address));
  assert_null(tarn__page_map_at_or_before(&map, block.address));
  tarn__page_map_deinit(&map);
}

TEST(an_address_beyond_the_map_is_refused) {
  tarn__page_map map = {NULL};
  tarn__block block = {.address = at(UINT64_C(1) << 49)};
  assert_false(tarn__page_map_set(&map, &block));
  assert_null(start_of(&map, block.address));
  tarn__page_map_deinit(&map);
}

TEST(a_block_that_starts_off_a_granule_is_not_found_below_its_start) {
  tarn__page_map map = {NULL};
  tarn__block low = {.address = at(0x100000)};
  tarn__block high = {.address = at(0x200040)};
  assert_true(tarn__page_map_set(&map, &low));
  assert_true(tarn__page_map_set(&map, &high));
  assert_ptr_equal(tarn__page_map_at_or_before(&map, at(0x200040)), &high);
  assert_ptr_equal(tarn__page_map_at_or_before(&map, at(0x20003f)), &low);
  assert_ptr_equal(tarn__page_map_at_or_before(&map, at(0x2fffff)), &high);
  assert_null(tarn__page_map_at_or_before(&map, at(0xfffff)));
  tarn__page_map_deinit(&map);
}

/* Against a plain search, with starts close together, far apart, and on both sides of a leaf. */
TEST(the_block_before_an_address_is_found_however_far_it_lies) {
  enum { COUNT = 300, PROBES = 3000 };
  static tarn__block blocks[COUNT];
  static bool is_set[COUNT];
  tarn__page_map map = {NULL};
  uint64_t random = 12345;
  const uint64_t base = UINT64_C(0x7f0000000000) - 3 * (uint64_t)LEAF_SPAN;
  for (int index = 0; index < COUNT; index++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const uint64_t granule = (random >> 33) % (index % 2 ? 2000 : 6 * (LEAF_SPAN / 256));
    blocks[index].address = at(base + granule * 256);
    bool is_taken = false;
    for (int other = 0; other < index; other++) {
      is_taken |= blocks[other].address == blocks[index].address;
    }
    is_set[index] = !is_taken;
    if (!is_taken) assert_true(tarn__page_map_set(&map, &blocks[index]));
  }
  for (int probe = 0; probe < PROBES; probe++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    if (probe % 7 == 0) {
      const int index = (int)(random >> 40) % COUNT;
      if (is_set[index]) tarn__page_map_clear(&map, &blocks[index]);
      is_set[index] = false;
    }
    const char *address = at(base + (random >> 20) % (7 * (uint64_t)LEAF_SPAN));
    const tarn__block *expected = NULL;
    for (int index = 0; index < COUNT; index++) {
      const bool is_before = is_set[index] && blocks[index].address <= address;
      if (is_before && (expected == NULL || expected->address < blocks[index].address)) {
        expected = &blocks[index];
      }
    }
    assert_ptr_equal(tarn__page_map_at_or_before(&map, address), expected);
  }
  tarn__page_map_deinit(&map);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
