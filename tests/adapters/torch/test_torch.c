/* test_torch.c: the functions that PyTorch calls, on the driver under test: order, records,
 * streams, out of memory, the end. */
#include "alloc/adapters/torch/tarn_torch.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "tests/adapters/torch/torch_fixture.h"

TEST_WITH(a_block_freed_on_a_stream_is_lent_again_on_it, torch_setup, torch_teardown) {
  torch_stream s = torch_make_stream();
  void *first = torch_take(SIZE_BYTES, &s);
  torch_give(first, &s);
  void *second = torch_take(SIZE_BYTES, &s);
  assert_ptr_equal(second, first);
  torch_give(second, &s);
  torch_drop_stream(&s);
}

TEST_WITH(no_bytes_are_no_block, torch_setup, torch_teardown) {
  assert_null(tarn_torch_malloc(0, 0, NULL));
  assert_null(tarn_torch_malloc_or_null(0, 0, NULL));
  tarn_torch_free(NULL, 0, 0, NULL);
  assert_int_equal(torch_stats().refused_free_count, 0);
}

TEST_WITH(the_default_stream_is_the_handle_zero, torch_setup, torch_teardown) {
  void *block = tarn_torch_malloc(SIZE_BYTES, 0, NULL);
  assert_non_null(block);
  tarn_torch_free(block, SIZE_BYTES, 0, NULL);
  assert_int_equal(torch_stats().stream_count, 1);
}

/* The one block that the limit leaves room for; a race ends the program. */
TEST_WITH(a_block_goes_to_another_stream_behind_the_work_of_the_first, torch_setup,
          torch_teardown) {
  torch_limit(2 * MIB);
  torch_stream s = torch_make_stream(), t = torch_make_stream();
  for (uint8_t round = 0; round < ROUNDS; round++) {
    void *block = torch_take(2 * MIB, &s);
    torch_fill(block, round, 2 * MIB, &s);
    torch_give(block, &s);
    void *again = torch_take(2 * MIB, &t);
    assert_ptr_equal(again, block);
    torch_fill(again, (uint8_t)~round, 2 * MIB, &t);
    torch_give(again, &t);
  }
  torch_drop_stream(&s), torch_drop_stream(&t);
}

TEST_WITH(what_is_enqueued_after_record_stream_and_before_the_free_counts, torch_setup,
          torch_teardown) {
  torch_stream s = torch_make_stream(), t = torch_make_stream();
  for (uint8_t round = 0; round < ROUNDS; round++) {
    void *block = torch_take(SIZE_BYTES, &s);
    torch_fill(block, 1, SIZE_BYTES, &s);
    torch_order(&t, &s);
    tarn_torch_record_stream(block, t.handle);
    tarn_torch_record_stream(block, t.handle); /* twice is once */
    assert_int_equal(torch_stats().recorded_count, 1);
    torch_fill(block, 2, SIZE_BYTES, &t); /* later than the record */
    torch_give(block, &s);
    assert_int_equal(torch_stats().recorded_count, 0);
    void *next = torch_take(SIZE_BYTES, &s);
    torch_fill(next, 3, SIZE_BYTES, &s);
    torch_give(next, &s);
  }
  torch_drop_stream(&s), torch_drop_stream(&t);
}

TEST_WITH(a_stream_that_only_records_is_met_at_the_free, torch_setup, torch_teardown) {
  torch_stream s = torch_make_stream(), t = torch_make_stream();
  void *block = torch_take(SIZE_BYTES, &s);
  tarn_torch_record_stream(block, t.handle);
  tarn_torch_record_stream(block, NULL); /* the legacy default stream */
  tarn_torch_record_stream(NULL, t.handle);
  assert_int_equal(torch_stats().recorded_count, 2);
  assert_int_equal(torch_stats().stream_count, 1);
  torch_give(block, &s);
  assert_int_equal(torch_stats().stream_count, 3);
  assert_int_equal(torch_stats().refused_free_count, 0);
  torch_drop_stream(&s), torch_drop_stream(&t);
}

/* More than there are buckets, so some share one. The one block that the limit leaves room for goes
 * round; a race, or work in the order of another stream than its own, ends the program. */
TEST_WITH(many_streams_are_not_mistaken_for_each_other, torch_setup, torch_teardown) {
  enum { STREAMS = 130 };
  torch_limit(2 * MIB);
  torch_stream streams[STREAMS];
  for (int i = 0; i < STREAMS; i++) {
    streams[i] = torch_make_stream();
    void *block = torch_take(2 * MIB, &streams[i]);
    torch_fill(block, (uint8_t)i, SIZE_BYTES, &streams[i]);
    torch_give(block, &streams[i]);
  }
  assert_int_equal(torch_stats().stream_count, STREAMS);
  for (int i = 0; i < STREAMS; i++) {
    void *block = torch_take(2 * MIB, &streams[i]);
    torch_fill(block, (uint8_t)i, SIZE_BYTES, &streams[i]);
    torch_give(block, &streams[i]);
  }
  assert_int_equal(torch_stats().stream_count, STREAMS);
  for (int i = 0; i < STREAMS; i++) torch_drop_stream(&streams[i]);
  assert_int_equal(torch_stats().stream_count, 0);
}

/* Ends with the stream destroyed; the simulator gives the next one the same handle. */
static void forget_a_stream_at_work(const torch_stream *t) {
  torch_stream s = torch_make_stream();
  void *block = torch_take(MIB, &s);
  void *recorded = torch_take(MIB, t);
  torch_fill(block, 7, MIB, &s);
  tarn_torch_record_stream(recorded, s.handle);
  assert_int_equal(torch_stats().stream_count, 2);
  OK(tarn_torch_forget_stream(0, s.handle));
  assert_int_equal(torch_stats().stream_count, 1);
  torch_give(block, &s); /* in the name of a stream that is no more */
  torch_give(recorded, t);
  void *both = torch_take(2 * MIB, t);
  torch_fill(both, 8, 2 * MIB, t);
  torch_give(both, t);
  torch_destroy_native(&s);
}

TEST_WITH(a_forgotten_stream_is_new_when_its_handle_comes_back, torch_setup, torch_teardown) {
  torch_limit(2 * MIB);
  torch_stream t = torch_make_stream();
  for (int round = 0; round < ROUNDS; round++) forget_a_stream_at_work(&t);
  torch_drop_stream(&t);
  torch_drop_stream(&(torch_stream){t.handle, fixture_stream(*state)}); /* a second time: nothing */
  assert_int_equal(tarn_torch_forget_stream(-1, NULL), TARN_INVALID_ARGUMENT);
}

/* --- out of memory --- */

TEST_WITH(without_memory_the_answer_is_null_and_the_report_stays, torch_setup, torch_teardown) {
  torch_limit(4 * MIB);
  tarn_out_of_memory report = {.struct_size = sizeof report};
  assert_int_equal(tarn_torch_out_of_memory(0, &report), TARN_NOT_FOUND);
  torch_stream s = torch_make_stream();
  void *block = torch_take(3 * MIB, &s);
  assert_null(tarn_torch_malloc_or_null(2 * MIB, 0, s.handle));
  assert_int_equal(tarn_last_error()->status, TARN_OUT_OF_MEMORY);
  assert_int_equal(torch_stats().failed_count, 1);
  /* A sanitizer's runtime brings C++ into the process: then that would throw. */
  if (dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD) == NULL) {
    assert_null(tarn_torch_malloc(2 * MIB, 0, s.handle));
    assert_int_equal(torch_stats().failed_count, 2);
  }
  report.struct_size = sizeof report;
  OK(tarn_torch_out_of_memory(0, &report));
  assert_int_equal(report.asked_bytes, 2 * MIB);
  assert_int_equal(report.live_bytes, 3 * MIB);
  torch_give(block, &s);
  block = torch_take(4 * MIB, &s); /* failing has broken nothing */
  torch_give(block, &s);
  report.struct_size = 1;
  assert_int_equal(tarn_torch_out_of_memory(0, &report), TARN_INVALID_ARGUMENT);
  torch_drop_stream(&s);
}

TEST_WITH(a_memory_fraction_is_the_pools_limit, torch_setup, torch_teardown) {
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(*state, 0, &info));
  const double fraction = 8.0 * MIB / (double)info.total_bytes;
  tarn_torch_memory_fraction(fraction, 0);
  assert_null(tarn_torch_malloc_or_null(16 * MIB, 0, NULL));
  tarn_torch_memory_fraction(-1, 0); /* neither of these is one */
  tarn_torch_memory_fraction(0.0 / 0.0, 0);
  tarn_torch_memory_fraction(1, -1);
  assert_null(tarn_torch_malloc_or_null(16 * MIB, 0, NULL));
  tarn_torch_memory_fraction(0, 0);
  assert_null(tarn_torch_malloc_or_null(SIZE_BYTES, 0, NULL));
  tarn_torch_memory_fraction(1, 0);
  void *block = tarn_torch_malloc(16 * MIB, 0, NULL);
  assert_non_null(block);
  tarn_torch_free(block, 16 * MIB, 0, NULL);
}

TEST_WITH(emptying_the_cache_gives_back_what_is_idle, torch_setup, torch_teardown) {
  tarn_torch_init(1);
  tarn_torch_reset(); /* before anything */
  torch_stream s = torch_make_stream();
  void *kept = torch_take(2 * MIB, &s);
  torch_give(torch_take(20 * MIB, &s), &s);
  assert_true(torch_stats().pool.reserved_bytes >= 22 * MIB);
  tarn_torch_reset();
  assert_int_equal(torch_stats().pool.reserved_bytes, 2 * MIB);
  torch_give(kept, &s);
  torch_drop_stream(&s);
}

TEST_WITH(a_base_is_what_the_driver_made_at_once, torch_setup, torch_teardown) {
  char *block = tarn_torch_malloc(SIZE_BYTES, 0, NULL);
  size_t size_bytes = 0;
  char *base = tarn_torch_base_alloc(block + 100, &size_bytes);
  assert_true(base <= block && block + SIZE_BYTES <= base + size_bytes);
  assert_ptr_equal(tarn_torch_base_alloc(block, NULL), base);
  assert_ptr_equal(tarn_torch_base_alloc(&size_bytes, &size_bytes), &size_bytes);
  assert_int_equal(size_bytes, 0);
  tarn_torch_free(block, SIZE_BYTES, 0, NULL);
}

TEST_WITH(a_base_is_sought_on_devices_in_use_alone, torch_setup, torch_teardown) {
  FIXTURE_NEEDS_SIM();
  if (tarn_cuda_device_count(*state) < 2) skip();
  OK(tarn_torch_close());
  tarn_cuda *cuda = fixture_open(); /* whose devices have no context yet */
  OK(tarn_torch_set_options(
      &(tarn_torch_options){.struct_size = sizeof(tarn_torch_options), .cuda = cuda}));
  void *block = tarn_torch_malloc(SIZE_BYTES, 1, NULL);
  cusim_counts before, after;
  fixture_sim_control()->get_counts(&before);
  size_t size_bytes = 0;
  assert_true((char *)tarn_torch_base_alloc(block, &size_bytes) <= (char *)block);
  assert_true(size_bytes >= SIZE_BYTES);
  fixture_sim_control()->get_counts(&after);
  assert_int_equal(after.context_retains, before.context_retains);
  tarn_torch_free(block, SIZE_BYTES, 1, NULL);
  OK(tarn_torch_close());
  tarn_cuda_release(cuda);
}

TEST_WITH(what_was_not_lent_out_is_not_taken_back, torch_setup, torch_teardown) {
  int local;
  tarn_torch_free(&local, 4, 0, NULL); /* before the device's first use */
  assert_int_equal(torch_stats().refused_free_count, 1);
  void *block = tarn_torch_malloc(SIZE_BYTES, 0, NULL);
  tarn_torch_free(&local, 4, 0, NULL);
  tarn_torch_free((char *)block + 1, 4, 0, NULL);
  tarn_torch_record_stream(&local, NULL);
  tarn_torch_free(&local, 4, 0, NULL);
  tarn_torch_free(block, SIZE_BYTES, -7, NULL);
  assert_int_equal(torch_stats().refused_free_count, 5);
  tarn_torch_free(block, SIZE_BYTES, 0, NULL);
  assert_int_equal(torch_stats().refused_free_count, 5);
  assert_int_equal(torch_stats().pool.allocated_bytes, 0);
}

TEST_WITH(a_device_that_does_not_exist_has_no_memory, torch_setup, torch_teardown) {
  assert_null(tarn_torch_malloc_or_null(SIZE_BYTES, -1, NULL));
  assert_null(tarn_torch_malloc_or_null(SIZE_BYTES, TARN_TORCH_DEVICES_MAX, NULL));
  assert_int_equal(tarn_last_error()->status, TARN_INVALID_ARGUMENT);
  assert_null(tarn_torch_malloc_or_null(SIZE_BYTES, tarn_cuda_device_count(*state), NULL));
  assert_int_equal(tarn_last_error()->status, TARN_INVALID_ARGUMENT);
}

TEST_WITH(each_device_has_its_pool_and_streams_of_another_count, torch_setup, torch_teardown) {
  if (tarn_cuda_device_count(*state) < 2) skip();
  torch_stream s = torch_make_stream(); /* of device 0, which nothing is allocated on */
  void *block = tarn_torch_malloc(SIZE_BYTES, 1, NULL);
  assert_non_null(block);
  assert_int_equal(torch_stats().pool.alloc_count, 0);
  tarn_torch_record_stream(block, s.handle);
  tarn_torch_free(block, SIZE_BYTES, 1, NULL);
  tarn_torch_stats stats = {.struct_size = sizeof stats};
  OK(tarn_torch_stats_of(1, &stats));
  assert_int_equal(stats.refused_free_count, 0);
  assert_int_equal(stats.pool.allocated_bytes, 0);
  assert_int_equal(stats.stream_count, 1);
  assert_int_equal(torch_stats().stream_count, 1); /* found where it belongs */
  torch_drop_stream(&s);
}

/* --- pools and options --- */

TEST_WITH(another_pool_takes_over_once_the_first_is_idle, torch_setup, torch_teardown) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL, *found = NULL;
  OK(tarn_cuda_device_provider_create(*state, 0, &provider));
  OK(tarn_caching_pool_create(provider, NULL, &pool));
  void *block = tarn_torch_malloc(SIZE_BYTES, 0, NULL);
  assert_int_equal(tarn_torch_set_pool(0, pool), TARN_BUSY);
  tarn_torch_free(block, SIZE_BYTES, 0, NULL);
  OK(tarn_torch_set_pool(0, pool));
  OK(tarn_torch_pool(0, &found));
  assert_ptr_equal(found, pool);
  tarn_pool_release(found);
  tarn_pool_release(pool); /* the adapter holds it */
  block = tarn_torch_malloc(SIZE_BYTES, 0, NULL);
  assert_int_equal(torch_stats().pool.alloc_count, 1);
  tarn_torch_free(block, SIZE_BYTES, 0, NULL);
  assert_int_equal(tarn_torch_set_pool(0, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_torch_set_pool(-1, pool), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_torch_set_pool(1, pool), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_torch_pool(-1, &found), TARN_INVALID_ARGUMENT);
  assert_null(found);
  tarn_provider_release(provider);
}

TEST_WITH(options_and_the_environment_say_what_a_pool_is, torch_setup, torch_teardown) {
  setenv("TARN_TORCH_LIMIT_BYTES", "4194304", 1);
  setenv("TARN_TORCH_MEMORY", "blocks", 1);
  assert_null(tarn_torch_malloc_or_null(8 * MIB, 0, NULL));
  OK(tarn_torch_close());
  torch_options(&(tarn_torch_options){.limit_bytes = 16 * MIB, .memory = TARN_CUDA_MEMORY_VIRTUAL});
  void *block = tarn_torch_malloc(8 * MIB, 0, NULL); /* what is said goes before */
  assert_non_null(block);
  tarn_torch_free(block, 8 * MIB, 0, NULL);
  OK(tarn_torch_close());
  static const char *const wrong[][2] = {{"TARN_TORCH_LIMIT_BYTES", "much"},
                                         {"TARN_TORCH_FLOOR_BYTES", "-1"},
                                         {"TARN_TORCH_PREPARE_BYTES", "1k"},
                                         {"TARN_TORCH_MEMORY", "some"}};
  unsetenv("TARN_TORCH_LIMIT_BYTES"), unsetenv("TARN_TORCH_MEMORY");
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    setenv(wrong[i][0], wrong[i][1], 1);
    assert_null(tarn_torch_malloc_or_null(SIZE_BYTES, 0, NULL));
    assert_non_null(strstr(tarn_last_error()->message, wrong[i][0]));
    unsetenv(wrong[i][0]);
  }
  tarn_torch_options options = {.struct_size = 1};
  assert_int_equal(tarn_torch_set_options(&options), TARN_INVALID_ARGUMENT);
  options = (tarn_torch_options){.struct_size = sizeof options, .memory = (tarn_cuda_memory)9};
  assert_int_equal(tarn_torch_set_options(&options), TARN_INVALID_ARGUMENT);
  torch_options(&(tarn_torch_options){.cuda = *state});
  assert_non_null(block = tarn_torch_malloc(SIZE_BYTES, 0, NULL));
  tarn_torch_free(block, SIZE_BYTES, 0, NULL);
}

TEST_WITH(closing_waits_for_nobody_and_gives_all_back, torch_setup, torch_teardown) {
  torch_stream s = torch_make_stream();
  void *block = torch_take(SIZE_BYTES, &s);
  assert_int_equal(tarn_torch_close(), TARN_BUSY);
  torch_give(block, &s);
  OK(tarn_torch_close());
  assert_int_equal(torch_stats().pool.reserved_bytes, 0);
  torch_destroy_native(&s); /* nobody looks at it any more */
}

/* --- telling --- */

static size_t file_holds(const char *path, const char *words) {
  static char text[1 << 16];
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  fclose(file);
  unlink(path);
  return strstr(text, words) != NULL;
}

TEST_WITH(snapshots_and_traces_are_saved, torch_setup, torch_teardown) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/test_torch.%d", (int)getpid());
  OK(tarn_torch_trace_start(0, 100));
  void *block = tarn_torch_malloc(5000, 0, NULL);
  tarn_torch_free(block, 5000, 0, NULL);
  OK(tarn_torch_trace_stop(0));
  OK(tarn_torch_trace_save(0, path));
  assert_true(file_holds(path, ",5000,"));
  OK(tarn_torch_snapshot_save(0, path));
  assert_true(file_holds(path, "\"tarn.snapshot\""));
  assert_int_equal(tarn_torch_snapshot_save(0, "/nowhere/at/all"), TARN_SYSTEM_ERROR);
  assert_int_equal(tarn_torch_snapshot_save(0, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_torch_trace_start(-1, 1), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_torch_trace_stop(-1), TARN_INVALID_ARGUMENT);
  tarn_torch_stats stats = {.struct_size = 3};
  assert_int_equal(tarn_torch_stats_of(0, &stats), TARN_INVALID_ARGUMENT);
}

int run_torch_tests(void) {
  return run_listed_tests(torch_group_setup, fixture_teardown);
}
