/* logging_pool.c: an adaptor that writes each call as a line of a trace. */
#include "alloc/adapters/pools/tarn_logging_pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "alloc/adapters/pools/over_pool.h"

enum { THREADS = 1024 }; /* that the format tells apart */

typedef struct logging_pool {
  tarn__over over;
  uint32_t flags;
  tarn_write_function write;
  void *write_context;
  uint64_t start_ns;
  atomic_int status; /* the first failure of `write`, behind which nothing is written */
} logging_pool;

static uint64_t now_ns(void) {
  struct timespec now = {0};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint32_t thread_number(void) {
  static atomic_uint thread_count;
  static _Thread_local uint32_t number; /* and 1; 0: not yet */
  if (number == 0) {
    number = atomic_fetch_add_explicit(&thread_count, 1, memory_order_relaxed) + 1;
  }
  return (number - 1) % THREADS;
}

/* Relaxed: a line that is on its way meanwhile is written or not. */
static tarn_status log_status(const logging_pool *self) {
  return (tarn_status)atomic_load_explicit(&self->status, memory_order_relaxed);
}

static void write_text(logging_pool *self, const char *text, size_t text_bytes) {
  if (log_status(self) != TARN_OK) return;
  const tarn_error before = *tarn_last_error();
  const tarn_status status = self->write(self->write_context, text, text_bytes);
  int none = TARN_OK;
  if (status == TARN_OK) return;
  atomic_compare_exchange_strong_explicit(&self->status, &none, (int)status, memory_order_relaxed,
                                          memory_order_relaxed);
  (void)tarn_fail_again(&before); /* the pool's call did not fail by it */
}

/* Ends at `end`, in decimal and behind a comma; where it begins. printf took four times as long as
 * all else in a call. */
static char *print_before(char *end, uint64_t number) {
  for (; number >= 10; number /= 10) *--end = (char)('0' + number % 10);
  *--end = (char)('0' + number);
  *--end = ',';
  return end;
}

static void write_line(logging_pool *self, char op, const void *address, size_t size_bytes,
                       const tarn_stream *stream) {
  char line[5 * 21 + 2]; /* five numbers, the op and the end */
  char *const end = line + sizeof line;
  char *first = end;
  *--first = '\n';
  if ((self->flags & TARN_LOGGING_POOL_TIMES) != 0) {
    first = print_before(first, now_ns() - self->start_ns);
  }
  first = print_before(first, thread_number());
  first = print_before(first, tarn_stream_number(stream));
  first = print_before(first, size_bytes);
  first = print_before(first, (uintptr_t)address);
  *--first = op;
  write_text(self, first, (size_t)(end - first));
}

static tarn_status logging_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                 tarn_stream *stream, void **address) {
  logging_pool *self = context;
  const tarn_status status =
      tarn__over_alloc(&self->over, size_bytes, alignment_bytes, stream, address);
  if (status == TARN_OK) {
    write_line(self, 'a', *address, size_bytes, stream);
  } else if ((self->flags & TARN_LOGGING_POOL_FAILURES) != 0) {
    write_line(self, 'x', NULL, size_bytes, stream);
  }
  return status;
}

static tarn_status logging_free(void *context, void *address, tarn_stream *stream) {
  logging_pool *self = context;
  tarn__over_taken taken;
  tarn_status status = tarn__over_take_back(&self->over, address, stream, &taken);
  if (status != TARN_OK) return status;
  const size_t size_bytes = tarn__lent_size(taken.record);
  write_line(self, 'f', address, size_bytes, stream);
  status = tarn__over_give_back(&self->over, &taken, address, stream);
  if (status != TARN_OK) write_line(self, 'a', address, size_bytes, stream);
  return status;
}

static tarn_status logging_note_use(void *context, void *address, tarn_stream *stream) {
  logging_pool *self = context;
  void *start;
  size_t size_bytes;
  tarn_status status = tarn__over_find(&self->over, address, &start, &size_bytes);
  if (status == TARN_OK) status = tarn__over_note_use(&self->over, address, stream);
  if (status == TARN_OK) write_line(self, 'u', start, size_bytes, stream);
  return status;
}

static void logging_destroy(void *context) {
  tarn__over_destroy(context);
}

static tarn_status check_options(const tarn_logging_pool_options *options) {
  const uint32_t known = TARN_LOGGING_POOL_TIMES | TARN_LOGGING_POOL_FAILURES;
  if (options == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "options is NULL");
  const tarn_status status =
      tarn__over_check_size("tarn_logging_pool_options", sizeof *options, options->struct_size);
  if (status != TARN_OK) return status;
  if (options->write != NULL && (options->flags & ~known) == 0) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "write is NULL, or flags 0x%x unknown", options->flags);
}

static tarn_status write_header(const tarn_logging_pool_options *options) {
  static const char with_times[] = "op,id,bytes,stream,thread,time_ns\n";
  static const char without[] = "op,id,bytes,stream,thread\n";
  return (options->flags & TARN_LOGGING_POOL_TIMES) != 0
             ? options->write(options->write_context, with_times, sizeof with_times - 1)
             : options->write(options->write_context, without, sizeof without - 1);
}

tarn_status tarn_logging_pool_create(tarn_pool *upstream, const tarn_logging_pool_options *options,
                                     tarn_pool **pool) {
  tarn_status status = tarn__over_check(pool, upstream);
  if (status == TARN_OK) status = check_options(options);
  if (status != TARN_OK) return status;
  tarn_pool_ops ops = tarn__over_ops;
  ops.alloc = logging_alloc;
  ops.free = logging_free;
  ops.note_use = logging_note_use;
  ops.destroy = logging_destroy;
  logging_pool *self = calloc(1, sizeof *self);
  if (self != NULL) {
    self->flags = options->flags;
    self->write = options->write;
    self->write_context = options->write_context;
    self->start_ns = now_ns();
    atomic_init(&self->status, TARN_OK);
  }
  status = tarn__over_create(self != NULL ? &self->over : NULL, upstream, &ops, "logging",
                             options->name, pool);
  if (status != TARN_OK) return status;
  status = write_header(options);
  if (status == TARN_OK) return TARN_OK;
  tarn_pool_release(*pool);
  *pool = NULL;
  return status;
}

tarn_status tarn_logging_pool_status(tarn_pool *pool) {
  const logging_pool *self = tarn_pool_context(pool, logging_destroy);
  if (self == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "not a pool that logs");
  const tarn_status status = log_status(self);
  return status == TARN_OK ? TARN_OK
                           : tarn_fail(status, "the log ended: %s", tarn_status_text(status));
}
