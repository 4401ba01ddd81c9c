/* test_cusim_race_host.c: the CPU's part in races: accesses, threads, host functions, staging. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <pthread.h>

enum { BYTES = 4096 };

typedef struct scene {
  CUstream stream;
  CUstream other;
  CUdeviceptr block;
  unsigned char *pinned;
} scene;

static scene scene_open(void) {
  return (scene){.stream = cusim_fixture_stream(),
                 .other = cusim_fixture_stream(),
                 .block = cusim_fixture_device(BYTES),
                 .pinned = cusim_fixture_pinned(BYTES)};
}

static void scene_close(const scene *self) {
  CU(cuCtxSynchronize());
  CU(cuStreamDestroy(self->stream));
  CU(cuStreamDestroy(self->other));
  CU(cuMemFree(self->block));
  CU(cuMemFreeHost(self->pinned));
}

CUSIM_TEST(the_cpu_may_not_write_what_a_copy_still_reads) {
  const scene self = scene_open();
  cusim_set_policy(CUSIM_EAGER);
  cusim_host_write(self.pinned, BYTES);
  CU(cuMemcpyHtoDAsync(self.block, self.pinned, BYTES, self.stream));
  cusim_host_read(self.pinned, BYTES); /* both read */
  cusim_expect_no_race();
  cusim_host_write(self.pinned + 8, 16);
  cusim_expect_race("cusim_host_write (after call", "writes bytes 8 to 23",
                    "the host never waited");
  CU(cuStreamSynchronize(self.stream));
  cusim_host_write(self.pinned, BYTES);
  cusim_expect_no_race();
  scene_close(&self);
}

CUSIM_TEST(copies_of_registered_memory_are_asynchronous) {
  const scene self = scene_open();
  static unsigned char bytes[BYTES];
  CU(cuMemHostRegister(bytes, BYTES, CU_MEMHOSTREGISTER_PORTABLE));
  CU(cuMemcpyHtoDAsync(self.block, bytes, BYTES, self.stream));
  cusim_host_read(bytes, BYTES);
  cusim_expect_no_race();
  cusim_host_write(bytes, BYTES);
  cusim_expect_race("cusim_host_write", "cuMemcpyHtoDAsync", "the host never waited for stream");
  CU(cuStreamSynchronize(self.stream));
  cusim_host_write(bytes, BYTES);
  cusim_expect_no_race();
  /* Taking the registration away is the end of all use, too. */
  CU(cuMemcpyDtoHAsync(bytes, self.block, BYTES, self.stream));
  cusim_drain();
  CU(cuMemHostUnregister(bytes));
  cusim_expect_race("cuMemHostUnregister", "cuMemcpyDtoHAsync", "has not waited since");
  scene_close(&self);
}

CUSIM_TEST(staged_bytes_are_free_when_the_call_returns) {
  const scene self = scene_open();
  const cusim_policy policies[] = {CUSIM_LAZY, CUSIM_EAGER, CUSIM_RANDOM};
  for (int i = 0; i < 12; i++) {
    static unsigned char bytes[BYTES];
    cusim_set_policy(policies[i % 3]);
    cusim_host_write(bytes, BYTES);
    CU(cuMemcpyHtoDAsync(self.block, bytes, BYTES, self.stream));
    cusim_host_write(bytes, BYTES);
    cusim_expect_no_race();
    /* But the copy itself is not done, whether or not this call happened to wait for it. */
    CU(cuMemsetD8Async(self.block, 0, 1, self.other));
    cusim_expect_race("cuMemsetD8Async", "cuMemcpyHtoDAsync", "never waited");
    CU(cuCtxSynchronize());
  }
  scene_close(&self);
}

CUSIM_TEST(copies_that_block_order_the_host) {
  const scene self = scene_open();
  static unsigned char bytes[BYTES];
  CU(cuMemsetD8Async(self.block, 1, BYTES, self.stream));
  CU(cuMemcpyDtoHAsync(bytes, self.block, BYTES, self.stream)); /* to pageable memory */
  cusim_host_read(bytes, BYTES);
  CU(cuMemsetD8Async(self.block, 2, BYTES, self.other));
  cusim_expect_no_race();
  CU(cuStreamSynchronize(self.other));
  CU(cuMemcpyHtoD(self.block, self.pinned, BYTES));
  cusim_host_write(self.pinned, BYTES);
  CU(cuMemsetD8Async(self.block, 3, BYTES, self.stream));
  cusim_expect_no_race();
  scene_close(&self);
}

/* --- host functions --- */

static void touch_in_function(void *argument) {
  cusim_host_write(argument, BYTES);
}

CUSIM_TEST(a_host_function_is_in_the_order_of_its_stream) {
  const scene self = scene_open();
  CU(cuMemcpyDtoHAsync(self.pinned, self.block, BYTES, self.stream));
  CU(cuLaunchHostFunc(self.stream, touch_in_function, self.pinned));
  CU(cuMemcpyHtoDAsync(self.block, self.pinned, BYTES, self.stream));
  CU(cuStreamSynchronize(self.stream));
  cusim_expect_no_race();
  CU(cuMemsetD8Async(at(self.pinned), 0, BYTES, self.other));
  CU(cuLaunchHostFunc(self.stream, touch_in_function, self.pinned));
  CU(cuStreamSynchronize(self.stream));
  cusim_expect_race("cusim_host_write in the host function of call", "cuMemsetD8Async",
                    "never waited for anything recorded");
  scene_close(&self);
}

CUSIM_TEST(what_the_host_does_after_enqueuing_a_host_function_is_not_before_it) {
  const scene self = scene_open();
  cusim_host_write(self.pinned, BYTES);
  CU(cuLaunchHostFunc(self.stream, touch_in_function, self.pinned));
  cusim_host_write(self.pinned, BYTES);
  CU(cuStreamSynchronize(self.stream));
  cusim_expect_race("in the host function", "cusim_host_write", "only what came up to call");
  scene_close(&self);
}

CUSIM_TEST(a_started_host_function_has_told_the_host) {
  const scene self = scene_open();
  CU(cuMemcpyHtoDAsync(self.block, self.pinned, BYTES, self.stream));
  CU(cuLaunchHostFunc(self.stream, touch_in_function, self.pinned));
  cusim_drain(); /* it may have set a flag that the program waits for */
  CU(cuMemcpyHtoDAsync(self.block, self.pinned, 1, self.other));
  cusim_expect_no_race();
  scene_close(&self);
}

/* --- threads --- */

/* A second thread, there from the beginning, reads the block when it is its turn. */
typedef struct visitor {
  const scene *scene;
  CUcontext context;
  bool acquires;
  int lock; /* stands for one */
  pthread_barrier_t turn;
  pthread_t thread;
} visitor;

static void *read_in_turn(void *argument) {
  visitor *self = argument;
  CU(cuCtxPushCurrent(self->context));
  cusim_host_read(self->scene->pinned, 1); /* so that it is known */
  pthread_barrier_wait(&self->turn);
  pthread_barrier_wait(&self->turn);
  if (self->acquires) cusim_host_acquire(&self->lock);
  CU(cuMemcpyDtoHAsync(self->scene->pinned, self->scene->block, BYTES, self->scene->other));
  CU(cuStreamSynchronize(self->scene->other));
  cusim_host_release(&self->lock);
  CU(cuCtxPopCurrent(NULL));
  return NULL;
}

static void visitor_start(visitor *self) {
  CU(pthread_barrier_init(&self->turn, NULL, 2));
  CU(pthread_create(&self->thread, NULL, read_in_turn, self));
  pthread_barrier_wait(&self->turn);
}

static void visitor_finish(visitor *self) {
  pthread_barrier_wait(&self->turn);
  CU(pthread_join(self->thread, NULL));
  pthread_barrier_destroy(&self->turn);
}

static void write_and_wait(const scene *self) {
  CU(cuMemsetD8Async(self->block, 1, BYTES, self->stream));
  CU(cuStreamSynchronize(self->stream));
}

CUSIM_TEST(threads_as_one_know_what_each_has_waited_for) {
  const scene self = scene_open();
  visitor guest = {.scene = &self, .context = *state};
  assert_int_equal(cusim_get_threads(), CUSIM_THREADS_AS_ONE);
  visitor_start(&guest);
  write_and_wait(&self);
  visitor_finish(&guest);
  cusim_host_read(self.pinned, BYTES);
  cusim_expect_no_race();
  visitor_start(&guest);
  CU(cuMemsetD8Async(self.block, 1, BYTES, self.stream)); /* nobody waits for this one */
  visitor_finish(&guest);
  cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "never waited");
  scene_close(&self);
}

CUSIM_TEST(threads_apart_know_what_they_are_told) {
  cusim_set_threads(CUSIM_THREADS_APART);
  const scene self = scene_open();
  visitor guest = {.scene = &self, .context = *state, .acquires = true};
  visitor_start(&guest);
  write_and_wait(&self);
  cusim_host_release(&guest.lock);
  visitor_finish(&guest);
  cusim_host_acquire(&guest.lock);
  cusim_host_read(self.pinned, BYTES);
  cusim_expect_no_race();
  scene_close(&self);
  cusim_set_threads(CUSIM_THREADS_AS_ONE);
}

CUSIM_TEST(threads_apart_know_nothing_else) {
  cusim_set_threads(CUSIM_THREADS_APART);
  const scene self = scene_open();
  visitor guest = {.scene = &self, .context = *state};
  visitor_start(&guest);
  write_and_wait(&self);
  cusim_host_release(&guest.lock);
  visitor_finish(&guest); /* without acquiring */
  cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "never waited");
  cusim_host_read(self.pinned, BYTES); /* nor has this thread heard of that one since */
  cusim_expect_race("cusim_host_read", "cuMemcpyDtoHAsync", "host thread");
  cusim_host_acquire(&guest.lock);
  scene_close(&self);
  cusim_set_threads(CUSIM_THREADS_AS_ONE);
}

/* --- modes --- */

/* One place in the program, however a compiler unrolls the loop round it. */
static __attribute__((noinline)) void set_block(const scene *self, CUstream stream) {
  CU(cuMemsetD8Async(self->block, 1, BYTES, stream));
}

CUSIM_TEST(each_pair_of_places_is_told_once_and_every_race_counted) {
  const scene self = scene_open();
  char text[1024], cut[10];
  for (int i = 0; i < 5; i++) set_block(&self, i % 2 == 0 ? self.stream : self.other);
  assert_int_equal(cusim_race_count(), 4);
  const size_t length = cusim_race_report(0, text, sizeof text);
  assert_int_equal(length, strlen(text));
  assert_int_equal(cusim_race_report(0, cut, sizeof cut), length);
  assert_int_equal(strlen(cut), sizeof cut - 1);
  assert_int_equal(cusim_race_report(1, text, sizeof text), 0);
  cusim_forget_races();
  assert_int_equal(cusim_race_report(0, text, sizeof text), 0);
  scene_close(&self);
}

CUSIM_TEST(off_finds_nothing_and_on_again_forgets) {
  const scene self = scene_open();
  cusim_set_races(CUSIM_RACES_OFF);
  CU(cuMemsetD8Async(self.block, 1, BYTES, self.stream));
  CU(cuMemsetD8Async(self.block, 1, BYTES, self.other));
  cusim_set_races(CUSIM_RACES_COUNT);
  assert_int_equal(cusim_get_races(), CUSIM_RACES_COUNT);
  CU(cuMemsetD8Async(self.block, 1, BYTES, self.stream));
  cusim_expect_no_race();
  CU(cuMemsetD8Async(self.block, 1, BYTES, self.other));
  cusim_expect_races(1);
  scene_close(&self);
}

/* Columns beside each other are no race, and a million rows are no matter of minutes. */
CUSIM_TEST(rows_are_told_apart) {
  enum { ROWS = 100000, PITCH = 16 };
  const scene self = scene_open();
  const CUdeviceptr wide = cusim_fixture_device((size_t)ROWS * PITCH);
  CU(cuMemsetD2D8Async(wide, PITCH, 1, 4, ROWS, self.stream));
  CU(cuMemsetD2D8Async(wide + 4, PITCH, 1, 12, ROWS, self.other));
  cusim_expect_no_race();
  CU(cuMemsetD2D8Async(wide + 3, PITCH, 1, 1, ROWS, self.other));
  cusim_expect_races(1);
  CU(cuCtxSynchronize());
  CU(cuMemFree(wide));
  scene_close(&self);
}

/* Streams come and go by the thousand, and what nobody can race with any more goes with them. */
CUSIM_TEST(many_streams_come_and_go) {
  const scene self = scene_open();
  for (int i = 0; i < 5000; i++) {
    CUstream brief = cusim_fixture_stream();
    CUevent event = cusim_fixture_event();
    CU(cuMemsetD8Async(self.block + (size_t)i % BYTES, 1, 1, brief));
    if (i % 7 == 0) CU(cuStreamSynchronize(brief));
    CU(cuEventRecord(event, brief));
    CU(cuStreamWaitEvent(self.stream, event, 0));
    CU(cuStreamDestroy(brief));
    CU(cuEventDestroy(event));
    if (i % 1000 == 999) CU(cuStreamSynchronize(self.stream));
  }
  cusim_expect_no_race();
  CU(cuMemsetD8Async(self.block, 1, BYTES, self.stream));
  cusim_expect_no_race();
  scene_close(&self);
}

int run_cusim_race_host_tests(void) {
  return run_listed_tests(NULL, NULL);
}
