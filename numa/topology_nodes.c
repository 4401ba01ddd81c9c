/* topology_nodes.c: the nodes as numbers: which there are, of what kind, and in which tier. */
#include "numa/topology.h"

#include <stdlib.h>
#include <string.h>

#include "numa/kernel.h"

/* A list of nodes in a file of the kernel's, behind `key` (NULL: the whole first line). */
static bool read_list(const char *path, const char *key, tarn__node_set *set) {
  FILE *file = tarn__kernel_open(path);
  if (file == NULL) return false;
  char line[4096];
  bool is_read = false;
  while (!is_read && fgets(line, sizeof line, file) != NULL) {
    const size_t skipped = key == NULL ? 0 : strlen(key);
    if (key != NULL && strncmp(line, key, skipped) != 0) continue;
    is_read = tarn__kernel_parse_list(line + skipped + strspn(line + skipped, " \t"), set);
    if (key == NULL) break;
  }
  fclose(file);
  return is_read;
}

static tarn_memory_kind kind_of(hwloc_obj_t object) {
  static const struct {
    const char *subtype;
    tarn_memory_kind kind;
  } kinds[] = {{"DRAM", TARN_MEMORY_DRAM},  {"HBM", TARN_MEMORY_HBM},
               {"MCDRAM", TARN_MEMORY_HBM}, {"CXL", TARN_MEMORY_CXL},
               {"NVM", TARN_MEMORY_NVM},    {"GPUMemory", TARN_MEMORY_GPU}};
  for (size_t i = 0; object->subtype != NULL && i < sizeof kinds / sizeof *kinds; ++i) {
    /* hwloc writes "CXL-DRAM" as well, and may write more behind. */
    if (strncmp(object->subtype, kinds[i].subtype, strlen(kinds[i].subtype)) == 0) {
      return kinds[i].kind;
    }
  }
  if (hwloc_obj_get_info_by_name(object, "CXLDevice") != NULL) return TARN_MEMORY_CXL;
  const char *dax_type = hwloc_obj_get_info_by_name(object, "DAXType");
  if (dax_type != NULL && strcmp(dax_type, "NVM") == 0) return TARN_MEMORY_NVM;
  return TARN_MEMORY_UNKNOWN;
}

/* On another machine: a processor belongs to one node, so it is the first one's. */
static tarn_status find_memory_only(tarn_topology *topology) {
  tarn__node_set with_cpus;
  const bool is_told = topology->is_this_machine &&
                       read_list("/sys/devices/system/node/has_cpu", /*key=*/NULL, &with_cpus);
  hwloc_bitmap_t earlier = hwloc_bitmap_alloc();
  if (earlier == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a set of processors");
  for (int32_t i = 0; i < topology->node_count; ++i) {
    tarn_node_info *info = &topology->nodes[i].info;
    hwloc_bitmap_zero(earlier);
    for (int32_t j = 0; j < topology->node_count; ++j) {
      const hwloc_obj_t other = topology->nodes[j].object;
      if (topology->nodes[j].info.node >= info->node || other->cpuset == NULL) continue;
      hwloc_bitmap_or(earlier, earlier, other->cpuset);
    }
    const hwloc_const_bitmap_t own = topology->nodes[i].object->cpuset;
    info->is_memory_only = is_told ? !tarn__node_set_has(&with_cpus, info->node)
                                   : own == NULL || hwloc_bitmap_isincluded(own, earlier);
  }
  hwloc_bitmap_free(earlier);
  return TARN_OK;
}

tarn_status tarn__topology_read_nodes(tarn_topology *topology) {
  const int count = hwloc_get_nbobjs_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE);
  if (count <= 0) {
    return tarn_fail(TARN_UNAVAILABLE, "the topology has no memory node (hwloc counts %d)", count);
  }
  topology->nodes = calloc((size_t)count, sizeof *topology->nodes);
  if (topology->nodes == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %d nodes", count);
  }
  /* hwloc finds the cpuset where it finds the control group's files; the kernel always knows. */
  tarn__node_set allowed;
  const bool is_limited = topology->is_this_machine &&
                          read_list("/proc/thread-self/status", "Mems_allowed_list:", &allowed);
  for (int i = 0; i < count; ++i) {
    hwloc_obj_t object = hwloc_get_obj_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE, (unsigned)i);
    const int32_t node = (int32_t)object->os_index;
    if (is_limited && !tarn__node_set_has(&allowed, node)) continue;
    const int cpu_count = object->cpuset != NULL ? hwloc_bitmap_weight(object->cpuset) : 0;
    topology->nodes[topology->node_count++] =
        (tarn__node){.info = {.struct_size = sizeof(tarn_node_info),
                              .node = node,
                              .capacity_bytes = object->attr->numanode.local_memory,
                              .cpu_count = cpu_count > 0 ? cpu_count : 0,
                              .memory_kind = kind_of(object)},
                     .object = object};
  }
  if (topology->node_count == 0) {
    return tarn_fail(TARN_UNAVAILABLE, "this process may use none of the %d memory nodes", count);
  }
  return find_memory_only(topology);
}

static int32_t speed_of_kind(tarn_memory_kind kind) {
  switch (kind) {
    case TARN_MEMORY_HBM:
      return 0;
    case TARN_MEMORY_UNKNOWN:
    case TARN_MEMORY_DRAM:
      return 1;
    case TARN_MEMORY_CXL:
      return 2;
    case TARN_MEMORY_NVM:
      return 3;
    case TARN_MEMORY_GPU:
      break;
  }
  return 4;
}

/* The node that is fastest among those without a tier: by kind, then by bandwidth. */
static tarn_node_info *fastest_unranked(tarn_topology *topology) {
  tarn_node_info *fastest = NULL;
  for (int32_t i = 0; i < topology->node_count; ++i) {
    tarn_node_info *info = &topology->nodes[i].info;
    if (info->tier >= 0) continue;
    const int32_t faster =
        fastest == NULL ? -1
                        : speed_of_kind(info->memory_kind) - speed_of_kind(fastest->memory_kind);
    if (faster < 0 || (faster == 0 && info->bandwidth_mib_per_s > fastest->bandwidth_mib_per_s)) {
      fastest = info;
    }
  }
  return fastest;
}

/* Not by hwloc's own tiers: its releases before 2.10 have none, and later ones put what they do not
 * know before HBM. */
void tarn__topology_rank_tiers(tarn_topology *topology) {
  for (int32_t i = 0; i < topology->node_count; ++i) topology->nodes[i].info.tier = -1;
  int32_t tier = 0;
  tarn_node_info first = {0}; /* of the tier */
  for (tarn_node_info *next; (next = fastest_unranked(topology)) != NULL;) {
    const bool is_other_kind = speed_of_kind(next->memory_kind) != speed_of_kind(first.memory_kind);
    const bool is_slower = next->bandwidth_mib_per_s != 0 &&
                           next->bandwidth_mib_per_s < first.bandwidth_mib_per_s / 10 * 9;
    if (first.struct_size != 0 && (is_other_kind || is_slower)) ++tier;
    if (first.struct_size == 0 || is_other_kind || is_slower) first = *next;
    next->tier = tier;
  }
}
