/* test_pin.c: memory of somebody else's, page-locked for a while. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cuda/pinned_fixture.h"

enum { BYTES = 3 * 4096 };

static unsigned char *map_bytes(void) {
  void *mapped = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(mapped != MAP_FAILED);
  memset(mapped, 7, BYTES);
  return mapped;
}

/* A file of BYTES - 10 bytes, each its index, mapped for reading. */
static const unsigned char *map_file(void) {
  unsigned char bytes[BYTES - 10];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)i;
  const int file = memfd_create("pinned", MFD_CLOEXEC);
  assert_true(file >= 0);
  assert_int_equal(write(file, bytes, sizeof bytes), sizeof bytes);
  void *mapped = mmap(NULL, sizeof bytes, PROT_READ, MAP_SHARED, file, 0);
  assert_true(mapped != MAP_FAILED);
  close(file);
  return mapped;
}

static size_t pinned_bytes_now(void) {
  if (fixture_sim_control() == NULL) return 0;
  cusim_counts counts = counts_now();
  return counts.pinned_bytes;
}

TEST(pages_of_the_caller_are_pinned_for_a_while) {
  tarn_cuda *cuda = *state;
  unsigned char *bytes = map_bytes();
  const size_t before_bytes = pinned_bytes_now();
  tarn_cuda_pin *pin = NULL;
  /* In the middle of one page, to the middle of the next. */
  OK(tarn_cuda_pin_create(cuda, bytes + 100, 4096, 0, &pin));
  assert_non_null(pin);
  if (fixture_sim_control() != NULL) assert_int_equal(pinned_bytes_now(), before_bytes + 8192);
  tarn_stream *stream = fixture_stream(cuda);
  OK(tarn_stream_fill(stream, bytes + 100, PINNED_DEVICE, 9, 4096));
  OK(tarn_stream_synchronize(stream));
  assert_int_equal(bytes[99], 7);
  assert_int_equal(bytes[100], 9);
  assert_int_equal(bytes[4195], 9);
  assert_int_equal(bytes[4196], 7);
  tarn_stream_release(stream);
  tarn_cuda_pin_destroy(pin);
  assert_int_equal(pinned_bytes_now(), before_bytes);
  tarn_cuda_pin_destroy(NULL);
  munmap(bytes, BYTES);
}

TEST(what_is_pinned_already_is_busy) {
  tarn_cuda *cuda = *state;
  unsigned char *bytes = map_bytes();
  tarn_cuda_pin *first = NULL, *second = (tarn_cuda_pin *)&second;
  OK(tarn_cuda_pin_create(cuda, bytes, 4096, 0, &first));
  assert_int_equal(tarn_cuda_pin_create(cuda, bytes, 4096, 0, &second), TARN_BUSY);
  assert_null(second);
  /* One byte of the page will do; the page behind it is free. */
  assert_int_equal(tarn_cuda_pin_create(cuda, bytes + 4095, 2, 0, &second), TARN_BUSY);
  OK(tarn_cuda_pin_create(cuda, bytes + 4096, 2, 0, &second));
  tarn_cuda_pin_destroy(second);
  tarn_cuda_pin_destroy(first);
  OK(tarn_cuda_pin_create(cuda, bytes, BYTES, 0, &first));
  tarn_cuda_pin_destroy(first);
  munmap(bytes, BYTES);
}

TEST(a_file_mapped_for_reading_is_pinned_for_reading) {
  tarn_cuda *cuda = *state;
  const unsigned char *bytes = map_file();
  tarn_cuda_pin *pin = NULL;
  const tarn_status status =
      tarn_cuda_pin_create(cuda, bytes, BYTES - 10, TARN_CUDA_PIN_READ_ONLY, &pin);
  if (status == TARN_NOT_SUPPORTED && fixture_sim_control() == NULL) {
    print_message("skipped: %s\n", tarn_last_error()->message);
    skip();
  }
  OK(status);
  fixture_block device = fixture_device_block(cuda, BYTES);
  fixture_block back = fixture_pinned_block(cuda, BYTES);
  tarn_stream *stream = fixture_stream(cuda);
  OK(tarn_stream_copy(stream, device.address, device.device, bytes, PINNED_DEVICE, BYTES - 10));
  OK(tarn_stream_copy(stream, back.address, back.device, device.address, device.device,
                      BYTES - 10));
  OK(tarn_stream_synchronize(stream));
  assert_memory_equal(back.address, bytes, BYTES - 10);
  if (fixture_sim_control() != NULL) {
    assert_int_equal(
        tarn_stream_fill(stream, (void *)(uintptr_t)bytes, PINNED_DEVICE, 0, BYTES - 10),
        TARN_INVALID_ARGUMENT);
  }
  tarn_cuda_pin_destroy(pin);
  tarn_stream_release(stream);
  fixture_free(&back);
  fixture_free(&device);
  munmap((void *)(uintptr_t)bytes, BYTES - 10);
}

TEST(pages_that_cannot_be_pinned_are_refused) {
  tarn_cuda *cuda = *state;
  unsigned char *bytes = map_bytes();
  tarn_cuda_pin *pin = (tarn_cuda_pin *)&pin;
  assert_int_equal(tarn_cuda_pin_create(cuda, bytes, 4096, 2, &pin), TARN_INVALID_ARGUMENT);
  assert_null(pin);
  assert_int_equal(tarn_cuda_pin_create(cuda, bytes, 0, 0, &pin), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_pin_create(cuda, NULL, 1, 0, &pin), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_pin_create(NULL, bytes, 1, 0, &pin), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_pin_create(cuda, bytes, 1, 0, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_pin_create(cuda, bytes, SIZE_MAX, 0, &pin), TARN_TOO_LARGE);
  if (fixture_sim_control() != NULL) {
    assert_int_equal(mprotect(bytes, BYTES, PROT_READ), 0);
    assert_int_equal(tarn_cuda_pin_create(cuda, bytes, BYTES, 0, &pin), TARN_INVALID_ARGUMENT);
    assert_null(pin);
    OK(tarn_cuda_pin_create(cuda, bytes, BYTES, TARN_CUDA_PIN_READ_ONLY, &pin));
    tarn_cuda_pin_destroy(pin);
  }
  munmap(bytes, BYTES);
}

/* Larger than what any driver takes at once: several calls, and a seam between them. No memory is
 * touched. */
TEST(a_pin_beyond_what_one_call_takes_has_a_seam) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  const size_t size_bytes = (size_t)600 << 30;
  const size_t seam = (size_t)256 << 30;
  unsigned char *bytes =
      mmap(NULL, size_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bytes == MAP_FAILED) skip();
  tarn_cuda_pin *pin = NULL;
  OK(tarn_cuda_pin_create(cuda, bytes, size_bytes, TARN_CUDA_PIN_READ_ONLY, &pin));
  fixture_block device = fixture_device_block(cuda, 200);
  tarn_stream *stream = fixture_stream(cuda);
  OK(tarn_stream_copy(stream, device.address, device.device, bytes + seam - 100, PINNED_DEVICE,
                      200));
  OK(tarn_stream_synchronize(stream));
  tarn_stream_release(stream);
  fixture_free(&device);
  tarn_cuda_pin_destroy(pin);
  munmap(bytes, size_bytes);
}

typedef struct owner {
  unsigned char *bytes;
  const unsigned char *copied;
  int deleted_count;
} owner;

static void unmap(void *context) {
  owner *self = context;
  self->deleted_count++;
  assert_int_equal(self->copied[0], 7); /* the copy is through */
  munmap(self->bytes, BYTES);
}

TEST(a_wrapped_blob_is_unpinned_behind_its_last_copy) {
  tarn_cuda *cuda = *state;
  fixture_block back = fixture_pinned_block(cuda, BYTES);
  back.address[0] = 0;
  const size_t before_bytes = pinned_bytes_now();
  owner self = {.bytes = map_bytes(), .copied = back.address};
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = self.bytes,
                          .size_bytes = BYTES,
                          .deleter = unmap,
                          .context = &self};
  tarn_storage *storage = NULL;
  OK(tarn_cuda_pinned_wrap(cuda, &blob, &storage));
  assert_true(tarn_device_equal(tarn_storage_device(storage), PINNED_DEVICE));
  fixture_gate gate;
  tarn_stream *stream = fixture_stream(cuda);
  fixture_hold(stream, &gate);
  OK(tarn_stream_copy(stream, back.address, back.device, self.bytes, PINNED_DEVICE, BYTES));
  OK(tarn_storage_note_use(storage, stream));
  fixture_let_go(&gate);
  tarn_storage_release(storage);
  assert_int_equal(self.deleted_count, 1);
  assert_int_equal(pinned_bytes_now(), before_bytes);
  OK(tarn_stream_synchronize(stream));
  tarn_stream_release(stream);
  fixture_free(&back);
}

TEST(a_blob_that_cannot_be_pinned_is_not_taken) {
  tarn_cuda *cuda = *state;
  owner self = {.bytes = map_bytes()};
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = self.bytes,
                    .size_bytes = BYTES,
                    .deleter = unmap,
                    .context = &self};
  tarn_cuda_pin *pin = NULL;
  tarn_storage *storage = (tarn_storage *)&storage;
  OK(tarn_cuda_pin_create(cuda, self.bytes, 1, 0, &pin));
  assert_int_equal(tarn_cuda_pinned_wrap(cuda, &blob, &storage), TARN_BUSY);
  assert_null(storage);
  tarn_cuda_pin_destroy(pin);
  blob.device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  assert_int_equal(tarn_cuda_pinned_wrap(cuda, &blob, &storage), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_pinned_wrap(cuda, NULL, &storage), TARN_INVALID_ARGUMENT);
  blob.device = tarn_device_make(TARN_DEVICE_CPU, 0);
  assert_int_equal(tarn_cuda_pinned_wrap(NULL, &blob, &storage), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_pinned_wrap(cuda, &blob, NULL), TARN_INVALID_ARGUMENT);
  blob.flags = 8;
  assert_int_equal(tarn_cuda_pinned_wrap(cuda, &blob, &storage), TARN_INVALID_ARGUMENT);
  assert_int_equal(self.deleted_count, 0);
  munmap(self.bytes, BYTES);
}

static int pin_in_child(tarn_cuda *cuda, tarn_cuda_pin *pin, unsigned char *bytes) {
  tarn_cuda_pin *other = (tarn_cuda_pin *)&other;
  if (tarn_cuda_pin_create(cuda, bytes + 4096, 1, 0, &other) != TARN_UNAVAILABLE) return 1;
  if (other != NULL || tarn_last_error()->native_call != NULL) return 2;
  tarn_cuda_pin_destroy(pin);
  bytes[0] = 8;
  return 0;
}

TEST(a_child_of_fork_pins_nothing) {
  tarn_cuda *cuda = *state;
  unsigned char *bytes = map_bytes();
  const size_t before_bytes = pinned_bytes_now();
  tarn_cuda_pin *pin = NULL;
  OK(tarn_cuda_pin_create(cuda, bytes, 4096, 0, &pin));
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) _exit(pin_in_child(cuda, pin, bytes));
  int ended = -1;
  assert_int_equal(waitpid(child, &ended, 0), child);
  assert_true(WIFEXITED(ended));
  assert_int_equal(WEXITSTATUS(ended), 0);
  assert_int_equal(bytes[0], 7);
  tarn_cuda_pin_destroy(pin);
  assert_int_equal(pinned_bytes_now(), before_bytes);
  munmap(bytes, BYTES);
}

int run_pin_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
