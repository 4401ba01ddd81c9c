/* ort_runtime.c: loads the real ONNX Runtime by its path. */
#include "tests/adapters/ort/ort_runtime.h"

#include <dlfcn.h>

const char *ort_runtime_open(const char *path, ort_runtime *runtime) {
  void *const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return dlerror();
  const struct OrtApiBase *(*get_base)(void) = NULL;
  *(void **)(void *)&get_base = dlsym(library, "OrtGetApiBase");
  if (get_base == NULL) return dlerror();
  runtime->base = get_base();
  if (tarn_ort_open(runtime->base, &runtime->ort) != TARN_OK) return tarn_last_error()->message;
  const ort_abi_base *const base = (const void *)runtime->base;
  const ort_abi_entry *const table = base->GetApi(tarn_ort_api_version(runtime->ort));
#define TAKE(place, result, name, parameters) runtime->name = (result(*) parameters)table[place];
  ORT_RUNTIME_CALL_TABLE(TAKE)
#undef TAKE
  enum { ONLY_ERRORS = 3 };
  struct OrtStatus *const refusal = runtime->CreateEnv(ONLY_ERRORS, "tarn", &runtime->env);
  return refusal == NULL ? NULL : runtime->GetErrorMessage(refusal);
}
