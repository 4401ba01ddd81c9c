/* tracking_pool.c: an adaptor that remembers where in the code each block was allocated. */
#include "alloc/adapters/pools/tarn_tracking_pool.h"

#include <assert.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/adapters/pools/call_sites.h"
#include "alloc/adapters/pools/over_pool.h"
#include "alloc/tarn_tag.h"

static_assert((int)TARN__SITE_NUMBERS == TARN__LENT_LABELS_MAX, "a site's number is a label");
static_assert((int)TARN__SITE_KNOWN == TARN__OVER_OWN_WORDS, "what a thread has unwound");

typedef struct tracking_pool {
  tarn__over over; /* first: tag_of_site finds the rest by it */
  uint32_t depth;
  tarn__call_sites sites;
} tracking_pool;

/* Blocks of one place; at first of one block each. */
typedef struct site {
  const void *address; /* of one of them */
  size_t size_bytes;
  size_t block_count;
  const tarn__call_site *place;
} site;

/* --- remembering --- */

static uint32_t tag_of_site(const tarn__over *over, uint32_t label) {
  const tracking_pool *self = (const tracking_pool *)over;
  return tarn__call_sites_at(&self->sites, label)->tag;
}

static tarn_status refuse_place(tracking_pool *self) {
  tarn__over_count_refusal(&self->over, TARN_OUT_OF_MEMORY);
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to remember where a block is allocated");
}

static __attribute__((noinline)) tarn_status tracking_alloc(void *context, size_t size_bytes,
                                                            size_t alignment_bytes,
                                                            tarn_stream *stream, void **address) {
  tracking_pool *self = context;
  const tarn__call_site *place =
      tarn__call_sites_find(&self->sites, __builtin_frame_address(0), self->depth,
                            tarn_tag_current(), tarn__over_own_words(&self->over));
  if (place == NULL) return refuse_place(self);
  return tarn__over_lend(&self->over, size_bytes, alignment_bytes, place->number, stream, address);
}

/* --- telling --- */

/* Those whose calls lay otherwise on the stack are of one place all the same. */
static int compare_places(const void *left, const void *right) {
  const tarn__call_site *a = ((const site *)left)->place;
  const tarn__call_site *b = ((const site *)right)->place;
  if (a == b) return 0;
  if (a->tag != b->tag) return a->tag < b->tag ? -1 : 1;
  if (a->frame_count != b->frame_count) return a->frame_count < b->frame_count ? -1 : 1;
  for (uint32_t index = 0; index < a->frame_count; index++) {
    const uintptr_t a_at = (uintptr_t)a->frames[index].return_address;
    const uintptr_t b_at = (uintptr_t)b->frames[index].return_address;
    if (a_at != b_at) return a_at < b_at ? -1 : 1;
  }
  return 0;
}

static int compare_sizes(const void *left, const void *right) {
  const site *a = left;
  const site *b = right;
  if (a->size_bytes != b->size_bytes) return a->size_bytes > b->size_bytes ? -1 : 1;
  return compare_places(left, right);
}

/* How many there are, or one more than there is room for. */
static size_t copy_sites(const tracking_pool *self, site *sites, size_t capacity) {
  size_t count = 0;
  uintptr_t start = 0;
  uint64_t record = tarn__lent_map_next(&self->over.lent, 0, &start);
  for (; record != 0; record = tarn__lent_map_next(&self->over.lent, start + 1, &start)) {
    if (count++ == capacity) break;
    sites[count - 1] = (site){.address = (const void *)start,
                              .size_bytes = tarn__lent_size(record),
                              .block_count = 1,
                              .place = tarn__call_sites_at(&self->sites, tarn__lent_label(record))};
  }
  return count;
}

/* Every block a site; NULL, told, where there is no room. */
static site *copy_all(const tracking_pool *self, size_t *count) {
  for (size_t capacity = 64;; capacity *= 4) {
    site *sites = malloc(capacity * sizeof *sites);
    if (sites == NULL) {
      (void)tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a report of %zu blocks", capacity);
      return NULL;
    }
    *count = copy_sites(self, sites, capacity);
    if (*count <= capacity) return sites;
    free(sites);
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

static tarn_status write_site(const report *to, const site *held) {
  char line[256];
  const tarn__call_site *place = held->place;
  const int length =
      snprintf(line, sizeof line, "%zu bytes in %zu block%s%s%s, one at %p\n", held->size_bytes,
               held->block_count, held->block_count == 1 ? "" : "s",
               place->tag != 0 ? ", tag " : "", tarn_tag_name(place->tag), held->address);
  tarn_status status = write_line(to, line, sizeof line, length);
  for (uint32_t index = 0; status == TARN_OK && index < place->frame_count; index++) {
    status = write_frame(to, place->frames[index].return_address);
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
  tracking_pool *self = context;
  tarn__call_sites_deinit(&self->sites);
  tarn__over_destroy(self);
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
  tracking_pool *self = calloc(1, sizeof *self);
  if (self != NULL) {
    self->depth = options->depth != 0 ? options->depth : TARN_TRACKING_DEPTH_DEFAULT;
    self->over.tag_of = tag_of_site;
  }
  return tarn__over_create(self != NULL ? &self->over : NULL, upstream, &ops, "tracking",
                           options->name, pool);
}

tarn_status tarn_tracking_pool_report(tarn_pool *pool, tarn_write_function write, void *context) {
  const tracking_pool *self = tarn_pool_context(pool, tracking_destroy);
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
