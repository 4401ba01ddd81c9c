/* iovec.c: the runs of a strided tensor, in row-major order, as entries for writev and readv. */
#include "tensor/tarn_iovec.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "tensor/element.h"

/* --- opening --- */

static tarn_status check(const tarn_tensor *tensor, tarn_iovec_access access) {
  if ((unsigned)access > TARN_IOVEC_WRITE) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_iovec_access has no value %d", (int)access);
  }
  const tarn_status status = tarn__element_check(tensor, "entries of");
  if (status != TARN_OK) return status;
  if (!tarn_device_is_host(tarn_tensor_device(tensor))) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "system calls reach no memory of device type %d: copy the tensor to the host",
                     (int)tarn_tensor_device(tensor).type);
  }
  if (tarn_tensor_size_bytes(tensor) > INT64_MAX) {
    return tarn_fail(TARN_TOO_LARGE, "%" PRId64 " elements are more bytes than there can be",
                     tarn_tensor_element_count(tensor));
  }
  if (access == TARN_IOVEC_READ) return TARN_OK;
  if (tarn_storage_is_read_only(tensor->storage)) {
    return tarn_fail(TARN_READ_ONLY, "a read-only storage to read a file into");
  }
  if (!tarn_layout_is_contiguous(&tensor->layout) && tarn_layout_overlaps_itself(&tensor->layout)) {
    return tarn_fail(TARN_OVERLAP, "a tensor to read a file into has an element at two indices");
  }
  return TARN_OK;
}

/* The dimensions in their order, those joined that are one in memory too; the innermost becomes the
 * run where its elements follow each other. */
static void cut_runs(const tarn_layout *layout, int64_t element_bytes, tarn_iovec_walk *walk) {
  walk->run_bytes = (size_t)element_bytes;
  for (int32_t dim = 0; dim < layout->rank; dim++) {
    const int64_t size = layout->shape[dim];
    if (size == 1) continue;
    const int64_t stride = layout->strides[dim] * element_bytes;
    const int32_t outer = walk->rank - 1;
    if (outer >= 0 && walk->strides_bytes[outer] == size * stride) {
      walk->shape[outer] *= size;
      walk->strides_bytes[outer] = stride;
      continue;
    }
    walk->shape[walk->rank] = size;
    walk->strides_bytes[walk->rank++] = stride;
  }
  if (walk->rank == 0 || walk->strides_bytes[walk->rank - 1] != element_bytes) return;
  walk->run_bytes = (size_t)(walk->shape[--walk->rank] * element_bytes);
}

tarn_status tarn_iovec_begin(const tarn_tensor *tensor, tarn_iovec_access access,
                             tarn_stream *stream, tarn_iovec_walk *walk) {
  if (walk == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the walk");
  *walk = (tarn_iovec_walk){0};
  tarn_status status = check(tensor, access);
  if (status == TARN_OK) status = tarn_stream_synchronize(stream);
  if (status != TARN_OK) return status;
  walk->access = access;
  walk->total_bytes = tarn_tensor_size_bytes(tensor);
  if (walk->total_bytes == 0) return TARN_OK;
  walk->first = (char *)(uintptr_t)tarn_tensor_data(tensor);
  cut_runs(&tensor->layout, (int64_t)tarn_dtype_size_bytes(tensor->dtype), walk);
  return TARN_OK;
}

/* --- walking --- */

/* A run by its index, and where it is. */
typedef struct place {
  int64_t index[TARN_RANK_MAX];
  char *address;
} place;

static void find_run(const tarn_iovec_walk *walk, uint64_t run, place *at) {
  at->address = walk->first;
  for (int32_t dim = walk->rank - 1; dim >= 0; dim--) {
    at->index[dim] = (int64_t)(run % (uint64_t)walk->shape[dim]);
    run /= (uint64_t)walk->shape[dim];
    at->address += at->index[dim] * walk->strides_bytes[dim];
  }
}

static void next_run(const tarn_iovec_walk *walk, place *at) {
  for (int32_t dim = walk->rank - 1; dim >= 0; dim--) {
    at->address += walk->strides_bytes[dim];
    if (++at->index[dim] < walk->shape[dim]) return;
    at->address -= walk->shape[dim] * walk->strides_bytes[dim];
    at->index[dim] = 0;
  }
}

int tarn_iovec_fill(const tarn_iovec_walk *walk, struct iovec *entries, int count_max) {
  place at;
  int count = 0;
  uint64_t left_bytes = walk->total_bytes - walk->done_bytes;
  if (left_bytes == 0) return 0;
  find_run(walk, walk->done_bytes / walk->run_bytes, &at);
  size_t skipped_bytes = (size_t)(walk->done_bytes % walk->run_bytes);
  while (left_bytes != 0) {
    char *const start = at.address + skipped_bytes;
    const size_t run_bytes = walk->run_bytes - skipped_bytes;
    struct iovec *last = count > 0 ? &entries[count - 1] : NULL;
    if (last != NULL && (char *)last->iov_base + last->iov_len == start) {
      last->iov_len += run_bytes; /* strides may meet by chance where no dimensions are one */
    } else if (count < count_max) {
      entries[count++] = (struct iovec){.iov_base = start, .iov_len = run_bytes};
    } else {
      break;
    }
    left_bytes -= run_bytes;
    skipped_bytes = 0;
    if (left_bytes != 0) next_run(walk, &at);
  }
  return count;
}

void tarn_iovec_advance(tarn_iovec_walk *walk, size_t size_bytes) {
  const uint64_t left_bytes = walk->total_bytes - walk->done_bytes;
  walk->done_bytes += size_bytes < left_bytes ? size_bytes : left_bytes;
}

/* --- moving --- */

static tarn_status failed(const tarn_iovec_walk *walk, const char *call) {
  const int cause = errno;
  const bool is_waiting = cause == EAGAIN || cause == EWOULDBLOCK || cause == EINTR;
  return tarn_fail_native(is_waiting ? TARN_NOT_READY : TARN_SYSTEM_ERROR, call, cause,
                          "%s, behind %" PRIu64 " of %" PRIu64 " bytes: %s", call, walk->done_bytes,
                          walk->total_bytes, strerror(cause));
}

static ssize_t move(const tarn_iovec_walk *walk, int descriptor, int64_t offset_bytes) {
  struct iovec entries[TARN_IOVEC_MAX];
  const int count = tarn_iovec_fill(walk, entries, TARN_IOVEC_MAX);
  const off_t at = (off_t)(offset_bytes + (int64_t)walk->done_bytes);
  if (walk->access == TARN_IOVEC_READ) {
    return offset_bytes < 0 ? writev(descriptor, entries, count)
                            : pwritev(descriptor, entries, count, at);
  }
  return offset_bytes < 0 ? readv(descriptor, entries, count)
                          : preadv(descriptor, entries, count, at);
}

static tarn_status move_all(tarn_iovec_walk *walk, tarn_iovec_access access, int descriptor,
                            int64_t offset_bytes) {
  const char *call = access == TARN_IOVEC_READ ? "writev" : "readv";
  if (walk == NULL || walk->access != access) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s needs a walk that was opened for it", call);
  }
  if (offset_bytes < -1 || offset_bytes > INT64_MAX - (int64_t)walk->total_bytes) {
    return tarn_fail(TARN_TOO_LARGE, "%" PRIu64 " bytes at byte %" PRId64 " of a file",
                     walk->total_bytes, offset_bytes);
  }
  while (walk->done_bytes < walk->total_bytes) {
    const ssize_t moved = move(walk, descriptor, offset_bytes);
    if (moved < 0) return failed(walk, call);
    if (moved == 0) {
      return tarn_fail(TARN_BAD_FORMAT, "the file ends behind %" PRIu64 " of %" PRIu64 " bytes",
                       walk->done_bytes, walk->total_bytes);
    }
    tarn_iovec_advance(walk, (size_t)moved);
  }
  return TARN_OK;
}

tarn_status tarn_iovec_write_to(tarn_iovec_walk *walk, int descriptor, int64_t offset_bytes) {
  return move_all(walk, TARN_IOVEC_READ, descriptor, offset_bytes);
}

tarn_status tarn_iovec_read_from(tarn_iovec_walk *walk, int descriptor, int64_t offset_bytes) {
  return move_all(walk, TARN_IOVEC_WRITE, descriptor, offset_bytes);
}
