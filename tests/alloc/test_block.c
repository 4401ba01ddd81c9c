/* test_block.c: cutting and joining of block records, and trees against a sorted array. */
#include "tests/support/test.h"

#include <stdlib.h>

#include "alloc/block.h"
#include "tests/support/manual_stream.h"

enum { NODE_COUNT = 200, ROUND_COUNT = 4000 };

/* The first of `nodes` in the tree at or behind (key, address), by looking at all of them. */
static tarn__block *slow_at_least(tarn__block **nodes, size_t key, const char *address) {
  tarn__block *best = NULL;
  for (int index = 0; index < NODE_COUNT; index++) {
    tarn__block *node = nodes[index];
    if (node->root == NULL || node->key < key) continue;
    if (node->key == key && node->address < address) continue;
    const bool is_first = best == NULL || node->key < best->key ||
                          (node->key == best->key && node->address < best->address);
    if (is_first) best = node;
  }
  return best;
}

TEST(trees_answer_as_a_search_of_all_nodes_does) {
  tarn__block *nodes[NODE_COUNT];
  tarn__block *root = NULL;
  uint64_t random = 7;
  for (int index = 0; index < NODE_COUNT; index++) {
    nodes[index] = tarn__block_create();
    assert_non_null(nodes[index]);
    nodes[index]->address = (char *)(uintptr_t)(0x1000 + 16 * index);
  }
  for (int round = 0; round < ROUND_COUNT; round++) {
    tarn__block *node = nodes[test_random(&random) % NODE_COUNT];
    if (node->root != NULL) {
      tarn__tree_remove(node);
    } else {
      tarn__tree_insert(&root, node, test_random(&random) % 20); /* many equal keys */
    }
    const size_t key = test_random(&random) % 22;
    const char *address = (char *)(uintptr_t)(0x1000 + test_random(&random) % (16 * NODE_COUNT));
    assert_ptr_equal(tarn__tree_at_least(root, key, address), slow_at_least(nodes, key, address));
    if (node->root != NULL) {
      assert_ptr_equal(tarn__tree_next(node), slow_at_least(nodes, node->key, node->address + 1));
    }
  }
  for (int index = 0; index < NODE_COUNT; index++) {
    tarn__tree_remove(nodes[index]); /* one in no tree is left alone */
    tarn__block_destroy(nodes[index]);
  }
  assert_null(root);
}

TEST(a_cut_copies_the_stamps_and_a_join_collects_them) {
  tarn_stream *a = NULL;
  tarn_stream *b = NULL;
  assert_ok(manual_stream_create(&a));
  assert_ok(manual_stream_create(&b));
  tarn__block *block = tarn__block_create();
  block->address = (char *)(uintptr_t)0x1000;
  block->size_bytes = 1024;
  assert_true(tarn__stamps_add(&block->stamps, tarn__order_stamp(a)));
  tarn__block *rest = tarn__block_split(block, 256);
  assert_non_null(rest);
  assert_int_equal(block->size_bytes, 256);
  assert_int_equal(rest->size_bytes, 768);
  assert_ptr_equal(rest->address, block->address + 256);
  assert_ptr_equal(block->right, rest);
  assert_ptr_equal(rest->left, block);
  assert_int_equal(rest->stamps.count, 1);
  tarn__block *last = tarn__block_split(rest, 512);
  assert_ptr_equal(last->left, rest);
  assert_true(tarn__stamps_add(&rest->stamps, tarn__order_stamp(b)));
  assert_true(tarn__block_merge_right(block));
  assert_int_equal(block->size_bytes, 768);
  assert_int_equal(block->stamps.count, 2);
  assert_ptr_equal(block->right, last);
  assert_ptr_equal(last->left, block);
  assert_true(tarn__block_merge_right(block));
  assert_null(block->right);
  tarn__block_destroy(block);
  tarn_stream_release(a);
  tarn_stream_release(b);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
