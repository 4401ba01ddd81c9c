/* test_pause.c: blocks lose their memory and get it back, at unchanged addresses. */
#include "alloc/tarn_pause.h"

#include <string.h>

#include "alloc/tarn_pool_snapshot.h"
#include "alloc/tarn_capture.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/alloc/pausing_fixture.h"
#include "tests/support/child.h"
#include "tests/support/manual_stream.h"

/* --- what goes and comes --- */

TEST_IN_POOLS(memory_goes_and_comes_back_at_the_same_address) {
  char *block = take(pool, 8 * GRANULE, NULL);
  const size_t before = machine.committed_bytes;
  assert_ok(discard(NULL));
  assert_int_equal(report.block_count, 1);
  assert_int_equal(report.moved_bytes, 8 * GRANULE);
  assert_int_equal(report.shared_bytes, 0);
  assert_int_equal(machine.committed_bytes, before - 8 * GRANULE);
  assert_int_equal(exact_stats().paused_bytes, 8 * GRANULE);
  assert_int_equal(exact_stats().allocated_bytes, 8 * GRANULE);
  assert_ok(resume(NULL));
  assert_int_equal(report.block_count, 1);
  assert_int_equal(report.moved_bytes, 8 * GRANULE);
  assert_int_equal(exact_stats().paused_bytes, 0);
  assert_int_equal(machine.committed_bytes, before);
  fill(block, 8 * GRANULE, 7);
  give(pool, block, NULL);
}

TEST_IN_POOLS(kept_contents_come_back) {
  static const size_t sizes[] = {300, 5 * GRANULE + 700, 4096, 70 << 20, GRANULE - 256, 64};
  char *blocks[COUNT_OF(sizes)];
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    blocks[i] = take(pool, sizes[i], NULL);
    fill(blocks[i], sizes[i], (unsigned char)(i + 1));
  }
  assert_ok(keep(NULL));
  assert_true(report.copied_bytes > (70 << 20));
  assert_true(stats_of(backup).allocated_bytes >= report.moved_bytes);
  assert_ok(resume(NULL));
  assert_int_equal(stats_of(backup).allocated_bytes, 0);
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    expect(blocks[i], sizes[i], (unsigned char)(i + 1));
    give(pool, blocks[i], NULL);
  }
}

TEST_IN_POOLS(neighbouring_granules_go_in_one_call) {
  char *blocks[16];
  for (int i = 0; i < 16; i++) blocks[i] = take(pool, 3 * GRANULE, NULL);
  machine.decommit_count = 0;
  machine.commit_count = 0;
  assert_ok(discard(NULL));
  assert_int_equal(machine.decommit_count, 1);
  assert_ok(resume(NULL));
  assert_int_equal(machine.commit_count, 1);
  for (int i = 0; i < 16; i++) give(pool, blocks[i], NULL);
}

TEST_IN_POOLS(pausing_twice_and_resuming_twice_does_nothing) {
  char *block = take(pool, 4 * GRANULE, NULL);
  assert_ok(resume(NULL));
  assert_int_equal(report.moved_bytes, 0);
  fill(block, 4 * GRANULE, 9);
  assert_ok(keep(NULL));
  const int calls = machine.call_count;
  assert_ok(keep(NULL));
  assert_int_equal(report.moved_bytes, 0);
  assert_int_equal(report.block_count, 0);
  assert_ok(discard(NULL));
  assert_int_equal(machine.call_count, calls);
  assert_ok(resume(NULL));
  expect(block, 4 * GRANULE, 9);
  assert_ok(resume(NULL));
  assert_int_equal(report.moved_bytes, 0);
  give(pool, block, NULL);
}

TEST_IN_POOLS(a_hundred_cycles_leave_the_same_memory) {
  char *blocks[3];
  for (int i = 0; i < 3; i++) {
    blocks[i] = take(pool, (size_t)(i + 1) * GRANULE + 1000, NULL);
    fill(blocks[i], (size_t)(i + 1) * GRANULE + 1000, (unsigned char)i);
  }
  const size_t before = machine.committed_bytes;
  const size_t backup_before = (assert_ok(keep(NULL)), stats_of(backup).reserved_bytes);
  assert_ok(resume(NULL));
  for (int cycle = 0; cycle < 100; cycle++) {
    assert_ok(keep(NULL));
    assert_ok(resume(NULL));
    assert_int_equal(machine.committed_bytes, before);
  }
  assert_int_equal(stats_of(backup).reserved_bytes, backup_before);
  for (int i = 0; i < 3; i++) {
    expect(blocks[i], (size_t)(i + 1) * GRANULE + 1000, (unsigned char)i);
    give(pool, blocks[i], NULL);
  }
}

/* --- tags, and granules that several share --- */

TEST_IN_POOLS(only_the_tags_that_are_told_go) {
  char *weights = take_tagged("weights", 4 * GRANULE);
  char *cache = take_tagged("cache", 4 * GRANULE);
  char *plain = take(pool, 4 * GRANULE, NULL);
  fill(plain, 4 * GRANULE, 3);
  assert_ok(discard("cache"));
  assert_int_equal(report.moved_bytes, 4 * GRANULE);
  assert_true(tarn_pool_is_paused(pool, cache + 100));
  assert_false(tarn_pool_is_paused(pool, weights));
  size_t size_bytes = 0;
  assert_ok(tarn_pool_size_of(pool, cache, &size_bytes));
  assert_int_equal(size_bytes, 4 * GRANULE);
  assert_ok(keep("weights"));
  assert_ok(discard("nobody has said this"));
  assert_int_equal(report.block_count, 0);
  assert_int_equal(exact_stats().paused_bytes, 8 * GRANULE);
  assert_ok(resume("weights"));
  assert_int_equal(report.moved_bytes, 4 * GRANULE);
  assert_false(tarn_pool_is_paused(pool, weights));
  assert_true(tarn_pool_is_paused(pool, cache));
  assert_ok(discard("")); /* blocks without a tag */
  assert_true(tarn_pool_is_paused(pool, plain));
  assert_ok(resume(NULL));
  give(pool, weights, NULL);
  give(pool, cache, NULL);
  give(pool, plain, NULL);
}

TEST_IN_POOLS(a_granule_that_others_share_stays) {
  char *a = take_tagged("a", GRANULE + 1024);
  char *b = take_tagged("b", GRANULE - 1024);
  assert_int_equal(b - a, GRANULE + 1024);
  fill(a, GRANULE + 1024, 1);
  fill(b, GRANULE - 1024, 2);
  assert_ok(keep("a"));
  assert_int_equal(report.moved_bytes, GRANULE);
  assert_int_equal(report.shared_bytes, 1024);
  expect(b, GRANULE - 1024, 2);
  /* Now the granule that they share has nobody left who needs it. */
  assert_ok(keep("b"));
  assert_int_equal(report.moved_bytes, GRANULE);
  assert_int_equal(exact_stats().paused_bytes, 2 * GRANULE);
  assert_ok(resume("a"));
  expect(a, GRANULE + 1024, 1);
  /* b came along: all that it missed was in that granule. */
  assert_int_equal(report.block_count, 2);
  expect(b, GRANULE - 1024, 2);
  give(pool, a, NULL);
  give(pool, b, NULL);
}

/* Part of b is back with a, the rest when b is resumed. */
TEST_IN_POOLS(contents_come_back_in_parts) {
  char *a = take_tagged("a", GRANULE + 1024);
  char *b = take_tagged("b", 2 * GRANULE);
  fill(a, GRANULE + 1024, 1);
  fill(b, 2 * GRANULE, 2);
  assert_ok(keep(NULL));
  assert_ok(resume("a"));
  assert_int_equal(report.block_count, 1);
  assert_true(tarn_pool_is_paused(pool, b));
  expect(a, GRANULE + 1024, 1);
  assert_ok(keep("a"));
  assert_ok(resume("b"));
  expect(b, 2 * GRANULE, 2);
  assert_ok(resume("a"));
  expect(a, GRANULE + 1024, 1);
  expect(b, 2 * GRANULE, 2);
  give(pool, a, NULL);
  give(pool, b, NULL);
}

TEST_IN_POOLS(a_block_of_which_nothing_goes_stays_live) {
  char *a = take_tagged("a", 1024);
  char *b = take_tagged("b", 1024);
  assert_ok(discard("a"));
  assert_int_equal(report.block_count, 0);
  assert_int_equal(report.shared_bytes, 1024);
  assert_false(tarn_pool_is_paused(pool, a));
  assert_int_equal(exact_stats().paused_bytes, 0);
  give(pool, a, NULL);
  give(pool, b, NULL);
}

TEST_IN_POOLS(what_was_kept_is_not_discarded_by_a_neighbour) {
  char *a = take_tagged("a", GRANULE + 1024);
  char *b = take_tagged("b", 3 * GRANULE - 1024);
  fill(a, GRANULE + 1024, 1);
  assert_ok(keep("a"));
  assert_ok(discard("b")); /* but for the granule with the end of a */
  assert_int_equal(report.moved_bytes, 2 * GRANULE);
  assert_ok(resume("b"));
  assert_ok(resume("a"));
  expect(a, GRANULE + 1024, 1);
  give(pool, a, NULL);
  give(pool, b, NULL);
}

TEST_IN_POOLS(idle_ends_of_a_granule_go_with_it_and_come_back) {
  char *blocks[5];
  for (int i = 0; i < 5; i++) blocks[i] = take_tagged("a", GRANULE + GRANULE / 2);
  give(pool, blocks[1], NULL);
  give(pool, blocks[3], NULL);
  assert_ok(tarn_pool_trim(pool, SIZE_MAX, NULL)); /* nothing stays with the thread */
  const size_t before = machine.committed_bytes;
  fill(blocks[2], GRANULE + GRANULE / 2, 5);
  assert_ok(keep("a"));
  assert_true(report.moved_bytes >= 5 * GRANULE);
  exact_stats();
  assert_ok(resume("a"));
  assert_int_equal(machine.committed_bytes, before);
  expect(blocks[2], GRANULE + GRANULE / 2, 5);
  /* And are lent again. */
  char *again = take(pool, GRANULE + GRANULE / 2, NULL);
  assert_true(again == blocks[1] || again == blocks[3]);
  give(pool, again, NULL);
  give(pool, blocks[0], NULL);
  give(pool, blocks[2], NULL);
  give(pool, blocks[4], NULL);
}

/* --- meanwhile --- */

TEST_IN_POOLS(memory_of_a_freed_block_is_not_brought_back) {
  char *a = take(pool, 4 * GRANULE, NULL);
  char *b = take(pool, 4 * GRANULE, NULL);
  fill(b, 4 * GRANULE, 6);
  assert_ok(keep(NULL));
  give(pool, a, NULL);
  const tarn_pool_stats stats = exact_stats();
  assert_int_equal(stats.paused_bytes, 4 * GRANULE);
  assert_int_equal(stats.allocated_bytes, 4 * GRANULE);
  assert_int_equal(tarn_pool_free(pool, a, NULL), TARN_NOT_FOUND);
  assert_ok(resume(NULL));
  assert_int_equal(report.moved_bytes, 4 * GRANULE);
  assert_int_equal(report.block_count, 1);
  expect(b, 4 * GRANULE, 6);
  give(pool, b, NULL);
}

TEST_IN_POOLS(the_last_free_drops_what_was_kept) {
  char *a = take(pool, GRANULE + 512, NULL);
  char *b = take(pool, GRANULE, NULL);
  assert_ok(keep(NULL));
  give(pool, a, NULL);
  give(pool, b, NULL);
  assert_int_equal(stats_of(backup).allocated_bytes, 0);
  assert_int_equal(exact_stats().paused_bytes, 0);
  assert_ok(resume(NULL));
  assert_int_equal(report.moved_bytes, 0);
}

TEST_IN_POOLS(a_free_gives_its_part_of_a_shared_granule_back_at_once) {
  char *a = take_tagged("a", GRANULE + GRANULE / 2);
  char *b = take_tagged("b", GRANULE / 2);
  assert_ok(discard("a"));
  give(pool, a, NULL);
  char *again = take(pool, GRANULE / 2, NULL);
  assert_ptr_equal(again, a + GRANULE); /* where memory was left */
  fill(again, GRANULE / 2, 1);
  give(pool, again, NULL);
  give(pool, b, NULL);
}

TEST_IN_POOLS(a_paused_address_is_lent_to_nobody) {
  char *a = take(pool, 2 * GRANULE, NULL);
  assert_ok(discard(NULL));
  give(pool, a, NULL); /* which a thread would keep for its next call */
  for (int i = 0; i < 8; i++) {
    char *other = take(pool, 2 * GRANULE, NULL);
    fill(other, 2 * GRANULE, 1); /* it has memory */
    give(pool, other, NULL);
  }
  char *small = take(pool, 64, NULL);
  fill(small, 64, 1);
  give(pool, small, NULL);
}

TEST_IN_POOLS(use_of_a_paused_block_is_not_noted) {
  tarn_stream *stream = make_stream();
  char *a = take(pool, 2 * GRANULE, NULL);
  assert_ok(discard(NULL));
  assert_int_equal(tarn_pool_note_use(pool, a + 100, stream), TARN_BUSY);
  assert_ok(resume(NULL));
  assert_ok(tarn_pool_note_use(pool, a + 100, stream));
  give(pool, a, NULL);
  tarn_stream_release(stream);
}

static tarn_status drop_text(void *context, const char *text, size_t text_bytes) {
  char *found = context;
  (void)text_bytes;
  if (strstr(text, "\"paused\"") != NULL) *found |= 1;
  if (strstr(text, "\"paused_bytes\":524288") != NULL) *found |= 2;
  return TARN_OK;
}

TEST_IN_POOLS(trim_decay_and_snapshots_work_meanwhile) {
  char *a = take(pool, 2 * GRANULE, NULL);
  char *idle = take(pool, 6 * GRANULE, NULL);
  give(pool, idle, NULL);
  assert_ok(discard(NULL));
  size_t released = 0;
  assert_ok(tarn_pool_decay(pool, 1, &released));
  char found = 0;
  assert_ok(tarn_pool_snapshot(pool, drop_text, &found));
  assert_int_equal(found, 3);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 6 * GRANULE);
  assert_int_equal(exact_stats().reserved_bytes, 0);
  assert_int_equal(exact_stats().paused_bytes, 2 * GRANULE);
  assert_ok(tarn_pool_decay(pool, UINT64_C(1) << 40, &released));
  assert_ok(resume(NULL));
  give(pool, a, NULL);
}

TEST_IN_POOLS(a_released_pool_ends_with_its_last_paused_block) {
  tarn_pool *other = make_pausable_pool(tarn_device_make(TARN_DEVICE_CPU, 0), NULL);
  char *a = take(other, 2 * GRANULE, NULL);
  const tarn_pause_options options = {.struct_size = sizeof options, .backup = backup};
  assert_ok(tarn_pool_pause(other, &options, NULL));
  tarn_pool_release(other);
  assert_int_not_equal(stats_of(backup).allocated_bytes, 0);
  assert_ok(tarn_pool_free(other, a, NULL));
  assert_int_equal(stats_of(backup).allocated_bytes, 0);
  machine.committed_bytes = 0;
}

/* --- order --- */

TEST_IN_POOLS(pause_waits_for_all_that_is_enqueued) {
  tarn_stream *stream = make_stream();
  char *a = take(pool, 2 * GRANULE, stream);
  work(stream);
  work(stream);
  const tarn_pause_options at_once = {
      .struct_size = sizeof at_once, .contents = TARN_PAUSE_DISCARD, .flags = TARN_PAUSE_NO_WAIT};
  assert_int_equal(tarn_pool_pause(pool, &at_once, NULL), TARN_BUSY);
  assert_false(tarn_pool_is_paused(pool, a));
  assert_int_not_equal(manual_stream_pending(stream), 0);
  assert_ok(discard(NULL));
  assert_int_equal(manual_stream_pending(stream), 0);
  assert_true(tarn_pool_is_paused(pool, a));
  assert_ok(resume(NULL));
  assert_ok(tarn_pool_pause(pool, &at_once, NULL)); /* nothing is under way now */
  assert_ok(resume(NULL));
  give(pool, a, stream);
  tarn_stream_release(stream);
}

static tarn_stream *late_stream;
static char *late_block;

static void use_it_late(void) {
  work(late_stream);
  assert_ok(tarn_pool_note_use(pool, late_block, late_stream));
}

TEST_IN_POOLS(what_is_used_while_pause_waits_is_waited_for_too) {
  late_stream = make_stream();
  late_block = take(pool, 2 * GRANULE, NULL);
  manual_interlude.after_record = use_it_late;
  assert_ok(discard(NULL));
  assert_null(manual_interlude.after_record);
  assert_int_equal(manual_stream_pending(late_stream), 0);
  assert_ok(resume(NULL));
  give(pool, late_block, NULL);
  tarn_stream_release(late_stream);
}

/* Two free neighbours that different streams had used are one by the time of the pause: its ends
 * go, and nobody is lent those. */
TEST_IN_POOLS(free_neighbours_lose_their_ends_only) {
  tarn_stream *streams[2] = {make_stream(), make_stream()};
  char *low = take_tagged("a", GRANULE + GRANULE / 2);
  char *middle[2] = {take(pool, 2 * GRANULE, NULL), take(pool, 2 * GRANULE, NULL)};
  char *high = take_tagged("a", GRANULE + GRANULE / 2);
  assert_int_equal(high - low, 5 * GRANULE + GRANULE / 2);
  for (int i = 0; i < 2; i++) {
    work(streams[i]);
    give(pool, middle[i], streams[i]);
  }
  assert_ok(discard("a"));
  assert_int_equal(exact_stats().paused_bytes, 4 * GRANULE);
  char *between = take(pool, 3 * GRANULE, NULL);
  fill(between, 3 * GRANULE, 1);
  char *more = take(pool, GRANULE / 2, NULL);
  fill(more, GRANULE / 2, 1);
  assert_ptr_equal(between, low + 2 * GRANULE);
  assert_ok(resume(NULL));
  give(pool, more, NULL);
  give(pool, between, NULL);
  give(pool, low, NULL);
  give(pool, high, NULL);
  for (int i = 0; i < 2; i++) tarn_stream_release(streams[i]);
}

TEST_IN_POOLS(no_call_of_the_provider_reaches_across_two_ranges) {
  tarn_pool *plain = pool;
  const tarn_caching_options options = {.struct_size = sizeof options, .range_bytes = 4 * GRANULE};
  adjoins_ranges = true;
  pool = make_pausable_pool(tarn_device_make(TARN_DEVICE_CPU, 0), &options);
  adjoins_ranges = false;
  char *blocks[3];
  for (int i = 0; i < 3; i++) blocks[i] = take(pool, 4 * GRANULE, NULL);
  assert_int_equal(blocks[1] - blocks[0], 4 * GRANULE);
  assert_ok(discard(NULL));
  assert_int_equal(machine.decommit_count, 3);
  assert_ok(resume(NULL));
  for (int i = 0; i < 3; i++) give(pool, blocks[i], NULL);
  tarn_pool_release(pool);
  pool = plain;
  machine.committed_bytes = 0;
}

TEST_IN_POOLS(a_pause_is_refused_during_a_capture) {
  tarn_stream *stream = make_stream();
  tarn_capture *capture = NULL;
  char *a = take(pool, 2 * GRANULE, NULL);
  assert_ok(tarn_capture_begin(stream, &capture));
  assert_int_equal(discard(NULL), TARN_BUSY);
  assert_int_equal(resume(NULL), TARN_BUSY);
  assert_ok(tarn_capture_end(capture));
  assert_ok(discard(NULL));
  assert_ok(resume(NULL));
  assert_ok(tarn_capture_destroy(capture));
  give(pool, a, NULL);
  tarn_stream_release(stream);
}

TEST_IN_POOLS(what_a_graph_keeps_stays_its_own) {
  tarn_stream *stream = make_stream();
  tarn_capture *capture = NULL;
  char *weights = take(pool, 2 * GRANULE, NULL);
  assert_ok(tarn_capture_begin(stream, &capture));
  char *inner = take(pool, 2 * GRANULE, stream);
  char *temporary = take(pool, 2 * GRANULE, stream);
  give(pool, temporary, stream);
  assert_ok(tarn_pool_note_use(pool, weights, stream));
  assert_ok(tarn_capture_end(capture));
  assert_ok(discard(NULL));
  /* What was freed in the capture is nobody's and stays for the graph. */
  assert_int_equal(report.block_count, 2);
  assert_int_equal(exact_stats().paused_bytes, 4 * GRANULE);
  give(pool, inner, NULL);
  give(pool, weights, NULL);
  /* Freed, and still the graph's: the memory comes back for it. */
  assert_int_equal(exact_stats().paused_bytes, 4 * GRANULE);
  assert_ok(resume(NULL));
  assert_int_equal(exact_stats().paused_bytes, 0);
  char *other = take(pool, 2 * GRANULE, NULL);
  assert_ptr_not_equal(other, inner);
  assert_ptr_not_equal(other, weights);
  assert_ok(tarn_capture_destroy(capture));
  give(pool, other, NULL);
  tarn_stream_release(stream);
}

TEST_IN_POOLS(contents_of_a_device_are_copied_in_the_order_of_a_stream) {
  tarn_pool *host_pool = pool;
  pool = make_pausable_pool(tarn_device_make(TARN_DEVICE_CUDA, 0), NULL);
  tarn_stream *stream = make_stream();
  char *a = take(pool, 2 * GRANULE + 100, stream);
  fill(a, 2 * GRANULE + 100, 4); /* the pretended device's memory is the CPU's */
  assert_int_equal(keep(NULL), TARN_INVALID_ARGUMENT);
  assert_ok(pause_with(TARN_PAUSE_KEEP, NULL, stream));
  assert_int_equal(report.copied_bytes, 2 * GRANULE + 100);
  assert_int_equal(resume(NULL), TARN_INVALID_ARGUMENT);
  const tarn_resume_options options = {.struct_size = sizeof options, .stream = stream};
  assert_ok(tarn_pool_resume(pool, &options, NULL));
  expect(a, 2 * GRANULE + 100, 4);
  give(pool, a, stream);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  pool = host_pool;
  machine.committed_bytes = 0;
}

TEST_IN_POOLS(pools_without_addresses_of_their_own_say_so) {
  tarn_pool *segments = make_segment_pool(0);
  const tarn_pause_options options = {.struct_size = sizeof options,
                                      .contents = TARN_PAUSE_DISCARD};
  assert_int_equal(tarn_pool_pause(segments, &options, NULL), TARN_NOT_SUPPORTED);
  assert_non_null(strstr(tarn_last_error()->message, "does not reserve address space"));
  assert_int_equal(tarn_pool_resume(segments, NULL, NULL), TARN_NOT_SUPPORTED);
  tarn_pool_release(segments);
}

TEST_IN_POOLS(mistakes_are_refused) {
  tarn_pause_options options = {.struct_size = sizeof options};
  assert_int_equal(tarn_pool_pause(NULL, &options, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_pool_pause(pool, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_pool_pause(pool, &options, NULL), TARN_INVALID_ARGUMENT);
  options.backup = pool;
  assert_int_equal(tarn_pool_pause(pool, &options, NULL), TARN_INVALID_ARGUMENT);
  options.backup = backup;
  options.flags = 1u << 9;
  assert_int_equal(tarn_pool_pause(pool, &options, NULL), TARN_INVALID_ARGUMENT);
  options.flags = 0;
  options.tag_count = 1;
  assert_int_equal(tarn_pool_pause(pool, &options, NULL), TARN_INVALID_ARGUMENT);
  options.tag_count = 0;
  options.struct_size--;
  assert_int_equal(tarn_pool_pause(pool, &options, NULL), TARN_INVALID_ARGUMENT);
  tarn_pause_report wrong = {.struct_size = 1};
  assert_int_equal(tarn_pool_resume(pool, NULL, &wrong), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_pool_resume(NULL, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_false(tarn_pool_is_paused(pool, NULL));
}

/* --- others at the same time --- */

static char *victim;

static void free_the_victim(void) {
  give(pool, victim, NULL);
}

TEST_IN_POOLS(a_block_may_be_freed_in_the_middle_of_a_pause) {
  char *a = take(pool, 2 * GRANULE, NULL);
  victim = take(pool, 2 * GRANULE + 100, NULL);
  fill(a, 2 * GRANULE, 1);
  machine.interlude = free_the_victim;
  assert_ok(keep(NULL));
  assert_int_equal(exact_stats().paused_bytes, 2 * GRANULE);
  victim = a;
  machine.interlude = free_the_victim;
  assert_ok(resume(NULL));
  assert_int_equal(exact_stats().paused_bytes, 0);
  assert_int_equal(stats_of(backup).allocated_bytes, 0);
}

static int resume_in_child(char *a) {
  CHECK(tarn_pool_resume(pool, NULL, NULL) == TARN_OK);
  for (size_t i = 0; i < 2 * GRANULE; i++) CHECK(a[i] == 5);
  CHECK(tarn_pool_free(pool, a, NULL) == TARN_OK);
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  CHECK(tarn_pool_stats_of(pool, &stats) == TARN_OK && stats.paused_bytes == 0);
  CHECK(tarn_pool_trim(pool, 0, NULL) == TARN_OK);
  CHECK(tarn_pool_stats_of(pool, &stats) == TARN_OK && stats.reserved_bytes == 0);
  return 0;
}

TEST_IN_POOLS(a_child_of_fork_resumes_what_its_parent_paused) {
  char *a = take(pool, 2 * GRANULE, NULL);
  fill(a, 2 * GRANULE, 5);
  assert_ok(keep(NULL));
  const pid_t child = fork();
  if (child == 0) alarm(CHILD_SECONDS);
  if (child == 0) _exit(resume_in_child(a));
  assert_int_equal(exit_code_of(child), 0);
  assert_ok(resume(NULL));
  expect(a, 2 * GRANULE, 5);
  give(pool, a, NULL);
}

static int middle_exit_code;

/* The thread that is in the middle of the call goes on in the parent alone. */
static void fork_in_the_middle(void) {
  const pid_t child = fork();
  if (child == 0) alarm(CHILD_SECONDS);
  if (child == 0) _exit(resume_in_child(victim));
  middle_exit_code = exit_code_of(child);
}

TEST_IN_POOLS(a_child_of_the_middle_of_a_pause_or_resume_is_whole) {
  char *a = take(pool, 2 * GRANULE, NULL);
  fill(a, 2 * GRANULE, 5);
  victim = a;
  for (int direction = 0; direction < 2; direction++) {
    machine.interlude = fork_in_the_middle;
    middle_exit_code = -1;
    assert_ok(direction == 0 ? keep(NULL) : resume(NULL));
    assert_int_equal(middle_exit_code, 0);
  }
  expect(a, 2 * GRANULE, 5);
  give(pool, a, NULL);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
