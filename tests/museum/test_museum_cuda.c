/* test_museum_cuda.c: the museum's pieces that need a driver: handles, devices, pinned memory.
 *
 * Linked with the simulated driver, which is therefore the libcuda.so.1 that tarn finds, whatever
 * the machine has. Each piece runs on every schedule that the simulator knows, looks at every byte,
 * and has no race: no two uses of a block, one of them a write, that nothing orders. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_storage.h"
#include "cuda/sim/cusim.h"
#include "cuda/tarn_cuda.h"
#include "tensor/tarn_copy.h"

/* Of the driver's own functions, those that make a context current. */
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuDevicePrimaryCtxRelease_v2(int device);
int cuCtxSetCurrent(void *context);
int cuCtxGetCurrent(void **context);

enum { SIZE = 2 << 20 };
static const size_t CAPACITY = (size_t)4 << 30;

static tarn_cuda *cuda;
static uint8_t *source; /* pinned */
static uint8_t *sink;
static tarn_provider *pinned_provider;

static const tarn_device pinned = {.type = TARN_DEVICE_CUDA_HOST};

static tarn_device device_of(int32_t index) {
  return tarn_device_make(TARN_DEVICE_CUDA, index);
}

static tarn_pool *pool_over(tarn_provider *provider, size_t limit_bytes) {
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = limit_bytes};
  tarn_pool *pool = NULL;
  assert_ok(tarn_caching_pool_create(provider, &options, &pool));
  return pool;
}

static tarn_pool *make_device_pool(int32_t device, size_t limit_bytes) {
  tarn_provider *provider = NULL;
  assert_ok(tarn_cuda_device_provider_create(cuda, device, &provider));
  tarn_pool *pool = pool_over(provider, limit_bytes);
  tarn_provider_release(provider);
  return pool;
}

static tarn_stream *make_stream(int32_t device) {
  tarn_stream *stream = NULL;
  assert_ok(tarn_cuda_stream_create(cuda, device, &stream));
  return stream;
}

static void *native_of(const tarn_stream *stream) {
  void *native = NULL;
  assert_ok(tarn_cuda_stream_native(stream, &native));
  return native;
}

static void *take(tarn_pool *pool, size_t size_bytes, tarn_stream *stream) {
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, size_bytes, stream, &address));
  return address;
}

static void give(tarn_pool *pool, void *address, tarn_stream *stream) {
  assert_ok(tarn_pool_free(pool, address, stream));
}

/* The CPU writes a pinned block of SIZE bytes; the race oracle is told. */
static void write_by_cpu(uint8_t *bytes, uint8_t tag) {
  cusim_host_write(bytes, SIZE);
  memset(bytes, tag, SIZE);
}

/* Enqueues a copy of the source, which holds `tag` throughout, into the block. */
static void write_source(tarn_stream *stream, void *block, tarn_device device, uint8_t tag) {
  write_by_cpu(source, tag);
  assert_ok(tarn_stream_copy(stream, block, device, source, pinned, SIZE));
}

static void assert_bytes(const uint8_t *bytes, uint8_t tag) {
  cusim_host_read(bytes, SIZE);
  for (size_t index = 0; index < SIZE; index++) {
    if (bytes[index] != tag) fail_msg("byte %zu is 0x%x, not 0x%x", index, bytes[index], tag);
  }
}

/* Reads the block in the stream's order, and once more when all other work is done as well. */
static void assert_block(tarn_stream *stream, const void *block, tarn_device device, uint8_t tag) {
  for (int look = 0; look < 2; look++) {
    assert_ok(tarn_stream_copy(stream, sink, pinned, block, device, SIZE));
    assert_ok(tarn_stream_synchronize(stream));
    assert_bytes(sink, tag);
    cusim_drain();
  }
}

enum { SEEDS = 3 };

static void on_every_schedule(void (*piece)(void)) {
  for (int index = 0; index < CUSIM_POLICY_COUNT * SEEDS; index++) {
    cusim_set_policy((cusim_policy)(index / SEEDS));
    cusim_set_seed((uint64_t)(index % SEEDS) + 1);
    cusim_set_races(CUSIM_RACES_REPORT);
    piece();
    assert_int_equal(cusim_race_count(), 0);
    cusim_set_races(CUSIM_RACES_OFF);
    cusim_drain();
    assert_string_equal(cusim_fault(), "");
  }
}

/* PIECE(what_happened) { ... } is a test that shows the piece on every schedule. */
#define PIECE(name)                 \
  static void show_##name(void);    \
  TEST(name) {                      \
    on_every_schedule(show_##name); \
  }                                 \
  static void show_##name(void)

/* --- the pieces --- */

/* RMM's arena resource (and its pool before #2252): memory was filed under the raw stream
 * handle, so a new stream that got a destroyed one's handle also got its memory, work pending or
 * not. tarn files under a timeline of its own, which serves another stream only when the old
 * one's last work has been seen. */
PIECE(arena_handle_reuse) {
  tarn_pool *pool = make_device_pool(0, SIZE);
  tarn_stream *old = make_stream(0);
  void *const handle = native_of(old);
  void *block = take(pool, SIZE, old);
  write_source(old, block, device_of(0), 0xAA);
  give(pool, block, old);
  tarn_stream_release(old);
  tarn_stream *next = make_stream(0);
  assert_ptr_equal(native_of(next), handle);
  assert_ptr_equal(take(pool, SIZE, next), block);
  assert_ok(tarn_stream_fill(next, block, device_of(0), 0x55, SIZE));
  assert_block(next, block, device_of(0), 0x55);
  give(pool, block, next);
  tarn_stream_release(next);
  tarn_pool_release(pool);
}

typedef struct thread_work {
  tarn_pool *pool;
  void *block;
} thread_work;

static void *work_and_exit(void *argument) {
  thread_work *self = argument;
  tarn_stream *stream = make_stream(0);
  self->block = take(self->pool, SIZE, stream);
  write_source(stream, self->block, device_of(0), 0xAA);
  give(self->pool, self->block, stream);
  tarn_stream_release(stream);
  return NULL;
}

/* RMM's arena resource, as in museum_order.c, here with the thread's own stream gone as well: what
 * is left of both is work that a driver may still be doing. tarn has taken a final fence. */
PIECE(arena_thread_exit_with_its_stream) {
  thread_work work = {.pool = make_device_pool(0, SIZE)};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, work_and_exit, &work), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  tarn_stream *ours = make_stream(0);
  assert_ptr_equal(take(work.pool, SIZE, ours), work.block);
  assert_ok(tarn_stream_fill(ours, work.block, device_of(0), 0x55, SIZE));
  assert_block(ours, work.block, device_of(0), 0x55);
  give(work.pool, work.block, ours);
  tarn_stream_release(ours);
  tarn_pool_release(work.pool);
}

/* RMM #1333, cuCascade #189: the event of a free was made on whatever device the thread had current
 * and recorded on a stream of another one, an error that nobody looked at: the block went out with
 * no order at all. tarn makes and records every fence in the context of its stream's device, and
 * looks at every answer. */
PIECE(event_of_another_device) {
  void *contexts[] = {NULL, NULL};
  assert_int_equal(cuDevicePrimaryCtxRetain(&contexts[1], 0), 0);
  for (size_t index = 0; index < COUNT_OF(contexts); index++) {
    assert_int_equal(cuCtxSetCurrent(contexts[index]), 0);
    tarn_pool *pool = make_device_pool(1, SIZE);
    tarn_stream *writer = make_stream(1), *near = make_stream(1), *far = make_stream(0);
    char *block = take(pool, SIZE, writer);
    write_source(writer, block, device_of(1), 0xAA);
    give(pool, block, writer);
    assert_ptr_equal(take(pool, SIZE, near), block); /* ordered on the same device */
    cusim_counts counts;
    cusim_get_counts(&counts);
    if (cusim_get_policy() == CUSIM_LAZY) assert_int_not_equal(counts.pending_operations, 0);
    assert_ok(tarn_stream_fill(near, block, device_of(1), 0x55, SIZE));
    give(pool, block, near);
    assert_ptr_equal(take(pool, SIZE, far), block); /* and behind a fence of another */
    assert_ok(tarn_stream_fill(far, block, device_of(1), 0x66, SIZE));
    assert_block(far, block, device_of(1), 0x66);
    /* A driver that says no is believed: the block is then had by waiting. */
    static const char *const refused[] = {"cuEventRecord", "cuStreamWaitEvent"};
    for (size_t call = 0; call < COUNT_OF(refused); call++) {
      write_source(far, block, device_of(1), 0xAA);
      give(pool, block, far);
      const uint64_t failures = cusim_failures();
      cusim_fail_call(refused[call], 1, /*CUDA_ERROR_INVALID_HANDLE*/ 400);
      assert_ptr_equal(take(pool, SIZE, near), block);
      assert_int_equal(cusim_failures(), failures + 1);
      assert_ok(tarn_stream_fill(near, block, device_of(1), 0x77, SIZE));
      assert_block(near, block, device_of(1), 0x77);
      give(pool, block, near);
      assert_ptr_equal(take(pool, SIZE, far), block);
    }
    give(pool, block, far);
    tarn_stream_release(writer);
    tarn_stream_release(near);
    tarn_stream_release(far);
    tarn_pool_release(pool);
    void *current = NULL;
    assert_int_equal(cuCtxGetCurrent(&current), 0);
    assert_ptr_equal(current, contexts[index]);
  }
  assert_int_equal(cuCtxSetCurrent(NULL), 0);
  assert_int_equal(cuDevicePrimaryCtxRelease_v2(0), 0);
}

/* Triton (#5973): where pinned memory ran out its manager handed out malloc's, with one warning per
 * process, and every copy from then on was synchronous behind the caller's back. tarn's pinned pool
 * is out of memory then, and a copy of pageable memory says in its report that it was synchronous,
 * and is. */
PIECE(pageable_fallback) {
  cusim_counts before;
  cusim_get_counts(&before);
  cusim_set_pinned_capacity(before.pinned_bytes + SIZE);
  tarn_pool *pool = pool_over(pinned_provider, 0);
  void *block = take(pool, SIZE, NULL);
  void *more = &more;
  tarn_storage *storage = NULL;
  assert_status(tarn_pool_alloc(pool, SIZE, NULL, &more), TARN_OUT_OF_MEMORY);
  assert_null(more);
  assert_status(tarn_storage_create(pool, SIZE, NULL, &storage), TARN_OUT_OF_MEMORY);
  assert_null(storage);
  cusim_counts after;
  cusim_get_counts(&after);
  assert_int_equal(after.pinned_bytes, before.pinned_bytes + SIZE);
  give(pool, block, NULL);
  tarn_pool_release(pool);
  cusim_set_pinned_capacity(SIZE_MAX);

  uint8_t *pageable = malloc(SIZE);
  assert_non_null(pageable);
  memset(pageable, 0x3C, SIZE);
  const int64_t shape[] = {SIZE};
  const tarn_dtype bytes = {TARN_CODE_UINT, 8, 1};
  const tarn_blob blob = {.struct_size = sizeof blob, .address = pageable, .size_bytes = SIZE};
  tarn_stream *stream = make_stream(0);
  tarn_pool *device_pool = make_device_pool(0, 0);
  tarn_tensor from, to;
  assert_ok(tarn_tensor_wrap(&blob, bytes, 1, shape, NULL, 0, &from));
  assert_ok(tarn_tensor_create(device_pool, bytes, 1, shape, stream, &to));
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_ok(tarn_tensor_copy(&to, &from, stream, &report));
  assert_true(report.was_synchronous);
  memset(pageable, 0, SIZE); /* the copy has all of it */
  assert_block(stream, tarn_tensor_data(&to), device_of(0), 0x3C);
  tarn_tensor_release(&from);
  tarn_tensor_release(&to);
  tarn_stream_release(stream);
  tarn_pool_release(device_pool);
  free(pageable);
}

/* RMM's pinned pools: a free in the order of a stream let the next CPU writer have the block while
 * the copy still read it, since the CPU was in no order. To tarn the host is one more timeline: a
 * pinned block goes to the CPU (stream NULL) only when its copies have been seen to be done. */
PIECE(pinned_reuse_while_the_cpu_still_reads) {
  tarn_pool *pool = pool_over(pinned_provider, SIZE);
  tarn_pool *device_pool = make_device_pool(0, 0);
  tarn_stream *stream = make_stream(0);
  void *on_device = take(device_pool, SIZE, stream);
  uint8_t *staging = take(pool, SIZE, NULL);
  write_by_cpu(staging, 0x11);
  assert_ok(tarn_stream_copy(stream, on_device, device_of(0), staging, pinned, SIZE));
  give(pool, staging, stream);
  uint8_t *again = take(pool, SIZE, NULL); /* to be written by the CPU at once */
  assert_ptr_equal(again, staging);
  write_by_cpu(again, 0x22);
  assert_block(stream, on_device, device_of(0), 0x11);

  /* The other way: the CPU reads what a copy brought, and no earlier than the copy is done. */
  give(pool, again, NULL);
  staging = take(pool, SIZE, stream);
  assert_ok(tarn_stream_copy(stream, staging, pinned, on_device, device_of(0), SIZE));
  give(pool, staging, stream);
  again = take(pool, SIZE, NULL);
  write_by_cpu(again, 0x33);
  cusim_drain();
  assert_bytes(again, 0x33);
  give(pool, again, NULL);
  give(device_pool, on_device, stream);
  tarn_stream_release(stream);
  tarn_pool_release(device_pool);
  tarn_pool_release(pool);
}

/* vLLM's sleep mode (#34600, #36651), as in museum_memory.c, here where it was: on virtual memory
 * of a device, of which the driver creates half and then has no more. */
PIECE(wake_half_done_on_a_device) {
  tarn_provider *provider = NULL;
  assert_ok(tarn_cuda_virtual_provider_create(cuda, 0, NULL, &provider));
  tarn_pool *pool = pool_over(provider, 0);
  tarn_stream *stream = make_stream(0);
  void *awake = take(pool, SIZE, stream);
  void *asleep = take(pool, 4 * SIZE, stream);
  write_source(stream, awake, device_of(0), 0x77);
  give(pool, asleep, stream);
  assert_ok(tarn_stream_synchronize(stream));
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  cusim_counts before;
  cusim_get_counts(&before);
  assert_int_equal(before.physical_bytes, SIZE);
  cusim_set_capacity(0, before.device_bytes + before.physical_bytes + 2 * SIZE);
  void *refused = &refused;
  assert_status(tarn_pool_alloc(pool, 4 * SIZE, stream, &refused), TARN_OUT_OF_MEMORY);
  assert_null(refused);
  cusim_counts after;
  cusim_get_counts(&after);
  assert_int_equal(after.physical_blocks, before.physical_blocks);
  assert_int_equal(after.mappings, before.mappings);
  assert_block(stream, awake, device_of(0), 0x77);
  cusim_set_capacity(0, CAPACITY);
  assert_ptr_equal(take(pool, 4 * SIZE, stream), asleep);
  give(pool, asleep, stream);
  give(pool, awake, stream);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
}

/* --- schedules --- */

static int open_driver(void **state) {
  (void)state;
  if (tarn_cuda_open(NULL, &cuda) != TARN_OK || !tarn_cuda_is_simulated(cuda)) return -1;
  cusim_set_idle_ms(0);
  void *address = NULL;
  assert_ok(tarn_cuda_pinned_provider_create(cuda, NULL, &pinned_provider));
  assert_ok(tarn_provider_alloc(pinned_provider, SIZE, &address));
  source = address;
  assert_ok(tarn_provider_alloc(pinned_provider, SIZE, &address));
  sink = address;
  return 0;
}

static int close_driver(void **state) {
  (void)state;
  assert_ok(tarn_provider_free(pinned_provider, source, SIZE));
  assert_ok(tarn_provider_free(pinned_provider, sink, SIZE));
  tarn_provider_release(pinned_provider);
  tarn_cuda_release(cuda);
  return 0;
}

int main(int argument_count, char **arguments) {
  setenv("CUSIM_DEVICES", "2", 1);
  if (argument_count > 1) cmocka_set_test_filter(arguments[1]);
  return run_listed_tests(open_driver, close_driver);
}
