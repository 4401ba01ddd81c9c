/* test_fallback.c: the first of several pools that has memory, and what the others said. */
#include "tests/alloc/caching_fixture.h"

#include <string.h>

#include "alloc/tarn_fallback.h"

/* A full pool of a pretended device, one that the machine lacks, and pages. */
static struct {
  tarn_pool *device;
  tarn_pool *pages;
  tarn_fallback *fallback;
} self;

static tarn_fallback_choice choice_of(const char *name, tarn_pool *pool) {
  return (tarn_fallback_choice){
      .struct_size = sizeof(tarn_fallback_choice), .name = name, .pool = pool};
}

static int set_up(void **state) {
  (void)state;
  self.device = make_segment_pool(2 * MIB);
  self.pages = make_range_pool(0);
  const tarn_fallback_choice choices[] = {
      choice_of("device", self.device),
      {.struct_size = sizeof *choices,
       .name = "pinned near",
       .status = TARN_UNAVAILABLE,
       .reason = "no node is near"},
      choice_of("pageable", self.pages),
  };
  assert_ok(tarn_fallback_create(choices, COUNT_OF(choices), &self.fallback));
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tarn_fallback_release(self.fallback);
  tarn_pool_release(self.device);
  tarn_pool_release(self.pages);
  return 0;
}

TEST_WITH(the_first_choice_is_taken_while_it_has_memory, set_up, tear_down) {
  tarn_fallback_grant grant = {.struct_size = sizeof grant};
  assert_ok(tarn_fallback_alloc(self.fallback, MIB, NULL, &grant));
  assert_int_equal(grant.choice, 0);
  assert_int_equal(grant.refusal_count, 0);
  assert_ptr_equal(grant.pool, self.device);
  assert_string_equal(grant.name, "device");
  assert_int_equal(grant.device.type, TARN_DEVICE_CUDA);
  assert_non_null(grant.address);
  assert_int_equal(stats_of(self.device).alloc_count, 1);
  assert_ok(tarn_fallback_free(&grant, NULL));
  assert_null(grant.address);
  assert_int_equal(stats_of(self.device).free_count, 1);
  assert_ok(tarn_fallback_free(&grant, NULL)); /* nothing any more */
}

TEST_WITH(who_is_passed_over_is_named_with_the_reason, set_up, tear_down) {
  void *filling = take(self.device, 2 * MIB, NULL);
  (void)!tarn_fail(TARN_BUSY, "before");
  tarn_fallback_grant grant = {.struct_size = sizeof grant};
  assert_ok(tarn_fallback_alloc(self.fallback, MIB, NULL, &grant));
  assert_int_equal(grant.choice, 2);
  assert_string_equal(grant.name, "pageable");
  assert_int_equal(grant.device.type, TARN_DEVICE_CPU);
  assert_int_equal(grant.refusal_count, 2);
  assert_int_equal(grant.refusals[0].status, TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(grant.refusals[0].message, "Budget counting is at"));
  assert_int_equal(grant.refusals[1].status, TARN_UNAVAILABLE);
  assert_string_equal(grant.refusals[1].message, "no node is near");
  assert_string_equal(tarn_last_error()->message, "before"); /* it was a success */
  memset(grant.address, 1, MIB);
  assert_ok(tarn_fallback_free(&grant, NULL));
  assert_int_equal(stats_of(self.pages).free_count, 1);
  give(self.device, filling, NULL);
}

TEST_WITH(where_all_refuse_each_one_is_heard, set_up, tear_down) {
  const tarn_fallback_choice choices[] = {
      choice_of("device", self.device),
      {.struct_size = sizeof *choices, .name = "pinned", .status = TARN_NOT_SUPPORTED},
  };
  tarn_fallback *fallback = NULL;
  assert_ok(tarn_fallback_create(choices, 2, &fallback));
  assert_int_equal(tarn_fallback_choice_count(fallback), 2);
  tarn_fallback_grant grant = {.struct_size = sizeof grant};
  assert_status(tarn_fallback_alloc(fallback, 64 * MIB, NULL, &grant), TARN_NOT_SUPPORTED);
  assert_null(grant.address);
  assert_null(grant.pool);
  assert_null(grant.name);
  assert_int_equal(grant.choice, 2);
  assert_int_equal(grant.refusal_count, 2);
  assert_int_equal(grant.refusals[0].status, TARN_OUT_OF_MEMORY);
  assert_string_equal(grant.refusals[1].message, tarn_status_text(TARN_NOT_SUPPORTED));
  assert_non_null(strstr(tarn_last_error()->message, "device: "));
  assert_non_null(strstr(tarn_last_error()->message, "; pinned: "));
  assert_ok(tarn_fallback_free(&grant, NULL));
  tarn_fallback_release(fallback);
}

TEST_WITH(a_storage_lies_where_the_grant_says_and_gives_itself_back, set_up, tear_down) {
  void *filling = take(self.device, 2 * MIB, NULL);
  tarn_storage *storage = NULL;
  tarn_fallback_grant grant = {.struct_size = sizeof grant};
  assert_ok(tarn_fallback_storage_create(self.fallback, 3000, NULL, &storage, &grant));
  assert_int_equal(grant.choice, 2);
  assert_int_equal(grant.refusal_count, 2);
  assert_ptr_equal(tarn_storage_data(storage), grant.address);
  assert_ptr_equal(tarn_storage_pool(storage), self.pages);
  assert_true(tarn_device_equal(tarn_storage_device(storage), grant.device));
  tarn_storage_release(storage);
  give(self.device, filling, NULL);
  assert_ok(tarn_fallback_storage_create(self.fallback, 3000, NULL, &storage, NULL));
  assert_ptr_equal(tarn_storage_pool(storage), self.device);
  tarn_storage_release(storage);
}

TEST_WITH(no_bytes_are_granted_by_the_first_pool, set_up, tear_down) {
  tarn_fallback_grant grant = {.struct_size = sizeof grant};
  assert_ok(tarn_fallback_alloc(self.fallback, 0, NULL, &grant));
  assert_null(grant.address);
  assert_int_equal(grant.choice, 0);
}

TEST_WITH(a_grant_outlives_the_fallback_and_the_pools_handle, set_up, tear_down) {
  tarn_pool *pool = make_range_pool(0);
  const tarn_fallback_choice only = choice_of("only", pool);
  tarn_fallback *fallback = NULL;
  assert_ok(tarn_fallback_create(&only, 1, &fallback));
  tarn_pool_release(pool);
  tarn_fallback_retain(fallback);
  tarn_fallback_release(fallback);
  tarn_fallback_grant grant = {.struct_size = sizeof grant};
  assert_ok(tarn_fallback_alloc(fallback, 100, NULL, &grant));
  tarn_fallback_release(fallback);
  memset(grant.address, 1, 100);
  assert_ok(tarn_fallback_free(&grant, NULL));
}

TEST_WITH(what_is_wrong_is_refused, set_up, tear_down) {
  tarn_fallback *none = self.fallback;
  tarn_fallback_choice wrong = choice_of("both", self.pages);
  wrong.status = TARN_BUSY;
  assert_status(tarn_fallback_create(&wrong, 1, &none), TARN_INVALID_ARGUMENT);
  assert_null(none);
  assert_non_null(strstr(tarn_last_error()->message, "both"));
  wrong = choice_of("neither", NULL);
  assert_status(tarn_fallback_create(&wrong, 1, &none), TARN_INVALID_ARGUMENT);
  wrong = choice_of("a name that is longer than any that is taken", self.pages);
  assert_status(tarn_fallback_create(&wrong, 1, &none), TARN_INVALID_ARGUMENT);
  wrong = choice_of(NULL, self.pages);
  assert_status(tarn_fallback_create(&wrong, 1, &none), TARN_INVALID_ARGUMENT);
  wrong = choice_of("small", self.pages);
  wrong.struct_size--;
  assert_status(tarn_fallback_create(&wrong, 1, &none), TARN_INVALID_ARGUMENT);
  assert_status(tarn_fallback_create(NULL, 1, &none), TARN_INVALID_ARGUMENT);
  assert_status(tarn_fallback_create(&wrong, 0, &none), TARN_INVALID_ARGUMENT);
  assert_status(tarn_fallback_create(&wrong, TARN_FALLBACK_CHOICES_MAX + 1, &none),
                TARN_INVALID_ARGUMENT);
  tarn_fallback_grant grant = {.struct_size = 1};
  assert_status(tarn_fallback_alloc(self.fallback, 8, NULL, &grant), TARN_INVALID_ARGUMENT);
  assert_status(tarn_fallback_alloc(self.fallback, 8, NULL, NULL), TARN_INVALID_ARGUMENT);
  grant.struct_size = sizeof grant;
  assert_status(tarn_fallback_alloc(NULL, 8, NULL, &grant), TARN_INVALID_ARGUMENT);
  assert_status(tarn_fallback_storage_create(self.fallback, 8, NULL, NULL, &grant),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_fallback_free(NULL, NULL), TARN_INVALID_ARGUMENT);
  tarn_fallback_release(NULL);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
