/* test_pinned.c: page-locked memory behind the provider seam, of every origin. */
#include "alloc/tarn_fixed.h"
#include "tests/cuda/pinned_fixture.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(the_drivers_own_says_what_it_is) {
  tarn_provider *provider = pinned_provider(*state, PINNED_OF_DRIVER);
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  assert_string_equal(tarn_provider_name(provider), "cuda:pinned");
  assert_true(tarn_device_equal(attributes->device, PINNED_DEVICE));
  assert_true(tarn_device_is_host(attributes->device));
  assert_int_equal(attributes->granularity_bytes, PINNED_GRANULE_BYTES);
  assert_int_equal(attributes->alignment_bytes, 256);
  assert_int_equal(attributes->flags, 0);
  assert_int_equal(attributes->node, -1);
  tarn_provider_release(provider);
}

/* Pages of the system's that say they lie on node 3. */
static tarn_status attributes_on_node(void *context, tarn_provider_attributes *attributes) {
  *attributes = *tarn_provider_attributes_of(context);
  attributes->node = 3;
  attributes->flags &= ~(uint32_t)TARN_PROVIDER_RESERVES;
  return TARN_OK;
}

static tarn_status alloc_on_node(void *context, size_t size_bytes, void **address) {
  return tarn_provider_alloc(context, size_bytes, address);
}

static tarn_status release_on_node(void *context, void *address, size_t size_bytes) {
  return tarn_provider_free(context, address, size_bytes);
}

static void release_pages(void *context) {
  tarn_provider_release(context);
}

TEST(another_ones_memory_keeps_its_node_and_granules) {
  tarn_provider *host = NULL, *provider = NULL;
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = "on a node",
                                 .attributes = attributes_on_node,
                                 .alloc = alloc_on_node,
                                 .release = release_on_node,
                                 .destroy = release_pages};
  OK(tarn_provider_create(&ops, pinned_pages(), &host));
  tarn_cuda_pinned_options options = {.struct_size = sizeof options, .host = host};
  OK(tarn_cuda_pinned_provider_create(*state, &options, &provider));
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  assert_int_equal(attributes->node, 3);
  assert_int_equal(attributes->granularity_bytes, PINNED_GRANULE_BYTES);
  assert_true(tarn_device_equal(attributes->device, PINNED_DEVICE));
  assert_int_equal(attributes->flags, TARN_PROVIDER_ZEROED);
  tarn_provider_release(provider);
  /* Granule by granule where the host cannot. */
  options.flags = TARN_CUDA_PINNED_GRANULES;
  assert_int_equal(tarn_cuda_pinned_provider_create(*state, &options, &provider),
                   TARN_NOT_SUPPORTED);
  assert_null(provider);
  tarn_provider_release(host);
}

/* The driver locks whole pages: two blocks on one page could not both be locked, and the end of
 * either would unlock the other. */
TEST(a_host_of_less_than_pages_is_refused) {
  static _Alignas(4096) char memory[4 * 4096];
  const tarn_fixed_options fixed = {.struct_size = sizeof fixed, .granularity_bytes = 512};
  tarn_cuda_pinned_options options = {.struct_size = sizeof options};
  tarn_provider *provider = (tarn_provider *)&provider;
  OK(tarn_fixed_provider_create(memory, sizeof memory, &fixed, &options.host));
  assert_int_equal(tarn_cuda_pinned_provider_create(*state, &options, &provider),
                   TARN_INVALID_ARGUMENT);
  assert_null(provider);
  tarn_provider_release(options.host);
}

TEST(options_that_make_no_sense_are_refused) {
  tarn_cuda *cuda = *state;
  tarn_provider *provider = (tarn_provider *)&provider;
  tarn_provider *device = NULL;
  tarn_provider *pages = pinned_pages();
  OK(tarn_cuda_device_provider_create(cuda, 0, &device));
  const tarn_cuda_pinned_options wrong[] = {
      {.struct_size = 1},
      {.struct_size = sizeof wrong[0], .flags = 2},
      {.struct_size = sizeof wrong[0], .flags = TARN_CUDA_PINNED_GRANULES},
      {.struct_size = sizeof wrong[0], .chunk_bytes = PINNED_GRANULE_BYTES},
      {.struct_size = sizeof wrong[0], .host = device},
      {.struct_size = sizeof wrong[0], .host = pages, .chunk_bytes = 4096},
      {.struct_size = sizeof wrong[0],
       .host = pages,
       .chunk_bytes = PINNED_GRANULE_BYTES,
       .flags = TARN_CUDA_PINNED_GRANULES},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    assert_int_equal(tarn_cuda_pinned_provider_create(cuda, &wrong[i], &provider),
                     TARN_INVALID_ARGUMENT);
    assert_null(provider);
  }
  assert_int_equal(tarn_cuda_pinned_provider_create(NULL, NULL, &provider), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_pinned_provider_create(cuda, NULL, NULL), TARN_INVALID_ARGUMENT);
  tarn_provider_release(device);
  tarn_provider_release(pages);
}

TEST(the_cpu_and_every_device_reach_it) {
  tarn_cuda *cuda = *state;
  for (pinned_origin origin = 0; origin < PINNED_ORIGINS; origin++) {
    tarn_provider *provider = pinned_provider(cuda, origin);
    void *block = NULL;
    OK(tarn_provider_alloc(provider, PINNED_GRANULE_BYTES, &block));
    assert_int_equal((uintptr_t)block % tarn_provider_attributes_of(provider)->alignment_bytes, 0);
    unsigned char *bytes = block;
    memset(bytes, 1, PINNED_GRANULE_BYTES);
    for (int32_t device = 0; device < tarn_cuda_device_count(cuda); device++) {
      tarn_stream *stream = NULL;
      OK(tarn_cuda_stream_create(cuda, device, &stream));
      OK(tarn_stream_fill(stream, bytes + device, PINNED_DEVICE, (uint8_t)(10 + device), 1));
      OK(tarn_stream_copy(stream, bytes + PINNED_GRANULE_BYTES / 2 + device, PINNED_DEVICE,
                          bytes + device, PINNED_DEVICE, 1));
      OK(tarn_stream_synchronize(stream));
      assert_int_equal(bytes[device], 10 + device);
      assert_int_equal(bytes[PINNED_GRANULE_BYTES / 2 + device], 10 + device);
      tarn_stream_release(stream);
    }
    assert_int_equal(bytes[PINNED_GRANULE_BYTES - 1], 1);
    OK(tarn_provider_free(provider, block, PINNED_GRANULE_BYTES));
    tarn_provider_release(provider);
  }
}

/* --- seams --- */

static unsigned char pattern(size_t index) {
  return (unsigned char)(index * 7 + index / 251);
}

/* Whatever there is from one piece of page-locked memory into the next: lines, rectangles whose
 * rows a seam cuts or does not, and fills. */
TEST(copies_run_over_seams) {
  tarn_cuda *cuda = *state;
  enum { PIECES = 5, BYTES = PIECES * PINNED_GRANULE_BYTES, PITCH = 3000, ROW = 2900 };
  enum { ROWS = (BYTES - 100) / PITCH };
  tarn_stream *stream = fixture_stream(cuda);
  fixture_block device = fixture_device_block(cuda, BYTES);
  for (pinned_origin origin = PINNED_WHOLE; origin < PINNED_ORIGINS; origin++) {
    tarn_provider *provider = pinned_provider(cuda, origin);
    void *block = NULL;
    OK(tarn_provider_alloc(provider, BYTES, &block));
    unsigned char *bytes = block;
    for (size_t i = 0; i < BYTES; i++) bytes[i] = pattern(i);
    OK(tarn_stream_copy(stream, device.address, device.device, bytes, PINNED_DEVICE, BYTES));
    OK(tarn_stream_fill(stream, bytes, PINNED_DEVICE, 0xEE, BYTES));
    const tarn_copy_rows rows = {.dst = bytes + 50,
                                 .dst_device = PINNED_DEVICE,
                                 .dst_pitch_bytes = PITCH,
                                 .src = device.address + 7,
                                 .src_device = device.device,
                                 .src_pitch_bytes = PITCH,
                                 .row_bytes = ROW,
                                 .row_count = ROWS};
    OK(tarn_stream_copy_rows(stream, &rows));
    OK(tarn_stream_synchronize(stream));
    size_t wrong_count = 0;
    for (size_t i = 0; i < BYTES; i++) {
      const size_t row = i < 50 ? ROWS : (i - 50) / PITCH;
      const bool is_in_row = row < ROWS && (i - 50) % PITCH < ROW;
      const unsigned char expected = is_in_row ? pattern(i - 50 + 7) : 0xEE;
      wrong_count += bytes[i] != expected;
    }
    assert_int_equal(wrong_count, 0);
    OK(tarn_provider_free(provider, block, BYTES));
    tarn_provider_release(provider);
  }
  fixture_free(&device);
  tarn_stream_release(stream);
}

/* What anybody may copy with one call of the driver's. */
TEST(a_block_is_locked_with_one_call) {
  FIXTURE_NEEDS_SIM();
  tarn_provider *provider = pinned_provider(*state, PINNED_WHOLE);
  const uint64_t calls = fixture_sim_control()->calls("cuMemHostRegister");
  void *block = NULL;
  OK(tarn_provider_alloc(provider, (size_t)64 << 20, &block));
  assert_int_equal(fixture_sim_control()->calls("cuMemHostRegister"), calls + 1);
  OK(tarn_provider_free(provider, block, (size_t)64 << 20));
  tarn_provider_release(provider);
}

/* --- failures --- */

TEST(a_failure_to_pin_leaves_nothing_behind) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  for (pinned_origin origin = 0; origin < PINNED_ORIGINS; origin++) {
    tarn_provider *provider = pinned_provider(cuda, origin);
    const cusim_counts before = counts_now();
    fixture_sim_control()->set_pinned_capacity(before.pinned_bytes + PINNED_GRANULE_BYTES);
    void *address = &address;
    assert_int_equal(tarn_provider_alloc(provider, 2 * PINNED_GRANULE_BYTES, &address),
                     TARN_OUT_OF_MEMORY);
    assert_null(address);
    assert_string_equal(tarn_last_error()->native_call,
                        origin == PINNED_OF_DRIVER ? "cuMemHostAlloc" : "cuMemHostRegister");
    assert_int_equal(counts_now().pinned_bytes, before.pinned_bytes);
    OK(tarn_provider_alloc(provider, PINNED_GRANULE_BYTES, &address));
    OK(tarn_provider_free(provider, address, PINNED_GRANULE_BYTES));
    fixture_sim_control()->set_pinned_capacity(SIZE_MAX);
    tarn_provider_release(provider);
  }
  tarn_stream *stream = fixture_stream(cuda);
  OK(tarn_stream_synchronize(stream)); /* the driver's state is clean */
  tarn_stream_release(stream);
}

TEST(a_commit_that_fails_halfway_is_undone) {
  FIXTURE_NEEDS_SIM();
  enum { GRANULES = 4, BYTES = GRANULES * PINNED_GRANULE_BYTES };
  const fixture_sim *control = fixture_sim_control();
  tarn_provider *provider = pinned_provider(*state, PINNED_GRANULES);
  void *range = NULL;
  OK(tarn_provider_reserve(provider, 2 * BYTES, &range));
  const cusim_counts before = counts_now();
  for (uint64_t nth = 1; nth <= GRANULES; nth++) {
    assert_int_equal(control->fail_call("cuMemHostRegister", nth, CUDA_ERROR_OUT_OF_MEMORY), 1);
    assert_int_equal(tarn_provider_commit(provider, range, BYTES), TARN_OUT_OF_MEMORY);
    assert_int_equal(counts_now().pinned_bytes, before.pinned_bytes);
  }
  OK(tarn_provider_commit(provider, range, BYTES));
  memset(range, 5, BYTES);
  assert_int_equal(tarn_provider_commit(provider, range, BYTES), TARN_INVALID_ARGUMENT);
  /* The other way round it stays all there. */
  for (uint64_t nth = 1; nth <= GRANULES; nth++) {
    assert_int_equal(control->fail_call("cuMemHostUnregister", nth, CUDA_ERROR_INVALID_VALUE), 1);
    assert_int_equal(tarn_provider_decommit(provider, range, BYTES), TARN_INVALID_ARGUMENT);
    assert_int_equal(counts_now().pinned_bytes, before.pinned_bytes + BYTES);
  }
  assert_int_equal(((unsigned char *)range)[BYTES - 1], 5);
  OK(tarn_provider_decommit(provider, (char *)range + PINNED_GRANULE_BYTES, PINNED_GRANULE_BYTES));
  assert_int_equal(counts_now().pinned_bytes, before.pinned_bytes + BYTES - PINNED_GRANULE_BYTES);
  OK(tarn_provider_free(provider, range, 2 * BYTES));
  assert_int_equal(counts_now().pinned_bytes, before.pinned_bytes);
  tarn_provider_release(provider);
}

TEST(a_range_that_stays_registered_is_not_lost) {
  FIXTURE_NEEDS_SIM();
  enum { GRANULES = 6, RUNS = 3, BYTES = GRANULES * PINNED_GRANULE_BYTES };
  tarn_provider *provider = pinned_provider(*state, PINNED_GRANULES);
  void *range = NULL;
  OK(tarn_provider_reserve(provider, BYTES, &range));
  const cusim_counts before = counts_now();
  for (int run = 0; run < RUNS; run++) { /* every second granule */
    char *const granule = (char *)range + 2 * run * PINNED_GRANULE_BYTES;
    OK(tarn_provider_commit(provider, granule, PINNED_GRANULE_BYTES));
    memset(granule, run + 1, PINNED_GRANULE_BYTES);
  }
  for (uint64_t nth = 1; nth <= RUNS; nth++) {
    assert_int_equal(
        fixture_sim_control()->fail_call("cuMemHostUnregister", nth, CUDA_ERROR_INVALID_VALUE), 1);
    assert_int_equal(tarn_provider_free(provider, range, BYTES), TARN_INVALID_ARGUMENT);
    assert_string_equal(tarn_last_error()->native_call, "cuMemHostUnregister");
    assert_int_equal(counts_now().pinned_bytes, before.pinned_bytes + RUNS * PINNED_GRANULE_BYTES);
    assert_int_equal(((unsigned char *)range)[4 * PINNED_GRANULE_BYTES], RUNS);
  }
  OK(tarn_provider_free(provider, range, BYTES));
  assert_int_equal(counts_now().pinned_bytes, before.pinned_bytes);
  tarn_provider_release(provider);
}

TEST(a_block_that_is_none_is_refused) {
  static const struct {
    tarn_status status;
    const char *call;
  } answers[PINNED_ORIGINS] = {
      [PINNED_OF_DRIVER] = {TARN_INVALID_ARGUMENT, "cuMemFreeHost"},
      [PINNED_WHOLE] = {TARN_NOT_FOUND, "cuMemHostUnregister"},
      [PINNED_CHUNKS] = {TARN_NOT_FOUND, "cuMemHostUnregister"},
      [PINNED_GRANULES] = {TARN_INVALID_ARGUMENT, NULL},
  };
  for (pinned_origin origin = 0; origin < PINNED_ORIGINS; origin++) {
    const bool is_registered = origin == PINNED_WHOLE || origin == PINNED_CHUNKS;
    if (is_registered && fixture_sim_control() == NULL) continue; /* other drivers may take it */
    tarn_provider *provider = pinned_provider(*state, origin);
    void *address = NULL;
    OK(tarn_provider_alloc(provider, PINNED_GRANULE_BYTES, &address));
    assert_int_equal(tarn_provider_free(provider, (char *)address + 4096, PINNED_GRANULE_BYTES),
                     answers[origin].status);
    if (answers[origin].call != NULL) {
      assert_string_equal(tarn_last_error()->native_call, answers[origin].call);
    }
    OK(tarn_provider_free(provider, address, PINNED_GRANULE_BYTES));
    tarn_provider_release(provider);
  }
}

/* Takes the thread's right to lock whatever it likes, or gives it back. */
static void set_may_lock(bool may_lock) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
  assert_int_equal(syscall(SYS_capget, &header, data), 0);
  struct __user_cap_data_struct *word = &data[CAP_TO_INDEX(CAP_IPC_LOCK)];
  word->effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
  if (may_lock) word->effective |= word->permitted & CAP_TO_MASK(CAP_IPC_LOCK);
  assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

TEST(the_limit_that_would_do_is_named) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  const cusim_counts before = counts_now();
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
  const struct rlimit small = {.rlim_cur = 64 << 10, .rlim_max = limit.rlim_max};
  if (limit.rlim_max < small.rlim_cur) skip();
  tarn_provider *provider = pinned_provider(cuda, PINNED_WHOLE);
  void *held = NULL, *address = NULL;
  OK(tarn_provider_alloc(provider, PINNED_GRANULE_BYTES, &held));
  fixture_sim_control()->set_pinned_capacity(before.pinned_bytes + PINNED_GRANULE_BYTES);
  assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &small), 0);
  set_may_lock(false);
  assert_int_equal(tarn_provider_alloc(provider, 2 * PINNED_GRANULE_BYTES, &address),
                   TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(tarn_last_error()->message, "no more than 64 KiB"));
  assert_non_null(strstr(tarn_last_error()->message, "`ulimit -l 192`"));
  set_may_lock(true);
  assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
  /* Where the limit has nothing to do with it, it is not blamed. */
  assert_int_equal(tarn_provider_alloc(provider, (size_t)1 << 20, &address), TARN_OUT_OF_MEMORY);
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > (2 << 20)) {
    assert_null(strstr(tarn_last_error()->message, "ulimit"));
  }
  fixture_sim_control()->set_pinned_capacity(SIZE_MAX);
  OK(tarn_provider_free(provider, held, PINNED_GRANULE_BYTES));
  tarn_provider_release(provider);
}

/* In a child of fork the driver is not there; what the calls would have changed stays. */
static int use_in_child(tarn_provider *provider, void *block) {
  void *address = NULL;
  if (tarn_provider_alloc(provider, PINNED_GRANULE_BYTES, &address) != TARN_UNAVAILABLE) return 1;
  if (address != NULL) return 2;
  if (tarn_provider_free(provider, block, PINNED_GRANULE_BYTES) != TARN_UNAVAILABLE) return 3;
  *(volatile unsigned char *)block = 2; /* its pages are the child's own */
  return 0;
}

TEST(a_child_of_fork_is_told) {
  for (pinned_origin origin = 0; origin < PINNED_ORIGINS; origin++) {
    tarn_provider *provider = pinned_provider(*state, origin);
    void *block = NULL;
    OK(tarn_provider_alloc(provider, PINNED_GRANULE_BYTES, &block));
    *(unsigned char *)block = 1;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(use_in_child(provider, block));
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(*(unsigned char *)block, 1);
    OK(tarn_provider_free(provider, block, PINNED_GRANULE_BYTES));
    tarn_provider_release(provider);
  }
}

int run_pinned_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
