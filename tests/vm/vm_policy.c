/* vm_policy.c: pages come from the nodes that a placement names, in its order and its shares. */
#include <string.h>
#include <sys/mman.h>

#include "numa/tarn_numa.h"
#include "tests/vm/guest.h"

#define MIB ((size_t)1 << 20)

enum {
  PAGE_BYTES = 4096,
  ROOM_MIB = 64,  /* that is left on nodes that shall fill up */
  SLACK_MIB = 16, /* of it that may stay unused: what others took, and what is kept per processor */
  RANGES_MAX = 16,
};

static tarn_topology *topology;
static const guest_machine *machine;
static void *ballast[GUEST_NODES_MAX];
static size_t ballast_bytes[GUEST_NODES_MAX];

/* Unmapped by the test, or else, where it fails, after it. */
static struct {
  void *address;
  size_t size_bytes;
} ranges[RANGES_MAX];

static char *map(size_t size_bytes) {
  size_t i = 0;
  while (ranges[i].address != NULL) assert_true(++i < RANGES_MAX);
  char *range = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  assert_true(range != MAP_FAILED);
  ranges[i].address = range;
  ranges[i].size_bytes = size_bytes;
  return range;
}

static void unmap(void *address) {
  for (size_t i = 0; i < RANGES_MAX; ++i) {
    if (ranges[i].address != address) continue;
    munmap(address, ranges[i].size_bytes);
    ranges[i].address = NULL;
  }
}

static int unmap_all(void **state) {
  (void)state;
  for (size_t i = 0; i < RANGES_MAX; ++i) {
    if (ranges[i].address != NULL) unmap(ranges[i].address);
  }
  return 0;
}

/* All of them, and for all tests up to the one that empties them. */
static void fill_nodes(void) {
  for (int32_t node = 0; node < machine->node_count; ++node) {
    if (ballast[node] == NULL)
      ballast[node] = guest_fill_node(node, ROOM_MIB * MIB, &ballast_bytes[node]);
  }
}

static int empty_nodes(void **state) {
  unmap_all(state);
  for (int32_t node = 0; node < machine->node_count; ++node) {
    if (ballast[node] != NULL) munmap(ballast[node], ballast_bytes[node]);
    ballast[node] = NULL;
  }
  return 0;
}

static tarn_placement placement_of(tarn_placement_kind kind, uint32_t flags) {
  return (tarn_placement){.struct_size = sizeof(tarn_placement), .kind = kind, .flags = flags};
}

static tarn_placement placement_on(int32_t node, uint32_t flags) {
  tarn_placement placement = placement_of(TARN_PLACEMENT_NODE, flags);
  placement.node_count = 1;
  placement.nodes[0] = node;
  return placement;
}

static tarn_placement_granted apply(const tarn_placement *placement, void *range,
                                    size_t size_bytes) {
  tarn_placement_granted granted = {.struct_size = sizeof granted};
  const tarn_status status = tarn_placement_apply(topology, placement, range, size_bytes, &granted);
  if (status != TARN_OK) fail_msg("%s", tarn_last_error()->message);
  return granted;
}

static void touch(char *range, size_t size_bytes) {
  for (size_t i = 0; i < size_bytes; i += PAGE_BYTES) range[i] = 1;
}

static bool is_same(const tarn_placement_pages *placed, size_t size_bytes,
                    const size_t counts[GUEST_NODES_MAX]) {
  size_t left_pages = size_bytes / PAGE_BYTES;
  int32_t node_count = 0;
  for (int32_t node = 0; node < GUEST_NODES_MAX; ++node) {
    if (counts[node] == 0) continue;
    if (placed->nodes[node_count] != node) return false;
    if (placed->node_pages[node_count] != counts[node]) return false;
    left_pages -= counts[node];
    ++node_count;
  }
  return placed->node_count == node_count && placed->untouched_pages == left_pages &&
         placed->other_pages == 0;
}

/* And what tarn counts is what the kernel tells. A kernel short of memory moves a page within its
 * node now and then, and knows no node of it meanwhile: then both are asked again. */
static void count(const char *range, size_t size_bytes, size_t counts[GUEST_NODES_MAX]) {
  enum { TRIES = 100 };
  for (int i = 0; i < TRIES; ++i) {
    tarn_placement_pages placed = {.struct_size = sizeof placed};
    assert_ok(tarn_placement_verify(range, size_bytes, &placed));
    guest_count_pages(range, size_bytes, counts);
    if (is_same(&placed, size_bytes, counts)) return;
  }
  fail_msg("tarn and the kernel count the pages of %zu bytes differently", size_bytes);
}

/* --- one node --- */

TEST_WITH(strict_pages_lie_on_their_node_also_when_they_come_again, NULL, unmap_all) {
  const size_t size_bytes = 8 * MIB;
  for (int32_t node = 0; node < machine->node_count; ++node) {
    char *range = map(size_bytes);
    const tarn_placement placement = placement_on(node, TARN_PLACEMENT_STRICT);
    const tarn_placement_granted granted = apply(&placement, range, size_bytes);
    assert_true(granted.is_strict);
    for (int round = 0; round < 2; ++round) {
      guest_touch_from_afar(range, size_bytes, node);
      guest_check_on_node(range, size_bytes, node);
      assert_int_equal(madvise(range, size_bytes, MADV_DONTNEED), 0);
    }
    unmap(range);
  }
}

TEST_WITH(pages_that_are_there_move_where_that_is_asked, NULL, unmap_all) {
  const size_t size_bytes = 4 * MIB;
  for (int32_t node = 0; node < machine->node_count; ++node) {
    char *range = map(size_bytes);
    guest_touch_from_afar(range, size_bytes, node);
    const tarn_placement placement =
        placement_on(node, TARN_PLACEMENT_STRICT | TARN_PLACEMENT_MOVE);
    apply(&placement, range, size_bytes);
    guest_check_on_node(range, size_bytes, node);
    unmap(range);
  }
}

TEST_WITH(strict_beyond_the_node_is_refused, NULL, unmap_all) {
  const int32_t node = machine->node_count - 1;
  const size_t size_bytes = (machine->nodes[node].capacity_mib + 64) * MIB;
  char *range = map(size_bytes);
  const tarn_placement strict = placement_on(node, TARN_PLACEMENT_STRICT);
  tarn_placement_granted granted = {.struct_size = sizeof granted};
  assert_status(tarn_placement_apply(topology, &strict, range, size_bytes, &granted),
                TARN_OUT_OF_MEMORY);
  unmap(range);
}

/* --- order --- */

/* The node nearest to `from` that is not one of `seen`. */
static int32_t nearest(int32_t from, unsigned seen) {
  int32_t best = -1;
  for (int32_t node = 0; node < machine->node_count; ++node) {
    if ((seen >> node & 1) != 0) continue;
    const unsigned *distances = machine->nodes[from].distances;
    if (best < 0 || distances[node] < distances[best]) best = node;
  }
  return best;
}

/* Binds as much as fills all but the last of the nodes, touches it, and checks that they gave
 * nearly all of the room they had, the last one the rest, and any other node nothing. */
static void check_spill(const tarn_placement *placement, const int32_t *nodes, int32_t node_count) {
  size_t rooms_bytes[GUEST_NODES_MAX];
  size_t size_bytes = 32 * MIB;
  for (int32_t i = 0; i < node_count; ++i) {
    rooms_bytes[i] = guest_room_bytes(nodes[i]);
    if (i + 1 < node_count) size_bytes += rooms_bytes[i] / MIB * MIB;
  }
  char *range = map(size_bytes);
  const tarn_placement_granted granted = apply(placement, range, size_bytes);
  assert_int_equal(granted.is_strict, (placement->flags & TARN_PLACEMENT_STRICT) != 0);
  touch(range, size_bytes);
  size_t counts[GUEST_NODES_MAX];
  count(range, size_bytes, counts);
  size_t left_pages = size_bytes / PAGE_BYTES;
  for (int32_t i = 0; i < node_count; ++i) {
    const size_t gave_bytes = counts[nodes[i]] * PAGE_BYTES;
    left_pages -= counts[nodes[i]];
    if (i + 1 < node_count ? gave_bytes + SLACK_MIB * MIB >= rooms_bytes[i] : gave_bytes > 0) {
      continue;
    }
    fail_msg("node %d, %d. of %d, gave %zu of %zu MiB", nodes[i], i + 1, node_count,
             gave_bytes / MIB, rooms_bytes[i] / MIB);
  }
  assert_int_equal(left_pages, 0);
  unmap(range);
}

TEST_WITH(a_preferred_node_spills_to_the_nearest, NULL, unmap_all) {
  if (machine->node_count < 2) skip();
  fill_nodes();
  for (int32_t node = 0; node < machine->node_count; ++node) {
    if (machine->nodes[node].cpu_count == 0) continue; /* equally far from all others */
    const int32_t nodes[2] = {node, nearest(node, 1u << node)};
    const tarn_placement placement = placement_on(node, 0);
    check_spill(&placement, nodes, 2);
  }
}

static void check_order(const int32_t *nodes, int32_t node_count, uint32_t flags) {
  tarn_placement placement = placement_of(TARN_PLACEMENT_ORDERED, flags);
  placement.node_count = node_count;
  memcpy(placement.nodes, nodes, (size_t)node_count * sizeof *nodes);
  check_spill(&placement, nodes, node_count);
}

static void order_is_kept(uint32_t flags) {
  if (machine->node_count < 2) skip();
  fill_nodes();
  const int32_t last = machine->node_count - 1;
  check_order((const int32_t[]){0, last}, 2, flags);
  check_order((const int32_t[]){last, 0}, 2, flags);
  if (machine->node_count >= 4) {
    check_order((const int32_t[]){0, 1, 2}, 3, flags); /* as the kernel would */
    check_order((const int32_t[]){last, 0, 2}, 3, flags);
    check_order((const int32_t[]){1, 3, 0}, 3, flags);
  }
}

TEST_WITH(spill_follows_the_order_asked, NULL, unmap_all) {
  order_is_kept(0);
}

TEST_WITH(strict_spill_follows_the_order_asked, NULL, unmap_all) {
  order_is_kept(TARN_PLACEMENT_STRICT);
}

TEST_WITH(a_strict_order_has_no_more_than_its_nodes, NULL, unmap_all) {
  if (machine->node_count < 2) skip();
  fill_nodes();
  tarn_placement placement = placement_of(TARN_PLACEMENT_ORDERED, TARN_PLACEMENT_STRICT);
  placement.node_count = 2;
  placement.nodes[0] = machine->node_count - 1;
  const size_t size_bytes = (2 * ROOM_MIB + 32) * MIB;
  char *range = map(size_bytes);
  tarn_placement_granted granted = {.struct_size = sizeof granted};
  assert_status(tarn_placement_apply(topology, &placement, range, size_bytes, &granted),
                TARN_OUT_OF_MEMORY);
  unmap(range);
}

/* Somebody else takes the first node's room between the asking and the touching. */
TEST_WITH(a_node_that_fills_up_early_is_followed_by_one_of_those_asked, NULL, empty_nodes) {
  if (machine->node_count < 4) skip();
  fill_nodes();
  tarn_placement placement = placement_of(TARN_PLACEMENT_ORDERED, 0);
  placement.node_count = 2;
  placement.nodes[0] = 3;
  placement.nodes[1] = 0;
  const size_t size_bytes = (ROOM_MIB - SLACK_MIB) * MIB;
  char *range = map(size_bytes);
  const tarn_placement_granted granted = apply(&placement, range, size_bytes);
  munmap(ballast[3], ballast_bytes[3]);
  ballast[3] = guest_fill_node(3, SLACK_MIB * MIB, &ballast_bytes[3]);
  touch(range, size_bytes);
  size_t counts[GUEST_NODES_MAX];
  count(range, size_bytes, counts);
  if (granted.is_order_kept) {
    assert_int_equal(counts[3] + counts[0], size_bytes / PAGE_BYTES);
  }
  assert_true(counts[3] < size_bytes / PAGE_BYTES); /* else nothing was tried here */
  unmap(range);
}

/* --- shares --- */

TEST_WITH(pages_lie_on_all_nodes_in_turn, NULL, unmap_all) {
  const size_t size_bytes = (size_t)machine->node_count * 8 * MIB;
  const size_t share_pages = size_bytes / PAGE_BYTES / (size_t)machine->node_count;
  const uint32_t modes[] = {0, TARN_PLACEMENT_STRICT};
  for (size_t i = 0; i < COUNT_OF(modes); ++i) {
    char *range = map(size_bytes);
    const tarn_placement placement = placement_of(TARN_PLACEMENT_INTERLEAVE, modes[i]);
    apply(&placement, range, size_bytes);
    for (int round = 0; round < 2; ++round) {
      touch(range, size_bytes);
      size_t counts[GUEST_NODES_MAX];
      count(range, size_bytes, counts);
      for (int32_t node = 0; node < machine->node_count; ++node) {
        /* A transparent huge page goes to one node. */
        assert_in_range(counts[node], share_pages - 512, share_pages + 512);
      }
      assert_int_equal(madvise(range, size_bytes, MADV_DONTNEED), 0);
    }
    unmap(range);
  }
}

TEST_WITH(pages_lie_on_the_nodes_by_weight, NULL, unmap_all) {
  if (machine->node_count < 2) skip();
  const uint32_t modes[] = {0, TARN_PLACEMENT_STRICT};
  const size_t stripes_bytes[] = {0, 64 << 10, 2 * MIB};
  const int32_t last = machine->node_count - 1;
  const size_t size_bytes = 48 * MIB;
  for (size_t i = 0; i < COUNT_OF(modes) * COUNT_OF(stripes_bytes); ++i) {
    tarn_placement placement = placement_of(TARN_PLACEMENT_WEIGHTED, modes[i % 2]);
    placement.node_count = 2;
    placement.nodes[0] = last;
    placement.nodes[1] = 0;
    placement.weights[0] = 3;
    placement.weights[1] = 1;
    placement.stripe_bytes = stripes_bytes[i / 2];
    if (placement.stripe_bytes == 64 << 10) placement.weights[0] = 5; /* 6 * 64 KiB a turn */
    const size_t weight = placement.weights[0];
    char *range = map(size_bytes);
    apply(&placement, range, size_bytes);
    touch(range, size_bytes);
    size_t counts[GUEST_NODES_MAX];
    count(range, size_bytes, counts);
    const size_t page_count = size_bytes / PAGE_BYTES;
    assert_int_equal(counts[last] + counts[0], page_count);
    assert_in_range(counts[last], page_count * weight / (weight + 1) - 1024,
                    page_count * weight / (weight + 1) + 1024);
    unmap(range);
  }
}

/* --- nodes that are found --- */

TEST_WITH(near_to_the_thread_is_where_it_runs, NULL, unmap_all) {
  for (int32_t node = 0; node < machine->node_count; ++node) {
    if (machine->nodes[node].cpu_count == 0) continue;
    guest_run_on(node);
    char *range = map(MIB);
    const tarn_placement placement =
        placement_of(TARN_PLACEMENT_NEAR_THREAD, TARN_PLACEMENT_STRICT);
    apply(&placement, range, MIB);
    guest_touch_from_afar(range, MIB, node);
    guest_check_on_node(range, MIB, node);
    unmap(range);
  }
}

TEST_WITH(near_to_a_device_is_the_node_of_its_bridge, NULL, unmap_all) {
  if (machine->pci_bus_id[0] == '\0') skip();
  tarn_placement placement = placement_of(TARN_PLACEMENT_NEAR_DEVICE, TARN_PLACEMENT_STRICT);
  strcpy(placement.pci_bus_id, machine->pci_bus_id);
  char *range = map(MIB);
  apply(&placement, range, MIB);
  guest_touch_from_afar(range, MIB, machine->pci_node);
  guest_check_on_node(range, MIB, machine->pci_node);
  unmap(range);
}

TEST_WITH(the_best_node_is_passed_over_where_it_lacks_room, NULL, empty_nodes) {
  const tarn_node_attribute attributes[] = {TARN_NODE_BANDWIDTH, TARN_NODE_LATENCY};
  for (size_t i = 0; i < COUNT_OF(attributes); ++i) {
    for (int32_t node = 0; node < machine->node_count; ++node) {
      if (machine->nodes[node].cpu_count == 0) continue;
      guest_run_on(node);
      tarn_placement placement = placement_of(TARN_PLACEMENT_ATTRIBUTE, TARN_PLACEMENT_STRICT);
      placement.attribute = attributes[i];
      placement.least_free_bytes = 64 * MIB;
      char *range = map(MIB);
      tarn_placement_granted granted = apply(&placement, range, MIB);
      assert_int_equal(granted.resolved.nodes[0], node); /* nothing is told of any other */
      guest_touch_from_afar(range, MIB, node);
      guest_check_on_node(range, MIB, node);
      unmap(range);
      if (machine->node_count < 2) continue;
      ballast[node] = guest_fill_node(node, 40 * MIB, &ballast_bytes[node]);
      range = map(MIB);
      granted = apply(&placement, range, MIB);
      assert_int_not_equal(granted.resolved.nodes[0], node);
      guest_touch_from_afar(range, MIB, granted.resolved.nodes[0]);
      guest_check_on_node(range, MIB, granted.resolved.nodes[0]);
      unmap(range);
      empty_nodes(NULL);
    }
  }
}

int main(void) {
  machine = guest_machine_here();
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return 1;
  const int failed_count = run_listed_tests(NULL, NULL);
  tarn_topology_release(topology);
  return guest_finish(failed_count);
}
