/* storage_reserve.c: storages that grow in place: memory behind the first of reserved addresses.
 *
 *     | granule | granule | granule |  ...  addresses without memory  ...  |
 *     |<-- size -->|                |                                      |
 *     |<------- committed --------->|                                      |
 *     |<--------------------------- capacity ----------------------------->|
 *
 * Committed is a whole number of granules, and at least the size. To all of the rest such a storage
 * is a wrapped blob, whose deleter gives the range back. */
#include <stdatomic.h>
#include <stdlib.h>

#include "alloc/budget.h"
#include "alloc/share.h"
#include "alloc/status.h"
#include "alloc/storage.h"

/* Of asking others to give memory back, as caching_tiers.c does. */
enum { PROMISES_MAX = 4, LOSSES_MAX = 1000 };

typedef struct reservation {
  tarn_provider *provider; /* retained */
  tarn_budget *budget;     /* retained; NULL: none */
  char *address;
  size_t capacity_bytes;
  atomic_size_t committed_bytes; /* written by whoever holds is_changing */
  atomic_bool is_changing;       /* a provider is called meanwhile, so this is no lock */
} reservation;

static size_t granularity_of(const reservation *self) {
  return tarn_provider_attributes_of(self->provider)->granularity_bytes;
}

/* Up to the capacity, which is a multiple of it, so it fits. */
static size_t whole_granules(const reservation *self, size_t size_bytes) {
  const size_t step = granularity_of(self);
  return (size_bytes + step - 1) & ~(step - 1);
}

/* --- memory --- */

static void pay_back(const reservation *self, size_t size_bytes) {
  if (self->budget != NULL) tarn_budget_pay_back(self->budget, size_bytes);
}

/* Charged before the provider is asked, so that what grows at once respects the limit. */
static tarn_status commit_once(const reservation *self, size_t from_bytes, size_t size_bytes) {
  tarn_status status = TARN_OK;
  if (self->budget != NULL) status = tarn_budget_charge(self->budget, size_bytes);
  if (status != TARN_OK) return status;
  status = tarn_provider_commit(self->provider, self->address + from_bytes, size_bytes);
  if (status != TARN_OK && self->budget != NULL) tarn__budget_cancel(self->budget, size_bytes);
  return status;
}

/* Asks those who registered for it to give memory back, as a pool does that grows. */
static bool press(const reservation *self, size_t size_bytes) {
  if (self->budget == NULL || !tarn__budget_may_ever_fit(self->budget, size_bytes)) return false;
  return tarn_budget_press(self->budget, size_bytes, size_bytes, /*except=*/NULL);
}

static uint64_t given_count(const reservation *self) {
  return self->budget != NULL ? tarn__budget_given_count(self->budget) : 0;
}

static tarn_status commit(reservation *self, size_t committed_bytes) {
  const size_t from_bytes = atomic_load_explicit(&self->committed_bytes, memory_order_relaxed);
  if (committed_bytes <= from_bytes) return TARN_OK;
  const size_t size_bytes = committed_bytes - from_bytes;
  tarn_status status = TARN_OK;
  for (int promise_count = 0, loss_count = 0;;) {
    const uint64_t before = given_count(self);
    status = commit_once(self, from_bytes, size_bytes);
    if (status != TARN_OUT_OF_MEMORY || promise_count == PROMISES_MAX || loss_count == LOSSES_MAX) {
      break;
    }
    const tarn_error refusal = *tarn_last_error();
    const bool is_promised = press(self, size_bytes);
    tarn__error_restore(&refusal);
    const bool is_given = given_count(self) != before;
    if (!is_promised && !is_given) break;
    ++*(is_given ? &loss_count : &promise_count);
  }
  if (status != TARN_OK) return status;
  atomic_store_explicit(&self->committed_bytes, committed_bytes, memory_order_relaxed);
  return TARN_OK;
}

static tarn_status decommit(reservation *self, size_t committed_bytes) {
  const size_t until_bytes = atomic_load_explicit(&self->committed_bytes, memory_order_relaxed);
  const size_t size_bytes = until_bytes - committed_bytes;
  const tarn_status status =
      tarn_provider_decommit(self->provider, self->address + committed_bytes, size_bytes);
  if (status != TARN_OK) return status;
  atomic_store_explicit(&self->committed_bytes, committed_bytes, memory_order_relaxed);
  pay_back(self, size_bytes);
  return TARN_OK;
}

/* --- making and ending --- */

/* The deleter: streams that noted a use have passed it. */
static void end_reservation(void *context) {
  reservation *self = context;
  const tarn_status status =
      tarn_provider_free(self->provider, self->address, self->capacity_bytes);
  (void)status; /* lost to the process; nobody is left to tell */
  pay_back(self, atomic_load_explicit(&self->committed_bytes, memory_order_relaxed));
  tarn_provider_release(self->provider);
  tarn_budget_release(self->budget);
  free(self);
}

static tarn_status make_reservation(tarn_provider *provider, const tarn_reserve_options *options,
                                    reservation **made) {
  size_t capacity_bytes;
  void *address;
  *made = NULL;
  const size_t step = tarn_provider_attributes_of(provider)->granularity_bytes;
  if (!tarn_size_round_up(options->capacity_bytes, step, &capacity_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "a capacity of %zu bytes", options->capacity_bytes);
  }
  reservation *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a reservation's record");
  const tarn_status status = tarn_provider_reserve(provider, capacity_bytes, &address);
  if (status != TARN_OK) {
    free(self);
    return status;
  }
  self->provider = provider;
  self->budget = options->budget;
  self->address = address;
  self->capacity_bytes = capacity_bytes;
  tarn_provider_retain(provider);
  if (self->budget != NULL) tarn_budget_retain(self->budget);
  *made = self;
  return TARN_OK;
}

static tarn_status check_options(const tarn_provider *provider,
                                 const tarn_reserve_options *options) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  if (options == NULL || options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_reserve_options with struct_size %zu is needed",
                     sizeof *options);
  }
  if (options->capacity_bytes == 0 || options->size_bytes > options->capacity_bytes) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a capacity of %zu bytes for a storage of %zu",
                     options->capacity_bytes, options->size_bytes);
  }
  return TARN_OK;
}

tarn_status tarn_storage_reserve(tarn_provider *provider, const tarn_reserve_options *options,
                                 tarn_storage **storage) {
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  *storage = NULL;
  tarn_status status = check_options(provider, options);
  if (status != TARN_OK) return status;
  reservation *self;
  status = make_reservation(provider, options, &self);
  if (status != TARN_OK) return status;
  status = commit(self, whole_granules(self, options->size_bytes));
  if (status == TARN_OK) {
    const tarn_blob blob = {.struct_size = sizeof blob,
                            .address = self->address,
                            .size_bytes = options->size_bytes,
                            .device = tarn_provider_attributes_of(provider)->device,
                            .deleter = end_reservation,
                            .context = self};
    status = tarn_storage_wrap(&blob, storage);
  }
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  end_reservation(self);
  tarn__error_restore(&cause);
  return status;
}

/* --- changing --- */

static reservation *reservation_of(const tarn_storage *storage) {
  return tarn__storage_context(storage, end_reservation);
}

tarn_provider *tarn__storage_reserved_from(const tarn_storage *storage) {
  const reservation *self = reservation_of(storage);
  return self == NULL ? NULL : self->provider;
}

/* Answers the storage's reservation, claimed, or why it cannot be changed now. */
static tarn_status begin_change(tarn_storage *storage, reservation **claimed) {
  *claimed = NULL;
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  reservation *self = reservation_of(storage);
  if (self == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "a storage of %zu bytes that tarn_storage_reserve did not make",
                     tarn_storage_size_bytes(storage));
  }
  /* Acquire pairs with release in end_change: one change sees all of the one before. */
  if (atomic_exchange_explicit(&self->is_changing, true, memory_order_acquire)) {
    return tarn_fail(TARN_BUSY, "another call is resizing or trimming this storage");
  }
  *claimed = self;
  return TARN_OK;
}

static void end_change(reservation *self) {
  atomic_store_explicit(&self->is_changing, false, memory_order_release);
}

tarn_status tarn_storage_resize(tarn_storage *storage, size_t size_bytes) {
  reservation *self;
  tarn_status status = begin_change(storage, &self);
  if (status != TARN_OK) return status;
  if (size_bytes > self->capacity_bytes) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "%zu bytes exceed the %zu that the storage reserved",
                       size_bytes, self->capacity_bytes);
  } else {
    status = commit(self, whole_granules(self, size_bytes));
  }
  if (status == TARN_OK) tarn__storage_set_size(storage, size_bytes);
  end_change(self);
  return status;
}

static tarn_status check_private(const tarn_storage *storage) {
  if (!tarn__share_is_exported(tarn_storage_data(storage), 1)) return TARN_OK;
  return tarn_fail(TARN_BUSY, "a storage that is exported keeps the memory that others may have");
}

tarn_status tarn_storage_trim(tarn_storage *storage) {
  reservation *self;
  tarn_status status = begin_change(storage, &self);
  if (status != TARN_OK) return status;
  const size_t kept_bytes = whole_granules(self, tarn_storage_size_bytes(storage));
  if (kept_bytes < tarn_storage_committed_bytes(storage)) {
    status = check_private(storage);
    if (status == TARN_OK) status = tarn__storage_wait_for_uses(storage);
    if (status == TARN_OK) status = decommit(self, kept_bytes);
  }
  end_change(self);
  return status;
}

size_t tarn_storage_capacity_bytes(const tarn_storage *storage) {
  const reservation *self = reservation_of(storage);
  return self == NULL ? tarn_storage_size_bytes(storage) : self->capacity_bytes;
}

size_t tarn_storage_committed_bytes(const tarn_storage *storage) {
  const reservation *self = reservation_of(storage);
  if (self == NULL) return tarn_storage_size_bytes(storage);
  return atomic_load_explicit(&self->committed_bytes, memory_order_relaxed);
}
