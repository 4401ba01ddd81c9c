/* program_values.c: tags that a program writes into blocks and finds there again.
 *
 * Each write puts a tag of its own into a block, each check reads it, both in stream order; what
 * was read goes to a log of page-locked memory, compared when everything is done. */
#include <inttypes.h>
#include <string.h>

#include "cuda/sim/cusim.h"
#include "tests/sim/program_runner.h"

uint64_t runner_make_tag(const runner *self) {
  uint64_t tag = (self->of->seed + 1) * 0x9E3779B97F4A7C15u + (self->op_index + 1);
  tag ^= tag >> 29;
  return (tag * 0xBF58476D1CE4E5B9u) | 1;
}

static uint64_t *take_word(runner *self, uint64_t value, uint32_t size_bytes) {
  const uint32_t index = self->scratch_used++;
  self->expected[index] = (expectation){value, self->op_index, size_bytes};
  return &self->scratch[index];
}

static uint64_t masked(uint64_t value, uint32_t size_bytes) {
  return size_bytes < sizeof value ? value & (((uint64_t)1 << 8 * size_bytes) - 1) : value;
}

void runner_put_tag(char *address, uint64_t size_bytes, uint64_t tag) {
  model_window windows[MODEL_WINDOWS_MAX];
  const uint32_t count = model_windows(size_bytes, windows);
  memset(address, (uint8_t)tag, size_bytes);
  for (uint32_t i = 0; i < count; i++) {
    memcpy(address + windows[i].offset_bytes, &tag, windows[i].size_bytes);
  }
}

static void condemn_value(runner *self, uint32_t op_index, uint64_t found, uint64_t expected) {
  self->op_index = op_index;
  runner_condemn(self, PROGRAM_WRONG_VALUE,
                 "operation %u (%s) found %016" PRIx64 " where the program wrote %016" PRIx64,
                 op_index, program_verb_name((program_verb)self->of->ops[op_index].verb), found,
                 expected);
}

void runner_check_windows(runner *self, const model_block *from, const char *address) {
  model_window windows[MODEL_WINDOWS_MAX];
  const uint32_t count = model_windows(from->size_bytes, windows);
  for (uint32_t i = 0; i < count; i++) {
    const uint64_t tag = windows[i].is_head ? from->head_tag : from->rest_tag;
    uint64_t found = 0;
    memcpy(&found, address + windows[i].offset_bytes, windows[i].size_bytes);
    const uint64_t expected = masked(tag, windows[i].size_bytes);
    self->verdict->check_count++;
    if (found != expected) condemn_value(self, self->op_index, found, expected);
  }
}

/* Puts `tag` into the windows of the block; the head only where asked for. */
static tarn_status write_windows(runner *self, uint32_t block, tarn_stream *stream, uint64_t tag,
                                 bool with_head) {
  const model_block *to = &self->model.blocks[block];
  model_window windows[MODEL_WINDOWS_MAX];
  const uint32_t count = model_windows(to->size_bytes, windows);
  const tarn_device device = tarn_pool_attributes_of(self->pools[to->pool])->device;
  tarn_status status = TARN_OK;
  for (uint32_t i = 0; status == TARN_OK && i < count; i++) {
    if (windows[i].is_head && !with_head) continue;
    uint64_t *word = take_word(self, 0, 0);
    *word = tag;
    status = tarn_stream_copy(stream, (char *)self->addresses[block] + windows[i].offset_bytes,
                              device, word, self->pinned, windows[i].size_bytes);
  }
  return status;
}

tarn_status runner_write_tag(runner *self, const program_op *op, uint64_t tag) {
  const model_block *to = &self->model.blocks[op->block];
  tarn_stream *stream = self->streams[op->stream];
  const tarn_device device = tarn_pool_attributes_of(self->pools[to->pool])->device;
  tarn_status status;
  if (runner_ring_writes(self, op, tag, &status)) return status;
  status =
      tarn_stream_fill(stream, self->addresses[op->block], device, (uint8_t)tag, to->size_bytes);
  return status != TARN_OK ? status : write_windows(self, op->block, stream, tag, true);
}

tarn_status runner_check_tag(runner *self, const program_op *op) {
  const model_block *from = &self->model.blocks[op->block];
  model_window windows[MODEL_WINDOWS_MAX];
  const uint32_t count = model_windows(from->size_bytes, windows);
  const tarn_device device = tarn_pool_attributes_of(self->pools[from->pool])->device;
  tarn_status status = TARN_OK;
  if (runner_ring_checks(self, op, &status)) return status;
  for (uint32_t i = 0; status == TARN_OK && i < count; i++) {
    const uint64_t tag = windows[i].is_head ? from->head_tag : from->rest_tag;
    uint64_t *word = take_word(self, tag, windows[i].size_bytes);
    *word = ~tag;
    status = tarn_stream_copy(self->streams[op->stream], word, self->pinned,
                              (const char *)self->addresses[op->block] + windows[i].offset_bytes,
                              device, windows[i].size_bytes);
    if (status != TARN_OK) self->expected[self->scratch_used - 1].size_bytes = 0;
  }
  return status;
}

tarn_status runner_copy_tag(runner *self, const program_op *op, uint64_t tag) {
  const model_block *to = &self->model.blocks[op->block];
  const model_block *from = &self->model.blocks[op->other_block];
  const tarn_device to_device = tarn_pool_attributes_of(self->pools[to->pool])->device;
  const tarn_device from_device = tarn_pool_attributes_of(self->pools[from->pool])->device;
  const uint64_t size_bytes = to->size_bytes < from->size_bytes ? to->size_bytes : from->size_bytes;
  tarn_stream *stream = self->streams[op->stream];
  const tarn_status status =
      tarn_stream_copy(stream, self->addresses[op->block], to_device,
                       self->addresses[op->other_block], from_device, size_bytes);
  return status != TARN_OK ? status : write_windows(self, op->block, stream, tag, false);
}

void runner_host_check(runner *self, const program_op *op) {
  const model_block *from = &self->model.blocks[op->block];
  cusim_host_read(self->addresses[op->block], from->size_bytes);
  runner_check_windows(self, from, self->addresses[op->block]);
}

/* Only values are checked here: the driver cannot tell what is enqueued behind a function from what
 * races with it, when the function runs late. */
static void run_call(void *argument) {
  call_use *use = argument;
  const uint64_t head_bytes = use->size_bytes < 8 ? use->size_bytes : 8;
  memcpy(&use->found_head, use->address, head_bytes);
  runner_put_tag(use->address, use->size_bytes, use->tag);
}

tarn_status runner_call_tag(runner *self, const program_op *op, uint64_t tag) {
  const model_block *on = &self->model.blocks[op->block];
  const uint32_t head_bytes = on->size_bytes < 8 ? (uint32_t)on->size_bytes : 8;
  call_use *use = &self->calls[self->op_index];
  *use = (call_use){self->addresses[op->block], on->size_bytes, tag, 0};
  const tarn_status status = tarn_stream_call(self->streams[op->stream], run_call, use);
  /* The log's word is filled at the end, from what the function found. */
  if (status == TARN_OK) take_word(self, on->head_tag, head_bytes);
  return status;
}

void runner_check_log(runner *self) {
  for (uint32_t i = 0; i < self->scratch_used; i++) {
    const expectation *at = &self->expected[i];
    if (at->size_bytes == 0) continue;
    const bool is_call = self->of->ops[at->op_index].verb == VERB_CALL;
    const uint64_t word = is_call ? self->calls[at->op_index].found_head : self->scratch[i];
    const uint64_t found = masked(word, at->size_bytes);
    const uint64_t expected = masked(at->value, at->size_bytes);
    self->verdict->check_count++;
    if (found != expected) condemn_value(self, at->op_index, found, expected);
  }
}

void runner_host_write(runner *self, const program_op *op, uint64_t tag) {
  const uint64_t size_bytes = self->model.blocks[op->block].size_bytes;
  cusim_host_write(self->addresses[op->block], size_bytes);
  runner_put_tag(self->addresses[op->block], size_bytes, tag);
}
