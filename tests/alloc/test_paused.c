/* test_paused.c: pieces of what is paused, cut, taken out and counted. */
#include "alloc/paused.h"

#include <stdlib.h>

#include "tests/support/test.h"

enum { BASE = 1 << 20, STEP = 4096 };

static uintptr_t at(size_t index) {
  return BASE + index * STEP;
}

static tarn__piece piece_at(size_t index, size_t count, bool has_memory) {
  return (tarn__piece){
      .address = (char *)at(index), .size_bytes = count * STEP, .has_memory = has_memory};
}

static void add(tarn__paused *paused, tarn__piece piece) {
  assert_true(tarn__paused_reserve(paused, 1));
  tarn__paused_insert(paused, &piece);
}

static void deinit(tarn__paused *paused) {
  free(paused->pieces);
}

TEST(pieces_are_found_by_their_addresses) {
  tarn__paused paused = {.count = 0};
  assert_int_equal(tarn__paused_find(&paused, at(0)), 0);
  add(&paused, piece_at(10, 2, false));
  add(&paused, piece_at(2, 3, false));
  add(&paused, piece_at(20, 1, true));
  assert_int_equal(paused.count, 3);
  assert_int_equal(tarn__paused_find(&paused, at(0)), 0);
  assert_int_equal(tarn__paused_find(&paused, at(5) - 1), 0);
  assert_int_equal(tarn__paused_find(&paused, at(5)), 1);
  assert_int_equal(tarn__paused_find(&paused, at(20)), 2);
  assert_int_equal(tarn__paused_find(&paused, at(21)), 3);
  assert_true(tarn__paused_touches(&paused, at(4), at(6)));
  assert_false(tarn__paused_touches(&paused, at(5), at(10)));
  deinit(&paused);
}

TEST(only_what_has_no_memory_is_missing) {
  tarn__paused paused = {.count = 0};
  add(&paused, piece_at(0, 2, false));
  add(&paused, piece_at(2, 2, true));
  add(&paused, piece_at(4, 2, false));
  assert_int_equal(tarn__paused_missing_bytes(&paused, at(0), at(6)), 4 * STEP);
  assert_int_equal(tarn__paused_missing_bytes(&paused, at(1), at(5)), 2 * STEP);
  assert_int_equal(tarn__paused_missing_bytes(&paused, at(0) + 1, at(1) - 1), STEP - 2);
  assert_true(tarn__paused_lacks(&paused, at(4), at(6)));
  assert_false(tarn__paused_lacks(&paused, at(3), at(5)));
  assert_false(tarn__paused_lacks(&paused, at(5), at(7)));
  deinit(&paused);
}

TEST(a_cut_keeps_what_was_saved_with_its_bytes) {
  static char kept[4 * STEP];
  tarn__backup *backup = calloc(1, sizeof *backup);
  assert_non_null(backup);
  tarn__paused paused = {.count = 0};
  tarn__piece piece = piece_at(0, 4, false);
  piece.backup = backup;
  piece.kept = kept;
  add(&paused, piece);
  assert_true(tarn__paused_reserve(&paused, 2));
  tarn__paused_cut(&paused, at(0)); /* nothing to cut */
  assert_int_equal(paused.count, 1);
  tarn__paused_cut(&paused, at(1));
  assert_int_equal(paused.count, 2);
  assert_int_equal(paused.pieces[0].size_bytes, STEP);
  assert_int_equal((uintptr_t)paused.pieces[1].address, at(1));
  assert_int_equal(paused.pieces[1].size_bytes, 3 * STEP);
  assert_ptr_equal(paused.pieces[1].kept, kept + STEP);
  assert_int_equal(backup->piece_count, 2);
  tarn__paused_remove(&paused, at(0), at(1));
  assert_null(paused.gone);
  tarn__paused_remove(&paused, at(1), at(4)); /* and with the last part it goes */
  assert_ptr_equal(paused.gone, backup);
  assert_int_equal(paused.count, 0);
  tarn__backups_free(paused.gone, NULL);
  deinit(&paused);
}

TEST(a_part_is_taken_out_of_the_middle) {
  tarn__paused paused = {.count = 0};
  add(&paused, piece_at(0, 8, false));
  add(&paused, piece_at(8, 8, false));
  assert_true(tarn__paused_reserve(&paused, 1));
  tarn__paused_remove(&paused, at(2), at(4));
  assert_int_equal(paused.count, 3);
  assert_int_equal(tarn__paused_missing_bytes(&paused, at(0), at(16)), 14 * STEP);
  assert_false(tarn__paused_touches(&paused, at(2), at(4)));
  assert_true(tarn__paused_reserve(&paused, 1));
  tarn__paused_remove(&paused, at(6), at(10)); /* across two */
  assert_int_equal(tarn__paused_missing_bytes(&paused, at(0), at(16)), 10 * STEP);
  assert_int_equal(paused.count, 3);
  tarn__paused_remove(&paused, at(0), at(16));
  assert_int_equal(paused.count, 0);
  deinit(&paused);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
