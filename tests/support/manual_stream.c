/* manual_stream.c: queues of steps that the test runs by hand. */
#include "tests/support/manual_stream.h"

#include <stdlib.h>
#include <string.h>

manual_calls manual_called;
int manual_fail_records;
int manual_fail_synchronizes;
int manual_fail_waits;
bool manual_is_capturing;
manual_interludes manual_interlude;

/* Where a queue stands. Shared by the stream and the fences recorded on it, so that a fence may
 * outlive the stream; steps of a destroyed stream stay runnable until the queue is dropped. */
typedef struct queue queue;

typedef struct step {
  struct step *next;
  tarn_host_function function; /* NULL: the step waits */
  void *argument;
  tarn_copy_rows rows; /* where rows.dst is set, the step copies */
  uint8_t value;
  bool is_fill;
  queue *awaited;
  long awaited_position;
} step;

struct queue {
  int owner_count;
  long enqueued;
  long done;
  step *first;
  step **last;
};

typedef struct manual_fence {
  queue *recorded; /* NULL: never */
  long position;
} manual_fence;

static void play(void (**interlude)(void)) {
  void (*once)(void) = *interlude;
  *interlude = NULL;
  if (once != NULL) once();
}

static void queue_disown(queue *self) {
  if (self == NULL || --self->owner_count != 0) return;
  for (step *next = NULL; self->first != NULL; self->first = next) {
    next = self->first->next;
    queue_disown(self->first->awaited);
    free(self->first);
  }
  free(self);
}

static bool run_one(queue *self) {
  step *work = self->first;
  if (work == NULL) return false;
  if (work->awaited != NULL && work->awaited->done < work->awaited_position) return false;
  self->first = work->next;
  if (self->first == NULL) self->last = &self->first;
  for (size_t row = 0; work->rows.dst != NULL && row < work->rows.row_count; row++) {
    char *dst = (char *)work->rows.dst + row * work->rows.dst_pitch_bytes;
    if (work->is_fill) {
      memset(dst, work->value, work->rows.row_bytes);
    } else {
      memcpy(dst, (const char *)work->rows.src + row * work->rows.src_pitch_bytes,
             work->rows.row_bytes);
    }
  }
  if (work->function != NULL) work->function(work->argument);
  self->done++;
  queue_disown(work->awaited);
  free(work);
  return true;
}

/* Runs `self` up to `position`, and what its waits need first. */
static void run_to(queue *self, long position) {
  while (self->done < position) {
    const step *work = self->first;
    if (work->awaited != NULL) run_to(work->awaited, work->awaited_position);
    run_one(self);
  }
}

static tarn_status enqueue(queue *self, step content) {
  step *work = malloc(sizeof *work);
  if (work == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a step");
  *work = content;
  *self->last = work;
  self->last = &work->next;
  self->enqueued++;
  return TARN_OK;
}

static tarn_status manual_copy(void *context, const tarn_copy_rows *rows) {
  return enqueue(context, (step){.rows = *rows});
}

static tarn_status manual_fill(void *context, void *dst, tarn_device device, uint8_t value,
                               size_t size_bytes) {
  return enqueue(
      context,
      (step){.rows = {.dst = dst, .row_bytes = size_bytes, .row_count = 1, .dst_device = device},
             .is_fill = true,
             .value = value});
}

static tarn_status manual_call(void *context, tarn_host_function function, void *argument) {
  return enqueue(context, (step){.function = function, .argument = argument});
}

static tarn_status manual_synchronize(void *context) {
  queue *self = context;
  manual_called.synchronizes++;
  if (manual_fail_synchronizes > 0) {
    manual_fail_synchronizes--;
    return tarn_fail(TARN_DEVICE_ERROR, "the test lets this wait fail");
  }
  run_to(self, self->enqueued);
  return TARN_OK;
}

static void manual_destroy(void *context) {
  queue *self = context;
  run_to(self, self->enqueued);
  queue_disown(self);
}

static tarn_status fence_create(void *context, void **fence) {
  (void)context;
  *fence = calloc(1, sizeof(manual_fence));
  return *fence != NULL ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a fence");
}

static tarn_status fence_record(void *context, void *fence) {
  queue *on = context;
  manual_fence *self = fence;
  play(&manual_interlude.before_record);
  manual_called.records++;
  if (manual_fail_records > 0) {
    manual_fail_records--;
    return tarn_fail(TARN_DEVICE_ERROR, "the test lets this record fail");
  }
  on->owner_count++;
  queue_disown(self->recorded);
  self->recorded = on;
  self->position = on->enqueued;
  play(&manual_interlude.after_record);
  return TARN_OK;
}

static tarn_status fence_wait(void *context, void *fence) {
  const manual_fence *self = fence;
  play(&manual_interlude.before_wait);
  manual_called.waits++;
  if (manual_fail_waits > 0) {
    manual_fail_waits--;
    return tarn_fail(TARN_DEVICE_ERROR, "the test lets this wait fail");
  }
  if (self->recorded == NULL) return TARN_OK;
  const tarn_status status =
      enqueue(context, (step){.awaited = self->recorded, .awaited_position = self->position});
  if (status == TARN_OK) self->recorded->owner_count++;
  return status;
}

static tarn_status fence_query(void *fence) {
  const manual_fence *self = fence;
  manual_called.queries++;
  const bool is_passed = self->recorded == NULL || self->recorded->done >= self->position;
  return is_passed ? TARN_OK : TARN_NOT_READY;
}

static tarn_status fence_synchronize(void *fence) {
  const manual_fence *self = fence;
  manual_called.synchronizes++;
  if (self->recorded != NULL) run_to(self->recorded, self->position);
  return TARN_OK;
}

static void fence_destroy(void *fence) {
  manual_fence *self = fence;
  queue_disown(self->recorded);
  free(self);
}

static tarn_status is_capturing(void *context, bool *is_capturing) {
  (void)context;
  *is_capturing = manual_is_capturing;
  return TARN_OK;
}

static const tarn_stream_ops manual_ops = {.struct_size = sizeof manual_ops,
                                           .name = "manual",
                                           .copy = manual_copy,
                                           .fill = manual_fill,
                                           .call = manual_call,
                                           .synchronize = manual_synchronize,
                                           .destroy = manual_destroy,
                                           .fence_create = fence_create,
                                           .fence_record = fence_record,
                                           .fence_wait = fence_wait,
                                           .fence_query = fence_query,
                                           .fence_synchronize = fence_synchronize,
                                           .fence_destroy = fence_destroy,
                                           .is_capturing = is_capturing};

tarn_status manual_stream_create_on(tarn_device device, tarn_stream **stream) {
  *stream = NULL;
  queue *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a manual stream");
  self->owner_count = 1;
  self->last = &self->first;
  const tarn_stream_options options = {.struct_size = sizeof options, .device = device};
  const tarn_status status = tarn_stream_create(&manual_ops, self, &options, stream);
  if (status != TARN_OK) free(self);
  return status;
}

tarn_status manual_stream_create(tarn_stream **stream) {
  return manual_stream_create_on(tarn_device_make(TARN_DEVICE_CPU, 0), stream);
}

int manual_stream_advance(tarn_stream *stream, int step_count) {
  queue *self = tarn_stream_context(stream, &manual_ops);
  int ran = 0;
  while (ran < step_count && run_one(self)) ran++;
  return ran;
}

int manual_stream_pending(const tarn_stream *stream) {
  const queue *self = tarn_stream_context(stream, &manual_ops);
  return (int)(self->enqueued - self->done);
}
