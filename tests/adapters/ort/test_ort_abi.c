/* test_ort_abi.c: tarn's own declarations of ONNX Runtime's interface against the real header. */
#include "tests/support/test.h"

#include <onnxruntime_c_api.h>

#include "alloc/adapters/ort/ort_abi.h"

#if ORT_API_VERSION >= 23 /* the newest that a row of the table is from */
#define CHECK_PLACE(place, since, result, name, parameters)          \
  _Static_assert(offsetof(OrtApi, name) == (place) * sizeof(void *), \
                 #name " stands at another place of OrtApi");
ORT_ABI_CALL_TABLE(CHECK_PLACE)

#define CHECK_TYPE(name, number, code, bits)                            \
  _Static_assert((int)ONNX_TENSOR_ELEMENT_DATA_TYPE_##name == (number), \
                 #name " is another element type");
ORT_ABI_DTYPE_TABLE(CHECK_TYPE)

#define CHECK_MEMBER(name)                                                          \
  _Static_assert(offsetof(OrtAllocator, name) == offsetof(ort_abi_allocator, name), \
                 #name " stands at another place of OrtAllocator");
CHECK_MEMBER(version)
CHECK_MEMBER(Alloc)
CHECK_MEMBER(Free)
CHECK_MEMBER(Info)
CHECK_MEMBER(Reserve)
CHECK_MEMBER(GetStats)
CHECK_MEMBER(AllocOnStream)
#if ORT_API_VERSION >= 25
CHECK_MEMBER(Shrink)
#endif

TEST(numbers_are_those_of_the_header) {
  assert_int_equal(ORT_ABI_FAIL, ORT_FAIL);
  assert_int_equal(ORT_ABI_INVALID_ARGUMENT, ORT_INVALID_ARGUMENT);
  assert_int_equal(ORT_ABI_NOT_IMPLEMENTED, ORT_NOT_IMPLEMENTED);
  assert_int_equal(ORT_ABI_DEVICE_ALLOCATOR, OrtDeviceAllocator);
  assert_int_equal(ORT_ABI_MEM_CPU_OUTPUT, OrtMemTypeCPUOutput);
  assert_int_equal(ORT_ABI_MEM_DEFAULT, OrtMemTypeDefault);
  assert_int_equal(ORT_ABI_CPU, OrtMemoryInfoDeviceType_CPU);
  assert_int_equal(ORT_ABI_GPU, OrtMemoryInfoDeviceType_GPU);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
#else
int main(void) {
  print_message("onnxruntime_c_api.h is of version %d: too old to compare\n", ORT_API_VERSION);
  return 77;
}
#endif
