/* cusim_fixture.c: the state in which each test of the simulated driver begins and ends. */
#include "tests/cuda/sim/cusim_fixture.h"

static size_t abandoned_before;

int cusim_setup(void **state) {
  CUcontext context = NULL;
  CU(cuInit(0));
  cusim_set_idle_ms(0);
  cusim_set_patience_ms(2000); /* the order must not hang on how busy the machine is */
  cusim_set_peers(0);
  cusim_set_policy(CUSIM_LAZY);
  cusim_set_seed(1);
  cusim_set_races(CUSIM_RACES_COUNT);
  cusim_forget_races();
  abandoned_before = cusim_fixture_counts().abandoned;
  CU(cuDevicePrimaryCtxRetain(&context, 0));
  CU(cuCtxPushCurrent(context));
  *state = context;
  return 0;
}

/* The reports so far, one after the other. */
static void print_races(void) {
  char text[1024];
  for (size_t i = 0; cusim_race_report(i, text, sizeof text) != 0; i++) print_error("%s\n", text);
}

void cusim_expect_no_race(void) {
  if (cusim_race_count() == 0) return;
  print_races();
  cusim_forget_races();
  fail_msg("a race where there is none");
}

void cusim_expect_races(uint64_t count) {
  if (cusim_race_count() != count) print_races();
  assert_int_equal(cusim_race_count(), count);
  cusim_forget_races();
}

void cusim_expect_race(const char *later, const char *earlier, const char *reason) {
  char text[1024];
  assert_true(cusim_race_report(0, text, sizeof text) > 0);
  const char *found = strstr(text, later);
  if (found != NULL) found = strstr(found + 1, earlier);
  if (found != NULL) found = strstr(found + 1, reason);
  if (found == NULL) fail_msg("no \"%s\", \"%s\", \"%s\" in: %s", later, earlier, reason, text);
  cusim_expect_races(1);
}

int cusim_teardown(void **state) {
  (void)state;
  cusim_fail_nothing();
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(0));
  const cusim_counts counts = cusim_fixture_counts();
  assert_int_equal(counts.device_blocks, 0);
  assert_int_equal(counts.device_bytes, 0);
  assert_int_equal(counts.pinned_blocks, 0);
  assert_int_equal(counts.pinned_bytes, 0);
  assert_int_equal(counts.streams, 0);
  assert_int_equal(counts.events, 0);
  assert_int_equal(counts.graphs, 0);
  assert_int_equal(counts.graph_executables, 0);
  assert_int_equal(counts.modules, 0);
  assert_int_equal(counts.context_retains, 0);
  assert_int_equal(counts.pending_operations, 0);
  assert_int_equal(counts.abandoned, abandoned_before);
  assert_int_equal(counts.reservations, 0);
  assert_int_equal(counts.physical_bytes, 0);
  assert_int_equal(counts.mappings, 0);
  assert_int_equal(counts.pools, 0);
  assert_int_equal(counts.pool_blocks, 0);
  assert_int_equal(counts.pool_bytes, 0);
  cusim_expect_no_race();
  return 0;
}

void cusim_fixture_forgive(void) {
  abandoned_before = cusim_fixture_counts().abandoned;
}

cusim_counts cusim_fixture_counts(void) {
  cusim_counts counts;
  cusim_get_counts(&counts);
  return counts;
}

CUstream cusim_fixture_stream(void) {
  CUstream stream = NULL;
  CU(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  return stream;
}

CUevent cusim_fixture_event(void) {
  CUevent event = NULL;
  CU(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  return event;
}

unsigned char *cusim_fixture_pinned(size_t size_bytes) {
  void *address = NULL;
  CU(cuMemHostAlloc(&address, size_bytes, CU_MEMHOSTALLOC_PORTABLE));
  return address;
}

CUdeviceptr cusim_fixture_device(size_t size_bytes) {
  CUdeviceptr address = 0;
  CU(cuMemAlloc(&address, size_bytes));
  return address;
}
