/* test_copy_device.c: tests of tensor/copy_device.c on a device that the CPU cannot touch. */
#include "tests/support/test.h"

#include <stdlib.h>

#include "tensor/tarn_copy.h"
#include "tests/tensor/copy_places.h"
#include "tests/tensor/layout_model.h"

enum { BUFFER_BYTES = 1 << 15 };

static tarn_copy_report copied(const tarn_tensor *dst, const tarn_tensor *src) {
  tarn_copy_report report = {.struct_size = sizeof report};
  fake_copy_calls = 0;
  assert_ok(tarn_tensor_copy(dst, src, device_stream, &report));
  return report;
}

/* --- any strides, any two sides --- */

static const tarn_dtype dtypes[] = {{TARN_CODE_BOOL, 8, 1},
                                    {TARN_CODE_FLOAT, 32, 1},
                                    {TARN_CODE_INT, 64, 1},
                                    {TARN_CODE_UINT, 8, 3}};

static void copies_between(tarn_device to_device, tarn_device from_device, uint64_t seed) {
  static char dst_bytes[BUFFER_BYTES], src_bytes[BUFFER_BYTES], expected[BUFFER_BYTES];
  uint64_t random = seed;
  size_t staged = 0, rows = 0, late = 0;
  for (int round = 0; round < 1500; round++) {
    int64_t shape[TARN_RANK_MAX];
    tarn_dtype dtype = dtypes[random_in(&random, 0, COUNT_OF(dtypes) - 1)];
    int32_t rank = random_shape(&random, round % 2 ? 6 : 20, round % 2 ? 300 : 1000, shape);
    tarn_layout to = random_layout_of(&random, rank, shape, /*may_overlap=*/false);
    tarn_layout from = random_layout_of(&random, rank, shape, /*may_overlap=*/true);
    tarn_tensor dst = place(to_device, dst_bytes, BUFFER_BYTES, dtype, to);
    tarn_tensor src = place(from_device, src_bytes, BUFFER_BYTES, dtype, from);
    random_fill(&random, bytes_of(&src), 4096);
    memset(bytes_of(&dst), 0, BUFFER_BYTES);
    memset(expected, 0, sizeof expected);
    model_copy(&to, expected, &from, bytes_of(&src), tarn_dtype_size_bytes(dtype));
    tarn_copy_report report = copied(&dst, &src);
    if (!report.was_synchronous) {
      late += memcmp(bytes_of(&dst), expected, sizeof expected) != 0; /* not yet */
      assert_ok(tarn_stream_synchronize(device_stream));
    }
    if (memcmp(bytes_of(&dst), expected, sizeof expected) != 0) {
      fail_msg("round %d: %s", round, report.executor);
    }
    staged += strcmp(report.executor, "staged") == 0;
    rows += strcmp(report.executor, "rows") == 0;
    tarn_tensor_release(&dst);
    tarn_tensor_release(&src);
  }
  assert_true(staged > 20 && rows > 200);
  if (to_device.type != TARN_DEVICE_CPU && from_device.type != TARN_DEVICE_CPU) {
    assert_true(late > 200);
  } else {
    assert_int_equal(late, 0);
  }
}

TEST(copies_to_the_device_equal_the_model) {
  copies_between(device, pageable, 51);
  copies_between(device, pinned, 53);
}

TEST(copies_from_the_device_equal_the_model) {
  copies_between(pageable, device, 57);
  copies_between(pinned, device, 59);
}

TEST(copies_on_the_device_equal_the_model) {
  copies_between(device, device, 61);
}

TEST(a_host_copy_in_a_device_stream_runs_in_its_order) {
  static int32_t numbers[2][16], back[16];
  tarn_tensor first = place(pinned, numbers[0], 64, TARN_I32, ROW_MAJOR(16));
  tarn_tensor second = place(pinned, numbers[1], 64, TARN_I32, ROW_MAJOR(16));
  tarn_tensor far = place(device, NULL, 64, TARN_I32, ROW_MAJOR(16));
  for (int32_t i = 0; i < 16; i++) ((int32_t *)(void *)bytes_of(&far))[i] = 100 + i;
  assert_false(copied(&first, &far).was_synchronous);
  assert_false(copied(&second, &first).was_synchronous); /* host to host, behind the first */
  assert_int_equal(numbers[1][3], 0);
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int32_t i = 0; i < 16; i++) back[i] = 100 + i;
  assert_memory_equal(numbers[1], back, sizeof back);
  tarn_tensor_release(&first);
  tarn_tensor_release(&second);
  tarn_tensor_release(&far);
}

/* --- how many calls --- */

TEST(rows_take_one_call) {
  static char bytes[4096];
  tarn_tensor near = place(pinned, bytes, sizeof bytes, TARN_U8, ROW_MAJOR(32, 64));
  tarn_tensor far = place(device, NULL, 4096, TARN_U8, ROW_MAJOR(32, 64));
  assert_string_equal(copied(&far, &near).executor, "memcpy");
  assert_int_equal(fake_copy_calls, 1);
  assert_ok(tarn_tensor_narrow(&near, 1, 8, 16));
  assert_ok(tarn_tensor_narrow(&far, 1, 0, 16));
  tarn_copy_report report = copied(&far, &near);
  assert_string_equal(report.executor, "rows");
  assert_int_equal(report.run_count, 32);
  assert_int_equal(fake_copy_calls, 1);
  assert_false(report.was_synchronous);
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

TEST(pageable_memory_makes_the_call_synchronous) {
  static char bytes[64];
  tarn_tensor near = place(pageable, bytes, sizeof bytes, TARN_U8, ROW_MAJOR(64));
  tarn_tensor far = place(device, NULL, 64, TARN_U8, ROW_MAJOR(64));
  memset(bytes_of(&far), 9, 64);
  assert_true(copied(&near, &far).was_synchronous);
  assert_int_equal(bytes[63], 9);
  assert_true(copied(&far, &near).was_synchronous);
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

/* 100 columns turned into rows: 100 calls if it were done directly. */
TEST(a_transpose_is_staged_in_the_devices_order) {
  static char bytes[20000];
  for (int to_device = 0; to_device < 2; to_device++) {
    tarn_tensor near = place(pinned, bytes, sizeof bytes, TARN_U8, ROW_MAJOR(100, 200));
    tarn_tensor far = place(device, NULL, 20000, TARN_U8, ROW_MAJOR(200, 100));
    assert_ok(tarn_tensor_transpose(&far, 0, 1));
    tarn_copy_report report = to_device ? copied(&far, &near) : copied(&near, &far);
    assert_string_equal(report.executor, "staged");
    assert_true(report.was_synchronous);
    assert_int_equal(fake_copy_calls, 1);
    tarn_tensor_release(&near);
    tarn_tensor_release(&far);
  }
}

/* What the stream is still to bring to the host's side is there before the CPU reads it. */
TEST(a_staged_copy_comes_behind_earlier_work_of_the_stream) {
  static char bytes[20000];
  tarn_tensor first = place(device, NULL, 20000, TARN_U8, ROW_MAJOR(100, 200));
  tarn_tensor near = place(pinned, bytes, sizeof bytes, TARN_U8, ROW_MAJOR(100, 200));
  tarn_tensor far = place(device, NULL, 20000, TARN_U8, ROW_MAJOR(200, 100));
  memset(bytes_of(&first), 8, 20000);
  assert_ok(tarn_tensor_transpose(&far, 0, 1));
  assert_false(copied(&near, &first).was_synchronous);
  assert_int_equal(bytes[0], 0);
  assert_string_equal(copied(&far, &near).executor, "staged");
  for (int i = 0; i < 20000; i++) assert_int_equal(bytes_of(&far)[i], 8);
  tarn_tensor_release(&first);
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

TEST(a_large_transpose_is_staged_in_pieces) {
  enum { ROWS = 8192, COLUMNS = 8200 }; /* a little more than one staging buffer */
  char *bytes = malloc((size_t)ROWS * COLUMNS);
  assert_non_null(bytes);
  for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) bytes[i] = (char)(i * 7 + i / COLUMNS);
  tarn_tensor near =
      place(pageable, bytes, (size_t)ROWS * COLUMNS, TARN_U8, ROW_MAJOR(ROWS, COLUMNS));
  tarn_tensor far = place(device, NULL, (size_t)ROWS * COLUMNS, TARN_U8, ROW_MAJOR(COLUMNS, ROWS));
  assert_ok(tarn_tensor_transpose(&near, 0, 1));
  assert_string_equal(copied(&far, &near).executor, "staged");
  assert_int_equal(fake_copy_calls, 2);
  const char *seen = bytes_of(&far);
  for (size_t c = 0; c < COLUMNS; c += 13) {
    for (size_t r = 0; r < ROWS; r++) {
      if (seen[c * ROWS + r] != bytes[r * COLUMNS + c]) fail_msg("row %zu column %zu", r, c);
    }
  }
  memset(bytes, 0, (size_t)ROWS * COLUMNS);
  assert_string_equal(copied(&near, &far).executor, "staged");
  assert_int_equal(fake_copy_calls, 2);
  for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
    if (bytes[i] != (char)(i * 7 + i / COLUMNS)) fail_msg("byte %zu", i);
  }
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
  free(bytes);
}

/* --- overlap --- */

TEST(overlapping_runs_on_the_device_move_as_memmove_does) {
  static char expected[8192];
  static const int64_t shifts[] = {1, 3, 100, 1000, 4000};
  for (size_t i = 0; i < COUNT_OF(shifts); i++) {
    for (int down = 0; down < 2; down++) {
      tarn_tensor low = place(device, NULL, 8192, TARN_U8, ROW_MAJOR(8192)), high = low;
      for (int at = 0; at < 8192; at++)
        bytes_of(&low)[at] = expected[at] = (char)(at * 5 + at / 97);
      assert_ok(tarn_tensor_narrow(&low, 0, 0, 8192 - shifts[i]));
      assert_ok(tarn_tensor_narrow(&high, 0, shifts[i], 8192 - shifts[i]));
      size_t size_bytes = (size_t)(8192 - shifts[i]);
      memmove(down ? expected : expected + shifts[i], down ? expected + shifts[i] : expected,
              size_bytes);
      tarn_copy_report report = down ? copied(&low, &high) : copied(&high, &low);
      assert_string_equal(report.executor, shifts[i] < 150 ? "staged" : "memcpy");
      assert_ok(tarn_stream_synchronize(device_stream));
      assert_memory_equal(bytes_of(&low), expected, 8192);
      tarn_tensor_release(&low);
    }
  }
}

/* --- life and failure --- */

TEST(device_memory_is_not_lent_out_before_the_copy_ran) {
  static char bytes[4096];
  tarn_stream *other_stream = fake_device_stream_create();
  tarn_tensor near = place(pinned, bytes, sizeof bytes, TARN_U8, ROW_MAJOR(4096));
  tarn_tensor far, other;
  assert_ok(tarn_tensor_create(device_pool, TARN_U8, 1, (int64_t[]){4096}, other_stream, &far));
  memset(bytes_of(&far), 5, 4096);
  assert_false(copied(&near, &far).was_synchronous); /* on another stream than its own */
  tarn_tensor_release(&far);
  assert_ok(tarn_tensor_create(device_pool, TARN_U8, 1, (int64_t[]){4096}, other_stream, &other));
  memset(bytes_of(&other), 6, 4096); /* what other_stream would do at once */
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int i = 0; i < 4096; i++) assert_int_equal(bytes[i], 5);
  tarn_tensor_release(&other);
  tarn_tensor_release(&near);
  tarn_stream_release(other_stream);
}

static void poison(void *context) {
  memset(context, 0xee, 4096);
}

/* 8 calls of which the 4th fails: the first 3 are still under way when the call returns. */
TEST(a_copy_that_fails_half_way_keeps_both_sides_alive) {
  static char bytes[4096];
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = bytes,
                    .size_bytes = sizeof bytes,
                    .device = pinned,
                    .deleter = poison,
                    .context = bytes};
  tarn_tensor near, far = place(device, NULL, 4096, TARN_U8, ROW_MAJOR(8, 8, 64));
  memset(bytes, 4, sizeof bytes);
  memset(bytes_of(&far), 0, 4096);
  assert_ok(tarn_tensor_wrap(&blob, TARN_U8, 3, (int64_t[]){8, 8, 64}, NULL, 0, &near));
  assert_ok(tarn_tensor_transpose(&near, 0, 1));
  tarn_copy_report report = {.struct_size = sizeof report};
  fake_copy_calls = 0;
  fake_copies_to_fail = 3;
  assert_int_equal(tarn_tensor_copy(&far, &near, device_stream, &report), TARN_DEVICE_ERROR);
  fake_copies_to_fail = -1;
  assert_int_equal(fake_copy_calls, 3);
  assert_int_equal(report.moved_bytes, 0);
  tarn_tensor_release(&near); /* poisons, but only behind the three calls */
  assert_ok(tarn_stream_synchronize(device_stream));
  size_t arrived = 0;
  for (int i = 0; i < 4096; i++) {
    assert_true(bytes_of(&far)[i] == 0 || bytes_of(&far)[i] == 4);
    arrived += bytes_of(&far)[i] == 4;
  }
  assert_int_equal(arrived, 3 * 512);
  tarn_tensor_release(&far);
}

/* Every call of a staged copy fails once; nothing leaks (sanitizers look) and all is reported. */
TEST(every_failing_call_of_a_staged_copy_is_reported) {
  tarn_tensor src = place(device, NULL, 20000, TARN_U8, ROW_MAJOR(100, 200));
  tarn_tensor dst = place(device, NULL, 20000, TARN_U8, ROW_MAJOR(200, 100));
  memset(bytes_of(&src), 3, 20000);
  assert_ok(tarn_tensor_transpose(&dst, 0, 1));
  assert_string_equal(copied(&dst, &src).executor, "staged");
  int calls = fake_copy_calls;
  assert_int_equal(calls, 2);
  for (int failing = 0; failing < calls; failing++) {
    fake_copies_to_fail = failing;
    assert_int_equal(tarn_tensor_copy(&dst, &src, device_stream, NULL), TARN_DEVICE_ERROR);
    assert_int_equal(fake_copies_to_fail, -1);
  }
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

int main(void) {
  return run_listed_tests(start, stop);
}
