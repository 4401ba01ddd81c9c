/* virtual_provider.c: a GPU's memory behind the provider seam, by virtual memory management.
 *
 *     range   [ granule | granule | ....... |    piece    | ... ]    cuMemAddressReserve
 *                  |         |                     |
 *               handle    handle                handle               handles.c: cuMemCreate
 *
 * A mapping can only be taken away whole, so every granule, or piece, has memory of its own, whose
 * handle is kept: to hand the memory on (move), or to give it back once nothing maps it. What one
 * call commits is mapped handle by handle, and opened to the device at once. What is mapped is kept
 * in a bitmap, because a range is given back whatever it holds.
 */
#include "cuda/cuda_adopt.h"
#include "cuda/cuda_share.h"
#include "cuda/granules.h"
#include "cuda/handles.h"
#include "cuda/virtual_support.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct virtual_provider {
  tarn_cuda *cuda; /* retained */
  int32_t device;
  CUcontext context;
  tarn__granules granules;
  tarn__handles handles;
  atomic_size_t mapped_bytes;
  _Atomic uint64_t moved_bytes; /* since it was made */
  tarn__cuda_peers peers;       /* that are let in */
} virtual_provider;

/* What an importer has mapped must not become somebody else's: it goes back, and is never moved. */
static bool is_shared(const virtual_provider *self) {
  return self->handles.properties.requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE;
}

static tarn_status explain(const virtual_provider *self, CUresult result, const char *call,
                           const char *what, size_t size_bytes) {
  const tarn__driver *driver = &self->cuda->driver;
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (result == CUDA_ERROR_OUT_OF_MEMORY &&
      driver->MemGetInfo(&free_bytes, &total_bytes) == CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, call,
                             "%s %zu bytes on CUDA device %d, where %zu of %zu are free", what,
                             size_bytes, (int)self->device, free_bytes, total_bytes);
  }
  return tarn__cuda_status(driver, result, call, "%s %zu bytes on CUDA device %d", what, size_bytes,
                           (int)self->device);
}

/* --- memory behind addresses; the device's context is current --- */

/* Granules [first, end) of a range, marked as the caller's. */
typedef struct stretch {
  tarn__granule_range *range;
  size_t first;
  size_t end;
} stretch;

static stretch stretch_at(const virtual_provider *self, tarn__granule_range *range,
                          const void *address, size_t size_bytes) {
  const size_t step = self->granules.granularity_bytes;
  const size_t first = ((uintptr_t)address - range->start) / step;
  return (stretch){.range = range, .first = first, .end = first + size_bytes / step};
}

static CUdeviceptr address_at(const virtual_provider *self, const tarn__granule_range *range,
                              size_t index) {
  return range->start + index * self->granules.granularity_bytes;
}

static size_t bytes_of(const virtual_provider *self, size_t granule_count) {
  return granule_count * self->granules.granularity_bytes;
}

/* Gives the handles of unmapped memory back. */
static void give_handles(virtual_provider *self, const stretch *part) {
  for (size_t at = part->first, count = 0; at < part->end; at += count) {
    count = tarn__granule_piece(&self->granules, part->range, at);
    tarn__handle_give(&self->handles, bytes_of(self, count), part->range->handles[at]);
    tarn__granule_set_piece(&self->granules, part->range, at, /*is_piece=*/false);
  }
}

static CUresult unmap(virtual_provider *self, const stretch *part) {
  const size_t size_bytes = bytes_of(self, part->end - part->first);
  const CUresult result =
      self->cuda->driver.MemUnmap(address_at(self, part->range, part->first), size_bytes);
  if (result == CUDA_SUCCESS) {
    atomic_fetch_sub_explicit(&self->mapped_bytes, size_bytes, memory_order_relaxed);
  }
  return result;
}

static stretch stretch_of(virtual_provider *self, const tarn_provider_span *span) {
  tarn__granule_range *range = tarn__granules_find(&self->granules, span->address);
  return stretch_at(self, range, span->address, span->size_bytes);
}

/* Memory that was unmapped somewhere, to be mapped elsewhere: the handles of `spans` that stand for
 * so many granules each, in order. */
typedef struct source {
  const tarn_provider_span *spans;
  stretch part;         /* what is left of the span that is being used up */
  size_t next;          /* the span behind it */
  size_t granule_count; /* of each handle */
  size_t left_count;    /* handles that are to be taken */
} source;

/* One more; there is one. */
static CUmemGenericAllocationHandle next_handle(virtual_provider *self, source *from) {
  for (;;) {
    stretch *part = &from->part;
    if (part->first == part->end) *part = stretch_of(self, &from->spans[from->next++]);
    const size_t at = part->first;
    const size_t count = tarn__granule_piece(&self->granules, part->range, at);
    part->first += count;
    if (count != from->granule_count) continue;
    from->left_count--;
    return part->range->handles[at];
  }
}

/* So many of them go back instead. */
static void give_some(virtual_provider *self, source *from, size_t count) {
  for (; count > 0; count--) {
    tarn__handle_give(&self->handles, bytes_of(self, from->granule_count), next_handle(self, from));
  }
}

/* Sources of single granules and of pieces. */
typedef struct sources {
  source granules;
  source pieces;
} sources;

static sources sources_of(virtual_provider *self, const tarn_provider_span *spans,
                          size_t span_count) {
  const size_t step = self->granules.granularity_bytes;
  sources from = {.granules = {.spans = spans, .granule_count = 1},
                  .pieces = {.spans = spans, .granule_count = self->granules.piece_bytes / step}};
  for (size_t i = 0; i < span_count; i++) {
    const stretch part = stretch_of(self, &spans[i]);
    for (size_t at = part.first, count = 0; at < part.end; at += count) {
      count = tarn__granule_piece(&self->granules, part.range, at);
      (count == 1 ? &from.granules : &from.pieces)->left_count++;
    }
  }
  return from;
}

/* Whether a piece comes next: a fresh one only where there are no granules to put there. */
static bool takes_piece(const virtual_provider *self, const stretch *to, size_t at,
                        size_t granules_left, size_t pieces_left) {
  return tarn__granule_fits_piece(&self->granules, to->range, at, to->end) &&
         (pieces_left > 0 ||
          granules_left < self->granules.piece_bytes / self->granules.granularity_bytes);
}

/* What is of the wrong size goes back before anything is made, so that no more is held at once. */
static void give_surplus(virtual_provider *self, const stretch *to, sources *from) {
  size_t granules_left = from->granules.left_count;
  size_t pieces_left = from->pieces.left_count;
  for (size_t at = to->first; at < to->end;) {
    const bool is_piece = takes_piece(self, to, at, granules_left, pieces_left);
    size_t *left = is_piece ? &pieces_left : &granules_left;
    if (*left > 0) --*left;
    at += is_piece ? from->pieces.granule_count : 1;
  }
  give_some(self, &from->granules, granules_left);
  give_some(self, &from->pieces, pieces_left);
}

/* Gets memory behind granule *at, and goes on behind it. */
static CUresult fill_next(virtual_provider *self, const stretch *to, sources *from, size_t *at,
                          const char **call) {
  const bool is_piece =
      takes_piece(self, to, *at, from->granules.left_count, from->pieces.left_count);
  source *reused = is_piece ? &from->pieces : &from->granules;
  const size_t size_bytes = bytes_of(self, reused->granule_count);
  CUmemGenericAllocationHandle handle = 0;
  CUresult result = CUDA_SUCCESS;
  *call = "cuMemCreate";
  if (reused->left_count > 0) {
    handle = next_handle(self, reused);
  } else {
    result = tarn__handle_take(&self->handles, size_bytes, &handle);
  }
  if (result != CUDA_SUCCESS) return result;
  *call = "cuMemMap";
  result = self->cuda->driver.MemMap(address_at(self, to->range, *at), size_bytes, 0, handle, 0);
  if (result != CUDA_SUCCESS) {
    tarn__handle_give(&self->handles, size_bytes, handle);
    return result;
  }
  to->range->handles[*at] = handle;
  tarn__granule_set_piece(&self->granules, to->range, *at, is_piece);
  *at += reused->granule_count;
  return CUDA_SUCCESS;
}

static CUresult open_to_devices(const virtual_provider *self, const stretch *part) {
  CUmemAccessDesc access[TARN__CUDA_ACCESS_MAX];
  const size_t count = tarn__cuda_access(self->cuda, self->device, &self->peers,
                                         CU_MEM_ACCESS_FLAGS_PROT_READWRITE, access);
  return self->cuda->driver.MemSetAccess(address_at(self, part->range, part->first),
                                         bytes_of(self, part->end - part->first), access, count);
}

/* Memory for all of `to`, of what is unmapped first, or for none of it. */
static tarn_status map_memory(virtual_provider *self, const stretch *to, sources *from) {
  const size_t size_bytes = bytes_of(self, to->end - to->first);
  CUresult result = CUDA_SUCCESS;
  const char *call = NULL;
  give_surplus(self, to, from);
  size_t at = to->first;
  while (result == CUDA_SUCCESS && at < to->end) result = fill_next(self, to, from, &at, &call);
  if (result == CUDA_SUCCESS) {
    call = "cuMemSetAccess";
    result = open_to_devices(self, to);
  }
  const stretch mapped = {.range = to->range, .first = to->first, .end = at};
  const size_t mapped_bytes = bytes_of(self, at - to->first);
  atomic_fetch_add_explicit(&self->mapped_bytes, mapped_bytes, memory_order_relaxed);
  if (result == CUDA_SUCCESS) return TARN_OK;
  if (mapped_bytes != 0 && unmap(self, &mapped) != CUDA_SUCCESS) {
    tarn__handles_lose(&self->handles, mapped_bytes); /* the mapping holds it */
  }
  give_handles(self, &mapped);
  give_some(self, &from->granules, from->granules.left_count);
  give_some(self, &from->pieces, from->pieces.left_count);
  return explain(self, result, call, "committing", size_bytes);
}

static tarn_status unmap_memory(virtual_provider *self, const stretch *part) {
  return tarn__cuda_status(
      &self->cuda->driver, unmap(self, part), "cuMemUnmap",
      "decommitting %zu bytes at %p on CUDA device %d", bytes_of(self, part->end - part->first),
      (void *)(uintptr_t)address_at(self, part->range, part->first), (int)self->device);
}

/* --- the provider's operations --- */

static tarn_status provider_attributes(void *context, tarn_provider_attributes *attributes) {
  const virtual_provider *self = context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA, self->device);
  attributes->granularity_bytes = self->granules.granularity_bytes;
  attributes->alignment_bytes = self->granules.granularity_bytes;
  attributes->piece_bytes = self->granules.piece_bytes;
  attributes->flags = TARN_PROVIDER_RESERVES;
  if (!is_shared(self)) attributes->flags |= TARN_PROVIDER_MOVES;
  attributes->node = -1;
  return TARN_OK;
}

/* The record comes second: its size follows an absurd range's, and the driver refuses that. */
static tarn_status provider_reserve(void *context, size_t size_bytes, void **address) {
  virtual_provider *self = context;
  const tarn__driver *driver = &self->cuda->driver;
  tarn__granule_range *range = NULL;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  /* A piece lies on its size, so that the range begins with a whole one. */
  const size_t alignment_bytes = self->granules.piece_bytes != 0 ? self->granules.piece_bytes
                                                                 : self->granules.granularity_bytes;
  CUdeviceptr start = 0;
  const CUresult result = driver->MemAddressReserve(&start, size_bytes, alignment_bytes, 0, 0);
  status = tarn__cuda_status(driver, result, "cuMemAddressReserve",
                             "reserving %zu bytes of addresses on CUDA device %d", size_bytes,
                             (int)self->device);
  if (status == TARN_OK) {
    range = tarn__granule_range_create(&self->granules, size_bytes);
    if (range == NULL) {
      driver->MemAddressFree(start, size_bytes);
      status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a range's record");
    }
  }
  tarn__cuda_leave(&scope);
  if (status != TARN_OK) return status;
  *address = (void *)(uintptr_t)start;
  tarn__granules_add(&self->granules, range, *address);
  return TARN_OK;
}

static tarn_status refuse_commit(const void *address, size_t size_bytes) {
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "%zu bytes at %p are outside of what was reserved, or committed already",
                   size_bytes, address);
}

static tarn_status refuse_decommit(const void *address, size_t size_bytes) {
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "%zu bytes at %p are not committed throughout, or a part of a piece", size_bytes,
                   address);
}

static tarn_status provider_commit(void *context, void *address, size_t size_bytes) {
  virtual_provider *self = context;
  tarn_status status = tarn__cuda_check_process(self->cuda);
  if (status != TARN_OK) return status;
  tarn__granule_range *range =
      tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/true);
  if (range == NULL) return refuse_commit(address, size_bytes);
  tarn__cuda_scope scope;
  status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status == TARN_OK) {
    const stretch to = stretch_at(self, range, address, size_bytes);
    sources none = sources_of(self, /*spans=*/NULL, 0);
    status = map_memory(self, &to, &none);
    tarn__cuda_leave(&scope);
  }
  if (status != TARN_OK)
    tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/false);
  return status;
}

static tarn_status provider_decommit(void *context, void *address, size_t size_bytes) {
  virtual_provider *self = context;
  tarn_status status = tarn__cuda_check_process(self->cuda);
  if (status != TARN_OK) return status;
  tarn__granule_range *range =
      tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/false);
  if (range == NULL) return refuse_decommit(address, size_bytes);
  tarn__cuda_scope scope;
  status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status == TARN_OK) {
    const stretch part = stretch_at(self, range, address, size_bytes);
    status = unmap_memory(self, &part);
    if (status == TARN_OK) give_handles(self, &part);
    tarn__cuda_leave(&scope);
  }
  if (status != TARN_OK)
    tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/true);
  return status;
}

/* --- moving --- */

/* Marks the spans as unused, or none of them. */
static tarn_status release_spans(virtual_provider *self, const tarn_provider_span *spans,
                                 size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (tarn__granules_flip(&self->granules, spans[i].address, spans[i].size_bytes,
                            /*to_used=*/false) != NULL) {
      continue;
    }
    for (size_t k = 0; k < i; k++) {
      tarn__granules_flip(&self->granules, spans[k].address, spans[k].size_bytes,
                          /*to_used=*/true);
    }
    return refuse_decommit(spans[i].address, spans[i].size_bytes);
  }
  return TARN_OK;
}

static void forget_pieces(virtual_provider *self, const tarn_provider_span *span) {
  const stretch part = stretch_of(self, span);
  for (size_t at = part.first; at < part.end; at++) {
    tarn__granule_set_piece(&self->granules, part.range, at, /*is_piece=*/false);
  }
}

/* All is marked, and the context is current. */
static tarn_status move_memory(virtual_provider *self, const tarn_provider_span *spans,
                               size_t span_count, const stretch *to, size_t *taken_count) {
  tarn_status status = TARN_OK;
  while (status == TARN_OK && *taken_count < span_count) {
    const stretch part = stretch_of(self, &spans[*taken_count]);
    status = unmap_memory(self, &part);
    if (status == TARN_OK) ++*taken_count;
  }
  if (status == TARN_OK) {
    sources from = sources_of(self, spans, span_count);
    const size_t reused_bytes = bytes_of(self, from.granules.left_count) +
                                from.pieces.left_count * self->granules.piece_bytes;
    status = map_memory(self, to, &from);
    if (status == TARN_OK) {
      atomic_fetch_add_explicit(&self->moved_bytes, reused_bytes, memory_order_relaxed);
    }
    for (size_t i = 0; i < span_count; i++) forget_pieces(self, &spans[i]);
    return status;
  }
  for (size_t i = 0; i < *taken_count; i++) {
    const stretch part = stretch_of(self, &spans[i]);
    give_handles(self, &part);
  }
  return status;
}

static tarn_status provider_move(void *context, const tarn_provider_span *spans, size_t span_count,
                                 void *address, size_t size_bytes, size_t *taken_count) {
  virtual_provider *self = context;
  tarn_status status = tarn__cuda_check_process(self->cuda);
  if (status != TARN_OK) return status;
  tarn__granule_range *range =
      tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/true);
  if (range == NULL) return refuse_commit(address, size_bytes);
  tarn__cuda_scope scope;
  status = release_spans(self, spans, span_count);
  const bool is_released = status == TARN_OK;
  if (is_released) status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (is_released && status == TARN_OK) {
    const stretch to = stretch_at(self, range, address, size_bytes);
    status = move_memory(self, spans, span_count, &to, taken_count);
    tarn__cuda_leave(&scope);
  }
  if (status == TARN_OK) return TARN_OK;
  for (size_t i = *taken_count; is_released && i < span_count; i++) {
    tarn__granules_flip(&self->granules, spans[i].address, spans[i].size_bytes, /*to_used=*/true);
  }
  tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/false);
  return status;
}

static tarn_status provider_prepare(void *context, size_t size_bytes, size_t *prepared_bytes) {
  virtual_provider *self = context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_check_process(self->cuda);
  if (status != TARN_OK) return status;
  status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = tarn__handles_prepare(&self->handles, size_bytes);
  tarn__cuda_leave(&scope);
  *prepared_bytes = tarn__handles_prepared_bytes(&self->handles);
  return status;
}

/* --- whole ranges --- */

/* Every run of granules that have memory. The first failure is kept, and the rest given back. */
static tarn_status unmap_range(virtual_provider *self, tarn__granule_range *range) {
  tarn_status result = TARN_OK;
  size_t first = 0;
  for (size_t count; (count = tarn__granule_range_run(&self->granules, range, &first)) != 0;
       first += count) {
    const stretch part = {.range = range, .first = first, .end = first + count};
    const tarn_status status = unmap_memory(self, &part);
    if (status == TARN_OK) {
      give_handles(self, &part);
    } else {
      tarn__handles_lose(&self->handles, bytes_of(self, count));
      result = status;
    }
  }
  return result;
}

static tarn_status provider_release(void *context, void *address, size_t size_bytes) {
  virtual_provider *self = context;
  const tarn__driver *driver = &self->cuda->driver;
  tarn_status status = tarn__cuda_check_process(self->cuda);
  if (status != TARN_OK) return status;
  tarn__granule_range *range = tarn__granules_remove(&self->granules, address, size_bytes);
  if (range == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu bytes at %p are no whole range of this provider",
                     size_bytes, address);
  }
  tarn__cuda_scope scope;
  status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status == TARN_OK) {
    status = unmap_range(self, range);
    if (status == TARN_OK) {
      status = tarn__cuda_status(driver, driver->MemAddressFree(range->start, size_bytes),
                                 "cuMemAddressFree", "the range of %zu bytes at %p", size_bytes,
                                 address);
    }
    tarn__cuda_leave(&scope);
  }
  free(range);
  return status;
}

static tarn_status provider_alloc(void *context, size_t size_bytes, void **address) {
  tarn_status status = provider_reserve(context, size_bytes, address);
  if (status != TARN_OK) return status;
  status = provider_commit(context, *address, size_bytes);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  const tarn_status released = provider_release(context, *address, size_bytes);
  (void)released; /* addresses without memory: the lack of memory is what is to be told */
  *address = NULL;
  return tarn_fail_again(&cause);
}

static tarn_status provider_share_range(void *context, const void *address, size_t size_bytes,
                                        tarn_stream *stream, bool may_mark,
                                        tarn_share_memory *memory) {
  const virtual_provider *self = context;
  return tarn__cuda_share_virtual(self->cuda, self->device, address, size_bytes, stream, may_mark,
                                  memory);
}

static tarn_status provider_adopt(void *context, const tarn_share_memory *memory,
                                  tarn_stream *stream, void **address, tarn_device *device) {
  const virtual_provider *self = context;
  return tarn__cuda_adopt(self->cuda, &self->peers, memory, stream, address, device);
}

static void provider_abandon(void *context, void *address) {
  const virtual_provider *self = context;
  tarn__cuda_abandon(self->cuda, address);
}

static void provider_destroy(void *context) {
  virtual_provider *self = context;
  tarn__cuda_scope scope;
  if (!tarn__cuda_is_left_behind(self->cuda) &&
      tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) == TARN_OK) {
    const tarn_status status = tarn__handles_prepare(&self->handles, 0);
    (void)status; /* giving back needs nothing */
    tarn__cuda_leave(&scope);
  }
  tarn__handles_deinit(&self->handles);
  tarn__granules_deinit(&self->granules); /* what nobody gave back, the driver keeps */
  tarn_cuda_release(self->cuda);
  free(self);
}

/* --- making one --- */

/* What the device commits at least, or the option where that is more; and pieces above it. */
static tarn_status choose_sizes(virtual_provider *self, const tarn_cuda_virtual_options *options) {
  const tarn__driver *driver = &self->cuda->driver;
  const CUmemAllocationProp *properties = &self->handles.properties;
  size_t minimum = 0;
  const CUresult result =
      driver->MemGetAllocationGranularity(&minimum, properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, "cuMemGetAllocationGranularity",
                             "the granules of CUDA device %d", (int)self->device);
  }
  if (!tarn_is_power_of_two(minimum)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "CUDA device %d has granules of %zu bytes",
                     (int)self->device, minimum);
  }
  const size_t granularity = options->granularity_bytes != 0 ? options->granularity_bytes : minimum;
  if (!tarn_is_power_of_two(granularity) || granularity < minimum) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "granularity %zu is not a power of two of at least %zu, CUDA device %d's own",
                     granularity, minimum, (int)self->device);
  }
  const size_t piece = options->piece_bytes;
  if (piece != 0 && (!tarn_is_power_of_two(piece) || piece <= granularity)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "pieces of %zu bytes are no power of two above granules of %zu", piece,
                     granularity);
  }
  self->granules.granularity_bytes = granularity;
  self->granules.piece_bytes = piece;
  self->granules.has_handles = true;
  self->handles.stocks[0].size_bytes = granularity;
  self->handles.stocks[1].size_bytes = piece;
  return TARN_OK;
}

/* All but what the driver has to say; `cuda` is not retained yet. */
static virtual_provider *make_context(tarn_cuda *cuda, int32_t device, CUcontext native,
                                      bool shares) {
  virtual_provider *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  const CUmemAllocationProp properties = {
      .type = CU_MEM_ALLOCATION_TYPE_PINNED,
      .requestedHandleTypes =
          shares ? CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR : CU_MEM_HANDLE_TYPE_NONE,
      .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = (int)cuda->devices[device].native}};
  *made = (virtual_provider){.cuda = cuda, .device = device, .context = native};
  tarn__granules_init(&made->granules, /*granularity_bytes=*/0);
  tarn__handles_init(&made->handles, &cuda->driver, &properties);
  return made;
}

tarn_status tarn_cuda_virtual_provider_create(tarn_cuda *cuda, int32_t device,
                                              const tarn_cuda_virtual_options *options,
                                              tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  const tarn_cuda_virtual_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_cuda_virtual_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  if ((options->flags & ~(uint32_t)TARN_CUDA_VIRTUAL_SHARED) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown flags 0x%x of virtual memory", options->flags);
  }
  const bool shares = (options->flags & TARN_CUDA_VIRTUAL_SHARED) != 0;
  CUcontext context;
  tarn__cuda_peers peers;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = tarn__virtual_support(cuda, device);
  if (status == TARN_OK && shares) status = tarn__cuda_can_share_virtual(cuda, device);
  if (status == TARN_OK) {
    status = tarn__cuda_peers_init(cuda, device, options->peers, options->peer_count, &peers);
  }
  if (status != TARN_OK) return status;
  virtual_provider *made = make_context(cuda, device, context, shares);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a provider's handle");
  made->peers = peers;
  status = choose_sizes(made, options);

  char name[32];
  snprintf(name, sizeof name, "cuda:%d virtual", (int)device);
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = name,
                                 .attributes = provider_attributes,
                                 .alloc = provider_alloc,
                                 .release = provider_release,
                                 .reserve = provider_reserve,
                                 .commit = provider_commit,
                                 .decommit = provider_decommit,
                                 .destroy = provider_destroy,
                                 .move = shares ? NULL : provider_move,
                                 .prepare = provider_prepare,
                                 .share_range = shares ? provider_share_range : NULL,
                                 .adopt = provider_adopt,
                                 .abandon = provider_abandon};
  if (status == TARN_OK) status = tarn_provider_create(&ops, made, provider);
  if (status != TARN_OK) {
    tarn__handles_deinit(&made->handles);
    tarn__granules_deinit(&made->granules);
    free(made);
    return status;
  }
  tarn_cuda_retain(cuda);
  return TARN_OK;
}

tarn_status tarn_cuda_virtual_stats_of(const tarn_provider *provider,
                                       tarn_cuda_virtual_stats *stats) {
  virtual_provider *self = tarn_provider_context(provider, provider_release);
  if (self == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "statistics need a provider of virtual memory and their struct_size");
  }
  const tarn_status status = tarn__cuda_check_process(self->cuda);
  if (status != TARN_OK) return status;
  tarn__handles *handles = &self->handles;
  *stats = (tarn_cuda_virtual_stats){
      .struct_size = sizeof *stats,
      .mapped_bytes = atomic_load_explicit(&self->mapped_bytes, memory_order_relaxed),
      .prepared_bytes = tarn__handles_prepared_bytes(handles),
      .moved_bytes = atomic_load_explicit(&self->moved_bytes, memory_order_relaxed)};
  pthread_mutex_lock(&handles->lock);
  stats->lost_bytes = handles->lost_bytes;
  stats->created_count = handles->created_count;
  stats->prepared_count = handles->ready_count;
  pthread_mutex_unlock(&handles->lock);
  return TARN_OK;
}
