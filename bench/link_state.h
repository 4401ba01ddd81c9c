/* link_state.h: the bus between host and GPU, and the GPU's clocks, as NVML and sysfs tell them.
 *
 * A link that is idle may save power at a lower speed, so it is looked at while copies run. */
#ifndef BENCH_LINK_STATE_H
#define BENCH_LINK_STATE_H

#include "alloc/tarn_status.h"

enum { LINK_TEXT_BYTES = 160 };

typedef struct link_sources {
  const char *nvml_path;  /* what to dlopen; NULL: libnvidia-ml.so.1 */
  const char *pci_folder; /* NULL: /sys/bus/pci/devices */
  const char *pci_bus_id; /* "0000:17:00.0"; NULL: no device, and nothing is known */
} link_sources;

/* 0 and -1 where nobody tells. */
typedef struct link_state {
  int generation; /* of PCI Express, now */
  int generation_max;
  int width; /* lanes, now */
  int width_max;
  int sm_mhz;
  int sm_mhz_max;
  int memory_mhz;
  int memory_mhz_max;
  int ecc;         /* 1 on, 0 off */
  int persistence; /* likewise */
  int numa_node;
  bool has_throttle;
  uint64_t throttle; /* NVML's bits of reasons */
  char driver[80];   /* the kernel module's version; "" not told */
  char told_by[64];  /* "NVML and sysfs", "sysfs", "NVML", "" */
} link_state;

typedef struct link_reader link_reader;

/* The two paths must stay; pci_bus_id is copied. */
TARN_NODISCARD tarn_status link_reader_create(const link_sources *sources, link_reader **reader);
void link_reader_destroy(link_reader *reader);
/* Why there is no NVML; "" where there is. */
const char *link_reader_nvml_absence(const link_reader *reader);

/* Both at this moment; some 0.1 ms. */
void link_read(const link_reader *reader, link_state *state);

/* True where the link is known to be slower or narrower than device and slot can do. */
bool link_is_downgraded(const link_state *state, char why[LINK_TEXT_BYTES]);
/* "PCIe 5.0 x16 (of 5.0 x16)"; "not told". */
void link_describe(const link_state *state, char text[LINK_TEXT_BYTES]);
/* "none", "power cap, thermal"; "not told". */
void link_describe_throttle(const link_state *state, char text[LINK_TEXT_BYTES]);

#endif
