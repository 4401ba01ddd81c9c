/* test_driver.c: finding the driver, and saying precisely why there is none. */
#include "tests/cuda/cuda_fixture.h"

#include <unistd.h>

static tarn_status open_path(const char *path) {
  tarn_cuda *cuda = (tarn_cuda *)&cuda;
  const tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = path};
  const tarn_status status = tarn_cuda_open(&options, &cuda);
  if (status == TARN_OK) {
    tarn_cuda_release(cuda);
  } else {
    assert_null(cuda);
  }
  return status;
}

static void assert_message_has(const char *words) {
  if (strstr(tarn_last_error()->message, words) != NULL) return;
  print_error("\"%s\" does not say \"%s\"\n", tarn_last_error()->message, words);
  fail();
}

TEST(a_missing_library_is_unavailable_and_named) {
  assert_int_equal(open_path("/nowhere/libcuda.so.1"), TARN_UNAVAILABLE);
  assert_message_has("/nowhere/libcuda.so.1");
  assert_string_equal(tarn_last_error()->native_call, "dlopen");
}

TEST(a_library_that_is_no_driver_is_unavailable) {
  assert_int_equal(open_path("libm.so.6"), TARN_UNAVAILABLE);
  assert_message_has("libm.so.6 has no cuGetProcAddress");
}

TEST(the_stub_of_the_toolkit_is_no_driver) {
  if (access(STUB_DRIVER, R_OK) != 0) {
    print_message("skipped: the toolkit's stub of libcuda is not installed\n");
    skip();
  }
  assert_int_equal(open_path(STUB_DRIVER), TARN_UNAVAILABLE);
  assert_message_has("stub");
  assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_STUB_LIBRARY);
}

TEST(a_missing_required_entry_is_named) {
  FIXTURE_NEEDS_SIM();
#define HIDE_REQUIRED(name, version, need)                     \
  if (strcmp(#need, "REQUIRED") == 0) {                        \
    fixture_sim_control()->hide("cu" #name);                   \
    assert_int_equal(open_path(SIM_DRIVER), TARN_UNAVAILABLE); \
    assert_message_has("lacks cu" #name " (ABI of CUDA ");     \
  }
  TARN__DRIVER_TABLE(HIDE_REQUIRED)
#undef HIDE_REQUIRED
  fixture_sim_control()->hide(NULL);
  OK(open_path(SIM_DRIVER));
}

TEST(a_driver_that_fails_to_answer_is_not_called_too_old) {
  FIXTURE_NEEDS_SIM();
  fixture_sim_control()->fail_call("cuGetProcAddress", 1, CUDA_ERROR_UNKNOWN);
  assert_int_equal(open_path(SIM_DRIVER), TARN_UNAVAILABLE);
  assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_UNKNOWN);
  assert_message_has("answers 999 when it is asked for cu");
}

TEST(a_missing_optional_entry_is_fine) {
  FIXTURE_NEEDS_SIM();
  int optional_count = 0;
#define HIDE_OPTIONAL(name, version, need)   \
  if (strcmp(#need, "OPTIONAL") == 0) {      \
    fixture_sim_control()->hide("cu" #name); \
    OK(open_path(SIM_DRIVER));               \
    optional_count++;                        \
  }
  TARN__DRIVER_TABLE(HIDE_OPTIONAL)
#undef HIDE_OPTIONAL
  assert_true(optional_count > 0);

  fixture_sim_control()->hide("cuDeviceGetPCIBusId");
  tarn_cuda *cuda = fixture_open();
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  assert_string_equal(info.pci_bus_id, "");
  tarn_cuda_release(cuda);
  fixture_sim_control()->hide(NULL);
}

TEST(a_driver_before_cuda_12_serves_as_well) {
  if (fixture_sim_control() == NULL) {
    print_message("skipped: the old driver stands in front of the simulated one\n");
    skip();
  }
  OK(open_path(OLD_DRIVER));
  fixture_sim_control()->hide("cuMemAlloc");
  assert_int_equal(open_path(OLD_DRIVER), TARN_UNAVAILABLE);
  assert_message_has("lacks cuMemAlloc");
  fixture_sim_control()->hide(NULL);
}

TEST_WITH(every_entry_is_found_by_its_own_version, fixture_setup, fixture_teardown) {
  const tarn_cuda *cuda = *state;
  /* The newest variants take other arguments, so a wrong version would be another function. */
#define IS_THERE(name, version, need) assert_true(cuda->driver.name != NULL);
  TARN__DRIVER_TABLE(IS_THERE)
#undef IS_THERE
  assert_true(tarn_cuda_driver_version(cuda) >= 11030);
}

TEST(an_options_struct_of_another_size_is_refused) {
  tarn_cuda *cuda = (tarn_cuda *)&cuda;
  const tarn_cuda_options options = {.struct_size = sizeof options - 1};
  assert_int_equal(tarn_cuda_open(&options, &cuda), TARN_INVALID_ARGUMENT);
  assert_null(cuda);
  assert_int_equal(tarn_cuda_open(NULL, NULL), TARN_INVALID_ARGUMENT);
}

TEST(a_driver_that_does_not_start_says_the_drivers_reason) {
  FIXTURE_NEEDS_SIM();
  fixture_sim_control()->fail_call("cuInit", 1, CUDA_ERROR_NO_DEVICE);
  assert_int_equal(open_path(SIM_DRIVER), TARN_UNAVAILABLE);
  assert_string_equal(tarn_last_error()->native_call, "cuInit");
  assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_NO_DEVICE);
  assert_message_has("CUDA_ERROR_NO_DEVICE (100)");
}

int run_driver_tests(void) {
  return run_listed_tests(NULL, NULL);
}
