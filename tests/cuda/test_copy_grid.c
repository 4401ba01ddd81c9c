/* test_copy_grid.c: kernels copy any layout to any other, element by element, and no byte more. */
#include "tests/cuda/grid_fixture.h"

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

static void random_layouts_of_any_element_size_arrive_exactly(void **state) {
  tarn_stream *stream = fixture_stream(*state);
  static const size_t sizes[] = {1, 2, 4, 8, 16, 3, 5, 6, 12, 24, 32, 100};
  uint64_t random = 1;
  for (int i = 0; i < 300; i++) {
    grid_case made;
    const size_t bytes = sizes[(size_t)i % (sizeof sizes / sizeof sizes[0])];
    grid_make_random(&made, &random, bytes, bytes, /*is_aligned=*/i % 2 == 0, 4000);
    check_copy(*state, stream, &made);
  }
  tarn_stream_release(stream);
}

/* Dense on both sides, of shape (planes, rows, columns), with the source's rows and columns swapped;
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

static void turns_of_every_element_size_arrive_exactly(void **state) {
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

static void interleaved_planes_arrive_exactly(void **state) {
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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(random_layouts_of_any_element_size_arrive_exactly,
                                    fixture_setup, fixture_teardown),
    cmocka_unit_test_setup_teardown(turns_of_every_element_size_arrive_exactly, fixture_setup,
                                    fixture_teardown),
    cmocka_unit_test_setup_teardown(interleaved_planes_arrive_exactly, fixture_setup,
                                    fixture_teardown),
};

int main(int argument_count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  fixture_choose_driver(argument_count > 1 ? arguments[1] : NULL);
  return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
