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

bool tarn__node_room_read(int32_t node, size_t *free_bytes) {
  *free_bytes = 0;
  FILE *file = tarn__kernel_open("/proc/zoneinfo");
  if (file == NULL) return false;
  zone current = {0};
  size_t page_count = 0;
  bool is_told = false;
  bool is_of_node = false;
  char line[512];
  while (fgets(line, sizeof line, file) != NULL) {
    int named;
    if (sscanf(line, "Node %d, zone", &named) != 1) {
      if (is_of_node) read_line(line, &current);
      continue;
    }
    if (is_of_node) page_count += usable_pages(&current);
    is_of_node = named == node;
    is_told |= is_of_node;
    current = (zone){0};
  }
  if (is_of_node) page_count += usable_pages(&current);
  fclose(file);
  *free_bytes = page_count * (size_t)sysconf(_SC_PAGESIZE);
  return is_told;
}
