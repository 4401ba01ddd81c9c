/* bench_copy.c: `tarn bench copy`: strided copies in the calling thread against memcpy. */
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "bench/bench.h"
#include "tensor/tarn_copy.h"

enum { COPY_RANK_MAX = 5 };

typedef tarn_status (*copy_view)(tarn_tensor *tensor);

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

/* Row-major tensors of the two shapes, and the views of them that are copied. */
typedef struct copy_case {
  const char *name;
  int dtype_bits;
  bool is_small; /* told in ns, not GB/s */
  int32_t dst_rank;
  int64_t dst_shape[COPY_RANK_MAX];
  copy_view dst_view; /* NULL: all of it */
  int32_t src_rank;
  int64_t src_shape[COPY_RANK_MAX];
  copy_view src_view;
} copy_case;

#define SQUARE(n) \
  2, {            \
    n, n          \
  }
static const copy_case copy_cases[] = {
    {"copy.contiguous_64MiB", 32, false, SQUARE(4096), NULL, SQUARE(4096), NULL},
    {"copy.contiguous_1MiB", 32, false, SQUARE(512), NULL, SQUARE(512), NULL},
    {"copy.rows_4096", 32, false, SQUARE(4096), NULL, 2, {4096, 8192}, middle_columns},
    {"copy.columns_step2", 32, false, SQUARE(4096), NULL, 2, {4096, 8192}, every_other_column},
    {"copy.columns_step2_both",
     32,
     false,
     2,
     {4096, 8192},
     every_other_column,
     2,
     {4096, 8192},
     every_other_column},
    {"copy.transpose_8192_f32", 32, false, SQUARE(8192), NULL, SQUARE(8192), transposed},
    {"copy.transpose_8192_u8", 8, false, SQUARE(8192), NULL, SQUARE(8192), transposed},
    {"copy.transpose_8192_f16", 16, false, SQUARE(8192), NULL, SQUARE(8192), transposed},
    {"copy.transpose_1024_f32", 32, false, SQUARE(1024), NULL, SQUARE(1024), transposed},
    {"copy.transpose_256_f32", 32, false, SQUARE(256), NULL, SQUARE(256), transposed},
    {"copy.nchw_nhwc",
     32,
     false,
     4,
     {32, 112, 112, 64},
     NULL,
     4,
     {32, 64, 112, 112},
     channels_last},
    {"copy.nhwc_nchw",
     32,
     false,
     4,
     {32, 64, 112, 112},
     NULL,
     4,
     {32, 112, 112, 64},
     channels_first},
    {"copy.broadcast_row", 32, false, SQUARE(8192), NULL, 2, {1, 8192}, NULL},
    {"copy.broadcast_column", 32, false, SQUARE(8192), NULL, 2, {8192, 1}, NULL},
    {"copy.flip_columns", 32, false, SQUARE(4096), NULL, SQUARE(4096), flipped_columns},
    {"copy.flip_rows", 32, false, SQUARE(4096), NULL, SQUARE(4096), flipped_rows},
    {"copy.permute_5d",
     32,
     false,
     5,
     {16, 32, 32, 8, 32},
     NULL,
     5,
     {16, 32, 32, 32, 8},
     five_permuted},
    {"copy.small_64_contiguous", 32, true, 1, {64}, NULL, 1, {64}, NULL},
    {"copy.small_8x8_transposed", 32, true, SQUARE(8), NULL, SQUARE(8), transposed},
    {"copy.small_1024_permuted", 32, true, 4, {4, 8, 4, 8}, NULL, 4, {4, 8, 8, 4}, channels_last},
};

typedef struct copy_run {
  tarn_tensor dst;
  tarn_tensor src;
  /* For memcpy: both storages hold at least this many bytes. */
  void *dst_bytes;
  const void *src_bytes;
  size_t size_bytes;
} copy_run;

static tarn_status run_copy(void *context, uint64_t iterations) {
  const copy_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    const tarn_status status = tarn_tensor_copy(&run->dst, &run->src, NULL, NULL);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status run_memcpy(void *context, uint64_t iterations) {
  const copy_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    memcpy(run->dst_bytes, run->src_bytes, run->size_bytes);
    measure_keep(run->dst_bytes);
  }
  return TARN_OK;
}

/* --- checks --- */

static void fill_bytes(void *bytes, size_t size_bytes, uint64_t seed) {
  uint8_t *out = bytes;
  uint64_t state = seed;
  for (size_t i = 0; i + 8 <= size_bytes; i += 8) {
    /* A linear congruential generator (Knuth's MMIX), its high half twice. */
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const uint64_t word = (state >> 32) | (state & ~UINT64_C(0xFFFFFFFF));
    memcpy(out + i, &word, 8);
  }
}

static bool elements_equal(const uint8_t *a, const uint8_t *b, size_t size_bytes) {
  return memcmp(a, b, size_bytes) == 0;
}

/* Every element at its index, the plainest way. */
static tarn_status check_copy(const char *name, const copy_run *run) {
  tarn_layout dst = run->dst.layout;
  tarn_layout src = run->src.layout;
  tarn_status status = tarn_layout_expand(&src, dst.rank, dst.shape);
  if (status != TARN_OK) return status;
  const size_t element_bytes = tarn_dtype_size_bytes(run->dst.dtype);
  const uint8_t *dst_base = tarn_tensor_data(&run->dst);
  const uint8_t *src_base = tarn_tensor_data(&run->src);
  int64_t index[TARN_RANK_MAX] = {0};
  const int64_t count = tarn_layout_element_count(&dst);
  int64_t dst_at = 0;
  int64_t src_at = 0;
  for (int64_t i = 0; i < count; i++) {
    if (!elements_equal(dst_base + dst_at * (int64_t)element_bytes,
                        src_base + src_at * (int64_t)element_bytes, element_bytes)) {
      return bench_wrong(name, "an element is not its source's");
    }
    for (int32_t d = dst.rank - 1; d >= 0; d--) {
      dst_at += dst.strides[d];
      src_at += src.strides[d];
      if (++index[d] < dst.shape[d]) break;
      dst_at -= dst.strides[d] * dst.shape[d];
      src_at -= src.strides[d] * dst.shape[d];
      index[d] = 0;
    }
  }
  return TARN_OK;
}

/* --- one case --- */

static size_t shape_bytes(int32_t rank, const int64_t *shape, size_t element_bytes) {
  size_t size_bytes = element_bytes;
  for (int32_t i = 0; i < rank; i++) size_bytes *= (size_t)shape[i];
  return size_bytes;
}

/* Both storages get the larger size, so that memcpy has as many bytes on both sides. */
static tarn_status make_tensor(tarn_pool *pool, tarn_dtype dtype, int32_t rank,
                               const int64_t *shape, copy_view view, size_t storage_bytes,
                               tarn_tensor *tensor) {
  tarn_storage *storage = NULL;
  tarn_status status = tarn_storage_create(pool, storage_bytes, NULL, &storage);
  if (status == TARN_OK) status = tarn_tensor_of_storage(storage, dtype, rank, shape, 0, tensor);
  if (status == TARN_OK && view != NULL) status = view(tensor);
  tarn_storage_release(storage);
  return status;
}

static tarn_status set_up(const copy_case *row, tarn_pool *pool, copy_run *run) {
  /* What the bits mean is no matter to a copy; the float types are what people transpose. */
  const tarn_dtype dtype = row->dtype_bits == 8    ? TARN_U8
                           : row->dtype_bits == 16 ? TARN_F16
                                                   : TARN_F32;
  const size_t element_bytes = tarn_dtype_size_bytes(dtype);
  const size_t dst_bytes = shape_bytes(row->dst_rank, row->dst_shape, element_bytes);
  const size_t src_bytes = shape_bytes(row->src_rank, row->src_shape, element_bytes);
  const size_t storage_bytes = dst_bytes > src_bytes ? dst_bytes : src_bytes;
  tarn_status status = make_tensor(pool, dtype, row->dst_rank, row->dst_shape, row->dst_view,
                                   storage_bytes, &run->dst);
  if (status == TARN_OK) {
    status = make_tensor(pool, dtype, row->src_rank, row->src_shape, row->src_view, storage_bytes,
                         &run->src);
  }
  if (status != TARN_OK) return status;
  run->size_bytes = tarn_tensor_size_bytes(&run->dst);
  run->dst_bytes = tarn_storage_data_mutable(run->dst.storage);
  run->src_bytes = tarn_storage_data(run->src.storage);
  fill_bytes(tarn_storage_data_mutable(run->src.storage), storage_bytes, 1);
  fill_bytes(run->dst_bytes, storage_bytes, 2);
  return TARN_OK;
}

static tarn_status measure_copy(bench_run *bench, const copy_case *row, copy_run *run) {
  const measure_subject subjects[] = {{"tarn", run_copy, run}, {"memcpy", run_memcpy, run}};
  const measure_options options = {.bytes = row->is_small ? 0 : run->size_bytes};
  const tarn_status status =
      bench_measure(bench, row->name, row->is_small ? "ns" : "GB/s", subjects, 2, &options);
  if (status != TARN_OK) return status;
  /* memcpy wrote last: once more onto other bytes, for the check. */
  fill_bytes(run->dst_bytes, tarn_storage_size_bytes(run->dst.storage), 3);
  const tarn_status copied = run_copy(run, 1);
  return copied == TARN_OK ? check_copy(row->name, run) : copied;
}

tarn_status bench_copy(bench_run *bench) {
  for (size_t i = 0; i < sizeof copy_cases / sizeof copy_cases[0]; i++) {
    const copy_case *row = &copy_cases[i];
    if (!bench_wants(bench, row->name)) continue;
    /* A pool each: no case holds the memory of the one before. */
    tarn_pool *pool = NULL;
    copy_run run = {.size_bytes = 0};
    tarn_status status = tarn_caching_pool_create(bench_host_memory(bench), NULL, &pool);
    if (status == TARN_OK) status = set_up(row, pool, &run);
    if (status == TARN_OK) status = measure_copy(bench, row, &run);
    tarn_tensor_release(&run.dst);
    tarn_tensor_release(&run.src);
    tarn_pool_release(pool);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}
