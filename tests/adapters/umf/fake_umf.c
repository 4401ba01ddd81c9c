/* fake_umf.c: UMF's provider functions, passed on to the operations. */
#include "tests/adapters/umf/fake_umf.h"

#include <stdlib.h>
#include <string.h>

struct umf_memory_provider_t *fake_umf_create(const struct umf_memory_provider_ops_t *ops,
                                              const void *params) {
  struct umf_memory_provider_t *handle = calloc(1, sizeof *handle);
  if (handle == NULL) return NULL;
  memcpy(&handle->ops, ops, sizeof handle->ops);
  if (handle->ops.initialize(params, &handle->provider) == TARN__UMF_SUCCESS) return handle;
  free(handle);
  return NULL;
}

tarn__umf_result fake_umf_destroy(struct umf_memory_provider_t *handle) {
  const tarn__umf_result result = handle->ops.finalize(handle->provider);
  free(handle);
  return result;
}

static tarn__umf_result fake_alloc(struct umf_memory_provider_t *handle, size_t size,
                                   size_t alignment, void **address) {
  return handle->ops.alloc(handle->provider, size, alignment, address);
}

static tarn__umf_result fake_free(struct umf_memory_provider_t *handle, void *address,
                                  size_t size) {
  return handle->ops.free(handle->provider, address, size);
}

static tarn__umf_result fake_native_error(struct umf_memory_provider_t *handle,
                                          const char **message, int32_t *code) {
  return handle->ops.get_last_native_error(handle->provider, message, code);
}

static tarn__umf_result fake_page_size(struct umf_memory_provider_t *handle, const void *address,
                                       size_t *page) {
  return handle->ops.get_min_page_size(handle->provider, address, page);
}

static tarn__umf_result fake_ipc_size(struct umf_memory_provider_t *handle, size_t *size) {
  return handle->ops.ext_get_ipc_handle_size(handle->provider, size);
}

static tarn__umf_result fake_name(struct umf_memory_provider_t *handle, const char **name) {
  return handle->ops.get_name(handle->provider, name);
}

tarn_umf_function fake_umf_find(void *context, const char *name) {
  static const struct {
    const char *name;
    tarn_umf_function function;
  } functions[] = {
      {"umfMemoryProviderAlloc", (tarn_umf_function)fake_alloc},
      {"umfMemoryProviderFree", (tarn_umf_function)fake_free},
      {"umfMemoryProviderGetLastNativeError", (tarn_umf_function)fake_native_error},
      {"umfMemoryProviderGetMinPageSize", (tarn_umf_function)fake_page_size},
      {"umfMemoryProviderGetIPCHandleSize", (tarn_umf_function)fake_ipc_size},
      {"umfMemoryProviderGetName", (tarn_umf_function)fake_name},
      {"umfMemoryProviderDestroy", (tarn_umf_function)fake_umf_destroy},
  };
  if (context != NULL && strcmp(context, name) == 0) return NULL;
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    if (strcmp(functions[i].name, name) == 0) return functions[i].function;
  }
  return NULL;
}

tarn_status fake_umf_detour(tarn_provider *provider, tarn_provider **detour) {
  const tarn_umf_provider_params params = {.struct_size = sizeof params, .provider = provider};
  const tarn_umf_provider_options options = {
      .struct_size = sizeof options,
      .device = tarn_provider_attributes_of(provider)->device,
      .flags = TARN_UMF_OWN_PROVIDER,
      .find = fake_umf_find};
  *detour = NULL;
  struct umf_memory_provider_t *handle = fake_umf_create(tarn_umf_provider_ops(0), &params);
  if (handle == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "a fake UMF provider");
  const tarn_status status = tarn_umf_provider_create(handle, &options, detour);
  if (status != TARN_OK) {
    const tarn_error cause = *tarn_last_error();
    fake_umf_destroy(handle);
    return tarn_fail_again(&cause);
  }
  return TARN_OK;
}
