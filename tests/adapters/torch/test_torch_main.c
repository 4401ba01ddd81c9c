/* test_torch_main.c: runs the tests of PyTorch's functions: test_torch [path of a libcuda.so.1]. */
#include <stdio.h>

#include "tests/adapters/torch/torch_fixture.h"

int main(int argument_count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  fixture_choose_driver(argument_count > 1 ? arguments[1] : NULL);
  const int failed = run_torch_tests() + run_torch_graph_tests() + run_torch_thread_tests();
  return failed != 0;
}
