/* extent.c: which of the process's addresses are mapped, as the kernel tells. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "alloc/tarn_mapping.h"

static const char MAPS[] = "/proc/thread-self/maps";

/* Reads the maps, whose lines begin "7f00-7f80 rw-p" and rise, byte by byte: a line may begin in
 * one read and end in the next. Source of the format: proc_pid_maps(5). */
typedef struct map_reader {
  enum { AT_START, AT_END, AT_RIGHTS, AT_REST } part;
  uintptr_t start;
  uintptr_t end;
  int right_count;
  char rights[4];
} map_reader;

static int digit_of(char letter) {
  if (letter >= '0' && letter <= '9') return letter - '0';
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : 0;
}

/* True where the letter completes a mapping. */
static bool read_letter(map_reader *self, char letter) {
  switch (self->part) {
    case AT_START:
      if (letter == '-') self->part = AT_END;
      if (letter != '-') self->start = self->start << 4 | (uintptr_t)digit_of(letter);
      return false;
    case AT_END:
      if (letter == ' ') self->part = AT_RIGHTS;
      if (letter != ' ') self->end = self->end << 4 | (uintptr_t)digit_of(letter);
      return false;
    case AT_RIGHTS:
      self->rights[self->right_count++] = letter;
      if (self->right_count < (int)sizeof self->rights) return false;
      self->part = AT_REST;
      return true;
    case AT_REST:
      if (letter == '\n') *self = (map_reader){.part = AT_START};
      return false;
  }
  return false;
}

/* What is still to be found: [at, end). */
typedef struct extent {
  uintptr_t at;
  uintptr_t end;
  bool is_written;
  tarn_status status;
} extent;

static void meet(extent *self, const map_reader *found) {
  if (self->status != TARN_OK || self->at >= self->end || found->end <= self->at) return;
  if (found->start > self->at || found->rights[0] != 'r') {
    self->status = TARN_NOT_FOUND;
  } else if (self->is_written && found->rights[1] != 'w') {
    self->status = TARN_READ_ONLY;
  } else {
    self->at = found->end;
  }
}

static tarn_status walk_maps(int maps, extent *self) {
  char bytes[4096];
  map_reader reader = {.part = AT_START};
  for (;;) {
    const ssize_t count = read(maps, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return tarn_fail_native(TARN_SYSTEM_ERROR, "read", errno, "%s: %s", MAPS, strerror(errno));
    }
    if (count == 0 || self->at >= self->end || self->status != TARN_OK) return TARN_OK;
    for (ssize_t i = 0; i < count; i++) {
      if (read_letter(&reader, bytes[i])) meet(self, &reader);
    }
  }
}

tarn_status tarn_extent_check(const void *address, size_t size_bytes, bool is_written) {
  extent self = {.at = (uintptr_t)address, .is_written = is_written, .status = TARN_OK};
  if (!tarn_size_add(self.at, size_bytes, &self.end)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes at %p leave the address space", size_bytes,
                     address);
  }
  if (size_bytes == 0) return TARN_OK;
  const int maps = open(MAPS, O_RDONLY | O_CLOEXEC);
  if (maps < 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "open", errno, "%s: %s", MAPS, strerror(errno));
  }
  const tarn_status status = walk_maps(maps, &self);
  close(maps);
  if (status != TARN_OK) return status;
  if (self.status == TARN_OK && self.at < self.end) self.status = TARN_NOT_FOUND;
  if (self.status == TARN_OK) return TARN_OK;
  return tarn_fail(self.status, "of %zu bytes at %p those from %p on are %s", size_bytes, address,
                   (void *)self.at,
                   self.status == TARN_READ_ONLY ? "not for writing" : "not there");
}
