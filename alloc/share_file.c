/* share_file.c: memory files: what a provider's is to others, and what another's is here. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/share.h"

static const char KIND[] = "file";

/* The same file, opened so that nobody maps it for writing. Takes the descriptor. */
static tarn_status reopen_for_reading(int *descriptor) {
  char path[40];
  snprintf(path, sizeof path, "/proc/thread-self/fd/%d", *descriptor);
  const int reopened = open(path, O_RDONLY | O_CLOEXEC);
  const int error = errno;
  close(*descriptor);
  *descriptor = reopened;
  if (reopened >= 0) return TARN_OK;
  return tarn_fail_native(
      error == EMFILE || error == ENFILE ? TARN_OUT_OF_MEMORY : TARN_NOT_SUPPORTED, "open", error,
      "a memory file cannot be opened anew for reading alone: %s: %s", path, strerror(error));
}

tarn_status tarn__share_file(tarn_provider *provider, const void *address, size_t size_bytes,
                             tarn_stream *stream, tarn_share_memory *memory) {
  const size_t step = tarn_provider_attributes_of(provider)->alignment_bytes;
  const uintptr_t start = (uintptr_t)address & ~(uintptr_t)(step - 1);
  size_t mapped_bytes = 0;
  int64_t file_offset;
  int descriptor;
  const bool fits =
      tarn_size_round_up((uintptr_t)address - start + size_bytes, step, &mapped_bytes);
  if (!fits) return tarn_fail(TARN_TOO_LARGE, "sharing %zu bytes", size_bytes);
  tarn_status status = tarn_stream_synchronize(stream);
  if (status != TARN_OK) return status;
  status = tarn_provider_share(provider, (const void *)start, &descriptor, &file_offset);
  if (status == TARN_OK && memory->is_read_only) status = reopen_for_reading(&descriptor);
  if (status != TARN_OK) return status;
  memcpy(memory->kind, KIND, sizeof KIND);
  memory->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  memory->offset_bytes = (uintptr_t)address - start;
  return tarn_share_add_piece(memory, descriptor, (uint64_t)file_offset, mapped_bytes);
}

/* That nobody can cut the file short is what keeps the importer from SIGBUS; and of huge pages that
 * they are reserved as it is mapped. */
static tarn_status check_file(const tarn_share_piece *piece) {
  struct stat found = {0};
  const int seals = fcntl(piece->descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(piece->descriptor, &found) != 0) {
    return tarn_fail(TARN_BAD_FORMAT, "what is to be mapped is no memory file of a fixed size");
  }
  /* The sum was checked when the parcel was read. */
  if (found.st_size >= 0 && piece->offset_bytes + piece->size_bytes <= (uint64_t)found.st_size) {
    return TARN_OK;
  }
  return tarn_fail(TARN_BAD_FORMAT, "%llu bytes at %llu are outside of a memory file of %lld",
                   (unsigned long long)piece->size_bytes, (unsigned long long)piece->offset_bytes,
                   (long long)found.st_size);
}

tarn_status tarn__share_file_map(const tarn_share_memory *memory, void **address) {
  *address = NULL;
  if (strcmp(memory->kind, KIND) != 0) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "memory of the kind \"%s\" is mapped by a provider, and none was given",
                     memory->kind);
  }
  if (memory->piece_count != 1 || memory->pieces[0].descriptor < 0) {
    return tarn_fail(TARN_BAD_FORMAT, "a memory file in %zu pieces", memory->piece_count);
  }
  const tarn_share_piece *piece = &memory->pieces[0];
  const tarn_status status = check_file(piece);
  if (status != TARN_OK) return status;
  void *mapped =
      mmap(NULL, piece->size_bytes, memory->is_read_only ? PROT_READ : PROT_READ | PROT_WRITE,
           MAP_SHARED, piece->descriptor, (off_t)piece->offset_bytes);
  if (mapped == MAP_FAILED) {
    const bool is_about_file = errno == EINVAL || errno == EACCES || errno == EPERM;
    return tarn_fail_native(errno == ENOMEM ? TARN_OUT_OF_MEMORY
                            : is_about_file ? TARN_BAD_FORMAT
                                            : TARN_SYSTEM_ERROR,
                            "mmap", errno, "mapping %llu bytes of a memory file: %s",
                            (unsigned long long)piece->size_bytes, strerror(errno));
  }
  *address = mapped;
  return TARN_OK;
}

void tarn__share_file_unmap(void *address, size_t size_bytes) {
  munmap(address, size_bytes);
}
