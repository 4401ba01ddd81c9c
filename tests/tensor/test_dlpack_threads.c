/* test_dlpack_threads.c: deleters on other threads, and many exports and imports at once. */
#include "tests/tensor/dlpack_foreign.h"

#include <string.h>

#include "tests/support/pools.h"

enum { THREAD_COUNT = 4, ROUND_COUNT = 2000 };

static void on_another_thread(void *(*run)(void *), void *argument) {
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, run, argument), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
}

static void *release_tensor(void *argument) {
  tarn_tensor_release(argument);
  return NULL;
}

static void *delete_export(void *argument) {
  tarn_dl_managed_tensor_versioned *managed = argument;
  memset(managed->dl_tensor.data, 3, 48);
  managed->deleter(managed);
  return NULL;
}

TEST(the_last_thread_runs_the_foreign_deleter) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  assert_ok(tarn_dlpack_import(&self.versioned, NULL, &tensor));
  tarn_tensor other = tensor;
  tarn_tensor_retain(&other);
  tarn_tensor_release(&tensor);
  assert_int_equal(self.deleted_count, 0);
  on_another_thread(release_tensor, &other);
  assert_int_equal(self.deleted_count, 1);
  assert_false(pthread_equal(self.deleted_by, pthread_self()));
}

TEST(an_export_is_deleted_on_another_thread_when_all_handles_are_gone) {
  static const int64_t shape[] = {3, 4};
  tarn_pool *pool = pages_pool(NULL);
  tarn_tensor tensor;
  tarn_dl_managed_tensor_versioned *managed;
  assert_ok(tarn_tensor_create(pool, TARN_F32, 2, shape, NULL, &tensor));
  assert_ok(tarn_dlpack_export(&tensor, NULL, &managed));
  tarn_tensor_release(&tensor);
  tarn_pool_release(pool); /* the export's reference is what keeps it */
  on_another_thread(delete_export, managed);
}

typedef struct exchange_mill {
  tarn_tensor tensor;
  foreign *producers; /* one per thread and round parity */
  int number;
  long sum;
} exchange_mill;

/* Exports, imports, re-exports and deletes one shared tensor, and imports foreign ones. */
static void *turn(void *argument) {
  exchange_mill *self = argument;
  for (int round = 0; round < ROUND_COUNT; round++) {
    tarn_dl_managed_tensor_versioned *managed, *again;
    tarn_tensor back, stranger;
    assert_ok(tarn_dlpack_export(&self->tensor, NULL, &managed));
    self->sum += ((const uint8_t *)managed->dl_tensor.data)[round % 48];
    if (round % 3 == 0) {
      managed->deleter(managed);
      continue;
    }
    assert_ok(tarn_dlpack_import(managed, NULL, &back));
    assert_ok(tarn_dlpack_export(&back, NULL, &again));
    tarn_tensor_release(&back);
    again->deleter(again);
    foreign *producer = &self->producers[self->number];
    assert_ok(tarn_dlpack_import(&producer->versioned, NULL, &stranger));
    tarn_tensor_release(&stranger);
  }
  return NULL;
}

TEST(many_threads_exchange_one_tensor) {
  static const int64_t shape[] = {3, 4};
  static foreign producers[THREAD_COUNT];
  tarn_pool *pool = pages_pool(NULL);
  exchange_mill mills[THREAD_COUNT];
  pthread_t threads[THREAD_COUNT];
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_F32, 2, shape, NULL, &tensor));
  memset(tarn_tensor_data_mutable(&tensor), 1, 48);
  for (int number = 0; number < THREAD_COUNT; number++) {
    foreign_begin(&producers[number]);
    mills[number] = (exchange_mill){.tensor = tensor, .producers = producers, .number = number};
    assert_int_equal(pthread_create(&threads[number], NULL, turn, &mills[number]), 0);
  }
  for (int number = 0; number < THREAD_COUNT; number++) {
    assert_int_equal(pthread_join(threads[number], NULL), 0);
    assert_int_equal(mills[number].sum, ROUND_COUNT);
    assert_int_equal(producers[number].deleted_count, ROUND_COUNT - (ROUND_COUNT + 2) / 3);
  }
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  tarn_tensor_release(&tensor);
  tarn_pool_release(pool);
}

/* --- the exchange table --- */

static tarn_pool *exchange_pool;

static void *set_pools(void *argument) {
  (void)argument;
  const tarn_device cpu = {TARN_DEVICE_CPU, 0};
  for (int round = 0; round < ROUND_COUNT; round++) {
    assert_ok(tarn_dlpack_set_exchange_pool(cpu, round % 2 == 0 ? NULL : exchange_pool));
  }
  return NULL;
}

static void *allocate(void *argument) {
  const tarn_dl_exchange_api *api = argument;
  int64_t shape[] = {4};
  tarn_dl_tensor prototype = {
      .device = {TARN_DEVICE_CPU, 0}, .ndim = 1, .dtype = TARN_F32, .shape = shape};
  for (int round = 0; round < ROUND_COUNT; round++) {
    tarn_dl_managed_tensor_versioned *made;
    if (api->managed_tensor_allocator(&prototype, &made, NULL, NULL) == 0) made->deleter(made);
  }
  return NULL;
}

TEST(pools_are_set_while_others_allocate) {
  tarn_dl_exchange_api api;
  pthread_t threads[2];
  tarn_dlpack_exchange_init(&api);
  exchange_pool = pages_pool(NULL);
  assert_int_equal(pthread_create(&threads[0], NULL, set_pools, NULL), 0);
  assert_int_equal(pthread_create(&threads[1], NULL, allocate, &api), 0);
  for (int index = 0; index < 2; index++) assert_int_equal(pthread_join(threads[index], NULL), 0);
  assert_ok(tarn_dlpack_set_exchange_pool(tarn_device_make(TARN_DEVICE_CPU, 0), NULL));
  tarn_pool_release(exchange_pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
