/* umf_library.h: the real libumf, opened for itself alone as a plug-in would, and its functions. */
#ifndef TESTS_UMF_LIBRARY_H
#define TESTS_UMF_LIBRARY_H

#include "alloc/adapters/umf/umf_abi.h"
#include "tests/support/test.h"

typedef struct umf_memory_pool_t *umf_pool;
typedef struct umf_memory_provider_t *umf_provider;
typedef tarn__umf_result umf_result;

enum { UMF_OWN_PROVIDER = 1, UMF_NO_TRACKING = 2 }; /* flags of umfPoolCreate */

/* X(name, result, arguments), as in umf.h, umf/ipc.h, experimental/ctl.h, pools/ and providers/. */
#define UMF_LIBRARY(X)                                                                            \
  X(umfInit, umf_result, (void))                                                                  \
  X(umfPoolCreate, umf_result,                                                                    \
    (const void *ops, umf_provider provider, const void *params, uint32_t flags, umf_pool *pool)) \
  X(umfPoolDestroy, umf_result, (umf_pool pool))                                                  \
  X(umfPoolMalloc, void *, (umf_pool pool, size_t size))                                          \
  X(umfPoolAlignedMalloc, void *, (umf_pool pool, size_t size, size_t alignment))                 \
  X(umfPoolCalloc, void *, (umf_pool pool, size_t count, size_t size))                            \
  X(umfPoolRealloc, void *, (umf_pool pool, void *address, size_t size))                          \
  X(umfPoolMallocUsableSize, umf_result, (umf_pool pool, const void *address, size_t *size))      \
  X(umfPoolFree, umf_result, (umf_pool pool, void *address))                                      \
  X(umfFree, umf_result, (void *address))                                                         \
  X(umfPoolGetLastAllocationError, umf_result, (umf_pool pool))                                   \
  X(umfPoolByPtr, umf_result, (const void *address, umf_pool *pool))                              \
  X(umfPoolGetMemoryProvider, umf_result, (umf_pool pool, umf_provider * provider))               \
  X(umfPoolGetName, umf_result, (umf_pool pool, const char **name))                               \
  X(umfPoolTrimMemory, umf_result, (umf_pool pool, size_t keep_bytes))                            \
  X(umfMemoryProviderCreate, umf_result,                                                          \
    (const void *ops, const void *params, umf_provider *provider))                                \
  X(umfMemoryProviderDestroy, umf_result, (umf_provider provider))                                \
  X(umfMemoryProviderAlloc, umf_result,                                                           \
    (umf_provider provider, size_t size, size_t alignment, void **address))                       \
  X(umfMemoryProviderFree, umf_result, (umf_provider provider, void *address, size_t size))       \
  X(umfMemoryProviderGetLastNativeError, umf_result,                                              \
    (umf_provider provider, const char **message, int32_t *code))                                 \
  X(umfMemoryProviderGetMinPageSize, umf_result,                                                  \
    (umf_provider provider, const void *address, size_t *page))                                   \
  X(umfMemoryProviderGetName, umf_result, (umf_provider provider, const char **name))             \
  X(umfMemoryProviderGetCacheLineSize, umf_result, (umf_provider provider, size_t * size))        \
  X(umfCtlGet, umf_result, (const char *path, void *value, size_t size, ...))                     \
  X(umfCtlExec, umf_result, (const char *path, void *value, size_t size, ...))                    \
  X(umfPoolGetIPCHandleSize, umf_result, (umf_pool pool, size_t * size))                          \
  X(umfGetIPCHandle, umf_result, (const void *address, void **handle, size_t *size))              \
  X(umfPutIPCHandle, umf_result, (void *handle))                                                  \
  X(umfPoolGetIPCHandler, umf_result, (umf_pool pool, void **handler))                            \
  X(umfOpenIPCHandle, umf_result, (void *handler, void *handle, void **address))                  \
  X(umfCloseIPCHandle, umf_result, (void *address))                                               \
  X(umfProxyPoolOps, const void *, (void))                                                        \
  X(umfDisjointPoolOps, const void *, (void))                                                     \
  X(umfDisjointPoolParamsCreate, umf_result, (void **params))                                     \
  X(umfDisjointPoolParamsDestroy, umf_result, (void *params))                                     \
  X(umfOsMemoryProviderOps, const void *, (void))                                                 \
  X(umfOsMemoryProviderParamsCreate, umf_result, (void **params))                                 \
  X(umfOsMemoryProviderParamsSetVisibility, umf_result, (void *params, uint32_t visibility))      \
  X(umfOsMemoryProviderParamsDestroy, umf_result, (void *params))

typedef struct umf_library {
  void *handle;
#define UMF_MEMBER(name, result, arguments) result(*name) arguments;
  UMF_LIBRARY(UMF_MEMBER)
#undef UMF_MEMBER
} umf_library;

/* Opens it: 0; else what the program ends with, which is no failure but where CI has it. */
int umf_library_need(const char *path, umf_library *umf);

#define assert_umf(call) assert_int_equal((call), TARN__UMF_SUCCESS)

/* A tarn provider of malloc'ed memory that takes nothing but whole blocks back, and counts. */
typedef struct counting {
  size_t limit_bytes; /* 0: none */
  _Atomic size_t lent_bytes;
  _Atomic size_t lent_count;
  _Atomic size_t refused_count; /* of blocks that were not lent */
  size_t granularity_bytes;
  size_t alignment_bytes;
  bool is_destroyed;
} counting;

/* 4 KiB each where they are 0. */
tarn_provider *counting_provider(counting *self);

#endif
