/* described_machine.h: topologies for tests: hwloc's descriptions, and the files of topologies/. */
#ifndef TARN_DESCRIBED_MACHINE_H
#define TARN_DESCRIBED_MACHINE_H

#include "numa/tarn_topology.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/test.h"

/* "numa:2 core:1 pu:1", or "two_gpus.xml". */
static inline tarn_topology *describe(const char *machine) {
  char path[512];
  tarn_topology_options options = {.struct_size = sizeof options};
  if (strstr(machine, ".xml") != NULL) {
    snprintf(path, sizeof path, TARN_TOPOLOGIES "/%s", machine);
    options.xml_path = path;
  } else {
    options.synthetic = machine;
  }
  tarn_topology *topology = NULL;
  if (tarn_topology_create(&options, &topology) != TARN_OK) {
    fail_msg("%s: %s", machine, tarn_last_error()->message);
  }
  return topology;
}

static inline tarn_node_info info_of_node(const tarn_topology *topology, int32_t node) {
  tarn_node_info info = {.struct_size = sizeof info};
  for (int32_t i = 0; i < tarn_topology_node_count(topology); ++i) {
    assert_int_equal(tarn_topology_node(topology, i, &info), TARN_OK);
    if (info.node == node) return info;
  }
  fail_msg("there is no node %d", node);
  return info;
}

#endif
