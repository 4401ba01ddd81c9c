/* test_placement.c: what each kind of placement means on machines of all sorts. */
#include "numa/placement.h"
#include "tests/numa/described_machine.h"
#include "tests/numa/recorded_kernel.h"

#include <unistd.h>

#define GIB ((size_t)1 << 30)
#define MIB ((size_t)1 << 20)

enum { LAST_NODES_MAX = 8 };

typedef struct resolve_case {
  const char *machine;
  tarn_placement wish; /* struct_size is filled in; STRICT is tried as well */
  tarn_placement_mode mode;
  tarn_placement_mode strict_mode;
  int32_t node_count;
  int32_t nodes[LAST_NODES_MAX];
  uint32_t weights[LAST_NODES_MAX]; /* in STRIPES */
  bool is_measured;
} resolve_case;

#define ONE TARN_PLACEMENT_MODE_PREFER, TARN_PLACEMENT_MODE_BIND
#define STRIPES TARN_PLACEMENT_MODE_STRIPES, TARN_PLACEMENT_MODE_STRIPES
#define TURNS TARN_PLACEMENT_MODE_INTERLEAVE, TARN_PLACEMENT_MODE_STRIPES
#define ORDER TARN_PLACEMENT_MODE_ORDER, TARN_PLACEMENT_MODE_ORDER
#define NODE .kind = TARN_PLACEMENT_NODE
#define DEVICE .kind = TARN_PLACEMENT_NEAR_DEVICE
#define THREAD .kind = TARN_PLACEMENT_NEAR_THREAD
#define INTERLEAVE .kind = TARN_PLACEMENT_INTERLEAVE
#define WEIGHTED .kind = TARN_PLACEMENT_WEIGHTED
#define ORDERED .kind = TARN_PLACEMENT_ORDERED
#define ATTRIBUTE .kind = TARN_PLACEMENT_ATTRIBUTE

/* The thread runs on processor 3. */
static const resolve_case cases[] = {
    {"numa:1 core:4 pu:1", {NODE, .node_count = 1}, ONE, 1, {0}, {0}, false},
    {"two_gpus.xml", {NODE, .node_count = 1, .nodes = {1}}, ONE, 1, {1}, {0}, false},
    {"cxl.xml", {NODE, .node_count = 1, .nodes = {2}}, ONE, 1, {2}, {0}, false},
    {"eight_nodes.xml", {NODE, .node_count = 1, .nodes = {7}}, ONE, 1, {7}, {0}, false},
    {"gpu_memory.xml", {NODE, .node_count = 1, .nodes = {1}}, ONE, 1, {1}, {0}, false},

    {"two_gpus.xml", {DEVICE, .pci_bus_id = "0000:b3:00.0"}, ONE, 1, {1}, {0}, false},
    {"hbm_dram.xml", {DEVICE, .pci_bus_id = "0000:17:00.0"}, ONE, 1, {0}, {0}, false},
    {"eight_nodes.xml", {DEVICE, .pci_bus_id = "0000:51:00.0"}, ONE, 1, {5}, {0}, false},
    /* What the driver says counts where the topology does not know better. */
    {"two_gpus.xml", {DEVICE, .node_count = 1, .nodes = {1}}, ONE, 1, {1}, {0}, false},
    {"two_gpus.xml",
     {DEVICE, .pci_bus_id = "0000:c0:00.0", .node_count = 1, .nodes = {1}},
     ONE,
     1,
     {1},
     {0},
     false},
    {"two_gpus.xml",
     {DEVICE, .pci_bus_id = "0000:44:00.0", .node_count = 1, .nodes = {1}},
     ONE,
     1,
     {1},
     {0},
     false},
    {"two_gpus.xml",
     {DEVICE, .pci_bus_id = "0000:17:00.0", .node_count = 1, .nodes = {1}},
     ONE,
     1,
     {0},
     {0},
     false},

    {"two_gpus.xml", {THREAD}, ONE, 1, {1}, {0}, false},
    {"hbm_dram.xml", {THREAD}, ONE, 1, {1}, {0}, false},
    {"eight_nodes.xml", {THREAD}, ONE, 1, {1}, {0}, false},

    {"numa:1 core:4 pu:1", {INTERLEAVE}, ONE, 1, {0}, {0}, false},
    {"two_gpus.xml", {INTERLEAVE}, TURNS, 2, {0, 1}, {1, 1}, false},
    {"eight_nodes.xml",
     {INTERLEAVE, .node_count = 3, .nodes = {6, 2, 4}},
     TURNS,
     3,
     {6, 2, 4},
     {1, 1, 1},
     false},
    {"eight_nodes.xml",
     {INTERLEAVE, .node_count = 2, .nodes = {1, 3}, .stripe_bytes = 4 * MIB},
     STRIPES,
     2,
     {1, 3},
     {1, 1},
     false},
    {"gpu_memory.xml", {INTERLEAVE}, ONE, 1, {0}, {0}, false},
    {"eight_nodes.xml",
     {INTERLEAVE},
     TURNS,
     8,
     {0, 1, 2, 3, 4, 5, 6, 7},
     {1, 1, 1, 1, 1, 1, 1, 1},
     false},

    {"numa:1 core:4 pu:1", {WEIGHTED}, ONE, 1, {0}, {0}, false},
    {"two_gpus.xml",
     {WEIGHTED, .node_count = 2, .nodes = {1, 0}, .weights = {3, 1}},
     STRIPES,
     2,
     {1, 0},
     {3, 1},
     false},
    {"two_gpus.xml",
     {WEIGHTED, .node_count = 2, .nodes = {0, 1}, .weights = {60, 24}},
     STRIPES,
     2,
     {0, 1},
     {5, 2},
     false},
    {"cxl.xml", {WEIGHTED}, STRIPES, 3, {0, 1, 2}, {4, 4, 1}, true},
    {"hbm_dram.xml",
     {WEIGHTED, .node_count = 2, .nodes = {0, 2}},
     STRIPES,
     2,
     {0, 2},
     {1, 4},
     true},
    {"two_gpus.xml", {WEIGHTED}, STRIPES, 2, {0, 1}, {1, 1}, false}, /* no bandwidth is told */

    {"numa:1 core:4 pu:1", {ORDERED}, ONE, 1, {0}, {0}, false},
    {"cxl.xml", {ORDERED}, ORDER, 3, {1, 0, 2}, {0}, false},
    {"eight_nodes.xml",
     {ORDERED, .node_count = 3, .nodes = {5, 0, 6}},
     ORDER,
     3,
     {5, 0, 6},
     {0},
     false},
    {"gpu_memory.xml", {ORDERED, .node_count = 2, .nodes = {1, 0}}, ORDER, 2, {1, 0}, {0}, false},

    {"hbm_dram.xml", {ATTRIBUTE}, ONE, 1, {3}, {0}, true},
    {"hbm_dram.xml", {ATTRIBUTE, .attribute = TARN_NODE_LATENCY}, ONE, 1, {1}, {0}, true},
    {"hbm_dram.xml", {ATTRIBUTE, .pci_bus_id = "0000:17:00.0"}, ONE, 1, {2}, {0}, true},
    {"hbm_dram.xml", {ATTRIBUTE, .node_count = 1, .nodes = {0}}, ONE, 1, {2}, {0}, true},
    {"hbm_dram.xml", {ATTRIBUTE, .least_free_bytes = 80 * GIB}, ONE, 1, {1}, {0}, true},
    {"two_gpus.xml", {ATTRIBUTE}, ONE, 1, {1}, {0}, false},
    {"cxl.xml", {ATTRIBUTE, .attribute = TARN_NODE_CAPACITY}, ONE, 1, {2}, {0}, true},
};

/* Capacities as room, so that "room now" is known. */
static void set_room_to_capacity(const tarn_topology *topology) {
  size_t free_bytes[8] = {0};
  for (int32_t i = 0; i < tarn_topology_node_count(topology); ++i) {
    tarn_node_info info = {.struct_size = sizeof info};
    assert_int_equal(tarn_topology_node(topology, i, &info), TARN_OK);
    free_bytes[info.node] = info.capacity_bytes;
  }
  recorded_set_room(8, free_bytes);
}

static void expect_resolved(const resolve_case *expected, uint32_t flags) {
  tarn_topology *topology = describe(expected->machine);
  set_room_to_capacity(topology);
  recorded.cpu = 3;
  tarn_placement wish = expected->wish;
  wish.struct_size = sizeof wish;
  wish.flags = flags;
  tarn_placement_resolved resolved = {.struct_size = sizeof resolved};
  const tarn_status status = tarn_placement_resolve(topology, &wish, 64 * MIB, &resolved);
  if (status != TARN_OK) fail_msg("%s: %s", expected->machine, tarn_last_error()->message);
  const tarn_placement_mode mode = flags != 0 ? expected->strict_mode : expected->mode;
  bool is_right = resolved.mode == mode && resolved.node_count == expected->node_count &&
                  resolved.is_measured == expected->is_measured && resolved.flags == flags &&
                  !resolved.is_short;
  const bool has_stripes = mode == TARN_PLACEMENT_MODE_STRIPES;
  for (int32_t i = 0; is_right && i < expected->node_count; ++i) {
    is_right = resolved.nodes[i] == expected->nodes[i] &&
               resolved.weights[i] == (has_stripes ? expected->weights[i] : 0);
  }
  is_right = is_right && (resolved.stripe_bytes != 0) == has_stripes &&
             resolved.page_bytes == (size_t)sysconf(_SC_PAGESIZE);
  if (!is_right) {
    fail_msg("%s, kind %d, flags %u: mode %d, %d nodes, first %d, weights %u %u, measured %d",
             expected->machine, (int)wish.kind, flags, (int)resolved.mode, resolved.node_count,
             resolved.nodes[0], resolved.weights[0], resolved.weights[1], resolved.is_measured);
  }
  tarn_topology_release(topology);
}

TEST_WITH(every_kind_resolves_to_its_nodes_and_mode, recorded_start, recorded_stop) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    expect_resolved(&cases[i], 0);
    expect_resolved(&cases[i], TARN_PLACEMENT_STRICT);
  }
}

TEST(no_placement_is_no_policy) {
  tarn_topology *topology = describe("two_gpus.xml");
  tarn_placement wish = {.struct_size = sizeof wish};
  tarn_placement_resolved resolved = {.struct_size = sizeof resolved, .node_count = 3};
  assert_int_equal(tarn_placement_resolve(topology, &wish, 0, &resolved), TARN_OK);
  assert_int_equal(resolved.mode, TARN_PLACEMENT_MODE_NONE);
  assert_int_equal(resolved.node_count, 0);
  tarn_topology_release(topology);
}

static tarn_status resolve(const tarn_topology *topology, tarn_placement wish,
                           tarn_placement_resolved *resolved) {
  wish.struct_size = sizeof wish;
  *resolved = (tarn_placement_resolved){.struct_size = sizeof *resolved, .node_count = 7};
  return tarn_placement_resolve(topology, &wish, 64 * MIB, resolved);
}

TEST_WITH(by_attribute_without_room_is_refused_or_said, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("two_gpus.xml");
  const size_t free_bytes[] = {GIB, GIB};
  recorded_set_room(2, free_bytes);
  tarn_placement wish = {ATTRIBUTE, .least_free_bytes = 2 * GIB};
  tarn_placement_resolved resolved;
  assert_int_equal(resolve(topology, wish, &resolved), TARN_OK);
  assert_true(resolved.is_short);
  assert_int_equal(resolved.nodes[0], 0);
  wish.flags = TARN_PLACEMENT_STRICT;
  assert_int_equal(resolve(topology, wish, &resolved), TARN_OUT_OF_MEMORY);
  assert_int_equal(resolved.node_count, 0);
  wish.least_free_bytes = GIB;
  assert_int_equal(resolve(topology, wish, &resolved), TARN_OK);
  assert_false(resolved.is_short);
  tarn_topology_release(topology);
}

TEST(what_needs_a_thread_is_unavailable_on_a_description) {
  tarn_topology *topology = describe("two_gpus.xml");
  tarn_placement_resolved resolved;
  assert_int_equal(resolve(topology, (tarn_placement){THREAD}, &resolved), TARN_UNAVAILABLE);
  assert_int_equal(resolve(topology, (tarn_placement){ORDERED}, &resolved), TARN_UNAVAILABLE);
  assert_int_equal(resolve(topology, (tarn_placement){ATTRIBUTE}, &resolved), TARN_UNAVAILABLE);
  assert_int_equal(resolved.node_count, 0);
  const tarn_placement seen_from_a_node = {ATTRIBUTE, .node_count = 1, .nodes = {1}};
  assert_int_equal(resolve(topology, seen_from_a_node, &resolved), TARN_OK);
  assert_int_equal(resolved.nodes[0], 1);
  tarn_topology_release(topology);
}

TEST(nodes_and_devices_that_are_not_there_are_refused) {
  static const struct {
    tarn_placement wish;
    tarn_status status;
  } absent[] = {
      {{NODE, .node_count = 1, .nodes = {2}}, TARN_UNAVAILABLE},
      {{NODE, .node_count = 1, .nodes = {-1}}, TARN_UNAVAILABLE},
      {{INTERLEAVE, .node_count = 2, .nodes = {0, 5}}, TARN_UNAVAILABLE},
      {{ORDERED, .node_count = 2, .nodes = {5, 1}}, TARN_UNAVAILABLE},
      {{DEVICE, .pci_bus_id = "0000:44:00.0"}, TARN_NOT_FOUND},
      {{DEVICE, .pci_bus_id = "0000:c0:00.0"}, TARN_UNAVAILABLE},
      {{DEVICE, .pci_bus_id = "0000:44:00.0", .node_count = 1, .nodes = {2}}, TARN_UNAVAILABLE},
      {{ATTRIBUTE, .pci_bus_id = "0000:44:00.0"}, TARN_NOT_FOUND},
  };
  tarn_topology *topology = describe("two_gpus.xml");
  for (size_t i = 0; i < sizeof absent / sizeof *absent; ++i) {
    tarn_placement_resolved resolved;
    const tarn_status status = resolve(topology, absent[i].wish, &resolved);
    if (status != absent[i].status) fail_msg("case %zu: %s", i, tarn_status_name(status));
    assert_int_equal(resolved.node_count, 0);
  }
  tarn_topology_release(topology);
}

TEST(wishes_that_make_no_sense_are_refused) {
  static const tarn_placement senseless[] = {
      {.kind = (tarn_placement_kind)8},
      {.kind = (tarn_placement_kind)-1},
      {NODE, .node_count = 1, .flags = 1u << 3},
      {NODE, .node_count = 1, .flags = TARN_PLACEMENT_UNCHECKED},
      {.kind = TARN_PLACEMENT_DEFAULT, .flags = TARN_PLACEMENT_STRICT},
      {.kind = TARN_PLACEMENT_DEFAULT, .node_count = 1},
      {NODE},
      {NODE, .node_count = 2, .nodes = {0, 1}},
      {NODE, .node_count = -1},
      {THREAD, .node_count = 1},
      {INTERLEAVE, .node_count = TARN_PLACEMENT_NODES_MAX + 1},
      {INTERLEAVE, .node_count = 2, .nodes = {1, 1}},
      {ORDERED, .node_count = 3, .nodes = {0, 1, 0}},
      {DEVICE},
      {DEVICE, .pci_bus_id = "17:00.0"},
      {DEVICE, .pci_bus_id = "0123456789012345678901234567890"
                             "1"}, /* does not end */
      {NODE, .node_count = 1, .pci_bus_id = "0000:17:00.0"},
      {ATTRIBUTE, .attribute = (tarn_node_attribute)8, .node_count = 1},
      {NODE, .node_count = 1, .attribute = TARN_NODE_LATENCY},
      {NODE, .node_count = 1, .least_free_bytes = 1},
      {NODE, .node_count = 1, .weights = {1}},
      {INTERLEAVE, .node_count = 2, .nodes = {0, 1}, .weights = {1, 1}},
      {WEIGHTED, .node_count = 2, .nodes = {0, 1}, .weights = {1, 0}},
      {WEIGHTED, .node_count = 2, .nodes = {0, 1}, .weights = {1, 1, 1}},
      {WEIGHTED, .node_count = 2, .nodes = {0, 1}, .weights = {1, 65536}},
      {WEIGHTED, .weights = {1, 1}},
      {ORDERED, .node_count = 2, .nodes = {0, 1}, .stripe_bytes = 2 << 20},
      {INTERLEAVE, .stripe_bytes = 5000},
      {INTERLEAVE, .stripe_bytes = 1 << 20, .page_bytes = 2 << 20},
      {INTERLEAVE, .page_bytes = 3 << 20},
      {INTERLEAVE, .page_bytes = 512},
  };
  tarn_topology *topology = describe("two_gpus.xml");
  for (size_t i = 0; i < sizeof senseless / sizeof *senseless; ++i) {
    tarn_placement_resolved resolved;
    const tarn_status status = resolve(topology, senseless[i], &resolved);
    if (status != TARN_INVALID_ARGUMENT) fail_msg("case %zu: %s", i, tarn_status_name(status));
    assert_int_equal(resolved.node_count, 0);
  }
  tarn_placement wish = {.struct_size = sizeof wish, NODE, .node_count = 1};
  tarn_placement_resolved resolved = {.struct_size = sizeof resolved};
  assert_int_equal(tarn_placement_resolve(NULL, &wish, 0, &resolved), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_resolve(topology, NULL, 0, &resolved), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_resolve(topology, &wish, 0, NULL), TARN_INVALID_ARGUMENT);
  resolved.struct_size = 1;
  assert_int_equal(tarn_placement_resolve(topology, &wish, 0, &resolved), TARN_INVALID_ARGUMENT);
  resolved.struct_size = sizeof resolved;
  wish.struct_size = 1;
  assert_int_equal(tarn_placement_resolve(topology, &wish, 0, &resolved), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

TEST(all_of_more_nodes_than_fit_is_not_supported) {
  tarn_topology *topology = describe("numa:17 core:1 pu:1");
  tarn_placement_resolved resolved;
  assert_int_equal(resolve(topology, (tarn_placement){INTERLEAVE}, &resolved), TARN_NOT_SUPPORTED);
  assert_int_equal(resolved.node_count, 0);
  tarn_topology_release(topology);
}

TEST(stripes_that_overflow_are_too_large) {
  tarn_topology *topology = describe("two_gpus.xml");
  tarn_placement_resolved resolved;
  const tarn_placement wish = {WEIGHTED, .node_count = 2, .nodes = {0, 1}, .weights = {65535, 1},
                               .stripe_bytes = (size_t)1 << 50};
  assert_int_equal(resolve(topology, wish, &resolved), TARN_TOO_LARGE);
  tarn_topology_release(topology);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
