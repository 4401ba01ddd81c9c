/* test_placement_stripes.c: any range is cut in few pieces and in proportion. */
#include "numa/placement.h"

#include <stdlib.h>

#include "tests/support/test.h"

#define MIB ((size_t)1 << 20)

static tarn_placement_resolved make(int32_t node_count, const uint32_t *weights) {
  tarn_placement_resolved resolved = {.struct_size = sizeof resolved,
                                      .mode = TARN_PLACEMENT_MODE_STRIPES,
                                      .node_count = node_count,
                                      .page_bytes = 4096};
  for (int32_t i = 0; i < node_count; ++i) {
    resolved.nodes[i] = i;
    resolved.weights[i] = weights[i];
  }
  return resolved;
}

/* Cuts a range, and returns in how many pieces; shares are what each node has. */
static int cut(const tarn_placement_resolved *resolved, uintptr_t address, size_t size_bytes,
               size_t *shares) {
  int piece_count = 0;
  int32_t last = -1;
  for (int32_t i = 0; i < resolved->node_count; ++i) shares[i] = 0;
  while (size_bytes > 0) {
    const tarn__stripe stripe = tarn__placement_stripe(resolved, address, size_bytes);
    assert_true(stripe.size_bytes > 0 && stripe.size_bytes <= size_bytes);
    assert_in_range(stripe.index, 0, resolved->node_count - 1);
    assert_true(stripe.index != last);
    shares[stripe.index] += stripe.size_bytes;
    last = stripe.index;
    address += stripe.size_bytes;
    size_bytes -= stripe.size_bytes;
    ++piece_count;
    assert_true(size_bytes == 0 || address % resolved->stripe_bytes == 0);
  }
  return piece_count;
}

TEST(any_range_has_few_pieces_and_fair_shares) {
  srand(5);
  for (int round = 0; round < 20000; ++round) {
    uint32_t weights[TARN_PLACEMENT_NODES_MAX];
    const int32_t node_count = 2 + rand() % (TARN_PLACEMENT_NODES_MAX - 1);
    size_t sum = 0;
    for (int32_t i = 0; i < node_count; ++i) sum += weights[i] = 1 + (uint32_t)rand() % 5;
    tarn_placement_resolved resolved = make(node_count, weights);
    const size_t size_bytes = (1 + (size_t)rand() % 0xffffff) * 4096 << rand() % 8;
    const uintptr_t address = ((uintptr_t)rand() << 16) & ~(uintptr_t)4095;
    const size_t wished_bytes = rand() % 2 * (1 + (size_t)rand() % 100) * 4096;
    assert_true(tarn__placement_choose_stripe(&resolved, wished_bytes, size_bytes));
    assert_int_equal(resolved.stripe_bytes % 4096, 0);
    size_t shares[TARN_PLACEMENT_NODES_MAX];
    const int piece_count = cut(&resolved, address, size_bytes, shares);
    assert_in_range(piece_count, 1, TARN_PLACEMENT_PIECES_MAX);
    /* A node's share is right but for its turn at both ends. */
    for (int32_t i = 0; i < node_count; ++i) {
      const double fair = (double)size_bytes * weights[i] / (double)sum;
      const double turn = (double)weights[i] * (double)resolved.stripe_bytes;
      assert_true((double)shares[i] >= fair - 2 * turn && (double)shares[i] <= fair + 2 * turn);
    }
  }
}

TEST(a_range_bound_in_parts_is_cut_as_the_whole) {
  const uint32_t weights[] = {2, 1, 3};
  tarn_placement_resolved resolved = make(3, weights);
  assert_true(tarn__placement_choose_stripe(&resolved, 0, 512 * MIB));
  size_t whole[3], sum[3] = {0};
  cut(&resolved, 6 * MIB, 60 * MIB, whole);
  for (size_t offset = 0; offset < 60; offset += 5) {
    size_t part[3];
    cut(&resolved, (6 + offset) * MIB, 5 * MIB, part);
    for (int i = 0; i < 3; ++i) sum[i] += part[i];
  }
  assert_memory_equal(sum, whole, sizeof whole);
}

TEST(stripes_grow_only_where_they_must) {
  const uint32_t alike[] = {1, 1};
  tarn_placement_resolved resolved = make(2, alike);
  assert_true(tarn__placement_choose_stripe(&resolved, 0, 64 * MIB));
  assert_int_equal(resolved.stripe_bytes, 2 * MIB);
  assert_true(tarn__placement_choose_stripe(&resolved, 4096, 64 * 4096));
  assert_int_equal(resolved.stripe_bytes, 4096);
  assert_true(tarn__placement_choose_stripe(&resolved, 4096, 64 * MIB));
  assert_int_equal(resolved.stripe_bytes, 512 << 10);
  resolved.page_bytes = (size_t)1 << 30;
  assert_true(tarn__placement_choose_stripe(&resolved, 0, 64 * MIB));
  assert_int_equal(resolved.stripe_bytes, (size_t)1 << 30);
  assert_true(tarn__placement_choose_stripe(&resolved, 0, SIZE_MAX / 4));
  assert_false(tarn__placement_choose_stripe(&resolved, SIZE_MAX / 2 + 1, 0));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
