/* tarn_accessor.h: an element by its index, as a C lvalue: TARN_AT(tensor, float, i, j).
 *
 *     TARN_AT(&image, uint8_t, y, x, 2) = 255;           // one element of a tensor
 *
 *     tarn_accessor a;                                    // many: base and strides once
 *     status = tarn_accessor_init(&image, TARN_U8, 3, TARN_ACCESSOR_WRITE, &a);
 *     for (int64_t x = 0; x < a.shape[1]; x++) sum += TARN_ELEMENT(a, uint8_t, y, x, 2);
 *
 * Where the including file is compiled with TARN_DEBUG 0 nothing is checked, and an accessor's
 * element is one address computation and a load. With TARN_DEBUG 1 or more each use checks, in this
 * order: that there is memory the CPU may reach; the number of indices against the rank; the C type
 * against the element type; every index against its size; and that a read-only storage is named
 * through a const type, TARN_AT(&t, const float, i). What fails is told to the check handler.
 *
 * The C type fits where it is the element type's: signed and unsigned integers of its width, bool,
 * float, double. Element types that C has no name for (float16, bfloat16, complex, fp8, several
 * lanes) take any unsigned integer or other type of their size. Indices are int64_t and count from
 * 0; negative ones are out of bounds. Ranks 1 to TARN_ACCESSOR_RANK_MAX; for rank 0 there is
 * tarn_tensor_item.
 */
#ifndef TARN_ACCESSOR_H
#define TARN_ACCESSOR_H

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TARN_ACCESSOR_RANK_MAX = 6 };

enum {
  TARN_ACCESSOR_WRITE = 1u << 0,  /* TARN_READ_ONLY for a read-only storage */
  TARN_ACCESSOR_DEVICE = 1u << 1, /* any device: the address is a kernel's to follow */
};

/* A value that borrows the tensor's memory: good as long as somebody holds the storage. Everything
 * is in it, so it may go to a kernel as an argument. Strides count elements; what lies behind the
 * rank is size 1 and stride 0. */
typedef struct tarn_accessor {
  void *data; /* the element at index (0, 0, ...) */
  int32_t rank;
  tarn_dtype dtype;
  uint32_t flags;
  int64_t shape[TARN_ACCESSOR_RANK_MAX];
  int64_t strides[TARN_ACCESSOR_RANK_MAX];
} tarn_accessor;

/* The same in 32 bits: half the registers of a kernel, and cheaper products there. */
typedef struct tarn_accessor32 {
  void *data;
  int32_t rank;
  tarn_dtype dtype;
  uint32_t flags;
  int32_t shape[TARN_ACCESSOR_RANK_MAX];
  int32_t strides[TARN_ACCESSOR_RANK_MAX];
} tarn_accessor32;

/* Makes the accessor of a tensor that has this element type and rank, and lies in memory that the
 * CPU may reach (or anywhere, with TARN_ACCESSOR_DEVICE); else TARN_INVALID_ARGUMENT, as for
 * elements outside of the storage. Waits for nothing. */
TARN_API TARN_NODISCARD tarn_status tarn_accessor_init(const tarn_tensor *tensor, tarn_dtype dtype,
                                                       int32_t rank, uint32_t flags,
                                                       tarn_accessor *accessor);
/* TARN_TOO_LARGE where an offset of the layout, in elements, does not fit 32 bits. */
TARN_API TARN_NODISCARD tarn_status tarn_accessor32_init(const tarn_tensor *tensor,
                                                         tarn_dtype dtype, int32_t rank,
                                                         uint32_t flags, tarn_accessor32 *accessor);

/* Swaps two dimensions of the accessor; TARN_INVALID_ARGUMENT where it has no such dimension. */
TARN_API TARN_NODISCARD tarn_status tarn_accessor_transpose(tarn_accessor *accessor, int32_t a,
                                                            int32_t b);

/* Told of a failed check, in the caller's thread: what is wrong, and where TARN_AT stands. It may
 * longjmp away; where it returns, the process aborts. NULL, the default, prints to stderr and
 * aborts. One for the process; returns the one before. */
typedef void (*tarn_check_handler)(const char *message, const char *file, int line);
TARN_API tarn_check_handler tarn_accessor_set_check_handler(tarn_check_handler handler);

/* --- what the macros stand on; not to be called by name --- */

/* A C type as a tarn_dtype_code and whether it is const: code + 1, and 64 for const; 0 for a type
 * that is none of these. */
#define TARN_TYPE_CONST 64
#ifdef __cplusplus
}
template <typename type>
struct tarn_type_code {
  static constexpr int value = 0;
};
template <typename type>
struct tarn_type_code<const type> {
  static constexpr int value = tarn_type_code<type>::value | TARN_TYPE_CONST;
};
#define TARN_TYPE_ROW(type, code)            \
  template <>                                \
  struct tarn_type_code<type> {              \
    static constexpr int value = (code) + 1; \
  };
TARN_TYPE_ROW(bool, TARN_CODE_BOOL)
TARN_TYPE_ROW(signed char, TARN_CODE_INT)
TARN_TYPE_ROW(short, TARN_CODE_INT)
TARN_TYPE_ROW(int, TARN_CODE_INT)
TARN_TYPE_ROW(long, TARN_CODE_INT)
TARN_TYPE_ROW(long long, TARN_CODE_INT)
TARN_TYPE_ROW(unsigned char, TARN_CODE_UINT)
TARN_TYPE_ROW(unsigned short, TARN_CODE_UINT)
TARN_TYPE_ROW(unsigned int, TARN_CODE_UINT)
TARN_TYPE_ROW(unsigned long, TARN_CODE_UINT)
TARN_TYPE_ROW(unsigned long long, TARN_CODE_UINT)
TARN_TYPE_ROW(float, TARN_CODE_FLOAT)
TARN_TYPE_ROW(double, TARN_CODE_FLOAT)
#undef TARN_TYPE_ROW
#define TARN_TYPE_CODE(type) tarn_type_code<type>::value
extern "C" {
#else
#define TARN_TYPE_ROW(type, code) type * : (code) + 1, const type * : ((code) + 1) | TARN_TYPE_CONST
#define TARN_TYPE_CODE(type)                                                                       \
  _Generic(                                                                                        \
      (type *)0, TARN_TYPE_ROW(bool, TARN_CODE_BOOL), TARN_TYPE_ROW(signed char, TARN_CODE_INT),   \
      TARN_TYPE_ROW(short, TARN_CODE_INT), TARN_TYPE_ROW(int, TARN_CODE_INT),                      \
      TARN_TYPE_ROW(long, TARN_CODE_INT), TARN_TYPE_ROW(long long, TARN_CODE_INT),                 \
      TARN_TYPE_ROW(unsigned char, TARN_CODE_UINT), TARN_TYPE_ROW(unsigned short, TARN_CODE_UINT), \
      TARN_TYPE_ROW(unsigned int, TARN_CODE_UINT), TARN_TYPE_ROW(unsigned long, TARN_CODE_UINT),   \
      TARN_TYPE_ROW(unsigned long long, TARN_CODE_UINT), TARN_TYPE_ROW(float, TARN_CODE_FLOAT),    \
      TARN_TYPE_ROW(double, TARN_CODE_FLOAT), default : 0)
#endif

#define TARN_INDEX_COUNT(...) TARN_INDEX_SEVENTH(__VA_ARGS__, 6, 5, 4, 3, 2, 1, 0)
#define TARN_INDEX_SEVENTH(a, b, c, d, e, f, count, ...) count
#define TARN_INDEX_PADDED(...) TARN_INDEX_FIRST_SIX(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define TARN_INDEX_FIRST_SIX(a, b, c, d, e, f, ...) a, b, c, d, e, f

typedef struct tarn_element_use {
  size_t type_bytes;
  int type_code;
  int index_count;
  const char *file;
  int line;
} tarn_element_use;

/* Calls the handler where something is wrong, and then does not come back. */
TARN_API void tarn_element_check(const tarn_tensor *tensor, tarn_element_use use, int64_t i,
                                 int64_t j, int64_t k, int64_t l, int64_t m, int64_t n);
TARN_API void tarn_accessor_check(const tarn_accessor *accessor, tarn_element_use use, int64_t i,
                                  int64_t j, int64_t k, int64_t l, int64_t m, int64_t n);

static inline int64_t tarn_element_offset(const int64_t *strides, int index_count, int64_t i,
                                          int64_t j, int64_t k, int64_t l, int64_t m, int64_t n) {
  int64_t offset = i * strides[0];
  if (index_count > 1) offset += j * strides[1];
  if (index_count > 2) offset += k * strides[2];
  if (index_count > 3) offset += l * strides[3];
  if (index_count > 4) offset += m * strides[4];
  if (index_count > 5) offset += n * strides[5];
  return offset;
}

static inline tarn_element_use tarn_element_use_of(size_t type_bytes, int type_code,
                                                   int index_count, const char *file, int line) {
  tarn_element_use use = {type_bytes, type_code, index_count, file, line};
  return use;
}

static inline void *tarn_tensor_element(const tarn_tensor *tensor, tarn_element_use use, int64_t i,
                                        int64_t j, int64_t k, int64_t l, int64_t m, int64_t n) {
  if (TARN_DEBUG > 0) tarn_element_check(tensor, use, i, j, k, l, m, n);
  const int64_t offset =
      tensor->layout.offset +
      tarn_element_offset(tensor->layout.strides, use.index_count, i, j, k, l, m, n);
  return (char *)(uintptr_t)tarn_storage_data(tensor->storage) + offset * (int64_t)use.type_bytes;
}

static inline void *tarn_accessor_element(const tarn_accessor *accessor, tarn_element_use use,
                                          int64_t i, int64_t j, int64_t k, int64_t l, int64_t m,
                                          int64_t n) {
  if (TARN_DEBUG > 0) tarn_accessor_check(accessor, use, i, j, k, l, m, n);
  const int64_t offset = tarn_element_offset(accessor->strides, use.index_count, i, j, k, l, m, n);
  return (char *)accessor->data + offset * (int64_t)use.type_bytes;
}

#define TARN_ELEMENT_USE(type, ...)                                                                \
  tarn_element_use_of(sizeof(type), TARN_TYPE_CODE(type), TARN_INDEX_COUNT(__VA_ARGS__), __FILE__, \
                      __LINE__)

/* The element of *tensor at the indices that follow the type. One call of the library, to learn the
 * storage's address: for loops there are accessors. */
#define TARN_AT(tensor, type, ...)                                           \
  (*(type *)tarn_tensor_element(tensor, TARN_ELEMENT_USE(type, __VA_ARGS__), \
                                TARN_INDEX_PADDED(__VA_ARGS__)))

/* The element of a tarn_accessor (a variable, not a pointer to one). */
#define TARN_ELEMENT(accessor, type, ...)                                           \
  (*(type *)tarn_accessor_element(&(accessor), TARN_ELEMENT_USE(type, __VA_ARGS__), \
                                  TARN_INDEX_PADDED(__VA_ARGS__)))

#ifdef __cplusplus
}
#endif
#endif
