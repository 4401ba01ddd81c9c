/* fake_nvml.c: an NVML whose answers come from the environment, for tests of the link's state. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FAKE __attribute__((visibility("default")))

/* NVML_ERROR_NOT_SUPPORTED where the environment says nothing. */
static int answer(const char *name, unsigned *value) {
  const char *text = getenv(name);
  if (text == NULL) return 3;
  *value = (unsigned)strtoul(text, NULL, 0);
  return 0;
}

static int device;

FAKE int nvmlInit_v2(void);
FAKE int nvmlShutdown(void);
FAKE int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **found);
FAKE int nvmlSystemGetDriverVersion(char *text, unsigned bytes);
FAKE int nvmlDeviceGetClockInfo(void *handle, int clock, unsigned *mhz);
FAKE int nvmlDeviceGetMaxClockInfo(void *handle, int clock, unsigned *mhz);
FAKE int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, uint64_t *reasons);
FAKE int nvmlDeviceGetCurrPcieLinkGeneration(void *handle, unsigned *value);
FAKE int nvmlDeviceGetMaxPcieLinkGeneration(void *handle, unsigned *value);
FAKE int nvmlDeviceGetCurrPcieLinkWidth(void *handle, unsigned *value);
FAKE int nvmlDeviceGetMaxPcieLinkWidth(void *handle, unsigned *value);
FAKE int nvmlDeviceGetEccMode(void *handle, int *now, int *pending);
FAKE int nvmlDeviceGetPersistenceMode(void *handle, int *mode);

int nvmlInit_v2(void) {
  return 0;
}

int nvmlShutdown(void) {
  return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **found) {
  *found = &device;
  return getenv("FAKE_NVML_NO_DEVICE") == NULL && id[0] != '\0' ? 0 : 6;
}

int nvmlSystemGetDriverVersion(char *text, unsigned bytes) {
  snprintf(text, bytes, "580.00.fake");
  return 0;
}

int nvmlDeviceGetClockInfo(void *handle, int clock, unsigned *mhz) {
  (void)handle;
  *mhz = clock == 2 ? 3201 : 1980;
  return 0;
}

int nvmlDeviceGetMaxClockInfo(void *handle, int clock, unsigned *mhz) {
  return nvmlDeviceGetClockInfo(handle, clock, mhz);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, uint64_t *reasons) {
  unsigned value = 0;
  (void)handle;
  const int code = answer("FAKE_NVML_THROTTLE", &value);
  *reasons = value;
  return code;
}

int nvmlDeviceGetCurrPcieLinkGeneration(void *handle, unsigned *value) {
  (void)handle;
  return answer("FAKE_NVML_GENERATION", value);
}

int nvmlDeviceGetMaxPcieLinkGeneration(void *handle, unsigned *value) {
  (void)handle;
  return answer("FAKE_NVML_GENERATION_MAX", value);
}

int nvmlDeviceGetCurrPcieLinkWidth(void *handle, unsigned *value) {
  (void)handle;
  return answer("FAKE_NVML_WIDTH", value);
}

int nvmlDeviceGetMaxPcieLinkWidth(void *handle, unsigned *value) {
  (void)handle;
  return answer("FAKE_NVML_WIDTH_MAX", value);
}

int nvmlDeviceGetEccMode(void *handle, int *now, int *pending) {
  (void)handle;
  *now = *pending = 1;
  return 0;
}

int nvmlDeviceGetPersistenceMode(void *handle, int *mode) {
  (void)handle;
  *mode = 0;
  return 0;
}
