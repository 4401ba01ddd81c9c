/* test_mapping.c: files and shared memory as storages, storages as files, and what is mapped. */
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_mapping.h"
#include "alloc/tarn_pages.h"
#include "tests/support/manual_stream.h"

enum { FILE_BYTES = 3 * 4096 + 100 };

static unsigned char byte_of(size_t at) {
  return (unsigned char)(at * 7 + at / 256);
}

/* A memory file with bytes by which their place is known. */
static int make_file(unsigned flags) {
  unsigned char bytes[FILE_BYTES];
  for (size_t at = 0; at < sizeof bytes; at++) bytes[at] = byte_of(at);
  const int file = memfd_create("tarn_mapping", MFD_CLOEXEC | flags);
  assert_true(file >= 0);
  assert_int_equal(write(file, bytes, sizeof bytes), sizeof bytes);
  return file;
}

static size_t open_count(void) {
  size_t count = 0;
  for (int file = 0; file < 256; file++) count += fcntl(file, F_GETFD) != -1;
  return count;
}

/* How often this process has the test's files mapped. */
static size_t mapped_count(void) {
  char line[4096];
  size_t count = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  assert_non_null(maps);
  while (fgets(line, sizeof line, maps) != NULL) count += strstr(line, "tarn_mapping") != NULL;
  fclose(maps);
  return count;
}

static tarn_status map_part(int file, tarn_mapping_mode mode, uint64_t offset_bytes,
                            size_t size_bytes, tarn_storage **storage) {
  const tarn_mapping_options options = {.struct_size = sizeof options,
                                        .mode = mode,
                                        .offset_bytes = offset_bytes,
                                        .size_bytes = size_bytes};
  return tarn_storage_map_descriptor(file, &options, storage);
}

/* --- in --- */

TEST(a_descriptor_is_mapped_whole_and_ended_once) {
  const size_t open_before = open_count();
  const int file = make_file(0);
  tarn_storage *storage;
  assert_ok(tarn_storage_map_descriptor(file, NULL, &storage));
  close(file); /* the caller's; the storage goes on */
  assert_int_equal(tarn_storage_size_bytes(storage), FILE_BYTES);
  assert_true(tarn_storage_is_read_only(storage));
  assert_int_equal(tarn_storage_device(storage).type, TARN_DEVICE_CPU);
  const unsigned char *bytes = tarn_storage_data(storage);
  for (size_t at = 0; at < FILE_BYTES; at++) assert_int_equal(bytes[at], byte_of(at));
  tarn_storage_retain(storage);
  tarn_storage_release(storage);
  assert_int_equal(mapped_count(), 1);
  assert_int_equal(open_count(), open_before + 1);
  tarn_storage_release(storage);
  assert_int_equal(mapped_count(), 0);
  assert_int_equal(open_count(), open_before);
}

TEST(any_offset_is_mapped_without_a_copy) {
  const int file = make_file(0);
  static const size_t offsets[] = {0, 1, 4095, 4096, 4097, 8191, 12288, FILE_BYTES - 1};
  for (size_t i = 0; i < COUNT_OF(offsets); i++) {
    tarn_storage *part, *rest;
    assert_ok(map_part(file, TARN_MAPPING_READ_WRITE, offsets[i], 1, &part));
    assert_ok(map_part(file, TARN_MAPPING_READ_ONLY, offsets[i], 0, &rest));
    assert_int_equal(tarn_storage_size_bytes(part), 1);
    assert_int_equal(tarn_storage_size_bytes(rest), FILE_BYTES - offsets[i]);
    unsigned char *written = tarn_storage_data_mutable(part);
    const unsigned char *read = tarn_storage_data(rest);
    assert_int_equal(*read, byte_of(offsets[i]));
    assert_int_equal(read[FILE_BYTES - offsets[i] - 1], byte_of(FILE_BYTES - 1));
    *written ^= 0xff; /* one memory: both see it, and so does the file */
    unsigned char of_file;
    assert_int_equal(pread(file, &of_file, 1, (off_t)offsets[i]), 1);
    assert_int_equal(*read, *written);
    assert_int_equal(of_file, *written);
    *written ^= 0xff;
    tarn_storage_release(part);
    tarn_storage_release(rest);
  }
  close(file);
  assert_int_equal(mapped_count(), 0);
}

TEST(a_copy_on_write_keeps_what_is_written) {
  const int file = make_file(0);
  tarn_storage *storage;
  unsigned char of_file;
  int descriptor;
  int64_t offset;
  assert_ok(map_part(file, TARN_MAPPING_COPY_ON_WRITE, 10, 20, &storage));
  unsigned char *bytes = tarn_storage_data_mutable(storage);
  *bytes = 0xee;
  assert_int_equal(pread(file, &of_file, 1, 10), 1);
  assert_int_equal(of_file, byte_of(10));
  assert_status(tarn_storage_descriptor(storage, NULL, &descriptor, &offset), TARN_NOT_SUPPORTED);
  assert_int_equal(descriptor, -1);
  tarn_storage_release(storage);
  close(file);
}

TEST(a_part_that_the_file_lacks_is_refused_with_its_numbers) {
  const int file = make_file(0);
  tarn_storage *storage;
  static const struct {
    uint64_t offset_bytes;
    size_t size_bytes;
    tarn_status status;
  } wrong[] = {{0, FILE_BYTES + 1, TARN_BAD_FORMAT},
               {FILE_BYTES, 1, TARN_BAD_FORMAT},
               {FILE_BYTES + 1, 0, TARN_BAD_FORMAT},
               {1, FILE_BYTES, TARN_BAD_FORMAT},
               {INT64_MAX, 0, TARN_BAD_FORMAT},
               {INT64_MAX, 1, TARN_TOO_LARGE},
               {(uint64_t)INT64_MAX + 1, 0, TARN_TOO_LARGE},
               {UINT64_MAX, 1, TARN_TOO_LARGE},
               {1, SIZE_MAX, TARN_TOO_LARGE},
               {1, PTRDIFF_MAX, TARN_TOO_LARGE}};
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    storage = (tarn_storage *)&wrong;
    assert_status(map_part(file, TARN_MAPPING_READ_ONLY, wrong[i].offset_bytes, wrong[i].size_bytes,
                           &storage),
                  wrong[i].status);
    assert_null(storage);
  }
  assert_status(map_part(file, TARN_MAPPING_READ_ONLY, 1, FILE_BYTES, &storage), TARN_BAD_FORMAT);
  assert_non_null(
      strstr(tarn_last_error()->message, "12388 bytes, which are no 12388 from byte 1"));
  close(file);
  assert_int_equal(mapped_count(), 0);
}

TEST(an_empty_part_is_a_storage_without_bytes) {
  const int file = make_file(0);
  tarn_storage *storage;
  int descriptor;
  int64_t offset;
  assert_ok(map_part(file, TARN_MAPPING_READ_ONLY, FILE_BYTES, 0, &storage));
  assert_int_equal(tarn_storage_size_bytes(storage), 0);
  assert_null(tarn_storage_data(storage));
  assert_status(tarn_storage_descriptor(storage, NULL, &descriptor, &offset),
                TARN_INVALID_ARGUMENT);
  tarn_storage_release(storage);
  close(file);
}

TEST(what_is_no_file_is_refused) {
  int ends[2];
  tarn_storage *storage;
  const size_t open_before = open_count();
  assert_int_equal(pipe(ends), 0);
  assert_status(tarn_storage_map_descriptor(ends[0], NULL, &storage), TARN_INVALID_ARGUMENT);
  close(ends[0]);
  close(ends[1]);
  assert_status(tarn_storage_map_descriptor(ends[0], NULL, &storage), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_last_error()->native_code, EBADF);
  assert_status(tarn_storage_map_descriptor(-1, NULL, &storage), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_map_path("/tmp", NULL, &storage), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_map_path("/dev/null", NULL, &storage), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_map_path("/tmp/tarn/none", NULL, &storage), TARN_NOT_FOUND);
  assert_status(tarn_storage_map_path("/dev/null/none", NULL, &storage), TARN_NOT_FOUND);
  assert_status(tarn_storage_map_shared("/tarn_none", NULL, &storage), TARN_NOT_FOUND);
  assert_null(storage);
  const tarn_mapping_options writing = {.struct_size = sizeof writing,
                                        .mode = TARN_MAPPING_READ_WRITE};
  assert_status(tarn_storage_map_path("/tmp", &writing, &storage), TARN_INVALID_ARGUMENT);
  char path[64];
  snprintf(path, sizeof path, "/tmp/tarn_mapping_%d", (int)getpid());
  assert_int_equal(mknod(path, S_IFSOCK | 0600, 0), 0);
  const tarn_status of_socket = tarn_storage_map_path(path, NULL, &storage);
  assert_int_equal(unlink(path), 0);
  assert_status(of_socket, TARN_INVALID_ARGUMENT);
  assert_int_equal(open_count(), open_before);
}

TEST(what_may_not_be_written_is_not_mapped_for_writing) {
  char path[64];
  const int file = make_file(MFD_ALLOW_SEALING);
  tarn_storage *storage;
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  const int reading = open(path, O_RDONLY | O_CLOEXEC);
  const int writing = open(path, O_WRONLY | O_CLOEXEC);
  assert_status(map_part(reading, TARN_MAPPING_READ_WRITE, 0, 0, &storage), TARN_READ_ONLY);
  assert_status(map_part(writing, TARN_MAPPING_READ_WRITE, 0, 0, &storage), TARN_READ_ONLY);
  assert_status(map_part(writing, TARN_MAPPING_READ_ONLY, 0, 0, &storage), TARN_SYSTEM_ERROR);
  assert_int_equal(tarn_last_error()->native_code, EACCES);
  assert_ok(map_part(reading, TARN_MAPPING_COPY_ON_WRITE, 0, 0, &storage));
  tarn_storage_release(storage);
  assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE), 0);
  assert_status(map_part(file, TARN_MAPPING_READ_WRITE, 0, 0, &storage), TARN_READ_ONLY);
  assert_non_null(strstr(tarn_last_error()->message, "sealed against writing"));
  assert_ok(map_part(file, TARN_MAPPING_READ_ONLY, 0, 0, &storage));
  tarn_storage_release(storage);
  close(file);
  close(reading);
  close(writing);
}

/* A kernel before 6.7: what is sealed against writing is not shared by who could write else. */
static bool is_old_kernel;
void *__real_mmap(void *wanted, size_t size, int rights, int flags, int file, off_t offset);
void *__wrap_mmap(void *wanted, size_t size, int rights, int flags, int file, off_t offset);
void *__wrap_mmap(void *wanted, size_t size, int rights, int flags, int file, off_t offset) {
  if (is_old_kernel && (flags & MAP_SHARED) != 0 && file >= 0 &&
      (fcntl(file, F_GET_SEALS) & F_SEAL_WRITE) != 0 &&
      (fcntl(file, F_GETFL) & O_ACCMODE) == O_RDWR) {
    errno = EPERM;
    return MAP_FAILED;
  }
  return __real_mmap(wanted, size, rights, flags, file, offset);
}

TEST(what_is_sealed_against_writing_is_read_on_any_kernel) {
  const int file = make_file(MFD_ALLOW_SEALING);
  tarn_storage *storage;
  assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE), 0);
  is_old_kernel = true;
  const tarn_status status = map_part(file, TARN_MAPPING_READ_ONLY, 5001, 0, &storage);
  is_old_kernel = false;
  assert_ok(status);
  assert_int_equal(*(const unsigned char *)tarn_storage_data(storage), byte_of(5001));
  tarn_storage_release(storage);
  close(file);
}

TEST(a_file_that_may_shrink_is_refused_on_demand) {
  const tarn_mapping_options options = {.struct_size = sizeof options,
                                        .flags = TARN_MAPPING_SEALED};
  const int file = make_file(MFD_ALLOW_SEALING);
  tarn_storage *storage;
  assert_status(tarn_storage_map_descriptor(file, &options, &storage), TARN_NOT_SUPPORTED);
  assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_GROW), 0);
  assert_status(tarn_storage_map_descriptor(file, &options, &storage), TARN_NOT_SUPPORTED);
  assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK), 0);
  assert_ok(tarn_storage_map_descriptor(file, &options, &storage));
  assert_int_equal(ftruncate(file, 1), -1);
  tarn_storage_release(storage);
  close(file);
}

TEST(options_that_nobody_knows_are_refused) {
  const int file = make_file(0);
  tarn_storage *storage;
  tarn_mapping_options options = {.struct_size = sizeof options - 1};
  assert_status(tarn_storage_map_descriptor(file, &options, &storage), TARN_INVALID_ARGUMENT);
  options = (tarn_mapping_options){.struct_size = sizeof options, .flags = 1u << 7};
  assert_status(tarn_storage_map_descriptor(file, &options, &storage), TARN_INVALID_ARGUMENT);
  options = (tarn_mapping_options){.struct_size = sizeof options, .mode = (tarn_mapping_mode)3};
  assert_status(tarn_storage_map_descriptor(file, &options, &storage), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_map_descriptor(file, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_map_path(NULL, NULL, &storage), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_map_shared(NULL, NULL, &storage), TARN_INVALID_ARGUMENT);
  close(file);
}

TEST(shared_memory_is_found_by_its_name) {
  char name[64];
  snprintf(name, sizeof name, "/tarn_mapping_%d", (int)getpid());
  const int made = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
  assert_true(made >= 0);
  assert_int_equal(ftruncate(made, 10000), 0);
  const tarn_mapping_options options = {
      .struct_size = sizeof options, .mode = TARN_MAPPING_READ_WRITE, .offset_bytes = 5000};
  tarn_storage *storage;
  assert_ok(tarn_storage_map_shared(name, &options, &storage));
  assert_int_equal(shm_unlink(name), 0);
  assert_int_equal(tarn_storage_size_bytes(storage), 5000);
  memset(tarn_storage_data_mutable(storage), 0x5a, 5000);
  unsigned char last;
  assert_int_equal(pread(made, &last, 1, 9999), 1);
  assert_int_equal(last, 0x5a);
  tarn_storage_release(storage);
  assert_int_equal(mapped_count(), 0);
  close(made);
}

TEST(a_path_is_mapped_and_may_be_removed) {
  char path[] = "/tmp/tarn_mapping_XXXXXX";
  const int made = mkstemp(path);
  assert_int_equal(write(made, "abcdefgh", 8), 8);
  close(made);
  tarn_storage *storage;
  assert_ok(tarn_storage_map_path(path, NULL, &storage));
  assert_int_equal(unlink(path), 0);
  assert_memory_equal(tarn_storage_data(storage), "abcdefgh", 8);
  tarn_storage_release(storage);
  assert_int_equal(mapped_count(), 0);
}

TEST(huge_pages_are_mapped_from_any_offset) {
  struct stat about = {0};
  const int file = memfd_create("tarn_mapping_huge", MFD_CLOEXEC | MFD_HUGETLB);
  if (file >= 0) assert_int_equal(fstat(file, &about), 0);
  const size_t huge = (size_t)about.st_blksize;
  void *probe = MAP_FAILED;
  if (file >= 0 && ftruncate(file, (off_t)(2 * huge)) == 0) {
    probe = mmap(NULL, 2 * huge, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (probe == MAP_FAILED) {
    if (file >= 0) close(file);
    print_message("skipped: the system has reserved no huge pages\n");
    skip();
  }
  tarn_storage *storage;
  memset((char *)probe + huge + 5000, 0x77, 10);
  assert_ok(map_part(file, TARN_MAPPING_READ_WRITE, huge + 5000, 10, &storage));
  assert_memory_equal(tarn_storage_data(storage), (char *)probe + huge + 5000, 10);
  tarn_storage_release(storage);
  munmap(probe, 2 * huge);
  assert_int_equal(mapped_count(), 0); /* munmap takes whole huge pages or nothing */
  close(file);
}

TEST(without_descriptors_nothing_is_left_mapped) {
  const int file = make_file(0);
  struct rlimit limit, none;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
  none = (struct rlimit){.rlim_cur = (rlim_t)file + 1, .rlim_max = limit.rlim_max};
  tarn_storage *storage, *closed;
  const tarn_mapping_options options = {.struct_size = sizeof options,
                                        .flags = TARN_MAPPING_CLOSED};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  const tarn_status status = tarn_storage_map_descriptor(file, NULL, &storage);
  const tarn_status without = tarn_storage_map_descriptor(file, &options, &closed);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
  assert_status(status, TARN_OUT_OF_MEMORY);
  assert_null(storage);
  assert_ok(without);
  tarn_storage_release(closed);
  assert_int_equal(mapped_count(), 0);
  close(file);
}

/* --- out --- */

/* Reads a storage's first bytes through what it is said to be a part of. */
static void read_through(int descriptor, int64_t offset, void *bytes, size_t size_bytes) {
  assert_int_equal(pread(descriptor, bytes, size_bytes, (off_t)offset), size_bytes);
}

TEST(a_mapped_storage_knows_its_descriptor_and_offset) {
  const int file = make_file(0);
  const size_t open_before = open_count();
  unsigned char bytes[10];
  tarn_storage *storage;
  int descriptor;
  int64_t offset;
  assert_ok(map_part(file, TARN_MAPPING_READ_ONLY, 5001, 10, &storage));
  assert_ok(tarn_storage_descriptor(storage, NULL, &descriptor, &offset));
  assert_int_equal(offset, 5001);
  assert_int_equal(fcntl(descriptor, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  tarn_storage_release(storage); /* the descriptor is the caller's */
  read_through(descriptor, offset, bytes, sizeof bytes);
  for (size_t at = 0; at < sizeof bytes; at++) assert_int_equal(bytes[at], byte_of(5001 + at));
  close(descriptor);
  assert_int_equal(open_count(), open_before);
  close(file);
}

TEST(a_closed_mapping_has_no_descriptor) {
  const tarn_mapping_options options = {.struct_size = sizeof options,
                                        .flags = TARN_MAPPING_CLOSED};
  const int file = make_file(0);
  const size_t open_before = open_count();
  tarn_storage *storage;
  int descriptor;
  int64_t offset;
  assert_ok(tarn_storage_map_descriptor(file, &options, &storage));
  assert_int_equal(open_count(), open_before);
  assert_status(tarn_storage_descriptor(storage, NULL, &descriptor, &offset), TARN_NOT_SUPPORTED);
  tarn_storage_release(storage);
  close(file);
}

TEST(a_shared_pools_block_is_a_part_of_its_file) {
  const tarn_pages_options pages = {.struct_size = sizeof pages, .flags = TARN_PAGES_SHARED};
  const size_t open_before = open_count();
  tarn_provider *provider;
  tarn_pool *pool;
  tarn_storage *first, *second;
  unsigned char read[100];
  int descriptor;
  int64_t offset;
  assert_ok(tarn_pages_provider_create(&pages, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &pool));
  assert_ok(tarn_storage_create(pool, 1000, NULL, &first));
  assert_ok(tarn_storage_create(pool, 1000, NULL, &second));
  memset(tarn_storage_data_mutable(first), 1, 1000);
  memset(tarn_storage_data_mutable(second), 2, 1000);
  assert_ok(tarn_storage_descriptor(second, NULL, &descriptor, &offset));
  read_through(descriptor, offset, read, sizeof read);
  for (size_t at = 0; at < sizeof read; at++) assert_int_equal(read[at], 2);
  tarn_storage *mapped; /* and in again */
  assert_ok(map_part(descriptor, TARN_MAPPING_READ_WRITE, (uint64_t)offset, 1000, &mapped));
  close(descriptor);
  memset(tarn_storage_data_mutable(mapped), 3, 1000);
  assert_int_equal(*(const unsigned char *)tarn_storage_data(second), 3);
  assert_int_equal(*(const unsigned char *)tarn_storage_data(first), 1);
  tarn_storage_release(mapped);
  tarn_storage_release(first);
  tarn_storage_release(second);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  assert_int_equal(open_count(), open_before);
}

TEST(memory_that_is_no_file_has_no_descriptor) {
  static unsigned char bytes[64];
  const tarn_blob blob = {.struct_size = sizeof blob, .address = bytes, .size_bytes = sizeof bytes};
  tarn_provider *provider;
  tarn_pool *pool;
  tarn_storage *storage;
  int descriptor;
  int64_t offset;
  assert_ok(tarn_storage_wrap(&blob, &storage));
  assert_status(tarn_storage_descriptor(storage, NULL, &descriptor, &offset), TARN_NOT_SUPPORTED);
  assert_status(tarn_storage_descriptor(storage, NULL, NULL, &offset), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_descriptor(storage, NULL, &descriptor, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_descriptor(NULL, NULL, &descriptor, &offset), TARN_INVALID_ARGUMENT);
  tarn_storage_release(storage);
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &pool));
  assert_ok(tarn_storage_create(pool, 1000, NULL, &storage));
  assert_status(tarn_storage_descriptor(storage, NULL, &descriptor, &offset), TARN_NOT_SUPPORTED);
  tarn_storage_release(storage);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
}

static void write_later(void *context) {
  *(unsigned char *)context = 0x99;
}

TEST(a_descriptor_comes_behind_the_streams_work) {
  const int file = make_file(0);
  tarn_storage *storage;
  tarn_stream *worker;
  unsigned char read;
  int descriptor;
  int64_t offset;
  assert_ok(tarn_worker_stream_create(&worker));
  assert_ok(map_part(file, TARN_MAPPING_READ_WRITE, 100, 10, &storage));
  assert_ok(tarn_stream_call(worker, write_later, tarn_storage_data_mutable(storage)));
  assert_ok(tarn_storage_descriptor(storage, worker, &descriptor, &offset));
  read_through(descriptor, offset, &read, 1);
  assert_int_equal(read, 0x99);
  close(descriptor);
  tarn_storage_release(storage);
  tarn_stream_release(worker);
  close(file);
}

/* --- what is mapped --- */

TEST(an_extent_is_checked_to_its_last_page) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *pages = mmap(NULL, 6 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(pages != MAP_FAILED);
  assert_int_equal(mprotect(pages + page, page, PROT_READ), 0); /* rw r- rw rw -- gone */
  assert_int_equal(mprotect(pages + 4 * page, page, PROT_NONE), 0);
  assert_int_equal(munmap(pages + 5 * page, page), 0);
  assert_ok(tarn_extent_check(pages, 4 * page, /*is_written=*/false));
  assert_ok(tarn_extent_check(pages + 2 * page, 2 * page, /*is_written=*/true));
  assert_ok(tarn_extent_check(pages + page - 1, 1, /*is_written=*/true));
  assert_status(tarn_extent_check(pages, page + 1, /*is_written=*/true), TARN_READ_ONLY);
  assert_status(tarn_extent_check(pages, 4 * page + 1, /*is_written=*/false), TARN_NOT_FOUND);
  assert_status(tarn_extent_check(pages + 4 * page, 1, /*is_written=*/false), TARN_NOT_FOUND);
  assert_status(tarn_extent_check(pages + 5 * page, 1, /*is_written=*/false), TARN_NOT_FOUND);
  assert_status(tarn_extent_check(NULL, 1, /*is_written=*/false), TARN_NOT_FOUND);
  assert_status(tarn_extent_check(pages, SIZE_MAX, /*is_written=*/false), TARN_TOO_LARGE);
  assert_status(tarn_extent_check(pages, SIZE_MAX / 4, /*is_written=*/false), TARN_NOT_FOUND);
  assert_ok(tarn_extent_check(NULL, 0, /*is_written=*/true));
  assert_ok(tarn_extent_check(&page, sizeof page, /*is_written=*/true));
  munmap(pages, 5 * page);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
