/* compare.c: walks two tensors of one shape side by side until an element differs. */
#include "tensor/tarn_compare.h"

#include <math.h>
#include <string.h>

#include "tensor/element.h"
#include "tensor/tarn_linear.h"
#include "tensor/tarn_scalar.h"

/* What is brought over from a device at a time, of each side. */
enum { PIECE_BYTES_MAX = 4 << 20 };

/* `count` elements of both sides, some bytes apart: whether all of them pass. */
typedef struct comparison comparison;
typedef bool (*row_function)(const comparison *self, const char *a, const char *b, int64_t count,
                             int64_t a_step, int64_t b_step);

struct comparison {
  tarn_dtype a_dtype, b_dtype;
  row_function rows;
  size_t element_bytes; /* of both, for bytes */
  bool equal_nan;
  tarn_tolerance tolerance;
  tarn_pool *pool;
  tarn_stream *stream;
};

/* --- rows --- */

static bool rows_of_bytes(const comparison *self, const char *a, const char *b, int64_t count,
                          int64_t a_step, int64_t b_step) {
  const int64_t element_bytes = (int64_t)self->element_bytes;
  if (a_step == element_bytes && b_step == element_bytes) {
    return memcmp(a, b, (size_t)(count * element_bytes)) == 0;
  }
  for (int64_t i = 0; i < count; i++) {
    if (memcmp(a + i * a_step, b + i * b_step, self->element_bytes) != 0) return false;
  }
  return true;
}

static bool rows_of_floats(const comparison *self, const char *a, const char *b, int64_t count,
                           int64_t a_step, int64_t b_step) {
  for (int64_t i = 0; i < count; i++) {
    const float x = *(const float *)(a + i * a_step), y = *(const float *)(b + i * b_step);
    if (x != y && !(self->equal_nan && x != x && y != y)) return false;
  }
  return true;
}

static bool rows_of_doubles(const comparison *self, const char *a, const char *b, int64_t count,
                            int64_t a_step, int64_t b_step) {
  for (int64_t i = 0; i < count; i++) {
    const double x = *(const double *)(a + i * a_step), y = *(const double *)(b + i * b_step);
    if (x != y && !(self->equal_nan && x != x && y != y)) return false;
  }
  return true;
}

static bool is_whole(tarn_scalar scalar) {
  return scalar.kind <= TARN_SCALAR_UINT;
}

static bool wholes_equal(tarn_scalar x, tarn_scalar y) {
  int64_t a, b;
  if (x.kind == TARN_SCALAR_UINT && y.kind == TARN_SCALAR_UINT) {
    return x.value.natural == y.value.natural;
  }
  /* What does not fit int64_t is a uint64, and equals nothing of another kind. */
  return tarn_scalar_as_int64(x, &a) && tarn_scalar_as_int64(y, &b) && a == b;
}

/* Both parts; false where an integer is no double, and so equals none. */
static bool parts_of(tarn_scalar scalar, double parts[2]) {
  const bool is_exact = tarn_scalar_as_double(scalar, &parts[0]);
  parts[1] = scalar.kind == TARN_SCALAR_COMPLEX ? scalar.value.parts[1] : 0.0;
  return is_exact || scalar.kind == TARN_SCALAR_COMPLEX;
}

static bool is_nan(const double parts[2]) {
  return isnan(parts[0]) || isnan(parts[1]);
}

static bool scalars_equal(const comparison *self, tarn_scalar x, tarn_scalar y) {
  double a[2], b[2];
  if (is_whole(x) && is_whole(y)) return wholes_equal(x, y);
  if (!parts_of(x, a) || !parts_of(y, b)) return false;
  return (a[0] == b[0] && a[1] == b[1]) || (self->equal_nan && is_nan(a) && is_nan(b));
}

static bool scalars_close(const comparison *self, tarn_scalar x, tarn_scalar y) {
  double a[2], b[2];
  (void)parts_of(x, a);
  (void)parts_of(y, b);
  if (is_nan(a) || is_nan(b)) return self->equal_nan && is_nan(a) && is_nan(b);
  if (a[0] == b[0] && a[1] == b[1]) return true;
  if (!isfinite(b[0]) || !isfinite(b[1])) return false;
  const double limit = self->tolerance.absolute + self->tolerance.relative * hypot(b[0], b[1]);
  return hypot(a[0] - b[0], a[1] - b[1]) <= limit;
}

static bool rows_of_scalars(const comparison *self, const char *a, const char *b, int64_t count,
                            int64_t a_step, int64_t b_step,
                            bool (*pass)(const comparison *, tarn_scalar, tarn_scalar)) {
  for (int64_t i = 0; i < count; i++) {
    tarn_scalar x, y;
    if (tarn_scalar_load(self->a_dtype, a + i * a_step, &x) != TARN_OK ||
        tarn_scalar_load(self->b_dtype, b + i * b_step, &y) != TARN_OK) {
      return false; /* begin tried both types */
    }
    if (!pass(self, x, y)) return false;
  }
  return true;
}

static bool rows_of_values(const comparison *self, const char *a, const char *b, int64_t count,
                           int64_t a_step, int64_t b_step) {
  return rows_of_scalars(self, a, b, count, a_step, b_step, scalars_equal);
}

static bool rows_of_near_values(const comparison *self, const char *a, const char *b, int64_t count,
                                int64_t a_step, int64_t b_step) {
  return rows_of_scalars(self, a, b, count, a_step, b_step, scalars_close);
}

/* --- in memory that the CPU reaches --- */

/* One shape, and for each side how many bytes lie between the indices of a dimension. */
typedef struct pair {
  int32_t rank;
  int64_t shape[TARN_RANK_MAX];
  int64_t a_steps[TARN_RANK_MAX];
  int64_t b_steps[TARN_RANK_MAX];
} pair;

/* Without dimensions of size 1, and with those joined that are one on both sides. */
static pair pair_of(const tarn_layout *a, const tarn_layout *b, int64_t a_bytes, int64_t b_bytes) {
  pair made = {0};
  for (int32_t d = 0; d < a->rank; d++) {
    const int64_t size = a->shape[d];
    if (size == 1) continue;
    const int64_t a_step = a->strides[d] * a_bytes, b_step = b->strides[d] * b_bytes;
    const int32_t last = made.rank - 1;
    if (last >= 0 && made.a_steps[last] == a_step * size && made.b_steps[last] == b_step * size) {
      made.shape[last] *= size;
      made.a_steps[last] = a_step;
      made.b_steps[last] = b_step;
      continue;
    }
    made.shape[made.rank] = size;
    made.a_steps[made.rank] = a_step;
    made.b_steps[made.rank++] = b_step;
  }
  return made;
}

static bool pair_passes(const comparison *self, const pair *both, int32_t dim, const char *a,
                        const char *b) {
  if (dim == both->rank) return self->rows(self, a, b, 1, 0, 0);
  if (dim == both->rank - 1) {
    return self->rows(self, a, b, both->shape[dim], both->a_steps[dim], both->b_steps[dim]);
  }
  for (int64_t i = 0; i < both->shape[dim]; i++) {
    if (!pair_passes(self, both, dim + 1, a + i * both->a_steps[dim], b + i * both->b_steps[dim])) {
      return false;
    }
  }
  return true;
}

/* --- anywhere --- */

/* A side in memory that the CPU reaches: its own, or a span's. */
typedef struct side {
  const char *data;
  tarn_layout layout;
  tarn_linear_span span;
} side;

static tarn_status begin_side(const comparison *self, const tarn_tensor *tensor, side *made) {
  made->layout = tensor->layout;
  made->span = (tarn_linear_span){0};
  if (tarn_device_is_host(tarn_tensor_device(tensor))) {
    made->data = tarn_tensor_data(tensor);
    return TARN_OK;
  }
  tarn_status status =
      tarn_linear_begin(tensor, TARN_LINEAR_READ, self->pool, self->stream, &made->span);
  if (status != TARN_OK) return status;
  made->data = made->span.data;
  return tarn_layout_init(&made->layout, tensor->layout.rank, tensor->layout.shape);
}

static tarn_status compare_piece(const comparison *self, const tarn_tensor *a, const tarn_tensor *b,
                                 bool *passes) {
  side left, right = {0};
  tarn_status status = begin_side(self, a, &left);
  if (status == TARN_OK) status = begin_side(self, b, &right);
  if (status == TARN_OK) {
    const pair both = pair_of(&left.layout, &right.layout, (int64_t)tarn_dtype_size_bytes(a->dtype),
                              (int64_t)tarn_dtype_size_bytes(b->dtype));
    *passes = pair_passes(self, &both, 0, left.data, right.data);
  }
  const tarn_status ended_left = tarn_linear_end(&left.span, self->stream);
  const tarn_status ended_right = tarn_linear_end(&right.span, self->stream);
  if (status == TARN_OK) status = ended_left;
  return status == TARN_OK ? ended_right : status;
}

/* Halves the first dimension that can be halved until a piece is small enough to come over. */
static tarn_status compare_pieces(const comparison *self, const tarn_tensor *a,
                                  const tarn_tensor *b, bool *passes) {
  int32_t dim = 0;
  const bool is_here =
      tarn_device_is_host(tarn_tensor_device(a)) && tarn_device_is_host(tarn_tensor_device(b));
  const size_t a_bytes = tarn_tensor_size_bytes(a), b_bytes = tarn_tensor_size_bytes(b);
  while (dim < a->layout.rank && a->layout.shape[dim] == 1) dim++;
  if (is_here || dim == a->layout.rank ||
      (a_bytes <= PIECE_BYTES_MAX && b_bytes <= PIECE_BYTES_MAX)) {
    return compare_piece(self, a, b, passes);
  }
  const int64_t size = a->layout.shape[dim], half = size / 2;
  for (int part = 0; part < 2; part++) {
    tarn_tensor a_part = *a, b_part = *b;
    const int64_t start = part == 0 ? 0 : half, length = part == 0 ? half : size - half;
    tarn_status status = tarn_tensor_narrow(&a_part, dim, start, length);
    if (status == TARN_OK) status = tarn_tensor_narrow(&b_part, dim, start, length);
    if (status == TARN_OK) status = compare_pieces(self, &a_part, &b_part, passes);
    if (status != TARN_OK || !*passes) return status;
  }
  return TARN_OK;
}

static tarn_status check_values(tarn_dtype dtype) {
  tarn_scalar scalar;
  const char none[16] = {0}; /* no element is longer */
  return tarn_scalar_load(dtype, none, &scalar);
}

static tarn_status compare(comparison *self, const tarn_tensor *a, const tarn_tensor *b,
                           bool *passes) {
  tarn_status status = TARN_OK;
  if (!tarn_layout_same_shape(&a->layout, &b->layout)) return TARN_OK;
  if (self->rows != rows_of_bytes) {
    status = check_values(a->dtype);
    if (status == TARN_OK) status = check_values(b->dtype);
  }
  if (status == TARN_OK) status = tarn_stream_synchronize(self->stream);
  if (status != TARN_OK) return status;
  bool found = true;
  if (tarn_layout_element_count(&a->layout) > 0) status = compare_pieces(self, a, b, &found);
  if (status == TARN_OK) *passes = found;
  return status;
}

static tarn_status check_tensors(const tarn_tensor *a, const tarn_tensor *b, const bool *answer) {
  if (answer == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the answer");
  tarn_status status = tarn__element_check(a, "to compare");
  return status == TARN_OK ? tarn__element_check(b, "to compare with") : status;
}

/* The quickest way to tell whether values are equal. */
static row_function choose_rows(tarn_dtype a, tarn_dtype b) {
  if (!tarn_dtype_equal(a, b)) return rows_of_values;
  if (tarn_dtype_equal(a, TARN_F32)) return rows_of_floats;
  if (tarn_dtype_equal(a, TARN_F64)) return rows_of_doubles;
  const bool is_integer = a.code == TARN_CODE_INT || a.code == TARN_CODE_UINT;
  return is_integer && a.lanes == 1 && a.bits >= 8 ? rows_of_bytes : rows_of_values;
}

tarn_status tarn_tensor_equal(const tarn_tensor *a, const tarn_tensor *b, uint32_t flags,
                              tarn_pool *pool, tarn_stream *stream, bool *equal) {
  if (equal != NULL) *equal = false;
  tarn_status status = check_tensors(a, b, equal);
  if (status != TARN_OK) return status;
  if ((flags & ~(uint32_t)(TARN_EQUAL_NAN | TARN_EQUAL_BITS)) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown comparison flags 0x%x", flags);
  }
  const bool is_bits = (flags & TARN_EQUAL_BITS) != 0;
  if (is_bits && !tarn_dtype_equal(a->dtype, b->dtype)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "bytes to compare of two element types");
  }
  comparison self = {.a_dtype = a->dtype,
                     .b_dtype = b->dtype,
                     .rows = is_bits ? rows_of_bytes : choose_rows(a->dtype, b->dtype),
                     .element_bytes = tarn_dtype_size_bytes(a->dtype),
                     .equal_nan = (flags & TARN_EQUAL_NAN) != 0,
                     .pool = pool,
                     .stream = stream};
  return compare(&self, a, b, equal);
}

tarn_status tarn_tensor_all_close(const tarn_tensor *a, const tarn_tensor *b,
                                  tarn_tolerance tolerance, tarn_pool *pool, tarn_stream *stream,
                                  bool *is_close) {
  if (is_close != NULL) *is_close = false;
  tarn_status status = check_tensors(a, b, is_close);
  if (status != TARN_OK) return status;
  if (!(tolerance.relative >= 0.0) || !(tolerance.absolute >= 0.0)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tolerances %g and %g", tolerance.relative,
                     tolerance.absolute);
  }
  comparison self = {.a_dtype = a->dtype,
                     .b_dtype = b->dtype,
                     .rows = rows_of_near_values,
                     .equal_nan = tolerance.equal_nan,
                     .tolerance = tolerance,
                     .pool = pool,
                     .stream = stream};
  return compare(&self, a, b, is_close);
}
