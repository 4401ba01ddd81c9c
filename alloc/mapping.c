/* mapping.c: files and shared memory as storages, and storages as parts of files. */
#include "alloc/tarn_mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "alloc/share.h"
#include "alloc/storage.h"

/* What a storage's deleter gives back. */
typedef struct mapping {
  void *address; /* of whole pages; NULL: the part is empty */
  size_t mapped_bytes;
  size_t lead_bytes; /* of the first page, in front of the part */
  uint64_t offset_bytes;
  size_t size_bytes;
  tarn_mapping_mode mode;
  int descriptor; /* -1: closed */
} mapping;

static void end_mapping(void *context) {
  mapping *self = context;
  if (self->address != NULL) munmap(self->address, self->mapped_bytes);
  if (self->descriptor >= 0) close(self->descriptor);
  free(self);
}

static tarn_status failed(const char *call, const char *name) {
  const int cause = errno;
  const bool is_missing = cause == ENOENT || cause == ENOTDIR;
  const bool is_full = cause == ENOMEM || cause == EMFILE || cause == ENFILE;
  const tarn_status status = is_missing ? TARN_NOT_FOUND
                             : is_full  ? TARN_OUT_OF_MEMORY
                                        : TARN_SYSTEM_ERROR;
  return tarn_fail_native(status, call, cause, "%s: %s: %s", name, call, strerror(cause));
}

/* --- what is asked for --- */

static const tarn_mapping_options ALL_READ_ONLY = {.struct_size = sizeof(tarn_mapping_options)};

static tarn_status check_options(const tarn_mapping_options *options) {
  const uint32_t known = TARN_MAPPING_SEALED | TARN_MAPPING_CLOSED;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_mapping_options has %zu bytes, not %zu",
                     sizeof *options, options->struct_size);
  }
  if ((unsigned)options->mode > TARN_MAPPING_READ_WRITE) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_mapping_mode has no value %d",
                     (int)options->mode);
  }
  if ((options->flags & ~known) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown mapping flags 0x%x", options->flags & ~known);
  }
  if (options->size_bytes > PTRDIFF_MAX || options->offset_bytes > INT64_MAX ||
      options->offset_bytes + options->size_bytes > INT64_MAX) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes at byte %" PRIu64 " of a file", options->size_bytes,
                     options->offset_bytes);
  }
  return TARN_OK;
}

/* --- what the descriptor is --- */

/* Memory that can be sealed knows its seals; what cannot has none. */
static tarn_status check_rights(int descriptor, const tarn_mapping_options *options,
                                const char *name) {
  const int seals = fcntl(descriptor, F_GET_SEALS), access = fcntl(descriptor, F_GETFL);
  const bool is_sealed = seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
  if ((options->flags & TARN_MAPPING_SEALED) != 0 && !is_sealed) {
    return tarn_fail(TARN_NOT_SUPPORTED, "%s is not sealed: somebody could make it shorter", name);
  }
  if (options->mode != TARN_MAPPING_READ_WRITE) return TARN_OK;
  const bool is_open_for_writing = access >= 0 && (access & O_ACCMODE) == O_RDWR;
  const bool is_write_sealed = seals >= 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0;
  if (is_open_for_writing && !is_write_sealed) return TARN_OK;
  return tarn_fail(TARN_READ_ONLY, "%s is %s", name,
                   is_write_sealed ? "sealed against writing" : "not open for reading and writing");
}

/* How many bytes the part has, once it is certain that the file has them. */
static tarn_status measure(int descriptor, const tarn_mapping_options *options, const char *name,
                           size_t *size_bytes) {
  struct stat about;
  *size_bytes = 0;
  if (fstat(descriptor, &about) != 0) {
    return errno == EBADF
               ? tarn_fail_native(TARN_INVALID_ARGUMENT, "fstat", EBADF, "%s is not open", name)
               : failed("fstat", name);
  }
  if (!S_ISREG(about.st_mode)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s is no regular file and no shared memory", name);
  }
  const uint64_t file_bytes = (uint64_t)about.st_size;
  *size_bytes = options->size_bytes;
  if (options->offset_bytes > file_bytes ||
      options->size_bytes > file_bytes - options->offset_bytes) {
    return tarn_fail(TARN_BAD_FORMAT,
                     "%s has %" PRIu64 " bytes, which are no %zu from byte %" PRIu64 " on", name,
                     file_bytes, options->size_bytes, options->offset_bytes);
  }
  if (options->size_bytes == 0) *size_bytes = (size_t)(file_bytes - options->offset_bytes);
  return check_rights(descriptor, options, name);
}

/* The pages that a mapping of the file comes in. Source of the number: linux/magic.h, and mmap(2)
 * on huge pages, whose offsets and lengths are multiples of them. */
static size_t page_bytes_of(int descriptor) {
  const unsigned long hugetlbfs_magic = 0x958458f6;
  struct statfs about;
  if (fstatfs(descriptor, &about) == 0 && (unsigned long)about.f_type == hugetlbfs_magic &&
      about.f_bsize > 0 && tarn_is_power_of_two((size_t)about.f_bsize)) {
    return (size_t)about.f_bsize;
  }
  return (size_t)sysconf(_SC_PAGESIZE);
}

/* --- mapping --- */

static tarn_status map_pages(mapping *self, int descriptor, const char *name) {
  if (self->size_bytes == 0) return TARN_OK;
  const size_t page_bytes = page_bytes_of(descriptor);
  self->lead_bytes = (size_t)(self->offset_bytes & (page_bytes - 1));
  if (!tarn_size_add(self->size_bytes, self->lead_bytes, &self->mapped_bytes) ||
      !tarn_size_round_up(self->mapped_bytes, page_bytes, &self->mapped_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "%s: %zu bytes", name, self->size_bytes);
  }
  const bool is_read_only = self->mode == TARN_MAPPING_READ_ONLY;
  const int rights = is_read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  const int kind = self->mode == TARN_MAPPING_COPY_ON_WRITE ? MAP_PRIVATE : MAP_SHARED;
  const off_t start = (off_t)(self->offset_bytes - self->lead_bytes);
  void *mapped = mmap(NULL, self->mapped_bytes, rights, kind, descriptor, start);
  /* Many kernels before 6.7 do not share what is sealed against writing, not even to be read, by a
   * descriptor that could write otherwise. Nobody writes it, so a private mapping is the same. */
  if (mapped == MAP_FAILED && errno == EPERM && is_read_only) {
    mapped = mmap(NULL, self->mapped_bytes, rights, MAP_PRIVATE, descriptor, start);
  }
  if (mapped == MAP_FAILED) return failed("mmap", name);
  self->address = mapped;
  return TARN_OK;
}

static tarn_status wrap_pages(mapping *self, tarn_storage **storage) {
  const tarn_blob blob = {
      .struct_size = sizeof blob,
      .address = self->address != NULL ? (char *)self->address + self->lead_bytes : NULL,
      .size_bytes = self->size_bytes,
      .flags = self->mode == TARN_MAPPING_READ_ONLY ? TARN_STORAGE_READ_ONLY : 0,
      .deleter = end_mapping,
      .context = self};
  return tarn_storage_wrap(&blob, storage);
}

/* The descriptor stays the caller's. */
static tarn_status map_open(int descriptor, const tarn_mapping_options *options, const char *name,
                            tarn_storage **storage) {
  size_t size_bytes;
  tarn_status status = measure(descriptor, options, name, &size_bytes);
  if (status != TARN_OK) return status;
  mapping *self = malloc(sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a mapping's record");
  *self = (mapping){.offset_bytes = options->offset_bytes,
                    .size_bytes = size_bytes,
                    .mode = options->mode,
                    .descriptor = -1};
  status = map_pages(self, descriptor, name);
  if (status == TARN_OK && (options->flags & TARN_MAPPING_CLOSED) == 0) {
    self->descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (self->descriptor < 0) status = failed("fcntl", name);
  }
  if (status == TARN_OK) status = wrap_pages(self, storage);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  end_mapping(self);
  return tarn_fail_again(&cause);
}

static tarn_status begin(const void *name, const tarn_mapping_options **options,
                         tarn_storage **storage) {
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  *storage = NULL;
  if (name == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no name of a file");
  if (*options == NULL) *options = &ALL_READ_ONLY;
  return check_options(*options);
}

/* Opened without waiting, as a pipe would want. */
static int flags_of(const tarn_mapping_options *options) {
  const int access = options->mode == TARN_MAPPING_READ_WRITE ? O_RDWR : O_RDONLY;
  return access | O_CLOEXEC | O_NONBLOCK;
}

/* Takes the descriptor that a call has answered. */
static tarn_status map_named(int descriptor, const char *call, const char *name,
                             const tarn_mapping_options *options, tarn_storage **storage) {
  if (descriptor < 0) {
    const bool is_no_file = errno == EISDIR || errno == ENXIO; /* a folder to write, a socket */
    const bool is_refused =
        options->mode == TARN_MAPPING_READ_WRITE && (errno == EACCES || errno == EROFS);
    if (!is_no_file && !is_refused) return failed(call, name);
    return tarn_fail_native(is_no_file ? TARN_INVALID_ARGUMENT : TARN_READ_ONLY, call, errno,
                            "%s: %s: %s", name, call, strerror(errno));
  }
  const tarn_status status = map_open(descriptor, options, name, storage);
  close(descriptor);
  return status;
}

tarn_status tarn_storage_map_path(const char *path, const tarn_mapping_options *options,
                                  tarn_storage **storage) {
  const tarn_status status = begin(path, &options, storage);
  if (status != TARN_OK) return status;
  return map_named(open(path, flags_of(options)), "open", path, options, storage);
}

tarn_status tarn_storage_map_shared(const char *name, const tarn_mapping_options *options,
                                    tarn_storage **storage) {
  const tarn_status status = begin(name, &options, storage);
  if (status != TARN_OK) return status;
  return map_named(shm_open(name, flags_of(options), /*mode=*/0), "shm_open", name, options,
                   storage);
}

tarn_status tarn_storage_map_descriptor(int descriptor, const tarn_mapping_options *options,
                                        tarn_storage **storage) {
  const tarn_status status = begin("", &options, storage);
  return status == TARN_OK ? map_open(descriptor, options, "the descriptor", storage) : status;
}

/* --- out again --- */

/* Of a file that was mapped. */
static tarn_status copy_descriptor(const mapping *self, tarn_stream *stream, int *descriptor,
                                   int64_t *offset_bytes) {
  if (self->mode == TARN_MAPPING_COPY_ON_WRITE || self->descriptor < 0) {
    return tarn_fail(TARN_NOT_SUPPORTED, self->descriptor < 0
                                             ? "the file was mapped to be closed"
                                             : "what is written to a copy is not in the file");
  }
  const tarn_status status = tarn_stream_synchronize(stream);
  if (status != TARN_OK) return status;
  const int copy = fcntl(self->descriptor, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return failed("fcntl", "a mapped file's descriptor");
  *descriptor = copy;
  *offset_bytes = (int64_t)self->offset_bytes;
  return TARN_OK;
}

/* A piece of a memory file becomes the caller's; anything else is closed. */
static tarn_status take_piece(tarn_share_memory *memory, int *descriptor, int64_t *offset_bytes) {
  if (strcmp(memory->kind, "file") != 0 || memory->piece_count != 1) {
    return tarn_fail(TARN_NOT_SUPPORTED, "memory of the kind \"%s\" is no file", memory->kind);
  }
  *descriptor = memory->pieces[0].descriptor;
  *offset_bytes = (int64_t)(memory->pieces[0].offset_bytes + memory->offset_bytes);
  memory->pieces[0].descriptor = -1;
  return TARN_OK;
}

static tarn_status share(tarn_storage *storage, tarn_stream *stream, tarn_share_memory *memory) {
  tarn_pool *pool = tarn_storage_pool(storage);
  tarn_provider *provider = tarn__storage_reserved_from(storage);
  const void *address = tarn_storage_data(storage);
  memory->size_bytes = tarn_storage_size_bytes(storage);
  if (pool != NULL) {
    return tarn_pool_share_range(pool, address, memory->size_bytes, stream, /*may_mark=*/false,
                                 memory);
  }
  if (provider != NULL) {
    return tarn_provider_share_range(provider, address, memory->size_bytes, stream,
                                     /*may_mark=*/false, memory);
  }
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "a wrapped blob and imported memory have no descriptor here");
}

tarn_status tarn_storage_descriptor(tarn_storage *storage, tarn_stream *stream, int *descriptor,
                                    int64_t *offset_bytes) {
  if (descriptor != NULL) *descriptor = -1;
  if (offset_bytes != NULL) *offset_bytes = 0;
  if (storage == NULL || descriptor == NULL || offset_bytes == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a storage, and places for descriptor and offset");
  }
  if (tarn_storage_size_bytes(storage) == 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a storage without bytes is no part of a file");
  }
  const mapping *self = tarn__storage_context(storage, end_mapping);
  if (self != NULL) return copy_descriptor(self, stream, descriptor, offset_bytes);
  tarn_share_memory memory = {.pieces = NULL};
  tarn_status status = share(storage, stream, &memory);
  if (status == TARN_OK) status = take_piece(&memory, descriptor, offset_bytes);
  const tarn_error cause = *tarn_last_error();
  tarn__share_memory_deinit(&memory);
  return status == TARN_OK ? TARN_OK : tarn_fail_again(&cause);
}
