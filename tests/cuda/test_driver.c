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

static void a_missing_library_is_unavailable_and_named(void **state) {
  (void)state;
  assert_int_equal(open_path("/nowhere/libcuda.so.1"), TARN_UNAVAILABLE);
  assert_message_has("/nowhere/libcuda.so.1");
  assert_string_equal(tarn_last_error()->native_call, "dlopen");
}

static void a_library_that_is_no_driver_is_unavailable(void **state) {
  (void)state;
  assert_int_equal(open_path("libm.so.6"), TARN_UNAVAILABLE);
  assert_message_has("libm.so.6 has no cuGetProcAddress");
}

static void the_stub_of_the_toolkit_is_no_driver(void **state) {
  (void)state;
  if (access(STUB_DRIVER, R_OK) != 0) {
    print_message("skipped: the toolkit's stub of libcuda is not installed\n");
    skip();
  }
  assert_int_equal(open_path(STUB_DRIVER), TARN_UNAVAILABLE);
  assert_message_has("stub");
  assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_STUB_LIBRARY);
}

static void a_missing_required_entry_is_named(void **state) {
  (void)state;
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

static void a_missing_optional_entry_is_fine(void **state) {
  (void)state;
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

static void a_driver_before_cuda_12_serves_as_well(void **state) {
  (void)state;
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

static void every_entry_is_found_by_its_own_version(void **state) {
  const tarn_cuda *cuda = *state;
  /* The newest variants take other arguments, so a wrong version would be another function. */
#define IS_THERE(name, version, need) assert_true(cuda->driver.name != NULL);
  TARN__DRIVER_TABLE(IS_THERE)
#undef IS_THERE
  assert_true(tarn_cuda_driver_version(cuda) >= 11030);
}

static void an_options_struct_of_another_size_is_refused(void **state) {
  (void)state;
  tarn_cuda *cuda = (tarn_cuda *)&cuda;
  const tarn_cuda_options options = {.struct_size = sizeof options - 1};
  assert_int_equal(tarn_cuda_open(&options, &cuda), TARN_INVALID_ARGUMENT);
  assert_null(cuda);
  assert_int_equal(tarn_cuda_open(NULL, NULL), TARN_INVALID_ARGUMENT);
}

static void a_driver_that_does_not_start_says_the_drivers_reason(void **state) {
  (void)state;
  FIXTURE_NEEDS_SIM();
  fixture_sim_control()->fail_call("cuInit", 1, CUDA_ERROR_NO_DEVICE);
  assert_int_equal(open_path(SIM_DRIVER), TARN_UNAVAILABLE);
  assert_string_equal(tarn_last_error()->native_call, "cuInit");
  assert_int_equal(tarn_last_error()->native_code, CUDA_ERROR_NO_DEVICE);
  assert_message_has("CUDA_ERROR_NO_DEVICE (100)");
}

int run_driver_tests(void) {
  const struct CMUnitTest driver_tests[] = {
      cmocka_unit_test(a_missing_library_is_unavailable_and_named),
      cmocka_unit_test(a_library_that_is_no_driver_is_unavailable),
      cmocka_unit_test(the_stub_of_the_toolkit_is_no_driver),
      cmocka_unit_test(a_missing_required_entry_is_named),
      cmocka_unit_test(a_missing_optional_entry_is_fine),
      cmocka_unit_test(a_driver_before_cuda_12_serves_as_well),
      cmocka_unit_test_setup_teardown(every_entry_is_found_by_its_own_version, fixture_setup,
                                      fixture_teardown),
      cmocka_unit_test(an_options_struct_of_another_size_is_refused),
      cmocka_unit_test(a_driver_that_does_not_start_says_the_drivers_reason),
  };
  return cmocka_run_group_tests(driver_tests, NULL, NULL);
}
