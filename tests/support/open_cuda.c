/* open_cuda.c: picks the CUDA driver that a test runs on. */
#include "tests/support/open_cuda.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tarn_status open_path(const char *path, tarn_cuda **cuda) {
  const tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = path};
  return tarn_cuda_open(&options, cuda);
}

/* <folder of the program>/../sim/libcuda.so.1 */
static tarn_status open_simulated(tarn_cuda **cuda) {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 32);
  if (length <= 0) return tarn_fail(TARN_UNAVAILABLE, "/proc/self/exe cannot be read");
  path[length] = '\0';
  char *name = strrchr(path, '/');
  if (name == NULL) return tarn_fail(TARN_UNAVAILABLE, "%s has no folder", path);
  strcpy(name, "/../sim/libcuda.so.1");
  return open_path(path, cuda);
}

tarn_status test_open_cuda(tarn_cuda **cuda) {
  setenv("CUSIM_RACES", "abort", /*overwrite=*/0); /* a race ends the program, and tells why */
  const char *chosen = getenv("TARN_TEST_DRIVER");
  if (chosen != NULL) return open_path(chosen, cuda);
  const tarn_status status = open_path(NULL, cuda);
  if (status == TARN_OK && tarn_cuda_device_count(*cuda) > 0) return TARN_OK;
  if (status == TARN_OK) tarn_cuda_release(*cuda);
  *cuda = NULL;
  if (status == TARN_NOT_SUPPORTED) return status;
  return open_simulated(cuda);
}
