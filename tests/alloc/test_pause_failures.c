/* test_pause_failures.c: a pause or a resume that fails anywhere leaves a pool that is whole. */
#include "alloc/tarn_pause.h"

#include "tests/alloc/caching_fixture.h"
#include "tests/alloc/pausing_fixture.h"
#include "tests/support/manual_stream.h"

enum { BLOCKS = 6 };

typedef struct scene {
  char *blocks[BLOCKS];
  char *other[BLOCKS];
} scene;

/* Blocks of two tags, so that memory goes in several calls. */
static void set_scene(scene *self) {
  for (int i = 0; i < BLOCKS; i++) {
    self->blocks[i] = take_tagged("a", GRANULE * 2 + 512);
    self->other[i] = take_tagged("b", GRANULE - 512);
    fill(self->blocks[i], GRANULE * 2 + 512, (unsigned char)(i + 1));
    fill(self->other[i], GRANULE - 512, (unsigned char)(i + 100));
  }
}

static void expect_scene(const scene *self) {
  for (int i = 0; i < BLOCKS; i++) {
    expect(self->blocks[i], GRANULE * 2 + 512, (unsigned char)(i + 1));
    expect(self->other[i], GRANULE - 512, (unsigned char)(i + 100));
  }
}

static void drop_scene(const scene *self) {
  for (int i = 0; i < BLOCKS; i++) {
    give(pool, self->blocks[i], NULL);
    give(pool, self->other[i], NULL);
  }
}

static void assert_same(const tarn_pool_stats *a, const tarn_pool_stats *b) {
  assert_int_equal(a->allocated_bytes, b->allocated_bytes);
  assert_int_equal(a->requested_bytes, b->requested_bytes);
  assert_int_equal(a->reserved_bytes, b->reserved_bytes);
  assert_int_equal(a->paused_bytes, b->paused_bytes);
  assert_int_equal(a->active_bytes, b->active_bytes);
}

TEST_IN_POOLS(a_pause_that_fails_at_any_call_leaves_all_as_it_was) {
  scene all;
  set_scene(&all);
  const tarn_pool_stats before = exact_stats();
  for (int fail_at = 1;; fail_at++) {
    machine = (pausing_provider){.committed_bytes = machine.committed_bytes, .fail_at = fail_at};
    const tarn_status status = keep("a");
    machine.fail_at = 0;
    if (status == TARN_OK) break;
    assert_int_equal(status, TARN_DEVICE_ERROR);
    assert_int_equal(report.moved_bytes, 0);
    assert_int_equal(report.block_count, 0);
    assert_int_equal(report.stuck_bytes, 0);
    const tarn_pool_stats after = exact_stats();
    assert_same(&before, &after);
    assert_int_equal(stats_of(backup).allocated_bytes, 0);
    expect_scene(&all);
    for (int i = 0; i < BLOCKS; i++) assert_false(tarn_pool_is_paused(pool, all.blocks[i]));
  }
  assert_int_equal(machine.decommit_count, BLOCKS);
  assert_ok(resume(NULL));
  expect_scene(&all);
  drop_scene(&all);
}

TEST_IN_POOLS(a_resume_that_fails_at_any_call_leaves_all_paused) {
  scene all;
  set_scene(&all);
  assert_ok(keep("a"));
  const tarn_pool_stats before = exact_stats();
  const size_t kept_bytes = stats_of(backup).allocated_bytes;
  int count = 0;
  for (int fail_at = 1;; fail_at++, count++) {
    machine = (pausing_provider){.committed_bytes = machine.committed_bytes, .fail_at = fail_at};
    const tarn_status status = resume("a");
    machine.fail_at = 0;
    if (status == TARN_OK) break;
    assert_int_equal(report.moved_bytes, 0);
    assert_int_equal(report.block_count, 0);
    const tarn_pool_stats after = exact_stats();
    assert_same(&before, &after);
    assert_int_equal(stats_of(backup).allocated_bytes, kept_bytes);
    for (int i = 0; i < BLOCKS; i++) assert_true(tarn_pool_is_paused(pool, all.blocks[i]));
  }
  assert_int_equal(count, BLOCKS);
  expect_scene(&all);
  drop_scene(&all);
}

/* Everything from the n-th call on fails, the undoing too. */
TEST_IN_POOLS(what_cannot_be_undone_can_be_resumed) {
  for (int fail_at = 1; fail_at < BLOCKS; fail_at++) {
    scene all;
    set_scene(&all);
    const tarn_pool_stats before = exact_stats();
    machine.call_count = 0;
    machine.fail_at = fail_at;
    machine.fails_on = true;
    assert_int_equal(keep("a"), TARN_DEVICE_ERROR);
    assert_int_equal(report.stuck_bytes != 0, fail_at > 1);
    assert_int_equal(report.moved_bytes, report.stuck_bytes);
    assert_int_equal(exact_stats().paused_bytes, report.stuck_bytes);
    assert_int_equal(resume(NULL), fail_at == 1 ? TARN_OK : TARN_DEVICE_ERROR);
    machine.fail_at = 0;
    assert_ok(resume(NULL));
    const tarn_pool_stats after = exact_stats();
    assert_same(&before, &after);
    expect_scene(&all);
    /* And a resume whose undoing fails. */
    assert_ok(keep("a"));
    const size_t paused_bytes = exact_stats().paused_bytes;
    machine.call_count = 0;
    machine.fail_at = fail_at;
    assert_int_equal(resume(NULL), TARN_DEVICE_ERROR);
    assert_int_equal(report.stuck_bytes != 0, fail_at > 1);
    assert_int_equal(exact_stats().paused_bytes, paused_bytes - report.stuck_bytes);
    for (int i = 0; i < BLOCKS; i++) assert_true(tarn_pool_is_paused(pool, all.blocks[i]));
    machine.fail_at = 0;
    give(pool, all.blocks[0], NULL);
    give(pool, all.blocks[BLOCKS - 1], NULL);
    assert_ok(resume(NULL));
    for (int i = 1; i < BLOCKS - 1; i++) {
      expect(all.blocks[i], GRANULE * 2 + 512, (unsigned char)(i + 1));
      give(pool, all.blocks[i], NULL);
    }
    assert_int_equal(exact_stats().paused_bytes, 0);
    for (int i = 0; i < BLOCKS; i++) give(pool, all.other[i], NULL);
    assert_int_equal(drop_pools(NULL), 0);
    assert_int_equal(make_pools(NULL), 0); /* and its blocks lie as before */
  }
}

TEST_IN_POOLS(a_discard_that_fails_tells_what_was_lost) {
  scene all;
  set_scene(&all);
  machine.call_count = 0;
  machine.fail_at = 3;
  assert_int_equal(discard("a"), TARN_DEVICE_ERROR);
  machine.fail_at = 0;
  assert_int_equal(report.lost_bytes, 2 * 2 * GRANULE);
  assert_int_equal(report.moved_bytes, 0);
  assert_int_equal(exact_stats().paused_bytes, 0);
  for (int i = 2; i < BLOCKS; i++) expect(all.blocks[i], GRANULE * 2 + 512, (unsigned char)(i + 1));
  for (int i = 0; i < BLOCKS; i++) fill(all.blocks[i], GRANULE * 2 + 512, 0);
  drop_scene(&all);
}

TEST_IN_POOLS(a_backup_without_room_leaves_all_as_it_was) {
  scene all;
  set_scene(&all);
  const tarn_pool_stats before = exact_stats();
  tarn_budget_set_limit(tarn_caching_pool_budget(backup), 5 * GRANULE);
  assert_int_equal(keep("a"), TARN_OUT_OF_MEMORY);
  tarn_budget_set_limit(tarn_caching_pool_budget(backup), 0);
  const tarn_pool_stats after = exact_stats();
  assert_same(&before, &after);
  assert_int_equal(machine.decommit_count, 0);
  assert_int_equal(stats_of(backup).allocated_bytes, 0);
  expect_scene(&all);
  drop_scene(&all);
}

TEST_IN_POOLS(a_copy_that_fails_leaves_all_as_it_was) {
  tarn_pool *host_pool = pool;
  pool = make_pausable_pool(tarn_device_make(TARN_DEVICE_CUDA, 0), NULL);
  tarn_stream *stream = make_stream();
  tarn_stream *closed = make_stream();
  assert_ok(tarn_stream_close(closed)); /* refuses every copy */
  char *a = take(pool, 2 * GRANULE, stream);
  fill(a, 2 * GRANULE, 4);
  assert_int_equal(pause_with(TARN_PAUSE_KEEP, NULL, closed), TARN_INVALID_ARGUMENT);
  assert_false(tarn_pool_is_paused(pool, a));
  assert_ok(pause_with(TARN_PAUSE_KEEP, NULL, stream));
  const size_t reserved_bytes = machine.committed_bytes;
  const tarn_resume_options options = {.struct_size = sizeof options, .stream = closed};
  assert_int_equal(tarn_pool_resume(pool, &options, NULL), TARN_INVALID_ARGUMENT);
  assert_true(tarn_pool_is_paused(pool, a));
  assert_int_equal(machine.committed_bytes, reserved_bytes);
  const tarn_resume_options sound = {.struct_size = sizeof sound, .stream = stream};
  assert_ok(tarn_pool_resume(pool, &sound, NULL));
  expect(a, 2 * GRANULE, 4);
  give(pool, a, stream);
  tarn_stream_release(closed);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  pool = host_pool;
  machine.committed_bytes = 0;
}

/* Contents may still be on their way: their memory stays where it is. */
TEST_IN_POOLS(a_resume_that_cannot_wait_leaves_the_memory) {
  tarn_pool *host_pool = pool;
  pool = make_pausable_pool(tarn_device_make(TARN_DEVICE_CUDA, 0), NULL);
  tarn_stream *stream = make_stream();
  char *a = take(pool, 2 * GRANULE, stream);
  fill(a, 2 * GRANULE, 4);
  assert_ok(pause_with(TARN_PAUSE_KEEP, NULL, stream));
  const tarn_resume_options options = {.struct_size = sizeof options, .stream = stream};
  report = (tarn_pause_report){.struct_size = sizeof report};
  manual_fail_synchronizes = 2;
  machine.decommit_count = 0;
  assert_int_equal(tarn_pool_resume(pool, &options, &report), TARN_DEVICE_ERROR);
  assert_int_equal(manual_fail_synchronizes, 0);
  assert_int_equal(report.stuck_bytes, 2 * GRANULE);
  assert_int_equal(machine.decommit_count, 0);
  assert_int_equal(exact_stats().paused_bytes, 0);
  assert_true(tarn_pool_is_paused(pool, a));
  assert_ok(tarn_pool_resume(pool, &options, &report));
  assert_int_equal(report.moved_bytes, 0);
  expect(a, 2 * GRANULE, 4);
  give(pool, a, stream);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  pool = host_pool;
  machine.committed_bytes = 0;
}

TEST_IN_POOLS(a_budget_without_room_keeps_all_paused_until_it_has_some) {
  char *a = take(pool, 4 * GRANULE, NULL);
  fill(a, 4 * GRANULE, 8);
  assert_ok(keep(NULL));
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), 5 * GRANULE);
  char *meanwhile = take(pool, 3 * GRANULE, NULL);
  const tarn_pool_stats before = exact_stats();
  assert_int_equal(resume(NULL), TARN_OUT_OF_MEMORY);
  const tarn_pool_stats after = exact_stats();
  assert_same(&before, &after);
  give(pool, meanwhile, NULL);
  assert_ok(resume(NULL)); /* what lies idle makes room */
  expect(a, 4 * GRANULE, 8);
  exact_stats();
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), 0);
  give(pool, a, NULL);
}

/* Nobody has asked its stream since. */
TEST_IN_POOLS(what_streams_are_done_with_makes_room_for_a_resume) {
  tarn_stream *stream = make_stream();
  char *a = take(pool, 4 * GRANULE, NULL);
  assert_ok(discard(NULL));
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), 5 * GRANULE);
  char *meanwhile = take(pool, 3 * GRANULE, stream);
  work(stream);
  give(pool, meanwhile, stream);
  assert_int_equal(resume(NULL), TARN_OUT_OF_MEMORY); /* it is not waited for */
  while (manual_stream_advance(stream, 1) != 0) {
  }
  assert_ok(resume(NULL));
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), 0);
  give(pool, a, NULL);
  tarn_stream_release(stream);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
