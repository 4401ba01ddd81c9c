/* umf_pool_tell.c: what a UMF pool of tarn's tells by CTL, and how it is trimmed. */
#include <string.h>

#include "alloc/adapters/umf/umf_pool.h"

/* UMF's own pools' names first. alloc_count it answers itself. */
#define FIELD(name, field) \
  { name, offsetof(tarn_pool_stats, field) }
static const struct {
  const char *name;
  size_t offset;
} fields[] = {
    FIELD("used_memory", allocated_bytes),
    FIELD("reserved_memory", reserved_bytes),
    FIELD("requested_bytes", requested_bytes),
    FIELD("allocated_bytes", allocated_bytes),
    FIELD("active_bytes", active_bytes),
    FIELD("reserved_bytes", reserved_bytes),
    FIELD("requested_bytes_peak", requested_bytes_peak),
    FIELD("allocated_bytes_peak", allocated_bytes_peak),
    FIELD("reserved_bytes_peak", reserved_bytes_peak),
    FIELD("free_count", free_count),
    FIELD("provider_calls", provider_calls),
    FIELD("fence_count", fence_count),
    FIELD("wait_count", wait_count),
    FIELD("out_of_memory_count", out_of_memory_count),
    FIELD("captured_bytes", captured_bytes),
    FIELD("graph_bytes", graph_bytes),
    FIELD("paused_bytes", paused_bytes),
};
#undef FIELD
enum { FIELD_BYTES = sizeof(uint64_t) };
_Static_assert(sizeof(size_t) == FIELD_BYTES, "every field of tarn_pool_stats has 8 bytes");

static tarn__umf_result tell_field(const tarn__umf_pool *self, const char *name, void *argument,
                                   size_t size) {
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    if (strcmp(name, fields[i].name) != 0) continue;
    if (self == NULL || argument == NULL || size != FIELD_BYTES) return TARN__UMF_INVALID_ARGUMENT;
    tarn_pool_stats stats = {.struct_size = sizeof stats};
    const tarn_status status = tarn_pool_stats_of(self->pool, &stats);
    if (status == TARN_OK) memcpy(argument, (const char *)&stats + fields[i].offset, FIELD_BYTES);
    return tarn__umf_result_of(status);
  }
  return TARN__UMF_INVALID_CTL_PATH;
}

tarn__umf_result tarn__umf_pool_ctl(void *pool, uint32_t source, const char *name, void *argument,
                                    size_t size, uint32_t kind, va_list arguments) {
  static const char prefix[] = "stats.";
  const tarn__umf_pool *self = pool;
  (void)source;
  (void)arguments;
  if (strncmp(name, prefix, sizeof prefix - 1) != 0) return TARN__UMF_INVALID_CTL_PATH;
  name += sizeof prefix - 1;
  if (kind == TARN__UMF_CTL_READ) return tell_field(self, name, argument, size);
  if (kind != TARN__UMF_CTL_RUNNABLE || strcmp(name, "reset_peaks") != 0) {
    return TARN__UMF_INVALID_CTL_PATH;
  }
  if (self == NULL) return TARN__UMF_INVALID_ARGUMENT;
  return tarn__umf_result_of(tarn_pool_reset_peaks(self->pool));
}

/* UMF's tests hold a pool to it that a success, asked to keep nothing of what nobody has, leaves
 * nothing. */
tarn__umf_result tarn__umf_pool_trim(void *pool, size_t keep_bytes) {
  const tarn__umf_pool *self = pool;
  tarn_status status = tarn_pool_trim(self->pool, keep_bytes, NULL);
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  if (status == TARN_OK) status = tarn_pool_stats_of(self->pool, &stats);
  if (status != TARN_OK) return tarn__umf_result_of(status);
  const bool is_idle = stats.allocated_bytes == 0;
  return is_idle && keep_bytes == 0 && stats.reserved_bytes != 0 ? TARN__UMF_NOT_SUPPORTED
                                                                 : TARN__UMF_SUCCESS;
}
