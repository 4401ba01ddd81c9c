/* ort.c: a runtime's function table, its statuses and its names for memory. */
#include "alloc/adapters/ort/ort.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* --- life --- */

/* "1.32.0" is version 32 of the interface; 0 where it reads otherwise. */
static uint32_t version_in(const char *text) {
  if (text == NULL || strncmp(text, "1.", 2) != 0) return 0;
  char *end = NULL;
  const unsigned long minor = strtoul(text + 2, &end, 10);
  return end == text + 2 || minor > UINT16_MAX ? 0 : (uint32_t)minor;
}

static void take_entries(tarn_ort *ort, const ort_abi_entry *table) {
#define TAKE_ENTRY(place, since, result, name, parameters) \
  ort->calls.name = ort->version >= (since) ? (result(*) parameters)table[place] : NULL;
  ORT_ABI_CALL_TABLE(TAKE_ENTRY)
#undef TAKE_ENTRY
}

/* GetApi prints where it does not know the version, so it is asked only for one that it has. */
static tarn_status negotiate(const ort_abi_base *base, uint32_t *version,
                             const ort_abi_entry **table) {
  const char *const text = base->GetVersionString();
  const uint32_t newest = version_in(text);
  *version = newest < ORT_ABI_NEWEST ? newest : ORT_ABI_NEWEST;
  if (newest < ORT_ABI_OLDEST) {
    return tarn_fail(TARN_NOT_SUPPORTED, "ONNX Runtime %s, but 1.%d or a later 1.x is needed",
                     text ? text : "without a version", ORT_ABI_OLDEST);
  }
  *table = base->GetApi(*version);
  if (*table != NULL) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED, "ONNX Runtime %s does not have version %u of its interface",
                   text, *version);
}

tarn_status tarn_ort_open(const struct OrtApiBase *base, tarn_ort **ort) {
  if (ort == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "ort is NULL");
  *ort = NULL;
  if (base == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "base is NULL");
  uint32_t version = 0;
  const ort_abi_entry *table = NULL;
  tarn_status status = negotiate((const ort_abi_base *)(const void *)base, &version, &table);
  if (status != TARN_OK) return status;
  tarn_ort *const opened = calloc(1, sizeof *opened);
  if (opened == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a runtime's table");
  opened->version = version;
  atomic_init(&opened->reference_count, 1);
  take_entries(opened, table);
  status = tarn__ort_memory_info(opened, tarn_device_make(TARN_DEVICE_CPU, 0), 0, &opened->cpu);
  if (status != TARN_OK) {
    free(opened);
    return status;
  }
  *ort = opened;
  return TARN_OK;
}

void tarn_ort_retain(tarn_ort *ort) {
  atomic_fetch_add_explicit(&ort->reference_count, 1, memory_order_relaxed);
}

void tarn_ort_release(tarn_ort *ort) {
  if (ort == NULL) return;
  /* Acquire pairs with the release of every earlier holder: what they did is done. */
  if (atomic_fetch_sub_explicit(&ort->reference_count, 1, memory_order_acq_rel) != 1) return;
  ort->calls.ReleaseMemoryInfo(ort->cpu);
  free(ort);
}

uint32_t tarn_ort_api_version(const tarn_ort *ort) {
  return ort->version;
}

/* CreateEnv counts: where the environment is there, the arguments do nothing. */
tarn_status tarn_ort_env_acquire(tarn_ort *ort, struct OrtEnv **env) {
  if (env == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "env is NULL");
  *env = NULL;
  if (ort == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "ort is NULL");
  return tarn__ort_check(ort, ort->calls.CreateEnv(ORT_ABI_WARNINGS, "tarn", env), "CreateEnv");
}

void tarn_ort_env_release(tarn_ort *ort, struct OrtEnv *env) {
  if (env != NULL) ort->calls.ReleaseEnv(env);
}

/* --- statuses --- */

static tarn_status status_of_code(int code) {
  switch (code) {
    case ORT_ABI_INVALID_ARGUMENT:
      return TARN_INVALID_ARGUMENT;
    case ORT_ABI_NOT_IMPLEMENTED:
      return TARN_NOT_SUPPORTED;
    case ORT_ABI_NOT_FOUND:
      return TARN_NOT_FOUND;
    default:
      return TARN_SYSTEM_ERROR;
  }
}

tarn_status tarn__ort_check(const tarn_ort *ort, struct OrtStatus *refusal, const char *call) {
  if (refusal == NULL) return TARN_OK;
  const int code = ort->calls.GetErrorCode(refusal);
  const tarn_status status =
      tarn_fail_native(status_of_code(code), call, code, "ONNX Runtime refused: %s",
                       ort->calls.GetErrorMessage(refusal));
  ort->calls.ReleaseStatus(refusal);
  return status;
}

static int code_of_status(tarn_status status) {
  if (status == TARN_INVALID_ARGUMENT) return ORT_ABI_INVALID_ARGUMENT;
  if (status == TARN_NOT_SUPPORTED) return ORT_ABI_NOT_IMPLEMENTED;
  return ORT_ABI_FAIL;
}

struct OrtStatus *tarn__ort_refuse(const tarn_ort *ort, tarn_status status) {
  if (status == TARN_OK) return NULL;
  return ort->calls.CreateStatus(code_of_status(status), tarn_last_error()->message);
}

/* --- memory --- */

/* The runtime's own names, which decide what kind of device an OrtMemoryInfo means. */
static const char cpu_name[] = "Cpu";
static const char cuda_name[] = "Cuda";
static const char pinned_name[] = "CudaPinned";

tarn_status tarn__ort_memory_info(const tarn_ort *ort, tarn_device device, uint32_t flags,
                                  struct OrtMemoryInfo **info) {
  const char *name = NULL;
  int mem_type = ORT_ABI_MEM_DEFAULT;
  int index = 0;
  if (device.type == TARN_DEVICE_CPU ||
      ((flags & TARN_ORT_AS_CPU) != 0 && tarn_device_is_host(device))) {
    name = cpu_name;
  } else if (device.type == TARN_DEVICE_CUDA_HOST) {
    name = pinned_name;
    mem_type = ORT_ABI_MEM_CPU_OUTPUT;
  } else if (device.type == TARN_DEVICE_CUDA || device.type == TARN_DEVICE_CUDA_MANAGED) {
    name = cuda_name;
    index = device.index;
  } else {
    return tarn_fail(TARN_NOT_SUPPORTED, "ONNX Runtime has no name for memory of device {%d, %d}",
                     device.type, device.index);
  }
  if ((flags & TARN_ORT_AS_CPU) != 0 && name != cpu_name) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "the CPU does not reach memory of device {%d, %d}",
                     device.type, device.index);
  }
  struct OrtStatus *const refusal =
      ort->calls.CreateMemoryInfo(name, ORT_ABI_DEVICE_ALLOCATOR, index, mem_type, info);
  return tarn__ort_check(ort, refusal, "CreateMemoryInfo");
}

/* Of a GPU's memory under a name that some provider chose. */
static tarn_status device_of_gpu(const tarn_ort *ort, const struct OrtMemoryInfo *info,
                                 const char *name, int index, tarn_device *device) {
  if (ort->version < ORT_ABI_STREAMS ||
      ort->calls.MemoryInfoGetVendorId(info) != ORT_ABI_VENDOR_NVIDIA) {
    return tarn_fail(TARN_NOT_SUPPORTED, "no device of tarn's is what ONNX Runtime calls %s", name);
  }
  const bool is_pinned = ort->calls.MemoryInfoGetDeviceMemType(info) == ORT_ABI_HOST_ACCESSIBLE;
  *device = is_pinned ? tarn_device_make(TARN_DEVICE_CUDA_HOST, 0)
                      : tarn_device_make(TARN_DEVICE_CUDA, index);
  return TARN_OK;
}

tarn_status tarn__ort_device_of(const tarn_ort *ort, const struct OrtMemoryInfo *info,
                                tarn_device *device) {
  const char *name = NULL;
  int index = 0;
  int type = ORT_ABI_CPU;
  tarn_status status =
      tarn__ort_check(ort, ort->calls.MemoryInfoGetName(info, &name), "MemoryInfoGetName");
  if (status == TARN_OK) {
    status = tarn__ort_check(ort, ort->calls.MemoryInfoGetId(info, &index), "MemoryInfoGetId");
  }
  if (status != TARN_OK) return status;
  ort->calls.MemoryInfoGetDeviceType(info, &type);
  if (strcmp(name, pinned_name) == 0) {
    *device = tarn_device_make(TARN_DEVICE_CUDA_HOST, 0);
  } else if (strcmp(name, cuda_name) == 0) {
    *device = tarn_device_make(TARN_DEVICE_CUDA, index);
  } else if (type == ORT_ABI_CPU) {
    *device = tarn_device_make(TARN_DEVICE_CPU, 0);
  } else if (type == ORT_ABI_GPU) {
    return device_of_gpu(ort, info, name, index, device);
  } else {
    return tarn_fail(TARN_NOT_SUPPORTED, "no device of tarn's is what ONNX Runtime calls %s", name);
  }
  return TARN_OK;
}
