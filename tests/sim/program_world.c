/* program_world.c: the driver that a program runs on, from opening it to nothing left in it. */
#include <string.h>

#include "cuda/sim/cusim.h"
#include "tests/sim/program_runner.h"

void runner_check_driver(runner *self) {
  if (cusim_race_count() != 0) {
    char report[sizeof self->verdict->text] = "";
    cusim_race_report(0, report, sizeof report);
    runner_condemn(self, PROGRAM_RACE, "%s", report);
  }
  if (*cusim_fault() != '\0') runner_condemn(self, PROGRAM_FAULT, "%s", cusim_fault());
}

static tarn_status open_scratch(runner *self, size_t word_count) {
  tarn_status status = tarn_cuda_pinned_provider_create(self->cuda, NULL, &self->scratch_provider);
  if (status != TARN_OK) return status;
  const tarn_provider_attributes *about = tarn_provider_attributes_of(self->scratch_provider);
  self->pinned = about->device;
  if (!tarn_size_round_up(word_count * sizeof *self->scratch, about->granularity_bytes,
                          &self->scratch_bytes)) {
    return TARN_TOO_LARGE;
  }
  void *scratch = NULL;
  status = tarn_provider_alloc(self->scratch_provider, self->scratch_bytes, &scratch);
  self->scratch = scratch;
  return status;
}

bool runner_begin(runner *self, size_t word_count) {
  const program *of = self->of;
  cusim_set_idle_ms(0);
  cusim_set_races(CUSIM_RACES_COUNT);
  cusim_forget_races();
  cusim_set_patience_ms(5000); /* the order must not hang on how busy the machine is */
  cusim_set_policy((cusim_policy)of->policy);
  cusim_set_capacity(0, of->capacity_bytes);
  cusim_set_seed(of->seed);
  cusim_get_counts(&self->before);
  tarn_status status = tarn_cuda_open(NULL, &self->cuda);
  if (status == TARN_OK) status = driver_calls_open(self->cuda, &self->driver);
  if (status == TARN_OK) status = open_scratch(self, word_count);
  if (status != TARN_OK) {
    runner_condemn(self, PROGRAM_WRONG_STATUS, "%s: %s", tarn_status_name(status),
                   tarn_last_error()->message);
  }
  return status == TARN_OK;
}

/* A stream that went with work pending is remembered until somebody looks: the next one that comes.
 * From here on whatever is enqueued runs at once. */
void runner_forget_streams(runner *self) {
  tarn_stream *another = NULL;
  cusim_set_policy(CUSIM_EAGER);
  cusim_drain();
  if (self->cuda == NULL || tarn_cuda_stream_create(self->cuda, 0, &another) != TARN_OK) return;
  tarn_stream_release(another);
}

static void check_leaks(runner *self) {
  cusim_counts after;
  cusim_get_counts(&after);
  const cusim_counts *before = &self->before;
  if (after.device_bytes != before->device_bytes || after.pinned_bytes != before->pinned_bytes ||
      after.streams != before->streams || after.events != before->events ||
      after.context_retains != before->context_retains || after.abandoned != before->abandoned ||
      after.reservations != before->reservations ||
      after.physical_bytes != before->physical_bytes) {
    runner_condemn(
        self, PROGRAM_LEAK,
        "left: %zu bytes of device and %zu of pinned memory, %zu streams, %zu events, %zu "
        "retains of contexts, %zu reservations, %zu physical bytes; abandoned %zu",
        after.device_bytes - before->device_bytes, after.pinned_bytes - before->pinned_bytes,
        after.streams - before->streams, after.events - before->events,
        after.context_retains - before->context_retains, after.reservations - before->reservations,
        after.physical_bytes - before->physical_bytes, after.abandoned - before->abandoned);
  }
}

/* Where giving something back is what failed, or reaching the context for it, it is lost: nobody
 * could do anything about it. */
static bool may_leak(const runner *self) {
  static const char *const names[] = {"Free",       "Destroy",       "Release",       "Unmap",
                                      "Unregister", "CtxGetCurrent", "CtxPushCurrent"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strstr(self->verdict->failed_call, names[i]) != NULL) return true;
  }
  return false;
}

void runner_end(runner *self) {
  runner_close_pools(self);
  tarn_staging_release(self->ring);
  if (self->scratch != NULL) {
    const tarn_status status =
        tarn_provider_free(self->scratch_provider, self->scratch, self->scratch_bytes);
    if (status != TARN_OK) runner_condemn(self, PROGRAM_LEAK, "%s", tarn_last_error()->message);
  }
  tarn_provider_release(self->scratch_provider);
  runner_forget_streams(self);
  driver_calls_close(&self->driver);
  if (self->cuda != NULL) tarn_cuda_release(self->cuda);
  if (self->verdict->failing == PROGRAM_FINE && !may_leak(self)) check_leaks(self);
}
