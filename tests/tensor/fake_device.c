/* fake_device.c: two mappings of one memory, and queues of copies that wait. */
#include "tests/tensor/fake_device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_stream_copy.h"
#include "tensor/convert.h"
#include "tests/support/test.h"

int fake_copy_calls;
int fake_copies_to_fail = -1;
int fake_plane_calls, fake_batch_calls, fake_grid_calls;
bool fake_refuses_grids;

static char *device_memory; /* no access */
static char *window;        /* the same bytes */

void fake_device_start(void) {
  int file = memfd_create("fake_device", 0);
  assert_true(file >= 0);
  assert_int_equal(ftruncate(file, FAKE_DEVICE_BYTES), 0);
  device_memory = mmap(NULL, FAKE_DEVICE_BYTES, PROT_NONE, MAP_SHARED, file, 0);
  window = mmap(NULL, FAKE_DEVICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  assert_true(device_memory != MAP_FAILED && window != MAP_FAILED);
  close(file);
}

static bool is_device_address(const void *address) {
  return (const char *)address >= device_memory &&
         (const char *)address < device_memory + FAKE_DEVICE_BYTES;
}

void *fake_device_window(const void *address) {
  assert_true(is_device_address(address));
  return window + ((const char *)address - device_memory);
}

static char *reached(const void *address) {
  return is_device_address(address) ? fake_device_window(address) : (char *)(uintptr_t)address;
}

char *bytes_of(const tarn_tensor *tensor) {
  return reached(tarn_storage_data(tensor->storage));
}

tarn_pool *fake_device_pool_create(void) {
  tarn_provider *provider;
  tarn_pool *pool;
  const tarn_fixed_options options = {.struct_size = sizeof options,
                                      .device = {TARN_DEVICE_CUDA, 0}};
  assert_int_equal(
      tarn_fixed_provider_create(device_memory, FAKE_DEVICE_BYTES, &options, &provider), TARN_OK);
  assert_int_equal(tarn_caching_pool_create(provider, NULL, &pool), TARN_OK);
  tarn_provider_release(provider);
  return pool;
}

/* --- the stream --- */

/* A grid with arrays of its own. */
typedef struct held_grid {
  tarn_copy_grid grid;
  int64_t shape[TARN_COPY_GRID_RANK_MAX], to[TARN_COPY_GRID_RANK_MAX];
  int64_t from[TARN_COPY_GRID_RANK_MAX];
  char value[16]; /* of a fill */
} held_grid;

typedef struct work {
  struct work *next;
  tarn_copy_rows rows;
  held_grid *grid;             /* NULL: not such a copy */
  tarn_host_function function; /* NULL: a copy */
  void *argument;
} work;

/* Fences count how much of their queue has to be done; owners are the stream and its fences. */
typedef struct queue {
  int owner_count;
  long enqueued, done;
  work *first, **last;
} queue;

typedef struct fence {
  queue *queue; /* NULL: never recorded */
  long position;
} fence;

static void run_rows(const tarn_copy_rows *rows) {
  for (size_t row = 0; row < rows->row_count; row++) {
    char *dst = (char *)rows->dst + row * rows->dst_pitch_bytes;
    const char *src = (const char *)rows->src + row * rows->src_pitch_bytes;
    memcpy(reached(dst), reached(src), rows->row_bytes);
  }
}

static void run_element(const tarn_copy_grid *grid, const tarn__convert *convert, char *dst,
                        const char *src) {
  if (grid->element_bytes != 0) {
    memcpy(reached(dst), reached(src), grid->element_bytes);
  } else {
    tarn__convert_row(convert, reached(dst), reached(src), 1, /*is_streaming=*/false);
  }
}

static void run_grid(const held_grid *self) {
  const tarn_copy_grid *grid = &self->grid;
  const tarn_element_type to = grid->dst_type, from = grid->src_type;
  tarn__convert convert;
  if (grid->element_bytes == 0) {
    assert_int_equal(tarn__convert_find((tarn_dtype){to.code, to.bits, to.lanes},
                                        (tarn_dtype){from.code, from.bits, from.lanes}, &convert),
                     TARN_OK);
  }
  int64_t index[TARN_COPY_GRID_RANK_MAX] = {0};
  char *dst = grid->dst;
  const char *src = grid->src;
  for (int32_t d = 0; d >= 0;) {
    run_element(grid, &convert, dst, src);
    for (d = grid->rank - 1; d >= 0; d--) {
      dst += self->to[d];
      src += self->from[d];
      if (++index[d] < self->shape[d]) break;
      dst -= self->to[d] * self->shape[d];
      src -= self->from[d] * self->shape[d];
      index[d] = 0;
    }
  }
}

static void run_until(queue *self, long position) {
  while (self->done < position) {
    work *next = self->first;
    self->first = next->next;
    if (self->first == NULL) self->last = &self->first;
    if (next->function != NULL) {
      next->function(next->argument);
    } else if (next->grid != NULL) {
      run_grid(next->grid);
      free(next->grid);
    } else {
      run_rows(&next->rows);
    }
    free(next);
    self->done++;
  }
}

static tarn_status enqueue(queue *self, work content) {
  work *made = malloc(sizeof *made);
  assert_non_null(made);
  *made = content;
  *self->last = made;
  self->last = &made->next;
  self->enqueued++;
  return TARN_OK;
}

static void check_side(const void *address, tarn_device device, size_t last_byte) {
  assert_int_equal(is_device_address(address), device.type == TARN_DEVICE_CUDA);
  assert_int_equal(is_device_address((const char *)address + last_byte),
                   device.type == TARN_DEVICE_CUDA);
}

static tarn_status fake_copy(void *context, const tarn_copy_rows *rows) {
  queue *self = context;
  if (fake_copies_to_fail >= 0 && fake_copies_to_fail-- == 0) {
    return tarn_fail(TARN_DEVICE_ERROR, "the test lets this copy fail");
  }
  fake_copy_calls++;
  assert_true(rows->row_count == 1 || (rows->dst_pitch_bytes >= rows->row_bytes &&
                                       rows->src_pitch_bytes >= rows->row_bytes));
  check_side(rows->dst, rows->dst_device,
             (rows->row_count - 1) * rows->dst_pitch_bytes + rows->row_bytes - 1);
  check_side(rows->src, rows->src_device,
             (rows->row_count - 1) * rows->src_pitch_bytes + rows->row_bytes - 1);
  tarn_status status = enqueue(self, (work){.rows = *rows});
  if (rows->dst_device.type == TARN_DEVICE_CPU || rows->src_device.type == TARN_DEVICE_CPU) {
    run_until(self, self->enqueued);
  }
  return status;
}

static tarn_status fake_call(void *context, tarn_host_function function, void *argument) {
  return enqueue(context, (work){.function = function, .argument = argument});
}

static tarn_status fake_synchronize(void *context) {
  queue *self = context;
  run_until(self, self->enqueued);
  return TARN_OK;
}

static void disown(queue *self) {
  if (self != NULL && --self->owner_count == 0) free(self);
}

static void fake_destroy(void *context) {
  queue *self = context;
  run_until(self, self->enqueued);
  disown(self);
}

static tarn_status fake_fence_create(void *context, void **made) {
  (void)context;
  *made = calloc(1, sizeof(fence));
  assert_non_null(*made);
  return TARN_OK;
}

static tarn_status fake_fence_record(void *context, void *native) {
  fence *self = native;
  queue *on = context;
  on->owner_count++;
  disown(self->queue);
  *self = (fence){on, on->enqueued};
  return TARN_OK;
}

static tarn_status fake_fence_synchronize(void *native) {
  fence *self = native;
  if (self->queue != NULL) run_until(self->queue, self->position);
  return TARN_OK;
}

/* The other queue works first: an order that a real device may choose, too. */
static tarn_status fake_fence_wait(void *context, void *native) {
  (void)context;
  return fake_fence_synchronize(native);
}

static tarn_status fake_fence_query(void *native) {
  fence *self = native;
  return self->queue == NULL || self->queue->done >= self->position ? TARN_OK : TARN_NOT_READY;
}

static void fake_fence_destroy(void *native) {
  fence *self = native;
  disown(self->queue);
  free(self);
}

/* --- what a stream may do besides --- */

static void check_is_reached(tarn_device dst, tarn_device src) {
  assert_int_not_equal(dst.type, TARN_DEVICE_CPU);
  assert_int_not_equal(src.type, TARN_DEVICE_CPU);
}

static tarn_status fake_planes(void *context, const tarn_copy_planes *planes) {
  check_is_reached(planes->rows.dst_device, planes->rows.src_device);
  assert_int_equal(planes->dst_pitch_bytes % (int64_t)planes->rows.dst_pitch_bytes, 0);
  assert_int_equal(planes->src_pitch_bytes % (int64_t)planes->rows.src_pitch_bytes, 0);
  fake_plane_calls++;
  for (size_t i = 0; i < planes->plane_count; i++) {
    tarn_copy_rows rows = planes->rows;
    rows.dst = (char *)rows.dst + (int64_t)i * planes->dst_pitch_bytes;
    rows.src = (const char *)rows.src + (int64_t)i * planes->src_pitch_bytes;
    const tarn_status status = enqueue(context, (work){.rows = rows});
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

/* From the last one to the first: a batch has no order. */
static tarn_status fake_batch(void *context, const tarn_copy_span *spans, size_t count) {
  fake_batch_calls++;
  for (size_t i = count; i-- > 0;) {
    const tarn_copy_span *span = &spans[i];
    check_is_reached(span->dst_device, span->src_device);
    check_side(span->dst, span->dst_device, span->size_bytes - 1);
    check_side(span->src, span->src_device, span->size_bytes - 1);
    const tarn_copy_rows rows = {
        .dst = span->dst, .src = span->src, .row_bytes = span->size_bytes, .row_count = 1};
    const tarn_status status = enqueue(context, (work){.rows = rows});
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

/* One element of pageable memory, which is read during the call. */
static void hold_value(held_grid *held) {
  assert_in_range(held->grid.element_bytes, 1, sizeof held->value);
  memcpy(held->value, held->grid.src, held->grid.element_bytes);
  held->grid.src = held->value;
  for (int32_t d = 0; d < held->grid.rank; d++) assert_int_equal(held->from[d], 0);
}

static tarn_status fake_grid(void *context, const tarn_copy_grid *grid) {
  const bool fills = grid->src_device.type == TARN_DEVICE_CPU;
  check_is_reached(grid->dst_device, fills ? grid->dst_device : grid->src_device);
  if (fake_refuses_grids) return tarn_fail(TARN_NOT_SUPPORTED, "the test wants no kernel");
  fake_grid_calls++;
  held_grid *held = calloc(1, sizeof *held);
  assert_non_null(held);
  held->grid = *grid;
  for (int32_t d = 0; d < grid->rank; d++) {
    held->shape[d] = grid->shape[d];
    held->to[d] = grid->dst_strides_bytes[d];
    held->from[d] = grid->src_strides_bytes[d];
  }
  if (fills) hold_value(held);
  return enqueue(context, (work){.grid = held});
}

static tarn_stream *create(const tarn_stream_ops *ops) {
  const tarn_stream_options options = {.struct_size = sizeof options,
                                       .device = {TARN_DEVICE_CUDA, 0}};
  tarn_stream *stream;
  queue *self = calloc(1, sizeof *self);
  assert_non_null(self);
  self->owner_count = 1;
  self->last = &self->first;
  assert_int_equal(tarn_stream_create(ops, self, &options, &stream), TARN_OK);
  return stream;
}

#define FAKE_OPS                                                                    \
  .struct_size = sizeof(tarn_stream_ops), .name = "fake device", .copy = fake_copy, \
  .call = fake_call, .synchronize = fake_synchronize, .destroy = fake_destroy,      \
  .fence_create = fake_fence_create, .fence_record = fake_fence_record,             \
  .fence_wait = fake_fence_wait, .fence_query = fake_fence_query,                   \
  .fence_synchronize = fake_fence_synchronize, .fence_destroy = fake_fence_destroy

tarn_stream *fake_device_stream_create(void) {
  static const tarn_stream_ops ops = {FAKE_OPS};
  return create(&ops);
}

tarn_stream *fake_able_stream_create(void) {
  static const tarn_stream_ops ops = {FAKE_OPS, .copy_planes = fake_planes,
                                      .copy_batch = fake_batch, .copy_grid = fake_grid};
  return create(&ops);
}
