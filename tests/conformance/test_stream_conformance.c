/* test_stream_conformance.c: what every stream must do. Works through host memory only. */
#include "tests/conformance/conformance.h"

#include "alloc/tarn_stream_copy.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static const tarn_device CPU = {TARN_DEVICE_CPU, 0};

/* A host function that waits until the test opens it, so that work behind it is surely pending. */
typedef struct gate {
  pthread_mutex_t lock;
  pthread_cond_t opened;
  bool is_open;
} gate;

static void gate_init(gate *self) {
  pthread_mutex_init(&self->lock, NULL);
  pthread_cond_init(&self->opened, NULL);
  self->is_open = false;
}

static void gate_open(gate *self) {
  pthread_mutex_lock(&self->lock);
  self->is_open = true;
  pthread_cond_broadcast(&self->opened);
  pthread_mutex_unlock(&self->lock);
}

static void gate_pass(void *argument) {
  gate *self = argument;
  pthread_mutex_lock(&self->lock);
  while (!self->is_open) pthread_cond_wait(&self->opened, &self->lock);
  pthread_mutex_unlock(&self->lock);
}

static void set_flag(void *argument) {
  atomic_store((atomic_int *)argument, 1);
}

typedef struct assignment {
  int *to;
  const int *from;
} assignment;

static void assign(void *argument) {
  const assignment *self = argument;
  *self->to = *self->from;
}

static void copies_arrive_in_order(void **state) {
  tarn_stream *stream = make_stream(state);
  int values[4] = {1, 2, 3, 4};
  int result = 0;
  for (int index = 0; index < 4; index++) {
    assert_ok(tarn_stream_copy(stream, &result, CPU, &values[index], CPU, sizeof result));
  }
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(result, 4);
  tarn_stream_release(stream);
}

static void rows_keep_what_lies_between_them(void **state) {
  tarn_stream *stream = make_stream(state);
  char src[3][8];
  char dst[3][5];
  memset(src, 'x', sizeof src);
  memset(dst, '.', sizeof dst);
  const tarn_copy_rows rows = {.dst = dst,
                               .src = src,
                               .dst_pitch_bytes = 5,
                               .src_pitch_bytes = 8,
                               .row_bytes = 3,
                               .row_count = 3,
                               .dst_device = CPU,
                               .src_device = CPU};
  assert_ok(tarn_stream_copy_rows(stream, &rows));
  assert_ok(tarn_stream_synchronize(stream));
  for (int row = 0; row < 3; row++) assert_memory_equal(dst[row], "xxx..", 5);
  tarn_stream_release(stream);
}

static void planes_keep_what_lies_between_them(void **state) {
  tarn_stream *stream = make_stream(state);
  char src[4][3][8], dst[4][2][5];
  memset(src, 'x', sizeof src);
  memset(dst, '.', sizeof dst);
  const tarn_copy_planes planes = {.rows = {.dst = dst,
                                            .src = src,
                                            .dst_pitch_bytes = 5,
                                            .src_pitch_bytes = 8,
                                            .row_bytes = 3,
                                            .row_count = 2,
                                            .dst_device = CPU,
                                            .src_device = CPU},
                                   .dst_pitch_bytes = 10,
                                   .src_pitch_bytes = 24,
                                   .plane_count = 3};
  assert_ok(tarn_stream_copy_planes(stream, &planes));
  assert_ok(tarn_stream_synchronize(stream));
  for (int row = 0; row < 6; row++) assert_memory_equal(dst[row / 2][row % 2], "xxx..", 5);
  assert_memory_equal(dst[3], "..........", 10);
  tarn_stream_release(stream);
}

static void a_batch_is_all_of_its_copies_in_the_streams_order(void **state) {
  enum { COUNT = 700 };
  tarn_stream *stream = make_stream(state);
  int values[COUNT], results[COUNT], seen[COUNT];
  tarn_copy_span there[COUNT], back[COUNT];
  for (int i = 0; i < COUNT; i++) {
    const int at = i * 3 % COUNT;
    values[i] = i;
    there[i] = (tarn_copy_span){&results[at], &values[i], sizeof *values, CPU, CPU};
    back[i] = (tarn_copy_span){&seen[i], &results[at], sizeof *values, CPU, CPU};
  }
  assert_ok(tarn_stream_copy_batch(stream, there, COUNT));
  assert_ok(tarn_stream_copy_batch(stream, back, COUNT));
  assert_ok(tarn_stream_synchronize(stream));
  assert_memory_equal(seen, values, sizeof seen);
  tarn_stream_release(stream);
}

static void overlapping_pitches_are_refused(void **state) {
  tarn_stream *stream = make_stream(state);
  char bytes[64] = {0};
  const tarn_copy_rows rows = {.dst = bytes,
                               .src = bytes + 32,
                               .dst_pitch_bytes = 2,
                               .src_pitch_bytes = 4,
                               .row_bytes = 4,
                               .row_count = 2,
                               .dst_device = CPU,
                               .src_device = CPU};
  assert_int_equal(tarn_stream_copy_rows(stream, &rows), TARN_INVALID_ARGUMENT);
  tarn_stream_release(stream);
}

static void fills_and_empty_work(void **state) {
  tarn_stream *stream = make_stream(state);
  unsigned char bytes[32] = {0};
  if (tarn_device_is_host(tarn_stream_device(stream))) {
    assert_ok(tarn_stream_fill(stream, bytes, CPU, 7, sizeof bytes));
  }
  assert_ok(tarn_stream_fill(stream, NULL, CPU, 7, 0));
  assert_ok(tarn_stream_copy(stream, NULL, CPU, NULL, CPU, 0));
  assert_int_equal(tarn_stream_copy(stream, NULL, CPU, bytes, CPU, 1), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_stream_synchronize(stream));
  if (tarn_device_is_host(tarn_stream_device(stream))) {
    for (size_t index = 0; index < sizeof bytes; index++) assert_int_equal(bytes[index], 7);
  }
  tarn_stream_release(stream);
}

static void host_functions_run_in_order(void **state) {
  tarn_stream *stream = make_stream(state);
  atomic_int flag = 0;
  assert_ok(tarn_stream_call(stream, set_flag, &flag));
  assert_int_equal(tarn_stream_call(stream, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(atomic_load(&flag), 1);
  tarn_stream_release(stream);
}

static void an_unrecorded_fence_is_passed(void **state) {
  tarn_stream *stream = make_stream(state);
  tarn_fence *fence = NULL;
  assert_ok(tarn_fence_create(stream, &fence));
  assert_ok(tarn_fence_query(fence));
  assert_ok(tarn_fence_synchronize(fence));
  assert_ok(tarn_stream_wait(stream, fence));
  assert_ok(tarn_stream_synchronize(stream));
  tarn_fence_destroy(fence);
  tarn_stream_release(stream);
}

static void a_fence_passes_behind_the_work_before_it(void **state) {
  tarn_stream *stream = make_stream(state);
  if (tarn_stream_is_synchronous(stream)) {
    tarn_stream_release(stream);
    skip();
  }
  gate blocked;
  gate_init(&blocked);
  atomic_int flag = 0;
  tarn_fence *fence = NULL;
  assert_ok(tarn_fence_create(stream, &fence));
  assert_ok(tarn_stream_call(stream, gate_pass, &blocked));
  assert_ok(tarn_stream_call(stream, set_flag, &flag));
  assert_ok(tarn_fence_record(fence, stream));
  assert_status(tarn_fail(TARN_BUSY, "before"), TARN_BUSY);
  assert_int_equal(tarn_fence_query(fence), TARN_NOT_READY);
  assert_string_equal(tarn_last_error()->message, "before"); /* an answer, and no failure */
  gate_open(&blocked);
  assert_ok(tarn_fence_synchronize(fence));
  assert_int_equal(atomic_load(&flag), 1);
  assert_ok(tarn_fence_query(fence));
  tarn_fence_destroy(fence);
  tarn_stream_release(stream);
}

static void a_wait_orders_one_stream_behind_another(void **state) {
  tarn_stream *first = make_stream(state);
  tarn_stream *second = make_stream(state);
  gate blocked;
  gate_init(&blocked);
  int value = 0;
  const int one = 1;
  int seen = 0;
  tarn_fence *fence = NULL;
  assert_ok(tarn_fence_create(first, &fence));
  if (!tarn_stream_is_synchronous(first)) {
    assert_ok(tarn_stream_call(first, gate_pass, &blocked));
  }
  /* Host functions, for a device's copy of pageable memory may block the calling thread. */
  assignment store = {&value, &one};
  assignment load = {&seen, &value};
  assert_ok(tarn_stream_call(first, assign, &store));
  assert_ok(tarn_fence_record(fence, first));
  assert_ok(tarn_stream_wait(second, fence));
  assert_ok(tarn_stream_call(second, assign, &load));
  gate_open(&blocked);
  assert_ok(tarn_stream_synchronize(second));
  assert_int_equal(seen, 1);
  tarn_fence_destroy(fence);
  tarn_stream_release(first);
  tarn_stream_release(second);
}

static void a_wait_keeps_the_mark_it_found(void **state) {
  tarn_stream *first = make_stream(state);
  tarn_stream *second = make_stream(state);
  if (tarn_stream_is_synchronous(first)) {
    tarn_stream_release(first);
    tarn_stream_release(second);
    skip();
  }
  gate blocked;
  gate_init(&blocked);
  tarn_fence *fence = NULL;
  assert_ok(tarn_fence_create(first, &fence));
  assert_ok(tarn_fence_record(fence, first));
  assert_ok(tarn_stream_wait(second, fence));
  /* Recorded again behind a closed gate: the wait above must not care. */
  assert_ok(tarn_stream_call(first, gate_pass, &blocked));
  assert_ok(tarn_fence_record(fence, first));
  assert_ok(tarn_stream_synchronize(second));
  assert_int_equal(tarn_fence_query(fence), TARN_NOT_READY);
  gate_open(&blocked);
  assert_ok(tarn_stream_synchronize(first));
  tarn_fence_destroy(fence);
  tarn_stream_release(first);
  tarn_stream_release(second);
}

static void a_fence_outlives_its_stream_and_released_streams_finish(void **state) {
  tarn_stream *stream = make_stream(state);
  atomic_int flag = 0;
  tarn_fence *fence = NULL;
  assert_ok(tarn_fence_create(stream, &fence));
  assert_ok(tarn_stream_call(stream, set_flag, &flag));
  assert_ok(tarn_fence_record(fence, stream));
  tarn_stream_release(stream);
  assert_ok(tarn_fence_synchronize(fence));
  assert_int_equal(atomic_load(&flag), 1);
  tarn_fence_destroy(fence);
}

static void another_kind_waits_by_the_host(void **state) {
  tarn_stream *stream = make_stream(state);
  atomic_int flag = 0;
  tarn_fence *fence = NULL;
  assert_ok(tarn_fence_create(stream, &fence));
  assert_ok(tarn_stream_call(stream, set_flag, &flag));
  assert_ok(tarn_fence_record(fence, stream));
  assert_ok(tarn_stream_wait(NULL, fence));
  assert_int_equal(atomic_load(&flag), 1);
  tarn_fence_destroy(fence);
  tarn_stream_release(stream);
}

typedef struct counter_thread {
  tarn_stream *stream;
  atomic_int *count;
} counter_thread;

static void add_one(void *argument) {
  atomic_fetch_add((atomic_int *)argument, 1);
}

static void *enqueue_many(void *argument) {
  const counter_thread *self = argument;
  for (int index = 0; index < 200; index++) {
    if (tarn_stream_call(self->stream, add_one, self->count) != TARN_OK) return self->stream;
  }
  return NULL;
}

static void many_threads_may_enqueue(void **state) {
  tarn_stream *stream = make_stream(state);
  atomic_int count = 0;
  counter_thread shared = {stream, &count};
  pthread_t threads[4];
  for (int index = 0; index < 4; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, enqueue_many, &shared), 0);
  }
  for (int index = 0; index < 4; index++) {
    void *failed = NULL;
    pthread_join(threads[index], &failed);
    assert_null(failed);
  }
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(atomic_load(&count), 800);
  tarn_stream_release(stream);
}

int main(int argc, char **argv) {
  static const conformance_test tests[] = {
      CONFORMANCE_TEST(copies_arrive_in_order),
      CONFORMANCE_TEST(rows_keep_what_lies_between_them),
      CONFORMANCE_TEST(planes_keep_what_lies_between_them),
      CONFORMANCE_TEST(a_batch_is_all_of_its_copies_in_the_streams_order),
      CONFORMANCE_TEST(overlapping_pitches_are_refused),
      CONFORMANCE_TEST(fills_and_empty_work),
      CONFORMANCE_TEST(host_functions_run_in_order),
      CONFORMANCE_TEST(an_unrecorded_fence_is_passed),
      CONFORMANCE_TEST(a_fence_passes_behind_the_work_before_it),
      CONFORMANCE_TEST(a_wait_orders_one_stream_behind_another),
      CONFORMANCE_TEST(a_wait_keeps_the_mark_it_found),
      CONFORMANCE_TEST(a_fence_outlives_its_stream_and_released_streams_finish),
      CONFORMANCE_TEST(another_kind_waits_by_the_host),
      CONFORMANCE_TEST(many_threads_may_enqueue),
      {NULL, NULL},
  };
  return run_conformance(tests, stream_implementations, argc > 1 ? argv[1] : NULL);
}
