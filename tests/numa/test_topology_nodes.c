/* test_topology_nodes.c: kinds, tiers and processors of nodes, and which of them may be used. */
#include "tests/numa/described_machine.h"
#include "tests/numa/recorded_kernel.h"

typedef struct node_case {
  const char *machine;
  int32_t node;
  tarn_memory_kind kind;
  int32_t tier;
  bool is_memory_only;
} node_case;

TEST(nodes_have_the_kind_and_tier_that_is_told) {
  static const node_case cases[] = {
      {"two_gpus.xml", 0, TARN_MEMORY_UNKNOWN, 0, false},
      {"two_gpus.xml", 1, TARN_MEMORY_UNKNOWN, 0, false},
      {"hbm_dram.xml", 0, TARN_MEMORY_DRAM, 1, false},
      {"hbm_dram.xml", 3, TARN_MEMORY_HBM, 0, true},
      {"hbm_untold.xml", 0, TARN_MEMORY_UNKNOWN, 1, false},
      {"hbm_untold.xml", 1, TARN_MEMORY_HBM, 0, true},
      {"cxl.xml", 1, TARN_MEMORY_DRAM, 0, false},
      {"cxl.xml", 2, TARN_MEMORY_CXL, 1, true},
      {"gpu_memory.xml", 0, TARN_MEMORY_UNKNOWN, 0, false},
      {"gpu_memory.xml", 1, TARN_MEMORY_GPU, 1, true},
      {"nvm.xml", 0, TARN_MEMORY_DRAM, 0, false},
      {"nvm.xml", 1, TARN_MEMORY_NVM, 1, true},
      {"bandwidth_only.xml", 0, TARN_MEMORY_UNKNOWN, 0, false},
      {"bandwidth_only.xml", 1, TARN_MEMORY_UNKNOWN, 0, false},
      {"bandwidth_only.xml", 2, TARN_MEMORY_UNKNOWN, 1, true},
      {"pack:2 [numa(memory=8GiB)] [numa(memory=4GiB)] core:2 pu:1", 0, TARN_MEMORY_UNKNOWN, 0,
       false},
      {"pack:2 [numa(memory=8GiB)] [numa(memory=4GiB)] core:2 pu:1", 1, TARN_MEMORY_UNKNOWN, 0,
       true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const node_case *expected = &cases[i];
    tarn_topology *topology = describe(expected->machine);
    const tarn_node_info info = info_of_node(topology, expected->node);
    if (info.memory_kind != expected->kind || info.tier != expected->tier ||
        info.is_memory_only != expected->is_memory_only) {
      fail_msg("%s, node %d: kind %d, tier %d, memory only: %d", expected->machine, expected->node,
               (int)info.memory_kind, info.tier, info.is_memory_only);
    }
    tarn_topology_release(topology);
  }
}

TEST_WITH(this_machines_kernel_says_which_nodes_have_processors, recorded_start, recorded_stop) {
  recorded_set_file("/sys/devices/system/node/has_cpu", "1-3,7\n");
  tarn_topology *topology = describe("eight_nodes.xml");
  for (int32_t node = 0; node < 8; ++node) {
    const bool has_cpus = (node >= 1 && node <= 3) || node == 7;
    assert_int_equal(info_of_node(topology, node).is_memory_only, !has_cpus);
  }
  tarn_topology_release(topology);
  recorded_set_file("/sys/devices/system/node/has_cpu", "one to three\n"); /* not understood */
  topology = describe("eight_nodes.xml");
  for (int32_t node = 0; node < 8; ++node) {
    assert_false(info_of_node(topology, node).is_memory_only);
  }
  tarn_topology_release(topology);
}

TEST(nodes_that_the_cpuset_forbids_are_not_there) {
  tarn_topology *topology = describe("restricted.xml");
  assert_int_equal(tarn_topology_node_count(topology), 2);
  uint32_t distance = 0;
  assert_int_equal(tarn_topology_distance(topology, 1, 3, &distance), TARN_OK);
  assert_int_equal(distance, 30);
  assert_int_equal(tarn_topology_distance(topology, 0, 3, &distance), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

TEST_WITH(nodes_that_the_kernel_forbids_are_not_there, recorded_start, recorded_stop) {
  recorded_set_file("/proc/thread-self/status",
                    "Name:\ttest\nMems_allowed:\tff\n"
                    "Mems_allowed_list:\t2,5-6\nThreads:\t1\n");
  tarn_topology *topology = describe("eight_nodes.xml");
  assert_int_equal(tarn_topology_node_count(topology), 3);
  assert_int_equal(info_of_node(topology, 6).cpu_count, 2);
  uint32_t distance = 0;
  assert_int_equal(tarn_topology_distance(topology, 2, 5, &distance), TARN_OK);
  assert_int_equal(distance, 32);
  assert_int_equal(tarn_topology_distance(topology, 5, 6, &distance), TARN_OK);
  assert_int_equal(distance, 12);
  tarn_topology_release(topology);
  recorded_set_file("/proc/thread-self/status", "Mems_allowed_list:\t11\n");
  const tarn_topology_options options = {.struct_size = sizeof options,
                                         .synthetic = "numa:2 core:1 pu:1"};
  assert_int_equal(tarn_topology_create(&options, &topology), TARN_UNAVAILABLE);
  assert_null(topology);
}

TEST(processors_of_a_node_are_listed_in_order) {
  tarn_topology *topology = describe("eight_nodes.xml");
  int32_t cpus[4] = {-1, -1, -1, -1};
  int32_t count = 0;
  assert_int_equal(tarn_topology_node_cpus(topology, 3, 4, cpus, &count), TARN_OK);
  assert_int_equal(count, 2);
  assert_int_equal(cpus[0], 6);
  assert_int_equal(cpus[1], 7);
  assert_int_equal(cpus[2], -1);
  assert_int_equal(tarn_topology_node_cpus(topology, 7, 1, cpus, &count), TARN_OK);
  assert_int_equal(count, 2); /* one more than fits */
  assert_int_equal(cpus[0], 14);
  assert_int_equal(cpus[1], 7);
  assert_int_equal(tarn_topology_node_cpus(topology, 7, 0, NULL, &count), TARN_OK);
  assert_int_equal(count, 2);
  assert_int_equal(tarn_topology_node_cpus(topology, 8, 4, cpus, &count), TARN_INVALID_ARGUMENT);
  assert_int_equal(count, 0);
  assert_int_equal(tarn_topology_node_cpus(topology, 7, -1, cpus, &count), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_node_cpus(topology, 7, 1, NULL, &count), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_node_cpus(topology, 7, 4, cpus, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_node_cpus(NULL, 7, 4, cpus, &count), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

TEST(lists_of_the_kernel_are_understood_or_refused) {
  static const struct {
    const char *text;
    bool is_list;
    unsigned long low_bits;
  } cases[] = {{"0\n", true, 1},  {"0-3,8", true, 0x10f},  {"", true, 0},
               {"\n", true, 0},   {"5,1,3\n", true, 0x2a}, {"3-1", false, 0},
               {"1-", false, 0},  {"-1", false, 0},        {"1;2", false, 0},
               {"x", false, 0},   {"1,,2", false, 0},      {"0-99999", true, ~0ul},
               {"99999", true, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    tarn__node_set set;
    assert_int_equal(tarn__kernel_parse_list(cases[i].text, &set), cases[i].is_list);
    if (cases[i].is_list) assert_int_equal(set.words[0], cases[i].low_bits);
  }
  tarn__node_set set = {0};
  tarn__node_set_add(&set, TARN__KERNEL_NODES_MAX - 1);
  tarn__node_set_add(&set, TARN__KERNEL_NODES_MAX);
  tarn__node_set_add(&set, -1);
  assert_true(tarn__node_set_has(&set, TARN__KERNEL_NODES_MAX - 1));
  assert_false(tarn__node_set_has(&set, TARN__KERNEL_NODES_MAX));
  assert_false(tarn__node_set_has(&set, -1));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
