/* test_cusim_memory.c: simulated memory: out of the CPU's reach, poisoned, limited. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whether a child that reads the address dies of it, whatever sanitizer watches. */
static bool reading_is_fatal(const volatile unsigned char *address) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    _exit(address[0] == 0 ? 0 : 1);
  }
  int ended = -1;
  assert_int_equal(waitpid(child, &ended, 0), child);
  return WIFSIGNALED(ended) && WTERMSIG(ended) == SIGSEGV;
}

CUSIM_TEST(the_cpu_cannot_follow_a_device_address) {
  const CUdeviceptr block = cusim_fixture_device(4096);
  assert_true(reading_is_fatal((const unsigned char *)(uintptr_t)block));
  unsigned char *pinned = cusim_fixture_pinned(16);
  assert_false(reading_is_fatal(pinned));
  CU(cuMemFree(block));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(fresh_memory_is_poisoned) {
  unsigned char *pinned = cusim_fixture_pinned(1000), *result = cusim_fixture_pinned(1000);
  for (int i = 0; i < 1000; i++) assert_int_equal(pinned[i], 0xCD);
  for (int round = 0; round < 2; round++) { /* and again where a block was freed */
    const CUdeviceptr block = cusim_fixture_device(1000);
    CU(cuMemcpyDtoH(result, block, 1000));
    assert_memory_equal(result, pinned, 1000);
    CU(cuMemsetD8Async(block, 0, 1000, NULL));
    CU(cuStreamSynchronize(NULL));
    CU(cuMemFree(block));
  }
  CU(cuMemFreeHost(pinned));
  CU(cuMemFreeHost(result));
}

CUSIM_TEST(freed_addresses_come_back_and_are_aligned_to_256_only) {
  const CUdeviceptr first = cusim_fixture_device(10000), second = cusim_fixture_device(10000);
  assert_int_equal(first % 256, 0);
  assert_int_not_equal(first % 512, 0);
  assert_int_not_equal(second % 512, 0);
  CU(cuMemFree(first));
  assert_true(cusim_fixture_device(10000) == first);
  CU(cuMemFree(second));
  CU(cuMemFree(first));
  CU(cuMemFree(0));
  assert_int_equal(cuMemFree(first), CUDA_ERROR_INVALID_VALUE);
}

CUSIM_TEST(holes_are_found_and_blocks_never_overlap) {
  enum { BLOCKS = 64, ROUNDS = 2000 };
  struct {
    CUdeviceptr address;
    size_t size_bytes;
  } blocks[BLOCKS] = {{0}};
  srand(7);
  for (int round = 0; round < ROUNDS; round++) {
    const int i = rand() % BLOCKS;
    if (blocks[i].address != 0) {
      CU(cuMemFree(blocks[i].address));
      blocks[i].address = 0;
      continue;
    }
    blocks[i].size_bytes = 1 + (size_t)(rand() % 20000);
    blocks[i].address = cusim_fixture_device(blocks[i].size_bytes);
    for (int k = 0; k < BLOCKS; k++) {
      if (k == i || blocks[k].address == 0) continue;
      assert_true(blocks[i].address >= blocks[k].address + blocks[k].size_bytes ||
                  blocks[k].address >= blocks[i].address + blocks[i].size_bytes);
    }
  }
  for (int i = 0; i < BLOCKS; i++) {
    if (blocks[i].address != 0) CU(cuMemFree(blocks[i].address));
  }
}

CUSIM_TEST(a_device_has_a_capacity) {
  CUdeviceptr block = 0, more = 0;
  size_t free_bytes = 0, total_bytes = 0;
  cusim_set_capacity(0, 1 << 20);
  assert_int_equal(cuMemAlloc(&block, (1 << 20) + 1), CUDA_ERROR_OUT_OF_MEMORY);
  CU(cuMemAlloc(&block, (1 << 20) - 10));
  CU(cuMemGetInfo(&free_bytes, &total_bytes));
  assert_int_equal(free_bytes, 10);
  assert_int_equal(total_bytes, 1 << 20);
  assert_int_equal(cuMemAlloc(&more, 11), CUDA_ERROR_OUT_OF_MEMORY);
  CU(cuMemAlloc(&more, 10));
  CU(cuMemFree(more));
  CU(cuMemFree(block));
  assert_int_equal(cuMemAlloc(&block, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemAlloc(&block, SIZE_MAX), CUDA_ERROR_OUT_OF_MEMORY);
  cusim_set_capacity(0, CUSIM_TEST_CAPACITY);
}

CUSIM_TEST(page_locked_memory_can_be_limited) {
  void *first = NULL, *second = NULL;
  cusim_set_pinned_capacity(1000);
  CU(cuMemHostAlloc(&first, 600, 0));
  assert_int_equal(cuMemHostAlloc(&second, 401, 0), CUDA_ERROR_OUT_OF_MEMORY);
  CU(cuMemHostAlloc(&second, 400, 0));
  CU(cuMemFreeHost(first));
  CU(cuMemFreeHost(second));
  assert_int_equal(cuMemFreeHost(second), CUDA_ERROR_INVALID_VALUE);
  cusim_set_pinned_capacity(SIZE_MAX);
}

CUSIM_TEST(registered_memory_is_the_callers) {
  static unsigned char bytes[8192];
  assert_int_equal(cuMemHostUnregister(bytes), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  CU(cuMemHostRegister(bytes, 4096, CU_MEMHOSTREGISTER_PORTABLE));
  assert_int_equal(cuMemHostRegister(bytes + 4095, 2, 0),
                   CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  CU(cuMemHostRegister(bytes + 4096, 4096, 0));
  CUdeviceptr address = 0;
  CU(cuMemHostGetDevicePointer(&address, bytes, 0));
  assert_true(address == at(bytes));
  /* A copy stays inside of one registration. */
  const CUdeviceptr block = cusim_fixture_device(8192);
  assert_int_equal(cuMemcpyAsync(block, at(bytes), 4097, NULL), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemcpyAsync(block, at(bytes), 4096, NULL));
  CU(cuStreamSynchronize(NULL));
  CU(cuMemFree(block));
  assert_int_equal(cuMemFreeHost(bytes), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemHostUnregister(bytes));
  CU(cuMemHostUnregister(bytes + 4096));
  bytes[0] = 1;
}

CUSIM_TEST(what_is_registered_for_reading_is_not_written) {
  static unsigned char bytes[4096];
  const CUdeviceptr block = cusim_fixture_device(4096);
  CU(cuMemHostRegister(bytes, 4096, CU_MEMHOSTREGISTER_READ_ONLY | CU_MEMHOSTREGISTER_PORTABLE));
  CU(cuMemcpyAsync(block, at(bytes), 4096, NULL));
  assert_int_equal(cuMemcpyAsync(at(bytes), block, 4096, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD8Async(at(bytes), 1, 4096, NULL), CUDA_ERROR_INVALID_VALUE);
  CU(cuStreamSynchronize(NULL));
  CU(cuMemHostUnregister(bytes));
  CU(cuMemFree(block));
}

CUSIM_TEST(pages_are_registered_as_far_as_the_process_may_touch_them) {
  enum { PAGE = 4096 };
  char *pages = mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(pages != MAP_FAILED);
  assert_int_equal(cuMemHostRegister(pages, PAGE, 0), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemHostRegister(pages, 3 * PAGE, CU_MEMHOSTREGISTER_READ_ONLY));
  CU(cuMemHostUnregister(pages));
  assert_int_equal(mprotect(pages, PAGE, PROT_READ | PROT_WRITE), 0);
  CU(cuMemHostRegister(pages, PAGE, 0));
  CU(cuMemHostUnregister(pages));
  assert_int_equal(cuMemHostRegister(pages, PAGE + 1, 0), CUDA_ERROR_INVALID_VALUE);
  /* A hole in the middle. */
  assert_int_equal(munmap(pages + PAGE, PAGE), 0);
  assert_int_equal(cuMemHostRegister(pages, 3 * PAGE, CU_MEMHOSTREGISTER_READ_ONLY),
                   CUDA_ERROR_INVALID_VALUE);
  munmap(pages, 3 * PAGE);
}

CUSIM_TEST(one_call_registers_less_than_512_gib) {
  const size_t size_bytes = (size_t)512 << 30;
  void *pages =
      mmap(NULL, size_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) skip(); /* an address space that is limited */
  const unsigned flags = CU_MEMHOSTREGISTER_READ_ONLY;
  assert_int_equal(cuMemHostRegister(pages, size_bytes, flags), CUDA_ERROR_OUT_OF_MEMORY);
  CU(cuMemHostRegister(pages, size_bytes - 4096, flags));
  CU(cuMemHostUnregister(pages));
  munmap(pages, size_bytes);
}

CUSIM_TEST(an_address_says_what_it_is) {
  unsigned char pageable[16];
  unsigned type = 0;
  int ordinal = -1;
  CUdeviceptr start = 0;
  size_t size_bytes = 0;
  CUcontext context = NULL;
  const CUdeviceptr block = cusim_fixture_device(1000);
  unsigned char *pinned = cusim_fixture_pinned(1000);
  CU(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, block + 999));
  assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
  CU(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at(pinned)));
  assert_int_equal(type, CU_MEMORYTYPE_HOST);
  assert_int_equal(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at(pageable)),
                   CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, block + 1000),
                   CUDA_ERROR_INVALID_VALUE);
  CU(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, block));
  assert_int_equal(ordinal, 0);
  CU(cuPointerGetAttribute(&context, CU_POINTER_ATTRIBUTE_CONTEXT, block));
  assert_ptr_equal(context, *state);
  CU(cuMemGetAddressRange(&start, &size_bytes, block + 5));
  assert_true(start == block && size_bytes == 1000);
  CU(cuMemFree(block));
  CU(cuMemFreeHost(pinned));
}

/* Under a context of its own, which does not survive. */
static void break_by_freeing(CUdeviceptr *block, void **pinned, bool frees_device) {
  CUstream stream = cusim_fixture_stream();
  CU(cuMemcpyAsync(*block, at(*pinned), 100, stream));
  if (frees_device) {
    CU(cuMemFree(*block));
    *block = cusim_fixture_device(100); /* the same address again does not help */
  } else {
    CU(cuMemFreeHost(*pinned));
  }
  cusim_expect_race("takes away", "cuMemcpyAsync", "the host never waited");
  assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
  assert_int_equal(cuMemFree(*block), CUDA_ERROR_ILLEGAL_ADDRESS); /* it sticks */
  assert_non_null(strstr(cusim_fault(), frees_device ? "destination" : "source"));
}

static int teardown_after_the_break(void **state) {
  (void)state;
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(0));
  return 0;
}

TEST_WITH(freeing_under_enqueued_work_breaks_the_context, cusim_setup, teardown_after_the_break) {
  for (int round = 0; round < 2; round++) {
    CUcontext second = NULL;
    CU(cuDevicePrimaryCtxRetain(&second, 1));
    CU(cuCtxPushCurrent(second));
    CUdeviceptr block = cusim_fixture_device(100);
    void *pinned = cusim_fixture_pinned(100);
    break_by_freeing(&block, &pinned, round == 0);
    CU(cuCtxPopCurrent(NULL));
    CU(cuDevicePrimaryCtxRelease(1));
  }
}

/* The broken context took its objects with it. */
int run_cusim_memory_tests(void) {
  return run_listed_tests(NULL, NULL);
}
