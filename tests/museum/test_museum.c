/* test_museum.c: seventeen defects that other allocators really had, each a test that tarn passes.
 *
 * usage: test_museum [PIECE]
 *
 * tests/mutants plants most of these defects in tarn, and the piece alone has to see them.
 *
 * The rules that they broke are the invariants of tarn's pools. Where each is asserted in a debug
 * build, and tested by name besides:
 *
 * 1. A wait teaches what the fence covered when it was recorded, with the snapshot of then.
 *      asserted: order.c, tarn__order_knows and _saw (only closed tickets are known)
 *      test_order: one_fence_covers_all_earlier_stamps_and_no_later_one,
 *        a_wait_teaches_what_the_fence_knew_when_it_was_recorded,
 *        work_enqueued_behind_a_record_is_not_covered_by_it,
 *        what_is_learnt_behind_a_record_is_not_in_its_snapshot; here: stale_event_on_merge
 * 2. Memory of an ordered upstream is stamped with the stream that got it.
 *      asserted: caching_grow.c, stamp_fresh
 *      test_pool_provider: the_rest_of_a_fresh_segment_is_behind_the_stream_that_got_it;
 *        here: expand_hole
 * 3. Joining joins stamps, cutting copies them.
 *      asserted: block.c, tarn__block_split and _merge_right (tarn__stamps_stand_for)
 *      test_block: a_cut_copies_the_stamps_and_a_join_collects_them
 * 4. A stream that goes takes a final fence; a timeline's tickets never come back. Every
 *    asynchronous tarn_stream has a timeline, so none needs eager fences.
 *      asserted: order.c, tarn__order_behind (retired without a fence: was seen)
 *      test_order: a_retired_stream_is_waited_for_by_its_final_fence,
 *        timelines_are_reused_and_stamps_never_mean_anything_else; here: arena_handle_reuse
 * 5. In a capture only what the host has seen is used again, and nothing is asked or recorded.
 *      asserted: order.c, record_fence (never for a private timeline)
 *      test_capture: a_capture_takes_only_what_the_host_has_seen,
 *        a_capture_asks_nobody_and_waits_for_nobody
 * 6. The host is a timeline, too: the CPU gets no block that a stream still uses.
 *      asserted: caching_pool.c, tarn__caching_lend (covered for whoever it is lent to)
 *      test_caching_pool: at_the_limit_the_host_waits_for_the_last_user;
 *        here: pinned_reuse_while_the_cpu_still_reads
 * 7. No provider, stream or user function is called under a lock, and out of memory means that
 *    nothing was to be had.
 *      not asserted: a lock does not say who holds it
 *      test_caching_corners: no_provider_and_no_stream_is_called_under_a_lock;
 *        test_caching_pool: half_the_memory_twice_fails_and_works_once_one_is_free;
 *        here: pool_cannot_reach_max, lock_split_calls_claimed_memory_missing
 * 8. Statistics are exact whenever no call is under way.
 *      asserted: heap.c, tarn__heap_validate; caching_pool.c, caching_stats
 *      test_heap: random_use_keeps_the_sums_right; here: used_bytes_drift */
#include "tests/museum/museum.h"

int main(int argument_count, char **arguments) {
  if (argument_count > 1) cmocka_set_test_filter(arguments[1]);
  return run_museum_order() + run_museum_memory();
}
