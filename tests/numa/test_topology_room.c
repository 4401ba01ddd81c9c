/* test_topology_room.c: free memory of nodes, and what control groups leave of it, as files say. */
#include "numa/memory_limit.h"
#include "tests/numa/described_machine.h"
#include "tests/numa/recorded_kernel.h"

#include <unistd.h>

/* Node 0 in two zones, node 1 in one, lines of other things between as real kernels write them. */
static const char zones[] =
    "Node 0, zone    DMA32\n"
    "  per-node stats\n"
    "      nr_inactive_file 777\n"
    "      nr_active_file 778\n"
    "  pages free     1000\n"
    "        min      60\n"
    "        low      75\n"
    "        high     90\n"
    "        managed  7729\n"
    "        protection: (0, 0, 500, 600, 600)\n"
    "      nr_free_pages 1000\n"
    "      nr_zone_inactive_file 0\n"
    "      nr_zone_active_file 0\n"
    "  pagesets\n"
    "    cpu: 0\n"
    "              count:    23\n"
    "              high:     3790\n"
    "Node 0, zone   Normal\n"
    "  pages free     5000\n"
    "        high     200\n"
    "        protection: (0, 0, 0, 0, 0)\n"
    "      nr_zone_inactive_file 3000\n"
    "      nr_zone_active_file 1100\n"
    "      nr_zone_write_pending 100\n"
    "Node 0, zone  Movable\n"
    "  pages free     0\n"
    "        high     32\n"
    "        protection: (0, 0, 0, 0, 0)\n"
    "Node 1, zone   Normal\n"
    "  pages free     150\n"
    "        high     200\n"
    "        protection: (0, 0, 0, 0, 0)\n"
    "      nr_zone_inactive_file 100\n"
    "      nr_zone_active_file 20\n"
    "      nr_zone_write_pending 0\n";

static size_t page_bytes(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
}

static tarn_node_room room_of(const tarn_topology *topology, int32_t node) {
  tarn_node_room room = {.struct_size = sizeof room};
  assert_int_equal(tarn_topology_room(topology, node, &room), TARN_OK);
  return room;
}

TEST_WITH(free_is_what_lies_over_the_kernels_reserves, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("two_gpus.xml");
  recorded_set_file("/proc/zoneinfo", zones);
  /* DMA32: 1000 - 90 - 600. Normal: 5000 - 200, and of 4000 clean file pages all but 200. */
  const size_t node_0_pages = (1000 - 90 - 600) + (5000 - 200) + (4000 - 200);
  tarn_node_room room = room_of(topology, 0);
  assert_int_equal(room.free_bytes, node_0_pages * page_bytes());
  assert_int_equal(room.room_bytes, room.free_bytes);
  assert_true(room.limit_bytes == SIZE_MAX);
  /* 150 free and half of 120 file pages are 10 over the mark. */
  assert_int_equal(room_of(topology, 1).free_bytes, 10 * page_bytes());
  assert_int_equal(room_of(topology, TARN_NODE_ANY).free_bytes, (node_0_pages + 10) * page_bytes());
  tarn_topology_release(topology);
}

TEST_WITH(a_node_without_zones_has_no_told_room, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("eight_nodes.xml");
  recorded_set_file("/proc/zoneinfo", zones);
  tarn_node_room room = {.struct_size = sizeof room, .free_bytes = 7};
  assert_int_equal(tarn_topology_room(topology, 5, &room), TARN_UNAVAILABLE);
  assert_int_equal(room.free_bytes, 0);
  recorded_set_file("/proc/zoneinfo", NULL);
  assert_int_equal(tarn_topology_room(topology, 0, &room), TARN_UNAVAILABLE);
  tarn_topology_release(topology);
}

TEST_WITH(a_limit_makes_the_room_smaller_than_what_is_free, recorded_start, recorded_stop) {
  tarn_topology *topology = describe("two_gpus.xml");
  const size_t free_bytes[] = {(size_t)1 << 30, (size_t)2 << 30};
  recorded_set_room(2, free_bytes);
  recorded_set_file("/proc/thread-self/cgroup", "0::/job\n");
  recorded_set_file("/proc/thread-self/mountinfo",
                    "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  recorded_set_file("/sys/fs/cgroup/job/memory.max", "1610612736\n"); /* 1.5 GiB */
  recorded_set_file("/sys/fs/cgroup/job/memory.current", "536870912\n");
  const tarn_node_room room = room_of(topology, 1);
  assert_int_equal(room.free_bytes, (size_t)2 << 30);
  assert_int_equal(room.limit_bytes, (size_t)3 << 29);
  assert_int_equal(room.limit_used_bytes, (size_t)1 << 29);
  assert_int_equal(room.room_bytes, (size_t)1 << 30);
  recorded_set_file("/sys/fs/cgroup/job/memory.current", "1700000000\n"); /* over it */
  assert_int_equal(room_of(topology, 0).room_bytes, 0);
  tarn_topology_release(topology);
}

static void expect_limit(size_t limit_bytes, size_t used_bytes) {
  const tarn__memory_limit limit = tarn__memory_limit_read();
  assert_int_equal(limit.limit_bytes, limit_bytes);
  assert_int_equal(limit.used_bytes, used_bytes);
}

TEST_WITH(the_tightest_group_of_all_above_counts, recorded_start, recorded_stop) {
  recorded_set_file("/proc/thread-self/cgroup", "0::/a/b c/d\n");
  recorded_set_file("/proc/thread-self/mountinfo",
                    "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
                    "30 23 0:26 / /cgroup\\0402 rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
  recorded_set_file("/cgroup 2/a/b c/d/memory.max", "max\n");
  recorded_set_file("/cgroup 2/a/b c/d/memory.current", "100\n");
  expect_limit(SIZE_MAX, 0);
  recorded_set_file("/cgroup 2/a/memory.max", "5000\n");
  recorded_set_file("/cgroup 2/a/memory.current", "4000\n");
  expect_limit(5000, 4000);
  recorded_set_file("/cgroup 2/a/b c/memory.max", "2000\n"); /* more is left of it */
  recorded_set_file("/cgroup 2/a/b c/memory.current", "500\n");
  expect_limit(5000, 4000);
  recorded_set_file("/cgroup 2/a/b c/memory.current", "1500\n");
  expect_limit(2000, 1500);
  recorded_set_file("/cgroup 2/memory.max", "900\n"); /* what is mounted may itself be a group */
  recorded_set_file("/cgroup 2/memory.current", "899\n");
  expect_limit(900, 899);
}

TEST_WITH(file_pages_do_not_count_as_used, recorded_start, recorded_stop) {
  recorded_set_file("/proc/thread-self/cgroup", "0::/a\n");
  recorded_set_file("/proc/thread-self/mountinfo", "30 23 0:26 / /c rw - cgroup2 cgroup2 rw\n");
  recorded_set_file("/c/a/memory.max", "9000\n");
  recorded_set_file("/c/a/memory.current", "8000\n");
  recorded_set_file("/c/a/memory.stat",
                    "anon 3000\nfile 5000\nfile_dirty 500\ninactive_anon 7\n"
                    "inactive_file 1000\nactive_file 2000\n");
  expect_limit(9000, 8000 - (3000 - 500));
}

TEST_WITH(version_one_counts_where_it_has_the_memory_controller, recorded_start, recorded_stop) {
  recorded_set_file("/proc/thread-self/cgroup",
                    "9:name=systemd:/\n5:cpu,cpuacct:/x\n"
                    "4:hugetlb,memory:/outer/inner\n0::/unified\n");
  recorded_set_file("/proc/thread-self/mountinfo",
                    "34 31 0:31 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                    "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,hugetlb,memory\n"
                    "41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n");
  recorded_set_file("/cg/unified/unified/memory.max", "1\n");
  recorded_set_file("/cg/unified/unified/memory.current", "1\n");
  recorded_set_file("/cg/memory/outer/inner/memory.limit_in_bytes", "9223372036854771712\n");
  recorded_set_file("/cg/memory/outer/inner/memory.usage_in_bytes", "10\n");
  expect_limit(SIZE_MAX, 0);
  recorded_set_file("/cg/memory/outer/memory.limit_in_bytes", "7000\n");
  recorded_set_file("/cg/memory/outer/memory.usage_in_bytes", "6000\n");
  recorded_set_file("/cg/memory/outer/memory.stat",
                    "active_file 1\ntotal_active_file 600\ntotal_inactive_file 300\n");
  expect_limit(7000, 5100);
}

TEST_WITH(a_container_sees_its_own_group_as_the_top, recorded_start, recorded_stop) {
  recorded_set_file("/proc/thread-self/cgroup", "0::/docker/4711\n");
  recorded_set_file("/proc/thread-self/mountinfo",
                    "30 23 0:26 /docker/4711 /c ro - cgroup2 cgroup2 rw\n");
  recorded_set_file("/c/memory.max", "9000\n");
  recorded_set_file("/c/memory.current", "10\n");
  expect_limit(9000, 10);
  recorded_set_file("/proc/thread-self/cgroup", "0::/\n"); /* with a namespace of its own */
  expect_limit(9000, 10);
  recorded_set_file("/proc/thread-self/cgroup", "0::/../other\n"); /* a group that cannot be seen */
  expect_limit(9000, 10);
  recorded_set_file("/proc/thread-self/cgroup",
                    "0::/docker/47112\n"); /* not below what is mounted */
  expect_limit(9000, 10);
}

TEST_WITH(what_cannot_be_understood_is_no_limit, recorded_start, recorded_stop) {
  expect_limit(SIZE_MAX, 0); /* no files at all */
  recorded_set_file("/proc/thread-self/cgroup", "no colons\n0::/a\n");
  expect_limit(SIZE_MAX, 0);
  recorded_set_file("/proc/thread-self/mountinfo",
                    "\n30 23 - cgroup2\n30 23 0:26 / /c rw - cgroup2 x y\n");
  expect_limit(SIZE_MAX, 0);
  recorded_set_file("/c/a/memory.max", "lots\n");
  recorded_set_file("/c/a/memory.current", "10\n");
  expect_limit(SIZE_MAX, 0);
  recorded_set_file("/c/a/memory.max", "20\n");
  recorded_set_file("/c/a/memory.current", NULL);
  expect_limit(SIZE_MAX, 0);
}

TEST(this_machine_has_room_or_says_that_it_does_not_tell) {
  tarn_topology *topology = NULL;
  assert_int_equal(tarn_topology_create(NULL, &topology), TARN_OK);
  tarn_node_room room = {.struct_size = sizeof room};
  const tarn_status status = tarn_topology_room(topology, TARN_NODE_ANY, &room);
  if (status != TARN_UNAVAILABLE) {
    assert_int_equal(status, TARN_OK);
    assert_true(room.free_bytes > 0);
    assert_true(room.room_bytes <= room.free_bytes);
  }
  tarn_topology_release(topology);
}

TEST(wrong_questions_are_refused) {
  tarn_topology *topology = describe("two_gpus.xml");
  tarn_node_room room = {.struct_size = sizeof room};
  assert_int_equal(tarn_topology_room(topology, 0, &room), TARN_UNAVAILABLE); /* a description */
  assert_int_equal(tarn_topology_room(topology, 2, &room), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_room(topology, -2, &room), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_room(topology, 0, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_topology_room(NULL, 0, &room), TARN_INVALID_ARGUMENT);
  room.struct_size = 0;
  assert_int_equal(tarn_topology_room(topology, 0, &room), TARN_INVALID_ARGUMENT);
  tarn_topology_release(topology);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
