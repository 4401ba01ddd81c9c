/* test_pause_programs.c: random programs that pause, resume and fail; and threads beside them. */
#include "alloc/tarn_pause.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_tag.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/alloc/pausing_fixture.h"

/* --- one thread, and a model of what every block holds --- */

enum { SLOTS = 40, STEPS = 1000, PROGRAMS = 12 };

static const char *const tags[] = {"", "a", "b"};

typedef struct slot {
  unsigned char *address;
  size_t size_bytes;
  size_t tag;
  unsigned char value;
  bool is_known; /* its contents are the value, while it is live */
} slot;

static slot slots[SLOTS];
static uint64_t random_state;

static size_t below(size_t count) {
  return (size_t)(test_random(&random_state) % count);
}

static void refill(slot *self) {
  self->value = (unsigned char)test_random(&random_state);
  self->is_known = true;
  memset(self->address, self->value, self->size_bytes);
}

static void lend(slot *self) {
  const size_t size_bytes = 1 + below((size_t)64 << below(15));
  const size_t tag = below(COUNT_OF(tags));
  if (tag != 0) assert_ok(tarn_tag_push(tags[tag]));
  void *address = NULL;
  const tarn_status status = tarn_pool_alloc(pool, size_bytes, NULL, &address);
  if (tag != 0) tarn_tag_pop();
  if (status != TARN_OK) return;
  assert_false(tarn_pool_is_paused(pool, address));
  *self = (slot){.address = address, .size_bytes = size_bytes, .tag = tag};
  refill(self);
}

/* The provider fails now and then, once or from some call on. */
static void arm(void) {
  machine.call_count = 0;
  machine.fail_at = below(3) == 0 ? 1 + (int)below(6) : 0;
  machine.fails_on = below(3) == 0;
}

static void pause_some(void) {
  const size_t tag = below(COUNT_OF(tags) + 1);
  const bool is_all = tag == COUNT_OF(tags);
  const bool is_kept = below(2) == 0;
  arm();
  const tarn_status status =
      pause_with(is_kept ? TARN_PAUSE_KEEP : TARN_PAUSE_DISCARD, is_all ? NULL : tags[tag], NULL);
  machine.fail_at = 0;
  if (status == TARN_OK) assert_int_equal(report.stuck_bytes + report.lost_bytes, 0);
  if (is_kept) assert_int_equal(report.lost_bytes, 0);
  for (slot *each = slots; each < slots + SLOTS; each++) {
    const bool is_chosen = each->address != NULL && (is_all || each->tag == tag);
    if (!is_chosen || is_kept) continue;
    /* What was paused already, with its contents, keeps them. */
    const bool is_paused = tarn_pool_is_paused(pool, each->address);
    if (is_paused && each->is_known && report.moved_bytes == 0) continue;
    if (is_paused || report.lost_bytes != 0) each->is_known = false;
  }
}

static void resume_some(void) {
  const size_t tag = below(COUNT_OF(tags) + 1);
  arm();
  const size_t paused_bytes = exact_stats().paused_bytes;
  const tarn_status status = resume(tag == COUNT_OF(tags) ? NULL : tags[tag]);
  machine.fail_at = 0;
  if (status != TARN_OK) {
    assert_int_equal(exact_stats().paused_bytes, paused_bytes - report.stuck_bytes);
  } else if (tag == COUNT_OF(tags)) {
    assert_int_equal(exact_stats().paused_bytes, 0);
  }
}

static void check(slot *self) {
  if (tarn_pool_is_paused(pool, self->address)) return;
  if (self->is_known) {
    expect(self->address, self->size_bytes, self->value);
  } else {
    refill(self);
  }
}

static void run_program(uint64_t seed) {
  random_state = seed;
  memset(slots, 0, sizeof slots);
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), seed % 3 == 0 ? 24 * GRANULE : 0);
  for (int step = 0; step < STEPS; step++) {
    slot *picked = &slots[below(SLOTS)];
    const size_t what = below(16);
    if (what == 0) {
      pause_some();
    } else if (what == 1) {
      resume_some();
    } else if (what == 2) {
      assert_ok(tarn_pool_trim(pool, below(2) * 8 * GRANULE, NULL));
    } else if (picked->address == NULL) {
      lend(picked);
    } else if (what < 10) {
      check(picked);
    } else {
      check(picked);
      give(pool, picked->address, NULL);
      *picked = (slot){.address = NULL};
    }
    if (step % 8 == 0) exact_stats();
  }
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), 0);
  if (seed % 2 == 0) assert_ok(resume(NULL));
  for (slot *each = slots; each < slots + SLOTS; each++) {
    if (each->address == NULL) continue;
    check(each);
    give(pool, each->address, NULL);
  }
}

TEST_IN_POOLS(programs_never_lose_what_was_kept) {
  for (uint64_t seed = 1; seed <= PROGRAMS; seed++) {
    print_message("seed %u\n", (unsigned)seed);
    run_program(seed);
    assert_int_equal(drop_pools(NULL), 0);
    assert_int_equal(make_pools(NULL), 0);
  }
}

/* --- several threads --- */

enum { THREADS = 3, ROUNDS = 30, WEIGHTS = 8, HELD = 16 };

static atomic_bool is_over;
static _Atomic(unsigned char *) to_free[WEIGHTS]; /* whoever takes one out frees it */

static size_t weight_bytes(size_t index) {
  return GRANULE / 2 + index * 40000;
}

/* Its own blocks are never touched by anybody else. */
static void *churn(void *argument) {
  uint64_t random = (uintptr_t)argument;
  unsigned char *held[HELD] = {NULL};
  size_t sizes[HELD] = {0};
  while (!atomic_load(&is_over)) {
    const size_t index = (size_t)(test_random(&random) % HELD);
    if (held[index] == NULL) {
      sizes[index] = 1 + (size_t)(test_random(&random) % (GRANULE / 2));
      held[index] = take(pool, sizes[index], NULL);
      memset(held[index], (int)index, sizes[index]);
    } else {
      expect(held[index], sizes[index], (unsigned char)index);
      give(pool, held[index], NULL);
      held[index] = NULL;
    }
    unsigned char *victim = atomic_exchange(&to_free[test_random(&random) % WEIGHTS], NULL);
    if (victim != NULL) give(pool, victim, NULL); /* paused or not */
  }
  for (size_t index = 0; index < HELD; index++) {
    if (held[index] != NULL) give(pool, held[index], NULL);
  }
  return NULL;
}

TEST_IN_POOLS(threads_allocate_and_free_meanwhile) {
  pthread_t threads[THREADS];
  unsigned char *weights[WEIGHTS];
  for (size_t i = 0; i < WEIGHTS; i++) {
    weights[i] = take_tagged("w", weight_bytes(i));
    memset(weights[i], (int)i + 1, weight_bytes(i));
  }
  atomic_store(&is_over, false);
  for (uintptr_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
  }
  for (size_t round = 0; round < ROUNDS; round++) {
    assert_ok(keep("w"));
    unsigned char *gone = weights[round % WEIGHTS];
    if (round % 3 == 0) atomic_store(&to_free[round % WEIGHTS], gone);
    assert_ok(resume("w"));
    if (round % 3 == 0) {
      gone = atomic_exchange(&to_free[round % WEIGHTS], NULL);
      if (gone != NULL) give(pool, gone, NULL);
      weights[round % WEIGHTS] = take_tagged("w", weight_bytes(round % WEIGHTS));
      memset(weights[round % WEIGHTS], (int)(round % WEIGHTS) + 1, weight_bytes(round % WEIGHTS));
    }
    for (size_t i = 0; i < WEIGHTS; i++)
      expect(weights[i], weight_bytes(i), (unsigned char)(i + 1));
  }
  atomic_store(&is_over, true);
  for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (size_t i = 0; i < WEIGHTS; i++) give(pool, weights[i], NULL);
}

static void *pause_and_resume(void *argument) {
  const char *tag = argument;
  const tarn_pause_options options = {
      .struct_size = sizeof options, .tags = &tag, .tag_count = 1, .backup = backup};
  const tarn_resume_options same = {.struct_size = sizeof same, .tags = &tag, .tag_count = 1};
  for (int round = 0; round < ROUNDS; round++) {
    assert_ok(tarn_pool_pause(pool, &options, NULL));
    assert_ok(tarn_pool_resume(pool, &same, NULL));
  }
  return NULL;
}

TEST_IN_POOLS(two_threads_pause_in_turn) {
  char *a = take_tagged("a", 3 * GRANULE + 100);
  char *b = take_tagged("b", 3 * GRANULE + 100);
  fill(a, 3 * GRANULE + 100, 1);
  fill(b, 3 * GRANULE + 100, 2);
  char one[] = "a", another[] = "b";
  pthread_t other;
  assert_int_equal(pthread_create(&other, NULL, pause_and_resume, one), 0);
  pause_and_resume(another);
  pthread_join(other, NULL);
  assert_ok(resume(NULL));
  expect(a, 3 * GRANULE + 100, 1);
  expect(b, 3 * GRANULE + 100, 2);
  give(pool, a, NULL);
  give(pool, b, NULL);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
