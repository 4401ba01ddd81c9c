/* turns.c: hands a list of steps from thread to thread. */
#include "bench/turns.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct player player;

typedef struct turns {
  const turns_list *list;
  pthread_mutex_t lock; /* guards what follows; no step is played under it */
  size_t next;
  uint32_t thread_of_next;
  bool is_over; /* after the last step, or the first failure */
  tarn_status status;
  tarn_error error; /* of the thread that failed */
  player *players;
} turns;

struct player {
  turns *shared;
  uint32_t number;
  pthread_t thread;
  pthread_cond_t called; /* it is this player's turn, or all is over */
};

/* The steps from `step` on that are this player's; returns the first one that is not. */
static size_t play_run(const player *self, size_t step, tarn_status *status) {
  const turns_list *list = self->shared->list;
  *status = TARN_OK;
  while (*status == TARN_OK && step < list->step_count &&
         list->thread_of(list->context, step) == self->number) {
    *status = list->play(list->context, step++);
  }
  return step;
}

static void pass_on(turns *shared, size_t next, tarn_status status) {
  const turns_list *list = shared->list;
  shared->next = next;
  shared->is_over = status != TARN_OK || next == list->step_count;
  if (status != TARN_OK) {
    shared->status = status;
    shared->error = *tarn_last_error();
  }
  if (shared->is_over) {
    for (uint32_t number = 0; number < list->thread_count; number++) {
      pthread_cond_signal(&shared->players[number].called);
    }
  } else {
    shared->thread_of_next = list->thread_of(list->context, next);
    pthread_cond_signal(&shared->players[shared->thread_of_next].called);
  }
}

static void *play_turns(void *argument) {
  player *self = argument;
  turns *shared = self->shared;
  pthread_mutex_lock(&shared->lock);
  while (!shared->is_over) {
    if (shared->thread_of_next != self->number) {
      pthread_cond_wait(&self->called, &shared->lock);
      continue;
    }
    const size_t first = shared->next;
    pthread_mutex_unlock(&shared->lock);
    tarn_status status = TARN_OK;
    const size_t next = play_run(self, first, &status);
    pthread_mutex_lock(&shared->lock);
    pass_on(shared, next, status);
  }
  pthread_mutex_unlock(&shared->lock);
  return NULL;
}

static void end_early(turns *shared, int cause) {
  pthread_mutex_lock(&shared->lock);
  shared->status =
      tarn_fail_native(TARN_OUT_OF_MEMORY, "pthread_create", cause, "no thread to replay on");
  shared->error = *tarn_last_error();
  shared->is_over = true;
  for (uint32_t number = 0; number < shared->list->thread_count; number++) {
    pthread_cond_signal(&shared->players[number].called);
  }
  pthread_mutex_unlock(&shared->lock);
}

static tarn_status play_on_threads(turns *shared) {
  const turns_list *list = shared->list;
  uint32_t started = 0;
  int failed = 0;
  shared->thread_of_next = list->thread_of(list->context, 0);
  pthread_mutex_init(&shared->lock, NULL);
  for (uint32_t number = 0; number < list->thread_count; number++) {
    player *one = &shared->players[number];
    *one = (player){.shared = shared, .number = number};
    pthread_cond_init(&one->called, NULL);
  }
  for (; failed == 0 && started < list->thread_count; started += failed == 0) {
    player *one = &shared->players[started];
    failed = pthread_create(&one->thread, NULL, play_turns, one);
  }
  if (failed != 0) end_early(shared, failed);
  for (uint32_t number = 0; number < started; number++) {
    pthread_join(shared->players[number].thread, NULL);
  }
  for (uint32_t number = 0; number < list->thread_count; number++) {
    pthread_cond_destroy(&shared->players[number].called);
  }
  pthread_mutex_destroy(&shared->lock);
  return shared->status;
}

static tarn_status play_here(const turns_list *list) {
  tarn_status status = TARN_OK;
  for (size_t step = 0; status == TARN_OK && step < list->step_count; step++) {
    status = list->play(list->context, step);
  }
  return status;
}

tarn_status turns_play(const turns_list *list) {
  if (list->thread_count == 1 || list->step_count == 0) return play_here(list);
  turns shared = {.list = list, .status = TARN_OK};
  shared.players = calloc(list->thread_count, sizeof *shared.players);
  if (shared.players == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %u threads", list->thread_count);
  }
  const tarn_status status = play_on_threads(&shared);
  free(shared.players);
  if (status == TARN_OK) return TARN_OK;
  return tarn_fail_native(status, shared.error.native_call, shared.error.native_code, "%s",
                          shared.error.message);
}
