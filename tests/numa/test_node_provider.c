/* test_node_provider.c: memory placed on nodes: on this machine's, and as the kernel is told on
 * machines with more of them. */
#include "numa/tarn_numa.h"
#include "tests/numa/described_machine.h"
#include "tests/numa/recorded_kernel.h"
#include "tests/support/test.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t mib = (size_t)1 << 20;

/* What the provider of pages asks for when it populates. */
static int touch_count;
static int32_t touched_cpu_count;
static int32_t touched_cpus[8];
static int32_t touch_threads;
static int bind_count_at_touch;

tarn_status __real_tarn_touch(void *address, size_t size_bytes, const tarn_touch_options *options);
tarn_status __wrap_tarn_touch(void *address, size_t size_bytes, const tarn_touch_options *options);
tarn_status __wrap_tarn_touch(void *address, size_t size_bytes, const tarn_touch_options *options) {
  if (size_bytes > 0) {
    touch_count++;
    touch_threads = options->thread_count;
    touched_cpu_count = options->cpu_count;
    bind_count_at_touch = recorded.bind_count;
    for (int32_t i = 0; i < options->cpu_count && i < 8; ++i) touched_cpus[i] = options->cpus[i];
  }
  return __real_tarn_touch(address, size_bytes, options);
}

static int start(void **state) {
  touch_count = 0;
  return recorded_start(state);
}

static tarn_topology *here(void) {
  tarn_topology *topology = NULL;
  assert_ok(tarn_topology_create(NULL, &topology));
  return topology;
}

static tarn_provider *make(tarn_topology *topology, const tarn_node_options *options) {
  tarn_provider *provider = NULL;
  const tarn_status status = tarn_node_provider_create(topology, options, &provider);
  if (status != TARN_OK) fail_msg("%s", tarn_last_error()->message);
  return provider;
}

static tarn_node_options options_by(tarn_placement_kind kind, uint32_t flags, int32_t first,
                                    int32_t second) {
  tarn_node_options options = {.struct_size = sizeof options};
  options.placement = (tarn_placement){.struct_size = sizeof options.placement,
                                       .kind = kind,
                                       .flags = flags,
                                       .node_count = second < 0 ? 1 : 2,
                                       .nodes = {first, second < 0 ? 0 : second}};
  return options;
}

/* --- this machine --- */

/* Every page that was written lies on `node`; zero others. */
static void assert_placed(const void *address, size_t size_bytes, int32_t node,
                          size_t touched_bytes) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  size_t on_node = 0, elsewhere = 0, untouched = 0;
  const tarn_status status =
      tarn_node_verify(address, size_bytes, node, &on_node, &elsewhere, &untouched);
  if (status == TARN_NOT_SUPPORTED) return; /* a container that forbids move_pages */
  assert_ok(status);
  assert_int_equal(elsewhere, 0);
  assert_int_equal(on_node, touched_bytes / page_bytes);
  assert_int_equal(untouched, (size_bytes - touched_bytes) / page_bytes);
}

static bool has_room(tarn_topology *topology, int32_t node, size_t size_bytes) {
  tarn_node_room room = {.struct_size = sizeof room};
  return tarn_topology_room(topology, node, &room) == TARN_OK && room.room_bytes > 2 * size_bytes;
}

TEST(memory_lies_on_its_node_also_after_decommit) {
  static const uint32_t kinds[] = {0, TARN_PAGES_POPULATE, TARN_PAGES_SHARED,
                                   TARN_PAGES_SHARED | TARN_PAGES_POPULATE, TARN_PAGES_LOCK};
  tarn_topology *topology = here();
  for (int32_t index = 0; index < tarn_topology_node_count(topology); ++index) {
    tarn_node_info info = {.struct_size = sizeof info};
    assert_ok(tarn_topology_node(topology, index, &info));
    if (!has_room(topology, info.node, 8 * mib)) continue;
    for (size_t kind = 0; kind < COUNT_OF(kinds); ++kind) {
      tarn_node_options options = tarn_node_options_on(info.node);
      options.flags = kinds[kind];
      tarn_provider *provider = make(topology, &options);
      assert_int_equal(tarn_provider_attributes_of(provider)->node, info.node);
      assert_true((tarn_provider_attributes_of(provider)->flags & TARN_PROVIDER_RESERVES) != 0);
      char *range = NULL;
      assert_ok(tarn_provider_reserve(provider, 64 * mib, (void **)&range));
      for (int round = 0; round < 2; ++round) {
        const tarn_status status = tarn_provider_commit(provider, range + 8 * mib, 4 * mib);
        if (status == TARN_UNAVAILABLE) break; /* no right to lock */
        assert_ok(status);
        if ((kinds[kind] & TARN_PAGES_POPULATE) == 0) memset(range + 8 * mib, 1, 4 * mib);
        assert_placed(range + 8 * mib, 4 * mib, info.node, 4 * mib);
        assert_ok(tarn_provider_decommit(provider, range + 8 * mib, 4 * mib));
      }
      assert_ok(tarn_provider_free(provider, range, 64 * mib));
      tarn_provider_release(provider);
    }
  }
  tarn_topology_release(topology);
}

TEST(explicit_pages_lie_on_their_node_or_are_refused) {
  const size_t huge_bytes = 2 * mib;
  tarn_topology *topology = here();
  bool is_any_there = false;
  for (int32_t index = 0; index < tarn_topology_node_count(topology); ++index) {
    tarn_node_info info = {.struct_size = sizeof info};
    assert_ok(tarn_topology_node(topology, index, &info));
    for (int shared = 0; shared < 2; ++shared) {
      tarn_node_options options = tarn_node_options_on(info.node);
      options.page_bytes = huge_bytes;
      options.flags = shared ? TARN_PAGES_SHARED : 0;
      tarn_provider *provider = NULL;
      if (tarn_node_provider_create(topology, &options, &provider) == TARN_UNAVAILABLE) continue;
      char *range = NULL;
      assert_ok(tarn_provider_reserve(provider, 1024 * huge_bytes, (void **)&range));
      /* Page by page until the node has no more: a status then, and no signal. */
      size_t count = 0;
      tarn_status status = TARN_OK;
      while (count < 1024 && status == TARN_OK) {
        status = tarn_provider_commit(provider, range + count * huge_bytes, huge_bytes);
        if (status != TARN_OK) break;
        range[count++ * huge_bytes] = 1;
      }
      assert_int_equal(status, TARN_OUT_OF_MEMORY);
      if (count > 0) {
        is_any_there = true;
        assert_placed(range, count * huge_bytes, info.node, count * huge_bytes);
        tarn_node_granted granted = {.struct_size = sizeof granted};
        if (tarn_node_provider_granted(provider, range, count * huge_bytes, &granted) == TARN_OK) {
          assert_int_equal(granted.pages.page_bytes, huge_bytes);
          assert_int_equal(granted.pages.locked_bytes, count * huge_bytes);
        }
      }
      assert_ok(tarn_provider_free(provider, range, 1024 * huge_bytes));
      tarn_provider_release(provider);
    }
  }
  tarn_topology_release(topology);
  if (!is_any_there) skip(); /* no pool of explicit huge pages */
}

/* Commits and touches one node until it is refused: the process lives, and what was given works.
 * The node's whole memory is needed, so that large machines are spared. */
TEST(a_node_can_be_filled_until_it_is_refused) {
  const size_t step_bytes = 16 * mib;
  tarn_topology *topology = here();
  const int32_t node_count = tarn_topology_node_count(topology);
  if (node_count < 2) {
    tarn_topology_release(topology);
    skip(); /* this machine is needed for something else */
  }
  tarn_node_info info = {.struct_size = sizeof info};
  assert_ok(tarn_topology_node(topology, node_count - 1, &info));
  if (info.capacity_bytes > 2048 * mib) {
    tarn_topology_release(topology);
    skip();
  }
  const tarn_node_options options = tarn_node_options_on(info.node);
  tarn_provider *provider = make(topology, &options);
  char *range = NULL;
  size_t size_bytes = 0;
  tarn_status status = TARN_OK;
  assert_ok(tarn_provider_reserve(provider, 4096 * mib, (void **)&range));
  for (int touches = 0; touches < 2; ++touches) {
    size_bytes = 0;
    status = TARN_OK;
    while (status == TARN_OK && size_bytes < 4096 * mib) {
      status = tarn_provider_commit(provider, range + size_bytes, step_bytes);
      if (status != TARN_OK) break;
      if (touches) memset(range + size_bytes, 1, step_bytes);
      size_bytes += step_bytes;
    }
    assert_int_equal(status, TARN_OUT_OF_MEMORY);
    assert_true(size_bytes >= step_bytes);
    memset(range, 1, size_bytes); /* all that was promised is there */
    assert_placed(range, size_bytes, info.node, size_bytes);
    assert_ok(tarn_provider_decommit(provider, range, size_bytes));
  }
  assert_ok(tarn_provider_free(provider, range, 4096 * mib));
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

TEST(what_was_granted_is_told) {
  tarn_topology *topology = here();
  int32_t node;
  assert_ok(tarn_topology_node_here(topology, &node));
  tarn_node_options options = tarn_node_options_on(node);
  options.huge = TARN_PAGES_HUGE_NEVER;
  tarn_provider *provider = make(topology, &options);
  char *block = NULL;
  assert_ok(tarn_provider_alloc(provider, 2 * mib, (void **)&block));
  memset(block, 1, mib);
  tarn_node_granted granted = {.struct_size = sizeof granted};
  const tarn_status status = tarn_node_provider_granted(provider, block, 2 * mib, &granted);
  if (status != TARN_NOT_SUPPORTED) {
    assert_ok(status);
    assert_int_equal(granted.pages.resident_bytes, mib);
    assert_int_equal(granted.placed.node_count, 1);
    assert_int_equal(granted.placed.nodes[0], node);
    assert_int_equal(granted.placed.node_pages[0] * granted.placed.page_bytes, mib);
  }
  assert_int_equal(granted.resolved.mode, TARN_PLACEMENT_MODE_BIND);
  assert_int_equal(granted.resolved.nodes[0], node);
  assert_true(granted.is_bound || granted.refused_code != 0);
  tarn_provider *pages = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &pages));
  assert_status(tarn_node_provider_granted(pages, block, 1, &granted), TARN_INVALID_ARGUMENT);
  assert_status(tarn_node_provider_granted(NULL, block, 1, &granted), TARN_INVALID_ARGUMENT);
  assert_status(tarn_node_provider_granted(provider, block, 1, NULL), TARN_INVALID_ARGUMENT);
  tarn_provider_release(pages);
  assert_ok(tarn_provider_free(provider, block, 2 * mib));
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

TEST(shared_memory_of_a_node_is_shared) {
  tarn_topology *topology = here();
  int32_t node;
  assert_ok(tarn_topology_node_here(topology, &node));
  tarn_node_options options = tarn_node_options_on(node);
  options.flags = TARN_PAGES_SHARED;
  tarn_provider *provider = make(topology, &options);
  char *block = NULL;
  int descriptor = -1;
  int64_t offset_bytes;
  assert_ok(tarn_provider_alloc(provider, mib, (void **)&block));
  assert_ok(tarn_provider_share(provider, block, &descriptor, &offset_bytes));
  char *other = mmap(NULL, mib, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, offset_bytes);
  assert_true(other != MAP_FAILED);
  block[5] = 'x';
  assert_int_equal(other[5], 'x');
  munmap(other, mib);
  close(descriptor);
  assert_ok(tarn_provider_free(provider, block, mib));
  tarn_provider_release(provider);
  options.flags = 0;
  provider = make(topology, &options);
  assert_status(tarn_provider_share(provider, &options, &descriptor, &offset_bytes),
                TARN_NOT_SUPPORTED);
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

/* --- other machines, as the kernel is told --- */

TEST_WITH(every_commit_is_bound_where_the_placement_says, start, recorded_stop) {
  static const struct {
    tarn_placement_kind kind;
    uint32_t flags;
    int32_t second;
    int policy;
    int32_t attribute;
    const char *name;
  } rows[] = {
      {TARN_PLACEMENT_NODE, TARN_PLACEMENT_STRICT, -1, MPOL_BIND, 1, "node:1"},
      {TARN_PLACEMENT_NODE, 0, -1, MPOL_PREFERRED, 1, "node:1"},
      {TARN_PLACEMENT_INTERLEAVE, 0, 3, MPOL_INTERLEAVE, -1, "nodes:1,3"},
      {TARN_PLACEMENT_INTERLEAVE, TARN_PLACEMENT_STRICT, 3, MPOL_BIND, -1, "nodes:1,3"},
      {TARN_PLACEMENT_ORDERED, 0, 3, MPOL_PREFERRED_MANY, -1, "nodes:1,3"},
  };
  tarn_topology *topology = describe("numa:4 core:2 pu:1");
  const size_t free_bytes[] = {1000 * mib, 1000 * mib, 1000 * mib, 1000 * mib};
  recorded_set_room(4, free_bytes);
  for (size_t row = 0; row < COUNT_OF(rows); ++row) {
    tarn_node_options options = options_by(rows[row].kind, rows[row].flags, 1, rows[row].second);
    tarn_provider *provider = make(topology, &options);
    assert_int_equal(tarn_provider_attributes_of(provider)->node, rows[row].attribute);
    assert_string_equal(tarn_provider_name(provider), rows[row].name);
    char *range = NULL;
    assert_ok(tarn_provider_reserve(provider, 64 * mib, (void **)&range));
    recorded.bind_count = 0;
    assert_ok(tarn_provider_commit(provider, range + 8 * mib, 4 * mib));
    uintptr_t at = (uintptr_t)range + 8 * mib;
    for (int i = 0; i < recorded.bind_count; ++i) {
      assert_int_equal(recorded.binds[i].address, at);
      assert_int_equal(recorded.binds[i].policy, rows[row].policy);
      assert_true(tarn__node_set_has(&recorded.binds[i].nodes, 1) ||
                  tarn__node_set_has(&recorded.binds[i].nodes, rows[row].second));
      assert_false(tarn__node_set_has(&recorded.binds[i].nodes, 0));
      at += recorded.binds[i].size_bytes;
    }
    assert_int_equal(at, (uintptr_t)range + 12 * mib);
    assert_ok(tarn_provider_free(provider, range, 64 * mib));
    recorded.bind_count = 0;
    void *block = NULL;
    assert_ok(tarn_provider_alloc(provider, 4 * mib, &block));
    assert_true(recorded.bind_count >= 1);
    assert_int_equal(recorded.binds[0].address, (uintptr_t)block);
    assert_ok(tarn_provider_free(provider, block, 4 * mib));
    tarn_provider_release(provider);
  }
  tarn_topology_release(topology);
}

TEST_WITH(no_placement_binds_nothing, start, recorded_stop) {
  tarn_topology *topology = describe("numa:2 core:2 pu:1");
  tarn_provider *provider = make(topology, NULL);
  assert_string_equal(tarn_provider_name(provider), "nodes:any");
  assert_int_equal(tarn_provider_attributes_of(provider)->node, -1);
  void *block = NULL;
  assert_ok(tarn_provider_alloc(provider, mib, &block));
  assert_int_equal(recorded.bind_count, 0);
  assert_ok(tarn_provider_free(provider, block, mib));
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

TEST_WITH(pages_are_made_after_the_bind_on_the_nodes_processors, start, recorded_stop) {
  tarn_topology *topology = describe("numa:4 core:2 pu:1");
  const size_t free_bytes[] = {1000 * mib, 1000 * mib, 1000 * mib, 1000 * mib};
  recorded_set_room(4, free_bytes);
  tarn_node_options options = tarn_node_options_on(2);
  options.flags = TARN_PAGES_POPULATE;
  options.touch_threads = 2;
  tarn_provider *provider = make(topology, &options);
  void *block = NULL;
  assert_ok(tarn_provider_alloc(provider, 4 * mib, &block));
  assert_int_equal(touch_count, 1);
  assert_int_equal(bind_count_at_touch, 1);
  assert_int_equal(touch_threads, 2);
  assert_int_equal(touched_cpu_count, 2);
  assert_int_equal(touched_cpus[0], 4);
  assert_int_equal(touched_cpus[1], 5);
  assert_ok(tarn_provider_free(provider, block, 4 * mib));
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

TEST_WITH(a_commit_without_room_is_refused_and_changes_nothing, start, recorded_stop) {
  tarn_topology *topology = describe("numa:2 core:2 pu:1");
  const size_t free_bytes[] = {1000 * mib, 50 * mib};
  recorded_set_room(2, free_bytes);
  tarn_node_options options = tarn_node_options_on(1);
  tarn_provider *provider = make(topology, &options);
  char *range = NULL;
  void *block = &block;
  assert_ok(tarn_provider_reserve(provider, 4096 * mib, (void **)&range)); /* promises nothing */
  assert_status(tarn_provider_commit(provider, range, 60 * mib), TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(tarn_last_error()->message, "52428800 free"));
  assert_int_equal(recorded.bind_count, 0);
  assert_status(tarn_provider_alloc(provider, 60 * mib, &block), TARN_OUT_OF_MEMORY);
  assert_null(block);
  /* Promised is promised, until it is given back. */
  assert_ok(tarn_provider_commit(provider, range, 30 * mib));
  assert_status(tarn_provider_alloc(provider, 30 * mib, &block), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_provider_decommit(provider, range, 30 * mib));
  assert_ok(tarn_provider_alloc(provider, 30 * mib, &block));
  assert_status(tarn_provider_commit(provider, range, 30 * mib), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_provider_free(provider, block, 30 * mib));
  assert_ok(tarn_provider_commit(provider, range, 30 * mib));
  assert_ok(tarn_provider_free(provider, range, 4096 * mib));
  assert_ok(tarn_provider_alloc(provider, 30 * mib, &block));
  assert_ok(tarn_provider_free(provider, block, 30 * mib));
  tarn_provider_release(provider);
  /* What is preferred, or asked not to be checked, is not refused. */
  options.placement.flags = 0;
  for (int round = 0; round < 2; ++round) {
    provider = make(topology, &options);
    assert_ok(tarn_provider_alloc(provider, 60 * mib, &block));
    assert_ok(tarn_provider_free(provider, block, 60 * mib));
    tarn_provider_release(provider);
    options.placement.flags = TARN_PLACEMENT_STRICT | TARN_PLACEMENT_UNCHECKED;
  }
  tarn_topology_release(topology);
}

TEST_WITH(populated_memory_and_failed_commits_promise_nothing, start, recorded_stop) {
  tarn_topology *topology = describe("numa:2 core:2 pu:1");
  const size_t free_bytes[] = {1000 * mib, 50 * mib};
  recorded_set_room(2, free_bytes);
  tarn_node_options options = tarn_node_options_on(1);
  options.flags = TARN_PAGES_POPULATE;
  tarn_provider *provider = make(topology, &options);
  void *blocks[2] = {NULL};
  for (int i = 0; i < 2; ++i) assert_ok(tarn_provider_alloc(provider, 30 * mib, &blocks[i]));
  for (int i = 0; i < 2; ++i) assert_ok(tarn_provider_free(provider, blocks[i], 30 * mib));
  tarn_provider_release(provider);
  options.flags = 0;
  provider = make(topology, &options);
  recorded.bind_errno = EINVAL;
  assert_status(tarn_provider_alloc(provider, 30 * mib, &blocks[0]), TARN_SYSTEM_ERROR);
  assert_int_equal(tarn_last_error()->native_code, EINVAL);
  recorded.bind_errno = 0;
  assert_ok(tarn_provider_alloc(provider, 30 * mib, &blocks[0]));
  assert_ok(tarn_provider_free(provider, blocks[0], 30 * mib));
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

TEST_WITH(nodes_in_order_are_cut_by_what_is_not_promised, start, recorded_stop) {
  tarn_topology *topology = describe("numa:2 core:2 pu:1");
  const size_t free_bytes[] = {100 * mib, 100 * mib};
  recorded_set_room(2, free_bytes);
  tarn_node_options on_0 = tarn_node_options_on(0);
  tarn_node_options in_order = options_by(TARN_PLACEMENT_ORDERED, TARN_PLACEMENT_STRICT, 0, 1);
  tarn_provider *first = make(topology, &on_0);
  tarn_provider *second = make(topology, &in_order);
  void *blocks[2] = {NULL};
  assert_ok(tarn_provider_alloc(first, 60 * mib, &blocks[0]));
  recorded.bind_count = 0;
  assert_ok(tarn_provider_alloc(second, 80 * mib, &blocks[1]));
  /* 40 MiB are left on node 0, less the margin and what alignment takes. */
  assert_int_equal(recorded.bind_count, 2);
  assert_int_equal(recorded.binds[0].home, 0);
  assert_in_range(recorded.binds[0].size_bytes, 32 * mib, 40 * mib);
  assert_int_equal(recorded.binds[1].home, 1);
  assert_ok(tarn_provider_free(first, blocks[0], 60 * mib));
  assert_ok(tarn_provider_free(second, blocks[1], 80 * mib));
  tarn_provider_release(first);
  tarn_provider_release(second);
  tarn_topology_release(topology);
}

TEST_WITH(stripes_of_a_large_block_are_few, start, recorded_stop) {
  tarn_topology *topology = describe("numa:2 core:2 pu:1");
  tarn_node_options options =
      options_by(TARN_PLACEMENT_INTERLEAVE, TARN_PLACEMENT_STRICT | TARN_PLACEMENT_UNCHECKED, 0, 1);
  options.flags = TARN_PAGES_NORESERVE;
  tarn_provider *provider = make(topology, &options);
  void *block = NULL;
  assert_ok(tarn_provider_alloc(provider, 8192 * mib, &block));
  assert_in_range(recorded.bind_count, 2, TARN_PLACEMENT_PIECES_MAX);
  assert_ok(tarn_provider_free(provider, block, 8192 * mib));
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

TEST_WITH(one_node_needs_no_permission_to_bind, start, recorded_stop) {
  tarn_topology *topology = describe("numa:1 core:2 pu:1");
  const tarn_node_options options = tarn_node_options_on(0);
  tarn_provider *provider = make(topology, &options);
  void *block = NULL;
  recorded.bind_errno = EPERM;
  assert_ok(tarn_provider_alloc(provider, mib, &block));
  tarn_node_granted granted = {.struct_size = sizeof granted};
  (void)!tarn_node_provider_granted(provider, block, mib, &granted);
  assert_false(granted.is_bound);
  assert_int_equal(granted.refused_code, EPERM);
  assert_ok(tarn_provider_free(provider, block, mib));
  recorded.bind_errno = EINVAL; /* any other reason still counts */
  assert_status(tarn_provider_alloc(provider, mib, &block), TARN_SYSTEM_ERROR);
  assert_null(block);
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

TEST(a_node_that_is_not_there_is_unavailable) {
  tarn_provider *provider = NULL;
  tarn_topology *topology = here();
  tarn_node_options options = tarn_node_options_on(4711);
  assert_status(tarn_node_provider_create(topology, &options, &provider), TARN_UNAVAILABLE);
  tarn_topology_release(topology);
  topology = describe("numa:2 core:2 pu:1");
  options = tarn_node_options_on(0);
  assert_status(tarn_node_provider_create(topology, &options, &provider), TARN_UNAVAILABLE);
  assert_null(provider);
  assert_status(tarn_node_provider_create(NULL, &options, &provider), TARN_INVALID_ARGUMENT);
  assert_status(tarn_node_provider_create(topology, &options, NULL), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

TEST(wrong_options_are_refused) {
  tarn_topology *topology = here();
  int32_t node;
  assert_ok(tarn_topology_node_here(topology, &node));
  tarn_provider *provider = NULL;
  tarn_node_options options = tarn_node_options_on(node);
  options.granularity_bytes = 12345;
  assert_status(tarn_node_provider_create(topology, &options, &provider), TARN_INVALID_ARGUMENT);
  options = tarn_node_options_on(node);
  options.flags = 1u << 30;
  assert_status(tarn_node_provider_create(topology, &options, &provider), TARN_INVALID_ARGUMENT);
  options = tarn_node_options_on(node);
  options.touch_threads = -1;
  assert_status(tarn_node_provider_create(topology, &options, &provider), TARN_INVALID_ARGUMENT);
  options = tarn_node_options_on(node);
  options.placement.struct_size = 0;
  assert_status(tarn_node_provider_create(topology, &options, &provider), TARN_INVALID_ARGUMENT);
  options = tarn_node_options_on(node);
  options.struct_size = 1;
  assert_status(tarn_node_provider_create(topology, &options, &provider), TARN_INVALID_ARGUMENT);
  assert_null(provider);
  tarn_topology_release(topology);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
