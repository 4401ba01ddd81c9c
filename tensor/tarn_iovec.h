/* tarn_iovec.h: a strided tensor of the host for writev and readv, without a copy.
 *
 *     tarn_iovec_walk walk;
 *     struct iovec entries[TARN_IOVEC_MAX];
 *     status = tarn_iovec_begin(&tensor, TARN_IOVEC_READ, stream, &walk);
 *     while (status == TARN_OK && walk.done_bytes < walk.total_bytes) {
 *       int count = tarn_iovec_fill(&walk, entries, TARN_IOVEC_MAX);
 *       ssize_t written = writev(socket, entries, count);   // sendmsg, io_uring, preadv ...
 *       if (written < 0) break;
 *       tarn_iovec_advance(&walk, (size_t)written);         // a short write is no trouble
 *     }
 *
 * The bytes are those of a packed row-major copy, in its order, which is also what the buffer of
 * tarn_npy_save holds behind its header. Entries are the fewest there can be: what follows each
 * other in that order and in memory is one, also across the ends of rows. A transposed matrix has
 * an entry for each element: there a gathering copy (tarn_linear.h) is the better way.
 *
 * A walk borrows: the caller holds the tensor's storage until the last system call with its entries
 * has ended. It is a value without a lock, needs no end, and may be copied.
 */
#ifndef TARN_IOVEC_H
#define TARN_IOVEC_H

#include <sys/uio.h>

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What Linux takes in one call (UIO_MAXIOV; limits.h may have it as IOV_MAX). */
enum { TARN_IOVEC_MAX = 1024 };

/* What the system does to the tensor: reads it, for writev, or writes it, for readv. */
typedef enum tarn_iovec_access {
  TARN_IOVEC_READ = 0,
  TARN_IOVEC_WRITE = 1,
} tarn_iovec_access;

typedef struct tarn_iovec_walk {
  uint64_t total_bytes; /* of all elements */
  uint64_t done_bytes;  /* that a system call has moved */
  /* Private. */
  char *first; /* the first run; each is run_bytes long, and indices run row-major */
  size_t run_bytes;
  int32_t rank;
  tarn_iovec_access access;
  int64_t shape[TARN_RANK_MAX];
  int64_t strides_bytes[TARN_RANK_MAX];
} tarn_iovec_walk;

/* Opens a walk over all elements, once all that is enqueued on `stream` has been done: it waits for
 * that, for system calls know no stream. What else is at work on the tensor's memory, on other
 * streams, is the caller's to wait for; what is enqueued after a readv sees what it brought.
 *
 * TARN_NOT_SUPPORTED for a device's memory; TARN_READ_ONLY and TARN_OVERLAP for TARN_IOVEC_WRITE of
 * what is read-only, or has an element at two indices; TARN_TOO_LARGE where an expanded tensor
 * names more than 2^63 bytes. */
TARN_API TARN_NODISCARD tarn_status tarn_iovec_begin(const tarn_tensor *tensor,
                                                     tarn_iovec_access access, tarn_stream *stream,
                                                     tarn_iovec_walk *walk);

/* The next entries, at most count_max, from byte done_bytes on; how many there are, 0 at the end.
 * Takes time for each run, of which an entry may be several (2 ns where it is one, measured on an
 * x86-64 server), and changes nothing: a call again answers the same. */
TARN_API int tarn_iovec_fill(const tarn_iovec_walk *walk, struct iovec *entries, int count_max);

/* So many bytes more have been moved, in the middle of an entry or not; at most what is left. */
TARN_API void tarn_iovec_advance(tarn_iovec_walk *walk, size_t size_bytes);

/* The loop above: writes what is left to `descriptor`, by pwritev at byte offset_bytes of a file,
 * where the first element goes, or by writev where that is -1. Goes on after short writes.
 * TARN_NOT_READY where a descriptor that does not block takes no more now (poll it, and call
 * again), and with EINTR where a signal's handler has run (call again, or do what it asks for).
 * TARN_SYSTEM_ERROR with its errno else. In all cases done_bytes of the walk is what was written.
 * SIGPIPE is the caller's to ignore. TARN_INVALID_ARGUMENT for a walk that writes the tensor. */
TARN_API TARN_NODISCARD tarn_status tarn_iovec_write_to(tarn_iovec_walk *walk, int descriptor,
                                                        int64_t offset_bytes);

/* The same by readv and preadv into a walk that was opened to write. TARN_BAD_FORMAT, with the
 * numbers, where the file ends too early; what has been read is in the tensor. */
TARN_API TARN_NODISCARD tarn_status tarn_iovec_read_from(tarn_iovec_walk *walk, int descriptor,
                                                         int64_t offset_bytes);

#ifdef __cplusplus
}
#endif
#endif
