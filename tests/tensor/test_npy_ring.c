/* test_npy_ring.c: .npy files to and from a device through a staging ring. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tensor/tarn_npy.h"
#include "tests/tensor/ring_places.h"

enum { ROWS = 90, COLUMNS = 70, COUNT = ROWS * COLUMNS };

static const int64_t shape[] = {ROWS, COLUMNS};
static char folder[] = "/tmp/tarn_ring_XXXXXX", path[64], other[64];

static int start_files(void **state) {
  start_ring(state);
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/one.npy", folder);
  snprintf(other, sizeof other, "%s/other.npy", folder);
  return 0;
}

static int stop_files(void **state) {
  unlink(path);
  unlink(other);
  assert_int_equal(rmdir(folder), 0); /* nothing else is left there */
  return stop_ring(state);
}

/* A tensor on the host with numbers in it, and the file of it. */
static tarn_tensor save_numbers(void) {
  tarn_tensor near;
  assert_ok(tarn_tensor_create(pool, TARN_F32, 2, shape, NULL, &near));
  float *numbers = (float *)bytes_of(&near);
  for (int i = 0; i < COUNT; i++) numbers[i] = (float)i / 3;
  assert_ok(tarn_npy_save(&near, path, NULL, NULL));
  return near;
}

TEST(a_file_is_read_into_slots_and_not_mapped) {
  tarn_tensor near = save_numbers(), far;
  const uint64_t before = stats_of_ring().passed_bytes;
  assert_ok(tarn_npy_load(path, device_pool, device_stream, &far));
  assert_int_equal(stats_of_ring().passed_bytes - before, COUNT * sizeof(float));
  assert_true(tarn_dtype_equal(far.dtype, TARN_F32));
  assert_int_equal(far.layout.shape[1], COLUMNS);
  assert_ok(tarn_stream_synchronize(device_stream));
  assert_memory_equal(bytes_of(&far), bytes_of(&near), COUNT * sizeof(float));
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

static long read_file(const char *name, char *bytes, size_t size_bytes) {
  FILE *file = fopen(name, "rb");
  assert_non_null(file);
  const size_t got = fread(bytes, 1, size_bytes, file);
  fclose(file);
  return (long)got;
}

/* As it lies, transposed (Fortran's order), and in neither order. */
TEST(files_from_a_device_are_those_of_the_host_byte_for_byte) {
  static char one[1 << 16], two[1 << 16];
  for (int view = 0; view < 3; view++) {
    tarn_tensor near = save_numbers(), far;
    assert_ok(tarn_npy_load(path, device_pool, device_stream, &far));
    tarn_tensor near_view = near, far_view = far;
    for (int side = 0; side < 2; side++) {
      tarn_tensor *seen = side == 0 ? &near_view : &far_view;
      if (view == 1) assert_ok(tarn_tensor_transpose(seen, 0, 1));
      if (view == 2) assert_ok(tarn_tensor_narrow(seen, 1, 3, 50));
    }
    assert_ok(tarn_npy_save(&near_view, path, NULL, NULL));
    assert_ok(tarn_npy_save(&far_view, other, device_stream, NULL));
    const long size = read_file(path, one, sizeof one);
    assert_int_equal(read_file(other, two, sizeof two), size);
    assert_memory_equal(one, two, (size_t)size);
    tarn_tensor_release(&near);
    tarn_tensor_release(&far);
  }
}

TEST(arrays_without_elements_need_no_slot) {
  const int64_t empty[] = {3, 0};
  tarn_tensor near, far;
  assert_ok(tarn_tensor_create(pool, TARN_F32, 2, empty, NULL, &near));
  assert_ok(tarn_npy_save(&near, path, NULL, NULL));
  assert_ok(tarn_npy_load(path, device_pool, device_stream, &far));
  assert_int_equal(far.layout.shape[0], 3);
  assert_ok(tarn_npy_save(&far, other, device_stream, NULL));
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

/* '>' in place of '<' in the header: the same bytes mean other numbers. */
TEST(a_file_in_the_other_byte_order_is_turned_first) {
  tarn_tensor near = save_numbers(), far;
  static char bytes[1 << 16];
  const long size = read_file(path, bytes, sizeof bytes);
  char *order = memchr(bytes, '<', 128);
  assert_non_null(order);
  *order = '>';
  FILE *file = fopen(path, "wb");
  assert_int_equal(fwrite(bytes, 1, (size_t)size, file), size);
  fclose(file);
  assert_ok(tarn_npy_load(path, device_pool, device_stream, &far));
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int i = 0; i < COUNT * 4; i++) {
    assert_int_equal(bytes_of(&far)[i], bytes_of(&near)[i / 4 * 4 + 3 - i % 4]);
  }
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

TEST(a_failure_in_the_middle_keeps_neither_slots_nor_memory) {
  tarn_tensor near = save_numbers(), far, none;
  assert_ok(tarn_npy_load(path, device_pool, device_stream, &far));
  for (int nth = 0; nth < 3; nth++) {
    fake_copies_to_fail = nth;
    assert_status(tarn_npy_load(path, device_pool, device_stream, &none), TARN_DEVICE_ERROR);
    assert_null(none.storage);
    fake_copies_to_fail = nth;
    assert_status(tarn_npy_save(&far, other, device_stream, NULL), TARN_DEVICE_ERROR);
    fake_copies_to_fail = -1;
    assert_int_equal(stats_of_ring().held_count, 0);
    assert_int_equal(live_blocks(device_pool), 1);
  }
  assert_int_equal(truncate(path, 5000), 0);
  assert_status(tarn_npy_load(path, device_pool, device_stream, &none), TARN_BAD_FORMAT);
  assert_status(tarn_npy_load(folder, device_pool, device_stream, &none), TARN_INVALID_ARGUMENT);
  assert_int_equal(unlink(path), 0);
  assert_status(tarn_npy_load(path, device_pool, device_stream, &none), TARN_NOT_FOUND);
  assert_int_equal(live_blocks(device_pool), 1);
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

int main(void) {
  return run_listed_tests(start_files, stop_files);
}
