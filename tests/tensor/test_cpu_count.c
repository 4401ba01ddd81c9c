/* test_cpu_count.c: quotas of both versions of cgroups, from files that say what a kernel would. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor/cpu_count.h"

typedef struct machine {
  char root[64];
} machine;

/* Writes a file and the folders above it. */
static void put(const machine *self, const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", self->root, name);
  for (char *at = path + strlen(self->root) + 1; (at = strchr(at, '/')) != NULL; at++) {
    *at = '\0';
    mkdir(path, 0700);
    *at = '/';
  }
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

static int boot(void **state) {
  static machine made;
  snprintf(made.root, sizeof made.root, "/tmp/tarn_cpu_count_XXXXXX");
  *state = &made;
  return mkdtemp(made.root) == NULL ? -1 : 0;
}

static int shut_down(void **state) {
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", ((machine *)*state)->root);
  return system(command); /* NOLINT: a name of ours */
}

TEST(process_has_a_processor) {
  assert_in_range(tarn__cpu_count(), 1, sysconf(_SC_NPROCESSORS_CONF));
}

TEST_WITH(machine_without_cgroups_has_no_quota, boot, shut_down) {
  assert_int_equal(tarn__cpu_count_quota(((machine *)*state)->root), 0);
}

TEST_WITH(quota_is_rounded_up, boot, shut_down) {
  const machine *self = *state;
  put(self, "proc/self/cgroup", "0::/box\n");
  put(self, "sys/fs/cgroup/box/cpu.max", "150000 100000\n");
  assert_int_equal(tarn__cpu_count_quota(self->root), 2);
  put(self, "sys/fs/cgroup/box/cpu.max", "200000 100000\n");
  assert_int_equal(tarn__cpu_count_quota(self->root), 2);
  put(self, "sys/fs/cgroup/box/cpu.max", "1000 100000\n");
  assert_int_equal(tarn__cpu_count_quota(self->root), 1);
}

TEST_WITH(least_quota_above_a_group_counts, boot, shut_down) {
  const machine *self = *state;
  put(self, "proc/self/cgroup", "0::/slice/box/inner\n");
  put(self, "sys/fs/cgroup/slice/box/inner/cpu.max", "max 100000\n");
  put(self, "sys/fs/cgroup/slice/box/cpu.max", "800000 100000\n");
  put(self, "sys/fs/cgroup/slice/cpu.max", "300000 100000\n");
  assert_int_equal(tarn__cpu_count_quota(self->root), 3);
}

TEST_WITH(group_that_is_not_visible_falls_back_on_the_root, boot, shut_down) {
  const machine *self = *state;
  put(self, "proc/self/cgroup", "0::/somewhere/outside\n");
  put(self, "sys/fs/cgroup/cpu.max", "400000 100000\n");
  assert_int_equal(tarn__cpu_count_quota(self->root), 4);
}

TEST_WITH(first_version_is_understood, boot, shut_down) {
  const machine *self = *state;
  put(self, "proc/self/cgroup", "7:cpuset:/\n3:cpu,cpuacct:/box\n1:name=systemd:/\n");
  put(self, "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "250000\n");
  put(self, "sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  put(self, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  put(self, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  assert_int_equal(tarn__cpu_count_quota(self->root), 3);
}

TEST_WITH(other_controllers_are_not_taken_for_the_cpu, boot, shut_down) {
  const machine *self = *state;
  put(self, "proc/self/cgroup", "7:cpuset:/box\n2:cpuacct:/box\n");
  put(self, "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "100000\n");
  put(self, "sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  assert_int_equal(tarn__cpu_count_quota(self->root), 0);
}

TEST_WITH(nonsense_is_no_quota, boot, shut_down) {
  const machine *self = *state;
  const char *texts[] = {"", "::", "0", "0:", "0::", "0::box", "\n\n:\n", "x:cpu:\n"};
  put(self, "sys/fs/cgroup/cpu.max", "what\n");
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    put(self, "proc/self/cgroup", texts[i]);
    assert_int_equal(tarn__cpu_count_quota(self->root), 0);
  }
  const char *quotas[] = {"", "0 0", "100000", "-5 100000", "100000 -1", "max"};
  put(self, "proc/self/cgroup", "0::/\n");
  for (size_t i = 0; i < COUNT_OF(quotas); i++) {
    put(self, "sys/fs/cgroup/cpu.max", quotas[i]);
    assert_int_equal(tarn__cpu_count_quota(self->root), 0);
  }
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
