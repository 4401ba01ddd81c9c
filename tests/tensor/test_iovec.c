/* test_iovec.c: tests of tensor/iovec.c: entries for writev and readv of any strided tensor. */
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "alloc/tarn_host_stream.h"
#include "tensor/tarn_iovec.h"

enum { CELLS = 4096 };
static uint16_t cells[CELLS]; /* each its own number */

static int number_cells(void **state) {
  (void)state;
  for (size_t i = 0; i < CELLS; i++) cells[i] = (uint16_t)i;
  return 0;
}

/* Counts what the deleter is for. */
static int deleted_count;
static void count_delete(void *context) {
  (void)context;
  deleted_count++;
}

static tarn_tensor wrap_cells(int32_t rank, const int64_t *shape, const int64_t *strides,
                              int64_t offset, uint32_t flags) {
  tarn_tensor tensor;
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = cells,
                          .size_bytes = sizeof cells,
                          .flags = flags,
                          .deleter = count_delete};
  deleted_count = 0;
  assert_ok(tarn_tensor_wrap(&blob, TARN_U16, rank, shape, strides, (size_t)offset * 2, &tensor));
  return tensor;
}

static void release(tarn_tensor *tensor) {
  tarn_tensor_release(tensor);
  assert_int_equal(deleted_count, 1);
}

/* The model: elements one by one, and how often the next one does not follow in memory. */
static size_t list_elements(const tarn_tensor *tensor, uint16_t *values, size_t *run_count) {
  const tarn_layout *layout = &tensor->layout;
  const int64_t total = tarn_layout_element_count(layout);
  int64_t before = -2;
  *run_count = 0;
  for (int64_t number = 0; number < total; number++) {
    int64_t left = number, at = layout->offset;
    for (int32_t dim = layout->rank - 1; dim >= 0; dim--) {
      at += left % layout->shape[dim] * layout->strides[dim];
      left /= layout->shape[dim];
    }
    values[number] = cells[at];
    *run_count += at != before + 1;
    before = at;
  }
  return (size_t)total;
}

/* Takes `pace` entries and `bite` bytes at a time, and answers how many entries there were. */
static size_t walk_all(const tarn_tensor *tensor, int pace, size_t bite, uint16_t *values) {
  tarn_iovec_walk walk;
  struct iovec entries[TARN_IOVEC_MAX];
  unsigned char *to = (unsigned char *)values;
  size_t entry_count = 0;
  assert_ok(tarn_iovec_begin(tensor, TARN_IOVEC_READ, NULL, &walk));
  while (walk.done_bytes < walk.total_bytes) {
    const int count = tarn_iovec_fill(&walk, entries, pace);
    assert_in_range(count, 1, pace);
    size_t taken = 0;
    for (int i = 0; i < count && taken < bite; i++) {
      const size_t piece = entries[i].iov_len < bite - taken ? entries[i].iov_len : bite - taken;
      memcpy(to, entries[i].iov_base, piece);
      to += piece;
      taken += piece;
    }
    entry_count += (size_t)count;
    tarn_iovec_advance(&walk, taken);
  }
  assert_int_equal(tarn_iovec_fill(&walk, entries, pace), 0);
  return entry_count;
}

static void check_tensor(const tarn_tensor *tensor) {
  static uint16_t expected[1 << 16], values[1 << 16];
  size_t run_count;
  const size_t count = list_elements(tensor, expected, &run_count);
  assert_true(count <= COUNT_OF(values));
  static const size_t bites[] = {SIZE_MAX, 1, 3, 7, 64};
  for (size_t i = 0; i < COUNT_OF(bites); i++) {
    memset(values, 0xff, count * sizeof *values);
    const size_t entries = walk_all(tensor, TARN_IOVEC_MAX, bites[i], values);
    assert_memory_equal(values, expected, count * sizeof *values);
    if (i == 0 && run_count <= TARN_IOVEC_MAX) assert_int_equal(entries, run_count);
  }
  memset(values, 0xff, count * sizeof *values);
  (void)walk_all(tensor, 2, SIZE_MAX, values);
  assert_memory_equal(values, expected, count * sizeof *values);
}

/* --- the entries --- */

TEST(a_contiguous_tensor_is_one_entry_of_its_own_memory) {
  tarn_tensor tensor = wrap_cells(3, (int64_t[]){4, 5, 6}, NULL, 10, 0);
  tarn_iovec_walk walk;
  struct iovec entry;
  assert_ok(tarn_iovec_begin(&tensor, TARN_IOVEC_READ, NULL, &walk));
  assert_int_equal(tarn_iovec_fill(&walk, &entry, 1), 1);
  assert_ptr_equal(entry.iov_base, cells + 10); /* no copy */
  assert_int_equal(entry.iov_len, 240);
  assert_int_equal(walk.total_bytes, 240);
  check_tensor(&tensor);
  release(&tensor);
}

TEST(padded_rows_are_an_entry_each) {
  tarn_tensor tensor = wrap_cells(3, (int64_t[]){7, 5, 3}, (int64_t[]){20, 3, 1}, 0, 0);
  tarn_iovec_walk walk;
  struct iovec entries[16];
  assert_ok(tarn_iovec_begin(&tensor, TARN_IOVEC_READ, NULL, &walk));
  assert_int_equal(tarn_iovec_fill(&walk, entries, 16), 7);
  for (int row = 0; row < 7; row++) {
    assert_ptr_equal(entries[row].iov_base, cells + row * 20);
    assert_int_equal(entries[row].iov_len, 30);
  }
  check_tensor(&tensor);
  release(&tensor);
}

TEST(flipped_turned_and_broadcast_tensors_come_in_order) {
  tarn_tensor flipped = wrap_cells(2, (int64_t[]){6, 8}, (int64_t[]){-8, 1}, 40, 0);
  check_tensor(&flipped);
  release(&flipped);
  tarn_tensor backwards = wrap_cells(2, (int64_t[]){6, 8}, (int64_t[]){-8, -1}, 47, 0);
  check_tensor(&backwards);
  release(&backwards);
  tarn_tensor turned = wrap_cells(2, (int64_t[]){8, 6}, (int64_t[]){1, 8}, 0, 0);
  check_tensor(&turned);
  release(&turned);
  tarn_tensor broadcast = wrap_cells(3, (int64_t[]){3, 4, 5}, (int64_t[]){0, 5, 1}, 0, 0);
  check_tensor(&broadcast);
  release(&broadcast);
}

TEST(rows_that_meet_by_chance_are_one_entry) {
  /* 0, 5, 6, 11: the first row's end and the second one's beginning follow each other. */
  tarn_tensor tensor = wrap_cells(2, (int64_t[]){2, 2}, (int64_t[]){6, 5}, 0, 0);
  tarn_iovec_walk walk;
  struct iovec entries[4];
  assert_ok(tarn_iovec_begin(&tensor, TARN_IOVEC_READ, NULL, &walk));
  assert_int_equal(tarn_iovec_fill(&walk, entries, 4), 3);
  assert_int_equal(entries[1].iov_len, 4);
  check_tensor(&tensor);
  release(&tensor);
}

TEST(scalars_and_empty_tensors_are_walks_too) {
  tarn_tensor scalar = wrap_cells(0, NULL, NULL, 33, 0);
  check_tensor(&scalar);
  release(&scalar);
  tarn_tensor empty = wrap_cells(3, (int64_t[]){3, 0, 5}, (int64_t[]){7, 1, -9}, 0, 0);
  tarn_iovec_walk walk;
  struct iovec entry;
  assert_ok(tarn_iovec_begin(&empty, TARN_IOVEC_READ, NULL, &walk));
  assert_int_equal(walk.total_bytes, 0);
  assert_int_equal(tarn_iovec_fill(&walk, &entry, 1), 0);
  assert_ok(tarn_iovec_write_to(&walk, -1, -1)); /* nothing to be written anywhere */
  release(&empty);
}

TEST(any_layout_comes_in_the_fewest_entries) {
  uint64_t random = 42;
  for (int round = 0; round < 400; round++) {
    const int32_t rank = (int32_t)(test_random(&random) % 5);
    int64_t shape[5], strides[5], low = 0, high = 0;
    for (int32_t dim = 0; dim < rank; dim++) {
      shape[dim] = 1 + (int64_t)(test_random(&random) % 5);
      strides[dim] = (int64_t)(test_random(&random) % 41) - 20;
      const int64_t reach = (shape[dim] - 1) * strides[dim];
      *(reach < 0 ? &low : &high) += reach;
    }
    assert_true(high - low < CELLS);
    tarn_tensor tensor = wrap_cells(rank, shape, strides, -low, 0);
    check_tensor(&tensor);
    release(&tensor);
  }
}

/* --- refusals --- */

TEST(what_cannot_be_walked_is_refused) {
  tarn_iovec_walk walk;
  tarn_tensor none = {0}, tensor = wrap_cells(1, (int64_t[]){8}, NULL, 0, TARN_STORAGE_READ_ONLY);
  assert_status(tarn_iovec_begin(&none, TARN_IOVEC_READ, NULL, &walk), TARN_INVALID_ARGUMENT);
  assert_status(tarn_iovec_begin(NULL, TARN_IOVEC_READ, NULL, &walk), TARN_INVALID_ARGUMENT);
  assert_status(tarn_iovec_begin(&tensor, TARN_IOVEC_READ, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_iovec_begin(&tensor, (tarn_iovec_access)2, NULL, &walk),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_iovec_begin(&tensor, TARN_IOVEC_WRITE, NULL, &walk), TARN_READ_ONLY);
  assert_int_equal(walk.total_bytes, 0);
  assert_ok(tarn_iovec_begin(&tensor, TARN_IOVEC_READ, NULL, &walk));
  assert_status(tarn_iovec_read_from(&walk, 0, -1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_iovec_write_to(&walk, 0, -2), TARN_TOO_LARGE);
  assert_status(tarn_iovec_write_to(&walk, 0, INT64_MAX), TARN_TOO_LARGE);
  assert_status(tarn_iovec_write_to(NULL, 0, -1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_iovec_write_to(&walk, -1, -1), TARN_SYSTEM_ERROR);
  assert_int_equal(tarn_last_error()->native_code, EBADF);
  release(&tensor);

  tarn_tensor twice = wrap_cells(2, (int64_t[]){4, 4}, (int64_t[]){1, 1}, 0, 0);
  assert_status(tarn_iovec_begin(&twice, TARN_IOVEC_WRITE, NULL, &walk), TARN_OVERLAP);
  release(&twice);

  tarn_tensor huge = wrap_cells(2, (int64_t[]){INT64_MAX / 4, 4}, (int64_t[]){0, 1}, 0, 0);
  assert_status(tarn_iovec_begin(&huge, TARN_IOVEC_READ, NULL, &walk), TARN_TOO_LARGE);
  release(&huge);

  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = cells,
                          .size_bytes = sizeof cells,
                          .device = {TARN_DEVICE_CUDA, 0}};
  tarn_tensor of_device;
  assert_ok(tarn_tensor_wrap(&blob, TARN_U16, 1, (int64_t[]){8}, NULL, 0, &of_device));
  assert_status(tarn_iovec_begin(&of_device, TARN_IOVEC_READ, NULL, &walk), TARN_NOT_SUPPORTED);
  tarn_tensor_release(&of_device);
}

/* --- system calls --- */

static int make_file(void) {
  const int file = memfd_create("tarn_iovec", MFD_CLOEXEC);
  assert_true(file >= 0);
  return file;
}

TEST(a_tensor_of_many_runs_goes_to_a_file_and_comes_back) {
  enum { ROWS = 1500 };
  static uint16_t back[ROWS * 3];
  tarn_tensor source = wrap_cells(2, (int64_t[]){ROWS, 1}, (int64_t[]){2, 1}, 1, 0), target;
  const tarn_blob blob = {.struct_size = sizeof blob, .address = back, .size_bytes = sizeof back};
  tarn_iovec_walk walk;
  const int file = make_file();
  assert_ok(tarn_iovec_begin(&source, TARN_IOVEC_READ, NULL, &walk));
  assert_ok(tarn_iovec_write_to(&walk, file, 100)); /* more than one call takes */
  assert_int_equal(walk.done_bytes, ROWS * 2);
  assert_int_equal(lseek(file, 0, SEEK_END), 100 + ROWS * 2);
  assert_ok(tarn_tensor_wrap(&blob, TARN_U16, 1, (int64_t[]){ROWS}, (int64_t[]){3}, 0, &target));
  assert_ok(tarn_iovec_begin(&target, TARN_IOVEC_WRITE, NULL, &walk));
  assert_ok(tarn_iovec_read_from(&walk, file, 100));
  for (int row = 0; row < ROWS; row++) assert_int_equal(back[3 * row], 2 * row + 1);
  assert_int_equal(back[1], 0); /* between the runs nothing is written */
  tarn_tensor_release(&target);
  release(&source);
  close(file);
}

TEST(a_short_write_goes_on_where_it_stopped) {
  static unsigned char got[1 << 17];
  int ends[2];
  assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  /* More bytes than a pipe holds, in entries of 18. */
  tarn_tensor tensor =
      wrap_cells(3, (int64_t[]){16, 400, 9}, (int64_t[]){0, 10, 1}, 0, TARN_STORAGE_READ_ONLY);
  const size_t total = tarn_tensor_size_bytes(&tensor);
  tarn_iovec_walk walk;
  size_t got_bytes = 0;
  int refusals = 0;
  assert_true(total > 65536 && total <= sizeof got);
  assert_ok(tarn_iovec_begin(&tensor, TARN_IOVEC_READ, NULL, &walk));
  for (;;) {
    const tarn_status status = tarn_iovec_write_to(&walk, ends[1], -1);
    refusals += status != TARN_OK;
    if (status != TARN_OK) assert_status(status, TARN_NOT_READY);
    ssize_t count; /* an odd number, so that the next write begins within an entry */
    while ((count = read(ends[0], got + got_bytes, 8191)) > 0) got_bytes += (size_t)count;
    assert_int_equal(got_bytes, walk.done_bytes);
    if (status == TARN_OK) break;
  }
  assert_true(refusals > 0);
  assert_int_equal(got_bytes, total);
  for (size_t i = 0; i < total / 2; i++) {
    const uint16_t expected = cells[i / 9 % 400 * 10 + i % 9];
    assert_memory_equal(got + 2 * i, &expected, 2);
  }
  release(&tensor);
  close(ends[0]);
  close(ends[1]);
}

TEST(a_file_that_ends_early_says_where) {
  static uint16_t back[50];
  const tarn_blob blob = {.struct_size = sizeof blob, .address = back, .size_bytes = sizeof back};
  tarn_iovec_walk walk;
  tarn_tensor target;
  const int file = make_file();
  assert_int_equal(write(file, cells, 31), 31);
  assert_ok(tarn_tensor_wrap(&blob, TARN_U16, 1, (int64_t[]){25}, (int64_t[]){2}, 0, &target));
  assert_ok(tarn_iovec_begin(&target, TARN_IOVEC_WRITE, NULL, &walk));
  assert_status(tarn_iovec_read_from(&walk, file, 0), TARN_BAD_FORMAT);
  assert_int_equal(walk.done_bytes, 31);
  assert_non_null(strstr(tarn_last_error()->message, "behind 31 of 50 bytes"));
  assert_int_equal(back[28], cells[14]);
  assert_status(tarn_iovec_read_from(&walk, STDERR_FILENO, INT64_MAX), TARN_TOO_LARGE);
  tarn_tensor_release(&target);
  close(file);
}

static void nothing_to_do(int signal_number) {
  (void)signal_number;
}

TEST(a_signal_is_told_and_loses_nothing) {
  static uint16_t back[4];
  const tarn_blob blob = {.struct_size = sizeof blob, .address = back, .size_bytes = sizeof back};
  /* It comes again and again, for it might come before the read. */
  const struct itimerval soon = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  const struct sigaction action = {.sa_handler = nothing_to_do};
  struct sigaction before;
  tarn_iovec_walk walk;
  tarn_tensor target;
  int ends[2];
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  assert_ok(tarn_tensor_wrap(&blob, TARN_U16, 1, (int64_t[]){4}, NULL, 0, &target));
  assert_ok(tarn_iovec_begin(&target, TARN_IOVEC_WRITE, NULL, &walk));
  assert_int_equal(write(ends[1], cells, 3), 3);
  assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
  assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
  const tarn_status status = tarn_iovec_read_from(&walk, ends[0], -1);
  assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
  assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
  assert_status(status, TARN_NOT_READY);
  assert_int_equal(tarn_last_error()->native_code, EINTR);
  assert_int_equal(write(ends[1], (const char *)cells + 3, 5), 5);
  assert_ok(tarn_iovec_read_from(&walk, ends[0], -1));
  assert_memory_equal(back, cells, sizeof back);
  tarn_tensor_release(&target);
  close(ends[0]);
  close(ends[1]);
}

/* --- order --- */

static void write_cell(void *context) {
  (void)context;
  cells[0] = 0x7777;
}

TEST(a_walk_begins_behind_the_streams_work) {
  tarn_stream *worker;
  tarn_iovec_walk walk;
  struct iovec entry;
  assert_ok(tarn_worker_stream_create(&worker));
  tarn_tensor tensor = wrap_cells(1, (int64_t[]){1}, NULL, 0, 0);
  assert_ok(tarn_stream_call(worker, write_cell, NULL));
  assert_ok(tarn_iovec_begin(&tensor, TARN_IOVEC_READ, worker, &walk));
  assert_int_equal(tarn_iovec_fill(&walk, &entry, 1), 1);
  assert_int_equal(*(const uint16_t *)entry.iov_base, 0x7777);
  cells[0] = 0;
  release(&tensor);
  tarn_stream_release(worker);
}

int main(void) {
  return run_listed_tests(number_cells, NULL);
}
