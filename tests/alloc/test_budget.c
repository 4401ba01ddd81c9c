/* test_budget.c: trees of byte limits, and the functions that are called when one is reached. */
#include "tests/support/test.h"

#include <pthread.h>
#include <string.h>

#include "alloc/budget.h"

static tarn_budget *make_budget(const char *name, size_t limit_bytes, tarn_budget *parent) {
  const tarn_budget_options options = {
      .struct_size = sizeof options, .name = name, .limit_bytes = limit_bytes, .parent = parent};
  tarn_budget *budget = NULL;
  assert_ok(tarn_budget_create(&options, &budget));
  return budget;
}

static tarn_budget_stats stats_of(const tarn_budget *budget) {
  tarn_budget_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_budget_stats_of(budget, &stats));
  return stats;
}

TEST(a_charge_fits_all_levels_or_none) {
  tarn_budget *root = make_budget("root", 100, NULL);
  tarn_budget *left = make_budget("left", 80, root);
  tarn_budget *right = make_budget("right", 0, root);
  assert_ok(tarn_budget_charge(left, 60));
  assert_int_equal(stats_of(root).used_bytes, 60);
  assert_status(tarn_budget_charge(left, 21), TARN_OUT_OF_MEMORY);
  assert_string_equal(tarn_last_error()->message,
                      "left: 21 bytes more than the 60 that are used exceed its limit of 80");
  assert_status(tarn_budget_charge(right, 41), TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(tarn_last_error()->message, "root: 41"));
  assert_int_equal(stats_of(left).used_bytes, 60);
  assert_int_equal(stats_of(right).used_bytes, 0);
  assert_int_equal(stats_of(root).used_bytes, 60);
  assert_int_equal(stats_of(left).refused_count, 1);
  assert_int_equal(stats_of(right).refused_count, 0);
  assert_int_equal(stats_of(root).refused_count, 1);
  assert_ok(tarn_budget_charge(right, 40));
  tarn_budget_pay_back(left, 60);
  tarn_budget_pay_back(right, 40);
  assert_int_equal(stats_of(root).used_bytes, 0);
  assert_int_equal(stats_of(root).used_bytes_peak, 100);
  assert_int_equal(stats_of(right).used_bytes_peak, 40);
  assert_ok(tarn_budget_charge(right, 5));
  assert_int_equal(stats_of(root).used_bytes_peak, 100);
  assert_int_equal(stats_of(right).used_bytes_peak, 40);
  tarn_budget_pay_back(right, 5);
  tarn_budget_retain(left);
  tarn_budget_release(left);
  tarn_budget_release(root); /* its children keep it */
  assert_ok(tarn_budget_charge(left, 80));
  tarn_budget_pay_back(left, 80);
  tarn_budget_release(left);
  tarn_budget_release(right);
}

TEST(a_limit_may_move_at_any_time) {
  tarn_budget *budget = make_budget(NULL, 10, NULL);
  assert_string_equal(tarn_budget_name(budget), "budget");
  assert_ok(tarn_budget_charge(budget, 10));
  tarn_budget_set_limit(budget, 4); /* takes nothing away */
  assert_int_equal(stats_of(budget).used_bytes, 10);
  size_t missing_bytes = 0;
  assert_ptr_equal(tarn__budget_find_refuser(budget, 3, &missing_bytes), budget);
  assert_int_equal(missing_bytes, 9);
  assert_status(tarn_budget_charge(budget, 1), TARN_OUT_OF_MEMORY);
  assert_false(tarn__budget_may_ever_fit(budget, 5));
  assert_true(tarn__budget_may_ever_fit(budget, 4));
  tarn_budget_set_limit(budget, 0);
  assert_ok(tarn_budget_charge(budget, (size_t)1 << 40));
  assert_status(tarn_budget_charge(budget, SIZE_MAX), TARN_OUT_OF_MEMORY); /* no wrap */
  tarn_budget_pay_back(budget, ((size_t)1 << 40) + 10);
  tarn_budget_release(budget);
}

TEST(bad_arguments_are_refused) {
  tarn_budget_options options = {.struct_size = 1};
  tarn_budget *budget = (tarn_budget *)&options;
  assert_status(tarn_budget_create(&options, &budget), TARN_INVALID_ARGUMENT);
  assert_null(budget);
  assert_status(tarn_budget_create(NULL, NULL), TARN_INVALID_ARGUMENT);
  tarn_budget_stats stats = {.struct_size = 3};
  assert_ok(tarn_budget_create(NULL, &budget));
  assert_status(tarn_budget_stats_of(budget, &stats), TARN_INVALID_ARGUMENT);
  assert_status(tarn_budget_charge(NULL, 1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_budget_add_pressure(budget, NULL, NULL), TARN_INVALID_ARGUMENT);
  tarn_budget_release(budget);
  tarn_budget_release(NULL);
}

/* --- pressure --- */

typedef struct witness {
  int call_count;
  int order; /* of the last call among all */
  bool gives;
  tarn_pressure seen;
} witness;

static int order;

static bool watch(void *context, const tarn_pressure *pressure) {
  witness *self = context;
  self->call_count++;
  self->order = ++order;
  self->seen = *pressure;
  return self->gives;
}

TEST(pressure_reaches_the_budget_that_refused_and_below) {
  tarn_budget *root = make_budget("root", 0, NULL);
  tarn_budget *middle = make_budget("middle", 0, root);
  tarn_budget *leaf = make_budget("leaf", 0, middle);
  tarn_budget *other = make_budget("other", 0, root);
  witness at_root = {0};
  witness at_middle = {0};
  witness at_leaf = {.gives = true};
  witness at_other = {0};
  assert_ok(tarn_budget_add_pressure(leaf, watch, &at_leaf));
  assert_ok(tarn_budget_add_pressure(root, watch, &at_root));
  assert_ok(tarn_budget_add_pressure(middle, watch, &at_middle));
  assert_ok(tarn_budget_add_pressure(other, watch, &at_other));
  const tarn_pressure pressure = {
      .struct_size = sizeof pressure, .budget = middle, .asked_bytes = 7, .missing_bytes = 5};
  order = 0;
  assert_true(tarn__budget_press(leaf, &pressure, NULL));
  assert_int_equal(at_leaf.order, 1); /* as they were registered */
  assert_int_equal(at_middle.order, 2);
  assert_int_equal(at_leaf.seen.missing_bytes, 5);
  assert_int_equal(at_leaf.seen.asked_bytes, 7);
  assert_int_equal(at_root.call_count + at_other.call_count, 0);
  /* Where the machine refused, everybody under the same root can help; but for who asks. */
  const tarn_pressure machine = {.struct_size = sizeof machine, .missing_bytes = 1};
  assert_false(tarn__budget_press(leaf, &machine, &at_leaf));
  assert_int_equal(at_leaf.call_count, 1);
  assert_int_equal(at_root.call_count, 1);
  assert_int_equal(at_other.call_count, 1);
  assert_ok(tarn_budget_remove_pressure(leaf, watch, &at_leaf));
  assert_status(tarn_budget_remove_pressure(leaf, watch, &at_leaf), TARN_NOT_FOUND);
  assert_false(tarn__budget_press(leaf, &pressure, NULL));
  assert_int_equal(at_leaf.call_count, 1);
  assert_ok(tarn_budget_remove_pressure(root, watch, &at_root));
  assert_ok(tarn_budget_remove_pressure(middle, watch, &at_middle));
  assert_ok(tarn_budget_remove_pressure(other, watch, &at_other));
  tarn_budget_release(root);
  tarn_budget_release(middle);
  tarn_budget_release(leaf);
  tarn_budget_release(other);
}

TEST(a_pool_of_ones_own_finds_who_refuses_and_presses_there) {
  tarn_budget *root = make_budget("root", 100, NULL);
  tarn_budget *leaf = make_budget("leaf", 0, root);
  witness at_root = {.gives = true}, at_leaf = {.gives = true};
  assert_ok(tarn_budget_add_pressure(root, watch, &at_root));
  assert_ok(tarn_budget_add_pressure(leaf, watch, &at_leaf));
  assert_ok(tarn_budget_charge(leaf, 90));
  assert_null(tarn_budget_refuser(leaf, 10));
  assert_ptr_equal(tarn_budget_refuser(leaf, 30), root);
  assert_true(tarn_budget_press(leaf, 25, 30, /*except=*/&at_leaf));
  assert_int_equal(at_leaf.call_count, 0);
  assert_ptr_equal(at_root.seen.budget, root);
  assert_int_equal(at_root.seen.asked_bytes, 25);
  assert_int_equal(at_root.seen.missing_bytes, 20);
  assert_true(tarn_budget_press(leaf, 5, 5, NULL)); /* the machine has no more */
  assert_null(at_leaf.seen.budget);
  assert_int_equal(at_leaf.seen.missing_bytes, 5);
  tarn_budget_pay_back(leaf, 90);
  assert_ok(tarn_budget_remove_pressure(root, watch, &at_root));
  assert_ok(tarn_budget_remove_pressure(leaf, watch, &at_leaf));
  tarn_budget_release(root);
  tarn_budget_release(leaf);
}

static bool press_again(void *context, const tarn_pressure *pressure) {
  witness *self = context;
  self->call_count++;
  return tarn__budget_press(pressure->budget, pressure, NULL);
}

TEST(pressure_is_not_answered_by_pressure) {
  tarn_budget *budget = make_budget("one", 0, NULL);
  witness seen = {0};
  assert_ok(tarn_budget_add_pressure(budget, press_again, &seen));
  const tarn_pressure pressure = {.struct_size = sizeof pressure, .budget = budget};
  assert_false(tarn__budget_press(budget, &pressure, NULL));
  assert_int_equal(seen.call_count, 1);
  assert_ok(tarn_budget_remove_pressure(budget, press_again, &seen));
  tarn_budget_release(budget);
}

/* --- threads --- */

enum { THREAD_COUNT = 4, ROUND_COUNT = 2000 };

static bool watch_alone(void *context, const tarn_pressure *pressure) {
  (void)context;
  (void)pressure;
  return false;
}

static void *charge_and_press(void *argument) {
  tarn_budget *budget = argument;
  int mine = 0;
  for (int round = 0; round < ROUND_COUNT; round++) {
    if (tarn_budget_charge(budget, 3) == TARN_OK) tarn_budget_pay_back(budget, 3);
    if (round % 50 != 0) continue;
    const tarn_pressure pressure = {.struct_size = sizeof pressure, .budget = budget};
    if (tarn_budget_add_pressure(budget, watch_alone, &mine) != TARN_OK) return argument;
    tarn__budget_press(budget, &pressure, NULL);
    if (tarn_budget_remove_pressure(budget, watch_alone, &mine) != TARN_OK) return argument;
  }
  return NULL;
}

TEST(threads_charge_one_budget) {
  tarn_budget *root = make_budget("root", 7, NULL);
  pthread_t threads[THREAD_COUNT];
  for (int index = 0; index < THREAD_COUNT; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, charge_and_press, root), 0);
  }
  for (int index = 0; index < THREAD_COUNT; index++) {
    void *failed = NULL;
    assert_int_equal(pthread_join(threads[index], &failed), 0);
    assert_null(failed);
  }
  assert_int_equal(stats_of(root).used_bytes, 0);
  assert_true(stats_of(root).used_bytes_peak <= 7);
  tarn_budget_release(root);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
