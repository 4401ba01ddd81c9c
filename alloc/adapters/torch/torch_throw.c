/* torch_throw.c: an exception of C++'s out of C, for a caller that cannot take NULL.
 *
 * libstdc++ exports std::__throw_runtime_error(char const *) for the inline code of its headers,
 * since GLIBCXX_3.4 (g++'s <bits/functexcept.h>). PyTorch has the library in the process; who has
 * not could not catch what it throws. */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "alloc/adapters/torch/torch_state.h"

void tarn__torch_throw(const char *message) {
  void *runtime = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
  if (runtime == NULL) return;
  void *found = dlsym(runtime, "_ZSt21__throw_runtime_errorPKc");
  dlclose(runtime); /* whoever is to catch it keeps it in the process */
  if (found == NULL) return;
  void (*throw_it)(const char *);
  memcpy(&throw_it, &found, sizeof throw_it);
  throw_it(message);
}
