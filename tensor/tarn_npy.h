/* tarn_npy.h: NumPy's .npy files as tensors, without Python.
 *
 * A file is mapped, and its tensor is the mapping: no byte is read before it is touched. Versions
 * 1.0, 2.0 and 3.0 of the format; both orders, Fortran's being strides; every size and offset is
 * checked, and so is that the file holds what its header promises.
 *
 * Elements: bool, integers of 8 to 64 bits, floats of 16 to 64, complex64 and complex128 under
 * their own names. The others, as NumPy and the package ml_dtypes spell them:
 *
 *     bfloat16         '<V2'  both ways; NumPy without ml_dtypes reads two bytes of anything
 *     float8_e5m2      '<f1'  read only, as NumPy does not read it itself; written as '<V1'
 *     float8, float6   '<V1'  written; the file does not say which, so they are read as opaque8
 *     opaque8 to 128   '|V1' to '|V16'
 *
 * Whoever knows better what an opaque element is sets tensor.dtype to another one of that size.
 * Objects, structures, strings and dates are TARN_NOT_SUPPORTED; the last error shows the descr.
 */
#ifndef TARN_NPY_H
#define TARN_NPY_H

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tarn_npy_mode {
  TARN_NPY_READ_ONLY = 0,     /* a read-only storage */
  TARN_NPY_COPY_ON_WRITE = 1, /* what is written stays in this process, page by page */
  TARN_NPY_READ_WRITE = 2,    /* what is written is written to the file, by the system and later */
} tarn_npy_mode;

typedef struct tarn_npy_open_options {
  size_t struct_size;
  tarn_npy_mode mode;
} tarn_npy_open_options;

/* Maps the file at `path`; the caller owns the tensor, whose storage ends the mapping with its last
 * reference. The file is closed on return, so it may be renamed, replaced and removed. `options`
 * may be NULL: read-only. Cost: a few system calls, whatever the size.
 *
 * TARN_NOT_FOUND where there is no such file, TARN_SYSTEM_ERROR with its errno where it cannot be
 * opened, TARN_INVALID_ARGUMENT where it is a folder or a device. TARN_BAD_FORMAT where the header
 * is malformed or the file is shorter than it says; longer is fine. TARN_NOT_SUPPORTED for the
 * other byte order, or a header that puts the data on no multiple of a number's size: load such a
 * file.
 *
 * A file that somebody makes shorter while it is mapped is beyond any library: touching a page that
 * is gone is a SIGBUS. Replace files (tarn_npy_save does), never cut them. */
TARN_API TARN_NODISCARD tarn_status tarn_npy_open(const char *path,
                                                  const tarn_npy_open_options *options,
                                                  tarn_tensor *tensor);

/* The same file as memory of `pool`, usable in the order of `stream` (which must reach the host and
 * the pool's device); in the file's order of elements and this machine's order of bytes. Any file
 * that tarn_npy_open reads, and those it leaves to this. Whether the call returns before the bytes
 * have arrived is up to tarn_tensor_copy. To a device on a stream that has a staging ring the file
 * is read piece by piece into its slots while earlier pieces are on their way. A file in the other
 * byte order needs its size once more in private pages meanwhile. */
TARN_API TARN_NODISCARD tarn_status tarn_npy_load(const char *path, tarn_pool *pool,
                                                  tarn_stream *stream, tarn_tensor *tensor);

enum { TARN_NPY_SYNC = 1u << 0 }; /* returns when the file is on the disk, and its name too */

typedef struct tarn_npy_save_options {
  size_t struct_size;
  uint32_t flags; /* TARN_NPY_SYNC */
} tarn_npy_save_options;

/* Writes `tensor`, host or device, any strides, behind all that is enqueued on `stream`; on return
 * it is written. The bytes are those numpy.save writes for such an array, where NumPy has one: in
 * Fortran's order where the tensor lies so, else row-major. What does not lie in that order on the
 * host is gathered a few MiB at a time; a device's bytes that do are written from the slots of the
 * stream's ring, where it has one. `options` may be NULL.
 *
 * The file is written beside `path` under a name of its own and then renamed, so that `path` is
 * always the old file or the whole new one, and a failure leaves the old one. A regular file that
 * was there gives the new one its permissions; a symbolic link is replaced, not followed; anything
 * else is TARN_INVALID_ARGUMENT. TARN_NOT_FOUND where the folder is missing, TARN_SYSTEM_ERROR with
 * its errno where the disk is full. TARN_NOT_SUPPORTED for an element type that is not named above,
 * or of several lanes. Replacing a file may cost more than a new one: ext4 begins to write it
 * out at the rename, so that a crash leaves one of the two. */
TARN_API TARN_NODISCARD tarn_status tarn_npy_save(const tarn_tensor *tensor, const char *path,
                                                  tarn_stream *stream,
                                                  const tarn_npy_save_options *options);

#ifdef __cplusplus
}
#endif
#endif
