/* ort_allocator.c: the runtime's OrtAllocator over a pool, and its registration. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/adapters/ort/ort.h"
#include "cuda/tarn_cuda.h"

/* What the runtime's CPU kernels expect of their buffers (kAllocAlignment of its allocator.h). */
enum { ALIGNMENT_BYTES = 64 };

typedef struct ort_allocator {
  ort_abi_allocator abi; /* the first member: an OrtAllocator's address is this one's */
  tarn_ort *ort;
  tarn_pool *pool;
  tarn_stream *stream;    /* whose order blocks are freed in; NULL: at once */
  void *native_stream;    /* the driver's name for it */
  bool is_native;         /* there is one: 0 names a stream, too */
  size_t alignment_bytes; /* to ask for; 0 where the pool's own suffices */
  struct OrtMemoryInfo *info;
  void (*throw_bad_alloc)(void); /* NULL: an allocation that fails answers NULL */
  atomic_size_t reference_count;
  atomic_ullong reserve_count;
} ort_allocator;

static ort_allocator *of(struct OrtAllocator *self) {
  return (ort_allocator *)(void *)self;
}
static const ort_allocator *of_const(const struct OrtAllocator *self) {
  return (const ort_allocator *)(const void *)self;
}

/* --- what the runtime calls --- */

/* The runtime's C++ library throws; this file is compiled to be thrown through. */
static void *give_up(const ort_allocator *allocator) {
  if (allocator->throw_bad_alloc != NULL) allocator->throw_bad_alloc();
  return NULL;
}

static void *alloc_as_pool_does(struct OrtAllocator *self, size_t size) {
  void *address = NULL;
  const tarn_status status = tarn_pool_alloc(of(self)->pool, size, NULL, &address);
  return status == TARN_OK ? address : give_up(of(self));
}

static void *alloc_aligned(struct OrtAllocator *self, size_t size) {
  const ort_allocator *const allocator = of(self);
  void *address = NULL;
  const tarn_status status =
      tarn_pool_alloc_aligned(allocator->pool, size, allocator->alignment_bytes, NULL, &address);
  return status == TARN_OK ? address : give_up(allocator);
}

static void *reserve(struct OrtAllocator *self, size_t size) {
  atomic_fetch_add_explicit(&of(self)->reserve_count, 1, memory_order_relaxed);
  return of(self)->abi.Alloc(self, size);
}

static void *alloc_on_stream(struct OrtAllocator *self, size_t size, struct OrtSyncStream *stream) {
  ort_allocator *const allocator = of(self);
  if (stream == NULL || !allocator->is_native) return allocator->abi.Alloc(self, size);
  void *const native = allocator->ort->calls.SyncStream_GetHandle(stream);
  if (native != allocator->native_stream) {
    (void)tarn_fail(TARN_INVALID_ARGUMENT,
                    "the runtime works on stream %p, but the allocator was made for %p: pass that "
                    "as user_compute_stream",
                    native, allocator->native_stream);
    return give_up(allocator);
  }
  void *address = NULL;
  const tarn_status status = tarn_pool_alloc_aligned(
      allocator->pool, size, allocator->alignment_bytes, allocator->stream, &address);
  return status == TARN_OK ? address : give_up(allocator);
}

static void free_block(struct OrtAllocator *self, void *address) {
  /* There is nobody to tell: the runtime's Free returns nothing. The thread's last error says. */
  const tarn_status status = tarn_pool_free(of(self)->pool, address, of(self)->stream);
  (void)status;
}

static const struct OrtMemoryInfo *info_of(const struct OrtAllocator *self) {
  return of_const(self)->info;
}

static void add_figure(const ort_allocator *allocator, struct OrtKeyValuePairs *pairs,
                       const char *key, unsigned long long value) {
  char text[24];
  (void)snprintf(text, sizeof text, "%llu", value);
  allocator->ort->calls.AddKeyValuePair(pairs, key, text);
}

static struct OrtStatus *get_stats(const struct OrtAllocator *self,
                                   struct OrtKeyValuePairs **pairs) {
  const ort_allocator *const allocator = of_const(self);
  const ort_abi_calls *const calls = &allocator->ort->calls;
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  *pairs = NULL;
  const tarn_status status = tarn_pool_stats_of(allocator->pool, &stats);
  if (status != TARN_OK) return tarn__ort_refuse(allocator->ort, status);
  calls->CreateKeyValuePairs(pairs);
  if (*pairs == NULL) return calls->CreateStatus(ORT_ABI_FAIL, "no memory for statistics");
  calls->AddKeyValuePair(*pairs, "Limit", "-1");
  add_figure(allocator, *pairs, "InUse", stats.allocated_bytes);
  add_figure(allocator, *pairs, "TotalAllocated", stats.reserved_bytes);
  add_figure(allocator, *pairs, "MaxInUse", stats.allocated_bytes_peak);
  add_figure(allocator, *pairs, "NumAllocs", stats.alloc_count);
  add_figure(allocator, *pairs, "NumReserves",
             atomic_load_explicit(&allocator->reserve_count, memory_order_relaxed));
  calls->AddKeyValuePair(*pairs, "Pool", tarn_pool_name(allocator->pool));
  return NULL;
}

static struct OrtStatus *shrink(struct OrtAllocator *self) {
  return tarn__ort_refuse(of(self)->ort, tarn_pool_trim(of(self)->pool, 0, NULL));
}

/* --- life --- */

/* libstdc++'s own way to throw std::bad_alloc, where it is in the process; its name is part of that
 * library's ABI (bits/functexcept.h). It stays loaded: the runtime has it, and this has it now. */
static void (*find_thrower(void))(void) {
  void *const library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
  void (*thrower)(void) = NULL;
  if (library != NULL) *(void **)(void *)&thrower = dlsym(library, "_ZSt17__throw_bad_allocv");
  return thrower;
}

/* A version reads no further than it knows, but what it does not know stays NULL all the same. */
static void fill_in(ort_abi_allocator *abi, uint32_t version, bool is_aligned) {
  abi->version = version;
  abi->Alloc = is_aligned ? alloc_as_pool_does : alloc_aligned;
  abi->Free = free_block;
  abi->Info = info_of;
  if (version >= ORT_ABI_RESERVE) abi->Reserve = reserve;
  if (version >= ORT_ABI_STREAMS) {
    abi->GetStats = get_stats;
    abi->AllocOnStream = alloc_on_stream;
  }
  if (version >= ORT_ABI_SHRINK) abi->Shrink = shrink;
}

static tarn_status check_options(const tarn_pool *pool, const tarn_ort_allocator_options *options) {
  static const uint32_t known = TARN_ORT_AS_CPU | TARN_ORT_NULL;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_ort_allocator_options has %zu bytes here, the caller's has %zu",
                     sizeof *options, options->struct_size);
  }
  if ((options->flags & ~known) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown flags 0x%x for an allocator", options->flags);
  }
  const tarn_device device = tarn_pool_attributes_of(pool)->device;
  const bool is_as_cpu = (options->flags & TARN_ORT_AS_CPU) != 0;
  if (options->stream != NULL || device.type == TARN_DEVICE_CPU ||
      device.type == TARN_DEVICE_CUDA_HOST || (is_as_cpu && tarn_device_is_host(device))) {
    return TARN_OK;
  }
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "pool %s is of device {%d, %d}: name the stream that the runtime works on",
                   tarn_pool_name(pool), device.type, device.index);
}

tarn_status tarn_ort_allocator_create(tarn_ort *ort, tarn_pool *pool,
                                      const tarn_ort_allocator_options *options,
                                      struct OrtAllocator **allocator) {
  static const tarn_ort_allocator_options defaults = {.struct_size = sizeof defaults};
  if (allocator == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "allocator is NULL");
  *allocator = NULL;
  if (ort == NULL || pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "ort or pool is NULL");
  if (options == NULL) options = &defaults;
  tarn_status status = check_options(pool, options);
  if (status != TARN_OK) return status;
  const tarn_pool_attributes *const attributes = tarn_pool_attributes_of(pool);
  struct OrtMemoryInfo *info = NULL;
  status = tarn__ort_memory_info(ort, attributes->device, options->flags, &info);
  if (status != TARN_OK) return status;
  ort_allocator *const made = calloc(1, sizeof *made);
  if (made == NULL) {
    ort->calls.ReleaseMemoryInfo(info);
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for an allocator");
  }
  const bool is_aligned = attributes->alignment_bytes >= ALIGNMENT_BYTES;
  fill_in(&made->abi, ort->version, is_aligned);
  made->ort = ort;
  made->pool = pool;
  made->stream = options->stream;
  made->is_native = options->stream != NULL &&
                    tarn_cuda_stream_native(options->stream, &made->native_stream) == TARN_OK;
  made->alignment_bytes = is_aligned ? 0 : ALIGNMENT_BYTES;
  made->info = info;
  made->throw_bad_alloc = (options->flags & TARN_ORT_NULL) != 0 ? NULL : find_thrower();
  atomic_init(&made->reference_count, 1);
  atomic_init(&made->reserve_count, 0);
  tarn_ort_retain(ort);
  tarn_pool_retain(pool);
  if (options->stream != NULL) tarn_stream_retain(options->stream);
  *allocator = (struct OrtAllocator *)(void *)made;
  return TARN_OK;
}

void tarn_ort_allocator_retain(struct OrtAllocator *allocator) {
  atomic_fetch_add_explicit(&of(allocator)->reference_count, 1, memory_order_relaxed);
}

void tarn_ort_allocator_release(struct OrtAllocator *allocator) {
  if (allocator == NULL) return;
  ort_allocator *const self = of(allocator);
  /* Acquire pairs with the release of every earlier holder: what they did is done. */
  if (atomic_fetch_sub_explicit(&self->reference_count, 1, memory_order_acq_rel) != 1) return;
  self->ort->calls.ReleaseMemoryInfo(self->info);
  tarn_pool_release(self->pool);
  tarn_stream_release(self->stream);
  tarn_ort_release(self->ort);
  free(self);
}

/* --- registration --- */

static tarn_status check_pair(const tarn_ort *ort, const struct OrtEnv *env,
                              const struct OrtAllocator *allocator) {
  if (ort == NULL || env == NULL || allocator == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "ort, env or allocator is NULL");
  }
  if (of_const(allocator)->ort == ort) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "the allocator was made for another tarn_ort");
}

tarn_status tarn_ort_register(tarn_ort *ort, struct OrtEnv *env, struct OrtAllocator *allocator) {
  tarn_status status = check_pair(ort, env, allocator);
  if (status != TARN_OK) return status;
  tarn_ort_allocator_retain(allocator);
  status = tarn__ort_check(ort, ort->calls.RegisterAllocator(env, allocator), "RegisterAllocator");
  if (status != TARN_OK) tarn_ort_allocator_release(allocator);
  return status;
}

tarn_status tarn_ort_unregister(tarn_ort *ort, struct OrtEnv *env, struct OrtAllocator *allocator) {
  tarn_status status = check_pair(ort, env, allocator);
  if (status != TARN_OK) return status;
  struct OrtStatus *const refusal = ort->calls.UnregisterAllocator(env, of_const(allocator)->info);
  status = tarn__ort_check(ort, refusal, "UnregisterAllocator");
  if (status == TARN_OK) tarn_ort_allocator_release(allocator);
  return status;
}
