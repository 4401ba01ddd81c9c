/* fake_umf.h: as much of UMF as the adapter calls, over tables of operations: for where the real
 * library is not, and for providers that misbehave. */
#ifndef TESTS_FAKE_UMF_H
#define TESTS_FAKE_UMF_H

#include "alloc/adapters/umf/umf_abi.h"

struct umf_memory_provider_t {
  tarn__umf_provider_ops ops;
  void *provider;
};

/* NULL where the operations refuse. */
struct umf_memory_provider_t *fake_umf_create(const struct umf_memory_provider_ops_t *ops,
                                              const void *params);
tarn__umf_result fake_umf_destroy(struct umf_memory_provider_t *handle);

/* A tarn_umf_find; `context`, where not NULL, is the name of a function that is not there. */
tarn_umf_function fake_umf_find(void *context, const char *name);

/* `provider` by way of UMF: a tarn provider over a UMF provider over it, which it owns. */
tarn_status fake_umf_detour(tarn_provider *provider, tarn_provider **detour);

#endif
