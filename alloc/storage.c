/* storage.c: reference-counted runs of bytes, from a pool or around somebody else's blob. */
#include "alloc/tarn_storage.h"

#include <pthread.h>
#include <stdatomic.h>

#include "alloc/fork.h"
#include "alloc/order.h"
#include "alloc/slab.h"
#include "alloc/stamps.h"
#include "alloc/storage.h"

/* strong > 0: the bytes are alive. All strong references together hold one weak reference, so the
 * header goes when weak reaches 0. Both in one word, so that one load can tell that nobody else is
 * there. */
struct tarn_storage {
  _Atomic uint64_t counts; /* strong in the low half, weak in the high one */
  void *address;
  atomic_size_t size_bytes; /* changes in storages that grow in place alone */
  tarn_device device;
  uint32_t flags;
  tarn_pool *pool;     /* NULL: a blob; kept alive by the block, or where that is empty, retained */
  tarn_stream *stream; /* a reference; the order in which a pool's block is freed */
  tarn_deleter deleter;
  void *context;
  tarn__stamps uses; /* of a blob: what its deleter waits for; guarded by use_lock */
};

/* One for all blobs: noting a use takes a few nanoseconds. */
static pthread_mutex_t use_lock = PTHREAD_MUTEX_INITIALIZER;

void tarn__storage_hold(void) {
  pthread_mutex_lock(&use_lock);
}

void tarn__storage_unhold(void) {
  pthread_mutex_unlock(&use_lock);
}

static const uint64_t ONE_STRONG = 1;
static const uint64_t ONE_WEAK = UINT64_C(1) << 32;

static uint32_t strong_of(uint64_t counts) {
  return (uint32_t)counts;
}

static uint32_t weak_of(uint64_t counts) {
  return (uint32_t)(counts >> 32);
}

static tarn__slab storage_slab = TARN__SLAB(struct tarn_storage);

static tarn_storage *take_header(void) {
  tarn_storage *storage = tarn__slab_take(&storage_slab);
  if (storage == NULL) {
    tarn_status status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a storage's handle");
    (void)status;
    return NULL;
  }
  /* Field by field: a compiler sets so many bytes by one string instruction, which takes longer
   * than all the rest. */
  atomic_init(&storage->counts, ONE_STRONG + ONE_WEAK);
  storage->flags = 0;
  storage->pool = NULL;
  storage->stream = NULL;
  storage->deleter = NULL;
  storage->context = NULL;
  storage->uses.count = 0;
  storage->uses.capacity = 0;
  storage->uses.more = NULL;
  return storage;
}

static void give_header(tarn_storage *storage) {
  tarn__slab_give(&storage_slab, storage);
}

tarn_status tarn_storage_create(tarn_pool *pool, size_t size_bytes, tarn_stream *stream,
                                tarn_storage **storage) {
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  *storage = NULL;
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  tarn_storage *made = take_header();
  if (made == NULL) return TARN_OUT_OF_MEMORY;
  const tarn_status status = tarn_pool_alloc(pool, size_bytes, stream, &made->address);
  if (status != TARN_OK) {
    give_header(made);
    return status;
  }
  if (made->address == NULL) tarn_pool_retain(pool);
  tarn_stream_retain(stream);
  made->pool = pool;
  made->stream = stream;
  atomic_init(&made->size_bytes, size_bytes);
  made->device = tarn_pool_attributes_of(pool)->device;
  *storage = made;
  return TARN_OK;
}

tarn_status tarn_storage_wrap(const tarn_blob *blob, tarn_storage **storage) {
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  *storage = NULL;
  if (blob == NULL || blob->struct_size != sizeof *blob) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_blob with struct_size %zu is needed",
                     sizeof *blob);
  }
  if (blob->address == NULL && blob->size_bytes != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a blob of %zu bytes has no address", blob->size_bytes);
  }
  if (blob->size_bytes > PTRDIFF_MAX || (uintptr_t)blob->address > UINTPTR_MAX - blob->size_bytes) {
    return tarn_fail(TARN_TOO_LARGE, "a blob of %zu bytes at %p leaves the address space",
                     blob->size_bytes, blob->address);
  }
  if ((blob->flags & ~(uint32_t)TARN_STORAGE_READ_ONLY) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown blob flags 0x%x", blob->flags);
  }
  tarn_storage *made = take_header();
  if (made == NULL) return TARN_OUT_OF_MEMORY;
  made->address = blob->address;
  atomic_init(&made->size_bytes, blob->size_bytes);
  made->device = blob->device.type != 0 ? blob->device : tarn_device_make(TARN_DEVICE_CPU, 0);
  made->flags = blob->flags;
  made->deleter = blob->deleter;
  made->context = blob->context;
  *storage = made;
  return TARN_OK;
}

void tarn_storage_retain(tarn_storage *storage) {
  /* Relaxed: whoever retains already holds a reference. */
  atomic_fetch_add_explicit(&storage->counts, ONE_STRONG, memory_order_relaxed);
}

static __attribute__((noinline)) void end_uses(tarn__stamps *uses) {
  tarn__order_cost cost = {0};
  for (uint32_t index = 0; index < uses->count; index++) {
    /* A stream that cannot be waited for any more has nothing left that could run. */
    const tarn_status status = tarn__order_behind(NULL, tarn__stamps_at(uses, index), &cost);
    (void)status;
  }
  tarn__stamps_deinit(uses);
}

/* The last strong reference is gone: gives the bytes back to whoever they came from. */
static void end_bytes(tarn_storage *storage) {
  if (storage->pool != NULL) {
    const tarn_status status = tarn_pool_free(storage->pool, storage->address, storage->stream);
    TARN_ASSERT(status == TARN_OK); /* the pool lent it out, and it is freed here alone */
    (void)status;
    if (storage->address == NULL) tarn_pool_release(storage->pool);
    tarn_stream_release(storage->stream);
  } else {
    if (storage->uses.count != 0 || storage->uses.more != NULL) end_uses(&storage->uses);
    if (storage->deleter != NULL) storage->deleter(storage->context);
  }
}

void tarn_storage_release(tarn_storage *storage) {
  if (storage == NULL) return;
  /* Acquire pairs with release: all use in other threads happens before the bytes go. */
  if (atomic_load_explicit(&storage->counts, memory_order_acquire) == ONE_STRONG + ONE_WEAK) {
    /* No other reference, strong or weak, so none can come up. */
    end_bytes(storage);
    give_header(storage);
    return;
  }
  const uint64_t before =
      atomic_fetch_sub_explicit(&storage->counts, ONE_STRONG, memory_order_acq_rel);
  if (strong_of(before) != 1) return;
  end_bytes(storage);
  tarn_storage_weak_release(storage);
}

void tarn_storage_weak_retain(tarn_storage *storage) {
  atomic_fetch_add_explicit(&storage->counts, ONE_WEAK, memory_order_relaxed);
}

void tarn_storage_weak_release(tarn_storage *storage) {
  if (storage == NULL) return;
  const uint64_t before =
      atomic_fetch_sub_explicit(&storage->counts, ONE_WEAK, memory_order_acq_rel);
  if (weak_of(before) == 1) give_header(storage);
}

bool tarn_storage_lock(tarn_storage *storage) {
  uint64_t counts = atomic_load_explicit(&storage->counts, memory_order_relaxed);
  while (strong_of(counts) != 0) {
    if (atomic_compare_exchange_weak_explicit(&storage->counts, &counts, counts + ONE_STRONG,
                                              memory_order_acquire, memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

size_t tarn_storage_use_count(const tarn_storage *storage) {
  return strong_of(atomic_load_explicit(&storage->counts, memory_order_relaxed));
}

size_t tarn_storage_weak_count(const tarn_storage *storage) {
  const uint64_t counts = atomic_load_explicit(&storage->counts, memory_order_relaxed);
  return strong_of(counts) != 0 ? weak_of(counts) - 1 : weak_of(counts);
}

const void *tarn_storage_data(const tarn_storage *storage) {
  return storage->address;
}

void *tarn_storage_data_mutable(tarn_storage *storage) {
  return tarn_storage_is_read_only(storage) ? NULL : storage->address;
}

size_t tarn_storage_size_bytes(const tarn_storage *storage) {
  /* Acquire pairs with release in set_size: whoever sees a size may touch so many bytes. */
  return atomic_load_explicit(&storage->size_bytes, memory_order_acquire);
}

void tarn__storage_set_size(tarn_storage *storage, size_t size_bytes) {
  atomic_store_explicit(&storage->size_bytes, size_bytes, memory_order_release);
}

void *tarn__storage_context(const tarn_storage *storage, tarn_deleter deleter) {
  return storage->pool == NULL && storage->deleter == deleter ? storage->context : NULL;
}

tarn_device tarn_storage_device(const tarn_storage *storage) {
  return storage->device;
}

bool tarn_storage_is_read_only(const tarn_storage *storage) {
  return (storage->flags & TARN_STORAGE_READ_ONLY) != 0;
}

tarn_bytes tarn_storage_host_bytes(const tarn_storage *storage) {
  if (!tarn_device_is_host(storage->device) || storage->address == NULL) return (tarn_bytes){0};
  return (tarn_bytes){storage->address, storage->size_bytes};
}

tarn_bytes tarn_storage_host_bytes_mutable(tarn_storage *storage) {
  if (tarn_storage_is_read_only(storage)) return (tarn_bytes){0};
  return tarn_storage_host_bytes(storage);
}

tarn_pool *tarn_storage_pool(const tarn_storage *storage) {
  return storage->pool;
}

tarn_stream *tarn_storage_stream(const tarn_storage *storage) {
  return storage->stream;
}

tarn_status tarn_storage_note_use(tarn_storage *storage, tarn_stream *stream) {
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  if (tarn_stream_is_synchronous(stream) || tarn_storage_size_bytes(storage) == 0) return TARN_OK;
  if (storage->pool != NULL) return tarn_pool_note_use(storage->pool, storage->address, stream);
  if (tarn__order_is_captured(stream)) return TARN_OK; /* outlives the graph: tarn_capture.h */
  pthread_mutex_lock(&use_lock);
  const bool is_noted = tarn__stamps_add(&storage->uses, tarn__order_stamp(stream));
  pthread_mutex_unlock(&use_lock);
  if (is_noted) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note that a stream uses a blob");
}

tarn_status tarn__storage_wait_for_uses(tarn_storage *storage) {
  tarn__stamps uses = {0};
  tarn__order_cost cost = {0};
  tarn_status status = TARN_OK;
  pthread_mutex_lock(&use_lock);
  const bool is_copied = tarn__stamps_copy(&uses, &storage->uses);
  pthread_mutex_unlock(&use_lock);
  if (!is_copied) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to wait for a blob's streams");
  for (uint32_t index = 0; index < uses.count && status == TARN_OK; index++) {
    status = tarn__order_behind(NULL, tarn__stamps_at(&uses, index), &cost);
  }
  tarn__stamps_deinit(&uses);
  return status;
}
