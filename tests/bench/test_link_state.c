/* test_link_state.c: what NVML and the kernel's files say of a link, and what follows from it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/link_state.h"
#include "tests/support/test.h"

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

static void read_state(const char *nvml, link_state *seen) {
  char bus_id[] = "0000:3B:00.0"; /* as CUDA writes it; the kernel writes small letters */
  const link_sources sources = {.nvml_path = nvml, .pci_folder = folder, .pci_bus_id = bus_id};
  link_reader *reader = NULL;
  assert_int_equal(link_reader_create(&sources, &reader), TARN_OK);
  memset(bus_id, 'x', sizeof bus_id - 1); /* the reader has its own */
  link_read(reader, seen);
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

TEST_WITH(link_at_its_own_speed_is_not_downgraded, NULL, clear_sources) {
  link_state seen;
  char text[LINK_TEXT_BYTES];
  write_device("32.0 GT/s PCIe\n", "32.0 GT/s PCIe\n", "16\n", "16\n");
  read_state("/nonexistent/nvml.so", &seen);
  assert_false(link_is_downgraded(&seen, text));
  assert_string_equal(text, "");
  link_describe(&seen, text);
  assert_string_equal(text, "PCIe 5.0 x16 (of 5.0 x16)");
  assert_string_equal(seen.told_by, "sysfs");
  assert_int_equal(seen.numa_node, 1);
  assert_int_equal(seen.ecc, -1);
}

TEST_WITH(slower_or_narrower_link_is_downgraded, NULL, clear_sources) {
  link_state seen;
  char why[LINK_TEXT_BYTES];
  write_device("8.0 GT/s PCIe\n", "32.0 GT/s PCIe\n", "16\n", "16\n");
  read_state("/nonexistent/nvml.so", &seen);
  assert_true(link_is_downgraded(&seen, why));
  assert_non_null(strstr(why, "PCIe 3.0 x16 (of 5.0 x16)"));
  write_device("32.0 GT/s PCIe\n", "32.0 GT/s PCIe\n", "8\n", "16\n");
  read_state("/nonexistent/nvml.so", &seen);
  assert_true(link_is_downgraded(&seen, why));
  assert_non_null(strstr(why, "PCIe 5.0 x8 (of 5.0 x16)"));
}

/* A fast card in a slow slot does what the slot can. */
TEST_WITH(slot_bounds_what_is_expected, NULL, clear_sources) {
  link_state seen;
  char why[LINK_TEXT_BYTES];
  write_device("16.0 GT/s PCIe\n", "32.0 GT/s PCIe\n", "16\n", "16\n");
  write_file("max_link_speed", "16.0 GT/s PCIe\n");
  read_state("/nonexistent/nvml.so", &seen);
  assert_int_equal(seen.generation_max, 4);
  assert_false(link_is_downgraded(&seen, why));
}

TEST_WITH(what_nobody_tells_is_not_downgraded, NULL, clear_sources) {
  link_state seen;
  char text[LINK_TEXT_BYTES];
  read_state("/nonexistent/nvml.so", &seen);
  assert_false(link_is_downgraded(&seen, text));
  link_describe(&seen, text);
  assert_string_equal(text, "not told");
  link_describe_throttle(&seen, text);
  assert_string_equal(text, "not told");
  write_device("Unknown\n", "Unknown\n", "0\n", "255\n");
  read_state("/nonexistent/nvml.so", &seen);
  assert_false(link_is_downgraded(&seen, text));
  assert_string_equal(seen.told_by, "");
}

TEST_WITH(nvml_tells_clocks_throttling_and_link, NULL, clear_sources) {
  link_state seen;
  char text[LINK_TEXT_BYTES];
  setenv("FAKE_NVML_GENERATION", "4", 1);
  setenv("FAKE_NVML_GENERATION_MAX", "5", 1);
  setenv("FAKE_NVML_WIDTH", "16", 1);
  setenv("FAKE_NVML_WIDTH_MAX", "16", 1);
  setenv("FAKE_NVML_THROTTLE", "0x44", 1);
  read_state(fake_nvml, &seen);
  assert_string_equal(seen.driver, "580.00.fake");
  assert_string_equal(seen.told_by, "NVML");
  assert_true(seen.sm_mhz == 1980 && seen.memory_mhz_max == 3201);
  assert_true(seen.ecc == 1 && seen.persistence == 0);
  link_describe_throttle(&seen, text);
  assert_string_equal(text, "power cap, thermal, by hardware");
  assert_true(link_is_downgraded(&seen, text));
  setenv("FAKE_NVML_GENERATION", "5", 1);
  setenv("FAKE_NVML_THROTTLE", "0", 1);
  read_state(fake_nvml, &seen);
  assert_false(link_is_downgraded(&seen, text));
  link_describe_throttle(&seen, text);
  assert_string_equal(text, "none");
}

TEST_WITH(absence_of_nvml_is_told, NULL, clear_sources) {
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
  char device[64];
  if (argc != 2 || mkdtemp(folder) == NULL) return 1;
  fake_nvml = argv[1];
  snprintf(device, sizeof device, "%s/0000:3b:00.0", folder);
  if (mkdir(device, 0700) != 0) return 1;
  const int failed = run_listed_tests(NULL, NULL);
  rmdir(device);
  rmdir(folder);
  return failed;
}
