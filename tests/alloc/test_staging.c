/* test_staging.c: slots of a staging ring: order, back-pressure, failures, captures, threads. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_capture.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_staging.h"
#include "tests/support/asleep.h"
#include "tests/support/manual_stream.h"

enum { SLOT_BYTES = 4096, RANGE_BYTES = 1 << 20 };

static const tarn_device device = {TARN_DEVICE_CUDA, 0};

/* A ring in memory that says of itself that it is page-locked. */
static tarn_staging *make_ring(size_t slot_count) {
  static _Alignas(4096) char range[RANGE_BYTES];
  tarn_provider *provider;
  tarn_staging *ring;
  const tarn_fixed_options fixed = {.struct_size = sizeof fixed,
                                    .device = {TARN_DEVICE_CUDA_HOST, 0}};
  assert_ok(tarn_fixed_provider_create(range, sizeof range, &fixed, &provider));
  const tarn_staging_options options = {.struct_size = sizeof options,
                                        .name = "test",
                                        .slot_bytes = SLOT_BYTES,
                                        .slot_count = slot_count};
  assert_ok(tarn_staging_create(provider, &options, &ring));
  tarn_provider_release(provider);
  return ring;
}

static tarn_stream *make_stream(void) {
  tarn_stream *stream;
  assert_ok(manual_stream_create_on(device, &stream));
  return stream;
}

static tarn_staging_stats stats_of(tarn_staging *ring) {
  tarn_staging_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_staging_stats_of(ring, &stats));
  return stats;
}

static void count_up(void *counter) {
  ++*(int *)counter;
}

/* Work on the stream that uses a slot, which goes back behind it. Returns where the slot lies. */
static void *use_slot(tarn_staging *ring, tarn_stream *stream, int *counter) {
  tarn_staging_slot slot;
  assert_ok(tarn_staging_acquire(ring, 0, &slot));
  void *address = slot.address;
  assert_ok(tarn_stream_call(stream, count_up, counter));
  assert_ok(tarn_staging_mark(&slot, stream, SLOT_BYTES));
  tarn_staging_give_back(&slot);
  assert_null(slot.address);
  return address;
}

/* --- what a ring is --- */

TEST(options_that_make_no_ring_are_refused) {
  static _Alignas(4096) char range[RANGE_BYTES];
  tarn_provider *near, *far;
  tarn_staging *ring = (tarn_staging *)range;
  const tarn_fixed_options fixed = {.struct_size = sizeof fixed, .device = device};
  assert_ok(tarn_fixed_provider_create(range, sizeof range, NULL, &near));
  assert_ok(tarn_fixed_provider_create(range, sizeof range, &fixed, &far));
  tarn_staging_options options = {.struct_size = sizeof options, .slot_bytes = 1, .slot_count = 1};
  assert_status(tarn_staging_create(near, &options, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_staging_create(NULL, &options, &ring), TARN_INVALID_ARGUMENT);
  assert_null(ring);
  assert_status(tarn_staging_create(far, &options, &ring), TARN_INVALID_ARGUMENT);
  options.slot_count = TARN_STAGING_SLOTS_MAX + 1;
  assert_status(tarn_staging_create(near, &options, &ring), TARN_INVALID_ARGUMENT);
  options.slot_count = 2;
  options.slot_bytes = SIZE_MAX / 2;
  assert_status(tarn_staging_create(near, &options, &ring), TARN_TOO_LARGE);
  options.slot_bytes = RANGE_BYTES;
  assert_status(tarn_staging_create(near, &options, &ring), TARN_OUT_OF_MEMORY);
  options.struct_size = 1;
  assert_status(tarn_staging_create(near, &options, &ring), TARN_INVALID_ARGUMENT);
  assert_null(ring);
  tarn_provider_release(near);
  tarn_provider_release(far);
}

TEST(a_ring_of_default_size_has_small_slots_for_small_copies) {
  tarn_provider *provider;
  tarn_staging *ring;
  tarn_staging_slot small, whole;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  assert_ok(tarn_staging_create(provider, NULL, &ring));
  assert_ok(tarn_staging_acquire(ring, 4096, &small));
  assert_ok(tarn_staging_acquire(ring, 0, &whole));
  assert_true(small.size_bytes >= 4096);
  assert_true(small.size_bytes < whole.size_bytes);
  assert_int_equal(whole.size_bytes, tarn_staging_slot_bytes(ring));
  const tarn_staging_stats stats = stats_of(ring);
  assert_int_equal(stats.held_count, 2);
  assert_true(stats.reserved_bytes >= 64u << 20 && stats.reserved_bytes <= 256u << 20);
  assert_string_equal(tarn_staging_name(ring), "staging");
  assert_int_equal(tarn_staging_piece_bytes(ring, 0), whole.size_bytes);
  assert_int_equal(tarn_staging_piece_bytes(ring, SIZE_MAX), whole.size_bytes);
  assert_int_equal(tarn_staging_piece_bytes(ring, 1000), 1000);
  assert_int_equal(tarn_staging_piece_bytes(ring, 8 << 20), 1 << 20);
  assert_int_equal(tarn_staging_device(ring).type, TARN_DEVICE_CPU);
  tarn_staging_give_back(&small);
  tarn_staging_give_back(&whole);
  tarn_staging_release(ring);
  tarn_provider_release(provider);
}

TEST(a_slot_keeps_its_ring_alive) {
  tarn_staging *ring = make_ring(1);
  tarn_staging_slot slot;
  assert_ok(tarn_staging_acquire(ring, 0, &slot));
  tarn_staging_release(ring);
  memset(slot.address, 1, slot.size_bytes);
  tarn_staging_give_back(&slot);
  tarn_staging_give_back(&slot);              /* cleared: nothing happens */
  ring = make_ring(RANGE_BYTES / SLOT_BYTES); /* the memory is back, all of it */
  tarn_staging_retain(ring);
  tarn_staging_release(ring);
  tarn_staging_release(ring);
}

TEST(what_is_no_slot_is_refused) {
  tarn_staging_slot slot = {0};
  tarn_staging_stats stats = {.struct_size = sizeof stats};
  tarn_staging *ring = make_ring(1);
  assert_status(tarn_staging_acquire(NULL, 0, &slot), TARN_INVALID_ARGUMENT);
  assert_status(tarn_staging_acquire(ring, 0, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_staging_try_acquire(NULL, 0, &slot), TARN_INVALID_ARGUMENT);
  assert_status(tarn_staging_mark(&slot, NULL, 0), TARN_INVALID_ARGUMENT);
  assert_status(tarn_staging_await(NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_staging_stats_of(NULL, &stats), TARN_INVALID_ARGUMENT);
  stats.struct_size = 0;
  assert_status(tarn_staging_stats_of(ring, &stats), TARN_INVALID_ARGUMENT);
  tarn_staging_give_back(NULL);
  tarn_staging_release(NULL);
  tarn_staging_release(ring);
}

/* --- order --- */

TEST(a_slot_is_not_lent_before_its_work_is_done) {
  tarn_staging *ring = make_ring(1);
  tarn_stream *stream = make_stream();
  tarn_staging_slot slot;
  int done = 0;
  use_slot(ring, stream, &done);
  assert_int_equal(stats_of(ring).pending_count, 1);
  assert_ok(tarn_staging_acquire(ring, 0, &slot));
  assert_int_equal(done, 1);
  const tarn_staging_stats stats = stats_of(ring);
  assert_int_equal(stats.wait_count, 1);
  assert_int_equal(stats.passed_bytes, SLOT_BYTES);
  tarn_staging_give_back(&slot);
  tarn_stream_release(stream);
  tarn_staging_release(ring);
}

TEST(a_stream_that_stands_still_gets_no_more_slots) {
  tarn_staging *ring = make_ring(3);
  tarn_stream *stream = make_stream();
  tarn_staging_slot slot;
  int done = 0;
  for (int i = 0; i < 3; i++) use_slot(ring, stream, &done);
  const size_t reserved = stats_of(ring).reserved_bytes;
  (void)!tarn_fail(TARN_BUSY, "an error from before");
  for (int i = 0; i < 10; i++) {
    assert_status(tarn_staging_try_acquire(ring, 0, &slot), TARN_NOT_READY);
    assert_null(slot.address);
  }
  assert_int_equal(tarn_last_error()->status, TARN_BUSY); /* an answer, no failure */
  assert_int_equal(done, 0);
  assert_int_equal(stats_of(ring).refusal_count, 10);
  assert_int_equal(stats_of(ring).reserved_bytes, reserved);
  manual_stream_advance(stream, 1);
  assert_ok(tarn_staging_try_acquire(ring, 0, &slot));
  tarn_staging_give_back(&slot);
  tarn_stream_release(stream);
  tarn_staging_release(ring);
}

TEST(the_slot_given_back_first_goes_first) {
  tarn_staging *ring = make_ring(4);
  tarn_stream *stream = make_stream();
  tarn_staging_slot slots[4];
  void *order[4];
  int done = 0;
  for (int i = 0; i < 4; i++) assert_ok(tarn_staging_acquire(ring, 0, &slots[i]));
  static const int back[] = {2, 0, 3, 1};
  for (int i = 0; i < 4; i++) {
    tarn_staging_slot *slot = &slots[back[i]];
    assert_ok(tarn_stream_call(stream, count_up, &done));
    assert_ok(tarn_staging_mark(slot, stream, 1));
    order[i] = slot->address;
    tarn_staging_give_back(slot);
  }
  for (int i = 0; i < 4; i++) {
    assert_ptr_equal(use_slot(ring, stream, &done), order[i]);
    assert_int_equal(done, i + 1); /* waited for that one, not for all */
  }
  tarn_stream_release(stream);
  tarn_staging_release(ring);
}

TEST(a_stream_that_stands_still_does_not_keep_others_from_their_slots) {
  tarn_staging *ring = make_ring(2);
  tarn_stream *still = make_stream(), *quick = make_stream();
  tarn_staging_slot slot;
  int still_done = 0, quick_done = 0;
  use_slot(ring, still, &still_done);
  void *address = use_slot(ring, quick, &quick_done);
  manual_stream_advance(quick, 1);
  assert_ok(tarn_staging_acquire(ring, 0, &slot));
  assert_ptr_equal(slot.address, address);
  assert_int_equal(still_done, 0);
  tarn_staging_give_back(&slot);
  tarn_stream_release(still);
  tarn_stream_release(quick);
  tarn_staging_release(ring);
}

TEST(a_slot_marked_by_two_streams_waits_for_both) {
  tarn_staging *ring = make_ring(1);
  tarn_stream *one = make_stream(), *other = make_stream();
  tarn_staging_slot slot;
  int one_done = 0, other_done = 0;
  assert_ok(tarn_staging_acquire(ring, 0, &slot));
  assert_ok(tarn_stream_call(one, count_up, &one_done));
  assert_ok(tarn_staging_mark(&slot, one, 0));
  assert_ok(tarn_stream_call(other, count_up, &other_done));
  assert_ok(tarn_staging_mark(&slot, other, 0));
  assert_ok(tarn_staging_mark(&slot, NULL, 0)); /* nothing to wait for */
  assert_ok(tarn_staging_await(&slot));
  assert_int_equal(one_done, 1);
  assert_int_equal(other_done, 1);
  tarn_staging_give_back(&slot);
  tarn_stream_release(one);
  tarn_stream_release(other);
  tarn_staging_release(ring);
}

TEST(a_slot_outlives_the_stream_that_used_it) {
  tarn_staging *ring = make_ring(2);
  tarn_staging_slot slot;
  int done = 0;
  tarn_stream *stream = make_stream();
  use_slot(ring, stream, &done);
  tarn_stream_release(stream);
  stream = make_stream();
  use_slot(ring, stream, &done);
  assert_ok(tarn_stream_close(stream));
  for (int i = 1; i <= 2; i++) {
    assert_ok(tarn_staging_acquire(ring, 0, &slot));
    assert_true(done >= i);
    tarn_staging_give_back(&slot);
  }
  tarn_stream_release(stream);
  tarn_staging_release(ring);
}

TEST(the_last_release_waits_for_the_streams) {
  tarn_staging *ring = make_ring(3);
  tarn_stream *stream = make_stream();
  int done = 0;
  for (int i = 0; i < 2; i++) use_slot(ring, stream, &done);
  tarn_staging_release(ring);
  assert_int_equal(done, 2);
  tarn_stream_release(stream);
}

/* --- failures --- */

TEST(a_slot_without_a_fence_waits_for_its_stream) {
  tarn_staging *ring = make_ring(1);
  tarn_stream *stream = make_stream();
  tarn_staging_slot slot;
  int done = 0;
  for (int round = 1; round <= 3; round++) {
    manual_fail_records = round; /* the slot's own, and then those of the order as well */
    use_slot(ring, stream, &done);
    assert_status(tarn_staging_try_acquire(ring, 0, &slot), TARN_NOT_READY);
    assert_int_equal(done, round - 1);
    assert_ok(tarn_staging_acquire(ring, 0, &slot));
    assert_int_equal(done, round);
    tarn_staging_give_back(&slot);
    manual_fail_records = 0;
  }
  tarn_stream_release(stream);
  tarn_staging_release(ring);
}

TEST(a_slot_whose_stream_cannot_be_waited_for_stays_out_of_use) {
  tarn_staging *ring = make_ring(2);
  tarn_stream *stream = make_stream();
  tarn_staging_slot slot;
  int done = 0;
  manual_fail_records = 100;
  manual_fail_synchronizes = 2;
  for (int i = 0; i < 2; i++) use_slot(ring, stream, &done);
  for (int i = 0; i < 2; i++) {
    assert_status(tarn_staging_acquire(ring, 0, &slot), TARN_DEVICE_ERROR);
    assert_null(slot.address);
    assert_int_equal(done, 0);
  }
  assert_int_equal(stats_of(ring).held_count, 0);
  manual_fail_records = 0;
  assert_ok(tarn_staging_acquire(ring, 0, &slot));
  assert_int_equal(done, 2);
  tarn_staging_give_back(&slot);
  tarn_stream_release(stream);
  tarn_staging_release(ring);
}

/* --- captures and forks --- */

TEST(a_slot_used_in_a_capture_stays_with_it) {
  tarn_staging *ring = make_ring(2);
  tarn_stream *stream = make_stream();
  tarn_capture *capture;
  tarn_staging_slot slot, other;
  int done = 0;
  assert_ok(tarn_capture_begin(stream, &capture));
  void *kept = use_slot(ring, stream, &done);
  for (int i = 0; i < 3; i++) {
    assert_ok(tarn_staging_acquire(ring, 0, &slot));
    assert_ptr_not_equal(slot.address, kept);
    assert_status(tarn_staging_try_acquire(ring, 0, &other), TARN_NOT_READY);
    if (i == 2) assert_ok(tarn_staging_mark(&slot, stream, 0));
    tarn_staging_give_back(&slot);
  }
  assert_status(tarn_staging_acquire(ring, 0, &slot), TARN_NOT_READY);
  assert_non_null(strstr(tarn_last_error()->message, "capture"));
  assert_ok(tarn_capture_end(capture));
  assert_status(tarn_staging_acquire(ring, 0, &slot), TARN_NOT_READY);
  assert_ok(tarn_capture_destroy(capture));
  assert_ok(tarn_staging_acquire(ring, 0, &slot));
  tarn_staging_give_back(&slot);
  tarn_stream_release(stream);
  tarn_staging_release(ring);
}

TEST(a_child_of_fork_is_told_that_the_ring_is_not_its_own) {
  tarn_staging *ring = make_ring(2);
  tarn_staging_slot held, slot;
  assert_ok(tarn_staging_acquire(ring, 0, &held));
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    tarn_staging_stats stats = {.struct_size = sizeof stats};
    int wrong = tarn_staging_acquire(ring, 0, &slot) != TARN_UNAVAILABLE;
    wrong += tarn_staging_try_acquire(ring, 0, &slot) != TARN_UNAVAILABLE;
    wrong += tarn_staging_stats_of(ring, &stats) != TARN_UNAVAILABLE;
    tarn_staging_give_back(&held);
    tarn_staging_release(ring);
    _exit(wrong);
  }
  int result;
  assert_int_equal(waitpid(child, &result, 0), child);
  assert_int_equal(result, 0);
  tarn_staging_give_back(&held);
  tarn_staging_release(ring);
}

/* --- threads --- */

enum { THREADS = 6, ROUNDS = 200, THREAD_SLOTS = 3 };

static tarn_staging *shared_ring;

static void *words(const char *text) {
  return (void *)(uintptr_t)text;
}

/* Sends numbers through slots, by a worker stream of its own, into memory of its own. */
static void *send_numbers(void *argument) {
  const int number = *(const int *)argument;
  unsigned char *sink = malloc((size_t)ROUNDS * SLOT_BYTES);
  tarn_stream *stream;
  const char *wrong = sink == NULL ? "no memory" : NULL;
  if (tarn_worker_stream_create(&stream) != TARN_OK) return words("no stream");
  for (int i = 0; i < ROUNDS && wrong == NULL; i++) {
    tarn_staging_slot slot, more;
    if (tarn_staging_acquire(shared_ring, 0, &slot) != TARN_OK) return words("no slot");
    memset(slot.address, (number * ROUNDS + i) % 251, SLOT_BYTES);
    /* Now and then a second slot, as rule 3 allows it. */
    if (i % 3 == 0 && tarn_staging_try_acquire(shared_ring, 0, &more) == TARN_OK) {
      memset(more.address, 255, SLOT_BYTES);
      tarn_staging_give_back(&more);
    }
    const tarn_device host = {TARN_DEVICE_CPU, 0};
    if (tarn_stream_copy(stream, sink + (size_t)i * SLOT_BYTES, host, slot.address, host,
                         SLOT_BYTES) != TARN_OK ||
        tarn_staging_mark(&slot, stream, SLOT_BYTES) != TARN_OK) {
      wrong = "a copy failed";
    }
    tarn_staging_give_back(&slot);
  }
  if (tarn_stream_synchronize(stream) != TARN_OK) wrong = "a stream failed";
  for (size_t i = 0; i < (size_t)ROUNDS * SLOT_BYTES && wrong == NULL; i++) {
    const size_t round = i / SLOT_BYTES;
    if (sink[i] != ((size_t)number * ROUNDS + round) % 251) wrong = "a slot was reused too early";
  }
  tarn_stream_release(stream);
  free(sink);
  return words(wrong);
}

TEST(many_threads_share_few_slots) {
  pthread_t threads[THREADS];
  int numbers[THREADS];
  shared_ring = make_ring(THREAD_SLOTS);
  for (int i = 0; i < THREADS; i++) {
    numbers[i] = i;
    assert_int_equal(pthread_create(&threads[i], NULL, send_numbers, &numbers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    if (wrong != NULL) fail_msg("%s", (const char *)wrong);
  }
  const tarn_staging_stats stats = stats_of(shared_ring);
  assert_true(stats.acquire_count >= (uint64_t)THREADS * ROUNDS);
  assert_int_equal(stats.held_count, 0);
  assert_true(stats.held_count_peak <= THREAD_SLOTS);
  assert_int_equal(stats.passed_bytes, (uint64_t)THREADS * ROUNDS * SLOT_BYTES);
  tarn_staging_release(shared_ring);
}

static void *take_and_give(void *argument) {
  tarn_staging_slot slot;
  int *taken = argument;
  if (tarn_staging_acquire(shared_ring, 0, &slot) != TARN_OK) return words("no slot");
  ++*taken; /* only one has the slot at a time */
  tarn_staging_give_back(&slot);
  return NULL;
}

TEST(threads_that_wait_for_the_only_slot_all_get_it) {
  pthread_t threads[THREADS];
  tarn_staging_slot slot;
  int taken = 0;
  shared_ring = make_ring(1);
  assert_ok(tarn_staging_acquire(shared_ring, 0, &slot));
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &taken), 0);
  }
  tarn_staging_give_back(&slot);
  for (int i = 0; i < THREADS; i++) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    assert_null(wrong);
  }
  assert_int_equal(taken, THREADS);
  tarn_staging_release(shared_ring);
}

typedef struct waiting {
  asleep_thread state;
  tarn_status answer;
} waiting;

static void *wait_for_any(void *argument) {
  waiting *self = argument;
  tarn_staging_slot slot;
  asleep_here(&self->state);
  self->answer = tarn_staging_acquire(shared_ring, 0, &slot);
  tarn_staging_give_back(&slot);
  asleep_done(&self->state);
  return NULL;
}

TEST(threads_that_wait_are_told_when_a_capture_has_the_last_slot) {
  pthread_t threads[THREADS];
  static waiting waits[THREADS];
  tarn_staging_slot slot;
  tarn_capture *capture;
  tarn_stream *stream = make_stream();
  shared_ring = make_ring(1);
  assert_ok(tarn_capture_begin(stream, &capture));
  assert_ok(tarn_staging_acquire(shared_ring, 0, &slot));
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, wait_for_any, &waits[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) asleep_wait(&waits[i].state);
  assert_ok(tarn_staging_mark(&slot, stream, 0));
  tarn_staging_give_back(&slot);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(waits[i].answer, TARN_NOT_READY);
  }
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
  tarn_staging_release(shared_ring);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
