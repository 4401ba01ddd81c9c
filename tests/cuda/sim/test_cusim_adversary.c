/* test_cusim_adversary.c: schedules that look for what a program has forgotten to order. */
#include "tests/cuda/sim/cusim_fixture.h"

enum { SIZE_BYTES = 512, QUEUES = 12 };

/* Two streams fill the same block, the one enqueued later wins by rights; `orders` says whether an
 * event sees to that. The byte found when all is done. */
static unsigned char fill_twice(cusim_policy policy, uint64_t seed, bool orders) {
  CUstream first = cusim_fixture_stream();
  CUstream second = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  unsigned char *pinned = cusim_fixture_pinned(SIZE_BYTES);
  cusim_set_policy(policy);
  cusim_set_seed(seed);
  cusim_set_races(CUSIM_RACES_COUNT);
  CU(cuMemsetD8Async(at(pinned), 1, SIZE_BYTES, first));
  if (orders) {
    CU(cuEventRecord(event, first));
    CU(cuStreamWaitEvent(second, event, 0));
  }
  CU(cuMemsetD8Async(at(pinned) + SIZE_BYTES / 2, 2, SIZE_BYTES / 2, second));
  CU(cuCtxSynchronize());
  const unsigned char found = pinned[SIZE_BYTES - 1];
  assert_int_equal(cusim_race_count(), orders ? 0 : 1);
  cusim_forget_races();
  cusim_set_policy(CUSIM_LAZY);
  CU(cuStreamDestroy(first));
  CU(cuStreamDestroy(second));
  CU(cuEventDestroy(event));
  CU(cuMemFreeHost(pinned));
  return found;
}

CUSIM_TEST(reuse_overtakes_where_no_order_is) {
  assert_int_equal(fill_twice(CUSIM_REUSE, 1, /*orders=*/false), 1);
  assert_int_equal(fill_twice(CUSIM_REUSE, 1, /*orders=*/true), 2);
}

CUSIM_TEST(reuse_leaves_other_work_alone) {
  CUstream first = cusim_fixture_stream();
  CUstream second = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(SIZE_BYTES);
  cusim_set_policy(CUSIM_REUSE);
  cusim_set_races(CUSIM_RACES_COUNT);
  CU(cuMemsetD8Async(at(pinned), 1, SIZE_BYTES / 2, first));
  CU(cuMemsetD8Async(at(pinned) + SIZE_BYTES / 2, 2, SIZE_BYTES / 2, second));
  assert_int_equal(cusim_fixture_counts().pending_operations, 2);
  CU(cuMemcpyAsync(at(pinned), at(pinned) + SIZE_BYTES / 2, 8, second)); /* touches the first's */
  assert_int_equal(cusim_fixture_counts().pending_operations, 1);
  CU(cuCtxSynchronize());
  cusim_forget_races();
  CU(cuStreamDestroy(first));
  CU(cuStreamDestroy(second));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(prompt_runs_everything_before_it_answers) {
  CUstream stream = cusim_fixture_stream();
  CUstream other = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  unsigned char *pinned = cusim_fixture_pinned(SIZE_BYTES);
  cusim_set_policy(CUSIM_PROMPT);
  CU(cuMemsetD8Async(at(pinned), 1, SIZE_BYTES / 2, other));
  CU(cuMemsetD8Async(at(pinned) + SIZE_BYTES / 2, 2, SIZE_BYTES / 2, stream));
  CU(cuEventRecord(event, stream));
  assert_int_equal(cusim_fixture_counts().pending_operations, 3);
  CU(cuEventQuery(event));
  assert_int_equal(cusim_fixture_counts().pending_operations, 0);
  CU(cuCtxSynchronize());
  CU(cuStreamDestroy(stream));
  CU(cuStreamDestroy(other));
  CU(cuEventDestroy(event));
  CU(cuMemFreeHost(pinned));
}

/* Which of many queues, all with work, have not moved after much has been enqueued elsewhere. */
CUSIM_TEST(starve_keeps_some_queues_back) {
  CUstream streams[QUEUES];
  CUevent events[QUEUES];
  unsigned char *pinned = cusim_fixture_pinned(QUEUES);
  for (int i = 0; i < QUEUES; i++) {
    streams[i] = cusim_fixture_stream();
    events[i] = cusim_fixture_event();
    pinned[i] = 0;
  }
  cusim_set_policy(CUSIM_STARVE);
  cusim_set_seed(5);
  for (int i = 0; i < QUEUES; i++) {
    CU(cuMemsetD8Async(at(pinned) + (size_t)i, 1, 1, streams[i]));
    CU(cuEventRecord(events[i], streams[i]));
  }
  for (int i = 0; i < 400; i++) CU(cuEventRecord(events[0], streams[0]));
  int starved_count = 0;
  for (int i = 0; i < QUEUES; i++) starved_count += pinned[i] == 0;
  assert_in_range(starved_count, 1, QUEUES - 1);
  for (int i = 0; i < QUEUES; i++) CU(cuEventSynchronize(events[i])); /* needed: it moves */
  for (int i = 0; i < QUEUES; i++) assert_int_equal(pinned[i], 1);
  cusim_set_policy(CUSIM_LAZY);
  for (int i = 0; i < QUEUES; i++) {
    CU(cuStreamDestroy(streams[i]));
    CU(cuEventDestroy(events[i]));
  }
  CU(cuMemFreeHost(pinned));
}

/* Some seeds run the later stream first, some the earlier, and the program itself is held up by
 * neither: with random priorities both come about half of the time. */
CUSIM_TEST(priority_tries_both_orders) {
  int overtaken_count = 0;
  for (uint64_t seed = 1; seed <= 64; seed++) {
    overtaken_count += fill_twice(CUSIM_PRIORITY, seed, /*orders=*/false) == 1;
    assert_int_equal(fill_twice(CUSIM_PRIORITY, seed, /*orders=*/true), 2);
  }
  assert_in_range(overtaken_count, 4, 60);
}

CUSIM_TEST(asking_again_and_again_ends_under_every_policy) {
  for (int policy = 0; policy < CUSIM_POLICY_COUNT; policy++) {
    CUstream stream = cusim_fixture_stream();
    CUevent event = cusim_fixture_event();
    unsigned char *pinned = cusim_fixture_pinned(SIZE_BYTES);
    cusim_set_policy((cusim_policy)policy);
    cusim_set_seed(3);
    for (int i = 0; i < 50; i++) CU(cuMemsetD8Async(at(pinned), 1, SIZE_BYTES, stream));
    CU(cuEventRecord(event, stream));
    CUresult result;
    while ((result = cuEventQuery(event)) == CUDA_ERROR_NOT_READY) {
    }
    CU(result);
    cusim_set_policy(CUSIM_LAZY);
    CU(cuStreamDestroy(stream));
    CU(cuEventDestroy(event));
    CU(cuMemFreeHost(pinned));
  }
}

CUSIM_TEST(every_policy_has_a_name) {
  for (int i = 0; i < CUSIM_POLICY_COUNT; i++) {
    const char *name = cusim_policy_name((cusim_policy)i);
    assert_string_not_equal(name, "?");
    for (int j = 0; j < i; j++) {
      assert_string_not_equal(name, cusim_policy_name((cusim_policy)j));
    }
  }
  assert_string_equal(cusim_policy_name((cusim_policy)CUSIM_POLICY_COUNT), "?");
}

int run_cusim_adversary_tests(void) {
  return run_listed_tests(NULL, NULL);
}
