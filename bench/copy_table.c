/* copy_table.c: prints the table of costs, what it decides, and what a device says it should be. */
#include "bench/copy_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_stream_copy.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_copy_costs.h"

/* --- telling --- */

void copy_table_print(void) {
  puts("what a copy with a device costs (tarn_copy_cost_set; --measure-table measures):");
  for (int i = 0; i < TARN_COPY_COSTS; i++) {
    const tarn_copy_cost cost = (tarn_copy_cost)i;
    printf("  %-15s %8" PRIu64 " %-4s %s\n  %-15s %13s (%s)\n", tarn_copy_cost_name(cost),
           tarn_copy_cost_get(cost), tarn_copy_cost_unit(cost), tarn_copy_cost_text(cost), "", "",
           tarn_copy_cost_origin(cost));
  }
}

typedef struct pair {
  const char *name;
  tarn_device dst, src;
} pair;

static uint64_t least(const tarn_copy_choice *choice) {
  uint64_t found = UINT64_MAX;
  for (int way = 0; way < TARN_COPY_WAYS; way++) {
    if (choice->estimates_ns[way] < found) found = choice->estimates_ns[way];
  }
  return found;
}

static void print_choice(const pair *between, const tarn_copy_choice *choice) {
  printf("  %-22s %-7s", between->name, tarn_copy_way_name(choice->way));
  for (int way = 0; way < TARN_COPY_WAYS; way++) {
    if (choice->estimates_ns[way] == UINT64_MAX) continue;
    printf(" | %s %.1f us", tarn_copy_way_name((tarn_copy_way)way),
           (double)choice->estimates_ns[way] / 1000);
    if (way == TARN_COPY_BY_ROWS) printf(", calls: %" PRIu64, choice->call_count);
  }
  const bool is_least = choice->estimates_ns[choice->way] <= least(choice);
  puts(is_least ? "; the least" : "; pageable memory: the ring, whatever the sums");
}

tarn_status copy_table_explain(const tarn_tensor *dst, const tarn_tensor *src) {
  static const tarn_device device = {TARN_DEVICE_CUDA, 0}, pinned = {TARN_DEVICE_CUDA_HOST, 0};
  static const tarn_device pageable = {TARN_DEVICE_CPU, 0};
  const pair pairs[] = {{"on a device", device, device},
                        {"pinned to device", device, pinned},
                        {"device to pinned", pinned, device},
                        {"pageable to device", device, pageable},
                        {"device to pageable", pageable, device}};
  const uint32_t abilities = TARN_STREAM_COPIES_PLANES | TARN_STREAM_COPIES_BATCHES |
                             TARN_STREAM_COPIES_GRIDS | TARN_STREAM_COPIES_BY_RING;
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    tarn_copy_choice choice = {.struct_size = sizeof choice};
    const tarn_status status =
        tarn_copy_choose(dst, pairs[i].dst, src, pairs[i].src, abilities, &choice);
    if (status != TARN_OK) return status;
    print_choice(&pairs[i], &choice);
  }
  return TARN_OK;
}

/* --- measuring --- */

enum { REPEATS = 7, SMALL_CALLS = 500, ROW_COUNT = 1 << 15, SPAN_COUNT = 512 };

typedef struct subject {
  tarn_stream *stream;
  tarn_storage *near, *far, *further; /* pinned, and two of the device */
  void *pageable;
  int64_t edge;                  /* of a square of float32 that fills each of them */
  size_t size_bytes;             /* of each */
  double costs[TARN_COPY_COSTS]; /* in their units; 0: not measured */
} subject;

/* What is enqueued once, and how often in a sample. */
typedef struct step {
  tarn_status (*run)(const subject *self);
  int count;
} step;

static tarn_status plain(const subject *self, tarn_storage *dst, tarn_storage *src,
                         size_t size_bytes) {
  return tarn_stream_copy(self->stream, tarn_storage_data_mutable(dst), tarn_storage_device(dst),
                          tarn_storage_data(src), tarn_storage_device(src), size_bytes);
}

static tarn_status one_small(const subject *self) {
  return plain(self, self->far, self->near, 4);
}

static tarn_status many_rows(const subject *self) {
  const tarn_copy_rows rows = {.dst = tarn_storage_data_mutable(self->far),
                               .src = tarn_storage_data(self->near),
                               .dst_pitch_bytes = 8,
                               .src_pitch_bytes = 8,
                               .row_bytes = 4,
                               .row_count = ROW_COUNT,
                               .dst_device = tarn_storage_device(self->far),
                               .src_device = tarn_storage_device(self->near)};
  return tarn_stream_copy_rows(self->stream, &rows);
}

static tarn_status batch_of(const subject *self, size_t count) {
  tarn_copy_span spans[SPAN_COUNT];
  for (size_t i = 0; i < count; i++) {
    spans[i] = (tarn_copy_span){(char *)tarn_storage_data_mutable(self->far) + 64 * i,
                                (const char *)tarn_storage_data(self->near) + 64 * i, 4,
                                tarn_storage_device(self->far), tarn_storage_device(self->near)};
  }
  return tarn_stream_copy_batch(self->stream, spans, count);
}

static tarn_status small_batch(const subject *self) {
  return batch_of(self, 2);
}

static tarn_status large_batch(const subject *self) {
  return batch_of(self, SPAN_COUNT);
}

/* A square turned, by the kernel alone. */
static tarn_status turn(const subject *self, tarn_storage *dst, tarn_storage *src, int64_t edge) {
  const int64_t shape[] = {edge, edge}, to[] = {4 * edge, 4}, from[] = {4, 4 * edge};
  const tarn_copy_grid grid = {.dst = tarn_storage_data_mutable(dst),
                               .src = tarn_storage_data(src),
                               .dst_device = tarn_storage_device(dst),
                               .src_device = tarn_storage_device(src),
                               .rank = 2,
                               .shape = shape,
                               .dst_strides_bytes = to,
                               .src_strides_bytes = from,
                               .element_bytes = 4};
  return tarn_stream_copy_grid(self->stream, &grid);
}

static tarn_status small_turn(const subject *self) {
  return turn(self, self->further, self->far, 2);
}

static tarn_status large_turn(const subject *self) {
  return turn(self, self->further, self->far, self->edge);
}

static tarn_status large_turn_of_near(const subject *self) {
  return turn(self, self->far, self->near, self->edge);
}

static tarn_status across_device(const subject *self) {
  return plain(self, self->further, self->far, self->size_bytes);
}

static tarn_status across_bus(const subject *self) {
  return plain(self, self->far, self->near, self->size_bytes);
}

static tarn_status from_pageable(const subject *self) {
  return tarn_stream_copy(self->stream, tarn_storage_data_mutable(self->far),
                          tarn_storage_device(self->far), self->pageable,
                          tarn_device_make(TARN_DEVICE_CPU, 0), self->size_bytes);
}

static tarn_status pack(const subject *self) {
  const int64_t shape[] = {self->edge, self->edge};
  const tarn_blob blob = {
      .struct_size = sizeof blob, .address = self->pageable, .size_bytes = self->size_bytes};
  tarn_tensor dst, src = {.storage = NULL};
  tarn_status status = tarn_tensor_of_storage(self->near, TARN_F32, 2, shape, 0, &dst);
  if (status != TARN_OK) return status;
  status = tarn_tensor_wrap(&blob, TARN_F32, 2, shape, NULL, 0, &src);
  if (status == TARN_OK) status = tarn_tensor_transpose(&src, 0, 1);
  if (status == TARN_OK) status = tarn_tensor_copy(&dst, &src, NULL, NULL);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
  return status;
}

/* The median over some rounds, of one step; the first round is not counted. */
static tarn_status time_step(const subject *self, step what, double *ns) {
  double samples[REPEATS];
  for (int repeat = -1; repeat < REPEATS; repeat++) {
    const uint64_t start_ns = measure_now_ns();
    tarn_status status = TARN_OK;
    for (int i = 0; i < what.count && status == TARN_OK; i++) status = what.run(self);
    const tarn_status waited = tarn_stream_synchronize(self->stream);
    if (status == TARN_OK) status = waited;
    if (status != TARN_OK) return status;
    if (repeat >= 0) samples[repeat] = (double)(measure_now_ns() - start_ns) / what.count;
  }
  measure_stats stats;
  measure_summarize(samples, REPEATS, &stats);
  *ns = stats.median;
  return TARN_OK;
}

static void keep_cost(subject *self, tarn_copy_cost cost, double value) {
  self->costs[cost] = value < 1 ? 1 : value; /* 0 would mean the built-in value */
}

static tarn_status measure_calls(subject *self) {
  double call, rows, two, many;
  tarn_status status = time_step(self, (step){one_small, SMALL_CALLS}, &call);
  if (status == TARN_OK) status = time_step(self, (step){many_rows, 4}, &rows);
  if (status == TARN_OK) status = time_step(self, (step){small_batch, SMALL_CALLS}, &two);
  if (status == TARN_OK) status = time_step(self, (step){large_batch, 8}, &many);
  if (status != TARN_OK) return status;
  const double each = (many - two) / (SPAN_COUNT - 2);
  keep_cost(self, TARN_COPY_COST_ROW_CALL, call);
  keep_cost(self, TARN_COPY_COST_ROW, (rows - call) / ROW_COUNT);
  keep_cost(self, TARN_COPY_COST_BATCH_CALL, two - 2 * each);
  keep_cost(self, TARN_COPY_COST_BATCH_SPAN, each);
  return TARN_OK;
}

static tarn_status measure_rate(subject *self, step what, tarn_copy_cost cost, double start_ns) {
  double ns;
  const tarn_status status = time_step(self, what, &ns);
  if (status != TARN_OK) return status;
  keep_cost(self, cost, (double)self->size_bytes * 1000 / (ns > start_ns ? ns - start_ns : ns));
  return TARN_OK;
}

static tarn_status measure_kernels(subject *self) {
  double call = 0;
  tarn_status status = time_step(self, (step){small_turn, SMALL_CALLS}, &call);
  if (status == TARN_NOT_SUPPORTED) {
    fprintf(stderr, "no kernels: %s\n", tarn_last_error()->message);
    return TARN_OK;
  }
  if (status != TARN_OK) return status;
  keep_cost(self, TARN_COPY_COST_KERNEL_CALL, call);
  status = measure_rate(self, (step){large_turn, 4}, TARN_COPY_COST_KERNEL_RATE, call);
  if (status != TARN_OK) return status;
  return measure_rate(self, (step){large_turn_of_near, 4}, TARN_COPY_COST_KERNEL_BUS_RATE, call);
}

static tarn_status measure_rates(subject *self) {
  tarn_status status = measure_rate(self, (step){across_device, 4}, TARN_COPY_COST_DEVICE_RATE, 0);
  if (status == TARN_OK) {
    status = measure_rate(self, (step){across_bus, 4}, TARN_COPY_COST_BUS_RATE, 0);
  }
  if (status == TARN_OK) {
    status = measure_rate(self, (step){from_pageable, 2}, TARN_COPY_COST_PAGEABLE_RATE, 0);
  }
  if (status == TARN_OK) status = measure_rate(self, (step){pack, 2}, TARN_COPY_COST_PACK_RATE, 0);
  return status;
}

static tarn_status storage_of(tarn_provider *provider, size_t size_bytes, tarn_storage **storage) {
  tarn_pool *pool = NULL;
  tarn_status status = tarn_caching_pool_create(provider, NULL, &pool);
  if (status == TARN_OK) status = tarn_storage_create(pool, size_bytes, NULL, storage);
  tarn_pool_release(pool); /* the storage keeps it */
  return status;
}

static tarn_status make_subject(const where_place *where, subject *self) {
  self->edge = where->is_simulated ? 512 : 4096;
  self->size_bytes = (size_t)(self->edge * self->edge) * 4;
  self->pageable = calloc(1, self->size_bytes);
  if (self->pageable == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no host memory");
  tarn_status status = where_stream_create(where, &self->stream);
  if (status == TARN_OK) status = storage_of(where->host_pages, self->size_bytes, &self->near);
  if (status == TARN_OK) status = storage_of(where->provider, self->size_bytes, &self->far);
  if (status == TARN_OK) status = storage_of(where->provider, self->size_bytes, &self->further);
  return status;
}

/* The macro of tarn_copy_costs.h, with what was measured in place of what is built in. */
static tarn_status print_macro(const where_place *where, const subject *self) {
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  const tarn_status status = tarn_cuda_device_info_of(where->cuda, where->index, &info);
  if (status != TARN_OK) return status;
  const int version = tarn_cuda_driver_version(where->cuda);
  puts("#define TARN_COPY_COST_TABLE(X) \\");
  for (int i = 0; i < TARN_COPY_COSTS; i++) {
    const tarn_copy_cost cost = (tarn_copy_cost)i;
    const bool is_measured = self->costs[i] > 0;
    printf("  X(%s, %.0f, \"%s\", \"%s\", \\\n    ", tarn_copy_cost_name(cost),
           is_measured ? self->costs[i] : (double)tarn_copy_cost_get(cost),
           tarn_copy_cost_unit(cost), tarn_copy_cost_text(cost));
    if (is_measured) {
      printf("\"%s: %s, CUDA %d.%d\")", where->is_simulated ? "simulated" : "measured", info.name,
             version / 1000, version % 1000 / 10);
    } else {
      printf("\"%s\")", tarn_copy_cost_origin(cost));
    }
    puts(i + 1 < TARN_COPY_COSTS ? " \\" : "");
  }
  return TARN_OK;
}

tarn_status copy_table_measure(const where_place *where) {
  if (!where_is_device(where)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "--measure-table wants a device: --on cuda:N");
  }
  subject self = {.stream = NULL};
  tarn_status status = make_subject(where, &self);
  if (status == TARN_OK) {
    printf("/* costs of copies on %s%s; in place of the macro in tarn_copy_costs.h: */\n",
           where->name,
           where->is_simulated ? " (simulated: no figure here is a GPU's)" : ", measured");
    status = measure_calls(&self);
  }
  if (status == TARN_OK) status = measure_kernels(&self);
  if (status == TARN_OK) status = measure_rates(&self);
  if (status == TARN_OK) status = print_macro(where, &self);
  tarn_storage_release(self.near);
  tarn_storage_release(self.far);
  tarn_storage_release(self.further);
  tarn_stream_release(self.stream);
  free(self.pageable);
  return status;
}
