/* copy_cases.h: what `tarn bench copy` copies: shapes, types and views. */
#ifndef BENCH_COPY_CASES_H
#define BENCH_COPY_CASES_H

#include "tensor/tarn_tensor.h"

enum { COPY_RANK_MAX = 5 };

typedef tarn_status (*copy_view)(tarn_tensor *tensor);

/* A row-major tensor, and the view of it that is copied. */
typedef struct copy_side {
  int64_t shape[COPY_RANK_MAX + 1]; /* ends with a 0 */
  copy_view view;                   /* NULL: all of it */
} copy_side;

typedef struct copy_case {
  const char *name;
  tarn_dtype dst_dtype, src_dtype;
  copy_side dst, src;
  bool is_small;        /* told in ns, not GB/s */
  bool has_two_threads; /* measured beside the same copy with one */
} copy_case;

extern const copy_case copy_cases[];
extern const size_t copy_case_count;

/* Bytes of the tensor before its view. */
size_t copy_side_bytes(const copy_side *side, tarn_dtype dtype);

/* The viewed tensor on `storage`, or on none, which only its layout needs no more than. */
TARN_NODISCARD tarn_status copy_side_tensor(const copy_side *side, tarn_dtype dtype,
                                            tarn_storage *storage, tarn_tensor *tensor);

#endif
