/* test_museum.c: seventeen defects that other allocators really had, each a test that tarn passes.
 */
#include "tests/museum/museum.h"

/* usage: test_museum [PIECE] */
int main(int argument_count, char **arguments) {
  if (argument_count > 1) cmocka_set_test_filter(arguments[1]);
  return run_museum_order() + run_museum_memory();
}
