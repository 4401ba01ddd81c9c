/* test_used_blocks.c: a block's streams are kept under its start, once each, and taken once. */
#include "numa/used_blocks.h"

#include <stdlib.h>

#include "alloc/tarn_host_stream.h"
#include "tests/support/test.h"

static tarn_stream *make_stream(void) {
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  return stream;
}

TEST(a_blocks_uses_are_taken_once) {
  tarn_stream *first = make_stream(), *second = make_stream();
  tarn__used_blocks used;
  tarn__used_blocks_init(&used);
  const void *block = (void *)0x7f0000010000;
  assert_null(tarn__used_blocks_take(&used, block));
  assert_true(tarn__used_blocks_note(&used, block, first));
  assert_true(tarn__used_blocks_note(&used, block, second));
  assert_null(tarn__used_blocks_take(&used, (void *)0x7f0000010040));
  tarn__block_use *uses = tarn__used_blocks_take(&used, block);
  assert_ptr_equal(uses->stream, second);
  assert_ptr_equal(uses->next->stream, first);
  assert_null(uses->next->next);
  assert_null(tarn__used_blocks_take(&used, block));
  tarn__block_uses_free(uses);
  tarn__used_blocks_deinit(&used);
  tarn_stream_release(first);
  tarn_stream_release(second);
}

TEST(a_stream_is_noted_once) {
  tarn_stream *stream = make_stream();
  tarn__used_blocks used;
  tarn__used_blocks_init(&used);
  const void *block = (void *)0x7f0000000000;
  assert_true(tarn__used_blocks_note(&used, block, stream));
  assert_true(tarn__used_blocks_note(&used, block, stream));
  tarn__block_use *uses = tarn__used_blocks_take(&used, block);
  assert_ptr_equal(uses->stream, stream);
  assert_null(uses->next);
  tarn__block_uses_free(uses);
  tarn__used_blocks_deinit(&used);
  tarn_stream_release(stream);
}

/* Against a plain list of what should be there, while the shards grow and shrink. */
TEST(a_hundred_thousand_changes_keep_the_table_right) {
  enum { PLACES = 4096, CHANGES = 100000 };
  static bool is_used[PLACES];
  tarn_stream *stream = make_stream();
  tarn__used_blocks used;
  tarn__used_blocks_init(&used);
  uint64_t random = 7;
  for (int change = 0; change < CHANGES + PLACES; ++change) {
    random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
    const bool is_last_round = change >= CHANGES;
    const size_t place =
        is_last_round ? (size_t)(change - CHANGES) : (size_t)(random >> 33) % PLACES;
    const void *address = (void *)(0x7f0000000000 + place * 16384);
    tarn__block_use *uses = tarn__used_blocks_take(&used, address);
    assert_int_equal(uses != NULL, is_used[place]);
    if (uses == NULL && !is_last_round) {
      assert_true(tarn__used_blocks_note(&used, address, stream));
    }
    is_used[place] = uses == NULL && !is_last_round;
    tarn__block_uses_free(uses);
  }
  tarn__used_blocks_deinit(&used); /* asserts that nothing is left */
  tarn_stream_release(stream);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
