/* adapter_ort.c: ONNX Runtime's allocator over the bare pool, called as the runtime calls it. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/adapters/ort/tarn_ort.h"
#include "bench/adapters.h"

/* The first members of OrtAllocator (onnxruntime_c_api.h). */
typedef struct allocator_head {
  uint32_t version;
  void *(*alloc)(struct OrtAllocator *self, size_t size_bytes);
  void (*free)(struct OrtAllocator *self, void *address);
} allocator_head;

typedef struct client {
  struct OrtAllocator *allocator;
  size_t size_bytes;
} client;

static tarn_status run_pairs(void *context, uint64_t iterations) {
  const client *self = context;
  const allocator_head *head = (const void *)self->allocator;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = head->alloc(self->allocator, self->size_bytes);
    if (address == NULL) return TARN_OUT_OF_MEMORY;
    measure_keep(address);
    head->free(self->allocator, address);
  }
  return TARN_OK;
}

/* The runtime stays loaded: its threads may outlive what it was loaded for. */
static tarn_status make_client(const char *path, const adapter_bench *bare, client *made) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const struct OrtApiBase *(*get_base)(void) = NULL;
  if (library != NULL) *(void **)(void *)&get_base = dlsym(library, "OrtGetApiBase");
  if (get_base == NULL) return tarn_fail(TARN_NOT_FOUND, "TARN_BENCH_ORT: %s", dlerror());
  const tarn_ort_allocator_options options = {.struct_size = sizeof options,
                                              .flags = TARN_ORT_NULL};
  tarn_ort *ort = NULL;
  tarn_status status = tarn_ort_open(get_base(), &ort);
  if (status == TARN_OK) {
    status = tarn_ort_allocator_create(ort, bare->pool, &options, &made->allocator);
  }
  tarn_ort_release(ort);
  return status;
}

static bool is_wanted(const bench_run *bench, const adapter_bench *bare) {
  char name[64];
  snprintf(name, sizeof name, "adapter.ort.pair.%s", bench_size_name(bare->size_bytes).text);
  return bench_filter_fits(bench, name);
}

/* On a device the runtime names a stream by an object that only its CUDA provider makes. */
tarn_status adapter_bench_ort(bench_run *bench, const adapter_bench *bare) {
  client use = {.size_bytes = bare->size_bytes};
  if (!where_is_host(&bench->where) || !is_wanted(bench, bare)) return TARN_OK;
  const char *path = getenv("TARN_BENCH_ORT");
  const bool is_list = bench->options->list;
  if (!is_list && path == NULL) {
    fputs("tarn bench: no adapter.ort: TARN_BENCH_ORT names no libonnxruntime.so\n", stderr);
    return TARN_OK;
  }
  tarn_status status = is_list ? TARN_OK : make_client(path, bare, &use);
  if (status == TARN_OK) status = adapter_measure(bench, bare, "ort", run_pairs, &use);
  tarn_ort_allocator_release(use.allocator);
  return status;
}
