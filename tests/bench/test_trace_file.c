/* test_trace_file.c: traces from files: plain, gzip, cut short, damaged, and no trace at all. */
#include "bench/trace_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/test.h"
#include <zlib.h>

enum { EVENT_PAIRS = 20000, TEXT_BYTES_MAX = EVENT_PAIRS * 40 };

typedef struct fixture {
  char folder[64];
  char path[128];
  char *text; /* a long trace */
  size_t text_bytes;
} fixture;

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  strcpy(f->folder, "/tmp/tarn_trace_XXXXXX");
  assert_non_null(mkdtemp(f->folder));
  f->text = malloc(TEXT_BYTES_MAX);
  assert_non_null(f->text);
  f->text_bytes = (size_t)sprintf(f->text, "op,id,bytes\n");
  for (int i = 0; i < EVENT_PAIRS; i++) {
    const int bytes = i * 7919 % 100003; /* not too easy to pack */
    f->text_bytes +=
        (size_t)sprintf(f->text + f->text_bytes, "a,%d,%d\nf,%d,%d\n", i, bytes, i, bytes);
  }
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;
  unlink(f->path);
  rmdir(f->folder);
  free(f->text);
  free(f);
  return 0;
}

static void write_file(fixture *f, const char *name, const void *bytes, size_t size_bytes) {
  unlink(f->path);
  snprintf(f->path, sizeof f->path, "%s/%s", f->folder, name);
  FILE *file = fopen(f->path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, size_bytes, file), size_bytes);
  assert_int_equal(fclose(file), 0);
}

/* The long trace as gzip; the caller frees it. */
static unsigned char *packed(const fixture *f, size_t *packed_bytes) {
  char path[128];
  snprintf(path, sizeof path, "%s/packed", f->folder);
  gzFile file = gzopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(gzwrite(file, f->text, (unsigned)f->text_bytes), f->text_bytes);
  assert_int_equal(gzclose(file), Z_OK);
  FILE *raw = fopen(path, "rb");
  assert_non_null(raw);
  unsigned char *bytes = malloc(TEXT_BYTES_MAX);
  assert_non_null(bytes);
  *packed_bytes = fread(bytes, 1, TEXT_BYTES_MAX, raw);
  fclose(raw);
  unlink(path);
  return bytes;
}

static void expect_message(const fixture *f, tarn_status status, const char *message) {
  recorded_trace trace;
  assert_int_equal(trace_read_file(f->path, &trace), status);
  assert_null(trace.events);
  assert_non_null(strstr(tarn_last_error()->message, message));
}

TEST_WITH(plain_and_packed_files_read_the_same, set_up, tear_down) {
  fixture *f = *state;
  size_t packed_bytes = 0;
  unsigned char *bytes = packed(f, &packed_bytes);
  recorded_trace trace;
  write_file(f, "plain.csv", f->text, f->text_bytes);
  assert_int_equal(trace_read_file(f->path, &trace), TARN_OK);
  assert_int_equal(trace.event_count, 2 * EVENT_PAIRS);
  const uint64_t total_bytes = trace.total_bytes;
  trace_deinit(&trace);
  write_file(f, "packed.csv.gz", bytes, packed_bytes);
  assert_int_equal(trace_read_file(f->path, &trace), TARN_OK);
  assert_int_equal(trace.event_count, 2 * EVENT_PAIRS);
  assert_int_equal(trace.total_bytes, total_bytes);
  trace_deinit(&trace);
  free(bytes);
}

TEST_WITH(truncated_gzip_names_the_line_it_reached, set_up, tear_down) {
  fixture *f = *state;
  size_t packed_bytes = 0;
  unsigned char *bytes = packed(f, &packed_bytes);
  static const int tenths[] = {1, 5, 9};
  int line_before = 0;
  for (size_t i = 0; i < 3; i++) {
    write_file(f, "cut.csv.gz", bytes, packed_bytes * (size_t)tenths[i] / 10);
    recorded_trace trace;
    assert_int_equal(trace_read_file(f->path, &trace), TARN_BAD_FORMAT);
    const char *message = tarn_last_error()->message;
    assert_non_null(strstr(message, "the gzip data ends too early"));
    int line = 0;
    assert_int_equal(sscanf(message + strlen(f->path), ":%d:", &line), 1);
    assert_true(line > line_before && line < 2 * EVENT_PAIRS + 2);
    line_before = line;
  }
  /* Without its last byte only the checksum is short, and every line was read. */
  write_file(f, "cut.csv.gz", bytes, packed_bytes - 1);
  char last_line[32];
  snprintf(last_line, sizeof last_line, ":%d: the gzip", 2 * EVENT_PAIRS + 2);
  expect_message(f, TARN_BAD_FORMAT, last_line);
  free(bytes);
}

TEST_WITH(damaged_gzip_is_told_from_a_short_one, set_up, tear_down) {
  fixture *f = *state;
  size_t packed_bytes = 0;
  unsigned char *bytes = packed(f, &packed_bytes);
  bytes[packed_bytes - 6] ^= 0xFF; /* of the checksum */
  write_file(f, "damaged.csv.gz", bytes, packed_bytes);
  expect_message(f, TARN_BAD_FORMAT, "the gzip data is damaged");
  free(bytes);
}

TEST_WITH(plain_text_named_gz_is_refused, set_up, tear_down) {
  fixture *f = *state;
  write_file(f, "plain.csv.gz", f->text, f->text_bytes);
  expect_message(f, TARN_BAD_FORMAT, "plain.csv.gz:1: not gzip data, though the name ends in .gz");
  write_file(f, "empty.csv.gz", "", 0);
  expect_message(f, TARN_BAD_FORMAT, "empty.csv.gz:1: ");
}

TEST_WITH(binary_and_empty_files_are_refused, set_up, tear_down) {
  fixture *f = *state;
  write_file(f, "binary.csv", "\x7f\x45LF\0\0\1\n", 8);
  expect_message(f, TARN_BAD_FORMAT, "binary.csv:1: no header: expected op,id,bytes and found '?E");
  write_file(f, "empty.csv", "", 0);
  expect_message(f, TARN_BAD_FORMAT, "empty.csv:1: the file is empty");
}

TEST_WITH(missing_file_and_folder_are_named, set_up, tear_down) {
  fixture *f = *state;
  snprintf(f->path, sizeof f->path, "%s/none.csv", f->folder);
  expect_message(f, TARN_NOT_FOUND, "none.csv: No such file");
  recorded_trace trace;
  assert_int_equal(trace_read_file(f->folder, &trace), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "is a directory"));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
