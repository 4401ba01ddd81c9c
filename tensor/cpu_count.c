/* cpu_count.c: the affinity mask, and what cgroups allow. */
#include "tensor/cpu_count.h"

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* The start of a file as a string; false where there is none or the name is too long. */
static bool read_start(const char *path, char *text, size_t size_bytes) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t count = read(file, text, size_bytes - 1);
  close(file);
  if (count < 0) return false;
  text[count] = '\0';
  return true;
}

static bool read_in(const char *folder, const char *name, char *text, size_t size_bytes) {
  char path[PATH_BYTES];
  int length = snprintf(path, sizeof path, "%s/%s", folder, name);
  return length > 0 && (size_t)length < sizeof path && read_start(path, text, size_bytes);
}

/* Processors, rounded up; 0 for no limit. */
static int processors(long long quota, long long period) {
  if (quota <= 0 || period <= 0) return 0;
  long long count = (quota - 1) / period + 1;
  return count > 1 << 20 ? 1 << 20 : (int)count;
}

/* "max 100000" or "150000 100000". */
static int quota_of_version_2(const char *folder) {
  char text[64];
  char *end;
  if (!read_in(folder, "cpu.max", text, sizeof text)) return 0;
  long long quota = strtoll(text, &end, 10);
  return end == text ? 0 : processors(quota, strtoll(end, NULL, 10));
}

/* -1 for no limit. */
static int quota_of_version_1(const char *folder) {
  char quota[64], period[64];
  if (!read_in(folder, "cpu.cfs_quota_us", quota, sizeof quota) ||
      !read_in(folder, "cpu.cfs_period_us", period, sizeof period)) {
    return 0;
  }
  return processors(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

/* The least of a group and all above it. In a container the group's own path may not be visible:
 * what is visible counts. */
static int quota_of_path(const char *mount, const char *path, int (*quota_of)(const char *folder)) {
  char folder[PATH_BYTES];
  int length = snprintf(folder, sizeof folder, "%s%s", mount, path);
  if (length < 0 || (size_t)length >= sizeof folder) return 0;
  int least = 0;
  char *end = folder + length;
  for (;;) {
    *end = '\0';
    int count = quota_of(folder);
    if (count != 0 && (least == 0 || count < least)) least = count;
    if (end == folder + strlen(mount)) return least;
    do end--;
    while (*end != '/');
  }
}

static bool names_cpu(const char *controllers) {
  for (const char *at = controllers; (at = strstr(at, "cpu")) != NULL; at += 3) {
    bool starts = at == controllers || at[-1] == ',';
    if (starts && (at[3] == ',' || at[3] == '\0')) return true;
  }
  return false;
}

int tarn__cpu_count_quota(const char *root) {
  char groups[PATH_BYTES], mount[PATH_BYTES / 2];
  int least = 0;
  if (!read_in(root, "proc/self/cgroup", groups, sizeof groups)) return 0;
  char *rest = groups;
  for (char *line; (line = strsep(&rest, "\n")) != NULL;) { /* number:controllers:path */
    strsep(&line, ":");
    const char *controllers = line != NULL ? strsep(&line, ":") : NULL;
    if (line == NULL || line[0] != '/') continue;
    const char *path = line[1] == '\0' ? "" : line;
    const bool is_version_2 = controllers[0] == '\0';
    if (!is_version_2 && !names_cpu(controllers)) continue;
    int length =
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s", root, is_version_2 ? "" : "/cpu");
    if (length < 0 || (size_t)length >= sizeof mount) continue;
    int count = quota_of_path(mount, path, is_version_2 ? quota_of_version_2 : quota_of_version_1);
    if (count != 0 && (least == 0 || count < least)) least = count;
  }
  return least;
}

int tarn__cpu_count(void) {
  unsigned long mask[TARN__CPU_MASK_WORDS] = {0};
  int count = 1;
  /* The process's own mask: the calling thread may have been given a single processor. */
  if (sched_getaffinity(getpid(), sizeof mask, (cpu_set_t *)mask) == 0) {
    count = CPU_COUNT_S(sizeof mask, (const cpu_set_t *)mask);
  }
  int quota = tarn__cpu_count_quota("");
  if (quota != 0 && quota < count) count = quota;
  return count > 0 ? count : 1;
}
