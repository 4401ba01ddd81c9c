/* old_driver.c: a driver as it was before CUDA 12: finds entries without saying why not, and none
 * of CUDA 13. */
#include <cuda.h>

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#undef cuGetProcAddress

CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags);

CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags) {
  if (version >= 13000) return CUDA_ERROR_NOT_FOUND;
  CUresult (*find)(const char *, void **, int, cuuint64_t) = NULL;
  void *sim = dlopen(SIM_DRIVER, RTLD_NOW | RTLD_LOCAL);
  if (sim == NULL) return CUDA_ERROR_UNKNOWN;
  void *address = dlsym(sim, "cuGetProcAddress");
  memcpy(&find, &address, sizeof find);
  const CUresult result = find(name, function, version, flags);
  dlclose(sim);
  return result;
}
