/* pages.c: the provider of the operating system's pages.
 *
 *                a reserved range                  commit                  decommit
 *     private    no access, private                access allowed          pages dropped
 *     shared     no access, of the memory file     access allowed          hole in the file
 *     explicit   no access, private base pages     huge pages moved there  base pages again
 *
 * A block of alloc is a range that is committed at once.
 */
#include "alloc/tarn_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc/huge_pages.h"

enum {
  HUGE_PAGE_BYTES = 2 << 20,
  DEFAULT_GRANULARITY_BYTES = 64 << 10,
};

/* A shared byte lies in its file where it lies in this process's addresses: nothing has to be
 * remembered, and nothing in the file is used twice. */
static const int64_t SHARED_FILE_BYTES = INT64_C(1) << 52;

typedef struct pages {
  size_t granularity_bytes;
  tarn_pages_huge huge;
  size_t page_bytes; /* explicit huge pages; 0: none */
  uint32_t flags;
  int file;         /* SHARED: all memory lies in it; else -1 */
  pid_t creator;    /* whose the file's pages are */
  bool can_reserve; /* explicit pages on a kernel that cannot move them: no */
  tarn_status (*place)(void *context, void *address, size_t size_bytes);
  void *place_context;
  tarn_touch_options touch;
  int32_t cpus[];
} pages;

static bool is_shared(const pages *self) {
  return (self->flags & TARN_PAGES_SHARED) != 0;
}

static bool is_private_explicit(const pages *self) {
  return self->page_bytes != 0 && !is_shared(self);
}

static tarn_status pages_attributes(void *context, tarn_provider_attributes *attributes) {
  const pages *self = context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->granularity_bytes = self->granularity_bytes;
  attributes->alignment_bytes = self->can_reserve ? self->granularity_bytes : self->page_bytes;
  attributes->flags = TARN_PROVIDER_ZEROED | (self->can_reserve ? TARN_PROVIDER_RESERVES : 0);
  /* Of shared pages a child gets the same ones. Explicit ones it gets as copies when it writes, and
   * where the system has none left for that the kernel ends it. */
  if (is_shared(self) || self->page_bytes != 0) attributes->flags |= TARN_PROVIDER_OF_PROCESS;
  return TARN_OK;
}

static tarn_status check_creator(const pages *self) {
  if (!is_shared(self) || getpid() == self->creator) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "pages: shared memory is given by the process that made its provider (%d), and "
                   "this is a child of it",
                   (int)self->creator);
}

/* --- address space --- */

/* What a mapping is aligned to: its granularity, and a huge page where one could lie in it. */
static size_t alignment_of(const pages *self, size_t size_bytes) {
  const bool is_huge = self->huge != TARN_PAGES_HUGE_NEVER && size_bytes >= HUGE_PAGE_BYTES;
  return is_huge && self->granularity_bytes < HUGE_PAGE_BYTES ? (size_t)HUGE_PAGE_BYTES
                                                              : self->granularity_bytes;
}

/* Maps more than is asked for where the alignment is coarser than a page, and cuts both ends. */
static tarn_status map_aligned(const pages *self, size_t size_bytes, void **address) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const size_t alignment = alignment_of(self, size_bytes);
  const size_t slack = alignment - page_bytes;
  const bool is_charged = (self->flags & TARN_PAGES_NORESERVE) == 0 && self->page_bytes == 0;
  size_t mapped_bytes;
  if (!tarn_size_add(size_bytes, slack, &mapped_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "pages: %zu bytes overflow when aligned", size_bytes);
  }
  char *mapped = mmap(NULL, mapped_bytes, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | (is_charged ? 0 : MAP_NORESERVE), -1, 0);
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

static tarn_status map_shared(const pages *self, void *address, size_t size_bytes) {
  if (mmap(address, size_bytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, self->file,
           (off_t)(uintptr_t)address) != MAP_FAILED) {
    return TARN_OK;
  }
  const int error = errno;
  munmap(address, size_bytes);
  return tarn_fail_native(TARN_OUT_OF_MEMORY, "mmap", error,
                          "pages: mapping %zu bytes of shared memory: %s", size_bytes,
                          strerror(error));
}

static tarn_status pages_reserve(void *context, size_t size_bytes, void **address) {
  const pages *self = context;
  tarn_status status = check_creator(self);
  if (status == TARN_OK) status = map_aligned(self, size_bytes, address);
  if (status == TARN_OK && is_shared(self)) {
    status = map_shared(self, *address, size_bytes);
    if (status != TARN_OK) *address = NULL;
  }
  return status;
}

/* --- memory behind it --- */

/* By number: sanitizers make the C library's munlock do nothing, but leave its mlock2. */
static tarn_status lock(void *address, size_t size_bytes) {
  if (syscall(SYS_mlock2, address, size_bytes, MLOCK_ONFAULT) == 0) return TARN_OK;
  const int error = errno;
  struct rlimit limit = {0};
  (void)getrlimit(RLIMIT_MEMLOCK, &limit);
  const tarn_status status = error == EPERM                       ? TARN_UNAVAILABLE
                             : error == ENOMEM || error == EAGAIN ? TARN_OUT_OF_MEMORY
                                                                  : TARN_SYSTEM_ERROR;
  return tarn_fail_native(status, "mlock2", error,
                          "pages: locking %zu bytes: %s; this process may lock %llu KiB in all "
                          "(`ulimit -l`, RLIMIT_MEMLOCK)",
                          size_bytes, strerror(error), (unsigned long long)limit.rlim_cur >> 10);
}

static tarn_status touch(const pages *self, void *address, size_t size_bytes) {
  const tarn_status status = tarn_touch(address, size_bytes, &self->touch);
  if (status != TARN_OUT_OF_MEMORY || self->page_bytes == 0) return status;
  const tarn_error *cause = tarn_last_error();
  return tarn__huge_pages_fail(self->page_bytes, size_bytes, cause->native_call,
                               (int)cause->native_code);
}

/* Whatever must be said of memory before its first page, and then that page. */
static tarn_status furnish(const pages *self, void *address, size_t size_bytes) {
  if (self->page_bytes == 0) {
    /* Advice: a kernel without transparent huge pages refuses, and base pages are served. */
    madvise(address, size_bytes,
            self->huge == TARN_PAGES_HUGE_NEVER ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
  }
  tarn_status status = TARN_OK;
  if (self->place != NULL) status = self->place(self->place_context, address, size_bytes);
  /* The kernel never moves explicit pages out, and counts none of them as locked. */
  if (status == TARN_OK && (self->flags & TARN_PAGES_LOCK) != 0 && self->page_bytes == 0) {
    status = lock(address, size_bytes);
  }
  if (status == TARN_OK && ((self->flags & TARN_PAGES_POPULATE) != 0 || self->page_bytes != 0)) {
    status = touch(self, address, size_bytes);
  }
  return status;
}

/* Gives the pages back, and leaves the access as it is. */
static tarn_status drop_pages(const pages *self, void *address, size_t size_bytes) {
  /* Of locked memory the kernel drops nothing. */
  if ((self->flags & TARN_PAGES_LOCK) != 0) (void)syscall(SYS_munlock, address, size_bytes);
  const bool is_dropped = is_shared(self)
                              ? fallocate(self->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                          (off_t)(uintptr_t)address, (off_t)size_bytes) == 0
                              : madvise(address, size_bytes, MADV_DONTNEED) == 0;
  if (is_dropped) return TARN_OK;
  return tarn_fail_native(TARN_SYSTEM_ERROR, is_shared(self) ? "fallocate" : "madvise", errno,
                          "pages: giving back %zu bytes: %s", size_bytes, strerror(errno));
}

static tarn_status commit_in_place(const pages *self, void *address, size_t size_bytes) {
  if (mprotect(address, size_bytes, PROT_READ | PROT_WRITE) != 0) {
    return tarn_fail_native(TARN_OUT_OF_MEMORY, "mprotect", errno,
                            "pages: committing %zu bytes: %s", size_bytes, strerror(errno));
  }
  const tarn_status status = furnish(self, address, size_bytes);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error error = *tarn_last_error();
  (void)!drop_pages(self, address, size_bytes);
  mprotect(address, size_bytes, PROT_NONE);
  return tarn_fail_again(&error);
}

static tarn_status drop_explicit(void *address, size_t size_bytes) {
  if (mmap(address, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
           -1, 0) != MAP_FAILED) {
    return TARN_OK;
  }
  return tarn_fail_native(TARN_SYSTEM_ERROR, "mmap", errno,
                          "pages: decommitting %zu bytes of huge pages: %s", size_bytes,
                          strerror(errno));
}

/* Mapped elsewhere first: should the pool have too few, the range stays as it is. */
static tarn_status commit_explicit(const pages *self, void *address, size_t size_bytes) {
  void *made = NULL;
  tarn_status status = tarn__huge_pages_map(self->page_bytes, size_bytes, &made);
  if (status != TARN_OK) return status;
  status = tarn__huge_pages_move(made, size_bytes, address);
  if (status != TARN_OK) {
    munmap(made, size_bytes);
    return status;
  }
  status = furnish(self, address, size_bytes);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error error = *tarn_last_error();
  (void)!drop_explicit(address, size_bytes);
  return tarn_fail_again(&error);
}

static tarn_status alloc_explicit(const pages *self, size_t size_bytes, void **address) {
  tarn_status status = tarn__huge_pages_map(self->page_bytes, size_bytes, address);
  if (status != TARN_OK) return status;
  status = furnish(self, *address, size_bytes);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error error = *tarn_last_error();
  munmap(*address, size_bytes);
  *address = NULL;
  return tarn_fail_again(&error);
}

static tarn_status pages_commit(void *context, void *address, size_t size_bytes) {
  const pages *self = context;
  const tarn_status status = check_creator(self);
  if (status != TARN_OK) return status;
  return is_private_explicit(self) ? commit_explicit(self, address, size_bytes)
                                   : commit_in_place(self, address, size_bytes);
}

static tarn_status pages_decommit(void *context, void *address, size_t size_bytes) {
  const pages *self = context;
  tarn_status status = check_creator(self);
  if (status != TARN_OK) return status;
  if (is_private_explicit(self)) return drop_explicit(address, size_bytes);
  /* The pages go first: should the protection fail to follow, they are given back all the same. */
  status = drop_pages(self, address, size_bytes);
  if (status != TARN_OK) return status;
  if (mprotect(address, size_bytes, PROT_NONE) == 0) return TARN_OK;
  return tarn_fail_native(TARN_SYSTEM_ERROR, "mprotect", errno, "pages: decommitting %zu bytes: %s",
                          size_bytes, strerror(errno));
}

static tarn_status pages_release(void *context, void *address, size_t size_bytes) {
  const pages *self = context;
  tarn_status status = TARN_OK;
  /* Before the addresses can be somebody else's, and with them the place in the file. */
  if (is_shared(self) && getpid() == self->creator) status = drop_pages(self, address, size_bytes);
  if (munmap(address, size_bytes) == 0) return status;
  return tarn_fail_native(TARN_SYSTEM_ERROR, "munmap", errno, "pages: munmap(%p, %zu): %s", address,
                          size_bytes, strerror(errno));
}

static tarn_status pages_alloc(void *context, size_t size_bytes, void **address) {
  const pages *self = context;
  if (!self->can_reserve) return alloc_explicit(self, size_bytes, address);
  tarn_status status = pages_reserve(context, size_bytes, address);
  if (status == TARN_OK) status = pages_commit(context, *address, size_bytes);
  if (status == TARN_OK || *address == NULL) return status;
  const tarn_error error = *tarn_last_error();
  munmap(*address, size_bytes);
  *address = NULL;
  return tarn_fail_again(&error);
}

/* --- sharing --- */

/* Whether the mapping at `address` is one of the file; where the kernel does not tell, it is. */
static bool is_of_file(const pages *self, const void *address) {
  struct stat file;
  FILE *maps = fopen("/proc/thread-self/maps", "re");
  if (maps == NULL || fstat(self->file, &file) != 0) {
    if (maps != NULL) fclose(maps);
    return true;
  }
  bool is_found = false;
  char line[512];
  while (!is_found && fgets(line, sizeof line, maps) != NULL) {
    unsigned long start, end;
    unsigned long long inode;
    if (sscanf(line, "%lx-%lx %*s %*s %*s %llu", &start, &end, &inode) != 3) continue;
    is_found = (uintptr_t)address >= start && (uintptr_t)address < end && inode == file.st_ino;
  }
  fclose(maps);
  return is_found;
}

static tarn_status pages_share(void *context, const void *address, int *descriptor,
                               int64_t *offset_bytes) {
  const pages *self = context;
  if (!is_of_file(self, address)) {
    return tarn_fail(TARN_NOT_FOUND, "pages: nothing at %p is this provider's shared memory",
                     address);
  }
  *descriptor = fcntl(self->file, F_DUPFD_CLOEXEC, 0);
  if (*descriptor < 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "fcntl", errno,
                            "pages: no descriptor for shared memory: %s", strerror(errno));
  }
  *offset_bytes = (int64_t)(uintptr_t)address;
  return TARN_OK;
}

static tarn_status open_file(pages *self) {
  const unsigned huge = self->page_bytes != 0
                            ? MFD_HUGETLB | (unsigned)tarn__huge_pages_size_bits(self->page_bytes)
                            : 0;
  const char *call = "memfd_create";
  self->file = memfd_create("tarn", MFD_CLOEXEC | MFD_ALLOW_SEALING | huge);
  bool is_made = self->file >= 0;
  if (is_made) {
    call = "ftruncate";
    is_made = ftruncate(self->file, SHARED_FILE_BYTES) == 0;
  }
  if (is_made) {
    /* Nobody who gets the descriptor can cut the file short, which would be a SIGBUS here. */
    call = "fcntl";
    is_made = fcntl(self->file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
  }
  if (is_made) return TARN_OK;
  return tarn_fail_native(
      errno == EMFILE || errno == ENFILE || errno == ENOMEM ? TARN_OUT_OF_MEMORY
                                                            : TARN_NOT_SUPPORTED,
      call, errno, "pages: no memory file to share: %s: %s", call, strerror(errno));
}

/* --- creation --- */

static bool is_overcommit_forbidden(void) {
  FILE *file = fopen("/proc/sys/vm/overcommit_memory", "re");
  if (file == NULL) return false;
  const bool is_forbidden = fgetc(file) == '2';
  fclose(file);
  return is_forbidden;
}

static size_t granularity_of(const tarn_pages_options *options) {
  if (options->granularity_bytes != 0) return options->granularity_bytes;
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  if (options->page_bytes > DEFAULT_GRANULARITY_BYTES) return options->page_bytes;
  return page_bytes > DEFAULT_GRANULARITY_BYTES ? page_bytes : (size_t)DEFAULT_GRANULARITY_BYTES;
}

static tarn_status check_options(const tarn_pages_options *options) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const uint32_t known_flags =
      TARN_PAGES_POPULATE | TARN_PAGES_LOCK | TARN_PAGES_NORESERVE | TARN_PAGES_SHARED;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_pages_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  if ((unsigned)options->huge > TARN_PAGES_HUGE_ADVISE) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_pages_huge has no value %d", (int)options->huge);
  }
  if ((options->flags & ~known_flags) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pages: unknown flags 0x%x",
                     options->flags & ~known_flags);
  }
  const size_t granularity = granularity_of(options);
  if (!tarn_is_power_of_two(granularity) || granularity < page_bytes ||
      granularity < options->page_bytes) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "pages: granularity %zu is not a power of two of at least a page (%zu)",
                     granularity,
                     options->page_bytes > page_bytes ? options->page_bytes : page_bytes);
  }
  char nowhere;
  const tarn_status status = tarn_touch(&nowhere, /*size_bytes=*/0, options->touch);
  if (status != TARN_OK || options->page_bytes == 0) return status;
  if (!tarn_is_power_of_two(options->page_bytes) || options->page_bytes <= page_bytes) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "pages: explicit pages of %zu bytes; 0 means base pages of %zu",
                     options->page_bytes, page_bytes);
  }
  if ((options->flags & TARN_PAGES_NORESERVE) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "pages: explicit pages are taken when committed: there is no NORESERVE");
  }
  return tarn__huge_pages_check(options->page_bytes);
}

static void pages_destroy(void *context) {
  pages *self = context;
  if (self->file >= 0) close(self->file);
  free(self);
}

static tarn_status make_pages(const tarn_pages_options *options, size_t granularity, pages **made) {
  const tarn_touch_options *touch_options = options->touch;
  const size_t cpu_count = touch_options != NULL ? (size_t)touch_options->cpu_count : 0;
  pages *self = calloc(1, sizeof *self + cpu_count * sizeof self->cpus[0]);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a pages provider");
  *self = (pages){
      .granularity_bytes = granularity,
      .huge = options->huge == TARN_PAGES_HUGE_DEFAULT ? TARN_PAGES_HUGE_ADVISE : options->huge,
      .page_bytes = options->page_bytes,
      .flags = options->flags,
      .file = -1,
      .creator = getpid(),
      .can_reserve = true,
      .place = options->place,
      .place_context = options->place_context,
      .touch = {.struct_size = sizeof self->touch},
  };
  if (touch_options != NULL) self->touch = *touch_options;
  if (cpu_count > 0) {
    memcpy(self->cpus, touch_options->cpus, cpu_count * sizeof self->cpus[0]);
    self->touch.cpus = self->cpus;
  }
  self->touch.page_bytes = options->page_bytes;
  *made = self;
  tarn_status status = TARN_OK;
  if (is_shared(self)) {
    if (is_overcommit_forbidden()) self->flags |= TARN_PAGES_POPULATE;
    status = open_file(self);
  }
  if (is_private_explicit(self)) self->can_reserve = tarn__huge_pages_can_move(self->page_bytes);
  return status;
}

tarn_status tarn_pages_provider_create(const tarn_pages_options *options,
                                       tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  const tarn_pages_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = check_options(options);
  if (status != TARN_OK) return status;
  pages *self = NULL;
  status = make_pages(options, granularity_of(options), &self);
  if (status == TARN_OK) {
    const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                   .name = "pages",
                                   .attributes = pages_attributes,
                                   .alloc = pages_alloc,
                                   .release = pages_release,
                                   .reserve = self->can_reserve ? pages_reserve : NULL,
                                   .commit = self->can_reserve ? pages_commit : NULL,
                                   .decommit = self->can_reserve ? pages_decommit : NULL,
                                   .destroy = pages_destroy,
                                   .share = is_shared(self) ? pages_share : NULL};
    status = tarn_provider_create(&ops, self, provider);
  }
  if (status != TARN_OK && self != NULL) pages_destroy(self);
  return status;
}
