/* test_topology_best.c: the best node by each attribute, also where the firmware tells nothing. */
#include "tests/numa/described_machine.h"
#include "tests/numa/recorded_kernel.h"

#define GIB ((size_t)1 << 30)

typedef struct best_case {
  const char *machine;
  int32_t from_node;
  tarn_node_attribute attribute;
  size_t least_free_bytes;
  int32_t node;
  tarn_best_by by;
  bool is_measured;
  uint64_t value;
} best_case;

static const best_case cases[] = {
    /* The tables are told. */
    {"hbm_dram.xml", 0, TARN_NODE_BANDWIDTH, 0, 2, TARN_BEST_BY_VALUE, true, 800000},
    {"hbm_dram.xml", 1, TARN_NODE_BANDWIDTH, 0, 3, TARN_BEST_BY_VALUE, true, 800000},
    {"hbm_dram.xml", 2, TARN_NODE_BANDWIDTH, 0, 2, TARN_BEST_BY_VALUE, true, 800000},
    {"hbm_dram.xml", 0, TARN_NODE_LATENCY, 0, 0, TARN_BEST_BY_VALUE, true, 90},
    {"hbm_dram.xml", 3, TARN_NODE_LATENCY, 0, 1, TARN_BEST_BY_VALUE, true, 90},
    {"hbm_dram.xml", 1, TARN_NODE_READ_BANDWIDTH, 0, 3, TARN_BEST_BY_VALUE, true, 800000},
    {"hbm_dram.xml", 1, TARN_NODE_WRITE_LATENCY, 0, 1, TARN_BEST_BY_VALUE, true, 95},
    {"hbm_dram.xml", 0, TARN_NODE_BANDWIDTH, 100 * GIB, 0, TARN_BEST_BY_VALUE, true, 200000},
    {"hbm_dram.xml", 0, TARN_NODE_LOCALITY, 0, 0, TARN_BEST_BY_VALUE, true, 10},
    {"hbm_dram.xml", 2, TARN_NODE_CAPACITY, 0, 0, TARN_BEST_BY_DISTANCE, false, 128 * GIB},
    {"hbm_dram.xml", 3, TARN_NODE_CAPACITY, 0, 1, TARN_BEST_BY_DISTANCE, false, 128 * GIB},
    {"cxl.xml", 0, TARN_NODE_BANDWIDTH, 0, 0, TARN_BEST_BY_VALUE, true, 200000},
    {"cxl.xml", 1, TARN_NODE_CAPACITY, 0, 2, TARN_BEST_BY_VALUE, true, 256 * GIB},
    {"cxl.xml", 1, TARN_NODE_LATENCY, 65 * GIB, 2, TARN_BEST_BY_NOTHING, false, 0},
    {"cxl.xml", 0, TARN_NODE_LATENCY, 65 * GIB, 2, TARN_BEST_BY_NOTHING, false, 250},
    /* Only distances, or kinds and distances. */
    {"two_gpus.xml", 1, TARN_NODE_BANDWIDTH, 0, 1, TARN_BEST_BY_DISTANCE, false, 0},
    {"two_gpus.xml", 0, TARN_NODE_LATENCY, 0, 0, TARN_BEST_BY_DISTANCE, false, 0},
    {"two_gpus.xml", 1, TARN_NODE_CAPACITY, 0, 1, TARN_BEST_BY_DISTANCE, false, 64 * GIB},
    {"hbm_untold.xml", 0, TARN_NODE_BANDWIDTH, 0, 1, TARN_BEST_BY_KIND, false, 0},
    {"hbm_untold.xml", 0, TARN_NODE_WRITE_BANDWIDTH, 0, 1, TARN_BEST_BY_KIND, false, 0},
    {"hbm_untold.xml", 0, TARN_NODE_LATENCY, 0, 0, TARN_BEST_BY_DISTANCE, false, 0},
    {"hbm_untold.xml", 0, TARN_NODE_BANDWIDTH, 20 * GIB, 0, TARN_BEST_BY_NOTHING, false, 0},
    {"eight_nodes.xml", 5, TARN_NODE_LATENCY, 0, 5, TARN_BEST_BY_DISTANCE, false, 0},
    {"restricted.xml", 3, TARN_NODE_LOCALITY, 0, 3, TARN_BEST_BY_VALUE, true, 10},
    /* Nothing. */
    {"nothing_told.xml", 4, TARN_NODE_BANDWIDTH, 0, 4, TARN_BEST_BY_CAPACITY, false, 0},
    {"nothing_told.xml", 0, TARN_NODE_BANDWIDTH, 0, 0, TARN_BEST_BY_CAPACITY, false, 0},
    {"nothing_told.xml", 9, TARN_NODE_LATENCY, 0, 4, TARN_BEST_BY_CAPACITY, false, 0},
    {"nothing_told.xml", 9, TARN_NODE_LOCALITY, 0, 4, TARN_BEST_BY_CAPACITY, false, 10},
    {"numa:4(memory=1GiB) core:1 pu:1", 2, TARN_NODE_LATENCY, 0, 2, TARN_BEST_BY_DISTANCE, false,
     0},
    {"pack:2 [numa(memory=4GiB)] [numa(memory=4GiB)] core:2 pu:1", 1, TARN_NODE_LATENCY, 0, 0,
     TARN_BEST_BY_NUMBER, false, 0},
    {"numa:1 core:1 pu:1", 0, TARN_NODE_BANDWIDTH, 0, 0, TARN_BEST_BY_NOTHING, false, 0},
    /* A GPU's own memory is faster than all, and not the host's to take. */
    {"gpu_memory.xml", 0, TARN_NODE_BANDWIDTH, 0, 0, TARN_BEST_BY_NOTHING, false, 500000},
};

TEST(the_best_node_is_the_one_that_the_rules_say) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const best_case *expected = &cases[i];
    tarn_topology *topology = describe(expected->machine);
    tarn_best_node best = {.struct_size = sizeof best};
    const tarn_status status = tarn_topology_best_node(
        topology, expected->from_node, expected->attribute, expected->least_free_bytes, &best);
    if (status != TARN_OK || best.node != expected->node || best.by != expected->by ||
        best.is_measured != expected->is_measured || best.value != expected->value) {
      fail_msg("%s, attribute %d from node %d: %s, node %d by %d, measured %d, value %llu",
               expected->machine, (int)expected->attribute, expected->from_node,
               tarn_status_name(status), best.node, (int)best.by, best.is_measured,
               (unsigned long long)best.value);
    }
    tarn_topology_release(topology);
  }
}

TEST(no_node_with_the_room_is_out_of_memory) {
  tarn_topology *topology = describe("two_gpus.xml");
  tarn_best_node best = {.struct_size = sizeof best, .node = 7};
  assert_int_equal(tarn_topology_best_node(topology, 0, TARN_NODE_BANDWIDTH, 65 * GIB, &best),
                   TARN_OUT_OF_MEMORY);
  assert_int_equal(best.node, -1);
  tarn_topology_release(topology);
}

TEST_WITH(room_is_what_the_kernel_has_free_now, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("eight_nodes.xml");
  tarn_best_node best = {.struct_size = sizeof best};
  const size_t free_bytes[] = {GIB, 3 * GIB, 5 * GIB, GIB, 9 * GIB, GIB, GIB, GIB};
  recorded_set_room(8, free_bytes);
  assert_int_equal(tarn_topology_best_node(topology, 0, TARN_NODE_LATENCY, GIB, &best), TARN_OK);
  assert_int_equal(best.node, 0);
  assert_int_equal(tarn_topology_best_node(topology, 0, TARN_NODE_LATENCY, 2 * GIB, &best),
                   TARN_OK);
  assert_int_equal(best.node, 1);
  assert_int_equal(tarn_topology_best_node(topology, 0, TARN_NODE_LATENCY, 6 * GIB, &best),
                   TARN_OK);
  assert_int_equal(best.node, 4);
  assert_int_equal(tarn_topology_best_node(topology, 0, TARN_NODE_LATENCY, 10 * GIB, &best),
                   TARN_OUT_OF_MEMORY);
  recorded_set_file("/proc/zoneinfo", NULL); /* a kernel that does not tell: by capacity */
  assert_int_equal(tarn_topology_best_node(topology, 0, TARN_NODE_LATENCY, 10 * GIB, &best),
                   TARN_OK);
  assert_int_equal(best.node, 0);
  tarn_topology_release(topology);
}

TEST_WITH(from_no_node_means_from_the_thread, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("two_gpus.xml");
  tarn_best_node best = {.struct_size = sizeof best};
  for (int32_t node = 0; node < 2; ++node) {
    recorded.cpu = 2 * node + 1;
    assert_int_equal(tarn_topology_best_node(topology, TARN_NODE_ANY, TARN_NODE_LOCALITY, 0, &best),
                     TARN_OK);
    assert_int_equal(best.node, node);
  }
  tarn_topology_release(topology);
}

TEST(wrong_questions_are_refused) {
  tarn_topology *topology = describe("two_gpus.xml");
  tarn_best_node best = {.struct_size = sizeof best};
  assert_int_equal(tarn_topology_best_node(topology, 2, TARN_NODE_LATENCY, 0, &best),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_best_node(topology, -2, TARN_NODE_LATENCY, 0, &best),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_best_node(topology, 0, (tarn_node_attribute)8, 0, &best),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_best_node(topology, 0, (tarn_node_attribute)-1, 0, &best),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_best_node(topology, TARN_NODE_ANY, TARN_NODE_LATENCY, 0, &best),
                   TARN_UNAVAILABLE); /* no thread runs on a description */
  assert_int_equal(tarn_topology_best_node(NULL, 0, TARN_NODE_LATENCY, 0, &best),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_best_node(topology, 0, TARN_NODE_LATENCY, 0, NULL),
                   TARN_INVALID_ARGUMENT);
  best.struct_size = 8;
  assert_int_equal(tarn_topology_best_node(topology, 0, TARN_NODE_LATENCY, 0, &best),
                   TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

TEST(attributes_are_told_from_each_node_or_unavailable) {
  tarn_topology *topology = describe("hbm_dram.xml");
  static const struct {
    tarn_node_attribute attribute;
    int32_t from_node;
    int32_t to_node;
    uint64_t value; /* 0: not told */
  } told[] = {{TARN_NODE_BANDWIDTH, 0, 0, 200000},
              {TARN_NODE_BANDWIDTH, 0, 2, 800000},
              {TARN_NODE_BANDWIDTH, 0, 1, 0}, /* Linux tells of the nearest processors only */
              {TARN_NODE_BANDWIDTH, 2, 0, 200000},
              {TARN_NODE_BANDWIDTH, TARN_NODE_ANY, 3, 800000},
              {TARN_NODE_LATENCY, TARN_NODE_ANY, 2, 120},
              {TARN_NODE_READ_BANDWIDTH, 0, 0, 220000},
              {TARN_NODE_WRITE_BANDWIDTH, 0, 0, 180000},
              {TARN_NODE_READ_LATENCY, 1, 1, 85},
              {TARN_NODE_WRITE_LATENCY, 1, 1, 95},
              {TARN_NODE_WRITE_LATENCY, 1, 3, 120}, /* as both together */
              {TARN_NODE_CAPACITY, 0, 1, 128 * GIB},
              {TARN_NODE_LOCALITY, 0, 1, 21},
              {TARN_NODE_LOCALITY, TARN_NODE_ANY, 1, 10}};
  for (size_t i = 0; i < sizeof told / sizeof *told; ++i) {
    uint64_t value = 7;
    assert_int_equal(tarn_topology_attribute(topology, told[i].attribute, told[i].from_node,
                                             told[i].to_node, &value),
                     told[i].value == 0 ? TARN_UNAVAILABLE : TARN_OK);
    assert_int_equal(value, told[i].value);
  }
  uint64_t value = 7;
  assert_int_equal(tarn_topology_attribute(topology, TARN_NODE_LATENCY, 4, 0, &value),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(value, 0);
  assert_int_equal(tarn_topology_attribute(topology, TARN_NODE_LATENCY, 0, -1, &value),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_attribute(topology, (tarn_node_attribute)8, 0, 0, &value),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_attribute(topology, TARN_NODE_LATENCY, 0, 0, NULL),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_attribute(NULL, TARN_NODE_LATENCY, 0, 0, &value),
                   TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
