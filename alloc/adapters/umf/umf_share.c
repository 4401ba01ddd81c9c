/* umf_share.c: inter-process handles: a descriptor of the exporter's, reopened through /proc.
 *
 * UMF hands bytes over, and no descriptor. Duplicating a process's descriptor (pidfd_getfd) takes
 * the right to trace it, which most systems keep to a process's parent; opening the file anew by
 * /proc/PID/fd takes what reading that folder takes: being the same user. */
#include "alloc/adapters/umf/umf_share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/tarn_mapping.h"

static const uint64_t HANDLE_KIND = UINT64_C(0x316d66756e726174); /* "tarnufm1" */

static tarn_status refuse(const char *call, const tarn__umf_handle *handle) {
  const int error = errno;
  return tarn_fail_native(TARN_SYSTEM_ERROR, call, error,
                          "descriptor %d of process %d, %llu bytes: %s", handle->descriptor,
                          handle->process, (unsigned long long)handle->size_bytes, strerror(error));
}

tarn_status tarn__umf_share(tarn_provider *provider, const tarn__umf_block *block,
                            tarn__umf_handle *handle) {
  int descriptor = -1;
  int64_t offset_bytes = 0;
  const tarn_status status =
      tarn_provider_share(provider, block->address, &descriptor, &offset_bytes);
  if (status != TARN_OK) return status;
  *handle = (tarn__umf_handle){.kind = HANDLE_KIND,
                               .offset_bytes = (uint64_t)offset_bytes,
                               .size_bytes = block->size_bytes,
                               .process = (int32_t)getpid(),
                               .descriptor = descriptor};
  struct stat file;
  if (fstat(descriptor, &file) != 0) {
    const tarn_status refused = refuse("fstat", handle);
    close(descriptor);
    return refused;
  }
  handle->file_device = file.st_dev;
  handle->file_node = file.st_ino;
  return TARN_OK;
}

/* The exporter may have closed the descriptor, and have another file there now. */
static tarn_status check_file(const struct stat *file, const tarn__umf_handle *handle) {
  const bool is_same = file->st_dev == handle->file_device && file->st_ino == handle->file_node;
  uint64_t end_bytes = 0;
  if (is_same && S_ISREG(file->st_mode) &&
      !__builtin_add_overflow(handle->offset_bytes, handle->size_bytes, &end_bytes) &&
      end_bytes <= (uint64_t)file->st_size) {
    return TARN_OK;
  }
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "descriptor %d of process %d is not the memory that the handle is of",
                   handle->descriptor, handle->process);
}

static tarn_status map_file(int descriptor, const tarn__umf_handle *handle,
                            tarn__umf_block *opened) {
  const tarn_mapping_options options = {.struct_size = sizeof options,
                                        .mode = TARN_MAPPING_READ_WRITE,
                                        .flags = TARN_MAPPING_CLOSED,
                                        .offset_bytes = handle->offset_bytes,
                                        .size_bytes = (size_t)handle->size_bytes};
  tarn_storage *storage = NULL;
  const tarn_status status = tarn_storage_map_descriptor(descriptor, &options, &storage);
  if (status != TARN_OK) return status;
  opened->storage = storage;
  opened->address = tarn_storage_data_mutable(storage);
  opened->size_bytes = options.size_bytes;
  return TARN_OK;
}

tarn_status tarn__umf_share_open(const tarn__umf_handle *handle, tarn__umf_block *opened) {
  if (handle->kind != HANDLE_KIND || handle->size_bytes == 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "the handle is not of a tarn provider");
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", handle->process, handle->descriptor);
  /* Looked at first: opening what a stranger's handle names may do something. */
  struct stat file;
  if (stat(path, &file) != 0) return refuse("stat", handle);
  tarn_status status = check_file(&file, handle);
  if (status != TARN_OK) return status;
  const int descriptor = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) return refuse("open", handle);
  status = fstat(descriptor, &file) == 0 ? check_file(&file, handle) : refuse("fstat", handle);
  if (status == TARN_OK) status = map_file(descriptor, handle, opened);
  close(descriptor);
  return status;
}
