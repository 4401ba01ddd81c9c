/* test_placement_verify.c: pages are counted by where the kernel says they lie. */
#include "numa/tarn_placement.h"
#include "tests/numa/described_machine.h"
#include "tests/numa/recorded_kernel.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 1200 }; /* more than one call of move_pages */

static size_t page_bytes;

static char *map_pages(void) {
  page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  char *pages =
      mmap(NULL, PAGES * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(pages != MAP_FAILED);
  madvise(pages, PAGES * page_bytes, MADV_NOHUGEPAGE);
  return pages;
}

static int32_t node_of_this_machine(void) {
  tarn_topology *topology = NULL;
  tarn_node_info info = {.struct_size = sizeof info};
  assert_int_equal(tarn_topology_create(NULL, &topology), TARN_OK);
  const int32_t node_count = tarn_topology_node_count(topology);
  assert_int_equal(tarn_topology_node(topology, 0, &info), TARN_OK);
  tarn_topology_release(topology);
  return node_count == 1 ? info.node : -1;
}

TEST(touched_and_untouched_pages_are_told_apart) {
  const int32_t node = node_of_this_machine();
  if (node < 0) skip(); /* on several nodes, first touch may land on any of them */
  char *pages = map_pages();
  for (size_t i = 0; i < PAGES; i += 3) pages[i * page_bytes] = 1;
  volatile char seen = pages[page_bytes]; /* only read: still nobody's page */
  (void)seen;
  size_t on_node = 0, elsewhere = 0, untouched = 0;
  const tarn_status status =
      tarn_node_verify(pages, PAGES * page_bytes, node, &on_node, &elsewhere, &untouched);
  if (status == TARN_NOT_SUPPORTED) skip(); /* a container that forbids move_pages */
  assert_int_equal(status, TARN_OK);
  assert_int_equal(on_node, PAGES / 3);
  assert_int_equal(elsewhere, 0);
  assert_int_equal(untouched, PAGES - PAGES / 3);
  /* Seen from another node, the same pages lie elsewhere. */
  assert_int_equal(
      tarn_node_verify(pages, PAGES * page_bytes, node + 1, &on_node, &elsewhere, NULL), TARN_OK);
  assert_int_equal(on_node, 0);
  assert_int_equal(elsewhere, PAGES / 3);
  munmap(pages, PAGES * page_bytes);
}

TEST(a_range_inside_of_pages_counts_each_page_it_meets) {
  char *pages = map_pages();
  size_t untouched = 0;
  const tarn_status status = tarn_node_verify(pages + page_bytes - 1, 2, 0, NULL, NULL, &untouched);
  if (status == TARN_NOT_SUPPORTED) skip();
  assert_int_equal(status, TARN_OK);
  assert_int_equal(untouched, 2);
  assert_int_equal(tarn_node_verify(pages + 7, 0, 0, NULL, NULL, &untouched), TARN_OK);
  assert_int_equal(untouched, 0);
  munmap(pages, PAGES * page_bytes);
}

TEST(memory_that_is_not_mapped_is_an_error) {
  char *pages = map_pages();
  munmap(pages, PAGES * page_bytes);
  size_t on_node = 7, elsewhere = 7, untouched = 7;
  const tarn_status status =
      tarn_node_verify(pages, page_bytes, 0, &on_node, &elsewhere, &untouched);
  if (status == TARN_NOT_SUPPORTED) skip();
  assert_int_equal(status, TARN_INVALID_ARGUMENT);
  assert_int_equal(on_node + elsewhere + untouched, 0);
  assert_int_equal(tarn_node_verify(NULL, 1, 0, NULL, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_node_verify(pages, SIZE_MAX, 0, NULL, NULL, NULL), TARN_INVALID_ARGUMENT);
}

TEST_WITH(pages_are_counted_by_node, recorded_start, recorded_stop) {
  char *pages = map_pages();
  const int lie_on[8] = {3, 1, 3, -ENOENT, 0, 3, 1, -EFAULT};
  memcpy(recorded.page_nodes, lie_on, sizeof lie_on);
  tarn_placement_pages placed = {.struct_size = sizeof placed};
  assert_int_equal(tarn_placement_verify(pages, 800 * page_bytes, &placed), TARN_OK);
  assert_int_equal(placed.page_bytes, page_bytes);
  assert_int_equal(placed.node_count, 3);
  const int32_t nodes[] = {0, 1, 3};
  const size_t node_pages[] = {100, 200, 300};
  assert_memory_equal(placed.nodes, nodes, sizeof nodes);
  assert_memory_equal(placed.node_pages, node_pages, sizeof node_pages);
  assert_int_equal(placed.untouched_pages, 200);
  assert_int_equal(placed.other_pages, 0);
  size_t on_node = 0, elsewhere = 0, untouched = 0;
  assert_int_equal(tarn_node_verify(pages, 800 * page_bytes, 1, &on_node, &elsewhere, &untouched),
                   TARN_OK);
  assert_int_equal(on_node, 200);
  assert_int_equal(elsewhere, 400);
  assert_int_equal(untouched, 200);
  munmap(pages, PAGES * page_bytes);
}

TEST_WITH(a_kernel_that_does_not_tell_is_not_supported, recorded_start, recorded_stop) {
  char *pages = map_pages();
  tarn_placement_pages placed = {.struct_size = sizeof placed, .node_count = 4};
  recorded.nodes_of_errno = EPERM;
  assert_int_equal(tarn_placement_verify(pages, page_bytes, &placed), TARN_NOT_SUPPORTED);
  assert_int_equal(placed.node_count, 0);
  recorded.nodes_of_errno = 0;
  recorded.page_nodes[0] = -EACCES;
  assert_int_equal(tarn_placement_verify(pages, page_bytes, &placed), TARN_SYSTEM_ERROR);
  assert_int_equal(tarn_placement_verify(pages, page_bytes, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_verify(NULL, page_bytes, &placed), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_verify(pages, SIZE_MAX, &placed), TARN_INVALID_ARGUMENT);
  placed.struct_size = 1;
  assert_int_equal(tarn_placement_verify(pages, page_bytes, &placed), TARN_INVALID_ARGUMENT);
  munmap(pages, PAGES * page_bytes);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
