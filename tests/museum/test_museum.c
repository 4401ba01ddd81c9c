/* test_museum.c: seventeen defects that other allocators really had, each a test that tarn passes.
 */
#include "tests/museum/museum.h"

int main(void) {
  return run_museum_order() + run_museum_memory();
}
