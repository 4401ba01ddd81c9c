/* info.c: `tarn info`: the machine, and what this build can do on it. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "bench/options.h"
#include "bench/report.h"
#include "bench/where.h"

const char info_help[] =
    "usage: tarn info [--json FILE]\n"
    "\n"
    "Shows the machine (processor, memory, NUMA nodes with what the firmware tells of them, GPUs,\n"
    "driver) and tries out what this build of tarn can do on it; what it cannot do comes with the\n"
    "reason. Nothing is measured.\n"
    "\n"
    "  --json FILE  also write it as JSON: {\"machine\": {...}, \"results\": []}\n";

static const char *kind_name(tarn_memory_kind kind) {
  switch (kind) {
    case TARN_MEMORY_DRAM:
      return " DRAM";
    case TARN_MEMORY_HBM:
      return " HBM";
    case TARN_MEMORY_CXL:
      return " CXL";
    case TARN_MEMORY_NVM:
      return " NVM";
    case TARN_MEMORY_GPU:
      return " GPU";
    case TARN_MEMORY_UNKNOWN:
      break;
  }
  return "";
}

static void print_room(const tarn_topology *topology, int32_t node) {
  tarn_node_room room = {.struct_size = sizeof room};
  if (tarn_topology_room(topology, node, &room) != TARN_OK) return;
  printf(" (%.1f free", (double)room.free_bytes / (1 << 30));
  if (room.limit_bytes != SIZE_MAX) {
    printf(", %.1f of the limit left", (double)room.room_bytes / (1 << 30));
  }
  printf(")");
}

static void print_nodes(const machine_info *machine) {
  tarn_topology *topology = NULL;
  if (tarn_topology_create(NULL, &topology) != TARN_OK) {
    printf("nodes      unknown: %s\n", tarn_last_error()->message);
    return;
  }
  printf("nodes      %d\n", machine->node_count);
  for (int32_t i = 0; i < machine->node_count; i++) {
    const tarn_node_info *node = &machine->nodes[i];
    printf("  node %-3d %7.1f GiB%s", node->node, (double)node->capacity_bytes / (1 << 30),
           kind_name(node->memory_kind));
    print_room(topology, node->node);
    printf(", tier %d, %d processing units%s", node->tier, node->cpu_count,
           node->is_memory_only ? " near, none its own" : "");
    if (node->bandwidth_mib_per_s > 0) {
      printf(", %llu MiB/s", (unsigned long long)node->bandwidth_mib_per_s);
    }
    if (node->latency_ns > 0) printf(", %llu ns", (unsigned long long)node->latency_ns);
    if (node->bandwidth_mib_per_s == 0 && node->latency_ns == 0) {
      printf(", the firmware tells neither bandwidth nor latency");
    }
    printf("\n           distances");
    for (int32_t j = 0; j < machine->node_count; j++) {
      uint32_t distance = 0;
      const tarn_status status =
          tarn_topology_distance(topology, node->node, machine->nodes[j].node, &distance);
      if (status == TARN_OK) {
        printf(" %u", distance);
      } else {
        printf(" not told");
      }
    }
    putchar('\n');
  }
  tarn_topology_release(topology);
}

/* As the driver says, or the topology where the driver does not. */
static void print_nearest_node(const tarn_cuda_device_info *gpu) {
  int32_t node = gpu->host_node;
  tarn_topology *topology = NULL;
  if (node < 0 && tarn_topology_create(NULL, &topology) == TARN_OK) {
    if (tarn_topology_node_of_pci(topology, gpu->pci_bus_id, &node) != TARN_OK) node = -1;
    tarn_topology_release(topology);
  }
  if (node >= 0) printf(", near node %d", node);
}

static void print_gpus(const machine_info *machine) {
  if (machine->driver_version == 0) {
    printf("driver     none\n");
    return;
  }
  printf("driver     CUDA %d.%d\n", machine->driver_version / 1000,
         machine->driver_version % 1000 / 10);
  for (int32_t i = 0; i < machine->gpu_count; i++) {
    const tarn_cuda_device_info *gpu = &machine->gpus[i];
    printf("  cuda:%-3d %s, %.1f GiB (%.1f free), compute %d.%d, %d multiprocessors, PCI %s", i,
           gpu->name, (double)gpu->total_bytes / (1 << 30), (double)gpu->free_bytes / (1 << 30),
           gpu->compute_capability_major, gpu->compute_capability_minor, gpu->multiprocessor_count,
           gpu->pci_bus_id);
    print_nearest_node(gpu);
    printf("\n           virtual memory %s, memory pools %s\n",
           gpu->has_virtual_memory ? "yes" : "no", gpu->has_memory_pools ? "yes" : "no");
    const tarn_cuda_memory_choice *memory = &machine->gpu_memory[i];
    printf("           a pool of its memory is of %s%s%s%s\n",
           memory->memory == TARN_CUDA_MEMORY_VIRTUAL ? "granules behind reserved addresses"
                                                      : "whole segments",
           memory->reason[0] != '\0' ? " (" : "", memory->reason,
           memory->reason[0] != '\0' ? ")" : "");
  }
}

static void print_capabilities(const machine_info *machine) {
  printf("this build can\n");
  for (int32_t i = 0; i < machine->capability_count; i++) {
    const machine_capability *capability = &machine->capabilities[i];
    printf("  %-26s %s%s%s\n", capability->name, capability->is_available ? "yes" : "no",
           capability->is_available ? "" : ": ", capability->reason);
  }
}

static void print_machine(const machine_info *machine) {
  printf("tarn       %d.%d.%d\n", TARN_VERSION_MAJOR, TARN_VERSION_MINOR, TARN_VERSION_PATCH);
  printf("system     %s\n", machine->system);
  printf("processor  %s, %d online\n", machine->cpu[0] == '\0' ? "unknown" : machine->cpu,
         machine->cpu_count);
  printf("memory     %.1f GiB, pages of %u bytes, transparent huge pages: %s\n",
         (double)machine->memory_bytes / (1 << 30), machine->page_bytes,
         machine->thp[0] == '\0' ? "unknown" : machine->thp);
  print_nodes(machine);
  print_gpus(machine);
  print_capabilities(machine);
}

int info_main(int argc, char **argv) {
  command_options options;
  const int code = options_parse("info", 0, argc, argv, &options);
  if (code != EXIT_FINE) return code;
  if (options.help) {
    fputs(info_help, stdout);
    return EXIT_FINE;
  }
  if (options.operand_count > 0) {
    return usage_error("info", "takes no argument '%s'", options.operands[0]);
  }
  report_table report;
  if (report_init(&report, options.json) != TARN_OK) {
    return run_error("info", "%s", tarn_last_error()->message);
  }
  machine_info *machine = malloc(sizeof *machine);
  if (machine == NULL) return run_error("info", "no memory");
  machine_read(machine);
  report.machine = machine;
  char *sim_path = where_find_sim();
  machine_try_capabilities(machine, sim_path);
  print_machine(machine);
  const tarn_status status = report_write_json(&report);
  free(sim_path);
  free(machine);
  report_deinit(&report);
  return status == TARN_OK ? EXIT_FINE : run_error("info", "%s", tarn_last_error()->message);
}
