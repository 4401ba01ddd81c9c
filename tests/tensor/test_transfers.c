/* test_transfers.c: every kind of host memory, order of elements, way of waiting and direction.
 *
 * On the simulated driver all is done on every schedule and several seeds, and a race ends the
 * program. Exit status 77 in a build without CUDA.
 */
#include "tests/support/pools.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_staging.h"
#include "cuda/sim/cusim.h"
#include "numa/tarn_node_provider.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_linear.h"
#include "tensor/tarn_npy.h"
#include "tests/support/open_cuda.h"

/* Several slots of the ring, so that copies wait for them. */
enum { ROWS = 48, COLUMNS = 64, ELEMENTS = ROWS * COLUMNS, SLOT_BYTES = 4096, SLOTS = 2 };

typedef enum place { PINNED, REGISTERED, PAGEABLE, NODE, NODE_PINNED, FILE_MAPPING, PLACES } place;
static const char *const place_names[] = {"pinned", "registered",       "pageable",
                                          "node",   "page-locked node", "file"};

typedef enum order { IN_ORDER, STRIDED, CONVERTING, ORDERS } order;
static const char *const order_names[] = {"in order", "strided", "converting"};

typedef enum manner {
  BLOCKING, /* the stream is waited for, and both sides are there */
  ORDERED,  /* the source is released at once, and its memory lent out and overwritten */
  DROPPED,  /* both are */
  MANNERS
} manner;
static const char *const manner_names[] = {"blocking", "ordered", "dropped"};

static tarn_cuda *cuda;
static tarn_stream *stream; /* of the copies */
static tarn_stream *other;  /* of those who get the memory next */
static tarn_pool *device_pool;
static tarn_pool *pools[PLACES]; /* NULL for memory that comes from none */
static bool has_nodes;
static bool has_ring;
static char npy_path[] = "/tmp/tarn_transfers_XXXXXX";

/* NULL on a real driver. */
static struct {
  __typeof__(cusim_host_write) *host_write;
  __typeof__(cusim_host_read) *host_read;
  __typeof__(cusim_set_policy) *set_policy;
  __typeof__(cusim_set_seed) *set_seed;
  __typeof__(cusim_race_count) *race_count;
  __typeof__(cusim_fault) *fault;
  __typeof__(cusim_get_counts) *get_counts;
} sim;

static void find(void *library, const char *name, void *function) {
  void *found = dlsym(library, name);
  memcpy(function, &found, sizeof found);
}

static void find_sim(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD); /* by the name inside of it */
  if (library == NULL) return;
  find(library, "cusim_host_write", &sim.host_write);
  find(library, "cusim_host_read", &sim.host_read);
  find(library, "cusim_set_policy", &sim.set_policy);
  find(library, "cusim_set_seed", &sim.set_seed);
  find(library, "cusim_race_count", &sim.race_count);
  find(library, "cusim_fault", &sim.fault);
  find(library, "cusim_get_counts", &sim.get_counts);
  dlclose(library);
}

/* --- memory --- */

static tarn_provider *node_pages(void) {
  tarn_topology *topology;
  tarn_provider *provider = NULL;
  tarn_node_info first = {.struct_size = sizeof first};
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return NULL;
  assert_ok(tarn_topology_node(topology, 0, &first));
  const tarn_node_options options = tarn_node_options_on(first.node);
  assert_ok(tarn_node_provider_create(topology, &options, &provider));
  tarn_topology_release(topology);
  return provider;
}

static tarn_pool *pinned_pool(tarn_provider *host) {
  tarn_provider *provider;
  const tarn_cuda_pinned_options options = {.struct_size = sizeof options, .host = host};
  assert_ok(tarn_cuda_pinned_provider_create(cuda, &options, &provider));
  return pool_over(provider, NULL);
}

static int start(void **state) {
  (void)state;
  tarn_provider *provider;
  assert_ok(tarn_cuda_stream_create(cuda, 0, &stream));
  assert_ok(tarn_cuda_stream_create(cuda, 0, &other));
  assert_ok(tarn_cuda_device_provider_create(cuda, 0, &provider));
  device_pool = pool_over(provider, NULL);
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  pools[PAGEABLE] = pool_over(provider, NULL);
  pools[PINNED] = pinned_pool(NULL);
  provider = node_pages();
  has_nodes = provider != NULL;
  if (has_nodes) {
    pools[NODE_PINNED] = pinned_pool(provider);
    pools[NODE] = pool_over(provider, NULL);
  } else {
    print_message("no memory of nodes: %s\n", tarn_last_error()->message);
  }
  return 0;
}

static int start_with_ring(void **state) {
  tarn_provider *provider;
  tarn_staging *ring;
  const tarn_staging_options options = {
      .struct_size = sizeof options, .slot_bytes = SLOT_BYTES, .slot_count = SLOTS};
  start(state);
  assert_ok(tarn_cuda_pinned_provider_create(cuda, NULL, &provider));
  assert_ok(tarn_staging_create(provider, &options, &ring));
  tarn_provider_release(provider);
  assert_ok(tarn_stream_set_staging(stream, ring));
  tarn_staging_release(ring); /* the stream has it */
  has_ring = true;
  return 0;
}

static int stop(void **state) {
  (void)state;
  tarn_stream_release(stream);
  tarn_stream_release(other);
  for (int i = 0; i < PLACES; i++) {
    tarn_pool_release(pools[i]);
    pools[i] = NULL;
  }
  tarn_pool_release(device_pool);
  return 0;
}

static bool is_pageable(place where) {
  return where == PAGEABLE || where == NODE || where == FILE_MAPPING;
}

/* The CPU writes memory that copies may use. */
static void touch(const tarn_tensor *tensor, uint8_t value) {
  const size_t size_bytes = tarn_storage_size_bytes(tensor->storage);
  void *data = tarn_storage_data_mutable(tensor->storage);
  if (sim.host_write != NULL) sim.host_write(data, size_bytes);
  memset(data, value, size_bytes);
}

/* Nobody may use registered memory any more when its owner has it back. */
static void take_back(void *address) {
  if (sim.host_write != NULL) sim.host_write(address, ELEMENTS * sizeof(float));
  memset(address, 0xEE, ELEMENTS * sizeof(float));
  free(address);
}

static tarn_status registered_storage(tarn_storage **storage) {
  enum { PAGE = 4096, BYTES = ELEMENTS * sizeof(float) };
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = aligned_alloc(PAGE, (BYTES + PAGE - 1) / PAGE * PAGE),
                          .size_bytes = BYTES,
                          .deleter = take_back};
  assert_non_null(blob.address);
  tarn_blob own = blob;
  own.context = blob.address;
  const tarn_status status = tarn_cuda_pinned_wrap(cuda, &own, storage);
  if (status != TARN_OK) free(own.address);
  return status;
}

static const int64_t base_shape[] = {ROWS, COLUMNS};

/* All of the memory, row-major. A file is mapped to be read, or for both. */
static tarn_tensor whole(place where, tarn_dtype dtype, bool is_read) {
  tarn_tensor tensor = {.dtype = dtype};
  if (where == FILE_MAPPING) {
    tarn_tensor model;
    const tarn_npy_open_options options = {
        .struct_size = sizeof options, .mode = is_read ? TARN_NPY_READ_ONLY : TARN_NPY_READ_WRITE};
    assert_ok(tarn_tensor_create(pools[PAGEABLE], dtype, 2, base_shape, NULL, &model));
    for (size_t i = 0; i < ELEMENTS; i++) {
      const int32_t number = (int32_t)i - 1000;
      if (tarn_dtype_equal(dtype, TARN_I16)) {
        ((int16_t *)tarn_tensor_data_mutable(&model))[i] = (int16_t)number;
      } else {
        ((float *)tarn_tensor_data_mutable(&model))[i] = (float)number;
      }
    }
    assert_ok(tarn_npy_save(&model, npy_path, NULL, NULL));
    tarn_tensor_release(&model);
    assert_ok(tarn_npy_open(npy_path, &options, &tensor));
    return tensor;
  }
  if (where == REGISTERED) {
    assert_ok(registered_storage(&tensor.storage));
    assert_ok(tarn_layout_init(&tensor.layout, 2, base_shape));
    return tensor;
  }
  assert_ok(tarn_tensor_create(pools[where], dtype, 2, base_shape, NULL, &tensor));
  return tensor;
}

static float number_at(const tarn_tensor *tensor, int64_t row, int64_t column) {
  const tarn_layout *layout = &tensor->layout;
  const int64_t at = layout->offset + row * layout->strides[0] + column * layout->strides[1];
  const void *data = tarn_storage_data(tensor->storage);
  return tarn_dtype_equal(tensor->dtype, TARN_I16) ? (float)((const int16_t *)data)[at]
                                                   : ((const float *)data)[at];
}

static void fill_numbers(const tarn_tensor *all) {
  const size_t size_bytes = tarn_storage_size_bytes(all->storage);
  void *data = tarn_storage_data_mutable(all->storage);
  if (sim.host_write != NULL) sim.host_write(data, size_bytes);
  for (int32_t i = 0; i < ELEMENTS; i++) {
    if (tarn_dtype_equal(all->dtype, TARN_I16)) {
      ((int16_t *)data)[i] = (int16_t)(i - 1000);
    } else {
      ((float *)data)[i] = (float)(i - 1000);
    }
  }
}

/* The view of the host's memory that is copied, and what number belongs at one of its indices. */
static void view(order how, tarn_tensor *tensor) {
  if (how != STRIDED) return;
  assert_ok(tarn_tensor_slice(tensor, 1, TARN_SLICE_OPEN, TARN_SLICE_OPEN, 2));
  assert_ok(tarn_tensor_transpose(tensor, 0, 1));
}

static float expected_at(order how, int64_t row, int64_t column) {
  const int64_t at = how == STRIDED ? column * COLUMNS + 2 * row : row * COLUMNS + column;
  return (float)(at - 1000);
}

/* The device's side: of the view's shape, in order or with gaps behind its rows. */
static tarn_tensor far_side(const tarn_tensor *near, order how) {
  tarn_tensor far;
  int64_t shape[] = {near->layout.shape[0], near->layout.shape[1]};
  if (how == STRIDED) shape[1] += 5;
  assert_ok(tarn_tensor_create(device_pool, TARN_F32, 2, shape, stream, &far));
  assert_ok(tarn_tensor_narrow(&far, 1, 0, near->layout.shape[1]));
  return far;
}

/* --- what must have come over --- */

static void check_numbers(const tarn_tensor *seen, order how) {
  const void *data = tarn_storage_data(seen->storage);
  if (sim.host_read != NULL) sim.host_read(data, tarn_storage_size_bytes(seen->storage));
  for (int64_t row = 0; row < seen->layout.shape[0]; row++) {
    for (int64_t column = 0; column < seen->layout.shape[1]; column++) {
      const float found = number_at(seen, row, column);
      if (found == expected_at(how, row, column)) continue;
      fail_msg("row %d column %d: %g, not %g", (int)row, (int)column, (double)found,
               (double)expected_at(how, row, column));
    }
  }
}

/* The plainest copy there is, of the device's rows, gaps and all. */
static void fetch_and_check(const tarn_tensor *far, order how) {
  tarn_tensor seen = *far;
  const size_t size_bytes = tarn_storage_size_bytes(far->storage);
  assert_ok(tarn_storage_create(pools[PINNED], size_bytes, NULL, &seen.storage));
  assert_ok(tarn_stream_copy(stream, tarn_storage_data_mutable(seen.storage),
                             tarn_storage_device(seen.storage), tarn_storage_data(far->storage),
                             tarn_storage_device(far->storage), size_bytes));
  assert_ok(tarn_stream_synchronize(stream));
  check_numbers(&seen, how);
  tarn_tensor_release(&seen);
}

/* --- who gets the memory next --- */

enum { GRABS = 3 };

/* Storages of a size that was just released, written by their new owners at once. */
static void grab_far(size_t size_bytes, tarn_storage *grabbed[GRABS]) {
  for (int i = 0; i < GRABS; i++) {
    assert_ok(tarn_storage_create(device_pool, size_bytes, other, &grabbed[i]));
    assert_ok(tarn_stream_fill(other, tarn_storage_data_mutable(grabbed[i]),
                               tarn_storage_device(grabbed[i]), 0xEE, size_bytes));
  }
}

static void grab_near(place where, size_t size_bytes, tarn_tensor grabbed[GRABS]) {
  for (int i = 0; i < GRABS; i++) {
    grabbed[i] = (tarn_tensor){.storage = NULL};
    if (pools[where] == NULL) continue;
    assert_ok(tarn_storage_create(pools[where], size_bytes, NULL, &grabbed[i].storage));
    touch(&grabbed[i], 0xEE);
  }
}

static void check_is_left_alone(const void *bytes, size_t size_bytes) {
  for (size_t i = 0; i < size_bytes; i++) {
    if (((const uint8_t *)bytes)[i] != 0xEE) fail_msg("a late copy wrote byte %zu", i);
  }
}

static void drop_near(tarn_tensor grabbed[GRABS]) {
  for (int i = 0; i < GRABS; i++) {
    if (grabbed[i].storage == NULL) continue;
    const size_t size_bytes = tarn_storage_size_bytes(grabbed[i].storage);
    if (sim.host_read != NULL) {
      sim.host_read(tarn_storage_data(grabbed[i].storage), size_bytes);
    }
    check_is_left_alone(tarn_storage_data(grabbed[i].storage), size_bytes);
    tarn_storage_release(grabbed[i].storage);
  }
}

static void drop_far(tarn_storage *grabbed[GRABS]) {
  for (int i = 0; i < GRABS; i++) {
    const size_t size_bytes = tarn_storage_size_bytes(grabbed[i]);
    tarn_storage *seen;
    assert_ok(tarn_storage_create(pools[PINNED], size_bytes, NULL, &seen));
    assert_ok(tarn_stream_copy(other, tarn_storage_data_mutable(seen), tarn_storage_device(seen),
                               tarn_storage_data(grabbed[i]), tarn_storage_device(grabbed[i]),
                               size_bytes));
    assert_ok(tarn_stream_synchronize(other));
    check_is_left_alone(tarn_storage_data(seen), size_bytes);
    tarn_storage_release(seen);
    tarn_storage_release(grabbed[i]);
  }
}

/* --- the report --- */

static void check_is_quiet(void) {
  cusim_counts counts;
  if (sim.get_counts == NULL) return;
  sim.get_counts(&counts);
  assert_int_equal(counts.pending_operations, 0);
}

/* Pageable memory has been read, or written, when the call returns; what is page-locked and in
 * order is left to the stream. */
static void check_report(const tarn_copy_report *report, place where, order how, bool is_upload) {
  if (is_pageable(where)) {
    assert_true(is_upload ? report->is_source_read : report->was_synchronous);
    if (!has_ring) assert_true(report->was_synchronous);
  } else if (how == IN_ORDER) {
    assert_false(report->was_synchronous);
  }
  if (report->was_synchronous) {
    assert_true(report->is_source_read);
    check_is_quiet();
  }
}

/* --- one transfer --- */

static void upload(place where, order how, manner when) {
  const tarn_dtype dtype = how == CONVERTING ? TARN_I16 : TARN_F32;
  tarn_tensor near = whole(where, dtype, /*is_read=*/true), grabbed[GRABS];
  tarn_storage *far_grabbed[GRABS];
  const size_t near_bytes = tarn_storage_size_bytes(near.storage);
  if (where != FILE_MAPPING) fill_numbers(&near);
  view(how, &near);
  tarn_tensor far = far_side(&near, how);
  const size_t far_bytes = tarn_storage_size_bytes(far.storage);
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_ok(tarn_tensor_copy(&far, &near, stream, &report));
  check_report(&report, where, how, /*is_upload=*/true);
  if (when == BLOCKING) {
    assert_ok(tarn_stream_synchronize(stream));
    fetch_and_check(&far, how);
    tarn_tensor_release(&near);
    tarn_tensor_release(&far);
    return;
  }
  if (report.is_source_read && where != FILE_MAPPING) touch(&near, 0xDD);
  tarn_tensor_release(&near);
  grab_near(where, near_bytes, grabbed);
  if (when == ORDERED) {
    fetch_and_check(&far, how);
    tarn_tensor_release(&far);
  } else {
    tarn_tensor_release(&far);
    grab_far(far_bytes, far_grabbed);
    assert_ok(tarn_stream_synchronize(stream));
    drop_far(far_grabbed);
  }
  drop_near(grabbed);
}

static void download(place where, order how, manner when) {
  const tarn_dtype dtype = how == CONVERTING ? TARN_I16 : TARN_F32;
  tarn_tensor near = whole(where, dtype, /*is_read=*/false), grabbed[GRABS], source, all;
  tarn_storage *far_grabbed[GRABS];
  const size_t near_bytes = tarn_storage_size_bytes(near.storage);
  /* The numbers come to the device from page-locked memory. */
  source = whole(PINNED, TARN_F32, /*is_read=*/true);
  fill_numbers(&source);
  view(how, &source);
  tarn_tensor far = far_side(&source, how);
  assert_ok(tarn_tensor_copy(&far, &source, stream, NULL));
  assert_ok(tarn_stream_synchronize(stream));
  tarn_tensor_release(&source);

  all = near;
  touch(&all, 0);
  view(how, &near);
  const size_t far_bytes = tarn_storage_size_bytes(far.storage);
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_ok(tarn_tensor_copy(&near, &far, stream, &report));
  check_report(&report, where, how, /*is_upload=*/false);
  if (when == BLOCKING) {
    assert_ok(tarn_stream_synchronize(stream));
    check_numbers(&near, how);
    tarn_tensor_release(&near);
    tarn_tensor_release(&far);
    return;
  }
  tarn_tensor_release(&far);
  grab_far(far_bytes, far_grabbed);
  if (when == ORDERED) {
    if (!report.was_synchronous) assert_ok(tarn_stream_synchronize(stream));
    check_numbers(&near, how);
    tarn_tensor_release(&near);
  } else {
    tarn_tensor_release(&near);
    grab_near(where, near_bytes, grabbed);
    assert_ok(tarn_stream_synchronize(stream));
    drop_near(grabbed);
  }
  drop_far(far_grabbed);
}

static void all_transfers(const char *schedule) {
  for (int where = 0; where < PLACES; where++) {
    if ((where == NODE || where == NODE_PINNED) && !has_nodes) continue;
    for (int how = 0; how < ORDERS; how++) {
      for (int when = 0; when < MANNERS; when++) {
        for (int is_upload = 0; is_upload < 2; is_upload++) {
          print_message("%s: %s, %s, %s, %s\n", schedule, place_names[where], order_names[how],
                        manner_names[when], is_upload ? "up" : "down");
          (is_upload ? upload : download)((place)where, (order)how, (manner)when);
          assert_ok(tarn_stream_synchronize(stream));
          assert_ok(tarn_stream_synchronize(other));
          if (sim.fault != NULL) assert_string_equal(sim.fault(), "");
          if (sim.race_count != NULL) assert_int_equal(sim.race_count(), 0);
        }
      }
    }
  }
}

/* Runs it on the schedules of the simulated driver, or once. */
static void on_every_schedule(void (*run)(const char *schedule)) {
  static const struct {
    cusim_policy policy;
    uint64_t seed;
    const char *name;
  } schedules[] = {{CUSIM_LAZY, 1, "lazy"},       {CUSIM_EAGER, 1, "eager"},
                   {CUSIM_REUSE, 1, "reuse"},     {CUSIM_RANDOM, 5, "random 5"},
                   {CUSIM_STARVE, 7, "starve 7"}, {CUSIM_PRIORITY, 8, "priority 8"}};
  if (sim.set_policy == NULL) {
    run("driver");
    return;
  }
  for (size_t i = 0; i < COUNT_OF(schedules); i++) {
    sim.set_policy(schedules[i].policy);
    sim.set_seed(schedules[i].seed);
    run(schedules[i].name);
  }
}

TEST(every_transfer_brings_its_bytes_and_protects_both_sides) {
  on_every_schedule(all_transfers);
}

/* A file that is mapped to be read is not written. */
TEST(a_read_only_mapping_is_no_destination) {
  tarn_tensor near = whole(FILE_MAPPING, TARN_F32, /*is_read=*/true);
  tarn_tensor far = far_side(&near, IN_ORDER);
  assert_status(tarn_tensor_copy(&near, &far, stream, NULL), TARN_READ_ONLY);
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

/* --- linear access --- */

/* Written in order by the CPU, scattered on the device, released at once; and read back. */
static void a_linear_round(place where) {
  const int64_t shape[] = {COLUMNS, ROWS};
  tarn_tensor far, turned;
  tarn_linear_span span;
  tarn_storage *grabbed[GRABS];
  assert_ok(tarn_tensor_create(device_pool, TARN_F32, 2, shape, stream, &far));
  turned = far;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_WRITE, pools[where], stream, &span));
  if (sim.host_write != NULL) sim.host_write(span.data, ELEMENTS * sizeof(float));
  for (int i = 0; i < ELEMENTS; i++) ((float *)span.data)[i] = (float)(i - 1000);
  assert_ok(tarn_linear_end(&span, stream));
  assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_READ, pools[where], stream, &span));
  assert_false(span.is_zero_copy);
  tarn_tensor_release(&far);
  grab_far(ELEMENTS * sizeof(float), grabbed);
  if (sim.host_read != NULL) sim.host_read(span.data, ELEMENTS * sizeof(float));
  for (int i = 0; i < ELEMENTS; i++) {
    if (((const float *)span.data)[i] != (float)(i - 1000)) fail_msg("element %d", i);
  }
  assert_ok(tarn_linear_end(&span, stream));
  drop_far(grabbed);
}

static void all_linear_rounds(const char *schedule) {
  for (int where = 0; where < PLACES; where++) {
    if (pools[where] == NULL) continue;
    print_message("%s: linear access by %s memory\n", schedule, place_names[where]);
    a_linear_round((place)where);
    assert_ok(tarn_stream_synchronize(stream));
    assert_ok(tarn_stream_synchronize(other));
    if (sim.race_count != NULL) assert_int_equal(sim.race_count(), 0);
  }
}

TEST(linear_access_is_one_such_transfer) {
  on_every_schedule(all_linear_rounds);
}

int main(void) {
  const tarn_status status = test_open_cuda(&cuda);
  if (status != TARN_OK) {
    printf("%s: %s\n", tarn_status_name(status), tarn_last_error()->message);
    return status == TARN_NOT_SUPPORTED ? 77 : 1;
  }
  find_sim();
  if (tarn_cuda_is_simulated(cuda) != (sim.set_policy != NULL)) return 1;
  const int file = mkstemp(npy_path);
  if (file < 0) return 1;
  close(file);
  int failed = run_listed_tests(start, stop);
  failed += run_listed_tests(start_with_ring, stop);
  unlink(npy_path);
  tarn_cuda_release(cuda);
  return failed;
}
