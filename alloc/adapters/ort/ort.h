/* ort.h: what the files of this adapter know of each other. */
#ifndef ALLOC_ADAPTERS_ORT_H
#define ALLOC_ADAPTERS_ORT_H

#include "alloc/adapters/ort/ort_abi.h"
#include "alloc/adapters/ort/tarn_ort.h"

struct tarn_ort {
  ort_abi_calls calls;
  uint32_t version;
  _Atomic(size_t) reference_count;
  struct OrtMemoryInfo *cpu; /* "Cpu", which most values lie in */
};

/* Turns the runtime's refusal into tarn's and gives `refusal` back to the runtime; TARN_OK for
 * NULL. `call` is a literal. */
tarn_status tarn__ort_check(const tarn_ort *ort, struct OrtStatus *refusal, const char *call);

/* The other way: an OrtStatus with the thread's last error; NULL for TARN_OK. */
struct OrtStatus *tarn__ort_refuse(const tarn_ort *ort, tarn_status status);

/* What the runtime calls memory of `device`; *info is the runtime's to release with
 * ReleaseMemoryInfo. */
tarn_status tarn__ort_memory_info(const tarn_ort *ort, tarn_device device, uint32_t flags,
                                  struct OrtMemoryInfo **info);
/* The reverse. */
tarn_status tarn__ort_device_of(const tarn_ort *ort, const struct OrtMemoryInfo *info,
                                tarn_device *device);

#endif
