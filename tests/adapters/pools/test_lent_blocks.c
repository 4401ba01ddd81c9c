/* test_lent_blocks.c: blocks by their address, beside a plain list of them. */
#include "alloc/adapters/pools/lent_blocks.h"

#include <stdlib.h>

#include "tests/support/test.h"

enum { BLOCKS = 500, STEP_BYTES = 256, STEPS = 20000 };

static char *place_of(size_t index) {
  return (char *)(uintptr_t)((index + 1) * STEP_BYTES);
}

static size_t depth_of(const tarn__lent *block) {
  if (block == NULL) return 0;
  const size_t lower = depth_of(block->lower);
  const size_t higher = depth_of(block->higher);
  return 1 + (lower > higher ? lower : higher);
}

static void the_tree_has_what_a_list_has(void **state) {
  static bool is_in[BLOCKS];
  tarn__lent *blocks = calloc(BLOCKS, sizeof *blocks);
  (void)state;
  assert_non_null(blocks);
  tarn__lent *root = NULL;
  uint64_t random = 7;
  for (int step = 0; step < STEPS; step++) {
    const size_t index = test_random(&random) % BLOCKS;
    if (is_in[index]) {
      assert_ptr_equal(tarn__lent_take(&root, place_of(index)), &blocks[index]);
    } else {
      assert_null(tarn__lent_take(&root, place_of(index)));
      blocks[index] = (tarn__lent){.address = place_of(index),
                                   .size_bytes = 1 + test_random(&random) % STEP_BYTES};
      tarn__lent_insert(&root, &blocks[index]);
    }
    is_in[index] = !is_in[index];
    const size_t asked = test_random(&random) % BLOCKS;
    const size_t inside = test_random(&random) % STEP_BYTES;
    const bool is_found = is_in[asked] && inside < blocks[asked].size_bytes;
    assert_ptr_equal(tarn__lent_find(root, place_of(asked) + inside),
                     is_found ? &blocks[asked] : NULL);
  }
  const tarn__lent *at = tarn__lent_after(root, NULL);
  for (size_t index = 0; index < BLOCKS; index++) {
    if (!is_in[index]) continue;
    assert_ptr_equal(at, &blocks[index]);
    at = tarn__lent_after(root, at->address);
  }
  assert_null(at);
  free(blocks);
}

/* Addresses in a regular pattern, as pools give them, make no list of the tree. */
static void blocks_in_a_row_make_no_deep_tree(void **state) {
  enum { MANY = 4096 };
  tarn__lent *blocks = calloc(MANY, sizeof *blocks);
  (void)state;
  assert_non_null(blocks);
  for (size_t step_bytes = 64; step_bytes <= (size_t)2 << 20; step_bytes *= 2) {
    tarn__lent *root = NULL;
    for (size_t index = 0; index < MANY; index++) {
      blocks[index] = (tarn__lent){.address = (char *)(uintptr_t)((index + 1) * step_bytes),
                                   .size_bytes = step_bytes};
      tarn__lent_insert(&root, &blocks[index]);
    }
    assert_true(depth_of(root) < 48); /* four times the best there is */
  }
  free(blocks);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_tree_has_what_a_list_has),
      cmocka_unit_test(blocks_in_a_row_make_no_deep_tree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
