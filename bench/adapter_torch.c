/* adapter_torch.c: what PyTorch calls, over the bare pool of a device. */
#include "alloc/adapters/torch/tarn_torch.h"
#include "bench/adapters.h"

typedef struct client {
  void *native;
  int device;
  size_t size_bytes;
} client;

static tarn_status run_pairs(void *context, uint64_t iterations) {
  const client *self = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = tarn_torch_malloc(self->size_bytes, self->device, self->native);
    if (address == NULL) return TARN_OUT_OF_MEMORY;
    measure_keep(address);
    tarn_torch_free(address, self->size_bytes, self->device, self->native);
  }
  return TARN_OK;
}

static tarn_status set_up(const bench_run *bench, const adapter_bench *bare, client *use) {
  const tarn_torch_options options = {.struct_size = sizeof options, .cuda = bench->where.cuda};
  tarn_status status = tarn_torch_set_options(&options);
  if (status == TARN_OK) status = tarn_torch_set_pool(use->device, bare->pool);
  if (status == TARN_OK) status = tarn_cuda_stream_native(bare->stream, &use->native);
  return status;
}

tarn_status adapter_bench_torch(bench_run *bench, const adapter_bench *bare) {
  if (!where_is_device(&bench->where)) return TARN_OK;
  client use = {.device = bench->where.index, .size_bytes = bare->size_bytes};
  tarn_status status = TARN_OK;
  if (!bench->options->list) status = set_up(bench, bare, &use);
  if (status == TARN_OK) status = adapter_measure(bench, bare, "torch", run_pairs, &use);
  const tarn_error before = *tarn_last_error();
  const tarn_status closed = tarn_torch_close();
  return status == TARN_OK ? closed : tarn_fail_again(&before);
}
