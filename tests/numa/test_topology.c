/* test_topology.c: what tarn tells of machines with one, two and four nodes, and of this one. */
#include "numa/tarn_numa.h"
#include "tests/support/saved_machine.h"

#include <unistd.h>

#include "tests/support/test.h"

static const char two_packages[] = "pack:2 [numa(memory=8GiB)] [numa(memory=4GiB)] core:2 pu:1";

static tarn_topology *make(const char *synthetic) {
  tarn_topology *topology = NULL;
  const tarn_topology_options options = {.struct_size = sizeof options, .synthetic = synthetic};
  assert_int_equal(tarn_topology_create(&options, &topology), TARN_OK);
  return topology;
}

static tarn_node_info info_of(const tarn_topology *topology, int32_t index) {
  tarn_node_info info = {.struct_size = sizeof info};
  assert_int_equal(tarn_topology_node(topology, index, &info), TARN_OK);
  return info;
}

TEST(every_node_of_a_description_is_counted) {
  const struct {
    const char *synthetic;
    int32_t node_count;
    int32_t cpus_per_node;
  } cases[] = {{"numa:1 core:4 pu:2", 1, 8},
               {"numa:2 core:4 pu:1", 2, 4},
               {"numa:4 core:2 pu:2", 4, 4},
               {"pack:2 numa:2 core:3 pu:1", 4, 3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    tarn_topology *topology = make(cases[i].synthetic);
    assert_int_equal(tarn_topology_node_count(topology), cases[i].node_count);
    for (int32_t node = 0; node < cases[i].node_count; ++node) {
      const tarn_node_info info = info_of(topology, node);
      assert_int_equal(info.node, node);
      assert_int_equal(info.cpu_count, cases[i].cpus_per_node);
    }
    tarn_topology_release(topology);
  }
}

TEST(capacities_are_each_nodes_own) {
  tarn_topology *topology = make(two_packages);
  assert_int_equal(tarn_topology_node_count(topology), 4);
  size_t sum_bytes = 0;
  for (int32_t i = 0; i < 4; ++i) {
    const size_t capacity_bytes = info_of(topology, i).capacity_bytes;
    assert_true(capacity_bytes == (size_t)8 << 30 || capacity_bytes == (size_t)4 << 30);
    sum_bytes += capacity_bytes;
  }
  assert_int_equal(sum_bytes, (size_t)24 << 30);
  tarn_topology_release(topology);
}

TEST(an_index_outside_of_the_nodes_is_refused) {
  tarn_topology *topology = make("numa:2 core:1 pu:1");
  tarn_node_info info = {.struct_size = sizeof info};
  assert_int_equal(tarn_topology_node(topology, 2, &info), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_node(topology, -1, &info), TARN_INVALID_ARGUMENT);
  info.struct_size = 3;
  assert_int_equal(tarn_topology_node(topology, 0, &info), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

TEST(a_malformed_description_is_refused) {
  tarn_topology *topology = NULL;
  tarn_topology_options options = {.struct_size = sizeof options, .synthetic = "numa:banana"};
  assert_int_equal(tarn_topology_create(&options, &topology), TARN_BAD_FORMAT);
  assert_null(topology);
  options.synthetic = NULL;
  options.xml_path = "/nowhere/topology.xml";
  assert_int_not_equal(tarn_topology_create(&options, &topology), TARN_OK);
  assert_null(topology);
  options.synthetic = "numa:1 pu:1";
  assert_int_equal(tarn_topology_create(&options, &topology), TARN_INVALID_ARGUMENT);
  options.struct_size = 0;
  assert_int_equal(tarn_topology_create(&options, &topology), TARN_INVALID_ARGUMENT);
}

TEST(distances_are_the_firmwares_or_unavailable) {
  tarn_topology *topology = make("numa:2 core:1 pu:1");
  uint32_t distance = 99;
  assert_int_equal(tarn_topology_distance(topology, 0, 1, &distance), TARN_UNAVAILABLE);
  assert_int_equal(distance, 0);
  assert_int_equal(tarn_topology_distance(topology, 0, 7, &distance), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

TEST(a_saved_machine_keeps_its_tables) {
  char path[] = SAVED_MACHINE_TEMPLATE;
  assert_true(save_machine(path));
  const tarn_topology_options options = {.struct_size = sizeof options, .xml_path = path};
  tarn_topology *topology = NULL;
  const tarn_status status = tarn_topology_create(&options, &topology);
  unlink(path);
  assert_int_equal(status, TARN_OK);
  assert_int_equal(tarn_topology_node_count(topology), 2);
  const tarn_node_info near = info_of(topology, 0);
  const tarn_node_info far = info_of(topology, 1);
  assert_int_equal(near.node, 0);
  assert_int_equal(far.node, 5);
  assert_int_equal(near.capacity_bytes, (size_t)1 << 30);
  assert_int_equal(far.capacity_bytes, (size_t)2 << 30);
  assert_int_equal(near.cpu_count, 2);
  assert_int_equal(far.cpu_count, 2); /* it has none, and is beside those of the other */
  assert_int_equal(near.bandwidth_mib_per_s, 90000);
  assert_int_equal(far.bandwidth_mib_per_s, 20000);
  assert_int_equal(near.latency_ns, 80);
  assert_int_equal(far.latency_ns, 210);
  uint32_t distance;
  assert_int_equal(tarn_topology_distance(topology, 0, 5, &distance), TARN_OK);
  assert_int_equal(distance, 21);
  assert_int_equal(tarn_topology_distance(topology, 5, 0, &distance), TARN_OK);
  assert_int_equal(distance, 17);
  assert_int_equal(tarn_topology_distance(topology, 5, 5, &distance), TARN_OK);
  assert_int_equal(distance, 10);
  tarn_topology_release(topology);
}

TEST(this_machine_has_the_node_its_thread_runs_on) {
  tarn_topology *topology = NULL;
  assert_int_equal(tarn_topology_create(NULL, &topology), TARN_OK);
  assert_true(tarn_topology_node_count(topology) >= 1);
  int32_t here = -1;
  assert_int_equal(tarn_topology_node_here(topology, &here), TARN_OK);
  bool is_listed = false;
  size_t memory_bytes = 0;
  for (int32_t i = 0; i < tarn_topology_node_count(topology); ++i) {
    const tarn_node_info info = info_of(topology, i);
    is_listed = is_listed || info.node == here;
    memory_bytes += info.capacity_bytes;
  }
  assert_true(is_listed);
  assert_true(memory_bytes > 0);
  tarn_topology_release(topology);
}

TEST(no_thread_runs_on_a_description) {
  tarn_topology *topology = make("numa:2 core:1 pu:1");
  int32_t node = 5;
  assert_int_equal(tarn_topology_node_here(topology, &node), TARN_UNAVAILABLE);
  assert_int_equal(node, -1);
  tarn_topology_release(topology);
}

TEST(an_unknown_pci_device_is_not_found) {
  tarn_topology *topology = NULL;
  assert_int_equal(tarn_topology_create(NULL, &topology), TARN_OK);
  int32_t node = 5;
  assert_int_equal(tarn_topology_node_of_pci(topology, "fedc:fe:1f.7", &node), TARN_NOT_FOUND);
  assert_int_equal(node, -1);
  assert_int_equal(tarn_topology_node_of_pci(topology, "graphics", &node), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_node_of_pci(topology, "0:1", &node), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

TEST(a_topology_lives_until_its_last_reference_goes) {
  tarn_topology *topology = make("numa:2 core:1 pu:1");
  tarn_topology_retain(topology);
  tarn_topology_release(topology);
  assert_int_equal(tarn_topology_node_count(topology), 2);
  tarn_topology_release(topology);
  tarn_topology_release(NULL);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
