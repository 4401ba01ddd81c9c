/* npy_save.c: tensors as .npy files: written beside the path, whole, and then renamed. */
#include "tensor/tarn_npy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/tarn_staging_file.h"

#include "tensor/layout.h"
#include "tensor/npy.h"
#include "tensor/npy_header.h"
#include "tensor/tarn_copy.h"

enum {
  CHUNK_BYTES = 4 << 20, /* gathered at a time */
  PATH_BYTES_MAX = 4096,
  NAMES_TRIED_MAX = 100,
};

/* The new file while nobody knows it. */
typedef struct draft {
  const char *path; /* what it is going to be */
  char name[PATH_BYTES_MAX];
  size_t folder_bytes; /* of name, with the last slash */
  int file;
} draft;

/* --- the file --- */

/* A hidden name in the same folder, which nobody else uses: not another process, and not another
 * thread. */
static tarn_status create_draft(draft *self) {
  static atomic_uint counter;
  const char *slash = strrchr(self->path, '/');
  self->folder_bytes = slash == NULL ? 0 : (size_t)(slash + 1 - self->path);
  for (int i = 0; i < NAMES_TRIED_MAX; i++) {
    /* Relaxed: numbers that differ are enough. */
    const unsigned number = atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
    const int length = snprintf(self->name, sizeof self->name, "%.*s.tarn-%ld-%u.npy",
                                (int)self->folder_bytes, self->path, (long)getpid(), number);
    if (length >= (int)sizeof self->name) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "a path of more than %d bytes", PATH_BYTES_MAX);
    }
    self->file = open(self->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (self->file >= 0) return TARN_OK;
    if (errno != EEXIST) break;
  }
  return tarn__npy_failed("open", self->name);
}

/* What is at the path already: nothing, or a file that lends its permissions. */
static tarn_status begin_draft(draft *self) {
  struct stat old;
  const bool is_there = stat(self->path, &old) == 0;
  if (is_there && !S_ISREG(old.st_mode)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s is not a regular file", self->path);
  }
  const tarn_status status = create_draft(self);
  if (status != TARN_OK || !is_there) return status;
  if (fchmod(self->file, old.st_mode & 0777) == 0) return TARN_OK;
  const tarn_status refused = tarn__npy_failed("fchmod", self->name);
  close(self->file);
  unlink(self->name);
  return refused;
}

static tarn_status write_all(const draft *self, const void *bytes, size_t size_bytes) {
  const char *at = bytes;
  while (size_bytes > 0) {
    const ssize_t count = write(self->file, at, size_bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return tarn__npy_failed("write", self->path);
    at += count;
    size_bytes -= (size_t)count;
  }
  return TARN_OK;
}

static tarn_status sync_folder(draft *self) {
  self->name[self->folder_bytes] = '\0';
  const char *folder = self->folder_bytes == 0 ? "." : self->name;
  const int opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return tarn__npy_failed("open", folder);
  const tarn_status status = fsync(opened) == 0 ? TARN_OK : tarn__npy_failed("fsync", folder);
  close(opened);
  return status;
}

/* Closes the draft and gives it its name; or takes it away, where writing failed. */
static tarn_status end_draft(draft *self, tarn_status status, bool wants_sync) {
  if (status == TARN_OK && wants_sync && fsync(self->file) != 0) {
    status = tarn__npy_failed("fsync", self->path);
  }
  if (close(self->file) != 0 && status == TARN_OK) status = tarn__npy_failed("close", self->path);
  if (status == TARN_OK && rename(self->name, self->path) != 0) {
    status = tarn__npy_failed("rename", self->path);
  }
  if (status != TARN_OK) {
    unlink(self->name);
    return status;
  }
  return wants_sync ? sync_folder(self) : TARN_OK;
}

/* --- the elements --- */

/* A walk over a tensor in row-major order, a block of whole rows of dimension `dim` at a time. */
typedef struct walk {
  int32_t dim;
  int64_t rows_max;
  int64_t index[TARN_RANK_MAX]; /* of the next block; only up to dim */
  bool is_over;
} walk;

/* Blocks as large as a chunk allows, but at least one element. */
static walk walk_start(const tarn_tensor *tensor) {
  const tarn_layout *layout = &tensor->layout;
  const int64_t chunk_count = CHUNK_BYTES / (int64_t)tarn_dtype_size_bytes(tensor->dtype);
  int64_t row_count = 1;
  walk self = {.dim = layout->rank - 1, .is_over = tarn_tensor_element_count(tensor) == 0};
  while (self.dim > 0 && row_count * layout->shape[self.dim] <= chunk_count) {
    row_count *= layout->shape[self.dim--];
  }
  self.rows_max = chunk_count / row_count;
  return self;
}

/* The next block, as a view, and the step behind it. */
static tarn_status walk_next(walk *self, const tarn_tensor *tensor, tarn_tensor *block) {
  const int64_t *shape = tensor->layout.shape;
  *block = *tensor;
  if (self->dim < 0) { /* a scalar */
    self->is_over = true;
    return TARN_OK;
  }
  const int64_t left = shape[self->dim] - self->index[self->dim];
  const int64_t rows = left < self->rows_max ? left : self->rows_max;
  tarn_status status = TARN_OK;
  for (int32_t d = 0; d < self->dim && status == TARN_OK; d++) {
    status = tarn_tensor_narrow(block, d, self->index[d], 1);
  }
  if (status == TARN_OK) {
    status = tarn_tensor_narrow(block, self->dim, self->index[self->dim], rows);
  }
  self->index[self->dim] += rows;
  for (int32_t d = self->dim; self->index[d] == shape[d]; d--) {
    self->is_over = d == 0;
    if (self->is_over) break;
    self->index[d] = 0;
    self->index[d - 1]++;
  }
  return status;
}

/* A block into `chunk`, which is there when this returns. */
static tarn_status gather(const tarn_tensor *block, void *chunk, tarn_stream *stream,
                          size_t *size_bytes) {
  const tarn_blob blob = {.struct_size = sizeof blob, .address = chunk, .size_bytes = CHUNK_BYTES};
  tarn_copy_report report = {.struct_size = sizeof report};
  tarn_tensor packed;
  *size_bytes = tarn_tensor_size_bytes(block);
  tarn_status status = tarn_tensor_wrap(&blob, block->dtype, block->layout.rank,
                                        block->layout.shape, NULL, /*offset_bytes=*/0, &packed);
  if (status != TARN_OK) return status;
  status = tarn_tensor_copy(&packed, block, stream, &report);
  if (status == TARN_OK && !report.was_synchronous) status = tarn_stream_synchronize(stream);
  tarn_tensor_release(&packed);
  return status;
}

static tarn_status write_gathered(const draft *self, const tarn_tensor *tensor,
                                  tarn_stream *stream) {
  void *chunk = malloc(CHUNK_BYTES);
  if (chunk == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to gather a tensor in");
  tarn_status status = TARN_OK;
  for (walk at = walk_start(tensor); !at.is_over && status == TARN_OK;) {
    tarn_tensor block;
    size_t size_bytes = 0;
    status = walk_next(&at, tensor, &block);
    if (status == TARN_OK) status = gather(&block, chunk, stream, &size_bytes);
    if (status == TARN_OK) status = write_all(self, chunk, size_bytes);
  }
  free(chunk);
  return status;
}

/* What lies in order on a device: from the slots of the stream's ring straight to the file. */
static tarn_status write_by_ring(const draft *self, const tarn_tensor *tensor, tarn_staging *ring,
                                 tarn_stream *stream) {
  const off_t at = lseek(self->file, 0, SEEK_CUR);
  if (at < 0) return tarn__npy_failed("lseek", self->path);
  return tarn_staging_store(ring, stream, self->file, (uint64_t)at, tarn_tensor_data(tensor),
                            tarn_tensor_device(tensor), tarn_tensor_size_bytes(tensor));
}

static tarn_status write_elements(const draft *self, const tarn_tensor *tensor,
                                  tarn_stream *stream) {
  const bool is_host = tarn_device_is_host(tarn_tensor_device(tensor));
  if (!tarn_tensor_is_contiguous(tensor)) return write_gathered(self, tensor, stream);
  if (!is_host) {
    tarn_staging *ring;
    const tarn_status status = tarn_stream_staging(stream, /*reads_host=*/false, &ring);
    if (status != TARN_OK) return status;
    return ring == NULL ? write_gathered(self, tensor, stream)
                        : write_by_ring(self, tensor, ring, stream);
  }
  const tarn_status status = tarn_stream_synchronize(stream);
  if (status != TARN_OK) return status;
  return write_all(self, tarn_tensor_data(tensor), tarn_tensor_size_bytes(tensor));
}

/* --- all together --- */

/* A tensor is a value, so somebody may have written any numbers into it; and an expanded one may
 * name more than a file holds. */
static tarn_status check_size(const tarn_tensor *tensor) {
  const tarn_layout *layout = &tensor->layout;
  int64_t first, end;
  if (!tarn_inline_reach(layout->rank, layout->shape, layout->strides, layout->offset, &first,
                         &end)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "the numbers of the tensor are those of no layout");
  }
  const size_t size_bytes = tarn_tensor_size_bytes(tensor);
  const size_t storage_bytes = tarn_storage_size_bytes(tensor->storage);
  if (size_bytes > PTRDIFF_MAX - TARN__NPY_WRITTEN_BYTES_MAX) {
    return tarn_fail(TARN_TOO_LARGE, "a .npy file of %zu bytes", size_bytes);
  }
  if (first >= 0 && (uint64_t)end <= storage_bytes / tarn_dtype_size_bytes(tensor->dtype)) {
    return TARN_OK;
  }
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "elements %" PRId64 " to %" PRId64 " do not lie in a storage of %zu bytes",
                   first, end - 1, storage_bytes);
}

static tarn_status check(const tarn_tensor *tensor, const char *path,
                         const tarn_npy_save_options *options) {
  if (tensor == NULL || tensor->storage == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tensor without a storage");
  }
  if (path == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "path is NULL");
  tarn_status status = tarn_dtype_check(tensor->dtype);
  if (status == TARN_OK) status = check_size(tensor);
  if (status != TARN_OK) return status;
  if (options == NULL) return TARN_OK;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_npy_save_options has %zu bytes, not %zu",
                     sizeof *options, options->struct_size);
  }
  if ((options->flags & ~(uint32_t)TARN_NPY_SYNC) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown flags 0x%x to save with", options->flags);
  }
  return TARN_OK;
}

/* The tensor's dimensions the other way around. */
static tarn_status reverse(tarn_tensor *tensor) {
  int32_t dims[TARN_RANK_MAX];
  const int32_t rank = tensor->layout.rank;
  for (int32_t d = 0; d < rank; d++) dims[d] = rank - 1 - d;
  return tarn_tensor_permute(tensor, rank, dims);
}

tarn_status tarn_npy_save(const tarn_tensor *tensor, const char *path, tarn_stream *stream,
                          const tarn_npy_save_options *options) {
  char header[TARN__NPY_WRITTEN_BYTES_MAX];
  size_t header_bytes;
  draft made = {.path = path, .file = -1};
  tarn_status status = check(tensor, path, options);
  if (status != TARN_OK) return status;
  tarn_tensor reversed = *tensor;
  status = reverse(&reversed);
  if (status != TARN_OK) return status;
  const bool is_fortran =
      !tarn_tensor_is_contiguous(tensor) && tarn_tensor_is_contiguous(&reversed);
  status = tarn__npy_write_header(tensor->dtype, tensor->layout.rank, tensor->layout.shape,
                                  is_fortran, header, &header_bytes);
  if (status == TARN_OK) status = begin_draft(&made);
  if (status != TARN_OK) return status;
  status = write_all(&made, header, header_bytes);
  if (status == TARN_OK) {
    status = write_elements(&made, is_fortran ? &reversed : tensor, stream);
  }
  return end_draft(&made, status, options != NULL && (options->flags & TARN_NPY_SYNC) != 0);
}
