/* meter.c: the counting provider. Ranges are few: a list under a lock will do. */
#include "bench/meter.h"

#include <pthread.h>
#include <stdlib.h>

enum { METER_RANGES_MAX = 1024 };

typedef struct meter_range {
  char *address;
  size_t size_bytes;
  size_t committed_bytes;
} meter_range;

struct meter_state {
  tarn_provider *inner; /* NULL once the metered provider is gone */
  pthread_mutex_t lock; /* for all below; never held during a call */
  meter_reading reading;
  size_t range_count;
  meter_range ranges[METER_RANGES_MAX];
};

static void count_call(meter_state *meter) {
  pthread_mutex_lock(&meter->lock);
  meter->reading.calls++;
  pthread_mutex_unlock(&meter->lock);
}

/* Caller holds the lock. */
static void add_held(meter_state *meter, size_t size_bytes) {
  meter_reading *reading = &meter->reading;
  reading->held_bytes += size_bytes;
  if (reading->held_bytes > reading->held_bytes_peak) {
    reading->held_bytes_peak = reading->held_bytes;
  }
}

/* The range that holds the address, or NULL: then it is a block. Caller holds the lock. */
static meter_range *find_range(meter_state *meter, const char *address) {
  for (size_t i = 0; i < meter->range_count; i++) {
    meter_range *range = &meter->ranges[i];
    if (address >= range->address && address < range->address + range->size_bytes) return range;
  }
  return NULL;
}

static tarn_status attributes(void *context, tarn_provider_attributes *attributes) {
  meter_state *meter = context;
  const size_t struct_size = attributes->struct_size;
  *attributes = *tarn_provider_attributes_of(meter->inner);
  attributes->struct_size = struct_size;
  return TARN_OK;
}

static tarn_status alloc_block(void *context, size_t size_bytes, void **address) {
  meter_state *meter = context;
  count_call(meter);
  const tarn_status status = tarn_provider_alloc(meter->inner, size_bytes, address);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(&meter->lock);
  add_held(meter, size_bytes);
  pthread_mutex_unlock(&meter->lock);
  return TARN_OK;
}

static tarn_status reserve_range(void *context, size_t size_bytes, void **address) {
  meter_state *meter = context;
  count_call(meter);
  pthread_mutex_lock(&meter->lock);
  const bool is_full = meter->range_count == METER_RANGES_MAX;
  pthread_mutex_unlock(&meter->lock);
  if (is_full) return tarn_fail(TARN_OUT_OF_MEMORY, "more than %d ranges", METER_RANGES_MAX);
  const tarn_status status = tarn_provider_reserve(meter->inner, size_bytes, address);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(&meter->lock);
  meter->ranges[meter->range_count++] =
      (meter_range){.address = *address, .size_bytes = size_bytes};
  meter->reading.ranges_left++;
  pthread_mutex_unlock(&meter->lock);
  return TARN_OK;
}

static tarn_status commit_part(void *context, void *address, size_t size_bytes) {
  meter_state *meter = context;
  count_call(meter);
  const tarn_status status = tarn_provider_commit(meter->inner, address, size_bytes);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(&meter->lock);
  meter_range *range = find_range(meter, address);
  if (range != NULL) range->committed_bytes += size_bytes;
  add_held(meter, size_bytes);
  pthread_mutex_unlock(&meter->lock);
  return TARN_OK;
}

static tarn_status decommit_part(void *context, void *address, size_t size_bytes) {
  meter_state *meter = context;
  count_call(meter);
  const tarn_status status = tarn_provider_decommit(meter->inner, address, size_bytes);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(&meter->lock);
  meter_range *range = find_range(meter, address);
  if (range != NULL) range->committed_bytes -= size_bytes;
  meter->reading.held_bytes -= size_bytes;
  pthread_mutex_unlock(&meter->lock);
  return TARN_OK;
}

static tarn_status move_parts(void *context, const tarn_provider_span *spans, size_t span_count,
                              void *address, size_t size_bytes, size_t *taken_count) {
  meter_state *meter = context;
  count_call(meter);
  const tarn_status status =
      tarn_provider_move(meter->inner, spans, span_count, address, size_bytes, taken_count);
  pthread_mutex_lock(&meter->lock);
  for (size_t i = 0; i < *taken_count; i++) {
    meter_range *range = find_range(meter, spans[i].address);
    if (range != NULL) range->committed_bytes -= spans[i].size_bytes;
    meter->reading.held_bytes -= spans[i].size_bytes;
    meter->reading.moved_bytes += spans[i].size_bytes;
  }
  if (status == TARN_OK) {
    meter_range *range = find_range(meter, address);
    if (range != NULL) range->committed_bytes += size_bytes;
    add_held(meter, size_bytes);
  }
  pthread_mutex_unlock(&meter->lock);
  return status;
}

static tarn_status prepare_more(void *context, size_t size_bytes, size_t *prepared_bytes) {
  meter_state *meter = context;
  return tarn_provider_prepare(meter->inner, size_bytes, prepared_bytes);
}

static tarn_status release_memory(void *context, void *address, size_t size_bytes) {
  meter_state *meter = context;
  count_call(meter);
  const tarn_status status = tarn_provider_free(meter->inner, address, size_bytes);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(&meter->lock);
  meter_range *range = find_range(meter, address);
  if (range == NULL) {
    meter->reading.held_bytes -= size_bytes;
  } else {
    meter->reading.held_bytes -= range->committed_bytes;
    meter->reading.ranges_left--;
    *range = meter->ranges[--meter->range_count];
  }
  pthread_mutex_unlock(&meter->lock);
  return TARN_OK;
}

static void drop_inner(void *context) {
  meter_state *meter = context;
  tarn_provider_release(meter->inner);
  meter->inner = NULL;
}

tarn_status meter_create(tarn_provider *provider, tarn_provider **metered, meter_state **out) {
  *metered = NULL;
  *out = NULL;
  meter_state *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a meter");
  pthread_mutex_init(&made->lock, NULL);
  tarn_provider_retain(provider);
  made->inner = provider;
  tarn_provider_ops ops = {
      .struct_size = sizeof ops,
      .name = tarn_provider_name(provider),
      .attributes = attributes,
      .alloc = alloc_block,
      .release = release_memory,
      .destroy = drop_inner,
  };
  if (tarn_provider_attributes_of(provider)->flags & TARN_PROVIDER_RESERVES) {
    ops.reserve = reserve_range;
    ops.commit = commit_part;
    ops.decommit = decommit_part;
    ops.prepare = prepare_more;
  }
  if (tarn_provider_attributes_of(provider)->flags & TARN_PROVIDER_MOVES) ops.move = move_parts;
  const tarn_status status = tarn_provider_create(&ops, made, metered);
  if (status != TARN_OK) {
    drop_inner(made);
    meter_destroy(made);
    return status;
  }
  *out = made;
  return TARN_OK;
}

meter_reading meter_read(meter_state *meter) {
  pthread_mutex_lock(&meter->lock);
  const meter_reading reading = meter->reading;
  pthread_mutex_unlock(&meter->lock);
  return reading;
}

void meter_destroy(meter_state *meter) {
  if (meter == NULL) return;
  pthread_mutex_destroy(&meter->lock);
  free(meter);
}
