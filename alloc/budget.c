/* budget.c: trees of byte limits, and the functions that are called when one is reached. */
#include "alloc/budget.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/fork.h"

struct tarn_budget {
  atomic_size_t reference_count;
  tarn_budget *parent; /* a reference */
  /* Guarded by the lock. */
  size_t limit_bytes;
  size_t used_bytes;
  size_t used_bytes_peak;
  uint64_t refused_count;
  uint64_t given_count; /* at a root: pay-backs, and limits that moved, in all of the tree */
  char name[];
};

/* A registered function. Stays linked while it is being called, so that a walk over the list can go
 * on from it. */
typedef struct handler {
  struct handler *next;
  tarn_budget *budget; /* a reference */
  tarn_pressure_function function;
  void *context;
  uint32_t running_count;
  bool is_removed;
} handler;

/* One lock for all budgets: a charge counts at several levels at once, and charges are as rare as
 * calls of providers. A leaf: nothing is called under it. */
static pthread_mutex_t budget_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t handler_idle = PTHREAD_COND_INITIALIZER;
static handler *handlers;

/* Pressure is not answered by pressure. */
static _Thread_local bool is_pressing;

/* --- life --- */

tarn_status tarn_budget_create(const tarn_budget_options *options, tarn_budget **budget) {
  if (budget == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "budget is NULL");
  *budget = NULL;
  const tarn_budget_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_budget_options has %zu bytes here, %zu were given", sizeof *options,
                     options->struct_size);
  }
  const char *name = options->name != NULL ? options->name : "budget";
  const size_t name_bytes = strlen(name) + 1;
  tarn_budget *made = calloc(1, sizeof *made + name_bytes);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a budget");
  atomic_init(&made->reference_count, 1);
  made->limit_bytes = options->limit_bytes;
  made->parent = options->parent;
  if (made->parent != NULL) tarn_budget_retain(made->parent);
  memcpy(made->name, name, name_bytes);
  *budget = made;
  return TARN_OK;
}

void tarn_budget_retain(tarn_budget *budget) {
  /* Relaxed: whoever retains already holds a reference. */
  atomic_fetch_add_explicit(&budget->reference_count, 1, memory_order_relaxed);
}

void tarn_budget_release(tarn_budget *budget) {
  while (budget != NULL) {
    /* Release pairs with acquire: all use in other threads happens before the end. */
    if (atomic_fetch_sub_explicit(&budget->reference_count, 1, memory_order_acq_rel) != 1) return;
    tarn_budget *parent = budget->parent;
    free(budget);
    budget = parent;
  }
}

const char *tarn_budget_name(const tarn_budget *budget) {
  return budget->name;
}

/* --- counting --- */

/* Under the lock. */
static size_t room_bytes(const tarn_budget *budget) {
  if (budget->limit_bytes == 0) return SIZE_MAX - budget->used_bytes;
  return budget->used_bytes < budget->limit_bytes ? budget->limit_bytes - budget->used_bytes : 0;
}

static tarn_budget *first_without_room(tarn_budget *budget, size_t size_bytes) {
  while (budget != NULL && room_bytes(budget) >= size_bytes) budget = budget->parent;
  return budget;
}

static tarn_budget *root_of(tarn_budget *budget) {
  while (budget->parent != NULL) budget = budget->parent;
  return budget;
}

void tarn_budget_set_limit(tarn_budget *budget, size_t limit_bytes) {
  pthread_mutex_lock(&budget_lock);
  budget->limit_bytes = limit_bytes;
  root_of(budget)->given_count++;
  pthread_mutex_unlock(&budget_lock);
}

tarn_status tarn_budget_stats_of(const tarn_budget *budget, tarn_budget_stats *stats) {
  if (budget == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a budget and a tarn_budget_stats with struct_size %zu are needed",
                     sizeof *stats);
  }
  pthread_mutex_lock(&budget_lock);
  stats->limit_bytes = budget->limit_bytes;
  stats->used_bytes = budget->used_bytes;
  stats->used_bytes_peak = budget->used_bytes_peak;
  stats->refused_count = budget->refused_count;
  pthread_mutex_unlock(&budget_lock);
  return TARN_OK;
}

static tarn_status charge(tarn_budget *budget, size_t size_bytes, bool is_counted) {
  pthread_mutex_lock(&budget_lock);
  tarn_budget *refuser = first_without_room(budget, size_bytes);
  size_t used_bytes = 0;
  size_t limit_bytes = 0;
  if (refuser != NULL) {
    refuser->refused_count++;
    used_bytes = refuser->used_bytes;
    limit_bytes = refuser->limit_bytes;
  } else if (is_counted) {
    for (tarn_budget *level = budget; level != NULL; level = level->parent) {
      level->used_bytes += size_bytes;
      if (level->used_bytes_peak < level->used_bytes) level->used_bytes_peak = level->used_bytes;
    }
  }
  pthread_mutex_unlock(&budget_lock);
  if (refuser == NULL) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY,
                   "%s: %zu bytes more than the %zu that are used exceed its limit of %zu",
                   refuser->name, size_bytes, used_bytes, limit_bytes);
}

tarn_status tarn_budget_charge(tarn_budget *budget, size_t size_bytes) {
  if (budget == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "budget is NULL");
  return charge(budget, size_bytes, /*is_counted=*/true);
}

tarn_status tarn__budget_check(tarn_budget *budget, size_t size_bytes) {
  return charge(budget, size_bytes, /*is_counted=*/false);
}

static void pay_back(tarn_budget *budget, size_t size_bytes, bool is_given) {
  pthread_mutex_lock(&budget_lock);
  if (is_given) root_of(budget)->given_count++;
  for (; budget != NULL; budget = budget->parent) {
    TARN_ASSERT(budget->used_bytes >= size_bytes);
    budget->used_bytes -= size_bytes;
  }
  pthread_mutex_unlock(&budget_lock);
}

void tarn_budget_pay_back(tarn_budget *budget, size_t size_bytes) {
  pay_back(budget, size_bytes, /*is_given=*/true);
}

void tarn__budget_cancel(tarn_budget *budget, size_t size_bytes) {
  pay_back(budget, size_bytes, /*is_given=*/false);
}

uint64_t tarn__budget_given_count(const tarn_budget *budget) {
  pthread_mutex_lock(&budget_lock);
  while (budget->parent != NULL) budget = budget->parent;
  const uint64_t given_count = budget->given_count;
  pthread_mutex_unlock(&budget_lock);
  return given_count;
}

bool tarn__budget_has_room(const tarn_budget *budget, size_t size_bytes) {
  bool has_room = true;
  pthread_mutex_lock(&budget_lock);
  for (; budget != NULL && has_room; budget = budget->parent) {
    has_room = room_bytes(budget) >= size_bytes;
  }
  pthread_mutex_unlock(&budget_lock);
  return has_room;
}

bool tarn__budget_may_ever_fit(const tarn_budget *budget, size_t size_bytes) {
  bool may_fit = true;
  pthread_mutex_lock(&budget_lock);
  for (; budget != NULL && may_fit; budget = budget->parent) {
    may_fit = budget->limit_bytes == 0 || budget->limit_bytes >= size_bytes;
  }
  pthread_mutex_unlock(&budget_lock);
  return may_fit;
}

tarn_budget *tarn__budget_find_refuser(tarn_budget *budget, size_t size_bytes,
                                       size_t *missing_bytes) {
  pthread_mutex_lock(&budget_lock);
  tarn_budget *refuser = first_without_room(budget, size_bytes);
  *missing_bytes = refuser == NULL ? 0 : size_bytes - room_bytes(refuser);
  /* Beyond its limit already: so much more has to go. */
  if (refuser != NULL && refuser->limit_bytes != 0 && refuser->used_bytes > refuser->limit_bytes) {
    *missing_bytes += refuser->used_bytes - refuser->limit_bytes;
  }
  pthread_mutex_unlock(&budget_lock);
  return refuser;
}

size_t tarn__budget_used_bytes(const tarn_budget *budget) {
  pthread_mutex_lock(&budget_lock);
  const size_t used_bytes = budget->used_bytes;
  pthread_mutex_unlock(&budget_lock);
  return used_bytes;
}

/* --- pressure --- */

tarn_status tarn_budget_add_pressure(tarn_budget *budget, tarn_pressure_function function,
                                     void *context) {
  if (budget == NULL || function == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pressure needs a budget and a function");
  }
  handler *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a pressure function");
  *made = (handler){.budget = budget, .function = function, .context = context};
  tarn_budget_retain(budget);
  pthread_mutex_lock(&budget_lock);
  handler **last = &handlers;
  while (*last != NULL) last = &(*last)->next;
  *last = made;
  pthread_mutex_unlock(&budget_lock);
  return TARN_OK;
}

tarn_status tarn_budget_remove_pressure(tarn_budget *budget, tarn_pressure_function function,
                                        void *context) {
  pthread_mutex_lock(&budget_lock);
  handler *found = handlers;
  while (found != NULL && (found->is_removed || found->budget != budget ||
                           found->function != function || found->context != context)) {
    found = found->next;
  }
  if (found != NULL) {
    found->is_removed = true;
    while (found->running_count > 0) pthread_cond_wait(&handler_idle, &budget_lock);
    handler **link = &handlers;
    while (*link != found) link = &(*link)->next;
    *link = found->next;
  }
  pthread_mutex_unlock(&budget_lock);
  if (found == NULL) return tarn_fail(TARN_NOT_FOUND, "no such pressure function is registered");
  tarn_budget_release(found->budget);
  free(found);
  return TARN_OK;
}

/* Under the lock. */
static bool is_below(const tarn_budget *budget, const tarn_budget *top) {
  while (budget != NULL && budget != top) budget = budget->parent;
  return budget != NULL;
}

bool tarn__budget_press(tarn_budget *budget, const tarn_pressure *pressure, const void *except) {
  if (is_pressing) return false;
  is_pressing = true;
  tarn_budget *top = pressure->budget;
  if (top == NULL) top = root_of(budget);
  bool has_given = false;
  pthread_mutex_lock(&budget_lock);
  for (handler *each = handlers; each != NULL; each = each->next) {
    if (each->is_removed || each->context == except || !is_below(each->budget, top)) continue;
    each->running_count++;
    pthread_mutex_unlock(&budget_lock);
    if (each->function(each->context, pressure)) has_given = true;
    pthread_mutex_lock(&budget_lock);
    each->running_count--;
    if (each->is_removed) pthread_cond_broadcast(&handler_idle);
  }
  pthread_mutex_unlock(&budget_lock);
  is_pressing = false;
  return has_given;
}

bool tarn_budget_press(tarn_budget *budget, size_t asked_bytes, size_t size_bytes,
                       const void *except) {
  tarn_pressure pressure = {.struct_size = sizeof pressure, .asked_bytes = asked_bytes};
  pressure.budget = tarn__budget_find_refuser(budget, size_bytes, &pressure.missing_bytes);
  if (pressure.budget == NULL) pressure.missing_bytes = size_bytes;
  return tarn__budget_press(budget, &pressure, except);
}

const tarn_budget *tarn_budget_refuser(tarn_budget *budget, size_t size_bytes) {
  size_t missing_bytes = 0;
  return tarn__budget_find_refuser(budget, size_bytes, &missing_bytes);
}

/* --- fork --- */

void tarn__budget_hold(void) {
  pthread_mutex_lock(&budget_lock);
}

void tarn__budget_unhold(void) {
  pthread_mutex_unlock(&budget_lock);
}

/* Calls of the parent's threads never return here. */
void tarn__budget_mend(void) {
  for (handler *each = handlers; each != NULL; each = each->next) each->running_count = 0;
  pthread_cond_init(&handler_idle, NULL); /* it may remember threads that wait */
  pthread_mutex_unlock(&budget_lock);
}
