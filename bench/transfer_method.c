/* transfer_method.c: samples behind a latch, rounds in turn, and when there are enough. */
#include "bench/transfer_method.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "bench/measure.h"

enum { WARM_UP_COUNT = 4, ROUNDS_BETWEEN_LOOKS = 4, DISTURBANCE_MAX = 512, DISTURBANCE_FIRST = 2 };
static const uint64_t patience_ns = 500 * 1000 * 1000;
static const uint64_t host_count_max = 1 << 20;

struct transfer_method {
  transfer_driver *driver;
  void *start;
  void *end;
  void *other_end;
  /* The thread that opens a latch which nobody else will open. */
  pthread_t watcher;
  bool has_watcher;
  pthread_mutex_t lock; /* guards what follows */
  pthread_cond_t changed;
  uint64_t deadline_ns; /* 0: nothing to watch */
  bool was_late;
  bool ends;
};

/* What one call of transfer_measure knows. */
typedef struct rounds {
  transfer_method *method;
  const transfer_lane *lane;
  const transfer_subject *subjects;
  const transfer_options *options;
  transfer_result *results;
  int result_count;
  uint64_t count; /* of the thing in a sample */
  uint64_t disturbance_factor;
  bool has_lost_latch; /* in this round */
} rounds;

const char *transfer_clock_name(transfer_clock clock) {
  switch (clock) {
    case TRANSFER_CLOCK_DEVICE:
      return "device";
    case TRANSFER_CLOCK_EVENTS:
      return "device without latch";
    case TRANSFER_CLOCK_HOST:
      break;
  }
  return "host";
}

/* --- the watcher --- */

static void *watch(void *context) {
  transfer_method *method = context;
  pthread_mutex_lock(&method->lock);
  while (!method->ends) {
    if (method->deadline_ns == 0) {
      pthread_cond_wait(&method->changed, &method->lock);
      continue;
    }
    const struct timespec deadline = {.tv_sec = (time_t)(method->deadline_ns / 1000000000u),
                                      .tv_nsec = (long)(method->deadline_ns % 1000000000u)};
    pthread_cond_timedwait(&method->changed, &method->lock, &deadline);
    if (method->deadline_ns == 0 || measure_now_ns() < method->deadline_ns) continue;
    transfer_latch_open(method->driver);
    method->was_late = true;
    method->deadline_ns = 0;
  }
  pthread_mutex_unlock(&method->lock);
  return NULL;
}

static void close_latch(transfer_method *method) {
  pthread_mutex_lock(&method->lock);
  transfer_latch_close(method->driver);
  method->was_late = false;
  method->deadline_ns = measure_now_ns() + patience_ns;
  pthread_cond_signal(&method->changed);
  pthread_mutex_unlock(&method->lock);
}

/* False where the watcher has opened it before. */
static bool open_latch(transfer_method *method) {
  pthread_mutex_lock(&method->lock);
  transfer_latch_open(method->driver);
  method->deadline_ns = 0;
  const bool was_late = method->was_late;
  pthread_mutex_unlock(&method->lock);
  return !was_late;
}

static tarn_status start_watcher(transfer_method *method) {
  const int code = pthread_create(&method->watcher, NULL, watch, method);
  if (code != 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "pthread_create", code, "no thread for the latch");
  }
  method->has_watcher = true;
  return TARN_OK;
}

tarn_status transfer_method_create(transfer_driver *driver, transfer_method **method) {
  *method = NULL;
  transfer_method *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the method");
  made->driver = driver;
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&made->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&made->lock, NULL);
  tarn_status status = TARN_OK;
  if (driver != NULL) {
    status = transfer_event_create(driver, &made->start);
    if (status == TARN_OK) status = transfer_event_create(driver, &made->end);
    if (status == TARN_OK) status = transfer_event_create(driver, &made->other_end);
    if (status == TARN_OK && transfer_driver_latch(driver) != TRANSFER_LATCH_NONE) {
      status = start_watcher(made);
    }
  }
  if (status != TARN_OK) {
    transfer_method_destroy(made);
    return status;
  }
  *method = made;
  return TARN_OK;
}

void transfer_method_destroy(transfer_method *method) {
  if (method == NULL) return;
  if (method->has_watcher) {
    pthread_mutex_lock(&method->lock);
    method->ends = true;
    pthread_cond_signal(&method->changed);
    pthread_mutex_unlock(&method->lock);
    pthread_join(method->watcher, NULL);
  }
  if (method->driver != NULL) {
    transfer_event_destroy(method->driver, method->start);
    transfer_event_destroy(method->driver, method->end);
    transfer_event_destroy(method->driver, method->other_end);
  }
  pthread_cond_destroy(&method->changed);
  pthread_mutex_destroy(&method->lock);
  free(method);
}

/* --- one sample --- */

static tarn_status wait_for_lane(const transfer_lane *lane) {
  tarn_status status = lane->wait == NULL ? TARN_OK : lane->wait(lane->wait_context);
  if (status == TARN_OK && lane->disturb != NULL) {
    status = transfer_stream_synchronize(lane->driver, lane->other_stream);
  }
  return status;
}

static uint64_t disturbance_count(const rounds *run) {
  const uint64_t count = run->count * run->disturbance_factor;
  return count < DISTURBANCE_MAX ? count : DISTURBANCE_MAX;
}

static tarn_status enqueue_disturbance(rounds *run) {
  const transfer_lane *lane = run->lane;
  const tarn_status status = lane->disturb(lane->disturb_context, disturbance_count(run));
  if (status != TARN_OK) return status;
  return transfer_event_record(lane->driver, run->method->other_end, lane->other_stream);
}

/* *is_late: the latch was opened while the sample was still being enqueued. */
static tarn_status enqueue_timed(rounds *run, const transfer_subject *subject, bool is_latched,
                                 bool *is_late) {
  transfer_method *method = run->method;
  const transfer_lane *lane = run->lane;
  tarn_status status = TARN_OK;
  if (is_latched) {
    close_latch(method);
    status = transfer_latch_wait(lane->driver, lane->stream);
  }
  if (status == TARN_OK) status = transfer_event_record(lane->driver, method->start, lane->stream);
  if (status == TARN_OK && lane->disturb != NULL) {
    status = transfer_stream_wait(lane->driver, lane->other_stream, method->start);
    if (status == TARN_OK) status = enqueue_disturbance(run);
  }
  if (status == TARN_OK) status = subject->enqueue(subject->context, run->count);
  if (status == TARN_OK) status = transfer_event_record(lane->driver, method->end, lane->stream);
  if (is_latched) *is_late = !open_latch(method);
  return status;
}

static tarn_status sample_by_device(rounds *run, transfer_result *result, double *ns,
                                    bool *is_disturbed) {
  const transfer_lane *lane = run->lane;
  const transfer_subject *subject = &run->subjects[result->subject];
  double rest_ns = 0;
  bool is_late = false;
  tarn_status status =
      enqueue_timed(run, subject, result->clock == TRANSFER_CLOCK_DEVICE, &is_late);
  const tarn_status waited = wait_for_lane(lane);
  if (status == TARN_OK) status = waited;
  if (status == TARN_OK && is_late) {
    result->clock = TRANSFER_CLOCK_EVENTS;
    run->has_lost_latch = true;
  }
  if (status == TARN_OK) {
    status = transfer_event_elapsed(lane->driver, run->method->start, run->method->end, ns);
  }
  if (status == TARN_OK && lane->disturb != NULL) {
    status =
        transfer_event_elapsed(lane->driver, run->method->end, run->method->other_end, &rest_ns);
  }
  *is_disturbed = rest_ns >= 0;
  return status;
}

static tarn_status sample_by_host(rounds *run, const transfer_result *result, double *ns,
                                  bool *is_disturbed) {
  const transfer_lane *lane = run->lane;
  const transfer_subject *subject = &run->subjects[result->subject];
  bool is_over = false;
  tarn_status status = TARN_OK;
  if (lane->disturb != NULL) status = enqueue_disturbance(run);
  if (status != TARN_OK) return status;
  const uint64_t start_ns = measure_now_ns();
  status = subject->enqueue(subject->context, run->count);
  if (status == TARN_OK && lane->wait != NULL) status = lane->wait(lane->wait_context);
  *ns = (double)(measure_now_ns() - start_ns);
  if (status == TARN_OK && lane->disturb != NULL) {
    status = transfer_event_is_passed(lane->driver, run->method->other_end, &is_over);
    if (status == TARN_OK) status = wait_for_lane(lane);
  }
  *is_disturbed = !is_over;
  return status;
}

static tarn_status take_sample(rounds *run, transfer_result *result) {
  double ns = 0;
  bool is_disturbed = true;
  for (;;) {
    const tarn_status status = result->clock == TRANSFER_CLOCK_HOST
                                   ? sample_by_host(run, result, &ns, &is_disturbed)
                                   : sample_by_device(run, result, &ns, &is_disturbed);
    if (status != TARN_OK) return status;
    if (is_disturbed || disturbance_count(run) == DISTURBANCE_MAX) break;
    run->disturbance_factor *= 2; /* it ended first: once more, beside more of it */
  }
  if (!is_disturbed) result->short_disturbances++;
  if (ns <= 0) ns = 1; /* below the clock's resolution */
  const double each_ns = ns / (double)run->count;
  result->samples[result->count++] =
      run->options->bytes == 0 ? each_ns : (double)run->options->bytes / each_ns;
  return TARN_OK;
}

/* --- rounds --- */

static tarn_status time_some(const rounds *run, const transfer_subject *subject, uint64_t count,
                             uint64_t *ns) {
  const uint64_t start_ns = measure_now_ns();
  tarn_status status = subject->enqueue(subject->context, count);
  if (status == TARN_OK) status = wait_for_lane(run->lane);
  *ns = measure_now_ns() - start_ns;
  return status;
}

/* Warms each subject up, and finds how many make a sample. What fills one alone is warm sooner. */
static tarn_status calibrate(rounds *run, int subject_count) {
  uint64_t slowest_ns = 1;
  for (int i = 0; i < subject_count; i++) {
    uint64_t ns = 0;
    tarn_status status = time_some(run, &run->subjects[i], 1, &ns);
    const uint64_t count = ns > run->options->sample_ns ? 1 : WARM_UP_COUNT;
    if (status == TARN_OK && count > 1) status = time_some(run, &run->subjects[i], count, &ns);
    uint64_t again_ns = ns;
    if (status == TARN_OK) status = time_some(run, &run->subjects[i], count, &again_ns);
    if (status != TARN_OK) return status;
    const uint64_t each_ns = (ns < again_ns ? ns : again_ns) / count + 1;
    if (each_ns > slowest_ns) slowest_ns = each_ns;
  }
  bool is_latched = false;
  for (int i = 0; i < run->result_count; i++) {
    is_latched = is_latched || run->results[i].clock == TRANSFER_CLOCK_DEVICE;
  }
  uint64_t count_max = is_latched ? TRANSFER_LATCHED_MAX : host_count_max;
  if (run->options->count_max != 0 && count_max > run->options->count_max) {
    count_max = run->options->count_max;
  }
  run->count = run->options->sample_ns / slowest_ns;
  if (run->count < 1) run->count = 1;
  if (run->count > count_max) run->count = count_max;
  return TARN_OK;
}

static void list_results(rounds *run, int subject_count) {
  const transfer_driver *driver = run->lane->driver;
  bool has_device_clock = driver != NULL && !run->options->only_host_clock;
  for (int i = 0; i < subject_count; i++) has_device_clock &= !run->subjects[i].blocks;
  if (has_device_clock) {
    for (int i = 0; i < subject_count; i++) {
      run->results[run->result_count++] = (transfer_result){
          .subject = i,
          .clock = transfer_driver_latch(driver) == TRANSFER_LATCH_NONE ? TRANSFER_CLOCK_EVENTS
                                                                        : TRANSFER_CLOCK_DEVICE};
    }
  }
  for (int i = 0; i < subject_count; i++) {
    run->results[run->result_count++] =
        (transfer_result){.subject = i, .clock = TRANSFER_CLOCK_HOST};
  }
}

static bool all_are_precise(rounds *run) {
  bool is_precise = true;
  for (int i = 0; i < run->result_count; i++) {
    transfer_result *result = &run->results[i];
    statistics_summarize(result->samples, result->count, /*seed=*/1, &result->summary);
    if (statistics_width(&result->summary) > run->options->width_max) is_precise = false;
  }
  return is_precise;
}

/* What came before a latch was lost is another clock's, and its rivals' samples go with it, for all
 * are taken in turn. That happens once to each at most. */
static void begin_anew(rounds *run) {
  for (int i = 0; i < run->result_count; i++) {
    run->results[i].count = 0;
    run->results[i].short_disturbances = 0;
  }
  run->has_lost_latch = false;
}

static tarn_status play_round(rounds *run, int round) {
  for (int i = 0; i < run->result_count; i++) {
    const int at = round % 2 == 0 ? i : run->result_count - 1 - i;
    const tarn_status status = take_sample(run, &run->results[at]);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status transfer_measure(transfer_method *method, const transfer_lane *lane,
                             const transfer_subject *subjects, int subject_count,
                             const transfer_options *options, transfer_result *results,
                             int *result_count) {
  *result_count = 0;
  if (subject_count > TRANSFER_SUBJECTS_MAX || options->samples_max > STATISTICS_SAMPLES_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d subjects and %d samples, room for %d and %d",
                     subject_count, options->samples_max, TRANSFER_SUBJECTS_MAX,
                     STATISTICS_SAMPLES_MAX);
  }
  rounds run = {.method = method,
                .lane = lane,
                .subjects = subjects,
                .options = options,
                .results = results,
                .disturbance_factor = DISTURBANCE_FIRST};
  list_results(&run, subject_count);
  tarn_status status = calibrate(&run, subject_count);
  const uint64_t start_ns = measure_now_ns();
  const char *stop = "samples";
  int round = 0;
  while (status == TARN_OK && round < options->samples_max) {
    status = play_round(&run, round++);
    if (run.has_lost_latch) {
      begin_anew(&run);
      round = 0;
    }
    if (status != TARN_OK || round < options->samples_min) continue;
    const bool is_late = measure_now_ns() - start_ns > options->time_ns_max;
    const bool is_look = (round - options->samples_min) % ROUNDS_BETWEEN_LOOKS == 0;
    if (is_late || is_look || round == options->samples_max) {
      if (all_are_precise(&run)) break;
    }
    if (!is_late) continue;
    stop = "time";
    break;
  }
  if (status != TARN_OK) return status;
  for (int i = 0; i < run.result_count; i++) {
    const bool is_precise = statistics_width(&results[i].summary) <= options->width_max;
    results[i].stop = is_precise ? "precise" : stop;
  }
  *result_count = run.result_count;
  return TARN_OK;
}
