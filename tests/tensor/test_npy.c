/* test_npy.c: tests of tensor/npy.c: files as mapped tensors, and as memory of a pool. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "tensor/tarn_npy.h"
#include "tests/support/pools.h"
#include "tests/tensor/fake_device.h"
#include "tests/tensor/npy_image.h"

#define SIX_FLOATS "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"

static npy_image image;
static tarn_pool *pool;
static const float floats[6] = {0, 1, 2, 3, 4, 5};

static int start(void **state) {
  (void)state;
  pool = pages_pool(NULL);
  return 0;
}

static int stop(void **state) {
  (void)state;
  tarn_pool_release(pool);
  return 0;
}

static int write_six_floats(char path[64]) {
  image_begin_aligned(&image, SIX_FLOATS);
  image_add(&image, floats, sizeof floats);
  return image_open(&image, path);
}

static tarn_status open_as(const char *path, tarn_npy_mode mode, tarn_tensor *tensor) {
  const tarn_npy_open_options options = {.struct_size = sizeof options, .mode = mode};
  return tarn_npy_open(path, &options, tensor);
}

static tarn_status open_image(tarn_tensor *tensor) {
  char path[64];
  const int file = image_open(&image, path);
  const tarn_status status = tarn_npy_open(path, NULL, tensor);
  close(file);
  return status;
}

static tarn_status load_image(tarn_tensor *tensor) {
  char path[64];
  const int file = image_open(&image, path);
  const tarn_status status = tarn_npy_load(path, pool, NULL, tensor);
  close(file);
  return status;
}

static size_t open_files(void) {
  size_t count = 0;
  for (int file = 0; file < 256; file++) count += fcntl(file, F_GETFD) != -1;
  return count;
}

/* Lines of this process's map that name the test's files. */
static size_t mapped_files(void) {
  char line[4096];
  size_t count = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  assert_non_null(maps);
  while (fgets(line, sizeof line, maps) != NULL) count += strstr(line, "memfd:npy") != NULL;
  fclose(maps);
  return count;
}

/* --- opening --- */

TEST(a_file_is_read_where_it_is_mapped) {
  tarn_tensor tensor;
  char path[64];
  const int file = write_six_floats(path);
  assert_ok(tarn_npy_open(path, NULL, &tensor));
  assert_true(tarn_dtype_equal(tensor.dtype, TARN_F32));
  assert_int_equal(tensor.layout.rank, 2);
  assert_int_equal(tensor.layout.shape[0], 2);
  assert_int_equal(tensor.layout.shape[1], 3);
  assert_true(tarn_tensor_is_contiguous(&tensor));
  assert_memory_equal(tarn_tensor_data(&tensor), floats, sizeof floats);
  assert_int_equal((uintptr_t)tarn_tensor_data(&tensor) % 64, 0);
  assert_true(tarn_storage_is_read_only(tensor.storage));
  assert_null(tarn_tensor_data_mutable(&tensor));
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), sizeof floats);
  /* It is the file's own page: what is written there shows. */
  const float other = 7;
  assert_int_equal(pwrite(file, &other, sizeof other, 128 + 8), sizeof other);
  assert_true(((const float *)tarn_tensor_data(&tensor))[2] == other);
  tarn_tensor_release(&tensor);
  close(file);
}

TEST(fortran_order_becomes_strides) {
  tarn_tensor tensor;
  image_begin_aligned(&image, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }");
  image_add(&image, floats, sizeof floats);
  assert_ok(open_image(&tensor));
  assert_int_equal(tensor.layout.strides[0], 1);
  assert_int_equal(tensor.layout.strides[1], 2);
  assert_ok(tarn_tensor_select(&tensor, 1, 2));
  assert_ok(tarn_tensor_select(&tensor, 0, 1));
  assert_true(*(const float *)tarn_tensor_data(&tensor) == 5);
  tarn_tensor_release(&tensor);
}

TEST(the_last_reference_ends_the_mapping_and_no_file_stays_open) {
  tarn_tensor tensor, other;
  const size_t open_before = open_files();
  image_begin_aligned(&image, SIX_FLOATS);
  image_add(&image, floats, sizeof floats);
  assert_ok(open_image(&tensor));
  assert_int_equal(open_files(), open_before);
  other = tensor;
  tarn_tensor_retain(&other);
  tarn_tensor_release(&tensor);
  assert_int_equal(mapped_files(), 1);
  assert_memory_equal(tarn_tensor_data(&other), floats, sizeof floats);
  tarn_tensor_release(&other);
  assert_int_equal(mapped_files(), 0);
}

TEST(what_is_written_to_a_private_copy_stays_here) {
  tarn_tensor tensor;
  char path[64];
  float in_file;
  const int file = write_six_floats(path);
  assert_ok(open_as(path, TARN_NPY_COPY_ON_WRITE, &tensor));
  assert_false(tarn_storage_is_read_only(tensor.storage));
  ((float *)tarn_tensor_data_mutable(&tensor))[1] = 100;
  assert_int_equal(pread(file, &in_file, sizeof in_file, 128 + 4), sizeof in_file);
  assert_true(in_file == 1);
  tarn_tensor_release(&tensor);
  close(file);
}

TEST(what_is_written_to_a_shared_mapping_is_in_the_file) {
  tarn_tensor tensor;
  char path[64];
  float in_file;
  const int file = write_six_floats(path);
  assert_ok(open_as(path, TARN_NPY_READ_WRITE, &tensor));
  ((float *)tarn_tensor_data_mutable(&tensor))[1] = 100;
  tarn_tensor_release(&tensor);
  assert_int_equal(pread(file, &in_file, sizeof in_file, 128 + 4), sizeof in_file);
  assert_true(in_file == 100);
  close(file);
}

TEST(an_array_without_elements_maps_nothing) {
  tarn_tensor tensor;
  image_begin_aligned(&image, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0, 2), }");
  assert_ok(open_image(&tensor));
  assert_int_equal(tarn_tensor_element_count(&tensor), 0);
  assert_int_equal(tensor.layout.shape[2], 2);
  assert_null(tarn_tensor_data(&tensor));
  assert_int_equal(mapped_files(), 0);
  tarn_tensor_release(&tensor);
  assert_ok(load_image(&tensor));
  assert_int_equal(tensor.layout.shape[0], 3);
  tarn_tensor_release(&tensor);
}

TEST(a_scalar_has_one_element) {
  tarn_tensor tensor;
  image_begin_aligned(&image, "{'descr': '<f4', 'fortran_order': True, 'shape': (), }");
  image_add(&image, &floats[3], sizeof floats[3]);
  assert_ok(open_image(&tensor));
  assert_int_equal(tensor.layout.rank, 0);
  assert_true(*(const float *)tarn_tensor_data(&tensor) == 3);
  tarn_tensor_release(&tensor);
}

/* --- files that are not what they say --- */

TEST(a_file_shorter_than_its_header_says_is_refused) {
  image_begin_aligned(&image, SIX_FLOATS);
  image_add(&image, floats, sizeof floats);
  for (size_t size = 0; size < 128 + sizeof floats; size++) {
    tarn_tensor tensor;
    image.size = size;
    assert_status(open_image(&tensor), TARN_BAD_FORMAT);
    assert_null(tensor.storage);
    assert_status(load_image(&tensor), TARN_BAD_FORMAT);
  }
  assert_int_equal(mapped_files(), 0);
}

TEST(a_file_longer_than_its_header_says_is_fine) {
  tarn_tensor tensor;
  image_begin_aligned(&image, SIX_FLOATS);
  image_add(&image, floats, sizeof floats);
  image_add(&image, "more", 4);
  assert_ok(open_image(&tensor));
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), sizeof floats);
  tarn_tensor_release(&tensor);
}

TEST(sizes_near_the_end_of_the_range_are_refused) {
  static const char *const shapes[] = {"9223372036854775807", "1152921504606846976",
                                       "2305843009213693951", "576460752303423487"};
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    char text[256];
    tarn_tensor tensor;
    snprintf(text, sizeof text, "{'descr': '<f8', 'fortran_order': False, 'shape': (%s,), }",
             shapes[i]);
    image_begin_aligned(&image, text);
    const tarn_status status = open_image(&tensor);
    assert_true(status == TARN_TOO_LARGE || status == TARN_BAD_FORMAT);
  }
}

TEST(a_path_that_is_no_file_is_refused) {
  tarn_tensor tensor;
  assert_status(tarn_npy_open("/nowhere/at_all.npy", NULL, &tensor), TARN_NOT_FOUND);
  assert_int_equal(tarn_last_error()->native_code, 2 /* ENOENT */);
  assert_string_equal(tarn_last_error()->native_call, "open");
  assert_status(tarn_npy_open("/proc/version/x.npy", NULL, &tensor), TARN_NOT_FOUND);
  assert_status(tarn_npy_open("/tmp", NULL, &tensor), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_open("/dev/zero", NULL, &tensor), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_open("/tmp/a\xff/", NULL, &tensor), TARN_NOT_FOUND);
  assert_status(open_as("/tmp", TARN_NPY_READ_WRITE, &tensor), TARN_SYSTEM_ERROR);
  assert_status(tarn_npy_open(NULL, NULL, &tensor), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_load(NULL, pool, NULL, &tensor), TARN_INVALID_ARGUMENT);
}

/* A pipe without a writer would be waited for. */
TEST(a_pipe_is_refused_at_once) {
  char folder[] = "/tmp/tarn_npy_XXXXXX", path[64];
  tarn_tensor tensor;
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/pipe", folder);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_status(tarn_npy_open(path, NULL, &tensor), TARN_INVALID_ARGUMENT);
  unlink(path);
  rmdir(folder);
}

TEST(unknown_options_are_refused) {
  char path[64];
  tarn_tensor tensor;
  const int file = write_six_floats(path);
  tarn_npy_open_options options = {.struct_size = 1};
  assert_status(tarn_npy_open(path, &options, &tensor), TARN_INVALID_ARGUMENT);
  assert_status(open_as(path, (tarn_npy_mode)3, &tensor), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_open(path, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_load(path, NULL, NULL, &tensor), TARN_INVALID_ARGUMENT);
  assert_status(tarn_npy_load(path, pool, NULL, NULL), TARN_INVALID_ARGUMENT);
  close(file);
  assert_int_equal(mapped_files(), 0);
}

/* More than the address space of any process. */
TEST(a_mapping_that_the_system_refuses_is_told) {
  char path[64];
  tarn_tensor tensor;
  image_begin_aligned(&image,
                      "{'descr': '|u1', 'fortran_order': False, 'shape': (1152921504606846976,)}");
  const int file = image_open(&image, path);
  assert_int_equal(ftruncate(file, (INT64_C(1) << 60) + 128), 0);
  assert_status(tarn_npy_open(path, NULL, &tensor), TARN_OUT_OF_MEMORY);
  assert_string_equal(tarn_last_error()->native_call, "mmap");
  close(file);
}

/* --- loading --- */

TEST(the_other_byte_order_is_loaded_and_not_opened) {
  const struct {
    const char *descr;
    unsigned char bytes[16];
    unsigned char turned[16];
    size_t size;
  } rows[] = {
      {">i2", {1, 2, 3, 4}, {2, 1, 4, 3}, 4},
      {">f4", {1, 2, 3, 4, 5, 6, 7, 8}, {4, 3, 2, 1, 8, 7, 6, 5}, 8},
      {">u8", {1, 2, 3, 4, 5, 6, 7, 8}, {8, 7, 6, 5, 4, 3, 2, 1}, 8},
      {">c8", {1, 2, 3, 4, 5, 6, 7, 8}, {4, 3, 2, 1, 8, 7, 6, 5}, 8},
      {">c16",
       {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
       {8, 7, 6, 5, 4, 3, 2, 1, 16, 15, 14, 13, 12, 11, 10, 9},
       16},
  };
  for (size_t i = 0; i < COUNT_OF(rows); i++) {
    char text[256];
    tarn_tensor tensor;
    const size_t element_bytes = (size_t)atoi(rows[i].descr + 2);
    snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%zu,), }",
             rows[i].descr, rows[i].size / element_bytes);
    image_begin_aligned(&image, text);
    image_add(&image, rows[i].bytes, rows[i].size);
    assert_status(open_image(&tensor), TARN_NOT_SUPPORTED);
    assert_non_null(strstr(tarn_last_error()->message, "tarn_npy_load"));
    assert_ok(load_image(&tensor));
    assert_int_equal(tarn_tensor_size_bytes(&tensor), rows[i].size);
    assert_memory_equal(tarn_tensor_data(&tensor), rows[i].turned, rows[i].size);
    tarn_tensor_release(&tensor);
  }
  assert_int_equal(mapped_files(), 0);
}

TEST(data_on_an_odd_byte_is_loaded_and_not_opened) {
  tarn_tensor tensor;
  const char text[] = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n";
  image_begin(&image, 1, text, strlen(text));
  assert_int_equal(image.size % 2, 1);
  image_add(&image, floats, sizeof floats);
  assert_status(open_image(&tensor), TARN_NOT_SUPPORTED);
  assert_int_equal(mapped_files(), 0);
  assert_ok(load_image(&tensor));
  assert_memory_equal(tarn_tensor_data(&tensor), floats, sizeof floats);
  assert_int_equal(tensor.layout.strides[1], 2);
  tarn_tensor_release(&tensor);
}

TEST(a_loaded_tensor_is_the_pools_and_may_be_written) {
  tarn_tensor tensor;
  image_begin_aligned(&image, SIX_FLOATS);
  image_add(&image, floats, sizeof floats);
  assert_ok(load_image(&tensor));
  assert_ptr_equal(tarn_storage_pool(tensor.storage), pool);
  ((float *)tarn_tensor_data_mutable(&tensor))[0] = 9;
  assert_int_equal(mapped_files(), 0);
  tarn_tensor_release(&tensor);
}

/* The mapping lives until the worker has copied from it. */
TEST(a_file_is_loaded_in_the_order_of_a_stream) {
  tarn_stream *stream;
  tarn_tensor tensor;
  char path[64];
  assert_ok(tarn_worker_stream_create(&stream));
  const int file = write_six_floats(path);
  assert_ok(tarn_npy_load(path, pool, stream, &tensor));
  assert_ok(tarn_stream_synchronize(stream));
  assert_memory_equal(tarn_tensor_data(&tensor), floats, sizeof floats);
  tarn_tensor_release(&tensor);
  tarn_stream_release(stream);
  close(file);
}

TEST(a_file_is_loaded_onto_a_device) {
  tarn_tensor tensor;
  char path[64];
  fake_device_start();
  tarn_pool *device_pool = fake_device_pool_create();
  tarn_stream *stream = fake_device_stream_create();
  const int file = write_six_floats(path);
  assert_ok(tarn_npy_load(path, device_pool, stream, &tensor));
  assert_ok(tarn_stream_synchronize(stream));
  assert_memory_equal(fake_device_window(tarn_storage_data(tensor.storage)), floats, sizeof floats);
  assert_true(tarn_dtype_equal(tensor.dtype, TARN_F32));
  tarn_tensor_release(&tensor);
  tarn_stream_release(stream);
  tarn_pool_release(device_pool);
  close(file);
}

int main(void) {
  return run_listed_tests(start, stop);
}
