/* tracking_pool.c: an adaptor that remembers where in the code each block was allocated. */
#include "alloc/adapters/pools/tarn_tracking_pool.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/adapters/pools/over_pool.h"
#include "alloc/tarn_tag.h"

enum { OWN_FRAMES = 3 }; /* find_callers, tracking_alloc, and the pool seam that called it */

/* Blocks of one place; at first of one block each. */
typedef struct site {
  const void *address; /* of one of them */
  size_t size_bytes;
  size_t block_count;
  uint32_t tag;
  uint32_t frame_count;
  void *frames[TARN_TRACKING_DEPTH_MAX];
} site;

/* --- remembering --- */

static __attribute__((noinline)) uint32_t find_callers(void **callers, uint32_t depth) {
  void *frames[TARN_TRACKING_DEPTH_MAX + OWN_FRAMES];
  const int found = backtrace(frames, (int)depth + OWN_FRAMES);
  if (found <= OWN_FRAMES) return 0;
  memcpy(callers, frames + OWN_FRAMES, (size_t)(found - OWN_FRAMES) * sizeof *callers);
  return (uint32_t)(found - OWN_FRAMES);
}

static tarn_status tracking_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                  tarn_stream *stream, void **address) {
  tarn__over *self = context;
  tarn__lent *block = tarn__over_record(self, size_bytes);
  if (block == NULL) return TARN_OUT_OF_MEMORY;
  block->note_count = find_callers(block->notes, self->note_count);
  return tarn__over_lend(self, block, alignment_bytes, stream, address);
}

/* --- telling --- */

static int compare_places(const void *left, const void *right) {
  const site *a = left;
  const site *b = right;
  if (a->tag != b->tag) return a->tag < b->tag ? -1 : 1;
  if (a->frame_count != b->frame_count) return a->frame_count < b->frame_count ? -1 : 1;
  return memcmp(a->frames, b->frames, a->frame_count * sizeof *a->frames);
}

static int compare_sizes(const void *left, const void *right) {
  const site *a = left;
  const site *b = right;
  if (a->size_bytes != b->size_bytes) return a->size_bytes > b->size_bytes ? -1 : 1;
  return compare_places(left, right);
}

/* Under the lock, and with room; how many there are, which is less than were counted where somebody
 * freed a block below, and its address was lent again. */
static size_t copy_sites(const tarn__over *over, site *sites) {
  size_t count = 0;
  const tarn__lent *block = tarn__lent_after(over->lent, NULL);
  for (; block != NULL; block = tarn__lent_after(over->lent, block->address)) {
    site *copy = &sites[count++];
    *copy = (site){.address = block->address,
                   .size_bytes = block->requested_bytes,
                   .block_count = 1,
                   .tag = block->tag,
                   .frame_count = block->note_count};
    memcpy(copy->frames, block->notes, block->note_count * sizeof *block->notes);
  }
  return count;
}

/* Every block a site; NULL, told, where there is no room. */
static site *copy_all(tarn__over *over, size_t *count) {
  size_t capacity = 0;
  site *sites = NULL;
  for (;;) {
    pthread_mutex_lock(over->lock);
    *count = (size_t)(over->stats.alloc_count - over->stats.free_count);
    const bool fits = sites != NULL && *count <= capacity;
    if (fits) *count = copy_sites(over, sites);
    pthread_mutex_unlock(over->lock);
    if (fits) return sites;
    free(sites);
    capacity = *count + *count / 4 + 16;
    sites = malloc(capacity * sizeof *sites);
    if (sites == NULL) {
      (void)tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a report of %zu blocks", *count);
      return NULL;
    }
  }
}

/* Those of one place become one; most bytes first. */
static size_t join_sites(site *sites, size_t count) {
  size_t joined = 0;
  qsort(sites, count, sizeof *sites, compare_places);
  for (size_t index = 0; index < count; index++) {
    if (joined > 0 && compare_places(&sites[joined - 1], &sites[index]) == 0) {
      sites[joined - 1].size_bytes += sites[index].size_bytes;
      sites[joined - 1].block_count++;
    } else {
      sites[joined++] = sites[index];
    }
  }
  qsort(sites, joined, sizeof *sites, compare_sizes);
  return joined;
}

typedef struct report {
  tarn_write_function write;
  void *context;
} report;

static tarn_status write_line(const report *to, char *line, size_t capacity, int length) {
  if (length < 0) return tarn_fail(TARN_SYSTEM_ERROR, "a line of a report cannot be printed");
  const size_t line_bytes = (size_t)length < capacity ? (size_t)length : capacity - 1;
  line[line_bytes - 1] = '\n'; /* cut where it is longer */
  return to->write(to->context, line, line_bytes);
}

/* A return address may be the first byte of the next function. */
static tarn_status write_frame(const report *to, void *frame) {
  char line[1024];
  Dl_info info = {.dli_fname = NULL};
  const uintptr_t at = (uintptr_t)frame;
  int length;
  if (dladdr((char *)frame - 1, &info) == 0 || info.dli_fname == NULL) {
    length = snprintf(line, sizeof line, "    %p\n", frame);
  } else if (info.dli_sname == NULL) {
    length = snprintf(line, sizeof line, "    %p (%s+0x%zx)\n", frame, info.dli_fname,
                      (size_t)(at - (uintptr_t)info.dli_fbase));
  } else {
    length = snprintf(line, sizeof line, "    %p %s+0x%zx (%s+0x%zx)\n", frame, info.dli_sname,
                      (size_t)(at - (uintptr_t)info.dli_saddr), info.dli_fname,
                      (size_t)(at - (uintptr_t)info.dli_fbase));
  }
  return write_line(to, line, sizeof line, length);
}

static tarn_status write_site(const report *to, const site *place) {
  char line[256];
  const int length =
      snprintf(line, sizeof line, "%zu bytes in %zu block%s%s%s, one at %p\n", place->size_bytes,
               place->block_count, place->block_count == 1 ? "" : "s",
               place->tag != 0 ? ", tag " : "", tarn_tag_name(place->tag), place->address);
  tarn_status status = write_line(to, line, sizeof line, length);
  for (uint32_t index = 0; status == TARN_OK && index < place->frame_count; index++) {
    status = write_frame(to, place->frames[index]);
  }
  return status;
}

static tarn_status write_sites(const report *to, const char *name, const site *sites,
                               size_t site_count) {
  char line[256];
  size_t size_bytes = 0;
  size_t block_count = 0;
  for (size_t index = 0; index < site_count; index++) {
    size_bytes += sites[index].size_bytes;
    block_count += sites[index].block_count;
  }
  const int length = snprintf(line, sizeof line, "%.160s: %zu block%s, %zu bytes\n", name,
                              block_count, block_count == 1 ? "" : "s", size_bytes);
  tarn_status status = write_line(to, line, sizeof line, length);
  for (size_t index = 0; status == TARN_OK && index < site_count; index++) {
    status = write_site(to, &sites[index]);
  }
  return status;
}

/* --- life --- */

static void tracking_destroy(void *context) {
  tarn__over_destroy(context);
}

tarn_status tarn_tracking_pool_create(tarn_pool *upstream,
                                      const tarn_tracking_pool_options *options, tarn_pool **pool) {
  const tarn_tracking_pool_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = tarn__over_check(pool, upstream);
  if (status == TARN_OK) {
    status =
        tarn__over_check_size("tarn_tracking_pool_options", sizeof *options, options->struct_size);
  }
  if (status != TARN_OK) return status;
  if (options->depth > TARN_TRACKING_DEPTH_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a depth of %u; at most %d", options->depth,
                     TARN_TRACKING_DEPTH_MAX);
  }
  tarn_pool_ops ops = tarn__over_ops;
  ops.alloc = tracking_alloc;
  ops.destroy = tracking_destroy;
  tarn__over *self = calloc(1, sizeof *self);
  if (self != NULL) {
    self->note_count = options->depth != 0 ? options->depth : TARN_TRACKING_DEPTH_DEFAULT;
    /* The first call loads the unwinder. */
    void *first[TARN_TRACKING_DEPTH_MAX];
    (void)find_callers(first, 1);
  }
  return tarn__over_create(self, upstream, &ops, "tracking", options->name, pool);
}

tarn_status tarn_tracking_pool_report(tarn_pool *pool, tarn_write_function write, void *context) {
  tarn__over *self = tarn_pool_context(pool, tracking_destroy);
  if (self == NULL || write == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a report needs a tracking pool and a function");
  }
  size_t count = 0;
  site *sites = copy_all(self, &count);
  if (sites == NULL) return TARN_OUT_OF_MEMORY;
  const report to = {.write = write, .context = context};
  const tarn_status status =
      write_sites(&to, tarn_pool_name(pool), sites, join_sites(sites, count));
  free(sites);
  return status;
}
