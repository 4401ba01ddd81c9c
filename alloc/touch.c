/* touch.c: first touch in parallel: each thread takes the next chunk until none is left. */
#include "alloc/tarn_touch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older headers lack it */
#endif

enum {
  /* What one page table maps of base pages: two threads in one of them wait for its lock. In chunks
   * of 64 KiB they reach 1.2 times one thread's bandwidth, where two processes reach 1.8. Larger
   * ones leave a thread alone at the end, and let an mmap of another thread wait for longer. */
  CHUNK_BYTES = 2 << 20,
  THREAD_BYTES = 8 << 20, /* that a thread is worth starting for: 50 us against some 2 ms */
  THREADS_DEFAULT_MAX = 8,
  CPU_SETS = 8, /* 8192 processors */
  PIPE_PAGES = 256,
};

typedef struct touch {
  uintptr_t first; /* page aligned, as is `end` */
  uintptr_t end;
  size_t page_bytes;
  size_t base_page_bytes;
  size_t chunk_bytes;
  atomic_size_t next_chunk;
  atomic_int error;         /* the first errno; chunks are taken no more */
  atomic_uintptr_t stopped; /* the chunk that has no page for all of its places */
} touch;

/* What madvise cannot do on a kernel before 5.14, and without a fault in this program, which would
 * be answered with a signal: the kernel itself reads a byte of each page and writes it back. */
static int touch_by_pipe(uintptr_t first, uintptr_t end, size_t page_bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno;
  int error = 0;
  while (first < end && error == 0) {
    struct iovec bytes[PIPE_PAGES];
    int count = 0;
    for (; count < PIPE_PAGES && first < end; first += page_bytes) {
      bytes[count++] = (struct iovec){.iov_base = (void *)first, .iov_len = 1};
    }
    /* Fewer bytes than asked for means that the next one could not be had. */
    if (writev(ends[1], bytes, count) != count || readv(ends[0], bytes, count) != count) {
      error = EFAULT;
    }
  }
  close(ends[0]);
  close(ends[1]);
  return error;
}

static int touch_chunk(const touch *self, uintptr_t first, uintptr_t end) {
  int error;
  do {
    if (madvise((void *)first, end - first, MADV_POPULATE_WRITE) == 0) return 0;
    error = errno;
  } while (error == EINTR || error == EAGAIN);
  return error == EINVAL ? touch_by_pipe(first, end, self->page_bytes) : error;
}

static void *touch_chunks(void *context) {
  touch *self = context;
  while (atomic_load_explicit(&self->error, memory_order_relaxed) == 0) {
    /* Relaxed: the chunks do not depend on each other, and joining the threads orders the rest. */
    const size_t index = atomic_fetch_add_explicit(&self->next_chunk, 1, memory_order_relaxed);
    const size_t offset = index * self->chunk_bytes;
    if (offset >= self->end - self->first) break;
    const uintptr_t first = self->first + offset;
    const uintptr_t end =
        self->end - first < self->chunk_bytes ? self->end : first + self->chunk_bytes;
    int error = touch_chunk(self, first, end);
    int none = 0;
    if (error != 0 && atomic_compare_exchange_strong_explicit(
                          &self->error, &none, error, memory_order_relaxed, memory_order_relaxed)) {
      atomic_store_explicit(&self->stopped, first, memory_order_relaxed);
    }
  }
  return NULL;
}

/* The processors that the threads may run on: those of the options that the calling thread may use
 * as well. How many they are; 0 where that is not known. */
static int cpus_of(const tarn_touch_options *options, cpu_set_t *set, size_t set_bytes) {
  if (sched_getaffinity(0, set_bytes, set) != 0) return 0;
  cpu_set_t wished[CPU_SETS] = {0};
  for (int32_t i = 0; i < options->cpu_count; ++i) {
    if (options->cpus[i] < 0) continue;
    CPU_SET_S((size_t)options->cpus[i], set_bytes, wished); /* beyond the set: nothing */
  }
  if (options->cpu_count > 0) {
    CPU_AND_S(set_bytes, wished, wished, set);
    if (CPU_COUNT_S(set_bytes, wished) > 0) memcpy(set, wished, set_bytes);
  }
  return CPU_COUNT_S(set_bytes, set);
}

static int thread_count_of(const tarn_touch_options *options, int cpu_count, size_t size_bytes,
                           size_t chunk_bytes) {
  const size_t share_bytes = chunk_bytes > THREAD_BYTES ? chunk_bytes : (size_t)THREAD_BYTES;
  const size_t useful_count = (size_bytes + share_bytes - 1) / share_bytes;
  int count = options->thread_count;
  if (count == 0) count = cpu_count < THREADS_DEFAULT_MAX ? cpu_count : THREADS_DEFAULT_MAX;
  if (count > TARN_TOUCH_THREADS_MAX) count = TARN_TOUCH_THREADS_MAX;
  return (size_t)count < useful_count ? count : (int)useful_count;
}

/* How many threads were started. A signal that they took could run the program's handler in the
 * middle of a touch. */
static int start_threads(touch *self, pthread_t *threads, int count, const cpu_set_t *cpus,
                         size_t cpus_bytes) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return 0;
  if (cpus != NULL) (void)pthread_attr_setaffinity_np(&attributes, cpus_bytes, cpus);
  int started = 0;
  if (pthread_sigmask(SIG_SETMASK, &all, &before) == 0) {
    while (started < count &&
           pthread_create(&threads[started], &attributes, touch_chunks, self) == 0) {
      ++started;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  pthread_attr_destroy(&attributes);
  return started;
}

static void touch_all(touch *self, const tarn_touch_options *options) {
  cpu_set_t cpus[CPU_SETS] = {0};
  const int cpu_count = cpus_of(options, cpus, sizeof cpus);
  const int count = thread_count_of(options, cpu_count, self->end - self->first, self->chunk_bytes);
  /* The calling thread works too, unless it could be far from the processors that were asked. */
  const bool is_pinned = options->cpu_count > 0 && cpu_count > 0;
  pthread_t threads[TARN_TOUCH_THREADS_MAX];
  int started = 0;
  if (count > 1) {
    started = start_threads(self, threads, is_pinned ? count : count - 1, is_pinned ? cpus : NULL,
                            sizeof cpus);
  }
  if (started == 0 || !is_pinned) touch_chunks(self);
  for (int i = 0; i < started; ++i) pthread_join(threads[i], NULL);
}

static tarn_status fail_touch(const touch *self) {
  const int error = atomic_load_explicit(&self->error, memory_order_relaxed);
  const uintptr_t at = atomic_load_explicit(&self->stopped, memory_order_relaxed);
  const size_t size_bytes = self->end - at < self->chunk_bytes ? self->end - at : self->chunk_bytes;
  unsigned char resident;
  /* mincore tells what is not mapped from what has no page. */
  for (uintptr_t page = at; page < at + size_bytes; page += self->base_page_bytes) {
    if (mincore((void *)page, self->base_page_bytes, &resident) == 0 || errno != ENOMEM) continue;
    return tarn_fail_native(TARN_INVALID_ARGUMENT, "mincore", errno,
                            "touching %zu bytes at %p: %p is not mapped", self->end - self->first,
                            (void *)self->first, (void *)page);
  }
  return tarn_fail_native(TARN_OUT_OF_MEMORY, "madvise", error,
                          "touching %zu bytes at %p: no page of %zu bytes for some of the %zu at "
                          "%p, or they may not be written: %s",
                          self->end - self->first, (void *)self->first, self->page_bytes,
                          size_bytes, (void *)at, strerror(error));
}

tarn_status tarn_touch(void *address, size_t size_bytes, const tarn_touch_options *options) {
  const tarn_touch_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_touch_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  if (options->thread_count < 0 || options->cpu_count < 0 ||
      (options->cpu_count > 0 && options->cpus == NULL) ||
      (options->page_bytes != 0 && !tarn_is_power_of_two(options->page_bytes))) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "touching by %d threads on %d processors in pages of %zu bytes",
                     options->thread_count, options->cpu_count, options->page_bytes);
  }
  const size_t base_page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const size_t page_bytes =
      options->page_bytes > base_page_bytes ? options->page_bytes : base_page_bytes;
  uintptr_t end;
  if (address == NULL || __builtin_add_overflow((uintptr_t)address, size_bytes, &end) ||
      __builtin_add_overflow(end, page_bytes - 1, &end)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "no %zu bytes at %p can be touched", size_bytes,
                     address);
  }
  if (size_bytes == 0) return TARN_OK;
  touch self = {
      .first = (uintptr_t)address & ~(uintptr_t)(page_bytes - 1),
      .end = end & ~(uintptr_t)(page_bytes - 1),
      .page_bytes = page_bytes,
      .base_page_bytes = base_page_bytes,
      .chunk_bytes = page_bytes > CHUNK_BYTES ? page_bytes : (size_t)CHUNK_BYTES,
  };
  touch_all(&self, options);
  if (atomic_load_explicit(&self.error, memory_order_relaxed) == 0) return TARN_OK;
  return fail_touch(&self);
}
