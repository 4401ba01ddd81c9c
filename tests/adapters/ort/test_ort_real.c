/* test_ort_real.c: the real ONNX Runtime computes on tarn's memory.
 *
 *     ort_real LIBRARY MODEL [exit]: libonnxruntime.so and the file that ort_models.py writes. */
#include "tests/support/pools.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "tests/adapters/ort/ort_runtime.h"
#include "tests/support/child.h"
#include "tests/support/open_cuda.h"

enum { WIDTH = 64, BATCH = 48, RUNTIME_EXCEPTION = 6 };

static const char *library_path;
static const char *model_path;
static const char *program_path;
static ort_runtime runtime;

/* The message of what must not fail. */
#define RUNS(call) runs((call), #call)
static void runs(struct OrtStatus *refusal, const char *call) {
  if (refusal == NULL) return;
  print_error("%s: %d, %s\n", call, runtime.GetErrorCode(refusal),
              runtime.GetErrorMessage(refusal));
  runtime.ReleaseStatus(refusal);
  fail();
}

/* --- pools, sessions, results --- */

static tarn_pool *make_pool(size_t limit_bytes) {
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = limit_bytes};
  return pages_pool(&options);
}

static struct OrtAllocator *make_allocator(tarn_pool *pool) {
  struct OrtAllocator *allocator = NULL;
  assert_ok(tarn_ort_allocator_create(runtime.ort, pool, NULL, &allocator));
  return allocator;
}

/* On the allocator that is registered now, where there is one. */
static struct OrtStatus *make_session(struct OrtSession **session) {
  struct OrtSessionOptions *options = NULL;
  RUNS(runtime.CreateSessionOptions(&options));
  RUNS(runtime.AddSessionConfigEntry(options, "session.use_env_allocators", "1"));
  struct OrtStatus *const refusal =
      runtime.CreateSession(runtime.env, model_path, options, session);
  runtime.ReleaseSessionOptions(options);
  return refusal;
}

typedef struct ort_scene {
  tarn_pool *pool;
  struct OrtAllocator *allocator;
  struct OrtSession *session;
} ort_scene;

static ort_scene begin(size_t limit_bytes) {
  ort_scene scene = {.pool = make_pool(limit_bytes)};
  scene.allocator = make_allocator(scene.pool);
  assert_ok(tarn_ort_register(runtime.ort, runtime.env, scene.allocator));
  RUNS(make_session(&scene.session));
  return scene;
}

static void end_but_pool(ort_scene *scene) {
  runtime.ReleaseSession(scene->session);
  assert_ok(tarn_ort_unregister(runtime.ort, runtime.env, scene->allocator));
  tarn_ort_allocator_release(scene->allocator);
}

/* Nothing leaks: what the runtime took, it gave back. */
static void end(ort_scene *scene) {
  end_but_pool(scene);
  assert_int_equal(live_blocks(scene->pool), 0);
  tarn_pool_release(scene->pool);
}

static tarn_tensor make_tensor(tarn_pool *pool, int64_t batch) {
  const int64_t shape[] = {batch, WIDTH};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_F32, 2, shape, NULL, &tensor));
  return tensor;
}

static tarn_tensor make_input(tarn_pool *pool, int64_t batch) {
  tarn_tensor tensor = make_tensor(pool, batch);
  float *const x = tarn_tensor_data_mutable(&tensor);
  for (int64_t index = 0; index < batch * WIDTH; index++) x[index] = (float)(index % 9 - 4);
  return tensor;
}

static struct OrtValue *value_of(const tarn_tensor *tensor, uint32_t flags) {
  struct OrtValue *value = NULL;
  assert_ok(tarn_ort_value_of_tensor(runtime.ort, tensor, flags, &value));
  return value;
}

static struct OrtStatus *run(struct OrtSession *session, struct OrtValue *x, struct OrtValue **y) {
  static const char *const inputs[] = {"x"};
  static const char *const outputs[] = {"y"};
  const struct OrtValue *const values[] = {x};
  return runtime.Run(session, NULL, inputs, values, 1, outputs, 1, y);
}

static float weight(int row, int column) {
  return (float)((7 * row + 3 * column) % 11 - 5) / 16;
}

static void multiply_by_weights(const float *vector, float *product) {
  for (int column = 0; column < WIDTH; column++) {
    product[column] = 0;
    for (int row = 0; row < WIDTH; row++) product[column] += vector[row] * weight(row, column);
  }
}

static void assert_is_result(const float *x, const float *y, int64_t batch) {
  for (int64_t line = 0; line < batch; line++, x += WIDTH, y += WIDTH) {
    float hidden[WIDTH], sum[WIDTH];
    multiply_by_weights(x, hidden);
    for (int column = 0; column < WIDTH; column++) {
      if (hidden[column] < 0) hidden[column] = 0;
    }
    multiply_by_weights(hidden, sum);
    for (int column = 0; column < WIDTH; column++) {
      assert_true(y[column] == sum[column] + x[column]);
    }
  }
}

/* --- the allocator in sessions --- */

TEST(session_allocates_in_the_registered_pool) {
  ort_scene scene = begin(0);
  const tarn_pool_stats loaded = stats_of(scene.pool);
  assert_true(loaded.alloc_count > 0); /* weights */
  tarn_tensor x = make_input(scene.pool, BATCH), y = make_tensor(scene.pool, BATCH);
  const uint64_t before = stats_of(scene.pool).alloc_count;
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT), *out = value_of(&y, 0);
  RUNS(run(scene.session, in, &out));
  assert_true(stats_of(scene.pool).alloc_count > before); /* what lies between the layers */
  assert_is_result(tarn_tensor_data(&x), tarn_tensor_data(&y), BATCH);
  runtime.ReleaseValue(in);
  runtime.ReleaseValue(out);
  tarn_tensor_release(&x);
  tarn_tensor_release(&y);
  end(&scene);
}

TEST(session_outlives_the_handle_of_the_pool) {
  ort_scene scene = begin(0);
  tarn_tensor x = make_input(scene.pool, BATCH);
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT), *out = NULL;
  tarn_pool_release(scene.pool);
  RUNS(run(scene.session, in, &out));
  runtime.ReleaseValue(in);
  runtime.ReleaseValue(out);
  tarn_tensor_release(&x);
  end_but_pool(&scene);
}

TEST(one_pool_follows_another_in_an_environment) {
  ort_scene first = begin(0);
  assert_ok(tarn_ort_unregister(runtime.ort, runtime.env, first.allocator));
  ort_scene second = begin(0);
  const uint64_t earlier = stats_of(first.pool).alloc_count;
  tarn_tensor x = make_input(second.pool, BATCH), y = make_tensor(second.pool, BATCH);
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT), *out = value_of(&y, 0);
  RUNS(run(second.session, in, &out));
  assert_int_equal(stats_of(first.pool).alloc_count, earlier);
  RUNS(run(first.session, in, &out)); /* which goes on where it began */
  assert_true(stats_of(first.pool).alloc_count > earlier);
  runtime.ReleaseValue(in);
  runtime.ReleaseValue(out);
  tarn_tensor_release(&x);
  tarn_tensor_release(&y);
  end(&second);
  runtime.ReleaseSession(first.session);
  tarn_ort_allocator_release(first.allocator);
  assert_int_equal(live_blocks(first.pool), 0);
  tarn_pool_release(first.pool);
}

TEST(statistics_and_blocks_go_through_the_runtime) {
  tarn_pool *pool = make_pool(0);
  struct OrtAllocator *allocator = make_allocator(pool);
  void *address = NULL;
  RUNS(runtime.AllocatorAlloc(allocator, 1000, &address));
  assert_non_null(address);
  assert_int_equal((uintptr_t)address % 64, 0);
  memset(address, 1, 1000);
  struct OrtKeyValuePairs *pairs = NULL;
  RUNS(runtime.AllocatorGetStats(allocator, &pairs));
  assert_int_equal(strtoull(runtime.GetKeyValue(pairs, "InUse"), NULL, 10),
                   stats_of(pool).allocated_bytes);
  assert_string_equal(runtime.GetKeyValue(pairs, "NumAllocs"), "1");
  assert_string_equal(runtime.GetKeyValue(pairs, "Pool"), tarn_pool_name(pool));
  runtime.ReleaseKeyValuePairs(pairs);
  RUNS(runtime.AllocatorFree(allocator, address));
  assert_int_equal(live_blocks(pool), 0);
  tarn_ort_allocator_release(allocator);
  tarn_pool_release(pool);
}

/* --- values --- */

TEST(output_is_written_straight_into_the_tensor) {
  ort_scene scene = begin(0);
  tarn_pool *apart = make_pool(0); /* where the session has nothing to do */
  tarn_tensor x = make_input(apart, BATCH), y = make_tensor(apart, BATCH);
  memset(tarn_tensor_data_mutable(&y), 0xff, tarn_tensor_size_bytes(&y));
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT), *out = value_of(&y, 0);
  struct OrtValue *const same = out;
  RUNS(run(scene.session, in, &out));
  assert_ptr_equal(out, same);
  void *data = NULL;
  RUNS(runtime.GetTensorMutableData(out, &data));
  assert_ptr_equal(data, tarn_tensor_data(&y));
  assert_is_result(tarn_tensor_data(&x), tarn_tensor_data(&y), BATCH);
  assert_int_equal(stats_of(apart).alloc_count, 2); /* x and y, no copy of either */

  /* What the run takes without a preallocated output is one block more of at least its size. */
  const uint64_t before = stats_of(scene.pool).alloc_count;
  RUNS(run(scene.session, in, &out));
  const uint64_t straight = stats_of(scene.pool).alloc_count - before;
  struct OrtValue *runtimes = NULL;
  RUNS(run(scene.session, in, &runtimes));
  assert_int_equal(stats_of(scene.pool).alloc_count - before, 2 * straight + 1);
  runtime.ReleaseValue(runtimes);
  runtime.ReleaseValue(in);
  runtime.ReleaseValue(out);
  tarn_tensor_release(&x);
  tarn_tensor_release(&y);
  assert_int_equal(live_blocks(apart), 0);
  tarn_pool_release(apart);
  end(&scene);
}

TEST(binding_takes_inputs_and_outputs) {
  ort_scene scene = begin(0);
  tarn_tensor x = make_input(scene.pool, BATCH), y = make_tensor(scene.pool, BATCH);
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT | TARN_ORT_BORROW);
  struct OrtValue *out = value_of(&y, TARN_ORT_BORROW);
  assert_int_equal(tarn_storage_use_count(y.storage), 1);
  struct OrtIoBinding *binding = NULL;
  RUNS(runtime.CreateIoBinding(scene.session, &binding));
  RUNS(runtime.BindInput(binding, "x", in));
  RUNS(runtime.BindOutput(binding, "y", out));
  for (int round = 0; round < 3; round++) {
    memset(tarn_tensor_data_mutable(&y), 0xff, tarn_tensor_size_bytes(&y));
    RUNS(runtime.RunWithBinding(scene.session, NULL, binding));
    assert_is_result(tarn_tensor_data(&x), tarn_tensor_data(&y), BATCH);
  }
  runtime.ReleaseIoBinding(binding);
  runtime.ReleaseValue(in);
  runtime.ReleaseValue(out);
  tarn_tensor_release(&x);
  tarn_tensor_release(&y);
  end(&scene);
}

TEST(value_keeps_the_memory_of_a_released_tensor) {
  ort_scene scene = begin(0);
  tarn_pool *apart = make_pool(0);
  tarn_tensor x = make_input(apart, BATCH);
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT), *out = NULL;
  assert_int_equal(tarn_storage_use_count(x.storage), 2);
  tarn_tensor_release(&x);
  assert_int_equal(live_blocks(apart), 1);
  RUNS(run(scene.session, in, &out));
  void *data = NULL, *result = NULL;
  RUNS(runtime.GetTensorMutableData(in, &data));
  RUNS(runtime.GetTensorMutableData(out, &result));
  assert_is_result(data, result, BATCH);
  runtime.ReleaseValue(in);
  assert_int_equal(live_blocks(apart), 0);
  tarn_pool_release(apart);
  runtime.ReleaseValue(out);
  end(&scene);
}

static void *release_elsewhere(void *tensor) {
  tarn_tensor_release(tensor);
  return NULL;
}

TEST(runtimes_output_becomes_a_tensor_and_ends_on_another_thread) {
  ort_scene scene = begin(0);
  tarn_tensor x = make_input(scene.pool, BATCH), y;
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT), *out = NULL;
  RUNS(run(scene.session, in, &out));
  const uint64_t live = live_blocks(scene.pool);
  void *data = NULL;
  RUNS(runtime.GetTensorMutableData(out, &data));
  assert_ok(tarn_ort_tensor_of_value(runtime.ort, out, &y));
  assert_ptr_equal(tarn_tensor_data(&y), data);
  assert_ok(tarn_pool_note_use(scene.pool, data, NULL)); /* the pool lent it to the runtime */
  assert_true(tarn_dtype_equal(y.dtype, TARN_F32));
  assert_int_equal(y.layout.rank, 2);
  assert_int_equal(y.layout.shape[0], BATCH);
  assert_true(tarn_device_equal(tarn_tensor_device(&y), tarn_device_make(TARN_DEVICE_CPU, 0)));
  assert_is_result(tarn_tensor_data(&x), tarn_tensor_data(&y), BATCH);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, release_elsewhere, &y), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_int_equal(live_blocks(scene.pool), live - 1);
  runtime.ReleaseValue(in);
  tarn_tensor_release(&x);
  end(&scene);
}

TEST(every_element_type_goes_out_and_comes_back) {
  tarn_pool *pool = make_pool(0);
  const int64_t shape[] = {3, 5};
#define ROW(name, number, code, bits) tarn_dtype_make(code, bits, 1),
  const tarn_dtype dtypes[] = {ORT_ABI_DTYPE_TABLE(ROW)};
#undef ROW
  for (size_t index = 0; index < COUNT_OF(dtypes); index++) {
    tarn_tensor tensor, back;
    assert_ok(tarn_tensor_create(pool, dtypes[index], 2, shape, NULL, &tensor));
    assert_ok(tarn_ort_tensor_of_value(runtime.ort, value_of(&tensor, 0), &back));
    assert_true(tarn_dtype_equal(back.dtype, dtypes[index]));
    assert_ptr_equal(tarn_tensor_data(&back), tarn_tensor_data(&tensor));
    tarn_tensor_release(&tensor);
    tarn_tensor_release(&back);
    assert_int_equal(live_blocks(pool), 0);
  }
  tarn_pool_release(pool);
}

TEST(scalars_and_empty_tensors_are_values) {
  tarn_pool *pool = make_pool(0);
  const int64_t shape[] = {4, 0, 2};
  for (int32_t rank = 0; rank <= 3; rank += 3) {
    tarn_tensor tensor, back;
    assert_ok(tarn_tensor_create(pool, TARN_I64, rank, shape, NULL, &tensor));
    assert_ok(tarn_ort_tensor_of_value(runtime.ort, value_of(&tensor, 0), &back));
    assert_int_equal(back.layout.rank, rank);
    assert_int_equal(tarn_tensor_element_count(&back), rank == 0 ? 1 : 0);
    tarn_tensor_release(&tensor);
    tarn_tensor_release(&back);
  }
  assert_int_equal(live_blocks(pool), 0);
  tarn_pool_release(pool);
}

/* --- out of memory --- */

TEST(out_of_memory_becomes_the_runtimes_status) {
  enum { LIMIT_BYTES = 3 << 20, LARGE_BATCH = 16384 };
  ort_scene scene = begin(LIMIT_BYTES);
  tarn_pool *apart = make_pool(0);
  tarn_tensor x = make_input(apart, LARGE_BATCH), y = make_tensor(apart, LARGE_BATCH);
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT), *out = value_of(&y, 0);
  const uint64_t live = live_blocks(scene.pool);
  struct OrtStatus *const refusal = run(scene.session, in, &out);
  assert_non_null(refusal);
  assert_int_equal(runtime.GetErrorCode(refusal), RUNTIME_EXCEPTION);
  assert_non_null(strstr(runtime.GetErrorMessage(refusal), "bad_alloc"));
  runtime.ReleaseStatus(refusal);
  assert_true(stats_of(scene.pool).out_of_memory_count > 0);
  assert_int_equal(live_blocks(scene.pool), live);
  runtime.ReleaseValue(in);
  runtime.ReleaseValue(out);
  tarn_tensor_release(&x);
  tarn_tensor_release(&y);
  tarn_pool_release(apart);

  /* And the session goes on with what fits. */
  x = make_input(scene.pool, BATCH);
  in = value_of(&x, TARN_ORT_INPUT), out = NULL;
  RUNS(run(scene.session, in, &out));
  runtime.ReleaseValue(in);
  runtime.ReleaseValue(out);
  tarn_tensor_release(&x);
  end(&scene);
}

TEST(allocation_from_c_answers_null_where_that_was_asked_for) {
  const tarn_ort_allocator_options options = {.struct_size = sizeof options,
                                              .flags = TARN_ORT_NULL};
  tarn_pool *pool = make_pool(1 << 20);
  struct OrtAllocator *allocator = NULL;
  void *address = &address;
  assert_ok(tarn_ort_allocator_create(runtime.ort, pool, &options, &allocator));
  RUNS(runtime.AllocatorAlloc(allocator, 2 << 20, &address));
  assert_null(address);
  assert_int_equal(tarn_last_error()->status, TARN_OUT_OF_MEMORY);
  tarn_ort_allocator_release(allocator);
  tarn_pool_release(pool);
}

TEST(session_that_does_not_fit_is_refused_whole) {
  static _Alignas(4096) char range[8192]; /* the weights are 16 KiB */
  tarn_provider *provider = NULL;
  assert_ok(tarn_fixed_provider_create(range, sizeof range, NULL, &provider));
  tarn_pool *pool = pool_over(provider, NULL);
  struct OrtAllocator *allocator = make_allocator(pool);
  assert_ok(tarn_ort_register(runtime.ort, runtime.env, allocator));
  struct OrtSession *session = NULL;
  struct OrtStatus *const refusal = make_session(&session);
  assert_non_null(refusal);
  runtime.ReleaseStatus(refusal);
  assert_ok(tarn_ort_unregister(runtime.ort, runtime.env, allocator));
  tarn_ort_allocator_release(allocator);
  assert_int_equal(live_blocks(pool), 0);
  tarn_pool_release(pool);
}

/* --- pinned and device memory, of the machine's driver or the simulated one --- */

TEST(session_computes_in_pinned_memory) {
  const tarn_ort_allocator_options options = {.struct_size = sizeof options,
                                              .flags = TARN_ORT_AS_CPU};
  tarn_cuda *cuda = NULL;
  if (test_open_cuda(&cuda) != TARN_OK) skip();
  tarn_provider *provider = NULL;
  assert_ok(tarn_cuda_pinned_provider_create(cuda, NULL, &provider));
  ort_scene scene = {.pool = pool_over(provider, NULL)};
  assert_ok(tarn_ort_allocator_create(runtime.ort, scene.pool, &options, &scene.allocator));
  assert_ok(tarn_ort_register(runtime.ort, runtime.env, scene.allocator));
  RUNS(make_session(&scene.session));
  tarn_tensor x = make_input(scene.pool, BATCH), y = make_tensor(scene.pool, BATCH);
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT | TARN_ORT_AS_CPU);
  struct OrtValue *out = value_of(&y, TARN_ORT_AS_CPU);
  const uint64_t before = stats_of(scene.pool).alloc_count;
  RUNS(run(scene.session, in, &out));
  assert_true(stats_of(scene.pool).alloc_count > before);
  assert_is_result(tarn_tensor_data(&x), tarn_tensor_data(&y), BATCH);
  runtime.ReleaseValue(in);
  runtime.ReleaseValue(out);
  tarn_tensor_release(&x);
  tarn_tensor_release(&y);
  end(&scene);
  tarn_cuda_release(cuda);
}

/* The runtime without CUDA has no use for it, but passes it on, and calls it by its own names. */
TEST(devices_memory_goes_through_the_runtime) {
  tarn_ort_allocator_options options = {.struct_size = sizeof options};
  tarn_cuda *cuda = NULL;
  if (test_open_cuda(&cuda) != TARN_OK) skip();
  tarn_provider *provider = NULL;
  struct OrtAllocator *allocator = NULL;
  assert_ok(tarn_cuda_device_provider_create(cuda, 0, &provider));
  tarn_pool *pool = pool_over(provider, NULL);
  assert_ok(tarn_cuda_stream_create(cuda, 0, &options.stream));
  assert_ok(tarn_ort_allocator_create(runtime.ort, pool, &options, &allocator));
  assert_ok(tarn_ort_register(runtime.ort, runtime.env, allocator));
  const int64_t shape[] = {7, 9};
  enum { FLOAT = 1 };
  struct OrtValue *value = NULL;
  RUNS(runtime.CreateTensorAsOrtValue(allocator, shape, 2, FLOAT, &value));
  assert_int_equal(live_blocks(pool), 1);
  tarn_tensor tensor, again;
  assert_ok(tarn_ort_tensor_of_value(runtime.ort, value, &tensor));
  assert_true(
      tarn_device_equal(tarn_tensor_device(&tensor), tarn_device_make(TARN_DEVICE_CUDA, 0)));
  assert_ok(tarn_ort_tensor_of_value(runtime.ort, value_of(&tensor, 0), &again));
  assert_ptr_equal(tarn_tensor_data(&again), tarn_tensor_data(&tensor));
  assert_true(tarn_device_equal(tarn_tensor_device(&again), tarn_device_make(TARN_DEVICE_CUDA, 0)));
  tarn_tensor_release(&again);
  tarn_tensor_release(&tensor);
  assert_int_equal(live_blocks(pool), 0);
  assert_ok(tarn_ort_unregister(runtime.ort, runtime.env, allocator));
  tarn_ort_allocator_release(allocator);
  tarn_stream_release(options.stream);
  tarn_pool_release(pool);
  tarn_cuda_release(cuda);
}

/* --- several threads, and the end of the process --- */

enum { THREADS = 4, ROUNDS = 20 };

static void *run_again_and_again(void *argument) {
  const ort_scene *const scene = argument;
  for (int round = 0; round < ROUNDS; round++) {
    const int64_t batch = 1 + 7 * round;
    tarn_tensor x = make_input(scene->pool, batch), y;
    struct OrtValue *in = value_of(&x, TARN_ORT_INPUT), *out = NULL;
    RUNS(run(scene->session, in, &out));
    assert_ok(tarn_ort_tensor_of_value(runtime.ort, out, &y));
    assert_is_result(tarn_tensor_data(&x), tarn_tensor_data(&y), batch);
    tarn_tensor_release(&y);
    runtime.ReleaseValue(in);
    tarn_tensor_release(&x);
  }
  return NULL;
}

TEST(threads_share_a_session) {
  ort_scene scene = begin(0);
  pthread_t threads[THREADS];
  for (int index = 0; index < THREADS; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, run_again_and_again, &scene), 0);
  }
  for (int index = 0; index < THREADS; index++) {
    assert_int_equal(pthread_join(threads[index], NULL), 0);
  }
  end(&scene);
}

/* In a process of its own: everything is still there when it exits, the runtime's destructors run
 * after main has returned. */
static int exit_with_all_of_it_alive(void) {
  ort_scene scene = begin(0);
  tarn_tensor x = make_input(scene.pool, BATCH);
  struct OrtValue *in = value_of(&x, TARN_ORT_INPUT), *out = NULL;
  RUNS(run(scene.session, in, &out));
  return 0;
}

TEST(process_may_exit_with_all_of_it_alive) {
  const pid_t child = fork();
  if (child == 0) {
    (void)execl(program_path, program_path, library_path, model_path, "exit", (char *)NULL);
    _exit(99);
  }
  assert_int_equal(exit_code_of(child), 0);
}

TEST(runtime_says_which_version) {
  const ort_abi_base *const base = (const void *)runtime.base;
  const unsigned long minor = strtoul(base->GetVersionString() + 2, NULL, 10);
  assert_int_equal(tarn_ort_api_version(runtime.ort),
                   minor < ORT_ABI_NEWEST ? minor : ORT_ABI_NEWEST);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  program_path = argv[0], library_path = argv[1], model_path = argv[2];
  const char *const problem = ort_runtime_open(library_path, &runtime);
  if (problem != NULL) {
    print_error("%s: %s\n", library_path, problem);
    return 1;
  }
  if (argc > 3) return exit_with_all_of_it_alive();
  const int failures = run_listed_tests(NULL, NULL);
  tarn_ort_release(runtime.ort);
  runtime.ReleaseEnv(runtime.env);
  return failures;
}
