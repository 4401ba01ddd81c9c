/* test_copy_direct.c: tests of tensor/copy_direct.c on a stream that copies grids and batches. */
#include "tests/support/test.h"

#include <string.h>

#include "tensor/tarn_copy.h"
#include "tensor/tarn_copy_costs.h"
#include "tests/tensor/copy_places.h"
#include "tests/tensor/layout_model.h"

enum { BUFFER_BYTES = 1 << 15 };

static int forget(void **state) {
  (void)state;
  fake_copy_calls = fake_plane_calls = fake_batch_calls = fake_grid_calls = 0;
  fake_refuses_grids = false;
  return tarn_copy_cost_set(TARN_COPY_COST_ROW_CALL, 0) != TARN_OK;
}

static tarn_copy_report copied(const tarn_tensor *dst, const tarn_tensor *src) {
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_ok(tarn_tensor_copy(dst, src, device_stream, &report));
  return report;
}

/* --- any strides --- */

static const tarn_dtype dtypes[] = {{TARN_CODE_BOOL, 8, 1},
                                    {TARN_CODE_FLOAT, 32, 1},
                                    {TARN_CODE_INT, 64, 1},
                                    {TARN_CODE_UINT, 8, 3}};

/* How often each way was taken. */
typedef struct ways {
  int kernel, batch, rows, others;
} ways;

static ways copies_between(tarn_device to_device, tarn_device from_device, uint64_t seed) {
  static char dst_bytes[BUFFER_BYTES], src_bytes[BUFFER_BYTES], expected[BUFFER_BYTES];
  uint64_t random = seed;
  ways taken = {0, 0, 0, 0};
  for (int round = 0; round < 600; round++) {
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
    assert_ok(tarn_stream_synchronize(device_stream));
    if (memcmp(bytes_of(&dst), expected, sizeof expected) != 0) {
      fail_msg("round %d: %s", round, report.executor);
    }
    *(strcmp(report.executor, "kernel") == 0  ? &taken.kernel
      : strcmp(report.executor, "batch") == 0 ? &taken.batch
      : strcmp(report.executor, "rows") == 0  ? &taken.rows
                                              : &taken.others) += 1;
    tarn_tensor_release(&dst);
    tarn_tensor_release(&src);
  }
  return taken;
}

TEST_WITH(grids_equal_the_model, forget, NULL) {
  static const tarn_device sides[] = {{TARN_DEVICE_CUDA_HOST, 0}, {TARN_DEVICE_CUDA, 0}};
  for (int i = 0; i < 3; i++) {
    const ways taken = copies_between(sides[i > 0], sides[i != 1], 71 + (uint64_t)i);
    assert_true(taken.kernel > 200);
    assert_true(taken.rows > 5);
  }
}

/* Without kernels: rows and planes, batches where a call costs much, and the CPU. */
TEST_WITH(what_the_kernel_refuses_goes_another_way, forget, NULL) {
  fake_refuses_grids = true;
  ways taken = copies_between(device, device, 81);
  assert_int_equal(taken.kernel, 0);
  assert_true(taken.rows > 100 && fake_plane_calls > 20 && taken.others > 20);
  assert_ok(tarn_copy_cost_set(TARN_COPY_COST_ROW_CALL, 200000));
  taken = copies_between(pinned, device, 83);
  assert_true(taken.batch > 50 && fake_batch_calls > 50);
}

TEST_WITH(planes_take_one_call, forget, NULL) {
  tarn_tensor dst = place(device, NULL, BUFFER_BYTES, TARN_U8, ROW_MAJOR(4, 8, 512));
  tarn_tensor src = place(device, NULL, 2 * BUFFER_BYTES, TARN_U8, ROW_MAJOR(4, 10, 600));
  assert_ok(tarn_tensor_narrow(&src, 1, 1, 8));
  assert_ok(tarn_tensor_narrow(&src, 2, 7, 512));
  assert_ok(tarn_copy_cost_set(TARN_COPY_COST_KERNEL_CALL, 1000000));
  assert_string_equal(copied(&dst, &src).executor, "rows");
  assert_ok(tarn_copy_cost_set(TARN_COPY_COST_KERNEL_CALL, 0));
  assert_int_equal(fake_plane_calls, 1);
  assert_int_equal(fake_copy_calls, 0);
  tarn_tensor_release(&dst);
  tarn_tensor_release(&src);
}

/* --- conversions --- */

TEST_WITH(the_device_converts_what_it_reaches, forget, NULL) {
  static float numbers[40 * 30];
  static int16_t seen[40 * 30];
  for (int i = 0; i < 1200; i++) numbers[i] = (float)(i * 7 - 3000) + 0.5f;
  tarn_tensor near = place(pinned, numbers, sizeof numbers, TARN_F32, ROW_MAJOR(40, 30));
  tarn_tensor far = place(device, NULL, sizeof seen, TARN_I16, ROW_MAJOR(30, 40));
  assert_ok(tarn_tensor_transpose(&far, 0, 1));
  tarn_copy_report report = copied(&far, &near);
  assert_string_equal(report.executor, "kernel");
  assert_false(report.was_synchronous);
  assert_false(report.is_source_read);
  assert_int_equal(fake_grid_calls, 1);
  assert_int_equal(fake_copy_calls, 0);
  tarn_tensor back = place(pinned, seen, sizeof seen, TARN_I16, ROW_MAJOR(40, 30));
  (void)copied(&back, &far);
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int i = 0; i < 1200; i++) assert_int_equal(seen[i], (int16_t)numbers[i]);
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
  tarn_tensor_release(&back);
}

TEST_WITH(a_conversion_that_no_kernel_makes_is_the_cpus, forget, NULL) {
  static float numbers[64];
  tarn_tensor near = place(pinned, numbers, sizeof numbers, TARN_F32, ROW_MAJOR(64));
  tarn_tensor far = place(device, NULL, 128, TARN_F16, ROW_MAJOR(64));
  fake_refuses_grids = true;
  assert_string_equal(copied(&far, &near).executor, "staged");
  fake_refuses_grids = false;
  tarn_tensor_release(&near);
  near = place(pageable, numbers, sizeof numbers, TARN_F32, ROW_MAJOR(64));
  assert_string_equal(copied(&far, &near).executor, "staged"); /* the kernel does not reach it */
  assert_int_equal(fake_grid_calls, 0);
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

/* --- life --- */

static void poison(void *context) {
  memset(context, 0xee, 4096);
}

TEST_WITH(both_sides_live_until_the_kernel_has_run, forget, NULL) {
  static char bytes[4096];
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = bytes,
                    .size_bytes = sizeof bytes,
                    .device = pinned,
                    .deleter = poison,
                    .context = bytes};
  tarn_tensor near, far = place(device, NULL, 4096, TARN_U8, ROW_MAJOR(64, 64));
  memset(bytes, 4, sizeof bytes);
  memset(bytes_of(&far), 0, 4096);
  assert_ok(tarn_tensor_wrap(&blob, TARN_U8, 2, (int64_t[]){64, 64}, NULL, 0, &near));
  assert_ok(tarn_tensor_transpose(&near, 0, 1));
  assert_string_equal(copied(&far, &near).executor, "kernel");
  tarn_tensor_release(&near); /* poisons, but only behind the kernel */
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int i = 0; i < 4096; i++) assert_int_equal(bytes_of(&far)[i], 4);
  tarn_tensor_release(&far);
}

int main(void) {
  return run_listed_tests(start_able, stop);
}
