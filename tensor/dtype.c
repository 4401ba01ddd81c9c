/* dtype.c: which element types there are, their sizes and their names. */
#include "tensor/tarn_dtype.h"

#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 32, WIDTH_MAX = 128 };

/* One row per code: its name without width and lanes, and the widths in bits that it comes in,
 * added up: they are powers of two, but for six bits, which stand alone. Where the width is not
 * part of the name, it stands in front: "float8_e5m2". */
typedef struct code_row {
  const char *name;
  bool name_has_width; /* the name already says it, or there is only one: "bool" */
  uint8_t widths;
} code_row;

/* float128 is left out: what a machine calls so is often the 80-bit x87 format with padding. */
static const code_row code_rows[] = {
    [TARN_CODE_INT] = {"int", false, 1 | 2 | 4 | 8 | 16 | 32 | 64},
    [TARN_CODE_UINT] = {"uint", false, 1 | 2 | 4 | 8 | 16 | 32 | 64},
    [TARN_CODE_FLOAT] = {"float", false, 16 | 32 | 64},
    [TARN_CODE_OPAQUE] = {"opaque", false, 8 | 16 | 32 | 64 | 128},
    [TARN_CODE_BFLOAT] = {"bfloat", false, 16},
    [TARN_CODE_COMPLEX] = {"complex", false, 32 | 64 | 128},
    [TARN_CODE_BOOL] = {"bool", true, 8},
    [TARN_CODE_FLOAT8_E3M4] = {"float8_e3m4", true, 8},
    [TARN_CODE_FLOAT8_E4M3] = {"float8_e4m3", true, 8},
    [TARN_CODE_FLOAT8_E4M3B11FNUZ] = {"float8_e4m3b11fnuz", true, 8},
    [TARN_CODE_FLOAT8_E4M3FN] = {"float8_e4m3fn", true, 8},
    [TARN_CODE_FLOAT8_E4M3FNUZ] = {"float8_e4m3fnuz", true, 8},
    [TARN_CODE_FLOAT8_E5M2] = {"float8_e5m2", true, 8},
    [TARN_CODE_FLOAT8_E5M2FNUZ] = {"float8_e5m2fnuz", true, 8},
    [TARN_CODE_FLOAT8_E8M0FNU] = {"float8_e8m0fnu", true, 8},
    [TARN_CODE_FLOAT6_E2M3FN] = {"float6_e2m3fn", true, 6},
    [TARN_CODE_FLOAT6_E3M2FN] = {"float6_e3m2fn", true, 6},
    [TARN_CODE_FLOAT4_E2M1FN] = {"float4_e2m1fn", true, 4},
};
enum { CODE_COUNT = sizeof code_rows / sizeof code_rows[0] };

/* What one lane takes in memory: DLPack's padded form gives a six-bit float a byte of its own. */
static size_t lane_bits(tarn_dtype dtype) {
  return dtype.bits == 6 ? 8 : dtype.bits;
}

static bool has_width(const code_row *row, unsigned bits) {
  if (bits == 6 || row->widths == 6) return bits == row->widths;
  return (bits & (bits - 1)) == 0 && (row->widths & bits) != 0;
}

static bool is_supported(tarn_dtype dtype) {
  return dtype.code < CODE_COUNT && has_width(&code_rows[dtype.code], dtype.bits) &&
         dtype.lanes > 0 && lane_bits(dtype) * dtype.lanes % 8 == 0;
}

tarn_status tarn_dtype_check(tarn_dtype dtype) {
  if (is_supported(dtype)) return TARN_OK;
  if (dtype.code >= CODE_COUNT) {
    return tarn_fail(TARN_NOT_SUPPORTED, "dtype code %u is none of DLPack's 0 to %d", dtype.code,
                     CODE_COUNT - 1);
  }
  const char *name = code_rows[dtype.code].name;
  if (!has_width(&code_rows[dtype.code], dtype.bits)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "dtype %s (code %u) does not come in %u bits", name,
                     dtype.code, dtype.bits);
  }
  return tarn_fail(TARN_NOT_SUPPORTED, "%u lanes of dtype %s in %u bits are no whole bytes",
                   dtype.lanes, name, dtype.bits);
}

size_t tarn_dtype_size_bytes(tarn_dtype dtype) {
  return is_supported(dtype) ? tarn_dtype_checked_bytes(dtype) : 0;
}

size_t tarn_dtype_alignment_bytes(tarn_dtype dtype) {
  size_t value_bytes = dtype.bits / 8u;
  if (dtype.code == TARN_CODE_COMPLEX) value_bytes /= 2;
  if (dtype.code == TARN_CODE_OPAQUE || value_bytes == 0) return 1;
  return value_bytes;
}

/* The name of a code in one of its widths, without lanes. */
static void write_stem(unsigned code, unsigned bits, char stem[NAME_MAX_BYTES]) {
  const code_row *row = &code_rows[code];
  if (row->name_has_width) {
    snprintf(stem, NAME_MAX_BYTES, "%s", row->name);
  } else {
    snprintf(stem, NAME_MAX_BYTES, "%s%u", row->name, bits);
  }
}

char *tarn_dtype_name(tarn_dtype dtype, char *name, size_t name_bytes) {
  char stem[NAME_MAX_BYTES];
  if (!is_supported(dtype)) {
    snprintf(name, name_bytes, "?(code %u, %u bits, %u lanes)", dtype.code, dtype.bits,
             dtype.lanes);
    return name;
  }
  write_stem(dtype.code, dtype.bits, stem);
  if (dtype.lanes == 1) {
    snprintf(name, name_bytes, "%s", stem);
  } else {
    snprintf(name, name_bytes, "%sx%u", stem, dtype.lanes);
  }
  return name;
}

/* "" is 1 lane, "x2" to "x65535" are as many; leading zeros, signs and "x1" are none. */
static bool parse_lanes(const char *text, uint16_t *lanes) {
  uint32_t value = 0;
  *lanes = 1;
  if (*text == '\0') return true;
  if (text[0] != 'x' || text[1] < '1' || text[1] > '9') return false;
  for (text++; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') return false;
    value = value * 10 + (uint32_t)(*text - '0');
    if (value > UINT16_MAX) return false;
  }
  *lanes = (uint16_t)value;
  return value > 1;
}

static bool parse_name(const char *name, tarn_dtype *dtype) {
  char stem[NAME_MAX_BYTES];
  uint16_t lanes;
  for (unsigned code = 0; code < CODE_COUNT; code++) {
    for (unsigned bits = 1; bits <= WIDTH_MAX; bits++) {
      if (!has_width(&code_rows[code], bits)) continue;
      write_stem(code, bits, stem);
      size_t stem_bytes = strlen(stem);
      if (strncmp(name, stem, stem_bytes) != 0) continue;
      if (!parse_lanes(name + stem_bytes, &lanes)) continue;
      *dtype = (tarn_dtype){(uint8_t)code, (uint8_t)bits, lanes};
      return is_supported(*dtype);
    }
  }
  return false;
}

tarn_status tarn_dtype_parse(const char *name, tarn_dtype *dtype) {
  tarn_dtype parsed = {0};
  if (dtype == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the dtype");
  *dtype = (tarn_dtype){0};
  if (name == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no dtype name");
  if (!parse_name(name, &parsed)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "\"%.64s\" is not the name of a dtype", name);
  }
  *dtype = parsed;
  return TARN_OK;
}
