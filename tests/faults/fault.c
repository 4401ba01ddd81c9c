/* fault.c: malloc and its family, wrapped by the linker. */
#include "tests/faults/fault.h"

#include <stdatomic.h>
#include <stdio.h>

enum { SITES_MAX = 1024 };

static atomic_bool is_armed;
static atomic_long counted;
static long failing;
static bool fails_for_good;
static atomic_bool has_failed;
static void *sites[SITES_MAX];
static size_t site_count;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

static void arm(long fail_at, bool for_good) {
  failing = fail_at;
  fails_for_good = for_good;
  atomic_store(&counted, 0);
  atomic_store(&has_failed, false);
  atomic_store(&is_armed, true);
}

void fault_arm(long fail_at) {
  arm(fail_at, /*for_good=*/false);
}

void fault_arm_for_good(long fail_at) {
  arm(fail_at, /*for_good=*/true);
}

bool fault_disarm(void) {
  atomic_store(&is_armed, false);
  return atomic_load(&has_failed);
}

void fault_print_sites(void) {
  for (size_t index = 0; index < site_count; index++) printf("site %p\n", sites[index]);
}

static void note_site(void *site) {
  for (size_t index = 0; index < site_count; index++) {
    if (sites[index] == site) return;
  }
  if (site_count < SITES_MAX) sites[site_count++] = site;
}

/* One allocation fails at a time, so one thread at a time notes a site. */
static bool fails_now(void *site) {
  if (!atomic_load(&is_armed)) return false;
  const long number = atomic_fetch_add(&counted, 1) + 1;
  if (number != failing) return fails_for_good && number > failing;
  note_site(site);
  atomic_store(&has_failed, true);
  return true;
}

void *__wrap_malloc(size_t size) {
  return fails_now(__builtin_return_address(0)) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  return fails_now(__builtin_return_address(0)) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size) {
  return fails_now(__builtin_return_address(0)) ? NULL : __real_realloc(block, size);
}
