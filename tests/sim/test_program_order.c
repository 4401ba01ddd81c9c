/* test_program_order.c: what a program may do, by the numbered sentences alone. */
#include "tests/support/test.h"

#include "tests/sim/program_model.h"

enum { S0, S1, S2 };

static order_state order;

static int set_up(void **state) {
  (void)state;
  order_init(&order);
  for (uint32_t stream = S0; stream <= S2; stream++) {
    assert_true(order_stream_begin(&order, stream));
  }
  return 0;
}

static bool may_write(uint32_t block, uint32_t stream) {
  return order_may_use(&order, block, stream, /*is_write=*/true);
}

static bool may_read(uint32_t block, uint32_t stream) {
  return order_may_use(&order, block, stream, /*is_write=*/false);
}

static void write_block(uint32_t block, uint32_t stream) {
  order_use(&order, block, stream, /*is_write=*/true);
}

TEST_WITH(a_block_is_for_its_stream_and_those_behind_it, set_up, NULL) {
  order_alloc(&order, 0, S0);
  assert_true(may_write(0, S0));
  assert_false(may_write(0, S1));
  assert_false(may_write(0, PROGRAM_HOST));
  order_record(&order, 0, S0);
  order_wait(&order, 0, S1);
  assert_true(may_write(0, S1));
  order_host_saw_stream(&order, S1);
  assert_true(may_write(0, PROGRAM_HOST));
  /* What the host has seen, work that it enqueues afterwards is behind. */
  assert_true(may_write(0, S2));
}

TEST_WITH(a_block_of_the_host_is_for_everybody, set_up, NULL) {
  order_alloc(&order, 0, PROGRAM_HOST);
  assert_true(may_write(0, PROGRAM_HOST));
  assert_true(may_write(0, S2));
}

TEST_WITH(an_event_covers_what_came_before_its_record, set_up, NULL) {
  order_alloc(&order, 0, S0);
  order_record(&order, 0, S0);
  write_block(0, S0);
  order_wait(&order, 0, S1);
  assert_false(may_read(0, S1));
  order_wait(&order, 1, S2); /* never recorded */
  assert_false(may_read(0, S2));
  order_edge(&order, S0, S2);
  assert_true(may_read(0, S2));
}

TEST_WITH(reads_may_run_beside_each_other_and_writes_may_not, set_up, NULL) {
  order_alloc(&order, 0, S0);
  write_block(0, S0);
  order_edge(&order, S0, S1);
  order_use(&order, 0, S1, /*is_write=*/false);
  assert_true(may_read(0, S0));
  assert_false(may_write(0, S0));
  order_edge(&order, S1, S0);
  assert_true(may_write(0, S0));
}

TEST_WITH(a_free_lies_behind_every_use_or_the_use_is_noted, set_up, NULL) {
  order_alloc(&order, 0, S0);
  assert_true(order_may_free(&order, 0, S2)); /* nobody has used it */
  order_edge(&order, S0, S1);
  write_block(0, S1);
  assert_false(order_may_free(&order, 0, S0));
  assert_true(order_may_free(&order, 0, S1));
  order_note(&order, 0, S1);
  assert_true(order_may_free(&order, 0, S0));
  assert_true(order_may_free(&order, 0, PROGRAM_HOST));
  write_block(0, S1); /* behind the note */
  assert_false(order_may_free(&order, 0, S0));
  order_host_saw_stream(&order, S1);
  assert_true(order_may_free(&order, 0, PROGRAM_HOST));
}

TEST_WITH(a_stream_that_comes_back_is_another_one, set_up, NULL) {
  order_alloc(&order, 0, S0);
  write_block(0, S0);
  order_stream_end(&order, S0);
  assert_false(order_stream_is_alive(&order, S0));
  assert_true(order_stream_begin(&order, S0));
  assert_false(may_write(0, S0));
  assert_false(order_may_free(&order, 0, S0));
}

TEST_WITH(what_is_not_there_is_not_allowed, set_up, NULL) {
  static program made = {.stream_count = 2, .pool_count = 1};
  static model_state model;
  made.pools[0].kind = POOL_DEVICE;
  model_init(&model, &made);
  program_op op = {.verb = VERB_ALLOC, .stream = S0, .size_bytes = 64};
  assert_true(model_allows(&model, &op));
  model_apply(&model, &op, 0);
  assert_false(model_allows(&model, &op)); /* the slot is taken */
  op.verb = VERB_CHECK;
  assert_false(model_allows(&model, &op)); /* nothing was written */
  op.verb = VERB_WRITE;
  assert_true(model_allows(&model, &op));
  op.stream = S2; /* the program has two streams */
  assert_false(model_allows(&model, &op));
  op = (program_op){.verb = VERB_HOST_WRITE};
  assert_false(model_allows(&model, &op)); /* not the CPU's memory */
  op = (program_op){.verb = VERB_FREE, .stream = S1};
  assert_true(model_allows(&model, &op));
  model_apply(&model, &op, 0);
  assert_false(model_allows(&model, &op));
  assert_int_equal(model.pools[0].requested_bytes, 0);
  assert_int_equal(model.pools[0].requested_bytes_peak, 64);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
