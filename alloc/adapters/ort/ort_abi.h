/* ort_abi.h: what tarn needs of ONNX Runtime's interface, as declarations of its own.
 *
 * Facts, each from onnxruntime_c_api.h of API version 29 (include/onnxruntime/core/session/ in the
 * runtime's repository), where the order of the members of OrtApi gives the place of each entry and
 * "since" its first version; that file promises that the table only grows at its end. test_ort_abi
 * compares them with the real header where that is installed.
 */
#ifndef ALLOC_ADAPTERS_ORT_ABI_H
#define ALLOC_ADAPTERS_ORT_ABI_H

#include <stddef.h>
#include <stdint.h>

enum {
  ORT_ABI_OLDEST = 14, /* the first with MemoryInfoGetDeviceType */
  ORT_ABI_NEWEST = 29, /* the newest that these declarations were compared with */
  /* First versions of what is optional. */
  ORT_ABI_RESERVE = 18,
  ORT_ABI_OWNED_VALUES = 22,
  ORT_ABI_STREAMS = 23, /* and statistics, and vendors */
  ORT_ABI_SHRINK = 25,
};

/* OrtErrorCode; NOT_FOUND came later, and an older runtime's callers take it for a number. */
enum {
  ORT_ABI_FAIL = 1,
  ORT_ABI_INVALID_ARGUMENT = 2,
  ORT_ABI_NOT_IMPLEMENTED = 9,
  ORT_ABI_NOT_FOUND = 14,
};

/* OrtLoggingLevel: warnings, the runtime's own default. */
enum { ORT_ABI_WARNINGS = 2 };

/* OrtAllocatorType, OrtMemType, OrtMemoryInfoDeviceType, OrtDeviceMemoryType. */
enum {
  ORT_ABI_DEVICE_ALLOCATOR = 0,
  ORT_ABI_MEM_CPU_OUTPUT = -1,
  ORT_ABI_MEM_DEFAULT = 0,
  ORT_ABI_CPU = 0,
  ORT_ABI_GPU = 1,
  ORT_ABI_HOST_ACCESSIBLE = 5,
};
enum { ORT_ABI_VENDOR_NVIDIA = 0x10DE }; /* PCI's number, which GetVendorId answers */

/* Name of the runtime's ONNXTensorElementDataType, its number, tarn's code, bits, lanes. Elements
 * of less than a byte are counted one by one there and in pairs here, so they have no row. */
#define ORT_ABI_DTYPE_TABLE(X)                        \
  X(FLOAT, 1, TARN_CODE_FLOAT, 32)                    \
  X(UINT8, 2, TARN_CODE_UINT, 8)                      \
  X(INT8, 3, TARN_CODE_INT, 8)                        \
  X(UINT16, 4, TARN_CODE_UINT, 16)                    \
  X(INT16, 5, TARN_CODE_INT, 16)                      \
  X(INT32, 6, TARN_CODE_INT, 32)                      \
  X(INT64, 7, TARN_CODE_INT, 64)                      \
  X(BOOL, 9, TARN_CODE_BOOL, 8)                       \
  X(FLOAT16, 10, TARN_CODE_FLOAT, 16)                 \
  X(DOUBLE, 11, TARN_CODE_FLOAT, 64)                  \
  X(UINT32, 12, TARN_CODE_UINT, 32)                   \
  X(UINT64, 13, TARN_CODE_UINT, 64)                   \
  X(BFLOAT16, 16, TARN_CODE_BFLOAT, 16)               \
  X(FLOAT8E4M3FN, 17, TARN_CODE_FLOAT8_E4M3FN, 8)     \
  X(FLOAT8E4M3FNUZ, 18, TARN_CODE_FLOAT8_E4M3FNUZ, 8) \
  X(FLOAT8E5M2, 19, TARN_CODE_FLOAT8_E5M2, 8)         \
  X(FLOAT8E5M2FNUZ, 20, TARN_CODE_FLOAT8_E5M2FNUZ, 8)

struct OrtStatus;
struct OrtEnv;
struct OrtValue;
struct OrtMemoryInfo;
struct OrtKeyValuePairs;
struct OrtSyncStream;
struct OrtTensorTypeAndShapeInfo;
struct OrtAllocator;

/* The members of OrtAllocator, which starts with them. */
typedef struct ort_abi_allocator {
  uint32_t version;
  void *(*Alloc)(struct OrtAllocator *self, size_t size);
  void (*Free)(struct OrtAllocator *self, void *address);
  const struct OrtMemoryInfo *(*Info)(const struct OrtAllocator *self);
  void *(*Reserve)(struct OrtAllocator *self, size_t size);
  struct OrtStatus *(*GetStats)(const struct OrtAllocator *self, struct OrtKeyValuePairs **pairs);
  void *(*AllocOnStream)(struct OrtAllocator *self, size_t size, struct OrtSyncStream *stream);
  struct OrtStatus *(*Shrink)(struct OrtAllocator *self);
} ort_abi_allocator;

/* Place in OrtApi, first version, result, name, parameters. Enumerations cross as int. */
#define ORT_ABI_CALL_TABLE(X)                                                                     \
  X(0, 1, struct OrtStatus *, CreateStatus, (int code, const char *message))                      \
  X(1, 1, int, GetErrorCode, (const struct OrtStatus *status))                                    \
  X(2, 1, const char *, GetErrorMessage, (const struct OrtStatus *status))                        \
  X(3, 1, struct OrtStatus *, CreateEnv, (int severity, const char *name, struct OrtEnv **env))   \
  X(92, 1, void, ReleaseEnv, (struct OrtEnv * env))                                               \
  X(49, 1, struct OrtStatus *, CreateTensorWithDataAsOrtValue,                                    \
    (const struct OrtMemoryInfo *info, void *data, size_t size_bytes, const int64_t *shape,       \
     size_t rank, int type, struct OrtValue **value))                                             \
  X(51, 1, struct OrtStatus *, GetTensorMutableData, (struct OrtValue * value, void **data))      \
  X(60, 1, struct OrtStatus *, GetTensorElementType,                                              \
    (const struct OrtTensorTypeAndShapeInfo *info, int *type))                                    \
  X(61, 1, struct OrtStatus *, GetDimensionsCount,                                                \
    (const struct OrtTensorTypeAndShapeInfo *info, size_t *rank))                                 \
  X(62, 1, struct OrtStatus *, GetDimensions,                                                     \
    (const struct OrtTensorTypeAndShapeInfo *info, int64_t *shape, size_t rank))                  \
  X(50, 1, struct OrtStatus *, IsTensor, (const struct OrtValue *value, int *is_tensor))          \
  X(65, 1, struct OrtStatus *, GetTensorTypeAndShape,                                             \
    (const struct OrtValue *value, struct OrtTensorTypeAndShapeInfo **info))                      \
  X(68, 1, struct OrtStatus *, CreateMemoryInfo,                                                  \
    (const char *name, int allocator_type, int index, int mem_type, struct OrtMemoryInfo **info)) \
  X(71, 1, struct OrtStatus *, MemoryInfoGetName,                                                 \
    (const struct OrtMemoryInfo *info, const char **name))                                        \
  X(72, 1, struct OrtStatus *, MemoryInfoGetId, (const struct OrtMemoryInfo *info, int *index))   \
  X(93, 1, void, ReleaseStatus, (struct OrtStatus * status))                                      \
  X(94, 1, void, ReleaseMemoryInfo, (struct OrtMemoryInfo * info))                                \
  X(96, 1, void, ReleaseValue, (struct OrtValue * value))                                         \
  X(99, 1, void, ReleaseTensorTypeAndShapeInfo, (struct OrtTensorTypeAndShapeInfo * info))        \
  X(176, 9, struct OrtStatus *, RegisterAllocator,                                                \
    (struct OrtEnv * env, struct OrtAllocator * allocator))                                       \
  X(177, 9, struct OrtStatus *, UnregisterAllocator,                                              \
    (struct OrtEnv * env, const struct OrtMemoryInfo *info))                                      \
  X(194, 11, struct OrtStatus *, GetTensorMemoryInfo,                                             \
    (const struct OrtValue *value, const struct OrtMemoryInfo **info))                            \
  X(225, 14, void, MemoryInfoGetDeviceType, (const struct OrtMemoryInfo *info, int *type))        \
  X(292, 22, struct OrtStatus *, CreateTensorWithDataAndDeleterAsOrtValue,                        \
    (struct OrtAllocator * deleter, void *data, size_t size_bytes, const int64_t *shape,          \
     size_t rank, int type, struct OrtValue **value))                                             \
  X(295, 22, void, CreateKeyValuePairs, (struct OrtKeyValuePairs * *pairs))                       \
  X(296, 22, void, AddKeyValuePair,                                                               \
    (struct OrtKeyValuePairs * pairs, const char *key, const char *value))                        \
  X(321, 23, int, MemoryInfoGetDeviceMemType, (const struct OrtMemoryInfo *info))                 \
  X(322, 23, uint32_t, MemoryInfoGetVendorId, (const struct OrtMemoryInfo *info))                 \
  X(384, 23, void *, SyncStream_GetHandle, (struct OrtSyncStream * stream))

/* The entries by name; NULL where the version negotiated has none. */
typedef struct ort_abi_calls {
#define ORT_ABI_CALL_MEMBER(place, since, result, name, parameters) result(*name) parameters;
  ORT_ABI_CALL_TABLE(ORT_ABI_CALL_MEMBER)
#undef ORT_ABI_CALL_MEMBER
} ort_abi_calls;

typedef void (*ort_abi_entry)(void);

/* OrtApiBase; OrtApi is a table of functions alone. */
typedef struct ort_abi_base {
  const ort_abi_entry *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} ort_abi_base;

#endif
