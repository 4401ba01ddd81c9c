/* test_pasted.c: a printed program, pasted, finds again what it was printed for. */
#include "tests/support/test.h"

#include <string.h>

#include "tests/sim/pasted.h"

/* As sim_programs printed it for PLANT_NOTE_LOST; the plant is a parameter here. */
static program_failing run_program_3(program_plant plant, char *text, size_t text_bytes) {
  pasted_world *world = pasted_begin(CUSIM_LAZY, /*seed=*/3u, /*capacity_bytes=*/4294967296, plant);
  if (world == NULL) return PROGRAM_WRONG_STATUS;
  tarn_pool *pool0 = pasted_pool(world, POOL_STACKED, /*limit_bytes=*/0, /*segment_bytes=*/0);
  tarn_stream *s0 = pasted_stream(world);
  tarn_stream *s1 = pasted_stream(world);
  void *b2 = NULL;
  void *b17 = NULL;
  void *b21 = NULL;

  PASTED_TRY(world, tarn_pool_alloc_aligned(pool0, 256, 0, s0, &b2));
  PASTED_TRY(world, tarn_pool_alloc_aligned(pool0, 256, 0, s1, &b17));
  pasted_write(world, s1, pool0, b17, 256, 3);
  if (b17 != NULL) PASTED_TRY(world, tarn_pool_note_use(pool0, b17, s1));
  PASTED_TRY(world, tarn_pool_free(pool0, b17, s0));
  b17 = NULL;
  PASTED_TRY(world, tarn_pool_alloc_aligned(pool0, 256, 0, s0, &b21));
  pasted_write(world, s0, pool0, b21, 256, 7);
  pasted_settle(world);
  PASTED_TRY(world, tarn_pool_free(pool0, b2, NULL));
  b2 = NULL;
  PASTED_TRY(world, tarn_pool_free(pool0, b21, NULL));
  b21 = NULL;
  return pasted_end(world, text, text_bytes);
}

TEST(a_pasted_program_fails_as_it_did_and_not_without_the_defect) {
  char text[512];
  assert_int_equal(run_program_3(PLANT_NOTE_LOST, text, sizeof text), PROGRAM_RACE);
  assert_non_null(strstr(text, "nothing orders the two"));
  assert_int_equal(run_program_3(PLANT_NOTHING, text, sizeof text), PROGRAM_FINE);
}

/* Every word once, in an order that is right. */
TEST(every_word_does_its_part) {
  char text[512];
  pasted_world *world = pasted_begin(CUSIM_RANDOM, 1, (size_t)64 << 20, PLANT_NOTHING);
  assert_non_null(world);
  tarn_pool *pool0 = pasted_pool(world, POOL_PINNED, 0, 0);
  tarn_pool *pool1 = pasted_pool(world, POOL_DEVICE, 0, 0);
  tarn_stream *s0 = pasted_stream(world);
  tarn_stream *s1 = pasted_stream(world);
  tarn_fence *e0 = pasted_fence(world, s0);
  void *b0 = NULL;
  PASTED_TRY(world, tarn_pool_alloc(pool0, 100, NULL, &b0));
  pasted_host_write(world, b0, 100, 7);
  pasted_check(world, s0, pool0, b0, 100, 7);
  PASTED_TRY(world, tarn_fence_record(e0, s0));
  pasted_order(world, s0, s1);
  pasted_write(world, s1, pool0, b0, 100, 9);
  PASTED_TRY(world, tarn_stream_synchronize(s1));
  pasted_host_check(world, b0, 100, 9);
  PASTED_TRY(world, tarn_pool_free(pool0, b0, s1));
  pasted_retire(world, s0);
  pasted_drop(world, pool1);
  assert_int_equal(pasted_end(world, text, sizeof text), PROGRAM_FINE);

  world = pasted_begin(CUSIM_LAZY, 1, (size_t)64 << 20, PLANT_NOTHING);
  pool0 = pasted_pool(world, POOL_PINNED, 0, 0);
  s0 = pasted_stream(world);
  PASTED_TRY(world, tarn_pool_alloc(pool0, 100, s0, &b0));
  pasted_write(world, s0, pool0, b0, 100, 3);
  pasted_check(world, s0, pool0, b0, 100, 4);
  PASTED_TRY(world, tarn_pool_free(pool0, b0, s0));
  assert_int_equal(pasted_end(world, text, sizeof text), PROGRAM_WRONG_VALUE);

  world = pasted_begin(CUSIM_LAZY, 1, (size_t)64 << 20, PLANT_NOTHING);
  pool0 = pasted_pool(world, POOL_PINNED, 0, 0);
  PASTED_TRY(world, tarn_pool_free(pool0, &text, NULL));
  assert_int_equal(pasted_end(world, text, sizeof text), PROGRAM_WRONG_STATUS);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
