/* umf_upstream.c: a UMF provider as a provider of tarn's. */
#include "alloc/adapters/umf/umf_upstream.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/adapters/umf/umf_abi.h"
#include "alloc/adapters/umf/umf_blocks.h"
#include "alloc/adapters/umf/umf_provider.h"
#include "alloc/tarn_poison.h"

static const size_t DEFAULT_GRANULARITY_BYTES = (size_t)64 << 10;
/* At most so much alignment is asked for, whatever page UMF's provider tells: its CUDA provider
 * tells of 2 MiB, and has what cuMemAlloc promises, 256 bytes, or pages of the host. A caching pool
 * needs no more than the first. */
static const size_t ALIGNMENT_BYTES_MAX = 256;
static const size_t ALIGNMENT_BYTES_MAX_HOST = 4096;

typedef struct upstream {
  struct umf_memory_provider_t *handle;
  bool is_owner;
  bool is_shared; /* with other processes, if UMF is asked to */
  tarn_device device;
  size_t granularity_bytes;
  size_t alignment_bytes;
  tarn__umf_functions umf;
  pthread_mutex_t lock; /* of what follows; UMF is called without it */
  tarn__umf_blocks given;
  bool is_abandoned;
} upstream;

/* --- UMF's functions --- */

/* An executable's own, or a library's that was loaded for all to see; else the one that was loaded
 * for itself alone, which its soname finds. The handle is closed again: whoever loaded it, and
 * gives a provider of it, keeps it. */
static tarn_umf_function find_in_process(void *context, const char *name) {
  (void)context;
  void *found = dlsym(RTLD_DEFAULT, name);
  if (found == NULL) {
    void *library = dlopen("libumf.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) return NULL;
    found = dlsym(library, name);
    dlclose(library);
  }
  tarn_umf_function function;
  memcpy(&function, &found, sizeof function); /* POSIX: of the same size */
  return function;
}

static tarn_status find_functions(const tarn_umf_provider_options *options,
                                  tarn__umf_functions *umf) {
  tarn_umf_find find = options->find != NULL ? options->find : find_in_process;
#define FIND(member, name, arguments)                                                       \
  {                                                                                         \
    const tarn_umf_function found = find(options->find_context, #name);                     \
    if (found == NULL) {                                                                    \
      return tarn_fail(TARN_UNAVAILABLE, "UMF's function %s is not in the process", #name); \
    }                                                                                       \
    memcpy(&umf->member, &found, sizeof found);                                             \
  }
  TARN__UMF_FUNCTIONS(FIND)
#undef FIND
  return TARN_OK;
}

/* --- the provider's operations --- */

static tarn_status upstream_attributes(void *context, tarn_provider_attributes *attributes) {
  const upstream *self = context;
  attributes->device = self->device;
  attributes->granularity_bytes = self->granularity_bytes;
  attributes->alignment_bytes = self->alignment_bytes;
  attributes->flags = self->is_shared ? TARN_PROVIDER_OF_PROCESS : 0;
  return TARN_OK;
}

/* UMF's answer in words. They may lie in the thread's last error, where tarn's own providers have
 * them: so they are copied before that is written. */
static tarn_status refuse(const upstream *self, tarn_status status, const char *call,
                          tarn__umf_result result, size_t size_bytes) {
  const char *told = NULL;
  int32_t code = 0;
  if (result != TARN__UMF_MEMORY_PROVIDER_SPECIFIC ||
      self->umf.native_error(self->handle, &told, &code) != TARN__UMF_SUCCESS) {
    code = 0;
    told = NULL;
  }
  char words[TARN_ERROR_MESSAGE_BYTES] = "";
  if (told != NULL) (void)snprintf(words, sizeof words, ": %s", told);
  return tarn_fail_native(status, call, code != 0 ? code : (int64_t)result,
                          "UMF answers %u for %zu bytes%s", (unsigned)result, size_bytes, words);
}

/* UMF has no code for a machine without memory: its providers say their own, or that of the host.
 * Whatever it is, giving something back and asking again is all that may help. */
static tarn_status status_of_alloc(tarn__umf_result result) {
  switch (result) {
    case TARN__UMF_INVALID_ARGUMENT:
    case TARN__UMF_INVALID_ALIGNMENT:
      return TARN_INVALID_ARGUMENT;
    case TARN__UMF_NOT_SUPPORTED:
      return TARN_NOT_SUPPORTED;
    case TARN__UMF_DEPENDENCY_UNAVAILABLE:
      return TARN_UNAVAILABLE;
    default:
      return TARN_OUT_OF_MEMORY;
  }
}

static tarn_status give_to_umf(const upstream *self, void *address, size_t size_bytes) {
  const tarn__umf_result result = self->umf.free(self->handle, address, size_bytes);
  if (result == TARN__UMF_SUCCESS) return TARN_OK;
  return refuse(self, TARN_SYSTEM_ERROR, "umfMemoryProviderFree", result, size_bytes);
}

/* False where the table has no memory. */
static bool enter(upstream *self, tarn__umf_block *record) {
  pthread_mutex_lock(&self->lock);
  const bool has_room = tarn__umf_blocks_reserve(&self->given);
  if (has_room) tarn__umf_blocks_add(&self->given, record);
  pthread_mutex_unlock(&self->lock);
  return has_room;
}

/* NULL: nothing of UMF's is there, or it was given back by tarn__umf_upstream_abandon. */
static tarn__umf_block *take_out(upstream *self, const void *address, bool *is_abandoned) {
  pthread_mutex_lock(&self->lock);
  tarn__umf_block **link = tarn__umf_blocks_find(&self->given, address);
  tarn__umf_block *record = link != NULL ? tarn__umf_blocks_remove(&self->given, link) : NULL;
  *is_abandoned = self->is_abandoned;
  pthread_mutex_unlock(&self->lock);
  return record;
}

static tarn_status upstream_release(void *context, void *address, size_t size_bytes) {
  upstream *self = context;
  bool is_abandoned;
  tarn__umf_block *record = take_out(self, address, &is_abandoned);
  if (record == NULL && is_abandoned) return TARN_OK;
  if (record == NULL) return tarn_fail(TARN_NOT_FOUND, "UMF's provider did not give %p", address);
  free(record);
  return give_to_umf(self, address, size_bytes);
}

static tarn_status ask_umf(upstream *self, tarn__umf_block *record) {
  const size_t size_bytes = record->size_bytes;
  const tarn__umf_result result =
      self->umf.alloc(self->handle, size_bytes, self->alignment_bytes, &record->address);
  void *const found = record->address;
  if (result != TARN__UMF_SUCCESS || found == NULL) {
    return refuse(self, status_of_alloc(result), "umfMemoryProviderAlloc", result, size_bytes);
  }
  const bool is_aligned = ((uintptr_t)found & (self->alignment_bytes - 1)) == 0;
  if (is_aligned && enter(self, record)) return TARN_OK;
  const tarn_status ignored = give_to_umf(self, found, size_bytes);
  (void)ignored; /* what follows is the cause */
  return is_aligned
             ? tarn_fail(TARN_OUT_OF_MEMORY, "no memory to remember what UMF gave")
             : tarn_fail(TARN_SYSTEM_ERROR, "UMF's provider gave %p, which is not aligned to %zu",
                         found, self->alignment_bytes);
}

static bool is_left(upstream *self) {
  pthread_mutex_lock(&self->lock);
  const bool is_abandoned = self->is_abandoned;
  pthread_mutex_unlock(&self->lock);
  return is_abandoned;
}

static tarn_status upstream_alloc(void *context, size_t size_bytes, void **address) {
  upstream *self = context;
  if (is_left(self)) return tarn_fail(TARN_UNAVAILABLE, "UMF's provider is gone");
  tarn__umf_block *record = calloc(1, sizeof *record);
  if (record == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a block's record");
  record->size_bytes = size_bytes;
  const tarn_status status = ask_umf(self, record);
  if (status == TARN_OK) {
    *address = record->address;
  } else {
    free(record);
  }
  return status;
}

void tarn__umf_upstream_abandon(tarn_provider *provider) {
  upstream *self = tarn_provider_context(provider, upstream_release);
  pthread_mutex_lock(&self->lock);
  tarn__umf_blocks given = self->given;
  self->given = (tarn__umf_blocks){0};
  self->is_abandoned = true;
  pthread_mutex_unlock(&self->lock);
  for (tarn__umf_block *one; (one = tarn__umf_blocks_pop(&given)) != NULL;) {
    if (tarn_device_is_host(self->device)) tarn_poison_lift(one->address, one->size_bytes);
    const tarn_status ignored = give_to_umf(self, one->address, one->size_bytes);
    (void)ignored; /* UMF's provider is about to go, with what it refused to take */
    free(one);
  }
  tarn__umf_blocks_deinit(&given);
}

static void upstream_destroy(void *context) {
  upstream *self = context;
  if (self->is_owner) self->umf.destroy(self->handle);
  /* Blocks that were never released are UMF's own to look after. */
  for (tarn__umf_block *left; (left = tarn__umf_blocks_pop(&self->given)) != NULL;) free(left);
  tarn__umf_blocks_deinit(&self->given);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

/* --- making one --- */

static tarn_status check_options(const tarn_umf_provider_options *options) {
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_umf_provider_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  if ((options->flags & ~(uint32_t)TARN_UMF_OWN_PROVIDER) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_umf_provider_options has no flags %#x",
                     (unsigned)(options->flags & ~(uint32_t)TARN_UMF_OWN_PROVIDER));
  }
  if (options->granularity_bytes == 0 || tarn_is_power_of_two(options->granularity_bytes)) {
    return TARN_OK;
  }
  return tarn_fail(TARN_INVALID_ARGUMENT, "UMF provider: granularity %zu is not a power of two",
                   options->granularity_bytes);
}

/* Whole pages: shared memory of UMF's own provider goes wrong with halves of them. */
static tarn_status choose_sizes(upstream *self, const tarn_umf_provider_options *options) {
  size_t page_bytes = 0;
  const tarn__umf_result known = self->umf.page_size(self->handle, NULL, &page_bytes);
  if (known != TARN__UMF_SUCCESS || page_bytes == 0) page_bytes = ALIGNMENT_BYTES_MAX;
  if (!tarn_is_power_of_two(page_bytes)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "the UMF provider's page of %zu is no power of two",
                     page_bytes);
  }
  const size_t most_bytes =
      tarn_device_is_host(self->device) ? ALIGNMENT_BYTES_MAX_HOST : ALIGNMENT_BYTES_MAX;
  self->alignment_bytes = page_bytes < most_bytes ? page_bytes : most_bytes;
  self->granularity_bytes =
      options->granularity_bytes != 0 ? options->granularity_bytes : DEFAULT_GRANULARITY_BYTES;
  if (self->granularity_bytes < page_bytes) self->granularity_bytes = page_bytes;
  return TARN_OK;
}

/* Nobody must take a GPU's memory for the CPU's because a device was not said. */
static tarn_status choose_device(upstream *self, const tarn_umf_provider_options *options,
                                 const char **name) {
  const char *told = NULL;
  if (self->umf.name(self->handle, &told) != TARN__UMF_SUCCESS || told == NULL) told = "umf";
  *name = options->name != NULL ? options->name : told;
  self->device = options->device;
  if (options->device.type != 0 || tarn__umf_provider_device(told, &self->device)) return TARN_OK;
  self->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  if (strcmp(told, "CUDA") != 0 && strcmp(told, "LEVEL_ZERO") != 0) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "the options must say on which device the UMF provider %s has its memory", told);
}

tarn_status tarn_umf_provider_create(struct umf_memory_provider_t *handle,
                                     const tarn_umf_provider_options *options,
                                     tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  if (handle == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "handle is NULL");
  const tarn_umf_provider_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = check_options(options);
  if (status != TARN_OK) return status;
  upstream *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a UMF provider's handle");
  pthread_mutex_init(&self->lock, NULL);
  self->handle = handle;
  const char *name = NULL;
  status = find_functions(options, &self->umf);
  if (status == TARN_OK) status = choose_device(self, options, &name);
  if (status == TARN_OK) status = choose_sizes(self, options);
  if (status == TARN_OK) {
    size_t ipc_bytes = 0;
    self->is_shared = self->umf.ipc_size(handle, &ipc_bytes) == TARN__UMF_SUCCESS;
    const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                   .name = name,
                                   .attributes = upstream_attributes,
                                   .alloc = upstream_alloc,
                                   .release = upstream_release,
                                   .destroy = upstream_destroy};
    status = tarn_provider_create(&ops, self, provider);
  }
  if (status != TARN_OK) {
    pthread_mutex_destroy(&self->lock);
    free(self);
    return status;
  }
  self->is_owner = (options->flags & TARN_UMF_OWN_PROVIDER) != 0; /* from now on */
  return TARN_OK;
}
