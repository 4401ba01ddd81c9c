/* memory_limit.c: finds the memory controller's files of this process's group, and walks up. */
#include "numa/memory_limit.h"

#include <stdlib.h>
#include <string.h>

#include "numa/kernel.h"

enum { PATH_BYTES = 2048 };

typedef struct controller {
  const char *limit_file;
  const char *used_file;
  const char *dropped_keys[2]; /* of memory.stat: file pages, used lately and not */
  const char *dirty_key;       /* of those the ones that have to be written first */
} controller;

static const controller version_1 = {"memory.limit_in_bytes",
                                     "memory.usage_in_bytes",
                                     {"total_active_file ", "total_inactive_file "},
                                     "total_dirty "};
static const controller version_2 = {
    "memory.max", "memory.current", {"active_file ", "inactive_file "}, "file_dirty "};

static bool has_word(const char *list, const char *word) {
  const size_t length = strlen(word);
  while (*list != '\0') {
    const size_t span = strcspn(list, ",\n");
    if (span == length && strncmp(list, word, length) == 0) return true;
    list += span + (list[span] != '\0');
  }
  return false;
}

/* "4:memory:/path" of version 1, "0::/path" of version 2. */
static bool read_group(bool is_version_1, char *path) {
  FILE *file = tarn__kernel_open("/proc/thread-self/cgroup");
  if (file == NULL) return false;
  char line[PATH_BYTES];
  bool is_found = false;
  while (!is_found && fgets(line, sizeof line, file) != NULL) {
    char *controllers = strchr(line, ':');
    char *place = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (place == NULL) continue;
    *place++ = '\0';
    is_found = is_version_1 ? has_word(controllers + 1, "memory") : strncmp(line, "0:", 2) == 0;
    if (!is_found) continue;
    place[strcspn(place, "\n")] = '\0';
    memcpy(path, place, strlen(place) + 1);
  }
  fclose(file);
  return is_found;
}

/* mountinfo writes a space as \040. */
static void unescape(char *text) {
  char *out = text;
  for (; *text != '\0'; ++out) {
    if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
      *out = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
      text += 4;
    } else {
      *out = *text++;
    }
  }
  *out = '\0';
}

/* Where the controller is mounted, and which group is that folder: the fourth and fifth word of
 * "36 35 98:0 /group /folder options ... - cgroup2 source superoptions". */
static bool read_mount(bool is_version_1, char *group, char *folder) {
  FILE *file = tarn__kernel_open("/proc/thread-self/mountinfo");
  if (file == NULL) return false;
  char line[2 * PATH_BYTES];
  bool is_found = false;
  while (!is_found && fgets(line, sizeof line, file) != NULL) {
    char root[PATH_BYTES], point[PATH_BYTES], type[32], source[256], options[512];
    const char *second_half = strstr(line, " - ");
    if (second_half == NULL) continue;
    if (sscanf(line, "%*s %*s %*s %2047s %2047s", root, point) != 2) continue;
    if (sscanf(second_half + 3, "%31s %255s %511s", type, source, options) != 3) continue;
    is_found = is_version_1 ? strcmp(type, "cgroup") == 0 && has_word(options, "memory")
                            : strcmp(type, "cgroup2") == 0;
    if (!is_found) continue;
    unescape(root), unescape(point);
    memcpy(group, root, strlen(root) + 1);
    memcpy(folder, point, strlen(point) + 1);
  }
  fclose(file);
  return is_found;
}

static FILE *open_in(const char *folder, const char *name) {
  char path[PATH_BYTES + 64];
  const int length = snprintf(path, sizeof path, "%s/%s", folder, name);
  return length > 0 && (size_t)length < sizeof path ? tarn__kernel_open(path) : NULL;
}

/* "max" and what is over any memory are no limit. */
static bool read_number(const char *folder, const char *name, size_t *number) {
  FILE *file = open_in(folder, name);
  if (file == NULL) return false;
  char text[64] = "";
  const bool is_read = fgets(text, sizeof text, file) != NULL;
  fclose(file);
  char *end;
  const unsigned long long value = strtoull(text, &end, 10);
  const bool has_no_limit = strncmp(text, "max", 3) == 0 || value >= SIZE_MAX / 4;
  *number = has_no_limit ? SIZE_MAX : (size_t)value;
  return is_read && (end != text || has_no_limit);
}

static size_t read_droppable(const char *folder, const controller *files) {
  FILE *file = open_in(folder, "memory.stat");
  if (file == NULL) return 0;
  size_t dropped_bytes = 0;
  size_t dirty_bytes = 0;
  char line[256];
  while (fgets(line, sizeof line, file) != NULL) {
    for (int i = 0; i < 2; ++i) {
      const size_t length = strlen(files->dropped_keys[i]);
      if (strncmp(line, files->dropped_keys[i], length) != 0) continue;
      dropped_bytes += (size_t)strtoull(line + length, NULL, 10);
    }
    const size_t length = strlen(files->dirty_key);
    if (strncmp(line, files->dirty_key, length) == 0) {
      dirty_bytes = (size_t)strtoull(line + length, NULL, 10);
    }
  }
  fclose(file);
  return dropped_bytes > dirty_bytes ? dropped_bytes - dirty_bytes : 0;
}

static void tighten(const char *folder, const controller *files, tarn__memory_limit *tightest) {
  tarn__memory_limit found;
  if (!read_number(folder, files->limit_file, &found.limit_bytes) ||
      found.limit_bytes == SIZE_MAX || !read_number(folder, files->used_file, &found.used_bytes)) {
    return;
  }
  const size_t dropped_bytes = read_droppable(folder, files);
  found.used_bytes = found.used_bytes > dropped_bytes ? found.used_bytes - dropped_bytes : 0;
  if (tarn__memory_limit_left(&found) < tarn__memory_limit_left(tightest)) *tightest = found;
}

tarn__memory_limit tarn__memory_limit_read(void) {
  tarn__memory_limit tightest = {.limit_bytes = SIZE_MAX};
  char own[PATH_BYTES], group[PATH_BYTES], folder[PATH_BYTES], path[2 * PATH_BYTES];
  bool is_version_1 = read_group(/*is_version_1=*/true, own);
  is_version_1 = is_version_1 && read_mount(/*is_version_1=*/true, group, folder);
  if (!is_version_1 && !(read_group(/*is_version_1=*/false, own) &&
                         read_mount(/*is_version_1=*/false, group, folder))) {
    return tightest;
  }
  /* In a container the folder may be the process's group, or one above it; a group that is not
   * below what is mounted cannot be seen, and then the folder is what there is. */
  const char *below = own;
  const size_t group_length = strcmp(group, "/") == 0 ? 0 : strlen(group);
  const bool is_below = strncmp(own, group, group_length) == 0 &&
                        (own[group_length] == '/' || own[group_length] == '\0') &&
                        strstr(own, "..") == NULL;
  below = is_below ? own + group_length : "";
  const size_t top_length = strlen(folder);
  snprintf(path, sizeof path, "%s%s", folder, below);
  const controller *files = is_version_1 ? &version_1 : &version_2;
  for (size_t length = strlen(path); length >= top_length && length > 0;) {
    while (length > top_length && path[length - 1] == '/') --length;
    path[length] = '\0';
    tighten(path, files, &tightest);
    if (length == top_length) break;
    while (length > top_length && path[length - 1] != '/') --length;
  }
  return tightest;
}
