/* npy_header.h: the header of a .npy file, from bytes and to bytes.
 *
 *     \x93NUMPY  major minor  length  { the dictionary }  spaces  \n  | data
 *     6 bytes    1     1      2 or 4  <------- length bytes ------->  | on a multiple of 64
 *
 * Source of the format: NumPy's documentation of numpy.lib.format, versions 1.0, 2.0 and 3.0. */
#ifndef TENSOR_NPY_HEADER_H
#define TENSOR_NPY_HEADER_H

#include "tensor/tarn_dtype.h"
#include "tensor/tarn_layout.h"

enum {
  TARN__NPY_PREFIX_BYTES = 12, /* enough to know how long the header is */
  /* Version 1.0 cannot say more; the headers of the others are as short where tarn reads them. */
  TARN__NPY_HEADER_BYTES_MAX = TARN__NPY_PREFIX_BYTES + 65535,
  TARN__NPY_WRITTEN_BYTES_MAX = 512,
};

typedef struct tarn__npy_header {
  size_t size_bytes; /* where the data begins */
  size_t data_bytes; /* size_bytes + data_bytes fits PTRDIFF_MAX */
  tarn_dtype dtype;
  size_t swapped_bytes; /* how many bytes of each number stand in reverse; 0: none */
  tarn_layout layout;   /* row-major, or Fortran's order as strides */
} tarn__npy_header;

/* How long a whole header that begins with these bytes is, prefix included. `size` may be as little
 * as the file is long, and need not be more than TARN__NPY_PREFIX_BYTES. TARN_BAD_FORMAT where it
 * is none, TARN_NOT_SUPPORTED for another version, TARN_TOO_LARGE beyond the limit above. */
TARN_NODISCARD tarn_status tarn__npy_header_measure(const void *bytes, size_t size,
                                                    size_t *header_bytes);

/* What a header says; `size` bytes hold all of it, and may hold more. Any bytes are fine: the
 * answer is one of the failures above and of npy_literal.h then, or TARN_NOT_SUPPORTED, with the
 * descr's text, for elements that tarn has no type for. */
TARN_NODISCARD tarn_status tarn__npy_parse_header(const void *bytes, size_t size,
                                                  tarn__npy_header *header);

/* Writes the header that NumPy writes for such an array, byte for byte, and says how long it is.
 * TARN_NOT_SUPPORTED for a dtype that no descr tells. */
TARN_NODISCARD tarn_status tarn__npy_write_header(tarn_dtype dtype, int32_t rank,
                                                  const int64_t *shape, bool is_fortran,
                                                  char bytes[TARN__NPY_WRITTEN_BYTES_MAX],
                                                  size_t *size);

#endif
