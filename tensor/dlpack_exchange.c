/* dlpack_exchange.c: the parts of DLPackExchangeAPI that need no Python: tensors from a pool, and
 * the stream that a thread works on. */
#include "tensor/dlpack.h"

#include <pthread.h>
#include <stddef.h>

/* What the process has set. The lock is a leaf: the hook and pools are called without it. */
static struct {
  pthread_mutex_t lock;
  tarn_pool *pools[TARN_DLPACK_EXCHANGE_POOLS_MAX]; /* references; each tells its own device */
  int pool_count;
  tarn_dlpack_work_stream work_stream;
  void *context;
} exchange = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A child of fork finds it free, and all that was set. */
static void hold(void) {
  pthread_mutex_lock(&exchange.lock);
}

static void unhold(void) {
  pthread_mutex_unlock(&exchange.lock);
}

__attribute__((constructor)) static void watch_forks(void) {
  (void)pthread_atfork(hold, unhold, unhold);
}

/* Memory that the CPU reaches is numbered 0, as in a managed tensor. */
static bool is_pool_for(const tarn_pool *pool, tarn_device device) {
  const tarn_device lies = tarn_pool_attributes_of(pool)->device;
  if (tarn_device_is_host(device)) return lies.type == device.type;
  return tarn_device_equal(lies, device);
}

/* Under the lock; pool_count where there is none. */
static int place_of(tarn_device device) {
  int place = 0;
  while (place < exchange.pool_count && !is_pool_for(exchange.pools[place], device)) place++;
  return place;
}

/* Under the lock. Puts `pool` (NULL: nothing) where the pool of `device` is; *old was there. */
static bool replace(tarn_device device, tarn_pool *pool, tarn_pool **old) {
  const int place = place_of(device);
  *old = NULL;
  if (place < exchange.pool_count) *old = exchange.pools[place];
  if (pool == NULL) {
    if (*old != NULL) exchange.pools[place] = exchange.pools[--exchange.pool_count];
    return true;
  }
  if (place == TARN_DLPACK_EXCHANGE_POOLS_MAX) return false;
  if (*old == NULL) exchange.pool_count++;
  exchange.pools[place] = pool;
  return true;
}

tarn_status tarn_dlpack_set_exchange_pool(tarn_device device, tarn_pool *pool) {
  tarn_pool *old;
  if (pool != NULL && !is_pool_for(pool, device)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool %s does not lie on device type %d index %d",
                     tarn_pool_name(pool), (int)device.type, (int)device.index);
  }
  if (pool != NULL) tarn_pool_retain(pool);
  pthread_mutex_lock(&exchange.lock);
  const bool is_set = replace(device, pool, &old);
  pthread_mutex_unlock(&exchange.lock);
  if (!is_set) {
    tarn_pool_release(pool);
    return tarn_fail(TARN_NOT_SUPPORTED, "exchange pools for more than %d devices",
                     TARN_DLPACK_EXCHANGE_POOLS_MAX);
  }
  tarn_pool_release(old);
  return TARN_OK;
}

void tarn_dlpack_set_work_stream(tarn_dlpack_work_stream work_stream, void *context) {
  pthread_mutex_lock(&exchange.lock);
  exchange.work_stream = work_stream;
  exchange.context = context;
  pthread_mutex_unlock(&exchange.lock);
}

/* --- what the table holds --- */

/* Asks the hook. Where there is none, *is_known says whether NULL is an answer. */
static tarn_status find_stream(tarn_device device, tarn_stream **stream, void **native,
                               bool *is_known) {
  pthread_mutex_lock(&exchange.lock);
  const tarn_dlpack_work_stream work_stream = exchange.work_stream;
  void *context = exchange.context;
  pthread_mutex_unlock(&exchange.lock);
  *stream = NULL;
  *native = NULL;
  *is_known = work_stream != NULL || tarn_device_is_host(device);
  return work_stream == NULL ? TARN_OK : work_stream(context, device, stream, native);
}

static int current_work_stream(int32_t device_type, int32_t device_id, void **out_current_stream) {
  tarn_stream *stream;
  void *native;
  bool is_known;
  tarn_status status = TARN_OK;
  if (out_current_stream == NULL)
    status = tarn_fail(TARN_INVALID_ARGUMENT, "no place for a stream");
  if (status != TARN_OK) return -1;
  *out_current_stream = NULL;
  const tarn_device device = tarn_device_make(device_type, device_id);
  status = find_stream(device, &stream, &native, &is_known);
  if (status == TARN_OK && !is_known) {
    status = tarn_fail(TARN_UNAVAILABLE,
                       "nobody has said which stream of device type %d is worked "
                       "on",
                       (int)device_type);
  }
  if (status != TARN_OK) return -1;
  *out_current_stream = native;
  return 0;
}

static tarn_status pool_for(tarn_device device, tarn_pool **pool) {
  *pool = NULL;
  pthread_mutex_lock(&exchange.lock);
  const int place = place_of(device);
  if (place < exchange.pool_count) {
    *pool = exchange.pools[place];
    tarn_pool_retain(*pool);
  }
  pthread_mutex_unlock(&exchange.lock);
  if (*pool != NULL) return TARN_OK;
  return tarn_fail(TARN_UNAVAILABLE, "no exchange pool is set for device type %d index %d",
                   (int)device.type, (int)device.index);
}

static tarn_status allocate(const tarn_dl_tensor *prototype,
                            tarn_dl_managed_tensor_versioned **out) {
  tarn_pool *pool;
  tarn_stream *stream;
  void *native;
  bool is_known;
  tarn_tensor made;
  tarn_status status = pool_for(prototype->device, &pool);
  if (status != TARN_OK) return status;
  status = find_stream(prototype->device, &stream, &native, &is_known);
  if (status == TARN_OK) {
    status = tarn_tensor_create(pool, prototype->dtype, prototype->ndim, prototype->shape, stream,
                                &made);
  }
  tarn_pool_release(pool);
  if (status != TARN_OK) return status;
  status = tarn_dlpack_export(&made, NULL, out);
  tarn_tensor_release(&made);
  return status;
}

static int managed_tensor_allocator(tarn_dl_tensor *prototype,
                                    tarn_dl_managed_tensor_versioned **out, void *error_ctx,
                                    tarn_dl_set_error set_error) {
  tarn_status status;
  if (out != NULL) *out = NULL;
  if (prototype == NULL || out == NULL) {
    status = tarn_fail(TARN_INVALID_ARGUMENT, "no prototype, or no place for the managed tensor");
  } else {
    status = allocate(prototype, out);
  }
  if (status == TARN_OK) return 0;
  if (set_error != NULL) {
    set_error(error_ctx, status == TARN_OUT_OF_MEMORY ? "MemoryError" : "BufferError",
              tarn_last_error()->message);
  }
  return -1;
}

void tarn_dlpack_exchange_init(tarn_dl_exchange_api *api) {
  *api = (tarn_dl_exchange_api){
      .header = {.version = {TARN_DLPACK_MAJOR, TARN_DLPACK_MINOR}},
      .managed_tensor_allocator = managed_tensor_allocator,
      .current_work_stream = current_work_stream,
  };
}
