/* test_npy_save.c: tests of tensor/npy_save.c: the bytes, and what is left where writing fails. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_npy.h"
#include "tests/support/manual_stream.h"
#include "tests/support/pools.h"
#include "tests/tensor/fake_device.h"

static char folder[64], path[128];
static tarn_pool *pool;

static int start(void **state) {
  (void)state;
  tarn_provider *provider;
  strcpy(folder, "/tmp/tarn_npy_XXXXXX");
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/array.npy", folder);
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  pool = pool_over(provider, NULL);
  fake_device_start();
  return 0;
}

static int stop(void **state) {
  (void)state;
  unlink(path);
  assert_int_equal(rmdir(folder), 0); /* nothing else lies there */
  tarn_pool_release(pool);
  return 0;
}

static size_t read_file(char *bytes, size_t size_max) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  const size_t size = fread(bytes, 1, size_max, file);
  fclose(file);
  return size;
}

static int entries(void) {
  struct dirent **found;
  const int count = scandir(folder, &found, NULL, NULL);
  for (int i = 0; i < count; i++) free(found[i]);
  free(found);
  return count - 2;
}

/* rank sizes; elements count up from 0. */
static tarn_tensor counting(int32_t rank, const int64_t *shape) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_I32, rank, shape, NULL, &tensor));
  int32_t *numbers = tarn_tensor_data_mutable(&tensor);
  for (int32_t i = 0; i < tarn_tensor_element_count(&tensor); i++) numbers[i] = i;
  return tensor;
}

/* What is read back is a tensor of the same shape with the same elements at the same indices. */
static void assert_reads_back(const tarn_tensor *tensor) {
  tarn_tensor read, packed, packed_read;
  assert_ok(tarn_npy_open(path, NULL, &read));
  assert_true(tarn_layout_same_shape(&read.layout, &tensor->layout));
  assert_ok(tarn_tensor_create(pool, tensor->dtype, tensor->layout.rank, tensor->layout.shape, NULL,
                               &packed));
  assert_ok(tarn_tensor_create(pool, tensor->dtype, tensor->layout.rank, tensor->layout.shape, NULL,
                               &packed_read));
  assert_ok(tarn_tensor_copy(&packed, tensor, NULL, NULL));
  assert_ok(tarn_tensor_copy(&packed_read, &read, NULL, NULL));
  if (tarn_tensor_size_bytes(&packed) > 0) {
    assert_memory_equal(tarn_tensor_data(&packed), tarn_tensor_data(&packed_read),
                        tarn_tensor_size_bytes(&packed));
  }
  tarn_tensor_release(&read);
  tarn_tensor_release(&packed);
  tarn_tensor_release(&packed_read);
}

/* --- the bytes --- */

TEST(a_file_is_what_numpy_writes) {
  char bytes[256], wanted[256] = "\x93NUMPY\x01\x00\x76\x00";
  tarn_tensor tensor = counting(2, (const int64_t[]){2, 3});
  snprintf(wanted + 10, sizeof wanted - 10, "%-117s\n",
           "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }");
  memcpy(wanted + 128, tarn_tensor_data(&tensor), 24);
  assert_ok(tarn_npy_save(&tensor, path, NULL, NULL));
  assert_int_equal(read_file(bytes, sizeof bytes), 128 + 24);
  assert_memory_equal(bytes, wanted, 128 + 24);

  assert_ok(tarn_tensor_transpose(&tensor, 0, 1));
  snprintf(wanted + 10, sizeof wanted - 10, "%-117s\n",
           "{'descr': '<i4', 'fortran_order': True, 'shape': (3, 2), }");
  memcpy(wanted + 128, tarn_storage_data(tensor.storage), 24);
  assert_ok(tarn_npy_save(&tensor, path, NULL, NULL));
  assert_int_equal(read_file(bytes, sizeof bytes), 128 + 24);
  assert_memory_equal(bytes, wanted, 128 + 24);
  tarn_tensor_release(&tensor);
}

TEST(any_strides_are_written_in_order) {
  tarn_tensor tensor = counting(3, (const int64_t[]){4, 5, 6}), view = tensor;
  assert_ok(tarn_npy_save(&view, path, NULL, NULL));
  assert_reads_back(&view);
  assert_ok(tarn_tensor_slice(&view, 1, 4, TARN_SLICE_OPEN, -2));
  assert_ok(tarn_npy_save(&view, path, NULL, NULL));
  assert_reads_back(&view);
  assert_ok(tarn_tensor_transpose(&view, 0, 2));
  assert_ok(tarn_npy_save(&view, path, NULL, NULL));
  assert_reads_back(&view);
  assert_ok(tarn_tensor_select(&view, 0, 3));
  assert_ok(tarn_tensor_expand(&view, 3, (const int64_t[]){7, 3, 4}));
  assert_ok(tarn_npy_save(&view, path, NULL, NULL));
  assert_reads_back(&view);
  tarn_tensor_release(&tensor);
}

TEST(a_scalar_and_an_empty_tensor_are_written) {
  char bytes[256];
  tarn_tensor tensor = counting(2, (const int64_t[]){2, 3}), view = tensor;
  assert_ok(tarn_tensor_narrow(&view, 1, 3, 0));
  assert_ok(tarn_npy_save(&view, path, NULL, NULL));
  assert_int_equal(read_file(bytes, sizeof bytes), 128);
  assert_reads_back(&view);
  view = tensor;
  assert_ok(tarn_tensor_select(&view, 0, 1));
  assert_ok(tarn_tensor_select(&view, 0, 2));
  assert_ok(tarn_npy_save(&view, path, NULL, NULL));
  assert_int_equal(read_file(bytes, sizeof bytes), 128 + 4);
  assert_int_equal(bytes[128], 5);
  tarn_tensor_release(&tensor);
}

/* Rows longer than what is gathered at a time, rows that do not divide it, and many small ones. */
TEST(a_tensor_of_several_chunks_is_written_whole) {
  static const int64_t shapes[][3] = {{2, 1500001, 1}, {7, 3, 150001}, {1000, 3, 1001}, {3, 2, 1}};
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    tarn_tensor tensor = counting(3, shapes[i]), view = tensor;
    assert_ok(tarn_tensor_permute(&view, 3, (const int32_t[]){1, 0, 2}));
    assert_ok(tarn_npy_save(&view, path, NULL, NULL));
    assert_reads_back(&view);
    tarn_tensor_release(&tensor);
  }
}

TEST(a_device_tensor_is_written_by_way_of_the_host) {
  tarn_pool *device_pool = fake_device_pool_create();
  tarn_stream *stream = fake_device_stream_create();
  tarn_tensor host = counting(2, (const int64_t[]){40, 50}), device;
  assert_ok(tarn_tensor_create(device_pool, TARN_I32, 2, host.layout.shape, stream, &device));
  assert_ok(tarn_tensor_copy(&device, &host, stream, NULL));
  assert_ok(tarn_npy_save(&device, path, stream, NULL));
  assert_reads_back(&host);
  assert_ok(tarn_tensor_transpose(&device, 0, 1));
  assert_ok(tarn_tensor_transpose(&host, 0, 1));
  assert_ok(tarn_tensor_slice(&device, 0, 0, TARN_SLICE_OPEN, 3));
  assert_ok(tarn_tensor_slice(&host, 0, 0, TARN_SLICE_OPEN, 3));
  assert_ok(tarn_npy_save(&device, path, stream, NULL));
  assert_reads_back(&host);
  tarn_tensor_release(&device);
  tarn_tensor_release(&host);
  tarn_stream_release(stream);
  tarn_pool_release(device_pool);
}

TEST(what_the_stream_still_writes_is_waited_for) {
  tarn_stream *stream;
  assert_ok(manual_stream_create(&stream));
  tarn_tensor from = counting(1, (const int64_t[]){6});
  tarn_tensor to;
  assert_ok(tarn_tensor_create(pool, TARN_I32, 1, from.layout.shape, NULL, &to));
  memset(tarn_tensor_data_mutable(&to), 0xff, 24);
  for (int is_strided = 0; is_strided < 2; is_strided++) {
    if (is_strided) assert_ok(tarn_tensor_slice(&to, 0, 5, TARN_SLICE_OPEN, -1));
    assert_ok(tarn_tensor_copy(&to, &from, stream, NULL));
    assert_ok(tarn_npy_save(&to, path, stream, NULL));
    assert_reads_back(&from);
  }
  tarn_tensor_release(&from);
  tarn_tensor_release(&to);
  tarn_stream_release(stream);
}

TEST(bfloat16_comes_back_as_bfloat16) {
  tarn_tensor tensor, read;
  assert_ok(tarn_tensor_create(pool, TARN_BF16, 1, (const int64_t[]){4}, NULL, &tensor));
  memset(tarn_tensor_data_mutable(&tensor), 0x3f, 8);
  assert_ok(tarn_npy_save(&tensor, path, NULL, NULL));
  assert_ok(tarn_npy_open(path, NULL, &read));
  assert_true(tarn_dtype_equal(read.dtype, TARN_BF16));
  tarn_tensor_release(&read);
  tarn_tensor_release(&tensor);
}

/* --- the file --- */

TEST(a_file_is_replaced_whole_and_nothing_else_is_left) {
  const tarn_npy_save_options options = {.struct_size = sizeof options, .flags = TARN_NPY_SYNC};
  tarn_tensor tensor = counting(1, (const int64_t[]){100}), mapped;
  assert_ok(tarn_npy_save(&tensor, path, NULL, &options));
  assert_ok(tarn_npy_open(path, NULL, &mapped));
  assert_int_equal(entries(), 1);
  assert_ok(tarn_tensor_narrow(&tensor, 0, 50, 3));
  assert_ok(tarn_npy_save(&tensor, path, NULL, &options));
  assert_int_equal(entries(), 1);
  assert_reads_back(&tensor);
  /* Who had the old file mapped has it still. */
  assert_int_equal(((const int32_t *)tarn_tensor_data(&mapped))[99], 99);
  tarn_tensor_release(&mapped);
  tarn_tensor_release(&tensor);
}

TEST(a_file_keeps_its_permissions) {
  struct stat about;
  tarn_tensor tensor = counting(1, (const int64_t[]){3});
  unlink(path);
  const mode_t mask = umask(027);
  assert_ok(tarn_npy_save(&tensor, path, NULL, NULL));
  umask(mask);
  assert_int_equal(stat(path, &about), 0);
  assert_int_equal(about.st_mode & 0777, 0640);
  assert_int_equal(chmod(path, 0600), 0);
  assert_ok(tarn_npy_save(&tensor, path, NULL, NULL));
  assert_int_equal(stat(path, &about), 0);
  assert_int_equal(about.st_mode & 0777, 0600);
  tarn_tensor_release(&tensor);
}

/* A full disk, as far as the writer can tell. */
TEST(a_write_that_fails_leaves_the_old_file) {
  struct rlimit before, small;
  tarn_tensor old = counting(1, (const int64_t[]){3}), large = counting(1, (const int64_t[]){9000});
  assert_ok(tarn_npy_save(&old, path, NULL, NULL));
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = (struct rlimit){.rlim_cur = 8192, .rlim_max = before.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  for (int is_strided = 0; is_strided < 2; is_strided++) {
    if (is_strided) assert_ok(tarn_tensor_slice(&large, 0, 8999, TARN_SLICE_OPEN, -1));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const tarn_status status = tarn_npy_save(&large, path, NULL, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, TARN_SYSTEM_ERROR);
    assert_int_equal(tarn_last_error()->native_code, EFBIG);
    assert_string_equal(tarn_last_error()->native_call, "write");
    assert_int_equal(entries(), 1);
    assert_reads_back(&old);
  }
  signal(SIGXFSZ, SIG_DFL);
  tarn_tensor_release(&old);
  tarn_tensor_release(&large);
}

TEST(what_is_no_file_is_not_replaced) {
  struct stat about;
  tarn_tensor tensor = counting(1, (const int64_t[]){3});
  assert_status(tarn_npy_save(&tensor, "/dev/full", NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(stat("/dev/full", &about), 0);
  assert_true(S_ISCHR(about.st_mode));
  assert_status(tarn_npy_save(&tensor, folder, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_save(&tensor, "/nowhere/array.npy", NULL, NULL), TARN_NOT_FOUND);
  assert_status(tarn_npy_save(&tensor, "/proc/array.npy", NULL, NULL), TARN_NOT_FOUND);
  tarn_tensor_release(&tensor);
}

TEST(wrong_arguments_are_refused) {
  char long_path[5000];
  tarn_tensor tensor = counting(1, (const int64_t[]){6}), none = {0}, wrong = tensor;
  tarn_npy_save_options options = {.struct_size = sizeof options, .flags = 2};
  unlink(path);
  assert_status(tarn_npy_save(&tensor, path, NULL, &options), TARN_INVALID_ARGUMENT);
  options.struct_size = 1;
  assert_status(tarn_npy_save(&tensor, path, NULL, &options), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_save(NULL, path, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_save(&none, path, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_save(&tensor, NULL, NULL, NULL), TARN_INVALID_ARGUMENT);
  wrong.dtype = tarn_dtype_make(TARN_CODE_INT, 16, 2);
  assert_status(tarn_npy_save(&wrong, path, NULL, NULL), TARN_NOT_SUPPORTED);
  wrong = tensor;
  wrong.layout.shape[0] = 7;
  assert_status(tarn_npy_save(&wrong, path, NULL, NULL), TARN_INVALID_ARGUMENT);
  wrong.layout = (tarn_layout){.rank = 1, .shape = {5}, .strides = {INT64_C(1) << 62}}; /* wraps */
  assert_status(tarn_npy_save(&wrong, path, NULL, NULL), TARN_INVALID_ARGUMENT);
  wrong.layout.rank = INT32_MAX;
  assert_status(tarn_npy_save(&wrong, path, NULL, NULL), TARN_INVALID_ARGUMENT);
  wrong = tensor;
  assert_ok(tarn_tensor_select(&wrong, 0, 0));
  assert_ok(tarn_tensor_expand(&wrong, 2, (const int64_t[]){INT64_C(1) << 31, INT64_C(1) << 31}));
  assert_status(tarn_npy_save(&wrong, path, NULL, NULL), TARN_TOO_LARGE);
  memset(long_path, 'a', sizeof long_path - 1);
  long_path[sizeof long_path - 1] = '\0';
  for (size_t i = 0; i < sizeof long_path - 1; i += 100) long_path[i] = '/';
  assert_status(tarn_npy_save(&tensor, long_path, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(entries(), 0);
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(start, stop);
}
