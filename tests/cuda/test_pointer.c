/* test_pointer.c: the driver is asked what an address is, and blobs that lie are refused. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cuda/pinned_fixture.h"

enum { MIB = 1 << 20 };

static tarn_cuda_pointer_info info_of(tarn_cuda *cuda, const void *address) {
  tarn_cuda_pointer_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_pointer_info_of(cuda, address, &info));
  return info;
}

/* The status of a claim about memory, and the device of the blob afterwards. */
static tarn_status check_as(tarn_cuda *cuda, const void *address, size_t size_bytes,
                            tarn_device claimed, tarn_device *device) {
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = (void *)(uintptr_t)address,
                    .size_bytes = size_bytes,
                    .device = claimed};
  const tarn_status status = tarn_cuda_blob_check(cuda, &blob);
  if (status != TARN_OK) assert_true(tarn_device_equal(blob.device, claimed));
  if (device != NULL) *device = blob.device;
  return status;
}

#define UNSAID ((tarn_device){0})
#define CPU tarn_device_make(TARN_DEVICE_CPU, 0)
#define GPU tarn_device_make(TARN_DEVICE_CUDA, 0)

TEST(memory_is_told_by_its_address_alone) {
  tarn_cuda *cuda = *state;
  fixture_block device = fixture_device_block(cuda, 2 * MIB);
  fixture_block pinned = fixture_pinned_block(cuda, MIB);
  tarn_cuda_pointer_info info = info_of(cuda, device.address + MIB);
  assert_true(info.is_known && tarn_device_equal(info.device, GPU));
  assert_int_equal(info.ordinal, 0);
  assert_ptr_equal(info.range, device.address);
  assert_true(info.range_bytes >= 2 * MIB);
  info = info_of(cuda, pinned.address + 5);
  assert_true(info.is_known && tarn_device_equal(info.device, PINNED_DEVICE));
  info = info_of(cuda, &info);
  assert_true(!info.is_known && tarn_device_equal(info.device, CPU));
  assert_int_equal(info.ordinal, -1);
  info = info_of(cuda, NULL);
  assert_false(info.is_known);
  fixture_free(&device);
  fixture_free(&pinned);
}

static int deleted_count;
static void count_delete(void *context) {
  (void)context;
  deleted_count++;
}

TEST(a_truthful_blob_becomes_a_storage_of_its_device) {
  tarn_cuda *cuda = *state;
  fixture_block device = fixture_device_block(cuda, 2 * MIB);
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = device.address + 256,
                    .size_bytes = MIB,
                    .deleter = count_delete};
  tarn_storage *storage = NULL;
  deleted_count = 0;
  OK(tarn_cuda_blob_check(cuda, &blob));
  OK(tarn_storage_wrap(&blob, &storage));
  assert_true(tarn_device_equal(tarn_storage_device(storage), GPU));
  assert_ptr_equal(tarn_storage_data(storage), device.address + 256); /* no copy */
  tarn_storage_release(storage);
  assert_int_equal(deleted_count, 1);
  fixture_free(&device);
}

TEST(what_is_left_unsaid_is_filled_in) {
  tarn_cuda *cuda = *state;
  fixture_block device = fixture_device_block(cuda, MIB);
  fixture_block pinned = fixture_pinned_block(cuda, MIB);
  char pageable[16];
  tarn_device found;
  OK(check_as(cuda, device.address, MIB, UNSAID, &found));
  assert_true(tarn_device_equal(found, GPU));
  OK(check_as(cuda, pinned.address, MIB, UNSAID, &found));
  assert_true(tarn_device_equal(found, PINNED_DEVICE));
  OK(check_as(cuda, pageable, sizeof pageable, UNSAID, &found));
  assert_true(tarn_device_equal(found, CPU));
  OK(check_as(cuda, NULL, 0, GPU, &found)); /* nothing is nowhere */
  fixture_free(&device);
  fixture_free(&pinned);
}

TEST(a_lie_about_the_device_is_refused_in_words) {
  tarn_cuda *cuda = *state;
  fixture_block device = fixture_device_block(cuda, MIB);
  fixture_block pinned = fixture_pinned_block(cuda, MIB);
  char pageable[16];
  assert_int_equal(check_as(cuda, device.address, MIB, CPU, NULL), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "memory of CUDA device 0"));
  assert_int_equal(check_as(cuda, device.address, MIB, PINNED_DEVICE, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(check_as(cuda, pageable, 16, GPU, NULL), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "or none at all"));
  assert_int_equal(check_as(cuda, pageable, 16, PINNED_DEVICE, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(check_as(cuda, pinned.address, MIB, GPU, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(check_as(cuda, device.address, MIB, tarn_device_make(77, 0), NULL),
                   TARN_INVALID_ARGUMENT);
  const tarn_device none = tarn_device_make(TARN_DEVICE_CUDA, tarn_cuda_device_count(cuda));
  assert_int_equal(check_as(cuda, device.address, MIB, none, NULL), TARN_INVALID_ARGUMENT);
  if (tarn_cuda_device_count(cuda) > 1) {
    const tarn_device second = tarn_device_make(TARN_DEVICE_CUDA, 1);
    assert_int_equal(check_as(cuda, device.address, MIB, second, NULL), TARN_INVALID_ARGUMENT);
  }
  OK(check_as(cuda, pinned.address, MIB, CPU, NULL)); /* less than the truth */
  fixture_free(&device);
  fixture_free(&pinned);
}

TEST(bytes_beyond_the_allocation_are_refused) {
  tarn_cuda *cuda = *state;
  fixture_block device = fixture_device_block(cuda, 2 * MIB);
  const tarn_cuda_pointer_info info = info_of(cuda, device.address);
  OK(check_as(cuda, device.address, info.range_bytes, UNSAID, NULL));
  OK(check_as(cuda, device.address + info.range_bytes - 1, 1, GPU, NULL));
  OK(check_as(cuda, device.address, 0, GPU, NULL));
  assert_int_equal(check_as(cuda, device.address, info.range_bytes + 1, UNSAID, NULL),
                   TARN_NOT_FOUND);
  assert_int_equal(check_as(cuda, device.address + 1, info.range_bytes, GPU, NULL), TARN_NOT_FOUND);
  assert_int_equal(check_as(cuda, device.address, PTRDIFF_MAX, GPU, NULL), TARN_NOT_FOUND);
  assert_int_equal(check_as(cuda, device.address, SIZE_MAX, GPU, NULL), TARN_TOO_LARGE);
  fixture_free(&device);
}

TEST(pages_that_are_not_pinned_are_found) {
  tarn_cuda *cuda = *state;
  const size_t page = 4096;
  unsigned char *pages =
      mmap(NULL, 5 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(pages != MAP_FAILED);
  tarn_cuda_pin *pins[3] = {NULL}; /* of somebody else: 0 and 1, each alone, and 3 */
  OK(tarn_cuda_pin_create(cuda, pages, page, 0, &pins[0]));
  OK(tarn_cuda_pin_create(cuda, pages + page, page, 0, &pins[1]));
  OK(tarn_cuda_pin_create(cuda, pages + 3 * page, page, 0, &pins[2]));
  tarn_device found;
  OK(check_as(cuda, pages, 2 * page, UNSAID, &found));
  assert_true(tarn_device_equal(found, PINNED_DEVICE));
  assert_int_equal(check_as(cuda, pages, 2 * page + 1, PINNED_DEVICE, NULL), TARN_NOT_FOUND);
  assert_int_equal(check_as(cuda, pages + 3 * page, page + 1, UNSAID, NULL), TARN_NOT_FOUND);
  if (fixture_sim_control() != NULL) { /* both ends are pinned, and the middle is not */
    assert_int_equal(check_as(cuda, pages, 4 * page, PINNED_DEVICE, NULL), TARN_NOT_FOUND);
  }
  OK(check_as(cuda, pages, 5 * page, CPU, NULL));
  for (int i = 0; i < 3; i++) tarn_cuda_pin_destroy(pins[i]);
  assert_false(info_of(cuda, pages).is_known);
  munmap(pages, 5 * page);
}

TEST(reserved_addresses_without_memory_are_found) {
  tarn_cuda *cuda = *state;
  tarn_provider *provider = NULL;
  void *range = NULL;
  const tarn_status status = tarn_cuda_virtual_provider_create(cuda, 0, NULL, &provider);
  if (status == TARN_NOT_SUPPORTED) skip();
  OK(status);
  const size_t granule = tarn_provider_attributes_of(provider)->granularity_bytes;
  OK(tarn_provider_reserve(provider, 4 * granule, &range));
  OK(tarn_provider_commit(provider, range, granule));
  OK(tarn_provider_commit(provider, (char *)range + granule, granule));
  OK(check_as(cuda, range, 2 * granule, UNSAID, NULL)); /* across two pieces */
  assert_int_equal(check_as(cuda, range, 2 * granule + 1, GPU, NULL), TARN_NOT_FOUND);
  assert_int_not_equal(check_as(cuda, (char *)range + 2 * granule, 1, GPU, NULL), TARN_OK);
  OK(tarn_provider_free(provider, range, 4 * granule));
  tarn_provider_release(provider);
}

/* What a driver says of managed memory, of which the simulator has none. */
static CUresult CUDAAPI say_managed(unsigned count, CUpointer_attribute *asked, void **answers,
                                    CUdeviceptr address) {
  for (unsigned i = 0; i < count; i++) {
    switch ((int)asked[i]) {
      case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)answers[i] = CU_MEMORYTYPE_DEVICE;
        break;
      case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned *)answers[i] = 1;
        break;
      case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)answers[i] = 0;
        break;
      case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(CUdeviceptr *)answers[i] = address & ~(CUdeviceptr)4095;
        break;
      default:
        *(size_t *)answers[i] = 4096;
    }
  }
  return CUDA_SUCCESS;
}

TEST(managed_memory_is_managed_and_no_device) {
  tarn_cuda *cuda = *state;
  const __typeof__(cuda->driver.PointerGetAttributes) asks = cuda->driver.PointerGetAttributes;
  char *const bytes = (char *)(uintptr_t)0x7000000;
  tarn_device found;
  cuda->driver.PointerGetAttributes = say_managed;
  OK(check_as(cuda, bytes, 6000, UNSAID, &found));
  assert_int_equal(found.type, TARN_DEVICE_CUDA_MANAGED);
  OK(check_as(cuda, bytes, 4096, CPU, NULL));
  assert_int_equal(check_as(cuda, bytes, 4096, GPU, NULL), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "managed memory"));
  cuda->driver.PointerGetAttributes = NULL; /* an old driver */
  assert_int_equal(check_as(cuda, bytes, 4096, UNSAID, NULL), TARN_NOT_SUPPORTED);
  cuda->driver.PointerGetAttributes = asks;
}

TEST(what_is_no_blob_is_refused) {
  tarn_cuda *cuda = *state;
  tarn_blob blob = {.struct_size = 3};
  tarn_cuda_pointer_info info = {.struct_size = 1};
  assert_int_equal(tarn_cuda_blob_check(cuda, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_blob_check(cuda, &blob), TARN_INVALID_ARGUMENT);
  blob = (tarn_blob){.struct_size = sizeof blob, .size_bytes = 1};
  assert_int_equal(tarn_cuda_blob_check(cuda, &blob), TARN_INVALID_ARGUMENT);
  blob.address = &blob;
  assert_int_equal(tarn_cuda_blob_check(NULL, &blob), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_pointer_info_of(cuda, &blob, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_pointer_info_of(cuda, &blob, &info), TARN_INVALID_ARGUMENT);
  info.struct_size = sizeof info;
  assert_int_equal(tarn_cuda_pointer_info_of(NULL, &blob, &info), TARN_INVALID_ARGUMENT);
}

TEST(a_driver_that_fails_is_named) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  fixture_block device = fixture_device_block(cuda, MIB);
  fixture_sim_control()->fail_call("cuPointerGetAttributes", 1, CUDA_ERROR_UNKNOWN);
  assert_int_equal(check_as(cuda, device.address, MIB, UNSAID, NULL), TARN_DEVICE_ERROR);
  assert_string_equal(tarn_last_error()->native_call, "cuPointerGetAttributes");
  fixture_sim_control()->fail_nothing();
  OK(check_as(cuda, device.address, MIB, UNSAID, NULL));
  fixture_free(&device);
}

TEST(a_child_of_fork_asks_nobody) {
  tarn_cuda *cuda = *state;
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) _exit(check_as(cuda, &cuda, 1, UNSAID, NULL) == TARN_UNAVAILABLE ? 0 : 1);
  int ended = -1;
  assert_int_equal(waitpid(child, &ended, 0), child);
  assert_true(WIFEXITED(ended));
  assert_int_equal(WEXITSTATUS(ended), 0);
}

int run_pointer_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
