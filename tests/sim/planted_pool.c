/* planted_pool.c: a pool that forwards to another one, with a defect of choice. */
#include "tests/sim/planted_pool.h"

#include <stdlib.h>

typedef struct planted_pool {
  tarn_pool *inner;
  program_plant plant;
} planted_pool;

static tarn_status planted_attributes(void *context, tarn_pool_attributes *attributes) {
  const planted_pool *self = context;
  *attributes = *tarn_pool_attributes_of(self->inner);
  return TARN_OK;
}

static tarn_status planted_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                 tarn_stream *stream, void **address) {
  planted_pool *self = context;
  return tarn_pool_alloc_aligned(self->inner, size_bytes, alignment_bytes, stream, address);
}

/* Freed in the order of no stream, a block may be lent to anybody at once. */
static tarn_status planted_free(void *context, void *address, tarn_stream *stream) {
  planted_pool *self = context;
  return tarn_pool_free(self->inner, address, self->plant == PLANT_FREE_AT_ONCE ? NULL : stream);
}

static tarn_status planted_note_use(void *context, void *address, tarn_stream *stream) {
  planted_pool *self = context;
  if (self->plant == PLANT_NOTE_LOST) return TARN_OK;
  return tarn_pool_note_use(self->inner, address, stream);
}

static tarn_status planted_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  planted_pool *self = context;
  return tarn_pool_trim(self->inner, keep_bytes, released_bytes);
}

static tarn_status planted_stats(void *context, tarn_pool_stats *stats) {
  planted_pool *self = context;
  return tarn_pool_stats_of(self->inner, stats);
}

static void planted_destroy(void *context) {
  planted_pool *self = context;
  tarn_pool_release(self->inner);
  free(self);
}

tarn_status planted_pool_create(tarn_pool *inner, program_plant plant, tarn_pool **pool) {
  *pool = inner;
  if (plant == PLANT_NOTHING) return TARN_OK;
  planted_pool *self = calloc(1, sizeof *self);
  if (self == NULL) {
    tarn_pool_release(inner);
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a planted pool");
  }
  *self = (planted_pool){.inner = inner, .plant = plant};
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = "planted",
                             .attributes = planted_attributes,
                             .alloc = planted_alloc,
                             .free = planted_free,
                             .note_use = planted_note_use,
                             .trim = planted_trim,
                             .stats = planted_stats,
                             .destroy = planted_destroy};
  const tarn_status status = tarn_pool_create(&ops, self, pool);
  if (status != TARN_OK) planted_destroy(self);
  return status;
}
