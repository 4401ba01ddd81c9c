/* pasted.c: what a printed program needs: a driver, pools, tags written and checked. */
#include "tests/sim/pasted.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 4096 };

typedef struct pasted_read {
  uint64_t expected;
  size_t size_bytes; /* 0: a tag that was written */
} pasted_read;

struct pasted_world {
  runner base;
  program shape;
  program_verdict verdict;
  pasted_read reads[WORDS_MAX];
  uint32_t word_count;
  uint32_t stream_count;
  uint32_t fence_count;
  tarn_stream *streams[ORDER_TIMELINES_MAX];
  tarn_fence *fences[PROGRAM_EVENTS_MAX];
};

pasted_world *pasted_begin(cusim_policy policy, uint64_t seed, size_t capacity_bytes,
                           program_plant plant) {
  pasted_world *world = calloc(1, sizeof *world);
  if (world == NULL) return NULL;
  world->shape.policy = (int)policy;
  world->shape.seed = seed;
  world->shape.capacity_bytes = capacity_bytes;
  world->shape.plant = plant;
  world->base.of = &world->shape;
  world->base.verdict = &world->verdict;
  model_init(&world->base.model, &world->shape);
  if (runner_begin(&world->base, WORDS_MAX)) return world;
  runner_end(&world->base);
  free(world);
  return NULL;
}

tarn_pool *pasted_pool(pasted_world *world, program_pool_kind kind, size_t limit_bytes,
                       size_t segment_bytes) {
  const uint32_t index = world->shape.pool_count++;
  world->shape.pools[index] = (program_pool){kind, limit_bytes, segment_bytes};
  pasted_told(world, runner_open_pool(&world->base, index), "a pool");
  return world->base.pools[index];
}

tarn_stream *pasted_stream(pasted_world *world) {
  tarn_stream **stream = &world->streams[world->stream_count++];
  pasted_told(world, tarn_cuda_stream_create(world->base.cuda, 0, stream), "a stream");
  return *stream;
}

void pasted_retire(pasted_world *world, tarn_stream *stream) {
  for (uint32_t i = 0; i < world->stream_count; i++) {
    if (world->streams[i] == stream) world->streams[i] = NULL;
  }
  tarn_stream_release(stream);
}

void pasted_drop(pasted_world *world, tarn_pool *pool) {
  for (uint32_t i = 0; i < world->shape.pool_count; i++) {
    if (world->base.pools[i] == pool) world->base.model.pools[i].is_dropped = true;
  }
  tarn_pool_release(pool);
}

void pasted_pause(pasted_world *world, tarn_pool *pool) {
  for (uint32_t i = 0; i < world->shape.pool_count; i++) {
    if (world->base.pools[i] != pool) continue;
    pasted_told(world, runner_pause(&world->base, i), "a pause");
  }
}

tarn_fence *pasted_fence(pasted_world *world, tarn_stream *stream) {
  tarn_fence **fence = &world->fences[world->fence_count++];
  pasted_told(world, tarn_fence_create(stream, fence), "a fence");
  return *fence;
}

void pasted_told(pasted_world *world, tarn_status status, const char *call) {
  if (status == TARN_OK || status == TARN_OUT_OF_MEMORY || status == TARN_TOO_LARGE) return;
  runner_condemn(&world->base, PROGRAM_WRONG_STATUS, "%s: %s: %s", call, tarn_status_name(status),
                 tarn_last_error()->message);
}

/* --- tags --- */

static size_t word_bytes(size_t size_bytes) {
  return size_bytes < sizeof(uint64_t) ? size_bytes : sizeof(uint64_t);
}

static uint64_t *take_word(pasted_world *world, uint64_t expected, size_t size_bytes) {
  const uint32_t index = world->word_count++ % WORDS_MAX;
  world->reads[index] = (pasted_read){expected, size_bytes};
  return &world->base.scratch[index];
}

void pasted_write(pasted_world *world, tarn_stream *stream, tarn_pool *pool, void *address,
                  size_t size_bytes, uint64_t tag) {
  if (address == NULL) return; /* refused */
  const tarn_device device = tarn_pool_attributes_of(pool)->device;
  pasted_told(world, tarn_stream_fill(stream, address, device, (uint8_t)tag, size_bytes), "a fill");
  uint64_t *word = take_word(world, 0, 0);
  *word = tag;
  pasted_told(
      world,
      tarn_stream_copy(stream, address, device, word, world->base.pinned, word_bytes(size_bytes)),
      "a copy");
}

void pasted_check(pasted_world *world, tarn_stream *stream, tarn_pool *pool, const void *address,
                  size_t size_bytes, uint64_t tag) {
  if (address == NULL) return;
  uint64_t *word = take_word(world, tag, word_bytes(size_bytes));
  *word = ~tag;
  pasted_told(world,
              tarn_stream_copy(stream, word, world->base.pinned, address,
                               tarn_pool_attributes_of(pool)->device, word_bytes(size_bytes)),
              "a copy");
}

void pasted_host_write(pasted_world *world, void *address, size_t size_bytes, uint64_t tag) {
  (void)world;
  if (address == NULL) return;
  cusim_host_write(address, size_bytes);
  memset(address, (uint8_t)tag, size_bytes);
  memcpy(address, &tag, word_bytes(size_bytes));
}

void pasted_host_check(pasted_world *world, const void *address, size_t size_bytes, uint64_t tag) {
  if (address == NULL) return;
  cusim_host_read(address, size_bytes);
  if (memcmp(address, &tag, word_bytes(size_bytes)) == 0) return;
  runner_condemn(&world->base, PROGRAM_WRONG_VALUE, "the CPU does not find tag %" PRIu64, tag);
}

void pasted_order(pasted_world *world, tarn_stream *earlier, tarn_stream *later) {
  pasted_told(world, driver_order(&world->base.driver, earlier, later), "an event");
}

/* --- the end --- */

static void check_reads(pasted_world *world) {
  for (uint32_t i = 0; i < world->word_count && i < WORDS_MAX; i++) {
    const pasted_read *read = &world->reads[i];
    if (memcmp(&world->base.scratch[i], &read->expected, read->size_bytes) == 0) continue;
    runner_condemn(&world->base, PROGRAM_WRONG_VALUE, "%" PRIu64 " was read where %" PRIu64 " was",
                   world->base.scratch[i], read->expected);
  }
}

void pasted_settle(pasted_world *world) {
  pasted_told(world, driver_synchronize(&world->base.driver), "the device");
  check_reads(world);
  runner_check_driver(&world->base);
}

program_failing pasted_end(pasted_world *world, char *text, size_t text_bytes) {
  pasted_settle(world);
  for (uint32_t i = 0; i < world->fence_count; i++) tarn_fence_destroy(world->fences[i]);
  for (uint32_t i = 0; i < world->stream_count; i++) tarn_stream_release(world->streams[i]);
  /* Blocks may still be lent out, and streams kept: only what was found before counts. */
  const program_failing failing = world->verdict.failing;
  snprintf(text, text_bytes, "%s", world->verdict.text);
  runner_end(&world->base);
  free(world);
  return failing;
}
