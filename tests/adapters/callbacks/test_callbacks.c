/* test_callbacks.c: each shape of callback, and whose stream a handle is, on streams by hand. */
#include "tests/adapters/callbacks/test_callbacks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/tarn_capture.h"
#include "alloc/tarn_host_stream.h"
#include "tests/support/child.h"
#include "tests/support/manual_stream.h"
#include "tests/support/pools.h"

enum { SIZE_BYTES = 100000 };

/* Handles of a client's, which are no addresses of anything. */
static void *const handle_a = (void *)0xA0, *const handle_b = (void *)0xB0;

typedef struct client {
  tarn_pool *pool;
  tarn_callbacks *callbacks;
  int wrap_count;
  bool refuses;
} client;

static tarn_status wrap_by_hand(void *context, void *native, tarn_stream **stream) {
  client *self = context;
  (void)native;
  if (self->refuses) return tarn_fail(TARN_DEVICE_ERROR, "no stream today");
  self->wrap_count++;
  return manual_stream_create(stream);
}

static void make_client(client *made, size_t limit_bytes) {
  *made = (client){.pool = callbacks_test_pool(limit_bytes)};
  const tarn_callbacks_options options = {
      .struct_size = sizeof options, .wrap = wrap_by_hand, .wrap_context = made};
  assert_ok(tarn_callbacks_create(made->pool, &options, &made->callbacks));
  memset(&manual_called, 0, sizeof manual_called);
}

static void drop_client(client *self) {
  callbacks_test_settled(self->pool, self->callbacks);
  tarn_callbacks_destroy(self->callbacks);
  tarn_pool_release(self->pool);
}

static tarn_stream *stream_of(const client *self, void *native) {
  tarn_stream *stream;
  assert_ok(tarn_callbacks_stream(self->callbacks, native, &stream));
  return stream;
}

static void do_nothing(void *unused) {
  (void)unused;
}

/* --- shapes --- */

/* As clients declare them: nvjpeg.h 12.4 (tDevMallocV2, tDevFreeV2), custatevec.h 1.15
 * (custatevecDeviceMemHandler_t), and Python's cpython/pymem.h (PyMemAllocatorEx). That the
 * functions fit without a cast is for the compiler to say. */
typedef struct CUstream_st *client_stream;
static const struct {
  int (*dev_malloc)(void *ctx, void **ptr, size_t size, client_stream stream);
  int (*dev_free)(void *ctx, void *ptr, size_t size, client_stream stream);
} handler = {tarn_callbacks_alloc_to, tarn_callbacks_free_from};
static const struct {
  void *(*malloc)(void *ctx, size_t size);
  void *(*calloc)(void *ctx, size_t nelem, size_t elsize);
  void *(*realloc)(void *ctx, void *ptr, size_t new_size);
  void (*free)(void *ctx, void *ptr);
} allocator = {tarn_callbacks_malloc, tarn_callbacks_calloc, tarn_callbacks_realloc,
               tarn_callbacks_posix_free};

TEST(functions_fit_their_clients_tables) {
  client user;
  make_client(&user, 0);
  void *block = NULL;
  assert_int_equal(handler.dev_malloc(user.callbacks, &block, SIZE_BYTES, handle_a), 0);
  assert_int_equal(handler.dev_free(user.callbacks, block, SIZE_BYTES, handle_a), 0);
  block = allocator.calloc(user.callbacks, 10, 10);
  block = allocator.realloc(user.callbacks, block, SIZE_BYTES);
  allocator.free(user.callbacks, block);
  allocator.free(user.callbacks, allocator.malloc(user.callbacks, 1));
  drop_client(&user);
}

TEST(each_shape_lends_memory_and_takes_it_back) {
  client user;
  make_client(&user, 0);
  for (int round = 0; round < 3; round++) {
    char *last = tarn_callbacks_alloc(SIZE_BYTES, handle_a, user.callbacks);
    void *first = &user;
    assert_int_equal(tarn_callbacks_alloc_to(user.callbacks, &first, SIZE_BYTES, handle_b), 0);
    assert_non_null(last);
    assert_non_null(first);
    assert_ptr_not_equal(last, first);
    memset(last, 1, SIZE_BYTES);
    memset(first, 2, SIZE_BYTES);
    assert_int_equal(last[SIZE_BYTES - 1], 1);
    tarn_callbacks_free(last, SIZE_BYTES, handle_b, user.callbacks);
    /* Sizes are the pool's to know. */
    assert_int_equal(tarn_callbacks_free_from(user.callbacks, first, 1, handle_a), 0);
  }
  void *nothing = &user;
  assert_int_equal(tarn_callbacks_alloc_to(user.callbacks, &nothing, 0, NULL), 0);
  assert_null(nothing);
  assert_null(tarn_callbacks_alloc(0, NULL, user.callbacks));
  tarn_callbacks_free(NULL, 0, NULL, user.callbacks);
  assert_int_equal(tarn_callbacks_free_from(user.callbacks, NULL, 0, NULL), 0);
  assert_int_equal(tarn_callbacks_alloc_to(user.callbacks, NULL, 1, NULL), TARN_INVALID_ARGUMENT);
  drop_client(&user);
}

TEST(a_device_has_the_callbacks_that_it_was_given) {
  client user, other;
  make_client(&user, 0);
  make_client(&other, 0);
  assert_null(tarn_callbacks_device_alloc(1, 3, handle_a));
  assert_int_equal(tarn_last_error()->status, TARN_NOT_FOUND);
  assert_ok(tarn_callbacks_set_device(3, user.callbacks));
  assert_ok(tarn_callbacks_set_device(3, user.callbacks));
  assert_status(tarn_callbacks_set_device(3, other.callbacks), TARN_BUSY);
  assert_ok(tarn_callbacks_set_device(4, other.callbacks));
  void *mine = tarn_callbacks_device_alloc(SIZE_BYTES, 3, handle_a);
  void *others = tarn_callbacks_device_alloc(SIZE_BYTES, 4, handle_a);
  size_t size_bytes;
  assert_ok(tarn_pool_size_of(user.pool, mine, &size_bytes));
  assert_ok(tarn_pool_size_of(other.pool, others, &size_bytes));
  tarn_callbacks_device_free(mine, SIZE_BYTES, 3, handle_b);
  tarn_callbacks_device_free(others, SIZE_BYTES, 4, handle_b);
  for (int device = -1; device <= TARN_CALLBACKS_DEVICES_MAX;
       device += TARN_CALLBACKS_DEVICES_MAX + 1) {
    assert_status(tarn_callbacks_set_device(device, user.callbacks), TARN_INVALID_ARGUMENT);
    assert_null(tarn_callbacks_device_alloc(1, device, NULL));
    tarn_callbacks_device_free(&user, 1, device, NULL);
  }
  assert_ok(tarn_callbacks_set_device(3, NULL));
  assert_null(tarn_callbacks_device_alloc(1, 3, handle_a));
  drop_client(&user);
  drop_client(&other);
  assert_null(tarn_callbacks_device_alloc(1, 4, handle_a)); /* it went with its callbacks */
}

TEST(without_streams_handles_are_not_looked_at) {
  tarn_pool *pool = callbacks_test_pool(0);
  tarn_callbacks *callbacks;
  assert_ok(tarn_callbacks_create(pool, NULL, &callbacks));
  void *first = tarn_callbacks_alloc(SIZE_BYTES, handle_a, callbacks);
  tarn_callbacks_free(first, SIZE_BYTES, (void *)UINTPTR_MAX, callbacks);
  void *again = tarn_callbacks_alloc(SIZE_BYTES, handle_b, callbacks);
  assert_ptr_equal(again, first); /* at once: nobody used it any more */
  assert_ok(tarn_callbacks_forget(callbacks, handle_a));
  tarn_callbacks_free(again, SIZE_BYTES, NULL, callbacks);
  callbacks_test_settled(pool, callbacks);
  tarn_callbacks_destroy(callbacks);
  tarn_pool_release(pool);
}

/* --- handles --- */

TEST(a_handle_is_wrapped_once_and_found_again) {
  client user;
  make_client(&user, 0);
  for (int i = 0; i < 50; i++) {
    void *block = tarn_callbacks_alloc(SIZE_BYTES, handle_a, user.callbacks);
    tarn_callbacks_free(block, SIZE_BYTES, i % 2 == 0 ? NULL : handle_a, user.callbacks);
  }
  assert_int_equal(user.wrap_count, 2);
  assert_ptr_equal(stream_of(&user, handle_a), stream_of(&user, handle_a));
  assert_ptr_not_equal(stream_of(&user, handle_a), stream_of(&user, NULL));
  tarn_stream *stream = (tarn_stream *)&stream;
  assert_status(tarn_callbacks_stream(user.callbacks, (void *)UINTPTR_MAX, &stream),
                TARN_INVALID_ARGUMENT);
  assert_null(stream);
  assert_status(tarn_callbacks_stream(NULL, NULL, &stream), TARN_INVALID_ARGUMENT);
  assert_status(tarn_callbacks_stream(user.callbacks, NULL, NULL), TARN_INVALID_ARGUMENT);
  drop_client(&user);
}

TEST(memory_freed_on_one_stream_reaches_another_behind_a_fence) {
  client user;
  make_client(&user, 4 << 20);
  void *block = tarn_callbacks_alloc(3 << 20, handle_a, user.callbacks);
  assert_ok(tarn_stream_call(stream_of(&user, handle_a), do_nothing, NULL)); /* uses the block */
  tarn_callbacks_free(block, 3 << 20, handle_a, user.callbacks);
  void *same = tarn_callbacks_alloc(3 << 20, handle_b, user.callbacks);
  assert_ptr_equal(same, block);
  assert_int_equal(manual_called.waits, 1);
  assert_int_equal(manual_stream_advance(stream_of(&user, handle_b), 1), 0); /* it waits for A */
  while (manual_stream_advance(stream_of(&user, handle_a), 9) > 0) continue;
  tarn_callbacks_free(same, 3 << 20, handle_b, user.callbacks);
  drop_client(&user);
}

TEST(a_noted_use_keeps_memory_from_a_stream_that_freed_it) {
  client user;
  make_client(&user, 4 << 20);
  char *block = tarn_callbacks_alloc(3 << 20, handle_a, user.callbacks);
  assert_ok(tarn_stream_call(stream_of(&user, handle_b), do_nothing, NULL));
  assert_true(tarn_callbacks_note_use(block + 5, handle_b, user.callbacks));
  tarn_callbacks_free(block, 3 << 20, handle_a, user.callbacks);
  block = tarn_callbacks_alloc(3 << 20, handle_a, user.callbacks);
  assert_int_equal(manual_called.waits, 1);
  assert_false(tarn_callbacks_note_use(&user, handle_b, user.callbacks)); /* no block of it */
  tarn_callbacks_free(block, 3 << 20, handle_a, user.callbacks);
  while (manual_stream_advance(stream_of(&user, handle_b), 9) > 0) continue;
  drop_client(&user);
}

TEST(a_forgotten_handle_that_comes_back_is_another_stream) {
  client user;
  make_client(&user, 4 << 20);
  void *block = tarn_callbacks_alloc(3 << 20, handle_a, user.callbacks);
  tarn_stream *old = stream_of(&user, handle_a);
  tarn_stream_retain(old);
  tarn_callbacks_free(block, 3 << 20, handle_a, user.callbacks);
  assert_ok(tarn_callbacks_forget(user.callbacks, handle_a));
  assert_status(tarn_stream_call(old, do_nothing, NULL), TARN_INVALID_ARGUMENT);
  void *same = tarn_callbacks_alloc(3 << 20, handle_a, user.callbacks);
  assert_ptr_equal(same, block);
  assert_int_equal(user.wrap_count, 2);
  assert_ptr_not_equal(stream_of(&user, handle_a), old);
  assert_int_equal(manual_called.records + manual_called.waits > 0, 1); /* behind the old one */
  tarn_stream_release(old);
  assert_ok(tarn_callbacks_forget(user.callbacks, handle_b)); /* never seen */
  assert_status(tarn_callbacks_forget(NULL, handle_b), TARN_INVALID_ARGUMENT);
  tarn_callbacks_free(same, 3 << 20, handle_a, user.callbacks);
  drop_client(&user);
}

TEST(a_captured_stream_is_not_forgotten_yet) {
  client user;
  make_client(&user, 0);
  tarn_stream *stream = stream_of(&user, handle_a);
  tarn_capture *capture;
  assert_ok(tarn_capture_begin(stream, &capture));
  assert_status(tarn_callbacks_forget(user.callbacks, handle_a), TARN_BUSY);
  assert_ptr_equal(stream_of(&user, handle_a), stream);
  assert_ok(tarn_capture_end(capture));
  assert_ok(tarn_capture_destroy(capture));
  assert_ok(tarn_callbacks_forget(user.callbacks, handle_a));
  assert_int_equal(user.wrap_count, 1);
  drop_client(&user);
}

/* --- what goes wrong --- */

TEST(out_of_memory_is_null_and_the_next_call_goes_on) {
  client user;
  make_client(&user, 4 << 20);
  void *block = tarn_callbacks_alloc(3 << 20, handle_a, user.callbacks), *other = &user;
  assert_null(tarn_callbacks_alloc(3 << 20, handle_a, user.callbacks));
  assert_int_equal(tarn_last_error()->status, TARN_OUT_OF_MEMORY);
  assert_int_equal(tarn_callbacks_alloc_to(user.callbacks, &other, 3 << 20, handle_b),
                   TARN_OUT_OF_MEMORY);
  assert_null(other);
  assert_null(tarn_callbacks_alloc((size_t)-8, handle_a, user.callbacks)); /* a negative size */
  assert_int_equal(tarn_last_error()->status, TARN_TOO_LARGE);
  tarn_callbacks_free(block, 3 << 20, handle_a, user.callbacks);
  block = tarn_callbacks_alloc(3 << 20, handle_b, user.callbacks);
  assert_non_null(block);
  tarn_callbacks_free(block, 3 << 20, handle_b, user.callbacks);
  drop_client(&user);
}

TEST(a_free_that_is_refused_is_counted) {
  client user;
  make_client(&user, 0);
  char *block = tarn_callbacks_alloc(SIZE_BYTES, handle_a, user.callbacks);
  tarn_callbacks_free(block + 8, SIZE_BYTES, handle_a, user.callbacks);
  assert_int_equal(tarn_callbacks_free_from(user.callbacks, &user, 1, handle_a), TARN_NOT_FOUND);
  tarn_callbacks_posix_free(user.callbacks, &user);
  assert_int_equal(tarn_callbacks_refused_frees(user.callbacks), 3);
  user.refuses = true; /* on a stream that nobody knows the block stays lent out */
  tarn_callbacks_free(block, SIZE_BYTES, handle_b, user.callbacks);
  assert_null(tarn_callbacks_alloc(1, handle_b, user.callbacks));
  assert_int_equal(tarn_last_error()->status, TARN_DEVICE_ERROR);
  assert_false(tarn_callbacks_note_use(block, handle_b, user.callbacks));
  assert_int_equal(tarn_callbacks_refused_frees(user.callbacks), 4);
  tarn_callbacks_free(block, SIZE_BYTES, handle_a, user.callbacks);
  tarn_callbacks_free(block, SIZE_BYTES, handle_a, user.callbacks); /* a second time */
  assert_int_equal(tarn_callbacks_refused_frees(user.callbacks), 5);
  tarn_pool_stats stats = stats_of(user.pool);
  assert_int_equal(stats.allocated_bytes, 0);
  tarn_callbacks_destroy(user.callbacks);
  tarn_pool_release(user.pool);
}

TEST(options_that_make_no_sense_are_refused) {
  tarn_pool *pool = callbacks_test_pool(0);
  tarn_callbacks *callbacks = (tarn_callbacks *)&pool;
  tarn_callbacks_options options = {.struct_size = 8};
  assert_status(tarn_callbacks_create(pool, &options, &callbacks), TARN_INVALID_ARGUMENT);
  assert_null(callbacks);
  options = (tarn_callbacks_options){
      .struct_size = sizeof options, .wrap = wrap_by_hand, .cuda = (tarn_cuda *)&pool};
  assert_status(tarn_callbacks_create(pool, &options, &callbacks), TARN_INVALID_ARGUMENT);
  assert_status(tarn_callbacks_create(NULL, NULL, &callbacks), TARN_INVALID_ARGUMENT);
  assert_status(tarn_callbacks_create(pool, NULL, NULL), TARN_INVALID_ARGUMENT);
  tarn_callbacks_destroy(NULL);
  tarn_pool_release(pool);
}

/* --- lives --- */

TEST(memory_outlives_the_pools_handle_and_the_callbacks) {
  client user;
  make_client(&user, 0);
  tarn_pool_release(user.pool);
  char *block = tarn_callbacks_alloc(SIZE_BYTES, handle_a, user.callbacks);
  char *kept = tarn_callbacks_alloc(SIZE_BYTES, handle_a, user.callbacks);
  memset(kept, 5, SIZE_BYTES);
  tarn_callbacks_free(block, SIZE_BYTES, handle_a, user.callbacks);
  tarn_stream *stream = stream_of(&user, handle_a);
  tarn_stream_retain(stream);
  tarn_callbacks_destroy(user.callbacks);
  /* The client's stream may go: nobody looks at it any more. */
  assert_status(tarn_stream_call(stream, do_nothing, NULL), TARN_INVALID_ARGUMENT);
  tarn_stream_release(stream);
  assert_int_equal(kept[SIZE_BYTES - 1], 5);
  assert_ok(tarn_pool_free(user.pool, kept, NULL)); /* the last block takes the pool down */
}

static client late;
static void *late_block;

static void free_late(void) {
  tarn_callbacks_free(late_block, SIZE_BYTES, handle_a, late.callbacks);
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  const tarn_status status = tarn_pool_stats_of(late.pool, &stats);
  _exit(status == TARN_OK && stats.allocated_bytes == 0 &&
                tarn_callbacks_refused_frees(late.callbacks) == 0
            ? 0
            : 1);
}

TEST(a_client_may_free_at_exit) {
  make_client(&late, 0);
  const pid_t child = fork();
  if (child == 0) {
    late_block = tarn_callbacks_alloc(SIZE_BYTES, handle_a, late.callbacks);
    atexit(free_late);
    exit(late_block != NULL ? 2 : 3);
  }
  assert_int_equal(exit_code_of(child), 0);
  drop_client(&late);
}

/* --- forks --- */

enum { FORKS = 200, SHIFTED_HANDLES = 100 };

static atomic_bool is_forking;

/* Adds handles and takes them out again, so that a fork meets the table in every state. */
static void *shift_handles(void *argument) {
  tarn_callbacks *callbacks = argument;
  while (atomic_load(&is_forking)) {
    for (uintptr_t i = 1; i <= SHIFTED_HANDLES; i++) {
      tarn_stream *stream;
      struct CUstream_st *native = (struct CUstream_st *)(i << 8);
      if (tarn_callbacks_stream(callbacks, native, &stream) != TARN_OK) return argument;
      if (tarn_callbacks_forget(callbacks, native) != TARN_OK) return argument;
    }
  }
  return NULL;
}

static tarn_status wrap_nothing(void *context, void *native, tarn_stream **stream) {
  (void)context, (void)native;
  *stream = NULL;
  return TARN_OK;
}

static int use_in_child(tarn_callbacks *callbacks) {
  tarn_stream *stream;
  for (uintptr_t i = 1; i <= SHIFTED_HANDLES; i++) {
    CHECK(tarn_callbacks_stream(callbacks, (struct CUstream_st *)(i << 8), &stream) == TARN_OK);
  }
  return 0;
}

TEST(a_child_of_fork_adds_handles_whatever_other_threads_did) {
  client one;
  make_client(&one, 0);
  const tarn_callbacks_options options = {.struct_size = sizeof options, .wrap = wrap_nothing};
  tarn_callbacks *callbacks;
  assert_ok(tarn_callbacks_create(one.pool, &options, &callbacks));
  pthread_t thread;
  void *complaint;
  atomic_store(&is_forking, true);
  assert_int_equal(pthread_create(&thread, NULL, shift_handles, callbacks), 0);
  int code = 0;
  for (int i = 0; i < FORKS && code == 0; i++) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(CHILD_SECONDS / 12);
      _exit(use_in_child(callbacks));
    }
    code = exit_code_of(child);
  }
  atomic_store(&is_forking, false);
  pthread_join(thread, &complaint);
  assert_int_equal(code, 0);
  assert_null(complaint);
  tarn_callbacks_destroy(callbacks);
  drop_client(&one);
}

/* --- threads --- */

enum { THREADS = 4, ROUNDS = 400, HANDLES = 3 };

typedef struct crowd {
  tarn_callbacks *callbacks;
  _Atomic(void *) shelf[16]; /* blocks that any thread may take and free */
  pthread_barrier_t start;
} crowd;

static tarn_status wrap_worker(void *context, void *native, tarn_stream **stream) {
  (void)context, (void)native;
  return tarn_worker_stream_create(stream);
}

static void *allocate_and_free_others(void *argument) {
  crowd *self = argument;
  uint64_t random = (uint64_t)(uintptr_t)&random | 1;
  pthread_barrier_wait(&self->start); /* all wrap the first handle at once */
  for (int i = 0; i < ROUNDS; i++) {
    const uint64_t draw = test_random(&random) >> 8;
    void *native = (void *)(uintptr_t)(16 * (i == 0 ? 1 : 1 + draw % HANDLES));
    const size_t size_bytes = 1 + draw % 5000;
    void *block = tarn_callbacks_alloc(size_bytes, native, self->callbacks);
    if (block == NULL) return self;
    block = atomic_exchange(&self->shelf[(draw >> 20) % 16], block);
    native = (void *)(uintptr_t)(16 * (1 + (draw >> 30) % HANDLES));
    tarn_callbacks_free(block, 0, native, self->callbacks);
  }
  return NULL;
}

TEST(threads_free_what_others_allocated) {
  tarn_pool *pool = callbacks_test_pool(0);
  crowd all = {.callbacks = NULL};
  const tarn_callbacks_options options = {.struct_size = sizeof options, .wrap = wrap_worker};
  assert_ok(tarn_callbacks_create(pool, &options, &all.callbacks));
  pthread_barrier_init(&all.start, NULL, THREADS);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, allocate_and_free_others, &all), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    void *complaint;
    pthread_join(threads[i], &complaint);
    assert_null(complaint);
  }
  for (int i = 0; i < 16; i++) tarn_callbacks_free(all.shelf[i], 0, (void *)16, all.callbacks);
  callbacks_test_settled(pool, all.callbacks);
  pthread_barrier_destroy(&all.start);
  tarn_callbacks_destroy(all.callbacks);
  tarn_pool_release(pool);
}

int run_callbacks_tests(void) {
  return run_listed_tests(NULL, NULL);
}
