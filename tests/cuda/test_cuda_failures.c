/* test_cuda_failures.c: every driver call of an operation fails once, and nothing is lost by it. */
#include "alloc/tarn_stream_copy.h"
#include "tests/cuda/cuda_fixture.h"

/* One operation with what it needs before, and how to undo its success. */
typedef struct operation {
  const char *name;
  tarn_status (*act)(void *subject, void **made);
  void (*undo)(void *subject, void *made);
} operation;

static void assert_same_counts(const cusim_counts *before, bool with_events) {
  cusim_counts now = counts_now();
  assert_int_equal(now.device_blocks, before->device_blocks);
  assert_int_equal(now.device_bytes, before->device_bytes);
  assert_int_equal(now.pinned_blocks, before->pinned_blocks);
  assert_int_equal(now.pinned_bytes, before->pinned_bytes);
  assert_int_equal(now.streams, before->streams);
  assert_int_equal(now.abandoned, before->abandoned);
  if (!with_events) return;
  assert_int_equal(now.events, before->events);
  assert_int_equal(now.context_retains, before->context_retains);
}

/* What a failed call is to be told as. CUDA_ERROR_UNKNOWN stands for any error but these. */
static void assert_status_fits(tarn_status status, const char *failed_call) {
  const bool is_lookup = strcmp(failed_call, "cuGetProcAddress") == 0;
  assert_int_equal(status, is_lookup ? TARN_UNAVAILABLE : TARN_DEVICE_ERROR);
  assert_string_equal(tarn_last_error()->native_call, failed_call);
  assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_UNKNOWN);
}

/* Answers how many calls the operation makes when none fails. A failure may also be survived: an
 * optional entry, or a context that is put back another way. */
static uint64_t fail_each_call(const operation *self, void *subject) {
  const fixture_sim *sim = fixture_sim_control();
  cusim_counts before;
  for (uint64_t nth = 1;; nth++) {
    sim->get_counts(&before);
    const uint64_t failures = sim->failures();
    sim->fail_call(NULL, nth, CUDA_ERROR_UNKNOWN);
    void *made = NULL;
    const tarn_status status = self->act(subject, &made);
    const bool has_failed = sim->failures() > failures;
    sim->fail_nothing();
    if (status == TARN_OK) {
      if (self->undo != NULL) self->undo(subject, made);
      assert_same_counts(&before, /*with_events=*/false);
    } else {
      assert_true(has_failed);
      assert_null(made);
      assert_status_fits(status, sim->failed_call());
      assert_same_counts(&before, /*with_events=*/true);
    }
    if (!has_failed) return nth - 1;
  }
}

static tarn_status open_driver(void *subject, void **made) {
  (void)subject;
  const tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = SIM_DRIVER};
  tarn_cuda *cuda = (tarn_cuda *)&cuda;
  const tarn_status status = tarn_cuda_open(&options, &cuda);
  *made = cuda;
  return status;
}

static void close_driver(void *subject, void *made) {
  (void)subject;
  tarn_cuda_release(made);
}

TEST(opening_survives_every_failure) {
  FIXTURE_NEEDS_SIM();
  const operation open = {.name = "open", .act = open_driver, .undo = close_driver};
  assert_true(fail_each_call(&open, NULL) > 30);
}

static tarn_status create_stream(void *subject, void **made) {
  tarn_stream *stream = (tarn_stream *)&stream;
  const tarn_status status = tarn_cuda_stream_create(subject, 0, &stream);
  *made = stream;
  return status;
}

static void release_stream(void *subject, void *made) {
  (void)subject;
  tarn_stream_release(made);
}

TEST(creating_a_stream_survives_every_failure) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = *state;
  CUcontext context;
  OK(tarn__cuda_context(cuda, 0, &context)); /* retained for good, before what is counted */
  const operation create = {.name = "stream", .act = create_stream, .undo = release_stream};
  /* current, push, create, pop; and what looking after streams of the past takes */
  assert_true(fail_each_call(&create, cuda) >= 4);
}

/* The seam refuses a stream too many after the driver has made it. */
TEST(a_stream_beyond_the_limit_is_given_back_to_the_driver) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = *state;
  static tarn_stream *wrapped[TARN_STREAMS_MAX + 1];
  size_t count = 0;
  while (tarn_cuda_stream_wrap(cuda, 0, NULL, &wrapped[count]) == TARN_OK) count++;
  assert_true(count > 0 && count <= TARN_STREAMS_MAX);
  cusim_counts before = counts_now();
  tarn_stream *stream = (tarn_stream *)&stream;
  assert_int_equal(tarn_cuda_stream_create(cuda, 0, &stream), TARN_NOT_SUPPORTED);
  assert_null(stream);
  assert_same_counts(&before, /*with_events=*/true);
  while (count > 0) tarn_stream_release(wrapped[--count]);
}

static tarn_status create_device_provider(void *subject, void **made) {
  tarn_provider *provider = (tarn_provider *)&provider;
  const tarn_status status = tarn_cuda_device_provider_create(subject, 0, &provider);
  *made = provider;
  return status;
}

static tarn_status create_pinned_provider(void *subject, void **made) {
  tarn_provider *provider = (tarn_provider *)&provider;
  const tarn_status status = tarn_cuda_pinned_provider_create(subject, NULL, &provider);
  *made = provider;
  return status;
}

static void release_provider(void *subject, void *made) {
  (void)subject;
  tarn_provider_release(made);
}

TEST(creating_the_first_object_survives_every_failure) {
  FIXTURE_NEEDS_SIM();
  /* Of a tarn_cuda whose context is not retained yet: that call fails, the next try retains it. */
  tarn_status (*const acts[])(void *, void **) = {create_device_provider, create_pinned_provider};
  for (int i = 0; i < 2; i++) {
    tarn_cuda *cuda = fixture_open();
    const operation create = {.name = "provider", .act = acts[i], .undo = release_provider};
    assert_int_equal(fail_each_call(&create, cuda), 1);
    tarn_cuda_release(cuda);
  }
}

static tarn_status alloc_block(void *subject, void **made) {
  tarn_provider *provider = subject;
  *made = &provider;
  return tarn_provider_alloc(provider, tarn_provider_attributes_of(provider)->granularity_bytes,
                             made);
}

static void free_block(void *subject, void *made) {
  tarn_provider *provider = subject;
  OK(tarn_provider_free(provider, made, tarn_provider_attributes_of(provider)->granularity_bytes));
}

TEST(allocating_survives_every_failure) {
  FIXTURE_NEEDS_SIM();
  void *providers[2] = {NULL, NULL};
  OK(create_device_provider(*state, &providers[0]));
  OK(create_pinned_provider(*state, &providers[1]));
  const operation alloc = {.name = "alloc", .act = alloc_block, .undo = free_block};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(fail_each_call(&alloc, providers[i]), 6);
    tarn_provider_release(providers[i]);
  }
}

static tarn_status create_fence(void *subject, void **made) {
  tarn_fence *fence = (tarn_fence *)&fence;
  const tarn_status status = tarn_fence_create(subject, &fence);
  *made = fence;
  return status;
}

static void destroy_fence(void *subject, void *made) {
  (void)subject;
  tarn_fence_destroy(made);
}

typedef struct work {
  tarn_stream *stream;
  tarn_fence *fence;
  fixture_block device;
  fixture_block pinned;
} work;

static tarn_status do_copy(void *subject, void **made) {
  (void)made;
  work *self = subject;
  return tarn_stream_copy(self->stream, self->device.address, self->device.device,
                          self->pinned.address, self->pinned.device, 1000);
}

static tarn_status do_pageable_copy(void *subject, void **made) {
  (void)made;
  work *self = subject;
  char bytes[100] = {0};
  return tarn_stream_copy(self->stream, self->device.address, self->device.device, bytes,
                          tarn_device_make(TARN_DEVICE_CPU, 0), sizeof bytes);
}

static tarn_status do_rectangle(void *subject, void **made) {
  (void)made;
  work *self = subject;
  const tarn_copy_rows rows = {.dst = self->device.address,
                               .src = self->pinned.address,
                               .dst_pitch_bytes = 40,
                               .src_pitch_bytes = 20,
                               .row_bytes = 10,
                               .row_count = 10,
                               .dst_device = self->device.device,
                               .src_device = self->pinned.device};
  return tarn_stream_copy_rows(self->stream, &rows);
}

static tarn_status do_planes(void *subject, void **made) {
  (void)made;
  work *self = subject;
  const tarn_copy_planes planes = {.rows = {.dst = self->device.address,
                                            .src = self->pinned.address,
                                            .dst_pitch_bytes = 40,
                                            .src_pitch_bytes = 20,
                                            .row_bytes = 10,
                                            .row_count = 4,
                                            .dst_device = self->device.device,
                                            .src_device = self->pinned.device},
                                   .dst_pitch_bytes = 160,
                                   .src_pitch_bytes = 80,
                                   .plane_count = 5};
  return tarn_stream_copy_planes(self->stream, &planes);
}

static tarn_status do_batch(void *subject, void **made) {
  (void)made;
  work *self = subject;
  tarn_copy_span spans[2];
  for (int i = 0; i < 2; i++) {
    spans[i] = (tarn_copy_span){self->device.address + 100 * i, self->pinned.address + 10 * i, 10,
                                self->device.device, self->pinned.device};
  }
  return tarn_stream_copy_batch(self->stream, spans, 2);
}

static tarn_status do_fill(void *subject, void **made) {
  (void)made;
  work *self = subject;
  return tarn_stream_fill(self->stream, self->device.address, self->device.device, 1, 1000);
}

static tarn_status do_record(void *subject, void **made) {
  (void)made;
  work *self = subject;
  return tarn_fence_record(self->fence, self->stream);
}

static tarn_status do_wait(void *subject, void **made) {
  (void)made;
  work *self = subject;
  return tarn_stream_wait(self->stream, self->fence);
}

static tarn_status do_fence_synchronize(void *subject, void **made) {
  (void)made;
  return tarn_fence_synchronize(((work *)subject)->fence);
}

static tarn_status do_synchronize(void *subject, void **made) {
  (void)made;
  return tarn_stream_synchronize(((work *)subject)->stream);
}

TEST(enqueuing_tells_every_failure) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  work self = {.stream = fixture_stream(cuda),
               .device = fixture_device_block(cuda, 1000),
               .pinned = fixture_pinned_block(cuda, 1000)};
  OK(tarn_fence_create(self.stream, &self.fence));
  OK(tarn_fence_record(self.fence, self.stream));
  const struct {
    operation what;
    uint64_t call_count;
  } cases[] = {
      {{.name = "copy", .act = do_copy}, 4},
      {{.name = "pageable copy", .act = do_pageable_copy}, 7},
      {{.name = "rectangle", .act = do_rectangle}, 4},
      {{.name = "planes", .act = do_planes}, 4},
      {{.name = "batch", .act = do_batch}, 5},
      {{.name = "fill", .act = do_fill}, 4},
      {{.name = "record", .act = do_record}, 4},
      {{.name = "wait", .act = do_wait}, 4},
      {{.name = "fence synchronize", .act = do_fence_synchronize}, 6},
      {{.name = "synchronize", .act = do_synchronize}, 6},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const uint64_t call_count = fail_each_call(&cases[i].what, &self);
    if (call_count != cases[i].call_count) print_error("%s\n", cases[i].what.name);
    assert_int_equal(call_count, cases[i].call_count);
  }
  const operation make_one = {.name = "fence", .act = create_fence, .undo = destroy_fence};
  fail_each_call(&make_one, self.stream);
  OK(tarn_stream_synchronize(self.stream));
  tarn_fence_destroy(self.fence);
  fixture_free(&self.device);
  fixture_free(&self.pinned);
  tarn_stream_release(self.stream);
}

int run_cuda_failure_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
