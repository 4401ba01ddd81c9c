/* call_sites.c: recognises where a call comes from, and unwinds what it has not seen. */
#include "alloc/adapters/pools/call_sites.h"

#include <stdlib.h>
#include <string.h>
#include <unwind.h>

enum { DEPTH_MAX = 32 };

/* --- recognising --- */

/* The words of other functions' frames: sanitizers are not to look on. */
__attribute__((no_sanitize("address", "thread", "undefined"))) static inline void *word_at(
    uintptr_t address) {
  return *(void *const volatile *)address;
}

/* Whether the stack from `first` to `last` was unwound. */
static bool is_known(const atomic_uintptr_t *known, uintptr_t first, uintptr_t last) {
  return known != NULL && first >= atomic_load_explicit(&known[0], memory_order_relaxed) &&
         last <= atomic_load_explicit(&known[1], memory_order_relaxed);
}

/* What overlaps is of one stack. */
static void make_known(atomic_uintptr_t *known, uintptr_t first, uintptr_t last) {
  const uintptr_t known_first = atomic_load_explicit(&known[0], memory_order_relaxed);
  const uintptr_t known_last = atomic_load_explicit(&known[1], memory_order_relaxed);
  if (first <= known_last && known_first <= last) {
    if (known_first < first) first = known_first;
    if (known_last > last) last = known_last;
  }
  atomic_store_explicit(&known[0], first, memory_order_relaxed);
  atomic_store_explicit(&known[1], last, memory_order_relaxed);
}

__attribute__((no_sanitize("address", "thread", "undefined"))) static bool lies_there(
    const tarn__call_site *site, uintptr_t frame, uint32_t tag, const atomic_uintptr_t *known) {
  if (site->tag != tag || site->frame_count == 0) return false;
  if (!is_known(known, frame, frame + site->frames[site->frame_count - 1].offset)) return false;
  for (uint32_t index = 0; index < site->frame_count; index++) {
    const tarn__call_frame *one = &site->frames[index];
    if (word_at(frame + one->offset) != one->return_address) return false;
  }
  return true;
}

static uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
  return hash ^ (hash >> 32);
}

/* --- unwinding --- */

typedef struct walk {
  uintptr_t frame;
  uint32_t depth;
  bool is_readable;
  uint32_t count;
  tarn__call_frame frames[DEPTH_MAX];
} walk;

/* An unwinder's CFA here is where the stack was before the call: below it lies the return address,
 * on machines that push it. */
static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *argument) {
  walk *self = argument;
  const uintptr_t place = (uintptr_t)_Unwind_GetCFA(context) - sizeof(void *);
  void *const address = (void *)_Unwind_GetIP(context);
  if (place <= self->frame) return _URC_NO_REASON; /* of the asking function, or of what it calls */
  if (address == NULL || self->count == self->depth) return _URC_END_OF_STACK;
  if (word_at(place) != address) self->is_readable = false;
  self->frames[self->count++] = (tarn__call_frame){address, place - self->frame};
  return _URC_NO_REASON;
}

/* --- keeping --- */

static bool is_same(const tarn__call_site *site, const walk *found, uint32_t tag, uint64_t hash) {
  if (site->hash != hash || site->tag != tag || site->frame_count != found->count) return false;
  for (uint32_t index = 0; index < found->count; index++) {
    if (site->frames[index].return_address != found->frames[index].return_address ||
        site->frames[index].offset != found->frames[index].offset) {
      return false;
    }
  }
  return true;
}

static tarn__site_block *index_block(tarn__call_sites *sites, uint32_t number) {
  _Atomic(tarn__site_block *) *place = &sites->index[number / TARN__SITE_INDEX_BLOCK];
  tarn__site_block *there = atomic_load_explicit(place, memory_order_acquire);
  if (there != NULL) return there;
  tarn__site_block *made = calloc(1, sizeof *made);
  if (made == NULL || atomic_compare_exchange_strong_explicit(
                          place, &there, made, memory_order_acq_rel, memory_order_acquire)) {
    return made;
  }
  free(made);
  return there;
}

/* All that have no number of their own. */
static const tarn__call_site elsewhere = {.number = TARN__SITE_NUMBERS - 1};

/* A free number below the last, by which the site is found; false where there is no memory. */
static bool give_number(tarn__call_sites *sites, tarn__call_site *site) {
  site->number = atomic_load_explicit(&sites->number_count, memory_order_relaxed);
  do {
    if (site->number == elsewhere.number) return true;
  } while (!atomic_compare_exchange_weak_explicit(&sites->number_count, &site->number,
                                                  site->number + 1, memory_order_relaxed,
                                                  memory_order_relaxed));
  tarn__site_block *block = index_block(sites, site->number);
  if (block == NULL) return false;
  atomic_store_explicit(&block->sites[site->number % TARN__SITE_INDEX_BLOCK], site,
                        memory_order_release);
  return true;
}

static const tarn__call_site *keep(tarn__call_sites *sites, const walk *found, uint32_t tag) {
  uint64_t hash = mix(tag, found->count);
  for (uint32_t index = 0; index < found->count; index++) {
    hash = mix(hash, (uintptr_t)found->frames[index].return_address + found->frames[index].offset);
  }
  _Atomic(tarn__call_site *) *bucket = &sites->buckets[hash % TARN__SITE_BUCKETS];
  tarn__call_site *first = atomic_load_explicit(bucket, memory_order_acquire);
  for (const tarn__call_site *site = first; site != NULL; site = site->next) {
    if (is_same(site, found, tag, hash)) return site;
  }
  const size_t frames_bytes = found->count * sizeof found->frames[0];
  tarn__call_site *made = malloc(sizeof *made + frames_bytes);
  if (made == NULL) return NULL;
  *made = (tarn__call_site){.next = first,
                            .hash = hash,
                            .tag = tag,
                            .frame_count = found->count,
                            .is_readable = found->is_readable};
  memcpy(made->frames, found->frames, frames_bytes);
  const bool is_known = give_number(sites, made);
  if (!is_known || made->number == elsewhere.number) {
    free(made);
    return is_known ? &elsewhere : NULL;
  }
  /* Release: a site is whole when it is found. */
  while (!atomic_compare_exchange_weak_explicit(bucket, &made->next, made, memory_order_release,
                                                memory_order_relaxed)) {
  }
  return made;
}

/* --- finding --- */

static __attribute__((noinline)) const tarn__call_site *unwind(tarn__call_sites *sites,
                                                               uintptr_t frame, uint32_t depth,
                                                               uint32_t tag,
                                                               atomic_uintptr_t *known) {
  walk found = {.frame = frame, .depth = depth < DEPTH_MAX ? depth : DEPTH_MAX};
  found.is_readable = true; /* until it is seen not to be */
  (void)_Unwind_Backtrace(add_frame, &found);
  if (known != NULL && found.is_readable && found.count > 0) {
    make_known(known, frame, frame + found.frames[found.count - 1].offset);
  }
  return keep(sites, &found, tag);
}

const tarn__call_site *tarn__call_sites_find(tarn__call_sites *sites, void *frame, uint32_t depth,
                                             uint32_t tag,
                                             atomic_uintptr_t known[TARN__SITE_KNOWN]) {
  const uintptr_t at = (uintptr_t)frame;
  const uint64_t hash = mix((uintptr_t)word_at(at + sizeof(void *)), at);
  _Atomic(const tarn__call_site *) *place = &sites->cache[hash % TARN__SITE_CACHE];
  const tarn__call_site *site = atomic_load_explicit(place, memory_order_acquire);
  if (site != NULL && lies_there(site, at, tag, known)) return site;
  site = unwind(sites, at, depth, tag, known);
  if (site != NULL && site->is_readable) {
    atomic_store_explicit(place, site, memory_order_release);
  }
  return site;
}

const tarn__call_site *tarn__call_sites_at(const tarn__call_sites *sites, uint32_t number) {
  if (number == elsewhere.number) return &elsewhere;
  tarn__site_block *block =
      atomic_load_explicit(&sites->index[number / TARN__SITE_INDEX_BLOCK], memory_order_acquire);
  return atomic_load_explicit(&block->sites[number % TARN__SITE_INDEX_BLOCK], memory_order_acquire);
}

void tarn__call_sites_deinit(tarn__call_sites *sites) {
  for (int index = 0; index < TARN__SITE_BUCKETS; index++) {
    tarn__call_site *site = atomic_load_explicit(&sites->buckets[index], memory_order_relaxed);
    while (site != NULL) {
      tarn__call_site *const next = site->next;
      free(site);
      site = next;
    }
  }
  for (int index = 0; index < TARN__SITE_INDEX; index++) {
    free(atomic_load_explicit(&sites->index[index], memory_order_relaxed));
  }
}
