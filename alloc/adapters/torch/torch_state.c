/* torch_state.c: the driver, and a pool for each device, made at its first use. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/adapters/torch/torch_state.h"
#include "alloc/tarn_caching_pool.h"

tarn__torch_device tarn__torch_devices[TARN_TORCH_DEVICES_MAX];

static pthread_mutex_t torch_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t torch_changed = PTHREAD_COND_INITIALIZER;
static bool has_turn;                     /* guarded by the lock */
static _Atomic(tarn_cuda *) torch_cuda;   /* written by who has the turn */
static tarn_torch_options chosen_options; /* of who has the turn */

void tarn__torch_lock(void) {
  pthread_mutex_lock(&torch_lock);
}

void tarn__torch_unlock(void) {
  pthread_mutex_unlock(&torch_lock);
}

void tarn__torch_wait(void) {
  pthread_cond_wait(&torch_changed, &torch_lock);
}

void tarn__torch_wake(void) {
  pthread_cond_broadcast(&torch_changed);
}

static void after_fork_in_child(void) {
  has_turn = false; /* who had it is not there */
  tarn__torch_forget_askers();
  pthread_cond_init(&torch_changed, NULL); /* it may remember threads that wait */
  pthread_mutex_unlock(&torch_lock);
}

static void watch_forks(void) {
  pthread_atfork(tarn__torch_lock, tarn__torch_unlock, after_fork_in_child);
}

void tarn__torch_take_turn(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&torch_lock);
  while (has_turn) tarn__torch_wait();
  has_turn = true;
  pthread_mutex_unlock(&torch_lock);
}

void tarn__torch_end_turn(void) {
  pthread_mutex_lock(&torch_lock);
  has_turn = false;
  tarn__torch_wake();
  pthread_mutex_unlock(&torch_lock);
}

tarn_cuda *tarn__torch_cuda(void) {
  return atomic_load_explicit(&torch_cuda, memory_order_acquire);
}

tarn_status tarn__torch_check_device(int64_t device) {
  if (device >= 0 && device < TARN_TORCH_DEVICES_MAX) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "CUDA device %d of at most %d", (int)device,
                   TARN_TORCH_DEVICES_MAX);
}

/* --- options --- */

/* Leaves *value alone where it is set, and where the environment says nothing. */
static tarn_status read_size(const char *name, size_t *value) {
  const char *text = *value == 0 ? getenv(name) : NULL;
  if (text == NULL || *text == '\0') return TARN_OK;
  char *end = NULL;
  const unsigned long long read = strtoull(text, &end, 10);
  if (*end != '\0' || *text < '0' || *text > '9' || read > SIZE_MAX / 2) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s=%s is no number of bytes", name, text);
  }
  *value = (size_t)read;
  return TARN_OK;
}

static tarn_status read_memory(tarn_cuda_memory *memory) {
  const char *text = *memory == TARN_CUDA_MEMORY_NONE ? getenv("TARN_TORCH_MEMORY") : NULL;
  if (text == NULL || *text == '\0') return TARN_OK;
  if (strcmp(text, "virtual") == 0) {
    *memory = TARN_CUDA_MEMORY_VIRTUAL;
  } else if (strcmp(text, "blocks") == 0) {
    *memory = TARN_CUDA_MEMORY_BLOCKS;
  } else {
    return tarn_fail(TARN_INVALID_ARGUMENT, "TARN_TORCH_MEMORY=%s: virtual or blocks", text);
  }
  return TARN_OK;
}

static tarn_status whole_options(tarn_torch_options *options) {
  *options = chosen_options;
  tarn_status status = read_size("TARN_TORCH_LIMIT_BYTES", &options->limit_bytes);
  if (status == TARN_OK) status = read_size("TARN_TORCH_FLOOR_BYTES", &options->floor_bytes);
  if (status == TARN_OK) status = read_size("TARN_TORCH_PREPARE_BYTES", &options->prepare_bytes);
  if (status == TARN_OK) status = read_memory(&options->memory);
  return status;
}

tarn_status tarn_torch_set_options(const tarn_torch_options *options) {
  if (options == NULL || options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_torch_options with struct_size %zu is needed",
                     sizeof *options);
  }
  if ((unsigned)options->memory > TARN_CUDA_MEMORY_BLOCKS) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d is no tarn_cuda_memory", (int)options->memory);
  }
  tarn_status status = TARN_OK;
  tarn__torch_take_turn();
  tarn_cuda *open = tarn__torch_cuda();
  if (options->cuda != NULL && open != NULL && open != options->cuda) {
    status = tarn_fail(TARN_BUSY, "PyTorch's devices use another driver already");
  } else {
    chosen_options = *options;
    chosen_options.cuda = NULL;
    if (options->cuda != NULL && open == NULL) {
      tarn_cuda_retain(options->cuda);
      atomic_store_explicit(&torch_cuda, options->cuda, memory_order_release);
    }
  }
  tarn__torch_end_turn();
  return status;
}

/* --- pools --- */

/* With the turn. */
static tarn_status open_driver(tarn_cuda **cuda) {
  *cuda = tarn__torch_cuda();
  if (*cuda != NULL) return TARN_OK;
  const tarn_cuda_options options = {.struct_size = sizeof options,
                                     .driver_path = getenv("TARN_TORCH_DRIVER")};
  const tarn_status status = tarn_cuda_open(&options, cuda);
  if (status == TARN_OK) atomic_store_explicit(&torch_cuda, *cuda, memory_order_release);
  return status;
}

static tarn_status make_provider(tarn_cuda *cuda, int32_t device, tarn_cuda_memory memory,
                                 tarn_provider **provider) {
  switch (memory) {
    case TARN_CUDA_MEMORY_VIRTUAL:
      return tarn_cuda_virtual_provider_create(cuda, device, NULL, provider);
    case TARN_CUDA_MEMORY_BLOCKS:
      return tarn_cuda_device_provider_create(cuda, device, provider);
    case TARN_CUDA_MEMORY_NONE:
      break;
  }
  return tarn_cuda_memory_provider_create(cuda, device, &memory, provider);
}

static tarn_status make_own_pool(int32_t device, tarn_pool **pool) {
  *pool = NULL;
  tarn_torch_options options;
  tarn_cuda *cuda = NULL;
  tarn_provider *provider = NULL;
  tarn_status status = whole_options(&options);
  if (status == TARN_OK) status = open_driver(&cuda);
  if (status == TARN_OK) status = make_provider(cuda, device, options.memory, &provider);
  if (status != TARN_OK) return status;
  char name[32];
  snprintf(name, sizeof name, "torch cuda:%d", (int)device);
  const tarn_caching_options caching = {.struct_size = sizeof caching,
                                        .name = name,
                                        .limit_bytes = options.limit_bytes,
                                        .floor_bytes = options.floor_bytes,
                                        .prepare_bytes = options.prepare_bytes};
  status = tarn_caching_pool_create(provider, &caching, pool);
  tarn_provider_release(provider);
  return status;
}

tarn_status tarn__torch_make_pool(int32_t device, tarn_pool **pool) {
  tarn__torch_device *self = &tarn__torch_devices[device];
  tarn_status status = TARN_OK;
  tarn__torch_take_turn();
  *pool = atomic_load_explicit(&self->pool, memory_order_acquire);
  if (*pool == NULL) status = make_own_pool(device, pool);
  if (status == TARN_OK) atomic_store_explicit(&self->pool, *pool, memory_order_release);
  tarn__torch_end_turn();
  return status;
}

tarn_status tarn_torch_pool(int32_t device, tarn_pool **pool) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  const tarn_status status = tarn__torch_pool_of(device, pool);
  if (status == TARN_OK) tarn_pool_retain(*pool);
  return status;
}

static tarn_status check_idle(const tarn__torch_device *self, int32_t device) {
  tarn_pool *pool = atomic_load_explicit(&self->pool, memory_order_acquire);
  if (pool == NULL) return TARN_OK;
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  const tarn_status status = tarn_pool_stats_of(pool, &stats);
  if (status != TARN_OK || stats.alloc_count == stats.free_count) return status;
  return tarn_fail(TARN_BUSY, "pool %s of CUDA device %d has lent out %llu blocks",
                   tarn_pool_name(pool), (int)device,
                   (unsigned long long)(stats.alloc_count - stats.free_count));
}

tarn_status tarn_torch_set_pool(int32_t device, tarn_pool *pool) {
  tarn_status status = tarn__torch_check_device(device);
  if (status != TARN_OK) return status;
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  const tarn_device where = tarn_pool_attributes_of(pool)->device;
  if (!tarn_device_equal(where, tarn_device_make(TARN_DEVICE_CUDA, device))) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool %s is of device (%d, %d), not of CUDA device %d",
                     tarn_pool_name(pool), (int)where.type, (int)where.index, (int)device);
  }
  tarn__torch_device *self = &tarn__torch_devices[device];
  tarn_pool *earlier = NULL;
  tarn_cuda *cuda = NULL;
  tarn__torch_take_turn();
  status = check_idle(self, device);
  if (status == TARN_OK) status = open_driver(&cuda); /* its streams will be wrapped */
  if (status == TARN_OK) {
    tarn_pool_retain(pool);
    earlier = atomic_exchange_explicit(&self->pool, pool, memory_order_acq_rel);
  }
  tarn__torch_end_turn();
  tarn_pool_release(earlier);
  return status;
}

/* --- the end --- */

tarn_status tarn_torch_close(void) {
  for (int32_t i = 0; i < TARN_TORCH_DEVICES_MAX; i++) {
    const tarn_status status = check_idle(&tarn__torch_devices[i], i);
    if (status != TARN_OK) return status;
  }
  if (tarn__torch_has_graphs()) {
    return tarn_fail(TARN_BUSY, "a pool for graphs was begun and not released");
  }
  const tarn_status status = tarn__torch_close_graphs();
  if (status != TARN_OK) return status;
  tarn__torch_close_streams();
  tarn__torch_forget_reports();
  for (int32_t i = 0; i < TARN_TORCH_DEVICES_MAX; i++) {
    tarn__torch_device *self = &tarn__torch_devices[i];
    tarn_pool_release(atomic_exchange(&self->pool, NULL));
    atomic_store(&self->stream_count, 0);
    atomic_store(&self->failed_count, 0);
    atomic_store(&self->refused_free_count, 0);
  }
  tarn_cuda_release(atomic_exchange(&torch_cuda, NULL));
  memset(&chosen_options, 0, sizeof chosen_options);
  return TARN_OK;
}
