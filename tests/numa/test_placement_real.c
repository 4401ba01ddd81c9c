/* test_placement_real.c: pages of this machine lie where placements say, on however many nodes. */
#include "numa/placement.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/test.h"

#define MIB ((size_t)1 << 20)

enum {
  NODES_MAX = 8,
  FILLS_MAX = 3, /* of whole nodes: emulated machines are slow */
};
/* Nodes of guests are small enough to be filled. */
#define FILLED_BYTES_MAX (1024 * MIB)

static tarn_topology *topology;
static size_t page_bytes;
static int32_t node_count;
static int32_t nodes[NODES_MAX];

static char *map(size_t size_bytes) {
  char *range = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  assert_true(range != MAP_FAILED);
  madvise(range, size_bytes, MADV_NOHUGEPAGE);
  return range;
}

static void touch(char *range, size_t size_bytes) {
  for (size_t offset = 0; offset < size_bytes; offset += page_bytes) range[offset] = 1;
}

/* Where a container forbids binds, or does not tell of pages, there is nothing to see. */
static tarn_placement_granted apply(tarn_placement wish, char *range, size_t size_bytes) {
  wish.struct_size = sizeof wish;
  tarn_placement_granted granted = {.struct_size = sizeof granted};
  const tarn_status status = tarn_placement_apply(topology, &wish, range, size_bytes, &granted);
  if (status == TARN_NOT_SUPPORTED || (status == TARN_OK && !granted.is_bound)) skip();
  if (status != TARN_OK) fail_msg("%s", tarn_last_error()->message);
  return granted;
}

static size_t pages_on(const char *range, size_t size_bytes, int32_t node) {
  size_t on_node = 0;
  const tarn_status status = tarn_node_verify(range, size_bytes, node, &on_node, NULL, NULL);
  if (status == TARN_NOT_SUPPORTED) skip();
  assert_int_equal(status, TARN_OK);
  return on_node;
}

static int set_up(void **state) {
  (void)state;
  page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return -1;
  node_count = tarn_topology_node_count(topology);
  if (node_count > NODES_MAX) node_count = NODES_MAX;
  for (int32_t i = 0; i < node_count; ++i) {
    tarn_node_info info = {.struct_size = sizeof info};
    if (tarn_topology_node(topology, i, &info) != TARN_OK) return -1;
    nodes[i] = info.node;
  }
  print_message("%d node(s)\n", node_count);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tarn_topology_release(topology);
  return 0;
}

TEST(every_node_has_all_pages_that_are_bound_to_it) {
  const size_t size_bytes = 4 * MIB;
  char *range = map(size_bytes);
  for (int32_t i = 0; i < 2 * node_count; ++i) {
    const tarn_placement wish = {.kind = TARN_PLACEMENT_NODE,
                                 .node_count = 1,
                                 .nodes = {nodes[i / 2]},
                                 .flags = i % 2 != 0 ? TARN_PLACEMENT_STRICT : 0};
    madvise(range, size_bytes, MADV_DONTNEED);
    apply(wish, range, size_bytes);
    for (int round = 0; round < 2; ++round) { /* again after they were given back */
      touch(range, size_bytes);
      assert_int_equal(pages_on(range, size_bytes, nodes[i / 2]), size_bytes / page_bytes);
      madvise(range, size_bytes, MADV_DONTNEED);
    }
  }
  munmap(range, size_bytes);
}

TEST(pages_in_turn_are_shared_alike) {
  const size_t page_count = 1024 * (size_t)node_count;
  char *range = map(page_count * page_bytes);
  tarn_placement wish = {.kind = TARN_PLACEMENT_INTERLEAVE, .node_count = node_count};
  memcpy(wish.nodes, nodes, sizeof nodes);
  apply(wish, range, page_count * page_bytes);
  touch(range, page_count * page_bytes);
  for (int32_t i = 0; i < node_count; ++i) {
    assert_int_equal(pages_on(range, page_count * page_bytes, nodes[i]), 1024);
  }
  munmap(range, page_count * page_bytes);
}

static void expect_stripes(const tarn_placement_resolved *resolved, char *range,
                           size_t size_bytes) {
  while (size_bytes > 0) {
    const tarn__stripe stripe = tarn__placement_stripe(resolved, (uintptr_t)range, size_bytes);
    assert_int_equal(pages_on(range, stripe.size_bytes, resolved->nodes[stripe.index]),
                     stripe.size_bytes / page_bytes);
    range += stripe.size_bytes;
    size_bytes -= stripe.size_bytes;
  }
}

TEST(every_stripe_lies_on_its_node) {
  if (node_count == 1) skip(); /* there is one stripe only */
  const size_t size_bytes = 8 * MIB;
  char *range = map(size_bytes);
  for (int i = 0; i < 4; ++i) {
    tarn_placement wish = {.kind = i < 2 ? TARN_PLACEMENT_WEIGHTED : TARN_PLACEMENT_INTERLEAVE,
                           .flags = i % 2 != 0 ? TARN_PLACEMENT_STRICT : 0,
                           .node_count = node_count,
                           .stripe_bytes = 64 * page_bytes};
    memcpy(wish.nodes, nodes, sizeof nodes);
    for (int32_t j = 0; i < 2 && j < node_count; ++j) wish.weights[j] = 1 + (uint32_t)j % 3;
    madvise(range, size_bytes, MADV_DONTNEED);
    const tarn_placement_granted granted = apply(wish, range, size_bytes);
    assert_in_range(granted.piece_count, 2, TARN_PLACEMENT_PIECES_MAX);
    for (int round = 0; round < 2; ++round) {
      touch(range, size_bytes);
      expect_stripes(&granted.resolved, range, size_bytes);
      madvise(range, size_bytes, MADV_DONTNEED);
    }
  }
  munmap(range, size_bytes);
}

/* All orders that begin with each node and go up or down in numbers. */
static tarn_placement order_of(int32_t first, bool goes_up) {
  tarn_placement wish = {.kind = TARN_PLACEMENT_ORDERED, .node_count = node_count};
  for (int32_t i = 0; i < node_count; ++i) {
    const int32_t step = goes_up ? i : node_count - i;
    wish.nodes[i] = nodes[(first + step) % node_count];
  }
  return wish;
}

TEST(what_fits_lies_on_the_first_in_order) {
  const size_t size_bytes = 4 * MIB;
  char *range = map(size_bytes);
  for (int32_t i = 0; i < 4 * node_count; ++i) {
    tarn_placement wish = order_of(i / 4, i % 2 != 0);
    wish.flags = i % 4 < 2 ? 0 : TARN_PLACEMENT_STRICT;
    madvise(range, size_bytes, MADV_DONTNEED);
    apply(wish, range, size_bytes);
    touch(range, size_bytes);
    assert_int_equal(pages_on(range, size_bytes, wish.nodes[0]), size_bytes / page_bytes);
  }
  munmap(range, size_bytes);
}

static size_t free_bytes_of(int32_t node) {
  tarn_node_room room = {.struct_size = sizeof room};
  const tarn_status status = tarn_topology_room(topology, node, &room);
  if (status == TARN_UNAVAILABLE) skip();
  assert_int_equal(status, TARN_OK);
  return room.room_bytes;
}

TEST(what_does_not_fit_lies_on_the_next_in_order) {
  if (node_count == 1) skip(); /* there is no next */
  for (int32_t i = 0; i < node_count && i < FILLS_MAX; ++i) {
    const tarn_placement wish = order_of(i, i % 2 != 0);
    const size_t first_bytes = free_bytes_of(wish.nodes[0]);
    const size_t second_bytes = free_bytes_of(wish.nodes[1]);
    if (first_bytes > FILLED_BYTES_MAX) skip(); /* too much to fill */
    const size_t more_bytes = second_bytes / 4 & ~(2 * MIB - 1);
    const size_t size_bytes = (first_bytes & ~(2 * MIB - 1)) + more_bytes;
    char *range = map(size_bytes);
    apply(wish, range, size_bytes);
    touch(range, size_bytes);
    const size_t on_first = pages_on(range, size_bytes, wish.nodes[0]);
    const size_t on_second = pages_on(range, size_bytes, wish.nodes[1]);
    munmap(range, size_bytes);
    print_message("from %d to %d: %zu and %zu of %zu pages\n", wish.nodes[0], wish.nodes[1],
                  on_first, on_second, size_bytes / page_bytes);
    assert_int_equal(on_first + on_second, size_bytes / page_bytes);
    assert_true(on_second > 0);
    assert_true(on_first >= (first_bytes - first_bytes / 16) / page_bytes);
  }
}

TEST(all_the_room_that_is_told_can_be_filled) {
  for (int32_t i = 0; i < node_count && i < FILLS_MAX; ++i) {
    const size_t told_bytes = free_bytes_of(nodes[i]);
    if (told_bytes > FILLED_BYTES_MAX) skip(); /* too much to fill */
    const size_t size_bytes = (told_bytes - told_bytes / 64) & ~(MIB - 1);
    char *range = map(size_bytes);
    const tarn_placement wish = {.kind = TARN_PLACEMENT_NODE,
                                 .flags = TARN_PLACEMENT_STRICT,
                                 .node_count = 1,
                                 .nodes = {nodes[i]}};
    apply(wish, range, size_bytes);
    touch(range, size_bytes); /* the kernel would end the process here */
    assert_int_equal(pages_on(range, size_bytes, nodes[i]), size_bytes / page_bytes);
    munmap(range, size_bytes);
  }
}

TEST(more_than_there_is_room_for_is_refused_when_strict) {
  for (int32_t i = 0; i < node_count; ++i) {
    tarn_node_info info = {.struct_size = sizeof info};
    assert_int_equal(tarn_topology_node(topology, i, &info), TARN_OK);
    (void)free_bytes_of(nodes[i]); /* told, or skipped; it may be more in a moment: others end */
    const size_t size_bytes = (info.capacity_bytes & ~(MIB - 1)) + 256 * MIB;
    char *range = map(size_bytes);
    tarn_placement wish = {.struct_size = sizeof wish,
                           .kind = TARN_PLACEMENT_NODE,
                           .flags = TARN_PLACEMENT_STRICT,
                           .node_count = 1,
                           .nodes = {nodes[i]}};
    assert_int_equal(tarn_placement_apply(topology, &wish, range, size_bytes, NULL),
                     TARN_OUT_OF_MEMORY);
    wish.flags = 0;
    assert_int_equal(tarn_placement_apply(topology, &wish, range, size_bytes, NULL), TARN_OK);
    munmap(range, size_bytes);
  }
}

TEST(near_to_the_thread_is_its_own_node) {
  cpu_set_t before;
  if (sched_getaffinity(0, sizeof before, &before) != 0) skip();
  for (int32_t i = 0; i < node_count; ++i) {
    tarn_node_info info = {.struct_size = sizeof info};
    assert_int_equal(tarn_topology_node(topology, i, &info), TARN_OK);
    int32_t cpu, count;
    assert_int_equal(tarn_topology_node_cpus(topology, nodes[i], 1, &cpu, &count), TARN_OK);
    if (info.is_memory_only || count == 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) continue; /* not ours to run on */
    const size_t size_bytes = MIB;
    char *range = map(size_bytes);
    const tarn_placement wish = {.kind = TARN_PLACEMENT_NEAR_THREAD,
                                 .flags = TARN_PLACEMENT_STRICT};
    const tarn_placement_granted granted = apply(wish, range, size_bytes);
    sched_setaffinity(0, sizeof before, &before);
    assert_int_equal(granted.resolved.nodes[0], nodes[i]);
    touch(range, size_bytes);
    assert_int_equal(pages_on(range, size_bytes, nodes[i]), size_bytes / page_bytes);
    munmap(range, size_bytes);
  }
}

TEST(the_best_node_by_each_attribute_has_the_pages) {
  const size_t size_bytes = MIB;
  char *range = map(size_bytes);
  for (int attribute = 0; attribute <= TARN_NODE_WRITE_LATENCY; ++attribute) {
    for (int32_t i = 0; i < node_count; ++i) {
      tarn_best_node best = {.struct_size = sizeof best};
      assert_int_equal(tarn_topology_best_node(topology, nodes[i], (tarn_node_attribute)attribute,
                                               8 * MIB, &best),
                       TARN_OK);
      const tarn_placement wish = {.kind = TARN_PLACEMENT_ATTRIBUTE,
                                   .flags = TARN_PLACEMENT_STRICT,
                                   .node_count = 1,
                                   .nodes = {nodes[i]},
                                   .attribute = (tarn_node_attribute)attribute,
                                   .least_free_bytes = 8 * MIB};
      madvise(range, size_bytes, MADV_DONTNEED);
      const tarn_placement_granted granted = apply(wish, range, size_bytes);
      assert_int_equal(granted.resolved.is_measured, best.is_measured);
      touch(range, size_bytes);
      assert_int_equal(pages_on(range, size_bytes, best.node), size_bytes / page_bytes);
    }
  }
  munmap(range, size_bytes);
}

TEST(pages_move_where_asked_and_stay_otherwise) {
  if (node_count == 1) skip(); /* there is nowhere to move to */
  const size_t size_bytes = MIB;
  char *range = map(size_bytes);
  tarn_placement wish = {.struct_size = sizeof wish, .kind = TARN_PLACEMENT_NODE, .node_count = 1};
  wish.nodes[0] = nodes[0];
  apply(wish, range, size_bytes);
  touch(range, size_bytes);
  wish.nodes[0] = nodes[1];
  apply(wish, range, size_bytes);
  assert_int_equal(pages_on(range, size_bytes, nodes[0]), size_bytes / page_bytes);
  wish.flags = TARN_PLACEMENT_STRICT;
  assert_int_equal(tarn_placement_apply(topology, &wish, range, size_bytes, NULL), TARN_BUSY);
  wish.flags = TARN_PLACEMENT_STRICT | TARN_PLACEMENT_MOVE;
  apply(wish, range, size_bytes);
  assert_int_equal(pages_on(range, size_bytes, nodes[1]), size_bytes / page_bytes);
  munmap(range, size_bytes);
}

int main(void) {
  return run_listed_tests(set_up, tear_down);
}
