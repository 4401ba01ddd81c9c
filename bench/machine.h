/* machine.h: what a figure was measured on: processor, memory, nodes, GPUs, build. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdio.h>

#include "alloc/tarn_status.h"
#include "cuda/tarn_cuda.h"
#include "numa/tarn_numa.h"

enum { MACHINE_NODES_MAX = 64, MACHINE_GPUS_MAX = 32, MACHINE_CAPABILITIES_MAX = 16 };

/* Something the build may be able to do, tried out. */
typedef struct machine_capability {
  const char *name; /* a literal */
  bool is_available;
  char reason[TARN_ERROR_MESSAGE_BYTES]; /* why not; empty where it is available */
} machine_capability;

typedef struct machine_info {
  char system[128]; /* "Linux 6.1.0 x86_64" */
  char cpu[128];
  char thp[16]; /* transparent huge pages: always, madvise, never; "" unknown */
  char on[64];  /* where the run took place; "" where that has no meaning */
  int32_t cpu_count;
  uint64_t memory_bytes;
  uint32_t page_bytes;
  bool is_simulated;      /* the run's driver was the simulated one */
  int32_t driver_version; /* 0: no driver */
  int32_t node_count;
  tarn_node_info nodes[MACHINE_NODES_MAX];
  int32_t gpu_count;
  tarn_cuda_device_info gpus[MACHINE_GPUS_MAX];
  tarn_cuda_memory_choice gpu_memory[MACHINE_GPUS_MAX]; /* what pools of theirs are made of */
  int32_t capability_count;                             /* 0 where nobody asked */
  machine_capability capabilities[MACHINE_CAPABILITIES_MAX];
} machine_info;

/* Reads everything but the capabilities; what cannot be read stays empty. */
void machine_read(machine_info *machine);
/* Tries what the library offers. `sim_path`: the simulated driver, NULL where there is none. */
void machine_try_capabilities(machine_info *machine, const char *sim_path);
void machine_write_json(const machine_info *machine, FILE *file);

#endif
