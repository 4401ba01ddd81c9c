/* lying_driver.c: the simulated driver, whose copies of 64 KiB leave out the last byte: what is
 * timed with it must not be believed. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LYING __attribute__((visibility("default")))

enum { LIE_BYTES = 64 << 10 };

LYING int cusim_is_simulated(void);
LYING int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags);
LYING int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                              int *reason);

static int (*true_copy)(uint64_t dst, uint64_t src, size_t size_bytes, void *stream);

static int lying_copy(uint64_t dst, uint64_t src, size_t size_bytes, void *stream) {
  return true_copy(dst, src, size_bytes == LIE_BYTES ? size_bytes - 1 : size_bytes, stream);
}

static void *find_true(const char *name) {
  void *sim = dlopen(SIM_DRIVER, RTLD_NOW | RTLD_LOCAL);
  return sim == NULL ? NULL : dlsym(sim, name);
}

/* Puts the lie in the true entry's place. */
static void replace(const char *name, void **function) {
  int (*lie)(uint64_t, uint64_t, size_t, void *) = lying_copy;
  if (strcmp(name, "cuMemcpyAsync") != 0 || *function == NULL) return;
  memcpy(&true_copy, function, sizeof true_copy);
  memcpy(function, &lie, sizeof lie);
}

int cusim_is_simulated(void) {
  return 1;
}

int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
  int (*find)(const char *, void **, int, uint64_t) = NULL;
  void *address = find_true("cuGetProcAddress");
  if (address == NULL) return 999;
  memcpy(&find, &address, sizeof find);
  const int code = find(name, function, version, flags);
  if (code == 0) replace(name, function);
  return code;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                        int *reason) {
  int (*find)(const char *, void **, int, uint64_t, int *) = NULL;
  void *address = find_true("cuGetProcAddress_v2");
  if (address == NULL) return 999;
  memcpy(&find, &address, sizeof find);
  const int code = find(name, function, version, flags, reason);
  if (code == 0) replace(name, function);
  return code;
}
