/* cuda_fixture.c: chooses the driver under test; small steps that many tests of cuda/ share. */
#include "tests/cuda/cuda_fixture.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static const char *driver_path; /* NULL: libcuda.so.1 */
static fixture_sim sim_functions;
static bool is_simulated;

static void *open_library(void) {
  void *library = dlopen(driver_path != NULL ? driver_path : "libcuda.so.1", RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  return library;
}

void *fixture_driver_function(const char *name) {
  void *address = dlsym(open_library(), name);
  assert_non_null(address);
  return address;
}

static void find_sim_functions(void) {
  void *library = open_library();
#define FIND(name)                                                    \
  do {                                                                \
    void *address = dlsym(library, "cusim_" #name);                   \
    memcpy(&sim_functions.name, &address, sizeof sim_functions.name); \
  } while (0);
  FIXTURE_SIM(FIND)
#undef FIND
  /* The library stays open: tests use its functions to the end. */
}

void fixture_choose_driver(const char *path) {
  driver_path = path != NULL ? path : getenv("TARN_TEST_DRIVER");
  setenv("CUSIM_RACES", "abort", /*overwrite=*/0); /* a race ends the program, and tells why */
  tarn_cuda *cuda = NULL;
  tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = driver_path};
  if (tarn_cuda_open(&options, &cuda) != TARN_OK && driver_path == NULL) {
    printf("no driver of this machine's own (%s)\n", tarn_last_error()->message);
    options.driver_path = driver_path = SIM_DRIVER;
    if (tarn_cuda_open(&options, &cuda) != TARN_OK) cuda = NULL;
  }
  if (cuda == NULL) {
    fprintf(stderr, "%s\n", tarn_last_error()->message);
    exit(1);
  }
  is_simulated = tarn_cuda_is_simulated(cuda);
  if (is_simulated) find_sim_functions();
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  printf("driver under test: %s, CUDA %d.%d, %d device(s), the first is \"%s\"\n",
         driver_path != NULL ? driver_path : "libcuda.so.1", tarn_cuda_driver_version(cuda) / 1000,
         tarn_cuda_driver_version(cuda) % 1000 / 10, tarn_cuda_device_count(cuda), info.name);
  if (is_simulated) {
    printf("simulated: seed %llu, policy %s\n", (unsigned long long)sim_functions.get_seed(),
           sim_functions.policy_name(sim_functions.get_policy()));
  }
  tarn_cuda_release(cuda);
}

const fixture_sim *fixture_sim_control(void) {
  return is_simulated ? &sim_functions : NULL;
}

void fixture_check(tarn_status status, const char *file, int line) {
  if (status == TARN_OK) return;
  print_error("%s: %s\n", tarn_status_name(status), tarn_last_error()->message);
  _fail(file, line);
}

tarn_cuda *fixture_open(void) {
  tarn_cuda *cuda = NULL;
  const tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = driver_path};
  OK(tarn_cuda_open(&options, &cuda));
  return cuda;
}

int fixture_setup(void **state) {
  *state = fixture_open();
  return 0;
}

int fixture_teardown(void **state) {
  tarn_cuda_release(*state);
  return 0;
}

static fixture_block take_block(tarn_provider *provider, size_t size_bytes) {
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  fixture_block block = {.provider = provider, .device = attributes->device};
  assert_true(tarn_size_round_up(size_bytes, attributes->granularity_bytes, &block.size_bytes));
  void *address = NULL;
  OK(tarn_provider_alloc(provider, block.size_bytes, &address));
  block.address = address;
  return block;
}

fixture_block fixture_device_block(tarn_cuda *cuda, size_t size_bytes) {
  tarn_provider *provider = NULL;
  OK(tarn_cuda_device_provider_create(cuda, 0, &provider));
  return take_block(provider, size_bytes);
}

fixture_block fixture_pinned_block(tarn_cuda *cuda, size_t size_bytes) {
  tarn_provider *provider = NULL;
  OK(tarn_cuda_pinned_provider_create(cuda, NULL, &provider));
  return take_block(provider, size_bytes);
}

void fixture_free(fixture_block *block) {
  OK(tarn_provider_free(block->provider, block->address, block->size_bytes));
  tarn_provider_release(block->provider);
  block->address = NULL;
}

tarn_stream *fixture_stream(tarn_cuda *cuda) {
  tarn_stream *stream = NULL;
  OK(tarn_cuda_stream_create(cuda, 0, &stream));
  return stream;
}

tarn_pool *fixture_driver_pool(tarn_cuda *cuda, const tarn_cuda_driver_pool_options *options) {
  tarn_pool *pool = NULL;
  const tarn_status status = tarn_cuda_driver_pool_create(cuda, 0, options, &pool);
  if (status == TARN_NOT_SUPPORTED) {
    print_message("skipped: %s\n", tarn_last_error()->message);
    skip();
  }
  OK(status);
  return pool;
}

cusim_counts counts_now(void) {
  cusim_counts counts;
  fixture_sim_control()->get_counts(&counts);
  return counts;
}

void fixture_copy(tarn_stream *stream, const fixture_block *dst, const fixture_block *src,
                  size_t size_bytes) {
  OK(tarn_stream_copy(stream, dst->address, dst->device, src->address, src->device, size_bytes));
}

static void wait_at_gate(void *argument) {
  fixture_gate *gate = argument;
  while (sem_wait(&gate->opened) != 0) {
  }
}

void fixture_hold(tarn_stream *stream, fixture_gate *gate) {
  assert_int_equal(sem_init(&gate->opened, 0, 0), 0);
  OK(tarn_stream_call(stream, wait_at_gate, gate));
}

void fixture_let_go(fixture_gate *gate) {
  sem_post(&gate->opened);
}
