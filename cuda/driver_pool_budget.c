/* driver_pool_budget.c: what the driver has reserved for its pool, counted at a budget.
 *
 * The driver tells afterwards, and several threads may look at once. A look is numbered before it
 * is made: it comes after all that had been done by then, so of two looks the one begun later knows
 * of both, and an earlier one that comes second counts no more. */
#include "cuda/driver_pool.h"

bool tarn__driver_pool_settle(tarn__driver_pool *self) {
  if (self->budget == NULL) return true;
  pthread_mutex_lock(&self->lock);
  const uint64_t look = ++self->looks_begun;
  pthread_mutex_unlock(&self->lock);
  const size_t reserved = tarn__driver_pool_amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  bool has_room = true;
  pthread_mutex_lock(&self->lock);
  if (look > self->look_counted) {
    if (reserved > self->charged_bytes) {
      has_room = tarn_budget_charge(self->budget, reserved - self->charged_bytes) == TARN_OK;
    } else {
      tarn_budget_pay_back(self->budget, self->charged_bytes - reserved);
    }
    if (has_room) self->charged_bytes = reserved;
    if (has_room) self->look_counted = look;
  }
  pthread_mutex_unlock(&self->lock);
  return has_room;
}

bool tarn__driver_pool_charge(tarn__driver_pool *self, size_t size_bytes) {
  size_t chunk_bytes = 0;
  if (self->budget == NULL) return true;
  if (!tarn_size_round_up(size_bytes, TARN__DRIVER_POOL_CHUNK_BYTES, &chunk_bytes)) return false;
  bool has_room = true;
  pthread_mutex_lock(&self->lock);
  const size_t used_bytes = self->stats.allocated_bytes;
  const bool may_grow =
      self->charged_bytes < used_bytes || self->charged_bytes - used_bytes < size_bytes;
  if (may_grow) {
    has_room = tarn_budget_charge(self->budget, chunk_bytes) == TARN_OK;
    if (has_room) self->charged_bytes += chunk_bytes;
  }
  pthread_mutex_unlock(&self->lock);
  return has_room;
}

bool tarn__driver_pool_answer_pressure(void *context, const tarn_pressure *pressure) {
  tarn__driver_pool *self = context;
  (void)pressure; /* the driver gives whole chunks back: the more the better */
  tarn__cuda_scope scope;
  if (tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) != TARN_OK) return false;
  tarn__driver_pool_observe(self);
  pthread_mutex_lock(&self->lock);
  const size_t before = self->charged_bytes;
  pthread_mutex_unlock(&self->lock);
  (void)tarn__driver_pool_give_back(self, 0);
  pthread_mutex_lock(&self->lock);
  const bool has_given = self->charged_bytes < before;
  pthread_mutex_unlock(&self->lock);
  tarn__cuda_leave(&scope);
  return has_given;
}
