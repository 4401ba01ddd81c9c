/* tarn_storage.h: a run of bytes with shared ownership: from a pool, or wrapped around a blob.
 *
 * A storage knows its address, size, device and where it came from; it knows no shape. Strong
 * references keep the bytes alive, weak ones only the handle: tarn_storage_lock turns a weak
 * reference into a strong one as long as there is one.
 */
#ifndef TARN_STORAGE_H
#define TARN_STORAGE_H

#include "alloc/tarn_pool.h"

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

#ifdef __cplusplus
}
#endif
#endif
