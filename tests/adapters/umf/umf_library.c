/* umf_library.c: opens the real libumf, and counts what is asked of a tarn provider. */
#include "tests/adapters/umf/umf_library.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static bool open_library(const char *path, umf_library *umf) {
  *umf = (umf_library){.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
  if (umf->handle == NULL) return false;
#define LOOK(name, result, arguments)         \
  {                                           \
    void *found = dlsym(umf->handle, #name);  \
    if (found == NULL) return false;          \
    memcpy(&umf->name, &found, sizeof found); \
  }
  UMF_LIBRARY(LOOK)
#undef LOOK
  return umf->umfInit() == TARN__UMF_SUCCESS;
}

int umf_library_need(const char *path, umf_library *umf) {
  if (open_library(path, umf)) return 0;
  print_message("no UMF library at %s\n", path);
  const char *ci = getenv("CI");
  return ci != NULL && strcmp(ci, "true") == 0 ? 1 : 77;
}

/* In front of each block lies what it was lent as. */
typedef struct head {
  size_t size_bytes;
  uint64_t mark;
} head;

static const uint64_t LENT = UINT64_C(0x1e41e41e41e41e4);

static tarn_status counting_attributes(void *context, tarn_provider_attributes *attributes) {
  const counting *self = context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->granularity_bytes = self->granularity_bytes;
  attributes->alignment_bytes = self->alignment_bytes;
  return TARN_OK;
}

static tarn_status counting_alloc(void *context, size_t size_bytes, void **address) {
  counting *self = context;
  const size_t before_bytes =
      self->alignment_bytes > sizeof(head) ? self->alignment_bytes : sizeof(head);
  const size_t sum = atomic_fetch_add(&self->lent_bytes, size_bytes) + size_bytes;
  char *base = NULL;
  if (self->limit_bytes == 0 || sum <= self->limit_bytes) {
    base = aligned_alloc(
        before_bytes, before_bytes + (size_bytes + before_bytes - 1) / before_bytes * before_bytes);
  }
  if (base == NULL) {
    atomic_fetch_sub(&self->lent_bytes, size_bytes);
    return tarn_fail_native(TARN_OUT_OF_MEMORY, "counting", 4711, "no %zu bytes", size_bytes);
  }
  *address = base + before_bytes;
  ((head *)*address)[-1] = (head){size_bytes, LENT};
  memset(*address, 0xA5, 64); /* nobody may take it for zeroes */
  atomic_fetch_add(&self->lent_count, 1);
  return TARN_OK;
}

static tarn_status counting_release(void *context, void *address, size_t size_bytes) {
  counting *self = context;
  const size_t before_bytes =
      self->alignment_bytes > sizeof(head) ? self->alignment_bytes : sizeof(head);
  head *at = (head *)address - 1;
  if (at->mark != LENT || at->size_bytes != size_bytes) {
    atomic_fetch_add(&self->refused_count, 1);
    return tarn_fail(TARN_NOT_FOUND, "%p with %zu bytes", address, size_bytes);
  }
  at->mark = 0;
  free((char *)address - before_bytes);
  atomic_fetch_sub(&self->lent_bytes, size_bytes);
  atomic_fetch_sub(&self->lent_count, 1);
  return TARN_OK;
}

static void counting_destroy(void *context) {
  ((counting *)context)->is_destroyed = true;
}

tarn_provider *counting_provider(counting *self) {
  if (self->granularity_bytes == 0) self->granularity_bytes = 4096;
  if (self->alignment_bytes == 0) self->alignment_bytes = 4096;
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = "counting:memory",
                                 .attributes = counting_attributes,
                                 .alloc = counting_alloc,
                                 .release = counting_release,
                                 .destroy = counting_destroy};
  tarn_provider *provider = NULL;
  assert_ok(tarn_provider_create(&ops, self, &provider));
  return provider;
}
