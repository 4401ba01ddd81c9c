/* test_link_state.c: what NVML and the kernel's files say of a link, and what follows from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/link_state.h"

static const char *fake_nvml;
static char folder[] = "/tmp/tarn_link_XXXXXX";

static const char *const nvml_names[] = {"FAKE_NVML_GENERATION", "FAKE_NVML_GENERATION_MAX",
                                         "FAKE_NVML_WIDTH",      "FAKE_NVML_WIDTH_MAX",
                                         "FAKE_NVML_THROTTLE",   "FAKE_NVML_NO_DEVICE"};

static void write_file(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static void write_device(const char *speed, const char *speed_max, const char *width,
                         const char *width_max) {
  write_file("0000:3b:00.0/current_link_speed", speed);
  write_file("0000:3b:00.0/max_link_speed", speed_max);
  write_file("0000:3b:00.0/current_link_width", width);
  write_file("0000:3b:00.0/max_link_width", width_max);
  write_file("0000:3b:00.0/numa_node", "1\n");
}

static void read_state(const char *nvml, link_state *state) {
  char bus_id[] = "0000:3B:00.0"; /* as CUDA writes it; the kernel writes small letters */
  const link_sources sources = {.nvml_path = nvml, .pci_folder = folder, .pci_bus_id = bus_id};
  link_reader *reader = NULL;
  assert_int_equal(link_reader_create(&sources, &reader), TARN_OK);
  memset(bus_id, 'x', sizeof bus_id - 1); /* the reader has its own */
  link_read(reader, state);
  link_reader_destroy(reader);
}

static int clear_sources(void **state) {
  (void)state;
  static const char *const files[] = {"current_link_speed", "max_link_speed", "current_link_width",
                                      "max_link_width", "numa_node"};
  char path[256];
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    snprintf(path, sizeof path, "%s/0000:3b:00.0/%s", folder, files[i]);
    unlink(path);
  }
  snprintf(path, sizeof path, "%s/max_link_speed", folder);
  unlink(path);
  for (size_t i = 0; i < sizeof nvml_names / sizeof nvml_names[0]; i++) unsetenv(nvml_names[i]);
  return 0;
}

static void link_at_its_own_speed_is_not_downgraded(void **unused) {
  (void)unused;
  link_state state;
  char text[LINK_TEXT_BYTES];
  write_device("32.0 GT/s PCIe\n", "32.0 GT/s PCIe\n", "16\n", "16\n");
  read_state("/nonexistent/nvml.so", &state);
  assert_false(link_is_downgraded(&state, text));
  assert_string_equal(text, "");
  link_describe(&state, text);
  assert_string_equal(text, "PCIe 5.0 x16 (of 5.0 x16)");
  assert_string_equal(state.told_by, "sysfs");
  assert_int_equal(state.numa_node, 1);
  assert_int_equal(state.ecc, -1);
}

static void slower_or_narrower_link_is_downgraded(void **unused) {
  (void)unused;
  link_state state;
  char why[LINK_TEXT_BYTES];
  write_device("8.0 GT/s PCIe\n", "32.0 GT/s PCIe\n", "16\n", "16\n");
  read_state("/nonexistent/nvml.so", &state);
  assert_true(link_is_downgraded(&state, why));
  assert_non_null(strstr(why, "PCIe 3.0 x16 (of 5.0 x16)"));
  write_device("32.0 GT/s PCIe\n", "32.0 GT/s PCIe\n", "8\n", "16\n");
  read_state("/nonexistent/nvml.so", &state);
  assert_true(link_is_downgraded(&state, why));
  assert_non_null(strstr(why, "PCIe 5.0 x8 (of 5.0 x16)"));
}

/* A fast card in a slow slot does what the slot can. */
static void slot_bounds_what_is_expected(void **unused) {
  (void)unused;
  link_state state;
  char why[LINK_TEXT_BYTES];
  write_device("16.0 GT/s PCIe\n", "32.0 GT/s PCIe\n", "16\n", "16\n");
  write_file("max_link_speed", "16.0 GT/s PCIe\n");
  read_state("/nonexistent/nvml.so", &state);
  assert_int_equal(state.generation_max, 4);
  assert_false(link_is_downgraded(&state, why));
}

static void what_nobody_tells_is_not_downgraded(void **unused) {
  (void)unused;
  link_state state;
  char text[LINK_TEXT_BYTES];
  read_state("/nonexistent/nvml.so", &state);
  assert_false(link_is_downgraded(&state, text));
  link_describe(&state, text);
  assert_string_equal(text, "not told");
  link_describe_throttle(&state, text);
  assert_string_equal(text, "not told");
  write_device("Unknown\n", "Unknown\n", "0\n", "255\n");
  read_state("/nonexistent/nvml.so", &state);
  assert_false(link_is_downgraded(&state, text));
  assert_string_equal(state.told_by, "");
}

static void nvml_tells_clocks_throttling_and_link(void **unused) {
  (void)unused;
  link_state state;
  char text[LINK_TEXT_BYTES];
  setenv("FAKE_NVML_GENERATION", "4", 1);
  setenv("FAKE_NVML_GENERATION_MAX", "5", 1);
  setenv("FAKE_NVML_WIDTH", "16", 1);
  setenv("FAKE_NVML_WIDTH_MAX", "16", 1);
  setenv("FAKE_NVML_THROTTLE", "0x44", 1);
  read_state(fake_nvml, &state);
  assert_string_equal(state.driver, "580.00.fake");
  assert_string_equal(state.told_by, "NVML");
  assert_true(state.sm_mhz == 1980 && state.memory_mhz_max == 3201);
  assert_true(state.ecc == 1 && state.persistence == 0);
  link_describe_throttle(&state, text);
  assert_string_equal(text, "power cap, thermal, by hardware");
  assert_true(link_is_downgraded(&state, text));
  setenv("FAKE_NVML_GENERATION", "5", 1);
  setenv("FAKE_NVML_THROTTLE", "0", 1);
  read_state(fake_nvml, &state);
  assert_false(link_is_downgraded(&state, text));
  link_describe_throttle(&state, text);
  assert_string_equal(text, "none");
}

static void absence_of_nvml_is_told(void **unused) {
  (void)unused;
  link_sources sources = {.nvml_path = "/nonexistent/nvml.so", .pci_bus_id = "0000:3b:00.0"};
  link_reader *reader = NULL;
  assert_int_equal(link_reader_create(&sources, &reader), TARN_OK);
  assert_non_null(strstr(link_reader_nvml_absence(reader), "/nonexistent/nvml.so"));
  link_reader_destroy(reader);
  setenv("FAKE_NVML_NO_DEVICE", "1", 1);
  sources.nvml_path = fake_nvml;
  assert_int_equal(link_reader_create(&sources, &reader), TARN_OK);
  assert_non_null(strstr(link_reader_nvml_absence(reader), "knows no device"));
  link_reader_destroy(reader);
  unsetenv("FAKE_NVML_NO_DEVICE");
  assert_int_equal(link_reader_create(&sources, &reader), TARN_OK);
  assert_string_equal(link_reader_nvml_absence(reader), "");
  link_reader_destroy(reader);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(link_at_its_own_speed_is_not_downgraded, clear_sources),
      cmocka_unit_test_teardown(slower_or_narrower_link_is_downgraded, clear_sources),
      cmocka_unit_test_teardown(slot_bounds_what_is_expected, clear_sources),
      cmocka_unit_test_teardown(what_nobody_tells_is_not_downgraded, clear_sources),
      cmocka_unit_test_teardown(nvml_tells_clocks_throttling_and_link, clear_sources),
      cmocka_unit_test_teardown(absence_of_nvml_is_told, clear_sources),
  };
  char device[64];
  if (argc != 2 || mkdtemp(folder) == NULL) return 1;
  fake_nvml = argv[1];
  snprintf(device, sizeof device, "%s/0000:3b:00.0", folder);
  if (mkdir(device, 0700) != 0) return 1;
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rmdir(device);
  rmdir(folder);
  return failed;
}
