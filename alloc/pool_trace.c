/* pool_trace.c: the ring of a pool's last events, and its text. */
#include "alloc/tarn_pool_trace.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/fork.h"
#include "alloc/pool.h"
#include "alloc/text.h"

typedef struct trace_entry {
  uint64_t id;
  uint64_t size_bytes;
  uint32_t stream;
  uint32_t thread;
  char op;
} trace_entry;

/* One for a pool, from its first start on; the ring inside is another one at each. */
struct tarn_trace {
  uint64_t recorded_count; /* since the start; the last `capacity` of them are here */
  size_t capacity;
  trace_entry *entries;
};

/* Guards what is in traces, all of them, so that a fork can hold it; a leaf. */
static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;

void tarn__trace_hold(void) {
  pthread_mutex_lock(&trace_lock);
}

void tarn__trace_unhold(void) {
  pthread_mutex_unlock(&trace_lock);
}

/* --- recording --- */

static uint32_t thread_number(void) {
  static _Atomic uint32_t thread_count;
  static _Thread_local uint32_t number; /* and 1; 0: not yet */
  if (number == 0) {
    number = atomic_fetch_add_explicit(&thread_count, 1, memory_order_relaxed) + 1;
  }
  return number - 1;
}

void tarn_trace_record(tarn_trace *trace, char op, const void *address, size_t size_bytes,
                       const tarn_stream *stream) {
  const trace_entry entry = {.id = (uint64_t)(uintptr_t)address,
                             .size_bytes = size_bytes,
                             .stream = tarn_stream_number(stream),
                             .thread = thread_number(),
                             .op = op};
  pthread_mutex_lock(&trace_lock);
  trace->entries[trace->recorded_count++ % trace->capacity] = entry;
  pthread_mutex_unlock(&trace_lock);
}

void tarn__trace_destroy(tarn_trace *trace) {
  if (trace == NULL) return;
  free(trace->entries);
  free(trace);
}

/* The pool's trace, made here for the first of those who come. */
static tarn_trace *trace_of(tarn_pool *pool) {
  _Atomic(tarn_trace *) *place = tarn__pool_trace(pool);
  tarn_trace *found = atomic_load_explicit(place, memory_order_acquire);
  if (found != NULL) return found;
  tarn_trace *made = calloc(1, sizeof *made);
  if (made == NULL || atomic_compare_exchange_strong_explicit(
                          place, &found, made, memory_order_acq_rel, memory_order_acquire)) {
    return made;
  }
  tarn__trace_destroy(made);
  return found;
}

tarn_status tarn_pool_trace_start(tarn_pool *pool, size_t entry_count) {
  tarn_status status = tarn__pool_check_traced(pool);
  if (status != TARN_OK) return status;
  if (entry_count == 0 || entry_count > PTRDIFF_MAX / sizeof(trace_entry)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a trace of %zu entries", entry_count);
  }
  trace_entry *entries = malloc(entry_count * sizeof *entries);
  tarn_trace *trace = entries != NULL ? trace_of(pool) : NULL;
  if (trace == NULL) {
    free(entries);
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a trace of %zu entries", entry_count);
  }
  pthread_mutex_lock(&trace_lock);
  trace_entry *before = trace->entries;
  trace->entries = entries;
  trace->capacity = entry_count;
  trace->recorded_count = 0;
  pthread_mutex_unlock(&trace_lock);
  free(before);
  tarn__pool_set_trace(pool, trace);
  return TARN_OK;
}

tarn_status tarn_pool_trace_stop(tarn_pool *pool) {
  const tarn_status status = tarn__pool_check_traced(pool);
  if (status == TARN_OK) tarn__pool_set_trace(pool, NULL);
  return status;
}

/* --- writing --- */

/* The ring's entries, oldest first, in the caller's order of time. */
typedef struct copied_trace {
  trace_entry *entries;
  size_t count;
} copied_trace;

static size_t held_count(const tarn_trace *trace) {
  return trace->recorded_count < trace->capacity ? (size_t)trace->recorded_count : trace->capacity;
}

/* With the lock held; `entries` has room for all that the ring holds. */
static void copy_entries(const tarn_trace *trace, copied_trace *copy) {
  copy->count = held_count(trace);
  if (copy->count == 0) return; /* and perhaps no room either */
  const size_t start = (size_t)((trace->recorded_count - copy->count) % trace->capacity);
  const size_t to_end = trace->capacity - start;
  const size_t first = copy->count < to_end ? copy->count : to_end;
  memcpy(copy->entries, trace->entries + start, first * sizeof *copy->entries);
  memcpy(copy->entries + first, trace->entries, (copy->count - first) * sizeof *copy->entries);
}

static tarn_status copy_trace(tarn_trace *trace, copied_trace *copy) {
  size_t capacity = 0;
  for (;;) {
    pthread_mutex_lock(&trace_lock);
    const size_t needed = held_count(trace);
    const size_t ring_capacity = trace->capacity;
    const bool fits = needed <= capacity;
    if (fits) copy_entries(trace, copy);
    pthread_mutex_unlock(&trace_lock);
    if (fits) return TARN_OK;
    free(copy->entries);
    /* Room for what may be recorded meanwhile. */
    capacity = ring_capacity - needed > needed + 64 ? 2 * needed + 64 : ring_capacity;
    copy->entries = malloc(capacity * sizeof *copy->entries);
    if (copy->entries == NULL) {
      return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to copy a trace of %zu entries", needed);
    }
  }
}

/* Threads by their first entry, from 0: a long-lived process has had many others. */
static tarn_status renumber_threads(const copied_trace *copy) {
  uint32_t highest = 0;
  for (size_t index = 0; index < copy->count; index++) {
    if (copy->entries[index].thread > highest) highest = copy->entries[index].thread;
  }
  uint32_t *numbers = calloc((size_t)highest + 1, sizeof *numbers); /* and 1; 0: not yet */
  if (numbers == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the numbers of %u threads", highest + 1);
  }
  uint32_t count = 0;
  for (size_t index = 0; index < copy->count; index++) {
    uint32_t *thread = &copy->entries[index].thread;
    if (numbers[*thread] == 0) numbers[*thread] = ++count;
    *thread = numbers[*thread] - 1;
  }
  free(numbers);
  return TARN_OK;
}

static void write_entry(tarn__text *text, const trace_entry *entry, char op) {
  tarn__text_print(text, "%c,%" PRIu64 ",%" PRIu64 ",%" PRIu32 ",%" PRIu32 "\n", op, entry->id,
                   entry->size_bytes, entry->stream, entry->thread);
}

static bool is_of_block(const trace_entry *entry) {
  return entry->op == 'a' || entry->op == 'u' || entry->op == 'f';
}

/* Blocks whose first entry is not their allocation. */
typedef struct missing_blocks {
  uint64_t count;
  uint64_t size_bytes;
} missing_blocks;

/* Counts them and, where `text` is not NULL, allocates them there. */
static tarn_status find_missing(const copied_trace *copy, tarn__text *text,
                                missing_blocks *missing) {
  size_t capacity = 64;
  while (capacity < 2 * copy->count) capacity *= 2;
  uint64_t *seen = calloc(capacity, sizeof *seen); /* open addressing; no block lies at 0 */
  if (seen == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the blocks of %zu entries", copy->count);
  }
  for (size_t index = 0; index < copy->count; index++) {
    const trace_entry *entry = &copy->entries[index];
    if (!is_of_block(entry)) continue;
    /* Fibonacci hashing (Knuth). */
    size_t at = (size_t)((entry->id * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (capacity - 1);
    while (seen[at] != 0 && seen[at] != entry->id) at = (at + 1) & (capacity - 1);
    if (seen[at] == 0 && entry->op != 'a') {
      missing->count++;
      missing->size_bytes += entry->size_bytes;
      if (text != NULL) write_entry(text, entry, 'a');
    }
    seen[at] = entry->id;
  }
  free(seen);
  return TARN_OK;
}

/* Where the ring begins in the middle: the blocks from before, or how many they are. */
static tarn_status write_beginning(tarn__text *text, const copied_trace *copy, bool is_complete) {
  missing_blocks missing = {0};
  const tarn_status status = find_missing(copy, is_complete ? text : NULL, &missing);
  if (status != TARN_OK || is_complete || missing.count == 0) return status;
  const trace_entry middle = {.id = missing.count, .size_bytes = missing.size_bytes};
  write_entry(text, &middle, 'm');
  return TARN_OK;
}

tarn_status tarn_pool_trace_write(tarn_pool *pool, uint32_t flags, tarn_write_function write,
                                  void *context) {
  tarn_status status = tarn__pool_check_traced(pool);
  if (status != TARN_OK) return status;
  if (write == NULL || (flags & ~(uint32_t)TARN_TRACE_COMPLETE) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "write is NULL, or flags 0x%x unknown", flags);
  }
  tarn_trace *trace = atomic_load_explicit(tarn__pool_trace(pool), memory_order_acquire);
  if (trace == NULL) return tarn_fail(TARN_NOT_FOUND, "no trace of the pool was started");
  copied_trace copy = {.entries = NULL};
  tarn__text text = {.write = write, .context = context, .status = TARN_OK};
  status = copy_trace(trace, &copy);
  if (status == TARN_OK) status = renumber_threads(&copy);
  if (status == TARN_OK) {
    tarn__text_print(&text, "op,id,bytes,stream,thread\n");
    status = write_beginning(&text, &copy, (flags & TARN_TRACE_COMPLETE) != 0);
  }
  for (size_t index = 0; status == TARN_OK && index < copy.count; index++) {
    write_entry(&text, &copy.entries[index], copy.entries[index].op);
  }
  if (status == TARN_OK) status = tarn__text_finish(&text);
  free(copy.entries);
  return status;
}
