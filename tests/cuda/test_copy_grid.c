/* test_copy_grid.c: kernels copy any layout to any other, element by element, and no byte more. */
#include "tests/cuda/grid_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const tarn_element_type any = {.code = 3, .bits = 8, .lanes = 1};

static void move_element(void *context, char *dst, const char *src) {
  memcpy(dst, src, *(const size_t *)context);
}

static void check_copy(tarn_cuda *cuda, tarn_stream *stream, const grid_case *made) {
  size_t element_bytes = made->dst_bytes;
  OK(grid_check(cuda, stream, made, (grid_types){any, any}, NULL, move_element, &element_bytes));
}

TEST_WITH(random_layouts_of_any_element_size_arrive_exactly, grid_setup, grid_teardown) {
  tarn_stream *stream = fixture_stream(*state);
  static const size_t sizes[] = {1, 2, 4, 8, 16, 3, 5, 6, 12, 24, 32, 100};
  uint64_t random = 1;
  for (int i = 0; i < 200; i++) {
    grid_case made;
    const size_t bytes = sizes[(size_t)i % (sizeof sizes / sizeof sizes[0])];
    grid_make_random(&made, &random, bytes, bytes, /*is_aligned=*/i % 2 == 0, 2000);
    check_copy(*state, stream, &made);
  }
  tarn_stream_release(stream);
}

/* Dense on both sides, of shape (planes, rows, columns), the source with the latter two swapped;
 * `gap` elements are left out behind each row of either side. */
static grid_case turned(size_t bytes, int64_t planes, int64_t rows, int64_t columns, int64_t gap) {
  grid_case made = {
      .rank = 3, .shape = {planes, rows, columns}, .dst_bytes = bytes, .src_bytes = bytes};
  static const int32_t dst_order[] = {2, 1, 0}, src_order[] = {1, 2, 0};
  grid_side dst = grid_dense(3, dst_order), src = grid_dense(3, src_order);
  dst.gaps[0] = src.gaps[0] = gap;
  grid_lay(&made, &dst, &src);
  return made;
}

TEST_WITH(turns_of_every_element_size_arrive_exactly, grid_setup, grid_teardown) {
  tarn_stream *stream = fixture_stream(*state);
  static const int64_t sizes[][3] = {{1, 256, 256}, {2, 128, 64}, {1, 129, 127}, {3, 33, 200},
                                     {1, 1040, 64}, {2, 32, 32},  {1, 100, 1001}};
  for (size_t bytes = 1; bytes <= 16; bytes *= 2) {
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      for (int64_t gap = 0; gap < 6; gap += 1 + 3 * (gap == 1)) {
        const grid_case made = turned(bytes, sizes[i][0], sizes[i][1], sizes[i][2], gap);
        check_copy(*state, stream, &made);
      }
    }
  }
  tarn_stream_release(stream);
}

TEST_WITH(interleaved_planes_arrive_exactly, grid_setup, grid_teardown) {
  tarn_stream *stream = fixture_stream(*state);
  for (size_t bytes = 1; bytes <= 8; bytes *= 2) {
    for (int64_t channels = 2; channels <= 5; channels++) {
      const grid_case apart = turned(bytes, 2, channels, 5000, 0);
      const grid_case together = turned(bytes, 2, 5000, channels, 0);
      check_copy(*state, stream, &apart);
      check_copy(*state, stream, &together);
    }
  }
  tarn_stream_release(stream);
}

/* --- what a kernel reaches, and what it takes --- */

/* 64 elements of four bytes from a side to another, turned backwards. */
static tarn_status copy_backwards(tarn_stream *stream, void *dst, tarn_device dst_device,
                                  const void *src, tarn_device src_device) {
  static const int64_t shape[] = {64}, forth[] = {4}, back[] = {-4};
  const tarn_copy_grid grid = {.dst = dst,
                               .src = (const char *)src + 63 * 4,
                               .dst_device = dst_device,
                               .src_device = src_device,
                               .rank = 1,
                               .shape = shape,
                               .dst_strides_bytes = forth,
                               .src_strides_bytes = back,
                               .dst_type = any,
                               .src_type = any,
                               .element_bytes = 4};
  return tarn_stream_copy_grid(stream, &grid);
}

TEST_WITH(page_locked_memory_is_reached_on_both_sides, grid_setup, grid_teardown) {
  tarn_stream *stream = fixture_stream(*state);
  fixture_block device = fixture_device_block(*state, 256);
  fixture_block from = fixture_pinned_block(*state, 256), to = fixture_pinned_block(*state, 256);
  for (int i = 0; i < 64; i++) ((int *)(void *)from.address)[i] = i;
  assert_true((tarn_stream_copy_abilities(stream) & TARN_STREAM_COPIES_GRIDS) != 0);
  OK(copy_backwards(stream, device.address, device.device, from.address, from.device));
  OK(copy_backwards(stream, to.address, to.device, device.address, device.device));
  OK(tarn_stream_synchronize(stream));
  assert_memory_equal(to.address, from.address, 256);
  fixture_free(&device);
  fixture_free(&from);
  fixture_free(&to);
  tarn_stream_release(stream);
}

TEST_WITH(one_element_of_the_host_fills_any_layout, grid_setup, grid_teardown) {
  tarn_stream *stream = fixture_stream(*state);
  uint64_t random = 5;
  for (int i = 0; i < 60; i++) {
    grid_case made;
    const size_t bytes = (size_t)1 << i % 5;
    grid_make_random(&made, &random, bytes, bytes, /*is_aligned=*/true, 2000);
    memset(made.src_strides, 0, sizeof made.src_strides);
    fixture_block block = fixture_device_block(*state, made.dst_extent);
    char value[16], *wanted = calloc(2, made.dst_extent), *found = wanted + made.dst_extent;
    memset(value, 0x31 + i, sizeof value);
    value[0] = 'v';
    made.src_offset = 0;
    grid_walk(&made, wanted, value, move_element, &made.dst_bytes);
    OK(tarn_stream_fill(stream, block.address, block.device, 0, made.dst_extent));
    const tarn_device host = tarn_device_make(TARN_DEVICE_CPU, 0);
    const tarn_copy_grid grid = {.dst = block.address + made.dst_offset,
                                 .src = value,
                                 .dst_device = block.device,
                                 .src_device = host,
                                 .rank = made.rank,
                                 .shape = made.shape,
                                 .dst_strides_bytes = made.dst_strides,
                                 .src_strides_bytes = made.src_strides,
                                 .dst_type = any,
                                 .src_type = any,
                                 .element_bytes = bytes};
    OK(tarn_stream_copy_grid(stream, &grid));
    memset(value, 0, sizeof value); /* it was read during the call */
    OK(tarn_stream_copy(stream, found, host, block.address, block.device, made.dst_extent));
    OK(tarn_stream_synchronize(stream));
    assert_memory_equal(found, wanted, made.dst_extent);
    free(wanted);
    fixture_free(&block);
  }
  tarn_stream_release(stream);
}

TEST_WITH(memory_that_no_kernel_reaches_is_an_answer, grid_setup, grid_teardown) {
  tarn_stream *stream = fixture_stream(*state);
  fixture_block device = fixture_device_block(*state, 256);
  static char pageable[256];
  const tarn_device others[] = {tarn_device_make(TARN_DEVICE_CPU, 0),
                                tarn_device_make(TARN_DEVICE_CUDA, 1)};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(copy_backwards(stream, device.address, device.device, pageable, others[i]),
                     TARN_NOT_SUPPORTED);
    assert_int_equal(copy_backwards(stream, pageable, others[i], device.address, device.device),
                     TARN_NOT_SUPPORTED);
  }
  fixture_free(&device);
  tarn_stream_release(stream);
}

/* --- loading --- */

static uint64_t load_count(void) {
  return fixture_sim_control()->calls("cuModuleLoadDataEx");
}

TEST_WITH(code_that_the_driver_refuses_is_an_answer_that_it_keeps, grid_setup, grid_teardown) {
  FIXTURE_NEEDS_SIM();
  tarn_stream *stream = fixture_stream(*state);
  fixture_block block = fixture_device_block(*state, 512);
  fixture_sim_control()->fail_call("cuModuleLoadDataEx", 1, CUDA_ERROR_NO_BINARY_FOR_GPU);
  const uint64_t before = load_count();
  for (int i = 0; i < 2; i++) {
    assert_int_equal(
        copy_backwards(stream, block.address, block.device, block.address + 256, block.device),
        TARN_NOT_SUPPORTED);
    assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_string_equal(tarn_last_error()->native_call, "cuModuleLoadDataEx");
  }
  assert_int_equal(load_count() - before, 1);
  fixture_free(&block);
  tarn_stream_release(stream);
}

TEST_WITH(a_device_without_memory_for_the_code_is_asked_again, grid_setup, grid_teardown) {
  FIXTURE_NEEDS_SIM();
  tarn_stream *stream = fixture_stream(*state);
  fixture_block block = fixture_device_block(*state, 512);
  const char *const calls[] = {"cuModuleLoadDataEx", "cuModuleGetFunction"};
  for (int i = 0; i < 2; i++) {
    fixture_sim_control()->fail_call(calls[i], 1, CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(
        copy_backwards(stream, block.address, block.device, block.address + 256, block.device),
        TARN_NOT_SUPPORTED);
    assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_OUT_OF_MEMORY);
  }
  OK(copy_backwards(stream, block.address, block.device, block.address + 256, block.device));
  OK(tarn_stream_synchronize(stream));
  fixture_free(&block);
  tarn_stream_release(stream);
}

TEST_WITH(a_driver_that_cannot_load_is_an_answer, grid_setup, grid_teardown) {
  FIXTURE_NEEDS_SIM();
  (void)state;
  fixture_sim_control()->hide("cuModuleLoadDataEx");
  tarn_cuda *cuda = fixture_open();
  fixture_sim_control()->hide(NULL);
  tarn_stream *stream = fixture_stream(cuda);
  fixture_block block = fixture_device_block(cuda, 512);
  assert_int_equal(
      copy_backwards(stream, block.address, block.device, block.address + 256, block.device),
      TARN_NOT_SUPPORTED);
  fixture_free(&block);
  tarn_stream_release(stream);
  tarn_cuda_release(cuda);
}

TEST_WITH(a_failed_launch_is_told, grid_setup, grid_teardown) {
  FIXTURE_NEEDS_SIM();
  tarn_stream *stream = fixture_stream(*state);
  fixture_block block = fixture_device_block(*state, 512);
  fixture_sim_control()->fail_call("cuLaunchKernel", 1, CUDA_ERROR_UNKNOWN);
  assert_int_equal(
      copy_backwards(stream, block.address, block.device, block.address + 256, block.device),
      TARN_DEVICE_ERROR);
  assert_string_equal(tarn_last_error()->native_call, "cuLaunchKernel");
  fixture_free(&block);
  tarn_stream_release(stream);
}

static int launch_count;

static CUresult launch_but_once(CUfunction function, unsigned grid_x, unsigned grid_y,
                                unsigned grid_z, unsigned block_x, unsigned block_y,
                                unsigned block_z, unsigned shared_bytes, CUstream stream,
                                void **parameters, void **extra) {
  (void)function, (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y;
  (void)block_z, (void)shared_bytes, (void)stream, (void)parameters, (void)extra;
  return launch_count++ == 0 ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}

/* More elements than one launch has, in memory that nobody has, for nothing is launched. */
TEST(a_refusal_is_no_answer_once_a_part_is_under_way) {
  tarn_cuda *cuda = fixture_open();
  tarn_stream *stream = fixture_stream(cuda);
  static const int64_t shape[] = {1 << 29}, dst[] = {3}, src[] = {5};
  const tarn_copy_grid grid = {.dst = (void *)(uintptr_t)(1 << 20),
                               .src = (const void *)(UINTPTR_MAX / 4),
                               .dst_device = tarn_device_make(TARN_DEVICE_CUDA, 0),
                               .src_device = tarn_device_make(TARN_DEVICE_CUDA, 0),
                               .rank = 1,
                               .shape = shape,
                               .dst_strides_bytes = dst,
                               .src_strides_bytes = src,
                               .dst_type = any,
                               .src_type = any,
                               .element_bytes = 1};
  cuda->driver.LaunchKernel = launch_but_once;
  launch_count = 1;
  assert_int_equal(tarn_stream_copy_grid(stream, &grid), TARN_NOT_SUPPORTED);
  launch_count = 0;
  assert_int_equal(tarn_stream_copy_grid(stream, &grid), TARN_DEVICE_ERROR);
  assert_int_equal(launch_count, 2);
  tarn_stream_release(stream);
  tarn_cuda_release(cuda);
}

typedef struct loader {
  tarn_cuda *cuda;
  pthread_barrier_t *start;
} loader;

static void *load_and_copy(void *argument) {
  const loader *self = argument;
  tarn_stream *stream = fixture_stream(self->cuda);
  fixture_block block = fixture_device_block(self->cuda, 512);
  pthread_barrier_wait(self->start);
  OK(copy_backwards(stream, block.address, block.device, block.address + 256, block.device));
  OK(tarn_stream_synchronize(stream));
  fixture_free(&block);
  tarn_stream_release(stream);
  return NULL;
}

TEST(threads_that_load_at_once_leave_one_module) {
  enum { THREADS = 4 };
  pthread_barrier_t start;
  pthread_barrier_init(&start, NULL, THREADS);
  for (int round = 0; round < 5; round++) {
    tarn_cuda *cuda = fixture_open();
    loader self = {cuda, &start};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, load_and_copy, &self);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    if (fixture_sim_control() != NULL) {
      cusim_counts counts = counts_now();
      /* A handle retains its context once, and may wait for a stream's last fence to go. */
      assert_true(counts.modules <= counts.context_retains);
    }
    tarn_cuda_release(cuda);
  }
  pthread_barrier_destroy(&start);
  (void)state;
}

TEST(the_module_goes_with_the_library_s_handle) {
  FIXTURE_NEEDS_SIM();
  (void)state;
  cusim_counts before, after;
  before = counts_now();
  tarn_cuda *cuda = fixture_open();
  pthread_barrier_t start;
  pthread_barrier_init(&start, NULL, 1);
  load_and_copy(&(loader){cuda, &start});
  pthread_barrier_destroy(&start);
  tarn_cuda_release(cuda);
  after = counts_now();
  assert_true(after.modules <= after.context_retains);
  assert_int_equal(after.abandoned, before.abandoned);
}

/* The memory and the stream are another handle's: nothing but the copy needs the one it was made
 * with. */
TEST_WITH(a_copy_is_done_before_its_module_goes, grid_setup, grid_teardown) {
  fixture_block block = fixture_device_block(*state, 512);
  tarn_stream *stream = fixture_stream(*state), *wrapped;
  void *native;
  OK(tarn_cuda_stream_native(stream, &native));
  tarn_cuda *cuda = fixture_open();
  OK(tarn_cuda_stream_wrap(cuda, 0, native, &wrapped));
  for (int i = 0; i < 64; i++) { /* some of them are still to run, whatever the schedule */
    OK(copy_backwards(wrapped, block.address, block.device, block.address + 256, block.device));
  }
  tarn_stream_release(wrapped);
  tarn_cuda_release(cuda);
  OK(tarn_stream_synchronize(stream));
  tarn_stream_release(stream);
  fixture_free(&block);
}

int main(int argument_count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  fixture_choose_driver(argument_count > 1 ? arguments[1] : NULL);
  return run_listed_tests(NULL, NULL) != 0;
}
