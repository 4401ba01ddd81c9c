/* program_ring.c: programs whose streams have a staging ring: tags by way of pageable memory.
 *
 * The source of a write is overwritten as soon as the copy returns, and what is read is compared at
 * once: so a slot that is lent too early, a piece that is lost, and a copy that is not done when it
 * says so all show as a wrong value. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/program_runner.h"

enum { SLOT_BYTES = 4096, BLOCK_BYTES_MAX = 128 << 10 };

tarn_status runner_open_ring(runner *self) {
  if (self->of->ring_slots == 0) return TARN_OK;
  tarn_provider *pinned;
  tarn_status status = tarn_cuda_pinned_provider_create(self->cuda, NULL, &pinned);
  if (status != TARN_OK) return status;
  const tarn_staging_options options = {
      .struct_size = sizeof options, .slot_bytes = SLOT_BYTES, .slot_count = self->of->ring_slots};
  status = tarn_staging_create(pinned, &options, &self->ring);
  tarn_provider_release(pinned);
  return status;
}

tarn_status runner_open_stream(runner *self, uint32_t index) {
  tarn_stream *made;
  tarn_status status = tarn_cuda_stream_create(self->cuda, 0, &made);
  if (status != TARN_OK) return status;
  if (self->ring != NULL) status = tarn_stream_set_staging(made, self->ring);
  self->streams[index] = made;
  return status;
}

static bool takes(const runner *self, const model_block *block) {
  return self->ring != NULL && !model_pool_is_host(self->of, block->pool) &&
         block->size_bytes <= BLOCK_BYTES_MAX;
}

bool runner_ring_writes(runner *self, const program_op *op, uint64_t tag, tarn_status *status) {
  const model_block *to = &self->model.blocks[op->block];
  char *buffer = takes(self, to) ? malloc(to->size_bytes) : NULL;
  if (buffer == NULL) return false;
  runner_put_tag(buffer, to->size_bytes, tag);
  *status = tarn_stream_copy(self->streams[op->stream], self->addresses[op->block],
                             tarn_pool_attributes_of(self->pools[to->pool])->device, buffer,
                             tarn_device_make(TARN_DEVICE_CPU, 0), to->size_bytes);
  memset(buffer, 0xEE, to->size_bytes);
  free(buffer);
  return true;
}

bool runner_ring_checks(runner *self, const program_op *op, tarn_status *status) {
  const model_block *from = &self->model.blocks[op->block];
  char *buffer = takes(self, from) ? calloc(1, from->size_bytes) : NULL;
  if (buffer == NULL) return false;
  *status =
      tarn_stream_copy(self->streams[op->stream], buffer, tarn_device_make(TARN_DEVICE_CPU, 0),
                       self->addresses[op->block],
                       tarn_pool_attributes_of(self->pools[from->pool])->device, from->size_bytes);
  if (*status == TARN_OK) runner_check_windows(self, from, buffer);
  free(buffer);
  return true;
}
