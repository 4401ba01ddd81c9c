/* promises.c: memory of nodes that was given strictly and has no pages yet. */
#include "numa/promises.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/tarn_pages.h"
#include "numa/placement.h"
#include "numa/topology.h"

enum {
  /* For the page tables of what is promised, what the kernel's lists per processor hold, and a huge
   * page that khugepaged makes of small ones, which it needs before it gives those back. */
  MARGIN_BYTES = 4 << 20,
  MARGIN_DIVISOR = 256,
  /* What was found to be free is believed for so long, and for so small a part of it: others take
   * from the node as well. */
  BELIEVED_NS = 10 * 1000 * 1000,
  BELIEVED_DIVISOR = 8,
};

/* A range of addresses. Ranges are sorted and do not overlap; what is touched entirely may be
 * missing. */
typedef struct promise {
  uintptr_t start;
  uintptr_t end;
  size_t untouched_bytes; /* at most: less since somebody touched it */
} promise;

struct tarn__promises {
  const tarn_topology *topology;
  tarn_placement_resolved resolved;
  size_t shares[TARN_PLACEMENT_NODES_MAX]; /* by node: how what is untouched is divided */
  promise *ranges;
  size_t range_count;
  size_t range_capacity;
  size_t untouched_bytes; /* the sum of the ranges' */
  /* The room as it was seen last: until given_bytes passes believed_until, it is believed. */
  uint64_t seen_ns;
  uint64_t believed_until;
  unsigned generation; /* of the process that `ranges` are of */
  tarn__promises *next;
  tarn__promises *previous;
};

/* One for the process: nodes do not care which topology object they are seen through. The lock is a
 * leaf: nothing of tarn is called under it but the kernel, by topology and pages_resident. */
static struct {
  pthread_mutex_t lock;
  tarn__promises *first;
  uint64_t given_bytes; /* ever promised by all */
  unsigned generation;  /* counts forks that led to this process */
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Another thread may have held the lock, and been in the middle of a list. */
static void start_anew_in_child(void) {
  pthread_mutex_init(&all.lock, NULL);
  all.first = NULL;
  ++all.generation;
}

static void watch_forks(void) {
  (void)pthread_atfork(NULL, NULL, start_anew_in_child);
}

static void link_promises(tarn__promises *self) {
  self->previous = NULL;
  self->next = all.first;
  if (all.first != NULL) all.first->previous = self;
  all.first = self;
  self->generation = all.generation;
}

/* A list that another thread was changing when the process was forked cannot be read any more, nor
 * freed. */
static void lock_all(tarn__promises *self) {
  pthread_mutex_lock(&all.lock);
  if (self->generation == all.generation) return;
  self->ranges = NULL;
  self->range_count = 0;
  self->range_capacity = 0;
  self->untouched_bytes = 0;
  self->believed_until = 0;
  link_promises(self);
}

tarn_status tarn__promises_create(const tarn_topology *topology,
                                  const tarn_placement_resolved *resolved,
                                  tarn__promises **promises) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  tarn__promises *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a provider's promises");
  self->topology = topology;
  self->resolved = *resolved;
  for (int32_t i = 0; i < resolved->node_count; ++i) {
    self->shares[i] = resolved->weights[i] > 0 ? resolved->weights[i] : 1;
  }
  pthread_mutex_lock(&all.lock);
  link_promises(self);
  pthread_mutex_unlock(&all.lock);
  *promises = self;
  return TARN_OK;
}

void tarn__promises_destroy(tarn__promises *self) {
  if (self == NULL) return;
  lock_all(self);
  if (self->previous != NULL) {
    self->previous->next = self->next;
  } else {
    all.first = self->next;
  }
  if (self->next != NULL) self->next->previous = self->previous;
  pthread_mutex_unlock(&all.lock);
  free(self->ranges);
  free(self);
}

/* --- ranges; under the lock --- */

/* The first range that ends behind `address`. */
static size_t find_range(const tarn__promises *self, uintptr_t address) {
  size_t low = 0;
  size_t high = self->range_count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (self->ranges[middle].end > address) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

static bool reserve_ranges(tarn__promises *self, size_t count) {
  if (self->ranges != NULL && count <= self->range_capacity) return true;
  const size_t capacity = count < 16 ? 16 : 2 * count;
  promise *grown = realloc(self->ranges, capacity * sizeof *grown);
  if (grown == NULL) return false;
  self->ranges = grown;
  self->range_capacity = capacity;
  return true;
}

static void insert_range(tarn__promises *self, size_t index, promise range) {
  memmove(&self->ranges[index + 1], &self->ranges[index],
          (self->range_count - index) * sizeof range);
  self->ranges[index] = range;
  ++self->range_count;
}

static void remove_range(tarn__promises *self, size_t index) {
  self->untouched_bytes -= self->ranges[index].untouched_bytes;
  --self->range_count;
  memmove(&self->ranges[index], &self->ranges[index + 1],
          (self->range_count - index) * sizeof self->ranges[0]);
}

static void set_untouched(tarn__promises *self, promise *range, size_t untouched_bytes) {
  const size_t size_bytes = range->end - range->start;
  if (untouched_bytes > size_bytes) untouched_bytes = size_bytes;
  self->untouched_bytes -= range->untouched_bytes;
  self->untouched_bytes += untouched_bytes;
  range->untouched_bytes = untouched_bytes;
}

static void drop_range(tarn__promises *self, uintptr_t start, uintptr_t end) {
  size_t index = find_range(self, start);
  while (index < self->range_count && self->ranges[index].start < end) {
    promise *range = &self->ranges[index];
    if (range->start < start && range->end > end) {
      /* Where there is no memory to remember the second part, it is forgotten: it counts as
       * touched. */
      const promise behind = {.start = end, .end = range->end};
      const size_t untouched_bytes = range->untouched_bytes;
      if (reserve_ranges(self, self->range_count + 1)) {
        insert_range(self, index + 1, behind);
        set_untouched(self, &self->ranges[index + 1], untouched_bytes);
      }
      range = &self->ranges[index];
      range->end = start;
      set_untouched(self, range, untouched_bytes);
      return;
    }
    if (range->start < start) {
      range->end = start;
      set_untouched(self, range, range->untouched_bytes);
      ++index;
    } else if (range->end > end) {
      range->start = end;
      set_untouched(self, range, range->untouched_bytes);
      return;
    } else {
      remove_range(self, index);
    }
  }
}

static bool add_range(tarn__promises *self, uintptr_t start, uintptr_t end) {
  drop_range(self, start, end);
  const size_t index = find_range(self, start);
  promise *before = index > 0 ? &self->ranges[index - 1] : NULL;
  if (before != NULL && before->end == start) {
    before->end = end;
    set_untouched(self, before, before->untouched_bytes + (end - start));
    return true;
  }
  if (!reserve_ranges(self, self->range_count + 1)) return false;
  insert_range(self, index, (promise){.start = start, .end = end});
  set_untouched(self, &self->ranges[index], end - start);
  return true;
}

/* Asks the kernel how much of each range has its pages by now. */
static void look_at_ranges(tarn__promises *self) {
  for (size_t i = self->range_count; i-- > 0;) {
    promise *range = &self->ranges[i];
    size_t resident_bytes = 0;
    if (tarn_pages_resident((const void *)range->start, range->end - range->start,
                            &resident_bytes) != TARN_OK) {
      continue;
    }
    const size_t size_bytes = range->end - range->start;
    const size_t untouched_bytes = size_bytes - resident_bytes;
    if (untouched_bytes < range->untouched_bytes) set_untouched(self, range, untouched_bytes);
    if (range->untouched_bytes == 0) remove_range(self, i);
  }
}

/* --- room; under the lock --- */

/* Of bytes that lie on the nodes as `shares` say. */
static size_t share_of(size_t bytes, const size_t *shares, int32_t count, int32_t index) {
  double sum = 0;
  for (int32_t i = 0; i < count; ++i) sum += (double)shares[i];
  return sum > 0 ? (size_t)((double)bytes * ((double)shares[index] / sum)) : 0;
}

static size_t promised_of_node(int32_t node) {
  size_t promised_bytes = 0;
  for (const tarn__promises *one = all.first; one != NULL; one = one->next) {
    for (int32_t i = 0; i < one->resolved.node_count; ++i) {
      if (one->resolved.nodes[i] != node) continue;
      promised_bytes += share_of(one->untouched_bytes, one->shares, one->resolved.node_count, i);
    }
  }
  return promised_bytes;
}

static size_t promised_of_all(void) {
  size_t promised_bytes = 0;
  for (const tarn__promises *one = all.first; one != NULL; one = one->next) {
    promised_bytes += one->untouched_bytes;
  }
  return promised_bytes;
}

/* What a commit needs of the nodes, and what there is. */
typedef struct balance {
  size_t need_bytes[TARN_PLACEMENT_NODES_MAX]; /* ORDER: of all together, in the first */
  size_t free_bytes[TARN_PLACEMENT_NODES_MAX];
  size_t promised_bytes[TARN_PLACEMENT_NODES_MAX];
  size_t left_bytes[TARN_PLACEMENT_NODES_MAX]; /* free, less promised */
  size_t limit_left_bytes;                     /* of the control group, less all that is promised */
  bool is_told;                                /* else the kernel does not tell what is free */
} balance;

static size_t less(size_t bytes, size_t subtracted_bytes) {
  return bytes > subtracted_bytes ? bytes - subtracted_bytes : 0;
}

static void need_of_range(const tarn_placement_resolved *resolved, uintptr_t address,
                          size_t size_bytes, balance *found) {
  memset(found->need_bytes, 0, sizeof found->need_bytes);
  if (resolved->mode == TARN_PLACEMENT_MODE_STRIPES) {
    while (size_bytes > 0) {
      const tarn__stripe stripe = tarn__placement_stripe(resolved, address, size_bytes);
      found->need_bytes[stripe.index] += stripe.size_bytes;
      address += stripe.size_bytes;
      size_bytes -= stripe.size_bytes;
    }
  } else {
    found->need_bytes[0] = size_bytes;
  }
}

static void read_room(const tarn__promises *self, balance *found) {
  size_t limit_left_bytes;
  found->is_told =
      tarn__topology_rooms(self->topology, self->resolved.nodes, self->resolved.node_count,
                           found->free_bytes, &limit_left_bytes);
  if (!found->is_told) return;
  found->limit_left_bytes =
      limit_left_bytes == SIZE_MAX ? SIZE_MAX : less(limit_left_bytes, promised_of_all());
  for (int32_t i = 0; i < self->resolved.node_count; ++i) {
    found->promised_bytes[i] = promised_of_node(self->resolved.nodes[i]);
    found->left_bytes[i] = less(found->free_bytes[i], found->promised_bytes[i]);
  }
}

static size_t with_margin(size_t bytes) {
  return bytes + bytes / MARGIN_DIVISOR + MARGIN_BYTES;
}

/* The node that lacks most of what is needed of it; -1: the limit; -2: nothing is lacking. */
enum { LACKS_LIMIT = -1, LACKS_NOTHING = -2 };

static int32_t find_lack(const tarn__promises *self, size_t size_bytes, const balance *found) {
  if (found->limit_left_bytes < with_margin(size_bytes)) return LACKS_LIMIT;
  if (self->resolved.mode == TARN_PLACEMENT_MODE_ORDER) {
    size_t left_bytes = 0;
    for (int32_t i = 0; i < self->resolved.node_count; ++i) left_bytes += found->left_bytes[i];
    return left_bytes < with_margin(size_bytes) ? 0 : LACKS_NOTHING;
  }
  for (int32_t i = 0; i < self->resolved.node_count; ++i) {
    if (found->need_bytes[i] == 0) continue;
    if (found->left_bytes[i] < with_margin(found->need_bytes[i])) return i;
  }
  return LACKS_NOTHING;
}

/* Whether asking the kernel what was touched could show much more room than `found` does. */
static bool is_mostly_promised(const tarn__promises *self, const balance *found) {
  for (int32_t i = 0; i < self->resolved.node_count; ++i) {
    if (found->promised_bytes[i] > found->free_bytes[i] / 2) return true;
  }
  return false;
}

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void believe(tarn__promises *self, const balance *found) {
  size_t spare_bytes = found->limit_left_bytes;
  for (int32_t i = 0; i < self->resolved.node_count; ++i) {
    const size_t left_bytes = less(found->left_bytes[i], MARGIN_BYTES);
    if (left_bytes < spare_bytes) spare_bytes = left_bytes;
  }
  self->seen_ns = now_ns();
  self->believed_until = all.given_bytes + spare_bytes / BELIEVED_DIVISOR;
}

static bool is_believed(const tarn__promises *self, size_t size_bytes) {
  return size_bytes <= self->believed_until &&
         all.given_bytes <= self->believed_until - size_bytes &&
         now_ns() - self->seen_ns < BELIEVED_NS;
}

static tarn_status fail_add(const tarn__promises *self, size_t size_bytes, int32_t lack,
                            const balance *found) {
  if (lack == LACKS_LIMIT) {
    return tarn_fail(TARN_OUT_OF_MEMORY,
                     "%zu bytes, strictly placed: the control group has %zu left after all that is "
                     "promised and not touched yet",
                     size_bytes, found->limit_left_bytes);
  }
  if (self->resolved.mode == TARN_PLACEMENT_MODE_ORDER) {
    return tarn_fail(TARN_OUT_OF_MEMORY,
                     "%zu bytes, strictly on %d nodes in order: the first, %d, has %zu free, of "
                     "them %zu promised and not touched yet, and the others have no more",
                     size_bytes, self->resolved.node_count, self->resolved.nodes[0],
                     found->free_bytes[0], found->promised_bytes[0]);
  }
  return tarn_fail(TARN_OUT_OF_MEMORY,
                   "%zu bytes strictly on node %d: it has %zu free, of them %zu promised and not "
                   "touched yet",
                   found->need_bytes[lack], self->resolved.nodes[lack], found->free_bytes[lack],
                   found->promised_bytes[lack]);
}

/* Looks at the room, and twice where much of it seems promised. */
static tarn_status check_room(tarn__promises *self, size_t size_bytes, balance *found) {
  read_room(self, found);
  /* Of a kernel that does not tell, nothing can be known beforehand. */
  if (!found->is_told) return TARN_OK;
  int32_t lack = find_lack(self, size_bytes, found);
  if (lack != LACKS_NOTHING || is_mostly_promised(self, found)) {
    for (tarn__promises *one = all.first; one != NULL; one = one->next) look_at_ranges(one);
    read_room(self, found);
    if (!found->is_told) return TARN_OK;
    lack = find_lack(self, size_bytes, found);
  }
  if (lack != LACKS_NOTHING) return fail_add(self, size_bytes, lack, found);
  believe(self, found);
  return TARN_OK;
}

tarn_status tarn__promises_add(tarn__promises *self, const tarn_placement_resolved *resolved,
                               void *address, size_t size_bytes, size_t *room_bytes) {
  const uintptr_t start = (uintptr_t)address;
  balance found;
  need_of_range(resolved, start, size_bytes, &found);
  for (int32_t i = 0; i < self->resolved.node_count; ++i) room_bytes[i] = SIZE_MAX;
  lock_all(self);
  tarn_status status = TARN_OK;
  /* Where pages lie in order depends on the room, which is then always looked at. */
  if (self->resolved.mode == TARN_PLACEMENT_MODE_ORDER || !is_believed(self, size_bytes)) {
    status = check_room(self, size_bytes, &found);
    if (status == TARN_OK && found.is_told) {
      for (int32_t i = 0; i < self->resolved.node_count; ++i) {
        room_bytes[i] = less(found.left_bytes[i], with_margin(0));
      }
    }
  }
  if (status == TARN_OK && !add_range(self, start, start + size_bytes)) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory to remember a promise");
  }
  if (status == TARN_OK) all.given_bytes += size_bytes;
  pthread_mutex_unlock(&all.lock);
  return status;
}

void tarn__promises_learn(tarn__promises *self, const size_t *node_bytes) {
  if (self->resolved.mode != TARN_PLACEMENT_MODE_ORDER) return;
  lock_all(self);
  for (int32_t i = 0; i < self->resolved.node_count; ++i) self->shares[i] += node_bytes[i];
  pthread_mutex_unlock(&all.lock);
}

void tarn__promises_drop(tarn__promises *self, void *address, size_t size_bytes) {
  const uintptr_t start = (uintptr_t)address;
  lock_all(self);
  drop_range(self, start, start + size_bytes);
  pthread_mutex_unlock(&all.lock);
}
