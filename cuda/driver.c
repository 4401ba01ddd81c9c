/* driver.c: finds the driver's library and its entries. */
#include "cuda/driver.h"

#include <dlfcn.h>
#include <string.h>

typedef void (*any_function)(void);

/* What either generation of cuGetProcAddress says about one name. */
typedef struct entry_finder {
  PFN_cuGetProcAddress_v12000 find;       /* drivers since 12.0 */
  PFN_cuGetProcAddress_v11030 find_older; /* since 11.3 */
} entry_finder;

/* ISO C has no cast from an object pointer to a function pointer; POSIX says the bytes are one. */
static any_function function_at(void *address) {
  any_function function = NULL;
  _Static_assert(sizeof function == sizeof address, "dlsym needs one size of pointers");
  memcpy(&function, &address, sizeof function);
  return function;
}

static tarn_status find_finder(void *library, const char *path, entry_finder *finder) {
  finder->find = (PFN_cuGetProcAddress_v12000)function_at(dlsym(library, "cuGetProcAddress_v2"));
  finder->find_older = (PFN_cuGetProcAddress_v11030)function_at(dlsym(library, "cuGetProcAddress"));
  if (finder->find != NULL || finder->find_older != NULL) return TARN_OK;
  return tarn_fail(TARN_UNAVAILABLE,
                   "%s has no cuGetProcAddress: it is older than CUDA 11.3, or no CUDA driver",
                   path);
}

static CUresult find_entry(const entry_finder *finder, const char *name, int version,
                           any_function *entry) {
  void *address = NULL;
  CUresult result;
  if (finder->find != NULL) {
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SUCCESS;
    result = finder->find(name, &address, version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found);
  } else {
    result = finder->find_older(name, &address, version, CU_GET_PROC_ADDRESS_LEGACY_STREAM);
  }
  *entry = result == CUDA_SUCCESS ? function_at(address) : NULL;
  return result;
}

static tarn_status refuse_entry(const char *path, const char *name, int version, CUresult result) {
  if (result == CUDA_ERROR_STUB_LIBRARY) {
    return tarn_fail_native(TARN_UNAVAILABLE, "cuGetProcAddress", result,
                            "%s is the toolkit's stub for linking, not a driver: no CUDA driver "
                            "is installed, or the stub hides it",
                            path);
  }
  if (result == CUDA_ERROR_NOT_INITIALIZED) {
    return tarn_fail_native(
        TARN_UNAVAILABLE, "cuGetProcAddress", result,
        "the driver in %s answers the process that started it alone: after a fork "
        "that is the parent process",
        path);
  }
  if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_FOUND) {
    return tarn_fail_native(TARN_UNAVAILABLE, "cuGetProcAddress", result,
                            "the driver in %s answers %d when it is asked for %s (ABI of CUDA "
                            "%d.%d)",
                            path, (int)result, name, version / 1000, version % 1000 / 10);
  }
  return tarn_fail_native(TARN_UNAVAILABLE, "cuGetProcAddress", result,
                          "the driver in %s lacks %s (ABI of CUDA %d.%d): it is too old", path,
                          name, version / 1000, version % 1000 / 10);
}

static tarn_status fill_table(const entry_finder *finder, const char *path, tarn__driver *driver) {
  enum { OPTIONAL, REQUIRED };
  any_function entry = NULL;
  CUresult result;
  /* A stub refuses every name, so a refusal of the first, required one is met first. */
#define FILL_ENTRY(name, version, need)                     \
  result = find_entry(finder, "cu" #name, version, &entry); \
  if (entry == NULL && (need) == REQUIRED) {                \
    return refuse_entry(path, "cu" #name, version, result); \
  }                                                         \
  driver->name = (PFN_cu##name##_v##version)entry;
  TARN__DRIVER_TABLE(FILL_ENTRY)
#undef FILL_ENTRY
  if (driver->MemcpyBatchAsync == NULL) {
    (void)find_entry(finder, "cuMemcpyBatchAsync", 12080, &entry);
    driver->MemcpyBatchAsyncOfCuda12 = (PFN_cuMemcpyBatchAsync_v12080)entry;
  }
  return TARN_OK;
}

tarn_status tarn__driver_load(const char *path, tarn__driver *driver) {
  memset(driver, 0, sizeof *driver);
  if (path == NULL) path = "libcuda.so.1";
  /* NODELETE: the driver starts threads and exit handlers that outlive any use of ours. */
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == NULL) {
    const char *reason = dlerror();
    return tarn_fail_native(TARN_UNAVAILABLE, "dlopen", 0, "no CUDA driver: %s",
                            reason != NULL ? reason : path);
  }
  entry_finder finder = {0};
  tarn_status status = find_finder(library, path, &finder);
  if (status == TARN_OK) status = fill_table(&finder, path, driver);
  if (status != TARN_OK) {
    dlclose(library);
    memset(driver, 0, sizeof *driver);
    return status;
  }
  driver->library = library;
  driver->is_simulated = dlsym(library, "cusim_is_simulated") != NULL;
  return TARN_OK;
}

void tarn__driver_unload(tarn__driver *driver) {
  if (driver->library != NULL) dlclose(driver->library);
  memset(driver, 0, sizeof *driver);
}
