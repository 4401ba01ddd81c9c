/* test_cuda_order.c: fences and waits between CUDA streams, threads and devices. */
#include "alloc/tarn_host_stream.h"
#include "tests/cuda/cuda_fixture.h"

#include <pthread.h>
#include <stdlib.h>

enum { SIZE_BYTES = 4096 };

static tarn_fence *make_fence(tarn_stream *stream) {
  tarn_fence *fence = NULL;
  OK(tarn_fence_create(stream, &fence));
  return fence;
}

TEST(a_fence_never_recorded_is_passed) {
  tarn_stream *stream = fixture_stream(*state);
  /* Made, recorded behind a gate and given back: the next fence may get the same event. */
  fixture_gate gate;
  fixture_hold(stream, &gate);
  tarn_fence *used = make_fence(stream);
  OK(tarn_fence_record(used, stream));
  tarn_fence_destroy(used);
  tarn_fence *fence = make_fence(stream);
  OK(tarn_fence_query(fence));
  OK(tarn_fence_synchronize(fence));
  OK(tarn_stream_wait(stream, fence));
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(stream));
  tarn_fence_destroy(fence);
  tarn_stream_release(stream);
}

TEST(a_fence_is_passed_only_behind_its_work) {
  tarn_stream *stream = fixture_stream(*state);
  tarn_fence *fence = make_fence(stream);
  fixture_gate gate;
  fixture_hold(stream, &gate);
  OK(tarn_fence_record(fence, stream));
  for (int i = 0; i < 3; i++) assert_int_equal(tarn_fence_query(fence), TARN_NOT_READY);
  fixture_let_go(&gate);
  OK(tarn_fence_synchronize(fence));
  OK(tarn_fence_query(fence));
  tarn_fence_destroy(fence);
  tarn_stream_release(stream);
}

TEST(asking_again_and_again_comes_to_an_end) {
  tarn_cuda *cuda = *state;
  tarn_stream *stream = fixture_stream(cuda);
  fixture_block pinned = fixture_pinned_block(cuda, SIZE_BYTES);
  tarn_fence *fence = make_fence(stream);
  for (int i = 0; i < 50; i++) {
    OK(tarn_stream_fill(stream, pinned.address, pinned.device, (uint8_t)i, SIZE_BYTES));
  }
  OK(tarn_fence_record(fence, stream));
  tarn_status status;
  while ((status = tarn_fence_query(fence)) == TARN_NOT_READY) {
  }
  OK(status);
  assert_int_equal(pinned.address[SIZE_BYTES - 1], 49);
  tarn_fence_destroy(fence);
  fixture_free(&pinned);
  tarn_stream_release(stream);
}

TEST(a_wait_orders_two_streams) {
  tarn_cuda *cuda = *state;
  tarn_stream *writer = fixture_stream(cuda);
  tarn_stream *reader = fixture_stream(cuda);
  fixture_block device = fixture_device_block(cuda, SIZE_BYTES);
  fixture_block pinned = fixture_pinned_block(cuda, SIZE_BYTES);
  tarn_fence *fence = make_fence(writer);
  for (int round = 1; round <= 20; round++) {
    OK(tarn_stream_fill(writer, device.address, device.device, (uint8_t)round, SIZE_BYTES));
    OK(tarn_fence_record(fence, writer));
    OK(tarn_stream_wait(reader, fence));
    fixture_copy(reader, &pinned, &device, SIZE_BYTES);
    OK(tarn_stream_synchronize(reader));
    assert_int_equal(pinned.address[0], round);
    assert_int_equal(pinned.address[SIZE_BYTES - 1], round);
  }
  tarn_fence_destroy(fence);
  fixture_free(&device);
  fixture_free(&pinned);
  tarn_stream_release(writer);
  tarn_stream_release(reader);
}

TEST(a_wait_keeps_the_mark_it_found) {
  tarn_cuda *cuda = *state;
  tarn_stream *first = fixture_stream(cuda);
  tarn_stream *second = fixture_stream(cuda);
  fixture_block pinned = fixture_pinned_block(cuda, SIZE_BYTES);
  tarn_fence *fence = make_fence(first);
  OK(tarn_fence_record(fence, first));
  OK(tarn_stream_wait(second, fence));
  OK(tarn_stream_fill(second, pinned.address, pinned.device, 8, SIZE_BYTES));
  fixture_gate gate;
  fixture_hold(first, &gate);
  OK(tarn_fence_record(fence, first)); /* moves the mark behind the gate */
  OK(tarn_stream_synchronize(second)); /* would never end if the wait moved with it */
  assert_int_equal(pinned.address[0], 8);
  assert_int_equal(tarn_fence_query(fence), TARN_NOT_READY);
  fixture_let_go(&gate);
  OK(tarn_fence_synchronize(fence));
  tarn_fence_destroy(fence);
  fixture_free(&pinned);
  tarn_stream_release(first);
  tarn_stream_release(second);
}

TEST(a_fence_outlives_its_stream_and_its_cuda) {
  tarn_cuda *cuda = fixture_open();
  tarn_stream *stream = fixture_stream(cuda);
  tarn_fence *fence = make_fence(stream);
  OK(tarn_fence_record(fence, stream));
  tarn_stream_release(stream);
  tarn_cuda_release(cuda);
  OK(tarn_fence_synchronize(fence));
  OK(tarn_fence_query(fence));
  tarn_fence_destroy(fence);
}

TEST(a_fence_moves_between_devices) {
  tarn_cuda *cuda = *state;
  if (tarn_cuda_device_count(cuda) < 2) {
    print_message("skipped: there is only one device\n");
    skip();
  }
  tarn_stream *streams[2] = {NULL, NULL};
  for (int i = 0; i < 2; i++) OK(tarn_cuda_stream_create(cuda, i, &streams[i]));
  fixture_block pinned = fixture_pinned_block(cuda, SIZE_BYTES);
  tarn_fence *fence = make_fence(streams[0]);
  OK(tarn_fence_record(fence, streams[0]));
  OK(tarn_stream_fill(streams[1], pinned.address, pinned.device, 6, SIZE_BYTES));
  OK(tarn_fence_record(fence, streams[1]));
  OK(tarn_stream_wait(streams[0], fence));
  OK(tarn_stream_fill(streams[0], pinned.address, pinned.device, 7, 1));
  OK(tarn_stream_synchronize(streams[0]));
  assert_int_equal(pinned.address[0], 7);
  assert_int_equal(pinned.address[1], 6);
  OK(tarn_fence_query(fence));
  tarn_fence_destroy(fence);
  fixture_free(&pinned);
  for (int i = 0; i < 2; i++) tarn_stream_release(streams[i]);
}

TEST(a_fence_of_another_kind_is_refused_but_can_be_waited_for) {
  tarn_cuda *cuda = *state;
  tarn_stream *stream = fixture_stream(cuda);
  tarn_stream *worker = NULL;
  OK(tarn_worker_stream_create(&worker));
  tarn_fence *cuda_fence = make_fence(stream);
  tarn_fence *worker_fence = make_fence(worker);
  assert_int_equal(tarn_fence_record(worker_fence, stream), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_fence_record(cuda_fence, worker), TARN_INVALID_ARGUMENT);
  fixture_block pinned = fixture_pinned_block(cuda, SIZE_BYTES);
  OK(tarn_stream_fill(stream, pinned.address, pinned.device, 5, SIZE_BYTES));
  OK(tarn_fence_record(cuda_fence, stream));
  OK(tarn_stream_wait(worker, cuda_fence));
  assert_int_equal(pinned.address[SIZE_BYTES - 1], 5);
  tarn_fence_destroy(cuda_fence);
  tarn_fence_destroy(worker_fence);
  fixture_free(&pinned);
  tarn_stream_release(stream);
  tarn_stream_release(worker);
}

TEST(a_fence_of_another_driver_is_refused_but_can_be_waited_for) {
  tarn_cuda *cuda = *state;
  tarn_cuda *other = NULL;
  const tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = SECOND_DRIVER};
  OK(tarn_cuda_open(&options, &other));
  tarn_stream *stream = fixture_stream(cuda), *foreign = fixture_stream(other);
  fixture_block pinned = fixture_pinned_block(cuda, SIZE_BYTES);
  tarn_fence *fence = make_fence(stream);
  assert_int_equal(tarn_fence_record(fence, foreign), TARN_INVALID_ARGUMENT);
  OK(tarn_stream_fill(stream, pinned.address, pinned.device, 3, SIZE_BYTES));
  OK(tarn_fence_record(fence, stream));
  OK(tarn_stream_wait(foreign, fence)); /* no driver waits for another's event: the thread does */
  assert_int_equal(pinned.address[SIZE_BYTES - 1], 3);
  tarn_fence_destroy(fence);
  fixture_free(&pinned);
  tarn_stream_release(stream);
  tarn_stream_release(foreign);
  tarn_cuda_release(other);
}

TEST(events_are_used_again) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  tarn_stream *stream = fixture_stream(cuda);
  tarn_fence_destroy(make_fence(stream));
  const uint64_t before = fixture_sim_control()->calls("cuEventCreate");
  for (int i = 0; i < 100; i++) {
    tarn_fence *fence = make_fence(stream);
    OK(tarn_fence_record(fence, stream));
    tarn_fence_destroy(fence);
  }
  assert_int_equal(fixture_sim_control()->calls("cuEventCreate"), before);
  tarn_stream_release(stream);
}

/* A chain through many streams and blocks: each step copies on what the step before it left. */
TEST(a_long_chain_of_streams_loses_no_byte) {
  enum { STREAMS = 5, STEPS = 200 };
  tarn_cuda *cuda = *state;
  tarn_stream *streams[STREAMS];
  fixture_block blocks[STREAMS];
  tarn_fence *fences[STREAMS];
  for (int i = 0; i < STREAMS; i++) {
    streams[i] = fixture_stream(cuda);
    blocks[i] = i % 2 == 0 ? fixture_device_block(cuda, SIZE_BYTES)
                           : fixture_pinned_block(cuda, SIZE_BYTES);
    fences[i] = make_fence(streams[i]);
  }
  OK(tarn_stream_fill(streams[0], blocks[0].address, blocks[0].device, 0, SIZE_BYTES));
  OK(tarn_fence_record(fences[0], streams[0]));
  int at = 0;
  srand(12345);
  for (int step = 1; step <= STEPS; step++) {
    const int next = (at + 1 + rand() % (STREAMS - 1)) % STREAMS;
    OK(tarn_stream_wait(streams[next], fences[at]));
    fixture_copy(streams[next], &blocks[next], &blocks[at], SIZE_BYTES);
    OK(tarn_stream_fill(streams[next], blocks[next].address + step, blocks[next].device,
                        (uint8_t)step, 1));
    OK(tarn_fence_record(fences[next], streams[next]));
    /* What comes after on the stream of the source must not overtake this reading. */
    OK(tarn_stream_wait(streams[at], fences[next]));
    at = next;
  }
  fixture_block result = fixture_pinned_block(cuda, SIZE_BYTES);
  fixture_copy(streams[at], &result, &blocks[at], SIZE_BYTES);
  OK(tarn_stream_synchronize(streams[at]));
  for (int i = 0; i < SIZE_BYTES; i++) {
    assert_int_equal(result.address[i], i >= 1 && i <= STEPS ? (uint8_t)i : 0);
  }
  fixture_free(&result);
  for (int i = 0; i < STREAMS; i++) {
    OK(tarn_stream_synchronize(streams[i]));
    tarn_fence_destroy(fences[i]);
    fixture_free(&blocks[i]);
    tarn_stream_release(streams[i]);
  }
}

enum { THREADS = 4, ROUNDS = 60 };

typedef struct thread_case {
  tarn_cuda *cuda;
  int number;
  int wrong_count;
} thread_case;

static bool round_is_wrong(thread_case *self, tarn_stream *stream, tarn_fence *fence,
                           const fixture_block *host, const fixture_block *device, int round) {
  const uint8_t value = (uint8_t)(self->number * ROUNDS + round);
  memset(host->address, value, SIZE_BYTES);
  const bool is_enqueued =
      tarn_stream_copy(stream, device->address, device->device, host->address, host->device,
                       SIZE_BYTES) == TARN_OK &&
      tarn_stream_fill(stream, host->address, host->device, 0, SIZE_BYTES) == TARN_OK &&
      tarn_stream_copy(stream, host->address, host->device, device->address, device->device,
                       SIZE_BYTES) == TARN_OK &&
      tarn_fence_record(fence, stream) == TARN_OK;
  if (!is_enqueued || tarn_fence_synchronize(fence) != TARN_OK) return true;
  for (int i = 0; i < SIZE_BYTES; i++) {
    if (host->address[i] != value) return true;
  }
  return false;
}

static void *work_alone(void *argument) {
  thread_case *self = argument;
  tarn_stream *stream = fixture_stream(self->cuda);
  tarn_fence *fence = make_fence(stream);
  fixture_block host = fixture_pinned_block(self->cuda, SIZE_BYTES);
  fixture_block device = fixture_device_block(self->cuda, SIZE_BYTES);
  for (int round = 0; round < ROUNDS; round++) {
    self->wrong_count += round_is_wrong(self, stream, fence, &host, &device, round);
  }
  tarn_fence_destroy(fence);
  fixture_free(&host);
  fixture_free(&device);
  tarn_stream_release(stream);
  return NULL;
}

TEST(threads_with_a_stream_each_do_not_disturb_each_other) {
  tarn_cuda *cuda = fixture_open(); /* fresh: the threads race for its context, too */
  (void)state;
  pthread_t threads[THREADS];
  thread_case cases[THREADS];
  for (int i = 0; i < THREADS; i++) {
    cases[i] = (thread_case){.cuda = cuda, .number = i};
    assert_int_equal(pthread_create(&threads[i], NULL, work_alone, &cases[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(cases[i].wrong_count, 0);
  }
  tarn_cuda_release(cuda);
}

int run_cuda_order_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
