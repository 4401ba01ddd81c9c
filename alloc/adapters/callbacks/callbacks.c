/* callbacks.c: pools behind functions with a stream: whose handle it is, and what is answered. */
#include "alloc/adapters/callbacks/callbacks.h"

#include <stdlib.h>

/* Names of CUDA's for streams that no handle stands for (cuda.h: CU_STREAM_LEGACY,
 * CU_STREAM_PER_THREAD). */
static const uintptr_t CUDA_LEGACY = 1, CUDA_PER_THREAD = 2;

/* --- handles --- */

/* Never used again, unlike what pthread_self says. */
static uintptr_t thread_number(void) {
  static _Atomic uintptr_t thread_count;
  static _Thread_local uintptr_t number;
  if (number == 0) number = atomic_fetch_add(&thread_count, 1) + 1;
  return number;
}

/* 0 is no key. CUDA's handles are addresses, of which none looks like a thread's number here. */
static uintptr_t key_of(const tarn_callbacks *self, uintptr_t handle) {
  if (self->is_cuda && handle == CUDA_LEGACY) handle = 0;
  if (self->is_cuda && handle == CUDA_PER_THREAD) handle |= thread_number() << 4;
  return ~handle;
}

static tarn_status wrap_cuda(void *context, void *native, tarn_stream **stream) {
  const tarn_callbacks *self = context;
  if ((uintptr_t)native == CUDA_LEGACY) native = NULL;
  return tarn_cuda_stream_wrap(self->cuda, self->device, native, stream);
}

/* What is not found by its own key alone. */
static __attribute__((noinline)) tarn_status find_slowly(tarn_callbacks *self, void *native,
                                                         tarn_stream **stream) {
  const uintptr_t key = key_of(self, (uintptr_t)native);
  *stream = tarn__handle_table_get(&self->handles, key);
  if (*stream != tarn__handle_gone()) return TARN_OK;
  *stream = NULL;
  if (key == 0) return tarn_fail(TARN_INVALID_ARGUMENT, "%p is no stream's handle", native);
  const tarn_status status = self->wrap(self->wrap_context, native, stream);
  if (status == TARN_OK) return tarn__handle_table_add(&self->handles, key, stream);
  *stream = NULL;
  return status;
}

/* tarn__handle_gone() for what is to be looked for slowly. */
static inline tarn_stream *known_stream(tarn_callbacks *self, void *native) {
  if (__builtin_expect(self->is_blind, false)) return NULL;
  return tarn__handle_table_get(&self->handles, ~(uintptr_t)native);
}

static tarn_status find_stream(tarn_callbacks *self, void *native, tarn_stream **stream) {
  *stream = known_stream(self, native);
  return *stream != tarn__handle_gone() ? TARN_OK : find_slowly(self, native, stream);
}

tarn_status tarn_callbacks_stream(tarn_callbacks *callbacks, struct CUstream_st *native,
                                  tarn_stream **stream) {
  if (stream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "stream is NULL");
  *stream = NULL;
  if (callbacks == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "callbacks is NULL");
  return find_stream(callbacks, native, stream);
}

tarn_status tarn_callbacks_forget(tarn_callbacks *callbacks, struct CUstream_st *native) {
  if (callbacks == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "callbacks is NULL");
  const uintptr_t key = key_of(callbacks, (uintptr_t)native);
  tarn_stream *stream = tarn__handle_table_get(&callbacks->handles, key);
  if (stream == tarn__handle_gone()) return TARN_OK;
  if (stream != NULL) {
    const tarn_status status = tarn_stream_close(stream);
    if (status != TARN_OK) return status;
  }
  if (tarn__handle_table_remove(&callbacks->handles, key, &stream)) tarn_stream_release(stream);
  return TARN_OK;
}

/* --- life --- */

static tarn_status check_options(const tarn_pool *pool, const tarn_callbacks_options *options) {
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_callbacks_options has %zu bytes here, %zu were given", sizeof *options,
                     options->struct_size);
  }
  if (options->wrap != NULL && options->cuda != NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "handles are CUDA's or of another kind, not both");
  }
  const tarn_device device = tarn_pool_attributes_of(pool)->device;
  const bool is_blind = options->wrap == NULL && options->cuda == NULL;
  if (!is_blind || device.type == TARN_DEVICE_CPU) return TARN_OK;
  return tarn_fail(
      TARN_INVALID_ARGUMENT,
      "pool %s: memory of device type %d is used by streams, and none of their handles "
      "is known without `cuda` or `wrap`",
      tarn_pool_name(pool), (int)device.type);
}

tarn_status tarn_callbacks_create(tarn_pool *pool, const tarn_callbacks_options *options,
                                  tarn_callbacks **callbacks) {
  if (callbacks == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "callbacks is NULL");
  *callbacks = NULL;
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  const tarn_callbacks_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  const tarn_status status = check_options(pool, options);
  if (status != TARN_OK) return status;
  tarn_callbacks *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a client's callbacks");
  const tarn_device device = tarn_pool_attributes_of(pool)->device;
  made->pool = pool;
  made->cuda = options->cuda;
  made->is_cuda = options->cuda != NULL;
  made->is_blind = options->cuda == NULL && options->wrap == NULL;
  made->is_host = tarn_device_is_host(device);
  made->device = device.type == TARN_DEVICE_CUDA ? device.index : options->device;
  made->wrap = made->is_cuda ? wrap_cuda : options->wrap;
  made->wrap_context = made->is_cuda ? made : options->wrap_context;
  tarn__handle_table_init(&made->handles);
  tarn_pool_retain(pool);
  if (made->cuda != NULL) tarn_cuda_retain(made->cuda);
  *callbacks = made;
  return TARN_OK;
}

/* Closed, so that nobody looks at the client's streams any more; one that is being captured cannot
 * be, and is its capture's still. */
static void forget_all(tarn_callbacks *self) {
  for (size_t i = 0; i < TARN__HANDLE_PLACES; i++) {
    const uintptr_t key = atomic_load_explicit(&self->handles.places[i].key, memory_order_relaxed);
    tarn_stream *stream;
    if (key == 0 || !tarn__handle_table_remove(&self->handles, key, &stream)) continue;
    if (stream != NULL) (void)!tarn_stream_close(stream);
    tarn_stream_release(stream);
  }
}

static _Atomic(tarn_callbacks *) of_device[TARN_CALLBACKS_DEVICES_MAX];

void tarn_callbacks_destroy(tarn_callbacks *callbacks) {
  if (callbacks == NULL) return;
  for (int device = 0; device < TARN_CALLBACKS_DEVICES_MAX; device++) {
    tarn_callbacks *expected = callbacks;
    atomic_compare_exchange_strong(&of_device[device], &expected, NULL);
  }
  forget_all(callbacks);
  tarn_pool_release(callbacks->pool);
  if (callbacks->cuda != NULL) tarn_cuda_release(callbacks->cuda);
  free(callbacks);
}

uint64_t tarn_callbacks_refused_frees(const tarn_callbacks *callbacks) {
  return atomic_load_explicit(&callbacks->refused_frees, memory_order_relaxed);
}

/* --- the three shapes, each written out: a call between them is a tenth of a pair --- */

static __attribute__((noinline)) tarn_status lend_slowly(tarn_callbacks *self, size_t size_bytes,
                                                         void *native, void **address) {
  *address = NULL;
  tarn_stream *stream;
  const tarn_status status = find_slowly(self, native, &stream);
  return status == TARN_OK ? tarn_pool_alloc(self->pool, size_bytes, stream, address) : status;
}

static inline tarn_status lend(tarn_callbacks *self, size_t size_bytes, void *native,
                               void **address) {
  tarn_stream *const stream = known_stream(self, native);
  if (__builtin_expect(stream == tarn__handle_gone(), false)) {
    return lend_slowly(self, size_bytes, native, address);
  }
  return tarn_pool_alloc(self->pool, size_bytes, stream, address);
}

static __attribute__((noinline)) tarn_status count_refused(tarn_callbacks *self,
                                                           tarn_status status) {
  atomic_fetch_add_explicit(&self->refused_frees, 1, memory_order_relaxed);
  return status;
}

static __attribute__((noinline)) tarn_status give_back_slowly(tarn_callbacks *self, void *address,
                                                              void *native) {
  tarn_stream *stream;
  tarn_status status = find_slowly(self, native, &stream);
  if (status == TARN_OK) status = tarn_pool_free(self->pool, address, stream);
  return status == TARN_OK ? TARN_OK : count_refused(self, status);
}

static inline tarn_status give_back(tarn_callbacks *self, void *address, void *native) {
  tarn_stream *const stream = known_stream(self, native);
  if (__builtin_expect(stream == tarn__handle_gone(), false)) {
    return address != NULL ? give_back_slowly(self, address, native) : TARN_OK;
  }
  const tarn_status given = tarn_pool_free(self->pool, address, stream);
  return __builtin_expect(given == TARN_OK, true) ? TARN_OK : count_refused(self, given);
}

void tarn__callbacks_give_back_now(tarn_callbacks *self, void *address) {
  const tarn_status status = tarn_pool_free(self->pool, address, /*stream=*/NULL);
  if (__builtin_expect(status != TARN_OK, false)) (void)count_refused(self, status);
}

/* --- a context in front and an answer --- */

int tarn_callbacks_alloc_to(void *callbacks, void **address, size_t size_bytes,
                            struct CUstream_st *native) {
  if (address == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "address is NULL");
  return lend(callbacks, size_bytes, native, address);
}

int tarn_callbacks_free_from(void *callbacks, void *address, size_t size_bytes,
                             struct CUstream_st *native) {
  (void)size_bytes;
  return give_back(callbacks, address, native);
}

/* --- a context at the end --- */

void *tarn_callbacks_alloc(size_t size_bytes, struct CUstream_st *native, void *callbacks) {
  void *address;
  return lend(callbacks, size_bytes, native, &address) == TARN_OK ? address : NULL;
}

void tarn_callbacks_free(void *address, size_t size_bytes, struct CUstream_st *native,
                         void *callbacks) {
  (void)size_bytes;
  (void)!give_back(callbacks, address, native);
}

bool tarn_callbacks_note_use(const void *address, struct CUstream_st *native, void *callbacks) {
  tarn_callbacks *self = callbacks;
  tarn_stream *stream;
  return find_stream(self, native, &stream) == TARN_OK &&
         tarn_pool_note_use(self->pool, address, stream) == TARN_OK;
}

/* --- without a context --- */

static inline tarn_callbacks *callbacks_of(int device) {
  if (device < 0 || device >= TARN_CALLBACKS_DEVICES_MAX) return NULL;
  /* Acquire: whoever set it made it whole before. */
  return atomic_load_explicit(&of_device[device], memory_order_acquire);
}

tarn_status tarn_callbacks_set_device(int device, tarn_callbacks *callbacks) {
  if (device < 0 || device >= TARN_CALLBACKS_DEVICES_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "no device has the number %d", device);
  }
  tarn_callbacks *expected = NULL;
  if (callbacks == NULL) {
    atomic_store(&of_device[device], NULL);
  } else if (!atomic_compare_exchange_strong(&of_device[device], &expected, callbacks) &&
             expected != callbacks) {
    return tarn_fail(TARN_BUSY, "device %d has callbacks already", device);
  }
  return TARN_OK;
}

void *tarn_callbacks_device_alloc(size_t size_bytes, int device, struct CUstream_st *native) {
  tarn_callbacks *self = callbacks_of(device);
  void *address;
  if (__builtin_expect(self != NULL, true)) {
    return lend(self, size_bytes, native, &address) == TARN_OK ? address : NULL;
  }
  const tarn_status status = tarn_fail(TARN_NOT_FOUND, "device %d has no callbacks", device);
  (void)status; /* the shape answers NULL alone */
  return NULL;
}

void tarn_callbacks_device_free(void *address, size_t size_bytes, int device,
                                struct CUstream_st *native) {
  (void)size_bytes;
  tarn_callbacks *self = callbacks_of(device);
  if (self != NULL) (void)!give_back(self, address, native);
}
