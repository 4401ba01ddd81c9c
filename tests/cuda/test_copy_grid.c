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
    grid_make_random(&made, &random, bytes, bytes, 4000);
    check_copy(*state, stream, &made);
  }
  tarn_stream_release(stream);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(random_layouts_of_any_element_size_arrive_exactly,
                                    fixture_setup, fixture_teardown),
};

int main(int argument_count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  fixture_choose_driver(argument_count > 1 ? arguments[1] : NULL);
  return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
