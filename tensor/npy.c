/* npy.c: .npy files as mapped tensors, and as memory of a pool. */
#include "tensor/tarn_npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/tarn_mapping.h"
#include "alloc/tarn_staging_file.h"

#include "tensor/npy.h"
#include "tensor/npy_header.h"
#include "tensor/tarn_copy.h"

_Static_assert((int)TARN_NPY_READ_ONLY == (int)TARN_MAPPING_READ_ONLY &&
                   (int)TARN_NPY_COPY_ON_WRITE == (int)TARN_MAPPING_COPY_ON_WRITE &&
                   (int)TARN_NPY_READ_WRITE == (int)TARN_MAPPING_READ_WRITE,
               "a file is mapped in the mode that it is asked for");

tarn_status tarn__npy_failed(const char *call, const char *path) {
  const int cause = errno;
  const tarn_status status = cause == ENOENT || cause == ENOTDIR ? TARN_NOT_FOUND
                             : cause == ENOMEM                   ? TARN_OUT_OF_MEMORY
                                                                 : TARN_SYSTEM_ERROR;
  return tarn_fail_native(status, call, cause, "%s: %s: %s", path, call, strerror(cause));
}

/* --- the file --- */

/* Opened without waiting, as a pipe would want; what is no file is refused. */
static tarn_status open_file(const char *path, tarn_npy_mode mode, int *file, size_t *file_bytes) {
  struct stat about;
  *file_bytes = 0;
  *file = open(path, (mode == TARN_NPY_READ_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
  if (*file < 0) return tarn__npy_failed("open", path);
  tarn_status status = TARN_OK;
  if (fstat(*file, &about) != 0) {
    status = tarn__npy_failed("fstat", path);
  } else if (!S_ISREG(about.st_mode)) {
    status = tarn_fail(TARN_INVALID_ARGUMENT, "%s is not a regular file", path);
  }
  if (status != TARN_OK) {
    close(*file);
    return status;
  }
  *file_bytes = (size_t)about.st_size;
  return TARN_OK;
}

/* The file's first `size` bytes; fewer where it ends. They are read, not mapped: somebody may be
 * making it shorter. */
static tarn_status read_start(int file, const char *path, char *bytes, size_t size, size_t *got) {
  *got = 0;
  while (*got < size) {
    const ssize_t count = pread(file, bytes + *got, size - *got, (off_t)*got);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return tarn__npy_failed("pread", path);
    if (count == 0) break;
    *got += (size_t)count;
  }
  return TARN_OK;
}

static tarn_status read_header(int file, const char *path, tarn__npy_header *header) {
  char prefix[TARN__NPY_PREFIX_BYTES];
  size_t got, header_bytes;
  tarn_status status = read_start(file, path, prefix, sizeof prefix, &got);
  if (status != TARN_OK) return status;
  status = tarn__npy_header_measure(prefix, got, &header_bytes);
  if (status != TARN_OK) return status;
  char *bytes = malloc(header_bytes);
  if (bytes == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a .npy header of %zu bytes", header_bytes);
  }
  status = read_start(file, path, bytes, header_bytes, &got);
  if (status == TARN_OK) status = tarn__npy_parse_header(bytes, got, header);
  free(bytes);
  return status;
}

/* Opens a file that holds what its header promises. */
static tarn_status open_array(const char *path, tarn_npy_mode mode, int *file,
                              tarn__npy_header *header) {
  size_t file_bytes;
  tarn_status status = open_file(path, mode, file, &file_bytes);
  if (status != TARN_OK) return status;
  status = read_header(*file, path, header);
  if (status == TARN_OK && file_bytes < header->size_bytes + header->data_bytes) {
    status = tarn_fail(TARN_BAD_FORMAT, "%s has %zu bytes; its header promises %zu", path,
                       file_bytes, header->size_bytes + header->data_bytes);
  }
  if (status != TARN_OK) close(*file);
  return status;
}

/* The data as a storage; an array without elements has nothing to map. */
static tarn_status map_data(int file, const char *path, tarn_npy_mode mode,
                            const tarn__npy_header *header, tarn_storage **storage) {
  const tarn_mapping_options options = {.struct_size = sizeof options,
                                        .mode = (tarn_mapping_mode)mode,
                                        .flags = TARN_MAPPING_CLOSED,
                                        .offset_bytes = header->size_bytes,
                                        .size_bytes = header->data_bytes};
  const tarn_blob nothing = {.struct_size = sizeof nothing,
                             .flags = mode == TARN_NPY_READ_ONLY ? TARN_STORAGE_READ_ONLY : 0};
  if (header->data_bytes == 0) return tarn_storage_wrap(&nothing, storage);
  const tarn_status status = tarn_storage_map_descriptor(file, &options, storage);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  if (cause.native_call == NULL) return status;
  return tarn_fail_native(status, cause.native_call, cause.native_code, "%s: %s: %s", path,
                          cause.native_call, strerror((int)cause.native_code));
}

/* The file's header and its data; nothing of it stays open. */
static tarn_status map_path(const char *path, tarn_npy_mode mode, bool may_be_swapped,
                            tarn__npy_header *header, tarn_storage **storage) {
  int file;
  *storage = NULL;
  tarn_status status = open_array(path, mode, &file, header);
  if (status != TARN_OK) return status;
  if (header->swapped_bytes != 0 && !may_be_swapped) {
    status = tarn_fail(TARN_NOT_SUPPORTED,
                       "%s is in the other byte order and cannot be mapped; tarn_npy_load reads it",
                       path);
  }
  if (status == TARN_OK) status = map_data(file, path, mode, header, storage);
  close(file);
  return status;
}

/* --- mapping --- */

tarn_status tarn_npy_open(const char *path, const tarn_npy_open_options *options,
                          tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  *tensor = (tarn_tensor){0};
  if (path == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "path is NULL");
  if (options != NULL && options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_npy_open_options has %zu bytes, not %zu",
                     sizeof *options, options->struct_size);
  }
  const tarn_npy_mode mode = options != NULL ? options->mode : TARN_NPY_READ_ONLY;
  if ((unsigned)mode > TARN_NPY_READ_WRITE) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_npy_mode has no value %d", (int)mode);
  }
  tarn__npy_header header;
  tarn_storage *storage;
  tarn_status status = map_path(path, mode, /*may_be_swapped=*/false, &header, &storage);
  if (status != TARN_OK) return status;
  status = tarn_tensor_of_storage(storage, header.dtype, header.layout.rank, header.layout.shape,
                                  /*offset_bytes=*/0, tensor);
  tarn_storage_release(storage); /* the tensor's now, or nobody's */
  if (status == TARN_OK) {
    tensor->layout = header.layout; /* Fortran's order reaches as far as the row-major one */
    return TARN_OK;
  }
  if (status != TARN_INVALID_ARGUMENT) return status;
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "%s has its data at byte %zu, which is not aligned; tarn_npy_load reads it",
                   path, header.size_bytes);
}

/* --- loading --- */

/* Turns each number's bytes around, wherever it lies. One loop per width, so that the compiler
 * makes shuffles of it. */
static void swap_bytes(unsigned char *bytes, size_t size_bytes, size_t number_bytes) {
#define SWAP_ALL(type, swap)                                 \
  for (size_t at = 0; at < size_bytes; at += sizeof(type)) { \
    type number;                                             \
    memcpy(&number, bytes + at, sizeof number);              \
    number = swap(number);                                   \
    memcpy(bytes + at, &number, sizeof number);              \
  }
  if (number_bytes == 2) {
    SWAP_ALL(uint16_t, __builtin_bswap16)
  } else if (number_bytes == 4) {
    SWAP_ALL(uint32_t, __builtin_bswap32)
  } else {
    SWAP_ALL(uint64_t, __builtin_bswap64)
  }
#undef SWAP_ALL
}

/* The file's data as bytes: mapped, and turned around in pages of our own. */
static tarn_status map_bytes(const char *path, tarn__npy_header *header, tarn_tensor *bytes) {
  tarn_storage *storage;
  tarn_status status =
      map_path(path, TARN_NPY_COPY_ON_WRITE, /*may_be_swapped=*/true, header, &storage);
  if (status != TARN_OK) return status;
  if (header->swapped_bytes != 0 && header->data_bytes != 0) {
    swap_bytes(tarn_storage_data_mutable(storage), header->data_bytes, header->swapped_bytes);
  }
  const int64_t count = (int64_t)header->data_bytes;
  status = tarn_tensor_of_storage(storage, TARN_U8, 1, &count, /*offset_bytes=*/0, bytes);
  tarn_storage_release(storage);
  return status;
}

/* By the system into the slots of the ring, and by the stream from there. */
static tarn_status read_to_device(int file, const tarn__npy_header *header, tarn_staging *ring,
                                  tarn_pool *pool, tarn_stream *stream, tarn_tensor *made) {
  const int64_t count = (int64_t)header->data_bytes;
  tarn_status status = tarn_tensor_create(pool, TARN_U8, 1, &count, stream, made);
  if (status != TARN_OK || count == 0) return status;
  status = tarn_staging_load(ring, stream, file, header->size_bytes,
                             tarn_storage_data_mutable(made->storage), tarn_tensor_device(made),
                             header->data_bytes);
  /* Pieces may be on their way after a failure, too. */
  if (tarn_storage_note_use(made->storage, stream) != TARN_OK) {
    const tarn_status waited = tarn_stream_synchronize(stream);
    if (waited != TARN_OK) tarn_storage_retain(made->storage); /* rather than free it too early */
    if (status == TARN_OK) status = waited;
  }
  if (status != TARN_OK) tarn_tensor_release(made);
  return status;
}

/* *is_loaded stays false where there is nothing for a ring to do. */
static tarn_status load_by_ring(const char *path, tarn_pool *pool, tarn_stream *stream,
                                tarn_tensor *tensor, bool *is_loaded) {
  tarn_staging *ring;
  tarn__npy_header header;
  tarn_tensor made;
  int file;
  *is_loaded = false;
  if (pool == NULL || tarn_device_is_host(tarn_pool_attributes_of(pool)->device)) return TARN_OK;
  tarn_status status = tarn_stream_staging(stream, /*reads_host=*/false, &ring);
  if (status != TARN_OK || ring == NULL) return status;
  status = open_array(path, TARN_NPY_READ_ONLY, &file, &header);
  if (status != TARN_OK) return status;
  if (header.swapped_bytes == 0) {
    status = read_to_device(file, &header, ring, pool, stream, &made);
    *is_loaded = status == TARN_OK;
  }
  close(file);
  if (!*is_loaded) return status;
  made.dtype = header.dtype;
  made.layout = header.layout;
  *tensor = made;
  return TARN_OK;
}

tarn_status tarn_npy_load(const char *path, tarn_pool *pool, tarn_stream *stream,
                          tarn_tensor *tensor) {
  if (tensor == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the tensor");
  *tensor = (tarn_tensor){0};
  if (path == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "path is NULL");
  bool is_loaded;
  const tarn_status by_ring = load_by_ring(path, pool, stream, tensor, &is_loaded);
  if (by_ring != TARN_OK || is_loaded) return by_ring;
  tarn__npy_header header;
  tarn_tensor source, made;
  tarn_status status = map_bytes(path, &header, &source);
  if (status != TARN_OK) return status;
  status = tarn_tensor_create(pool, TARN_U8, 1, source.layout.shape, stream, &made);
  if (status == TARN_OK) status = tarn_tensor_copy(&made, &source, stream, NULL);
  tarn_tensor_release(&source);
  if (status != TARN_OK) {
    tarn_tensor_release(&made);
    return status;
  }
  made.dtype = header.dtype;
  made.layout = header.layout;
  *tensor = made;
  return TARN_OK;
}
