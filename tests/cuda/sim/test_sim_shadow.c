/* test_sim_shadow.c: the tree of byte ranges against an array with one entry for each byte. */
#include "cuda/sim/sim_race.h"
#include "cuda/sim/sim_shadow.h"

#include <stdbool.h>
#include <stdlib.h>

#include "tests/support/test.h"

enum { BASE = 1000, BYTES = 600, ROUNDS = 30000, HISTORIES = 5 };

/* What the tree needs of the rest of the simulator. */
void sim_race_out_of_memory(void) {
  abort();
}

void sim_stamp_drop(sim_stamp *stamp) {
  (void)stamp;
}

static uint64_t random_state = 1;

static size_t random_below(size_t end) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (size_t)(random_state >> 33) % end;
}

typedef struct model {
  sim_history *bytes[BYTES];
  sim_history *to; /* NULL: forget */
  uintptr_t position;
} model;

/* Runs come in order, without gaps between them, and show what the bytes were. */
static sim_history *change(void *context, sim_history *old, uintptr_t start, uintptr_t end) {
  model *self = context;
  assert_true(start == self->position && end > start);
  for (uintptr_t i = start; i < end; i++) {
    assert_ptr_equal(self->bytes[i - BASE], old);
    self->bytes[i - BASE] = self->to;
  }
  self->position = end;
  return sim_history_retain(self->to);
}

static size_t count_runs(const model *self) {
  size_t count = 0;
  for (size_t i = 0; i < BYTES; i++) {
    const bool continues = i > 0 && self->bytes[i - 1] == self->bytes[i];
    count += self->bytes[i] != NULL && !continues;
  }
  return count;
}

TEST(the_tree_is_what_an_array_would_be) {
  static model self;
  sim_history *histories[HISTORIES + 1] = {NULL};
  for (int i = 1; i <= HISTORIES; i++) histories[i] = sim_history_create(NULL, NULL, 0);
  for (int round = 0; round < ROUNDS; round++) {
    self.to = histories[random_below(HISTORIES + 1)];
    const size_t row_count = 1 + random_below(8);
    const size_t row_bytes = 1 + random_below(round % 3 == 0 ? BYTES / 2 : 8);
    const size_t pitch = row_bytes + random_below(4);
    uintptr_t start = BASE + random_below(BYTES);
    sim_span *hint = NULL;
    for (size_t row = 0; row < row_count && start + row_bytes <= BASE + BYTES; row++) {
      self.position = start;
      hint = sim_shadow_apply(start, start + row_bytes, hint, change, &self);
      assert_int_equal(self.position, start + row_bytes);
      start += pitch;
    }
    assert_int_equal(sim_shadow_span_count(), count_runs(&self)); /* neighbours are joined */
    const size_t index = random_below(BYTES);
    assert_ptr_equal(sim_shadow_find(BASE + index), self.bytes[index]);
  }
  self.to = NULL;
  self.position = BASE;
  sim_shadow_apply(BASE, BASE + BYTES, NULL, change, &self);
  assert_int_equal(sim_shadow_span_count(), 0);
  for (int i = 1; i <= HISTORIES; i++) {
    assert_int_equal(histories[i]->reference_count, 1);
    sim_history_release(histories[i]);
  }
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
