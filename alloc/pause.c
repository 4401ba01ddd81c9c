/* pause.c: pausing and resuming a pool: checks the arguments, and asks the implementation. */
#include "alloc/tarn_pause.h"

#include "alloc/pool.h"

static tarn_status check_tags(const char *const *tags, size_t tag_count) {
  if (tag_count != 0 && tags == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu tags are told, and no names", tag_count);
  }
  for (size_t index = 0; index < tag_count; index++) {
    if (tags[index] == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "tag %zu is NULL", index);
  }
  return TARN_OK;
}

static tarn_status check_size(const char *what, size_t own_bytes, size_t given_bytes) {
  if (own_bytes == given_bytes) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "%s has %zu bytes here, %zu were given", what, own_bytes,
                   given_bytes);
}

static tarn_status check_report(tarn_pause_report *report) {
  if (report == NULL) return TARN_OK;
  const tarn_status status = check_size("tarn_pause_report", sizeof *report, report->struct_size);
  if (status == TARN_OK) *report = (tarn_pause_report){.struct_size = sizeof *report};
  return status;
}

static tarn_status check_backup(const tarn_pool *pool, const tarn_pause_options *options) {
  if (options->contents == TARN_PAUSE_DISCARD) return TARN_OK;
  const tarn_pool *backup = options->backup;
  if (backup == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "contents are to be kept, and there is no backup");
  }
  if (backup == pool) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool %s cannot be its own backup",
                     tarn_pool_name(pool));
  }
  if (tarn_device_is_host(tarn_pool_attributes_of(backup)->device)) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "the backup, pool %s, is no host memory",
                   tarn_pool_name(backup));
}

static tarn_status check_pause(const tarn_pool *pool, const tarn_pause_options *options) {
  if (options == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "options is NULL");
  tarn_status status = check_size("tarn_pause_options", sizeof *options, options->struct_size);
  if (status != TARN_OK) return status;
  if (options->contents != TARN_PAUSE_KEEP && options->contents != TARN_PAUSE_DISCARD) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "contents %d are neither kept nor discarded",
                     (int)options->contents);
  }
  if ((options->flags & ~(uint32_t)TARN_PAUSE_NO_WAIT) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown flags 0x%x", options->flags);
  }
  status = check_tags(options->tags, options->tag_count);
  return status == TARN_OK ? check_backup(pool, options) : status;
}

static tarn_status check_pool(const tarn_pool *pool) {
  return pool != NULL ? TARN_OK : tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
}

/* The implementation's operations, where it has these. */
static tarn_status find_ops(const tarn_pool *pool, const tarn_pool_ops **ops, void **context) {
  *ops = tarn__pool_ops(pool, context);
  if ((*ops)->pause != NULL) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "pool %s cannot be paused: it knows no addresses apart from their memory",
                   tarn_pool_name(pool));
}

tarn_status tarn_pool_pause(tarn_pool *pool, const tarn_pause_options *options,
                            tarn_pause_report *report) {
  tarn_pause_report unread = {.struct_size = sizeof unread};
  const tarn_pool_ops *ops = NULL;
  void *context = NULL;
  tarn_status status = check_pool(pool);
  if (status == TARN_OK) status = check_report(report);
  if (status == TARN_OK) status = check_pause(pool, options);
  if (status == TARN_OK) status = find_ops(pool, &ops, &context);
  if (status != TARN_OK) return status;
  return ops->pause(context, options, report != NULL ? report : &unread);
}

tarn_status tarn_pool_resume(tarn_pool *pool, const tarn_resume_options *options,
                             tarn_pause_report *report) {
  const tarn_resume_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_pause_report unread = {.struct_size = sizeof unread};
  const tarn_pool_ops *ops = NULL;
  void *context = NULL;
  tarn_status status = check_pool(pool);
  if (status == TARN_OK) status = check_report(report);
  if (status == TARN_OK) {
    status = check_size("tarn_resume_options", sizeof *options, options->struct_size);
  }
  if (status == TARN_OK) status = check_tags(options->tags, options->tag_count);
  if (status == TARN_OK) status = find_ops(pool, &ops, &context);
  if (status != TARN_OK) return status;
  return ops->resume(context, options, report != NULL ? report : &unread);
}

bool tarn_pool_is_paused(tarn_pool *pool, const void *address) {
  void *context = NULL;
  const tarn_pool_ops *ops = tarn__pool_ops(pool, &context);
  return address != NULL && ops->is_paused != NULL && ops->is_paused(context, address);
}
