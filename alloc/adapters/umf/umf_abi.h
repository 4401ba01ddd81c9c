/* umf_abi.h: what UMF's headers declare, as far as it is called or filled in here.
 *
 * Facts from umf/base.h, memory_pool_ops.h and memory_provider_ops.h of UMF 1.2.0; a test compares
 * every field and number with those headers. Structs grow at their end, and what a version adds is
 * read by libraries of that version only. UMF's enumerations are their underlying integers here. */
#ifndef TARN_UMF_ABI_H
#define TARN_UMF_ABI_H

#include <stdarg.h>

#include "alloc/adapters/umf/tarn_umf.h"

#define TARN__UMF_VERSION(major, minor) (((uint32_t)(major) << 16) | (uint32_t)(minor))

typedef uint32_t tarn__umf_result;

enum {
  TARN__UMF_SUCCESS = 0,
  TARN__UMF_OUT_OF_HOST_MEMORY = 1,
  TARN__UMF_MEMORY_PROVIDER_SPECIFIC = 2,
  TARN__UMF_INVALID_ARGUMENT = 3,
  TARN__UMF_INVALID_ALIGNMENT = 4,
  TARN__UMF_NOT_SUPPORTED = 5,
  TARN__UMF_DEPENDENCY_UNAVAILABLE = 7,
  TARN__UMF_OUT_OF_RESOURCES = 8,
  TARN__UMF_INVALID_CTL_PATH = 9,
};

/* Kinds of a CTL query. */
enum { TARN__UMF_CTL_READ = 0, TARN__UMF_CTL_RUNNABLE = 2 };

/* A property of memory, and what its value says of memory that a GPU reaches. */
enum { TARN__UMF_PROPERTY_POINTER_TYPE = 20 };
enum {
  TARN__UMF_MEMORY_UNKNOWN = 0,
  TARN__UMF_MEMORY_HOST = 1,
  TARN__UMF_MEMORY_DEVICE = 2,
  TARN__UMF_MEMORY_SHARED = 3,
};

typedef struct tarn__umf_pool_ops {
  uint32_t version;
  tarn__umf_result (*initialize)(struct umf_memory_provider_t *provider, const void *params,
                                 void **pool);
  tarn__umf_result (*finalize)(void *pool);
  void *(*malloc)(void *pool, size_t size);
  void *(*calloc)(void *pool, size_t count, size_t size);
  void *(*realloc)(void *pool, void *address, size_t size);
  void *(*aligned_malloc)(void *pool, size_t size, size_t alignment);
  tarn__umf_result (*malloc_usable_size)(void *pool, const void *address, size_t *size);
  tarn__umf_result (*free)(void *pool, void *address);
  tarn__umf_result (*get_last_allocation_error)(void *pool);
  tarn__umf_result (*get_name)(void *pool, const char **name);
  tarn__umf_result (*ext_ctl)(void *pool, uint32_t source, const char *name, void *argument,
                              size_t size, uint32_t kind, va_list arguments);
  /* Since 1.1. */
  tarn__umf_result (*ext_trim_memory)(void *pool, size_t keep_bytes);
} tarn__umf_pool_ops;

typedef struct tarn__umf_provider_ops {
  uint32_t version;
  tarn__umf_result (*initialize)(const void *params, void **provider);
  tarn__umf_result (*finalize)(void *provider);
  tarn__umf_result (*alloc)(void *provider, size_t size, size_t alignment, void **address);
  tarn__umf_result (*free)(void *provider, void *address, size_t size);
  tarn__umf_result (*get_last_native_error)(void *provider, const char **message, int32_t *code);
  tarn__umf_result (*get_recommended_page_size)(void *provider, size_t size, size_t *page);
  tarn__umf_result (*get_min_page_size)(void *provider, const void *address, size_t *page);
  tarn__umf_result (*get_name)(void *provider, const char **name);
  tarn__umf_result (*ext_purge_lazy)(void *provider, void *address, size_t size);
  tarn__umf_result (*ext_purge_force)(void *provider, void *address, size_t size);
  tarn__umf_result (*ext_allocation_merge)(void *provider, void *low, void *high, size_t size);
  tarn__umf_result (*ext_allocation_split)(void *provider, void *address, size_t size,
                                           size_t first_size);
  tarn__umf_result (*ext_get_ipc_handle_size)(void *provider, size_t *size);
  tarn__umf_result (*ext_get_ipc_handle)(void *provider, const void *address, size_t size,
                                         void *handle);
  tarn__umf_result (*ext_put_ipc_handle)(void *provider, void *handle);
  tarn__umf_result (*ext_open_ipc_handle)(void *provider, void *handle, void **address);
  tarn__umf_result (*ext_close_ipc_handle)(void *provider, void *address, size_t size);
  tarn__umf_result (*ext_ctl)(void *provider, uint32_t source, const char *name, void *argument,
                              size_t size, uint32_t kind, va_list arguments);
  /* Since 1.1. */
  tarn__umf_result (*ext_get_allocation_properties)(void *provider, const void *address,
                                                    int32_t property, void *value);
  tarn__umf_result (*ext_get_allocation_properties_size)(void *provider, int32_t property,
                                                         size_t *size);
  /* Since 1.2. */
  tarn__umf_result (*get_cache_line_size)(void *provider, size_t *size);
} tarn__umf_provider_ops;

/* UMF's functions that are called here, all of 1.0: X(member, name, result and arguments). */
#define TARN__UMF_FUNCTIONS(X)                                                                    \
  X(alloc, umfMemoryProviderAlloc,                                                                \
    (struct umf_memory_provider_t * provider, size_t size, size_t alignment, void **address))     \
  X(free, umfMemoryProviderFree,                                                                  \
    (struct umf_memory_provider_t * provider, void *address, size_t size))                        \
  X(native_error, umfMemoryProviderGetLastNativeError,                                            \
    (struct umf_memory_provider_t * provider, const char **message, int32_t *code))               \
  X(page_size, umfMemoryProviderGetMinPageSize,                                                   \
    (struct umf_memory_provider_t * provider, const void *address, size_t *page))                 \
  X(ipc_size, umfMemoryProviderGetIPCHandleSize,                                                  \
    (struct umf_memory_provider_t * provider, size_t * size))                                     \
  X(name, umfMemoryProviderGetName, (struct umf_memory_provider_t * provider, const char **name)) \
  X(destroy, umfMemoryProviderDestroy, (struct umf_memory_provider_t * provider))

typedef struct tarn__umf_functions {
#define TARN__UMF_MEMBER(member, name, arguments) tarn__umf_result(*member) arguments;
  TARN__UMF_FUNCTIONS(TARN__UMF_MEMBER)
#undef TARN__UMF_MEMBER
} tarn__umf_functions;

#endif
