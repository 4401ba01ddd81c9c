/* test_copy_rows.c: lines of runs at every level: exact, and nothing beyond them is touched. */
#include "tests/support/test.h"

#include <sys/mman.h>
#include <unistd.h>

#include "tensor/copy_rows.h"
#include "tensor/cpu_level.h"
#include "tests/tensor/layout_model.h"

enum { AREA_BYTES = 1 << 16, GUARD = 0x5A };

/* AREA_BYTES between two pages that fault when they are touched. */
static char *guarded_area(void) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *mapped = mmap(NULL, AREA_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(mapped, MAP_FAILED);
  assert_int_equal(mprotect(mapped + page, AREA_BYTES, PROT_READ | PROT_WRITE), 0);
  return mapped + page;
}

static void drop_area(char *area) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  munmap(area - page, AREA_BYTES + 2 * page);
}

static void for_each_level(void (*check)(const tarn__row_kernels *kernels)) {
  for (int level = TARN__CPU_PORTABLE; level <= TARN__CPU_AVX512; level++) {
    if (level > (int)tarn__cpu_level_detect()) break;
    tarn__cpu_level_limit((tarn__cpu_level)level);
    check(tarn__row_kernels_now());
  }
  tarn__cpu_level_limit(TARN__CPU_AVX512);
}

/* The line of `count` runs, placed so that it ends with the area or starts with it: a kernel that
 * reads or writes beyond it faults. */
static char *place(char *area, bool at_end, int64_t count, int64_t stride, int64_t unit) {
  const int64_t span = (count - 1) * (stride < 0 ? -stride : stride) + unit;
  char *first = at_end ? area + AREA_BYTES - span : area;
  return stride < 0 ? first + span - unit : first;
}

static void check_line(const tarn__row_kernels *kernels, char *from, char *to, bool at_end,
                       int64_t count, int64_t dst_stride, int64_t src_stride, int64_t unit) {
  static char expected[AREA_BYTES];
  const char *src = place(from, at_end, count, src_stride, unit);
  char *dst = place(to, at_end, count, dst_stride, unit);
  memset(to, GUARD, AREA_BYTES);
  memset(expected, GUARD, AREA_BYTES);
  for (int64_t i = 0; i < count; i++) {
    memcpy(expected + (dst - to) + i * dst_stride, src + i * src_stride, (size_t)unit);
  }
  tarn__row_copy(kernels, dst, src, count, dst_stride, src_stride, (size_t)unit);
  if (memcmp(to, expected, AREA_BYTES) != 0) {
    fail_msg("%d runs of %d, strides %d to %d", (int)count, (int)unit, (int)src_stride,
             (int)dst_stride);
  }
}

static const int64_t units[] = {1, 2, 4, 8, 16, 3, 5, 12, 24, 32, 40, 100};

static void check_lines(const tarn__row_kernels *kernels) {
  char *from = guarded_area(), *to = guarded_area();
  uint64_t random = 7;
  random_fill(&random, from, AREA_BYTES);
  for (size_t u = 0; u < COUNT_OF(units); u++) {
    const int64_t unit = units[u];
    for (int64_t step = -3; step <= 9; step++) {
      for (int64_t count = 1; count < 300; count += 1 + count / 9) {
        for (int64_t dst_step = 1; dst_step <= 8; dst_step += dst_step < 3 ? 1 : 5) {
          const int64_t widest = step < 0 ? -step : step > dst_step ? step : dst_step;
          if (count * unit * (widest > dst_step ? widest : dst_step) > AREA_BYTES) continue;
          for (int at_end = 0; at_end < 2; at_end++) {
            check_line(kernels, from, to, at_end != 0, count, dst_step * unit, step * unit, unit);
          }
        }
      }
    }
  }
  drop_area(from);
  drop_area(to);
}

TEST(lines_are_exact_at_every_level) {
  for_each_level(check_lines);
}

/* Strides that are no multiples of the run, and addresses that are aligned to nothing. */
static void check_odd_strides(const tarn__row_kernels *kernels) {
  char *from = guarded_area(), *to = guarded_area();
  uint64_t random = 11;
  random_fill(&random, from, AREA_BYTES);
  for (int round = 0; round < 3000; round++) {
    const int64_t unit = units[random_in(&random, 0, COUNT_OF(units) - 1)];
    const int64_t dst_stride = unit + random_in(&random, 0, 9), count = random_in(&random, 1, 200);
    const int64_t src_stride = random_in(&random, -2 * unit, 3 * unit);
    check_line(kernels, from, to, round % 2 != 0, count, dst_stride, src_stride, unit);
  }
  drop_area(from);
  drop_area(to);
}

TEST(odd_strides_are_exact_at_every_level) {
  for_each_level(check_odd_strides);
}

/* Columns that end with the area or start with it, as the rows that are made of them do. */
static void check_columns(const tarn__row_kernels *kernels, char *from, char *to, bool at_end,
                          int64_t row_count, int count, int64_t pitch, int64_t unit) {
  static char expected[AREA_BYTES];
  tarn__columns columns;
  const int64_t row_bytes = count * unit, size = row_count * row_bytes;
  const int64_t distance = pitch < 0 ? -pitch : pitch;
  const int64_t span = (count - 1) * distance + row_count * unit;
  const char *src =
      (at_end ? from + AREA_BYTES - span : from) + (pitch < 0 ? span - row_count * unit : 0);
  char *dst = at_end ? to + AREA_BYTES - size : to;
  memset(to, GUARD, AREA_BYTES);
  memset(expected, GUARD, AREA_BYTES);
  for (int64_t r = 0; r < row_count; r++) {
    for (int c = 0; c < count; c++) {
      memcpy(expected + (dst - to) + r * row_bytes + c * unit, src + c * pitch + r * unit,
             (size_t)unit);
    }
  }
  tarn__columns_make(count, pitch, (size_t)unit, &columns);
  tarn__row_interleave(kernels, &columns, dst, src, row_count);
  if (memcmp(to, expected, AREA_BYTES) != 0) {
    fail_msg("%d rows of %d runs of %d, %d apart", (int)row_count, count, (int)unit, (int)pitch);
  }
}

static void check_interleaved(const tarn__row_kernels *kernels) {
  char *from = guarded_area(), *to = guarded_area();
  uint64_t random = 17;
  random_fill(&random, from, AREA_BYTES);
  for (int64_t unit = 1; unit <= 8; unit *= 2) {
    for (int count = 2; count <= TARN__COLUMNS_MAX; count++) {
      for (int64_t rows = 1; rows < 300; rows += 1 + rows / 16) {
        const int64_t pitch = rows * unit + random_in(&random, 0, 40);
        for (int at_end = 0; at_end < 2; at_end++) {
          check_columns(kernels, from, to, at_end != 0, rows, count, pitch, unit);
          check_columns(kernels, from, to, at_end != 0, rows, count, -pitch, unit);
        }
      }
    }
  }
  drop_area(from);
  drop_area(to);
}

TEST(interleaved_columns_are_exact_at_every_level) {
  for_each_level(check_interleaved);
}

static void check_stream(const tarn__row_kernels *kernels) {
  static char expected[AREA_BYTES];
  char *from = guarded_area(), *to = guarded_area();
  uint64_t random = 13;
  random_fill(&random, from, AREA_BYTES);
  for (int round = 0; round < 2000; round++) {
    const int64_t size = random_in(&random, 0, round % 8 == 0 ? AREA_BYTES : 600);
    const int64_t dst_at = random_in(&random, 0, AREA_BYTES - size);
    const int64_t src_at = random_in(&random, 0, AREA_BYTES - size);
    memset(to, GUARD, AREA_BYTES);
    memset(expected, GUARD, AREA_BYTES);
    memcpy(expected + dst_at, from + src_at, (size_t)size);
    tarn__row_stream(kernels, to + dst_at, from + src_at, (size_t)size);
    kernels->fence();
    if (memcmp(to, expected, AREA_BYTES) != 0) fail_msg("%d bytes to %d", (int)size, (int)dst_at);
  }
  drop_area(from);
  drop_area(to);
}

TEST(streamed_bytes_are_exact_at_every_level) {
  for_each_level(check_stream);
}

/* Beyond the length from which several pages are streamed at a time. */
TEST(very_long_stretches_are_streamed_whole) {
  const size_t size = ((size_t)96 << 20) + 4 * 4096 + 77;
  char *from = mmap(NULL, size + 3, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char *to = mmap(NULL, size + 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(from != MAP_FAILED && to != MAP_FAILED);
  for (size_t i = 0; i < size; i += 61) from[3 + i] = (char)(i / 61 % 251 + 1);
  const tarn__row_kernels *kernels = tarn__row_kernels_now();
  tarn__row_stream(kernels, to + 5, from + 3, size);
  kernels->fence();
  assert_true(memcmp(to + 5, from + 3, size) == 0);
  assert_int_equal(to[4], 0);
  assert_int_equal(to[size + 5], 0);
  munmap(from, size + 3);
  munmap(to, size + 8);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
