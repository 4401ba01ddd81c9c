/* ort_stand_in.c: the function table of the stand-in. */
#include "tests/adapters/ort/ort_stand_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ort_stand_in stand_in;

/* By a function that test_faults.c does not make fail: what fails is tarn. */
static void *made(size_t size_bytes) {
  void *const object = aligned_alloc(64, (size_bytes + 63) / 64 * 64);
  if (object == NULL) abort();
  memset(object, 0, size_bytes);
  stand_in.live_objects++;
  return object;
}

static void gone(void *object) {
  if (object != NULL) stand_in.live_objects--;
  free(object);
}

static struct OrtStatus *CreateStatus(int code, const char *message) {
  struct OrtStatus *const status = made(sizeof *status);
  status->code = code;
  (void)snprintf(status->message, sizeof status->message, "%s", message);
  return status;
}

/* What a call that can fail answers. */
static struct OrtStatus *answer(void) {
  if (stand_in.fail_in == 0 || --stand_in.fail_in > 0) return NULL;
  return CreateStatus(ORT_ABI_FAIL, "as the test wanted");
}

static int GetErrorCode(const struct OrtStatus *status) {
  return status->code;
}
static const char *GetErrorMessage(const struct OrtStatus *status) {
  return status->message;
}
static void ReleaseStatus(struct OrtStatus *status) {
  gone(status);
}

static struct OrtStatus *CreateEnv(int severity, const char *name, struct OrtEnv **env) {
  (void)severity;
  (void)name;
  struct OrtStatus *const refusal = answer();
  if (refusal != NULL) return refusal;
  stand_in.live_objects++;
  *env = &stand_in.env;
  return NULL;
}
static void ReleaseEnv(struct OrtEnv *env) {
  (void)env;
  stand_in.live_objects--;
}

static struct OrtValue *make_value(const struct OrtMemoryInfo *info, void *data,
                                   const int64_t *shape, size_t rank, int type) {
  struct OrtValue *const value = made(sizeof *value);
  value->data = data;
  value->info = *info;
  value->rank = rank;
  if (rank > 0) memcpy(value->shape, shape, rank * sizeof *shape);
  value->type = type;
  value->is_tensor = true;
  return value;
}

static struct OrtStatus *CreateTensorWithDataAsOrtValue(const struct OrtMemoryInfo *info,
                                                        void *data, size_t size_bytes,
                                                        const int64_t *shape, size_t rank, int type,
                                                        struct OrtValue **value) {
  (void)size_bytes;
  struct OrtStatus *const refusal = answer();
  if (refusal == NULL) *value = make_value(info, data, shape, rank, type);
  return refusal;
}

static const ort_abi_allocator *members_of(const struct OrtAllocator *allocator) {
  return (const void *)allocator;
}

static struct OrtStatus *CreateTensorWithDataAndDeleterAsOrtValue(struct OrtAllocator *deleter,
                                                                  void *data, size_t size_bytes,
                                                                  const int64_t *shape, size_t rank,
                                                                  int type,
                                                                  struct OrtValue **value) {
  (void)size_bytes;
  struct OrtStatus *const refusal = answer();
  if (refusal != NULL) {
    if (stand_in.deletes_and_fails) members_of(deleter)->Free(deleter, data);
    return refusal;
  }
  *value = make_value(members_of(deleter)->Info(deleter), data, shape, rank, type);
  (*value)->deleter = deleter;
  return NULL;
}

static void ReleaseValue(struct OrtValue *value) {
  if (value == NULL) return;
  struct OrtAllocator *const deleter = value->deleter;
  if (deleter != NULL) members_of(deleter)->Free(deleter, value->data);
  gone(value);
}

static struct OrtStatus *IsTensor(const struct OrtValue *value, int *is_tensor) {
  *is_tensor = value->is_tensor;
  return answer();
}
static struct OrtStatus *GetTensorMutableData(struct OrtValue *value, void **data) {
  *data = value->data;
  return answer();
}

/* A copy of the value stands for its type and shape. */
static struct OrtStatus *GetTensorTypeAndShape(const struct OrtValue *value,
                                               struct OrtTensorTypeAndShapeInfo **info) {
  struct OrtStatus *const refusal = answer();
  if (refusal != NULL) return refusal;
  struct OrtValue *const copy = made(sizeof *copy);
  *copy = *value;
  *info = (void *)copy;
  return NULL;
}
static const struct OrtValue *copy_in(const struct OrtTensorTypeAndShapeInfo *info) {
  return (const void *)info;
}
static struct OrtStatus *GetTensorElementType(const struct OrtTensorTypeAndShapeInfo *info,
                                              int *type) {
  *type = copy_in(info)->type;
  return answer();
}
static struct OrtStatus *GetDimensionsCount(const struct OrtTensorTypeAndShapeInfo *info,
                                            size_t *rank) {
  *rank = copy_in(info)->rank;
  return answer();
}
static struct OrtStatus *GetDimensions(const struct OrtTensorTypeAndShapeInfo *info, int64_t *shape,
                                       size_t rank) {
  memcpy(shape, copy_in(info)->shape, rank * sizeof *shape);
  return answer();
}
static void ReleaseTensorTypeAndShapeInfo(struct OrtTensorTypeAndShapeInfo *info) {
  gone(info);
}

static void describe(struct OrtMemoryInfo *info, const char *name, int index, int mem_type) {
  (void)snprintf(info->name, sizeof info->name, "%s", name);
  info->index = index;
  info->mem_type = mem_type;
  const bool is_nvidias = strncmp(name, "Cu", 2) == 0;
  info->device_type = strcmp(name, "Cpu") == 0 ? ORT_ABI_CPU : ORT_ABI_GPU;
  info->vendor = is_nvidias ? ORT_ABI_VENDOR_NVIDIA : 0;
}
static struct OrtStatus *CreateMemoryInfo(const char *name, int allocator_type, int index,
                                          int mem_type, struct OrtMemoryInfo **info) {
  (void)allocator_type;
  struct OrtStatus *const refusal = answer();
  if (refusal != NULL) return refusal;
  *info = made(sizeof **info);
  describe(*info, name, index, mem_type);
  return NULL;
}
static struct OrtStatus *MemoryInfoGetName(const struct OrtMemoryInfo *info, const char **name) {
  *name = info->name;
  return answer();
}
static struct OrtStatus *MemoryInfoGetId(const struct OrtMemoryInfo *info, int *index) {
  *index = info->index;
  return answer();
}
static void ReleaseMemoryInfo(struct OrtMemoryInfo *info) {
  gone(info);
}
static struct OrtStatus *GetTensorMemoryInfo(const struct OrtValue *value,
                                             const struct OrtMemoryInfo **info) {
  *info = &value->info;
  return answer();
}
static void MemoryInfoGetDeviceType(const struct OrtMemoryInfo *info, int *type) {
  *type = info->device_type;
}
static int MemoryInfoGetDeviceMemType(const struct OrtMemoryInfo *info) {
  return info->device_mem_type;
}
static uint32_t MemoryInfoGetVendorId(const struct OrtMemoryInfo *info) {
  return info->vendor;
}

static struct OrtStatus *RegisterAllocator(struct OrtEnv *env, struct OrtAllocator *allocator) {
  struct OrtStatus *const refusal = answer();
  if (refusal == NULL) env->allocator = allocator;
  return refusal;
}
static struct OrtStatus *UnregisterAllocator(struct OrtEnv *env, const struct OrtMemoryInfo *info) {
  (void)info;
  if (env->allocator == NULL) return CreateStatus(ORT_ABI_INVALID_ARGUMENT, "nothing registered");
  env->allocator = NULL;
  return NULL;
}

static void CreateKeyValuePairs(struct OrtKeyValuePairs **pairs) {
  *pairs = made(sizeof **pairs);
}
static void AddKeyValuePair(struct OrtKeyValuePairs *pairs, const char *key, const char *value) {
  (void)snprintf(pairs->keys[pairs->count], sizeof pairs->keys[0], "%s", key);
  (void)snprintf(pairs->values[pairs->count++], sizeof pairs->values[0], "%s", value);
}
static void *SyncStream_GetHandle(struct OrtSyncStream *stream) {
  return stream->handle;
}

static const ort_abi_entry *GetApi(uint32_t version) {
  static ort_abi_entry table[400];
  stand_in.asked_version = version;
#define ENTER(place, since, result, name, parameters) table[place] = (ort_abi_entry)name;
  ORT_ABI_CALL_TABLE(ENTER)
#undef ENTER
  return table;
}
static const char *GetVersionString(void) {
  return stand_in.version;
}

void stand_in_begin(void) {
  stand_in = (ort_stand_in){.version = "1.99.0"};
}

const struct OrtApiBase *stand_in_base(void) {
  static const ort_abi_base base = {GetApi, GetVersionString};
  return (const void *)&base;
}

struct OrtValue *stand_in_value(int type, size_t rank, const int64_t *shape, void *data,
                                const char *name) {
  struct OrtMemoryInfo info = {.index = 0};
  describe(&info, name, 1, ORT_ABI_MEM_DEFAULT);
  return make_value(&info, data, shape, rank, type);
}

void stand_in_release(struct OrtValue *value) {
  ReleaseValue(value);
}
