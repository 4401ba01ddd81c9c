/* node_room.c: adds up /proc/zoneinfo: what a node has over the kernel's own reserves. */
#include "numa/node_room.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "numa/kernel.h"

/* A zone is a part of a node; all in pages. */
typedef struct zone {
  size_t free;
  size_t high;       /* above it nobody has to look for memory */
  size_t protection; /* kept for those who cannot use a higher zone, which our pages can */
  size_t file;       /* file pages */
  size_t pending;    /* of those, to be written first */
} zone;

/* Half of the file pages stay, up to the high mark: MemAvailable of /proc/meminfo counts so. */
static size_t usable_pages(const zone *self) {
  size_t droppable = self->file > self->pending ? self->file - self->pending : 0;
  droppable -= droppable / 2 < self->high ? droppable / 2 : self->high;
  const size_t kept = self->high + self->protection;
  return self->free + droppable > kept ? self->free + droppable - kept : 0;
}

static size_t largest_number(const char *text) {
  size_t largest = 0;
  for (text += strcspn(text, "0123456789"); *text != '\0'; text += strcspn(text, "0123456789")) {
    char *end;
    const size_t number = (size_t)strtoull(text, &end, 10);
    if (number > largest) largest = number;
    text = end;
  }
  return largest;
}

static void read_line(const char *line, zone *self) {
  char key[32];
  unsigned long long number;
  if (sscanf(line, " pages free %llu", &number) == 1) {
    self->free = (size_t)number;
  } else if (strstr(line, "protection:") != NULL) {
    self->protection = largest_number(line);
  } else if (sscanf(line, " %31s %llu", key, &number) == 2) {
    /* "high:" of a processor's own list has a colon. */
    if (strcmp(key, "high") == 0) self->high = (size_t)number;
    if (strcmp(key, "nr_zone_active_file") == 0) self->file += (size_t)number;
    if (strcmp(key, "nr_zone_inactive_file") == 0) self->file += (size_t)number;
    if (strcmp(key, "nr_zone_write_pending") == 0) self->pending = (size_t)number;
  }
}

/* Where the node is among those asked for; `count` where it is not. */
static int32_t find_node(const int32_t *nodes, int32_t count, int32_t node) {
  int32_t at = 0;
  while (at < count && nodes[at] != node) ++at;
  return at;
}

int32_t tarn__node_rooms_read(const int32_t *nodes, int32_t count, size_t *free_bytes) {
  for (int32_t i = 0; i < count; ++i) free_bytes[i] = 0;
  FILE *file = tarn__kernel_open("/proc/zoneinfo");
  if (file == NULL) return 0;
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  zone current = {0};
  tarn__node_set told = {0};
  int32_t told_count = 0;
  int32_t at = count;
  char line[512];
  while (fgets(line, sizeof line, file) != NULL) {
    int named;
    if (sscanf(line, "Node %d, zone", &named) != 1) {
      if (at < count) read_line(line, &current);
      continue;
    }
    if (at < count) free_bytes[at] += usable_pages(&current) * page_bytes;
    current = (zone){0};
    at = find_node(nodes, count, named);
    if (at == count || tarn__node_set_has(&told, named)) continue;
    tarn__node_set_add(&told, named);
    ++told_count;
  }
  if (at < count) free_bytes[at] += usable_pages(&current) * page_bytes;
  fclose(file);
  return told_count;
}
