/* test_callbacks_cuda.c: a client with streams of its own, by the driver's handles: names of
 * CUDA's, streams that end, handles that come back. On any driver; the simulated one finds races.
 */
#include "alloc/adapters/callbacks/tarn_callbacks.h"
#include "alloc/tarn_caching_pool.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/support/pools.h"

#include <pthread.h>
#include <stdio.h>

enum { SIZE_BYTES = 1 << 20 };

/* What the client calls itself. */
static struct {
  __typeof__(cuDevicePrimaryCtxRetain) *retain;
  __typeof__(cuDevicePrimaryCtxRelease) *release;
  __typeof__(cuCtxSetCurrent) *set_current;
  __typeof__(cuStreamCreate) *create;
  __typeof__(cuStreamDestroy) *destroy;
  __typeof__(cuStreamSynchronize) *synchronize;
  __typeof__(cuStreamWaitEvent) *wait;
  __typeof__(cuMemsetD8Async) *fill;
  __typeof__(cuEventCreate) *event_create;
  __typeof__(cuEventRecord) *record;
  __typeof__(cuEventDestroy) *event_destroy;
} driver;

#define CU(call) assert_int_equal((call), CUDA_SUCCESS)

static void find(void *function, const char *name) {
  void *const address = fixture_driver_function(name);
  memcpy(function, &address, sizeof address);
}

static void find_driver(void) {
  find(&driver.retain, "cuDevicePrimaryCtxRetain");
  find(&driver.release, "cuDevicePrimaryCtxRelease_v2");
  find(&driver.set_current, "cuCtxSetCurrent");
  find(&driver.create, "cuStreamCreate");
  find(&driver.destroy, "cuStreamDestroy_v2");
  find(&driver.synchronize, "cuStreamSynchronize");
  find(&driver.wait, "cuStreamWaitEvent");
  find(&driver.fill, "cuMemsetD8Async");
  find(&driver.event_create, "cuEventCreate");
  find(&driver.record, "cuEventRecord");
  find(&driver.event_destroy, "cuEventDestroy_v2");
}

typedef struct client {
  tarn_cuda *cuda;
  CUcontext context;
  tarn_pool *pool;
  tarn_callbacks *callbacks;
} client;

static void make_client(client *made, tarn_cuda *cuda, size_t limit_bytes) {
  *made = (client){.cuda = cuda};
  tarn_provider *provider;
  OK(tarn_cuda_device_provider_create(cuda, 0, &provider));
  const tarn_caching_options pool_options = {.struct_size = sizeof pool_options,
                                             .limit_bytes = limit_bytes};
  made->pool = pool_over(provider, &pool_options);
  const tarn_callbacks_options options = {.struct_size = sizeof options, .cuda = cuda};
  OK(tarn_callbacks_create(made->pool, &options, &made->callbacks));
  CU(driver.retain(&made->context, 0));
  CU(driver.set_current(made->context));
}

static void drop_client(client *self) {
  tarn_pool_stats stats = stats_of(self->pool);
  assert_int_equal(stats.allocated_bytes, 0);
  assert_int_equal(stats.alloc_count, stats.free_count);
  assert_int_equal(tarn_callbacks_refused_frees(self->callbacks), 0);
  tarn_callbacks_destroy(self->callbacks);
  tarn_pool_release(self->pool);
  CU(driver.set_current(NULL));
  CU(driver.release(0));
}

static void fill(void *block, CUstream stream, size_t size_bytes) {
  CU(driver.fill((CUdeviceptr)(uintptr_t)block, 7, size_bytes, stream));
}

static tarn_stream *stream_of(client *self, CUstream native) {
  tarn_stream *stream;
  OK(tarn_callbacks_stream(self->callbacks, native, &stream));
  return stream;
}

TEST(null_and_legacy_are_one_stream) {
  client user;
  make_client(&user, *state, 0);
  tarn_stream *legacy = stream_of(&user, NULL);
  assert_ptr_equal(stream_of(&user, CU_STREAM_LEGACY), legacy);
  void *native = &user;
  OK(tarn_cuda_stream_native(legacy, &native));
  assert_null(native);
  void *block = tarn_callbacks_alloc(SIZE_BYTES, NULL, user.callbacks);
  fill(block, NULL, SIZE_BYTES);
  tarn_callbacks_free(block, SIZE_BYTES, CU_STREAM_LEGACY, user.callbacks);
  void *again = tarn_callbacks_alloc(SIZE_BYTES, CU_STREAM_LEGACY, user.callbacks);
  assert_ptr_equal(again, block); /* in the same order, at once */
  tarn_callbacks_free(again, SIZE_BYTES, NULL, user.callbacks);
  OK(tarn_callbacks_forget(user.callbacks, CU_STREAM_LEGACY));
  drop_client(&user);
}

typedef struct visitor {
  client *user;
  tarn_stream *stream;
  const char *complaint;
} visitor;

static const char *use_own_default_stream(visitor *self) {
  tarn_callbacks *callbacks = self->user->callbacks;
  const CUstream own = CU_STREAM_PER_THREAD;
  if (driver.set_current(self->user->context) != CUDA_SUCCESS) return "no context";
  void *block = tarn_callbacks_alloc(SIZE_BYTES, own, callbacks);
  if (block == NULL) return "no memory";
  const CUdeviceptr there = (CUdeviceptr)(uintptr_t)block;
  if (driver.fill(there, 7, SIZE_BYTES, own) != CUDA_SUCCESS) return "no fill";
  if (tarn_callbacks_stream(callbacks, own, &self->stream) != TARN_OK) return "no stream";
  tarn_callbacks_free(block, SIZE_BYTES, own, callbacks);
  if (tarn_callbacks_forget(callbacks, own) != TARN_OK) return "not forgotten";
  return NULL;
}

/* A client's thread from its first call to its last. */
static void *visit(void *argument) {
  visitor *self = argument;
  self->complaint = use_own_default_stream(self);
  return NULL;
}

static void run_visitor(visitor *self) {
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, visit, self), 0);
  pthread_join(thread, NULL);
  if (self->complaint != NULL) fail_msg("a thread has %s", self->complaint);
}

TEST(each_thread_has_a_default_stream_of_its_own) {
  client user;
  make_client(&user, *state, 4 * SIZE_BYTES);
  tarn_stream *mine = stream_of(&user, CU_STREAM_PER_THREAD);
  assert_ptr_not_equal(mine, stream_of(&user, NULL));
  visitor other = {.user = &user};
  run_visitor(&other);
  assert_ptr_not_equal(other.stream, mine);
  assert_ptr_equal(stream_of(&user, CU_STREAM_PER_THREAD), mine); /* it was not that forgotten */
  OK(tarn_callbacks_forget(user.callbacks, CU_STREAM_PER_THREAD));
  drop_client(&user);
}

TEST(threads_that_forget_may_come_and_go_without_end) {
  client user;
  make_client(&user, *state, 4 * SIZE_BYTES);
  visitor each = {.user = &user};
  for (int i = 0; i < 20; i++) run_visitor(&each);
  for (int i = 0; i < TARN_STREAMS_MAX; i++) assert_null(use_own_default_stream(&each));
  drop_client(&user);
}

TEST(the_cpu_gets_no_memory_of_a_device) {
  client user;
  make_client(&user, *state, 0);
  assert_null(tarn_callbacks_malloc(user.callbacks, 10));
  assert_int_equal(tarn_last_error()->status, TARN_NOT_SUPPORTED);
  assert_null(tarn_callbacks_calloc(user.callbacks, 1, 10));
  assert_null(tarn_callbacks_realloc(user.callbacks, NULL, 10));
  assert_null(tarn_callbacks_aligned_alloc(user.callbacks, 64, 10));
  tarn_callbacks *none = (tarn_callbacks *)&user;
  assert_status(tarn_callbacks_create(user.pool, NULL, &none), TARN_INVALID_ARGUMENT);
  assert_null(none);
  drop_client(&user);
}

TEST(pinned_memory_is_the_cpus_and_its_streams) {
  client current;
  make_client(&current, *state, 0);
  tarn_provider *provider;
  tarn_callbacks *callbacks;
  OK(tarn_cuda_pinned_provider_create(*state, NULL, &provider));
  tarn_pool *pool = pool_over(provider, NULL);
  const tarn_callbacks_options options = {.struct_size = sizeof options, .cuda = *state};
  OK(tarn_callbacks_create(pool, &options, &callbacks));
  char *block = tarn_callbacks_malloc(callbacks, SIZE_BYTES);
  memset(block, 1, SIZE_BYTES);
  tarn_callbacks_posix_free(callbacks, block);
  void *there = tarn_callbacks_alloc(SIZE_BYTES, NULL, callbacks);
  assert_non_null(there);
  fill(there, NULL, SIZE_BYTES);
  tarn_callbacks_free(there, SIZE_BYTES, NULL, callbacks);
  block = tarn_callbacks_malloc(callbacks, SIZE_BYTES); /* not before the fill has passed */
  memset(block, 1, SIZE_BYTES);
  tarn_callbacks_posix_free(callbacks, block);
  tarn_pool_release(pool);
  tarn_callbacks_destroy(callbacks);
  drop_client(&current);
}

/* --- streams that come and go --- */

enum { STREAMS = 4, BLOCKS = 12, STEPS = 2000 };

typedef struct world {
  client user;
  CUstream streams[STREAMS];
  struct {
    void *address;
    size_t size_bytes;
    int stream; /* it was obtained on */
  } blocks[BLOCKS];
  uint64_t random;
  int forgotten_count;
  int came_back_count; /* handles that the driver gave again */
} world;

static size_t draw(world *self, size_t below) {
  return (size_t)(test_random(&self->random) >> 16) % below;
}

static void give_back(world *self, int block) {
  if (self->blocks[block].address == NULL) return;
  tarn_callbacks_free(self->blocks[block].address, self->blocks[block].size_bytes,
                      self->streams[self->blocks[block].stream], self->user.callbacks);
  self->blocks[block].address = NULL;
}

static void obtain(world *self, int block) {
  const int stream = (int)draw(self, STREAMS);
  const size_t size_bytes = 1 + draw(self, SIZE_BYTES);
  void *address = tarn_callbacks_alloc(size_bytes, self->streams[stream], self->user.callbacks);
  if (address == NULL) { /* the limit is low on purpose */
    assert_int_equal(tarn_last_error()->status, TARN_OUT_OF_MEMORY);
    return;
  }
  fill(address, self->streams[stream], size_bytes);
  self->blocks[block].address = address;
  self->blocks[block].size_bytes = size_bytes;
  self->blocks[block].stream = stream;
}

/* Another stream uses the block behind its own one, and says so: that one is not made to wait. */
static void use_elsewhere(world *self, int block) {
  if (self->blocks[block].address == NULL) return;
  const CUstream own = self->streams[self->blocks[block].stream];
  const CUstream other = self->streams[draw(self, STREAMS)];
  CUevent event;
  CU(driver.event_create(&event, CU_EVENT_DISABLE_TIMING));
  CU(driver.record(event, own));
  CU(driver.wait(other, event, 0));
  CU(driver.event_destroy(event));
  fill(self->blocks[block].address, other, self->blocks[block].size_bytes);
  assert_true(tarn_callbacks_note_use(self->blocks[block].address, other, self->user.callbacks));
  give_back(self, block); /* on its own stream, which does not wait for the other */
}

/* With work still pending on it. */
static void replace_stream(world *self) {
  const int stream = (int)draw(self, STREAMS);
  const CUstream old = self->streams[stream];
  for (int i = 0; i < BLOCKS; i++) {
    if (self->blocks[i].stream == stream) give_back(self, i);
  }
  OK(tarn_callbacks_forget(self->user.callbacks, old));
  CU(driver.destroy(old));
  CU(driver.create(&self->streams[stream], CU_STREAM_NON_BLOCKING));
  self->forgotten_count++;
  if (self->streams[stream] == old) self->came_back_count++;
}

TEST(streams_come_and_go_and_no_memory_is_used_twice) {
  world all = {.random = 5};
  make_client(&all.user, *state, 6 * SIZE_BYTES);
  for (int i = 0; i < STREAMS; i++) {
    CU(driver.create(&all.streams[i], CU_STREAM_NON_BLOCKING));
  }
  for (int step = 0; step < STEPS; step++) {
    const size_t what = draw(&all, 40);
    const int block = (int)draw(&all, BLOCKS);
    if (what == 0) {
      replace_stream(&all);
    } else if (what < 8) {
      use_elsewhere(&all, block);
    } else if (all.blocks[block].address != NULL) {
      give_back(&all, block);
    } else {
      obtain(&all, block);
    }
  }
  for (int i = 0; i < BLOCKS; i++) give_back(&all, i);
  for (int i = 0; i < STREAMS; i++) {
    OK(tarn_callbacks_forget(all.user.callbacks, all.streams[i]));
    CU(driver.destroy(all.streams[i]));
  }
  print_message("%d streams ended, %d handles came back\n", all.forgotten_count,
                all.came_back_count);
  drop_client(&all.user);
}

TEST(streams_may_be_destroyed_after_the_callbacks) {
  client user;
  make_client(&user, *state, 0);
  CUstream stream;
  CU(driver.create(&stream, CU_STREAM_NON_BLOCKING));
  void *block = tarn_callbacks_alloc(SIZE_BYTES, stream, user.callbacks);
  fill(block, stream, SIZE_BYTES);
  tarn_callbacks_free(block, SIZE_BYTES, stream, user.callbacks);
  tarn_callbacks_destroy(user.callbacks);
  CU(driver.destroy(stream));
  OK(tarn_pool_alloc(user.pool, SIZE_BYTES, NULL, &block)); /* behind what the stream did */
  OK(tarn_pool_free(user.pool, block, NULL));
  tarn_pool_release(user.pool);
  CU(driver.set_current(NULL));
  CU(driver.release(0));
}

int main(int argument_count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  fixture_choose_driver(argument_count > 1 ? arguments[1] : NULL);
  find_driver();
  return run_listed_tests(fixture_setup, fixture_teardown);
}
