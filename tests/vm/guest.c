/* guest.c: where threads run and pages lie on the machine that /machine describes. */
#include "tests/vm/guest.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, PAGES_PER_CALL = 1024 };

/* Shared with children, whose pages count as well. */
typedef struct counters {
  _Atomic size_t looked_up;
  _Atomic size_t misplaced;
} counters;

static counters *counted;

__attribute__((constructor)) static void share_counters(void) {
  counted = mmap(NULL, sizeof *counted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (counted == MAP_FAILED) abort();
}

static void read_machine(FILE *file, guest_machine *machine) {
  char line[256];
  while (fgets(line, sizeof line, file) != NULL) {
    unsigned a, b, c;
    size_t mib;
    if (sscanf(line, "node %u mib %zu cpus %u", &a, &mib, &b) == 3) {
      assert_true(a < GUEST_NODES_MAX);
      machine->nodes[a].capacity_mib = mib;
      machine->nodes[a].cpu_count = (int)b;
      machine->node_count = (int32_t)a + 1;
    } else if (sscanf(line, "attributes %u bandwidth %u latency %u", &a, &b, &c) == 3) {
      machine->nodes[a].bandwidth_mib_per_s = b;
      machine->nodes[a].latency_ns = c;
    } else if (sscanf(line, "distance %u %u %u", &a, &b, &c) == 3) {
      machine->nodes[a].distances[b] = c;
    } else if (sscanf(line, "pci %31s node %u", machine->pci_bus_id, &a) == 2) {
      machine->pci_node = (int32_t)a;
    } else {
      fail_msg("/machine: %s", line);
    }
  }
}

const guest_machine *guest_machine_here(void) {
  static guest_machine machine;
  if (machine.node_count == 0) {
    FILE *file = fopen("/machine", "r");
    assert_non_null(file);
    read_machine(file, &machine);
    fclose(file);
    assert_true(machine.node_count > 0);
  }
  return &machine;
}

/* The processors of a node as the kernel tells, "0-1,4" or nothing. */
static void cpus_of(int32_t node, cpu_set_t *cpus) {
  CPU_ZERO(cpus);
  char path[64], list[256] = "";
  snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  if (fgets(list, sizeof list, file) == NULL) list[0] = '\0';
  fclose(file);
  char *rest = NULL;
  for (char *part = strtok_r(list, ",\n", &rest); part != NULL;
       part = strtok_r(NULL, ",\n", &rest)) {
    unsigned first, last;
    const int count = sscanf(part, "%u-%u", &first, &last);
    assert_true(count >= 1);
    for (unsigned cpu = first; cpu <= (count == 2 ? last : first); ++cpu) CPU_SET(cpu, cpus);
  }
}

void guest_run_on(int32_t node) {
  const int32_t node_count = guest_machine_here()->node_count;
  cpu_set_t cpus;
  cpus_of(node, &cpus);
  for (int32_t i = 1; CPU_COUNT(&cpus) == 0 && i < node_count; ++i) {
    cpus_of((node + i) % node_count, &cpus);
  }
  assert_int_equal(sched_setaffinity(0, sizeof cpus, &cpus), 0);
}

int32_t guest_other_node(int32_t node) {
  const guest_machine *machine = guest_machine_here();
  for (int32_t i = 1; i < machine->node_count; ++i) {
    const int32_t other = (node + i) % machine->node_count;
    if (machine->nodes[other].cpu_count > 0) return other;
  }
  return node;
}

void guest_touch_from_afar(void *address, size_t size_bytes, int32_t node) {
  cpu_set_t before;
  assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
  guest_run_on(guest_other_node(node));
  volatile char *bytes = address;
  for (size_t i = 0; i < size_bytes; i += PAGE_BYTES) bytes[i] = 1;
  if (size_bytes > 0) bytes[size_bytes - 1] = 1;
  assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

/* Calls `tell` with the node of each page, or with a negative errno. */
static void each_page(const void *address, size_t size_bytes,
                      void (*tell)(void *context, uintptr_t page, int node), void *context) {
  const uintptr_t end = (uintptr_t)address + size_bytes;
  uintptr_t page = (uintptr_t)address & ~(uintptr_t)(PAGE_BYTES - 1);
  while (page < end) {
    static _Thread_local void *pages[PAGES_PER_CALL];
    static _Thread_local int nodes[PAGES_PER_CALL];
    unsigned long count = 0;
    for (; count < PAGES_PER_CALL && page < end; ++count, page += PAGE_BYTES) {
      pages[count] = (void *)page;
    }
    assert_int_equal(syscall(SYS_move_pages, 0, count, pages, NULL, nodes, 0), 0);
    for (unsigned long i = 0; i < count; ++i) tell(context, (uintptr_t)pages[i], nodes[i]);
  }
}

typedef struct check {
  unsigned node_mask;
  size_t wrong_count;
  uintptr_t first_wrong_page;
  int first_wrong_node;
} check;

static void check_page(void *context, uintptr_t page, int node) {
  check *self = context;
  ++counted->looked_up;
  if (node >= 0 && (self->node_mask >> node & 1) != 0) return;
  if (node >= 0) ++counted->misplaced;
  if (self->wrong_count++ != 0) return;
  self->first_wrong_page = page;
  self->first_wrong_node = node;
}

void guest_check_pages(const void *address, size_t size_bytes, unsigned node_mask) {
  check self = {.node_mask = node_mask};
  each_page(address, size_bytes, check_page, &self);
  if (self.wrong_count == 0) return;
  fail_msg("%zu pages of %zu bytes at %p are wrong, the first at %#zx: node %d, asked for mask %#x",
           self.wrong_count, size_bytes, address, (size_t)self.first_wrong_page,
           self.first_wrong_node, node_mask);
}

void guest_check_on_node(const void *address, size_t size_bytes, int32_t node) {
  guest_check_pages(address, size_bytes, 1u << node);
}

static void count_page(void *context, uintptr_t page, int node) {
  (void)page;
  size_t *counts = context;
  ++counted->looked_up;
  if (node >= 0) ++counts[node];
}

void guest_count_pages(const void *address, size_t size_bytes, size_t counts[GUEST_NODES_MAX]) {
  memset(counts, 0, GUEST_NODES_MAX * sizeof *counts);
  each_page(address, size_bytes, count_page, counts);
}

size_t guest_room_bytes(int32_t node) {
  FILE *file = fopen("/proc/zoneinfo", "r");
  assert_non_null(file);
  char line[512];
  int32_t current = -1;
  size_t free_pages = 0, room_pages = 0, number;
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "Node %" SCNd32 ", zone", &current) == 1 || current != node) continue;
    if (sscanf(line, " pages free %zu", &number) == 1) free_pages = number;
    if (sscanf(line, " high %zu", &number) == 1 && free_pages > number) {
      room_pages += free_pages - number;
    }
  }
  fclose(file);
  return room_pages * PAGE_BYTES;
}

void *guest_fill_node(int32_t node, size_t room_bytes, size_t *taken_bytes) {
  enum { BIND = 2, STEP_BYTES = 4 << 20 };
  const size_t capacity_bytes = guest_machine_here()->nodes[node].capacity_mib << 20;
  char *const filled = mmap(NULL, capacity_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  assert_true(filled != MAP_FAILED);
  const unsigned long mask = 1ul << node;
  assert_int_equal(syscall(SYS_mbind, filled, capacity_bytes, BIND, &mask, sizeof mask * 8, 0), 0);
  *taken_bytes = capacity_bytes;
  for (size_t i = 0; i < capacity_bytes / STEP_BYTES; ++i) {
    if (guest_room_bytes(node) < room_bytes + STEP_BYTES) break;
    memset(filled + i * STEP_BYTES, 1, STEP_BYTES);
  }
  return filled;
}

uint64_t guest_kill_count(void) {
  FILE *file = fopen("/proc/vmstat", "r");
  assert_non_null(file);
  char line[256];
  unsigned long long count = UINT64_MAX;
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "oom_kill %llu", &count) == 1) break;
  }
  fclose(file);
  return count;
}

int guest_finish(int failed_count) {
  printf("vm: pages %zu misplaced %zu\n", (size_t)counted->looked_up, (size_t)counted->misplaced);
  return failed_count;
}
