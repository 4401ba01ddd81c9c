/* vm_topology.c: tarn tells of this machine what its firmware was made to tell. */

#include "numa/tarn_numa.h"
#include "tests/vm/guest.h"

static tarn_topology *topology;

static tarn_node_info info_of(int32_t index) {
  tarn_node_info info = {.struct_size = sizeof info};
  assert_ok(tarn_topology_node(topology, index, &info));
  return info;
}

TEST(every_node_is_there_with_its_memory) {
  const guest_machine *machine = guest_machine_here();
  assert_int_equal(tarn_topology_node_count(topology), machine->node_count);
  unsigned seen = 0;
  for (int32_t i = 0; i < machine->node_count; ++i) {
    const tarn_node_info info = info_of(i);
    assert_in_range(info.node, 0, machine->node_count - 1);
    seen |= 1u << info.node;
    /* The kernel keeps some of it for itself. */
    const size_t capacity_bytes = machine->nodes[info.node].capacity_mib << 20;
    assert_in_range(info.capacity_bytes, capacity_bytes / 10 * 8, capacity_bytes);
  }
  assert_int_equal(seen, (1u << machine->node_count) - 1);
}

TEST(distances_are_the_firmwares) {
  const guest_machine *machine = guest_machine_here();
  for (int32_t from = 0; from < machine->node_count; ++from) {
    for (int32_t to = 0; to < machine->node_count; ++to) {
      uint32_t distance = 0;
      const tarn_status status = tarn_topology_distance(topology, from, to, &distance);
      const uint32_t told = machine->nodes[from].distances[to];
      if (told != 0) {
        assert_ok(status);
        assert_int_equal(distance, told);
      } else if (status == TARN_OK) { /* the kernel's own, where the firmware tells none */
        assert_int_equal(distance, from == to ? 10 : 20);
      } else {
        assert_status(status, TARN_UNAVAILABLE);
      }
    }
  }
}

TEST(bandwidth_and_latency_are_the_firmwares) {
  const guest_machine *machine = guest_machine_here();
  for (int32_t i = 0; i < machine->node_count; ++i) {
    const tarn_node_info info = info_of(i);
    assert_int_equal(info.bandwidth_mib_per_s, machine->nodes[info.node].bandwidth_mib_per_s);
    assert_int_equal(info.latency_ns, machine->nodes[info.node].latency_ns);
  }
}

TEST(a_thread_is_nearest_to_the_node_it_runs_on) {
  const guest_machine *machine = guest_machine_here();
  for (int32_t i = 0; i < machine->node_count; ++i) {
    if (machine->nodes[i].cpu_count == 0) continue;
    guest_run_on(i);
    int32_t here = -1;
    assert_ok(tarn_topology_node_here(topology, &here));
    assert_int_equal(here, i);
  }
}

TEST(a_device_is_nearest_to_the_node_of_its_bridge) {
  const guest_machine *machine = guest_machine_here();
  if (machine->pci_bus_id[0] == '\0') skip();
  int32_t node = -1;
  assert_ok(tarn_topology_node_of_pci(topology, machine->pci_bus_id, &node));
  assert_int_equal(node, machine->pci_node);
}

int main(void) {
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return 1;
  const int failed_count = run_listed_tests(NULL, NULL);
  tarn_topology_release(topology);
  return guest_finish(failed_count);
}
