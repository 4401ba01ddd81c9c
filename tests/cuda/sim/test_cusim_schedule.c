/* test_cusim_schedule.c: when queued work runs: by seed, by policy, by need. */
#include "tests/cuda/sim/cusim_fixture.h"

enum { STREAMS = 4, OPERATIONS = 40 };

typedef struct order {
  uint64_t hash;
  uint64_t length;
  char letters[OPERATIONS + 1]; /* which stream's host function ran, one after the other */
  size_t letter_count;
} order;

typedef struct letter {
  order *to;
  char value;
} letter;

static void append_letter(void *argument) {
  letter *self = argument;
  self->to->letters[self->to->letter_count++] = self->value;
}

/* Fills, records, waits and host functions on four streams, always the same ones. */
static order run_program(cusim_policy policy, uint64_t seed) {
  order result = {0};
  letter letters[STREAMS];
  CUstream streams[STREAMS];
  unsigned char *pinned = cusim_fixture_pinned(STREAMS);
  CUevent event = cusim_fixture_event();
  for (int i = 0; i < STREAMS; i++) {
    streams[i] = cusim_fixture_stream();
    letters[i] = (letter){.to = &result, .value = (char)('a' + i)};
  }
  cusim_set_policy(policy);
  cusim_set_seed(seed);
  for (int i = 0; i < OPERATIONS; i++) {
    CUstream stream = streams[i % STREAMS];
    CU(cuMemsetD8Async(at(pinned) + (size_t)(i % STREAMS), (unsigned char)i, 1, stream));
    CU(cuLaunchHostFunc(stream, append_letter, &letters[i % STREAMS]));
    if (i % 10 == 9) {
      CU(cuEventRecord(event, stream));
      CU(cuStreamWaitEvent(streams[(i + 1) % STREAMS], event, 0));
    }
  }
  CU(cuCtxSynchronize());
  result.hash = cusim_trace_hash();
  result.length = cusim_trace_length();
  cusim_set_policy(CUSIM_LAZY);
  for (int i = 0; i < STREAMS; i++) CU(cuStreamDestroy(streams[i]));
  CU(cuEventDestroy(event));
  CU(cuMemFreeHost(pinned));
  return result;
}

CUSIM_TEST(the_same_seed_gives_the_same_order) {
  for (int i = 0; i < CUSIM_POLICY_COUNT; i++) {
    for (uint64_t seed = 1; seed <= 5; seed++) {
      const order first = run_program((cusim_policy)i, seed);
      const order second = run_program((cusim_policy)i, seed);
      assert_int_equal(first.letter_count, OPERATIONS);
      assert_string_equal(first.letters, second.letters);
      assert_int_equal(first.length, second.length);
      assert_true(first.hash == second.hash);
    }
  }
  assert_int_equal(cusim_idle_steps(), 0);
}

CUSIM_TEST(another_seed_gives_another_order) {
  int different = 0;
  const order first = run_program(CUSIM_RANDOM, 1);
  for (uint64_t seed = 2; seed <= 6; seed++) {
    const order other = run_program(CUSIM_RANDOM, seed);
    different += strcmp(other.letters, first.letters) != 0 && other.hash != first.hash;
  }
  assert_true(different >= 4);
  assert_string_not_equal(run_program(CUSIM_EAGER, 1).letters, first.letters);
}

CUSIM_TEST(lazy_runs_no_more_than_is_waited_for) {
  CUstream waited = cusim_fixture_stream(), other = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  unsigned char *pinned = cusim_fixture_pinned(4);
  memset(pinned, 0, 4);
  CU(cuMemsetD8Async(at(pinned), 1, 1, other));
  CU(cuEventRecord(event, other));
  CU(cuMemsetD8Async(at(pinned) + 1, 1, 1, other)); /* behind the event: not needed */
  CU(cuStreamWaitEvent(waited, event, 0));
  CU(cuMemsetD8Async(at(pinned) + 2, 1, 1, waited));
  assert_int_equal(cusim_trace_length(), 0);
  CU(cuStreamSynchronize(waited));
  assert_memory_equal(pinned, "\1\0\1\0", 4);
  assert_int_equal(cusim_trace_length(), 4);
  CU(cuStreamSynchronize(other));
  assert_int_equal(pinned[1], 1);
  CU(cuStreamDestroy(waited));
  CU(cuStreamDestroy(other));
  CU(cuEventDestroy(event));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(lazy_answers_before_it_steps_and_comes_to_an_end) {
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(1);
  for (int i = 0; i < 5; i++) CU(cuMemsetD8Async(at(pinned), (unsigned char)i, 1, stream));
  int not_ready = 0;
  while (cuStreamQuery(stream) == CUDA_ERROR_NOT_READY) not_ready++;
  assert_int_equal(not_ready, 5);
  assert_int_equal(pinned[0], 4);
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(eager_has_run_when_the_call_returns) {
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(1);
  cusim_set_policy(CUSIM_EAGER);
  for (unsigned char i = 0; i < 5; i++) {
    CU(cuMemsetD8Async(at(pinned), i, 1, stream));
    assert_int_equal(pinned[0], i);
    CU(cuStreamQuery(stream));
  }
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(random_is_neither_early_nor_late) {
  cusim_set_policy(CUSIM_RANDOM);
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(1);
  int early = 0, late = 0;
  for (int round = 0; round < 200; round++) {
    pinned[0] = 0;
    CU(cuMemsetD8Async(at(pinned), 1, 1, stream));
    if (pinned[0] == 1) {
      early++;
    } else {
      late++;
    }
    CU(cuStreamSynchronize(stream));
    assert_int_equal(pinned[0], 1);
  }
  assert_true(early > 20 && late > 20);
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(random_queries_come_to_an_end) {
  cusim_set_policy(CUSIM_RANDOM);
  CUstream stream = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  unsigned char *pinned = cusim_fixture_pinned(1);
  for (int i = 0; i < 100; i++) CU(cuMemsetD8Async(at(pinned), (unsigned char)i, 1, stream));
  CU(cuEventRecord(event, stream));
  while (cuEventQuery(event) == CUDA_ERROR_NOT_READY) {
  }
  assert_int_equal(pinned[0], 99);
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(single_steps_run_one_operation_each) {
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(1);
  for (unsigned char i = 0; i < 4; i++) CU(cuMemsetD8Async(at(pinned), i, 1, stream));
  assert_int_equal(cusim_fixture_counts().pending_operations, 4);
  for (unsigned char i = 0; i < 2; i++) {
    assert_int_equal(cusim_step(), 1);
    assert_int_equal(pinned[0], i);
  }
  assert_int_equal(cusim_drain(), 2);
  assert_int_equal(cusim_step(), 0);
  assert_int_equal(pinned[0], 3);
  CU(cuStreamSynchronize(stream)); /* to have run is no order that a program could know of */
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

int run_cusim_schedule_tests(void) {
  return run_listed_tests(NULL, NULL);
}
