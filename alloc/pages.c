/* pages.c: the provider of the operating system's pages. */
#include "alloc/tarn_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
  HUGE_PAGE_BYTES = 2 << 20,
  DEFAULT_GRANULARITY_BYTES = 64 << 10,
};

typedef struct pages {
  size_t granularity_bytes;
  tarn_pages_huge huge;
} pages;

static tarn_status pages_attributes(void *context, tarn_provider_attributes *attributes) {
  const pages *self = context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->granularity_bytes = self->granularity_bytes;
  attributes->alignment_bytes = self->granularity_bytes;
  attributes->flags = TARN_PROVIDER_ZEROED | TARN_PROVIDER_RESERVES;
  return TARN_OK;
}

/* What a mapping is aligned to: its granularity, and a huge page where one could lie in it. */
static size_t alignment_of(const pages *self, size_t size_bytes) {
  const bool is_huge = self->huge != TARN_PAGES_HUGE_NEVER && size_bytes >= HUGE_PAGE_BYTES;
  return is_huge && self->granularity_bytes < HUGE_PAGE_BYTES ? (size_t)HUGE_PAGE_BYTES
                                                              : self->granularity_bytes;
}

/* Maps more than is asked for where the alignment is coarser than a page, and cuts both ends. */
static tarn_status map_aligned(const pages *self, size_t size_bytes, int protection,
                               void **address) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const size_t alignment = alignment_of(self, size_bytes);
  const size_t slack = alignment - page_bytes;
  size_t mapped_bytes;
  if (!tarn_size_add(size_bytes, slack, &mapped_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "pages: %zu bytes overflow when aligned", size_bytes);
  }
  char *mapped =
      mmap(NULL, mapped_bytes, protection,
           MAP_PRIVATE | MAP_ANONYMOUS | (protection == PROT_NONE ? MAP_NORESERVE : 0), -1, 0);
  if (mapped == MAP_FAILED) {
    return tarn_fail_native(TARN_OUT_OF_MEMORY, "mmap", errno, "pages: mmap of %zu bytes: %s",
                            mapped_bytes, strerror(errno));
  }
  const size_t head = (size_t)(-(uintptr_t)mapped & (alignment - 1));
  const size_t tail = slack - head;
  /* Cutting a fresh mapping at its ends splits nothing in the middle, so it cannot fail. */
  if (head != 0) munmap(mapped, head);
  if (tail != 0) munmap(mapped + head + size_bytes, tail);
  *address = mapped + head;
  return TARN_OK;
}

static void advise(const pages *self, void *address, size_t size_bytes) {
  /* Advice: a kernel without transparent huge pages refuses, and base pages are served. */
  madvise(address, size_bytes,
          self->huge == TARN_PAGES_HUGE_NEVER ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
}

static tarn_status pages_alloc(void *context, size_t size_bytes, void **address) {
  const tarn_status status = map_aligned(context, size_bytes, PROT_READ | PROT_WRITE, address);
  if (status == TARN_OK) advise(context, *address, size_bytes);
  return status;
}

static tarn_status pages_release(void *context, void *address, size_t size_bytes) {
  (void)context;
  if (munmap(address, size_bytes) == 0) return TARN_OK;
  return tarn_fail_native(TARN_SYSTEM_ERROR, "munmap", errno, "pages: munmap(%p, %zu): %s", address,
                          size_bytes, strerror(errno));
}

static tarn_status pages_reserve(void *context, size_t size_bytes, void **address) {
  return map_aligned(context, size_bytes, PROT_NONE, address);
}

static tarn_status pages_commit(void *context, void *address, size_t size_bytes) {
  if (mprotect(address, size_bytes, PROT_READ | PROT_WRITE) != 0) {
    return tarn_fail_native(TARN_OUT_OF_MEMORY, "mprotect", errno,
                            "pages: committing %zu bytes: %s", size_bytes, strerror(errno));
  }
  advise(context, address, size_bytes);
  return TARN_OK;
}

static tarn_status pages_decommit(void *context, void *address, size_t size_bytes) {
  (void)context;
  /* The pages go first: should the protection fail to follow, they are given back all the same. */
  if (madvise(address, size_bytes, MADV_DONTNEED) != 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "madvise", errno, "pages: giving back %zu bytes: %s",
                            size_bytes, strerror(errno));
  }
  if (mprotect(address, size_bytes, PROT_NONE) != 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "mprotect", errno,
                            "pages: decommitting %zu bytes: %s", size_bytes, strerror(errno));
  }
  return TARN_OK;
}

static void pages_destroy(void *context) {
  free(context);
}

tarn_status tarn_pages_provider_create(const tarn_pages_options *options,
                                       tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  const tarn_pages_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const size_t default_granularity =
      page_bytes > DEFAULT_GRANULARITY_BYTES ? page_bytes : (size_t)DEFAULT_GRANULARITY_BYTES;
  const size_t granularity =
      options->granularity_bytes != 0 ? options->granularity_bytes : default_granularity;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_pages_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  if ((unsigned)options->huge > TARN_PAGES_HUGE_ADVISE) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_pages_huge has no value %d", (int)options->huge);
  }
  if (!tarn_is_power_of_two(granularity) || granularity < page_bytes) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "pages: granularity %zu is not a power of two of at least a page (%zu)",
                     granularity, page_bytes);
  }
  pages *self = malloc(sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a pages provider");
  *self = (pages){
      .granularity_bytes = granularity,
      .huge = options->huge == TARN_PAGES_HUGE_DEFAULT ? TARN_PAGES_HUGE_ADVISE : options->huge};
  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "pages",
                                        .attributes = pages_attributes,
                                        .alloc = pages_alloc,
                                        .release = pages_release,
                                        .reserve = pages_reserve,
                                        .commit = pages_commit,
                                        .decommit = pages_decommit,
                                        .destroy = pages_destroy};
  const tarn_status status = tarn_provider_create(&ops, self, provider);
  if (status != TARN_OK) free(self);
  return status;
}
