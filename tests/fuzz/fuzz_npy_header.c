/* fuzz_npy_header.c: any bytes as the header of a .npy file: refused, or whole in every number. */
#include "tensor/npy_header.h"
#include "tests/fuzz/fuzz.h"

/* What was read is written as NumPy would, and reads the same. */
static void write_again(const tarn__npy_header *header, bool is_fortran) {
  char bytes[TARN__NPY_WRITTEN_BYTES_MAX];
  size_t size;
  tarn__npy_header again;
  fuzz_check(tarn__npy_write_header(header->dtype, header->layout.rank, header->layout.shape,
                                    is_fortran, bytes, &size) == TARN_OK);
  fuzz_check(size % 64 == 0);
  const tarn_status status = tarn__npy_parse_header(bytes, size, &again);
  if (header->data_bytes > (size_t)PTRDIFF_MAX - size) {
    /* What was read fits just so, behind a header that was shorter than NumPy's. */
    fuzz_check(status == TARN_TOO_LARGE);
    return;
  }
  fuzz_check(status == TARN_OK);
  fuzz_check(again.size_bytes == size);
  fuzz_check(again.data_bytes == header->data_bytes);
  fuzz_check(tarn_layout_equal(&again.layout, &header->layout));
}

static bool is_row_major(const tarn_layout *layout) {
  tarn_layout row_major;
  fuzz_check(tarn_layout_init(&row_major, layout->rank, layout->shape) == TARN_OK);
  return tarn_layout_equal(&row_major, layout);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tarn__npy_header header;
  int64_t first, end;
  const tarn_status status = tarn__npy_parse_header(data, size, &header);
  if (status != TARN_OK) {
    fuzz_check(status == TARN_BAD_FORMAT || status == TARN_NOT_SUPPORTED ||
               status == TARN_TOO_LARGE);
    fuzz_check(header.size_bytes == 0 && header.layout.rank == 0);
    return 0;
  }
  const size_t element_bytes = tarn_dtype_size_bytes(header.dtype);
  fuzz_check(element_bytes > 0 && element_bytes <= 16);
  fuzz_check(header.size_bytes <= size);
  fuzz_check(header.data_bytes <= PTRDIFF_MAX - header.size_bytes);
  fuzz_check(header.layout.rank >= 0 && header.layout.rank <= TARN_RANK_MAX);
  fuzz_check(header.swapped_bytes == 0 || element_bytes % header.swapped_bytes == 0);
  tarn_layout_bounds(&header.layout, &first, &end);
  fuzz_check(first == 0 && (size_t)end * element_bytes == header.data_bytes);
  fuzz_check(tarn_layout_is_dense(&header.layout));
  write_again(&header, !is_row_major(&header.layout));
  return 0;
}
