/* npy_header.c: the header of a .npy file: its prefix, its element types, and how it is written. */
#include "tensor/npy_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tensor/layout.h"
#include "tensor/npy_literal.h"

enum {
  MAGIC_BYTES = 6,
  ALIGNMENT_BYTES = 64,
  GROWTH_DIGITS = 21, /* NumPy leaves room for the size that grows to have so many */
  DESCR_SHOWN_BYTES = 64,
};

static const char magic[MAGIC_BYTES + 1] = "\x93NUMPY";

/* --- the prefix --- */

/* Bytes in front of the dictionary; 0 for a version that is not known. */
static size_t prefix_bytes(unsigned major, unsigned minor) {
  if (minor != 0 || major < 1 || major > 3) return 0;
  return major == 1 ? 10 : 12;
}

tarn_status tarn__npy_header_measure(const void *bytes, size_t size, size_t *header_bytes) {
  const unsigned char *prefix = bytes;
  *header_bytes = 0;
  if (size < MAGIC_BYTES + 2 || memcmp(prefix, magic, MAGIC_BYTES) != 0) {
    return tarn_fail(TARN_BAD_FORMAT, "not a .npy file: it does not begin with \\x93NUMPY");
  }
  const size_t fixed_bytes = prefix_bytes(prefix[6], prefix[7]);
  if (fixed_bytes == 0) {
    return tarn_fail(TARN_NOT_SUPPORTED, ".npy format %u.%u is none of 1.0, 2.0 and 3.0", prefix[6],
                     prefix[7]);
  }
  if (size < fixed_bytes) {
    return tarn_fail(TARN_BAD_FORMAT, ".npy header: the file ends after %zu bytes of it", size);
  }
  size_t length = 0;
  for (size_t i = fixed_bytes; i > MAGIC_BYTES + 2; i--) length = length << 8 | prefix[i - 1];
  if (length > TARN__NPY_HEADER_BYTES_MAX - fixed_bytes) {
    return tarn_fail(TARN_TOO_LARGE, ".npy header of %zu bytes; at most %zu are read", length,
                     TARN__NPY_HEADER_BYTES_MAX - fixed_bytes);
  }
  *header_bytes = fixed_bytes + length;
  return TARN_OK;
}

/* --- element types --- */

/* NumPy's letter for a kind of element and its bytes, which come in the file's byte order. */
typedef struct kind_row {
  char letter;
  uint8_t size_bytes;
  uint8_t code; /* tarn_dtype_code */
} kind_row;

static const kind_row kind_rows[] = {
    {'b', 1, TARN_CODE_BOOL},    {'i', 1, TARN_CODE_INT},      {'i', 2, TARN_CODE_INT},
    {'i', 4, TARN_CODE_INT},     {'i', 8, TARN_CODE_INT},      {'u', 1, TARN_CODE_UINT},
    {'u', 2, TARN_CODE_UINT},    {'u', 4, TARN_CODE_UINT},     {'u', 8, TARN_CODE_UINT},
    {'f', 2, TARN_CODE_FLOAT},   {'f', 4, TARN_CODE_FLOAT},    {'f', 8, TARN_CODE_FLOAT},
    {'c', 8, TARN_CODE_COMPLEX}, {'c', 16, TARN_CODE_COMPLEX}, {'V', 1, TARN_CODE_OPAQUE},
    {'V', 2, TARN_CODE_OPAQUE},  {'V', 4, TARN_CODE_OPAQUE},   {'V', 8, TARN_CODE_OPAQUE},
    {'V', 16, TARN_CODE_OPAQUE},
};
enum { KIND_COUNT = sizeof kind_rows / sizeof kind_rows[0] };

/* The two of ml_dtypes whose descr is theirs alone: NumPy's own void elements say '|V2'. */
#define DESCR_OF_BFLOAT16 "<V2"
#define DESCR_OF_FLOAT8_E5M2 "<f1"
/* What its other types of one byte say, each of them. */
#define DESCR_OF_A_BYTE "<V1"

static bool is_native(char order) {
  if (order == '<') return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
  if (order == '>') return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
  return true;
}

static bool descr_is(const tarn__npy_literal *literal, const char *text) {
  return literal->descr_bytes == strlen(text) &&
         memcmp(literal->descr, text, literal->descr_bytes) == 0;
}

/* "<f4": a byte order, which may be left out, a letter, and the size in bytes. */
static bool parse_descr(const tarn__npy_literal *literal, tarn__npy_header *header) {
  const char *text = literal->descr;
  char order = '=', wanted[8];
  size_t length = literal->descr_bytes;
  if (!literal->descr_is_string) return false;
  if (descr_is(literal, DESCR_OF_BFLOAT16) || descr_is(literal, DESCR_OF_FLOAT8_E5M2)) {
    header->dtype = text[1] == 'V' ? TARN_BF16 : tarn_dtype_make(TARN_CODE_FLOAT8_E5M2, 8, 1);
    return true;
  }
  if (length > 0 && *text != '\0' && strchr("<>=|", *text) != NULL) {
    order = *text++;
    length--;
  }
  for (int i = 0; i < KIND_COUNT; i++) {
    const kind_row *row = &kind_rows[i];
    snprintf(wanted, sizeof wanted, "%c%u", row->letter, row->size_bytes);
    if (strlen(wanted) != length || memcmp(text, wanted, length) != 0) continue;
    header->dtype = tarn_dtype_make((tarn_dtype_code)row->code, row->size_bytes * 8, 1);
    const size_t number_bytes = row->letter == 'c' ? row->size_bytes / 2u : row->size_bytes;
    const bool is_swapped = !is_native(order) && number_bytes > 1 && row->letter != 'V';
    header->swapped_bytes = is_swapped ? number_bytes : 0;
    return true;
  }
  return false;
}

static tarn_status refuse_descr(const tarn__npy_literal *literal) {
  char shown[DESCR_SHOWN_BYTES + 1];
  const bool is_cut = literal->descr_bytes > DESCR_SHOWN_BYTES;
  const size_t length = is_cut ? DESCR_SHOWN_BYTES : literal->descr_bytes;
  for (size_t i = 0; i < length; i++) {
    const char byte = literal->descr[i];
    shown[i] = byte >= ' ' && byte <= '~' ? byte : '?';
  }
  shown[length] = '\0';
  return tarn_fail(TARN_NOT_SUPPORTED, "no dtype for the .npy descr %s%s%s%s",
                   literal->descr_is_string ? "'" : "", shown, is_cut ? "..." : "",
                   literal->descr_is_string ? "'" : "");
}

/* --- reading --- */

static void set_strides(bool is_fortran, tarn_layout *layout) {
  if (!is_fortran) {
    tarn__layout_row_major(layout->rank, layout->shape, layout->strides);
    return;
  }
  int64_t stride = 1;
  for (int32_t d = 0; d < layout->rank; d++) {
    layout->strides[d] = stride;
    stride *= layout->shape[d] > 1 ? layout->shape[d] : 1;
  }
}

static tarn_status measure_data(tarn__npy_header *header) {
  const int64_t count = tarn_layout_element_count(&header->layout);
  const size_t element_bytes = tarn_dtype_size_bytes(header->dtype);
  size_t end_bytes;
  if (!tarn_size_mul((size_t)count, element_bytes, &header->data_bytes) ||
      !tarn_size_add(header->size_bytes, header->data_bytes, &end_bytes) ||
      end_bytes > PTRDIFF_MAX) {
    return tarn_fail(TARN_TOO_LARGE, ".npy header: %" PRId64 " elements of %zu bytes", count,
                     element_bytes);
  }
  return TARN_OK;
}

tarn_status tarn__npy_parse_header(const void *bytes, size_t size, tarn__npy_header *header) {
  const unsigned char *prefix = bytes;
  tarn__npy_header made = {0};
  tarn__npy_literal literal;
  *header = made;
  tarn_status status = tarn__npy_header_measure(bytes, size, &made.size_bytes);
  if (status != TARN_OK) return status;
  if (made.size_bytes > size) {
    return tarn_fail(TARN_BAD_FORMAT, ".npy header: %zu bytes of it, the file has %zu",
                     made.size_bytes, size);
  }
  const size_t fixed_bytes = prefix_bytes(prefix[6], prefix[7]);
  status = tarn__npy_literal_read((const char *)bytes + fixed_bytes, made.size_bytes - fixed_bytes,
                                  /*allows_long=*/prefix[6] < 3, &literal);
  if (status != TARN_OK) return status;
  if (!parse_descr(&literal, &made)) return refuse_descr(&literal);
  status = tarn__layout_check_shape(literal.rank, literal.shape);
  if (status != TARN_OK) return status;
  made.layout.rank = literal.rank;
  memcpy(made.layout.shape, literal.shape, sizeof literal.shape);
  set_strides(literal.is_fortran, &made.layout);
  status = measure_data(&made);
  if (status == TARN_OK) *header = made;
  return status;
}

/* --- writing --- */

static tarn_status write_descr(tarn_dtype dtype, char descr[8]) {
  char name[64];
  const size_t size_bytes = tarn_dtype_size_bytes(dtype);
  if (dtype.lanes == 1 && tarn_dtype_equal(dtype, TARN_BF16)) {
    snprintf(descr, 8, DESCR_OF_BFLOAT16);
    return TARN_OK;
  }
  if (dtype.lanes == 1 && dtype.code >= TARN_CODE_FLOAT8_E3M4 && size_bytes == 1) {
    snprintf(descr, 8, DESCR_OF_A_BYTE);
    return TARN_OK;
  }
  for (int i = 0; i < KIND_COUNT && dtype.lanes == 1; i++) {
    const kind_row *row = &kind_rows[i];
    if (row->code != dtype.code || row->size_bytes * 8 != dtype.bits) continue;
    const char native = is_native('<') ? '<' : '>';
    const char order = row->size_bytes == 1 || row->letter == 'V' ? '|' : native;
    snprintf(descr, 8, "%c%c%u", order, row->letter, row->size_bytes);
    return TARN_OK;
  }
  return tarn_fail(TARN_NOT_SUPPORTED, "a .npy file has no descr for %s",
                   tarn_dtype_name(dtype, name, sizeof name));
}

/* "(2, 3)" with Python's comma behind a single size. */
static size_t write_shape(int32_t rank, const int64_t *shape, char *text, size_t text_bytes) {
  size_t used = (size_t)snprintf(text, text_bytes, "(");
  for (int32_t d = 0; d < rank; d++) {
    used +=
        (size_t)snprintf(text + used, text_bytes - used, "%s%" PRId64, d > 0 ? ", " : "", shape[d]);
  }
  return used + (size_t)snprintf(text + used, text_bytes - used, rank == 1 ? ",)" : ")");
}

tarn_status tarn__npy_write_header(tarn_dtype dtype, int32_t rank, const int64_t *shape,
                                   bool is_fortran, char bytes[TARN__NPY_WRITTEN_BYTES_MAX],
                                   size_t *size) {
  char descr[8], digits[24];
  *size = 0;
  const tarn_status status = write_descr(dtype, descr);
  if (status != TARN_OK) return status;
  const size_t fixed_bytes = prefix_bytes(1, 0);
  size_t used = fixed_bytes;
  used += (size_t)snprintf(bytes + used, TARN__NPY_WRITTEN_BYTES_MAX - used,
                           "{'descr': '%s', 'fortran_order': %s, 'shape': ", descr,
                           is_fortran ? "True" : "False");
  used += write_shape(rank, shape, bytes + used, TARN__NPY_WRITTEN_BYTES_MAX - used);
  used += (size_t)snprintf(bytes + used, TARN__NPY_WRITTEN_BYTES_MAX - used, ", }");
  size_t padding = 0;
  if (rank > 0) {
    const int64_t growing = shape[is_fortran ? rank - 1 : 0];
    padding = GROWTH_DIGITS - (size_t)snprintf(digits, sizeof digits, "%" PRId64, growing);
  }
  /* At least one space more, and a newline on the last byte of a block. */
  padding += ALIGNMENT_BYTES - (used + padding + 1) % ALIGNMENT_BYTES;
  memset(bytes + used, ' ', padding);
  used += padding;
  bytes[used++] = '\n';
  const size_t length = used - fixed_bytes;
  memcpy(bytes, magic, MAGIC_BYTES);
  bytes[6] = 1;
  bytes[7] = 0;
  bytes[8] = (char)(length & 0xff);
  bytes[9] = (char)(length >> 8);
  *size = used;
  return TARN_OK;
}
