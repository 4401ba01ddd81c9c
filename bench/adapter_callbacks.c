/* adapter_callbacks.c: C functions of the usual shapes over the bare pool. */
#include "alloc/adapters/callbacks/tarn_callbacks.h"
#include "bench/adapters.h"

typedef struct client {
  tarn_callbacks *callbacks;
  void *native;
  size_t size_bytes;
} client;

/* On the host, where a stream is the calling thread: the handle is looked up all the same. */
static tarn_status wrap_nothing(void *context, void *native, tarn_stream **stream) {
  (void)context, (void)native;
  *stream = NULL;
  return TARN_OK;
}

static tarn_status make_client(const bench_run *bench, const adapter_bench *bare, client *made) {
  tarn_callbacks_options options = {.struct_size = sizeof options};
  if (bare->stream == NULL) {
    options.wrap = wrap_nothing;
  } else {
    const tarn_status status = tarn_cuda_stream_native(bare->stream, &made->native);
    if (status != TARN_OK) return status;
    options.cuda = bench->where.cuda;
    options.device = tarn_stream_device(bare->stream).index;
  }
  return tarn_callbacks_create(bare->pool, &options, &made->callbacks);
}

static tarn_status run_with_stream(void *context, uint64_t iterations) {
  const client *self = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = tarn_callbacks_alloc(self->size_bytes, self->native, self->callbacks);
    if (address == NULL) return TARN_OUT_OF_MEMORY;
    measure_keep(address);
    tarn_callbacks_free(address, self->size_bytes, self->native, self->callbacks);
  }
  return TARN_OK;
}

static tarn_status run_with_answer(void *context, uint64_t iterations) {
  const client *self = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address;
    if (tarn_callbacks_alloc_to(self->callbacks, &address, self->size_bytes, self->native) != 0) {
      return TARN_OUT_OF_MEMORY;
    }
    measure_keep(address);
    if (tarn_callbacks_free_from(self->callbacks, address, self->size_bytes, self->native) != 0) {
      return TARN_NOT_FOUND;
    }
  }
  return TARN_OK;
}

static tarn_status run_with_device(void *context, uint64_t iterations) {
  const client *self = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = tarn_callbacks_device_alloc(self->size_bytes, /*device=*/0, self->native);
    if (address == NULL) return TARN_OUT_OF_MEMORY;
    measure_keep(address);
    tarn_callbacks_device_free(address, self->size_bytes, /*device=*/0, self->native);
  }
  return TARN_OK;
}

static tarn_status run_posix(void *context, uint64_t iterations) {
  const client *self = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = tarn_callbacks_malloc(self->callbacks, self->size_bytes);
    if (address == NULL) return TARN_OUT_OF_MEMORY;
    measure_keep(address);
    tarn_callbacks_posix_free(self->callbacks, address);
  }
  return TARN_OK;
}

tarn_status adapter_bench_callbacks(bench_run *bench, const adapter_bench *bare) {
  client use = {.size_bytes = bare->size_bytes};
  tarn_status status = TARN_OK;
  const bool is_list = bench->options->list;
  if (!is_list) status = make_client(bench, bare, &use);
  if (status == TARN_OK && !is_list) status = tarn_callbacks_set_device(0, use.callbacks);
  if (status == TARN_OK) status = adapter_measure(bench, bare, "stream", run_with_stream, &use);
  if (status == TARN_OK) status = adapter_measure(bench, bare, "answer", run_with_answer, &use);
  if (status == TARN_OK) status = adapter_measure(bench, bare, "device", run_with_device, &use);
  if (status == TARN_OK && bare->stream == NULL) {
    status = adapter_measure(bench, bare, "posix", run_posix, &use);
  }
  tarn_callbacks_destroy(use.callbacks);
  return status;
}
