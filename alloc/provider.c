/* provider.c: the provider seam: checks an implementation once, then every call's arguments. */
#include "alloc/provider.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/fork.h"
#include "alloc/share.h"

struct tarn_provider {
  atomic_size_t reference_count;
  tarn_provider_ops ops;
  void *context;
  tarn_provider_attributes attributes;
  char name[]; /* ops.name points here */
};

/* LeakSanitizer's, where the process has it, whatever this file was compiled for: a malloc block
 * whose only pointer lies in a provider's memory is no leak. */
__attribute__((weak)) void __lsan_register_root_region(const void *address, size_t size_bytes);
__attribute__((weak)) void __lsan_unregister_root_region(const void *address, size_t size_bytes);

static tarn_status check_ops(const tarn_provider_ops *ops) {
  if (ops == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "a provider needs its operations");
  if (ops->struct_size != sizeof *ops) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_provider_ops has %zu bytes here, %zu were given",
                     sizeof *ops, ops->struct_size);
  }
  const char *missing = ops->name == NULL         ? "name"
                        : ops->attributes == NULL ? "attributes"
                        : ops->alloc == NULL      ? "alloc"
                        : ops->release == NULL    ? "release"
                                                  : NULL;
  if (missing != NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "provider operations lack %s", missing);
  }
  const int reserving = (ops->reserve != NULL) + (ops->commit != NULL) + (ops->decommit != NULL);
  if (reserving != 0 && reserving != 3) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "provider %s has some of reserve, commit and decommit, but not all",
                     ops->name);
  }
  if ((ops->adopt != NULL) != (ops->abandon != NULL)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "provider %s: adopt and abandon go together",
                     ops->name);
  }
  return TARN_OK;
}

static tarn_status check_attributes(const tarn_provider_ops *ops,
                                    const tarn_provider_attributes *attributes) {
  const uint32_t known = TARN_PROVIDER_ZEROED | TARN_PROVIDER_RESERVES | TARN_PROVIDER_ORDERED |
                         TARN_PROVIDER_OF_PROCESS | TARN_PROVIDER_MOVES;
  if (!tarn_is_power_of_two(attributes->granularity_bytes) ||
      !tarn_is_power_of_two(attributes->alignment_bytes)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "provider %s: granularity %zu and alignment %zu must be powers of two",
                     ops->name, attributes->granularity_bytes, attributes->alignment_bytes);
  }
  if ((attributes->flags & ~known) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "provider %s: unknown flags 0x%x", ops->name,
                     attributes->flags & ~known);
  }
  if (((attributes->flags & TARN_PROVIDER_RESERVES) != 0) != (ops->reserve != NULL)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "provider %s: TARN_PROVIDER_RESERVES and the function reserve go together",
                     ops->name);
  }
  if (((attributes->flags & TARN_PROVIDER_ORDERED) != 0) != (ops->alloc_ordered != NULL)) {
    return tarn_fail(
        TARN_INVALID_ARGUMENT,
        "provider %s: TARN_PROVIDER_ORDERED and the function alloc_ordered go together", ops->name);
  }
  const bool moves = (attributes->flags & TARN_PROVIDER_MOVES) != 0;
  if (moves != (ops->move != NULL) || (moves && ops->reserve == NULL)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "provider %s: TARN_PROVIDER_MOVES, the function move and reserve go together",
                     ops->name);
  }
  const size_t piece_bytes = attributes->piece_bytes;
  if (piece_bytes != 0 &&
      (!tarn_is_power_of_two(piece_bytes) || piece_bytes <= attributes->granularity_bytes)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "provider %s: pieces of %zu bytes are no power of two above granules of %zu",
                     ops->name, piece_bytes, attributes->granularity_bytes);
  }
  return TARN_OK;
}

tarn_status tarn_provider_create(const tarn_provider_ops *ops, void *context,
                                 tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  tarn_status status = check_ops(ops);
  if (status != TARN_OK) return status;
  tarn_provider_attributes attributes = {.struct_size = sizeof attributes, .node = -1};
  status = ops->attributes(context, &attributes);
  if (status == TARN_OK) status = check_attributes(ops, &attributes);
  if (status != TARN_OK) return status;

  const size_t name_bytes = strlen(ops->name) + 1;
  tarn_provider *made = calloc(1, sizeof *made + name_bytes);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a provider's handle");
  atomic_init(&made->reference_count, 1);
  made->ops = *ops;
  made->context = context;
  made->attributes = attributes;
  memcpy(made->name, ops->name, name_bytes);
  made->ops.name = made->name;
  *provider = made;
  return TARN_OK;
}

void tarn_provider_retain(tarn_provider *provider) {
  /* Relaxed: whoever retains already holds a reference. */
  atomic_fetch_add_explicit(&provider->reference_count, 1, memory_order_relaxed);
}

void tarn_provider_release(tarn_provider *provider) {
  if (provider == NULL) return;
  /* Release pairs with acquire: all use in other threads happens before destroy. */
  if (atomic_fetch_sub_explicit(&provider->reference_count, 1, memory_order_acq_rel) != 1) return;
  if (provider->ops.destroy != NULL) provider->ops.destroy(provider->context);
  free(provider);
}

const char *tarn_provider_name(const tarn_provider *provider) {
  return provider->name;
}

const tarn_provider_attributes *tarn_provider_attributes_of(const tarn_provider *provider) {
  return &provider->attributes;
}

static tarn_status check_size(const tarn_provider *provider, size_t size_bytes) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  const size_t granularity = provider->attributes.granularity_bytes;
  if (size_bytes > PTRDIFF_MAX) {
    return tarn_fail(TARN_TOO_LARGE, "provider %s: %zu bytes exceed any machine", provider->name,
                     size_bytes);
  }
  if (size_bytes != 0 && (size_bytes & (granularity - 1)) == 0) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "provider %s: %zu bytes are not a positive multiple of its granularity %zu",
                   provider->name, size_bytes, granularity);
}

static tarn_status check_range(const tarn_provider *provider, void *address, size_t size_bytes) {
  if (address == NULL || ((uintptr_t)address & (provider->attributes.granularity_bytes - 1)) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "provider %s: address %p is not on its granularity %zu",
                     provider->name, address, provider->attributes.granularity_bytes);
  }
  return check_size(provider, size_bytes);
}

static tarn_status check_reserves(const tarn_provider *provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  if (provider->ops.reserve != NULL) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED, "provider %s does not reserve address space",
                   provider->name);
}

/* LeakSanitizer's own lock is not taken around a fork. */
static pthread_mutex_t leak_lock = PTHREAD_MUTEX_INITIALIZER;

void tarn__provider_hold(void) {
  pthread_mutex_lock(&leak_lock);
}

void tarn__provider_unhold(void) {
  pthread_mutex_unlock(&leak_lock);
}

/* Passes the status on. */
static tarn_status add_leak_root(const tarn_provider *provider, tarn_status status,
                                 const void *address, size_t size_bytes) {
  if (status == TARN_OK && __lsan_register_root_region != NULL &&
      tarn_device_is_host(provider->attributes.device)) {
    pthread_mutex_lock(&leak_lock);
    __lsan_register_root_region(address, size_bytes);
    pthread_mutex_unlock(&leak_lock);
  }
  return status;
}

/* What a provider refuses it did not lend, and LeakSanitizer ends a process that takes back what
 * it does not know. */
static tarn_status remove_leak_root(const tarn_provider *provider, tarn_status status,
                                    const void *address, size_t size_bytes) {
  if (status == TARN_OK && __lsan_unregister_root_region != NULL &&
      tarn_device_is_host(provider->attributes.device)) {
    pthread_mutex_lock(&leak_lock);
    __lsan_unregister_root_region(address, size_bytes);
    pthread_mutex_unlock(&leak_lock);
  }
  return status;
}

tarn_status tarn_provider_alloc(tarn_provider *provider, size_t size_bytes, void **address) {
  if (address == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "address is NULL");
  *address = NULL;
  tarn_status status = check_size(provider, size_bytes);
  if (status != TARN_OK) return status;
  status = provider->ops.alloc(provider->context, size_bytes, address);
  return add_leak_root(provider, status, *address, size_bytes);
}

tarn_status tarn_provider_alloc_ordered(tarn_provider *provider, size_t size_bytes,
                                        tarn_stream *stream, void **address) {
  if (provider == NULL || provider->ops.alloc_ordered == NULL ||
      tarn_stream_is_synchronous(stream)) {
    return tarn_provider_alloc(provider, size_bytes, address);
  }
  if (address == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "address is NULL");
  *address = NULL;
  tarn_status status = check_size(provider, size_bytes);
  if (status != TARN_OK) return status;
  status = provider->ops.alloc_ordered(provider->context, size_bytes, stream, address);
  return add_leak_root(provider, status, *address, size_bytes);
}

tarn_status tarn_provider_reserve(tarn_provider *provider, size_t size_bytes, void **address) {
  if (address == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "address is NULL");
  *address = NULL;
  tarn_status status = check_reserves(provider);
  if (status == TARN_OK) status = check_size(provider, size_bytes);
  if (status != TARN_OK) return status;
  status = provider->ops.reserve(provider->context, size_bytes, address);
  return add_leak_root(provider, status, *address, size_bytes);
}

tarn_status tarn_provider_commit(tarn_provider *provider, void *address, size_t size_bytes) {
  tarn_status status = check_reserves(provider);
  if (status == TARN_OK) status = check_range(provider, address, size_bytes);
  if (status != TARN_OK) return status;
  return provider->ops.commit(provider->context, address, size_bytes);
}

tarn_status tarn_provider_decommit(tarn_provider *provider, void *address, size_t size_bytes) {
  tarn_status status = check_reserves(provider);
  if (status == TARN_OK) status = check_range(provider, address, size_bytes);
  if (status != TARN_OK) return status;
  return provider->ops.decommit(provider->context, address, size_bytes);
}

/* What a move is to a provider that has none. */
static tarn_status swap_spans(tarn_provider *provider, const tarn_provider_span *spans,
                              size_t span_count, void *address, size_t size_bytes,
                              size_t *taken_count) {
  for (; *taken_count < span_count; ++*taken_count) {
    const tarn_provider_span *span = &spans[*taken_count];
    const tarn_status status =
        provider->ops.decommit(provider->context, span->address, span->size_bytes);
    if (status != TARN_OK) return status;
  }
  return provider->ops.commit(provider->context, address, size_bytes);
}

tarn_status tarn_provider_move(tarn_provider *provider, const tarn_provider_span *spans,
                               size_t span_count, void *address, size_t size_bytes,
                               size_t *taken_count) {
  if (taken_count == NULL || (spans == NULL && span_count != 0)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a move needs its spans, and where to count them");
  }
  *taken_count = 0;
  tarn_status status = check_reserves(provider);
  if (status == TARN_OK) status = check_range(provider, address, size_bytes);
  for (size_t i = 0; status == TARN_OK && i < span_count; i++) {
    status = check_range(provider, spans[i].address, spans[i].size_bytes);
  }
  if (status != TARN_OK) return status;
  if (provider->ops.move == NULL) {
    return swap_spans(provider, spans, span_count, address, size_bytes, taken_count);
  }
  return provider->ops.move(provider->context, spans, span_count, address, size_bytes, taken_count);
}

tarn_status tarn_provider_prepare(tarn_provider *provider, size_t size_bytes,
                                  size_t *prepared_bytes) {
  size_t prepared = 0;
  if (prepared_bytes == NULL) prepared_bytes = &prepared;
  *prepared_bytes = 0;
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  if (provider->ops.prepare == NULL) {
    if (size_bytes == 0) return TARN_OK;
    return tarn_fail(TARN_NOT_SUPPORTED, "provider %s makes no memory ahead", provider->name);
  }
  return provider->ops.prepare(provider->context,
                               size_bytes & ~(provider->attributes.granularity_bytes - 1),
                               prepared_bytes);
}

tarn_status tarn_provider_free(tarn_provider *provider, void *address, size_t size_bytes) {
  tarn_status status = check_size(provider, size_bytes);
  if (status != TARN_OK) return status;
  if (address == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "provider %s: NULL is no block", provider->name);
  }
  status = provider->ops.release(provider->context, address, size_bytes);
  return remove_leak_root(provider, status, address, size_bytes);
}

tarn_status tarn_provider_share(tarn_provider *provider, const void *address, int *descriptor,
                                int64_t *offset_bytes) {
  if (descriptor != NULL) *descriptor = -1;
  if (offset_bytes != NULL) *offset_bytes = 0;
  if (provider == NULL || address == NULL || descriptor == NULL || offset_bytes == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "sharing needs a provider, an address, a descriptor and an offset");
  }
  if (provider->ops.share == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "provider %s: its memory is this process's alone",
                     provider->name);
  }
  return provider->ops.share(provider->context, address, descriptor, offset_bytes);
}

tarn_status tarn_provider_share_range(tarn_provider *provider, const void *address,
                                      size_t size_bytes, tarn_stream *stream, bool may_mark,
                                      tarn_share_memory *memory) {
  if (provider == NULL || address == NULL || size_bytes == 0 || memory == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "sharing needs a provider, its bytes and a description");
  }
  if (provider->ops.share_range == NULL) {
    return tarn__share_file(provider, address, size_bytes, stream, memory);
  }
  return provider->ops.share_range(provider->context, address, size_bytes, stream, may_mark,
                                   memory);
}

tarn_status tarn__provider_adopt(tarn_provider *provider, const tarn_share_memory *memory,
                                 tarn_stream *stream, void **address, tarn_device *device) {
  if (provider->ops.adopt == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "provider %s: it maps no memory of another process",
                     provider->name);
  }
  return provider->ops.adopt(provider->context, memory, stream, address, device);
}

void tarn__provider_abandon(tarn_provider *provider, void *address) {
  provider->ops.abandon(provider->context, address);
}

void *tarn_provider_context(const tarn_provider *provider,
                            tarn_status (*release)(void *context, void *address,
                                                   size_t size_bytes)) {
  return provider != NULL && provider->ops.release == release ? provider->context : NULL;
}
