/* test_order.c: tickets, lazy fences and knowledge, step by step on streams that the test
 * drives. */
#include "tests/support/test.h"

#include "alloc/order.h"
#include "alloc/tarn_host_stream.h"
#include "tests/support/manual_stream.h"

static void do_nothing(void *argument) {
  (void)argument;
}

static tarn_stream *make_stream(void) {
  tarn_stream *stream = NULL;
  assert_ok(manual_stream_create(&stream));
  return stream;
}

static void work(tarn_stream *stream) {
  assert_ok(tarn_stream_call(stream, do_nothing, NULL));
}

TEST(a_stamp_is_covered_for_its_own_stream_only) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  work(a);
  const tarn__stamp stamp = tarn__order_stamp(a);
  assert_true(tarn__order_is_covered(a, stamp));
  assert_false(tarn__order_is_covered(b, stamp));
  assert_false(tarn__order_is_covered(NULL, stamp));
  assert_false(tarn__order_is_seen(stamp));
  tarn_stream_release(a);
  tarn_stream_release(b);
}

TEST(one_fence_covers_all_earlier_stamps_and_no_later_one) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  work(a);
  const tarn__stamp first = tarn__order_stamp(a);
  work(a);
  const tarn__stamp second = tarn__order_stamp(a);
  manual_called = (manual_calls){0};
  tarn__order_cost cost = {0};
  assert_ok(tarn__order_behind(b, first, &cost));
  assert_true(tarn__order_is_covered(b, second));
  assert_ok(tarn__order_behind(b, second, &cost));
  assert_int_equal(manual_called.records, 1);
  assert_int_equal(manual_called.waits, 1);
  assert_int_equal(cost.fence_count, 1);
  assert_int_equal(cost.wait_count, 1);
  /* Work enqueued after the record is not covered, though no ticket was taken in between. */
  work(a);
  const tarn__stamp third = tarn__order_stamp(a);
  assert_false(tarn__order_is_covered(b, third));
  assert_ok(tarn__order_behind(b, third, &cost));
  assert_int_equal(manual_called.records, 2);
  tarn_stream_release(a);
  tarn_stream_release(b);
}

TEST(a_wait_teaches_what_the_fence_knew_when_it_was_recorded) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  tarn_stream *c = make_stream();
  tarn__order_cost cost = {0};
  work(a);
  const tarn__stamp early = tarn__order_stamp(a);
  work(b);
  const tarn__stamp before = tarn__order_stamp(b);
  assert_ok(tarn__order_behind(c, before, &cost)); /* records b's fence: b knows nothing of a yet */
  assert_ok(tarn__order_behind(b, early, &cost));  /* now b is behind a */
  tarn_stream *d = make_stream();
  assert_ok(tarn__order_behind(d, before, &cost)); /* by the old fence */
  assert_false(tarn__order_is_covered(d, early));
  work(b);
  const tarn__stamp after = tarn__order_stamp(b);
  assert_ok(tarn__order_behind(d, after, &cost)); /* by a new one */
  assert_true(tarn__order_is_covered(d, early));
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_stream_release(c);
  tarn_stream_release(d);
}

/* What another thread does in the middle of a record: an interlude of the manual streams. */
static tarn_stream *busy;
static tarn_stream *bystander;
static tarn_fence *public_fence;
static tarn__stamp taken;

static void enqueue_and_stamp(void) {
  work(busy);
  taken = tarn__order_stamp(busy);
}

static void wait_for_the_bystander(void) {
  tarn__order_cost cost = {0};
  assert_ok(tarn__order_behind(busy, taken, &cost));
}

TEST(work_enqueued_behind_a_record_is_not_covered_by_it) {
  busy = make_stream();
  tarn_stream *b = make_stream();
  work(busy);
  tarn__order_cost cost = {0};
  manual_interlude.after_record = enqueue_and_stamp;
  assert_ok(tarn__order_behind(b, tarn__order_stamp(busy), &cost));
  assert_null(manual_interlude.after_record);
  assert_false(tarn__order_is_covered(b, taken));
  tarn_stream_release(busy);
  tarn_stream_release(b);
}

TEST(what_is_learnt_behind_a_record_is_not_in_its_snapshot) {
  busy = make_stream();
  bystander = make_stream();
  tarn_stream *b = make_stream();
  work(bystander);
  taken = tarn__order_stamp(bystander);
  work(busy);
  tarn__order_cost cost = {0};
  const tarn__stamp reached = tarn__order_stamp(busy);
  manual_interlude.after_record = wait_for_the_bystander; /* records the bystander's fence, too */
  assert_ok(tarn__order_behind(b, reached, &cost));
  assert_true(tarn__order_is_covered(busy, taken));
  assert_true(tarn__order_is_covered(b, reached));
  assert_false(tarn__order_is_covered(b, taken));
  tarn_stream_release(busy);
  tarn_stream_release(bystander);
  tarn_stream_release(b);
}

/* Another thread that wants the same point meanwhile must not wait for the event's old mark. */
static void wait_in_the_middle_of_a_record(void) {
  tarn__order_cost cost = {0};
  assert_ok(tarn__order_behind(bystander, taken, &cost));
}

TEST(a_fence_is_waited_for_only_when_it_is_recorded) {
  busy = make_stream();
  bystander = make_stream();
  tarn_stream *b = make_stream();
  work(busy);
  taken = tarn__order_stamp(busy);
  tarn__order_cost cost = {0};
  manual_interlude.before_record = wait_in_the_middle_of_a_record;
  assert_ok(tarn__order_behind(b, taken, &cost));
  work(bystander);
  manual_stream_advance(bystander, 2);
  assert_int_equal(manual_stream_pending(bystander), 2); /* its wait holds it back */
  manual_stream_advance(busy, 1);
  assert_int_equal(manual_stream_advance(bystander, 2), 2);
  tarn_stream_release(busy);
  tarn_stream_release(bystander);
  tarn_stream_release(b);
}

TEST(old_news_takes_nothing_back) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  tarn_stream *c = make_stream();
  tarn_stream *d = make_stream();
  tarn__order_cost cost = {0};
  work(a);
  assert_ok(tarn__order_behind(b, tarn__order_stamp(a), &cost));
  work(b);
  const tarn__stamp behind_old = tarn__order_stamp(b);
  assert_ok(tarn__order_behind(c, behind_old, &cost)); /* b's fence knows of a's first work */
  work(a);
  const tarn__stamp second = tarn__order_stamp(a);
  assert_ok(tarn__order_behind(d, second, &cost));
  assert_ok(tarn__order_behind(d, behind_old, &cost));
  assert_true(tarn__order_is_covered(d, second));
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_stream_release(c);
  tarn_stream_release(d);
}

static void wait_for_the_public_fence(void) {
  assert_ok(tarn_stream_wait(bystander, public_fence));
}

TEST(a_public_fence_teaches_nothing_while_it_is_recorded) {
  busy = make_stream();
  bystander = make_stream();
  assert_ok(tarn_fence_create(busy, &public_fence));
  work(busy);
  const tarn__stamp first = tarn__order_stamp(busy);
  manual_interlude.before_record = wait_for_the_public_fence; /* still without a mark */
  manual_interlude.after_record = enqueue_and_stamp;
  assert_ok(tarn_fence_record(public_fence, busy));
  assert_false(tarn__order_is_covered(bystander, first));
  assert_ok(tarn_stream_wait(bystander, public_fence));
  assert_true(tarn__order_is_covered(bystander, first));
  assert_false(tarn__order_is_covered(bystander, taken));
  tarn_fence_destroy(public_fence);
  tarn_stream_release(busy);
  tarn_stream_release(bystander);
}

TEST(a_failed_wait_teaches_nothing) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  work(a);
  const tarn__stamp stamp = tarn__order_stamp(a);
  tarn__order_cost cost = {0};
  manual_fail_waits = 1;
  assert_status(tarn__order_behind(b, stamp, &cost), TARN_DEVICE_ERROR);
  assert_false(tarn__order_is_covered(b, stamp));
  assert_ok(tarn__order_behind(b, stamp, &cost));
  assert_true(tarn__order_is_covered(b, stamp));
  tarn_stream_release(a);
  tarn_stream_release(b);
}

TEST(the_host_sees_by_asking_and_by_waiting) {
  tarn_stream *a = make_stream();
  tarn__order_cost cost = {0};
  work(a);
  const tarn__stamp stamp = tarn__order_stamp(a);
  manual_called = (manual_calls){0};
  tarn__order_observe(stamp, &cost); /* nothing to ask: records */
  assert_int_equal(manual_called.records, 1);
  assert_int_equal(manual_called.queries, 0);
  tarn__order_observe(stamp, &cost);
  assert_int_equal(manual_called.queries, 1);
  assert_false(tarn__order_is_seen(stamp));
  manual_stream_advance(a, 1);
  tarn__order_observe(stamp, &cost);
  assert_true(tarn__order_is_seen(stamp));
  tarn__order_observe(stamp, &cost); /* known: not asked again */
  assert_int_equal(manual_called.queries, 2);

  work(a);
  const tarn__stamp next = tarn__order_stamp(a);
  assert_ok(tarn__order_behind(NULL, next, &cost));
  assert_true(tarn__order_is_seen(next));
  assert_int_equal(manual_stream_pending(a), 0);
  tarn_stream_release(a);
}

TEST(asking_in_vain_leaves_the_last_error_alone) {
  tarn_stream *a = make_stream();
  tarn__order_cost cost = {0};
  work(a);
  const tarn__stamp stamp = tarn__order_stamp(a);
  assert_status(tarn_fail(TARN_BUSY, "before"), TARN_BUSY);
  manual_fail_records = 1;
  tarn__order_observe(stamp, &cost); /* no fence to be had */
  assert_int_equal(manual_fail_records, 0);
  assert_string_equal(tarn_last_error()->message, "before");
  tarn_stream_release(a);
}

TEST(seeing_a_fence_is_seeing_all_that_it_lay_behind) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  tarn__order_cost cost = {0};
  work(a);
  const tarn__stamp first = tarn__order_stamp(a);
  assert_ok(tarn__order_behind(b, first, &cost));
  work(b);
  const tarn__stamp second = tarn__order_stamp(b);
  assert_ok(tarn__order_behind(NULL, second, &cost));
  assert_true(tarn__order_is_seen(first));
  tarn_stream_release(a);
  tarn_stream_release(b);
}

TEST(public_fences_and_synchronize_teach_too) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  tarn_fence *fence = NULL;
  assert_ok(tarn_fence_create(a, &fence));
  work(a);
  const tarn__stamp stamp = tarn__order_stamp(a);
  assert_ok(tarn_fence_record(fence, a));
  const tarn__stamp later = tarn__order_stamp(a);
  assert_ok(tarn_stream_wait(b, fence));
  assert_true(tarn__order_is_covered(b, stamp));
  assert_false(tarn__order_is_covered(b, later));
  assert_ok(tarn_fence_synchronize(fence));
  assert_true(tarn__order_is_seen(stamp));
  assert_false(tarn__order_is_seen(later));
  work(a);
  assert_ok(tarn_stream_synchronize(a));
  assert_true(tarn__order_is_seen(later));
  tarn_fence_destroy(fence);
  tarn_stream_release(a);
  tarn_stream_release(b);
}

TEST(an_edge_teaches_without_a_call) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  tarn_stream *c = make_stream();
  const tarn__stamp first = tarn__order_stamp(a);
  manual_called = (manual_calls){0};
  assert_ok(tarn_stream_edge(a, b));
  assert_true(tarn__order_is_covered(b, first));
  assert_false(tarn__order_is_covered(b, tarn__order_stamp(a)));
  assert_ok(tarn_stream_edge(b, c));
  assert_true(tarn__order_is_covered(c, first)); /* what b knew goes along */
  assert_int_equal(manual_called.records + manual_called.waits + manual_called.queries, 0);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_stream_release(c);
}

TEST(a_failed_record_teaches_nothing) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  tarn__order_cost cost = {0};
  work(a);
  const tarn__stamp stamp = tarn__order_stamp(a);
  manual_fail_records = 1;
  assert_status(tarn__order_behind(b, stamp, &cost), TARN_DEVICE_ERROR);
  assert_false(tarn__order_is_covered(b, stamp));
  assert_ok(tarn__order_behind(b, stamp, &cost));
  assert_true(tarn__order_is_covered(b, stamp));
  tarn_stream_release(a);
  tarn_stream_release(b);
}

TEST(a_retired_stream_is_waited_for_by_its_final_fence) {
  tarn_stream *worker = NULL;
  assert_ok(tarn_worker_stream_create(&worker));
  assert_ok(tarn_stream_call(worker, do_nothing, NULL));
  const tarn__stamp stamp = tarn__order_stamp(worker);
  tarn_stream_release(worker);
  tarn__order_cost cost = {0};
  assert_ok(tarn__order_behind(NULL, stamp, &cost));
  assert_true(tarn__order_is_seen(stamp));
  assert_int_equal(cost.fence_count, 0); /* it was recorded when the stream went */
}

TEST(a_stream_that_cannot_record_is_waited_for_when_it_goes) {
  tarn_stream *a = make_stream();
  work(a);
  const tarn__stamp stamp = tarn__order_stamp(a);
  manual_called = (manual_calls){0};
  manual_fail_records = 1;
  tarn_stream_release(a);
  assert_int_equal(manual_called.synchronizes, 1);
  assert_true(tarn__order_is_seen(stamp));
}

TEST(timelines_are_reused_and_stamps_never_mean_anything_else) {
  tarn_stream *a = make_stream();
  work(a);
  const tarn__stamp old = tarn__order_stamp(a);
  tarn_stream_release(a); /* a manual stream ends its work as it goes */
  tarn_stream *b = make_stream();
  assert_int_equal(tarn__order_slot(b), old.slot);
  assert_true(tarn__order_stamp(b).ticket > old.ticket);
  assert_true(tarn__order_is_seen(old));
  assert_false(tarn__order_is_seen(tarn__order_stamp(b)));
  tarn_stream_release(b);
}

TEST(streams_beyond_the_most_are_refused_and_come_back) {
  static tarn_stream *streams[TARN_STREAMS_MAX + 1];
  int made = 0;
  tarn_status status = TARN_OK;
  while (made <= TARN_STREAMS_MAX) {
    status = manual_stream_create(&streams[made]);
    if (status != TARN_OK) break;
    made++;
  }
  assert_int_equal(made, TARN_STREAMS_MAX);
  assert_int_equal(status, TARN_NOT_SUPPORTED);
  for (int index = 0; index < made; index++) tarn_stream_release(streams[index]);
  tarn_stream *again = make_stream();
  tarn_stream_release(again);
}

TEST(a_closed_streams_stamps_are_passed_with_its_final_fence) {
  tarn_stream *stream = make_stream(), *other = make_stream();
  const uint32_t slot = tarn__order_slot(stream);
  work(stream);
  const tarn__stamp before = tarn__order_stamp(stream);
  assert_ok(tarn_stream_close(stream));
  const tarn__stamp after = tarn__order_stamp(stream);
  assert_int_equal(after.slot, slot);
  const tarn__stamp late = {slot, after.ticket + 7}; /* by a thread that was just about to */
  assert_false(tarn__order_is_covered(stream, before) || tarn__order_is_covered(stream, after));
  tarn__order_cost cost = {0};
  manual_called = (manual_calls){0};
  assert_ok(tarn__order_behind(other, late, &cost));
  assert_true(tarn__order_is_covered(other, before) && tarn__order_is_covered(other, after));
  assert_int_equal(manual_called.records, 0); /* the final fence is all there is */
  assert_ok(tarn__order_behind(NULL, late, &cost));
  assert_true(tarn__order_is_seen(late));
  /* The slot serves another stream, whose stamps mean something new. */
  tarn_stream *next = make_stream();
  for (int made = 0; tarn__order_slot(next) != slot; made++) {
    assert_true(made < TARN_STREAMS_MAX);
    tarn_stream_release(next);
    next = make_stream();
  }
  work(next);
  assert_false(tarn__order_is_seen(tarn__order_stamp(next)));
  assert_true(tarn__order_is_seen(tarn__order_stamp(stream)));
  assert_true(tarn__order_is_covered(other, tarn__order_stamp(stream)));
  tarn_stream_release(stream);
  tarn_stream_release(next);
  tarn_stream_release(other);
}

TEST(a_stamp_taken_late_on_a_closed_idle_stream_is_passed) {
  tarn_stream *stream = make_stream();
  assert_ok(tarn_stream_close(stream)); /* idle: the timeline is free at once */
  tarn__stamp late = tarn__order_stamp(stream);
  assert_true(tarn__order_is_seen(late));
  late.ticket += 5;
  tarn__order_cost cost = {0};
  assert_ok(tarn__order_behind(NULL, late, &cost));
  assert_int_equal(cost.fence_count, 0);
  tarn_stream_release(stream);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
