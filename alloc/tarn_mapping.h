/* tarn_mapping.h: files and other processes' shared memory as storages, and storages as files.
 *
 * What somebody else made comes in by a path, by the name of POSIX shared memory, or by an open
 * descriptor however it was received: of a file, of shm_open, of memfd_create, on huge pages too.
 * It is mapped; no byte is read before it is touched, and none is copied. What is neither a file
 * nor such memory (a pipe, a folder, a device's own) is refused: map that by its own rules, and
 * wrap it (tarn_storage.h).
 *
 * What is promised about somebody else's file:
 *
 * 1. At the moment of the call it holds every byte that the storage has; else the call fails.
 * 2. Whoever makes it shorter later takes the bytes away: touching them is a SIGBUS, here and in a
 *    kernel's or a system call's copy EFAULT or worse. Nobody can do that to memory that was sealed
 *    against it (F_SEAL_SHRINK), and TARN_MAPPING_SEALED insists on that: for a stranger's.
 * 3. What others write is seen, also through a read-only storage, and through a copy-on-write one
 *    in pages that were not written here yet. Who writes when is theirs and yours to agree upon.
 * 4. Renaming, replacing and removing the file changes nothing for the storage.
 *
 * And the other way: tarn_storage_descriptor gives a storage's bytes as a part of a file.
 */
#ifndef TARN_MAPPING_H
#define TARN_MAPPING_H

#include "alloc/tarn_storage.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tarn_mapping_mode {
  TARN_MAPPING_READ_ONLY = 0,     /* a read-only storage */
  TARN_MAPPING_COPY_ON_WRITE = 1, /* what is written stays in this process, page by page */
  TARN_MAPPING_READ_WRITE = 2,    /* what is written is everybody's, and the file's */
} tarn_mapping_mode;

enum {
  TARN_MAPPING_SEALED = 1u << 0, /* TARN_NOT_SUPPORTED where somebody could make it shorter */
  /* Keeps no descriptor, and tarn_storage_descriptor has none to give. */
  TARN_MAPPING_CLOSED = 1u << 1,
};

typedef struct tarn_mapping_options {
  size_t struct_size;
  tarn_mapping_mode mode;
  uint32_t flags;        /* TARN_MAPPING_* */
  uint64_t offset_bytes; /* of the storage's first byte in the file; any, pages or not */
  size_t size_bytes;     /* 0: to the file's end */
} tarn_mapping_options;

/* Maps a part of the file at `path`; `options` may be NULL: all of it, read-only. The storage is
 * the CPU's, its address lies in a page as the offset does, and its last release ends the mapping
 * once the streams that noted a use are through. An empty part is a storage with a NULL address.
 * Costs a descriptor as long as the storage lives, unless TARN_MAPPING_CLOSED, and whole pages of
 * address space around the part; a few system calls, whatever the size.
 *
 * TARN_NOT_FOUND where there is no such file; TARN_BAD_FORMAT where it ends before the part does,
 * with the numbers; TARN_INVALID_ARGUMENT where it is no file; TARN_READ_ONLY where it, or a seal,
 * may not be written and the mode is TARN_MAPPING_READ_WRITE; TARN_TOO_LARGE where offset and size
 * overflow; TARN_OUT_OF_MEMORY where this process may not map or open so much; else
 * TARN_SYSTEM_ERROR with the errno. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_map_path(const char *path,
                                                          const tarn_mapping_options *options,
                                                          tarn_storage **storage);

/* The same for POSIX shared memory that somebody made by shm_open, "/frames". */
TARN_API TARN_NODISCARD tarn_status tarn_storage_map_shared(const char *name,
                                                            const tarn_mapping_options *options,
                                                            tarn_storage **storage);

/* The same for an open descriptor. It stays the caller's, who may close it at once: the storage has
 * a copy of its own. It must have been opened for reading, and for TARN_MAPPING_READ_WRITE for
 * writing, too. TARN_INVALID_ARGUMENT where it is not open. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_map_descriptor(int descriptor,
                                                                const tarn_mapping_options *options,
                                                                tarn_storage **storage);

/* A descriptor, the caller's own to send and to close, and where in its file the storage's first
 * byte lies; the others follow. What was enqueued on `stream` by then has been done when the call
 * returns. Of a mapped file it is a copy of the one that was mapped, with the same rights and one
 * position in common with it; of memory from a pool or provider that shares (tarn_pages.h with
 * TARN_PAGES_SHARED) one with which all of that provider's memory can be mapped, so give it to
 * friends alone. For sendfile, copy_file_range, splice, or another process's mmap.
 *
 * Nothing tells the pool that others have mapped its memory: keep the storage as long as they do,
 * or use tarn_storage_export, which does so by itself.
 *
 * TARN_NOT_SUPPORTED for all other storages, for a file that was mapped TARN_MAPPING_CLOSED, and
 * copy-on-write, for what was written is not in the file. TARN_BUSY for a paused block,
 * TARN_INVALID_ARGUMENT for a storage without bytes. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_descriptor(tarn_storage *storage,
                                                            tarn_stream *stream, int *descriptor,
                                                            int64_t *offset_bytes);

/* Whether each page of [address, address + size_bytes) is mapped in this process and may be read,
 * or also written, now: what tarn_storage_wrap has to believe. TARN_NOT_FOUND names the first
 * address that is not, TARN_READ_ONLY the first one that may only be read. No page is touched, and
 * none has to be in memory. It says nothing about a file that is too short for its mapping. The
 * kernel's list of mappings is read up to the last page (/proc/thread-self/maps), which cost 0.02
 * to 0.03 ms in a process with 50 of them, and 0.2 to 0.3 us for each of thousands (measured on an
 * x86-64 server); TARN_SYSTEM_ERROR where /proc is not there. */
TARN_API TARN_NODISCARD tarn_status tarn_extent_check(const void *address, size_t size_bytes,
                                                      bool is_written);

#ifdef __cplusplus
}
#endif
#endif
