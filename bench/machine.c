/* machine.c: reads the machine from the kernel, the topology and the driver. */
#include "bench/machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "bench/json.h"

/* The value behind "key   : value" in one of the kernel's lists. */
static void read_key(const char *path, const char *key, char *value, size_t value_bytes) {
  value[0] = '\0';
  FILE *file = fopen(path, "r");
  if (file == NULL) return;
  char line[512];
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, key, strlen(key)) != 0) continue;
    const char *text = strchr(line, ':');
    if (text == NULL) continue;
    text += 1 + strspn(text + 1, " \t");
    snprintf(value, value_bytes, "%.*s", (int)strcspn(text, "\n"), text);
    break;
  }
  fclose(file);
}

/* "always [madvise] never": the word in brackets. */
static void read_thp(char *value, size_t value_bytes) {
  value[0] = '\0';
  FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
  if (file == NULL) return;
  char line[128];
  if (fgets(line, sizeof line, file) != NULL) {
    const char *open = strchr(line, '[');
    const char *close = open == NULL ? NULL : strchr(open, ']');
    if (close != NULL) snprintf(value, value_bytes, "%.*s", (int)(close - open - 1), open + 1);
  }
  fclose(file);
}

static void read_nodes(machine_info *machine) {
  tarn_topology *topology = NULL;
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return;
  const int32_t count = tarn_topology_node_count(topology);
  for (int32_t i = 0; i < count && machine->node_count < MACHINE_NODES_MAX; i++) {
    tarn_node_info *node = &machine->nodes[machine->node_count];
    *node = (tarn_node_info){.struct_size = sizeof *node};
    if (tarn_topology_node(topology, i, node) == TARN_OK) machine->node_count++;
  }
  tarn_topology_release(topology);
}

static void read_gpus(machine_info *machine) {
  tarn_cuda *cuda = NULL;
  if (tarn_cuda_open(NULL, &cuda) != TARN_OK) return;
  machine->driver_version = tarn_cuda_driver_version(cuda);
  const int32_t count = tarn_cuda_device_count(cuda);
  for (int32_t i = 0; i < count && machine->gpu_count < MACHINE_GPUS_MAX; i++) {
    tarn_cuda_device_info *gpu = &machine->gpus[machine->gpu_count];
    *gpu = (tarn_cuda_device_info){.struct_size = sizeof *gpu};
    if (tarn_cuda_device_info_of(cuda, i, gpu) != TARN_OK) continue;
    tarn_cuda_memory_choice *memory = &machine->gpu_memory[machine->gpu_count];
    *memory = (tarn_cuda_memory_choice){.struct_size = sizeof *memory};
    if (tarn_cuda_memory_choose(cuda, i, memory) == TARN_OK) machine->gpu_count++;
  }
  tarn_cuda_release(cuda);
}

void machine_read(machine_info *machine) {
  memset(machine, 0, sizeof *machine);
  struct utsname name;
  if (uname(&name) == 0) {
    snprintf(machine->system, sizeof machine->system, "%.30s %.60s %.30s", name.sysname,
             name.release, name.machine);
  }
  read_key("/proc/cpuinfo", "model name", machine->cpu, sizeof machine->cpu);
  char total[64];
  read_key("/proc/meminfo", "MemTotal", total, sizeof total);
  machine->memory_bytes = strtoull(total, NULL, 10) * 1024;
  read_thp(machine->thp, sizeof machine->thp);
  machine->cpu_count = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
  machine->page_bytes = (uint32_t)sysconf(_SC_PAGESIZE);
  read_nodes(machine);
  read_gpus(machine);
}

/* --- capabilities --- */

static void add_capability(machine_info *machine, const char *name, tarn_status status) {
  if (machine->capability_count == MACHINE_CAPABILITIES_MAX) return;
  machine_capability *capability = &machine->capabilities[machine->capability_count++];
  capability->name = name;
  capability->is_available = status == TARN_OK;
  snprintf(capability->reason, sizeof capability->reason, "%s",
           status == TARN_OK ? "" : tarn_last_error()->message);
}

static void try_host(machine_info *machine) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_stream *stream = NULL;
  add_capability(machine, "pages provider", tarn_pages_provider_create(NULL, &provider));
  if (provider != NULL) {
    add_capability(machine, "caching pool", tarn_caching_pool_create(provider, NULL, &pool));
  }
  add_capability(machine, "asynchronous host stream", tarn_worker_stream_create(&stream));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
}

static void try_nodes(machine_info *machine) {
  tarn_topology *topology = NULL;
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  add_capability(machine, "topology", tarn_topology_create(NULL, &topology));
  if (topology != NULL) {
    const int32_t node = machine->node_count > 0 ? machine->nodes[0].node : 0;
    const tarn_node_options options = tarn_node_options_on(node);
    add_capability(machine, "node provider",
                   tarn_node_provider_create(topology, &options, &provider));
    const tarn_node_pool_options pool_options = {.struct_size = sizeof pool_options, .node = node};
    add_capability(machine, "node pool (jemalloc)",
                   tarn_node_pool_create(topology, &pool_options, &pool));
  }
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  tarn_topology_release(topology);
}

static void try_driver(machine_info *machine, const char *name, const tarn_cuda_options *options) {
  tarn_cuda *cuda = NULL;
  add_capability(machine, name, tarn_cuda_open(options, &cuda));
  tarn_cuda_release(cuda);
}

static void try_gpu_memory(machine_info *machine) {
  tarn_cuda *cuda = NULL;
  tarn_provider *provider = NULL;
  tarn_status status = tarn_cuda_open(NULL, &cuda);
  if (status == TARN_OK) status = tarn_cuda_device_provider_create(cuda, 0, &provider);
  add_capability(machine, "device memory", status);
  tarn_provider_release(provider);
  provider = NULL;
  if (cuda != NULL) {
    status = tarn_cuda_virtual_provider_create(cuda, 0, NULL, &provider);
  }
  add_capability(machine, "virtual device memory", status);
  tarn_provider_release(provider);
  provider = NULL;
  tarn_pool *pool = NULL;
  if (cuda != NULL) status = tarn_cuda_driver_pool_create(cuda, 0, NULL, &pool);
  add_capability(machine, "the driver's memory pool", status);
  tarn_pool_release(pool);
  if (cuda != NULL) {
    status = tarn_cuda_pinned_provider_create(cuda, NULL, &provider);
  }
  add_capability(machine, "pinned memory", status);
  tarn_provider_release(provider);
  tarn_cuda_release(cuda);
}

void machine_try_capabilities(machine_info *machine, const char *sim_path) {
  machine->capability_count = 0;
  try_host(machine);
  try_nodes(machine);
  try_driver(machine, "CUDA driver", NULL);
  try_gpu_memory(machine);
  if (sim_path == NULL) {
    add_capability(machine, "simulated driver",
                   tarn_fail(TARN_UNAVAILABLE, "no sim/libcuda.so.1 near this command"));
  } else {
    const tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = sim_path};
    try_driver(machine, "simulated driver", &options);
  }
}

/* --- JSON --- */

static void write_text(FILE *file, const char *key, const char *text) {
  fprintf(file, ", \"%s\": ", key);
  json_string(file, text[0] == '\0' ? NULL : text);
}

static void write_nodes(const machine_info *machine, FILE *file) {
  fputs(", \"nodes\": [", file);
  for (int32_t i = 0; i < machine->node_count; i++) {
    const tarn_node_info *node = &machine->nodes[i];
    fprintf(file, "%s{\"node\": %d, \"capacity_bytes\": %zu, \"cpu_count\": %d, ",
            i == 0 ? "" : ", ", node->node, node->capacity_bytes, node->cpu_count);
    fprintf(file, "\"bandwidth_mib_per_s\": %llu, \"latency_ns\": %llu, ",
            (unsigned long long)node->bandwidth_mib_per_s, (unsigned long long)node->latency_ns);
    fprintf(file, "\"memory_kind\": %d, \"tier\": %d, \"is_memory_only\": %s}",
            (int)node->memory_kind, node->tier, node->is_memory_only ? "true" : "false");
  }
  fputs("]", file);
}

static const char *name_of_memory(tarn_cuda_memory memory) {
  switch (memory) {
    case TARN_CUDA_MEMORY_NONE:
      break;
    case TARN_CUDA_MEMORY_VIRTUAL:
      return "virtual";
    case TARN_CUDA_MEMORY_BLOCKS:
      return "blocks";
  }
  return "none";
}

static void write_gpus(const machine_info *machine, FILE *file) {
  fputs(", \"gpus\": [", file);
  for (int32_t i = 0; i < machine->gpu_count; i++) {
    const tarn_cuda_device_info *gpu = &machine->gpus[i];
    fputs(i == 0 ? "{\"name\": " : ", {\"name\": ", file);
    json_string(file, gpu->name);
    fputs(", \"pci_bus_id\": ", file);
    json_string(file, gpu->pci_bus_id);
    fprintf(file,
            ", \"total_bytes\": %zu, \"compute_capability\": \"%d.%d\", "
            "\"multiprocessor_count\": %d, \"host_node\": %d, \"memory\": \"%s\", "
            "\"memory_reason\": ",
            gpu->total_bytes, gpu->compute_capability_major, gpu->compute_capability_minor,
            gpu->multiprocessor_count, gpu->host_node,
            name_of_memory(machine->gpu_memory[i].memory));
    json_string(file, machine->gpu_memory[i].reason);
    fputs("}", file);
  }
  fputs("]", file);
}

static void write_capabilities(const machine_info *machine, FILE *file) {
  if (machine->capability_count == 0) return;
  fputs(", \"capabilities\": [", file);
  for (int32_t i = 0; i < machine->capability_count; i++) {
    const machine_capability *capability = &machine->capabilities[i];
    fputs(i == 0 ? "{\"name\": " : ", {\"name\": ", file);
    json_string(file, capability->name);
    fprintf(file, ", \"available\": %s, \"reason\": ", capability->is_available ? "true" : "false");
    json_string(file, capability->is_available ? NULL : capability->reason);
    fputs("}", file);
  }
  fputs("]", file);
}

void machine_write_json(const machine_info *machine, FILE *file) {
  fprintf(file, "{\"tarn\": \"%d.%d.%d\"", TARN_VERSION_MAJOR, TARN_VERSION_MINOR,
          TARN_VERSION_PATCH);
  write_text(file, "on", machine->on);
  fprintf(file, ", \"simulated\": %s", machine->is_simulated ? "true" : "false");
  write_text(file, "system", machine->system);
  write_text(file, "cpu", machine->cpu);
  write_text(file, "transparent_huge_pages", machine->thp);
  fprintf(file, ", \"cpu_count\": %d, \"memory_bytes\": %llu, \"page_bytes\": %u",
          machine->cpu_count, (unsigned long long)machine->memory_bytes, machine->page_bytes);
  fputs(", \"driver_version\": ", file);
  if (machine->driver_version == 0) {
    fputs("null", file);
  } else {
    fprintf(file, "%d", machine->driver_version);
  }
  write_nodes(machine, file);
  write_gpus(machine, file);
  write_capabilities(machine, file);
  fputs("}", file);
}
