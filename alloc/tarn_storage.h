/* tarn_storage.h: a run of bytes with shared ownership: from a pool, or wrapped around a blob.
 *
 * A storage knows its address, size, device and where it came from; it knows no shape. Strong
 * references keep the bytes alive, weak ones only the handle: tarn_storage_lock turns a weak
 * reference into a strong one as long as there is one.
 */
#ifndef TARN_STORAGE_H
#define TARN_STORAGE_H

#include "alloc/tarn_budget.h"
#include "alloc/tarn_pool.h"
#include "alloc/tarn_provider.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_storage tarn_storage;

/* size_bytes from `pool` in the order of `stream`, with one strong reference. The storage retains
 * `stream` and is freed in its order when the last strong reference goes. A size of 0 gives a
 * storage with a NULL address. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_create(tarn_pool *pool, size_t size_bytes,
                                                        tarn_stream *stream,
                                                        tarn_storage **storage);

enum { TARN_STORAGE_READ_ONLY = 1u << 0 };

/* Gets the *context*, not the address; NULL is no deleter. Runs exactly once, on whichever thread
 * drops the last strong reference. */
typedef void (*tarn_deleter)(void *context);

typedef struct tarn_blob {
  size_t struct_size;
  void *address; /* may be NULL where size_bytes is 0 */
  size_t size_bytes;
  tarn_device device; /* zero: the CPU */
  uint32_t flags;     /* TARN_STORAGE_READ_ONLY */
  tarn_deleter deleter;
  void *context;
} tarn_blob;

/* Wraps memory that somebody else owns. Takes the deleter: on failure it does not run. Where
 * streams were noted with tarn_storage_note_use, the last release waits for them before the deleter
 * runs. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_wrap(const tarn_blob *blob,
                                                      tarn_storage **storage);

TARN_API void tarn_storage_retain(tarn_storage *storage);
TARN_API void tarn_storage_release(tarn_storage *storage);

/* Weak references keep the handle valid for tarn_storage_lock, and nothing else. */
TARN_API void tarn_storage_weak_retain(tarn_storage *storage);
TARN_API void tarn_storage_weak_release(tarn_storage *storage);
/* True, and one strong reference more, where there still was one. */
TARN_API TARN_NODISCARD bool tarn_storage_lock(tarn_storage *storage);

/* Counts at the moment of the call, below 2^32 each; strong references together hold one weak one,
 * not counted. */
TARN_API size_t tarn_storage_use_count(const tarn_storage *storage);
TARN_API size_t tarn_storage_weak_count(const tarn_storage *storage);

/* The bytes, for reading; and for writing: NULL where the storage is read-only. Device addresses
 * are not for the CPU to follow. */
TARN_API const void *tarn_storage_data(const tarn_storage *storage);
TARN_API void *tarn_storage_data_mutable(tarn_storage *storage);
TARN_API size_t tarn_storage_size_bytes(const tarn_storage *storage);
TARN_API tarn_device tarn_storage_device(const tarn_storage *storage);
TARN_API bool tarn_storage_is_read_only(const tarn_storage *storage);
/* What the CPU may reach, in one call: all of the bytes, for reading; and for writing: none where
 * the storage is read-only. {NULL, 0} for a device's memory and for no bytes. */
typedef struct tarn_bytes {
  void *address;
  size_t size_bytes;
} tarn_bytes;
TARN_API tarn_bytes tarn_storage_host_bytes(const tarn_storage *storage);
TARN_API tarn_bytes tarn_storage_host_bytes_mutable(tarn_storage *storage);
TARN_API tarn_pool *tarn_storage_pool(const tarn_storage *storage);     /* borrowed; NULL: a blob */
TARN_API tarn_stream *tarn_storage_stream(const tarn_storage *storage); /* borrowed; may be NULL */

/* Says that work enqueued on `stream` by now uses the storage, so that neither its memory is reused
 * nor its deleter run before. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_note_use(tarn_storage *storage,
                                                          tarn_stream *stream);

/* --- storages that grow in place --- */

typedef struct tarn_reserve_options {
  size_t struct_size;
  size_t capacity_bytes; /* addresses to reserve, rounded up to the provider's granularity; not 0 */
  size_t size_bytes;     /* to begin with; at most the capacity */
  tarn_budget *budget;   /* charged with what is committed, and retained; NULL: none */
} tarn_reserve_options;

/* A storage that may grow up to its capacity and never moves, so that tensors on it stay as they
 * are: a KV cache, a log, a file of unknown length. Its addresses are reserved from `provider`,
 * which is retained and has TARN_PROVIDER_RESERVES (else TARN_NOT_SUPPORTED): the system's pages, a
 * GPU's virtual memory. Memory is there for the first size_bytes, rounded up to granules. It is not
 * a pool's: no order of a stream, and what was noted with tarn_storage_note_use is waited for
 * before the range is given back. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_reserve(tarn_provider *provider,
                                                         const tarn_reserve_options *options,
                                                         tarn_storage **storage);

/* Changes the size of a storage that tarn_storage_reserve made. Growing commits the granules that
 * are missing, and then the bytes are there for everybody who sees the size; those never committed
 * before read as the provider's fresh memory does. Shrinking only says so: the memory stays, and
 * growing again finds it as it was. Tensors that reach behind the end are refused by copies and new
 * views, but nothing stops a pointer.
 *
 * TARN_OUT_OF_MEMORY beyond the capacity, and where the budget or the machine has no more, after
 * the budget's pressure functions were asked; TARN_BUSY while another thread resizes or trims the
 * same storage; TARN_NOT_SUPPORTED for any other storage. Readers of the size need no lock. Cost: a
 * call to the system or driver per growth by whole granules, else a few nanoseconds. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_resize(tarn_storage *storage, size_t size_bytes);

/* Gives back the granules behind the size, once the streams that noted a use have passed it: the
 * call waits for them. What is captured in a graph that uses them is the caller's to know.
 * TARN_NOT_READY where a stream cannot be waited for now; TARN_BUSY where the storage is exported,
 * too (tarn_share.h); statuses else as for resize. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_trim(tarn_storage *storage);

/* The most that resize accepts, and what has memory now; for any other storage its size. */
TARN_API size_t tarn_storage_capacity_bytes(const tarn_storage *storage);
TARN_API size_t tarn_storage_committed_bytes(const tarn_storage *storage);

#ifdef __cplusplus
}
#endif
#endif
