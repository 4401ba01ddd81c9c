/* mapping_flags.h: what the kernel says of how a mapping is used. */
#ifndef TARN_TEST_MAPPING_FLAGS_H
#define TARN_TEST_MAPPING_FLAGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The kernel's own word on a mapping: its line "VmFlags:" in smaps. */
static inline bool mapping_has_flag(const void *address, const char *flag) {
  FILE *maps = fopen("/proc/thread-self/smaps", "r");
  if (maps == NULL) return false;
  char line[512];
  bool is_inside = false;
  bool is_set = false;
  while (fgets(line, sizeof line, maps) != NULL) {
    unsigned long start = 0;
    unsigned long end = 0;
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
      is_inside = (uintptr_t)address >= start && (uintptr_t)address < end;
    } else if (is_inside && strncmp(line, "VmFlags:", 8) == 0) {
      is_set = strstr(line, flag) != NULL;
    }
  }
  fclose(maps);
  return is_set;
}

#endif
