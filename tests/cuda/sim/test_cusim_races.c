/* test_cusim_races.c: what orders streams, found missing where it is missing, silent where not. */
#include "tests/cuda/sim/cusim_fixture.h"

/* Two streams, an event and a block that the first stream has written. */
typedef struct scene {
  CUstream writer;
  CUstream reader;
  CUevent event;
  CUdeviceptr block;
  unsigned char *pinned;
} scene;

enum { BYTES = 4096 };

static scene scene_open(unsigned flags) {
  scene self = {0};
  CU(cuStreamCreate(&self.writer, flags));
  CU(cuStreamCreate(&self.reader, flags));
  self.event = cusim_fixture_event();
  self.block = cusim_fixture_device(BYTES);
  self.pinned = cusim_fixture_pinned(BYTES);
  return self;
}

static void scene_close(const scene *self) {
  CU(cuCtxSynchronize());
  CU(cuStreamDestroy(self->writer));
  CU(cuStreamDestroy(self->reader));
  CU(cuEventDestroy(self->event));
  CU(cuMemFree(self->block));
  CU(cuMemFreeHost(self->pinned));
}

static void write_on(const scene *self, CUstream stream) {
  CU(cuMemsetD8Async(self->block, 1, BYTES, stream));
}

static void read_on(const scene *self, CUstream stream) {
  CU(cuMemcpyDtoHAsync(self->pinned, self->block, BYTES, stream));
}

CUSIM_TEST(the_order_of_one_stream_is_an_order) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  write_on(&self, self.writer);
  read_on(&self, self.writer);
  write_on(&self, self.writer);
  cusim_expect_no_race();
  scene_close(&self);
}

CUSIM_TEST(two_streams_with_nothing_between_them_race) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  write_on(&self, self.writer);
  read_on(&self, self.reader);
  cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "never waited for anything recorded");
  scene_close(&self);
}

CUSIM_TEST(two_reads_do_not_race_but_a_write_does_with_each) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  unsigned char *other = cusim_fixture_pinned(BYTES);
  write_on(&self, self.writer);
  CU(cuStreamSynchronize(self.writer));
  read_on(&self, self.reader);
  CU(cuMemcpyDtoHAsync(other, self.block, BYTES, self.writer));
  cusim_expect_no_race();
  CUstream third = cusim_fixture_stream();
  write_on(&self, third);
  cusim_expect_races(2);
  CU(cuStreamDestroy(third));
  CU(cuCtxSynchronize());
  CU(cuMemFreeHost(other));
  scene_close(&self);
}

CUSIM_TEST(an_event_orders_what_came_before_its_record) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  write_on(&self, self.writer);
  CU(cuEventRecord(self.event, self.writer));
  CU(cuStreamWaitEvent(self.reader, self.event, 0));
  read_on(&self, self.reader);
  cusim_expect_no_race();
  write_on(&self, self.writer); /* but nobody waited for the reader */
  cusim_expect_race("cuMemsetD8Async", "cuMemcpyDtoHAsync", "never waited");
  scene_close(&self);
}

CUSIM_TEST(work_behind_the_record_is_not_ordered) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  CU(cuEventRecord(self.event, self.writer));
  write_on(&self, self.writer);
  CU(cuStreamWaitEvent(self.reader, self.event, 0));
  read_on(&self, self.reader);
  cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "recorded after that call");
  scene_close(&self);
}

CUSIM_TEST(waiting_for_an_event_never_recorded_orders_nothing) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  write_on(&self, self.writer);
  CU(cuStreamWaitEvent(self.reader, self.event, 0));
  read_on(&self, self.reader);
  cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "never waited for anything recorded");
  scene_close(&self);
}

CUSIM_TEST(a_wait_does_not_see_a_later_record) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  CU(cuEventRecord(self.event, self.writer));
  CU(cuStreamWaitEvent(self.reader, self.event, 0));
  write_on(&self, self.writer);
  CU(cuEventRecord(self.event, self.writer)); /* too late for the wait above */
  read_on(&self, self.reader);
  cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "recorded after that call");
  scene_close(&self);
}

CUSIM_TEST(a_wait_keeps_what_it_saw_when_the_event_moves_on) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  CUstream third = cusim_fixture_stream();
  write_on(&self, self.writer);
  CU(cuEventRecord(self.event, self.writer));
  CU(cuStreamWaitEvent(self.reader, self.event, 0));
  CU(cuEventRecord(self.event, third)); /* marks nothing of the writer any more */
  CU(cuEventDestroy(self.event));
  read_on(&self, self.reader);
  cusim_expect_no_race();
  scene after = self;
  after.event = cusim_fixture_event();
  CU(cuStreamDestroy(third));
  scene_close(&after);
}

CUSIM_TEST(order_goes_on_from_stream_to_stream) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  CUstream third = cusim_fixture_stream();
  write_on(&self, self.writer);
  CU(cuEventRecord(self.event, self.writer));
  CU(cuStreamWaitEvent(third, self.event, 0));
  CU(cuEventRecord(self.event, third));
  CU(cuStreamWaitEvent(self.reader, self.event, 0));
  read_on(&self, self.reader);
  cusim_expect_no_race();
  CU(cuStreamDestroy(third));
  scene_close(&self);
}

/* The same program under every policy gives the same answer: the order is one of calls. */
CUSIM_TEST(the_schedule_makes_no_difference) {
  const cusim_policy policies[] = {CUSIM_EAGER, CUSIM_LAZY, CUSIM_RANDOM};
  for (uint64_t seed = 0; seed < 30; seed++) {
    cusim_set_policy(policies[seed % 3]);
    cusim_set_seed(seed);
    const scene self = scene_open(CU_STREAM_NON_BLOCKING);
    write_on(&self, self.writer);
    CU(cuEventRecord(self.event, self.writer));
    read_on(&self, self.reader);
    cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "never waited");
    CU(cuStreamWaitEvent(self.writer, self.event, 0));
    scene_close(&self);
  }
}

/* --- the default stream --- */

CUSIM_TEST(the_default_stream_and_blocking_streams_are_ordered) {
  const scene self = scene_open(CU_STREAM_DEFAULT);
  write_on(&self, self.writer);
  read_on(&self, NULL);
  write_on(&self, self.reader);
  cusim_expect_no_race();
  read_on(&self, self.writer); /* two blocking streams are not, without the default one between */
  cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "never waited");
  scene_close(&self);
}

CUSIM_TEST(the_default_stream_and_other_streams_are_not) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  write_on(&self, self.writer);
  read_on(&self, NULL);
  cusim_expect_race("the default stream", "cuMemsetD8Async", "never waited");
  write_on(&self, self.writer);
  cusim_expect_race("cuMemsetD8Async", "the default stream", "never waited");
  scene_close(&self);
}

/* --- the host waits --- */

CUSIM_TEST(synchronising_with_a_stream_orders_the_host_and_what_it_enqueues) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  write_on(&self, self.writer);
  CU(cuStreamSynchronize(self.writer));
  read_on(&self, self.reader);
  cusim_expect_no_race();
  CU(cuStreamSynchronize(self.writer)); /* of the wrong stream */
  cusim_host_read(self.pinned, BYTES);
  cusim_expect_race("cusim_host_read", "cuMemcpyDtoHAsync", "the host never waited for stream");
  CU(cuStreamSynchronize(self.reader));
  cusim_host_read(self.pinned, BYTES);
  cusim_expect_no_race();
  scene_close(&self);
}

CUSIM_TEST(synchronising_with_an_event_orders_up_to_its_record) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  write_on(&self, self.writer);
  CU(cuEventRecord(self.event, self.writer));
  read_on(&self, self.writer);
  CU(cuEventSynchronize(self.event));
  CU(cuMemcpyDtoDAsync(self.block, self.block, 1,
                       self.reader)); /* after the fill: the reads only */
  cusim_expect_race("cuMemcpyDtoDAsync", "cuMemcpyDtoHAsync", "recorded after that call");
  scene_close(&self);
}

CUSIM_TEST(a_query_orders_where_it_says_yes) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  write_on(&self, self.writer);
  CU(cuEventRecord(self.event, self.writer));
  assert_int_equal(cuEventQuery(self.event), CUDA_ERROR_NOT_READY);
  assert_int_equal(cuStreamQuery(self.writer), CUDA_ERROR_NOT_READY);
  CU(cuMemsetD8Async(self.block, 2, 1, self.reader));
  cusim_expect_race("cuMemsetD8Async", "cuMemsetD8Async", "never waited");
  while (cuEventQuery(self.event) != CUDA_SUCCESS) {
  }
  CU(cuMemsetD8Async(self.block + 1, 2, 1, self.reader));
  CU(cuMemsetD8Async(self.block + 8, 2, 1, self.writer));
  while (cuStreamQuery(self.writer) != CUDA_SUCCESS) {
  }
  CU(cuMemsetD8Async(self.block + 8, 2, 1, self.reader));
  cusim_expect_no_race();
  scene_close(&self);
}

CUSIM_TEST(synchronising_with_the_context_covers_streams_that_are_gone) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  const cusim_policy policies[] = {CUSIM_EAGER, CUSIM_LAZY};
  for (int i = 0; i < 2; i++) {
    CUstream brief = cusim_fixture_stream();
    cusim_set_policy(policies[i]);
    write_on(&self, brief);
    CU(cuStreamDestroy(brief)); /* waits for nothing */
    read_on(&self, self.reader);
    cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "never waited");
    CU(cuCtxSynchronize());
    read_on(&self, self.reader);
    cusim_expect_no_race();
    CU(cuStreamSynchronize(self.reader));
  }
  scene_close(&self);
}

CUSIM_TEST(a_handle_that_comes_back_is_another_stream) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  CUstream brief = cusim_fixture_stream();
  write_on(&self, brief);
  CU(cuStreamDestroy(brief));
  CUstream again = cusim_fixture_stream();
  assert_ptr_equal(again, brief);
  read_on(&self, again);
  cusim_expect_race("cuMemcpyDtoHAsync", "cuMemsetD8Async", "never waited");
  CU(cuStreamDestroy(again));
  scene_close(&self);
}

/* --- memory that goes --- */

CUSIM_TEST(freeing_what_a_stream_still_uses_is_a_race) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  cusim_set_policy(CUSIM_EAGER); /* it has run long since, and the free is wrong all the same */
  const CUdeviceptr block = cusim_fixture_device(100);
  unsigned char *pinned = cusim_fixture_pinned(100);
  static unsigned char own[100];
  CU(cuMemHostRegister(own, sizeof own, 0));
  CU(cuMemsetD8Async(block, 1, 100, self.writer));
  CU(cuMemFree(block));
  cusim_expect_race("cuMemFree", "takes away bytes 0 to 99 of the device block of 100 bytes",
                    "the host never waited");
  CU(cuMemcpyHtoDAsync(self.block, pinned, 100, self.writer));
  CU(cuMemFreeHost(pinned));
  cusim_expect_race("cuMemFreeHost", "page-locked block", "the host never waited");
  CU(cuMemcpyHtoDAsync(self.block, own, 100, self.writer));
  CU(cuMemHostUnregister(own));
  cusim_expect_race("cuMemHostUnregister", "registered block", "the host never waited");
  scene_close(&self);
}

CUSIM_TEST(memory_that_comes_back_has_no_past) {
  const scene self = scene_open(CU_STREAM_NON_BLOCKING);
  CUdeviceptr block = cusim_fixture_device(100);
  CU(cuMemsetD8Async(block, 1, 100, self.writer));
  CU(cuStreamSynchronize(self.writer));
  CU(cuMemFree(block));
  const CUdeviceptr again = cusim_fixture_device(100);
  assert_int_equal(again, block);
  CU(cuMemsetD8Async(again, 1, 100, self.reader));
  cusim_expect_no_race();
  CU(cuCtxSynchronize());
  CU(cuMemFree(again));
  scene_close(&self);
}

int run_cusim_race_tests(void) {
  return run_listed_tests(NULL, NULL);
}
