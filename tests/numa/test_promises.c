/* test_promises.c: what was given strictly and not touched counts against the room of nodes. */
#include "numa/promises.h"
#include "tests/numa/described_machine.h"
#include "tests/numa/recorded_kernel.h"
#include "tests/support/test.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t mib = (size_t)1 << 20;

typedef struct giver {
  tarn_topology *topology;
  tarn_placement_resolved resolved;
  tarn__promises *promises;
  size_t room_bytes[TARN_PLACEMENT_NODES_MAX];
} giver;

static giver make_by(tarn_placement_kind kind, int32_t node_count, const int32_t *nodes) {
  giver self = {.topology = describe("numa:4 core:1 pu:1")};
  tarn_placement placement = {.struct_size = sizeof placement,
                              .kind = kind,
                              .flags = TARN_PLACEMENT_STRICT,
                              .node_count = node_count};
  for (int32_t i = 0; i < node_count; ++i) placement.nodes[i] = nodes[i];
  self.resolved.struct_size = sizeof self.resolved;
  assert_ok(tarn_placement_resolve(self.topology, &placement, 0, &self.resolved));
  assert_ok(tarn__promises_create(self.topology, &self.resolved, &self.promises));
  return self;
}

static giver make_on(int32_t node) {
  return make_by(TARN_PLACEMENT_NODE, 1, &node);
}

static void end(giver *self) {
  tarn__promises_destroy(self->promises);
  tarn_topology_release(self->topology);
}

static tarn_status give(giver *self, char *address, size_t size_bytes) {
  return tarn__promises_add(self->promises, &self->resolved, address, size_bytes, self->room_bytes);
}

static char *map(size_t size_bytes) {
  char *range = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  assert_true(range != MAP_FAILED);
  return range;
}

static void set_room(size_t node_0_mib, size_t node_1_mib) {
  const size_t free_bytes[] = {node_0_mib * mib, node_1_mib * mib, 64 * mib, 64 * mib};
  recorded_set_room(COUNT_OF(free_bytes), free_bytes);
}

TEST_WITH(more_than_a_node_has_free_is_refused_with_its_numbers, recorded_start, recorded_stop) {
  giver on_1 = make_on(1);
  char *range = map(200 * mib);
  set_room(1000, 100);
  assert_status(give(&on_1, range, 100 * mib), TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(tarn_last_error()->message, "node 1"));
  assert_non_null(strstr(tarn_last_error()->message, "104857600 free"));
  assert_ok(give(&on_1, range, 90 * mib)); /* a margin stays */
  assert_true(on_1.room_bytes[0] < 100 * mib);
  assert_true(on_1.room_bytes[0] >= 95 * mib);
  munmap(range, 200 * mib);
  end(&on_1);
}

TEST_WITH(promises_of_all_providers_count_until_they_are_dropped, recorded_start, recorded_stop) {
  giver a = make_on(1);
  giver b = make_on(1);
  giver other = make_on(0);
  char *range = map(200 * mib);
  set_room(100, 100);
  assert_ok(give(&a, range, 60 * mib));
  assert_ok(give(&other, range + 150 * mib, 50 * mib)); /* another node */
  assert_status(give(&b, range + 60 * mib, 50 * mib), TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(tarn_last_error()->message, "62914560 promised"));
  /* What was refused is not promised: a smaller one fits. */
  assert_ok(give(&b, range + 60 * mib, 30 * mib));
  tarn__promises_drop(b.promises, range + 60 * mib, 30 * mib);
  tarn__promises_drop(a.promises, range + 10 * mib, 30 * mib); /* from the middle */
  assert_ok(give(&b, range + 60 * mib, 55 * mib));
  tarn__promises_drop(b.promises, range + 60 * mib, 55 * mib);
  assert_status(give(&b, range + 60 * mib, 80 * mib), TARN_OUT_OF_MEMORY);
  end(&a); /* a provider that ends promises nothing */
  assert_ok(give(&b, range + 60 * mib, 80 * mib));
  munmap(range, 200 * mib);
  end(&b);
  end(&other);
}

TEST_WITH(what_was_touched_is_no_promise, recorded_start, recorded_stop) {
  giver self = make_on(1);
  char *range = map(200 * mib);
  set_room(0, 100);
  assert_ok(give(&self, range, 60 * mib));
  memset(range, 1, 40 * mib);
  set_room(0, 60); /* as the kernel would tell it */
  assert_status(give(&self, range + 60 * mib, 45 * mib), TARN_OUT_OF_MEMORY);
  assert_ok(give(&self, range + 60 * mib, 30 * mib));
  /* Pages that go back to the kernel with their promise bring none of it back. */
  tarn__promises_drop(self.promises, range, 60 * mib);
  madvise(range, 60 * mib, MADV_DONTNEED);
  set_room(0, 100);
  assert_ok(give(&self, range, 60 * mib));
  munmap(range, 200 * mib);
  end(&self);
}

TEST_WITH(ranges_are_cut_and_joined_as_they_are_dropped_and_given, recorded_start, recorded_stop) {
  enum { STEPS = 64 };
  giver self = make_on(1);
  giver probe = make_on(1);
  char *range = map(STEPS * mib + 400 * mib);
  char *elsewhere = range + STEPS * mib;
  bool is_given[STEPS] = {false};
  uint64_t random = 20240607;
  for (int round = 0; round < 400; ++round) {
    size_t first = test_random(&random) % STEPS;
    size_t count = 1 + test_random(&random) % (STEPS - first);
    const bool gives = test_random(&random) % 2 == 0;
    set_room(0, 10000);
    if (gives) {
      assert_ok(give(&self, range + first * mib, count * mib));
    } else {
      tarn__promises_drop(self.promises, range + first * mib, count * mib);
    }
    size_t given_mib = 0;
    for (size_t i = 0; i < STEPS; ++i) {
      if (i >= first && i < first + count) is_given[i] = gives;
      given_mib += is_given[i];
    }
    /* As much as is left, less the margin, can be given; a MiB more than that cannot. */
    set_room(0, given_mib + 64);
    end(&probe);
    probe = make_on(1);
    assert_status(give(&probe, elsewhere, 60 * mib), TARN_OUT_OF_MEMORY);
    assert_ok(give(&probe, elsewhere, 59 * mib));
  }
  munmap(range, STEPS * mib + 400 * mib);
  end(&self);
  end(&probe);
}

TEST_WITH(a_control_groups_limit_counts_all_nodes, recorded_start, recorded_stop) {
  giver a = make_on(1);
  giver b = make_on(2);
  char *range = map(200 * mib);
  set_room(1000, 1000);
  recorded_set_file("/proc/thread-self/cgroup", "0::/here\n");
  recorded_set_file("/proc/thread-self/mountinfo",
                    "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
  recorded_set_file("/sys/fs/cgroup/here/memory.max", "104857600\n");
  recorded_set_file("/sys/fs/cgroup/here/memory.current", "10485760\n");
  assert_ok(give(&a, range, 60 * mib));
  assert_status(give(&b, range + 60 * mib, 40 * mib), TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(tarn_last_error()->message, "control group"));
  assert_ok(give(&b, range + 60 * mib, 20 * mib));
  munmap(range, 200 * mib);
  end(&a);
  end(&b);
}

TEST_WITH(stripes_need_room_on_each_of_their_nodes, recorded_start, recorded_stop) {
  const int32_t nodes[] = {0, 1};
  giver self = make_by(TARN_PLACEMENT_INTERLEAVE, 2, nodes);
  assert_int_equal(self.resolved.mode, TARN_PLACEMENT_MODE_STRIPES);
  giver on_1 = make_on(1);
  char *range = map(400 * mib);
  set_room(1000, 60);
  assert_status(give(&self, range, 128 * mib), TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(tarn_last_error()->message, "node 1"));
  assert_ok(give(&self, range, 80 * mib)); /* 40 on each */
  assert_status(give(&on_1, range + 128 * mib, 25 * mib), TARN_OUT_OF_MEMORY);
  assert_ok(give(&on_1, range + 128 * mib, 15 * mib));
  munmap(range, 400 * mib);
  end(&self);
  end(&on_1);
}

TEST_WITH(nodes_in_order_need_room_together, recorded_start, recorded_stop) {
  const int32_t nodes[] = {0, 1};
  giver self = make_by(TARN_PLACEMENT_ORDERED, 2, nodes);
  giver on_1 = make_on(1);
  char *range = map(400 * mib);
  set_room(50, 60);
  assert_status(give(&self, range, 110 * mib), TARN_OUT_OF_MEMORY);
  assert_ok(give(&on_1, range + 200 * mib, 20 * mib));
  assert_status(give(&self, range, 90 * mib), TARN_OUT_OF_MEMORY);
  assert_ok(give(&self, range, 70 * mib));
  /* Room is what is left beside the promises, less a margin. */
  assert_in_range(self.room_bytes[0], 45 * mib, 50 * mib);
  assert_in_range(self.room_bytes[1], 35 * mib, 40 * mib);
  const size_t node_bytes[] = {45 * mib, 25 * mib};
  tarn__promises_learn(self.promises, node_bytes);
  tarn__promises_drop(on_1.promises, range + 200 * mib, 20 * mib);
  assert_status(give(&on_1, range + 200 * mib, 40 * mib), TARN_OUT_OF_MEMORY);
  assert_ok(give(&on_1, range + 200 * mib, 30 * mib));
  munmap(range, 400 * mib);
  end(&self);
  end(&on_1);
}

TEST_WITH(a_kernel_that_does_not_tell_refuses_nothing, recorded_start, recorded_stop) {
  giver self = make_on(1);
  char *range = map(200 * mib);
  recorded_set_file("/proc/zoneinfo", NULL);
  assert_ok(give(&self, range, 200 * mib));
  assert_true(self.room_bytes[0] == SIZE_MAX);
  munmap(range, 200 * mib);
  end(&self);
}

TEST_WITH(a_forked_child_has_promised_nothing, recorded_start, recorded_stop) {
  giver a = make_on(1);
  giver b = make_on(1);
  char *range = map(200 * mib);
  set_room(0, 100);
  assert_ok(give(&a, range, 90 * mib));
  const pid_t child = fork();
  if (child == 0) {
    if (give(&b, range + 90 * mib, 60 * mib) != TARN_OK) _exit(1);
    if (give(&a, range, 60 * mib) != TARN_OUT_OF_MEMORY) _exit(2);
    tarn__promises_drop(a.promises, range, 90 * mib);
    end(&a);
    end(&b);
    _exit(0);
  }
  int how;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_int_equal(how, 0);
  assert_status(give(&b, range + 90 * mib, 60 * mib), TARN_OUT_OF_MEMORY);
  munmap(range, 200 * mib);
  end(&a);
  end(&b);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
