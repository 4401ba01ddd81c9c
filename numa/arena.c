/* arena.c: jemalloc arenas whose memory comes from one provider. */
#include "numa/arena.h"

#include <errno.h>
#include <jemalloc/jemalloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "alloc/tarn_poison.h"
#include "numa/shadow.h"

/* Read last, so that nothing else that jemalloc reads can win over it.
 * - retain: freed address space stays the arena's (arena.h says why).
 * - dirty_decay_ms -1: freed memory is kept until trim asks for it, so that no allocation pays for
 *   giving back; then it skips the muzzy state. No background thread: trim is the only giver.
 * - oversize_threshold 0: large blocks are kept as well.
 * - narenas 1, tcache false: the automatic arenas and caches are never used. */
extern const char *je_malloc_conf_2_conf_harder;
const char *je_malloc_conf_2_conf_harder =
    "retain:true,dirty_decay_ms:-1,muzzy_decay_ms:0,oversize_threshold:0,background_thread:false,"
    "narenas:1,tcache:false,percpu_arena:disabled,dss:disabled,metadata_thp:disabled,hpa:false,"
    "abort:false,abort_conf:false,confirm_conf:false,stats_print:false,junk:false,zero:false";

static void say_nothing(void *context, const char *message) {
  (void)context;
  (void)message;
}

/* Before jemalloc's own constructor, which is the first that could have something to say. */
__attribute__((constructor(101))) static void silence_jemalloc(void) {
  je_malloc_message = say_nothing;
}

/* One of jemalloc's arenas. */
typedef struct arena_part {
  extent_hooks_t hooks; /* first: jemalloc hands its address to every hook */
  tarn__arena *arena;
  unsigned index; /* jemalloc's */
} arena_part;

typedef struct arena_range {
  void *address;
  size_t size_bytes;
  tarn__shadow *shadow;
} arena_range;

/* Of a provider with large granules. */
typedef struct granule {
  size_t used_bytes; /* committed to jemalloc */
  bool is_committed;
} granule;

typedef struct granule_use {
  struct granule_use *next;
  char *start; /* of a range, on a granule */
  size_t count;
  granule granules[];
} granule_use;

struct tarn__arena {
  tarn_provider *provider;
  size_t page_bytes;
  size_t granularity_bytes;
  size_t limit_bytes;
  pthread_mutex_t purge_lock; /* ranks before jemalloc's */
  pthread_mutex_t lock;       /* of the ranges; the innermost of all */
  arena_range *ranges;
  size_t range_count;
  size_t range_capacity;
  granule_use *granule_uses;     /* NULL where a granule is a page */
  pthread_mutex_t granules_lock; /* of these; the provider is called with it, as with jemalloc's */
  atomic_size_t committed_bytes;
  atomic_size_t committed_bytes_peak;
  atomic_uint_fast64_t provider_calls;
  bool is_left_behind; /* by a fork: what the provider has is the parent's */
  unsigned part_count;
  arena_part parts[];
};

/* Of the calling thread's allocation: memory was refused for addresses that there are. jemalloc
 * would go on with fresh ones, which fare no better, and keep these too, at every try. */
static _Thread_local bool is_refused;

static void count_call(tarn__arena *arena) {
  atomic_fetch_add_explicit(&arena->provider_calls, 1, memory_order_relaxed);
}

/* False where the limit forbids it. */
static bool add_committed(tarn__arena *arena, size_t size_bytes) {
  const size_t now =
      atomic_fetch_add_explicit(&arena->committed_bytes, size_bytes, memory_order_relaxed) +
      size_bytes;
  if (arena->limit_bytes != 0 && now > arena->limit_bytes) {
    atomic_fetch_sub_explicit(&arena->committed_bytes, size_bytes, memory_order_relaxed);
    return false;
  }
  size_t peak = atomic_load_explicit(&arena->committed_bytes_peak, memory_order_relaxed);
  while (now > peak &&
         !atomic_compare_exchange_weak_explicit(&arena->committed_bytes_peak, &peak, now,
                                                memory_order_relaxed, memory_order_relaxed)) {
  }
  return true;
}

static void subtract_committed(tarn__arena *arena, size_t size_bytes) {
  atomic_fetch_sub_explicit(&arena->committed_bytes, size_bytes, memory_order_relaxed);
}

/* Remembers a range for destroy. False where there is no memory. */
static bool add_range(tarn__arena *arena, const arena_range *range) {
  pthread_mutex_lock(&arena->lock);
  bool is_added = arena->range_count < arena->range_capacity;
  if (!is_added) {
    const size_t capacity = arena->range_capacity == 0 ? 16 : 2 * arena->range_capacity;
    arena_range *grown = realloc(arena->ranges, capacity * sizeof *grown);
    if (grown != NULL) {
      arena->ranges = grown;
      arena->range_capacity = capacity;
      is_added = true;
    }
  }
  if (is_added) arena->ranges[arena->range_count++] = *range;
  pthread_mutex_unlock(&arena->lock);
  return is_added;
}

/* What is new may not be touched before it is lent; the provider itself may touch it. */
static bool commit_pages(tarn__arena *arena, void *address, size_t size_bytes) {
  if (arena->is_left_behind || !add_committed(arena, size_bytes)) return false;
  count_call(arena);
  tarn_poison_lift(address, size_bytes);
  if (tarn_provider_commit(arena->provider, address, size_bytes) != TARN_OK) {
    subtract_committed(arena, size_bytes);
    return false;
  }
  tarn_poison(address, size_bytes);
  return true;
}

static bool decommit_pages(tarn__arena *arena, void *address, size_t size_bytes) {
  if (arena->is_left_behind) return false;
  count_call(arena);
  if (tarn_provider_decommit(arena->provider, address, size_bytes) != TARN_OK) return false;
  subtract_committed(arena, size_bytes);
  return true;
}

/* --- granules larger than a page; granules_lock is held --- */

static granule_use *use_of(const tarn__arena *arena, const char *address) {
  granule_use *use = arena->granule_uses;
  while (address < use->start || address >= use->start + use->count * arena->granularity_bytes) {
    use = use->next;
  }
  return use;
}

/* Takes size_bytes at the address out of its granules' use; what nobody uses is decommitted. What
 * the provider refuses to take stays committed, and is used again. */
static void leave_granules(tarn__arena *arena, char *address, size_t size_bytes) {
  granule_use *use = use_of(arena, address);
  for (size_t left = size_bytes; left > 0;) {
    const size_t index = (size_t)(address - use->start) / arena->granularity_bytes;
    granule *const left_one = &use->granules[index];
    char *const start = use->start + index * arena->granularity_bytes;
    const size_t room = (size_t)(start + arena->granularity_bytes - address);
    const size_t part = left < room ? left : room;
    left_one->used_bytes -= part;
    if (left_one->used_bytes == 0) {
      left_one->is_committed = !decommit_pages(arena, start, arena->granularity_bytes);
    }
    address += part;
    left -= part;
  }
}

static bool enter_granules(tarn__arena *arena, char *address, size_t size_bytes) {
  granule_use *use = use_of(arena, address);
  size_t done = 0;
  while (done < size_bytes) {
    char *const at = address + done;
    const size_t index = (size_t)(at - use->start) / arena->granularity_bytes;
    granule *const entered = &use->granules[index];
    char *const start = use->start + index * arena->granularity_bytes;
    const size_t room = (size_t)(start + arena->granularity_bytes - at);
    const size_t part = size_bytes - done < room ? size_bytes - done : room;
    if (!entered->is_committed && !commit_pages(arena, start, arena->granularity_bytes)) break;
    entered->is_committed = true;
    entered->used_bytes += part;
    done += part;
  }
  if (done == size_bytes) return true;
  if (done > 0) leave_granules(arena, address, done);
  return false;
}

static bool has_large_granules(const tarn__arena *arena) {
  return arena->granularity_bytes > arena->page_bytes;
}

static bool commit(tarn__arena *arena, void *address, size_t size_bytes) {
  bool has_all;
  if (has_large_granules(arena)) {
    pthread_mutex_lock(&arena->granules_lock);
    has_all = enter_granules(arena, address, size_bytes);
    pthread_mutex_unlock(&arena->granules_lock);
  } else {
    has_all = commit_pages(arena, address, size_bytes);
  }
  if (!has_all) is_refused = true;
  return has_all;
}

static bool decommit(tarn__arena *arena, void *address, size_t size_bytes) {
  if (!has_large_granules(arena)) return decommit_pages(arena, address, size_bytes);
  tarn_poison(address, size_bytes);
  pthread_mutex_lock(&arena->granules_lock);
  leave_granules(arena, address, size_bytes);
  pthread_mutex_unlock(&arena->granules_lock);
  return true;
}

/* Room to count a new range's use. */
static bool add_granules(tarn__arena *arena, char *start, size_t size_bytes) {
  if (!has_large_granules(arena)) return true;
  const size_t count = (size_bytes + arena->granularity_bytes - 1) / arena->granularity_bytes;
  granule_use *made = calloc(1, sizeof *made + count * sizeof made->granules[0]);
  if (made == NULL) return false;
  made->start = start;
  made->count = count;
  pthread_mutex_lock(&arena->granules_lock);
  made->next = arena->granule_uses;
  arena->granule_uses = made;
  pthread_mutex_unlock(&arena->granules_lock);
  return true;
}

/* Of a range that goes back before jemalloc has seen it. */
static void remove_granules(tarn__arena *arena, const char *start) {
  pthread_mutex_lock(&arena->granules_lock);
  granule_use **link = &arena->granule_uses;
  while (*link != NULL && (*link)->start != start) link = &(*link)->next;
  granule_use *const found = *link;
  if (found != NULL) *link = found->next;
  pthread_mutex_unlock(&arena->granules_lock);
  free(found);
}

/* --- jemalloc calls the hooks under its own locks; they return true for "no" --- */

static void free_range(tarn__arena *arena, const arena_range *range) {
  tarn__shadow_destroy(range->shadow);
  tarn_poison_lift(range->address, range->size_bytes);
  if (arena->is_left_behind) return;
  count_call(arena);
  /* A refusal leaves the range lost; there is nobody to tell. */
  (void)!tarn_provider_free(arena->provider, range->address, range->size_bytes);
}

/* Reserves a range with size_bytes in it from an address so aligned. */
static char *reserve(tarn__arena *arena, size_t size_bytes, size_t alignment_bytes,
                     arena_range *range) {
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(arena->provider);
  const size_t cell_bytes = (size_t)1 << TARN__CELL_BITS;
  if (alignment_bytes < cell_bytes) alignment_bytes = cell_bytes;
  /* With the guard, which is the slack's last page where there is slack. */
  const size_t slack_bytes =
      attributes->alignment_bytes >= alignment_bytes ? arena->granularity_bytes : alignment_bytes;
  if (!tarn_size_add(size_bytes, slack_bytes, &range->size_bytes)) return NULL;
  if (!tarn_size_round_up(range->size_bytes, arena->granularity_bytes, &range->size_bytes)) {
    return NULL;
  }
  count_call(arena);
  if (tarn_provider_reserve(arena->provider, range->size_bytes, &range->address) != TARN_OK) {
    return NULL;
  }
  char *const start = (char *)range->address + (-(uintptr_t)range->address & (alignment_bytes - 1));
  range->shadow = tarn__shadow_create(start, size_bytes, arena);
  if (range->shadow != NULL && add_granules(arena, start, size_bytes)) return start;
  free_range(arena, range);
  return NULL;
}

static void *on_alloc(extent_hooks_t *hooks, void *wanted_address, size_t size_bytes,
                      size_t alignment_bytes, bool *is_zero, bool *is_committed, unsigned index) {
  (void)index;
  tarn__arena *const arena = ((arena_part *)hooks)->arena;
  arena_range range = {NULL, 0, NULL};
  if (wanted_address != NULL || is_refused) return NULL;
  char *const start = reserve(arena, size_bytes, alignment_bytes, &range);
  if (start == NULL) return NULL;
  const bool has_all = !*is_committed || commit(arena, start, size_bytes);
  if (!has_all || !add_range(arena, &range)) {
    if (*is_committed && has_all) (void)decommit(arena, start, size_bytes);
    remove_granules(arena, start);
    free_range(arena, &range);
    return NULL;
  }
  *is_zero = (tarn_provider_attributes_of(arena->provider)->flags & TARN_PROVIDER_ZEROED) != 0;
  return start;
}

/* Keeps the addresses: jemalloc then decommits and retains them. */
static bool on_dalloc(extent_hooks_t *hooks, void *address, size_t size_bytes, bool is_committed,
                      unsigned index) {
  (void)hooks, (void)address, (void)size_bytes, (void)is_committed, (void)index;
  return true;
}

static bool on_commit(extent_hooks_t *hooks, void *address, size_t size_bytes, size_t offset_bytes,
                      size_t length_bytes, unsigned index) {
  (void)size_bytes, (void)index;
  return !commit(((arena_part *)hooks)->arena, (char *)address + offset_bytes, length_bytes);
}

static bool on_decommit(extent_hooks_t *hooks, void *address, size_t size_bytes,
                        size_t offset_bytes, size_t length_bytes, unsigned index) {
  (void)size_bytes, (void)index;
  return !decommit(((arena_part *)hooks)->arena, (char *)address + offset_bytes, length_bytes);
}

/* Nothing to do: ranges never lie side by side, so what jemalloc cuts and joins is one range's. */
static bool on_split(extent_hooks_t *hooks, void *address, size_t size_bytes, size_t first_bytes,
                     size_t second_bytes, bool is_committed, unsigned index) {
  (void)hooks, (void)address, (void)size_bytes, (void)first_bytes, (void)second_bytes;
  (void)is_committed, (void)index;
  return false;
}

static bool on_merge(extent_hooks_t *hooks, void *first, size_t first_bytes, void *second,
                     size_t second_bytes, bool is_committed, unsigned index) {
  (void)hooks, (void)first, (void)first_bytes, (void)second, (void)second_bytes;
  (void)is_committed, (void)index;
  return false;
}

static tarn_status create_in_jemalloc(arena_part *part) {
  part->hooks = (extent_hooks_t){.alloc = on_alloc,
                                 .dalloc = on_dalloc,
                                 .commit = on_commit,
                                 .decommit = on_decommit,
                                 .split = on_split,
                                 .merge = on_merge};
  /* jemalloc's arena_config_t: its own records lie in its own memory, so that the provider's
   * memory is the blocks' alone, and trim can give back all of it. */
  struct {
    extent_hooks_t *hooks;
    bool metadata_use_hooks;
  } config = {.hooks = &part->hooks, .metadata_use_hooks = false};
  size_t index_bytes = sizeof part->index;
  const int error = je_mallctl("experimental.arenas_create_ext", &part->index, &index_bytes,
                               &config, sizeof config);
  if (error == 0) return TARN_OK;
  return tarn_fail_native(error == EAGAIN ? TARN_NOT_SUPPORTED : TARN_SYSTEM_ERROR,
                          "experimental.arenas_create_ext", error,
                          "jemalloc makes no further arena; a process has 4094 at most");
}

static void control(const arena_part *part, const char *verb) {
  char name[48];
  snprintf(name, sizeof name, "arena.%u.%s", part->index, verb);
  const int error = je_mallctl(name, NULL, NULL, NULL, 0);
  TARN_ASSERT(error == 0);
  (void)error;
}

tarn_status tarn__arena_create(tarn_provider *provider, unsigned part_count, size_t limit_bytes,
                               tarn__arena **arena) {
  *arena = NULL;
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  TARN_ASSERT((attributes->flags & TARN_PROVIDER_RESERVES) != 0);
  TARN_ASSERT(part_count > 0 && part_count <= TARN__ARENA_PARTS_MAX);
  tarn__arena *made = calloc(1, sizeof *made + part_count * sizeof made->parts[0]);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for an arena");
  made->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  made->granularity_bytes = attributes->granularity_bytes;
  made->limit_bytes = limit_bytes;
  pthread_mutex_init(&made->purge_lock, NULL);
  pthread_mutex_init(&made->lock, NULL);
  pthread_mutex_init(&made->granules_lock, NULL);
  made->provider = provider;
  tarn_provider_retain(provider);
  tarn_status status = TARN_OK;
  while (status == TARN_OK && made->part_count < part_count) {
    arena_part *part = &made->parts[made->part_count];
    part->arena = made;
    status = create_in_jemalloc(part);
    if (status == TARN_OK) ++made->part_count;
  }
  if (status != TARN_OK) {
    tarn__arena_destroy(made);
    return status;
  }
  *arena = made;
  return TARN_OK;
}

void tarn__arena_destroy(tarn__arena *arena) {
  if (arena == NULL) return;
  for (unsigned i = 0; i < arena->part_count; ++i) control(&arena->parts[i], "destroy");
  for (size_t i = 0; i < arena->range_count; ++i) free_range(arena, &arena->ranges[i]);
  free(arena->ranges);
  while (arena->granule_uses != NULL) {
    granule_use *const next = arena->granule_uses->next;
    free(arena->granule_uses);
    arena->granule_uses = next;
  }
  tarn_provider_release(arena->provider);
  pthread_mutex_destroy(&arena->purge_lock);
  pthread_mutex_destroy(&arena->granules_lock);
  pthread_mutex_destroy(&arena->lock);
  free(arena);
}

void tarn__arena_enter_child(tarn__arena *arena) {
  const uint32_t flags = tarn_provider_attributes_of(arena->provider)->flags;
  if ((flags & TARN_PROVIDER_OF_PROCESS) != 0) arena->is_left_behind = true;
}

bool tarn__arena_is_left_behind(const tarn__arena *arena) {
  return arena->is_left_behind;
}

tarn__arena_cache tarn__arena_cache_create(void) {
  unsigned index;
  size_t index_bytes = sizeof index;
  if (je_mallctl("tcache.create", &index, &index_bytes, NULL, 0) != 0) return TARN__NO_CACHE;
  return (tarn__arena_cache)index;
}

static void control_cache(tarn__arena_cache cache, const char *name) {
  if (cache == TARN__NO_CACHE) return;
  unsigned index = (unsigned)cache;
  (void)je_mallctl(name, NULL, NULL, &index, sizeof index);
}

void tarn__arena_cache_flush(tarn__arena_cache cache) {
  control_cache(cache, "tcache.flush");
}

void tarn__arena_cache_destroy(tarn__arena_cache cache) {
  control_cache(cache, "tcache.destroy");
}

/* Never jemalloc's automatic cache: it may hold another arena's memory. */
static int flags_of(tarn__arena_cache cache) {
  return cache == TARN__NO_CACHE ? MALLOCX_TCACHE_NONE : MALLOCX_TCACHE(cache);
}

/* jemalloc's classes that are multiples of 64 have all their blocks so aligned: to ask for one of
 * those is quicker than to ask for an alignment. */
static size_t in_lines(size_t size_bytes) {
  const size_t line_bytes = TARN__ARENA_ALIGNMENT_BYTES;
  return (size_bytes + line_bytes - 1) & ~(line_bytes - 1);
}

static int alignment_flag(size_t alignment_bytes) {
  return alignment_bytes > TARN__ARENA_ALIGNMENT_BYTES ? MALLOCX_ALIGN(alignment_bytes) : 0;
}

size_t tarn__arena_rounded(size_t size_bytes, size_t alignment_bytes) {
  return je_nallocx(in_lines(size_bytes), alignment_flag(alignment_bytes));
}

void *tarn__arena_alloc(tarn__arena *arena, unsigned part, tarn__arena_cache cache,
                        size_t size_bytes, size_t alignment_bytes) {
  const int alignment = alignment_flag(alignment_bytes);
  const unsigned index = arena->parts[part % arena->part_count].index;
  is_refused = false;
  void *const address =
      je_mallocx(in_lines(size_bytes), MALLOCX_ARENA(index) | flags_of(cache) | alignment);
  if (address == NULL) return NULL;
  const size_t rounded_bytes = je_nallocx(in_lines(size_bytes), alignment);
  TARN_ASSERT(tarn__class_bytes(tarn__class_of(rounded_bytes)) == rounded_bytes);
  tarn__shadow_place(tarn__shadow_find(address), address, tarn__class_of(rounded_bytes));
  return address;
}

void tarn__arena_free(tarn__arena *arena, tarn__arena_cache cache, void *address,
                      unsigned size_class) {
  (void)arena; /* jemalloc knows whose it is */
  tarn__shadow_clear(tarn__shadow_find(address), address, size_class);
  je_sdallocx(address, tarn__class_bytes(size_class), flags_of(cache));
}

void tarn__arena_purge(tarn__arena *arena) {
  tarn__arena_stop_purges(arena);
  for (unsigned i = 0; i < arena->part_count; ++i) control(&arena->parts[i], "purge");
  tarn__arena_allow_purges(arena);
}

void tarn__arena_stop_purges(tarn__arena *arena) {
  pthread_mutex_lock(&arena->purge_lock);
}

void tarn__arena_allow_purges(tarn__arena *arena) {
  pthread_mutex_unlock(&arena->purge_lock);
}

void tarn__arena_lock(tarn__arena *arena) {
  pthread_mutex_lock(&arena->granules_lock);
  pthread_mutex_lock(&arena->lock);
}

void tarn__arena_unlock(tarn__arena *arena) {
  pthread_mutex_unlock(&arena->lock);
  pthread_mutex_unlock(&arena->granules_lock);
}

tarn__arena_counts tarn__arena_counts_of(const tarn__arena *arena) {
  return (tarn__arena_counts){
      .committed_bytes = atomic_load_explicit(&arena->committed_bytes, memory_order_relaxed),
      .committed_bytes_peak =
          atomic_load_explicit(&arena->committed_bytes_peak, memory_order_relaxed),
      .provider_calls = atomic_load_explicit(&arena->provider_calls, memory_order_relaxed),
  };
}

/* Adds what jemalloc counts under the name. */
static bool add_size(const arena_part *part, const char *what, size_t unit_bytes, size_t *sum) {
  char name[64];
  size_t value = 0;
  size_t value_bytes = sizeof value;
  snprintf(name, sizeof name, "stats.arenas.%u.%s", part->index, what);
  if (je_mallctl(name, &value, &value_bytes, NULL, 0) != 0) return false;
  *sum += value * unit_bytes;
  return true;
}

tarn_status tarn__arena_report_of(const tarn__arena *arena, tarn__arena_report *report) {
  *report = (tarn__arena_report){0};
  uint64_t epoch = 1;
  bool has_all = je_mallctl("epoch", NULL, NULL, &epoch, sizeof epoch) == 0;
  for (unsigned i = 0; has_all && i < arena->part_count; ++i) {
    const arena_part *part = &arena->parts[i];
    has_all = add_size(part, "small.allocated", 1, &report->small_bytes) &&
              add_size(part, "large.allocated", 1, &report->large_bytes) &&
              add_size(part, "pactive", arena->page_bytes, &report->active_bytes) &&
              add_size(part, "pdirty", arena->page_bytes, &report->dirty_bytes) &&
              add_size(part, "retained", 1, &report->retained_bytes) &&
              add_size(part, "base", 1, &report->metadata_bytes) &&
              add_size(part, "internal", 1, &report->metadata_bytes);
  }
  if (has_all) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED, "this jemalloc was built without statistics");
}
