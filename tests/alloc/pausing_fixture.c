/* pausing_fixture.c: pages as a provider that counts and fails, for the tests of pausing. */
#include "tests/alloc/pausing_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_pages.h"
#include "alloc/tarn_tag.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/support/pools.h"

pausing_provider machine;
bool adjoins_ranges;

enum { ADJOINING_BYTES = 64 * GRANULE };

typedef struct wrapped {
  tarn_provider *pages;
  tarn_device device;
  char *adjoining; /* all ranges lie in it; NULL: each where it comes to lie */
  size_t range_bytes;
  size_t used_bytes;
} wrapped;

static tarn_status wrapped_attributes(void *context, tarn_provider_attributes *attributes) {
  const wrapped *self = context;
  *attributes = *tarn_provider_attributes_of(self->pages);
  attributes->device = self->device;
  return TARN_OK;
}

static tarn_status wrapped_alloc(void *context, size_t size_bytes, void **address) {
  const wrapped *self = context;
  return tarn_provider_alloc(self->pages, size_bytes, address);
}

static tarn_status wrapped_release(void *context, void *address, size_t size_bytes) {
  const wrapped *self = context;
  if (self->adjoining != NULL) return TARN_OK; /* with the provider */
  return tarn_provider_free(self->pages, address, size_bytes);
}

static tarn_status wrapped_reserve(void *context, size_t size_bytes, void **address) {
  wrapped *self = context;
  if (self->adjoining != NULL) {
    assert_true(self->used_bytes + size_bytes <= ADJOINING_BYTES);
    *address = self->adjoining + self->used_bytes;
    self->used_bytes += size_bytes;
    self->range_bytes = size_bytes;
    return TARN_OK;
  }
  return tarn_provider_reserve(self->pages, size_bytes, address);
}

static bool is_to_fail(void) {
  const int number = ++machine.call_count;
  void (*interlude)(void) = atomic_exchange(&machine.interlude, NULL);
  if (interlude != NULL) interlude();
  return machine.fail_at != 0 &&
         (machine.fails_on ? number >= machine.fail_at : number == machine.fail_at);
}

static void assert_in_one_range(const wrapped *self, const char *address, size_t size_bytes) {
  if (self->adjoining == NULL) return;
  const size_t first = (size_t)(address - self->adjoining) / self->range_bytes;
  const size_t last = (size_t)(address - self->adjoining + size_bytes - 1) / self->range_bytes;
  assert_int_equal(first, last);
}

static tarn_status wrapped_commit(void *context, void *address, size_t size_bytes) {
  const wrapped *self = context;
  assert_in_one_range(self, address, size_bytes);
  if (is_to_fail()) return tarn_fail(TARN_DEVICE_ERROR, "the test lets this commit fail");
  machine.commit_count++;
  const tarn_status status = tarn_provider_commit(self->pages, address, size_bytes);
  if (status == TARN_OK) machine.committed_bytes += size_bytes;
  return status;
}

static tarn_status wrapped_decommit(void *context, void *address, size_t size_bytes) {
  const wrapped *self = context;
  assert_in_one_range(self, address, size_bytes);
  if (is_to_fail()) return tarn_fail(TARN_DEVICE_ERROR, "the test lets this decommit fail");
  machine.decommit_count++;
  const tarn_status status = tarn_provider_decommit(self->pages, address, size_bytes);
  if (status == TARN_OK) machine.committed_bytes -= size_bytes;
  return status;
}

static void wrapped_destroy(void *context) {
  wrapped *self = context;
  if (self->adjoining != NULL) {
    assert_ok(tarn_provider_free(self->pages, self->adjoining, ADJOINING_BYTES));
  }
  tarn_provider_release(self->pages);
  free(self);
}

tarn_pool *make_pausable_pool(tarn_device device, const tarn_caching_options *options) {
  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "pausing",
                                        .attributes = wrapped_attributes,
                                        .alloc = wrapped_alloc,
                                        .release = wrapped_release,
                                        .reserve = wrapped_reserve,
                                        .commit = wrapped_commit,
                                        .decommit = wrapped_decommit,
                                        .destroy = wrapped_destroy};
  const tarn_pages_options pages = {.struct_size = sizeof pages, .granularity_bytes = GRANULE};
  wrapped *self = calloc(1, sizeof *self);
  assert_non_null(self);
  self->device = device;
  assert_ok(tarn_pages_provider_create(&pages, &self->pages));
  if (adjoins_ranges) {
    void *address = NULL;
    assert_ok(tarn_provider_reserve(self->pages, ADJOINING_BYTES, &address));
    self->adjoining = address;
  }
  tarn_provider *provider = NULL;
  assert_ok(tarn_provider_create(&ops, self, &provider));
  tarn_pool *made = pool_over(provider, options);
  machine = (pausing_provider){.committed_bytes = 0};
  return made;
}

/* --- what most tests work on --- */

tarn_pool *pool;
tarn_pool *backup;
tarn_pause_report report;

int make_pools(void **state) {
  (void)state;
  pool = make_pausable_pool(tarn_device_make(TARN_DEVICE_CPU, 0), NULL);
  backup = pages_pool(NULL);
  return 0;
}

int drop_pools(void **state) {
  (void)state;
  const tarn_pool_stats stats = exact_stats();
  assert_int_equal(stats.allocated_bytes, 0);
  assert_int_equal(stats.paused_bytes, 0);
  assert_int_equal(stats_of(backup).allocated_bytes, 0);
  tarn_pool_release(pool);
  tarn_pool_release(backup);
  return 0;
}

void *take_tagged(const char *tag, size_t size_bytes) {
  assert_ok(tarn_tag_push(tag));
  void *address = take(pool, size_bytes, NULL);
  tarn_tag_pop();
  return address;
}

tarn_status pause_with(tarn_pause_contents contents, const char *tag, tarn_stream *stream) {
  const tarn_pause_options options = {.struct_size = sizeof options,
                                      .contents = contents,
                                      .tags = &tag,
                                      .tag_count = tag != NULL,
                                      .backup = contents == TARN_PAUSE_KEEP ? backup : NULL,
                                      .stream = stream};
  report = (tarn_pause_report){.struct_size = sizeof report};
  return tarn_pool_pause(pool, &options, &report);
}

tarn_status keep(const char *tag) {
  return pause_with(TARN_PAUSE_KEEP, tag, NULL);
}

tarn_status discard(const char *tag) {
  return pause_with(TARN_PAUSE_DISCARD, tag, NULL);
}

tarn_status resume(const char *tag) {
  const tarn_resume_options options = {
      .struct_size = sizeof options, .tags = &tag, .tag_count = tag != NULL};
  report = (tarn_pause_report){.struct_size = sizeof report};
  return tarn_pool_resume(pool, &options, &report);
}

void fill(void *address, size_t size_bytes, unsigned char value) {
  memset(address, value, size_bytes);
}

void expect(const void *address, size_t size_bytes, unsigned char value) {
  const unsigned char *bytes = address;
  assert_int_equal(bytes[0], value);
  assert_memory_equal(bytes, bytes + 1, size_bytes - 1);
}

tarn_pool_stats exact_stats(void) {
  const tarn_pool_stats stats = stats_of(pool);
  tarn_budget_stats budget = {.struct_size = sizeof budget};
  assert_ok(tarn_budget_stats_of(tarn_caching_pool_budget(pool), &budget));
  assert_int_equal(stats.reserved_bytes, machine.committed_bytes);
  assert_int_equal(stats.reserved_bytes, budget.used_bytes);
  assert_true(stats.requested_bytes <= stats.allocated_bytes);
  assert_true(stats.allocated_bytes <= stats.active_bytes);
  assert_true(stats.active_bytes <= stats.reserved_bytes + stats.paused_bytes);
  return stats;
}
