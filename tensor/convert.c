/* convert.c: finds the steps from one type to another and runs them over rows, piece by piece. */
#include "tensor/convert.h"

#include <assert.h>
#include <string.h>

#include "tensor/cpu_level.h"

/* What lies between two steps stays in the first-level cache: a piece of so many parts. */
enum { PIECE_COUNT = 512, PART_BYTES_MAX = 16, LINE_BYTES = 64 };
/* A strand, and how short the last ones may become. */
enum { STRAND_BYTES = 64 << 10, STRAND_COUNT_MIN = 256 };
static_assert(PIECE_COUNT % TARN__STEP_BLOCK == 0, "pieces are whole blocks");
static_assert(PIECE_COUNT % LINE_BYTES == 0, "pieces of whole lines, whatever the element");

/* --- what becomes what --- */

typedef enum kind {
  KIND_BOOL,
  KIND_I8,
  KIND_I16,
  KIND_I32,
  KIND_I64,
  KIND_U8,
  KIND_U16,
  KIND_U32,
  KIND_U64,
  KIND_F16,
  KIND_BF16,
  KIND_E4M3FN,
  KIND_E5M2,
  KIND_F32,
  KIND_F64,
  KIND_C64,
  KIND_C128,
  KIND_COUNT,
  KIND_NONE = KIND_COUNT
} kind;

static kind kind_of(tarn_dtype dtype) {
  static const struct {
    uint8_t code, bits;
  } kinds[KIND_COUNT] = {
      [KIND_BOOL] = {TARN_CODE_BOOL, 8},        [KIND_I8] = {TARN_CODE_INT, 8},
      [KIND_I16] = {TARN_CODE_INT, 16},         [KIND_I32] = {TARN_CODE_INT, 32},
      [KIND_I64] = {TARN_CODE_INT, 64},         [KIND_U8] = {TARN_CODE_UINT, 8},
      [KIND_U16] = {TARN_CODE_UINT, 16},        [KIND_U32] = {TARN_CODE_UINT, 32},
      [KIND_U64] = {TARN_CODE_UINT, 64},        [KIND_F16] = {TARN_CODE_FLOAT, 16},
      [KIND_BF16] = {TARN_CODE_BFLOAT, 16},     [KIND_E4M3FN] = {TARN_CODE_FLOAT8_E4M3FN, 8},
      [KIND_E5M2] = {TARN_CODE_FLOAT8_E5M2, 8}, [KIND_F32] = {TARN_CODE_FLOAT, 32},
      [KIND_F64] = {TARN_CODE_FLOAT, 64},       [KIND_C64] = {TARN_CODE_COMPLEX, 64},
      [KIND_C128] = {TARN_CODE_COMPLEX, 128},
  };
  if (dtype.lanes != 1) return KIND_NONE;
  for (int i = 0; i < KIND_COUNT; i++) {
    if (kinds[i].code == dtype.code && kinds[i].bits == dtype.bits) return (kind)i;
  }
  return KIND_NONE;
}

static bool is_integer(kind k) {
  return k >= KIND_I8 && k <= KIND_U64;
}

static const uint8_t kind_bytes[KIND_COUNT] = {
    [KIND_BOOL] = 1, [KIND_I8] = 1,     [KIND_I16] = 2,  [KIND_I32] = 4, [KIND_I64] = 8,
    [KIND_U8] = 1,   [KIND_U16] = 2,    [KIND_U32] = 4,  [KIND_U64] = 8, [KIND_F16] = 2,
    [KIND_BF16] = 2, [KIND_E4M3FN] = 1, [KIND_E5M2] = 1, [KIND_F32] = 4, [KIND_F64] = 8,
    [KIND_C64] = 8,  [KIND_C128] = 16};

/* A step as a word that can be 0: 1 + its id. */
#define VIA(name) (TARN__STEP_##name + 1)

static const uint8_t to_bool[KIND_COUNT] = {
    [KIND_BOOL] = VIA(n8_bool),   [KIND_I8] = VIA(n8_bool),      [KIND_U8] = VIA(n8_bool),
    [KIND_I16] = VIA(n16_bool),   [KIND_U16] = VIA(n16_bool),    [KIND_I32] = VIA(n32_bool),
    [KIND_U32] = VIA(n32_bool),   [KIND_I64] = VIA(n64_bool),    [KIND_U64] = VIA(n64_bool),
    [KIND_F16] = VIA(mag16_bool), [KIND_BF16] = VIA(mag16_bool), [KIND_E4M3FN] = VIA(mag8_bool),
    [KIND_E5M2] = VIA(mag8_bool), [KIND_F32] = VIA(mag32_bool),  [KIND_F64] = VIA(mag64_bool),
    [KIND_C64] = VIA(c64_bool),   [KIND_C128] = VIA(c128_bool)};

static const uint8_t to_f32[KIND_COUNT] = {
    [KIND_I8] = VIA(i8_f32),     [KIND_I16] = VIA(i16_f32),       [KIND_I32] = VIA(i32_f32),
    [KIND_I64] = VIA(i64_f32),   [KIND_U8] = VIA(u8_f32),         [KIND_U16] = VIA(u16_f32),
    [KIND_U32] = VIA(u32_f32),   [KIND_U64] = VIA(u64_f32),       [KIND_F16] = VIA(f16_f32),
    [KIND_BF16] = VIA(bf16_f32), [KIND_E4M3FN] = VIA(e4m3fn_f32), [KIND_E5M2] = VIA(e5m2_f32),
    [KIND_F64] = VIA(f64_f32)};

static const uint8_t to_f64[KIND_COUNT] = {[KIND_I32] = VIA(i32_f64),
                                           [KIND_U32] = VIA(u32_f64),
                                           [KIND_I64] = VIA(i64_f64),
                                           [KIND_U64] = VIA(u64_f64),
                                           [KIND_F32] = VIA(f32_f64)};

static const uint8_t from_f32[KIND_COUNT] = {
    [KIND_I32] = VIA(f32_i32),       [KIND_U32] = VIA(f32_u32),   [KIND_I64] = VIA(f32_i64),
    [KIND_U64] = VIA(f32_u64),       [KIND_F16] = VIA(f32_f16),   [KIND_BF16] = VIA(f32_bf16),
    [KIND_E4M3FN] = VIA(f32_e4m3fn), [KIND_E5M2] = VIA(f32_e5m2), [KIND_F64] = VIA(f32_f64),
    [KIND_U8] = VIA(f32_u8)};

static const uint8_t from_f64[KIND_COUNT] = {
    [KIND_I32] = VIA(f64_i32),       [KIND_U32] = VIA(f64_u32),   [KIND_I64] = VIA(f64_i64),
    [KIND_U64] = VIA(f64_u64),       [KIND_F16] = VIA(f64_f16),   [KIND_BF16] = VIA(f64_bf16),
    [KIND_E4M3FN] = VIA(f64_e4m3fn), [KIND_E5M2] = VIA(f64_e5m2), [KIND_F32] = VIA(f64_f32)};

static const uint8_t from_i32_saturated[KIND_COUNT] = {[KIND_I8] = VIA(i32_sat_i8),
                                                       [KIND_U8] = VIA(i32_sat_u8),
                                                       [KIND_I16] = VIA(i32_sat_i16),
                                                       [KIND_U16] = VIA(i32_sat_u16)};

/* Steps found so far, and the kind that they lead to. */
typedef struct route {
  kind at;
  int step_count;
  uint8_t steps[TARN__CONVERT_STEPS_MAX];
} route;

static void go(route *r, uint8_t via, kind to) {
  TARN_ASSERT(via != 0 && r->step_count < TARN__CONVERT_STEPS_MAX);
  r->steps[r->step_count++] = via;
  r->at = to;
}

/* Integers wrap, so the signs of narrow ones matter only where they are widened. */
static void go_to_integer(route *r, kind to) {
  const size_t from_bytes = kind_bytes[r->at], to_bytes = kind_bytes[to];
  if (from_bytes < 4 && from_bytes != to_bytes) {
    static const uint8_t widen[KIND_COUNT] = {[KIND_I8] = VIA(i8_i32),
                                              [KIND_U8] = VIA(u8_i32),
                                              [KIND_I16] = VIA(i16_i32),
                                              [KIND_U16] = VIA(u16_i32)};
    go(r, widen[r->at], KIND_I32);
  }
  if (kind_bytes[r->at] == 8 && to_bytes < 8) go(r, VIA(n64_n32), KIND_I32);
  if (kind_bytes[r->at] == 4 && to_bytes == 8) {
    go(r, r->at == KIND_U32 ? VIA(u32_i64) : VIA(i32_i64), KIND_I64);
  }
  if (kind_bytes[r->at] == 4 && to_bytes == 2) go(r, VIA(n32_n16), KIND_I16);
  if (kind_bytes[r->at] == 4 && to_bytes == 1) go(r, VIA(n32_n8), KIND_I8);
  r->at = to;
}

/* To f32 or f64, exactly where it holds the value, else rounded once. */
static void go_to_float(route *r, kind to) {
  if (r->at == to) return;
  const uint8_t *direct = to == KIND_F32 ? to_f32 : to_f64;
  if (direct[r->at] == 0) go(r, to_f32[r->at], KIND_F32); /* narrow: exact */
  if (r->at != to) go(r, direct[r->at], to);
}

/* To one of the narrow floats: by way of the narrowest of f32 and f64 that is exact, or that
 * rounds as the value itself would. */
static void go_to_narrow_float(route *r, kind to) {
  if (r->at == KIND_I64) go(r, VIA(i64_odd64), KIND_F64);
  if (r->at == KIND_U64) go(r, VIA(u64_odd64), KIND_F64);
  if (r->at == KIND_I32 || r->at == KIND_U32) go_to_float(r, KIND_F64);
  if (r->at != KIND_F64) go_to_float(r, KIND_F32);
  go(r, r->at == KIND_F64 ? from_f64[to] : from_f32[to], to);
}

static void go_from_float_to_integer(route *r, kind to) {
  if (r->at != KIND_F64) go_to_float(r, KIND_F32);
  const uint8_t *direct = r->at == KIND_F64 ? from_f64 : from_f32;
  if (direct[to] == 0) {
    go(r, direct[KIND_I32], KIND_I32);
    direct = from_i32_saturated;
  }
  go(r, direct[to], to);
}

/* False where there is no way. */
static bool find_route(kind from, kind to, route *r) {
  *r = (route){.at = from};
  if (from == KIND_NONE || to == KIND_NONE) return false;
  if (from == to) return true;
  if (to == KIND_BOOL) {
    go(r, to_bool[from], to);
    return true;
  }
  if (from == KIND_BOOL) go(r, VIA(n8_bool), KIND_U8); /* any byte but 0 is true, and true is 1 */
  if (from == KIND_C64 || from == KIND_C128) {
    if (to != KIND_C64 && to != KIND_C128) return false;
    go(r, to == KIND_C64 ? VIA(f64_f32) : VIA(f32_f64), to);
  } else if (to == KIND_C64) {
    go_to_float(r, KIND_F32);
    go(r, VIA(f32_c64), to);
  } else if (to == KIND_C128) {
    go_to_float(r, KIND_F64);
    go(r, VIA(f64_c128), to);
  } else if (to == KIND_F32 || to == KIND_F64) {
    go_to_float(r, to);
  } else if (!is_integer(to)) {
    go_to_narrow_float(r, to);
  } else if (is_integer(r->at)) {
    go_to_integer(r, to);
  } else {
    go_from_float_to_integer(r, to);
  }
  return true;
}

/* --- kernels --- */

static const tarn__convert_kernels *const kernels_of[] = {
    [TARN__CPU_PORTABLE] = &tarn__convert_kernels_portable,
    [TARN__CPU_AVX2] = &tarn__convert_kernels_avx2,
    [TARN__CPU_AVX512] = &tarn__convert_kernels_avx512};

static void take_kernels(const route *r, tarn__convert *convert) {
  const int level = (int)tarn__cpu_level_now();
  for (int i = 0; i < r->step_count; i++) {
    const int id = r->steps[i] - 1;
    for (int l = level; convert->steps[i] == NULL; l--) {
      convert->steps[i] = kernels_of[l]->steps[id];
    }
  }
  convert->kernels = kernels_of[level];
  if (r->step_count == 1) convert->stream = kernels_of[level]->streams[r->steps[0] - 1];
}

tarn_status tarn__convert_find(tarn_dtype dst, tarn_dtype src, tarn__convert *convert) {
  route r;
  const kind from = kind_of(src), to = kind_of(dst);
  *convert = (tarn__convert){0};
  if (!find_route(from, to, &r)) {
    char dst_name[64], src_name[64];
    return tarn_fail(TARN_NOT_SUPPORTED, "there is no conversion from %s to %s",
                     tarn_dtype_name(src, src_name, sizeof src_name),
                     tarn_dtype_name(dst, dst_name, sizeof dst_name));
  }
  convert->step_count = r.step_count;
  convert->part_count = from >= KIND_C64 && to >= KIND_C64 && from != to ? 2 : 1;
  convert->dst_bytes = kind_bytes[to];
  convert->src_bytes = kind_bytes[from];
  take_kernels(&r, convert);
  return TARN_OK;
}

/* --- rows --- */

/* A whole number of blocks; at most a piece of them where there is more than one step. */
static void run_steps(const tarn__convert *convert, char *dst, const char *src, size_t count) {
  _Alignas(LINE_BYTES) char between[2][PIECE_COUNT * PART_BYTES_MAX];
  const int last = convert->step_count - 1;
  const void *from = src;
  for (int i = 0; i < last; i++) {
    convert->steps[i](between[i % 2], from, count);
    from = between[i % 2];
  }
  convert->steps[last](dst, from, count);
}

/* Less than a block. */
static void run_rest(const tarn__convert *convert, char *dst, size_t dst_bytes, const char *src,
                     size_t src_bytes, size_t count) {
  char in[TARN__STEP_BLOCK * PART_BYTES_MAX], out[TARN__STEP_BLOCK * PART_BYTES_MAX];
  memset(in, 0, TARN__STEP_BLOCK * src_bytes);
  memcpy(in, src, count * src_bytes);
  run_steps(convert, out, in, TARN__STEP_BLOCK);
  memcpy(dst, out, count * dst_bytes);
}

static void run_plain(const tarn__convert *convert, char *dst, size_t dst_bytes, const char *src,
                      size_t src_bytes, size_t count) {
  const size_t longest = convert->step_count == 1 ? SIZE_MAX : PIECE_COUNT;
  const size_t whole = count - count % TARN__STEP_BLOCK;
  for (size_t done = 0, size; done < whole; done += size) {
    size = whole - done < longest ? whole - done : longest;
    run_steps(convert, dst + done * dst_bytes, src + done * src_bytes, size);
  }
  if (whole == count) return;
  run_rest(convert, dst + whole * dst_bytes, dst_bytes, src + whole * src_bytes, src_bytes,
           count - whole);
}

/* Past the caches, by way of a piece that stays in them. Returns how many it did: what is over
 * does not fill a piece. */
static size_t stream_pieces(const tarn__convert *convert, char *dst, size_t dst_bytes,
                            const char *src, size_t src_bytes, size_t count) {
  _Alignas(LINE_BYTES) char piece[PIECE_COUNT * PART_BYTES_MAX];
  size_t done = 0;
  for (; count - done >= PIECE_COUNT; done += PIECE_COUNT) {
    const char *from = src + done * src_bytes, *next = from + PIECE_COUNT * src_bytes;
    for (size_t line = 0; line < PIECE_COUNT * src_bytes; line += LINE_BYTES) {
      __builtin_prefetch(next + line);
    }
    run_steps(convert, piece, from, PIECE_COUNT);
    convert->kernels->put_lines(dst + done * dst_bytes, piece, PIECE_COUNT * dst_bytes);
  }
  return done;
}

static size_t stream_strands(const tarn__convert *convert, char *dst, size_t dst_bytes,
                             const char *src, size_t src_bytes, size_t count) {
  const size_t wider = dst_bytes > src_bytes ? dst_bytes : src_bytes;
  size_t strand = STRAND_BYTES / wider, done = 0;
  while (strand >= STRAND_COUNT_MIN) {
    for (; count - done >= strand * TARN__CONVERT_STRANDS; done += strand * TARN__CONVERT_STRANDS) {
      convert->stream(dst + done * dst_bytes, src + done * src_bytes, strand);
    }
    strand /= 4;
  }
  return done;
}

/* From the first whole line on. Returns how many elements it did, those before the line too. */
static size_t run_streaming(const tarn__convert *convert, char *dst, size_t dst_bytes,
                            const char *src, size_t src_bytes, size_t count) {
  const size_t before_line = -(uintptr_t)dst % LINE_BYTES;
  if (convert->kernels->put_lines == NULL || before_line % dst_bytes != 0) return 0;
  const size_t head = before_line / dst_bytes;
  if (count < head + 2 * PIECE_COUNT) return 0;
  run_plain(convert, dst, dst_bytes, src, src_bytes, head);
  dst += head * dst_bytes;
  src += head * src_bytes;
  const size_t body = convert->stream != NULL
                          ? stream_strands(convert, dst, dst_bytes, src, src_bytes, count - head)
                          : stream_pieces(convert, dst, dst_bytes, src, src_bytes, count - head);
  convert->kernels->fence();
  return head + body;
}

void tarn__convert_row(const tarn__convert *convert, void *dst, const void *src, size_t count,
                       bool is_streaming) {
  const size_t parts = (size_t)convert->part_count;
  const size_t dst_bytes = convert->dst_bytes / parts, src_bytes = convert->src_bytes / parts;
  char *to = dst;
  const char *from = src;
  count *= parts;
  if (convert->step_count == 0) {
    memcpy(to, from, count * dst_bytes);
    return;
  }
  const size_t done =
      is_streaming ? run_streaming(convert, to, dst_bytes, from, src_bytes, count) : 0;
  run_plain(convert, to + done * dst_bytes, dst_bytes, from + done * src_bytes, src_bytes,
            count - done);
}
