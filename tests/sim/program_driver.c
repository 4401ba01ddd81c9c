/* program_driver.c: events and contexts of the driver itself, looked up by name. */
#include "tests/sim/program_driver.h"

#include <dlfcn.h>
#include <string.h>

static const unsigned EVENT_DISABLE_TIMING = 2; /* CU_EVENT_DISABLE_TIMING */

static bool find(const char *name, void *function) {
  void *address = dlsym(RTLD_DEFAULT, name);
  memcpy(function, &address, sizeof address); /* POSIX's way from object to function pointer */
  return address != NULL;
}

tarn_status driver_status_of(int error) {
  static const struct {
    int error;
    tarn_status status;
  } told[] = {{0, TARN_OK},
              {2, TARN_OUT_OF_MEMORY},
              {304, TARN_UNAVAILABLE}, /* the operating system's call failed */
              {801, TARN_NOT_SUPPORTED}};
  for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
    if (told[i].error == error) return told[i].status;
  }
  return TARN_DEVICE_ERROR;
}

static tarn_status told(const char *call, int result) {
  if (result == 0) return TARN_OK;
  return tarn_fail_native(driver_status_of(result), call, result, "%s: %d", call, result);
}

tarn_status driver_calls_open(tarn_cuda *cuda, driver_calls *driver) {
  memset(driver, 0, sizeof *driver);
  if (!tarn_cuda_is_simulated(cuda)) {
    return tarn_fail(TARN_UNAVAILABLE, "the driver is not the simulated one");
  }
  if (!find("cuDevicePrimaryCtxRetain", &driver->context_retain) ||
      !find("cuDevicePrimaryCtxRelease_v2", &driver->context_release) ||
      !find("cuCtxSetCurrent", &driver->context_set) ||
      !find("cuCtxSynchronize", &driver->context_synchronize) ||
      !find("cuEventCreate", &driver->event_create) ||
      !find("cuEventDestroy_v2", &driver->event_destroy) ||
      !find("cuEventRecord", &driver->event_record) ||
      !find("cuStreamWaitEvent", &driver->stream_wait_event)) {
    return tarn_fail(TARN_UNAVAILABLE, "a call is missing: %s", dlerror());
  }
  tarn_status status =
      told("cuDevicePrimaryCtxRetain", driver->context_retain(&driver->context, driver->device));
  if (status != TARN_OK) return status;
  return told("cuCtxSetCurrent", driver->context_set(driver->context));
}

void driver_calls_close(driver_calls *driver) {
  if (driver->context == NULL) return;
  driver->context_set(NULL);
  driver->context_release(driver->device);
  driver->context = NULL;
}

tarn_status driver_order(const driver_calls *driver, tarn_stream *earlier, tarn_stream *later) {
  void *from = NULL;
  void *to = NULL;
  void *event = NULL;
  tarn_status status = tarn_cuda_stream_native(earlier, &from);
  if (status == TARN_OK) status = tarn_cuda_stream_native(later, &to);
  if (status == TARN_OK) {
    status = told("cuEventCreate", driver->event_create(&event, EVENT_DISABLE_TIMING));
  }
  if (status != TARN_OK) return status;
  status = told("cuEventRecord", driver->event_record(event, from));
  if (status == TARN_OK) {
    status = told("cuStreamWaitEvent", driver->stream_wait_event(to, event, 0));
  }
  /* The wait goes on without the event. Where destroying is failed on purpose, it leaks. */
  const int destroyed = driver->event_destroy(event);
  return status != TARN_OK ? status : told("cuEventDestroy", destroyed);
}

tarn_status driver_synchronize(const driver_calls *driver) {
  return told("cuCtxSynchronize", driver->context_synchronize());
}
