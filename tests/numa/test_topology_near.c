/* test_topology_near.c: which node is near to a thread, to a PCI device, and to another node. */
#include "tests/numa/described_machine.h"
#include "tests/numa/recorded_kernel.h"

TEST(a_device_is_near_to_the_node_that_it_hangs_on) {
  static const struct {
    const char *machine;
    const char *bus_id;
    tarn_status status;
    int32_t node;
  } cases[] = {
      {"two_gpus.xml", "0000:17:00.0", TARN_OK, 0},
      {"two_gpus.xml", "0000:b3:00.0", TARN_OK, 1},
      {"two_gpus.xml", "0000:B3:00.0", TARN_OK, 1}, /* as drivers write it too */
      {"two_gpus.xml", "00000000:B3:00.0", TARN_OK, 1},
      {"two_gpus.xml", "0000:c0:00.0", TARN_UNAVAILABLE, -1}, /* below nothing in particular */
      {"two_gpus.xml", "0000:18:00.0", TARN_NOT_FOUND, -1},
      {"two_gpus.xml", "0001:17:00.0", TARN_NOT_FOUND, -1},
      {"hbm_dram.xml", "0000:b3:00.0", TARN_OK, 1}, /* not the HBM, which has no processors */
      {"eight_nodes.xml", "0000:11:00.0", TARN_OK, 1},
      {"eight_nodes.xml", "0000:71:00.0", TARN_OK, 7},
      {"gpu_memory.xml", "0009:01:00.0", TARN_OK, 0}, /* not its own memory */
      {"cxl.xml", "0000:17:00.0", TARN_OK, 0},
      {"two_gpus.xml", "", TARN_INVALID_ARGUMENT, -1},
      {"two_gpus.xml", "17:00.0", TARN_INVALID_ARGUMENT, -1},
      {"two_gpus.xml", "graphics", TARN_INVALID_ARGUMENT, -1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    tarn_topology *topology = describe(cases[i].machine);
    int32_t node = 7;
    const tarn_status status = tarn_topology_node_of_pci(topology, cases[i].bus_id, &node);
    if (status != cases[i].status || node != cases[i].node) {
      fail_msg("%s, %s: %s, node %d", cases[i].machine, cases[i].bus_id, tarn_status_name(status),
               node);
    }
    tarn_topology_release(topology);
  }
}

TEST_WITH(a_thread_is_near_to_the_node_of_its_processor, recorded_start, recorded_stop) {
  static const struct {
    const char *machine;
    int cpu;
    int32_t node;
  } cases[] = {
      {"two_gpus.xml", 1, 0},     {"two_gpus.xml", 2, 1},     {"hbm_dram.xml", 0, 0},
      {"hbm_dram.xml", 3, 1},     {"cxl.xml", 2, 1},          {"gpu_memory.xml", 3, 0},
      {"nothing_told.xml", 3, 4}, {"eight_nodes.xml", 15, 7}, {"numa:4 core:2 pu:1", 5, 2}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    tarn_topology *topology = describe(cases[i].machine);
    recorded.cpu = cases[i].cpu;
    int32_t node = -1;
    assert_int_equal(tarn_topology_node_here(topology, &node), TARN_OK);
    assert_int_equal(node, cases[i].node);
    tarn_topology_release(topology);
  }
  tarn_topology *topology = describe("two_gpus.xml");
  int32_t node = 7;
  recorded.cpu = 400;
  assert_int_equal(tarn_topology_node_here(topology, &node), TARN_UNAVAILABLE);
  assert_int_equal(node, -1);
  recorded.cpu = -1;
  assert_int_equal(tarn_topology_node_here(topology, &node), TARN_SYSTEM_ERROR);
  tarn_topology_release(topology);
}

TEST(nodes_are_ordered_by_distance_then_capacity_then_number) {
  static const struct {
    const char *machine;
    int32_t from_node;
    int32_t count;
    int32_t nodes[8];
  } cases[] = {
      {"two_gpus.xml", 1, 2, {1, 0}},
      {"hbm_dram.xml", 0, 4, {0, 2, 1, 3}},
      {"hbm_dram.xml", 3, 4, {3, 1, 0, 2}},
      {"cxl.xml", 0, 3, {0, 2, 1}},
      {"cxl.xml", 1, 3, {1, 0, 2}},
      {"eight_nodes.xml", 5, 8, {5, 4, 6, 7, 0, 1, 2, 3}},
      {"restricted.xml", 3, 2, {3, 1}},
      {"gpu_memory.xml", 0, 1, {0}},
      {"nothing_told.xml", 0, 3, {0, 9, 4}}, /* near, as they share processors; then far */
      {"nothing_told.xml", 9, 3, {4, 0, 9}},
      {"numa:4(memory=1GiB) core:1 pu:1", 2, 4, {2, 0, 1, 3}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    tarn_topology *topology = describe(cases[i].machine);
    int32_t nodes[8] = {0};
    int32_t count = 0;
    assert_int_equal(tarn_topology_nodes_near(topology, cases[i].from_node, 8, nodes, &count),
                     TARN_OK);
    if (count != cases[i].count || memcmp(nodes, cases[i].nodes, sizeof nodes) != 0) {
      fail_msg("%s from node %d: %d nodes, %d %d %d %d ...", cases[i].machine, cases[i].from_node,
               count, nodes[0], nodes[1], nodes[2], nodes[3]);
    }
    tarn_topology_release(topology);
  }
}

TEST(a_short_list_has_the_nearest) {
  tarn_topology *topology = describe("eight_nodes.xml");
  int32_t nodes[3] = {-1, -1, -1};
  int32_t count = 0;
  assert_int_equal(tarn_topology_nodes_near(topology, 6, 2, nodes, &count), TARN_OK);
  assert_int_equal(count, 8);
  assert_int_equal(nodes[0], 6);
  assert_int_equal(nodes[1], 4);
  assert_int_equal(nodes[2], -1);
  assert_int_equal(tarn_topology_nodes_near(topology, 8, 2, nodes, &count), TARN_INVALID_ARGUMENT);
  assert_int_equal(count, 0);
  assert_int_equal(tarn_topology_nodes_near(topology, TARN_NODE_ANY, 2, nodes, &count),
                   TARN_UNAVAILABLE);
  assert_int_equal(tarn_topology_nodes_near(topology, 0, -1, nodes, &count), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_nodes_near(topology, 0, 1, NULL, &count), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_nodes_near(topology, 0, 2, nodes, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_nodes_near(NULL, 0, 2, nodes, &count), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
