/* copy_cases.c: the cases of `tarn bench copy`, largest first. */
#include "bench/copy_cases.h"

static tarn_status middle_columns(tarn_tensor *tensor) {
  return tarn_tensor_narrow(tensor, 1, 1024, 4096);
}

static tarn_status every_other_column(tarn_tensor *tensor) {
  return tarn_tensor_slice(tensor, 1, TARN_SLICE_OPEN, TARN_SLICE_OPEN, 2);
}

static tarn_status flipped_columns(tarn_tensor *tensor) {
  return tarn_tensor_slice(tensor, 1, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1);
}

static tarn_status flipped_rows(tarn_tensor *tensor) {
  return tarn_tensor_slice(tensor, 0, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1);
}

static tarn_status transposed(tarn_tensor *tensor) {
  return tarn_tensor_transpose(tensor, 0, 1);
}

static tarn_status middle_columns_transposed(tarn_tensor *tensor) {
  const tarn_status status = middle_columns(tensor);
  return status == TARN_OK ? transposed(tensor) : status;
}

static tarn_status channels_last(tarn_tensor *tensor) {
  static const int32_t dims[4] = {0, 2, 3, 1};
  return tarn_tensor_permute(tensor, 4, dims);
}

static tarn_status channels_first(tarn_tensor *tensor) {
  static const int32_t dims[4] = {0, 3, 1, 2};
  return tarn_tensor_permute(tensor, 4, dims);
}

static tarn_status five_permuted(tarn_tensor *tensor) {
  static const int32_t dims[5] = {0, 3, 1, 4, 2};
  return tarn_tensor_permute(tensor, 5, dims);
}

#define U8 \
  { TARN_CODE_UINT, 8, 1 }
#define F16 \
  { TARN_CODE_FLOAT, 16, 1 }
#define I8 \
  { TARN_CODE_INT, 8, 1 }
#define I32 \
  { TARN_CODE_INT, 32, 1 }
#define BF16 \
  { TARN_CODE_BFLOAT, 16, 1 }
#define E4M3FN \
  { TARN_CODE_FLOAT8_E4M3FN, 8, 1 }
#define F32 \
  { TARN_CODE_FLOAT, 32, 1 }
#define F64 \
  { TARN_CODE_FLOAT, 64, 1 }
/* What the bits mean is no matter to a copy: the types are those that people copy so. */
#define LARGE(label, type, ...) \
  { .name = "copy." label, .dst_dtype = type, .src_dtype = type, __VA_ARGS__ }
#define SMALL(label, ...) \
  { .name = "copy.small_" label, .dst_dtype = F32, .src_dtype = F32, .is_small = true, __VA_ARGS__ }
#define TURNED_SQUARE(n) .dst = {{n, n}, NULL}, .src = {{n, n}, transposed}
#define CONVERT(label, from, to, ...) \
  { .name = "copy.convert." label, .dst_dtype = to, .src_dtype = from, __VA_ARGS__ }
#define ROW(n) .dst = {{n}, NULL}, .src = {{n}, NULL}
#define IN_TWO .has_two_threads = true

/* clang-format off */
const copy_case copy_cases[] = {
    LARGE("contiguous_256MiB", F32, .dst = {{8192, 8192}, NULL}, .src = {{8192, 8192}, NULL}),
    LARGE("contiguous_64MiB", F32, .dst = {{4096, 4096}, NULL}, .src = {{4096, 4096}, NULL}),
    LARGE("contiguous_1MiB", F32, .dst = {{512, 512}, NULL}, .src = {{512, 512}, NULL}),
    LARGE("rows", F32, .dst = {{4096, 4096}, NULL}, .src = {{4096, 8192}, middle_columns}),
    LARGE("columns_step2", F32,
          .dst = {{4096, 4096}, NULL}, .src = {{4096, 8192}, every_other_column}),
    LARGE("columns_step2_both", F32,
          .dst = {{4096, 8192}, every_other_column}, .src = {{4096, 8192}, every_other_column}),
    LARGE("transpose_8192.u8", U8, TURNED_SQUARE(8192)),
    LARGE("transpose_8192.f16", F16, TURNED_SQUARE(8192)),
    LARGE("transpose_8192.f32", F32, TURNED_SQUARE(8192)),
    LARGE("transpose_8192.f64", F64, TURNED_SQUARE(8192)),
    LARGE("2threads.transpose_8192.u8", U8, TURNED_SQUARE(8192), IN_TWO),
    LARGE("2threads.transpose_8192.f16", F16, TURNED_SQUARE(8192), IN_TWO),
    LARGE("2threads.transpose_8192.f32", F32, TURNED_SQUARE(8192), IN_TWO),
    LARGE("2threads.transpose_8192.f64", F64, TURNED_SQUARE(8192), IN_TWO),
    LARGE("transpose_1024.f32", F32, TURNED_SQUARE(1024)),
    LARGE("transpose_256.f32", F32, TURNED_SQUARE(256)),
    LARGE("strided_to_transposed_4096", F32,
          .dst = {{4096, 8192}, middle_columns_transposed},
          .src = {{4096, 8192}, middle_columns}),
    LARGE("nchw_nhwc", F32,
          .dst = {{32, 112, 112, 64}, NULL}, .src = {{32, 64, 112, 112}, channels_last}),
    LARGE("nhwc_nchw", F32,
          .dst = {{32, 64, 112, 112}, NULL}, .src = {{32, 112, 112, 64}, channels_first}),
    LARGE("rgb_to_planes", U8,
          .dst = {{32, 3, 512, 512}, NULL}, .src = {{32, 512, 512, 3}, channels_first}),
    LARGE("planes_to_rgb", U8,
          .dst = {{32, 512, 512, 3}, NULL}, .src = {{32, 3, 512, 512}, channels_last}),
    LARGE("interleave_2.f32", F32, .dst = {{1 << 23, 2}, NULL}, .src = {{2, 1 << 23}, transposed}),
    LARGE("interleave_3.f32", F32, .dst = {{1 << 23, 3}, NULL}, .src = {{3, 1 << 23}, transposed}),
    LARGE("interleave_4.f32", F32, .dst = {{1 << 23, 4}, NULL}, .src = {{4, 1 << 23}, transposed}),
    LARGE("broadcast.row", F32, .dst = {{8192, 8192}, NULL}, .src = {{1, 8192}, NULL}),
    LARGE("broadcast.column", F32, .dst = {{8192, 8192}, NULL}, .src = {{8192, 1}, NULL}),
    LARGE("flip.columns", F32, .dst = {{4096, 4096}, NULL}, .src = {{4096, 4096}, flipped_columns}),
    LARGE("flip.rows", F32, .dst = {{4096, 4096}, NULL}, .src = {{4096, 4096}, flipped_rows}),
    LARGE("permute5d", F32,
          .dst = {{16, 32, 32, 8, 32}, NULL}, .src = {{16, 32, 32, 32, 8}, five_permuted}),
    CONVERT("f32_f16", F32, F16, ROW(1 << 26)),
    CONVERT("f16_f32", F16, F32, ROW(1 << 26)),
    CONVERT("f32_bf16", F32, BF16, ROW(1 << 26)),
    CONVERT("bf16_f32", BF16, F32, ROW(1 << 26)),
    CONVERT("u8_f32", U8, F32, ROW(1 << 26)),
    CONVERT("f32_u8", F32, U8, ROW(1 << 26)),
    CONVERT("f64_f32", F64, F32, ROW(1 << 26)),
    CONVERT("f32_f64", F32, F64, ROW(1 << 26)),
    CONVERT("i32_f32", I32, F32, ROW(1 << 26)),
    CONVERT("bf16_f16", BF16, F16, ROW(1 << 26)),
    CONVERT("e4m3fn_f32", E4M3FN, F32, ROW(1 << 26)),
    CONVERT("f32_e4m3fn", F32, E4M3FN, ROW(1 << 26)),
    CONVERT("f32_f16_1MiB", F32, F16, ROW(1 << 18)),
    CONVERT("turned_8192.f32_f16", F32, F16, TURNED_SQUARE(8192)),
    CONVERT("turned_8192.u8_f32", U8, F32, TURNED_SQUARE(8192)),
    CONVERT("rgb_to_planes.u8_f32", U8, F32,
            .dst = {{32, 3, 512, 512}, NULL}, .src = {{32, 512, 512, 3}, channels_first}),
    CONVERT("step2.f32_f16", F32, F16,
            .dst = {{4096, 4096}, NULL}, .src = {{4096, 8192}, every_other_column}),
    CONVERT("small_64.i8_f32", I8, F32, ROW(64), .is_small = true),
    CONVERT("2threads.f32_f16", F32, F16, ROW(1 << 26), IN_TWO),
    SMALL("64_contiguous", .dst = {{64}, NULL}, .src = {{64}, NULL}),
    SMALL("8x8_transposed", TURNED_SQUARE(8)),
    SMALL("1024_permuted", .dst = {{4, 8, 4, 8}, NULL}, .src = {{4, 8, 8, 4}, channels_last}),
};
/* clang-format on */
const size_t copy_case_count = sizeof copy_cases / sizeof copy_cases[0];

static int32_t rank_of(const copy_side *side) {
  int32_t rank = 0;
  while (side->shape[rank] != 0) rank++;
  return rank;
}

size_t copy_side_bytes(const copy_side *side, tarn_dtype dtype) {
  size_t size_bytes = tarn_dtype_size_bytes(dtype);
  for (int32_t d = 0; side->shape[d] != 0; d++) size_bytes *= (size_t)side->shape[d];
  return size_bytes;
}

tarn_status copy_side_tensor(const copy_side *side, tarn_dtype dtype, tarn_storage *storage,
                             tarn_tensor *tensor) {
  tarn_status status;
  *tensor = (tarn_tensor){.dtype = dtype};
  if (storage != NULL) {
    status = tarn_tensor_of_storage(storage, dtype, rank_of(side), side->shape, 0, tensor);
  } else {
    status = tarn_layout_init(&tensor->layout, rank_of(side), side->shape);
  }
  return status == TARN_OK && side->view != NULL ? side->view(tensor) : status;
}
