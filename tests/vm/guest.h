/* guest.h: what tests in a virtual machine share: its description, where threads run, where pages
 * lie. Nothing here asks tarn. */
#ifndef TARN_GUEST_H
#define TARN_GUEST_H

#include <stdbool.h>

#include "tests/support/test.h"

enum { GUEST_NODES_MAX = 16 };

/* What the emulated firmware tells. A value that it does not tell is 0. */
typedef struct guest_node {
  size_t capacity_mib;
  int cpu_count;
  unsigned bandwidth_mib_per_s;
  unsigned latency_ns;
  unsigned distances[GUEST_NODES_MAX]; /* from this node */
} guest_node;

typedef struct guest_machine {
  int32_t node_count;
  guest_node nodes[GUEST_NODES_MAX];
  char pci_bus_id[32]; /* a device, and the node that it is at; empty where there is none */
  int32_t pci_node;
} guest_machine;

/* The machine that this runs on; the same every time. Fails the test where there is none. */
const guest_machine *guest_machine_here(void);

/* Keeps the calling thread on the processors of `node`, or of the next node that has some. */
void guest_run_on(int32_t node);
/* A node with processors that is not `node`; `node` itself where it is the only one. */
int32_t guest_other_node(int32_t node);

/* Writes to every page, from a processor far from `node`: only a binding brings them to it. */
void guest_touch_from_afar(void *address, size_t size_bytes, int32_t node);

/* Asks the kernel where each page of the range lies; every page must have been touched and lie on
 * one of the nodes of `node_mask`, else the test fails. Pages are counted for the closing line. */
void guest_check_pages(const void *address, size_t size_bytes, unsigned node_mask);
void guest_check_on_node(const void *address, size_t size_bytes, int32_t node);
/* How many pages of the range lie on each node; untouched ones are not counted anywhere. */
void guest_count_pages(const void *address, size_t size_bytes, size_t counts[GUEST_NODES_MAX]);

/* What the node has before the kernel starts to look for memory elsewhere: /proc/zoneinfo's free
 * pages over its high watermarks. */
size_t guest_room_bytes(int32_t node);
/* Takes memory of the node until it has room_bytes of room, or a little more; munmap(it,
 * *taken_bytes) gives it back. */
void *guest_fill_node(int32_t node, size_t room_bytes, size_t *taken_bytes);
uint64_t guest_kill_count(void); /* processes that the kernel ended for lack of memory */

/* cmocka_run_group_tests' answer goes through here: tells what was looked up. */
int guest_finish(int failed_count);

#endif
