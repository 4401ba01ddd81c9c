/* fixed.c: the provider over one range that the caller owns: first fit over a list of free runs. */
#include "alloc/tarn_fixed.h"

#include <pthread.h>
#include <stdlib.h>

#include "alloc/fork.h"
#include "alloc/tarn_poison.h"

/* The whole range as runs in address order, free and lent alternating as they come:
 *
 *     base |  lent  | free |  lent  | lent |     free     |
 *
 * A run never has length 0, and two free runs never stand side by side. */
typedef struct run {
  struct run *next;
  char *address;
  size_t size_bytes;
  bool is_free;
} run;

/* Of all ranges: the way here is cold. Guards the runs; nothing is called under it. */
static pthread_mutex_t fixed_lock = PTHREAD_MUTEX_INITIALIZER;

void tarn__fixed_hold(void) {
  pthread_mutex_lock(&fixed_lock);
}

void tarn__fixed_unhold(void) {
  pthread_mutex_unlock(&fixed_lock);
}

typedef struct fixed {
  run *first;
  tarn_device device;
  size_t granularity_bytes;
} fixed;

/* Memory checkers see whoever touches what is not lent out, where the CPU can. */
static void forbid(const fixed *self, const char *address, size_t size_bytes) {
  if (tarn_device_is_host(self->device)) tarn_poison(address, size_bytes);
}

static void allow(const fixed *self, const char *address, size_t size_bytes) {
  if (tarn_device_is_host(self->device)) tarn_poison_lift(address, size_bytes);
}

static tarn_status fixed_attributes(void *context, tarn_provider_attributes *attributes) {
  const fixed *self = context;
  attributes->device = self->device;
  attributes->granularity_bytes = self->granularity_bytes;
  attributes->alignment_bytes = self->granularity_bytes;
  return TARN_OK;
}

static tarn_status fixed_alloc(void *context, size_t size_bytes, void **address) {
  fixed *self = context;
  run *rest = malloc(sizeof *rest); /* for the remainder of the run that is cut */
  if (rest == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "fixed: no memory for a run");
  size_t largest_bytes = 0;

  pthread_mutex_lock(&fixed_lock);
  run *found = self->first;
  for (; found != NULL; found = found->next) {
    if (!found->is_free) continue;
    if (found->size_bytes >= size_bytes) break;
    if (found->size_bytes > largest_bytes) largest_bytes = found->size_bytes;
  }
  if (found != NULL) {
    found->is_free = false;
    *address = found->address;
    if (found->size_bytes > size_bytes) {
      *rest = (run){.next = found->next,
                    .address = found->address + size_bytes,
                    .size_bytes = found->size_bytes - size_bytes,
                    .is_free = true};
      found->next = rest;
      found->size_bytes = size_bytes;
      rest = NULL;
    }
  }
  pthread_mutex_unlock(&fixed_lock);

  free(rest);
  if (found != NULL) {
    allow(self, *address, size_bytes);
    return TARN_OK;
  }
  return tarn_fail(TARN_OUT_OF_MEMORY, "fixed: %zu bytes asked for, the largest free run has %zu",
                   size_bytes, largest_bytes);
}

/* Joins `left` with the run behind it where both are free; returns what is left over. */
static run *join_with_next(run *left) {
  run *right = left->next;
  if (right == NULL || !left->is_free || !right->is_free) return NULL;
  left->size_bytes += right->size_bytes;
  left->next = right->next;
  return right;
}

static tarn_status fixed_release(void *context, void *address, size_t size_bytes) {
  fixed *self = context;
  run *joined[2] = {NULL, NULL};

  pthread_mutex_lock(&fixed_lock);
  run *before = NULL;
  run *found = self->first;
  while (found != NULL && found->address != (char *)address) {
    before = found;
    found = found->next;
  }
  const bool is_lent = found != NULL && !found->is_free && found->size_bytes == size_bytes;
  if (is_lent) {
    forbid(self, found->address, size_bytes); /* before another thread is lent it */
    found->is_free = true;
    joined[0] = join_with_next(found);
    if (before != NULL) joined[1] = join_with_next(before);
  }
  pthread_mutex_unlock(&fixed_lock);

  free(joined[0]);
  free(joined[1]);
  if (is_lent) return TARN_OK;
  return tarn_fail(TARN_NOT_FOUND, "fixed: %p with %zu bytes is not lent out", address, size_bytes);
}

static void fixed_destroy(void *context) {
  fixed *self = context;
  for (run *next = NULL; self->first != NULL; self->first = next) {
    next = self->first->next;
    allow(self, self->first->address, self->first->size_bytes);
    free(self->first);
  }
  free(self);
}

/* Trims [*address, *address + *size_bytes) to whole granules. */
static bool trim_range(char **address, size_t *size_bytes, size_t granularity_bytes) {
  const size_t head = (size_t)(-(uintptr_t)*address & (granularity_bytes - 1));
  if (*address == NULL || head >= *size_bytes) return false;
  *address += head;
  *size_bytes = (*size_bytes - head) & ~(granularity_bytes - 1);
  return *size_bytes != 0;
}

tarn_status tarn_fixed_provider_create(void *address, size_t size_bytes,
                                       const tarn_fixed_options *options,
                                       tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  const tarn_fixed_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_fixed_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  const size_t granularity = options->granularity_bytes != 0 ? options->granularity_bytes : 4096;
  if (!tarn_is_power_of_two(granularity)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "fixed: granularity %zu is not a power of two",
                     granularity);
  }
  if (size_bytes > PTRDIFF_MAX || (uintptr_t)address > UINTPTR_MAX - size_bytes) {
    return tarn_fail(TARN_TOO_LARGE, "fixed: %zu bytes at %p leave the address space", size_bytes,
                     address);
  }
  char *start = address;
  size_t usable_bytes = size_bytes;
  if (!trim_range(&start, &usable_bytes, granularity)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "fixed: %p with %zu bytes holds no granule of %zu",
                     address, size_bytes, granularity);
  }

  fixed *self = calloc(1, sizeof *self);
  run *whole = malloc(sizeof *whole);
  if (self == NULL || whole == NULL) {
    free(whole);
    free(self);
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a fixed provider");
  }
  *whole = (run){.address = start, .size_bytes = usable_bytes, .is_free = true};
  *self = (fixed){
      .first = whole,
      .granularity_bytes = granularity,
      .device = options->device.type != 0 ? options->device : tarn_device_make(TARN_DEVICE_CPU, 0)};
  forbid(self, start, usable_bytes);
  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "fixed",
                                        .attributes = fixed_attributes,
                                        .alloc = fixed_alloc,
                                        .release = fixed_release,
                                        .destroy = fixed_destroy};
  const tarn_status status = tarn_provider_create(&ops, self, provider);
  if (status != TARN_OK) fixed_destroy(self);
  return status;
}
