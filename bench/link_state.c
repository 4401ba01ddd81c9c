/* link_state.c: NVML by dlopen, and the kernel's files of the PCI device.
 *
 * NVML's names, types and values: NVML API Reference Guide. An nvmlDevice_t is a pointer, an
 * nvmlReturn_t an int that is 0 on success.
 */
#include "bench/link_state.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLOCK_SM = 1, CLOCK_MEMORY = 2 };

/* member, name, parameters */
#define ENTRIES(X)                                                                              \
  X(init, "nvmlInit_v2", (void))                                                                \
  X(shutdown, "nvmlShutdown", (void))                                                           \
  X(handle, "nvmlDeviceGetHandleByPciBusId_v2", (const char *id, void **device))                \
  X(driver_version, "nvmlSystemGetDriverVersion", (char *text, unsigned bytes))                 \
  X(clock, "nvmlDeviceGetClockInfo", (void *device, int clock, unsigned *mhz))                  \
  X(clock_max, "nvmlDeviceGetMaxClockInfo", (void *device, int clock, unsigned *mhz))           \
  X(throttle, "nvmlDeviceGetCurrentClocksThrottleReasons", (void *device, uint64_t *reasons))   \
  X(events, "nvmlDeviceGetCurrentClocksEventReasons", (void *device, uint64_t *reasons))        \
  X(generation, "nvmlDeviceGetCurrPcieLinkGeneration", (void *device, unsigned *generation))    \
  X(generation_max, "nvmlDeviceGetMaxPcieLinkGeneration", (void *device, unsigned *generation)) \
  X(width, "nvmlDeviceGetCurrPcieLinkWidth", (void *device, unsigned *width))                   \
  X(width_max, "nvmlDeviceGetMaxPcieLinkWidth", (void *device, unsigned *width))                \
  X(ecc, "nvmlDeviceGetEccMode", (void *device, int *current, int *pending))                    \
  X(persistence, "nvmlDeviceGetPersistenceMode", (void *device, int *mode))

struct link_reader {
  const char *nvml_path;
  const char *pci_folder;
  char pci_bus_id[32]; /* "": no device */
  void *library;
  void *device;
  bool is_initialised;
  char absence[LINK_TEXT_BYTES];
#define MEMBER(member, name, parameters) int(*member) parameters;
  ENTRIES(MEMBER)
#undef MEMBER
};

static void load_nvml(link_reader *reader) {
  const char *path = reader->nvml_path == NULL ? "libnvidia-ml.so.1" : reader->nvml_path;
  reader->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (reader->library == NULL) {
    snprintf(reader->absence, sizeof reader->absence, "no %s", path);
    return;
  }
  void *address;
#define LOAD(member, name, parameters)    \
  address = dlsym(reader->library, name); \
  memcpy(&reader->member, &address, sizeof address);
  ENTRIES(LOAD)
#undef LOAD
  if (reader->init == NULL || reader->shutdown == NULL || reader->handle == NULL) {
    snprintf(reader->absence, sizeof reader->absence, "%s is no NVML", path);
    return;
  }
  int code = reader->init();
  reader->is_initialised = code == 0;
  if (code == 0) code = reader->handle(reader->pci_bus_id, &reader->device);
  if (code == 0) return;
  reader->device = NULL;
  snprintf(reader->absence, sizeof reader->absence, "%s knows no device %s (%d)", path,
           reader->pci_bus_id, code);
}

tarn_status link_reader_create(const link_sources *sources, link_reader **reader) {
  *reader = NULL;
  link_reader *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the link's state");
  made->nvml_path = sources->nvml_path;
  made->pci_folder = sources->pci_folder == NULL ? "/sys/bus/pci/devices" : sources->pci_folder;
  snprintf(made->pci_bus_id, sizeof made->pci_bus_id, "%s",
           sources->pci_bus_id == NULL ? "" : sources->pci_bus_id);
  if (sources->pci_bus_id == NULL) {
    snprintf(made->absence, sizeof made->absence, "there is no device");
  } else {
    load_nvml(made);
  }
  for (char *at = made->pci_bus_id; *at != '\0'; at++) { /* as the kernel's folders are named */
    if (*at >= 'A' && *at <= 'F') *at = (char)(*at - 'A' + 'a');
  }
  *reader = made;
  return TARN_OK;
}

void link_reader_destroy(link_reader *reader) {
  if (reader == NULL) return;
  if (reader->is_initialised) reader->shutdown();
  if (reader->library != NULL) dlclose(reader->library);
  free(reader);
}

const char *link_reader_nvml_absence(const link_reader *reader) {
  return reader->absence;
}

/* --- sysfs --- */

static bool read_file(const link_reader *reader, const char *name, char *text, int text_bytes) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s/%s", reader->pci_folder, reader->pci_bus_id, name);
  FILE *file = fopen(path, "r");
  if (file == NULL) return false;
  const bool is_read = fgets(text, text_bytes, file) != NULL;
  fclose(file);
  return is_read;
}

static int read_width(const link_reader *reader, const char *name) {
  char text[32];
  if (!read_file(reader, name, text, sizeof text)) return 0;
  const long width = strtol(text, NULL, 10);
  return width >= 1 && width <= 64 ? (int)width : 0; /* 0 and 255: not known */
}

/* "32.0 GT/s PCIe": by the rates of the generations' specifications. */
static int read_generation(const link_reader *reader, const char *name) {
  static const double rates[] = {2.5, 5, 8, 16, 32, 64, 128};
  char text[64];
  if (!read_file(reader, name, text, sizeof text)) return 0;
  const double rate = strtod(text, NULL);
  int generation = 0;
  for (int i = 0; i < (int)(sizeof rates / sizeof rates[0]); i++) {
    if (rate >= rates[i] - 0.1) generation = i + 1;
  }
  return generation;
}

/* The lesser of the two that are known. */
static int lesser(int a, int b) {
  if (a == 0 || b == 0) return a + b;
  return a < b ? a : b;
}

static bool read_sysfs(const link_reader *reader, link_state *state) {
  char node[32];
  state->generation = read_generation(reader, "current_link_speed");
  state->width = read_width(reader, "current_link_width");
  /* A link does what both of its ends can do; the other end is the device above. */
  state->generation_max = lesser(read_generation(reader, "max_link_speed"),
                                 read_generation(reader, "../max_link_speed"));
  state->width_max =
      lesser(read_width(reader, "max_link_width"), read_width(reader, "../max_link_width"));
  if (read_file(reader, "numa_node", node, sizeof node)) {
    state->numa_node = (int)strtol(node, NULL, 10);
  }
  return state->generation != 0 || state->width != 0;
}

/* --- NVML --- */

static void read_number(int (*entry)(void *device, unsigned *value), void *device, int *value) {
  unsigned found = 0;
  if (entry != NULL && entry(device, &found) == 0 && found != 0) *value = (int)found;
}

static void read_clock(int (*entry)(void *device, int clock, unsigned *mhz), void *device,
                       int clock, int *value) {
  unsigned found = 0;
  if (entry != NULL && entry(device, clock, &found) == 0) *value = (int)found;
}

static void read_nvml(const link_reader *reader, link_state *state) {
  void *device = reader->device;
  int now = 0;
  int pending = 0;
  read_number(reader->generation, device, &state->generation);
  read_number(reader->generation_max, device, &state->generation_max);
  read_number(reader->width, device, &state->width);
  read_number(reader->width_max, device, &state->width_max);
  read_clock(reader->clock, device, CLOCK_SM, &state->sm_mhz);
  read_clock(reader->clock_max, device, CLOCK_SM, &state->sm_mhz_max);
  read_clock(reader->clock, device, CLOCK_MEMORY, &state->memory_mhz);
  read_clock(reader->clock_max, device, CLOCK_MEMORY, &state->memory_mhz_max);
  if (reader->ecc != NULL && reader->ecc(device, &now, &pending) == 0) state->ecc = now != 0;
  if (reader->persistence != NULL && reader->persistence(device, &now) == 0) {
    state->persistence = now != 0;
  }
  int (*const reasons)(void *, uint64_t *) =
      reader->events != NULL ? reader->events : reader->throttle;
  state->has_throttle = reasons != NULL && reasons(device, &state->throttle) == 0;
  if (reader->driver_version == NULL ||
      reader->driver_version(state->driver, sizeof state->driver) != 0) {
    state->driver[0] = '\0';
  }
}

void link_read(const link_reader *reader, link_state *state) {
  *state = (link_state){.ecc = -1, .persistence = -1, .numa_node = -1};
  if (reader->pci_bus_id[0] == '\0') return;
  const bool has_sysfs = read_sysfs(reader, state);
  if (reader->device != NULL) read_nvml(reader, state);
  snprintf(state->told_by, sizeof state->told_by, "%s%s%s", reader->device != NULL ? "NVML" : "",
           reader->device != NULL && has_sysfs ? " and " : "", has_sysfs ? "sysfs" : "");
}

/* --- words --- */

bool link_is_downgraded(const link_state *state, char why[LINK_TEXT_BYTES]) {
  const bool is_slow = state->generation != 0 && state->generation < state->generation_max;
  const bool is_narrow = state->width != 0 && state->width < state->width_max;
  why[0] = '\0';
  if (!is_slow && !is_narrow) return false;
  char now[LINK_TEXT_BYTES];
  link_describe(state, now);
  snprintf(why, LINK_TEXT_BYTES, "the link runs at %.100s under load", now);
  return true;
}

static void describe_end(int generation, int width, char *text, size_t text_bytes) {
  char lanes[16] = "x?";
  if (width != 0) snprintf(lanes, sizeof lanes, "x%d", width);
  if (generation != 0) {
    snprintf(text, text_bytes, "%d.0 %s", generation, lanes);
  } else {
    snprintf(text, text_bytes, "? %s", lanes);
  }
}

void link_describe(const link_state *state, char text[LINK_TEXT_BYTES]) {
  char now[40];
  char most[40];
  if (state->generation == 0 && state->width == 0) {
    snprintf(text, LINK_TEXT_BYTES, "not told");
    return;
  }
  describe_end(state->generation, state->width, now, sizeof now);
  describe_end(state->generation_max, state->width_max, most, sizeof most);
  snprintf(text, LINK_TEXT_BYTES, "PCIe %s (of %s)", now, most);
}

void link_describe_throttle(const link_state *state, char text[LINK_TEXT_BYTES]) {
  static const struct {
    uint64_t bit;
    const char *name;
  } reasons[] = {{0x1, "idle"},
                 {0x2, "clocks set"},
                 {0x4, "power cap"},
                 {0x8, "hardware slowdown"},
                 {0x10, "sync boost"},
                 {0x20, "thermal, by software"},
                 {0x40, "thermal, by hardware"},
                 {0x80, "power brake"},
                 {0x100, "display"}};
  snprintf(text, LINK_TEXT_BYTES, !state->has_throttle ? "not told" : "none");
  size_t length = 0;
  for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
    if ((state->throttle & reasons[i].bit) == 0) continue;
    snprintf(text + length, LINK_TEXT_BYTES - length, "%s%s", length == 0 ? "" : ", ",
             reasons[i].name);
    length = strlen(text);
  }
}
