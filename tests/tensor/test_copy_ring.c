/* test_copy_ring.c: tensors between the host and a device whose stream has a staging ring. */
#include <stdlib.h>
#include <string.h>

#include "tensor/tarn_copy.h"
#include "tensor/tarn_linear_walk.h"
#include "tests/tensor/layout_model.h"
#include "tests/tensor/ring_places.h"

enum { BYTES = 1 << 17 };

static void make(tarn_tensor *tensor, tarn_pool *from) {
  tarn_stream *order = from == device_pool ? device_stream : NULL;
  assert_ok(tarn_storage_create(from, BYTES, order, &tensor->storage));
  assert_ok(tarn_stream_synchronize(device_stream));
}

/* --- any layouts --- */

static int round_count = 400; /* fewer where the same is done again */

static void a_round(uint64_t *random, tarn_pool *to, tarn_pool *from) {
  static char pattern[BYTES], expected[BYTES];
  static const tarn_dtype dtypes[] = {
      {TARN_CODE_BOOL, 8, 1}, {TARN_CODE_FLOAT, 32, 1}, {TARN_CODE_COMPLEX, 128, 1}};
  int64_t shape[TARN_RANK_MAX];
  const int32_t rank = random_shape(random, 20, 1000, shape);
  tarn_tensor dst = {.dtype = dtypes[random_in(random, 0, 2)]}, src = dst;
  dst.layout = random_layout_of(random, rank, shape, /*may_overlap=*/false);
  src.layout = random_layout_of(random, rank, shape, /*may_overlap=*/true);
  make(&dst, to);
  make(&src, from);
  random_fill(random, pattern, sizeof pattern);
  memcpy(bytes_of(&src), pattern, sizeof pattern);
  memset(bytes_of(&dst), 0, BYTES);
  memset(expected, 0, sizeof expected);
  model_copy(&dst.layout, expected, &src.layout, pattern, tarn_dtype_size_bytes(dst.dtype));
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_ok(tarn_tensor_copy(&dst, &src, device_stream, &report));
  if (report.run_count > 0 && (to == pool || from == pool)) {
    assert_string_equal(report.executor, "ring");
    assert_int_equal(report.was_synchronous, to == pool);
    assert_true(report.is_source_read);
  }
  if (report.is_source_read) memset(bytes_of(&src), 0x5a, BYTES);
  assert_ok(tarn_stream_synchronize(device_stream));
  assert_memory_equal(bytes_of(&dst), expected, BYTES);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

static void copies_of_any_layouts_equal_the_model(void **state) {
  (void)state;
  uint64_t random = 11;
  for (int round = 0; round < round_count; round++) {
    a_round(&random, device_pool, pool);
    a_round(&random, pool, device_pool);
    a_round(&random, device_pool, pinned_pool);
    a_round(&random, pinned_pool, device_pool);
    a_round(&random, device_pool, device_pool);
  }
}

static void conversions_equal_those_of_the_host(void **state) {
  (void)state;
  uint64_t random = 5;
  static const tarn_dtype dtypes[] = {
      {TARN_CODE_INT, 8, 1}, {TARN_CODE_FLOAT, 32, 1}, {TARN_CODE_FLOAT, 64, 1}};
  for (int round = 0; round < round_count / 2; round++) {
    int64_t shape[TARN_RANK_MAX];
    const int32_t rank = random_shape(&random, 20, 1000, shape);
    const bool is_to_device = round % 2 == 0;
    tarn_tensor dst = {.dtype = dtypes[round % 3]}, src = {.dtype = dtypes[(round / 3) % 3]};
    dst.layout = random_layout_of(&random, rank, shape, /*may_overlap=*/false);
    src.layout = random_layout_of(&random, rank, shape, /*may_overlap=*/true);
    tarn_tensor near_dst = dst, near_src = src;
    make(&dst, is_to_device ? device_pool : pool);
    make(&src, is_to_device ? pool : device_pool);
    make(&near_dst, pool);
    make(&near_src, pool);
    for (int i = 0; i < BYTES; i++) bytes_of(&near_src)[i] = (char)(i * 13 % 61);
    memcpy(bytes_of(&src), bytes_of(&near_src), BYTES);
    memset(bytes_of(&dst), 0, BYTES);
    memset(bytes_of(&near_dst), 0, BYTES);
    assert_ok(tarn_tensor_copy(&near_dst, &near_src, NULL, NULL));
    assert_ok(tarn_tensor_copy(&dst, &src, device_stream, NULL));
    assert_ok(tarn_stream_synchronize(device_stream));
    assert_memory_equal(bytes_of(&dst), bytes_of(&near_dst), BYTES);
    tarn_tensor_release(&near_src);
    tarn_tensor_release(&near_dst);
    tarn_tensor_release(&src);
    tarn_tensor_release(&dst);
  }
}

/* --- order --- */

static void write_sevens(void *bytes) {
  memset(bytes, 7, BYTES);
}

/* `from` is written by a host function that has not run when the copy begins. */
static void copy_behind_a_host_function(tarn_pool *from, bool is_turned) {
  tarn_tensor dst, src;
  const int64_t shape[] = {BYTES / 128, 128};
  assert_ok(tarn_tensor_create(from, TARN_U8, 2, shape, NULL, &src));
  assert_ok(tarn_tensor_create(device_pool, TARN_U8, 2, shape, device_stream, &dst));
  memset(bytes_of(&src), 1, BYTES);
  if (is_turned) {
    assert_ok(tarn_tensor_transpose(&src, 0, 1));
    assert_ok(tarn_tensor_transpose(&dst, 0, 1));
    assert_ok(tarn_tensor_slice(&dst, 0, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1));
  }
  assert_ok(tarn_stream_call(device_stream, write_sevens, bytes_of(&src)));
  assert_ok(tarn_tensor_copy(&dst, &src, device_stream, NULL));
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int i = 0; i < BYTES; i++) assert_int_equal(bytes_of(&dst)[i], 7);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

static void what_host_functions_write_is_read_behind_them(void **state) {
  (void)state;
  copy_behind_a_host_function(pool, false);
  copy_behind_a_host_function(pool, true);
  copy_behind_a_host_function(pinned_pool, true);
}

static void a_source_may_go_back_to_its_pool_at_once(void **state) {
  (void)state;
  tarn_tensor dst, src, next;
  const int64_t shape[] = {SLOT_BYTES};
  assert_ok(tarn_tensor_create(pool, TARN_U8, 1, shape, NULL, &src));
  assert_ok(tarn_tensor_create(device_pool, TARN_U8, 1, shape, device_stream, &dst));
  memset(bytes_of(&src), 3, SLOT_BYTES);
  assert_ok(tarn_tensor_copy(&dst, &src, device_stream, NULL));
  const void *address = tarn_tensor_data(&src);
  tarn_tensor_release(&src);
  assert_ok(tarn_tensor_create(pool, TARN_U8, 1, shape, NULL, &next));
  assert_ptr_equal(tarn_tensor_data(&next), address); /* no stream holds it */
  memset(bytes_of(&next), 9, SLOT_BYTES);
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int i = 0; i < SLOT_BYTES; i++) assert_int_equal(bytes_of(&dst)[i], 3);
  tarn_tensor_release(&next);
  tarn_tensor_release(&dst);
}

static void elements_larger_than_a_slot_go_as_bytes(void **state) {
  (void)state;
  const tarn_dtype wide = {TARN_CODE_UINT, 8, 5000};
  const int64_t shape[] = {2, 3};
  tarn_tensor dst, src;
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_ok(tarn_tensor_create(pool, wide, 2, shape, NULL, &src));
  assert_ok(tarn_tensor_create(device_pool, wide, 2, shape, device_stream, &dst));
  for (int i = 0; i < 30000; i++) bytes_of(&src)[i] = (char)(i * 3);
  assert_ok(tarn_tensor_copy(&dst, &src, device_stream, &report));
  assert_false(report.was_synchronous);
  assert_true(report.is_source_read);
  assert_ok(tarn_stream_synchronize(device_stream));
  assert_memory_equal(bytes_of(&dst), bytes_of(&src), 30000);
  memset(bytes_of(&src), 0, 30000);
  assert_ok(tarn_tensor_copy(&src, &dst, device_stream, &report));
  assert_true(report.was_synchronous);
  assert_memory_equal(bytes_of(&dst), bytes_of(&src), 30000);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

/* --- failures --- */

static void a_copy_that_fails_in_the_middle_keeps_no_slot(void **state) {
  (void)state;
  tarn_tensor near, far;
  const int64_t shape[] = {BYTES};
  assert_ok(tarn_tensor_create(pool, TARN_U8, 1, shape, NULL, &near));
  assert_ok(tarn_tensor_create(device_pool, TARN_U8, 1, shape, device_stream, &far));
  memset(bytes_of(&near), 1, BYTES);
  for (int nth = 0; nth < BYTES / SLOT_BYTES; nth++) {
    fake_copies_to_fail = nth;
    assert_status(tarn_tensor_copy(&far, &near, device_stream, NULL), TARN_DEVICE_ERROR);
    assert_int_equal(stats_of_ring().held_count, 0);
    fake_copies_to_fail = nth;
    assert_status(tarn_tensor_copy(&near, &far, device_stream, NULL), TARN_DEVICE_ERROR);
    assert_int_equal(stats_of_ring().held_count, 0);
  }
  fake_copies_to_fail = -1;
  memset(bytes_of(&near), 2, BYTES);
  assert_ok(tarn_tensor_copy(&far, &near, device_stream, NULL));
  memset(bytes_of(&near), 3, BYTES);
  assert_ok(tarn_tensor_copy(&near, &far, device_stream, NULL));
  for (int i = 0; i < BYTES; i++) assert_int_equal(bytes_of(&near)[i], 2);
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

static void slots_in_other_hands_make_copies_slower_and_not_wrong(void **state) {
  (void)state;
  tarn_staging_slot held[SLOTS - 1];
  uint64_t random = 3;
  for (int i = 0; i < SLOTS - 1; i++) assert_ok(tarn_staging_acquire(ring, 0, &held[i]));
  for (int round = 0; round < 30; round++) {
    a_round(&random, device_pool, pool);
    a_round(&random, pool, device_pool);
  }
  for (int i = 0; i < SLOTS - 1; i++) tarn_staging_give_back(&held[i]);
}

/* --- linear access --- */

static void linear_access_goes_through_the_ring(void **state) {
  (void)state;
  enum { ROWS = 60, COLUMNS = 100 };
  tarn_tensor tensor, turned;
  tarn_linear_span span;
  const int64_t shape[] = {ROWS, COLUMNS};
  assert_ok(tarn_tensor_create(device_pool, TARN_I32, 2, shape, device_stream, &tensor));
  int32_t *numbers = (int32_t *)bytes_of(&tensor);
  for (int32_t i = 0; i < ROWS * COLUMNS; i++) numbers[i] = i;
  turned = tensor;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  const uint64_t before = stats_of_ring().passed_bytes;
  assert_ok(
      tarn_linear_begin(&turned, TARN_LINEAR_READ | TARN_LINEAR_WRITE, pool, device_stream, &span));
  int32_t *linear = span.data;
  for (int32_t i = 0; i < ROWS * COLUMNS; i++) {
    assert_int_equal(linear[i], i % ROWS * COLUMNS + i / ROWS);
    linear[i] += 7;
  }
  assert_ok(tarn_linear_end(&span, device_stream));
  assert_int_equal(stats_of_ring().passed_bytes - before, 2 * ROWS * COLUMNS * sizeof(int32_t));
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int32_t i = 0; i < ROWS * COLUMNS; i++) assert_int_equal(numbers[i], i + 7);
  tarn_tensor_release(&tensor);
}

static void a_walk_writes_through_the_ring(void **state) {
  (void)state;
  enum { COUNT = 20000 };
  tarn_tensor tensor;
  tarn_linear_walk walk;
  tarn_status status;
  const int64_t shape[] = {COUNT};
  assert_ok(tarn_tensor_create(device_pool, TARN_I32, 1, shape, device_stream, &tensor));
  int32_t *numbers = (int32_t *)bytes_of(&tensor);
  for (int32_t i = 0; i < COUNT; i++) numbers[i] = i;
  assert_ok(tarn_linear_walk_begin(&tensor, TARN_LINEAR_READ | TARN_LINEAR_WRITE, 9000, pool,
                                   device_stream, &walk));
  while ((status = tarn_linear_walk_next(&walk)) == TARN_OK && walk.data != NULL) {
    for (int64_t i = 0; i < walk.element_count; i++) {
      int32_t *at = (int32_t *)walk.data + i;
      assert_int_equal(*at, walk.first_element + i);
      *at = -*at;
    }
  }
  assert_ok(status);
  assert_ok(tarn_linear_walk_end(&walk));
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int32_t i = 0; i < COUNT; i++) assert_int_equal(numbers[i], -i);
  tarn_tensor_release(&tensor);
}

/* --- a device that turns and converts --- */

static int start_able_ring(void **state) {
  round_count = 40;
  start_ring(state);
  make_stream_able();
  assert_ok(tarn_stream_set_staging(device_stream, ring));
  return 0;
}

static tarn_copy_report copied(const tarn_tensor *dst, const tarn_tensor *src) {
  tarn_copy_report report = {.struct_size = sizeof report};
  fake_grid_calls = 0;
  assert_ok(tarn_tensor_copy(dst, src, device_stream, &report));
  return report;
}

/* The CPU copies what it would have to turn or convert as it is, and less of it where the source's
 * elements are the smaller ones. */
static void the_device_does_what_the_cpu_need_not(void **state) {
  (void)state;
  enum { EDGE = 100 };
  static float seen[EDGE * EDGE];
  const int64_t shape[] = {EDGE, EDGE};
  const uint64_t before = stats_of_ring().passed_bytes;
  tarn_tensor near, far;
  assert_ok(tarn_tensor_create(pool, TARN_I8, 2, shape, NULL, &near));
  assert_ok(tarn_tensor_create(device_pool, TARN_F32, 2, shape, device_stream, &far));
  for (int i = 0; i < EDGE * EDGE; i++) ((int8_t *)bytes_of(&near))[i] = (int8_t)(i % 100);
  assert_ok(tarn_tensor_transpose(&near, 0, 1));
  assert_string_equal(copied(&far, &near).executor, "ring");
  assert_true(fake_grid_calls >= EDGE * EDGE / SLOT_BYTES);
  assert_int_equal(stats_of_ring().passed_bytes - before, EDGE * EDGE);
  memset(bytes_of(&near), 0, EDGE * EDGE); /* read already */
  assert_string_equal(copied(&near, &far).executor, "ring");
  assert_true(fake_grid_calls >= EDGE * EDGE / SLOT_BYTES);
  for (int i = 0; i < EDGE * EDGE; i++) {
    assert_int_equal(((int8_t *)bytes_of(&near))[i], i % 100);
  }
  memcpy(seen, bytes_of(&far), sizeof seen);
  for (int i = 0; i < EDGE * EDGE; i++) {
    assert_true(seen[i] == (float)(i / EDGE)); /* columns, turned into rows */
  }
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

static void rows_that_the_cpu_need_not_turn_are_not_the_devices(void **state) {
  (void)state;
  const int64_t shape[] = {BYTES};
  tarn_tensor near, far;
  assert_ok(tarn_tensor_create(pool, TARN_U8, 1, shape, NULL, &near));
  assert_ok(tarn_tensor_create(device_pool, TARN_U8, 1, shape, device_stream, &far));
  assert_string_equal(copied(&far, &near).executor, "ring");
  assert_int_equal(fake_grid_calls, 0);
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

static void what_the_device_refuses_is_the_cpus(void **state) {
  fake_refuses_grids = true;
  fake_grid_calls = 0;
  copies_of_any_layouts_equal_the_model(state);
  conversions_equal_those_of_the_host(state);
  assert_int_equal(fake_grid_calls, 0);
  fake_refuses_grids = false;
}

int main(void) {
  const struct CMUnitTest able_tests[] = {
      cmocka_unit_test(copies_of_any_layouts_equal_the_model),
      cmocka_unit_test(conversions_equal_those_of_the_host),
      cmocka_unit_test(what_host_functions_write_is_read_behind_them),
      cmocka_unit_test(a_source_may_go_back_to_its_pool_at_once),
      cmocka_unit_test(slots_in_other_hands_make_copies_slower_and_not_wrong),
      cmocka_unit_test(linear_access_goes_through_the_ring),
      cmocka_unit_test(the_device_does_what_the_cpu_need_not),
      cmocka_unit_test(rows_that_the_cpu_need_not_turn_are_not_the_devices),
      cmocka_unit_test(what_the_device_refuses_is_the_cpus),
  };
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(copies_of_any_layouts_equal_the_model),
      cmocka_unit_test(conversions_equal_those_of_the_host),
      cmocka_unit_test(what_host_functions_write_is_read_behind_them),
      cmocka_unit_test(a_source_may_go_back_to_its_pool_at_once),
      cmocka_unit_test(elements_larger_than_a_slot_go_as_bytes),
      cmocka_unit_test(a_copy_that_fails_in_the_middle_keeps_no_slot),
      cmocka_unit_test(slots_in_other_hands_make_copies_slower_and_not_wrong),
      cmocka_unit_test(linear_access_goes_through_the_ring),
      cmocka_unit_test(a_walk_writes_through_the_ring),
  };
  const int failed = cmocka_run_group_tests(tests, start_ring, stop_ring);
  return failed + cmocka_run_group_tests(able_tests, start_able_ring, stop_ring);
}
