/* adapter_callbacks.c: C functions of the usual shapes over the bare pool. */
#include "alloc/adapters/callbacks/tarn_callbacks.h"
#include "bench/adapters.h"

typedef struct client {
  tarn_callbacks *callbacks;
  struct CUstream_st *native;
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
    void *native;
    const tarn_status status = tarn_cuda_stream_native(bare->stream, &native);
    if (status != TARN_OK) return status;
    made->native = native;
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
  static const struct {
    const char *name;
    measure_body body;
  } shapes[] = {{"callbacks.stream", run_with_stream},
                {"callbacks.answer", run_with_answer},
                {"callbacks.device", run_with_device},
                {"callbacks.posix", run_posix}};
  client use = {.size_bytes = bare->size_bytes};
  tarn_status status = TARN_OK;
  if (!bench->options->list) {
    status = make_client(bench, bare, &use);
    if (status == TARN_OK) status = tarn_callbacks_set_device(0, use.callbacks);
  }
  for (size_t i = 0; status == TARN_OK && i < sizeof shapes / sizeof shapes[0]; i++) {
    if (shapes[i].body == run_posix && bare->stream != NULL) continue; /* not for the CPU */
    status = adapter_measure(bench, bare, shapes[i].name, shapes[i].body, &use);
  }
  tarn_callbacks_destroy(use.callbacks);
  return status;
}
