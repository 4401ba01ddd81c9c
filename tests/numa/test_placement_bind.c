/* test_placement_bind.c: what the kernel is told for each placement, and what is said of it. */
#include "numa/placement.h"
#include "tests/numa/described_machine.h"
#include "tests/numa/recorded_kernel.h"

#include <errno.h>

#define GIB ((size_t)1 << 30)
#define MIB ((size_t)1 << 20)

/* Nothing is there: what the kernel is told is only recorded. */
static char *const range = (char *)0x700000200000;

/* The recorded binds as text: "offset+size policy nodes@home", in MiB, by address. */
static const char *told(void) {
  static char text[2048];
  static const char *const names[] = {[MPOL_PREFERRED] = "prefer",
                                      [MPOL_BIND] = "bind",
                                      [MPOL_INTERLEAVE] = "interleave",
                                      [MPOL_PREFERRED_MANY] = "many"};
  size_t length = 0;
  text[0] = '\0';
  for (int i = 0; i < recorded.bind_count; ++i) {
    const recorded_bind *bind = &recorded.binds[i];
    length += (size_t)snprintf(text + length, sizeof text - length, "%s%zu+%zu %s ",
                               i == 0 ? "" : ", ", (bind->address - (uintptr_t)range) / MIB,
                               bind->size_bytes / MIB, names[bind->policy]);
    for (int32_t node = 0; node < 16; ++node) {
      if (!tarn__node_set_has(&bind->nodes, node)) continue;
      length += (size_t)snprintf(text + length, sizeof text - length, "%d", node);
    }
    if (bind->home < 0) continue;
    length += (size_t)snprintf(text + length, sizeof text - length, "@%d", bind->home);
  }
  return text;
}

typedef struct bind_case {
  const char *machine;
  tarn_placement wish;
  const char *preferred;
  const char *strict;
} bind_case;

#define NODE .kind = TARN_PLACEMENT_NODE
#define DEVICE .kind = TARN_PLACEMENT_NEAR_DEVICE
#define THREAD .kind = TARN_PLACEMENT_NEAR_THREAD
#define INTERLEAVE .kind = TARN_PLACEMENT_INTERLEAVE
#define WEIGHTED .kind = TARN_PLACEMENT_WEIGHTED
#define ORDERED .kind = TARN_PLACEMENT_ORDERED
#define ATTRIBUTE .kind = TARN_PLACEMENT_ATTRIBUTE

/* 16 MiB from an address of 2 MiB times an odd number; the thread runs on processor 3; nodes 0, 1,
 * 2, ... have 3, 6, 9, ... MiB free. */
static const bind_case cases[] = {
    {"numa:1 core:4 pu:1", {NODE, .node_count = 1}, "0+16 prefer 0", "0+16 bind 0"},
    {"two_gpus.xml", {NODE, .node_count = 1, .nodes = {1}}, "0+16 prefer 1", "0+16 bind 1"},
    {"eight_nodes.xml", {NODE, .node_count = 1, .nodes = {7}}, "0+16 prefer 7", "0+16 bind 7"},
    {"cxl.xml", {NODE, .node_count = 1, .nodes = {2}}, "0+16 prefer 2", "0+16 bind 2"},
    {"two_gpus.xml", {DEVICE, .pci_bus_id = "0000:b3:00.0"}, "0+16 prefer 1", "0+16 bind 1"},
    {"hbm_dram.xml", {THREAD}, "0+16 prefer 1", "0+16 bind 1"},
    {"hbm_dram.xml", {ATTRIBUTE}, "0+16 prefer 3", "0+16 bind 3"},
    {"hbm_dram.xml", {ATTRIBUTE, .least_free_bytes = 7 * MIB}, "0+16 prefer 3", "0+16 bind 3"},
    {"two_gpus.xml",
     {INTERLEAVE},
     "0+16 interleave 01",
     "0+2 bind 1, 2+2 bind 0, 4+2 bind 1, 6+2 bind 0, 8+2 bind 1, 10+2 bind 0, 12+2 bind 1, "
     "14+2 bind 0"},
    {"eight_nodes.xml",
     {INTERLEAVE, .node_count = 3, .nodes = {6, 2, 4}, .stripe_bytes = 4 << 20},
     "0+2 prefer 2, 2+4 prefer 4, 6+4 prefer 6, 10+4 prefer 2, 14+2 prefer 4",
     "0+2 bind 2, 2+4 bind 4, 6+4 bind 6, 10+4 bind 2, 14+2 bind 4"},
    {"two_gpus.xml",
     {WEIGHTED, .node_count = 2, .nodes = {0, 1}, .weights = {3, 1}},
     "0+4 prefer 0, 4+2 prefer 1, 6+6 prefer 0, 12+2 prefer 1, 14+2 prefer 0",
     "0+4 bind 0, 4+2 bind 1, 6+6 bind 0, 12+2 bind 1, 14+2 bind 0"},
    {"numa:1 core:4 pu:1", {ORDERED}, "0+16 prefer 0", "0+16 bind 0"},
    /* By distance: the kernel keeps it. */
    {"two_gpus.xml",
     {ORDERED, .node_count = 2, .nodes = {1, 0}},
     "0+16 many 01@1",
     "0+16 bind 01@1"},
    {"cxl.xml", {ORDERED}, "0+16 many 012@1", "0+16 bind 012@1"},
    {"hbm_dram.xml",
     {ORDERED, .node_count = 3, .nodes = {0, 2, 1}},
     "0+16 many 012@0",
     "0+16 bind 012@0"},
    /* In another order, and where the kernel may swap what is nearly as far: by room. */
    {"hbm_dram.xml",
     {ORDERED, .node_count = 3, .nodes = {0, 1, 2}},
     "0+2 many 012@0, 2+6 many 012@1, 8+8 many 012@2",
     "0+2 bind 012@0, 2+6 bind 012@1, 8+8 bind 012@2"},
    {"eight_nodes.xml",
     {ORDERED, .node_count = 3, .nodes = {2, 1, 3}},
     "0+8 many 123@2, 8+6 many 123@1, 14+2 many 123@3",
     "0+8 bind 123@2, 8+6 bind 123@1, 14+2 bind 123@3"},
    {"nothing_told.xml",
     {ORDERED, .node_count = 2, .nodes = {0, 4}},
     "0+2 many 04@0, 2+14 many 04@4",
     "0+2 bind 04@0, 2+14 bind 04@4"},
};

static void set_room(void) {
  size_t free_bytes[10];
  for (size_t i = 0; i < 10; ++i) free_bytes[i] = 3 * MIB * (i + 1);
  recorded_set_room(10, free_bytes);
}

static void expect_told(const bind_case *expected, uint32_t flags) {
  const char *wanted = flags != 0 ? expected->strict : expected->preferred;
  tarn_topology *topology = describe(expected->machine);
  set_room();
  recorded.cpu = 3;
  recorded.bind_count = 0;
  tarn_placement wish = expected->wish;
  wish.struct_size = sizeof wish;
  wish.flags = flags == 0 ? 0 : flags | TARN_PLACEMENT_UNCHECKED;
  tarn_placement_granted granted = {.struct_size = sizeof granted};
  if (tarn_placement_apply(topology, &wish, range, 16 * MIB, &granted) != TARN_OK) {
    fail_msg("%s: %s", expected->machine, tarn_last_error()->message);
  }
  if (strcmp(told(), wanted) != 0) {
    fail_msg("%s, kind %d, flags %u: told %s, not %s", expected->machine, (int)wish.kind, flags,
             told(), wanted);
  }
  assert_true(granted.is_bound);
  assert_int_equal(granted.is_strict, flags != 0);
  assert_int_equal(granted.refused_code, 0);
  assert_int_equal(granted.piece_count, recorded.bind_count);
  size_t sum_bytes = 0;
  for (int32_t i = 0; i < TARN_PLACEMENT_NODES_MAX; ++i) sum_bytes += granted.node_bytes[i];
  const bool is_the_kernels = granted.resolved.mode == TARN_PLACEMENT_MODE_INTERLEAVE;
  assert_int_equal(sum_bytes, is_the_kernels ? 0 : 16 * MIB);
  assert_int_equal(granted.is_order_kept, granted.resolved.mode == TARN_PLACEMENT_MODE_ORDER);
  for (int i = 0; i < recorded.bind_count; ++i) {
    assert_int_equal(recorded.binds[i].flags, flags != 0 ? MPOL_MF_STRICT : 0);
  }
  tarn_topology_release(topology);
}

TEST_WITH(every_placement_is_told_to_the_kernel, recorded_start, recorded_stop) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    expect_told(&cases[i], 0);
    expect_told(&cases[i], TARN_PLACEMENT_STRICT);
  }
}

static tarn_status apply(const tarn_topology *topology, tarn_placement wish, size_t size_bytes,
                         tarn_placement_granted *granted) {
  wish.struct_size = sizeof wish;
  *granted = (tarn_placement_granted){.struct_size = sizeof *granted};
  return tarn_placement_apply(topology, &wish, range, size_bytes, granted);
}

static const tarn_placement to_node_1 = {NODE, .node_count = 1, .nodes = {1}};
static const tarn_placement strictly_to_node_1 = {NODE, .node_count = 1, .nodes = {1},
                                                  .flags = TARN_PLACEMENT_STRICT};

TEST_WITH(pages_that_are_there_move_where_asked, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("two_gpus.xml");
  tarn_placement_granted granted;
  tarn_placement wish = to_node_1;
  wish.flags = TARN_PLACEMENT_MOVE;
  assert_int_equal(apply(topology, wish, MIB, &granted), TARN_OK);
  assert_int_equal(recorded.binds[0].flags, MPOL_MF_MOVE);
  wish.flags |= TARN_PLACEMENT_STRICT;
  assert_int_equal(apply(topology, wish, MIB, &granted), TARN_OK);
  assert_int_equal(recorded.binds[0].flags, MPOL_MF_MOVE | MPOL_MF_STRICT);
  assert_int_equal(recorded.bind_count, 1);
  recorded.bind_errno = EIO;
  assert_int_equal(apply(topology, wish, MIB, &granted), TARN_BUSY);
  assert_int_equal(recorded.bind_count, 0);
  tarn_topology_release(topology);
}

TEST_WITH(no_placement_takes_a_policy_away, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("two_gpus.xml");
  tarn_placement_granted granted;
  assert_int_equal(apply(topology, to_node_1, MIB, &granted), TARN_OK);
  assert_int_equal(recorded.bind_count, 1);
  assert_int_equal(apply(topology, (tarn_placement){0}, MIB, &granted), TARN_OK);
  assert_int_equal(recorded.bind_count, 0);
  assert_false(granted.is_bound);
  assert_int_equal(granted.piece_count, 0);
  tarn_topology_release(topology);
}

TEST_WITH(a_container_that_forbids_binds_is_told_of, recorded_start, recorded_stop) {
  static const int forbidden[] = {EPERM, ENOSYS};
  for (int i = 0; i < 2; ++i) {
    recorded.bind_errno = forbidden[i];
    tarn_placement_granted granted;
    tarn_topology *two = describe("two_gpus.xml");
    assert_int_equal(apply(two, strictly_to_node_1, MIB, &granted), TARN_NOT_SUPPORTED);
    assert_int_equal(tarn_last_error()->native_code, forbidden[i]);
    assert_string_equal(tarn_last_error()->native_call, "mbind");
    assert_int_equal(apply(two, to_node_1, MIB, &granted), TARN_OK);
    assert_false(granted.is_bound);
    assert_false(granted.is_strict);
    assert_int_equal(granted.refused_code, forbidden[i]);
    assert_int_equal(granted.piece_count, 0);
    const tarn_placement ordered = {ORDERED, .node_count = 2, .nodes = {0, 1}};
    assert_int_equal(apply(two, ordered, MIB, &granted), TARN_OK);
    assert_false(granted.is_bound);
    assert_false(granted.is_order_kept);
    tarn_topology_release(two);
    tarn_topology *one = describe("numa:1 core:2 pu:1");
    const tarn_placement wish = {NODE, .node_count = 1, .flags = TARN_PLACEMENT_STRICT};
    assert_int_equal(apply(one, wish, MIB, &granted), TARN_OK); /* it is true without a bind */
    assert_false(granted.is_bound);
    assert_true(granted.is_strict);
    recorded.bind_errno = EINVAL; /* any other reason still counts */
    assert_int_equal(apply(one, wish, MIB, &granted), TARN_SYSTEM_ERROR);
    tarn_topology_release(one);
  }
}

TEST_WITH(older_kernels_keep_the_order_by_the_cut_alone, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("hbm_dram.xml");
  set_room();
  tarn_placement wish = {ORDERED, .node_count = 3, .nodes = {0, 1, 2}};
  tarn_placement_granted granted;
  recorded.preferred_many_errno = EINVAL; /* before 5.15 */
  recorded.home_errno = ENOSYS;           /* before 5.17 */
  assert_int_equal(apply(topology, wish, 16 * MIB, &granted), TARN_OK);
  assert_string_equal(told(), "0+2 prefer 0, 2+6 prefer 1, 8+8 prefer 2");
  assert_true(granted.is_bound);
  assert_false(granted.is_order_kept);
  recorded.preferred_many_errno = 0;
  assert_int_equal(apply(topology, wish, 16 * MIB, &granted), TARN_OK);
  assert_string_equal(told(), "0+2 prefer 0, 2+6 prefer 1, 8+8 prefer 2");
  wish.flags = TARN_PLACEMENT_STRICT;
  assert_int_equal(apply(topology, wish, 16 * MIB, &granted), TARN_OK);
  assert_string_equal(told(), "0+2 bind 0, 2+6 bind 1, 8+8 bind 2");
  assert_true(granted.is_strict);
  assert_false(granted.is_order_kept);
  tarn_topology_release(topology);
}

/* Where the kernel would take the nodes in the order of their distance, too. */
TEST_WITH(a_kernel_without_an_order_for_huge_pages_gets_a_cut_range, recorded_start,
          recorded_stop) {
  tarn_topology *topology = describe("hbm_dram.xml");
  set_room();
  tarn_placement wish = {ORDERED, .node_count = 3, .nodes = {0, 1, 2}};
  tarn_placement_granted granted;
  recorded.is_before_6_7 = true;
  assert_int_equal(apply(topology, wish, 16 * MIB, &granted), TARN_OK);
  assert_string_equal(told(), "0+2 prefer 0, 2+6 prefer 1, 8+8 prefer 2");
  assert_false(granted.is_order_kept);
  wish.flags = TARN_PLACEMENT_STRICT; /* a node has 3, 6, 9 MiB, of which a 64th is spared */
  assert_int_equal(apply(topology, wish, 14 * MIB, &granted), TARN_OK);
  assert_string_equal(told(), "0+2 bind 0, 2+4 bind 1, 6+8 bind 2");
  assert_false(granted.is_order_kept);
  assert_int_equal(apply(topology, wish, 15 * MIB, &granted), TARN_OUT_OF_MEMORY);
  assert_string_equal(told(), "");
  tarn_topology_release(topology);
}

TEST_WITH(room_that_the_caller_knows_better_counts, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("hbm_dram.xml");
  set_room();
  tarn_placement wish = {.struct_size = sizeof wish, ORDERED, .node_count = 3, .nodes = {2, 1, 0}};
  tarn_placement_resolved resolved = {.struct_size = sizeof resolved};
  assert_int_equal(tarn_placement_resolve(topology, &wish, 16 * MIB, &resolved), TARN_OK);
  const size_t room_bytes[] = {5 * MIB, 0, GIB};
  assert_int_equal(tarn__placement_bind(topology, &resolved, room_bytes, range, 16 * MIB, NULL),
                   TARN_OK);
  assert_string_equal(told(), "0+4 many 012@2, 4+12 many 012@0");
  recorded.bind_count = 0;
  const size_t full[] = {0, 0, 0}; /* then the last is asked, and the kernel goes on from there */
  assert_int_equal(tarn__placement_bind(topology, &resolved, full, range, 16 * MIB, NULL), TARN_OK);
  assert_string_equal(told(), "0+16 many 012@0");
  tarn_topology_release(topology);
}

TEST_WITH(pieces_end_between_the_memorys_own_pages, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("hbm_dram.xml");
  const size_t free_bytes[] = {GIB + 5 * MIB, 3 * GIB, GIB, GIB};
  recorded_set_room(4, free_bytes);
  tarn_placement wish = {
      .struct_size = sizeof wish, ORDERED, .node_count = 3, .nodes = {0, 1, 2}, .page_bytes = GIB};
  char *const huge = (char *)0x700040000000;
  assert_int_equal(tarn_placement_apply(topology, &wish, huge, 5 * GIB, NULL), TARN_OK);
  assert_int_equal(recorded.bind_count, 3);
  assert_int_equal(recorded.binds[0].size_bytes, GIB);
  assert_int_equal(recorded.binds[1].size_bytes, 3 * GIB);
  wish.kind = TARN_PLACEMENT_INTERLEAVE;
  wish.flags = TARN_PLACEMENT_STRICT | TARN_PLACEMENT_UNCHECKED;
  assert_int_equal(tarn_placement_apply(topology, &wish, huge, 5 * GIB, NULL), TARN_OK);
  assert_int_equal(recorded.bind_count, 5);
  for (int i = 0; i < 5; ++i) assert_int_equal(recorded.binds[i].size_bytes, GIB);
  tarn_topology_release(topology);
}

TEST_WITH(a_failure_leaves_no_policy, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("two_gpus.xml");
  const tarn_placement wish = {WEIGHTED, .node_count = 2, .nodes = {0, 1}, .weights = {3, 1}};
  tarn_placement_granted granted;
  recorded.bind_errno = ENOMEM; /* too many mappings */
  recorded.bind_errno_after = 3;
  assert_int_equal(apply(topology, wish, 16 * MIB, &granted), TARN_OUT_OF_MEMORY);
  assert_int_equal(recorded.bind_count, 0);
  assert_false(granted.is_bound);
  assert_int_equal(granted.node_bytes[0], 0);
  recorded.bind_errno = EFAULT; /* not mapped */
  assert_int_equal(apply(topology, wish, 16 * MIB, &granted), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

TEST_WITH(a_strict_overflow_is_refused_beforehand, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("two_gpus.xml");
  const size_t free_bytes[] = {64 * MIB, 32 * MIB};
  recorded_set_room(2, free_bytes);
  for (int i = 0; i < 8; ++i) recorded.page_nodes[i] = -ENOENT; /* nothing was touched */
  tarn_placement_granted granted;
  assert_int_equal(apply(topology, strictly_to_node_1, 32 * MIB, &granted), TARN_OK);
  assert_int_equal(apply(topology, strictly_to_node_1, 33 * MIB, &granted), TARN_OUT_OF_MEMORY);
  assert_int_equal(apply(topology, to_node_1, 33 * MIB, &granted), TARN_OK);
  tarn_placement wish = strictly_to_node_1;
  wish.flags |= TARN_PLACEMENT_UNCHECKED;
  assert_int_equal(apply(topology, wish, 33 * MIB, &granted), TARN_OK);
  wish = (tarn_placement){INTERLEAVE, .flags = TARN_PLACEMENT_STRICT};
  assert_int_equal(apply(topology, wish, 64 * MIB, &granted), TARN_OK);
  assert_int_equal(apply(topology, wish, 68 * MIB, &granted), TARN_OUT_OF_MEMORY);
  wish =
      (tarn_placement){ORDERED, .flags = TARN_PLACEMENT_STRICT, .node_count = 2, .nodes = {1, 0}};
  assert_int_equal(apply(topology, wish, 96 * MIB, &granted), TARN_OK);
  assert_int_equal(apply(topology, wish, 97 * MIB, &granted), TARN_OUT_OF_MEMORY);
  /* Half of the pages are on node 1 already. */
  for (int i = 0; i < 8; i += 2) recorded.page_nodes[i] = 1;
  assert_int_equal(apply(topology, strictly_to_node_1, 64 * MIB, &granted), TARN_OK);
  assert_int_equal(apply(topology, strictly_to_node_1, 66 * MIB, &granted), TARN_OUT_OF_MEMORY);
  tarn_topology_release(topology);
}

TEST_WITH(a_strict_bind_over_the_control_groups_limit_is_refused, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("two_gpus.xml");
  const size_t free_bytes[] = {GIB, GIB};
  recorded_set_room(2, free_bytes);
  for (int i = 0; i < 8; ++i) recorded.page_nodes[i] = -ENOENT;
  recorded_set_file("/proc/thread-self/cgroup", "0::/\n");
  recorded_set_file("/proc/thread-self/mountinfo", "30 23 0:26 / /c rw - cgroup2 cgroup2 rw\n");
  recorded_set_file("/c/memory.max", "16777216\n");
  recorded_set_file("/c/memory.current", "8388608\n");
  tarn_placement_granted granted;
  assert_int_equal(apply(topology, strictly_to_node_1, 8 * MIB, &granted), TARN_OK);
  assert_int_equal(apply(topology, strictly_to_node_1, 10 * MIB, &granted), TARN_OUT_OF_MEMORY);
  const tarn_placement wish = {INTERLEAVE, .flags = TARN_PLACEMENT_STRICT};
  assert_int_equal(apply(topology, wish, 10 * MIB, &granted), TARN_OUT_OF_MEMORY);
  tarn_topology_release(topology);
}

TEST_WITH(ranges_and_machines_that_cannot_be_bound_are_refused, recorded_start, recorded_stop) {
  tarn_topology *here = describe("two_gpus.xml");
  tarn_placement wish = to_node_1;
  wish.struct_size = sizeof wish;
  assert_int_equal(tarn_placement_apply(here, &wish, range + 1, MIB, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_apply(here, &wish, range, MIB + 1, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_apply(here, &wish, NULL, MIB, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_apply(here, &wish, range, (size_t)-MIB, NULL),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_apply(here, NULL, range, MIB, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_apply(NULL, &wish, range, MIB, NULL), TARN_INVALID_ARGUMENT);
  tarn_placement_granted granted = {.struct_size = 1};
  assert_int_equal(tarn_placement_apply(here, &wish, range, MIB, &granted), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_placement_apply(here, &wish, range, 0, NULL), TARN_OK);
  assert_int_equal(recorded.bind_count, 0);
  tarn_topology_release(here);
  recorded_stop(NULL);
  tarn_topology *described = describe("two_gpus.xml");
  assert_int_equal(tarn_placement_apply(described, &wish, range, MIB, NULL), TARN_UNAVAILABLE);
  tarn_topology_release(described);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
