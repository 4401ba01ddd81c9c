/* test_stream_copy.c: planes, batches and grids: what is checked, and who runs them. */
#include "tests/support/test.h"

#include <string.h>

#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_stream_copy.h"

#define CPU tarn_device_make(TARN_DEVICE_CPU, 0)
#define PINNED tarn_device_make(TARN_DEVICE_CUDA_HOST, 0)
#define FAR tarn_device_make(TARN_DEVICE_CUDA, 0)

/* A device's stream whose memory is the host's, and which does everything at once. */
static struct {
  int copies, planes, batches, grids;
  size_t spans;
  tarn_status answer; /* of planes, batches and grids */
} called;

static tarn_status do_copy(void *context, const tarn_copy_rows *rows) {
  (void)context;
  tarn_copy_rows near = *rows;
  near.dst_device = near.src_device = CPU;
  called.copies++;
  return tarn_stream_copy_rows(NULL, &near);
}

static tarn_status do_call(void *context, tarn_host_function function, void *argument) {
  (void)context;
  function(argument);
  return TARN_OK;
}

static tarn_status do_synchronize(void *context) {
  (void)context;
  return TARN_OK;
}

static tarn_status do_planes(void *context, const tarn_copy_planes *planes) {
  (void)context;
  (void)planes;
  called.planes++;
  return called.answer;
}

static tarn_status do_batch(void *context, const tarn_copy_span *spans, size_t count) {
  (void)context;
  called.batches++;
  for (size_t i = 0; i < count; i++) {
    assert_true(spans[i].size_bytes > 0);
    assert_int_not_equal(spans[i].dst_device.type, TARN_DEVICE_CPU);
    assert_int_not_equal(spans[i].src_device.type, TARN_DEVICE_CPU);
    if (called.answer == TARN_OK) memcpy(spans[i].dst, spans[i].src, spans[i].size_bytes);
  }
  called.spans += called.answer == TARN_OK ? count : 0;
  return called.answer;
}

static tarn_status do_grid(void *context, const tarn_copy_grid *grid) {
  (void)context;
  (void)grid;
  called.grids++;
  return called.answer;
}

static tarn_stream_ops ops = {.struct_size = sizeof ops,
                              .name = "able",
                              .copy = do_copy,
                              .call = do_call,
                              .synchronize = do_synchronize,
                              .copy_planes = do_planes,
                              .copy_batch = do_batch,
                              .copy_grid = do_grid};

static tarn_stream *stream_on(tarn_device device) {
  const tarn_stream_options options = {
      .struct_size = sizeof options, .device = device, .flags = TARN_STREAM_SYNCHRONOUS};
  tarn_stream *stream;
  memset(&called, 0, sizeof called);
  assert_ok(tarn_stream_create(&ops, NULL, &options, &stream));
  return stream;
}

/* --- planes --- */

static const char planes_from[] = "aa.bb...cc.dd...ee.ff...";

static tarn_copy_planes some_planes(char *dst) {
  return (tarn_copy_planes){.rows = {.dst = dst,
                                     .src = planes_from,
                                     .dst_pitch_bytes = 2,
                                     .src_pitch_bytes = 3,
                                     .row_bytes = 2,
                                     .row_count = 2,
                                     .dst_device = FAR,
                                     .src_device = PINNED},
                            .dst_pitch_bytes = 4,
                            .src_pitch_bytes = 8,
                            .plane_count = 3};
}

TEST(planes_go_one_by_one_where_they_cannot_go_at_once) {
  char to[13] = "";
  tarn_stream *stream = stream_on(FAR);
  tarn_copy_planes planes = some_planes(to);
  assert_ok(tarn_stream_copy_planes(stream, &planes));
  assert_int_equal(called.planes, 1);
  assert_int_equal(called.copies, 0);
  called.answer = TARN_NOT_SUPPORTED;
  assert_ok(tarn_stream_copy_planes(stream, &planes));
  assert_int_equal(called.planes, 2);
  assert_int_equal(called.copies, 3);
  assert_string_equal(to, "aabbccddeeff");
  called.answer = TARN_OK;
  memset(to, 0, sizeof to);
  planes.rows.src_device = CPU; /* never at once */
  assert_ok(tarn_stream_copy_planes(stream, &planes));
  assert_int_equal(called.planes, 2);
  assert_string_equal(to, "aabbccddeeff");
  planes.plane_count = 0;
  assert_ok(tarn_stream_copy_planes(stream, &planes));
  tarn_stream_release(stream);
}

/* Backwards on both sides, and on the calling thread. */
TEST(pitches_of_planes_may_be_negative) {
  char to[13] = "";
  tarn_copy_planes planes = some_planes(to + 8);
  planes.rows.src = planes_from + 16;
  planes.dst_pitch_bytes = -4;
  planes.src_pitch_bytes = -8;
  planes.rows.dst_device = planes.rows.src_device = CPU;
  assert_ok(tarn_stream_copy_planes(NULL, &planes));
  assert_string_equal(to, "aabbccddeeff");
}

TEST(wrong_planes_are_refused) {
  char to[13] = "";
  tarn_stream *stream = stream_on(FAR);
  tarn_copy_planes planes = some_planes(to);
  assert_status(tarn_stream_copy_planes(stream, NULL), TARN_INVALID_ARGUMENT);
  planes.rows.src_pitch_bytes = 1;
  assert_status(tarn_stream_copy_planes(stream, &planes), TARN_INVALID_ARGUMENT);
  planes = some_planes(NULL);
  assert_status(tarn_stream_copy_planes(stream, &planes), TARN_INVALID_ARGUMENT);
  planes.rows.row_count = 0;
  assert_ok(tarn_stream_copy_planes(stream, &planes));
  assert_int_equal(called.planes + called.copies, 0);
  tarn_stream_release(stream);
}

/* --- batches --- */

enum { SPANS = 6 };

static void make_spans(char *to, const char *from, tarn_copy_span spans[SPANS]) {
  for (int i = 0; i < SPANS; i++) {
    spans[i] = (tarn_copy_span){to + 2 * i, from + 2 * (SPANS - 1 - i), 2, FAR, PINNED};
  }
}

TEST(a_batch_skips_what_is_empty_and_keeps_pageable_memory_out) {
  char to[2 * SPANS + 1] = "";
  tarn_copy_span spans[SPANS];
  tarn_stream *stream = stream_on(FAR);
  make_spans(to, "ffeeddccbbaa", spans);
  spans[2].size_bytes = 0, spans[2].dst = NULL;
  spans[3].src_device = CPU;
  assert_ok(tarn_stream_copy_batch(stream, spans, SPANS));
  assert_int_equal(called.batches, 2);
  assert_int_equal(called.spans, 4);
  assert_int_equal(called.copies, 1); /* the one of pageable memory */
  to[4] = to[5] = 'c';
  assert_string_equal(to, "aabbccddeeff");
  tarn_stream_release(stream);
}

TEST(a_batch_goes_one_by_one_where_it_cannot_go_at_once) {
  char to[2 * SPANS + 1] = "";
  tarn_copy_span spans[SPANS];
  tarn_stream *stream = stream_on(FAR);
  make_spans(to, "ffeeddccbbaa", spans);
  called.answer = TARN_NOT_SUPPORTED;
  assert_ok(tarn_stream_copy_batch(stream, spans, SPANS));
  assert_int_equal(called.batches, 1); /* asked once, not for each */
  assert_int_equal(called.copies, SPANS);
  assert_string_equal(to, "aabbccddeeff");
  called.answer = TARN_DEVICE_ERROR; /* no answer: some may be under way */
  assert_status(tarn_stream_copy_batch(stream, spans, SPANS), TARN_DEVICE_ERROR);
  assert_int_equal(called.copies, SPANS);
  tarn_stream_release(stream);

  memset(to, 0, sizeof to);
  for (int i = 0; i < SPANS; i++) spans[i].dst_device = CPU;
  tarn_stream *host;
  assert_ok(tarn_worker_stream_create(&host));
  assert_ok(tarn_stream_copy_batch(host, spans, SPANS));
  assert_ok(tarn_stream_synchronize(host));
  assert_string_equal(to, "aabbccddeeff");
  tarn_stream_release(host);
}

TEST(wrong_batches_are_refused_before_any_copy) {
  char to[2 * SPANS + 1] = "";
  tarn_copy_span spans[SPANS];
  tarn_stream *stream = stream_on(FAR);
  make_spans(to, "ffeeddccbbaa", spans);
  spans[SPANS - 1].src = NULL;
  assert_status(tarn_stream_copy_batch(stream, spans, SPANS), TARN_INVALID_ARGUMENT);
  assert_status(tarn_stream_copy_batch(stream, NULL, 1), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_stream_copy_batch(stream, NULL, 0));
  assert_int_equal(called.batches + called.copies, 0);
  assert_string_equal(to, "");
  tarn_stream_release(stream);
}

/* --- grids --- */

static const int64_t extents[] = {2, 3}, strides[] = {12, 4};
#define F32 \
  { 2, 32, 1 }
#define I32 \
  { 0, 32, 1 }

static tarn_copy_grid some_grid(void *dst, const void *src) {
  return (tarn_copy_grid){.dst = dst,
                          .src = src,
                          .dst_device = FAR,
                          .src_device = PINNED,
                          .rank = 2,
                          .shape = extents,
                          .dst_strides_bytes = strides,
                          .src_strides_bytes = strides,
                          .dst_type = F32,
                          .src_type = F32,
                          .element_bytes = 4};
}

TEST(a_grid_is_the_streams_or_nobodys) {
  char to[24], from[24] = "";
  tarn_stream *stream = stream_on(FAR), *host;
  tarn_copy_grid grid = some_grid(to, from);
  assert_ok(tarn_stream_copy_grid(stream, &grid));
  assert_int_equal(called.grids, 1);
  assert_status(tarn_stream_copy_grid(NULL, &grid), TARN_NOT_SUPPORTED);
  assert_ok(tarn_worker_stream_create(&host));
  assert_status(tarn_stream_copy_grid(host, &grid), TARN_NOT_SUPPORTED);
  tarn_stream_release(host);
  grid.src_device = CPU;
  assert_status(tarn_stream_copy_grid(stream, &grid), TARN_NOT_SUPPORTED);
  grid = some_grid(to, from);
  grid.shape = (int64_t[]){0, 3};
  assert_ok(tarn_stream_copy_grid(stream, &grid));
  assert_int_equal(called.grids, 1);
  called.answer = TARN_NOT_SUPPORTED;
  grid = some_grid(to, from);
  assert_status(tarn_stream_copy_grid(stream, &grid), TARN_NOT_SUPPORTED);
  tarn_stream_release(stream);
}

TEST(wrong_grids_are_refused) {
  char to[24], from[24] = "";
  tarn_stream *stream = stream_on(FAR);
  const tarn_copy_grid right = some_grid(to, from);
  tarn_copy_grid wrong[8];
  for (size_t i = 0; i < COUNT_OF(wrong); i++) wrong[i] = right;
  wrong[0].rank = -1;
  wrong[1].rank = TARN_COPY_GRID_RANK_MAX + 1;
  wrong[2].shape = NULL;
  wrong[3].src_strides_bytes = NULL;
  wrong[4].shape = (int64_t[]){2, -1};
  wrong[5].element_bytes = 0;
  wrong[6].src_type = (tarn_element_type)I32; /* two types, and a size beside them */
  wrong[7].dst = NULL;
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    assert_status(tarn_stream_copy_grid(stream, &wrong[i]), TARN_INVALID_ARGUMENT);
  }
  assert_status(tarn_stream_copy_grid(stream, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(called.grids, 0);
  tarn_stream_release(stream);
}

TEST(a_stream_says_what_it_can_do) {
  const uint32_t all =
      TARN_STREAM_COPIES_PLANES | TARN_STREAM_COPIES_BATCHES | TARN_STREAM_COPIES_GRIDS;
  tarn_stream *stream = stream_on(FAR), *host;
  assert_int_equal(tarn_stream_copy_abilities(stream), all); /* and no ring */
  assert_ok(tarn_worker_stream_create(&host));
  assert_int_equal(tarn_stream_copy_abilities(host), 0);
  assert_int_equal(tarn_stream_copy_abilities(NULL), 0);
  tarn_stream_release(host);
  tarn_stream_release(stream);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
