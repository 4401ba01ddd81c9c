/* ort_stand_in.h: a runtime that is only as much of ONNX Runtime as tarn calls: values without
 * models, an environment with one place, and failures where a test wants them. */
#ifndef TESTS_ORT_STAND_IN_H
#define TESTS_ORT_STAND_IN_H

#include <stdbool.h>

#include "alloc/adapters/ort/ort_abi.h"
#include "alloc/adapters/ort/tarn_ort.h"

struct OrtStatus {
  int code;
  char message[512];
};
struct OrtMemoryInfo {
  char name[32];
  int index;
  int mem_type;
  int device_type;
  uint32_t vendor;
  int device_mem_type;
};
struct OrtValue {
  void *data;
  struct OrtMemoryInfo info;
  int64_t shape[16];
  size_t rank;
  int type;
  bool is_tensor;
  struct OrtAllocator *deleter;
};
struct OrtEnv {
  struct OrtAllocator *allocator;
};
struct OrtSyncStream {
  void *handle;
};
struct OrtKeyValuePairs {
  int count;
  char keys[16][32];
  char values[16][64];
};

typedef struct ort_stand_in {
  const char *version;    /* what GetVersionString answers */
  int fail_in;            /* the n-th call from now that can fail does; 0: none */
  bool deletes_and_fails; /* making an owning value fails after its data was given back */
  int live_objects;       /* that only tarn or the test can give back */
  uint32_t asked_version;
  struct OrtEnv env;
} ort_stand_in;

extern ort_stand_in stand_in;

/* Forgets everything; the version is "1.99.0". */
void stand_in_begin(void);
const struct OrtApiBase *stand_in_base(void);
/* A value as the runtime might have made it; on `info`'s memory. */
struct OrtValue *stand_in_value(int type, size_t rank, const int64_t *shape, void *data,
                                const char *name);
/* What the runtime's ReleaseValue does; NULL does nothing. */
void stand_in_release(struct OrtValue *value);

#endif
