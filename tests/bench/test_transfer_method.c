/* test_transfer_method.c: turns, latches, disturbances, and when there are samples enough. */
#include <string.h>

#include "bench/transfer_method.h"
#include "tests/support/test.h"

static transfer_driver *driver; /* of the simulator; NULL: this build has none */
static void *stream;
static void *other_stream;

typedef struct recorder {
  char *log;
  char name;
  uint64_t work;
  uint64_t call_count;
} recorder;

static tarn_status record(void *context, uint64_t count) {
  recorder *self = context;
  const size_t length = strlen(self->log);
  if (length < 900) self->log[length] = self->name;
  self->call_count++;
  for (uint64_t i = 0; i < count * self->work; i++) __asm__ volatile("" : : : "memory");
  return TARN_OK;
}

static const transfer_options few = {
    .samples_min = 11, .samples_max = 11, .sample_ns = 10000, .width_max = 0.01};

TEST(rounds_take_turns_in_alternating_order) {
  char log[1024] = "";
  recorder a = {log, 'A', 200};
  recorder b = {log, 'B', 200};
  const transfer_subject subjects[] = {{"a", record, &a, false}, {"b", record, &b, false}};
  const transfer_lane lane = {.driver = NULL};
  transfer_result results[TRANSFER_RESULTS_MAX];
  transfer_method *method = NULL;
  int count = 0;
  assert_int_equal(transfer_method_create(NULL, &method), TARN_OK);
  assert_int_equal(transfer_measure(method, &lane, subjects, 2, &few, results, &count), TARN_OK);
  transfer_method_destroy(method);
  assert_int_equal(count, 2);
  assert_true(results[0].clock == TRANSFER_CLOCK_HOST && results[0].subject == 0);
  assert_true(results[0].count == 11 && results[1].count == 11);
  assert_string_equal(log + strlen(log) - 22, "ABBAABBAABBAABBAABBAAB");
}

/* A body whose samples are all alike in a clock's eyes is not to be had; an interval that may be as
 * wide as the median is. */
TEST(measuring_ends_as_soon_as_it_is_precise) {
  char log[1024] = "";
  recorder a = {log, 'A', 20000};
  const transfer_subject subjects[] = {{"a", record, &a, false}};
  const transfer_lane lane = {.driver = NULL};
  transfer_options options = few;
  transfer_result results[TRANSFER_RESULTS_MAX];
  transfer_method *method = NULL;
  int count = 0;
  options.samples_max = 60;
  options.time_ns_max = UINT64_C(60) * 1000 * 1000 * 1000;
  options.width_max = 1e9;
  assert_int_equal(transfer_method_create(NULL, &method), TARN_OK);
  assert_int_equal(transfer_measure(method, &lane, subjects, 1, &options, results, &count),
                   TARN_OK);
  assert_int_equal(results[0].count, 11);
  assert_string_equal(results[0].stop, "precise");
  options.width_max = -1; /* never */
  assert_int_equal(transfer_measure(method, &lane, subjects, 1, &options, results, &count),
                   TARN_OK);
  assert_int_equal(results[0].count, 60);
  assert_string_equal(results[0].stop, "samples");
  options.time_ns_max = 0;
  assert_int_equal(transfer_measure(method, &lane, subjects, 1, &options, results, &count),
                   TARN_OK);
  assert_int_equal(results[0].count, 11);
  assert_string_equal(results[0].stop, "time");
  transfer_method_destroy(method);
}

static tarn_status refuse(void *context, uint64_t count) {
  (void)context, (void)count;
  return tarn_fail(TARN_OUT_OF_MEMORY, "not today");
}

TEST(failure_of_a_subject_ends_the_measurement) {
  const transfer_subject subjects[] = {{"a", refuse, NULL, false}};
  const transfer_lane lane = {.driver = NULL};
  transfer_result results[TRANSFER_RESULTS_MAX];
  transfer_method *method = NULL;
  int count = 0;
  assert_int_equal(transfer_method_create(NULL, &method), TARN_OK);
  assert_int_equal(transfer_measure(method, &lane, subjects, 1, &few, results, &count),
                   TARN_OUT_OF_MEMORY);
  transfer_options many = few;
  many.samples_max = STATISTICS_SAMPLES_MAX + 1;
  assert_int_equal(transfer_measure(method, &lane, subjects, 1, &many, results, &count),
                   TARN_INVALID_ARGUMENT);
  transfer_method_destroy(method);
}

/* --- on the simulated driver --- */

enum { FILL_BYTES = 4096 };

typedef struct filler {
  void *device;
  void *stream;
  uint64_t total;
  bool waits; /* for the stream inside of enqueue */
  int call_count;
} filler;

static tarn_status fill(void *context, uint64_t count) {
  filler *self = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; status == TARN_OK && i < count; i++) {
    status = transfer_driver_fill(driver, self->device, 1, FILL_BYTES, self->stream);
  }
  self->total += count;
  if (status == TARN_OK && self->waits) status = transfer_stream_synchronize(driver, self->stream);
  return status;
}

static tarn_status wait_for_stream(void *context) {
  (void)context;
  return transfer_stream_synchronize(driver, stream);
}

static transfer_lane device_lane(void) {
  return (transfer_lane){.driver = driver, .stream = stream, .wait = wait_for_stream};
}

static void measure_by(tarn_status (*enqueue)(void *context, uint64_t count), filler *self,
                       const transfer_lane *lane, bool blocks, transfer_result *results,
                       int *count) {
  const transfer_subject subjects[] = {{"fill", enqueue, self, blocks}};
  transfer_options options = few;
  transfer_method *method = NULL;
  options.count_max = 4;
  options.sample_ns = UINT64_C(1) << 40; /* so that it is count_max, however slow this machine */
  assert_int_equal(transfer_driver_alloc(driver, FILL_BYTES, &self->device), TARN_OK);
  assert_int_equal(transfer_method_create(driver, &method), TARN_OK);
  assert_int_equal(transfer_measure(method, lane, subjects, 1, &options, results, count), TARN_OK);
  transfer_method_destroy(method);
  assert_int_equal(transfer_driver_free(driver, self->device), TARN_OK);
}

static void measure_fill(filler *self, const transfer_lane *lane, bool blocks,
                         transfer_result *results, int *count) {
  measure_by(fill, self, lane, blocks, results, count);
}

TEST(both_clocks_are_reported) {
  filler filled = {.stream = stream};
  transfer_result results[TRANSFER_RESULTS_MAX];
  const transfer_lane lane = device_lane();
  int count = 0;
  if (driver == NULL) skip();
  measure_fill(&filled, &lane, /*blocks=*/false, results, &count);
  assert_int_equal(count, 2);
  assert_int_equal(results[0].clock, TRANSFER_CLOCK_DEVICE);
  assert_int_equal(results[1].clock, TRANSFER_CLOCK_HOST);
  assert_true(results[0].summary.median > 0 && results[1].summary.median > 0);
  assert_string_equal(transfer_clock_name(results[0].clock), "device");
}

/* Of a subject that waits for the device, and says so or not. */
static int measure_waiting(bool blocks, transfer_result *results) {
  filler filled = {.stream = stream, .waits = true};
  const transfer_lane lane = device_lane();
  int count = 0;
  measure_fill(&filled, &lane, blocks, results, &count);
  return count;
}

TEST(what_blocks_is_timed_by_the_host_alone) {
  transfer_result results[TRANSFER_RESULTS_MAX];
  if (driver == NULL) skip();
  assert_int_equal(measure_waiting(/*blocks=*/true, results), 1);
  assert_int_equal(results[0].clock, TRANSFER_CLOCK_HOST);
}

/* It says that it does not wait, and does: behind a closed latch, for good. */
TEST(latch_that_would_never_open_is_opened_and_given_up) {
  transfer_result results[TRANSFER_RESULTS_MAX];
  if (driver == NULL) skip();
  assert_int_equal(measure_waiting(/*blocks=*/false, results), 2);
  assert_int_equal(results[0].clock, TRANSFER_CLOCK_EVENTS);
  assert_int_equal(results[0].count, 11);
}

/* It waits from the last round on: the ten before it are by another clock. */
static tarn_status fill_and_wait_late(void *context, uint64_t count) {
  filler *self = context;
  enum { CALIBRATION = 3, CALLS_BEFORE = CALIBRATION + 2 * 10 };
  self->waits = self->call_count++ >= CALLS_BEFORE;
  return fill(context, count);
}

TEST(late_change_of_clock_begins_the_rounds_anew) {
  filler filled = {.stream = stream};
  transfer_result results[TRANSFER_RESULTS_MAX];
  const transfer_lane lane = device_lane();
  int count = 0;
  if (driver == NULL) skip();
  measure_by(fill_and_wait_late, &filled, &lane, /*blocks=*/false, results, &count);
  assert_int_equal(results[0].clock, TRANSFER_CLOCK_EVENTS);
  assert_int_equal(results[1].clock, TRANSFER_CLOCK_HOST);
  assert_true(results[0].count == 11 && results[1].count == 11);
}

/* Over at once, whatever it is asked for; the most of that is kept. */
static tarn_status fill_nothing(void *context, uint64_t count) {
  filler *self = context;
  if (count > self->total) self->total = count;
  return TARN_OK;
}

/* More of it each time, up to a bound, and the result says that it did not help. */
TEST(disturbance_that_ends_first_grows_and_is_told) {
  filler filled = {.stream = stream};
  filler other = {.stream = other_stream};
  transfer_result results[TRANSFER_RESULTS_MAX];
  transfer_lane lane = device_lane();
  int count = 0;
  if (driver == NULL) skip();
  lane.disturb = fill_nothing;
  lane.disturb_context = &other;
  lane.other_stream = other_stream;
  measure_fill(&filled, &lane, /*blocks=*/false, results, &count);
  assert_int_equal(count, 2);
  assert_int_equal(other.total, 512); /* from 4 times 2 */
  assert_true(results[0].short_disturbances > 0 && results[1].short_disturbances > 0);
}

TEST(latch_holds_back_until_it_is_opened) {
  void *event = NULL;
  bool is_passed = true;
  if (driver == NULL) skip();
  assert_int_equal(transfer_driver_latch(driver), TRANSFER_LATCH_VALUE);
  assert_int_equal(transfer_event_create(driver, &event), TARN_OK);
  for (int i = 0; i < 3; i++) { /* and closes again */
    transfer_latch_close(driver);
    assert_int_equal(transfer_latch_wait(driver, stream), TARN_OK);
    assert_int_equal(transfer_event_record(driver, event, stream), TARN_OK);
    for (int j = 0; j < 20; j++) {
      assert_int_equal(transfer_event_is_passed(driver, event, &is_passed), TARN_OK);
      assert_false(is_passed);
    }
    transfer_latch_open(driver);
    assert_int_equal(transfer_stream_synchronize(driver, stream), TARN_OK);
    assert_int_equal(transfer_event_is_passed(driver, event, &is_passed), TARN_OK);
    assert_true(is_passed);
  }
  transfer_event_destroy(driver, event);
}

TEST(answer_comes_behind_the_latch) {
  if (driver == NULL) skip();
  transfer_latch_close(driver);
  assert_int_equal(transfer_latch_wait(driver, stream), TARN_OK);
  assert_int_equal(transfer_latch_answer(driver, stream), TARN_OK);
  transfer_latch_open(driver);
  assert_int_equal(transfer_latch_await_answer(driver, stream), TARN_OK);
}

int main(int argc, char **argv) {
  if (argc > 1) {
    if (transfer_driver_open(argv[1], 0, &driver) != TARN_OK) return 1;
    if (transfer_stream_create(driver, &stream) != TARN_OK) return 1;
    if (transfer_stream_create(driver, &other_stream) != TARN_OK) return 1;
  }
  const int failed = run_listed_tests(NULL, NULL);
  if (driver != NULL) {
    transfer_stream_destroy(driver, stream);
    transfer_stream_destroy(driver, other_stream);
    transfer_driver_close(driver);
  }
  return failed;
}
