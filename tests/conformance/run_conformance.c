/* run_conformance.c: makes one cmocka test out of each pair of a test and an implementation. */
#include "tests/conformance/conformance.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"

int run_conformance(const conformance_test *tests, const implementation *implementations,
                    const char *pattern) {
  struct CMUnitTest units[1024] = {{0}};
  size_t unit_count = 0;
  for (const implementation *row = implementations; row->name != NULL; row++) {
    for (const conformance_test *test = tests; test->name != NULL; test++) {
      if (unit_count == sizeof units / sizeof *units) return 1;
      const size_t name_bytes = strlen(row->name) + strlen(test->name) + 3;
      char *name = malloc(name_bytes);
      if (name == NULL) return 1;
      snprintf(name, name_bytes, "%s: %s", row->name, test->name);
      units[unit_count++] = (struct CMUnitTest){
          .name = name, .test_func = test->run, .initial_state = (void *)(uintptr_t)row};
    }
  }
  cmocka_set_test_filter(pattern);
  const int failed = _cmocka_run_group_tests("conformance", units, unit_count, NULL, NULL);
  for (size_t index = 0; index < unit_count; index++) free((void *)(uintptr_t)units[index].name);
  return failed;
}

static void check_made(const implementation *row, tarn_status status) {
  if (status == TARN_UNAVAILABLE || status == TARN_NOT_SUPPORTED) {
    print_message("%s: skipped: %s\n", row->name, tarn_last_error()->message);
    skip();
  }
  if (status != TARN_OK) {
    fail_msg("%s: %s: %s", row->name, tarn_status_name(status), tarn_last_error()->message);
  }
}

tarn_provider *make_provider(void **state) {
  const implementation *row = *state;
  tarn_provider *provider = NULL;
  check_made(row, row->make_provider(&provider));
  return provider;
}

tarn_status make_caching_over(tarn_status (*make)(tarn_provider **), tarn_pool **pool) {
  tarn_provider *provider = NULL;
  tarn_status status = make(&provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  return status;
}

tarn_pool *make_pool(void **state) {
  const implementation *row = *state;
  tarn_pool *pool = NULL;
  check_made(row, row->make_pool != NULL ? row->make_pool(&pool)
                                         : make_caching_over(row->make_provider, &pool));
  return pool;
}

tarn_stream *make_stream(void **state) {
  const implementation *row = *state;
  tarn_stream *stream = NULL;
  check_made(row, row->make_stream(&stream));
  return stream;
}
