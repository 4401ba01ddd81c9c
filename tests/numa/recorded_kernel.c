/* recorded_kernel.c: what the linker puts in the place of numa/kernel.c. */
#include "tests/numa/recorded_kernel.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

recorded_kernel recorded;

static bool is_recording;
static struct {
  const char *path;
  const char *text;
} files[RECORDED_FILES_MAX];
static char zoneinfo[4096];

int recorded_start(void **state) {
  (void)state;
  is_recording = true;
  recorded = (recorded_kernel){0};
  memset(files, 0, sizeof files);
  return 0;
}

int recorded_stop(void **state) {
  (void)state;
  is_recording = false;
  return 0;
}

void recorded_set_file(const char *path, const char *text) {
  int i = 0;
  while (files[i].path != NULL && strcmp(files[i].path, path) != 0) ++i;
  files[i].path = path;
  files[i].text = text;
}

void recorded_set_room(int count, const size_t *free_bytes) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  size_t length = 0;
  for (int i = 0; i < count; ++i) {
    length += (size_t)snprintf(zoneinfo + length, sizeof zoneinfo - length,
                               "Node %d, zone   Normal\n  pages free     %zu\n        high     0\n",
                               i, free_bytes[i] / page_bytes);
  }
  recorded_set_file("/proc/zoneinfo", zoneinfo);
}

bool __real_tarn__kernel_is_here(bool is_loaded_from_here);
bool __wrap_tarn__kernel_is_here(bool is_loaded_from_here);
bool __wrap_tarn__kernel_is_here(bool is_loaded_from_here) {
  return is_recording || __real_tarn__kernel_is_here(is_loaded_from_here);
}

static void forget_binds_in(uintptr_t address, size_t size_bytes) {
  int kept = 0;
  for (int i = 0; i < recorded.bind_count; ++i) {
    const recorded_bind *bind = &recorded.binds[i];
    if (bind->address >= address && bind->address < address + size_bytes) continue;
    recorded.binds[kept++] = *bind;
  }
  recorded.bind_count = kept;
}

int __real_tarn__kernel_bind(void *address, size_t size_bytes, int policy,
                             const tarn__node_set *nodes, unsigned flags);
int __wrap_tarn__kernel_bind(void *address, size_t size_bytes, int policy,
                             const tarn__node_set *nodes, unsigned flags);
int __wrap_tarn__kernel_bind(void *address, size_t size_bytes, int policy,
                             const tarn__node_set *nodes, unsigned flags) {
  if (!is_recording) return __real_tarn__kernel_bind(address, size_bytes, policy, nodes, flags);
  if (policy == MPOL_DEFAULT) {
    forget_binds_in((uintptr_t)address, size_bytes);
    return 0;
  }
  if (policy == MPOL_PREFERRED_MANY && recorded.preferred_many_errno != 0) {
    return recorded.preferred_many_errno;
  }
  if (recorded.bind_errno != 0 && recorded.bind_count >= recorded.bind_errno_after) {
    return recorded.bind_errno;
  }
  if (recorded.bind_count == RECORDED_BINDS_MAX) return ENOMEM;
  forget_binds_in((uintptr_t)address, size_bytes);
  recorded.binds[recorded.bind_count++] = (recorded_bind){.address = (uintptr_t)address,
                                                          .size_bytes = size_bytes,
                                                          .policy = policy,
                                                          .nodes = *nodes,
                                                          .home = -1,
                                                          .flags = flags};
  return 0;
}

int __real_tarn__kernel_set_home(void *address, size_t size_bytes, int32_t node);
int __wrap_tarn__kernel_set_home(void *address, size_t size_bytes, int32_t node);
int __wrap_tarn__kernel_set_home(void *address, size_t size_bytes, int32_t node) {
  if (!is_recording) return __real_tarn__kernel_set_home(address, size_bytes, node);
  if (recorded.home_errno != 0) return recorded.home_errno;
  recorded_bind *bind = &recorded.binds[recorded.bind_count - 1];
  const bool has_a_home = recorded.bind_count > 0 && bind->address == (uintptr_t)address &&
                          bind->size_bytes == size_bytes &&
                          (bind->policy == MPOL_BIND || bind->policy == MPOL_PREFERRED_MANY);
  if (!has_a_home) return EOPNOTSUPP;
  bind->home = node;
  return 0;
}

bool __real_tarn__kernel_homes_huge_pages(void);
bool __wrap_tarn__kernel_homes_huge_pages(void);
bool __wrap_tarn__kernel_homes_huge_pages(void) {
  return is_recording ? !recorded.is_before_6_7 : __real_tarn__kernel_homes_huge_pages();
}

int __real_tarn__kernel_nodes_of(size_t count, void **pages, int *nodes);
int __wrap_tarn__kernel_nodes_of(size_t count, void **pages, int *nodes);
int __wrap_tarn__kernel_nodes_of(size_t count, void **pages, int *nodes) {
  if (!is_recording) return __real_tarn__kernel_nodes_of(count, pages, nodes);
  for (size_t i = 0; i < count; ++i) nodes[i] = recorded.page_nodes[i % 8];
  return recorded.nodes_of_errno;
}

int __real_tarn__kernel_cpu_here(void);
int __wrap_tarn__kernel_cpu_here(void);
int __wrap_tarn__kernel_cpu_here(void) {
  return is_recording ? recorded.cpu : __real_tarn__kernel_cpu_here();
}

FILE *__real_tarn__kernel_open(const char *path);
FILE *__wrap_tarn__kernel_open(const char *path);
FILE *__wrap_tarn__kernel_open(const char *path) {
  if (!is_recording) return __real_tarn__kernel_open(path);
  for (int i = 0; i < RECORDED_FILES_MAX && files[i].path != NULL; ++i) {
    if (strcmp(files[i].path, path) != 0 || files[i].text == NULL) continue;
    return fmemopen((void *)(uintptr_t)files[i].text, strlen(files[i].text), "r");
  }
  return NULL;
}
