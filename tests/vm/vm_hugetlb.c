/* vm_hugetlb.c: explicit huge pages come from the pool of their node, and an empty one refuses. */
#include <stdio.h>

#include "numa/tarn_numa.h"
#include "tests/vm/guest.h"

enum { HUGE_BYTES = 2 << 20, POOL_PAGES = 6 };

static tarn_topology *topology;
static const guest_machine *machine;

static int pool_file(int32_t node, const char *name, const char *mode, int value) {
  char path[128];
  snprintf(path, sizeof path,
           "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/%s_hugepages", node, name);
  FILE *file = fopen(path, mode);
  assert_non_null(file);
  const int done = *mode == 'w' ? fprintf(file, "%d", value) : fscanf(file, "%d", &value);
  assert_true(done > 0);
  assert_int_equal(fclose(file), 0);
  return value;
}

static int fill_pools(void **state) {
  (void)state;
  for (int32_t node = 0; node < machine->node_count; ++node) {
    pool_file(node, "nr", "w", POOL_PAGES);
    if (pool_file(node, "nr", "r", 0) != POOL_PAGES) return -1;
  }
  return 0;
}

static int empty_pools(void **state) {
  (void)state;
  for (int32_t node = 0; node < machine->node_count; ++node) pool_file(node, "nr", "w", 0);
  return 0;
}

static tarn_provider *make(const tarn_node_options *options) {
  tarn_provider *provider = NULL;
  const tarn_status status = tarn_node_provider_create(topology, options, &provider);
  if (status != TARN_OK) fail_msg("%s", tarn_last_error()->message);
  return provider;
}

static int free_pages(int32_t node) {
  return pool_file(node, "free", "r", 0);
}

static void check_pools_of_others_are_whole(int32_t node) {
  for (int32_t other = 0; other < machine->node_count; ++other) {
    if (other != node) assert_int_equal(free_pages(other), POOL_PAGES);
  }
}

static void strict_pages_come_from_the_pool_of_their_node(void **state) {
  const uint32_t *flags = *state;
  for (int32_t node = 0; node < machine->node_count; ++node) {
    tarn_node_options options = tarn_node_options_on(node);
    options.page_bytes = HUGE_BYTES;
    options.flags = *flags;
    tarn_provider *provider = make(&options);
    void *block = NULL, *more = NULL;
    for (int round = 0; round < 2; ++round) {
      assert_ok(tarn_provider_alloc(provider, POOL_PAGES * HUGE_BYTES, &block));
      assert_int_equal(free_pages(node), 0);
      guest_touch_from_afar(block, POOL_PAGES * HUGE_BYTES, node);
      guest_check_on_node(block, POOL_PAGES * HUGE_BYTES, node);
      check_pools_of_others_are_whole(node);
      /* One page more would be a SIGBUS. */
      assert_status(tarn_provider_alloc(provider, HUGE_BYTES, &more), TARN_OUT_OF_MEMORY);
      assert_null(more);
      tarn_node_granted granted = {.struct_size = sizeof granted};
      assert_ok(tarn_node_provider_granted(provider, block, POOL_PAGES * HUGE_BYTES, &granted));
      assert_int_equal(granted.pages.page_bytes, HUGE_BYTES);
      assert_int_equal(granted.placed.node_count, 1);
      assert_int_equal(granted.placed.nodes[0], node);
      assert_ok(tarn_provider_free(provider, block, POOL_PAGES * HUGE_BYTES));
      assert_int_equal(free_pages(node), POOL_PAGES);
    }
    assert_status(tarn_provider_alloc(provider, (POOL_PAGES + 1) * HUGE_BYTES, &block),
                  TARN_OUT_OF_MEMORY);
    assert_int_equal(free_pages(node), POOL_PAGES); /* a failure keeps nothing */
    tarn_provider_release(provider);
  }
}

static void preferred_pages_come_from_other_pools_when_their_own_is_empty(void **state) {
  (void)state;
  if (machine->node_count < 2) skip();
  const int32_t node = machine->node_count - 1;
  tarn_node_options options = tarn_node_options_on(node);
  options.placement.flags = 0;
  options.page_bytes = HUGE_BYTES;
  tarn_provider *provider = make(&options);
  void *block = NULL;
  assert_ok(tarn_provider_alloc(provider, (POOL_PAGES + 2) * HUGE_BYTES, &block));
  guest_touch_from_afar(block, (POOL_PAGES + 2) * HUGE_BYTES, node);
  size_t counts[GUEST_NODES_MAX];
  guest_count_pages(block, (POOL_PAGES + 2) * HUGE_BYTES, counts);
  assert_int_equal(counts[node], POOL_PAGES * (HUGE_BYTES / 4096));
  assert_ok(tarn_provider_free(provider, block, (POOL_PAGES + 2) * HUGE_BYTES));
  tarn_provider_release(provider);
}

static void huge_pages_lie_on_all_nodes_in_turn(void **state) {
  (void)state;
  tarn_node_options options = {.struct_size = sizeof options, .page_bytes = HUGE_BYTES};
  options.placement.struct_size = sizeof options.placement;
  options.placement.kind = TARN_PLACEMENT_INTERLEAVE;
  options.placement.flags = TARN_PLACEMENT_STRICT;
  tarn_provider *provider = make(&options);
  const size_t size_bytes = 2 * (size_t)machine->node_count * HUGE_BYTES;
  void *block = NULL;
  assert_ok(tarn_provider_alloc(provider, size_bytes, &block));
  guest_touch_from_afar(block, size_bytes, 0);
  size_t counts[GUEST_NODES_MAX];
  guest_count_pages(block, size_bytes, counts);
  for (int32_t node = 0; node < machine->node_count; ++node) {
    assert_int_equal(counts[node], 2 * (HUGE_BYTES / 4096));
  }
  assert_ok(tarn_provider_free(provider, block, size_bytes));
  tarn_provider_release(provider);
}

int main(void) {
  machine = guest_machine_here();
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return 1;
  uint32_t flags[] = {0, TARN_PAGES_SHARED, TARN_PAGES_POPULATE};
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate(strict_pages_come_from_the_pool_of_their_node, &flags[0]),
      cmocka_unit_test_prestate(strict_pages_come_from_the_pool_of_their_node, &flags[1]),
      cmocka_unit_test_prestate(strict_pages_come_from_the_pool_of_their_node, &flags[2]),
      cmocka_unit_test(preferred_pages_come_from_other_pools_when_their_own_is_empty),
      cmocka_unit_test(huge_pages_lie_on_all_nodes_in_turn),
  };
  const int failed_count = cmocka_run_group_tests(tests, fill_pools, empty_pools);
  tarn_topology_release(topology);
  return guest_finish(failed_count);
}
