/* caching_prepare.c: memory that a caching pool has its provider make ahead. */
#include "alloc/caching.h"
#include "alloc/status.h"

tarn_status tarn__caching_prepare(tarn__caching *self, size_t at_most_bytes) {
  if (self->prepare_bytes == 0) return TARN_OK;
  size_t bytes = self->prepare_bytes < at_most_bytes ? self->prepare_bytes : at_most_bytes;
  /* With what is reserved it stays within the limits: growth takes from it what it adds there. */
  size_t missing_bytes = 0;
  if (tarn__budget_find_refuser(self->budget, bytes, &missing_bytes) != NULL) {
    bytes = bytes > missing_bytes ? bytes - missing_bytes : 0;
  }
  const tarn_error before = *tarn_last_error();
  pthread_mutex_unlock(&self->lock);
  const tarn_status status = tarn_provider_prepare(self->provider, bytes, NULL);
  pthread_mutex_lock(&self->lock);
  if (status != TARN_OUT_OF_MEMORY) return status;
  tarn__error_restore(&before); /* nothing is missing: the pool grows by itself */
  return TARN_OK;
}
