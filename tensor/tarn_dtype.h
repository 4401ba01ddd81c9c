/* tarn_dtype.h: element types, with DLPack's numbers. */
#ifndef TARN_DTYPE_H
#define TARN_DTYPE_H

#include "alloc/tarn_status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* DLDataTypeCode of dlpack.h 1.3. */
typedef enum tarn_dtype_code {
  TARN_CODE_INT = 0,
  TARN_CODE_UINT = 1,
  TARN_CODE_FLOAT = 2,
  TARN_CODE_OPAQUE = 3,
  TARN_CODE_BFLOAT = 4,
  TARN_CODE_COMPLEX = 5,
  TARN_CODE_BOOL = 6,
  TARN_CODE_FLOAT8_E3M4 = 7,
  TARN_CODE_FLOAT8_E4M3 = 8,
  TARN_CODE_FLOAT8_E4M3B11FNUZ = 9,
  TARN_CODE_FLOAT8_E4M3FN = 10,
  TARN_CODE_FLOAT8_E4M3FNUZ = 11,
  TARN_CODE_FLOAT8_E5M2 = 12,
  TARN_CODE_FLOAT8_E5M2FNUZ = 13,
  TARN_CODE_FLOAT8_E8M0FNU = 14,
  TARN_CODE_FLOAT6_E2M3FN = 15,
  TARN_CODE_FLOAT6_E3M2FN = 16,
  TARN_CODE_FLOAT4_E2M1FN = 17,
} tarn_dtype_code;

/* The layout of DLDataType: an element is `lanes` values of `bits` bits each. */
typedef struct tarn_dtype {
  uint8_t code; /* tarn_dtype_code */
  uint8_t bits;
  uint16_t lanes;
} tarn_dtype;

static inline tarn_dtype tarn_dtype_make(tarn_dtype_code code, int bits, int lanes) {
  tarn_dtype dtype = {(uint8_t)code, (uint8_t)bits, (uint16_t)lanes};
  return dtype;
}

#define TARN_BOOL tarn_dtype_make(TARN_CODE_BOOL, 8, 1)
#define TARN_I8 tarn_dtype_make(TARN_CODE_INT, 8, 1)
#define TARN_I16 tarn_dtype_make(TARN_CODE_INT, 16, 1)
#define TARN_I32 tarn_dtype_make(TARN_CODE_INT, 32, 1)
#define TARN_I64 tarn_dtype_make(TARN_CODE_INT, 64, 1)
#define TARN_U8 tarn_dtype_make(TARN_CODE_UINT, 8, 1)
#define TARN_U16 tarn_dtype_make(TARN_CODE_UINT, 16, 1)
#define TARN_U32 tarn_dtype_make(TARN_CODE_UINT, 32, 1)
#define TARN_U64 tarn_dtype_make(TARN_CODE_UINT, 64, 1)
#define TARN_F16 tarn_dtype_make(TARN_CODE_FLOAT, 16, 1)
#define TARN_F32 tarn_dtype_make(TARN_CODE_FLOAT, 32, 1)
#define TARN_F64 tarn_dtype_make(TARN_CODE_FLOAT, 64, 1)
#define TARN_BF16 tarn_dtype_make(TARN_CODE_BFLOAT, 16, 1)
#define TARN_C64 tarn_dtype_make(TARN_CODE_COMPLEX, 64, 1)
#define TARN_C128 tarn_dtype_make(TARN_CODE_COMPLEX, 128, 1)

static inline bool tarn_dtype_equal(tarn_dtype a, tarn_dtype b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

/* TARN_OK where DLPack defines the code and the width fits it, lanes are at least 1, and an element
 * is a whole number of bytes (two fp4 lanes make one byte); else TARN_NOT_SUPPORTED. */
TARN_API TARN_NODISCARD tarn_status tarn_dtype_check(tarn_dtype dtype);

/* Bytes of one element with all its lanes; 0 where tarn_dtype_check refuses. Six-bit floats stand
 * one to a byte each, DLPack's padded form. */
TARN_API size_t tarn_dtype_size_bytes(tarn_dtype dtype);
/* The same without a call, of a dtype that was checked, as every tensor's was when it was made. */
static inline size_t tarn_dtype_checked_bytes(tarn_dtype dtype) {
  return (dtype.bits == 6 ? 8u : dtype.bits) * (size_t)dtype.lanes / 8;
}

/* What a load of one value wants of its address: the width of a lane, for a complex number that of
 * its parts. More lanes ask no more, and opaque elements nothing at all: 1. */
TARN_API size_t tarn_dtype_alignment_bytes(tarn_dtype dtype);

/* "float32", "bool", "bfloat16", "float8_e4m3fn", "float4_e2m1fnx2": written into `name`, cut at
 * name_bytes, always terminated. Returns `name`. */
TARN_API char *tarn_dtype_name(tarn_dtype dtype, char *name, size_t name_bytes);
/* The reverse, exact names only; TARN_INVALID_ARGUMENT for any other. */
TARN_API TARN_NODISCARD tarn_status tarn_dtype_parse(const char *name, tarn_dtype *dtype);

#ifdef __cplusplus
}
#endif
#endif
