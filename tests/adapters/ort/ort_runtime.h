/* ort_runtime.h: the real ONNX Runtime as a C program without its headers drives it: what a user
 * calls of OrtApi beside what tarn does. Places as in onnxruntime_c_api.h of API version 29. */
#ifndef TESTS_ORT_RUNTIME_H
#define TESTS_ORT_RUNTIME_H

#include "alloc/adapters/ort/ort_abi.h"
#include "alloc/adapters/ort/tarn_ort.h"

struct OrtSession;
struct OrtSessionOptions;
struct OrtRunOptions;
struct OrtIoBinding;

#define ORT_RUNTIME_CALL_TABLE(X)                                                                 \
  X(1, int, GetErrorCode, (const struct OrtStatus *status))                                       \
  X(2, const char *, GetErrorMessage, (const struct OrtStatus *status))                           \
  X(3, struct OrtStatus *, CreateEnv, (int severity, const char *name, struct OrtEnv **env))      \
  X(7, struct OrtStatus *, CreateSession,                                                         \
    (const struct OrtEnv *env, const char *path, const struct OrtSessionOptions *options,         \
     struct OrtSession **session))                                                                \
  X(9, struct OrtStatus *, Run,                                                                   \
    (struct OrtSession * session, const struct OrtRunOptions *options, const char *const *inputs, \
     const struct OrtValue *const *values, size_t input_count, const char *const *outputs,        \
     size_t output_count, struct OrtValue **results))                                             \
  X(10, struct OrtStatus *, CreateSessionOptions, (struct OrtSessionOptions * *options))          \
  X(48, struct OrtStatus *, CreateTensorAsOrtValue,                                               \
    (struct OrtAllocator * allocator, const int64_t *shape, size_t rank, int type,                \
     struct OrtValue **value))                                                                    \
  X(51, struct OrtStatus *, GetTensorMutableData, (struct OrtValue * value, void **data))         \
  X(75, struct OrtStatus *, AllocatorAlloc,                                                       \
    (struct OrtAllocator * allocator, size_t size_bytes, void **address))                         \
  X(76, struct OrtStatus *, AllocatorFree, (struct OrtAllocator * allocator, void *address))      \
  X(77, struct OrtStatus *, AllocatorGetInfo,                                                     \
    (const struct OrtAllocator *allocator, const struct OrtMemoryInfo **info))                    \
  X(92, void, ReleaseEnv, (struct OrtEnv * env))                                                  \
  X(93, void, ReleaseStatus, (struct OrtStatus * status))                                         \
  X(95, void, ReleaseSession, (struct OrtSession * session))                                      \
  X(96, void, ReleaseValue, (struct OrtValue * value))                                            \
  X(100, void, ReleaseSessionOptions, (struct OrtSessionOptions * options))                       \
  X(130, struct OrtStatus *, AddSessionConfigEntry,                                               \
    (struct OrtSessionOptions * options, const char *key, const char *value))                     \
  X(133, struct OrtStatus *, RunWithBinding,                                                      \
    (struct OrtSession * session, const struct OrtRunOptions *options,                            \
     const struct OrtIoBinding *binding))                                                         \
  X(134, struct OrtStatus *, CreateIoBinding,                                                     \
    (struct OrtSession * session, struct OrtIoBinding * *binding))                                \
  X(135, void, ReleaseIoBinding, (struct OrtIoBinding * binding))                                 \
  X(136, struct OrtStatus *, BindInput,                                                           \
    (struct OrtIoBinding * binding, const char *name, const struct OrtValue *value))              \
  X(137, struct OrtStatus *, BindOutput,                                                          \
    (struct OrtIoBinding * binding, const char *name, const struct OrtValue *value))              \
  X(297, const char *, GetKeyValue, (const struct OrtKeyValuePairs *pairs, const char *key))      \
  X(300, void, ReleaseKeyValuePairs, (struct OrtKeyValuePairs * pairs))                           \
  X(319, struct OrtStatus *, AllocatorGetStats,                                                   \
    (const struct OrtAllocator *allocator, struct OrtKeyValuePairs **pairs))

typedef struct ort_runtime {
#define ORT_RUNTIME_MEMBER(place, result, name, parameters) result(*name) parameters;
  ORT_RUNTIME_CALL_TABLE(ORT_RUNTIME_MEMBER)
#undef ORT_RUNTIME_MEMBER
  const struct OrtApiBase *base;
  struct OrtEnv *env;
  tarn_ort *ort;
} ort_runtime;

/* Loads the runtime at `path` and makes its environment. NULL, or what did not work. */
const char *ort_runtime_open(const char *path, ort_runtime *runtime);

#endif
