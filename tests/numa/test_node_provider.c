/* test_node_provider.c: pages bound to one node, on this machine and as hwloc is told on others. */
#include "numa/tarn_numa.h"
#include "tests/numa/recorded_kernel.h"

#include <errno.h>
#include <hwloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

/* Where `is_recording`, binds are recorded and answered with `answer_errno`. */
static bool is_recording;
static int answer_errno;
static int bind_count;
static const void *bound_address;
static size_t bound_bytes;
static int bound_node;
static int bound_flags;
static hwloc_membind_policy_t bound_policy;

int __real_hwloc_set_area_membind(hwloc_topology_t topology, const void *address, size_t size_bytes,
                                  hwloc_const_bitmap_t set, hwloc_membind_policy_t policy,
                                  int flags);
int __wrap_hwloc_set_area_membind(hwloc_topology_t topology, const void *address, size_t size_bytes,
                                  hwloc_const_bitmap_t set, hwloc_membind_policy_t policy,
                                  int flags);
int __wrap_hwloc_set_area_membind(hwloc_topology_t topology, const void *address, size_t size_bytes,
                                  hwloc_const_bitmap_t set, hwloc_membind_policy_t policy,
                                  int flags) {
  if (!is_recording) {
    return __real_hwloc_set_area_membind(topology, address, size_bytes, set, policy, flags);
  }
  ++bind_count;
  bound_address = address;
  bound_bytes = size_bytes;
  bound_node = hwloc_bitmap_weight(set) == 1 ? hwloc_bitmap_first(set) : -1;
  bound_policy = policy;
  bound_flags = flags;
  errno = answer_errno;
  return answer_errno == 0 ? 0 : -1;
}

static int start_recording(void **state) {
  is_recording = true;
  answer_errno = 0;
  bind_count = 0;
  return recorded_start(state);
}

static int stop_recording(void **state) {
  is_recording = false;
  return recorded_stop(state);
}

static tarn_topology *make(const char *synthetic) {
  tarn_topology *topology = NULL;
  const tarn_topology_options options = {.struct_size = sizeof options, .synthetic = synthetic};
  assert_int_equal(tarn_topology_create(&options, &topology), TARN_OK);
  return topology;
}

/* The policy of the range that `address` lies in: 2 is MPOL_BIND; `mask` the nodes below 64. */
static int policy_at(const void *address, unsigned long *mask) {
  int mode = -1;
  unsigned long nodes[16] = {0};
  const unsigned long by_address = 1ul << 1; /* MPOL_F_ADDR */
  if (syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, address, by_address) != 0) {
    return -1;
  }
  *mask = nodes[0];
  return mode;
}

static void memory_lies_on_the_node_also_after_decommit(void **state) {
  (void)state;
  tarn_topology *topology = NULL;
  assert_int_equal(tarn_topology_create(NULL, &topology), TARN_OK);
  int32_t node;
  assert_int_equal(tarn_topology_node_here(topology, &node), TARN_OK);
  tarn_provider *provider = NULL;
  assert_int_equal(tarn_node_provider_create(topology, node, NULL, &provider), TARN_OK);
  tarn_topology_release(topology); /* the provider holds its own */
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  assert_int_equal(attributes->node, node);
  assert_true((attributes->flags & TARN_PROVIDER_RESERVES) != 0);
  assert_int_equal(attributes->device.type, TARN_DEVICE_CPU);

  const size_t size_bytes = 4 * attributes->granularity_bytes;
  void *range = NULL;
  assert_int_equal(tarn_provider_reserve(provider, size_bytes, &range), TARN_OK);
  for (int round = 0; round < 2; ++round) {
    assert_int_equal(tarn_provider_commit(provider, range, size_bytes), TARN_OK);
    memset(range, 0x5a, size_bytes);
    unsigned long mask = 0;
    const int mode = policy_at(range, &mask);
    if (mode >= 0) {
      assert_int_equal(mode, 2);
      assert_int_equal(mask, 1ul << node);
    }
    size_t on_node = 0, elsewhere = 0, untouched = 0;
    const tarn_status status =
        tarn_node_verify(range, size_bytes, node, &on_node, &elsewhere, &untouched);
    if (status != TARN_NOT_SUPPORTED) {
      assert_int_equal(status, TARN_OK);
      assert_int_equal(on_node, size_bytes / (size_t)sysconf(_SC_PAGESIZE));
      assert_int_equal(elsewhere, 0);
      assert_int_equal(untouched, 0);
    }
    assert_int_equal(tarn_provider_decommit(provider, range, size_bytes), TARN_OK);
  }
  assert_int_equal(tarn_provider_free(provider, range, size_bytes), TARN_OK);
  tarn_provider_release(provider);
}

static void every_range_is_bound_strictly_to_its_node(void **state) {
  (void)state;
  const char *machines[] = {"numa:1 core:2 pu:1", "numa:2 core:2 pu:1", "numa:4 core:2 pu:1"};
  for (size_t i = 0; i < sizeof machines / sizeof *machines; ++i) {
    tarn_topology *topology = make(machines[i]);
    for (int32_t node = 0; node < tarn_topology_node_count(topology); ++node) {
      tarn_provider *provider = NULL;
      assert_int_equal(tarn_node_provider_create(topology, node, NULL, &provider), TARN_OK);
      const size_t size_bytes = 2 * tarn_provider_attributes_of(provider)->granularity_bytes;
      for (int reserves = 0; reserves < 2; ++reserves) {
        bind_count = 0;
        void *range = NULL;
        assert_int_equal(reserves ? tarn_provider_reserve(provider, size_bytes, &range)
                                  : tarn_provider_alloc(provider, size_bytes, &range),
                         TARN_OK);
        assert_int_equal(bind_count, 1);
        assert_ptr_equal(bound_address, range);
        assert_int_equal(bound_bytes, size_bytes);
        assert_int_equal(bound_node, node);
        assert_int_equal(bound_policy, HWLOC_MEMBIND_BIND);
        assert_int_equal(bound_flags, HWLOC_MEMBIND_BYNODESET | HWLOC_MEMBIND_STRICT);
        assert_int_equal(tarn_provider_free(provider, range, size_bytes), TARN_OK);
      }
      tarn_provider_release(provider);
    }
    tarn_topology_release(topology);
  }
}

static void a_refused_bind_gives_the_range_back(void **state) {
  (void)state;
  tarn_topology *topology = make("numa:2 core:2 pu:1");
  tarn_provider *provider = NULL;
  assert_int_equal(tarn_node_provider_create(topology, 1, NULL, &provider), TARN_OK);
  const size_t size_bytes = tarn_provider_attributes_of(provider)->granularity_bytes;
  answer_errno = EPERM;
  void *range = &range;
  assert_int_equal(tarn_provider_reserve(provider, size_bytes, &range), TARN_SYSTEM_ERROR);
  assert_null(range);
  assert_int_equal(tarn_last_error()->native_code, EPERM);
  assert_string_equal(tarn_last_error()->native_call, "hwloc_set_area_membind");
  unsigned long mask;
  assert_int_equal(policy_at(bound_address, &mask), -1); /* nothing is mapped there any more */
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

static void one_node_needs_no_permission_to_bind(void **state) {
  (void)state;
  tarn_topology *topology = make("numa:1 core:2 pu:1");
  tarn_provider *provider = NULL;
  assert_int_equal(tarn_node_provider_create(topology, 0, NULL, &provider), TARN_OK);
  const size_t size_bytes = tarn_provider_attributes_of(provider)->granularity_bytes;
  void *range = NULL;
  answer_errno = EPERM;
  assert_int_equal(tarn_provider_reserve(provider, size_bytes, &range), TARN_OK);
  assert_int_equal(tarn_provider_free(provider, range, size_bytes), TARN_OK);
  answer_errno = EINVAL; /* any other reason still counts */
  assert_int_equal(tarn_provider_reserve(provider, size_bytes, &range), TARN_SYSTEM_ERROR);
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

static void a_node_that_is_not_there_is_unavailable(void **state) {
  (void)state;
  tarn_provider *provider = NULL;
  tarn_topology *here = NULL;
  assert_int_equal(tarn_topology_create(NULL, &here), TARN_OK);
  assert_int_equal(tarn_node_provider_create(here, 4711, NULL, &provider), TARN_UNAVAILABLE);
  assert_int_equal(tarn_node_provider_create(here, -1, NULL, &provider), TARN_UNAVAILABLE);
  tarn_topology_release(here);
  tarn_topology *described = make("numa:2 core:2 pu:1");
  assert_int_equal(tarn_node_provider_create(described, 0, NULL, &provider), TARN_UNAVAILABLE);
  assert_null(provider);
  assert_int_equal(tarn_node_provider_create(NULL, 0, NULL, &provider), TARN_INVALID_ARGUMENT);
  tarn_topology_release(described);
}

static void wrong_page_options_are_refused(void **state) {
  (void)state;
  tarn_topology *topology = NULL;
  assert_int_equal(tarn_topology_create(NULL, &topology), TARN_OK);
  int32_t node;
  assert_int_equal(tarn_topology_node_here(topology, &node), TARN_OK);
  tarn_provider *provider = NULL;
  const tarn_pages_options pages = {.struct_size = sizeof pages, .granularity_bytes = 12345};
  assert_int_equal(tarn_node_provider_create(topology, node, &pages, &provider),
                   TARN_INVALID_ARGUMENT);
  assert_null(provider);
  tarn_topology_release(topology);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_lies_on_the_node_also_after_decommit),
      cmocka_unit_test_setup_teardown(every_range_is_bound_strictly_to_its_node, start_recording,
                                      stop_recording),
      cmocka_unit_test_setup_teardown(a_refused_bind_gives_the_range_back, start_recording,
                                      stop_recording),
      cmocka_unit_test_setup_teardown(one_node_needs_no_permission_to_bind, start_recording,
                                      stop_recording),
      cmocka_unit_test(a_node_that_is_not_there_is_unavailable),
      cmocka_unit_test(wrong_page_options_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
