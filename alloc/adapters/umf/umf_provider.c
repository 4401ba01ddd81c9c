/* umf_provider.c: a provider of tarn's as a UMF provider. */
#include "alloc/adapters/umf/umf_provider.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/adapters/umf/umf_share.h"
#include "alloc/adapters/umf/umf_status.h"

/* A handle that was not put back: its descriptor is open. */
typedef struct given {
  struct given *next;
  int descriptor;
} given;

typedef struct downstream {
  tarn_provider *provider; /* a reference; NULL: there is no memory */
  pthread_mutex_t lock;    /* guards what follows; no provider is called under it */
  tarn__umf_blocks lent;
  tarn__umf_blocks opened; /* memory of other processes */
  given *givens;
  size_t allocated_bytes; /* as UMF asked */
  size_t peak_bytes;
  struct downstream *next; /* of the list of all, and under its lock */
  struct downstream *previous;
  char name[TARN__UMF_NAME_BYTES];
} downstream;

static const char DEFAULT_NAME[] = "tarn";

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static downstream *all;

static void join_list(downstream *self) {
  pthread_mutex_lock(&list_lock);
  self->next = all;
  if (all != NULL) all->previous = self;
  all = self;
  pthread_mutex_unlock(&list_lock);
}

static void leave_list(downstream *self) {
  pthread_mutex_lock(&list_lock);
  if (self->next != NULL) self->next->previous = self->previous;
  *(self->previous != NULL ? &self->previous->next : &all) = self->next;
  pthread_mutex_unlock(&list_lock);
}

bool tarn__umf_provider_device(const char *name, tarn_device *device) {
  pthread_mutex_lock(&list_lock);
  const downstream *found = all;
  while (found != NULL && (found->name != name || found->provider == NULL)) found = found->next;
  if (found != NULL) *device = tarn_provider_attributes_of(found->provider)->device;
  pthread_mutex_unlock(&list_lock);
  return found != NULL;
}

static tarn__umf_result downstream_initialize(const void *params, void **provider) {
  const tarn_umf_provider_params none = {.struct_size = sizeof none};
  const tarn_umf_provider_params *asked = params != NULL ? params : &none;
  if (asked->struct_size != sizeof *asked) {
    return tarn__umf_result_of(tarn_fail(
        TARN_INVALID_ARGUMENT, "tarn_umf_provider_params has %zu bytes here, %zu were given",
        sizeof *asked, asked->struct_size));
  }
  downstream *self = calloc(1, sizeof *self);
  if (self == NULL) return TARN__UMF_OUT_OF_HOST_MEMORY;
  const char *name = asked->name != NULL       ? asked->name
                     : asked->provider != NULL ? tarn_provider_name(asked->provider)
                                               : DEFAULT_NAME;
  tarn__umf_copy_name(self->name, name);
  pthread_mutex_init(&self->lock, NULL);
  self->provider = asked->provider;
  if (self->provider != NULL) tarn_provider_retain(self->provider);
  join_list(self);
  *provider = self;
  return TARN__UMF_SUCCESS;
}

/* What nobody gave back goes now: nobody can any more. */
static tarn__umf_result downstream_finalize(void *provider) {
  downstream *self = provider;
  leave_list(self);
  tarn_status status = TARN_OK;
  for (tarn__umf_block *block = NULL; (block = tarn__umf_blocks_pop(&self->lent)) != NULL;) {
    const tarn_status freed = tarn_provider_free(self->provider, block->base, block->base_bytes);
    if (status == TARN_OK) status = freed;
    free(block);
  }
  for (tarn__umf_block *block = NULL; (block = tarn__umf_blocks_pop(&self->opened)) != NULL;) {
    tarn_storage_release(block->storage);
    free(block);
  }
  for (given *next = NULL; self->givens != NULL; self->givens = next) {
    next = self->givens->next;
    close(self->givens->descriptor);
    free(self->givens);
  }
  tarn__umf_blocks_deinit(&self->lent);
  tarn__umf_blocks_deinit(&self->opened);
  tarn_provider_release(self->provider);
  pthread_mutex_destroy(&self->lock);
  free(self);
  return tarn__umf_result_of(status);
}

/* --- blocks --- */

static bool add_block(downstream *self, tarn__umf_blocks *blocks, tarn__umf_block *block) {
  pthread_mutex_lock(&self->lock);
  const bool is_added = tarn__umf_blocks_reserve(blocks);
  if (is_added) {
    tarn__umf_blocks_add(blocks, block);
    if (blocks == &self->lent) self->allocated_bytes += block->size_bytes;
    if (self->peak_bytes < self->allocated_bytes) self->peak_bytes = self->allocated_bytes;
  }
  pthread_mutex_unlock(&self->lock);
  return is_added;
}

/* Takes out the block at the address if it has that size, or the size is 0; NULL: it does not. */
static tarn__umf_block *take_block(downstream *self, tarn__umf_blocks *blocks, const void *address,
                                   size_t size_bytes) {
  tarn__umf_block *taken = NULL;
  pthread_mutex_lock(&self->lock);
  tarn__umf_block **link = tarn__umf_blocks_find(blocks, address);
  if (link != NULL && (size_bytes == 0 || size_bytes == (*link)->size_bytes)) {
    taken = tarn__umf_blocks_remove(blocks, link);
    if (blocks == &self->lent) self->allocated_bytes -= taken->size_bytes;
  }
  pthread_mutex_unlock(&self->lock);
  return taken;
}

static tarn__umf_result refuse_block(const downstream *self, const void *address, size_t size) {
  return tarn__umf_result_of(tarn_fail(TARN_INVALID_ARGUMENT,
                                       "UMF provider %s has no block of %zu bytes at %p",
                                       self->name, size, address));
}

/* Memory for the block, which may have to begin behind its base. */
static tarn_status obtain(downstream *self, size_t alignment_bytes, tarn__umf_block *block) {
  const tarn_provider_attributes *machine = tarn_provider_attributes_of(self->provider);
  const size_t own_bytes = machine->alignment_bytes;
  const size_t more_bytes = alignment_bytes > own_bytes ? alignment_bytes - own_bytes : 0;
  if (!tarn_size_add(block->size_bytes, more_bytes, &block->base_bytes) ||
      !tarn_size_round_up(block->base_bytes, machine->granularity_bytes, &block->base_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "UMF provider %s: %zu bytes aligned to %zu exceed any machine",
                     self->name, block->size_bytes, alignment_bytes);
  }
  const tarn_status status = tarn_provider_alloc(self->provider, block->base_bytes, &block->base);
  if (status != TARN_OK) return status;
  const size_t skipped_bytes =
      more_bytes != 0 ? (size_t)(-(uintptr_t)block->base & (alignment_bytes - 1)) : 0;
  block->address = (char *)block->base + skipped_bytes;
  return TARN_OK;
}

static tarn__umf_result downstream_alloc(void *provider, size_t size, size_t alignment,
                                         void **address) {
  downstream *self = provider;
  *address = NULL;
  if (self->provider == NULL) {
    return tarn__umf_result_of(tarn_fail(TARN_NOT_SUPPORTED, "%s has no memory", self->name));
  }
  if (size == 0) return refuse_block(self, NULL, 0);
  if (alignment != 0 && !tarn_is_power_of_two(alignment)) return TARN__UMF_INVALID_ALIGNMENT;
  tarn__umf_block *block = calloc(1, sizeof *block);
  if (block == NULL) return TARN__UMF_OUT_OF_HOST_MEMORY;
  block->size_bytes = size;
  const tarn_status status = obtain(self, alignment, block);
  if (status != TARN_OK) {
    free(block);
    return tarn__umf_result_of(status);
  }
  if (!add_block(self, &self->lent, block)) {
    const tarn_status ignored = tarn_provider_free(self->provider, block->base, block->base_bytes);
    (void)ignored; /* what follows is the cause */
    free(block);
    return TARN__UMF_OUT_OF_HOST_MEMORY;
  }
  *address = block->address;
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_free(void *provider, void *address, size_t size) {
  downstream *self = provider;
  if (address == NULL) return TARN__UMF_SUCCESS;
  /* Taken out before another thread may be lent the same address. */
  tarn__umf_block *block = take_block(self, &self->lent, address, size);
  if (block == NULL) return refuse_block(self, address, size);
  const tarn_status status = tarn_provider_free(self->provider, block->base, block->base_bytes);
  free(block);
  return tarn__umf_result_of(status);
}

/* --- what it tells --- */

static tarn__umf_result downstream_native_error(void *provider, const char **message,
                                                int32_t *code) {
  (void)provider;
  if (message == NULL || code == NULL) return TARN__UMF_INVALID_ARGUMENT;
  *message = tarn_last_error()->message;
  *code = (int32_t)tarn_last_error()->native_code;
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_recommended_page(void *provider, size_t size, size_t *page) {
  const downstream *self = provider;
  (void)size;
  if (page == NULL) return TARN__UMF_INVALID_ARGUMENT;
  if (self->provider == NULL) return TARN__UMF_NOT_SUPPORTED;
  *page = tarn_provider_attributes_of(self->provider)->granularity_bytes;
  return TARN__UMF_SUCCESS;
}

/* UMF's pools rely on it that blocks are aligned so. */
static tarn__umf_result downstream_min_page(void *provider, const void *address, size_t *page) {
  const downstream *self = provider;
  (void)address;
  if (page == NULL) return TARN__UMF_INVALID_ARGUMENT;
  if (self->provider == NULL) return TARN__UMF_NOT_SUPPORTED;
  const tarn_provider_attributes *machine = tarn_provider_attributes_of(self->provider);
  *page = machine->alignment_bytes < machine->granularity_bytes ? machine->alignment_bytes
                                                                : machine->granularity_bytes;
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_cache_line(void *provider, size_t *size) {
  (void)provider;
  if (size == NULL) return TARN__UMF_INVALID_ARGUMENT;
  const long line_bytes = sysconf(_SC_LEVEL1_DCACHE_LINESIZE);
  *size = line_bytes > 0 ? (size_t)line_bytes : 64;
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_name(void *provider, const char **name) {
  const downstream *self = provider;
  if (name == NULL) return TARN__UMF_INVALID_ARGUMENT;
  *name = self != NULL ? self->name : DEFAULT_NAME;
  return TARN__UMF_SUCCESS;
}

/* UMF's kinds are of memory that a GPU reaches; what a pageable block is, it has no name for. */
static tarn__umf_result downstream_property(void *provider, const void *address, int32_t property,
                                            void *value) {
  const downstream *self = provider;
  (void)address;
  if (value == NULL) return TARN__UMF_INVALID_ARGUMENT;
  if (property != TARN__UMF_PROPERTY_POINTER_TYPE || self->provider == NULL) {
    return TARN__UMF_NOT_SUPPORTED;
  }
  const int32_t type = tarn_provider_attributes_of(self->provider)->device.type;
  const uint32_t kind = type == TARN_DEVICE_CUDA           ? TARN__UMF_MEMORY_DEVICE
                        : type == TARN_DEVICE_CUDA_HOST    ? TARN__UMF_MEMORY_HOST
                        : type == TARN_DEVICE_CUDA_MANAGED ? TARN__UMF_MEMORY_SHARED
                                                           : TARN__UMF_MEMORY_UNKNOWN;
  memcpy(value, &kind, sizeof kind);
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_property_size(void *provider, int32_t property, size_t *size) {
  (void)provider;
  if (size == NULL) return TARN__UMF_INVALID_ARGUMENT;
  if (property != TARN__UMF_PROPERTY_POINTER_TYPE) return TARN__UMF_NOT_SUPPORTED;
  *size = sizeof(uint32_t);
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_ctl(void *provider, uint32_t source, const char *name,
                                       void *argument, size_t size, uint32_t kind,
                                       va_list arguments) {
  downstream *self = provider;
  (void)source;
  (void)arguments;
  const bool is_peak = strcmp(name, "stats.peak_memory") == 0;
  if (kind != TARN__UMF_CTL_READ || (!is_peak && strcmp(name, "stats.allocated_memory") != 0)) {
    return TARN__UMF_INVALID_CTL_PATH;
  }
  if (self == NULL || argument == NULL || size != sizeof(size_t)) return TARN__UMF_INVALID_ARGUMENT;
  pthread_mutex_lock(&self->lock);
  memcpy(argument, is_peak ? &self->peak_bytes : &self->allocated_bytes, sizeof(size_t));
  pthread_mutex_unlock(&self->lock);
  return TARN__UMF_SUCCESS;
}

/* --- between processes --- */

/* A provider that shares knows that it has not lent this; one that does not share says so. */
static tarn__umf_result downstream_handle_size(void *provider, size_t *size) {
  downstream *self = provider;
  if (size == NULL) return TARN__UMF_INVALID_ARGUMENT;
  if (self->provider == NULL) return TARN__UMF_NOT_SUPPORTED;
  int descriptor = -1;
  int64_t offset_bytes = 0;
  const tarn_status status = tarn_provider_share(self->provider, self, &descriptor, &offset_bytes);
  if (descriptor >= 0) close(descriptor);
  if (status != TARN_OK && status != TARN_NOT_FOUND) return tarn__umf_result_of(status);
  *size = sizeof(tarn__umf_handle);
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_get_handle(void *provider, const void *address, size_t size,
                                              void *bytes) {
  downstream *self = provider;
  if (bytes == NULL || self->provider == NULL) return TARN__UMF_INVALID_ARGUMENT;
  pthread_mutex_lock(&self->lock);
  tarn__umf_block **link = tarn__umf_blocks_find(&self->lent, address);
  const tarn__umf_block block = link != NULL ? **link : (tarn__umf_block){0};
  pthread_mutex_unlock(&self->lock);
  if (link == NULL) return refuse_block(self, address, size);
  given *one = malloc(sizeof *one);
  if (one == NULL) return TARN__UMF_OUT_OF_HOST_MEMORY;
  tarn__umf_handle handle;
  const tarn_status status = tarn__umf_share(self->provider, &block, &handle);
  if (status != TARN_OK) {
    free(one);
    return tarn__umf_result_of(status);
  }
  one->descriptor = handle.descriptor;
  pthread_mutex_lock(&self->lock);
  one->next = self->givens;
  self->givens = one;
  pthread_mutex_unlock(&self->lock);
  memcpy(bytes, &handle, sizeof handle);
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_put_handle(void *provider, void *bytes) {
  downstream *self = provider;
  if (bytes == NULL) return TARN__UMF_INVALID_ARGUMENT;
  tarn__umf_handle handle;
  memcpy(&handle, bytes, sizeof handle);
  pthread_mutex_lock(&self->lock);
  given **link = &self->givens;
  while (*link != NULL && (*link)->descriptor != handle.descriptor) link = &(*link)->next;
  given *one = *link;
  if (one != NULL) *link = one->next;
  pthread_mutex_unlock(&self->lock);
  if (one == NULL) return TARN__UMF_INVALID_ARGUMENT;
  close(one->descriptor);
  free(one);
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_open_handle(void *provider, void *bytes, void **address) {
  downstream *self = provider;
  if (address == NULL || bytes == NULL) return TARN__UMF_INVALID_ARGUMENT;
  *address = NULL;
  tarn__umf_handle handle;
  memcpy(&handle, bytes, sizeof handle);
  tarn__umf_block *opened = calloc(1, sizeof *opened);
  if (opened == NULL) return TARN__UMF_OUT_OF_HOST_MEMORY;
  const tarn_status status = tarn__umf_share_open(&handle, opened);
  if (status != TARN_OK) {
    free(opened);
    return tarn__umf_result_of(status);
  }
  void *found = opened->address;
  if (!add_block(self, &self->opened, opened)) {
    tarn_storage_release(opened->storage);
    free(opened);
    return TARN__UMF_OUT_OF_HOST_MEMORY;
  }
  *address = found;
  return TARN__UMF_SUCCESS;
}

static tarn__umf_result downstream_close_handle(void *provider, void *address, size_t size) {
  downstream *self = provider;
  tarn__umf_block *opened = take_block(self, &self->opened, address, /*size_bytes=*/0);
  if (opened == NULL) return refuse_block(self, address, size);
  tarn_storage_release(opened->storage);
  free(opened);
  return TARN__UMF_SUCCESS;
}

/* --- the tables --- */

#define OPS_OF(minor)                                                                         \
  {                                                                                           \
    .version = TARN__UMF_VERSION(1, minor), .initialize = downstream_initialize,              \
    .finalize = downstream_finalize, .alloc = downstream_alloc, .free = downstream_free,      \
    .get_last_native_error = downstream_native_error,                                         \
    .get_recommended_page_size = downstream_recommended_page,                                 \
    .get_min_page_size = downstream_min_page, .get_name = downstream_name,                    \
    .ext_get_ipc_handle_size = downstream_handle_size,                                        \
    .ext_get_ipc_handle = downstream_get_handle, .ext_put_ipc_handle = downstream_put_handle, \
    .ext_open_ipc_handle = downstream_open_handle,                                            \
    .ext_close_ipc_handle = downstream_close_handle, .ext_ctl = downstream_ctl,               \
    .ext_get_allocation_properties = downstream_property,                                     \
    .ext_get_allocation_properties_size = downstream_property_size,                           \
    .get_cache_line_size = downstream_cache_line,                                             \
  }

const struct umf_memory_provider_ops_t *tarn_umf_provider_ops(uint32_t version) {
  static const tarn__umf_provider_ops ops[] = {OPS_OF(0), OPS_OF(1), OPS_OF(2)};
  uint32_t minor = 0;
  if (!tarn__umf_minor(version, 2, &minor)) return NULL;
  return (const struct umf_memory_provider_ops_t *)&ops[minor];
}
