/* test_held_blocks.c: a freed block comes back when each stream has passed its free, not before. */
#include "numa/held_blocks.h"

#include <stdlib.h>

#include "alloc/tarn_host_stream.h"
#include "tests/support/test.h"

/* A worker stream that stands still until the gate is opened. */
typedef struct gated_stream {
  tarn_stream *stream;
  pthread_mutex_t gate;
} gated_stream;

static void pass_gate(void *argument) {
  pthread_mutex_t *gate = argument;
  pthread_mutex_lock(gate);
  pthread_mutex_unlock(gate);
}

static void gated_init(gated_stream *gated) {
  assert_int_equal(tarn_worker_stream_create(&gated->stream), TARN_OK);
  pthread_mutex_init(&gated->gate, NULL);
  pthread_mutex_lock(&gated->gate);
  assert_int_equal(tarn_stream_call(gated->stream, pass_gate, &gated->gate), TARN_OK);
}

static void gated_open(gated_stream *gated) {
  pthread_mutex_unlock(&gated->gate);
  assert_int_equal(tarn_stream_synchronize(gated->stream), TARN_OK);
}

static void gated_deinit(gated_stream *gated) {
  tarn_stream_release(gated->stream);
  pthread_mutex_destroy(&gated->gate);
}

static void hold(tarn__held_blocks *held, uintptr_t address, tarn_stream *first,
                 tarn_stream *second) {
  tarn__freed_block block = {.address = (void *)address, .size_class = 23};
  assert_true(tarn__block_uses_add(&block.uses, first));
  if (second != NULL) assert_true(tarn__block_uses_add(&block.uses, second));
  assert_true(tarn__held_blocks_add(held, &block));
}

/* Frees the list; how many were in it. */
static size_t count_and_free(tarn__held_block *blocks) {
  size_t count = 0;
  while (blocks != NULL) {
    tarn__held_block *const next = blocks->next;
    tarn__block_uses_free(blocks->block.uses);
    free(blocks);
    blocks = next;
    ++count;
  }
  return count;
}

TEST(a_block_is_held_until_its_stream_has_passed) {
  gated_stream gated;
  gated_init(&gated);
  tarn__held_blocks held;
  tarn__held_blocks_init(&held);
  assert_false(tarn__held_blocks_any(&held));
  hold(&held, 64, gated.stream, NULL);
  assert_true(tarn__held_blocks_any(&held));
  for (int i = 0; i < 3; ++i) {
    assert_null(tarn__held_blocks_reap(&held, /*waits=*/false));
  }
  gated_open(&gated);
  assert_int_equal(count_and_free(tarn__held_blocks_reap(&held, /*waits=*/false)), 1);
  assert_false(tarn__held_blocks_any(&held));
  tarn__held_blocks_deinit(&held);
  gated_deinit(&gated);
}

TEST(a_block_of_two_streams_waits_for_the_later) {
  gated_stream early, late;
  gated_init(&early);
  gated_init(&late);
  tarn__held_blocks held;
  tarn__held_blocks_init(&held);
  hold(&held, 64, early.stream, late.stream);
  hold(&held, 128, early.stream, NULL);
  assert_null(tarn__held_blocks_reap(&held, /*waits=*/false)); /* the fences are recorded here */
  gated_open(&early);
  tarn__held_block *first = tarn__held_blocks_reap(&held, /*waits=*/false);
  assert_non_null(first);
  assert_ptr_equal(first->block.address, (void *)128);
  assert_int_equal(count_and_free(first), 1);
  gated_open(&late);
  assert_int_equal(count_and_free(tarn__held_blocks_reap(&held, /*waits=*/false)), 1);
  tarn__held_blocks_deinit(&held);
  gated_deinit(&early);
  gated_deinit(&late);
}

TEST(a_fence_covers_only_what_was_freed_before_it) {
  gated_stream gated;
  gated_init(&gated);
  tarn__held_blocks held;
  tarn__held_blocks_init(&held);
  hold(&held, 64, gated.stream, NULL);
  assert_null(tarn__held_blocks_reap(&held, /*waits=*/false)); /* the fence is recorded here */
  /* Work behind the fence, which stops at a gate of its own. */
  pthread_mutex_t second_gate = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&second_gate);
  assert_int_equal(tarn_stream_call(gated.stream, pass_gate, &second_gate), TARN_OK);
  hold(&held, 128, gated.stream, NULL);
  pthread_mutex_unlock(&gated.gate);
  tarn__held_block *first = NULL;
  while (first == NULL) first = tarn__held_blocks_reap(&held, /*waits=*/false);
  assert_ptr_equal(first->block.address, (void *)64);
  assert_int_equal(count_and_free(first), 1);
  assert_true(tarn__held_blocks_any(&held));
  pthread_mutex_unlock(&second_gate);
  assert_int_equal(count_and_free(tarn__held_blocks_reap(&held, /*waits=*/true)), 1);
  tarn__held_blocks_deinit(&held);
  gated_deinit(&gated);
}

TEST(one_fence_covers_all_frees_before_it) {
  gated_stream gated;
  gated_init(&gated);
  tarn__held_blocks held;
  tarn__held_blocks_init(&held);
  for (uintptr_t i = 1; i <= 100; ++i) hold(&held, 64 * i, gated.stream, NULL);
  assert_null(tarn__held_blocks_reap(&held, /*waits=*/false));
  gated_open(&gated);
  assert_int_equal(count_and_free(tarn__held_blocks_reap(&held, /*waits=*/false)), 100);
  assert_int_equal(atomic_load(&held.fence_count), 1);
  tarn__held_blocks_deinit(&held);
  gated_deinit(&gated);
}

TEST(held_blocks_keep_their_stream_alive) {
  gated_stream gated;
  gated_init(&gated);
  tarn__held_blocks held;
  tarn__held_blocks_init(&held);
  hold(&held, 64, gated.stream, NULL);
  tarn_stream_release(gated.stream);
  pthread_mutex_unlock(&gated.gate);
  assert_int_equal(count_and_free(tarn__held_blocks_reap(&held, /*waits=*/true)), 1);
  tarn__held_blocks_deinit(&held);
  pthread_mutex_destroy(&gated.gate);
}

TEST(the_end_takes_what_has_not_passed) {
  gated_stream gated;
  gated_init(&gated);
  tarn__held_blocks held;
  tarn__held_blocks_init(&held);
  hold(&held, 64, gated.stream, NULL);
  assert_int_equal(count_and_free(tarn__held_blocks_take_all(&held)), 1);
  tarn__held_blocks_deinit(&held);
  gated_open(&gated);
  gated_deinit(&gated);
}

enum { THREADS = 4, ROUNDS = 300 };

typedef struct reaper {
  tarn__held_blocks *held;
  tarn_stream *stream;
  size_t reaped;
} reaper;

static void *hold_and_reap(void *argument) {
  reaper *self = argument;
  for (uintptr_t round = 0; round < ROUNDS; ++round) {
    hold(self->held, 64, self->stream, NULL);
    self->reaped += count_and_free(tarn__held_blocks_reap(self->held, round % 7 == 0));
  }
  return NULL;
}

TEST(threads_reap_every_block_exactly_once) {
  tarn__held_blocks held;
  tarn__held_blocks_init(&held);
  tarn_stream *streams[2];
  for (int i = 0; i < 2; ++i) assert_int_equal(tarn_worker_stream_create(&streams[i]), TARN_OK);
  pthread_t threads[THREADS];
  reaper reapers[THREADS];
  for (int i = 0; i < THREADS; ++i) {
    reapers[i] = (reaper){&held, streams[i % 2], 0};
    assert_int_equal(pthread_create(&threads[i], NULL, hold_and_reap, &reapers[i]), 0);
  }
  size_t reaped = 0;
  for (int i = 0; i < THREADS; ++i) {
    pthread_join(threads[i], NULL);
    reaped += reapers[i].reaped;
  }
  reaped += count_and_free(tarn__held_blocks_reap(&held, /*waits=*/true));
  assert_int_equal(reaped, THREADS * ROUNDS);
  for (int i = 0; i < 2; ++i) tarn_stream_release(streams[i]);
  tarn__held_blocks_deinit(&held);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
