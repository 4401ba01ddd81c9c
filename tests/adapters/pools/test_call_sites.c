/* test_call_sites.c: a place is known again, and two places are told apart. */
#include "alloc/adapters/pools/call_sites.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/support/test.h"

enum { DEPTH = 12 };

typedef struct visit {
  tarn__call_sites *sites;
  atomic_uintptr_t *known;
  uint32_t tag;
  const tarn__call_site *found;
} visit;

static __attribute__((noinline)) void ask(visit *self) {
  self->found =
      tarn__call_sites_find(self->sites, __builtin_frame_address(0), DEPTH, self->tag, self->known);
}

static __attribute__((noinline)) void ask_from_one(visit *self) {
  ask(self);
  atomic_signal_fence(memory_order_seq_cst); /* no jump instead of the call */
}

static __attribute__((noinline)) void ask_from_another(visit *self) {
  self->found = NULL;
  ask(self);
  atomic_signal_fence(memory_order_seq_cst);
}

/* The frames below lie elsewhere each time. */
static __attribute__((noinline)) void ask_below(visit *self, size_t more_bytes) {
  volatile char *room = __builtin_alloca(more_bytes);
  room[0] = 0;
  ask_from_one(self);
  room[more_bytes - 1] = 0;
}

TEST(a_place_is_one_and_two_are_two) {
  tarn__call_sites *sites = calloc(1, sizeof *sites);
  atomic_uintptr_t known[TARN__SITE_KNOWN] = {0};
  assert_non_null(sites);
  visit one = {.sites = sites, .known = known};
  visit other = one;
  visit further = one; /* told apart by an address further up alone */
  const tarn__call_site *first = NULL;
  volatile int rounds = 3;
  for (int round = 0; round < rounds; round++) {
    ask_from_one(&one);
    ask_from_another(&other);
    ask_from_one(&further);
    assert_non_null(one.found);
    assert_ptr_not_equal(one.found, other.found);
    assert_ptr_not_equal(one.found, further.found);
    assert_true(first == NULL || first == one.found);
    first = one.found;
  }
  assert_int_equal(atomic_load(&sites->number_count), 3);
  assert_ptr_equal(tarn__call_sites_at(sites, one.found->number), one.found);
  assert_ptr_equal(tarn__call_sites_at(sites, other.found->number), other.found);
  assert_true(one.found->frame_count > 1);
  tarn__call_sites_deinit(sites);
  free(sites);
}

TEST(tags_make_two_of_one_place) {
  tarn__call_sites *sites = calloc(1, sizeof *sites);
  atomic_uintptr_t known[TARN__SITE_KNOWN] = {0};
  assert_non_null(sites);
  const tarn__call_site *found[2];
  volatile uint32_t tags = 2;
  for (uint32_t tag = 0; tag < tags; tag++) {
    visit one = {.sites = sites, .known = known, .tag = tag};
    ask_from_one(&one);
    found[tag] = one.found;
    assert_int_equal(one.found->tag, tag);
  }
  assert_ptr_not_equal(found[0], found[1]);
  tarn__call_sites_deinit(sites);
  free(sites);
}

/* What was compared is where it was: with another frame in between nothing is taken for known. The
 * first three addresses are of functions here that are called thrice. */
TEST(a_frame_of_another_size_is_unwound_anew) {
  tarn__call_sites *sites = calloc(1, sizeof *sites);
  atomic_uintptr_t known[TARN__SITE_KNOWN] = {0};
  assert_non_null(sites);
  for (size_t more_bytes = 16; more_bytes <= 4096; more_bytes *= 2) {
    visit one = {.sites = sites, .known = known};
    ask_below(&one, more_bytes);
    visit again = one;
    ask_below(&again, more_bytes);
    atomic_uintptr_t unknown[TARN__SITE_KNOWN] = {0};
    visit unwound = {.sites = sites, .known = unknown};
    ask_below(&unwound, more_bytes);
    assert_int_equal(one.found->frame_count, unwound.found->frame_count);
    for (uint32_t index = 3; index < one.found->frame_count; index++) {
      assert_ptr_equal(one.found->frames[index].return_address,
                       unwound.found->frames[index].return_address);
    }
  }
  tarn__call_sites_deinit(sites);
  free(sites);
}

/* --- other stacks than the thread's --- */

enum { HALF_BYTES = 128 << 10 };

typedef struct coroutine {
  ucontext_t own;
  ucontext_t caller;
  visit *asks;
  size_t more_bytes;
} coroutine;

static coroutine *entered; /* makecontext passes ints alone */

static void run_coroutine(void) {
  ask_below(entered->asks, entered->more_bytes);
  atomic_signal_fence(memory_order_seq_cst);
}

static void ask_on_stack(visit *asks, char *stack, size_t stack_bytes, size_t more_bytes) {
  coroutine self = {.asks = asks, .more_bytes = more_bytes};
  assert_int_equal(getcontext(&self.own), 0);
  self.own.uc_stack.ss_sp = stack;
  self.own.uc_stack.ss_size = stack_bytes;
  self.own.uc_link = &self.caller;
  entered = &self;
  makecontext(&self.own, run_coroutine, 0);
  assert_int_equal(swapcontext(&self.caller, &self.own), 0);
}

/* A frame where another one was whose caller's lay further up: there is nothing any more. */
TEST(nothing_is_read_behind_the_end_of_a_coroutines_stack) {
  tarn__call_sites *sites = calloc(1, sizeof *sites);
  atomic_uintptr_t known[TARN__SITE_KNOWN] = {0};
  visit self = {.sites = sites, .known = known};
  char *stack = mmap(NULL, 2 * (size_t)HALF_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_non_null(sites);
  assert_ptr_not_equal(stack, MAP_FAILED);
  ask_on_stack(&self, stack, 2 * (size_t)HALF_BYTES, HALF_BYTES + 16);
  assert_non_null(self.found);
  ask_from_one(&self);
  assert_int_equal(mprotect(stack + HALF_BYTES, HALF_BYTES, PROT_NONE), 0);
  ask_on_stack(&self, stack, HALF_BYTES, 16);
  assert_non_null(self.found);
  assert_int_equal(munmap(stack, 2 * (size_t)HALF_BYTES), 0);
  tarn__call_sites_deinit(sites);
  free(sites);
}

/* Each thread has unwound nothing at first, and asks from a stack of its own. */
static void *ask_often(void *argument) {
  atomic_uintptr_t known[TARN__SITE_KNOWN] = {0};
  visit self = {.sites = argument, .known = known};
  const tarn__call_site *first = NULL;
  for (int round = 0; round < 1000; round++) {
    ask_from_one(&self);
    if (self.found == NULL || (first != NULL && first != self.found)) return argument;
    first = self.found;
  }
  return NULL;
}

TEST(threads_find_their_places_at_once) {
  enum { THREADS = 4 };
  (void)state;
  tarn__call_sites *sites = calloc(1, sizeof *sites);
  pthread_t threads[THREADS];
  assert_non_null(sites);
  for (int index = 0; index < THREADS; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, ask_often, sites), 0);
  }
  for (int index = 0; index < THREADS; index++) {
    void *failed = NULL;
    pthread_join(threads[index], &failed);
    assert_null(failed);
  }
  assert_true(atomic_load(&sites->number_count) <= THREADS);
  tarn__call_sites_deinit(sites);
  free(sites);
}

TEST(what_is_beyond_the_last_number_is_elsewhere) {
  tarn__call_sites *sites = calloc(1, sizeof *sites);
  assert_non_null(sites);
  atomic_store(&sites->number_count, TARN__SITE_NUMBERS - 1);
  visit one = {.sites = sites, .tag = 5};
  ask_from_one(&one);
  assert_int_equal(one.found->frame_count, 0);
  assert_int_equal(one.found->tag, 0);
  assert_ptr_equal(tarn__call_sites_at(sites, one.found->number), one.found);
  tarn__call_sites_deinit(sites);
  free(sites);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
